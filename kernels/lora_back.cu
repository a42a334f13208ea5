/* lora_back.cu - P = scale * dy B and dB = dy^T S in one pass over dy, in bf16. Contract:
 * graft/ops.h, group_linear_bwd; parameters: cuda/lora.h. Where this does not fit, lora.cu and
 * lora_grad.cu make the two one by one.
 *
 * A block has a chunk of tokens and a slice of a layer's columns. dB's sums of the whole slice stay
 * in registers, over the tokens in their order, and are added as in lora_grad.cu. P's sums over the
 * slice are complete every 64 tokens and go to memory; the second kernel adds those of a token's
 * slices in their order. Slices are cut by the shape alone, so that P's bits depend on nothing but
 * the token. */
#include "lora.cuh"
#include "lora_sums.cuh"

#define STAGE_TOKENS (GF_LORA_LINE / (int)sizeof(bf16))
#define TILES (GF_LORA_SLICE / GF_LORA_COLUMNS)
#define WIDE (GF_LORA_COLUMNS / per<bf16>::chunk) /* chunks of a stage's rows */

/* Bytes in shared memory: stages of dy, then those of S, then B. */
template <int R> struct layout {
    static constexpr int stages = GF_LORA_BACK_STAGES(R), narrow = R / per<bf16>::chunk;
    static constexpr int wide = STAGE_TOKENS * GF_LORA_COLUMNS * (int)sizeof(bf16);
    static constexpr int tail = STAGE_TOKENS * R * (int)sizeof(bf16);
    static constexpr int tails_at = stages * wide, b_at = stages * (wide + tail);
    static constexpr int b_tile = GF_LORA_COLUMNS * R * (int)sizeof(bf16);
};

/* ---- what a block works on ---------------------------------------------------------------- */

struct task {
    gf_lora_job job;
    gf_lora_sums to;
    int layer, column, tiles; /* first column of the layer's, and how many tiles from there */
    int rank;                 /* the first of R, which may be another layer's */
};

DEVICE task find_task(const gf_lora_back &g)
{
    task t = {g.grads.job[0], g.grads.layer[0], 0, (int)blockIdx.x, 0, 0};
#pragma unroll
    for (int i = 1; i < 3; i++)
        if (t.column >= t.job.tiles) {
            t.column -= t.job.tiles;
            t.layer = i;
            t.job = g.grads.job[i];
            t.to = g.grads.layer[i];
        }
    t.column *= g.slice;
    const int columns = min(t.job.width - t.column, g.slice);
    t.tiles = (columns + GF_LORA_COLUMNS - 1) / GF_LORA_COLUMNS;
    t.rank = t.job.first / GF_LORA_RANK_STEP * GF_LORA_RANK_STEP;
    return t;
}

/* ---- copies ------------------------------------------------------------------------------- */

/* The next stage: where this thread's first chunks of it are, and where they go. */
struct feed {
    const char *wide, *tail;
    int left;      /* columns of the layer from this thread's chunk of the slice on */
    int tokens;    /* of the chunk from here on */
    int tile;      /* of the slice */
    int slot, row; /* places of dy's and of S's stages */
};

template <int R>
DEVICE feed feed_of(const gf_lora_gradients &g, const task &now, gf_row_chunk tokens)
{
    using tail_share = share<layout<R>::narrow>;
    const int column = now.column + share<WIDE>::column() * per<bf16>::chunk;
    const int64_t wide = (tokens.first + share<WIDE>::row()) * g.dy_stride;
    const int64_t tail = (tokens.first + tail_share::row()) * g.s_stride;
    feed f = {};
    f.wide = (const char *)((const bf16 *)g.dy + wide + now.job.at + column);
    f.tail = (const char *)((const bf16 *)g.s + tail + now.rank +
                            tail_share::column() * per<bf16>::chunk);
    f.left = now.job.width - column;
    f.tokens = tokens.count;
    return f;
}

/* A tile of dy; with the first one of the tokens, their S. Zeros behind the chunk of tokens and
 * behind the layer. */
template <int R>
DEVICE void load_stage(uint32_t shared, feed &f, const gf_lora_gradients &g, const task &now)
{
    using at = layout<R>;
    const int64_t wide_row = (int)sizeof(bf16) * g.dy_stride;
    const int64_t tail_row = (int)sizeof(bf16) * g.s_stride;
    copy_chunks<8>(shared + f.slot * at::wide + share<WIDE>::offset(),
                   f.wide + f.tile * GF_LORA_COLUMNS * (int)sizeof(bf16),
                   share<WIDE>::rows_apart * wide_row, rows_below<WIDE, 8>(f.tokens),
                   bytes_of<bf16>(f.left - f.tile * GF_LORA_COLUMNS), g.dy);
    if (f.tile == 0) {
        const int rank = now.rank + share<at::narrow>::column() * per<bf16>::chunk;
        copy_chunks<R / 16>(shared + at::tails_at + f.row * at::tail + share<at::narrow>::offset(),
                            f.tail, share<at::narrow>::rows_apart * tail_row,
                            rows_below<at::narrow, R / 16>(f.tokens),
                            bytes_of<bf16>(now.job.last - rank), g.s);
        f.row = f.row == at::stages - 1 ? 0 : f.row + 1;
    }
    f.slot = f.slot == at::stages - 1 ? 0 : f.slot + 1;
    if (++f.tile < now.tiles)
        return;
    f.tile = 0;
    f.tokens -= STAGE_TOKENS;
    f.wide += STAGE_TOKENS * wide_row;
    f.tail += STAGE_TOKENS * tail_row;
}

/* The slice of B, tile by tile. */
template <int R> DEVICE void load_b(uint32_t shared, const gf_lora_back &g, const task &now)
{
    using at = layout<R>;
    using mine = share<at::narrow>;
    const int rank = now.rank + mine::column() * per<bf16>::chunk;
    const int64_t row = (int)sizeof(bf16) * g.b_stride;
    const char *from = (const char *)((const bf16 *)g.b +
                                      (now.job.at + now.column + mine::row()) * g.b_stride + rank);
    for (int t = 0; t < now.tiles; t++)
        copy_chunks<at::narrow>(
            shared + at::b_at + t * at::b_tile + mine::offset(), from + t * GF_LORA_COLUMNS * row,
            mine::rows_apart * row,
            rows_below<at::narrow, at::narrow>(now.job.width - now.column - t * GF_LORA_COLUMNS),
            bytes_of<bf16>(now.job.last - rank), g.b);
}

/* ---- products ----------------------------------------------------------------------------- */

/* A warp's 16 tokens of a stage by the tile of B. */
template <int R>
DEVICE void add_p(float (&p)[R / 8][4], const char *wide, const char *b, const task &now)
{
    const int lane = threadIdx.x % WARP, token = threadIdx.x / WARP * 16;
#pragma unroll
    for (int s = 0; s < GF_LORA_COLUMNS / 16; s++) {
        row_step<bf16> x;
        take_along<WIDE>(x, wide, token, s, lane);
#pragma unroll
        for (int j = 0; j < R / 16; j++)
            if (now.rank + j * 16 < now.job.last) {
                column_step<bf16> y;
                take_down<layout<R>::narrow>(y, b, j * 16, s, lane);
                multiply(p[j * 2], x, y, 0);
                multiply(p[j * 2 + 1], x, y, 1);
            }
    }
}

/* S of a stage by a warp's 32 columns of the tile. */
template <int R>
DEVICE void add_db(float (&sum)[R / 16][4][4], const char *wide, const char *tail, const task &now)
{
    const int lane = threadIdx.x % WARP, column = threadIdx.x / WARP * 32;
#pragma unroll
    for (int s = 0; s < STAGE_TOKENS / 16; s++) {
        row_step<bf16> x[R / 16];
#pragma unroll
        for (int t = 0; t < R / 16; t++)
            if (now.rank + t * 16 < now.job.last)
                take_down<layout<R>::narrow>(x[t], tail, t * 16, s, lane);
#pragma unroll
        for (int j = 0; j < 2; j++) {
            column_step<bf16> y;
            take_down<WIDE>(y, wide, column + j * 16, s, lane);
#pragma unroll
            for (int t = 0; t < R / 16; t++)
                if (now.rank + t * 16 < now.job.last) {
                    multiply(sum[t][j * 2], x[t], y, 0);
                    multiply(sum[t][j * 2 + 1], x[t], y, 1);
                }
        }
    }
}

/* ---- results ------------------------------------------------------------------------------ */

/* A warp's 16 tokens, of which the first `left` are there: a quad writes whole sectors. */
template <int R>
DEVICE void write_part(const float (&p)[R / 8][4], const gf_lora_back &g, const task &now,
                       int token, int left)
{
    const int lane = threadIdx.x % WARP, row = threadIdx.x / WARP * 16 + lane / 4;
    float *to = g.part + (token + row) * g.part_stride + (int)blockIdx.x * R + lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < R / 8; j++)
        if (now.rank + j * 8 < now.job.last) {
            if (row < left)
                *(float2 *)(to + j * 8) = make_float2(p[j][0], p[j][1]);
            if (row + 8 < left)
                *(float2 *)(to + 8 * g.part_stride + j * 8) = make_float2(p[j][2], p[j][3]);
        }
}

/* One rank of a lane's columns of a tile. */
DEVICE void add_rank(seen &all, const float (&sum)[4][4], int half, const task &now, int column,
                     int rank, float scale)
{
    if (rank < now.job.first || rank >= now.job.last)
        return;
    int64_t *at = now.to.b + column * now.to.b_stride + rank - now.to.first;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const int behind = i / 2 * 8 + i % 2;
        if (column + behind < now.job.width)
            add_fixed(all, at + behind * now.to.b_stride,
                      half ? sum[i / 2][2 + i % 2] : sum[i / 2][i % 2], scale);
    }
}

/* ---- the kernels -------------------------------------------------------------------------- */

template <int R>
DEVICE void pass(float (&sum)[TILES][R / 16][4][4], char *shared, const gf_lora_back &g,
                 const task &now, gf_row_chunk chunk)
{
    using at = layout<R>;
    const uint32_t base = shared_address(shared);
    feed f = feed_of<R>(g.grads, now, chunk);
    int ahead = (chunk.count + STAGE_TOKENS - 1) / STAGE_TOKENS * now.tiles; /* to be loaded */
    load_b<R>(base, g, now); /* together with the first stage */
    for (int i = 0; i < at::stages - 1; i++) {
        if (ahead-- > 0)
            load_stage<R>(base, f, g.grads, now);
        cp_async_commit();
    }
    int slot = 0, row = 0;
    for (int token = 0; token < chunk.count; token += STAGE_TOKENS) {
        float p[R / 8][4] = {};
#pragma unroll
        for (int t = 0; t < TILES; t++) {
            if (t >= now.tiles)
                continue;
            cp_async_wait<at::stages - 2>();
            __syncthreads();
            if (ahead-- > 0)
                load_stage<R>(base, f, g.grads, now);
            cp_async_commit();
            const char *wide = shared + slot * at::wide;
            add_p<R>(p, wide, shared + at::b_at + t * at::b_tile, now);
            add_db<R>(sum[t], wide, shared + at::tails_at + row * at::tail, now);
            slot = slot == at::stages - 1 ? 0 : slot + 1;
        }
        write_part<R>(p, g, now, chunk.first + token, chunk.count - token);
        row = row == at::stages - 1 ? 0 : row + 1;
    }
}

template <int R> DEVICE void back(const gf_lora_back &g)
{
    extern __shared__ __align__(128) char shared[];
    gf_row_header *header = (gf_row_header *)g.grads.work;
    const int chunk = blockIdx.y, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    if (chunk >= header->chunks)
        return;
    uint32_t *peaks = (uint32_t *)((char *)header + header->peak_at);
    const task now = find_task(g);
    float sum[TILES][R / 16][4][4] = {};
    pass<R>(sum, shared, g, now, list_of<gf_row_chunk>(header, header->chunk_at)[chunk]);
    seen all = {0, false};
#pragma unroll
    for (int t = 0; t < TILES; t++)
#pragma unroll
        for (int i = 0; i < R / 8; i++) /* tile i / 2 of ranks, upper half if i % 2 */
            if (t < now.tiles)
                add_rank(all, sum[t][i / 2], i % 2, now,
                         now.column + t * GF_LORA_COLUMNS + warp * 32 + lane % 4 * 2,
                         now.rank + i * 8 + lane / 4, g.grads.scale);
    raise_peak(&peaks[(3 + now.layer) * header->chunk_room + chunk], all);
    count_peaks(g.grads.magnitude, g.grads.nonfinite, header, peaks, (int *)shared);
}

#define KERNEL(ranks)                                                                              \
    extern "C" __global__ void __launch_bounds__(GF_LORA_THREADS, 2)                               \
        lora_back_bf16_##ranks(const gf_lora_back g)                                               \
    {                                                                                              \
        back<ranks>(g);                                                                            \
    }
KERNEL(16)
KERNEL(32)

/* Four ranks of a token: adds the slices of the layer that has them, one after the other, scales
 * and rounds once. Zeros for filler and past the ranks. */
extern "C" __global__ void __launch_bounds__(GF_LORA_THREADS)
    lora_back_sum_bf16(const gf_lora_partials g)
{
    const int units = g.room / 4, i = blockIdx.x * GF_LORA_THREADS + threadIdx.x;
    const int token = i / units, rank = i % units * 4;
    if (token >= g.rows)
        return;
    const bool real = token < ((const gf_row_header *)g.work)->tokens;
    float v[4] = {};
#pragma unroll
    for (int l = 0; l < 3; l++) { /* a unit may have ranks of several */
        const gf_lora_slices layer = g.layer[l];
        if (!real || rank + 4 <= layer.first || rank >= layer.last)
            continue;
        const float *from = g.part + token * g.part_stride + layer.slice * g.each + rank -
                            layer.first / GF_LORA_RANK_STEP * GF_LORA_RANK_STEP;
        float sum[4] = {};
#pragma unroll 8
        for (int s = 0; s < layer.slices; s++) {
            float one[4];
            load_unit(one, from + s * g.each);
#pragma unroll
            for (int e = 0; e < 4; e++)
                sum[e] += one[e];
        }
#pragma unroll
        for (int e = 0; e < 4; e++)
            if (rank + e >= layer.first && rank + e < layer.last)
                v[e] = sum[e] * layer.scale;
    }
    store_unit((bf16 *)g.tail + token * g.tail_stride + rank, v);
    if (g.copy)
        store((bf16 *)g.copy + token * g.copy_stride + rank, v, g.rank - rank, false);
}
