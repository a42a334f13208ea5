/* test_tokenizer.c - own small tokenizers of every kind against the tokenizers library's results
 * (golden/tokenizers), and what the vectors don't reach. */
#include "host/text/tokenizer_vectors.h"
#include "text/tokenizer_parts.h"

#include <stdio.h>

static gf_tokenizer *open_golden(const char *kind)
{
    char dir[512];
    gf_tokenizer *t = NULL;
    gf_err err = {0};
    snprintf(dir, sizeof dir, "%s/golden/tokenizers/%s", GRAFT_TESTS, kind);
    cr_assert_eq(gf_tokenizer_open(&t, dir, &err), GF_OK, "%s", err.text);
    return t;
}

Test(tokenizer, golden_vectors)
{
    static const char *const kinds[] = {
        "added-tokens", "gemma",     "gpt2-prefix",     "gpt4o",        "llama2",
        "llama3",       "qwen2",     "smollm",          "splits",       "metaspace-always",
        "tekken",       "unk-words", "metaspace-first", "roberta-words"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char path[600];
        gf_tokenizer *t = open_golden(kinds[i]);
        snprintf(path, sizeof path, "%s/golden/tokenizers/%s/vectors.jsonl", GRAFT_TESTS, kinds[i]);
        check_vectors(t, path);
        gf_tokenizer_free(t);
    }
}
