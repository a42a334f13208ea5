/* device.c - see device.h. */
#include "device.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLES_LEAST 10
#define SAMPLES_MOST 1000
#define NOISE_ENOUGH 0.005
#define FLUSH_CPU ((size_t)64 << 20) /* where no device says how large its cache is */

bool bench_device_open(bench_device *d, const bench_options *o)
{
    gf_err err = {0};
    *d = (bench_device){0};
    gf_status st = o->device == BENCH_CPU ? gf_backend_open_cpu(&d->be, o->threads, o->isa, &err)
                                          : gf_backend_open_cuda(&d->be, o->device, &err);
    if (st == GF_OK) {
        d->flush_bytes =
            o->device == BENCH_CPU ? FLUSH_CPU : 2 * (size_t)gf_backend_device(&d->be)->l2;
        if (o->device != BENCH_CPU)
            bench_print_device(o, &d->be);
        st = gf_backend_alloc(&d->be, &d->flush, d->flush_bytes + 1, &err);
    }
    if (st == GF_OK)
        return true;
    fprintf(stderr, "bench: %s\n", err.text);
    if (d->be.ops)
        gf_backend_close(&d->be);
    return false;
}

void bench_device_close(bench_device *d)
{
    gf_timer_close(&d->be, &d->timer);
    gf_backend_free(&d->be, d->flush);
    gf_backend_close(&d->be);
}

/* ---- timing --------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double deviation(const double *x, int n)
{
    double sum = 0, squares = 0;
    for (int i = 0; i < n; i++) {
        sum += x[i];
        squares += x[i] * x[i];
    }
    const double mean = sum / n, variance = squares / n - mean * mean;
    return variance > 0 ? sqrt(variance) / mean : 0;
}

/* Written bytes take the place of all that the cache held. */
static gf_status flush(bench_device *d)
{
    return gf_zero(&d->be, gf_view(d->flush, GF_U8, "flush", (int64_t)d->flush_bytes, 0, 0));
}

static gf_status time_cold(bench_device *d, const bench_options *o, gf_status (*run)(void *),
                           void *ctx, bench_timing *t)
{
    double seconds[SAMPLES_MOST];
    const double end = bench_now() + o->seconds;
    int n = 0;
    do {
        TRY(flush(d));
        TRY(gf_timer_start(&d->be, &d->timer));
        TRY(run(ctx));
        TRY(gf_timer_stop(&d->be, &d->timer, &seconds[n]));
        n++;
    } while (n < SAMPLES_LEAST ||
             (n < SAMPLES_MOST && bench_now() < end && deviation(seconds, n) > NOISE_ENOUGH));
    t->noise = deviation(seconds, n);
    t->samples = n;
    qsort(seconds, (size_t)n, sizeof *seconds, ascending);
    t->cold = seconds[n / 2];
    t->p10 = seconds[(int)(0.1 * (n - 1) + 0.5)];
    t->p90 = seconds[(int)(0.9 * (n - 1) + 0.5)];
    return GF_OK;
}

static gf_status time_batch(bench_device *d, const bench_options *o, gf_status (*run)(void *),
                            void *ctx, bench_timing *t)
{
    const double fit = o->seconds / (t->cold > 0 ? t->cold : 1e-9);
    const int times = fit > SAMPLES_MOST ? SAMPLES_MOST : fit > 2 ? (int)fit : 2;
    double all;
    TRY(gf_timer_start(&d->be, &d->timer));
    for (int i = 0; i < times; i++)
        TRY(run(ctx));
    TRY(gf_timer_stop(&d->be, &d->timer, &all));
    t->batch = all / times;
    return GF_OK;
}

gf_status bench_device_time(bench_device *d, const bench_options *o, gf_status (*run)(void *ctx),
                            void *ctx, bench_timing *t)
{
    *t = (bench_timing){0};
    for (int i = 0; i < 2; i++)
        TRY(run(ctx));
    TRY(gf_wait(&d->be));
    TRY(time_cold(d, o, run, ctx, t));
    return time_batch(d, o, run, ctx, t);
}

/* ---- ceilings ------------------------------------------------------------------------- */

typedef struct {
    gf_backend *be;
    gf_tensor y, x, index;
    gf_group g;
} ceiling_work;

static gf_status copy(void *ctx)
{
    const ceiling_work *w = ctx;
    return gf_gather_rows(w->be, w->y, w->x, w->index);
}

static gf_status multiply(void *ctx)
{
    const ceiling_work *w = ctx;
    const gf_spans row = {.tokens = w->x.dim[0]};
    const gf_dropout none = {0};
    return gf_group_linear_fwd(w->be, w->y, gf_none, w->x, gf_none, &w->g, &row, none);
}

/* Random bits of small numbers: products of zeros are faster than any others. */
static gf_status upload_noise(gf_backend *be, gf_tensor t)
{
    uint32_t state = 1;
    uint16_t *host = gf_alloc((size_t)gf_count(t), sizeof *host, &be->err);
    if (!host)
        return GF_ENOMEM;
    for (int64_t i = 0; i < gf_count(t); i++) {
        state = state * 1664525u + 1013904223u;
        host[i] = gf_f32_to_bf16((float)(int32_t)state * 0x1p-31f);
    }
    gf_status st = gf_upload(be, t, host);
    if (st == GF_OK)
        st = gf_wait(be);
    free(host);
    return st;
}

static gf_status measure(bench_device *d, const bench_options *o, char *memory, int64_t n)
{
    gf_backend *be = &d->be;
    bench_timing t;
    const int64_t rows = n, width = n / 2;
    ceiling_work w = {.be = be,
                      .y = gf_view(memory, GF_F32, "y", rows, width, 0),
                      .x = gf_view(memory + 2 * n * n, GF_F32, "x", rows, width, 0),
                      .index = gf_view(memory + 4 * n * n, GF_I32, "index", rows, 0, 0)};
    int32_t *index = gf_alloc((size_t)rows, sizeof *index, &be->err);
    if (!index)
        return GF_ENOMEM;
    for (int32_t i = 0; i < (int32_t)rows; i++)
        index[i] = i;
    gf_status st = gf_upload(be, w.index, index);
    TRYG(st);
    TRYG(bench_device_time(d, o, copy, &w, &t));
    d->ceiling.copy = 2.0 * 4.0 * (double)rows * (double)width / t.batch;

    w.y = gf_view(memory, GF_BF16, "y", n, n, 0);
    w.x = gf_view(memory + 2 * n * n, GF_BF16, "x", n, n, 0);
    w.g = (gf_group){.count = 1};
    w.g.lin[0].w = gf_view(memory + 4 * n * n, GF_BF16, "w", n, n, 0);
    TRYG(upload_noise(be, w.x));
    TRYG(upload_noise(be, w.g.lin[0].w));
    TRYG(bench_device_time(d, o, multiply, &w, &t));
    d->ceiling.gemm = 2.0 * (double)n * (double)n * (double)n / t.batch;
out:
    free(index);
    return st;
}

gf_status bench_device_ceiling(bench_device *d, const bench_options *o, bool small)
{
    const int64_t n = small ? 64 : o->device == BENCH_CPU ? 2048 : 8192;
    void *memory;
    gf_status st = gf_backend_alloc(&d->be, &memory, (size_t)(6 * n * n), &d->be.err);
    if (st != GF_OK)
        return st;
    st = measure(d, o, memory, n);
    gf_backend_free(&d->be, memory);
    return st;
}

/* ---- clocks --------------------------------------------------------------------------- */

void bench_clocks_start(bench_device *d, bench_clocks *c)
{
    *c = (bench_clocks){0};
    c->seen = gf_device_look(&d->be, &c->before, &c->why) == GF_OK;
}

/* Throttled: held down, or three quarters of what the clock may be. */
int bench_clocks_stop(bench_device *d, bench_clocks *c, bench_value *v)
{
    if (!c->seen || gf_device_look(&d->be, &c->after, &c->why) != GF_OK) {
        v[0] = (bench_value){"clocks", c->why.text, 0, 0};
        return 1;
    }
    const bool slow = 4 * c->after.clock < 3 * c->after.clock_most;
    int n = 0;
    v[n++] = (bench_value){"mhz_before", NULL, c->before.clock, 0};
    v[n++] = (bench_value){"mhz_after", NULL, c->after.clock, 0};
    v[n++] = (bench_value){"mhz_most", NULL, c->after.clock_most, 0};
    v[n++] = (bench_value){"watts", NULL, c->after.watts, 0};
    v[n++] = (bench_value){"celsius", NULL, c->after.celsius, 0};
    v[n++] = (bench_value){"throttled", c->after.throttled || slow ? "yes" : "no", 0, 0};
    return n;
}
