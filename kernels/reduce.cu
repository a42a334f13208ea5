/* reduce.cu - the sum of squares of a gradient. Contract: graft/ops.h.
 *
 * Two passes without atomics: a double for every GF_SQUARES elements, then their sum by one block.
 * Who adds what in which order depends on n alone. */
#include "device.cuh"

#define UNDER_WAY 4 /* pairs of a thread that are read at once */

DEVICE double add_square(double sum, double scale, int64_t g)
{
    const double x = scale * (double)g;
    return fma(x, x, sum);
}

/* sum[block] = sum of (scale * g)^2 over its elements. `wide`: g is 16-byte aligned. A thread's
 * elements are the same whether it is or not. */
extern "C" __global__ void __launch_bounds__(256)
    squares(double *sum, const int64_t *g, int64_t n, double scale, int wide)
{
    __shared__ double part[WARP];
    const int64_t first = (int64_t)blockIdx.x * GF_SQUARES;
    const int count = n - first < GF_SQUARES ? (int)(n - first) : GF_SQUARES;
    double odd = 0.0, even = 0.0;
    g += first;
    for (int i = 2 * threadIdx.x; i < count; i += 2 * blockDim.x * UNDER_WAY) {
        longlong2 x[UNDER_WAY];
#pragma unroll
        for (int k = 0; k < UNDER_WAY; k++) {
            const int at = i + 2 * k * blockDim.x;
            x[k] = make_longlong2(0, 0);
            if (wide && at + 1 < count) {
                x[k] = *(const longlong2 *)(g + at);
            } else if (at < count) {
                x[k].x = g[at];
                x[k].y = at + 1 < count ? g[at + 1] : 0;
            }
        }
#pragma unroll
        for (int k = 0; k < UNDER_WAY; k++) {
            even = add_square(even, scale, x[k].x);
            odd = add_square(odd, scale, x[k].y);
        }
    }
    const double all = block_sum(even + odd, part);
    if (threadIdx.x == 0)
        sum[blockIdx.x] = all;
}

/* *total = the sum of n doubles; one block. */
extern "C" __global__ void __launch_bounds__(1024) add_up(double *total, const double *sum, int n)
{
    __shared__ double part[WARP];
    double mine = 0.0;
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        mine += sum[i];
    const double all = block_sum(mine, part);
    if (threadIdx.x == 0)
        *total = all;
}
