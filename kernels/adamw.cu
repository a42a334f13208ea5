/* adamw.cu - one AdamW update of a flat region, torch's formula. Contract: graft/ops.h. Source:
 * Loshchilov and Hutter 2019; the order of roundings is torch's (FORMATS 12.1), and every operation
 * is rounded by itself as on the CPU: the same bits.
 *
 * A thread has pairs of elements, so that 16 bytes of g and 8 of the others are side by side in a
 * warp, and four of them under way. */
#include "device.cuh"

DEVICE void update(float &value, float &m, float &v, int64_t g, const gf_adamw_factors &a)
{
    const float gr = __double2float_rn(__dmul_rn(a.scale, __ll2double_rn(g)));
    m = __fadd_rn(m, __fmul_rn(__fsub_rn(gr, m), a.w1));
    v = __fadd_rn(__fmul_rn(v, a.beta2), __fmul_rn(__fmul_rn(a.w2, gr), gr));
    const float down = __fadd_rn(__fdiv_rn(__fsqrt_rn(v), a.root), a.eps);
    value = __fsub_rn(__fmul_rn(value, a.keep), __fdiv_rn(__fmul_rn(a.step, m), down));
}

#define PAIRS 4 /* of a thread */

extern "C" __global__ void __launch_bounds__(256)
    adamw(float *value, float *m, float *v, const int64_t *g, int64_t n, const gf_adamw_factors a)
{
    const int64_t pairs = a.wide ? n / 2 : 0;
    const int64_t first = (int64_t)blockIdx.x * blockDim.x * PAIRS + threadIdx.x;
    float2 x[PAIRS], mi[PAIRS], vi[PAIRS];
    longlong2 gi[PAIRS];
#pragma unroll
    for (int k = 0; k < PAIRS; k++) {
        const int64_t i = first + k * blockDim.x;
        if (i < pairs) {
            gi[k] = ((const longlong2 *)g)[i];
            x[k] = ((const float2 *)value)[i];
            mi[k] = ((const float2 *)m)[i];
            vi[k] = ((const float2 *)v)[i];
        }
    }
#pragma unroll
    for (int k = 0; k < PAIRS; k++) {
        const int64_t i = first + k * blockDim.x;
        if (i >= pairs)
            continue;
        update(x[k].x, mi[k].x, vi[k].x, gi[k].x, a);
        update(x[k].y, mi[k].y, vi[k].y, gi[k].y, a);
        ((float2 *)value)[i] = x[k];
        ((float2 *)m)[i] = mi[k];
        ((float2 *)v)[i] = vi[k];
    }
    /* the odd last one, or all */
    const int64_t step = (int64_t)gridDim.x * blockDim.x;
#pragma unroll 1
    for (int64_t i = 2 * pairs + (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step)
        update(value[i], m[i], v[i], g[i], a);
}
