/* rope.cu - rotary embedding, half-rotation pairing, in place. Contract: graft/ops.h. Source: Su et
 * al. 2021; FORMATS 2.5.
 *
 * A block turns the heads of one token: threads along x have the columns, along y the heads. So a
 * thread reads its cosines and sines once for all its heads. */
#include "device.cuh"

/* The CPU's operations, one rounding each: the same bits. */
DEVICE void turn_unit(float (&low)[4], float (&high)[4], const float (&c)[4], const float (&s)[4])
{
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const float a = low[j], b = high[j];
        low[j] = __fsub_rn(__fmul_rn(a, c[j]), __fmul_rn(b, s[j]));
        high[j] = __fadd_rn(__fmul_rn(b, c[j]), __fmul_rn(a, s[j]));
    }
}

/* `pairs` columns of `heads` heads that are `width` wide; direction is +1 or -1. `wide`: all is
 * aligned and pairs is a multiple of 4. */
template <typename T>
DEVICE void rope(gf_arg x, gf_arg cos, gf_arg sin, int heads, int width, int pairs, float direction,
                 int wide)
{
    const int64_t row = blockIdx.x;
    T *const token = place<T *>(x, row, 0);
    for (int i = 4 * threadIdx.x; i < pairs; i += 4 * blockDim.x) {
        const int left = pairs - i;
        float c[4], s[4];
        load(c, place<float *>(cos, row, i), left, wide);
        load(s, place<float *>(sin, row, i), left, wide);
#pragma unroll
        for (int j = 0; j < 4; j++)
            s[j] *= direction;
#pragma unroll 2
        for (int h = threadIdx.y; h < heads; h += blockDim.y) {
            T *const at = token + (int64_t)h * width + i;
            float low[4], high[4];
            load(low, at, left, wide);
            load(high, at + pairs, left, wide);
            turn_unit(low, high, c, s);
            store(at, low, left, wide);
            store(at + pairs, high, left, wide);
        }
    }
}

extern "C" __global__ void __launch_bounds__(256)
    rope_f32(gf_arg x, gf_arg cos, gf_arg sin, int heads, int width, int pairs, float direction,
             int wide)
{
    rope<float>(x, cos, sin, heads, width, pairs, direction, wide);
}

extern "C" __global__ void __launch_bounds__(256)
    rope_bf16(gf_arg x, gf_arg cos, gf_arg sin, int heads, int width, int pairs, float direction,
              int wide)
{
    rope<bf16>(x, cos, sin, heads, width, pairs, direction, wide);
}
