/* pool.h - the CPU backend's threads: a static partition and one scratch per thread.
 *
 * Work is given by gf_pool_run, which calls fn(ctx, thread, threads) once on every thread, the
 * caller being thread 0, and returns when all are done. Nothing is ever stolen or reordered: who
 * computes what depends on `thread` and `threads` only. Sleeping threads spin for a moment first,
 * because ops follow each other within microseconds. One caller at a time; fn must not call
 * gf_pool_run. */
#ifndef GRAFT_KERNELS_POOL_H
#define GRAFT_KERNELS_POOL_H

#include "graft/base.h"

typedef struct gf_pool gf_pool;
typedef void gf_pool_fn(void *ctx, int thread, int threads);

/* Bytes of scratch per thread: a GEMM's panels of A (1.5 MiB), of B (0.5 MiB), its sums (1.5 MiB)
 * and 0.5 MiB for rows being converted. */
#define GF_POOL_SCRATCH ((size_t)4 << 20)

/* threads 0: as many as the process may run on. GF_ENOMEM, GF_EMISSING (a thread did not start). */
gf_status gf_pool_open(gf_pool **pool, int threads, gf_err *err);
void gf_pool_close(gf_pool *pool); /* NULL is fine */

void gf_pool_run(gf_pool *pool, gf_pool_fn *fn, void *ctx);
int gf_pool_threads(const gf_pool *pool);
size_t gf_pool_bytes(const gf_pool *pool); /* what the pool holds */

/* GF_POOL_SCRATCH bytes of `thread`, page-aligned; contents survive nothing. */
void *gf_pool_scratch(gf_pool *pool, int thread);

/* Part `thread` of [0, n) cut at multiples of `grain`: sizes differ by at most one grain. */
static inline void gf_pool_split(int64_t n, int64_t grain, int thread, int threads, int64_t *begin,
                                 int64_t *end)
{
    const int64_t units = (n + grain - 1) / grain;
    const int64_t b = units * thread / threads * grain, e = units * (thread + 1) / threads * grain;
    *begin = b < n ? b : n;
    *end = e < n ? e : n;
}

#endif
