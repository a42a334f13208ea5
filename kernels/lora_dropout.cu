/* lora_dropout.cu - what the adapters add to dx under dropout: dx += sum over the layers of
 * mask / (1 - p) * (P A). Contract: graft/ops.h, group_linear_bwd; parameters: cuda/lora.h. Without
 * dropout this is part of the one product [dy|P] [W;A]. The masks are drawn again, nobody stored
 * them.
 *
 * A block owns 64 x 64 elements of dx, a warp 16 rows of them. The sums of all layers meet in f32;
 * dx is read once, and rounded once more. */
#include "lora.cuh"

/* A line of ranks of P, rank `rank` and up, for every row, and the same ranks of A for every
 * column. A's other ranks are zero: another layer's P adds nothing. */
template <typename T>
DEVICE void load_ranks(char *p_tile, char *a_tile, const gf_lora_update &g,
                       const gf_lora_part &part, int rank, int row0, int column0)
{
    constexpr int chunk = per<T>::chunk, ranks = 8 * chunk, wide = GF_LORA_PATCH / chunk;
#pragma unroll
    for (int i = threadIdx.x; i < GF_LORA_PATCH * 8; i += GF_LORA_THREADS) {
        const int row = i / 8, r = rank + i % 8 * chunk;
        const bool there = row0 + row < g.rows && r < part.last;
        copy_chunk(p_tile + place<8>(row, i % 8), (const T *)g.p, (row0 + row) * g.p_stride + r,
                   there ? CHUNK : 0);
    }
#pragma unroll
    for (int i = threadIdx.x; i < ranks * wide; i += GF_LORA_THREADS) {
        const int r = rank + i / wide, column = column0 + i % wide * chunk;
        const bool there = r >= part.first && r < part.last;
        copy_chunk(a_tile + place<wide>(i / wide, i % wide), (const T *)g.a,
                   r * g.a_stride + column, there ? bytes_of<T>(g.k - column) : 0);
    }
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
}

/* P A of one layer: a warp's 16 rows by 64 columns. */
template <typename T>
DEVICE void multiply_ranks(float (&sum)[8][4], char *p_tile, char *a_tile, const gf_lora_update &g,
                           const gf_lora_part &part, int row0, int column0)
{
    constexpr int ranks = 8 * per<T>::chunk, wide = GF_LORA_PATCH / per<T>::chunk;
    const int lane = threadIdx.x % WARP, group = threadIdx.x / WARP * 16;
    /* from a rank whose chunk is aligned */
    for (int rank = part.first / GF_LORA_RANK_STEP * GF_LORA_RANK_STEP; rank < part.last;
         rank += ranks) {
        __syncthreads(); /* the tiles are read by nobody any more */
        load_ranks<T>(p_tile, a_tile, g, part, rank, row0, column0);
#pragma unroll 1
        for (int s = 0; s < 4 && rank + s * per<T>::step < part.last; s++) {
            row_step<T> p;
            take_along<8>(p, p_tile, group, s, lane);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                column_step<T> a;
                take_down<wide>(a, a_tile, j * 16, s, lane);
                multiply(sum[j * 2], p, a, 0);
                multiply(sum[j * 2 + 1], p, a, 1);
            }
        }
    }
}

/* all += the kept elements of `one` / (1 - p). Lane c of a quad draws for row g + c / 2 * 8 and one
 * of two tiles of 8 columns. */
DEVICE void add_kept(float (&all)[8][4], const float (&one)[8][4], const gf_lora_dropout &drop,
                     const draw &d, int column0, int lane)
{
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
        const uint32_t mine = keep8(drop, d, column0 + (j + lane % 2) * 8);
#pragma unroll
        for (int i = 0; i < 4; i++) { /* tile j + i / 2, row g + i % 2 * 8 */
            const uint32_t bits =
                __shfl_sync(ALL_LANES, mine, i % 2 * 2 + i / 2, 4) >> lane % 4 * 2;
#pragma unroll
            for (int e = 0; e < 2; e++)
                if (bits >> e & 1u)
                    all[j + i / 2][i % 2 * 2 + e] += one[j + i / 2][i % 2 * 2 + e] * drop.inverse;
        }
    }
}

template <typename D>
DEVICE void add_to_dx(const gf_lora_update &g, const float *sums, int row0, int column0)
{
    const bool wide = g.dx_stride % 4 == 0 && (uint64_t)g.dx % (4 * sizeof(D)) == 0;
    for (int i = threadIdx.x; i < GF_LORA_PATCH * GF_LORA_PATCH / 4; i += GF_LORA_THREADS) {
        const int row = i / (GF_LORA_PATCH / 4), column = i % (GF_LORA_PATCH / 4) * 4;
        const int left = g.k - column0 - column;
        if (row0 + row >= g.rows || left <= 0)
            continue;
        D *to = (D *)g.dx + (row0 + row) * g.dx_stride + column0 + column;
        float v[4], more[4];
        load(v, to, left, wide);
        load_unit(more, sums + row * GF_LORA_PATCH_PITCH + column);
#pragma unroll
        for (int e = 0; e < 4; e++)
            v[e] += more[e];
        store(to, v, left, wide);
    }
}

template <typename T, typename D> DEVICE void update(const gf_lora_update &g)
{
    extern __shared__ __align__(128) char shared[];
    char *p_tile = shared, *a_tile = shared + GF_LORA_PATCH * GF_LORA_LINE;
    float *sums = (float *)(a_tile + GF_LORA_PATCH * GF_LORA_LINE);
    const int lane = threadIdx.x % WARP, group = threadIdx.x / WARP * 16;
    const int column0 = blockIdx.x * GF_LORA_PATCH, row0 = blockIdx.y * GF_LORA_PATCH;
    const gf_row_header *row = (const gf_row_header *)g.work;
    const int t = min(row0 + group + lane / 4 + lane % 4 / 2 * 8, g.rows - 1);
    const gf_row_token token = list_of<gf_row_token>(row, row->token_at)[t];
    draw d = {token.example, token.position, 0, row->epoch};
    float all[8][4] = {};
#pragma unroll 1
    for (int i = 0; i < g.parts; i++) {
        const gf_lora_part part = pick(g.part, i);
        float one[8][4] = {};
        multiply_ranks<T>(one, p_tile, a_tile, g, part, row0, column0);
        d.module = part.module;
        add_kept(all, one, g.drop, d, column0, lane);
    }
#pragma unroll
    for (int j = 0; j < 16; j++)
        *(float2 *)(sums + (group + lane / 4 + j % 2 * 8) * GF_LORA_PATCH_PITCH + j / 2 * 8 +
                    lane % 4 * 2) = make_float2(all[j / 2][j % 2 * 2], all[j / 2][j % 2 * 2 + 1]);
    __syncthreads();
    add_to_dx<D>(g, sums, row0, column0);
}

#define KERNEL(name, T, D)                                                                         \
    extern "C" __global__ void __launch_bounds__(GF_LORA_THREADS, 3)                               \
        lora_dropout_##name(const gf_lora_update g)                                                \
    {                                                                                              \
        update<T, D>(g);                                                                           \
    }
KERNEL(bf16_f32, bf16, float)
KERNEL(bf16_bf16, bf16, bf16)
KERNEL(f32_f32, float, float)
