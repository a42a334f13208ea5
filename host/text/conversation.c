/* Conversations: render, tokenize, and find what of each turn is trained (DESIGN 2.2). */
#include "text/dataset_parts.h"

#include "text/template/text.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const gf_record *r;
    const cJSON *messages;
    cJSON *own;   /* a copy of the messages, where contents of parts were joined */
    cJSON *tools; /* parsed from a string, or NULL */
    gf_template_vars vars;
    gf_buf whole;
    gf_tokens t;
} conversation;

static const cJSON *member(const cJSON *j, const char *key)
{
    const cJSON *e = cJSON_GetObjectItemCaseSensitive(j, key);
    return cJSON_IsNull(e) ? NULL : e;
}

/* ---- checking ---------------------------------------------------------------------- */

static gf_status check_parts(const gf_record *r, const cJSON *content, int turn)
{
    const cJSON *part;
    cJSON_ArrayForEach(part, content)
    {
        const cJSON *type = member(part, "type");
        if (!cJSON_IsString(type) || strcmp(type->valuestring, "text") != 0 ||
            !cJSON_IsString(member(part, "text")))
            return gf_record_fail(r,
                                  "turn %d: a part of the content is not {\"type\": \"text\", "
                                  "\"text\": ...}, the only kind supported",
                                  turn);
    }
    return GF_OK;
}

static gf_status check_message(const gf_record *r, const cJSON *m, int turn)
{
    if (!cJSON_IsObject(m))
        return gf_record_fail(r, "turn %d is not an object", turn);
    if (!cJSON_IsString(member(m, "role")))
        return gf_record_fail(r, "turn %d: \"role\" must be a string", turn);
    const cJSON *content = member(m, "content"), *weight = member(m, "weight");
    if (content == NULL) {
        if (cJSON_GetArraySize(member(m, "tool_calls")) == 0)
            return gf_record_fail(r, "turn %d: no \"content\" (null is for turns with tool_calls)",
                                  turn);
    } else if (cJSON_IsArray(content)) {
        TRY(check_parts(r, content, turn));
    } else if (!cJSON_IsString(content)) {
        return gf_record_fail(r, "turn %d: \"content\" must be a string or a list of text parts",
                              turn);
    }
    if (weight != NULL &&
        !(cJSON_IsNumber(weight) && (weight->valuedouble == 0 || weight->valuedouble == 1)))
        return gf_record_fail(r, "turn %d: \"weight\" must be 0 or 1", turn);
    return GF_OK;
}

/* Contents that are lists of parts become strings: most templates take nothing else. */
static gf_status join_parts(conversation *c)
{
    cJSON *m;
    gf_err *err = c->r->err;
    c->own = cJSON_Duplicate(c->messages, true);
    if (c->own == NULL)
        return gf_fail(err, GF_ENOMEM, "%s: no memory for the messages", c->r->place);
    cJSON_ArrayForEach(m, c->own)
    {
        if (!cJSON_IsArray(member(m, "content")))
            continue;
        gf_buf text = {0};
        gf_status st = gf_buf_add(&text, "", 0, err);
        const cJSON *part;
        cJSON_ArrayForEach(part, member(m, "content"))
        {
            if (st == GF_OK)
                st = gf_buf_str(&text, member(part, "text")->valuestring, err);
        }
        cJSON *joined = st == GF_OK ? cJSON_CreateString(text.data == NULL ? "" : text.data) : NULL;
        gf_buf_free(&text);
        if (joined == NULL || !cJSON_ReplaceItemInObjectCaseSensitive(m, "content", joined)) {
            cJSON_Delete(joined);
            return gf_fail(err, GF_ENOMEM, "%s: no memory for the messages", c->r->place);
        }
    }
    c->messages = c->own;
    return GF_OK;
}

static gf_status read_tools(conversation *c, const cJSON *tools)
{
    if (cJSON_IsString(tools)) { /* as tables of strings keep them */
        const char *s = tools->valuestring;
        if (s[0] == '\0')
            return GF_OK;
        gf_err local = {0};
        if (gf_json_parse(&c->tools, s, strlen(s), "tools", 1, &local) != GF_OK)
            return gf_record_fail(c->r, "\"tools\" is a string but not JSON: %s", local.text);
        TRY(gf_template_numbers(c->tools, s, strlen(s), c->r->err));
        tools = c->tools;
    }
    if (tools != NULL && !cJSON_IsArray(tools) && !cJSON_IsNull(tools))
        return gf_record_fail(c->r, "\"tools\" must be an array");
    if (cJSON_GetArraySize(tools) > 0)
        c->vars.tools = tools;
    return GF_OK;
}

static const char *token_text(gf_tokenizer *t, int32_t id)
{
    return id < 0 ? NULL : gf_tokenizer_token(t, id);
}

static gf_status prepare(conversation *c)
{
    const gf_record *r = c->r;
    gf_tokenizer *tok = r->opt->tokenizer;
    int turn = 0;
    bool parts = false;
    c->messages = cJSON_IsArray(r->json) ? r->json : member(r->json, "messages");
    if (!cJSON_IsArray(c->messages) || cJSON_GetArraySize(c->messages) == 0)
        return gf_record_fail(r, "\"messages\" must be an array with at least one message");
    const cJSON *m;
    cJSON_ArrayForEach(m, c->messages)
    {
        TRY(check_message(r, m, ++turn));
        parts |= cJSON_IsArray(member(m, "content"));
    }
    if (parts)
        TRY(join_parts(c));
    c->vars.messages = c->messages;
    c->vars.bos_token = token_text(tok, gf_tokenizer_bos(tok));
    c->vars.eos_token = token_text(tok, gf_tokenizer_eos(tok));
    c->vars.pad_token = token_text(tok, gf_tokenizer_pad(tok));
    c->vars.unk_token = token_text(tok, gf_tokenizer_unk(tok));
    if (!cJSON_IsObject(r->json))
        return GF_OK;
    c->vars.documents = member(r->json, "documents");
    c->vars.extra = member(r->json, "chat_template_kwargs");
    if (c->vars.extra != NULL && !cJSON_IsObject(c->vars.extra))
        return gf_record_fail(r, "\"chat_template_kwargs\" must be an object");
    return read_tools(c, member(r->json, "tools"));
}

/* ---- rendering --------------------------------------------------------------------- */

/* The first n messages. */
static gf_status render(conversation *c, int n, bool prompt, gf_buf *out, const char *what)
{
    gf_err local = {0};
    gf_template_vars vars = c->vars;
    vars.first_messages = n == 0 ? -1 : n;
    vars.add_generation_prompt = prompt;
    out->len = 0;
    const gf_status st = gf_template_render(c->r->opt->chat, &vars, out, &local);
    if (st == GF_OK)
        return gf_buf_add(out, "", 0, c->r->err); /* so that data is a string even if empty */
    if (what == NULL)
        return gf_fail(c->r->err, st, "%s: %s", c->r->place, local.text);
    return gf_fail(c->r->err, st, "%s: turn %d: %s does not render: %s", c->r->place, n + prompt,
                   what, local.text);
}

static size_t common_prefix(const gf_buf *a, const gf_buf *b)
{
    size_t n = 0;
    while (n < a->len && n < b->len && a->data[n] == b->data[n])
        n++;
    return n;
}

/* The longest end of `text` that `pattern` begins with (Knuth, Morris, Pratt 1977). */
static gf_status overlap(const char *text, size_t n, const char *pattern, size_t m, size_t *out,
                         gf_err *err)
{
    if (n > m) { /* no more than the pattern can match */
        text += n - m;
        n = m;
    }
    size_t *border = gf_alloc(n + 1, sizeof *border, err);
    if (border == NULL)
        return GF_ENOMEM;
    size_t k = 0;
    for (size_t i = 1; i < n; i++) {
        while (k > 0 && pattern[i] != pattern[k])
            k = border[k - 1];
        k += pattern[i] == pattern[k];
        border[i] = k;
    }
    k = 0;
    for (size_t i = 0; i < n; i++) {
        while (k > 0 && (k == n || text[i] != pattern[k]))
            k = border[k - 1];
        k += text[i] == pattern[k];
    }
    free(border);
    *out = k;
    return GF_OK;
}

/* ---- where a turn stands in the whole ---------------------------------------------- */

/* Does `text` (n bytes) occur so that it ends after `from` and at or before `to`? */
static bool occurs(const gf_buf *whole, const char *text, size_t n, size_t from, size_t to)
{
    const size_t low = from >= n ? from - n + 1 : 0; /* a prompt may hold an answer's beginning */
    return n == 0 || (low <= to && gf_jtext_find(whole->data, to, text, n, low) != SIZE_MAX);
}

/* What follows the last of the bytes in `ends`, trimmed, occurs and is not nothing. */
static bool tail_occurs(const conversation *c, const char *s, size_t n, const char *ends,
                        size_t from, size_t to)
{
    size_t k = n;
    while (k > 0 && strchr(ends, s[k - 1]) == NULL)
        k--;
    k += gf_jtext_lstrip(s + k, n - k);
    return k < n && occurs(&c->whole, s + k, n - k, from, to);
}

/* The turn's content; or at least its last line, or what follows a tag such as </think> or
 * [/THINK]: templates leave reasoning out, and quote. */
static bool content_occurs(const conversation *c, const cJSON *m, size_t from, size_t to)
{
    const cJSON *content = member(m, "content");
    if (!cJSON_IsString(content))
        return true;
    const char *s = content->valuestring;
    size_t n = gf_jtext_rstrip(s, strlen(s));
    const size_t skip = gf_jtext_lstrip(s, n);
    s += skip;
    n -= skip;
    return occurs(&c->whole, s, n, from, to) || tail_occurs(c, s, n, "\n", from, to) ||
           tail_occurs(c, s, n, ">]", from, to);
}

/* A common prefix that ends inside a token belongs to the next turn from that token's start on. */
static size_t token_boundary(const conversation *c, size_t end)
{
    const gf_tokens *t = &c->t;
    for (int64_t i = 0; i < t->count; i++) {
        const size_t stop = i + 1 < t->count ? (size_t)t->start[i + 1] : c->whole.len;
        if ((size_t)t->start[i] < end && end < stop)
            return (size_t)t->start[i];
    }
    return end;
}

/* Where the turn's text ends in the whole. */
static gf_status turn_end(conversation *c, const cJSON *m, int index, size_t start, size_t *end,
                          bool *differs)
{
    *end = c->whole.len;
    if (m->next == NULL)
        return GF_OK;
    gf_buf alone = {0};
    size_t prefix, more = 0;
    gf_status st;
    TRYG(render(c, index + 1, false, &alone, "the conversation up to it"));
    prefix = common_prefix(&alone, &c->whole);
    *end = prefix;
    if (prefix == alone.len)
        goto out;
    *end = token_boundary(c, prefix);
    if (content_occurs(c, m, start, prefix))
        goto out; /* only what ends a conversation differs */
    /* the whole leaves out a part of the turn: what follows that part ends it */
    *differs = true;
    TRYG(overlap(alone.data + prefix, alone.len - prefix, c->whole.data + prefix,
                 c->whole.len - prefix, &more, c->r->err));
    *end = prefix + more;
out:
    gf_buf_free(&alone);
    return st;
}

static bool blank(const char *s, size_t n)
{
    return gf_jtext_lstrip(s, n) == n;
}

/* The end of the last control token in [from, to) that only whitespace follows; `to` if none. */
static size_t control_end(const conversation *c, size_t from, size_t to, bool *found)
{
    const gf_tokens *t = &c->t;
    *found = false;
    for (int64_t i = t->count - 1; i >= 0 && (size_t)t->start[i] >= from; i--) {
        const size_t stop = i + 1 < t->count ? (size_t)t->start[i + 1] : c->whole.len;
        if (stop > to || !gf_tokenizer_is_special(c->r->opt->tokenizer, t->id[i]))
            continue;
        if (!blank(c->whole.data + stop, to - stop))
            break;
        *found = true;
        return stop;
    }
    return to;
}

static gf_status label_turn(conversation *c, const cJSON *m, int index)
{
    const gf_record *r = c->r;
    const char *role = member(m, "role")->valuestring;
    gf_buf prompt = {0};
    gf_status st;
    bool differs, has_control;
    size_t end = 0;
    TRYG(render(c, index, true, &prompt, "the conversation before it"));
    const size_t start = common_prefix(&prompt, &c->whole);
    differs = start < prompt.len;
    TRYG(turn_end(c, m, index, start, &end, &differs));
    if (!content_occurs(c, m, start, end)) {
        st = gf_record_fail(r,
                            "turn %d (%.40s): its content is not in what the chat template "
                            "renders; set \"weight\": 0 on it, or use another template",
                            index + 1, role);
        goto out;
    }
    const size_t stop = control_end(c, start, end, &has_control);
    for (int64_t i = 0; i < c->t.count; i++)
        if ((size_t)c->t.start[i] >= start && (size_t)c->t.start[i] < stop)
            r->e->labels[i] = c->t.id[i];
    if (r->stats != NULL) {
        r->stats->trained_turns++;
        r->stats->prefix_mismatch += differs;
        r->stats->no_end_token += !has_control;
    }
out:
    gf_buf_free(&prompt);
    return st;
}

static gf_status label(conversation *c)
{
    const gf_record *r = c->r;
    if (r->opt->train_on == GF_TRAIN_ALL) {
        if (c->t.count > 0)
            memcpy(r->e->labels, c->t.id, (size_t)c->t.count * sizeof *c->t.id);
        return GF_OK;
    }
    int index = 0;
    const cJSON *m;
    cJSON_ArrayForEach(m, c->messages)
    {
        const cJSON *weight = member(m, "weight");
        if (strcmp(member(m, "role")->valuestring, "assistant") == 0 &&
            (weight == NULL || weight->valuedouble != 0))
            TRY(label_turn(c, m, index));
        index++;
    }
    return GF_OK;
}

gf_status gf_conversation_example(const gf_record *r)
{
    TRY(gf_record_need_tokenizer(r));
    if (r->opt->chat == NULL)
        return gf_fail(r->err, GF_EMISSING,
                       "%s: the model has no chat template: give one with --chat-template",
                       r->place);
    if (r->opt->train_on == GF_TRAIN_COMPLETION)
        return gf_fail(r->err, GF_EARG,
                       "%s: a conversation has no completion: use --train-on assistant or all",
                       r->place);
    conversation c = {.r = r};
    gf_err local = {0};
    gf_status st;
    TRYG(prepare(&c));
    TRYG(render(&c, cJSON_GetArraySize(c.messages), false, &c.whole, NULL));
    st = gf_tokenizer_encode(r->opt->tokenizer, c.whole.data, c.whole.len, false, &c.t, &local);
    if (st != GF_OK) {
        gf_fail(r->err, st, "%s: %s", r->place, local.text);
        goto out;
    }
    TRYG(gf_record_tokens(r, &c.t));
    TRYG(label(&c));
    r->e->text = gf_loose_hash(c.whole.data, c.whole.len);
    if (r->rendered != NULL)
        TRYG(gf_buf_add(r->rendered, c.whole.data, c.whole.len, r->err));
out:
    cJSON_Delete(c.own);
    cJSON_Delete(c.tools);
    gf_buf_free(&c.whole);
    gf_tokens_free(&c.t);
    return st;
}
