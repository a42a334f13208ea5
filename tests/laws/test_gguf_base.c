/* test_gguf_base.c - a GGUF is a base like any other, without a download: training, evaluation,
 * generation and merging of a small one, in F32 and in blocks of Q8_0. */
#include "support/program.h"
#include "support/tiny_gguf.h"

#include "base/json.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The merged weights are one f32 rounding off what base and adapter compute apart. */
#define LOSS_MAX 1e-5

static void write_data(const char *dir)
{
    char *path = gf_format(NULL, "%s/text.jsonl", dir);
    FILE *f = fopen(path, "w");
    fputs("{\"text\":\"in the well the hen tells all\"}\n{\"text\":\"the end, then\"}\n"
          "{\"text\":\"h\xC3\xA9 h\xC3\xA9, 42 in all!\\n\"}\n{\"text\":\"hello\"}\n",
          f);
    fclose(f);
    free(path);
}

static double loss_of(const char *dir, const char *what)
{
    char *text;
    cr_assert_eq(run(&text, "cd %s && " GRAFT_BIN " eval --data text.jsonl --json %s", dir, what),
                 0, "%s: %s", what, text);
    const char *at = strstr(text, "\"loss\":");
    const double loss = at ? strtod(at + 7, NULL) : NAN;
    free(text);
    return loss;
}

static char *words_of(const char *dir, const char *what)
{
    char *text;
    cr_assert_eq(run(&text,
                     "cd %s && " GRAFT_BIN " generate --prompt 'in the' --max-new-tokens 12 "
                     "--json %s",
                     dir, what),
                 0, "%s: %s", what, text);
    return text;
}

static void check(const tiny_gguf *how)
{
    char *dir = scratch_make(), *text;
    char *path = gf_format(NULL, "%s/base.gguf", dir);
    tiny_gguf_write(path, how);
    write_data(dir);
    cr_assert_eq(run(&text,
                     "cd %s && " GRAFT_BIN " train --model base.gguf --data text.jsonl "
                     "--output-dir out --max-steps 2 --batch-size 4 --learning-rate 0.02",
                     dir),
                 0, "%s", text);
    free(text);
    cr_assert_eq(run(&text,
                     "cd %s && " GRAFT_BIN " merge --model base.gguf --adapter out --output-dir "
                     "merged --dtype f32",
                     dir),
                 0, "%s", text);
    free(text);
    const double base = loss_of(dir, "--model base.gguf");
    const double adapted = loss_of(dir, "--model base.gguf --adapter out");
    const double merged = loss_of(dir, "--model merged");
    cr_assert_lt(adapted, base - 0.01, "training changed nothing: %g, %g", base, adapted);
    cr_assert_float_eq(merged, adapted, LOSS_MAX, "merged %.9g, with the adapter %.9g", merged,
                       adapted);
    char *x = words_of(dir, "--model base.gguf --adapter out"),
         *y = words_of(dir, "--model merged");
    cr_assert_str_eq(x, y);
    free(x);
    free(y);
    free(path);
    scratch_remove(dir);
}

Test(gguf_base, f32)
{
    check(&(tiny_gguf){0});
}

Test(gguf_base, q8_0)
{
    check(&(tiny_gguf){.q8_0 = true});
}

/* A NaN in a block base is caught like any other. */
Test(gguf_base, nan_is_caught)
{
    char *dir = scratch_make(), *text;
    char *path = gf_format(NULL, "%s/base.gguf", dir);
    tiny_gguf_write(path, &(tiny_gguf){.poisoned = "blk.1.ffn_norm.weight"});
    write_data(dir);
    cr_assert_eq(run(&text,
                     "cd %s && " GRAFT_BIN " train --model base.gguf --data text.jsonl "
                     "--output-dir out",
                     dir),
                 1, "%s", text);
    cr_assert(strstr(text, "layer 1") && strstr(text, "text.jsonl:"), "%s", text);
    free(text);
    cr_assert_eq(
        run(&text, "cd %s && " GRAFT_BIN " generate --model base.gguf --prompt hello", dir), 1,
        "%s", text);
    free(text);
    free(path);
    scratch_remove(dir);
}
