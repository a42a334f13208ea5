/* test_tokenizer_shared.c - the reference strings of each kind of tokenizer, where they are. */
#include "host/text/tokenizer_vectors.h"

#include <stdio.h>

Test(tokenizer_shared, all_kinds_of_tokenizer)
{
    static const char *const kinds[] = {"added-tokens", "gemma-like",  "gpt2-like",
                                        "llama2-like",  "llama3-like", "mistral-metaspace",
                                        "qwen2-like",   "smollm-like"};
    if (!gf_dir_exists(GRAFT_SHARED "/tokenizers"))
        cr_skip_test("no reference results at " GRAFT_SHARED "/tokenizers");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char dir[512], vectors[600];
        gf_tokenizer *t = NULL;
        gf_err err = {0};
        snprintf(dir, sizeof dir, "%s/tokenizers/%s", GRAFT_SHARED, kinds[i]);
        snprintf(vectors, sizeof vectors, "%s/vectors.jsonl", dir);
        cr_assert_eq(gf_tokenizer_open(&t, dir, &err), GF_OK, "%s", err.text);
        cr_expect_eq(check_vectors(t, vectors), 305);
        gf_tokenizer_free(t);
    }
}
