/* gpus.h - what GPUs can do, as data: peaks from data sheets, and what of them is reached. Times
 * are predicted from these numbers and from nothing else. */
#ifndef GRAFT_BENCH_GPUS_H
#define GRAFT_BENCH_GPUS_H

#include "graft/ops.h"

typedef struct {
    const char *name;
    const char *match;    /* what the driver's name of such a device begins with */
    double peak;          /* FLOP/s of dense bf16 products with f32 sums: data sheet */
    double memory;        /* bytes that the driver reports */
    double copy;          /* bytes/s read and written by a copy, measured by others */
    double gemm;          /* share of the peak that large products sustain */
    double stream;        /* share of the copy rate that the kernels between products reach */
    double attention_fwd; /* FLOP/s over causal pairs, 4 K a pair and head */
    double attention_bwd; /* the same, counted as 10 K (two kernels execute 14 K) */
    double gap;           /* seconds from one kernel of a graph to the next */
} bench_gpu;

extern const bench_gpu bench_gpus[];
extern const int bench_gpu_count;

/* By name, or by a driver's name of a device; NULL: none like it. */
const bench_gpu *bench_find_gpu(const char *name);

#endif
