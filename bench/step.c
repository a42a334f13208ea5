/* step.c - whole training steps of a real model on one row of random tokens, LoRA on all linear
 * layers, as the trainer does them: tokens/s, the share of the peak that was measured between them,
 * memory planned, used and resident. tools/peers.py runs PyTorch and PEFT on the same work. */
#include "bench.h"

#include "model/model.h"
#include "train/plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

typedef struct {
    const bench_options *o;
    gf_dtype precision;
    gf_files files;
    gf_backend be;
    gf_adapter adapter;
    gf_arena arena;
    gf_model model;
    gf_plan plan;
} fixture;

/* Of each measured step, and the peak that was measured right after it. */
typedef struct {
    double *seconds, *share;
} samples;

static gf_status open_all(fixture *f, gf_err *err)
{
    gf_peft_config config = {.r = f->o->rank, .lora_alpha = 2.0 * (double)f->o->rank};
    const gf_model_options opt = {
        .use = GF_USE_TRAIN, .precision = f->precision, .row_tokens = f->o->tokens};
    TRY(gf_files_open(&f->files, f->o->model, err));
    TRY(gf_backend_open_cpu(&f->be, f->o->threads, f->o->isa, err));
    config.target_regex = gf_strdup("all-linear", err);
    TRY(gf_adapter_resolve(&f->adapter, &config, &f->files.config, err));
    TRY(gf_plan_row(&f->plan, &f->files, &f->adapter, &f->be, &opt, err));
    TRY(gf_model_open(&f->model, &f->files, &f->adapter, &f->be, &f->arena, &opt, 0, false, err));
    gf_adapter_init(&f->adapter, f->model.value.data, GF_INIT_DEFAULT, 1);
    return GF_OK;
}

static void close_all(fixture *f)
{
    gf_model_close(&f->model);
    gf_arena_free(&f->arena);
    gf_adapter_free(&f->adapter);
    if (f->be.ops)
        gf_backend_close(&f->be);
    gf_files_close(&f->files);
}

/* Every token is trained but the first. */
static gf_status one_step(fixture *f, const int32_t *ids, int64_t step)
{
    gf_model *m = &f->model;
    double squares;
    m->fixed = (gf_fixed){.shift = 40};
    TRY(gf_zero(m->be, m->grad));
    gf_row_start(m);
    gf_row_add(m, ids, ids, f->o->tokens, 0);
    TRY(gf_model_run(m, true));
    const double scale = ldexp(1, -40) / (double)m->row.predicted;
    TRY(gf_sum_squares(m->be, &squares, m->grad, scale));
    const gf_adamw_args args = {
        .lr = 1e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .step = step};
    return gf_adamw(m->be, m->value, m->m, m->v, m->grad, scale, &args);
}

static gf_status measure(fixture *f, samples *s)
{
    int32_t *ids = malloc((size_t)f->o->tokens * sizeof *ids);
    uint32_t state = 1;
    gf_status st = GF_OK;
    for (int64_t i = 0; i < f->o->tokens; i++) {
        state = state * 1664525u + 1013904223u; /* Numerical Recipes: any ids will do */
        ids[i] = (int32_t)((state >> 8) % (uint32_t)f->files.config.V);
    }
    for (int64_t i = -1; st == GF_OK && i < f->o->steps; i++) { /* the first one warms up */
        const double start = bench_now();
        st = one_step(f, ids, i + 2);
        const double took = bench_now() - start;
        if (i < 0)
            continue;
        s->seconds[i] = took;
        s->share[i] =
            (double)f->plan.row.flops / took / bench_peak(&f->be, f->precision == GF_BF16);
    }
    free(ids);
    return st;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The q-quantile of n values; sorts them. */
static double quantile(double *x, int64_t n, double q)
{
    qsort(x, (size_t)n, sizeof *x, ascending);
    return x[(int64_t)(q * (double)(n - 1) + 0.5)];
}

static void report(const fixture *f, samples *s)
{
    const int64_t n = f->o->steps, tokens = f->o->tokens;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    const bench_value values[] = {
        {"precision", f->precision == GF_F32 ? "fp32" : "bf16", 0, 0},
        {"isa", f->be.ops->name, 0, 0},
        {"threads", NULL, gf_backend_threads(&f->be), 0},
        {"rank", NULL, (double)f->o->rank, 0},
        {"row", NULL, (double)tokens, 0},
        {"tokens/s", NULL, (double)tokens / quantile(s->seconds, n, 0.5), 1},
        {"p10", NULL, (double)tokens / quantile(s->seconds, n, 0.9), 1},
        {"p90", NULL, (double)tokens / quantile(s->seconds, n, 0.1), 1},
        {"of_peak_%", NULL, 100 * quantile(s->share, n, 0.5), 1},
        {"plan_MiB", NULL, (double)(f->plan.total + f->plan.threads) / 0x1p20, 1},
        {"used_MiB", NULL, (double)(gf_arena_planned(&f->arena) + f->plan.threads) / 0x1p20, 1},
        {"peak_MiB", NULL, (double)usage.ru_maxrss / 1024, 1},
    };
    bench_print(f->o, "step", values, sizeof values / sizeof *values);
}

static int run(const bench_options *o, gf_dtype precision)
{
    fixture f = {.o = o, .precision = precision};
    gf_err err = {0};
    samples s = {.seconds = calloc((size_t)o->steps, sizeof(double)),
                 .share = calloc((size_t)o->steps, sizeof(double))};
    gf_status st = s.seconds && s.share ? open_all(&f, &err) : GF_ENOMEM;
    if (st == GF_OK && (st = measure(&f, &s)) != GF_OK)
        gf_fail(&err, st, "%s", f.be.err.text);
    if (st == GF_OK)
        report(&f, &s);
    else
        fprintf(stderr, "bench: %s\n", err.text);
    close_all(&f);
    free(s.seconds);
    free(s.share);
    return gf_exit_code(st);
}

/* bf16 first: peak memory is the process's, and fp32 takes more. */
int bench_step(const bench_options *o)
{
    if (!o->model) {
        fprintf(stderr, "bench: step needs --model PATH\n");
        return 2;
    }
    const int code = run(o, GF_BF16);
    return code ? code : run(o, GF_F32);
}
