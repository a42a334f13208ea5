/* cmd_generate.c - `graft generate`: completes a prompt or a conversation. */
#include <stdlib.h>
#include <string.h>

#include "cli/answer.h"
#include "cli/commands.h"

static gf_status prompt_ids(gf_session *s, gf_tokens *ids, gf_err *err)
{
    const gf_options *o = s->o;
    if (o->prompt) {
        TRY(gf_session_tokenizer(s, true, err));
        return gf_tokenizer_encode(s->tokenizer, o->prompt, strlen(o->prompt), true, ids, err);
    }
    cJSON *root = NULL;
    const cJSON *messages, *tools;
    gf_status st = gf_session_conversation(&root, &messages, &tools, o->messages, err);
    if (st == GF_OK)
        st = gf_session_render(s, messages, tools, true, NULL, ids, err);
    cJSON_Delete(root);
    return st;
}

static gf_status print_json(const int32_t *ids, int64_t count, const gf_buf *text, gf_err *err)
{
    gf_buf out = {0};
    gf_status st = GF_OK;
    TRYG(gf_buf_str(&out, "{\"ids\":[", err));
    for (int64_t i = 0; i < count; i++)
        TRYG(gf_buf_printf(&out, err, i ? ",%d" : "%d", ids[i]));
    TRYG(gf_buf_str(&out, "],\"text\":", err));
    TRYG(gf_json_quote(&out, text->data ? text->data : "", text->len, err));
    TRYG(gf_buf_str(&out, "}\n", err));
    fwrite(out.data, 1, out.len, stdout);
out:
    gf_buf_free(&out);
    return st;
}

static gf_status complete(gf_session *s, int32_t *ids, int64_t count, gf_err *err)
{
    const gf_options *o = s->o;
    const int64_t total = count + o->max_new_tokens, most = s->files.config.max_position;
    gf_stops stops;
    gf_stream stream = {.tokenizer = s->tokenizer, .to = o->json ? NULL : stdout};
    gf_buf text = {0};
    gf_status st = GF_OK;
    TRYG(gf_stops_find(&stops, s, o->messages != NULL, err));
    TRYG(gf_session_model(s, GF_USE_GENERATE, count < GF_PROMPT_PIECE ? count : GF_PROMPT_PIECE,
                          total, err));
    if (most > 0 && total > most)
        fprintf(stderr,
                "graft: note: %lld tokens of prompt and up to %lld new ones may pass the %lld that "
                "the model was made for\n",
                (long long)count, (long long)o->max_new_tokens, (long long)most);
    const gf_generate_options opt = {.sampling = gf_sampling_of(o),
                                     .max_new_tokens = o->max_new_tokens,
                                     .stop = stops.id,
                                     .stops = stops.count,
                                     .emit = gf_stream_add,
                                     .ctx = &stream};
    TRYG(gf_generate(&s->model, ids, &count, &opt, err));
    TRYG(gf_stream_finish(&stream, &text, err));
    if (o->json)
        TRYG(print_json(ids, count, &text, err));
    else
        putchar('\n');
out:
    gf_stream_free(&stream);
    gf_buf_free(&text);
    return st;
}

gf_status gf_cmd_generate(const gf_options *o, gf_err *err)
{
    gf_session s;
    gf_tokens prompt = {0};
    int32_t *ids = NULL;
    gf_status st = GF_OK;
    if (!o->prompt == !o->messages)
        return gf_fail(err, GF_EARG, "generate wants either --prompt TEXT or --messages FILE");
    gf_session_start(&s, o);
    TRYG(gf_session_files(&s, err));
    TRYG(prompt_ids(&s, &prompt, err));
    if (prompt.count == 0) {
        st = gf_fail(err, GF_EARG, "the prompt has no token; give some text to go on from");
        goto out;
    }
    ids = gf_alloc((size_t)(prompt.count + o->max_new_tokens), sizeof *ids, err);
    if (!ids) {
        st = GF_ENOMEM;
        goto out;
    }
    memcpy(ids, prompt.id, (size_t)prompt.count * sizeof *ids);
    TRYG(complete(&s, ids, prompt.count, err));
out:
    free(ids);
    gf_tokens_free(&prompt);
    gf_session_close(&s);
    return st;
}
