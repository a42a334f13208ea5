/* device.h - timing on a device (or, by the same rules, on a CPU): every sample cold, behind a
 * flush of the L2 cache, and as many back to back; what clocks did meanwhile. */
#ifndef GRAFT_BENCH_DEVICE_H
#define GRAFT_BENCH_DEVICE_H

#include "bench.h"
#include "graft/measure.h"

/* What the machine reaches, measured first. */
typedef struct {
    double copy; /* bytes/s read and written */
    double gemm; /* FLOP/s of one large bf16 product */
} bench_ceiling;

typedef struct {
    gf_backend be;
    void *flush; /* twice the L2 cache */
    size_t flush_bytes;
    gf_timer timer;
    bench_ceiling ceiling;
} bench_device;

/* Opens what --device says, and prints it; says on stderr why not. */
bool bench_device_open(bench_device *d, const bench_options *o);
void bench_device_close(bench_device *d);

typedef struct {
    int samples;
    double cold, p10, p90; /* seconds of one run: median, quantiles */
    double batch;          /* seconds of one of many back to back */
    double noise;          /* standard deviation over mean of the cold ones */
} bench_timing;

/* At least 10 samples after two that warm up, until the noise is below 0.5 % or o->seconds are
 * spent on each kind. run returns what the op does; its errors are in be.err. */
gf_status bench_device_time(bench_device *d, const bench_options *o, gf_status (*run)(void *ctx),
                            void *ctx, bench_timing *t);

/* Copies and multiplies at the sizes that reach most; `small`: at sizes that only show that it
 * works. */
gf_status bench_device_ceiling(bench_device *d, const bench_options *o, bool small);

/* Clocks between the first call and this one, as values for bench_print: returns how many (8 at
 * most). Without NVML one value says why. */
typedef struct {
    gf_device_state before, after;
    gf_err why;
    bool seen;
} bench_clocks;
void bench_clocks_start(bench_device *d, bench_clocks *c);
int bench_clocks_stop(bench_device *d, bench_clocks *c, bench_value *v);

#endif
