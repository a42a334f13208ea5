/* lion.cu - one Lion update of a flat region. Contract: graft/ops.h. Every operation is rounded by
 * itself as on the CPU: the same bits. Pairs of elements, four of a thread under way, as adamw. */
#include "device.cuh"

DEVICE void update(float &value, float &m, int64_t g, const gf_lion_factors &a)
{
    const float gr = __double2float_rn(__dmul_rn(a.scale, __ll2double_rn(g)));
    const float way = __fadd_rn(__fmul_rn(m, a.beta1), __fmul_rn(a.w1, gr));
    const float by = way > 0.0f ? a.lr : way < 0.0f ? -a.lr : 0.0f;
    value = __fsub_rn(__fmul_rn(value, a.keep), by);
    m = __fadd_rn(__fmul_rn(m, a.beta2), __fmul_rn(a.w2, gr));
}

#define PAIRS 4 /* of a thread */

extern "C" __global__ void __launch_bounds__(256)
    lion(float *value, float *m, const int64_t *g, int64_t n, const gf_lion_factors a)
{
    const int64_t pairs = a.wide ? n / 2 : 0;
    const int64_t first = (int64_t)blockIdx.x * blockDim.x * PAIRS + threadIdx.x;
    float2 x[PAIRS], mi[PAIRS];
    longlong2 gi[PAIRS];
#pragma unroll
    for (int k = 0; k < PAIRS; k++) {
        const int64_t i = first + k * blockDim.x;
        if (i < pairs) {
            gi[k] = ((const longlong2 *)g)[i];
            x[k] = ((const float2 *)value)[i];
            mi[k] = ((const float2 *)m)[i];
        }
    }
#pragma unroll
    for (int k = 0; k < PAIRS; k++) {
        const int64_t i = first + k * blockDim.x;
        if (i >= pairs)
            continue;
        update(x[k].x, mi[k].x, gi[k].x, a);
        update(x[k].y, mi[k].y, gi[k].y, a);
        ((float2 *)value)[i] = x[k];
        ((float2 *)m)[i] = mi[k];
    }
    /* the odd last one, or all */
    const int64_t step = (int64_t)gridDim.x * blockDim.x;
#pragma unroll 1
    for (int64_t i = 2 * pairs + (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step)
        update(value[i], m[i], g[i], a);
}
