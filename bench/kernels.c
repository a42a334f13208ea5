/* kernels.c - bench kernels: every op at a known model's sizes. First its results are compared with
 * another backend's, at the same widths and fewer tokens: what is wrong is not timed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"
#include "device.h"
#include "predict.h"

#define CHECKED_TOKENS 192 /* more than one tile of attention, and a ragged one */

typedef struct {
    double absolute, relative; /* greatest differences; relative to the greatest value */
} difference;

/* ---- correctness ---------------------------------------------------------------------- */

static void to_floats(float *out, gf_dtype type, const void *in, int64_t n)
{
    const int32_t *id = in;
    const int64_t *fixed = in;
    if (type != GF_I32 && type != GF_I64)
        gf_to_f32(out, type, in, n);
    for (int64_t i = 0; i < n && (type == GF_I32 || type == GF_I64); i++)
        out[i] = type == GF_I32 ? (float)id[i] : (float)((double)fixed[i] * 0x1p-40);
}

/* The tensor's values as f32; the caller's. NULL: no memory, or the backend failed. */
static float *values(gf_backend *be, gf_tensor t)
{
    const size_t count = (size_t)gf_count(t);
    void *raw = malloc(count * (size_t)gf_dtype_size(t.dtype) + 1);
    float *out = malloc(count * sizeof *out + 1);
    bool ok = raw && out && gf_download(be, raw, t) == GF_OK && gf_wait(be) == GF_OK;
    if (ok)
        to_floats(out, t.dtype, raw, gf_count(t));
    free(raw);
    if (ok)
        return out;
    free(out);
    return NULL;
}

/* One rounding of the results, and what two orders of long f32 sums and the roundings inside make
 * of them: softmax's numerators in bf16, S and P in bf16. Tests hold the kernels to tighter bounds;
 * here a wrong tile or index is to be seen. */
static double bound(gf_dtype type)
{
    return type == GF_I32 ? 0 : 0x1p-6;
}

static bool compare(const gf_tensor *t, const float *a, const float *b, difference *d)
{
    double most = 0, apart = 0;
    for (int64_t i = 0; i < gf_count(*t); i++) {
        const double x = (double)a[i], y = (double)b[i];
        if (isnan(x) || isnan(y))
            return false;
        most = fmax(most, fabs(y));
        apart = fmax(apart, fabs(x - y));
    }
    d->absolute = fmax(d->absolute, apart);
    d->relative = fmax(d->relative, most > 0 ? apart / most : apart);
    return apart <= bound(t->dtype) * most;
}

/* Runs the op on both and compares what it makes. */
static bool same(bench_case *a, bench_case *b, const bench_op *op, difference *d)
{
    bool ok = op->run(a) == GF_OK && op->run(b) == GF_OK && gf_wait(a->be) == GF_OK;
    for (int i = 0; ok && i < a->outs; i++) {
        float *x = values(a->be, a->out[i]), *y = values(b->be, b->out[i]);
        ok = x && y && compare(&a->out[i], x, y, d);
        free(x);
        free(y);
    }
    return ok && fabs(a->sum - b->sum) <= 1e-9 * fabs(b->sum);
}

static bool check(bench_device *d, gf_backend *reference, const bench_op *op,
                  const bench_shape *shape, difference *apart)
{
    const int64_t n = shape->N < CHECKED_TOKENS ? shape->N : CHECKED_TOKENS;
    bench_case a, b;
    *apart = (difference){0};
    bool ok = bench_case_open(&a, &d->be, op, shape, n) == GF_OK;
    ok = bench_case_open(&b, reference, op, shape, n) == GF_OK && ok;
    ok = ok && same(&a, &b, op, apart);
    if (!ok)
        fprintf(stderr, "bench: %s at %s: wrong, not timed%s%s%s\n", op->name, shape->name,
                a.err.text[0] || d->be.err.text[0] ? ": " : "", a.err.text,
                a.err.text[0] ? "" : d->be.err.text);
    bench_case_close(&a);
    bench_case_close(&b);
    return ok;
}

/* ---- timing --------------------------------------------------------------------------- */

typedef struct {
    bench_case c;
    const bench_op *op;
} timed;

static gf_status run(void *ctx)
{
    timed *t = ctx;
    return t->op->run(&t->c);
}

static void report(bench_device *d, const bench_options *o, const timed *w, const bench_timing *t,
                   const bench_work *cost, const difference *apart, bench_clocks *clocks)
{
    const bench_gpu *gpu = bench_find_gpu(gf_backend_device(&d->be)->name);
    const double flops = (double)cost->all.flops, bytes = (double)cost->all.bytes;
    const double limit = fmax(flops / d->ceiling.gemm, bytes / d->ceiling.copy);
    const bench_time predicted = gpu ? bench_predict(gpu, cost) : (bench_time){0};
    const double us = gpu ? bench_seconds(&predicted) * 1e6 : 0;
    bench_value v[32] = {
        {"kernel", w->op->name, 0, 0},
        {"model", w->c.shape->name, 0, 0},
        {"dtype", "bf16", 0, 0},
        {"tokens", NULL, (double)w->c.N, 0},
        {"samples", NULL, t->samples, 0},
        {"t_median_us", NULL, t->cold * 1e6, 2},
        {"t_p10", NULL, t->p10 * 1e6, 2},
        {"t_p90", NULL, t->p90 * 1e6, 2},
        {"noise_pct", NULL, t->noise * 100, 2},
        {"cold_us", NULL, t->cold * 1e6, 2},
        {"batch_us", NULL, t->batch * 1e6, 2},
        {"flops", NULL, flops, 0},
        {"bytes", NULL, bytes, 0},
        {"tflops", NULL, flops / t->batch * 1e-12, 3},
        {"gbps", NULL, bytes / t->batch * 1e-9, 1},
        {"peak_tf", NULL, d->ceiling.gemm * 1e-12, 3},
        {"peak_gbps", NULL, d->ceiling.copy * 1e-9, 1},
        {"limit_us", NULL, limit * 1e6, 2},
        {"pct_roofline", NULL, 100 * limit / t->batch, 1},
        {"launches", NULL, (double)cost->all.launches, 0},
        {"max_abs", NULL, apart->absolute, 6},
        {"max_rel", NULL, apart->relative, 6},
        {"predicted_us", NULL, us, 2},
        {"pred_ratio", NULL, us > 0 ? t->batch * 1e6 / us : 0, 3},
    };
    const int n = 24 + bench_clocks_stop(d, clocks, v + 24);
    bench_print(o, "kernel", v, n);
}

/* What one run costs, heard while it runs. */
static gf_status hear_cost(bench_device *d, timed *w, bench_work *cost)
{
    *cost = (bench_work){0};
    d->be.meter = bench_meter(cost);
    const gf_status st = run(w);
    d->be.meter = (gf_meter){0};
    return st != GF_OK ? st : gf_wait(&d->be);
}

static bool time_op(bench_device *d, const bench_options *o, const bench_op *op,
                    const bench_shape *shape, const difference *apart)
{
    timed w = {.op = op};
    bench_work cost = {0};
    bench_timing t;
    bench_clocks clocks;
    bool ok = bench_case_open(&w.c, &d->be, op, shape, shape->N) == GF_OK;
    bench_clocks_start(d, &clocks);
    ok = ok && hear_cost(d, &w, &cost) == GF_OK && bench_device_time(d, o, run, &w, &t) == GF_OK;
    if (ok)
        report(d, o, &w, &t, &cost, apart, &clocks);
    else
        fprintf(stderr, "bench: %s at %s: %s\n", op->name, shape->name,
                w.c.err.text[0] ? w.c.err.text : d->be.err.text);
    bench_work_free(&cost);
    bench_case_close(&w.c);
    return ok;
}

/* ---- all of them ---------------------------------------------------------------------- */

static bool wanted(const char *asked, const char *name)
{
    return !asked || strncmp(asked, name, strlen(asked)) == 0;
}

/* Against what results are checked: a CPU's; for a CPU the plain one. */
static bool open_reference(gf_backend *be, const bench_options *o)
{
    bench_options plain = *o;
    if (o->device == BENCH_CPU)
        plain.isa = "plain";
    return bench_open(be, &plain, o->threads);
}

static int run_shapes(bench_device *d, gf_backend *reference, const bench_options *o)
{
    int code = 0, count = 0;
    for (int s = 0; s < bench_shape_count; s++) {
        const bench_shape *shape = &bench_shapes[s];
        const bool tiny = strcmp(shape->name, "tiny") == 0;
        if (o->shape ? strcmp(o->shape, shape->name) != 0 : tiny)
            continue;
        if (bench_device_ceiling(d, o, tiny) != GF_OK) {
            fprintf(stderr, "bench: %s\n", d->be.err.text);
            return 1;
        }
        for (int i = 0; i < bench_op_count; i++) {
            difference apart;
            if (!wanted(o->op, bench_ops[i].name))
                continue;
            count++;
            if (!check(d, reference, &bench_ops[i], shape, &apart) ||
                !time_op(d, o, &bench_ops[i], shape, &apart))
                code = 1;
        }
    }
    if (!count)
        fprintf(stderr, "bench: no such shape or op\n");
    return count ? code : 2;
}

int bench_kernels(const bench_options *o)
{
    bench_device d;
    gf_backend reference;
    if (!bench_device_open(&d, o))
        return 2;
    int code = 2;
    if (open_reference(&reference, o)) {
        code = run_shapes(&d, &reference, o);
        gf_backend_close(&reference);
    }
    bench_device_close(&d);
    return code;
}
