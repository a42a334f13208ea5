/* lora_sums.cuh - how dA and dB are added up: in fixed point, and the greatest values of each chunk
 * of tokens beside them. Contract: graft/ops.h, gf_fixed; peaks: cuda/row.h. */
#ifndef GRAFT_KERNELS_LORA_SUMS_CUH
#define GRAFT_KERNELS_LORA_SUMS_CUH

#include "cuda/lora.h"
#include "device.cuh"

/* In a peak: beside the bits of the greatest |g| that is finite. */
#define NOT_FINITE 0x80000000u
#define INF_BITS 0x7F800000u

/* What a lane saw of a gradient. */
struct seen {
    uint32_t top; /* bits of the greatest |g| that is finite: ordered as |g| is */
    bool bad;     /* there was one that is not */
};

/* What is not finite is noted and left out; what does not fit is held at 2^62, which leaves a bit
 * for the sum. The product with a power of two is exact. */
DEVICE void add_fixed(seen &all, int64_t *to, float g, float scale)
{
    const uint32_t bits = __float_as_uint(g) & ~NOT_FINITE;
    if (bits >= INF_BITS) {
        all.bad = true;
        return;
    }
    all.top = max(all.top, bits);
    atomic_add_s64(to, __float2ll_rn(fminf(fmaxf(g * scale, -0x1p62f), 0x1p62f)));
}

/* ---- peaks -------------------------------------------------------------------------------- */

DEVICE void raise_peak(uint32_t *peak, const seen &mine)
{
    const uint32_t top = __reduce_max_sync(ALL_LANES, mine.top);
    const bool bad = __any_sync(ALL_LANES, mine.bad);
    if (threadIdx.x % WARP)
        return;
    if (bad)
        atomicOr(peak, NOT_FINITE);
    if (top && atomicMax(peak, top) & NOT_FINITE) /* the flag hides what is below it */
        atomicMax(peak, top | NOT_FINITE);
}

/* The last block of the launch adds the peaks to the step's sums. All its accesses are atomic, as
 * those of the other blocks are. */
DEVICE void count_peaks(int64_t *sum_of_magnitudes, int64_t *sum_of_nonfinite, gf_row_header *row,
                        uint32_t *peaks,
                        int *last) /* shared memory of the block, free after a barrier */
{
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0)
        *last = atomicAdd(&row->arrived, 1) == (int)(gridDim.x * gridDim.z) * row->chunks - 1;
    __syncthreads();
    if (!*last)
        return;
    __threadfence();
    if (threadIdx.x == 0)
        atomicExch(&row->arrived, 0); /* for the next launch, which may add to the same peaks */
    int64_t magnitude = 0, nonfinite = 0;
    for (int i = threadIdx.x; i < 6 * row->chunks; i += GF_LORA_THREADS) {
        const uint32_t peak =
            atomicExch(&peaks[i / row->chunks * row->chunk_room + i % row->chunks], 0);
        /* 2^40: far beyond any limit, and 2^22 of them still fit */
        magnitude += (int64_t)ceilf(fminf(__uint_as_float(peak & ~NOT_FINITE), 0x1p40f));
        nonfinite += peak >> 31;
    }
    if (magnitude) /* each thread for itself: once a launch */
        atomic_add_s64(sum_of_magnitudes, magnitude);
    if (nonfinite)
        atomic_add_s64(sum_of_nonfinite, nonfinite);
}

#endif
