/* test_cases.c - the reference cases through the program on a CUDA device (the test device, or a
 * GPU): the same tolerances as the CPU's in f32, bounds by the number of roundings in bf16; rows,
 * ranks, a kill and dropout do not show in the bytes. */
#include "support/golden.h"
#include "support/golden_run.h"
#include "support/program.h"
#include "support/small_model.h"

#include "base/file.h"
#include "graft/ops.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* No device: skipped, unless the caller says that there must be one. */
static bool has_device(void)
{
    gf_cuda_machine m;
    gf_cuda_look(&m);
    if (m.devices == 0)
        cr_assert_null(getenv("GRAFT_REQUIRE_GPU"), "GRAFT_REQUIRE_GPU is set, but: %s", m.why);
    return m.devices > 0;
}

/* bf16 keeps 8 bits: every rounding is off by at most u = 2^-8 of its value, with random signs.
 * Between the embedding and a logit a token passes, in each layer, the roundings of: norm1, q k v,
 * their rotation, softmax's numerators, o, S (twice), norm2, gate and up, the GLU, S (twice), and
 * of the weights that each product reads (4): 16; besides the final norm, the head's weights and
 * the embedding. Errors of random sign add up as the root of their number, in a residual stream of
 * values around 1 and logits around 1. A loss is a mean over a step's tokens, whose errors are not
 * independent (one set of weights): no further root is taken. */
static double bf16_loss(int layers)
{
    return sqrt(16.0 * layers + 3.0) * 0x1p-8;
}

/* A gradient passes the same roundings once more on its way back, and it is relative to its norm.
 */
static double bf16_norm(int layers)
{
    return sqrt(2.0 * (16.0 * layers + 3.0)) * 0x1p-8;
}

static int layers_of(const char *dir)
{
    char *path = gf_format(NULL, "%s/model/config.json", dir);
    const double n = jsonl_number(path, "num_hidden_layers", 0);
    free(path);
    return isnan(n) ? 4 : (int)n;
}

static void same_adapter(const char *a, const char *b, const char *what)
{
    char *x = gf_format(NULL, "%s/adapter_model.safetensors", a);
    char *y = gf_format(NULL, "%s/adapter_model.safetensors", b);
    cr_assert(same_bytes(x, y), "other bytes: %s", what);
    free(x);
    free(y);
}

static void check_case(const char *dir)
{
    if (strstr(dir, "llama-outer") || strstr(dir, "llama-saved"))
        return; /* what trains the embedding and the head runs on CPUs only so far */
    char *scratch = scratch_make(), *options = golden_recipe(dir);
    char *f32 = gf_format(NULL, "%s/f32", scratch), *rows = gf_format(NULL, "%s/rows", scratch);
    char *bf16 = gf_format(NULL, "%s/bf16", scratch);
    golden_train(options, "--device cuda --precision fp32", f32);
    golden_check_metrics(dir, f32, GOLDEN_FP32);
    golden_check_adapter(dir, f32, GOLDEN_FP32);
    golden_train(options, "--device cuda --precision fp32 --row-tokens 40", rows);
    same_adapter(f32, rows, "rows of 40 tokens");

    /* Twelve steps on: the adapter's own change carries the gradients' errors along. AdamW's step
     * is the sign of a small gradient, so that elements near zero turn: a quarter of the way at
     * most. */
    const int layers = layers_of(dir);
    const golden_bounds b = {.loss = bf16_loss(layers), .norm = bf16_norm(layers), .adapter = 0.25};
    golden_train(options, "--device cuda --precision bf16", bf16);
    golden_check_metrics(dir, bf16, b);
    golden_check_adapter(dir, bf16, b);
    free(f32);
    free(rows);
    free(bf16);
    free(options);
    scratch_remove(scratch);
}

/* Whether the tests have a case of this one's name among their own. */
static bool has_own(const char *dir)
{
    char *path = gf_format(NULL, "%s/golden/cases/%s", GRAFT_TESTS, strrchr(dir, '/') + 1);
    const bool has = gf_dir_exists(path);
    free(path);
    return has;
}

Test(device, golden_cases)
{
    char *dir = golden_case(0);
    if (!has_device())
        cr_skip_test("no CUDA device");
    if (!dir)
        cr_skip_test("no reference cases");
    const bool all = getenv("GRAFT_ALL_CASES") != NULL; /* minutes on the test device */
    for (int i = 0; dir; dir = golden_case(++i)) {
        if (all || strstr(dir, GRAFT_TESTS "/golden") || !has_own(dir))
            check_case(dir);
        free(dir);
    }
}

/* ---- law 3 ---------------------------------------------------------------------------- */

typedef struct {
    char *dir, *model, *data;
} bed;

static bool bed_open(bed *b)
{
    char *dir = golden_case(0);
    if (!dir)
        return false;
    *b = (bed){.dir = scratch_make(), .model = gf_format(NULL, "%s/model", dir)};
    b->data = small_tokens(b->dir, 9, 37, 150);
    free(dir);
    return true;
}

static void bed_close(bed *b)
{
    scratch_remove(b->dir);
    free(b->model);
    free(b->data);
}

static int train(const bed *b, const char *prefix, const char *more, const char *name, char **text)
{
    return run(text,
               "%s " GRAFT_BIN " train --device cuda --precision bf16 --model %s --data %s "
               "--output-dir %s/%s --batch-size 5 --num-train-epochs 2 --lora-r 4 "
               "--lora-dropout 0.1 --learning-rate 1e-3 --warmup-steps 1 --seed 5 --save-steps 1 "
               "%s",
               prefix, b->model, b->data, b->dir, name, more);
}

static void must_train(const bed *b, const char *prefix, const char *more, const char *name)
{
    char *text;
    cr_assert_eq(train(b, prefix, more, name, &text), 0, "%s %s: %s", prefix, more, text);
    free(text);
}

static void same_as(const bed *b, const char *first, const char *second)
{
    char *x = gf_format(NULL, "%s/%s", b->dir, first),
         *y = gf_format(NULL, "%s/%s", b->dir, second);
    same_adapter(x, y, second);
    free(x);
    free(y);
}

/* Several ranks want as many devices: the test device has what PTXVM_DEVICES says. */
Test(device, ranks)
{
    bed b;
    gf_cuda_machine m;
    gf_cuda_look(&m);
    if (!has_device() || m.nccl == 0)
        cr_skip_test("no CUDA device, or no NCCL");
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    must_train(&b, "", "", "one");
    for (int ranks = 2; ranks <= 4; ranks += 2) {
        char *name = gf_format(NULL, "ranks%d", ranks);
        char *prefix = gf_format(NULL,
                                 "PTXVM_DEVICES=%d OMPI_ALLOW_RUN_AS_ROOT=1 "
                                 "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun --oversubscribe -n %d",
                                 ranks, ranks);
        if (m.devices < ranks && !getenv("PTXVM_SEED")) {
            cr_log_warn("only %d devices: %d ranks were not run", m.devices, ranks);
        } else {
            must_train(&b, prefix, "", name);
            same_as(&b, "one", name);
        }
        free(prefix);
        free(name);
    }
    bed_close(&b);
}

/* Killed after its first checkpoint, then resumed: the bytes of the whole run. */
Test(device, killed_and_resumed)
{
    bed b;
    char *text;
    if (!has_device())
        cr_skip_test("no CUDA device");
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    must_train(&b, "", "--row-tokens 200", "whole");
    char *wait = gf_format(NULL,
                           "sh -c '\"$@\" & pid=$!; while [ ! -d %s/cut/checkpoint-1 ] && kill -0 "
                           "$pid; do sleep 0.05; done; kill -9 $pid; wait $pid' sh",
                           b.dir);
    cr_assert_neq(train(&b, wait, "", "cut", &text), 0, "it was not killed: %s", text);
    free(text);
    must_train(&b, "", "--resume", "cut");
    same_as(&b, "whole", "cut");
    free(wait);
    bed_close(&b);
}

/* More ranks than devices is said before anything is computed. */
Test(device, too_many_ranks)
{
    bed b;
    char *text;
    if (!has_device())
        cr_skip_test("no CUDA device");
    if (!getenv("PTXVM_SEED"))
        cr_skip_test("a machine's own devices cannot be counted down");
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    const char *prefix = "PTXVM_DEVICES=1 OMPI_ALLOW_RUN_AS_ROOT=1 "
                         "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun --oversubscribe -n 2";
    cr_assert_eq(train(&b, prefix, "", "many", &text), 2, "%s", text);
    cr_assert_not_null(strstr(text, "device"), "%s", text);
    free(text);
    bed_close(&b);
}
