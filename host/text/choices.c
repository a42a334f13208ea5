/* choices.c - see choices.h. */
#include "text/choices.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

enum { FEWEST = 2, MOST = 26 }; /* choices: as many as there are letters */

typedef struct {
    gf_choices *c;
    const gf_data_options *opt;
    const char *path;
    int64_t line;
    char *where; /* FILE:LINE */
    int64_t question_room, example_room;
    gf_err *err;
} reader;

static gf_status bad(const reader *r, const char *what)
{
    return gf_fail(r->err, GF_EINPUT, "%s: %s", r->where, what);
}

/* ---- one record ------------------------------------------------------------------------------ */

static gf_status check_choices(const reader *r, const cJSON *choices)
{
    int count = 0;
    const cJSON *one, *other;
    if (!cJSON_IsArray(choices))
        return gf_fail(r->err, GF_EINPUT, "%s: choices: want an array of texts, got %s", r->where,
                       gf_json_kind(choices));
    cJSON_ArrayForEach(one, choices)
    {
        if (!cJSON_IsString(one) || !one->valuestring[0])
            return gf_fail(r->err, GF_EINPUT, "%s: choices[%d]: want a text, got %s", r->where,
                           count, cJSON_IsString(one) ? "an empty one" : gf_json_kind(one));
        cJSON_ArrayForEach(other, choices)
        {
            if (other == one)
                break;
            if (!strcmp(other->valuestring, one->valuestring))
                return gf_fail(r->err, GF_EINPUT, "%s: choices[%d]: the same text stands before it",
                               r->where, count);
        }
        if (++count > MOST)
            return bad(r, "choices: more than 26");
    }
    return count < FEWEST ? bad(r, "choices: want two at least") : GF_OK;
}

/* The text of a choice, else its letter, or its index. */
static gf_status find_answer(const reader *r, const cJSON *answer, const cJSON *choices, int *out)
{
    const int count = cJSON_GetArraySize(choices);
    const char *text = cJSON_IsString(answer) ? answer->valuestring : NULL;
    const double x = cJSON_IsNumber(answer) ? answer->valuedouble : -1;
    const cJSON *one;
    *out = 0;
    cJSON_ArrayForEach(one, choices)
    {
        if (text ? !strcmp(text, one->valuestring) : x == *out)
            return GF_OK;
        ++*out;
    }
    const char letter = text && text[0] && !text[1] ? text[0] : 0;
    *out = letter >= 'a' ? letter - 'a' : letter - 'A';
    if (letter >= 'A' && *out >= 0 && *out < count && letter <= 'z')
        return GF_OK;
    if (!text && !cJSON_IsNumber(answer))
        return gf_fail(r->err, GF_EINPUT,
                       "%s: answer: want a choice's index, letter or text, got %s", r->where,
                       gf_json_kind(answer));
    return gf_fail(
        r->err, GF_EINPUT,
        "%s: answer: none of the %d choices is it; want an index from 0, a letter from A "
        "or a choice's text",
        r->where, count);
}

/* What stands before every choice of a question. */
static gf_status render_prompt(const reader *r, const char *question, gf_buf *out)
{
    const gf_data_options *opt = r->opt;
    const gf_tokenizer *t = opt->tokenizer;
    if (opt->format == GF_DATA_TEXT)
        return gf_buf_str(out, question, r->err);
    cJSON *messages = cJSON_CreateArray(), *turn = cJSON_CreateObject();
    gf_status st = GF_OK;
    if (!messages || !turn || !cJSON_AddItemToArray(messages, turn) ||
        !cJSON_AddStringToObject(turn, "role", "user") ||
        !cJSON_AddStringToObject(turn, "content", question))
        st = gf_fail(r->err, GF_ENOMEM, "no memory for a question");
    const gf_template_vars vars = {.messages = messages,
                                   .bos_token = gf_tokenizer_token(t, gf_tokenizer_bos(t)),
                                   .eos_token = gf_tokenizer_token(t, gf_tokenizer_eos(t)),
                                   .pad_token = gf_tokenizer_token(t, gf_tokenizer_pad(t)),
                                   .unk_token = gf_tokenizer_token(t, gf_tokenizer_unk(t)),
                                   .add_generation_prompt = true};
    gf_err local = {0};
    if (st == GF_OK && (st = gf_template_render(opt->chat, &vars, out, &local)) != GF_OK)
        st = gf_fail(r->err, st, "%s: %s", r->where, local.text);
    cJSON_Delete(messages);
    return st;
}

/* The tokens of prompt and choice; those that begin in the choice are predicted. */
static gf_status add_choice(reader *r, const gf_buf *prompt, const char *choice)
{
    const bool plain = r->opt->format == GF_DATA_TEXT;
    const char last = prompt->len ? prompt->data[prompt->len - 1] : ' ';
    gf_buf text = {0};
    gf_tokens t = {0};
    gf_example e = {.file = r->path, .line = r->line};
    gf_status st = GF_OK;
    TRYG(gf_buf_add(&text, prompt->data ? prompt->data : "", prompt->len, r->err));
    if (plain && last != ' ' && last != '\n' && last != '\t')
        TRYG(gf_buf_str(&text, " ", r->err));
    TRYG(gf_buf_str(&text, choice, r->err));
    TRYG(gf_tokenizer_encode(r->opt->tokenizer, text.data, text.len, plain, &t, r->err));
    if (t.count > r->opt->max_length) {
        st = gf_fail(r->err, GF_EINPUT, "%s: %lld tokens are over --max-length %lld", r->where,
                     (long long)t.count, (long long)r->opt->max_length);
        goto out;
    }
    e.length = t.count;
    e.ids = t.id;
    e.labels = gf_alloc((size_t)t.count, sizeof *e.labels, r->err);
    if (!e.labels) {
        st = GF_ENOMEM;
        goto out;
    }
    for (int64_t i = 0; i < t.count; i++) {
        const bool own = t.start[i] >= (int64_t)prompt->len && t.start[i] < (int64_t)text.len;
        e.labels[i] = own ? t.id[i] : -100;
        e.trained += own && i > 0;
    }
    if (!e.trained) {
        st = gf_fail(r->err, GF_EINPUT, "%s: \"%.40s\" has no token of its own behind the question",
                     r->where, choice);
        goto out;
    }
    e.text = gf_loose_hash(text.data, text.len);
    TRYG(gf_dataset_add(&r->c->data, &e, r->err));
    r->c->bytes[r->c->data.count - 1] = (int64_t)strlen(choice);
out:
    free(e.labels);
    gf_tokens_free(&t);
    gf_buf_free(&text);
    return st;
}

/* Room for one more question and its choices. */
static gf_status make_room(reader *r, int choices)
{
    gf_choices *c = r->c;
    if (c->count == r->question_room) {
        const int64_t room = 2 * r->question_room + 64;
        gf_question *q = gf_realloc(c->question, (size_t)room, sizeof *q, r->err);
        if (!q)
            return GF_ENOMEM;
        c->question = q;
        r->question_room = room;
    }
    if (c->data.count + choices > r->example_room) {
        const int64_t room = 2 * r->example_room + 256;
        int64_t *bytes = gf_realloc(c->bytes, (size_t)room, sizeof *bytes, r->err);
        if (!bytes)
            return GF_ENOMEM;
        c->bytes = bytes;
        r->example_room = room;
    }
    return GF_OK;
}

static gf_status read_record(reader *r, const cJSON *record)
{
    const cJSON *choices = cJSON_GetObjectItemCaseSensitive(record, "choices");
    const cJSON *answer = cJSON_GetObjectItemCaseSensitive(record, "answer");
    const char *question;
    gf_buf prompt = {0};
    gf_question q = {.first = r->c->data.count, .line = r->line};
    if (!cJSON_IsObject(record))
        return gf_fail(r->err, GF_EINPUT, "%s: want an object, got %s", r->where,
                       gf_json_kind(record));
    TRY(gf_json_string(&question, record, "question", NULL, r->where, r->err));
    if (!question || !question[0])
        return bad(r, "question: want a text that is not empty");
    if (!choices || !answer)
        return bad(r, choices ? "answer is missing" : "choices is missing");
    TRY(check_choices(r, choices));
    TRY(find_answer(r, answer, choices, &q.answer));
    q.count = cJSON_GetArraySize(choices);
    TRY(make_room(r, q.count));
    gf_status st = render_prompt(r, question, &prompt);
    const cJSON *one;
    cJSON_ArrayForEach(one, choices)
    {
        if (st == GF_OK)
            st = add_choice(r, &prompt, one->valuestring);
    }
    if (st == GF_OK)
        r->c->question[r->c->count++] = q;
    gf_buf_free(&prompt);
    return st;
}

/* ---- the file -------------------------------------------------------------------------------- */

static gf_status read_line(reader *r, const char *text, size_t size)
{
    cJSON *record = NULL;
    if (size == strspn(text, " \t\r") || size == 0)
        return GF_OK;
    r->where = gf_format(r->err, "%s:%lld", r->path, (long long)r->line);
    if (!r->where)
        return GF_ENOMEM;
    gf_status st = gf_json_parse(&record, text, size, r->path, (int)r->line, r->err);
    if (st == GF_OK)
        st = read_record(r, record);
    cJSON_Delete(record);
    free(r->where);
    r->where = NULL;
    return st;
}

static gf_status read_lines(reader *r, const char *text, size_t size)
{
    for (size_t at = 0; at < size; r->line++) {
        const char *end = memchr(text + at, '\n', size - at);
        const size_t n = end ? (size_t)(end - text) - at : size - at;
        TRY(read_line(r, text + at, n));
        at += n + 1;
    }
    if (!r->c->count)
        return gf_fail(r->err, GF_EINPUT, "%s: there is no question in it", r->path);
    return gf_token_store_seal(r->c->data.store, r->err);
}

gf_status gf_choices_load(gf_choices *c, const char *path, const gf_data_options *opt, gf_err *err)
{
    reader r = {.c = c, .opt = opt, .path = path, .line = 1, .err = err};
    char *text = NULL;
    size_t size;
    const bool plain = opt->format == GF_DATA_TEXT;
    if (!opt->tokenizer)
        return gf_fail(err, GF_EARG, "%s: the model has no tokenizer", path);
    if (!plain && opt->format != GF_DATA_AUTO && opt->format != GF_DATA_MESSAGES)
        return gf_fail(err, GF_EARG, "--choices: --data-format is auto, messages or text");
    if (!plain && !opt->chat)
        return gf_fail(err, GF_EARG,
                       "%s: the model has no chat template: name one with --chat-template, or ask "
                       "with --data-format text",
                       path);
    TRY(gf_file_read(path, &text, &size, err));
    gf_status st = gf_dataset_add_file(&c->data, path, err);
    if (st == GF_OK)
        st = read_lines(&r, text, size);
    free(text);
    return st;
}

void gf_choices_free(gf_choices *c)
{
    gf_dataset_free(&c->data);
    free(c->question);
    free(c->bytes);
    *c = (gf_choices){0};
}
