/* rope.cu - rotary embedding, half-rotation pairing, in place. Contract: graft/ops.h. Source: Su et
 * al. 2021; FORMATS 2.5.
 *
 * A block turns the heads of one token: threads along x have the columns, along y the heads. So a
 * thread reads its cosines and sines once for all its heads. */
#include "device.cuh"

struct heads {
    int count, width, pairs; /* columns i and i + pairs of each head turn together */
    float direction;         /* +1 or -1 */
};

/* Where all is aligned and pairs is a multiple of 4. */
template <typename T>
DEVICE void turn_units(T *token, const float *cos, const float *sin, const heads &h)
{
    for (int i = 4 * threadIdx.x; i < h.pairs; i += 4 * blockDim.x) {
        float c[4], s[4];
        load_unit(c, cos + i);
        load_unit(s, sin + i);
#pragma unroll
        for (int j = 0; j < 4; j++)
            s[j] *= h.direction;
#pragma unroll 2
        for (int k = threadIdx.y; k < h.count; k += blockDim.y) {
            T *const at = token + (int64_t)k * h.width + i;
            float low[4], high[4];
            load_unit(low, at);
            load_unit(high, at + h.pairs);
#pragma unroll
            for (int j = 0; j < 4; j++)
                turn(low[j], high[j], c[j], s[j]);
            store_unit(at, low);
            store_unit(at + h.pairs, high);
        }
    }
}

template <typename T>
DEVICE void turn_each(T *token, const float *cos, const float *sin, const heads &h)
{
    for (int i = threadIdx.x; i < h.pairs; i += blockDim.x)
        for (int k = threadIdx.y; k < h.count; k += blockDim.y) {
            T *const at = token + (int64_t)k * h.width + i;
            float low = get(at, 0), high = get(at, h.pairs);
            turn(low, high, cos[i], sin[i] * h.direction);
            put(at, 0, low);
            put(at, h.pairs, high);
        }
}

#define ROPE(name, T)                                                                              \
    extern "C" __global__ void __launch_bounds__(256)                                              \
        name(gf_arg x, gf_arg cos, gf_arg sin, int count, int width, int pairs, float direction,   \
             int wide)                                                                             \
    {                                                                                              \
        const heads h = {count, width, pairs, direction};                                          \
        const int64_t row = blockIdx.x;                                                            \
        T *const token = place<T *>(x, row, 0);                                                    \
        const float *const c = place<float *>(cos, row, 0), *const s =                             \
                                                                place<float *>(sin, row, 0);       \
        if (wide)                                                                                  \
            turn_units(token, c, s, h);                                                            \
        else                                                                                       \
            turn_each(token, c, s, h);                                                             \
    }

ROPE(rope_f32, float)
ROPE(rope_bf16, bf16)
