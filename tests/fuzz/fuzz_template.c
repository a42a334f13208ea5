/* A template of any bytes, with a small conversation: parse and render must not crash. */
#include "text/template.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char json[] =
        "[{\"role\":\"system\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"b\\n\","
        "\"n\":1.5,\"d\":{\"k\":[1,2,{\"x\":null}]}},{\"role\":\"assistant\",\"content\":\"c\"}]";
    static cJSON *messages;
    gf_err err = {0};
    if (messages == NULL) {
        setenv("SOURCE_DATE_EPOCH", "0", 1);
        if (gf_json_parse(&messages, json, sizeof json - 1, "m", 1, &err) != GF_OK)
            abort();
    }
    gf_template *t = NULL;
    if (size > 4096 || gf_template_parse(&t, (const char *)data, size, "fuzz", &err) != GF_OK)
        return 0;
    const gf_template_vars vars = {.messages = messages,
                                   .tools = messages,
                                   .bos_token = "<s>",
                                   .eos_token = "</s>",
                                   .add_generation_prompt = true};
    gf_buf out = {0};
    gf_template_render(t, &vars, &out, &err);
    gf_buf_free(&out);
    gf_template_free(t);
    return 0;
}
