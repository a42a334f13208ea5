/* test_program.c - the reference cases through the program: 12 losses and gradient norms, the
 * trained adapter, the merged weights; the same bytes for any threads and rows. */
#include "support/golden.h"
#include "support/golden_run.h"
#include "support/program.h"

#include "base/file.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define MERGED_MAX 1e-6 /* golden/README */

static void check_merged(const char *dir, const char *scratch)
{
    gf_source got, want;
    char *text;
    cr_assert_eq(run(&text,
                     GRAFT_BIN " merge --model %s/model --adapter %s/adapter-trained --dtype f32 "
                               "--output-dir %s/merged",
                     dir, dir, scratch),
                 0, "%s", text);
    free(text);
    char *merged = gf_format(NULL, "%s/merged", scratch);
    golden_open_tensors(&got, merged, "model.safetensors");
    golden_open_tensors(&want, dir, "expected.safetensors");
    int checked = 0;
    for (int i = 0; i < want.count; i++) {
        const char *name = want.entry[i].name;
        if (strncmp(name, "merged.", 7))
            continue;
        int64_t n;
        float *w = golden_tensor(&want, name, &n), *g = golden_tensor(&got, name + 7, &n);
        cr_assert_lt(golden_max(g, w, n), MERGED_MAX, "%s: %s", dir, name);
        checked++;
        free(w);
        free(g);
    }
    cr_assert_gt(checked, 0);
    gf_source_close(&got);
    gf_source_close(&want);
    free(merged);
}

static void check_case(const char *dir)
{
    char *scratch = scratch_make(), *options = golden_recipe(dir);
    char *first = gf_format(NULL, "%s/first", scratch);
    golden_train(options, "--precision fp32 --device cpu --threads 2", first);
    golden_check_metrics(dir, first, GOLDEN_FP32);
    golden_check_adapter(dir, first, GOLDEN_FP32);
    check_merged(dir, scratch);

    static const char *const others[] = {
        "--precision fp32 --device cpu --threads 1 --row-tokens 40",
        "--precision fp32 --device cpu --threads 2 --row-tokens 64",
        "--precision fp32 --device cpu --threads 1 --row-tokens 4096"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char *other = gf_format(NULL, "%s/other%zu", scratch, i);
        char *a = gf_format(NULL, "%s/adapter_model.safetensors", first);
        char *b = gf_format(NULL, "%s/adapter_model.safetensors", other);
        golden_train(options, others[i], other);
        cr_assert(same_bytes(a, b), "%s: other bytes with %s", dir, others[i]);
        free(other);
        free(a);
        free(b);
    }
    free(first);
    free(options);
    scratch_remove(scratch);
}

Test(program, golden_cases)
{
    char *dir = golden_case(0);
    if (!dir)
        cr_skip_test("no reference cases");
    for (int i = 0; dir; dir = golden_case(++i)) {
        check_case(dir);
        free(dir);
    }
}

static char *eval_of(const char *dir, const char *model)
{
    char *text;
    cr_assert_eq(run(&text,
                     GRAFT_BIN " eval --json --device cpu --precision fp32 --model %s --data "
                               "%s/tokens.jsonl --data-format tokens",
                     model, dir),
                 0, "%s: %s", model, text);
    return text;
}

static void check_convert(const char *dir, const char *from)
{
    char *scratch = scratch_make(), *text;
    char *model = gf_format(NULL, "%s/%s", dir, from);
    char *made = gf_format(NULL, "%s/made.gguf", scratch);
    cr_assert_eq(run(&text, GRAFT_BIN " convert --model %s --dtype f32 --output %s", model, made),
                 0, "%s: %s", model, text);
    char *want = eval_of(dir, model), *got = eval_of(dir, made);
    cr_assert_str_eq(got, want, "%s", model);
    free(text);
    free(want);
    free(got);
    free(model);
    free(made);
    scratch_remove(scratch);
}

/* A GGUF of every family as a GGUF of f32 is the model that it was. */
Test(program, converted_families)
{
    char *dir = golden_case(0);
    for (int i = 0; dir; dir = golden_case(++i)) {
        char *file = gf_format(NULL, "%s/model.gguf", dir);
        if (gf_file_exists(file))
            check_convert(dir, "model.gguf");
        free(file);
        free(dir);
    }
}
