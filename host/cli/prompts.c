/* prompts.c - contract: prompts.h. */
#include "cli/prompts.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

/* Every one is answered at each evaluation: more than these are an evaluation of their own. */
#define MOST_PROMPTS 1000

typedef struct {
    gf_prompts *out;
    gf_session *s;
    const char *path;
    int line;
    bool chat;
} reader;

/* A new prompt at the end. NULL: too many of them, or no memory. */
static gf_prompt *add(reader *r, gf_err *err)
{
    gf_prompts *p = r->out;
    if (p->count == MOST_PROMPTS) {
        gf_fail(err, GF_EINPUT, "%s:%d: more than %d prompts", r->path, r->line, MOST_PROMPTS);
        return NULL;
    }
    gf_prompt *item = gf_realloc(p->item, (size_t)p->count + 1, sizeof *item, err);
    if (!item)
        return NULL;
    p->item = item;
    item[p->count] = (gf_prompt){0};
    return &item[p->count++];
}

/* A text as the user's turn of a conversation. */
static gf_status render_text(reader *r, const char *text, gf_tokens *ids, gf_err *err)
{
    cJSON *messages = cJSON_CreateArray(), *turn = cJSON_CreateObject();
    gf_status st = GF_ENOMEM;
    if (messages && turn && cJSON_AddStringToObject(turn, "role", "user") &&
        cJSON_AddStringToObject(turn, "content", text) && cJSON_AddItemToArray(messages, turn)) {
        turn = NULL; /* the array's now */
        st = gf_session_render(r->s, messages, NULL, true, NULL, ids, err);
    }
    cJSON_Delete(turn);
    cJSON_Delete(messages);
    return st == GF_ENOMEM ? gf_fail(err, st, "no memory for a prompt") : st;
}

static gf_status add_text(reader *r, const char *text, const char *wanted, gf_err *err)
{
    gf_prompt *p = add(r, err);
    if (!p)
        return err && err->code ? err->code : GF_ENOMEM;
    if (!(p->text = gf_strdup(text, err)) || (wanted && !(p->wanted = gf_strdup(wanted, err))))
        return GF_ENOMEM;
    if (r->chat)
        return render_text(r, text, &p->ids, err);
    return gf_tokenizer_encode(r->s->tokenizer, text, strlen(text), true, &p->ids, err);
}

static const char *content_of(const cJSON *message)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(message, "content"));
    return text ? text : "";
}

static bool has_role(const cJSON *message, const char *role)
{
    const char *is = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(message, "role"));
    return is && !strcmp(is, role);
}

/* Takes the messages' last one off if it is the assistant's. */
static gf_status add_conversation(reader *r, cJSON *messages, const cJSON *tools, gf_err *err)
{
    const int turns = cJSON_GetArraySize(messages);
    cJSON *last = turns > 0 ? cJSON_GetArrayItem(messages, turns - 1) : NULL;
    gf_prompt *p = add(r, err);
    if (!p)
        return err && err->code ? err->code : GF_ENOMEM;
    if (turns > 1 && has_role(last, "assistant")) {
        if (!(p->wanted = gf_strdup(content_of(last), err)))
            return GF_ENOMEM;
        cJSON_DeleteItemFromArray(messages, turns - 1);
        last = cJSON_GetArrayItem(messages, turns - 2);
    }
    if (!cJSON_IsObject(last))
        return gf_fail(err, GF_EINPUT, "%s:%d: a conversation without a message", r->path, r->line);
    if (!(p->text = gf_strdup(content_of(last), err)))
        return GF_ENOMEM;
    return gf_session_render(r->s, messages, tools, true, NULL, &p->ids, err);
}

/* One record: an array of messages, or an object with "messages" or "prompt". */
static gf_status add_record(reader *r, cJSON *record, gf_err *err)
{
    cJSON *messages =
        cJSON_IsArray(record) ? record : cJSON_GetObjectItemCaseSensitive(record, "messages");
    char where[512];
    const char *prompt, *wanted;
    if (cJSON_IsArray(messages))
        return add_conversation(r, messages, cJSON_GetObjectItemCaseSensitive(record, "tools"),
                                err);
    snprintf(where, sizeof where, "%s:%d", r->path, r->line);
    if (!cJSON_IsObject(record))
        return gf_fail(err, GF_EINPUT,
                       "%s: want a conversation or an object with \"prompt\", got %s", where,
                       gf_json_kind(record));
    TRY(gf_json_string(&prompt, record, "prompt", NULL, where, err));
    TRY(gf_json_string(&wanted, record, "completion", NULL, where, err));
    if (!prompt)
        return gf_fail(err, GF_EINPUT, "%s: an object with neither \"messages\" nor \"prompt\"",
                       where);
    return add_text(r, prompt, wanted, err);
}

static bool has_end(const char *path, const char *end)
{
    const size_t n = strlen(path), m = strlen(end);
    return n >= m && !strcmp(path + n - m, end);
}

/* Is this array one conversation? Its elements are messages then. */
static bool is_conversation(const cJSON *array)
{
    return cJSON_IsArray(array) && cJSON_IsObject(array->child) &&
           cJSON_HasObjectItem(array->child, "role");
}

static gf_status read_json(reader *r, const char *text, size_t size, gf_err *err)
{
    cJSON *root = NULL, *item;
    gf_status st = GF_OK;
    TRY(gf_json_parse(&root, text, size, r->path, 1, err));
    r->line = 1;
    if (!cJSON_IsArray(root) || is_conversation(root))
        st = add_record(r, root, err);
    else
        cJSON_ArrayForEach(item, root)
        {
            if (st == GF_OK)
                st = add_record(r, item, err);
        }
    cJSON_Delete(root);
    return st;
}

static gf_status read_line(reader *r, const char *line, size_t n, bool json, gf_err *err)
{
    cJSON *record = NULL;
    char *text;
    gf_status st;
    while (n > 0 && strchr(" \t\r", line[n - 1]) && line[n - 1])
        n--;
    if (n == 0)
        return GF_OK;
    if (json) {
        TRY(gf_json_parse(&record, line, n, r->path, r->line, err));
        st = add_record(r, record, err);
        cJSON_Delete(record);
        return st;
    }
    if (memchr(line, '\0', n))
        return gf_fail(err, GF_EINPUT, "%s:%d: a NUL byte in a text", r->path, r->line);
    const size_t good = gf_utf8_valid(line, n);
    if (good < n)
        return gf_fail(err, GF_EINPUT, "%s:%d: byte %zu is not UTF-8", r->path, r->line, good + 1);
    if (!(text = gf_strndup(line, n, err)))
        return GF_ENOMEM;
    st = add_text(r, text, NULL, err);
    free(text);
    return st;
}

static gf_status read_lines(reader *r, const char *text, size_t size, bool json, gf_err *err)
{
    for (const char *at = text, *end = text + size; at < end; at++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop ? stop : end;
        r->line++;
        TRY(read_line(r, at, (size_t)(stop - at), json, err));
        at = stop;
    }
    return GF_OK;
}

gf_status gf_prompts_read(gf_prompts *out, gf_stops *stops, gf_session *s, bool chat, gf_err *err)
{
    const char *path = s->o->sample_prompts;
    reader r = {.out = out, .s = s, .path = path, .chat = chat};
    char *text = NULL;
    size_t size;
    gf_status st = GF_OK;
    *out = (gf_prompts){.new_tokens = s->o->sample_tokens};
    TRYG(gf_session_tokenizer(s, true, err));
    out->tokenizer = s->tokenizer;
    TRYG(gf_stops_find(stops, s, s->chat != NULL, err));
    out->stop = stops->id;
    out->stops = stops->count;
    TRYG(gf_file_read(path, &text, &size, err));
    if (has_end(path, ".json"))
        TRYG(read_json(&r, text, size, err));
    else
        TRYG(read_lines(&r, text, size, has_end(path, ".jsonl"), err));
    if (out->count == 0)
        st = gf_fail(err, GF_EINPUT, "%s: no prompt is in it", path);
    for (int i = 0; st == GF_OK && i < out->count; i++)
        if (out->item[i].ids.count == 0)
            st = gf_fail(err, GF_EINPUT, "%s: prompt %d has no token", path, i + 1);
out:
    free(text);
    if (st != GF_OK)
        gf_prompts_free(out);
    return st;
}
