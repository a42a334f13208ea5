/* attention_args.h - the one parameter of every attention kernel: what graft/ops.h names, and where
 * the row's lists are. A plain struct, shared by C and CUDA code. */
#ifndef GRAFT_KERNELS_CUDA_ATTENTION_ARGS_H
#define GRAFT_KERNELS_CUDA_ATTENTION_ARGS_H

#include "row.h"

typedef struct {
    const gf_row_header *work;
    /* Rows are 16-byte aligned but those of lse and delta. What a kernel does not use is NULL. */
    void *q, *k, *v, *o, *d_o, *dq, *dk, *dv;
    float *lse, *delta;
    /* Elements; GF_TILE rows are less than 2^31 bytes. */
    int32_t q_stride, k_stride, v_stride, o_stride, d_o_stride, dq_stride, dk_stride, dv_stride;
    int32_t lse_stride, delta_stride;
    int32_t heads;  /* H */
    int32_t share;  /* H / G */
    int32_t width;  /* K */
    int32_t window; /* INT32_MAX: none */
    /* dq and dk are turned back by these, columns i and i + pairs together; pairs is a multiple of
     * 4, 0: they are not. Rows are 16-byte aligned. */
    const float *cos, *sin;
    int32_t cos_stride, sin_stride, pairs;
    float scale, cap;
    /* In base 2, so that kernels need no registers for them: an exponential is 2^(unit * x), x the
     * product or, with a cap, outer * tanh(inner * product), and unit 1; without one outer is 0. */
    float unit, inner, outer;
} gf_attention_args;

#endif
