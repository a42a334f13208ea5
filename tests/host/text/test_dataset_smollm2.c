/* A real model's tokenizer and template: the reference run's 32 conversations, ids and labels. */
#include "text/dataset.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static void same_examples(const gf_dataset *got, const gf_dataset *want)
{
    cr_assert_eq(got->count, want->count);
    for (int64_t i = 0; i < want->count; i++) {
        const gf_example ea = gf_dataset_at(got, i), eb = gf_dataset_at(want, i);
        const gf_example *a = &ea, *b = &eb;
        cr_assert_eq(a->length, b->length, "example %lld", (long long)i);
        cr_expect_eq(a->trained, b->trained, "example %lld", (long long)i);
        for (int64_t t = 0; t < a->length; t++) {
            cr_assert_eq(a->ids[t], b->ids[t], "example %lld token %lld", (long long)i,
                         (long long)t);
            cr_assert_eq(a->labels[t], b->labels[t], "example %lld label %lld", (long long)i,
                         (long long)t);
        }
    }
}

Test(dataset_smollm2, ids_and_labels)
{
    const char *path = getenv("GRAFT_SMOLLM2");
    if (path == NULL)
        path = GRAFT_TESTS "/../build/models/SmolLM2-135M-Instruct.Q4_1.gguf";
    char *chat[] = {GRAFT_SHARED "/smollm2/chat.jsonl"};
    char *tokens[] = {GRAFT_SHARED "/smollm2/tokens.jsonl"};
    if (!gf_file_exists(path) || !gf_file_exists(chat[0]))
        cr_skip_test("no %s (GRAFT_SMOLLM2), or no %s", path, chat[0]);
    gf_err err = {0};
    gf_gguf g = {0};
    gf_tokenizer *tok = NULL;
    gf_template *t = NULL;
    gf_dataset got = {0}, want = {0};
    cr_assert_eq(gf_gguf_open(&g, path, &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_tokenizer_open_gguf(&tok, &g, &err), GF_OK, "%s", err.text);
    const char *text = gf_tokenizer_template(tok);
    cr_assert_not_null(text);
    cr_assert_eq(gf_template_parse(&t, text, strlen(text), "template", &err), GF_OK, "%s",
                 err.text);
    const gf_data_options opt = {
        .tokenizer = tok, .chat = t, .vocab = gf_tokenizer_size(tok), .max_length = 2048};
    cr_assert_eq(gf_dataset_load(&got, chat, 1, &opt, &err), GF_OK, "%s", err.text);
    const gf_data_options plain = {.vocab = gf_tokenizer_size(tok)};
    cr_assert_eq(gf_dataset_load(&want, tokens, 1, &plain, &err), GF_OK, "%s", err.text);
    cr_expect_eq(want.count, 32);
    same_examples(&got, &want);
    cr_expect_eq(got.prefix_mismatch, 0);
    cr_expect_eq(got.no_end_token, 0);
    gf_dataset_free(&got);
    gf_dataset_free(&want);
    gf_template_free(t);
    gf_tokenizer_free(tok);
    gf_gguf_close(&g);
}
