/* rows.h - handing rows to threads. Who computes a row never changes its bits, so small work stays
 * on the calling thread. */
#ifndef GRAFT_KERNELS_ROWS_H
#define GRAFT_KERNELS_ROWS_H

#include "cpu.h"

/* Below this many elements waking the other threads costs more than they save (some µs). */
#define ROWS_ALONE 16384

static inline void rows_run(gf_backend *be, int64_t elements, gf_pool_fn *fn, void *ctx)
{
    if (!be->pool || elements < ROWS_ALONE)
        fn(ctx, 0, 1);
    else
        gf_pool_run(be->pool, fn, ctx);
}

#endif
