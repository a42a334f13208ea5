/* attention.h - what both directions of attention share: the geometry of tiles, packed operands and
 * the register-tiled products. Used by attention.c and attention_bwd.c only.
 *
 * Law 3: keys are cut into tiles of KEYS from the start of their span. An element of any product is
 * one chain of additions in the order of its inner index, whatever the tile of rows that it is
 * computed in, and what a mask hides enters as an exact zero or is left out, which is the same
 * (for finite values: 0 * NaN is NaN, and the op that made the NaN has named it already). So
 * the cut of queries into tiles, of heads into units and of units over threads is free. */
#ifndef GRAFT_KERNELS_ATTENTION_H
#define GRAFT_KERNELS_ATTENTION_H

#include "cpu.h"
#include "vec.h"

#define KEYS 64 /* of a tile: K^T and V of one tile stay in the L1 cache at K = 64 */
#define BLOCK 8 /* rows whose mask is looked at together */
#define ROWS 96 /* rows (queries x heads) that share one packed tile of keys, or a little more */

typedef struct {
    gf_tensor q, k, v, o, lse;
    gf_tensor d_o, dq, dk, dv, delta; /* backward */
    const gf_spans *row;
    float scale, cap;
    int64_t window;
    int64_t heads, groups, share; /* H, G, H / G */
    int64_t width, pitch;         /* K; K up to whole vectors */
} att_args;

/* A thread's share of the units: those whose middle lies in [lo, hi) of the total cost, in their
 * order. Every thread walks all units and takes its own. */
typedef struct {
    double total, before, lo, hi;
} att_deal;

static inline bool att_mine(att_deal *d, double cost)
{
    const double middle = d->before + 0.5 * cost;
    d->before += cost;
    return middle >= d->lo && middle < d->hi;
}

static inline int64_t att_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t att_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}
static inline int64_t att_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

/* First key that a query at `pos` sees; the last is pos itself. */
static inline int64_t att_first(const att_args *a, int64_t pos)
{
    return a->window > 0 ? att_max(0, pos - a->window + 1) : 0;
}

static inline void *att_head(gf_tensor x, int64_t t, int64_t h)
{
    const int64_t size =
        x.dtype == GF_F32 ? 4 : 2; /* bytes: f32 or bf16, the front door saw to it */
    return (char *)x.data + (t * x.stride + h * x.dim[2]) * size;
}

/* An f32 of [N,H]. */
static inline float *att_number(gf_tensor x, int64_t t, int64_t h)
{
    return (float *)x.data + t * x.stride + h;
}

/* out[c][r] = element c of row `first + r` of head h, for KEYS rows of which n exist (others 0). */
static inline void att_pack_turned(float *out, gf_tensor x, int64_t first, int64_t n, int64_t h)
{
    const int64_t width = x.dim[2];
    for (int64_t r0 = 0; r0 < KEYS; r0 += 16)
        for (int64_t c = 0; c < width; c += 16) {
            v16 r[16];
            for (int64_t i = 0; i < 16; i++)
                r[i] = r0 + i < n ? v_get(att_head(x, first + r0 + i, h), x.dtype, c, width - c)
                                  : v_zero();
            v_transpose16(out + c * KEYS + r0, KEYS, r);
        }
}

/* out[pitch] = head h of row t, as f32, zeros behind. */
static inline void att_pack_row(float *out, gf_tensor x, int64_t t, int64_t h)
{
    const int64_t width = x.dim[2];
    const void *row = att_head(x, t, h);
    for (int64_t c = 0; c < width; c += 16)
        v_store(out + c, v_get(row, x.dtype, c, width - c));
}

/* Writes factor * in[0..K) to head h of row t. Adding 0 turns -0 into 0: which zeros entered a sum
 * must not show in its sign. */
static inline void att_put_row(gf_tensor x, int64_t t, int64_t h, const float *in, float factor)
{
    const int64_t width = x.dim[2];
    void *row = att_head(x, t, h);
    for (int64_t c = 0; c < width; c += 16)
        v_put(row, x.dtype, c, width - c, v_add(v_mul(v_load(in + c), v_set1(factor)), v_zero()));
}

/* A V_TILE_ROWS x (16 cols) tile:  C = f C + A B  (f == NULL: C = A B).  Element (i,k) of A stands
 * at a[i * ars + k * aks]. cols, ars and aks are constants where this is called. */
__attribute__((always_inline)) static inline void att_tile(int cols, float *c, int64_t ldc,
                                                           const float *f, const float *a,
                                                           int64_t ars, int64_t aks, const float *b,
                                                           int64_t ldb, int64_t k)
{
    v16 acc[V_TILE_ROWS][V_TILE_COLS];
    for (int i = 0; i < V_TILE_ROWS; i++)
        for (int j = 0; j < cols; j++)
            acc[i][j] = f ? v_mul(v_set1(f[i]), v_load(c + i * ldc + 16 * j)) : v_zero();
    for (int64_t p = 0; p < k; p++) {
        v16 bj[V_TILE_COLS];
        for (int j = 0; j < cols; j++)
            bj[j] = v_load(b + p * ldb + 16 * j);
        for (int i = 0; i < V_TILE_ROWS; i++) {
            const v16 ai = v_set1(a[i * ars + p * aks]);
            for (int j = 0; j < cols; j++)
                acc[i][j] = v_fma(ai, bj[j], acc[i][j]);
        }
    }
    for (int i = 0; i < V_TILE_ROWS; i++)
        for (int j = 0; j < cols; j++)
            v_store(c + i * ldc + 16 * j, acc[i][j]);
}

/* BLOCK rows, n columns (a multiple of 16):  C = f C + A B  with A's rows along memory. */
static inline void att_product(float *c, int64_t ldc, int64_t n, const float *f, const float *a,
                               int64_t lda, const float *b, int64_t ldb, int64_t k)
{
    for (int i = 0; i < BLOCK; i += V_TILE_ROWS) {
        const float *fi = f ? f + i : NULL;
        int64_t j = 0;
        for (; j + 16 * V_TILE_COLS <= n; j += 16 * V_TILE_COLS)
            att_tile(V_TILE_COLS, c + i * ldc + j, ldc, fi, a + i * lda, lda, 1, b + j, ldb, k);
        for (; j < n; j += 16)
            att_tile(1, c + i * ldc + j, ldc, fi, a + i * lda, lda, 1, b + j, ldb, k);
    }
}

/* The same with A's columns along memory:  C += A^T B. */
static inline void att_product_turned(float *c, int64_t ldc, int64_t n, const float *a,
                                      const float *b, int64_t ldb, int64_t k)
{
    static const float one[BLOCK] = {1, 1, 1, 1, 1, 1, 1, 1};
    for (int i = 0; i < BLOCK; i += V_TILE_ROWS) {
        int64_t j = 0;
        for (; j + 16 * V_TILE_COLS <= n; j += 16 * V_TILE_COLS)
            att_tile(V_TILE_COLS, c + i * ldc + j, ldc, one, a + i, 1, KEYS, b + j, ldb, k);
        for (; j < n; j += 16)
            att_tile(1, c + i * ldc + j, ldc, one, a + i, 1, KEYS, b + j, ldb, k);
    }
}

/* 16 raw products to scores: scaled, then capped. */
static inline v16 att_score(const att_args *a, v16 dot)
{
    const v16 s = v_mul(dot, v_set1(a->scale));
    if (!(a->cap > 0.0f))
        return s;
    return v_mul(v_set1(a->cap), v_tanh(v_div(s, v_set1(a->cap))));
}

/* Keys of tile k0 that rows see: [lo, hi) of each, and of the block together in whole vectors. */
typedef struct {
    int64_t lo[BLOCK], hi[BLOCK]; /* of each row; none: lo == hi == 0 */
    int64_t from, to;             /* keys that some row sees; from == to: none */
} att_mask;

static inline void att_mask_row(const att_args *a, att_mask *m, int i, int64_t pos, int64_t k0)
{
    const int64_t lo = att_max(att_first(a, pos) - k0, 0), hi = att_min(pos + 1 - k0, KEYS);
    if (lo >= hi) {
        m->lo[i] = m->hi[i] = 0;
        return;
    }
    m->lo[i] = lo;
    m->hi[i] = hi;
    m->from = m->from == m->to ? lo : att_min(m->from, lo);
    m->to = att_max(m->to, hi);
}

#endif
