/* ShareGPT's conversations ({"from", "value"}) as messages (FORMATS 11.1). */
#include "text/conversation.h"

#include <string.h>

static const struct {
    const char *from, *role;
    bool call; /* the value is a call, or a list of them, as JSON */
} roles[] = {
    {"human", "user", false},       {"user", "user", false},
    {"gpt", "assistant", false},    {"assistant", "assistant", false},
    {"model", "assistant", false},  {"system", "system", false},
    {"tool", "tool", false},        {"function_response", "tool", false},
    {"observation", "tool", false}, {"function_call", "assistant", true},
};

static gf_status no_memory(const gf_record *r)
{
    return gf_fail(r->err, GF_ENOMEM, "%s: no memory for the messages", r->place);
}

static bool is_call(const cJSON *j)
{
    return cJSON_IsObject(j) && cJSON_IsString(gf_member(j, "name"));
}

/* {"name", "arguments"} as one of tool_calls. Takes `function` over. */
static gf_status add_call(const gf_record *r, cJSON *calls, cJSON *function)
{
    cJSON *call = cJSON_CreateObject();
    if (call != NULL && function != NULL && cJSON_AddStringToObject(call, "type", "function") &&
        cJSON_AddItemToObject(call, "function", function)) {
        if (cJSON_AddItemToArray(calls, call))
            return GF_OK;
        function = NULL; /* the call's */
    }
    cJSON_Delete(call);
    cJSON_Delete(function);
    return no_memory(r);
}

static gf_status add_calls(const gf_record *r, cJSON *message, const cJSON *value, int turn)
{
    cJSON *parsed = NULL, *calls = cJSON_AddArrayToObject(message, "tool_calls");
    gf_status st = GF_OK;
    if (calls == NULL)
        return no_memory(r);
    if (cJSON_IsString(value)) {
        const char *s = value->valuestring;
        gf_err local = {0};
        if (gf_json_parse(&parsed, s, strlen(s), "value", 1, &local) != GF_OK)
            return gf_record_fail(r, "turn %d: a function_call whose value is not JSON: %s", turn,
                                  local.text);
        TRYG(gf_template_numbers(parsed, s, strlen(s), r->err));
        value = parsed;
    }
    const cJSON *one = cJSON_IsArray(value) ? value->child : value;
    for (; one != NULL && st == GF_OK; one = cJSON_IsArray(value) ? one->next : NULL)
        st = is_call(one) ? add_call(r, calls, cJSON_Duplicate(one, true))
                          : gf_record_fail(r,
                                           "turn %d: a function_call's value must be {\"name\": "
                                           "..., \"arguments\": ...}, or a list of such",
                                           turn);
    if (st == GF_OK && calls->child == NULL)
        st = gf_record_fail(r, "turn %d: a function_call without a call", turn);
out:
    cJSON_Delete(parsed);
    return st;
}

/* What a turn has besides goes along: weights, names, ids. */
static gf_status copy_members(const gf_record *r, cJSON *to, const cJSON *from)
{
    const cJSON *e;
    cJSON_ArrayForEach(e, from)
    {
        if (strcmp(e->string, "from") == 0 || strcmp(e->string, "value") == 0)
            continue;
        cJSON *copy = cJSON_Duplicate(e, true);
        if (copy == NULL || !cJSON_AddItemToObject(to, e->string, copy)) {
            cJSON_Delete(copy);
            return no_memory(r);
        }
    }
    return GF_OK;
}

static gf_status add_turn(const gf_record *r, cJSON *messages, const cJSON *turn, int number)
{
    const cJSON *from = gf_member(turn, "from"), *value = gf_member(turn, "value");
    cJSON *m = cJSON_CreateObject();
    if (m == NULL || !cJSON_AddItemToArray(messages, m)) {
        cJSON_Delete(m);
        return no_memory(r);
    }
    if (!cJSON_IsObject(turn))
        return gf_record_fail(r, "turn %d is not an object", number);
    if (from == NULL && gf_member(turn, "role") != NULL) /* messages under another name */
        return copy_members(r, m, turn);
    if (!cJSON_IsString(from))
        return gf_record_fail(r, "turn %d: \"from\" must be a string", number);
    size_t i = 0;
    while (i < sizeof roles / sizeof roles[0] && strcmp(roles[i].from, from->valuestring) != 0)
        i++;
    if (i == sizeof roles / sizeof roles[0])
        return gf_record_fail(r,
                              "turn %d: \"from\": \"%.40s\": want human, gpt, system, tool, "
                              "observation or function_call",
                              number, from->valuestring);
    if (!roles[i].call && !cJSON_IsString(value))
        return gf_record_fail(r, "turn %d: \"value\" must be a string", number);
    if (roles[i].call && value == NULL)
        return gf_record_fail(r, "turn %d: a function_call without a \"value\"", number);
    if (!cJSON_AddStringToObject(m, "role", roles[i].role) ||
        !cJSON_AddStringToObject(m, "content", roles[i].call ? "" : value->valuestring))
        return no_memory(r);
    if (roles[i].call)
        TRY(add_calls(r, m, value, number));
    return copy_members(r, m, turn);
}

gf_status gf_add_message(const gf_record *r, cJSON *messages, const char *role, const char *content)
{
    cJSON *m = cJSON_CreateObject();
    if (m != NULL && cJSON_AddItemToArray(messages, m)) {
        if (cJSON_AddStringToObject(m, "role", role) &&
            cJSON_AddStringToObject(m, "content", content))
            return GF_OK;
        return no_memory(r);
    }
    cJSON_Delete(m);
    return no_memory(r);
}

gf_status gf_add_system(const gf_record *r, cJSON *messages)
{
    const cJSON *system = gf_member(r->json, "system");
    if (system == NULL)
        return GF_OK;
    if (!cJSON_IsString(system))
        return gf_record_fail(r, "\"system\" must be a string");
    return system->valuestring[0] == '\0'
               ? GF_OK
               : gf_add_message(r, messages, "system", system->valuestring);
}

gf_status gf_sharegpt_example(const gf_record *r)
{
    const cJSON *turns = gf_member(r->json, "conversations"), *turn;
    if (!cJSON_IsArray(turns) || turns->child == NULL)
        return gf_record_fail(r, "\"conversations\" must be an array with at least one turn");
    cJSON *messages = cJSON_CreateArray();
    gf_status st = messages == NULL ? no_memory(r) : gf_add_system(r, messages);
    int number = 0;
    cJSON_ArrayForEach(turn, turns)
    {
        if (st == GF_OK)
            st = add_turn(r, messages, turn, ++number);
    }
    if (st == GF_OK)
        st = gf_messages_example(r, messages, 0);
    cJSON_Delete(messages);
    return st;
}
