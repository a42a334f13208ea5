/* lora.cu - the adapters' inner products: S = scale * drop(x) A^T and P = scale * dy B, written
 * behind x and dy (K-extension). Contract: graft/ops.h, group_linear_fwd and _bwd; parameters:
 * cuda/lora.h. The CPU's twin is in linear.c.
 *
 * A block makes some rows of the result, all of K: a sum is never split over blocks, so that its
 * bits do not depend on N or on where the row stands. Copies of later stages run while a stage is
 * multiplied. Under dropout every layer has its own pass over x, as a part; so does every layer of
 * P over its own columns of dy. */
#include "lora.cuh"

/* Columns of x or dy that a stage holds: a line of every row. */
template <typename T> struct line_of {
    static constexpr int columns = GF_LORA_LINE / (int)sizeof(T);
};

template <typename T> DEVICE int stages_of(const gf_lora_product &g)
{
    int n = 0;
#pragma unroll
    for (int i = 0; i < 3; i++)
        if (i < g.parts)
            n += (g.part[i].k + line_of<T>::columns - 1) / line_of<T>::columns;
    return n;
}

/* Bit t: the part has ranks in tile t, of 8, of the R from rank0 on. */
template <int R> DEVICE uint32_t tiles_of(const gf_lora_part &part, int rank0)
{
    const int first = max(part.first - rank0, 0) / 8, last = min(part.last - rank0 + 7, R) / 8;
    return last > first ? (1u << last) - (1u << first) : 0;
}

/* ---- copies ------------------------------------------------------------------------------- */

/* The next stage: this thread's first chunks of it, and which of its chunks are there. */
struct feed {
    const char *wide, *small;
    uint32_t rows, ranks; /* bits */
    int part, left;       /* columns of the part from here on */
};

/* Along: a row of `small` is a rank of A; else it is B's for a column of dy. */
template <typename T, int R, bool Along>
DEVICE void begin_part(feed &f, const gf_lora_product &g, int row0, int rank0)
{
    constexpr int chunk = per<T>::chunk, narrow = R / chunk;
    const gf_lora_part part = pick(g.part, f.part);
    const int column = part.at + share<8>::column() * chunk;
    f.left = part.k;
    f.wide = (const char *)((const T *)g.wide + (row0 + share<8>::row()) * g.wide_stride + column);
    if (Along) {
        const int rank = rank0 + share<8>::row();
        f.small = (const char *)((const T *)g.small + rank * g.small_stride + column);
        f.ranks =
            rows_below<8, R / 16>(part.last - rank0) & ~rows_below<8, R / 16>(part.first - rank0);
    } else {
        const int k = part.at + share<narrow>::row(), rank = share<narrow>::column() * chunk;
        f.small = (const char *)((const T *)g.small + k * g.small_stride + rank0 + rank);
        f.ranks = tiles_of<R>(part, rank0) >> rank / 16 * 2 & 3u ? (1u << R / 16) - 1 : 0;
    }
}

template <typename T, int R, bool Along>
DEVICE void load_stage(uint32_t stage, feed &f, const gf_lora_product &g, int row0, int rank0)
{
    constexpr int rows = GF_LORA_ROWS(R), chunk = per<T>::chunk, columns = line_of<T>::columns;
    constexpr int narrow = R / chunk, size = (int)sizeof(T);
    const int bytes = bytes_of<T>(f.left - share<8>::column() * chunk);
    copy_chunks<rows / 16>(stage + share<8>::offset(), f.wide,
                           share<8>::rows_apart * size * g.wide_stride, f.rows, bytes, g.wide);
    stage += rows * GF_LORA_LINE;
    if (Along) {
        copy_chunks<R / 16>(stage + share<8>::offset(), f.small,
                            share<8>::rows_apart * size * g.small_stride, f.ranks, bytes, g.small);
    } else if (f.ranks) {
        const uint32_t there = f.left < columns ? rows_below<narrow, R / 16>(f.left) : f.ranks;
        copy_chunks<R / 16>(stage + share<narrow>::offset(), f.small,
                            share<narrow>::rows_apart * size * g.small_stride, there, CHUNK,
                            g.small);
    }
    f.left -= columns;
    f.wide += GF_LORA_LINE;
    f.small += Along ? GF_LORA_LINE : columns * size * g.small_stride;
    if (f.left <= 0 && ++f.part < g.parts)
        begin_part<T, R, Along>(f, g, row0, rank0);
}

/* ---- dropout: a lane draws one byte a step for its quad ----------------------------------- */

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

/* ---- ranks of two layers in one tile ------------------------------------------------------ */

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

/* ---- the result --------------------------------------------------------------------------- */

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

/* ---- the kernel --------------------------------------------------------------------------- */

/* How a block's 4 warps share a stage: 16 rows each, and with less than 64 rows some of the steps
 * along K. */
template <int R> struct split {
    static constexpr int rows = GF_LORA_ROWS(R), shares = 4 * 16 / rows, steps = 4 / shares;
    static DEVICE int group() /* a warp's first row */
    {
        return threadIdx.x / WARP % (rows / 16) * 16;
    }
    static DEVICE int share() /* of the steps */
    {
        return threadIdx.x / WARP / (rows / 16);
    }
};

/* A warp's part of a stage. tiles: those with ranks of the part; k: the stage's first column. */
template <typename T, int R, bool Along>
DEVICE void multiply_stage(float (&sum)[R / 8][4], const char *wide, uint32_t tiles,
                           const gf_lora_dropout &drop, const draw &d, int k)
{
    constexpr int steps = split<R>::steps;
    const char *small = wide + split<R>::rows * GF_LORA_LINE;
    const int lane = threadIdx.x % WARP, first = split<R>::share() * steps;
#pragma unroll(sizeof(T) == 2 ? steps : 1)
    for (int i = 0; i < steps; i++) {
        const int s = first + i;
        row_step<T> a;
        take_along<8>(a, wide, split<R>::group(), s, lane);
        if (drop.least)
            drop_step(a, drop, d, k + s * per<T>::step, lane);
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
}

/* The sums of a warp's share of K, part by part. */
template <typename T, int R, bool Along>
DEVICE void sum_parts(float (&sum)[R / 8][4], char *shared, const gf_lora_product &g, draw d,
                      int row0, int rank0)
{
    constexpr int stages = GF_LORA_STAGES(R), stage = (split<R>::rows + R) * GF_LORA_LINE;
    const uint32_t base = shared_address(shared);
    const int total = stages_of<T>(g), lane = threadIdx.x % WARP;
    float kept[2][4] = {};
    feed f = {};
    f.rows = rows_below<8, split<R>::rows / 16>(g.rows - row0);
    begin_part<T, R, Along>(f, g, row0, rank0);
    for (int i = 0; i < stages - 1; i++) {
        if (i < total)
            load_stage<T, R, Along>(base + i * stage, f, g, row0, rank0);
        cp_async_commit();
    }
    gf_lora_part part = g.part[0];
    uint32_t tiles = tiles_of<R>(part, rank0);
    d.module = part.module;
    int now = 0, k = 0, slot = 0;
    for (int i = 0; i < total; i++) {
        cp_async_wait<stages - 2>();
        __syncthreads();
        if (i + stages - 1 < total) /* where the stage before was */
            load_stage<T, R, Along>(base + (slot ? slot - 1 : stages - 1) * stage, f, g, row0,
                                    rank0);
        cp_async_commit();
        multiply_stage<T, R, Along>(sum, shared + slot * stage, tiles, g.drop, d, k);
        slot = slot == stages - 1 ? 0 : slot + 1;
        k += line_of<T>::columns;
        if (k < part.k)
            continue;
        if (now == 0)
            put_aside<R>(kept[0], sum, part.last - rank0);
        else if (now == 1)
            put_aside<R>(kept[1], sum, part.last - rank0);
        k = 0;
        part = pick(g.part, ++now);
        tiles = tiles_of<R>(part, rank0);
        d.module = part.module;
    }
    if (g.parts > 1)
        put_back<R>(sum, kept[1], g.part[1].last - rank0, lane);
    put_back<R>(sum, kept[0], g.part[0].last - rank0, lane);
}

template <typename T, int R, bool Along> DEVICE void product(const gf_lora_product &g)
{
    extern __shared__ __align__(128) char shared[];
    const int lane = threadIdx.x % WARP, group = split<R>::group();
    const int row0 = blockIdx.x * split<R>::rows, rank0 = blockIdx.y * R;
    gf_row_header *row = (gf_row_header *)g.work;
    if (g.clear && blockIdx.y == 0)
        clear_peaks(row);
    draw d = {0, 0, 0, 0};
    if (g.drop.least) {
        const int t = min(row0 + group + drawn_row<T>(lane), g.rows - 1);
        const gf_row_token token = list_of<gf_row_token>(row, row->token_at)[t];
        d.example = token.example, d.position = token.position, d.epoch = row->epoch;
    }
    float sum[R / 8][4] = {};
    sum_parts<T, R, Along>(sum, shared, g, d, row0, rank0);
    cp_async_wait<0>();
    __syncthreads(); /* the stages' memory is free */
    float *sums = (float *)shared + (split<R>::share() * split<R>::rows + group) * (R + 8);
#pragma unroll
    for (int i = 0; i < R / 4; i++) /* tile i / 2, its lower rows if i % 2 */
        *(float2 *)(sums + (lane / 4 + i % 2 * 8) * (R + 8) + i / 2 * 8 + lane % 4 * 2) =
            make_float2(sum[i / 2][i % 2 * 2], sum[i / 2][i % 2 * 2 + 1]);
    __syncthreads();
    write_rows<T, R>((const float *)shared, g, row0, rank0);
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
