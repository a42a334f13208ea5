/* lora.h - what the adapters' kernels are told (lora.cu, lora_grad.cu, lora_back.cu,
 * lora_dropout.cu, lora_tails.cu), and the tiles that their launches must know. Plain structs,
 * shared by C and CUDA code; each is a kernel's only parameter.
 *
 * "wide" is x or dy, "tail" is S or P: columns of the same rows, R of them (graft/ops.h). Columns
 * are counted in elements from the start of a row. */
#ifndef GRAFT_KERNELS_CUDA_LORA_H
#define GRAFT_KERNELS_CUDA_LORA_H

#include "row.h"

enum {
    GF_LORA_THREADS = 128,
    GF_LORA_LINE = 128,    /* bytes of K that a stage of a product holds of every row */
    GF_LORA_COLUMNS = 128, /* a block's columns of x or dy in the gradients */
    GF_LORA_PATCH = 64,    /* a block's rows, and columns, of dx in the update under dropout */
    GF_LORA_PATCH_PITCH = GF_LORA_PATCH + 8, /* words between its rows in shared memory */
};

/* Kernels exist for these numbers of ranks at a time; more ranks are more blocks. Products in f32:
 * 16 and 64; gradients: 16, 32 and 64, in f32 16 and 64. */
#define GF_LORA_MOST 128
#define GF_LORA_GRAD_MOST 64

/* S and P: a block's rows, and its stages of copies under way (a stage is one line of every row and
 * every rank). Few ranks take few rows, so that more blocks are at work; then the block's warps
 * share the steps along K. */
#define GF_LORA_ROWS(ranks) ((ranks) <= 32 ? 32 : 64)
#define GF_LORA_STAGES(ranks) ((ranks) <= 16 ? 6 : (ranks) <= 32 ? 5 : 4)
#define GF_LORA_SHARED(ranks)                                                                      \
    (GF_LORA_STAGES(ranks) * (GF_LORA_ROWS(ranks) + (ranks)) * GF_LORA_LINE)

/* Gradients: a stage is 16 KiB of x or dy and a line for every rank. */
#define GF_LORA_GRAD_STAGES 4
#define GF_LORA_GRAD_STAGE(ranks) (GF_LORA_COLUMNS * GF_LORA_LINE + (ranks)*GF_LORA_LINE)
#define GF_LORA_GRAD_SHARED(ranks) (GF_LORA_GRAD_STAGES * GF_LORA_GRAD_STAGE(ranks))

/* P and dB in one pass over dy: kernels for 16 and 32 ranks of a layer. A block has one chunk of
 * tokens and a slice of a layer's columns. Slices are wide where that leaves enough blocks: P's
 * sums over each slice go through memory. In shared memory: a slice of B, and stages of 64 tokens
 * by 128 columns of dy with their lines of S. */
#define GF_LORA_BACK_MOST 32
#define GF_LORA_SLICE 512
#define GF_LORA_BACK_STAGES(ranks) ((ranks) <= 16 ? 4 : 3)
#define GF_LORA_BACK_SHARED(ranks, slice)                                                          \
    (GF_LORA_BACK_STAGES(ranks) * GF_LORA_GRAD_STAGE(ranks) + (slice) * (ranks)*2)

/* The update: P, A, and the sums in between. */
#define GF_LORA_UPDATE_SHARED                                                                      \
    (2 * GF_LORA_PATCH * GF_LORA_LINE + GF_LORA_PATCH * GF_LORA_PATCH_PITCH * 4)

typedef struct {
    uint64_t seed;
    uint32_t least; /* the smallest draw that is kept; 0: no dropout */
    float inverse;  /* 1 / (1 - p) */
} gf_lora_dropout;

/* Ranks [first, last) of the result come from columns [at, at + k) of the wide operand. */
typedef struct {
    int32_t first, last;
    int32_t at, k;
    uint32_t module; /* keys dropout */
} gf_lora_part;

/* S = scale * drop(x) A^T, or P = scale * dy B, of all layers of a group. */
typedef struct {
    const void *wide, *small; /* small: A's rows, or B's columns */
    void *tail, *copy;        /* copy: another place for the result's `rank` columns, or NULL */
    int64_t wide_stride, small_stride, tail_stride, copy_stride;
    void *work;               /* gf_row_header, for dropout; if `clear`, its peaks are zeroed */
    int32_t rows, rank, room; /* room: columns of the tail; those past `rank` become zero */
    int32_t parts, clear;
    gf_lora_part part[3];
    int32_t end[3]; /* ranks of the layers so far: column c has the scale of the first end > c */
    float scale[3];
    gf_lora_dropout drop;
} gf_lora_product;

/* Where the gradients of a layer go; NULL: it has none. */
typedef struct {
    int64_t *a, *b;
    int64_t a_stride, b_stride;
    int32_t first, last; /* its ranks */
} gf_lora_sums;

/* One gradient over all chunks: dA of one layer or of all that share x, or dB of one. */
typedef struct {
    int32_t tiles;       /* blocks that its columns take; 0: no such job */
    int32_t first, last; /* ranks: columns of P or S */
    int32_t at, width;   /* columns of x or dy */
    uint32_t module;     /* keys dropout */
    int32_t across;      /* dB: S and dy; else P and x */
} gf_lora_job;

typedef struct {
    const void *x, *dy, *p, *s;
    int64_t x_stride, dy_stride, p_stride, s_stride;
    void *work; /* gf_row_header */
    int64_t *magnitude, *nonfinite;
    gf_lora_job job[6];
    gf_lora_sums layer[3]; /* by ascending ranks; unused ones end where the last one does */
    float scale;           /* 2^shift */
    int32_t s_loose;       /* S's rows do not begin at multiples of 16 bytes */
    gf_lora_dropout drop;
} gf_lora_gradients;

/* Blocks' ranks begin at multiples of this, so that their copies are aligned. */
#define GF_LORA_RANK_STEP 8

/* P and dB: grads has the jobs of dB of every adapted layer, whose tiles are slices here. */
typedef struct {
    gf_lora_gradients grads;
    const void *b; /* B's columns, as in gf_lora_product */
    float *part; /* of each token: for every slice of every job, a sum for each of a job's ranks */
    int64_t b_stride, part_stride;
    int32_t slice; /* columns: at most GF_LORA_SLICE */
} gf_lora_back;

/* Ranks [first, last) of P from the sums of `slices` slices, of which `slice` is the first. */
typedef struct {
    int32_t first, last;
    int32_t slice, slices;
    float scale;
} gf_lora_slices;

typedef struct {
    const float *part;
    void *tail, *copy; /* as in gf_lora_product */
    const void *work;  /* gf_row_header */
    int64_t part_stride, tail_stride, copy_stride;
    int32_t rows, rank, room;
    int32_t each;            /* ranks that a kernel of P and dB is made for */
    gf_lora_slices layer[3]; /* unused: no slices, no ranks */
} gf_lora_partials;

/* dx += sum over the layers of mask / (1 - p) * (P A). */
typedef struct {
    void *dx;
    const void *p, *a;
    int64_t dx_stride, p_stride, a_stride;
    const void *work; /* gf_row_header */
    int32_t rows, k, parts;
    gf_lora_part part[3];
    gf_lora_dropout drop;
} gf_lora_update;

/* The masters of A and B to the group's tails. */
typedef struct {
    const float *a, *b;
    int64_t a_stride, b_stride;
    int32_t first, last; /* ranks */
    int32_t at, n;       /* rows of W */
} gf_lora_master;

typedef struct {
    void *w;
    int64_t stride;
    int32_t n, k, width;     /* rows of all W, columns before the tail, of those in A */
    int32_t room;            /* of the tail */
    gf_lora_master layer[3]; /* those without ranks are zero */
} gf_lora_copy;

#endif
