/* That what a conversation holds is in its rendering: nothing is lost without a word (law 1). */
#include "text/conversation.h"

#include "text/template/text.h"

#include <stdlib.h>
#include <string.h>

/* Does `text` (n bytes) occur so that it ends after `from` and at or before `to`? */
static bool occurs(const gf_buf *whole, const char *text, size_t n, size_t from, size_t to)
{
    const size_t low = from >= n ? from - n + 1 : 0; /* a prompt may hold an answer's beginning */
    return n == 0 || (low <= to && gf_jtext_find(whole->data, to, text, n, low) != SIZE_MAX);
}

/* What follows the last of the bytes in `ends`, trimmed, occurs and is not nothing. */
static bool tail_occurs(const gf_conversation *c, const char *s, size_t n, const char *ends,
                        size_t from, size_t to)
{
    size_t k = n;
    while (k > 0 && strchr(ends, s[k - 1]) == NULL)
        k--;
    k += gf_jtext_lstrip(s + k, n - k);
    return k < n && occurs(&c->whole, s + k, n - k, from, to);
}

bool gf_content_occurs(const gf_conversation *c, const cJSON *m, size_t from, size_t to)
{
    const cJSON *content = gf_member(m, "content");
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

/* ---- probes ------------------------------------------------------------------------ */

/* What takes part in a rendering shows when it is changed: these letters, which nothing escapes or
 * trims, are put into a copy. */
static const char probe[] = "graftprobe";

typedef enum { SHOWN, HIDDEN, UNTOLD } verdict; /* UNTOLD: the template refuses the copy */

/* Renders with other messages or tools (NULL: the conversation's own); does `text` occur? */
static gf_status look(const gf_conversation *c, const cJSON *messages, const cJSON *tools,
                      const char *text, verdict *out)
{
    gf_err local = {0};
    gf_buf now = {0};
    gf_template_vars vars = c->vars;
    vars.messages = messages == NULL ? vars.messages : messages;
    vars.tools = tools == NULL ? vars.tools : tools;
    const gf_status st = gf_template_render(c->r->opt->chat, &vars, &now, &local);
    *out = UNTOLD;
    if (st == GF_OK)
        *out = now.data != NULL && strstr(now.data, text) != NULL ? SHOWN : HIDDEN;
    gf_buf_free(&now);
    return st == GF_ENOMEM ? gf_fail(c->r->err, st, "%s", local.text) : GF_OK;
}

/* Puts the probe around a member that is a string. */
static bool mark(cJSON *object, const char *key)
{
    const cJSON *old = gf_member(object, key);
    gf_buf text = {0};
    if (!cJSON_IsString(old))
        return false;
    cJSON *now = NULL;
    if (gf_buf_printf(&text, NULL, "%s%s%s", probe, old->valuestring, probe) == GF_OK)
        now = cJSON_CreateString(text.data);
    gf_buf_free(&text);
    if (now != NULL && cJSON_ReplaceItemInObjectCaseSensitive(object, key, now))
        return true;
    cJSON_Delete(now);
    return false;
}

static gf_status no_memory(const gf_conversation *c)
{
    return gf_fail(c->r->err, GF_ENOMEM, "%s: no memory for the messages", c->r->place);
}

/* ---- contents ---------------------------------------------------------------------- */

/* The content as JSON writes it, as some templates print what tools answer. */
static gf_status occurs_quoted(const gf_conversation *c, const char *s, bool *yes)
{
    gf_buf quoted = {0};
    TRY(gf_json_quote(&quoted, s, strlen(s), c->r->err));
    *yes = occurs(&c->whole, quoted.data + 1, quoted.len - 2, 0, c->whole.len);
    gf_buf_free(&quoted);
    return GF_OK;
}

static gf_status check_content(const gf_conversation *c, const cJSON *m, int index)
{
    const cJSON *content = gf_member(m, "content");
    bool yes = !cJSON_IsString(content) || gf_content_occurs(c, m, 0, c->whole.len);
    if (yes)
        return GF_OK;
    TRY(occurs_quoted(c, content->valuestring, &yes));
    if (yes)
        return GF_OK;
    verdict v;
    cJSON *copy = cJSON_Duplicate(c->messages, true);
    if (copy == NULL || !mark(cJSON_GetArrayItem(copy, index), "content")) {
        cJSON_Delete(copy);
        return no_memory(c);
    }
    const gf_status st = look(c, copy, NULL, probe, &v);
    cJSON_Delete(copy);
    TRY(st);
    if (v != HIDDEN)
        return GF_OK;
    return gf_record_fail(c->r,
                          "turn %d (%.40s): its content is not in what the chat template renders; "
                          "leave the turn out, or use another template",
                          index + 1, gf_member(m, "role")->valuestring);
}

/* ---- tools ------------------------------------------------------------------------- */

/* The object with a function's name: of {"type": "function", "function": {...}}, or itself. */
static cJSON *function_of(const cJSON *item)
{
    cJSON *f = cJSON_GetObjectItemCaseSensitive(item, "function");
    if (!cJSON_IsObject(f))
        f = (cJSON *)(uintptr_t)item;
    return cJSON_IsString(gf_member(f, "name")) ? f : NULL;
}

static gf_status check_tools(const gf_conversation *c)
{
    int index = 0;
    const cJSON *tool;
    gf_status st = GF_OK;
    cJSON_ArrayForEach(tool, c->vars.tools)
    {
        cJSON *f = function_of(tool), *copy = NULL;
        verdict v = UNTOLD;
        if (f == NULL)
            return gf_record_fail(c->r, "tools[%d] has no function name", index);
        copy = cJSON_Duplicate(c->vars.tools, true);
        if (copy == NULL || !mark(function_of(cJSON_GetArrayItem(copy, index)), "name"))
            st = no_memory(c);
        if (st == GF_OK)
            st = look(c, NULL, copy, probe, &v);
        cJSON_Delete(copy);
        TRY(st);
        if (v == HIDDEN)
            return gf_record_fail(c->r,
                                  "tools[%d] (%.60s) is not in what the chat template renders: it "
                                  "takes no \"tools\"; use another template, or leave them out",
                                  index, gf_member(f, "name")->valuestring);
        index++;
    }
    return GF_OK;
}

/* The copy of a call with its name marked, or its arguments; false: there is nothing to mark. */
static bool mark_call(cJSON *call, bool arguments)
{
    cJSON *f = function_of(call);
    if (!arguments)
        return mark(f, "name");
    cJSON *a = cJSON_GetObjectItemCaseSensitive(f, "arguments");
    if (cJSON_IsObject(a))
        return cJSON_AddStringToObject(a, probe, probe) != NULL;
    return mark(f, "arguments");
}

static gf_status check_call(const gf_conversation *c, int index, int call, const char *name,
                            bool arguments)
{
    verdict v = UNTOLD;
    gf_status st = GF_OK;
    cJSON *copy = cJSON_Duplicate(c->messages, true);
    if (copy == NULL)
        return no_memory(c);
    cJSON *calls = cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(copy, index), "tool_calls");
    if (mark_call(cJSON_GetArrayItem(calls, call), arguments))
        st = look(c, copy, NULL, probe, &v);
    cJSON_Delete(copy);
    if (st != GF_OK || v != HIDDEN)
        return st;
    return gf_record_fail(c->r,
                          "turn %d: %stool_calls[%d] (%.60s) is not in what the chat template "
                          "renders; use a template that takes tool calls",
                          index + 1, arguments ? "the arguments of " : "", call, name);
}

static gf_status check_calls(const gf_conversation *c, const cJSON *m, int index)
{
    const cJSON *calls = gf_member(m, "tool_calls"), *call;
    int k = 0;
    cJSON_ArrayForEach(call, calls)
    {
        const cJSON *f = function_of(call);
        if (f == NULL)
            return gf_record_fail(c->r, "turn %d: tool_calls[%d] has no function name", index + 1,
                                  k);
        const char *name = gf_member(f, "name")->valuestring;
        TRY(check_call(c, index, k, name, false));
        TRY(check_call(c, index, k, name, true));
        k++;
    }
    return GF_OK;
}

gf_status gf_conversation_check(gf_conversation *c)
{
    int index = 0;
    const cJSON *m;
    TRY(check_tools(c));
    cJSON_ArrayForEach(m, c->messages)
    {
        if (!gf_turn_is_assistant(m))
            TRY(check_content(c, m, index));
        else if (gf_turn_wanted(m))
            TRY(check_calls(c, m, index));
        index++;
    }
    return GF_OK;
}
