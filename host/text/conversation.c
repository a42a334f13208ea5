/* Conversations: read, render and tokenize (DESIGN 2.2). */
#include "text/conversation.h"

#include <stdlib.h>
#include <string.h>

/* ---- checking ---------------------------------------------------------------------- */

/* Whether a turn is trained goes by these names, as OpenAI's, ms-swift's and axolotl's data has
 * them. */
static const char *const weight_keys[] = {"weight", "loss", "train"};
enum { WEIGHT_KEYS = sizeof weight_keys / sizeof weight_keys[0] };

static bool says_no(const cJSON *weight)
{
    return cJSON_IsFalse(weight) || (cJSON_IsNumber(weight) && weight->valuedouble == 0);
}

bool gf_turn_wanted(const cJSON *message)
{
    for (int i = 0; i < WEIGHT_KEYS; i++)
        if (says_no(gf_member(message, weight_keys[i])))
            return false;
    return true;
}

bool gf_turn_is_assistant(const cJSON *message)
{
    return strcmp(gf_member(message, "role")->valuestring, "assistant") == 0;
}

static gf_status check_weight(const gf_record *r, const cJSON *m, int turn)
{
    const char *first = NULL;
    bool no = false;
    for (int i = 0; i < WEIGHT_KEYS; i++) {
        const cJSON *w = gf_member(m, weight_keys[i]);
        if (w == NULL)
            continue;
        if (!cJSON_IsBool(w) &&
            !(cJSON_IsNumber(w) && (w->valuedouble == 0 || w->valuedouble == 1)))
            return gf_record_fail(r, "turn %d: \"%s\" must be 0 or 1", turn, weight_keys[i]);
        if (first != NULL && no != says_no(w))
            return gf_record_fail(r, "turn %d: \"%s\" and \"%s\" contradict each other", turn,
                                  first, weight_keys[i]);
        first = weight_keys[i];
        no = says_no(w);
    }
    return GF_OK;
}

static gf_status check_parts(const gf_record *r, const cJSON *content, int turn)
{
    const cJSON *part;
    cJSON_ArrayForEach(part, content)
    {
        const cJSON *type = gf_member(part, "type");
        if (!cJSON_IsString(type) || strcmp(type->valuestring, "text") != 0 ||
            !cJSON_IsString(gf_member(part, "text")))
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
    if (!cJSON_IsString(gf_member(m, "role")))
        return gf_record_fail(r, "turn %d: \"role\" must be a string", turn);
    const cJSON *content = gf_member(m, "content"), *calls = gf_member(m, "tool_calls");
    if (calls != NULL && !cJSON_IsArray(calls))
        return gf_record_fail(r, "turn %d: \"tool_calls\" must be an array", turn);
    if (content == NULL) {
        if (cJSON_GetArraySize(calls) == 0)
            return gf_record_fail(r, "turn %d: no \"content\" (null is for turns with tool_calls)",
                                  turn);
    } else if (cJSON_IsArray(content)) {
        TRY(check_parts(r, content, turn));
    } else if (!cJSON_IsString(content)) {
        return gf_record_fail(r, "turn %d: \"content\" must be a string or a list of text parts",
                              turn);
    }
    return check_weight(r, m, turn);
}

/* Contents that are lists of parts become strings: most templates take nothing else. */
static gf_status join_parts(gf_conversation *c)
{
    cJSON *m;
    gf_err *err = c->r->err;
    c->own = cJSON_Duplicate(c->messages, true);
    if (c->own == NULL)
        return gf_fail(err, GF_ENOMEM, "%s: no memory for the messages", c->r->place);
    cJSON_ArrayForEach(m, c->own)
    {
        if (!cJSON_IsArray(gf_member(m, "content")))
            continue;
        gf_buf text = {0};
        gf_status st = gf_buf_add(&text, "", 0, err);
        const cJSON *part;
        cJSON_ArrayForEach(part, gf_member(m, "content"))
        {
            if (st == GF_OK)
                st = gf_buf_str(&text, gf_member(part, "text")->valuestring, err);
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

static gf_status read_tools(gf_conversation *c, const cJSON *tools)
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

static gf_status prepare(gf_conversation *c)
{
    const gf_record *r = c->r;
    gf_tokenizer *tok = r->opt->tokenizer;
    int turn = 0;
    bool parts = false;
    if (!cJSON_IsArray(c->messages) || cJSON_GetArraySize(c->messages) == 0)
        return gf_record_fail(r, "\"messages\" must be an array with at least one message");
    const cJSON *m;
    cJSON_ArrayForEach(m, c->messages)
    {
        TRY(check_message(r, m, ++turn));
        parts |= cJSON_IsArray(gf_member(m, "content"));
    }
    if (parts)
        TRY(join_parts(c));
    c->vars.messages = c->messages;
    c->vars.bos_token = token_text(tok, gf_tokenizer_bos(tok));
    c->vars.eos_token = token_text(tok, gf_tokenizer_eos(tok));
    c->vars.pad_token = token_text(tok, gf_tokenizer_pad(tok));
    c->vars.unk_token = token_text(tok, gf_tokenizer_unk(tok));
    if (!cJSON_IsObject(r->json)) /* the messages alone */
        return GF_OK;
    c->vars.documents = gf_member(r->json, "documents");
    c->vars.extra = gf_member(r->json, "chat_template_kwargs");
    if (c->vars.extra != NULL && !cJSON_IsObject(c->vars.extra))
        return gf_record_fail(r, "\"chat_template_kwargs\" must be an object");
    return read_tools(c, gf_member(r->json, "tools"));
}

/* ---- rendering --------------------------------------------------------------------- */

gf_status gf_conversation_render(gf_conversation *c, int n, bool prompt, gf_buf *out,
                                 const char *what)
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

static gf_status check_train_on(const gf_record *r, bool pair)
{
    if (r->opt->train_on != GF_TRAIN_COMPLETION || pair)
        return GF_OK;
    return gf_fail(r->err, GF_EARG,
                   "%s: a conversation has no completion: use --train-on assistant or all",
                   r->place);
}

gf_status gf_messages_example(const gf_record *r, const cJSON *messages, int first)
{
    TRY(gf_record_need_tokenizer(r));
    if (r->opt->chat == NULL)
        return gf_fail(r->err, GF_EMISSING,
                       "%s: the model has no chat template: give one with --chat-template",
                       r->place);
    TRY(check_train_on(r, first > 0));
    gf_conversation c = {.r = r, .messages = messages};
    gf_err local = {0};
    gf_status st;
    TRYG(prepare(&c));
    TRYG(gf_conversation_render(&c, cJSON_GetArraySize(c.messages), false, &c.whole, NULL));
    st = gf_tokenizer_encode(r->opt->tokenizer, c.whole.data, c.whole.len, false, &c.t, &local);
    if (st != GF_OK) {
        gf_fail(r->err, st, "%s: %s", r->place, local.text);
        goto out;
    }
    TRYG(gf_record_tokens(r, &c.t));
    if (!r->opt->lenient)
        TRYG(gf_conversation_check(&c));
    TRYG(gf_conversation_label(&c, first));
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

gf_status gf_conversation_example(const gf_record *r)
{
    return gf_messages_example(r, cJSON_IsArray(r->json) ? r->json : gf_member(r->json, "messages"),
                               0);
}
