/* lora_grad.cu - dA = P^T drop(x) and dB = dy^T S, chunk by chunk, added in fixed point. Contract:
 * graft/ops.h, group_linear_bwd; parameters: cuda/lora.h. The CPU's twin is linear_grad.c.
 *
 * A block makes the sum of one chunk of tokens for 128 columns of x or dy and up to R ranks, alone
 * and in the order of the tokens; then every element is rounded to int64 and added atomically,
 * which is associative: nothing else in the row shows in the bits. The last block of the launch
 * adds up the chunks' greatest values. */
#include "lora.cuh"
#include "lora_sums.cuh"

/* ---- what a block works on ---------------------------------------------------------------- */

/* A job, its tile of columns, and the first of its ranks, which may be another layer's. */
struct task {
    gf_lora_job job;
    int column, rank;
};

template <int R> DEVICE task find_task(const gf_lora_gradients &g)
{
    task t = {g.job[0], (int)blockIdx.x, 0};
#pragma unroll
    for (int i = 1; i < 6; i++)
        if (t.column >= t.job.tiles) {
            t.column -= t.job.tiles;
            t.job = g.job[i];
        }
    t.column *= GF_LORA_COLUMNS;
    t.rank = t.job.first / GF_LORA_RANK_STEP * GF_LORA_RANK_STEP + (int)blockIdx.z * R;
    return t;
}

/* ---- a stage of tokens -------------------------------------------------------------------- */

/* As many as fill a line for every rank. */
template <typename T> struct stage_of {
    static constexpr int tokens = GF_LORA_LINE / (int)sizeof(T);
};

DEVICE uint32_t bits_of(bf16 x)
{
    return x.bits;
}
DEVICE uint32_t bits_of(float x)
{
    return __float_as_uint(x);
}

/* A chunk whose address is not aligned, value by value. */
template <typename T> DEVICE void copy_loose(char *to, const T *from, int left)
{
    constexpr int each = 4 / (int)sizeof(T);
    uint32_t v[4] = {};
#pragma unroll
    for (int i = 0; i < 4 * each; i++)
        if (i < left)
            v[i / each] |= bits_of(from[i]) << i % each * 16;
    *(uint4 *)to = make_uint4(v[0], v[1], v[2], v[3]);
}

/* The next stage: this thread's first chunks of it, and how much of each chunk is there. */
struct feed {
    const char *wide, *tail;
    int wide_bytes, tail_left; /* bytes; elements */
    int tokens;                /* of the chunk from here on */
};

template <typename T, int R>
DEVICE feed feed_of(const gf_lora_gradients &g, const task &now, gf_row_chunk tokens)
{
    constexpr int chunk = per<T>::chunk;
    using x_share = share<GF_LORA_COLUMNS / chunk>;
    using s_share = share<R / chunk>;
    const gf_lora_job &job = now.job;
    const T *wide = (const T *)(job.across ? g.dy : g.x),
            *tail = (const T *)(job.across ? g.s : g.p);
    const int64_t wide_stride = job.across ? g.dy_stride : g.x_stride;
    const int64_t tail_stride = job.across ? g.s_stride : g.p_stride;
    const int column = now.column + x_share::column() * chunk;
    const int rank = now.rank + s_share::column() * chunk;
    feed f;
    wide += (tokens.first + x_share::row()) * wide_stride + job.at + column;
    tail += (tokens.first + s_share::row()) * tail_stride + rank;
    f.wide = (const char *)wide;
    f.tail = (const char *)tail;
    f.wide_bytes = bytes_of<T>(job.width - column);
    f.tail_left = job.last - rank;
    f.tokens = tokens.count;
    return f;
}

/* Rows of x or dy and of P or S; zeros behind the chunk of tokens. */
template <typename T, int R>
DEVICE void load_stage(char *stage, feed &f, const gf_lora_gradients &g, const task &now)
{
    constexpr int chunk = per<T>::chunk, size = (int)sizeof(T), tokens = stage_of<T>::tokens;
    constexpr int wide = GF_LORA_COLUMNS / chunk, narrow = R / chunk; /* chunks of a row */
    const bool across = now.job.across;
    const int64_t wide_row = size * (across ? g.dy_stride : g.x_stride);
    const int64_t tail_row = size * (across ? g.s_stride : g.p_stride);
    const uint32_t wide_there = rows_below<wide, 8>(f.tokens);
    const uint32_t tail_there = rows_below<narrow, R / 16>(f.tokens);
    char *tail = stage + GF_LORA_COLUMNS * GF_LORA_LINE + share<narrow>::offset();
    copy_chunks<8>(shared_address(stage + share<wide>::offset()), f.wide,
                   share<wide>::rows_apart * wide_row, wide_there, f.wide_bytes,
                   across ? g.dy : g.x);
    if (across && g.s_loose) {
#pragma unroll
        for (int i = 0; i < R / 16; i++)
            copy_loose(tail + i * APART,
                       (const T *)(f.tail + i * share<narrow>::rows_apart * tail_row),
                       tail_there >> i & 1u ? f.tail_left : 0);
    } else {
        copy_chunks<R / 16>(shared_address(tail), f.tail, share<narrow>::rows_apart * tail_row,
                            tail_there, bytes_of<T>(f.tail_left), across ? g.s : g.p);
    }
    f.tokens -= tokens;
    f.wide += tokens * wide_row;
    f.tail += tokens * tail_row;
}

/* ---- dropout: lanes draw for each other --------------------------------------------------- */

/* The tokens of a step are consecutive ones of one example. `d` is the first one's, `channel` the
 * first of the 16 columns. */
DEVICE void drop_step(column_step<bf16> &b, const gf_lora_dropout &drop, draw d, int channel,
                      int lane)
{
    d.position += lane % 16;
    const uint32_t mine = keep8(drop, d, channel + lane / 16 * 8);
#pragma unroll
    for (int i = 0; i < 4; i++) { /* tile i / 2, tokens 2c and 2c + 1, of the upper half if i % 2 */
        const int owner = i / 2 * 16 + i % 2 * 8 + lane % 4 * 2;
        const uint32_t low = __shfl_sync(ALL_LANES, mine, owner) >> lane / 4;
        const uint32_t high = __shfl_sync(ALL_LANES, mine, owner + 1) >> lane / 4;
        b.v[i / 2][i % 2] =
            drop_pair(b.v[i / 2][i % 2], (low & 1u) | (high & 1u) << 1, drop.inverse);
    }
}
DEVICE void drop_step(column_step<float> &b, const gf_lora_dropout &drop, draw d, int channel,
                      int lane)
{
    d.position += lane % 8;
    const uint32_t mine = keep8(drop, d, channel + lane / 8 % 2 * 8);
#pragma unroll
    for (int i = 0; i < 16; i++) { /* tile i / 8, token i % 8 */
        const uint32_t bits = __shfl_sync(ALL_LANES, mine, i) >> lane % 4 * 2;
#pragma unroll
        for (int e = 0; e < 2; e++) {
            float &x = b.v[i / 8 * 2 + e][i % 8];
            x = bits >> e & 1u ? x * drop.inverse : 0.0f;
        }
    }
}

/* ---- adding ------------------------------------------------------------------------------- */

/* Element e of a lane's two of a tile: column 2c + e as they come out of a product. For dA, whose
 * columns lie side by side in memory, column 4e + c, so that a quad's lie side by side, too. */
DEVICE float element(const float (&sum)[4], int half, int e, bool across, int lane)
{
    if (across)
        return half ? sum[2 + e] : sum[e];
    const int owner = e * 2 + lane % 4 / 2;
    const float low = __shfl_sync(ALL_LANES, half ? sum[2] : sum[0], owner, 4);
    const float high = __shfl_sync(ALL_LANES, half ? sum[3] : sum[1], owner, 4);
    return lane % 2 ? high : low;
}

/* One row of a tile of 16 ranks: a lane's columns of it. */
DEVICE seen add_rank(const float (&sum)[4][4], int half, const gf_lora_gradients &g,
                     const task &now, const gf_lora_sums &to, int rank)
{
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const bool across = now.job.across;
    const int column = now.column + warp * 32 + lane % 4 * (across ? 2 : 1);
    const int own = rank - to.first, apart = across ? 1 : 4; /* columns, of a tile's two */
    const int64_t step = across ? to.b_stride : 1;
    int64_t *at = across ? to.b + column * step + own : to.a + own * to.a_stride + column;
    const bool there =
        rank >= max(now.job.first, to.first) && rank < now.job.last && (across ? to.b : to.a);
    const int left = there ? now.job.width - column : 0;
    seen all = {0, false};
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const float v = element(sum[i / 2], half, i % 2, across, lane);
        const int behind = i / 2 * 8 + i % 2 * apart;
        if (behind < left)
            add_fixed(all, at + behind * step, v, g.scale);
    }
    return all;
}

/* ---- the kernel --------------------------------------------------------------------------- */

/* A warp's part of a stage: 16 ranks by 32 columns, R / 16 times. d: what the first token is drawn
 * by; goes on to the next stage's. */
template <typename T, int R>
DEVICE void multiply_stage(float (&sum)[R / 16][4][4], const char *x, const gf_lora_dropout &drop,
                           draw &d, bool dropped, const task &now)
{
    constexpr int wide = GF_LORA_COLUMNS / per<T>::chunk;
    const char *tail = x + GF_LORA_COLUMNS * GF_LORA_LINE;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
#pragma unroll(sizeof(T) == 2 ? 4 : 1)
    for (int s = 0; s < 4; s++) {
        row_step<T> a[R / 16];
#pragma unroll
        for (int t = 0; t < R / 16; t++)
            if (now.rank + t * 16 < now.job.last)
                take_down<R / per<T>::chunk>(a[t], tail, t * 16, s, lane);
#pragma unroll
        for (int j = 0; j < 2; j++) {
            const int column = warp * 32 + j * 16;
            column_step<T> b;
            take_down<wide>(b, x, column, s, lane);
            if (dropped)
                drop_step(b, drop, d, now.column + column, lane);
#pragma unroll
            for (int t = 0; t < R / 16; t++)
                if (now.rank + t * 16 < now.job.last) {
                    multiply(sum[t][j * 2], a[t], b, 0);
                    multiply(sum[t][j * 2 + 1], a[t], b, 1);
                }
        }
        d.position += per<T>::step;
    }
}

/* The sums of a chunk of tokens. */
template <typename T, int R>
DEVICE void sum_chunk(float (&sum)[R / 16][4][4], char *shared, const gf_lora_gradients &g,
                      const gf_row_header *row, const task &now, gf_row_chunk chunk)
{
    constexpr int tokens = stage_of<T>::tokens, stages = GF_LORA_GRAD_STAGES;
    constexpr int stage = GF_LORA_GRAD_STAGE(R);
    const bool drop = g.drop.least && !now.job.across;
    const int total = (chunk.count + tokens - 1) / tokens;
    draw d = {0, 0, now.job.module, row->epoch};
    if (drop) {
        const gf_row_token first = list_of<gf_row_token>(row, row->token_at)[chunk.first];
        d.example = first.example, d.position = first.position;
    }
    feed f = feed_of<T, R>(g, now, chunk);
    for (int i = 0; i < stages - 1; i++) {
        if (i < total)
            load_stage<T, R>(shared + i * stage, f, g, now);
        cp_async_commit();
    }
    for (int i = 0; i < total; i++) {
        cp_async_wait<stages - 2>();
        __syncthreads();
        if (i + stages - 1 < total)
            load_stage<T, R>(shared + (i + stages - 1) % stages * stage, f, g, now);
        cp_async_commit();
        multiply_stage<T, R>(sum, shared + i % stages * stage, g.drop, d, drop, now);
    }
}

template <typename T, int R> DEVICE void gradients(const gf_lora_gradients &g)
{
    extern __shared__ __align__(128) char shared[];
    gf_row_header *row = (gf_row_header *)g.work;
    const int chunk = blockIdx.y, lane = threadIdx.x % WARP;
    if (chunk >= row->chunks)
        return;
    uint32_t *peaks = (uint32_t *)((char *)row + row->peak_at);
    const task now = find_task<R>(g);
    if (now.rank < now.job.last) {
        float sum[R / 16][4][4] = {};
        sum_chunk<T, R>(sum, shared, g, row, now, list_of<gf_row_chunk>(row, row->chunk_at)[chunk]);
        seen of_layer[3] = {};
#pragma unroll
        for (int i = 0; i < R / 8; i++) { /* tile i / 2, upper half if i % 2 */
            const int rank = now.rank + i * 8 + lane / 4;
            const int of = (rank >= g.layer[0].last) + (rank >= g.layer[1].last);
            const seen one = add_rank(sum[i / 2], i % 2, g, now, pick(g.layer, of), rank);
#pragma unroll
            for (int l = 0; l < 3; l++) {
                of_layer[l].top = max(of_layer[l].top, l == of ? one.top : 0);
                of_layer[l].bad |= l == of && one.bad;
            }
        }
#pragma unroll
        for (int l = 0; l < 3; l++)
            if (g.layer[l].first < now.job.last && g.layer[l].last > now.job.first)
                raise_peak(&peaks[((now.job.across ? 3 : 0) + l) * row->chunk_room + chunk],
                           of_layer[l]);
    }
    count_peaks(g.magnitude, g.nonfinite, row, peaks, (int *)shared);
}

#define KERNEL(type, T, ranks)                                                                     \
    extern "C" __global__ void __launch_bounds__(GF_LORA_THREADS, 2)                               \
        lora_grad_##type##_##ranks(const gf_lora_gradients g)                                      \
    {                                                                                              \
        gradients<T, ranks>(g);                                                                    \
    }
KERNEL(bf16, bf16, 16)
KERNEL(bf16, bf16, 32)
KERNEL(bf16, bf16, 64)
KERNEL(f32, float, 16)
KERNEL(f32, float, 64)
