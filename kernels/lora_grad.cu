/* lora_grad.cu - dA = P^T drop(x) and dB = dy^T S, chunk by chunk, added in fixed point. Contract:
 * graft/ops.h, group_linear_bwd; parameters: cuda/lora.h. The CPU's twin is linear_grad.c.
 *
 * A block makes the sum of one chunk of tokens for 128 columns of x or dy and up to R ranks, alone
 * and in the order of the tokens; then every element is rounded to int64 and added atomically,
 * which is associative: nothing else in the row shows in the bits. The last block of the launch
 * adds up the chunks' greatest values. */
#include "lora.cuh"

/* In a peak: beside the bits of the greatest |g| that is finite. */
#define NOT_FINITE 0x80000000u
#define INF_BITS 0x7F800000u

DEVICE uint32_t merge(uint32_t a, uint32_t b)
{
    return max(a & ~NOT_FINITE, b & ~NOT_FINITE) | ((a | b) & NOT_FINITE);
}
DEVICE uint32_t peak_of(float g)
{
    const uint32_t bits = __float_as_uint(g) & ~NOT_FINITE;
    return bits < INF_BITS ? bits : NOT_FINITE;
}

/* ---- what a block works on --------------------------------------------------------------------
 */

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

/* ---- a stage of tokens ------------------------------------------------------------------------
 */

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

/* `tokens` rows of x or dy and of P or S from row `row` on; zeros beyond. */
template <typename T, int R>
DEVICE void load_stage(char *stage, const gf_lora_gradients &g, const task &now, int row,
                       int tokens)
{
    constexpr int rows = stage_of<T>::tokens, chunk = per<T>::chunk;
    constexpr int wide = GF_LORA_COLUMNS / chunk, narrow = R / chunk; /* chunks in a row */
    const gf_lora_job &job = now.job;
    const T *from = (const T *)(job.across ? g.dy : g.x);
    int64_t stride = job.across ? g.dy_stride : g.x_stride;
#pragma unroll
    for (int i = threadIdx.x; i < rows * wide; i += GF_LORA_THREADS) {
        const int t = i / wide, column = now.column + i % wide * chunk;
        copy_chunk(stage + place<wide>(t, i % wide), from, (row + t) * stride + job.at + column,
                   t < tokens ? bytes_of<T>(job.width - column) : 0);
    }
    char *tail = stage + GF_LORA_COLUMNS * GF_LORA_LINE;
    from = (const T *)(job.across ? g.s : g.p);
    stride = job.across ? g.s_stride : g.p_stride;
#pragma unroll
    for (int i = threadIdx.x; i < rows * narrow; i += GF_LORA_THREADS) {
        const int t = i / narrow, rank = now.rank + i % narrow * chunk;
        const int left = t < tokens ? job.last - rank : 0;
        char *to = tail + place<narrow>(t, i % narrow);
        if (job.across && g.s_loose)
            copy_loose(to, from + (row + t) * stride + rank, left);
        else
            copy_chunk(to, from, (row + t) * stride + rank, bytes_of<T>(left));
    }
}

/* ---- dropout: lanes draw for each other ----------------------------------------------------- */

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

/* ---- adding -------------------------------------------------------------------------------------
 */

/* What is not finite is counted and left out; what does not fit is held at 2^62, which leaves a bit
 * for the sum. The product with a power of two is exact. */
DEVICE uint32_t add_fixed(int64_t *to, float g, float scale)
{
    const uint32_t peak = peak_of(g);
    if (peak != NOT_FINITE)
        atomic_add_s64(to, __float2ll_rn(fminf(fmaxf(g * scale, -0x1p62f), 0x1p62f)));
    return peak;
}

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

/* One row of a tile of 16 ranks: a lane's columns of it. Returns the peak. */
DEVICE uint32_t add_rank(const float (&sum)[4][4], int half, const gf_lora_gradients &g,
                         const task &now, const gf_lora_sums &to, int rank)
{
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const bool across = now.job.across;
    const bool there =
        rank >= max(now.job.first, to.first) && rank < now.job.last && (across ? to.b : to.a);
    uint32_t peak = 0;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const float v = element(sum[i / 2], half, i % 2, across, lane);
        const int column = now.column + warp * 32 + i / 2 * 8 +
                           (across ? lane % 4 * 2 + i % 2 : i % 2 * 4 + lane % 4);
        if (!there || column >= now.job.width)
            continue;
        const int own = rank - to.first;
        int64_t *at =
            across ? to.b + column * to.b_stride + own : to.a + own * to.a_stride + column;
        peak = merge(peak, add_fixed(at, v, g.scale));
    }
    return peak;
}

/* ---- peaks
 * ---------------------------------------------------------------------------------------- */

DEVICE void raise_peak(uint32_t *peak, uint32_t mine)
{
    const uint32_t top = __reduce_max_sync(ALL_LANES, mine & ~NOT_FINITE);
    const bool bad = __any_sync(ALL_LANES, mine & NOT_FINITE);
    if (threadIdx.x % WARP)
        return;
    if (bad)
        atomicOr(peak, NOT_FINITE);
    if (top && atomicMax(peak, top) & NOT_FINITE) /* the flag hides what is below it */
        atomicMax(peak, top | NOT_FINITE);
}

/* The last block of the launch adds the peaks to the step's sums. All its accesses are atomic, as
 * those of the other blocks are. */
DEVICE void count_peaks(const gf_lora_gradients &g, gf_row_header *row, uint32_t *peaks,
                        int *last) /* shared memory of the block, free after a barrier */
{
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0)
        *last = atomicAdd(&row->arrived, 1) == (int)(gridDim.x * gridDim.z) * row->chunks - 1;
    __syncthreads();
    if (!*last)
        return;
    __threadfence();
    if (threadIdx.x == 0)
        atomicExch(&row->arrived, 0); /* for the next launch, which may add to the same peaks */
    int64_t magnitude = 0, nonfinite = 0;
    for (int i = threadIdx.x; i < 6 * row->chunks; i += GF_LORA_THREADS) {
        const uint32_t peak =
            atomicExch(&peaks[i / row->chunks * row->chunk_room + i % row->chunks], 0);
        /* 2^40: far beyond any limit, and 2^22 of them still fit */
        magnitude += (int64_t)ceilf(fminf(__uint_as_float(peak & ~NOT_FINITE), 0x1p40f));
        nonfinite += peak >> 31;
    }
    magnitude = warp_sum(magnitude);
    nonfinite = warp_sum(nonfinite);
    if (threadIdx.x % WARP == 0 && (magnitude || nonfinite)) {
        atomic_add_s64(g.magnitude, magnitude);
        atomic_add_s64(g.nonfinite, nonfinite);
    }
}

/* ---- the kernel
 * ------------------------------------------------------------------------------------ */

/* The sums of a chunk: 16 ranks by 32 columns a warp, R / 16 times. */
template <typename T, int R>
DEVICE void sum_chunk(float (&sum)[R / 16][4][4], char *shared, const gf_lora_gradients &g,
                      const gf_row_header *row, const task &now, gf_row_chunk chunk)
{
    constexpr int tokens = stage_of<T>::tokens, stages = GF_LORA_GRAD_STAGES;
    constexpr int stage = GF_LORA_GRAD_STAGE(R), wide = GF_LORA_COLUMNS / per<T>::chunk;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const bool drop = g.drop.least && !now.job.across;
    const int total = (chunk.count + tokens - 1) / tokens;
    draw d = {0, 0, now.job.module, row->epoch};
    if (drop) {
        const gf_row_token first = list_of<gf_row_token>(row, row->token_at)[chunk.first];
        d.example = first.example, d.position = first.position;
    }
#pragma unroll
    for (int i = 0; i < stages - 1; i++) {
        if (i < total)
            load_stage<T, R>(shared + i * stage, g, now, chunk.first + i * tokens,
                             chunk.count - i * tokens);
        cp_async_commit();
    }
    for (int i = 0; i < total; i++) {
        cp_async_wait<stages - 2>();
        __syncthreads();
        const int next = i + stages - 1;
        if (next < total)
            load_stage<T, R>(shared + next % stages * stage, g, now, chunk.first + next * tokens,
                             chunk.count - next * tokens);
        cp_async_commit();
        const char *x = shared + i % stages * stage, *tail = x + GF_LORA_COLUMNS * GF_LORA_LINE;
#pragma unroll 1
        for (int s = 0; s < 4; s++, d.position += per<T>::step) {
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
                if (drop)
                    drop_step(b, g.drop, d, now.column + column, lane);
#pragma unroll
                for (int t = 0; t < R / 16; t++)
                    if (now.rank + t * 16 < now.job.last) {
                        multiply(sum[t][j * 2], a[t], b, 0);
                        multiply(sum[t][j * 2 + 1], a[t], b, 1);
                    }
            }
        }
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
        uint32_t peak[3] = {};
#pragma unroll
        for (int i = 0; i < R / 8; i++) { /* tile i / 2, upper half if i % 2 */
            const int rank = now.rank + i * 8 + lane / 4;
            const int of = (rank >= g.layer[0].last) + (rank >= g.layer[1].last);
            const uint32_t one = add_rank(sum[i / 2], i % 2, g, now, pick(g.layer, of), rank);
#pragma unroll
            for (int l = 0; l < 3; l++)
                peak[l] = l == of ? merge(peak[l], one) : peak[l];
        }
#pragma unroll
        for (int l = 0; l < 3; l++)
            if (g.layer[l].first < now.job.last && g.layer[l].last > now.job.first)
                raise_peak(&peaks[((now.job.across ? 3 : 0) + l) * row->chunk_room + chunk],
                           peak[l]);
    }
    count_peaks(g, row, peaks, (int *)shared);
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
