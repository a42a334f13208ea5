/* gemm.h - the matrix product behind the linear layers, one copy per instruction set.
 *
 *     C[m, columns of group g] = init + sum over g's segments of part_s[m,:] . op(B_s)
 *
 * Each element of C is an f32 sum of its products in ascending k, segment after segment, in chains
 * of gf_chain words; that order is all that the arithmetic depends on, so an element has the same
 * bits for every m, tile, thread and partition. K is never split over threads; where it is cut into
 * blocks the sums are parked in memory as f32, which rounds nothing.
 *
 * B is read as it is stored (any type of tensor.h) and packed into panels on the way, once for
 * all rows of C. A "word" is 4 bytes: an f32, or two neighbouring k of bf16 where the CPU
 * multiplies bf16 itself. */
#ifndef GRAFT_KERNELS_GEMM_H
#define GRAFT_KERNELS_GEMM_H

#include "cpu.h"

/* The tile that fills the registers: MR x 2 accumulators of VL lanes, 2 of B, the rest for A. */
#if defined(__AVX512F__)
#define GF_VL 16
#define GF_MR 12
#elif defined(__AVX2__)
#define GF_VL 8
#define GF_MR 6
#else
#define GF_VL 4
#define GF_MR 6
#endif
#define GF_NR (2 * GF_VL)

/* With so few rows a tile's chains of sums are too few to fill the CPU: such a tile takes four
 * panels of B side by side. 0: never. */
#if defined(__AVX512F__)
#define GF_FEW 3
#else
#define GF_FEW 0
#endif

/* Columns are packed and dealt to threads in strips of this: a multiple of every NR, and the
 * block of the quantised types, which run along the columns of a [k,n] operand. */
#define GF_STRIP 32

/* The CPU multiplies pairs of bf16 itself. */
#if defined(__AVX512BF16__)
#define GF_HAVE_PAIRS 1
#else
#define GF_HAVE_PAIRS 0
#endif

/* How operands are laid out in panels. */
typedef enum {
    GF_WORD_F32,   /* f32 */
    GF_WORD_ROUND, /* f32 that holds a bf16: bf16 products on a CPU without them */
    GF_WORD_PAIR,  /* two bf16 */
} gf_word;

/* Words that k values take. */
static inline int64_t gf_words(gf_word w, int64_t k)
{
    return w == GF_WORD_PAIR ? (k + 1) / 2 : k;
}

/* A row-major matrix; ld in elements. */
typedef struct {
    const void *data;
    gf_dtype dtype;
    int64_t ld;
} gf_operand;

/* A dropout mask over tokens and channels, times 1/(1-p). */
typedef struct {
    gf_dropout drop;
    const gf_spans *row;
    uint32_t module;
} gf_mask;

typedef struct {
    gf_operand a; /* [m,k] f32 or bf16, the same in all parts */
    int64_t k;
    const gf_mask *mask; /* on a's elements, or NULL */
} gf_gemm_part;

typedef struct {
    int part;            /* its A; ascending inside a group */
    bool nn;             /* b is [k,n] (else [n,k]) */
    gf_operand b;        /* any storage type; rounded to bf16 when A is bf16 */
    const gf_mask *mask; /* on this product's elements, added after the other segments; or NULL */
} gf_gemm_segment;

#define GF_GEMM_PARTS 6 /* three layers and their adapters' tails */

typedef struct {
    int64_t n;         /* its columns of C follow those of the group before */
    const float *bias; /* [n] or NULL */
    float scale;       /* of the finished sum; 1: none */
    int segments;
    gf_gemm_segment segment[GF_GEMM_PARTS];
} gf_gemm_group;

typedef struct {
    int64_t m;
    int parts, groups;
    gf_gemm_part part[GF_GEMM_PARTS];
    gf_gemm_group group[3];
    void *c; /* [m, sum n] f32 or bf16 */
    gf_dtype c_dtype;
    int64_t ldc;
    const float *residual; /* [m, sum n], starts the sums; may be c; or NULL */
    int64_t ldr;
} gf_gemm;

#define X(isa) void gf_##isa##_gemm(gf_pool *pool, const gf_gemm *g);
GF_ISA_LIST(X)
#undef X

#ifdef GF_ISA
/* ---- the parts of it, also used by the gradients ----------------------------------- */

/* A panel of A holds MR rows, DEPTH words of one behind those of the other: [word / DEPTH][row]
 * [word % DEPTH]. So a row of words is copied by the line, and transposed nowhere. */
#define GF_DEPTH 16
#define GF_CACHE_LINE 64

/* Words of k that are summed in registers before the sum is added to the tile's memory. The error
 * of a sum grows with the length of its chain: short ones are several times more accurate than one
 * of a whole width, and at 192 the additions take about 1 % of an f32 product's time. bf16
 * products, whose inputs are a thousand times coarser, keep long ones. Chains end at the multiples
 * of this and at the end of a run; blocks of k begin there. */
static inline int64_t gf_chain(bool pair)
{
    return pair ? 576 : 192; /* whole GF_DEPTHs, whole quantised blocks */
}

static inline int64_t gf_panel_at(int64_t row, int64_t word)
{
    return (word / GF_DEPTH * GF_MR + row) * GF_DEPTH + word % GF_DEPTH;
}

/* What a panel of A takes. */
static inline int64_t gf_panel_size(int64_t words)
{
    return (words + GF_DEPTH - 1) / GF_DEPTH * GF_DEPTH * GF_MR;
}

/* Memory that is called into the outer cache while a tile is computed, because it is packed next: a
 * few lines at every DEPTH words, where the multiplications hide them. */
typedef struct {
    const char *at; /* the current row */
    int64_t step, rows, lines, line;
} gf_source;

typedef struct {
    int count, now, rate; /* rate: lines at a time */
    gf_source of[GF_GEMM_PARTS];
} gf_ahead;

/* One tile: t [mr, nv * VL] = (load ? t : 0) + sum over the runs of k words of panel a, beginning
 * at word `begin`, times b [sum k][NR]; b's words of the second run follow those of the first. */
typedef struct {
    int64_t begin[2], k[2];
    const float *a;
    int64_t b_panel; /* words from one panel of b to the next; for nv 8 */
    gf_ahead *ahead; /* two of them, or NULL */
} gf_runs;
typedef void gf_tile_fn(const gf_runs *r, const float *b, float *t, int64_t ldt, bool load);

gf_tile_fn *GF_CPU(tile)(gf_word w, int mr, int nv); /* mr 1 to MR, nv 1 or 2; mr to FEW, 8 */

/* c = t [rows][columns], columns <= NR, as f32 or as bf16, half to even; past the caches if
 * `stream`. Where the CPU rounds to bf16 itself, subnormals become zero, as its products
 * have them. */
void GF_CPU(tile_out)(gf_dtype type, void *c, int64_t ldc, const float *t, int64_t ldt, int rows,
                      int columns, bool stream);
void GF_CPU(tile_fence)(void); /* orders what was streamed before what this thread writes next */

/* Words `begin` and up of a panel = rows [m0, m0 + rows) of a, columns [k0, k0 + k), masked; rows
 * <= MR. */
void GF_CPU(pack_a)(float *panel, int64_t begin, gf_word w, const gf_operand *a,
                    const gf_mask *mask, int64_t m0, int64_t rows, int64_t k0, int64_t k);

/* Columns [n0, n0 + n) of op(b), k from k0 on, as strips of STRIP columns. Strip i begins at dst +
 * i * STRIP * height, its panel j at j * NR * height behind that, word row by word row; columns
 * beyond n are zero. n <= 4 strips; n0 a multiple of STRIP. */
void GF_CPU(pack_b)(float *dst, int64_t height, gf_word w, const gf_operand *b, bool nn, int64_t n0,
                    int64_t n, int64_t k0, int64_t k, float *buf);
#define GF_PACK_STRIPS 4
#define GF_PACK_BUF (GF_STRIP * 128) /* a strip of 128 k; stays in L1 */

/* The part of pack_b that registers do, for whole strips (n a multiple of STRIP) and from k0 on:
 * returns the k that it has packed, and leaves the rest. */
int64_t GF_CPU(pack_lines)(float *dst, int64_t height, gf_word w, const gf_operand *b, bool nn,
                           int64_t n0, int64_t n, int64_t k0, int64_t k);

/* bits[i / 8] bit i % 8 = dropout keeps channel c0 + i of token t, i < n; c0 a multiple of 8. */
void GF_CPU(mask_bits)(uint8_t *bits, const gf_mask *m, int64_t t, int64_t c0, int64_t n);

/* x[i] = bit i of bits ? x[i] * inverse : 0 */
void GF_CPU(mask_apply)(float *x, const uint8_t *bits, float inverse, int64_t n);

/* x[i] = keep ? x[i] / (1 - p) : 0 for channels c0 + i of token t. */
void GF_CPU(mask_row)(float *x, const gf_mask *m, int64_t t, int64_t c0, int64_t n);

#endif
#endif
