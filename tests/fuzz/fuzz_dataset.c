/* Any bytes as a data file: the first decides what is asked for, the rest is read, rendered,
 * tokenized and labelled. Nothing may crash; what is accepted keeps its promises. */
#include "text/dataset.h"
#include "text/dataset_source.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char chat[] =
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content }}{% for c in m.tool_calls or [] %}{{ c | tojson }}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

static gf_status one(void *ctx, cJSON *record, const char *text, size_t n, int64_t line,
                     gf_err *err)
{
    gf_example e = {.file = "fuzz", .line = line};
    (void)text;
    (void)n;
    const gf_status st = gf_dataset_example(&e, NULL, record, ctx, NULL, err);
    for (int64_t t = 0; st == GF_OK && t < e.length; t++)
        if (e.ids[t] < 0 || e.ids[t] >= 263 || e.labels[t] < -100 || e.labels[t] >= 263)
            abort();
    free(e.ids);
    free(e.labels);
    return st == GF_EINPUT ? GF_OK : st; /* on to the next record */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static gf_tokenizer *tokenizer;
    static gf_template *template;
    gf_err err = {0};
    if (tokenizer == NULL &&
        (gf_tokenizer_open(&tokenizer, GRAFT_TESTS "/golden/bytes", &err) != GF_OK ||
         gf_template_parse(&template, chat, sizeof chat - 1, "chat", &err) != GF_OK))
        abort();
    if (size < 1 || size > 8192)
        return 0;
    const gf_data_options opt = {.tokenizer = tokenizer,
                                 .chat = data[0] & 2 ? template : NULL,
                                 .vocab = 263,
                                 .max_length = INT64_MAX,
                                 .train_on = (gf_train_on)(data[0] >> 2 & 3),
                                 .alpaca = data[0] & 16 ? GF_ALPACA_TEXT : GF_ALPACA_AUTO};
    gf_records_parse((const char *)data + 1, size - 1, data[0] & 1, "fuzz", one,
                     (void *)(uintptr_t)&opt, &err);
    return 0;
}
