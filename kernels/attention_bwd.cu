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
    __shared__ float sums[DELTA_HEADS][20]; /* 16 rows: 20 keeps reads in different banks */
    part p;
    if (!find_rows(p, a, false, (int)blockIdx.z * 16, 16))
        return;
    const int warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP;
    const int head0 = (int)blockIdx.x * DELTA_HEADS, head = head0 + warp;
    float low[4] = {}, high[4] = {}; /* columns 0-7 and 8-15 of the product */
    if (whole_warp(!p.filler && head < a.heads)) {
        const bf16 *d_o = head_of<bf16>(a, a.d_o, a.d_o_stride, p.first, head);
        const bf16 *o = head_of<bf16>(a, a.o, a.o_stride, p.first, head);
        const uint32_t sd = shared_address(tiles[warp][0]), so = shared_address(tiles[warp][1]);
        for (int column = 0; column < a.width; column += DELTA_COLUMNS) {
            const int width = a.width - column;
            load_tile<DELTA_COLUMNS, 16, WARP>(sd, d_o + column, a.d_o_stride, p.count, width,
                                               lane);
            load_tile<DELTA_COLUMNS, 16, WARP>(so, o + column, a.o_stride, p.count, width, lane);
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
        sums[warp][lane / 4] = odd ? low[1] : low[0];
        sums[warp][lane / 4 + 8] = odd ? high[3] : high[2];
    }
    __syncthreads();
    const int row = (int)threadIdx.x / DELTA_HEADS, column = (int)threadIdx.x % DELTA_HEADS;
    if (row < p.count && head0 + column < a.heads)
        a.delta[(int64_t)(p.first + row) * a.delta_stride + head0 + column] = sums[column][row];
}

/* ---- what both others share ---------------------------------------------------------------------
 */

/* lse and delta of Rows rows of up to Heads heads in shared memory: [2][Heads][pitch]. What a warp
 * writes at once, 8 rows of 4 heads, lies in different banks. */
template <int Rows, int Heads> struct numbers_of {
    static constexpr int pitch = Heads == 1 ? Rows : Rows + 8;
    static constexpr int count = 2 * Heads * pitch;
};

/* Starts copying them, of rows [first, first + count) and `heads` heads from `head` on; zeros for
 * what is not there. */
template <int Rows, int Heads>
DEVICE void load_numbers(const gf_attention_args &a, uint32_t to, int first, int count, int head,
                         int heads)
{
    constexpr int pitch = numbers_of<Rows, Heads>::pitch;
    for (int at = (int)threadIdx.x; at < 2 * Heads * Rows; at += (int)blockDim.x) {
        const int which = at / (Heads * Rows), row = at / Heads % Rows, h = at % Heads;
        const int stride = which ? a.delta_stride : a.lse_stride;
        const float *from = (which ? a.delta : a.lse) + (int64_t)first * stride + head;
        const bool there = row < count && h < heads;
        cp_async4(to + ((which * Heads + h) * pitch + row) * 4,
                  from + (there ? row * stride + h : 0), there ? 4 : 0);
    }
}

/* s, d: products of q and k and of d_o and v, to P and dS (without the scale); lse in base 2. Bent:
 * there is a cap. */
template <bool Bent>
DEVICE void to_slope(const gf_attention_args &a, float &s, float &d, float lse, float delta)
{
    const float t = Bent ? tanh_fast(s * a.inner) : 0.0f;
    const float p = exp2_approx(Bent ? t * a.outer - lse : s * a.unit - lse);
    d = p * (d - delta) * (Bent ? 1.0f - t * t : 1.0f);
    s = p;
}

DEVICE void clear_rows(const gf_attention_args &a, const part &p, void *x, int stride)
{
    store_zeros(head_of<bf16>(a, x, stride, p.first, p.head), stride, p.count, a.width);
}

/* Writes rows [0, count) of a tile as store_tile does, turned back: rows of dq or dk from p.first +
 * `own` on. The bits of a rope that follows: what it would read has been rounded to bf16. */
template <int Width>
DEVICE void store_turned(const gf_attention_args &a, const part &p, void *x, int stride, int own,
                         const unsigned char *tile, int count, int thread, int threads)
{
    constexpr int units = Width / 4; /* of a row: 16 bytes of cosines, 8 of the tile */
    bf16 *const to = head_of<bf16>(a, x, stride, p.first + own, p.head);
    for (int at = thread; at < count * units; at += threads) {
        const int row = at / units, column = at % units * 4, other = column + a.pairs;
        const unsigned char *from = tile + (column & 4) * 2;
        if (column >= a.width || (column >= a.pairs && column < 2 * a.pairs))
            continue; /* stored with its partner */
        float low[4], high[4], c[4], s[4];
        load_unit(low, (const bf16 *)(from + tile_at<Width>(row, column / 8)));
        if (column < a.pairs) {
            const int64_t token = p.first + own + row;
            load_unit(c, a.cos + token * a.cos_stride + column);
            load_unit(s, a.sin + token * a.sin_stride + column);
            load_unit(high,
                      (const bf16 *)(tile + (other & 4) * 2 + tile_at<Width>(row, other / 8)));
#pragma unroll
            for (int i = 0; i < 4; i++)
                turn(low[i], high[i], c[i], -s[i]);
            store_unit(to + row * stride + other, high);
        }
        store_unit(to + row * stride + column, low);
    }
}

/* Writes rows of dq or dk. */
template <int Width>
DEVICE void store_gradient(const gf_attention_args &a, const part &p, void *x, int stride, int own,
                           const unsigned char *tile, int count, int thread, int threads)
{
    if (a.pairs > 0)
        store_turned<Width>(a, p, x, stride, own, tile, count, thread, threads);
    else
        store_tile<Width>(head_of<bf16>(a, x, stride, p.first + own, p.head), stride, tile, count,
                          a.width, thread, threads);
}

/* ---- dk, dv -------------------------------------------------------------------------------------
 * grid: (G * Split, tiles), Split blocks share a tile; block: 32 * Warps. 16 keys belong to `Parts`
 * warps, which make the same scores and own a part of the columns of dk and dv each. */

#define TURN 4 /* heads that go round together: a sector of lse holds several heads of a token */

/* P and dS of 16 keys and Queries queries, whose lse and delta these are. */
template <int Queries, bool Bent>
DEVICE void slope_keys(const gf_attention_args &a, float (&s)[Queries / 8][4],
                       float (&d)[Queries / 8][4], const float *lses, const float *deltas, int lane)
{
#pragma unroll
    for (int j = 0; j < Queries / 8; j++) {
        const int at = j * 8 + (lane & 3) * 2;
        const float2 lse = *(const float2 *)(lses + at), delta = *(const float2 *)(deltas + at);
#pragma unroll
        for (int e = 0; e < 4; e++)
            to_slope<Bent>(a, s[j][e], d[j][e], (e & 1 ? lse.y : lse.x) * LOG2E,
                           e & 1 ? delta.y : delta.x);
    }
}

/* Zeros where keys from `key` on are hidden from queries from `query` on. Behind the span's end
 * queries and d_o are zeros and add nothing. */
template <int Queries>
DEVICE void hide_keys(const gf_attention_args &a, float (&p)[Queries / 8][4],
                      float (&ds)[Queries / 8][4], int key, int query, int lane)
{
#pragma unroll
    for (int j = 0; j < Queries / 8; j++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            if (is_hidden(a, query + j * 8 + (lane & 3) * 2 + (e & 1),
                          key + (lane >> 2) + (e >> 1) * 8))
                p[j][e] = ds[j][e] = 0.0f;
}

/* Both. */
template <int Queries>
DEVICE void slope_keys(const gf_attention_args &a, float (&s)[Queries / 8][4],
                       float (&d)[Queries / 8][4], const float *lses, const float *deltas, int key,
                       int query, int lane)
{
    if (a.outer > 0.0f)
        slope_keys<Queries, true>(a, s, d, lses, deltas, lane);
    else
        slope_keys<Queries, false>(a, s, d, lses, deltas, lane);
    if (key + 15 > query || query + Queries - 1 - key >= a.window)
        hide_keys<Queries>(a, s, d, key, query, lane);
}

/* Where a block is among the queries that see its keys: it meets head after head of a turn, block
 * of queries after block, turn after turn. */
struct key_walk {
    int head, share;          /* the first of the k/v head's query heads, and how many */
    int begin, end;           /* blocks that see a key of these */
    int turn, block, in_turn; /* heads before the turn; heads of the turn before this one */
};

DEVICE key_walk start_walk(const gf_attention_args &a, const part &p, int queries)
{
    const int begin = p.position / queries;
    const int last = query_end(a, p.position + p.count - 1, p.span.len) - 1;
    return {p.head * a.share, a.share, begin, last / queries + 1, 0, begin, 0};
}

/* To the next; true if lse and delta are others'. The walk is over when turn reaches share. */
DEVICE bool step_on(key_walk &at)
{
    at.in_turn++;
    if (at.in_turn < TURN && at.turn + at.in_turn < at.share)
        return false;
    at.in_turn = 0;
    at.block = at.block + 1 < at.end ? at.block + 1 : at.begin;
    at.turn += at.block == at.begin ? TURN : 0;
    return true;
}

/* Starts copying q and d_o of the block, and lse and delta of its turn if they are new. */
template <int Width, int Queries, int Threads>
DEVICE void load_queries(const gf_attention_args &a, uint32_t stage, uint32_t numbers,
                         const gf_row_span &span, const key_walk &at, bool is_new)
{
    const int first = span.start + at.block * Queries, count = span.len - at.block * Queries;
    const int head = at.head + at.turn + at.in_turn;
    load_tile<Width, Queries, Threads>(stage, head_of<bf16>(a, a.q, a.q_stride, first, head),
                                       a.q_stride, count, a.width, (int)threadIdx.x);
    load_tile<Width, Queries, Threads>(stage + Queries * Width * 2,
                                       head_of<bf16>(a, a.d_o, a.d_o_stride, first, head),
                                       a.d_o_stride, count, a.width, (int)threadIdx.x);
    if (is_new)
        load_numbers<Queries, TURN>(a, numbers, first, count, head, at.share - at.turn);
    cp_async_commit();
}

/* Writes the sums of 16 rows to rows of a tile from `row` on, from column `column` on. */
template <int Width, int Columns>
DEVICE void put_rows(unsigned char *tile, const float (&d)[Columns / 8][4], float factor, int row,
                     int column, int lane)
{
#pragma unroll
    for (int j = 0; j < Columns / 8; j++)
        put_sums<Width>(tile, row, column / 8 + j, d[j], factor, factor, lane);
}

template <int Width, int Warps, int Parts, int Queries>
DEVICE void backward_keys(const gf_attention_args &a)
{
    constexpr int keys = Warps / Parts * 16, threads = Warps * WARP;
    constexpr int columns = Width / Parts;
    constexpr uint32_t tile_bytes = keys * Width * 2;
    constexpr uint32_t stage_bytes = 2 * Queries * Width * 2;
    typedef numbers_of<Queries, TURN> both;
    extern __shared__ __align__(128) unsigned char shared[];
    part p;
    if (!find_part(p, a, true, keys))
        return;
    if (p.filler) {
        clear_rows(a, p, a.dk, a.dk_stride);
        clear_rows(a, p, a.dv, a.dv_stride);
        return;
    }
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    const int own = warp / Parts * 16, column = warp % Parts * columns;

    const uint32_t sk = shared_address(shared), sv = sk + tile_bytes, stages = sv + tile_bytes;
    load_tile<Width, keys, threads>(sk, head_of<bf16>(a, a.k, a.k_stride, p.first, p.head),
                                    a.k_stride, p.count, a.width, (int)threadIdx.x);
    load_tile<Width, keys, threads>(sv, head_of<bf16>(a, a.v, a.v_stride, p.first, p.head),
                                    a.v_stride, p.count, a.width, (int)threadIdx.x);
    const float *const lses = (const float *)(shared + 2 * tile_bytes + 2 * stage_bytes);
    const uint32_t numbers = stages + 2 * stage_bytes;
    key_walk at = start_walk(a, p, Queries);
    load_queries<Width, Queries, threads>(a, stages, numbers, p.span, at, true);
    float dk[1][columns / 8][4] = {}, dv[1][columns / 8][4] = {};
    for (int half = 0, side = 0; at.turn < at.share; half ^= 1) {
        const int key = p.position + own, query = at.block * Queries;
        const uint32_t sq = stages + half * stage_bytes, sd = sq + Queries * Width * 2;
        const float *const lse = lses + side * both::count + at.in_turn * both::pitch;
        const bool is_new = step_on(at);
        side ^= is_new;
        /* the stage has arrived; what the next overwrites was read before this barrier */
        cp_async_wait<0>();
        __syncthreads();
        if (at.turn < at.share)
            load_queries<Width, Queries, threads>(a, stages + (half ^ 1) * stage_bytes,
                                                  numbers + side * both::count * 4, p.span, at,
                                                  is_new);
        if (whole_warp(own >= p.count || query + Queries - 1 < key ||
                       query >= query_end(a, key + 15, p.span.len)))
            continue; /* none of it sees the warp's keys */
        float s[1][Queries / 8][4], d[1][Queries / 8][4];
        multiply<Width, 1, Queries>(s, rows_at<Width>(sk + own * Width * 2, lane),
                                    columns_at<Width>(sq, lane));
        multiply<Width, 1, Queries>(d, rows_at<Width>(sv + own * Width * 2, lane),
                                    columns_at<Width>(sd, lane));
        slope_keys<Queries>(a, s[0], d[0], lse, lse + TURN * both::pitch, key, query, lane);
        multiply_sums<Width, 1, Queries, columns>(dv, s, rows_at<Width>(sd, lane) + column * 2);
        multiply_sums<Width, 1, Queries, columns>(dk, d, rows_at<Width>(sq, lane) + column * 2);
    }
    __syncthreads();
    put_rows<Width, columns>(shared, dk[0], a.scale, own, column, lane);
    put_rows<Width, columns>(shared + tile_bytes, dv[0], 1.0f, own, column, lane);
    __syncthreads();
    store_gradient<Width>(a, p, a.dk, a.dk_stride, 0, shared, p.count, (int)threadIdx.x, threads);
    store_tile<Width>(head_of<bf16>(a, a.dv, a.dv_stride, p.first, p.head), a.dv_stride,
                      shared + tile_bytes, p.count, a.width, (int)threadIdx.x, threads);
}

/* ---- dq -----------------------------------------------------------------------------------------
 * grid: (H * Split, tiles), Split blocks share a tile; block: 32 * Warps. */

/* P and dS of 16 queries, whose lse and delta these are, and Keys keys. */
template <int Keys, bool Bent>
DEVICE void slope_queries(const gf_attention_args &a, float (&s)[Keys / 8][4],
                          float (&d)[Keys / 8][4], const float *lses, const float *deltas, int lane)
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const float lse = lses[(lane >> 2) + 8 * r] * LOG2E, delta = deltas[(lane >> 2) + 8 * r];
#pragma unroll
        for (int j = 0; j < Keys / 8; j++)
#pragma unroll
            for (int e = 2 * r; e < 2 * r + 2; e++)
                to_slope<Bent>(a, s[j][e], d[j][e], lse, delta);
    }
}

/* Zeros where keys from `key` on are hidden from queries from `query` on. */
template <int Keys>
DEVICE void hide_queries(const gf_attention_args &a, float (&ds)[Keys / 8][4], int query, int key,
                         int lane)
{
#pragma unroll
    for (int j = 0; j < Keys / 8; j++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            if (is_hidden(a, query + (lane >> 2) + (e >> 1) * 8,
                          key + j * 8 + (lane & 3) * 2 + (e & 1)))
                ds[j][e] = 0.0f;
}

/* Both. */
template <int Keys>
DEVICE void slope_queries(const gf_attention_args &a, float (&s)[Keys / 8][4],
                          float (&d)[Keys / 8][4], const float *lses, const float *deltas,
                          int query, int key, bool all, int lane)
{
    if (a.outer > 0.0f)
        slope_queries<Keys, true>(a, s, d, lses, deltas, lane);
    else
        slope_queries<Keys, false>(a, s, d, lses, deltas, lane);
    if (!all)
        hide_queries<Keys>(a, d, query, key, lane);
}

template <int Width, int Warps, int Rows, int Keys>
DEVICE void backward_queries(const gf_attention_args &a)
{
    constexpr int queries = Warps * Rows * 16, threads = Warps * WARP;
    constexpr uint32_t tile_bytes = queries * Width * 2, block_bytes = Keys * Width * 2;
    extern __shared__ __align__(128) unsigned char shared[];
    __shared__ part kept; /* p: the loop has no registers for it */
    part p;
    if (!find_part(p, a, false, queries))
        return;
    if (p.filler) {
        clear_rows(a, p, a.dq, a.dq_stride);
        return;
    }
    if (threadIdx.x == 0)
        kept = p;
    const int begin = same_in_warp(first_key(a, p.position) / Keys);
    const int end = same_in_warp((p.position + p.count - 1) / Keys + 1);
    const int lane = (int)threadIdx.x % WARP, own = (int)threadIdx.x / WARP * Rows * 16;
    const int group = p.head / a.share;

    const uint32_t sq = shared_address(shared), sd = sq + tile_bytes, sk = sd + tile_bytes;
    const uint32_t sv = sk + 2 * block_bytes;
    load_tile<Width, queries, threads>(sq, head_of<bf16>(a, a.q, a.q_stride, p.first, p.head),
                                       a.q_stride, p.count, a.width, (int)threadIdx.x);
    load_tile<Width, queries, threads>(sd, head_of<bf16>(a, a.d_o, a.d_o_stride, p.first, p.head),
                                       a.d_o_stride, p.count, a.width, (int)threadIdx.x);
    load_numbers<queries, 1>(a, sv + 2 * block_bytes, p.first, p.count, p.head, 1);
    const float *const numbers = (const float *)(shared + 2 * tile_bytes + 4 * block_bytes) + own;
    float dq[Rows][Width / 8][4] = {};
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
        float s[Rows][Keys / 8][4], d[Rows][Keys / 8][4];
        multiply<Width, Rows, Keys>(s, rows_at<Width>(sq + own * Width * 2, lane),
                                    columns_at<Width>(sk + half, lane));
        __syncwarp(); /* keeps loads of the second product out of the first: registers */
        multiply<Width, Rows, Keys>(d, rows_at<Width>(sd + own * Width * 2, lane),
                                    columns_at<Width>(sv + half, lane));
        const bool all = sees_all(a, query, Rows * 16, key, Keys);
#pragma unroll
        for (int i = 0; i < Rows; i++)
            slope_queries<Keys>(a, s[i], d[i], numbers + i * 16, numbers + queries + i * 16,
                                query + i * 16, key, all, lane);
        multiply_sums<Width, Rows, Keys, Width>(dq, d, rows_at<Width>(sk + half, lane));
    }
    __syncthreads(); /* a warp's queries make room for its sums */
    if (whole_warp(own >= kept.count))
        return;
    unsigned char *const rows = shared + own * Width * 2;
#pragma unroll
    for (int i = 0; i < Rows; i++)
        put_rows<Width, Width>(rows, dq[i], a.scale, i * 16, 0, lane);
    __syncwarp();
    store_gradient<Width>(a, kept, a.dq, a.dq_stride, own, rows, min(kept.count - own, Rows * 16),
                          lane, WARP);
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
