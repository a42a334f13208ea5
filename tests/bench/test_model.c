/* test_model.c - bench model against formulas that are written here once more, from the papers and
 * the sizes alone: what a row costs, what it needs, what it should reach. Needs no GPU. */
#include "support/program.h"

#include "base/json.h"
#include "graft/ops.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *name;
    double L, d, h, g, dh, f, V;
} sizes;

static const sizes models[] = {
    {"Llama-3-8B", 32, 4096, 32, 8, 128, 14336, 128256},
    {"Llama-2-7B", 32, 4096, 32, 32, 128, 11008, 32000},
    {"SmolLM2-135M", 30, 576, 9, 3, 64, 1536, 49152},
};

/* FLOPs of a token in a row of S, rank r on all linear layers (PERFORMANCE 1.1): base forward and
 * input gradients (the lowest q/k/v has none), causal attention as 4 + 10, adapters, head twice. */
static double useful_flops(const sizes *m, double S, double r)
{
    const double q = m->h * m->dh, kv = m->g * m->dh, pairs = (S + 1) / 2;
    const double layer = m->d * q + 2 * m->d * kv + q * m->d + 3 * m->d * m->f;
    const double inputs = 3 * m->d + q + 2 * m->d + m->f;
    const double outputs = q + 2 * kv + m->d + 2 * m->f + m->d;
    return 4 * m->L * layer - 2 * m->d * (q + 2 * kv) + 14 * q * m->L * pairs +
           6 * r * m->L * (inputs + outputs) + 4 * m->d * m->V;
}

/* P and dB take dy in one pass: P's sums of every slice of a layer's columns, f32, are written and
 * read. Slices are 512 columns in groups of 8192 columns and more, else 256. */
static double slices(double group, double columns)
{
    return ceil(columns / (group >= 8192 ? 512 : 256));
}
static double partial_sums(const sizes *m, double r, bool lowest)
{
    const double q = m->h * m->dh, kv = m->g * m->dh, qkv = q + 2 * kv;
    const double of_qkv = slices(qkv, q) + 2 * slices(qkv, kv);
    const double all = (lowest ? 0 : of_qkv) + 2 * slices(m->d, m->d) + 2 * slices(2 * m->f, m->f);
    return 2 * 4 * r * all;
}

/* Bytes of a token in one layer, each product and each pass reading and writing its operands once:
 * activations of 2 bytes, the residual stream of 4 (PERFORMANCE 1.5 and 4.1 with graft's types). */
static double layer_bytes(const sizes *m, double S, double r, bool lowest)
{
    const double d = m->d, q = m->h * m->dh, kv = m->g * m->dh, f = m->f, n = q + 2 * kv;
    const double weights = d * n + q * d + 3 * d * f;
    const double norm = 6 * d, norm_bwd = 18 * d, rope = 4 * (q + kv) + 4 * m->dh;
    const double attention = 4 * q + 4 * kv + 4 * m->h;
    const double attention_bwd = 8 * q + 8 * kv + 12 * m->h + 4 * m->dh; /* it turns back, too */
    /* the backward passes of norms and gated units make their outputs again, for dA */
    const double rows = 2 * norm + rope + attention + 6 * f + norm_bwd +
                        (lowest ? norm : norm_bwd) + attention_bwd + 12 * f;
    const double products = 2 * (d + n) + (2 * q + 8 * d) + 2 * (d + 2 * f) + (2 * f + 8 * d) +
                            2 * (f + d) + 2 * (2 * f + d) + 2 * (d + q) + /* gradients */
                            (lowest ? 0 : 2 * (n + d)) +
                            (4 * weights - (lowest ? 2 * d * n : 0)) / S;
    const double read = d + q + d + f, written = n + d + 2 * f + d; /* of the four groups */
    const double elements = r * (3 * d + q + 2 * d + f + written);  /* of A and B */
    /* x twice, dy once, but for the lowest q/k/v, which want no dx */
    const double wide = 4 * read + 2 * written + (lowest ? 2 * n : 0);
    const double adapters = wide + partial_sums(m, r, lowest) + 12 * 7 * r + /* S and P */
                            (8 + 16) * elements / S;                         /* A, B; dA, dB */
    return rows + products + adapters;
}

static double row_bytes(const sizes *m, double S, double r)
{
    const double d = m->d, V = m->V, chunk = 1024 < S ? 1024 : S;
    const double embedding = 6 * d, gather = 8 * d, norm = 6 * d;
    const double logits = 2 * d + 4 * V + 6 * V + 2 * V + 2 * d + 2 * 2 * d * V / chunk;
    const double back = 10 * d + 12 * d + 6 * d; /* norm, scatter, rounding */
    double sum = embedding + gather + norm + logits + back;
    for (int l = 0; l < (int)m->L; l++)
        sum += layer_bytes(m, S, r, l == 0);
    return sum;
}

/* One JSON line of bench; the caller's to delete. */
static cJSON *bench(const char *args)
{
    char *text;
    cJSON *line = NULL;
    cr_assert_eq(run_stdout(&text, GRAFT_BENCH " %s --json", args), 0, "%s", args);
    gf_err err = {0};
    cr_assert_eq(gf_json_parse(&line, text, strlen(text), "bench", 0, &err), GF_OK, "%s: %s",
                 err.text, text);
    free(text);
    return line;
}

static double number(const cJSON *line, const char *key)
{
    const cJSON *n = cJSON_GetObjectItem(line, key);
    cr_assert(cJSON_IsNumber(n), "no %s", key);
    return n->valuedouble;
}

static bool without_cuda(void)
{
    gf_backend be;
    gf_err err = {0};
    const gf_status st = gf_backend_open_cuda(&be, GF_DEVICE_DRY, &err);
    if (st == GF_OK)
        gf_backend_close(&be);
    return st == GF_EMISSING;
}

Test(bench_model, costs_are_those_of_closed_formulas)
{
    if (without_cuda())
        cr_skip_test("this build has no CUDA backend");
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        for (int tokens = 2048; tokens <= 4096; tokens *= 2) {
            char args[128];
            snprintf(args, sizeof args, "model --model %s --gpu H100-SXM --tokens %d",
                     models[i].name, tokens);
            cJSON *line = bench(args);
            const double flops = useful_flops(&models[i], tokens, 16) * 1e-9;
            const double bytes = row_bytes(&models[i], tokens, 16) * 1e-6;
            cr_expect_float_eq(number(line, "gflop"), flops, 0.01 * flops,
                               "%s: %.4f GFLOP, not %.4f", args, number(line, "gflop"), flops);
            cr_expect_float_eq(number(line, "MB"), bytes, 0.01 * bytes, "%s: %.4f MB, not %.4f",
                               args, number(line, "MB"), bytes);
            cJSON_Delete(line);
        }
}

/* PERFORMANCE 1.2 and G3, G5, G8: what graft promises of a Llama-3-8B on an H100. */
Test(bench_model, the_goal_is_predicted)
{
    if (without_cuda())
        cr_skip_test("this build has no CUDA backend");
    cJSON *line = bench("model --model Llama-3-8B --gpu H100-SXM --tokens 4096 --rank 16");
    cr_expect_float_eq(number(line, "gflop"), 33.98, 0.01, "PERFORMANCE 1.2");
    cr_expect_geq(number(line, "mfu_%"), 52.0);
    cr_expect_leq(number(line, "adds_%"), 9.0);
    cr_expect_leq(number(line, "a_layer"), 40.0);
    cr_expect_gt(number(line, "a_layer"), 13.0, "a layer has more ops than that");
    cJSON_Delete(line);
}

/* The bytes behind "in all" or another line of graft plan: "  one block    30.5 GiB (123 bytes)".
 */
static double planned(const char *text, const char *what)
{
    const char *at = strstr(text, what);
    cr_assert(at && strchr(at, '('), "no \"%s\" in %s", what, text);
    return strtod(strchr(at, '(') + 1, NULL);
}

Test(bench_model, memory_is_that_of_graft_plan)
{
    if (without_cuda())
        cr_skip_test("this build has no CUDA backend");
    char *scratch = scratch_make(), *text, args[256];
    snprintf(args, sizeof args,
             "plan --model Qwen2.5-7B --gpu A100-80G --tokens 2048 --folder %s/m", scratch);
    cJSON *line = bench(args);
    cr_assert_eq(run(&text,
                     GRAFT_BIN " plan --model %s/m --device cuda --precision bf16 --lora-r 16 "
                               "--row-tokens 2048 --target-modules all-linear",
                     scratch),
                 0, "%s", text);
    const char *parts[] = {"weights", "adapter", "activations", "scratch"};
    for (int i = 0; i < 4; i++) {
        char label[32];
        snprintf(label, sizeof label, "\n  %s ", parts[i]);
        cr_expect_eq(number(line, parts[i]), planned(text, label), "%s", parts[i]);
    }
    cr_expect_eq(number(line, "bytes") - number(line, "own"), planned(text, "one block"));
    cJSON_Delete(line);
    free(text);
    scratch_remove(scratch);
}
