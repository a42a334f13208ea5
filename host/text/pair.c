/* Prompt and completion: as texts, tokenized as TRL does (FORMATS 11.2), or as messages. Alpaca's
 * records, which are one or the other. */
#include "text/conversation.h"

#include <string.h>

/* ---- two texts --------------------------------------------------------------------- */

static gf_status check_train_on(const gf_record *r, const char *what)
{
    if (r->opt->train_on != GF_TRAIN_ASSISTANT)
        return GF_OK;
    return gf_fail(r->err, GF_EARG,
                   "%s: %s of texts has no assistant to train on: use --train-on completion or all",
                   r->place, what);
}

static gf_status encode(const gf_record *r, const gf_buf *text, gf_tokens *out)
{
    gf_err local = {0};
    const gf_status st =
        gf_tokenizer_encode(r->opt->tokenizer, text->data, text->len, true, out, &local);
    if (st != GF_OK)
        return gf_fail(r->err, st, "%s: %s", r->place, local.text);
    gf_drop_second_bos(r, out);
    return GF_OK;
}

/* Trained from where the ids with the completion leave those of the prompt alone, through the end
 * token. */
static gf_status text_pair(const gf_record *r, const char *prompt, const char *completion)
{
    gf_buf text = {0};
    gf_tokens alone = {0}, whole = {0};
    gf_status st;
    int64_t first = 0;
    TRY(gf_record_need_tokenizer(r));
    TRYG(gf_buf_str(&text, prompt, r->err));
    TRYG(gf_buf_add(&text, "", 0, r->err)); /* so that data is a string even if empty */
    TRYG(encode(r, &text, &alone));
    TRYG(gf_buf_str(&text, completion, r->err));
    TRYG(encode(r, &text, &whole));
    TRYG(gf_end_text(r, &whole, text.len));
    while (first < alone.count && first < whole.count && alone.id[first] == whole.id[first])
        first++;
    TRYG(gf_record_tokens(r, &whole));
    if (r->opt->train_on == GF_TRAIN_ALL)
        first = 0;
    for (int64_t i = first; i < whole.count; i++)
        r->e->labels[i] = whole.id[i];
    gf_record_answer(r, whole.count - first);
    r->e->text = gf_loose_hash(text.data, text.len);
    if (r->rendered != NULL)
        TRYG(gf_buf_add(r->rendered, text.data, text.len, r->err));
out:
    gf_buf_free(&text);
    gf_tokens_free(&alone);
    gf_tokens_free(&whole);
    return st;
}

/* ---- prompt-completion -------------------------------------------------------------- */

static gf_status message_pair(const gf_record *r, const cJSON *prompt, const cJSON *completion)
{
    const int first = cJSON_GetArraySize(prompt);
    if (first == 0 || completion->child == NULL)
        return gf_record_fail(r, "\"%s\" is an empty list", first == 0 ? "prompt" : "completion");
    cJSON *both = cJSON_Duplicate(prompt, true), *more = cJSON_Duplicate(completion, true);
    gf_status st = GF_OK;
    if (both == NULL || more == NULL)
        st = gf_fail(r->err, GF_ENOMEM, "%s: no memory for the messages", r->place);
    while (st == GF_OK && more->child != NULL)
        cJSON_AddItemToArray(both, cJSON_DetachItemViaPointer(more, more->child));
    if (st == GF_OK)
        st = gf_messages_example(r, both, first);
    cJSON_Delete(both);
    cJSON_Delete(more);
    return st;
}

gf_status gf_pair_example(const gf_record *r)
{
    const cJSON *prompt = gf_member(r->json, "prompt"), *end = gf_member(r->json, "completion");
    if (cJSON_IsArray(prompt) && cJSON_IsArray(end))
        return message_pair(r, prompt, end);
    if (!cJSON_IsString(prompt) || !cJSON_IsString(end))
        return gf_record_fail(r,
                              "\"prompt\" and \"completion\" must both be strings, or both lists "
                              "of messages");
    TRY(check_train_on(r, "a pair"));
    return text_pair(r, prompt->valuestring, end->valuestring);
}

/* ---- Alpaca ------------------------------------------------------------------------ */

typedef struct {
    const char *instruction, *input, *output, *system; /* "": none */
    const cJSON *history;                              /* pairs of texts, or NULL */
} alpaca;

static gf_status read_field(const gf_record *r, const char **out, const char *key, bool needed)
{
    const cJSON *j = gf_member(r->json, key);
    *out = cJSON_IsString(j) ? j->valuestring : "";
    if (cJSON_IsString(j) || (j == NULL && !needed))
        return GF_OK;
    return gf_record_fail(r, "\"%s\" must be a string", key);
}

static gf_status read_alpaca(const gf_record *r, alpaca *a)
{
    const cJSON *pair;
    TRY(read_field(r, &a->instruction, "instruction", true));
    TRY(read_field(r, &a->input, "input", false));
    TRY(read_field(r, &a->output, "output", true));
    TRY(read_field(r, &a->system, "system", false));
    if (a->instruction[0] == '\0' && a->input[0] == '\0')
        return gf_record_fail(r, "\"instruction\" and \"input\" are both empty");
    a->history = gf_member(r->json, "history");
    if (a->history != NULL && !cJSON_IsArray(a->history))
        return gf_record_fail(r, "\"history\" must be a list of pairs of texts");
    cJSON_ArrayForEach(pair, a->history)
    {
        if (cJSON_GetArraySize(pair) != 2 || !cJSON_IsArray(pair) || !cJSON_IsString(pair->child) ||
            !cJSON_IsString(pair->child->next))
            return gf_record_fail(r, "\"history\" must be a list of pairs of texts");
    }
    return GF_OK;
}

/* The instruction, and after a blank line the input. */
static gf_status question(const gf_record *r, const alpaca *a, gf_buf *out)
{
    TRY(gf_buf_str(out, a->instruction, r->err));
    if (a->instruction[0] != '\0' && a->input[0] != '\0')
        TRY(gf_buf_str(out, "\n\n", r->err));
    return gf_buf_str(out, a->input, r->err);
}

static gf_status alpaca_chat(const gf_record *r, const alpaca *a)
{
    gf_buf text = {0};
    gf_status st = GF_OK;
    const cJSON *pair;
    cJSON *messages = cJSON_CreateArray();
    if (messages == NULL)
        return gf_fail(r->err, GF_ENOMEM, "%s: no memory for the messages", r->place);
    TRYG(gf_add_system(r, messages));
    cJSON_ArrayForEach(pair, a->history)
    {
        TRYG(gf_add_message(r, messages, "user", pair->child->valuestring));
        TRYG(gf_add_message(r, messages, "assistant", pair->child->next->valuestring));
    }
    TRYG(question(r, a, &text));
    TRYG(gf_add_message(r, messages, "user", text.data));
    TRYG(gf_add_message(r, messages, "assistant", a->output));
    TRYG(gf_messages_example(
        r, messages,
        r->opt->train_on == GF_TRAIN_COMPLETION ? cJSON_GetArraySize(messages) - 1 : 0));
out:
    cJSON_Delete(messages);
    gf_buf_free(&text);
    return st;
}

/* The prompt that the Stanford Alpaca model was trained with. */
static gf_status alpaca_text(const gf_record *r, const alpaca *a)
{
    static const char plain[] = "Below is an instruction that describes a task. Write a response "
                                "that appropriately completes the request.";
    static const char with_input[] =
        "Below is an instruction that describes a task, paired with an input that provides further "
        "context. Write a response that appropriately completes the request.";
    gf_buf text = {0};
    gf_status st;
    const char *head = a->system[0] != '\0' ? a->system : a->input[0] != '\0' ? with_input : plain;
    if (cJSON_GetArraySize(a->history) > 0)
        return gf_record_fail(r, "\"history\" needs a chat template; give one with "
                                 "--chat-template");
    TRY(check_train_on(r, "an Alpaca record"));
    TRYG(gf_buf_printf(&text, r->err, "%s\n\n### Instruction:\n%s\n\n", head, a->instruction));
    if (a->input[0] != '\0')
        TRYG(gf_buf_printf(&text, r->err, "### Input:\n%s\n\n", a->input));
    TRYG(gf_buf_str(&text, "### Response:\n", r->err));
    st = text_pair(r, text.data, a->output);
out:
    gf_buf_free(&text);
    return st;
}

bool gf_alpaca_is_text(const gf_data_options *opt)
{
    return opt->alpaca == GF_ALPACA_TEXT || (opt->alpaca == GF_ALPACA_AUTO && opt->chat == NULL);
}

gf_status gf_alpaca_example(const gf_record *r)
{
    alpaca a = {0};
    TRY(read_alpaca(r, &a));
    return gf_alpaca_is_text(r->opt) ? alpaca_text(r, &a) : alpaca_chat(r, &a);
}
