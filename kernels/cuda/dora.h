/* dora.h - what DoRA's kernels are told (dora.cu). Plain structs, shared by C and CUDA code; each
 * is a kernel's only parameter. */
#ifndef GRAFT_KERNELS_CUDA_DORA_H
#define GRAFT_KERNELS_CUDA_DORA_H

#include "args.h"
#include "row.h"

enum {
    GF_DORA_THREADS = 128, /* as many as lora_sums.cuh counts with */
    GF_DORA_ROWS = 8,      /* rows of W that a block of the norms reads A for */
    GF_DORA_TOKENS = 16,   /* rows that a thread of the scaling goes through */
    GF_DORA_UNIT = 4,      /* columns of a thread there */
    GF_DORA_COLUMNS = 64,  /* a block's columns of m's gradient, two a lane */
    GF_DORA_TURNS = 4,     /* warps that take the tokens of a chunk in turn */
};

/* The lengths of a layer's rows of W + scale B A. */
typedef struct {
    gf_arg w;
    const float *a, *b, *magnitude; /* magnitude NULL: norm and factor are 1 */
    float *norm, *factor;
    int64_t a_stride, b_stride;
    float scale;
    int32_t n, k, rank;
    int32_t last; /* rows past n, up to this one, are padding */
} gf_dora_norms_args;

/* y = x * factor + bias + residual; bias and residual: data NULL if there is none. */
typedef struct {
    gf_arg y, x, bias, residual;
    const float *factor;
    int64_t rows;
    int32_t width;
    int32_t wide; /* units of GF_DORA_UNIT columns are aligned everywhere */
} gf_dora_scale_args;

/* dm += sum_t dy z / norm. */
typedef struct {
    gf_arg dy, z;
    const float *norm;
    void *work; /* gf_row_header */
    int64_t *magnitude, *nonfinite;
    int64_t *dm[3]; /* of each layer; NULL: none */
    int32_t at[3], n[3];
    int32_t width;
    float scale; /* 2^shift */
} gf_dora_gradient_args;

#endif
