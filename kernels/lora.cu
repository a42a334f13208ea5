/* lora.cu - the adapters' inner products: S = scale * drop(x) A^T and P = scale * dy B, written
 * behind x and dy (K-extension). Contract: graft/ops.h, group_linear_fwd and _bwd; parameters:
 * cuda/lora.h. The CPU's twin is in linear.c.
 *
 * A block makes some rows of the result, all of K: a sum is never split over blocks, so that its
 * bits do not depend on N or on where the row stands. Copies of later stages run while a stage is
 * multiplied. Under dropout every layer has its own pass over x, as a part; so does every layer of
 * P over its own columns of dy. */
#include "lora.cuh"

/* Where the stages are: a part and a column of it. */
struct cursor {
    int part, k;
};

template <typename T> DEVICE void advance(cursor &at, const gf_lora_product &g)
{
    at.k += 8 * per<T>::chunk;
    if (at.k >= pick(g.part, at.part).k)
        at.part++, at.k = 0;
}

template <typename T> DEVICE int stages_of(const gf_lora_product &g)
{
    int n = 0;
#pragma unroll
    for (int i = 0; i < 3; i++)
        if (i < g.parts)
            n += (g.part[i].k + 8 * per<T>::chunk - 1) / (8 * per<T>::chunk);
    return n;
}

/* Bit t: the part has ranks in tile t, of 8, of the R from rank0 on. */
template <int R> DEVICE uint32_t tiles_of(const gf_lora_part &part, int rank0)
{
    const int first = max(part.first - rank0, 0) / 8, last = min(part.last - rank0 + 7, R) / 8;
    return last > first ? (1u << last) - (1u << first) : 0;
}

/* A line of every row of x or dy, and of A (Along), or as many rows of B. */
template <typename T, int R, bool Along>
DEVICE void load_stage(char *stage, const gf_lora_product &g, cursor at, int row0, int rank0)
{
    constexpr int rows = GF_LORA_ROWS(R), chunk = per<T>::chunk;
    const gf_lora_part part = pick(g.part, at.part);
    const int left = part.k - at.k;
#pragma unroll
    for (int i = threadIdx.x; i < rows * 8; i += GF_LORA_THREADS) {
        const int row = i / 8, c = i % 8;
        const int bytes = row0 + row < g.rows ? bytes_of<T>(left - c * chunk) : 0;
        copy_chunk(stage + place<8>(row, c), (const T *)g.wide,
                   (row0 + row) * g.wide_stride + part.at + at.k + c * chunk, bytes);
    }
    char *small = stage + rows * GF_LORA_LINE;
    const uint32_t tiles = tiles_of<R>(part, rank0);
#pragma unroll
    for (int i = threadIdx.x; i < R * 8; i += GF_LORA_THREADS) {
        if (Along) {
            const int rank = rank0 + i / 8, c = i % 8;
            const bool there = rank >= part.first && rank < part.last;
            copy_chunk(small + place<8>(i / 8, c), (const T *)g.small,
                       rank * g.small_stride + part.at + at.k + c * chunk,
                       there ? bytes_of<T>(left - c * chunk) : 0);
        } else {
            constexpr int chunks = R / chunk;
            const int k = i / chunks, c = i % chunks, pair = c * chunk / 16;
            if (tiles >> pair * 2 & 3u)
                copy_chunk(small + place<chunks>(k, c), (const T *)g.small,
                           (part.at + at.k + k) * g.small_stride + rank0 + c * chunk,
                           k < left ? CHUNK : 0);
        }
    }
}

/* ---- dropout: a lane draws one byte a step for its quad -------------------------------------- */

/* Of a step in bf16, lane c of a quad draws for row g + c / 2 * 8 and chunk c % 2; in f32 for row
 * g + c % 2 * 8. */
template <typename T> DEVICE int drawn_row(int lane)
{
    return lane / 4 + (sizeof(T) == 2 ? lane % 4 / 2 : lane % 2) * 8;
}
DEVICE void drop_step(row_step<bf16> &a, const gf_lora_dropout &drop, const draw &d, int k,
                      int lane)
{
    const uint32_t mine = keep8(drop, d, k + lane % 2 * 8);
#pragma unroll
    for (int i = 0; i < 4; i++) { /* rows g, g + 8 of the first chunk, then of the second */
        const uint32_t bits = __shfl_sync(ALL_LANES, mine, i % 2 * 2 + i / 2, 4);
        a.v[i] = drop_pair(a.v[i], bits >> (lane % 4 * 2), drop.inverse);
    }
}
DEVICE void drop_step(row_step<float> &a, const gf_lora_dropout &drop, const draw &d, int k,
                      int lane)
{
    const uint32_t mine = keep8(drop, d, k);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const uint32_t bits = __shfl_sync(ALL_LANES, mine, i, 4);
#pragma unroll
        for (int j = 0; j < 8; j++)
            a.v[i][j] = bits >> j & 1u ? a.v[i][j] * drop.inverse : 0.0f;
    }
}

/* ---- ranks of two layers in one tile -----------------------------------------------------------
 */

/* The sums of a finished part that share a tile with the next one's are put aside: that part goes
 * on with zeros, so that what is not finite in one layer stays out of the other's ranks. `end`: the
 * first rank that is not the finished part's. */
DEVICE uint32_t tile_bit(int end) /* a bit for a tile: the compiler indexes nothing by it */
{
    return end >= 0 && end < GF_LORA_MOST ? 1u << end / 8 : 0;
}
template <int R> DEVICE void put_aside(float (&kept)[4], float (&sum)[R / 8][4], int end)
{
    const uint32_t tile = tile_bit(end);
#pragma unroll
    for (int j = 0; j < R / 8; j++) {
        const bool here = tile >> j & 1u;
#pragma unroll
        for (int e = 0; e < 4; e++) {
            kept[e] = here ? sum[j][e] : kept[e];
            sum[j][e] = here ? 0.0f : sum[j][e];
        }
    }
}
template <int R>
DEVICE void put_back(float (&sum)[R / 8][4], const float (&kept)[4], int end, int lane)
{
    const uint32_t tile = tile_bit(end);
#pragma unroll
    for (int j = 0; j < R / 8; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const bool here = (tile >> j & 1u) && lane % 4 * 2 + e % 2 < (end & 7);
            sum[j][e] = here ? kept[e] : sum[j][e];
        }
}

/* ---- the result
 * ---------------------------------------------------------------------------------- */

DEVICE float scale_of(const gf_lora_product &g, int rank)
{
    return rank < g.end[0] ? g.scale[0] : rank < g.end[1] ? g.scale[1] : g.scale[2];
}

/* Adds what the warps that shared K have, scales, rounds once and writes whole sectors. */
template <typename T, int R>
DEVICE void write_rows(const float *sums, const gf_lora_product &g, int row0, int rank0)
{
    constexpr int rows = GF_LORA_ROWS(R), pitch = R + 8, shares = 4 * 16 / rows;
    const bool wide = g.copy_stride % 4 == 0 && (uint64_t)g.copy % (4 * sizeof(T)) == 0;
    for (int i = threadIdx.x; i < rows * (R / 4); i += GF_LORA_THREADS) {
        /* rows 0, 2, 1, 3, ...: with 16 ranks, 8 lanes read two of them, from different banks */
        const int u = i / (R / 4), row = (u & ~3) | (u >> 1 & 1) | (u & 1) << 1;
        const int column = i % (R / 4) * 4, rank = rank0 + column;
        if (row0 + row >= g.rows || rank >= g.room)
            continue;
        float v[4], more[4];
        load_unit(v, sums + row * pitch + column);
#pragma unroll
        for (int s = 1; s < shares; s++) {
            load_unit(more, sums + (s * rows + row) * pitch + column);
#pragma unroll
            for (int e = 0; e < 4; e++)
                v[e] += more[e];
        }
#pragma unroll
        for (int e = 0; e < 4; e++)
            v[e] = rank + e < g.rank ? v[e] * scale_of(g, rank + e) : 0.0f;
        store_unit((T *)g.tail + (row0 + row) * g.tail_stride + rank, v);
        if (g.copy)
            store((T *)g.copy + (row0 + row) * g.copy_stride + rank, v, g.rank - rank, wide);
    }
}

/* The peaks and the count of blocks that the gradients' kernel, the next one, begins with. */
DEVICE void clear_peaks(gf_row_header *row)
{
    uint32_t *peak = (uint32_t *)((char *)row + row->peak_at);
    const int chunks = row->chunks, threads = gridDim.x * GF_LORA_THREADS;
    for (int i = blockIdx.x * GF_LORA_THREADS + threadIdx.x; i < 6 * chunks; i += threads)
        peak[i / chunks * row->chunk_room + i % chunks] = 0;
    if (blockIdx.x == 0 && threadIdx.x == 0)
        row->arrived = 0;
}

/* ---- the kernel
 * ---------------------------------------------------------------------------------- */

template <typename T, int R, bool Along> DEVICE void product(const gf_lora_product &g)
{
    extern __shared__ __align__(128) char shared[];
    constexpr int rows = GF_LORA_ROWS(R), stages = GF_LORA_STAGES(R);
    constexpr int stage = (rows + R) * GF_LORA_LINE;
    constexpr int shares = 4 * 16 / rows, steps = 4 / shares; /* warps along K, steps of each */
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int group = warp % (rows / 16) * 16, share = warp / (rows / 16); /* its rows, its steps */
    const int row0 = blockIdx.x * rows, rank0 = blockIdx.y * R;
    gf_row_header *row = (gf_row_header *)g.work;
    if (g.clear && blockIdx.y == 0)
        clear_peaks(row);
    draw d = {0, 0, 0, 0};
    if (g.drop.least) {
        const int t = min(row0 + group + drawn_row<T>(lane), g.rows - 1);
        const gf_row_token token = list_of<gf_row_token>(row, row->token_at)[t];
        d.example = token.example, d.position = token.position, d.epoch = row->epoch;
    }
    float sum[R / 8][4] = {}, kept[2][4] = {};
    const int total = stages_of<T>(g);
    cursor load = {0, 0}, now = {0, 0};
#pragma unroll
    for (int i = 0; i < stages - 1; i++) {
        if (i < total) {
            load_stage<T, R, Along>(shared + i * stage, g, load, row0, rank0);
            advance<T>(load, g);
        }
        cp_async_commit();
    }
    for (int i = 0; i < total; i++) {
        cp_async_wait<stages - 2>();
        __syncthreads();
        if (i + stages - 1 < total) {
            load_stage<T, R, Along>(shared + (i + stages - 1) % stages * stage, g, load, row0,
                                    rank0);
            advance<T>(load, g);
        }
        cp_async_commit();
        const char *wide = shared + i % stages * stage, *small = wide + rows * GF_LORA_LINE;
        const gf_lora_part part = pick(g.part, now.part);
        const uint32_t tiles = tiles_of<R>(part, rank0);
        d.module = part.module;
#pragma unroll(sizeof(T) == 2 ? steps : 1)
        for (int s = share * steps; s < (share + 1) * steps; s++) {
            row_step<T> a;
            take_along<8>(a, wide, group, s, lane);
            if (g.drop.least)
                drop_step(a, g.drop, d, now.k + s * per<T>::step, lane);
#pragma unroll
            for (int j = 0; j < R / 16; j++) {
                if (!(tiles >> j * 2 & 3u))
                    continue;
                column_step<T> b;
                if (Along)
                    take_along<8>(b, small, j * 16, s, lane);
                else
                    take_down<R / per<T>::chunk>(b, small, j * 16, s, lane);
                if (tiles >> j * 2 & 1u)
                    multiply(sum[j * 2], a, b, 0);
                if (tiles >> j * 2 & 2u)
                    multiply(sum[j * 2 + 1], a, b, 1);
            }
        }
        const int done = now.part;
        advance<T>(now, g);
        if (now.part != done && done == 0)
            put_aside<R>(kept[0], sum, part.last - rank0);
        else if (now.part != done && done == 1)
            put_aside<R>(kept[1], sum, part.last - rank0);
    }
    if (g.parts > 1)
        put_back<R>(sum, kept[1], g.part[1].last - rank0, lane);
    put_back<R>(sum, kept[0], g.part[0].last - rank0, lane);
    cp_async_wait<0>();
    __syncthreads(); /* the stages' memory is free */
    float *sums = (float *)shared;
#pragma unroll
    for (int j = 0; j < R / 8; j++)
#pragma unroll
        for (int h = 0; h < 2; h++)
            *(float2 *)(sums + (share * rows + group + lane / 4 + h * 8) * (R + 8) + j * 8 +
                        lane % 4 * 2) = make_float2(sum[j][h * 2], sum[j][h * 2 + 1]);
    __syncthreads();
    write_rows<T, R>(sums, g, row0, rank0);
}

#define KERNELS(type, T, ranks)                                                                    \
    extern "C" __global__ void __launch_bounds__(GF_LORA_THREADS, 2)                               \
        lora_s_##type##_##ranks(const gf_lora_product g)                                           \
    {                                                                                              \
        product<T, ranks, true>(g);                                                                \
    }                                                                                              \
    extern "C" __global__ void __launch_bounds__(GF_LORA_THREADS, 2)                               \
        lora_p_##type##_##ranks(const gf_lora_product g)                                           \
    {                                                                                              \
        product<T, ranks, false>(g);                                                               \
    }
KERNELS(bf16, bf16, 16)
KERNELS(bf16, bf16, 32)
KERNELS(bf16, bf16, 64)
KERNELS(bf16, bf16, 128)
KERNELS(f32, float, 16)
KERNELS(f32, float, 64)
