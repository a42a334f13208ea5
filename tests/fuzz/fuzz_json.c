/* fuzz_json.c - libFuzzer entry: the validator and cJSON must agree that a text is JSON, and what
 * is quoted must read back. */
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cJSON *root;
    gf_err err = {0};
    gf_buf b = {0};
    const gf_status st = gf_json_parse(&root, (const char *)data, size, "fuzz", 1, &err);
    /* GF_ENOMEM: the validator let a text pass that cJSON refuses. */
    if (st == GF_ENOMEM || (st == GF_OK) != (root != NULL))
        abort();
    cJSON_Delete(root);
    if (gf_json_quote(&b, (const char *)data, size, NULL) == GF_OK && !memchr(data, 0, size)) {
        if (gf_json_parse(&root, b.data, b.len, "fuzz", 1, NULL) != GF_OK ||
            strlen(root->valuestring) != size || memcmp(root->valuestring, data, size) != 0)
            abort();
        cJSON_Delete(root);
    }
    gf_buf_free(&b);
    return 0;
}
