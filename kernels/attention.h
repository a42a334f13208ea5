/* attention.h - what both directions of attention share: the geometry of tiles, packed operands and
 * the register-tiled products. Used by attention.c and attention_bwd.c only.
 *
 * Law 3: keys are cut into tiles of KEYS from the start of their span. An element of any product is
 * one chain of additions in the order of its inner index, whatever the tile of rows that it is
 * computed in, and what a mask hides enters as an exact zero or is left out, which is the same
 * (for finite values: 0 * NaN is NaN, and the op that made the NaN has named it already). So
 * the cut of queries into tiles, of heads into units and of units over threads is free.
 *
 * Operands are packed in words: f32 or, where tensors are bf16 and the CPU multiplies pairs of
 * bf16 itself (V_PAIRS), two neighbours along the inner index, which pair up from the start of
 * their head, tile or span. P and dS are rounded to bf16 then, as FlashAttention does; sums stay
 * f32. Such a sum is never denormal, so that the laws of zeros above hold there too. */
#ifndef GRAFT_KERNELS_ATTENTION_H
#define GRAFT_KERNELS_ATTENTION_H

#include "cpu.h"
#include "vec.h"

#define KEYS 64 /* of a tile: K^T and V of one tile stay in the L1 cache at K = 64 */
#define BLOCK 8 /* rows whose mask is looked at together */
#define ROWS 96 /* rows (queries x heads) that share one packed tile of keys, or a little more */

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

typedef struct {
    gf_tensor q, k, v, o, lse;
    gf_tensor d_o, dq, dk, dv, delta; /* backward */
    const gf_spans *row;
    float scale, cap;
    int64_t window;
    int64_t heads, groups, share; /* H, G, H / G */
    int64_t width, pitch;         /* K; K up to whole vectors */
    bool pair;                    /* words are pairs of bf16 */
    int64_t words;                /* of a head along its width: K or K / 2 (K is even) */
} att_args;

/* What follows from the tensors. */
static inline void att_geometry(att_args *a)
{
    a->heads = a->q.dim[1];
    a->groups = a->k.dim[1];
    a->share = a->heads / a->groups;
    a->width = a->q.dim[2];
    a->pitch = att_up(a->width, 16);
    a->pair = V_PAIRS && a->q.dtype == GF_BF16 && a->k.dtype == GF_BF16 && a->v.dtype == GF_BF16 &&
              (!gf_is(a->d_o) || a->d_o.dtype == GF_BF16);
    a->words = a->pair ? a->width / 2 : a->width;
}

/* First key that a query at `pos` sees; the last is pos itself. */
static inline int64_t att_first(const att_args *a, int64_t pos)
{
    return a->window > 0 ? att_max(0, pos - a->window + 1) : 0;
}

static inline void *att_head(gf_tensor x, int64_t t, int64_t h)
{
    const int64_t size = x.dtype == GF_F32 ? 4 : 2; /* bytes; f32 or bf16: the front door's check */
    return (char *)x.data + (t * x.stride + h * x.dim[2]) * size;
}

/* An f32 of [N,H]. */
static inline float *att_number(gf_tensor x, int64_t t, int64_t h)
{
    return (float *)x.data + t * x.stride + h;
}

/* Words c.. of a row of a head as they stand in memory, or its elements as f32. */
static inline v16 att_words(const att_args *a, const void *row, gf_dtype t, int64_t c)
{
    return v_get(row, a->pair ? GF_F32 : t, c, a->words - c);
}

/* out[c][r] = word c of row `first + r` of head h, for KEYS rows of which n exist (others 0). */
static inline void att_pack_turned(const att_args *a, float *out, gf_tensor x, int64_t first,
                                   int64_t n, int64_t h)
{
    for (int64_t r0 = 0; r0 < KEYS; r0 += 16)
        for (int64_t c = 0; c < a->words; c += 16) {
            v16 r[16];
            for (int64_t i = 0; i < 16; i++)
                r[i] = r0 + i < n ? att_words(a, att_head(x, first + r0 + i, h), x.dtype, c)
                                  : v_zero();
            v_transpose16(out + c * KEYS + r0, KEYS, r);
        }
}

/* out[words] = head h of row t, zeros behind up to whole vectors. */
static inline void att_pack_row(const att_args *a, float *out, gf_tensor x, int64_t t, int64_t h)
{
    const void *row = att_head(x, t, h);
    for (int64_t c = 0; c < a->words; c += 16)
        v_store(out + c, att_words(a, row, x.dtype, c));
}

/* out[r][pitch] = head h of row `first + r`, n rows, or as words of two rows: out[n / 2][pitch];
 * zeros behind, and as the last word's second row if n is odd. */
static inline void att_pack_rows(const att_args *a, float *out, gf_tensor x, int64_t first,
                                 int64_t n, int64_t h)
{
#if V_PAIRS
    for (int64_t r = 0; a->pair && r < n; r += 2) {
        const void *even = att_head(x, first + r, h);
        const void *odd = r + 1 < n ? att_head(x, first + r + 1, h) : NULL;
        for (int64_t c = 0; c < a->width; c += 16) {
            const v16 low = v_get(even, GF_BF16, c, a->width - c);
            const v16 high = odd ? v_get(odd, GF_BF16, c, a->width - c) : v_zero();
            v_store(out + r / 2 * a->pitch + c, v_pair(low, high));
        }
    }
#endif
    for (int64_t r = 0; !a->pair && r < n; r++)
        att_pack_row(a, out + r * a->pitch, x, first + r, h);
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

/* c + a b, word by word. */
__attribute__((always_inline)) static inline v16 att_step(bool pair, v16 a, v16 b, v16 c)
{
#if V_PAIRS
    if (pair)
        return v_dot_pairs(a, b, c);
#endif
    (void)pair;
    return v_fma(a, b, c);
}

/* A V_TILE_ROWS x (16 cols) tile:  C = f C + A B  (f == NULL: C = A B).  Word (i,k) of A stands at
 * a[i * ars + k * aks], k counts words. cols, pair and one of the strides are constants where this
 * is called. */
__attribute__((always_inline)) static inline void att_tile(int cols, bool pair, float *c,
                                                           int64_t ldc, const float *f,
                                                           const float *a, int64_t ars, int64_t aks,
                                                           const float *b, int64_t ldb, int64_t k)
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
                acc[i][j] = att_step(pair, ai, bj[j], acc[i][j]);
        }
    }
    for (int i = 0; i < V_TILE_ROWS; i++)
        for (int j = 0; j < cols; j++)
            v_store(c + i * ldc + 16 * j, acc[i][j]);
}

/* BLOCK rows, n columns (a multiple of 16), by tiles. */
__attribute__((always_inline)) static inline void
att_tiles(bool pair, float *c, int64_t ldc, int64_t n, const float *f, const float *a, int64_t ars,
          int64_t aks, const float *b, int64_t ldb, int64_t k)
{
    for (int i = 0; i < BLOCK; i += V_TILE_ROWS) {
        const float *fi = f ? f + i : NULL;
        int64_t j = 0;
        for (; j + 16 * V_TILE_COLS <= n; j += 16 * V_TILE_COLS)
            att_tile(V_TILE_COLS, pair, c + i * ldc + j, ldc, fi, a + i * ars, ars, aks, b + j, ldb,
                     k);
        for (; j < n; j += 16)
            att_tile(1, pair, c + i * ldc + j, ldc, fi, a + i * ars, ars, aks, b + j, ldb, k);
    }
}

/* BLOCK rows, n columns (a multiple of 16):  C = f C + A B  with A's rows along memory. */
static inline void att_product(const att_args *x, float *c, int64_t ldc, int64_t n, const float *f,
                               const float *a, int64_t lda, const float *b, int64_t ldb, int64_t k)
{
    if (V_PAIRS && x->pair)
        att_tiles(true, c, ldc, n, f, a, lda, 1, b, ldb, k);
    else
        att_tiles(false, c, ldc, n, f, a, lda, 1, b, ldb, k);
}

/* The same with A's columns along memory, KEYS apart (pairs of rows: 2 KEYS):  C += A^T B. */
static inline void att_product_turned(const att_args *x, float *c, int64_t ldc, int64_t n,
                                      const float *a, const float *b, int64_t ldb, int64_t k)
{
    static const float one[BLOCK] = {1, 1, 1, 1, 1, 1, 1, 1};
    if (V_PAIRS && x->pair)
        att_tiles(true, c, ldc, n, one, a, 1, 2 * KEYS, b, ldb, k);
    else
        att_tiles(false, c, ldc, n, one, a, 1, KEYS, b, ldb, k);
}

/* Word of an inner index that counts rows or keys, and the end of words that hold [0, n). */
static inline int64_t att_word(const att_args *a, int64_t n)
{
    return a->pair ? n / 2 : n;
}
static inline int64_t att_word_end(const att_args *a, int64_t n)
{
    return a->pair ? (n + 1) / 2 : n;
}

#define LOG2E 1.44269504088896341f

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
    bool full;                    /* every row sees every key */
} att_mask;

/* The mask of BLOCK rows at positions pos[]. */
static inline att_mask att_mask_block(const att_args *a, const int64_t *pos, int64_t k0)
{
    att_mask m = {.full = true};
    for (int i = 0; i < BLOCK; i++) {
        const int64_t lo = att_max(att_first(a, pos[i]) - k0, 0);
        const int64_t hi = att_min(pos[i] + 1 - k0, KEYS);
        m.full = m.full && lo == 0 && hi == KEYS;
        m.lo[i] = m.hi[i] = 0;
        if (lo >= hi)
            continue;
        m.lo[i] = lo;
        m.hi[i] = hi;
        m.from = m.from == m.to ? lo : att_min(m.from, lo);
        m.to = att_max(m.to, hi);
    }
    return m;
}

#endif
