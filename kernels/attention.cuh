/* attention.cuh - what the kernels of attention share: the row's lists, a score, what a query sees,
 * swizzled tiles of bf16 and their fragments. Contract: graft/ops.h.
 *
 * Law 3: queries and keys are cut into blocks from their span's start, every sum has one owner and
 * one order, and what a mask hides enters as an exact zero or is left out, which is the same (for
 * finite values: 0 * NaN is NaN, and the op that made the NaN has named it already). So a token's
 * bits depend on its own span only, and not on the tile in which it is computed.
 *
 * A tile of a head in shared memory has `Width` columns: the head's, up to the next class of
 * 32, 64, 96, 128, 256, zeros behind. Its 16-byte chunks are permuted inside each row so that the
 * eight rows which ldmatrix reads together lie in eight different groups of banks. */
#ifndef GRAFT_KERNELS_ATTENTION_CUH
#define GRAFT_KERNELS_ATTENTION_CUH

#include "cuda/attention_args.h"
#include "device.cuh"

#define LOG2E 1.44269504088896341f

/* Where a maximum starts and what is hidden: below every finite score, and finite, so that a row
 * that has seen nothing yet multiplies what it has by 2^0 and not by NaN. */
#define LOWEST (-1e30f)

/* ---- the row ------------------------------------------------------------------------------------
 */

/* A block's rows: of q, or of k and v, of one head. */
struct part {
    gf_row_span span; /* not of filler */
    int head;         /* of q, or of k and v */
    int first, count; /* rows */
    int position;     /* of the first, among its span's keys */
    bool filler;
};

/* Finds all but the head: rows [skip, skip + rows) of the tile blockIdx.y. False: there are none.
 */
DEVICE bool find_rows(part &p, const gf_attention_args &a, bool of_keys, int skip, int rows)
{
    const gf_row_header *work = a.work;
    if (blockIdx.y >= (unsigned)work->tiles)
        return false;
    const uint32_t list = of_keys ? work->key_at : work->query_at;
    const gf_row_tile tile = ((const gf_row_tile *)((const char *)work + list))[blockIdx.y];
    p.first = tile.first + skip;
    p.count = min(tile.count - skip, rows);
    p.filler = tile.span < 0;
    if (p.filler || p.count <= 0)
        return p.count > 0;
    p.span = ((const gf_row_span *)((const char *)work + work->span_at))[tile.span];
    p.position = p.span.kv_len - p.span.len + tile.at + skip;
    return true;
}

/* The same where GF_TILE / rows blocks along x share a tile of a head. */
DEVICE bool find_part(part &p, const gf_attention_args &a, bool of_keys, int rows)
{
    const int split = GF_TILE / rows;
    p.head = (int)blockIdx.x / split;
    return find_rows(p, a, of_keys, (int)blockIdx.x % split * rows, rows);
}

/* First key that a query at `position` sees; the last is `position` itself. */
DEVICE int first_key(const gf_attention_args &a, int position)
{
    return max(0, position - a.window + 1);
}
/* Past the last of `queries` that sees a key at `position`; the first is `position` itself. */
DEVICE int query_end(const gf_attention_args &a, int position, int queries)
{
    return a.window < queries - position ? position + a.window : queries;
}
DEVICE bool is_hidden(const gf_attention_args &a, int query, int key)
{
    return (key > query) | (query - key >= a.window); /* no branch */
}
/* Whether `queries` of them from `query` on see none, or all, of `keys` keys from `key` on. */
DEVICE bool sees_none(const gf_attention_args &a, int query, int queries, int key, int keys)
{
    return key > query + queries - 1 || key + keys - 1 < first_key(a, query);
}
DEVICE bool sees_all(const gf_attention_args &a, int query, int queries, int key, int keys)
{
    return key + keys - 1 <= query && key >= first_key(a, query + queries - 1);
}

/* What is the same in all lanes, so that the compiler knows it is: loops and branches on it may
 * contain shuffles and barriers of the warp. */
DEVICE bool whole_warp(bool x)
{
    return __all_sync(ALL_LANES, x);
}
DEVICE int same_in_warp(int x)
{
    return __shfl_sync(ALL_LANES, x, 0);
}

/* ---- a score ------------------------------------------------------------------------------------
 */

/* tanh(x) by an exponential: an absolute error of 2^-22, which the cap multiplies. */
DEVICE float tanh_fast(float x)
{
    return 1.0f - 2.0f * reciprocal_approx(1.0f + exp2_approx(2.0f * LOG2E * x));
}

/* 1 / x, 1 ulp, without a subroutine; 1 for 1, NaN for 0 and what is not finite. */
DEVICE float reciprocal(float x)
{
    const float y = reciprocal_approx(x);
    return fmaf(fmaf(-x, y, 1.0f), y, y);
}

/* ---- tiles of bf16 ------------------------------------------------------------------------------
 */

/* Chunks that are permuted among themselves: 128 bytes of a row or, where a row is an odd number of
 * 64 bytes, 64 of them (neighbouring rows lie in different halves of the banks then). */
template <int Width> struct tile_shape {
    static constexpr int chunks = Width / 8;
    static constexpr int group = Width % 64 == 0 ? 8 : 4;
};

/* Offset in bytes of a chunk of a row. */
template <int Width> DEVICE uint32_t tile_at(int row, int chunk)
{
    constexpr int group = tile_shape<Width>::group;
    const int turn = group == 8 ? row & 7 : (row >> 1) & 3;
    return (uint32_t)(row * (Width * 2) + ((chunk ^ turn) << 4));
}

/* The chunk 2 * step further on, from an address that tile_at made of chunk 0 or 1. */
template <int Width> DEVICE uint32_t tile_step(uint32_t at, int step)
{
    constexpr int group = tile_shape<Width>::group;
    return (at ^ ((2 * step % group) << 4)) + (2 * step / group * group << 4);
}

/* The first element of a head in a row of [rows, heads, width]. */
template <typename T>
DEVICE T *head_of(const gf_attention_args &a, void *x, int stride, int row, int head)
{
    return (T *)x + (int64_t)row * stride + head * a.width;
}

/* Starts copying rows [0, Rows) of a head. Rows from `count` on and columns from `width` on become
 * zeros. `Threads` call it, numbered `thread`; each stays in one column of chunks. */
template <int Width, int Rows, int Threads>
DEVICE void load_tile(uint32_t to, const bf16 *from, int stride, int count, int width, int thread)
{
    constexpr int chunks = tile_shape<Width>::chunks, pass = Threads / chunks;
    const int row = thread / chunks, chunk = thread % chunks;
    if (Threads % chunks != 0 && row >= pass)
        return;
#pragma unroll
    for (int i = 0; i < Rows; i += pass) {
        if (Rows % pass != 0 && row + i >= Rows)
            break;
        const bool there = row + i < count && 8 * chunk < width;
        cp_async16(to + tile_at<Width>(row + i, chunk),
                   from + (there ? (row + i) * stride + 8 * chunk : 0), there ? 16 : 0);
    }
}

/* Starts copying keys and values of block n of a span, each to one half of two. */
template <int Width, int Keys, int Threads>
DEVICE void load_keys(const gf_attention_args &a, uint32_t sk, uint32_t sv, const gf_row_span &span,
                      int n, int group)
{
    const int key = n * Keys, left = span.kv_len - key;
    const uint32_t half = (n & 1) * (Keys * Width * 2);
    load_tile<Width, Keys, Threads>(sk + half,
                                    head_of<bf16>(a, a.k, a.k_stride, span.kv_start + key, group),
                                    a.k_stride, left, a.width, (int)threadIdx.x);
    load_tile<Width, Keys, Threads>(sv + half,
                                    head_of<bf16>(a, a.v, a.v_stride, span.kv_start + key, group),
                                    a.v_stride, left, a.width, (int)threadIdx.x);
    cp_async_commit();
}

/* Writes rows [0, count) of a tile to a head. The `threads` that call it are numbered `thread`. */
template <int Width>
DEVICE void store_tile(bf16 *to, int stride, const unsigned char *tile, int count, int width,
                       int thread, int threads)
{
    constexpr int chunks = tile_shape<Width>::chunks;
    for (int at = thread; at < count * chunks; at += threads) {
        const int row = at / chunks, chunk = at % chunks;
        if (8 * chunk < width)
            *(uint4 *)(to + row * stride + 8 * chunk) =
                *(const uint4 *)(tile + tile_at<Width>(row, chunk));
    }
}

/* Zeros instead, in rows [0, count) of a head of `width` elements. */
template <typename T> DEVICE void store_zeros(T *to, int stride, int count, int width)
{
    constexpr int unit = 16 / sizeof(T);
    const int chunks = width / unit;
    for (int at = (int)threadIdx.x; at < count * chunks; at += (int)blockDim.x)
        *(uint4 *)(to + at / chunks * stride + at % chunks * unit) = make_uint4(0, 0, 0, 0);
}

/* ---- fragments of m16n8k16, see ptx.cuh ---------------------------------------------------------
 * Each is at an address that is made once for a lane and moved by tile_step and whole rows. */

/* [16 rows, 16 columns] as A; or, transposed, rows as the inner index: two B of 8 columns each. */
template <int Width> DEVICE uint32_t rows_at(uint32_t tile, int lane)
{
    return tile + tile_at<Width>(lane & 15, lane >> 4);
}
/* [16 rows, 16 columns], columns as the inner index: two B of 8 rows each. */
template <int Width> DEVICE uint32_t columns_at(uint32_t tile, int lane)
{
    return tile + tile_at<Width>((lane & 7) + ((lane >> 4) << 3), (lane >> 3) & 1);
}

/* d [16,16] += a b, b as one of the above. */
DEVICE void mma_pair(float (&low)[4], float (&high)[4], const uint32_t (&a)[4],
                     const uint32_t (&b)[4])
{
    mma_bf16_16816(low, a, {b[0], b[1]});
    mma_bf16_16816(high, a, {b[2], b[3]});
}

/* Sums of 16 columns, as bf16, as A of the next product. */
DEVICE void pack_fragment(uint32_t (&a)[4], const float (&low)[4], const float (&high)[4])
{
    a[0] = pack_bf16(low[0], low[1]);
    a[1] = pack_bf16(low[2], low[3]);
    a[2] = pack_bf16(high[0], high[1]);
    a[3] = pack_bf16(high[2], high[3]);
}

/* d = a b^T, summed along the width: 16 * Rows rows of one tile, from rows_at, and Columns rows of
 * another, from columns_at. */
template <int Width, int Rows, int Columns>
DEVICE void multiply(float (&d)[Rows][Columns / 8][4], uint32_t a, uint32_t b)
{
#pragma unroll
    for (int i = 0; i < Rows; i++)
#pragma unroll
        for (int j = 0; j < Columns / 8; j++)
            d[i][j][0] = d[i][j][1] = d[i][j][2] = d[i][j][3] = 0.0f;
#pragma unroll
    for (int step = 0; step < Width / 16; step++) {
        uint32_t x[Rows][4];
#pragma unroll
        for (int i = 0; i < Rows; i++)
            ldmatrix_x4(x[i], tile_step<Width>(a, step) + i * 16 * Width * 2);
#pragma unroll
        for (int j = 0; j < Columns / 16; j++) {
            uint32_t y[4];
            ldmatrix_x4(y, tile_step<Width>(b, step) + j * 16 * Width * 2);
#pragma unroll
            for (int i = 0; i < Rows; i++)
                mma_pair(d[i][2 * j], d[i][2 * j + 1], x[i], y);
        }
    }
}

/* d += p b: Inner columns of sums as they come out of a product, to bf16, times Inner rows of a
 * tile from rows_at, Columns of them. */
template <int Width, int Rows, int Inner, int Columns>
DEVICE void multiply_sums(float (&d)[Rows][Columns / 8][4], const float (&p)[Rows][Inner / 8][4],
                          uint32_t b)
{
#pragma unroll
    for (int step = 0; step < Inner / 16; step++) {
        uint32_t x[Rows][4];
#pragma unroll
        for (int i = 0; i < Rows; i++)
            pack_fragment(x[i], p[i][2 * step], p[i][2 * step + 1]);
#pragma unroll
        for (int j = 0; j < Columns / 16; j++) {
            uint32_t y[4];
            ldmatrix_x4_trans(y, tile_step<Width>(b, j) + step * 16 * Width * 2);
#pragma unroll
            for (int i = 0; i < Rows; i++)
                mma_pair(d[i][2 * j], d[i][2 * j + 1], x[i], y);
        }
    }
}

/* Writes sums of 8 columns, rows lane / 4 and 8 more, times `factor` to rows of a tile from `row`
 * on. Adding 0 turns -0 into 0: which zeros entered a sum must not show in its sign. */
template <int Width>
DEVICE void put_sums(unsigned char *tile, int row, int chunk, const float (&d)[4], float factor0,
                     float factor8, int lane)
{
    unsigned char *at = tile + (lane & 3) * 4;
    *(uint32_t *)(at + tile_at<Width>(row + (lane >> 2), chunk)) =
        pack_bf16(d[0] * factor0 + 0.0f, d[1] * factor0 + 0.0f);
    *(uint32_t *)(at + tile_at<Width>(row + 8 + (lane >> 2), chunk)) =
        pack_bf16(d[2] * factor8 + 0.0f, d[3] * factor8 + 0.0f);
}

#endif
