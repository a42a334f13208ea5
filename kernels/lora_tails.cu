/* lora_tails.cu - the working copies of A and B: f32 masters to the tails of a group's weights, A's
 * rows below W, B's columns to its right, block diagonal. Contract: graft/ops.h, group_tails;
 * parameters: cuda/lora.h.
 *
 * A thread copies single elements: neighbours lie side by side, and masters may begin anywhere. */
#include "device.cuh"

#include "cuda/lora.h"

/* Row n + rank: A[rank, :], zeros behind its width and past all ranks. */
template <typename T> DEVICE void copy_a(const gf_lora_copy &g, int rank, int column)
{
    float v = 0.0f;
#pragma unroll
    for (int i = 0; i < 3; i++) {
        const gf_lora_master &layer = g.layer[i];
        if (rank >= layer.first && rank < layer.last && column < g.width)
            v = layer.a[(rank - layer.first) * layer.a_stride + column];
    }
    ((T *)g.w)[(g.n + rank) * g.stride + column] = from_f32<T>(v);
}

/* Column k + rank: B[:, rank] in its layer's rows, zeros in the others. */
template <typename T> DEVICE void copy_b(const gf_lora_copy &g, int row, int rank)
{
    float v = 0.0f;
#pragma unroll
    for (int i = 0; i < 3; i++) {
        const gf_lora_master &layer = g.layer[i];
        const int own = row - layer.at;
        if (rank >= layer.first && rank < layer.last && own >= 0 && own < layer.n)
            v = layer.b[own * layer.b_stride + rank - layer.first];
    }
    ((T *)g.w)[row * g.stride + g.k + rank] = from_f32<T>(v);
}

/* 32 bits do: tails are a few columns and rows. */
template <typename T> DEVICE void copy(const gf_lora_copy &g)
{
    const uint32_t of_a = (uint32_t)g.room * g.k, all = of_a + (uint32_t)g.room * g.n;
    for (uint32_t i = blockIdx.x * GF_LORA_THREADS + threadIdx.x; i < all;
         i += gridDim.x * GF_LORA_THREADS)
        if (i < of_a)
            copy_a<T>(g, (int)(i / g.k), (int)(i % g.k));
        else
            copy_b<T>(g, (int)((i - of_a) / g.room), (int)((i - of_a) % g.room));
}

extern "C" __global__ void __launch_bounds__(GF_LORA_THREADS) lora_tails_bf16(const gf_lora_copy g)
{
    copy<bf16>(g);
}
extern "C" __global__ void __launch_bounds__(GF_LORA_THREADS) lora_tails_f32(const gf_lora_copy g)
{
    copy<float>(g);
}
