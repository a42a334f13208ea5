/* args.h - what kernels that work row by row take as arguments. Plain structs, shared by C and CUDA
 * code. */
#ifndef GRAFT_KERNELS_CUDA_ARGS_H
#define GRAFT_KERNELS_CUDA_ARGS_H

#include <stdint.h>

typedef struct {
    void *data;      /* the first row; NULL: no tensor */
    int64_t stride;  /* elements from row to row */
    int32_t is_bf16; /* else f32 */
    int32_t unused;
} gf_arg; /* a tensor */

/* What adamw multiplies with (kernels/adamw.c). */
typedef struct {
    double scale;
    float keep, w1, beta2, w2, step, root, eps;
    int32_t wide; /* pairs of elements are aligned */
} gf_adamw_factors;

/* What adamw8 multiplies with (kernels/adamw8.c). */
typedef struct {
    double scale;
    float keep, beta1, w1, beta2, w2, step, eps;
    int32_t wide; /* pairs of elements are aligned */
} gf_adamw8_factors;

/* What lion multiplies with (kernels/lion.c). */
typedef struct {
    double scale;
    float keep, beta1, w1, beta2, w2, lr;
    int32_t wide; /* pairs of elements are aligned */
} gf_lion_factors;

/* Elements of a gradient whose squares one block adds up (kernels/reduce.cu). */
#define GF_SQUARES 16384

#endif
