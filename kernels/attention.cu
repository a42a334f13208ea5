/* attention.cu - causal attention, forward, bf16. Contract: graft/ops.h. Source: Dao 2023
 * (FlashAttention-2), algorithm 1; PERFORMANCE 3.
 *
 * A block owns a tile of queries of one head and walks the keys that it sees. Its queries stay in
 * shared memory; keys and values come in blocks, the next one while this one is multiplied. A warp
 * owns 16 * Rows queries: their maximum, denominator and sums never leave its registers. Exponents
 * are of base 2, the scale goes into the same multiplication.
 *
 * grid: (H * Split, tiles), Split blocks share a tile; block: 32 * Warps. */
#include "attention.cuh"

/* Hides what the 16 queries from `query` on do not see of the keys from `key` on. */
template <int Keys>
DEVICE void hide(const gf_attention_args &a, float (&s)[Keys / 8][4], int query, int key, int lane)
{
#pragma unroll
    for (int j = 0; j < Keys / 8; j++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            if (is_hidden(a, query + (lane >> 2) + (e >> 1) * 8,
                          key + j * 8 + (lane & 3) * 2 + (e & 1)))
                s[j][e] = LOWEST;
}

/* Products to scores in base 2 where they are capped. */
template <int Keys> DEVICE void bend(const gf_attention_args &a, float (&s)[Keys / 8][4])
{
#pragma unroll
    for (int j = 0; j < Keys / 8; j++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            s[j][e] = a.outer * tanh_fast(s[j][e] * a.inner);
}

/* Of one row's share of 4 lanes. */
DEVICE float four_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 1));
    return fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 2));
}
DEVICE float four_sum(float x)
{
    x += __shfl_xor_sync(ALL_LANES, x, 1);
    return x + __shfl_xor_sync(ALL_LANES, x, 2);
}

/* Scores to exponentials below the rows' maxima so far; what was summed is scaled down to them. */
template <int Width, int Keys>
DEVICE void soften(const gf_attention_args &a, float (&s)[Keys / 8][4], float (&o)[Width / 8][4],
                   float (&top)[2], float (&sum)[2])
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float most = top[r];
#pragma unroll
        for (int j = 0; j < Keys / 8; j++)
            most = fmaxf(most, fmaxf(s[j][2 * r], s[j][2 * r + 1]));
        most = four_max(most);
        const float fade = exp2_approx((top[r] - most) * a.unit), shift = most * a.unit;
        top[r] = most;
        sum[r] *= fade;
#pragma unroll
        for (int j = 0; j < Keys / 8; j++) {
            s[j][2 * r] = exp2_approx(s[j][2 * r] * a.unit - shift);
            s[j][2 * r + 1] = exp2_approx(s[j][2 * r + 1] * a.unit - shift);
            sum[r] += s[j][2 * r] + s[j][2 * r + 1];
        }
#pragma unroll
        for (int j = 0; j < Width / 8; j++) {
            o[j][2 * r] *= fade;
            o[j][2 * r + 1] *= fade;
        }
    }
}

/* Writes the warp's `count` queries: o through `tile`, whose rows nobody else reads, and lse. */
template <int Width, int Rows>
DEVICE void finish(const gf_attention_args &a, float (&o)[Rows][Width / 8][4],
                   const float (&top)[Rows][2], float (&sum)[Rows][2], unsigned char *tile,
                   bf16 *to, float *lse, int count, int lane)
{
    const float unit = a.cap > 0.0f ? 1.0f / LOG2E : a.scale;
#pragma unroll
    for (int i = 0; i < Rows; i++) {
        sum[i][0] = four_sum(sum[i][0]);
        sum[i][1] = four_sum(sum[i][1]);
#pragma unroll
        for (int j = 0; j < Width / 8; j++)
            put_sums<Width>(tile, i * 16, j, o[i][j], reciprocal_approx(sum[i][0]),
                            reciprocal_approx(sum[i][1]), lane);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int row = i * 16 + r * 8 + (lane >> 2);
            if (lane % 4 == 0 && row < count)
                lse[row * a.lse_stride] = top[i][r] * unit + logf(sum[i][r]);
        }
    }
    __syncwarp();
    store_tile<Width>(to, a.o_stride, tile, count, a.width, lane, WARP);
}

DEVICE void clear_queries(const gf_attention_args &a, const part &p)
{
    store_zeros(head_of<bf16>(a, a.o, a.o_stride, p.first, p.head), a.o_stride, p.count, a.width);
    for (int i = (int)threadIdx.x; i < p.count; i += (int)blockDim.x)
        a.lse[(int64_t)(p.first + i) * a.lse_stride + p.head] = 0.0f;
}

template <int Width, int Warps, int Rows, int Keys> DEVICE void forward(const gf_attention_args &a)
{
    constexpr int queries = Warps * Rows * 16, threads = Warps * WARP;
    constexpr uint32_t block_bytes = Keys * Width * 2;
    extern __shared__ __align__(128) unsigned char shared[];
    __shared__ part kept; /* p: the loop has no registers for it */
    part p;
    if (!find_part(p, a, false, queries))
        return;
    if (p.filler) {
        clear_queries(a, p);
        return;
    }
    if (threadIdx.x == 0)
        kept = p;
    const int begin = same_in_warp(first_key(a, p.position) / Keys);
    const int end = same_in_warp((p.position + p.count - 1) / Keys + 1);
    const int lane = (int)threadIdx.x % WARP, own = (int)threadIdx.x / WARP * Rows * 16;
    const int group = p.head / a.share;

    const uint32_t sq = shared_address(shared), sk = sq + queries * Width * 2;
    const uint32_t sv = sk + 2 * block_bytes;
    load_tile<Width, queries, threads>(sq, head_of<bf16>(a, a.q, a.q_stride, p.first, p.head),
                                       a.q_stride, p.count, a.width, (int)threadIdx.x);
    float o[Rows][Width / 8][4] = {}, top[Rows][2], sum[Rows][2] = {};
#pragma unroll
    for (int i = 0; i < Rows; i++)
        top[i][0] = top[i][1] = LOWEST;
    for (int n = begin - 1; n < end; n++) {
        /* block n has arrived; what the next overwrites was read before this barrier */
        cp_async_wait<0>();
        __syncthreads();
        if (n + 1 < end)
            load_keys<Width, Keys, threads>(a, sk, sv, kept.span, n + 1, group);
        const int query = kept.position + own, key = n * Keys;
        if (whole_warp(n < begin || own >= kept.count || sees_none(a, query, Rows * 16, key, Keys)))
            continue; /* the warp sees none of it */
        const uint32_t half = (n & 1) * block_bytes;
        float s[Rows][Keys / 8][4];
        multiply<Width, Rows, Keys>(s, rows_at<Width>(sq + own * Width * 2, lane),
                                    columns_at<Width>(sk + half, lane));
        const bool all = sees_all(a, query, Rows * 16, key, Keys);
#pragma unroll
        for (int i = 0; i < Rows; i++) {
            if (a.cap > 0.0f)
                bend<Keys>(a, s[i]);
            if (!all)
                hide<Keys>(a, s[i], query + i * 16, key, lane);
            soften<Width, Keys>(a, s[i], o[i], top[i], sum[i]);
        }
        multiply_sums<Width, Rows, Keys, Width>(o, s, rows_at<Width>(sv + half, lane));
    }
    __syncthreads(); /* a warp's queries make room for its outputs */
    if (whole_warp(own < kept.count))
        finish<Width, Rows>(a, o, top, sum, shared + own * Width * 2,
                            head_of<bf16>(a, a.o, a.o_stride, kept.first + own, kept.head),
                            a.lse + (int64_t)(kept.first + own) * a.lse_stride + kept.head,
                            min(kept.count - own, Rows * 16), lane);
}

/* Width, warps, 16s of queries a warp, keys of a block: PERFORMANCE 3.2. Shared memory: kernels/
 * cuda/launch_attention.c. */
#define FORWARD(width, warps, rows, keys)                                                          \
    extern "C" __global__ void __launch_bounds__(32 * warps, 1)                                    \
        attention_fwd_bf16_##width(const __grid_constant__ gf_attention_args a)                    \
    {                                                                                              \
        forward<width, warps, rows, keys>(a);                                                      \
    }
FORWARD(32, 4, 2, 64)
FORWARD(64, 4, 2, 64)
FORWARD(96, 4, 2, 32)
FORWARD(128, 4, 2, 32)
FORWARD(256, 4, 1, 32)
