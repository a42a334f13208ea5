/* attention_bwd.cu - causal attention, backward, bf16. Contract: graft/ops.h. Source: Dao 2023
 * (FlashAttention-2), algorithm 2; PERFORMANCE 3.3.
 *
 * Three kernels: delta; dk and dv, where a block owns a tile of keys of one k/v head and walks the
 * queries that see it, head after head; dq, where a block owns a tile of queries of one head and
 * walks its keys. Scores are made in both, so that every sum has one owner and one order and
 * nothing is added atomically. In the second the products are transposed (keys are the rows of a
 * warp), so that P and dS are in registers already as operands of the products that follow. */
#include "attention.cuh"

/* ---- delta --------------------------------------------------------------------------------------
 * A warp owns 16 tokens of a head, a block those of 8 heads. grid: (H / 8, tiles, tile / 16).
 *
 * The sum is the diagonal of the product of d_o and o, so that it is added up as the products of
 * d_o and v are: for a query that sees one key, whose o is that key's v, dS is then zero as it
 * should be, not a rounding error of which AdamW would make a step of full size. */

#define DELTA_HEADS 8    /* whose sums are one sector of a row of delta */
#define DELTA_COLUMNS 64 /* that are in shared memory at a time */

extern "C" __global__ void __launch_bounds__(WARP *DELTA_HEADS)
    attention_delta_bf16(const __grid_constant__ gf_attention_args a)
{
    __shared__ __align__(128) unsigned char tiles[DELTA_HEADS][2][16 * DELTA_COLUMNS * 2];
    __shared__ float sums[16][DELTA_HEADS];
    if (blockIdx.y >= (unsigned)a.work->tiles)
        return;
    const gf_row_tile tile = *query_tile(a.work, blockIdx.y);
    const int skip = (int)blockIdx.z * 16, first = tile.first + skip;
    const int count = min(tile.count - skip, 16);
    if (count <= 0)
        return;
    const int warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP;
    const int head0 = (int)blockIdx.x * DELTA_HEADS, head = head0 + warp;
    float low[4] = {}, high[4] = {}; /* columns 0-7 and 8-15 of the product */
    if (tile.span >= 0 && head < a.heads) {
        const bf16 *d_o = head_of<bf16>(a, a.d_o, a.d_o_stride, first, head);
        const bf16 *o = head_of<bf16>(a, a.o, a.o_stride, first, head);
        const uint32_t sd = shared_address(tiles[warp][0]), so = shared_address(tiles[warp][1]);
        for (int column = 0; column < a.width; column += DELTA_COLUMNS) {
            const int width = a.width - column;
            load_tile<DELTA_COLUMNS, 16, WARP>(sd, d_o + column, a.d_o_stride, count, width, lane);
            load_tile<DELTA_COLUMNS, 16, WARP>(so, o + column, a.o_stride, count, width, lane);
            cp_async_commit();
            cp_async_wait<0>();
            __syncwarp();
            for (int step = 0; step < DELTA_COLUMNS / 16 && 16 * step < width; step++) {
                uint32_t x[4], y[4];
                ldmatrix_x4(x, tile_step<DELTA_COLUMNS>(rows_at<DELTA_COLUMNS>(sd, lane), step));
                ldmatrix_x4(y, tile_step<DELTA_COLUMNS>(columns_at<DELTA_COLUMNS>(so, lane), step));
                mma_pair(low, high, x, y);
            }
            __syncwarp();
        }
    }
    if (lane % 4 == lane / 8) { /* holds columns lane / 4 and lane / 4 + 8 of these rows */
        const bool odd = lane / 4 % 2 == 1;
        sums[lane / 4][warp] = odd ? low[1] : low[0];
        sums[lane / 4 + 8][warp] = odd ? high[3] : high[2];
    }
    __syncthreads();
    const int row = (int)threadIdx.x / DELTA_HEADS, column = (int)threadIdx.x % DELTA_HEADS;
    if (row < count && head0 + column < a.heads)
        a.delta[(int64_t)(first + row) * a.delta_stride + head0 + column] = sums[row][column];
}

/* ---- what both others share ---------------------------------------------------------------------
 */

/* Starts copying lse and delta of rows [first, first + count) of a head, zeros behind: Rows of
 * each.
 */
template <int Rows>
DEVICE void load_numbers(const gf_attention_args &a, uint32_t to, int first, int count, int head)
{
    for (int at = (int)threadIdx.x; at < 2 * Rows; at += (int)blockDim.x) {
        const bool is_delta = at >= Rows;
        const int stride = is_delta ? a.delta_stride : a.lse_stride, row = at % Rows;
        const float *from = (is_delta ? a.delta : a.lse) + (int64_t)first * stride + head;
        cp_async4(to + at * 4, from + (row < count ? row * stride : 0), row < count ? 4 : 0);
    }
}

/* What turns a product into P and dS, besides the query's own numbers. */
struct slope {
    float unit;         /* scale in base 2 */
    float inner, outer; /* 1 / cap behind the scale; cap in base 2; outer is 0 without a cap */
};

DEVICE slope slope_of(const gf_attention_args &a)
{
    slope x = {a.scale * LOG2E, 0.0f, 0.0f};
    if (a.cap > 0.0f) {
        x.inner = a.scale / a.cap;
        x.outer = a.cap * LOG2E;
    }
    return x;
}

/* s, d: products of q and k and of d_o and v, to P and dS (without the scale); lse in base 2. */
DEVICE void to_slope(const slope &x, float &s, float &d, float lse, float delta, bool hidden)
{
    float p, bent = 1.0f;
    if (x.outer > 0.0f) {
        const float t = tanh_fast(s * x.inner);
        p = exp2_approx(t * x.outer - lse);
        bent = 1.0f - t * t;
    } else {
        p = exp2_approx(s * x.unit - lse);
    }
    const float slope = p * (d - delta) * bent;
    s = hidden ? 0.0f : p;
    d = hidden ? 0.0f : slope;
}

/* ---- dk, dv -------------------------------------------------------------------------------------
 * grid: (G * Split, tiles), Split blocks share a tile; block: 32 * Warps. 16 keys belong to `Parts`
 * warps, which make the same scores and own a part of the columns of dk and dv each. */

/* Rows [0, Queries) of q, d_o, lse and delta of one head. */
template <int Width, int Queries> struct query_stage {
    static constexpr uint32_t rows_bytes = Queries * Width * 2;
    static constexpr uint32_t bytes = 2 * rows_bytes + 2 * Queries * 4;
};

/* Starts copying them, from row `first` on, of which `count` exist. */
template <int Width, int Queries, int Threads>
DEVICE void load_queries(const gf_attention_args &a, uint32_t to, int first, int count, int head)
{
    constexpr uint32_t rows_bytes = query_stage<Width, Queries>::rows_bytes;
    load_tile<Width, Queries, Threads>(to, head_of<bf16>(a, a.q, a.q_stride, first, head),
                                       a.q_stride, count, a.width, (int)threadIdx.x);
    load_tile<Width, Queries, Threads>(to + rows_bytes,
                                       head_of<bf16>(a, a.d_o, a.d_o_stride, first, head),
                                       a.d_o_stride, count, a.width, (int)threadIdx.x);
    load_numbers<Queries>(a, to + 2 * rows_bytes, first, count, head);
    cp_async_commit();
}

/* P and dS of 16 keys from `key` on and of Queries from `query` on, of `queries` in the span;
 * numbers: their lse and delta. */
template <int Queries>
DEVICE void slope_keys(const gf_attention_args &a, const slope &x, float (&s)[Queries / 8][4],
                       float (&d)[Queries / 8][4], const float *numbers, int key, int query,
                       int queries, int lane)
{
    const bool all = key + 15 <= query && query + Queries <= queries &&
                     (a.window <= 0 || query + Queries - 1 - key < a.window);
#pragma unroll
    for (int j = 0; j < Queries / 8; j++) {
        const int at = j * 8 + (lane & 3) * 2;
        const float2 lse = *(const float2 *)(numbers + at);
        const float2 delta = *(const float2 *)(numbers + Queries + at);
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int q = query + at + (e & 1);
            const bool hidden =
                !all && (q >= queries || is_hidden(a, q, key + (lane >> 2) + (e >> 1) * 8));
            to_slope(x, s[j][e], d[j][e], (e & 1 ? lse.y : lse.x) * LOG2E,
                     e & 1 ? delta.y : delta.x, hidden);
        }
    }
}

template <int Width, int Warps, int Parts, int Queries>
DEVICE void backward_keys(const gf_attention_args &a)
{
    constexpr int keys = Warps / Parts * 16, split = GF_TILE / keys, threads = Warps * WARP;
    constexpr int columns = Width / Parts;
    constexpr uint32_t tile_bytes = keys * Width * 2;
    typedef query_stage<Width, Queries> stage;
    extern __shared__ __align__(128) unsigned char shared[];
    if (blockIdx.y >= (unsigned)a.work->tiles)
        return;
    const gf_row_tile tile = *key_tile(a.work, blockIdx.y);
    const int group = (int)blockIdx.x / split, skip = (int)blockIdx.x % split * keys;
    const int count = min(tile.count - skip, keys), first = tile.first + skip;
    if (count <= 0)
        return;
    bf16 *const dk_out = head_of<bf16>(a, a.dk, a.dk_stride, first, group);
    bf16 *const dv_out = head_of<bf16>(a, a.dv, a.dv_stride, first, group);
    if (tile.span < 0) {
        store_zeros(dk_out, a.dk_stride, count, a.width);
        store_zeros(dv_out, a.dv_stride, count, a.width);
        return;
    }
    const gf_row_span span = span_of(a.work, tile);
    const int position = tile.at + skip;  /* of the first key */
    const int begin = position / Queries; /* blocks of queries that see a key of these */
    const int end = (query_end(a, position + count - 1, span.len) + Queries - 1) / Queries;
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    const int own = warp / Parts * 16, part = warp % Parts;

    const uint32_t sk = shared_address(shared), sv = sk + tile_bytes, stages = sv + tile_bytes;
    load_tile<Width, keys, threads>(sk, head_of<bf16>(a, a.k, a.k_stride, first, group), a.k_stride,
                                    count, a.width, (int)threadIdx.x);
    load_tile<Width, keys, threads>(sv, head_of<bf16>(a, a.v, a.v_stride, first, group), a.v_stride,
                                    count, a.width, (int)threadIdx.x);
    load_queries<Width, Queries, threads>(a, stages, span.start + begin * Queries,
                                          span.len - begin * Queries, group * a.share);
    float dk[1][columns / 8][4] = {}, dv[1][columns / 8][4] = {};
    const slope x = slope_of(a);
    int half = 0;
    for (int head = 0, block = begin; head < a.share; half ^= 1) {
        const int query = block * Queries;
        block = block + 1 < end ? block + 1 : begin;
        head += block == begin;
        /* the stage has arrived; what the next overwrites was read before this barrier */
        cp_async_wait<0>();
        __syncthreads();
        if (head < a.share)
            load_queries<Width, Queries, threads>(
                a, stages + (half ^ 1) * stage::bytes, span.start + block * Queries,
                span.len - block * Queries, group * a.share + head);
        const int key = position + own;
        if (own >= count || query + Queries - 1 < key || query >= query_end(a, key + 15, span.len))
            continue; /* none of it sees the warp's keys */
        const uint32_t sq = stages + half * stage::bytes, sd = sq + stage::rows_bytes;
        float s[1][Queries / 8][4], d[1][Queries / 8][4];
        multiply<Width, 1, Queries>(s, rows_at<Width>(sk + own * Width * 2, lane),
                                    columns_at<Width>(sq, lane));
        multiply<Width, 1, Queries>(d, rows_at<Width>(sv + own * Width * 2, lane),
                                    columns_at<Width>(sd, lane));
        slope_keys<Queries>(
            a, x, s[0], d[0],
            (const float *)(shared + 2 * tile_bytes + half * stage::bytes + 2 * stage::rows_bytes),
            key, query, span.len, lane);
        const uint32_t shift = part * columns * 2;
        multiply_sums<Width, 1, Queries, columns>(dv, s, rows_at<Width>(sd, lane) + shift);
        multiply_sums<Width, 1, Queries, columns>(dk, d, rows_at<Width>(sq, lane) + shift);
    }
    __syncthreads();
#pragma unroll
    for (int j = 0; j < columns / 8; j++) {
        put_sums<Width>(shared, own, part * columns / 8 + j, dk[0][j], a.scale, a.scale, lane);
        put_sums<Width>(shared + tile_bytes, own, part * columns / 8 + j, dv[0][j], 1.0f, 1.0f,
                        lane);
    }
    __syncthreads();
    store_tile<Width>(dk_out, a.dk_stride, shared, count, a.width, (int)threadIdx.x, threads);
    store_tile<Width>(dv_out, a.dv_stride, shared + tile_bytes, count, a.width, (int)threadIdx.x,
                      threads);
}

/* ---- dq -----------------------------------------------------------------------------------------
 * grid: (H * Split, tiles), Split blocks share a tile; block: 32 * Warps. */

/* P and dS of 16 queries from `query` on and of Keys from `key` on; lse, delta: of the 16. */
template <int Keys>
DEVICE void slope_queries(const gf_attention_args &a, const slope &x, float (&s)[Keys / 8][4],
                          float (&d)[Keys / 8][4], const float *lse, const float *delta, int query,
                          int key, bool all, int lane)
{
    const int row = lane >> 2;
    const float lse2[2] = {lse[row] * LOG2E, lse[row + 8] * LOG2E};
    const float delta2[2] = {delta[row], delta[row + 8]};
#pragma unroll
    for (int j = 0; j < Keys / 8; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const bool hidden = !all && is_hidden(a, query + row + (e >> 1) * 8,
                                                  key + j * 8 + (lane & 3) * 2 + (e & 1));
            to_slope(x, s[j][e], d[j][e], lse2[e >> 1], delta2[e >> 1], hidden);
        }
}

template <int Width, int Warps, int Rows, int Keys>
DEVICE void backward_queries(const gf_attention_args &a)
{
    constexpr int queries = Warps * Rows * 16, split = GF_TILE / queries, threads = Warps * WARP;
    constexpr uint32_t tile_bytes = queries * Width * 2, block_bytes = Keys * Width * 2;
    extern __shared__ __align__(128) unsigned char shared[];
    if (blockIdx.y >= (unsigned)a.work->tiles)
        return;
    const gf_row_tile tile = *query_tile(a.work, blockIdx.y);
    const int head = (int)blockIdx.x / split, skip = (int)blockIdx.x % split * queries;
    const int count = min(tile.count - skip, queries), first = tile.first + skip;
    if (count <= 0)
        return;
    bf16 *const dq_out = head_of<bf16>(a, a.dq, a.dq_stride, first, head);
    if (tile.span < 0) {
        store_zeros(dq_out, a.dq_stride, count, a.width);
        return;
    }
    const gf_row_span span = span_of(a.work, tile);
    const int position = tile.at + skip; /* of the first query */
    const int begin = first_key(a, position) / Keys, end = (position + count - 1) / Keys + 1;
    const int lane = (int)threadIdx.x % WARP, own = (int)threadIdx.x / WARP * Rows * 16;
    const bf16 *k = head_of<bf16>(a, a.k, a.k_stride, span.start, head / a.share);
    const bf16 *v = head_of<bf16>(a, a.v, a.v_stride, span.start, head / a.share);

    const uint32_t sq = shared_address(shared), sd = sq + tile_bytes, sk = sd + tile_bytes;
    const uint32_t sv = sk + 2 * block_bytes;
    load_tile<Width, queries, threads>(sq, head_of<bf16>(a, a.q, a.q_stride, first, head),
                                       a.q_stride, count, a.width, (int)threadIdx.x);
    load_tile<Width, queries, threads>(sd, head_of<bf16>(a, a.d_o, a.d_o_stride, first, head),
                                       a.d_o_stride, count, a.width, (int)threadIdx.x);
    load_numbers<queries>(a, sv + 2 * block_bytes, first, count, head);
    const float *lse = (const float *)(shared + 2 * tile_bytes + 4 * block_bytes) + own;
    float dq[Rows][Width / 8][4] = {};
    const slope x = slope_of(a);
    for (int n = begin - 1; n < end; n++) {
        /* block n has arrived; what the next overwrites was read before this barrier */
        cp_async_wait<0>();
        __syncthreads();
        if (n + 1 < end) {
            const int key = (n + 1) * Keys, left = span.len - key;
            const uint32_t half = ((n + 1) & 1) * block_bytes;
            load_tile<Width, Keys, threads>(sk + half, k + (int64_t)key * a.k_stride, a.k_stride,
                                            left, a.width, (int)threadIdx.x);
            load_tile<Width, Keys, threads>(sv + half, v + (int64_t)key * a.v_stride, a.v_stride,
                                            left, a.width, (int)threadIdx.x);
            cp_async_commit();
        }
        const int query = position + own, key = n * Keys;
        if (n < begin || own >= count || key > query + Rows * 16 - 1 ||
            key + Keys - 1 < first_key(a, query))
            continue; /* the warp sees none of it */
        const uint32_t half = (n & 1) * block_bytes;
        float s[Rows][Keys / 8][4], d[Rows][Keys / 8][4];
        multiply<Width, Rows, Keys>(s, rows_at<Width>(sq + own * Width * 2, lane),
                                    columns_at<Width>(sk + half, lane));
        multiply<Width, Rows, Keys>(d, rows_at<Width>(sd + own * Width * 2, lane),
                                    columns_at<Width>(sv + half, lane));
        const bool all = key + Keys - 1 <= query && key >= first_key(a, query + Rows * 16 - 1);
#pragma unroll
        for (int i = 0; i < Rows; i++)
            slope_queries<Keys>(a, x, s[i], d[i], lse + i * 16, lse + queries + i * 16,
                                query + i * 16, key, all, lane);
        multiply_sums<Width, Rows, Keys, Width>(dq, d, rows_at<Width>(sk + half, lane));
    }
    if (own >= count)
        return;
    unsigned char *const rows = shared + own * Width * 2; /* no other warp reads them */
    __syncwarp();
#pragma unroll
    for (int i = 0; i < Rows; i++)
#pragma unroll
        for (int j = 0; j < Width / 8; j++)
            put_sums<Width>(rows, i * 16, j, dq[i][j], a.scale, a.scale, lane);
    __syncwarp();
    store_tile<Width>(dq_out + own * a.dq_stride, a.dq_stride, rows, min(count - own, Rows * 16),
                      a.width, lane, WARP);
}

/* Width; warps, parts, queries of a block; warps, 16s of queries a warp, keys of a block:
 * PERFORMANCE 3.2. Shared memory: kernels/cuda/launch_attention.c. */
#define BACKWARD(width, kwarps, parts, queries, qwarps, rows, keys)                                \
    extern "C" __global__ void __launch_bounds__(32 * kwarps, 1)                                   \
        attention_dkv_bf16_##width(const __grid_constant__ gf_attention_args a)                    \
    {                                                                                              \
        backward_keys<width, kwarps, parts, queries>(a);                                           \
    }                                                                                              \
    extern "C" __global__ void __launch_bounds__(32 * qwarps, 1)                                   \
        attention_dq_bf16_##width(const __grid_constant__ gf_attention_args a)                     \
    {                                                                                              \
        backward_queries<width, qwarps, rows, keys>(a);                                            \
    }
BACKWARD(32, 8, 1, 64, 4, 2, 32)
BACKWARD(64, 8, 1, 64, 4, 2, 32)
BACKWARD(96, 8, 1, 32, 4, 2, 32)
BACKWARD(128, 8, 1, 32, 4, 2, 32)
BACKWARD(256, 8, 2, 16, 4, 1, 16)
