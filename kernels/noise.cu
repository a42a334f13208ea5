/* noise.cu - NEFTune's noise on the embedding's output. Contract: graft/ops.h. Every operation is
 * rounded by itself as on the CPU: the same bits. */
#include "cuda/row.h"
#include "device.cuh"
#include "noise.h"

template <typename E> DEVICE const E *list_of(const gf_row_header *row, uint32_t at)
{
    return (const E *)((const char *)row + at);
}

/* Tokens of the example that a token is in: its span, by bisection. */
DEVICE int length_of(const gf_row_header *row, int token)
{
    const gf_row_span *span = list_of<gf_row_span>(row, row->span_at);
    int low = 0, high = row->spans - 1;
    while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (span[middle].start <= token)
            low = middle;
        else
            high = middle - 1;
    }
    return span[low].len;
}

/* A team of threads along x for each token, a unit of four channels for each draw. */
extern "C" __global__ void __launch_bounds__(256)
    embed_noise(gf_arg x, const gf_row_header *row, int width, float alpha, uint64_t seed, int wide)
{
    const int64_t token = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    if (token >= row->tokens)
        return;
    const gf_row_token at = list_of<gf_row_token>(row, row->token_at)[token];
    const float span = __fmul_rn((float)length_of(row, (int)token), (float)width);
    const float size = __fdiv_rn(alpha, __fsqrt_rn(span));
    const uint2 key = make_uint2((uint32_t)seed, (uint32_t)(seed >> 32) ^ (row->epoch * 0x9E3779B9u));
    float *to = place<float *>(x, token, 0);
    for (int c = 4 * threadIdx.x; c < width; c += 4 * blockDim.x) {
        const uint4 r = philox(make_uint4((uint32_t)at.example,
                                          (uint32_t)(at.example >> 32) ^ (GF_NOISE_MODULE << 8),
                                          (uint32_t)at.position, (uint32_t)c / 4),
                               key);
        const uint32_t word[4] = {r.x, r.y, r.z, r.w};
        if (wide && c + 4 <= width) {
            float v[4];
            load_unit(v, (const float *)to + c);
#pragma unroll
            for (int i = 0; i < 4; i++)
                v[i] = __fadd_rn(v[i], __fmul_rn(size, gf_noise_of(word[i])));
            store_unit(to + c, v);
        } else {
            for (int i = 0; i < 4; i++)
                if (c + i < width)
                    to[c + i] = __fadd_rn(to[c + i], __fmul_rn(size, gf_noise_of(word[i])));
        }
    }
}
