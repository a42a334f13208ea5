/* test_base_files.c - a base is the same base whatever it came in: folders that bitsandbytes has
 * quantised against their dequantised weights, torch's file against safetensors: equal losses, to
 * the bit, equal adapters and equal merged models. */
#include "support/program.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define GOLDEN GRAFT_TESTS "/golden/"
#define TOKENS GOLDEN "cases/llama-gqa/tokens.jsonl"

/* Everything that graft does with the folders DIR/a and DIR/b. */
static void same(const char *dir)
{
    char *text[2];
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "b" : "a";
        char *log;
        cr_assert_eq(run_stdout(&text[i],
                                "cd %s && " GRAFT_BIN " eval --model %s --data " TOKENS " --json",
                                dir, name),
                     0);
        cr_assert_eq(run(&log,
                         "cd %s && " GRAFT_BIN " train --model %s --data " TOKENS
                         " --output-dir out-%s --max-steps 2 && " GRAFT_BIN
                         " merge --model %s --adapter out-%s --output-dir merged-%s",
                         dir, name, name, name, name, name),
                     0, "%s", log);
        free(log);
    }
    cr_expect_str_eq(text[0], text[1]);
    free(text[0]);
    free(text[1]);
    cr_expect_eq(run(NULL,
                     "cd %s && cmp out-a/adapter_model.safetensors out-b/adapter_model.safetensors "
                     "&& cmp merged-a/model.safetensors merged-b/model.safetensors && "
                     "! grep -q quantization merged-a/config.json",
                     dir),
                 0);
}

static void quantised(const char *name)
{
    char *dir = scratch_make();
    cr_assert_eq(run(NULL,
                     "cd %s && cp -r " GOLDEN "bnb/%s a && mkdir b && cp a/want.safetensors "
                     "b/model.safetensors && sed '/\"quantization_config\"/,/}/d' a/config.json > "
                     "b/config.json",
                     dir, name),
                 0);
    same(dir);
    scratch_remove(dir);
}

Test(base_files, nf4)
{
    quantised("nf4");
}

Test(base_files, nf4_nested)
{
    quantised("nf4-dq");
}

Test(base_files, fp4)
{
    quantised("fp4");
}

Test(base_files, nf4_stored_as_bf16)
{
    quantised("storage");
}

Test(base_files, int8)
{
    quantised("int8");
}

Test(base_files, torch)
{
    char *dir = scratch_make();
    cr_assert_eq(run(NULL,
                     "cd %s && cp -r " GOLDEN "cases/llama-gqa/model b && cp -r b a && "
                     "rm a/model.safetensors && cp " GOLDEN "torch/model.bin a/pytorch_model.bin",
                     dir),
                 0);
    same(dir);
    scratch_remove(dir);
}
