/* predict.h - the time that work should take on a GPU, from what the engine's ops say they cost. */
#ifndef GRAFT_BENCH_PREDICT_H
#define GRAFT_BENCH_PREDICT_H

#include "gpus.h"

/* Calls of ops that cost the same, counted. */
typedef struct {
    gf_at at;
    gf_tally cost;
    int64_t times;
} bench_call;

typedef struct {
    bench_call *call;
    int count;
    gf_tally sum[GF_AT_COUNT], all;
    bool failed; /* there was no memory: nothing here is whole */
} bench_work;

/* A meter (gf_backend.meter) that adds to a bench_work, which must not move meanwhile. */
gf_meter bench_meter(bench_work *w);
void bench_work_free(bench_work *w);

/* Seconds. An op takes the longer of its FLOPs and its bytes; what an op does besides its products
 * (S, P, dA and dB of adapters) comes after them. Nothing overlaps, no cache helps: neither is
 * promised. */
typedef struct {
    double gemm;      /* library products */
    double attention; /* forward and backward */
    double adapters;  /* their own kernels */
    double rows;      /* all else: norms, rotation, gated units, cross-entropy, update */
    double gaps;      /* between launches */
} bench_time;

bench_time bench_predict(const bench_gpu *g, const bench_work *w);
double bench_seconds(const bench_time *t);

/* FLOPs that training needs: of linear layers, adapters and attention, nothing twice. */
double bench_useful(const bench_work *w);

/* The same pass over the frozen model: `train` is the work of a forward and backward pass, `eval`
 * of its forward pass alone. No adapters, products without their tails, one launch for each group,
 * and nothing made again for gradients that are not there. */
void bench_frozen(bench_work *frozen, const bench_work *train, const bench_work *eval);

#endif
