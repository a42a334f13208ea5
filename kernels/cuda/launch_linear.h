/* launch_linear.h - P and dB in one pass over dy (lora_back.cu): when that is done, and with what.
 * Part of launch_linear.c. */
#ifndef GRAFT_KERNELS_CUDA_LAUNCH_LINEAR_H
#define GRAFT_KERNELS_CUDA_LAUNCH_LINEAR_H

#include "cuda.h"
#include "lora.h"

/* How a group's dy is cut. each 0: P and dB are made one by one, by lora.cu and lora_grad.cu. */
typedef struct {
    int64_t each;   /* ranks of the kernel */
    int64_t slice;  /* columns */
    int64_t slices; /* of all layers */
} gf_linear_cut;
gf_linear_cut gf_cuda_linear_cut(gf_tensor dx, gf_tensor dy, gf_tensor s, const gf_group *g);

/* `back` has what concerns dy, S, B and dB, and the jobs; `p` what the result needs (its tail,
 * copy, rows and layers). dx holds the sums of the slices in between: it is written afterwards. */
gf_status gf_cuda_linear_back(gf_backend *be, gf_lora_back *back, const gf_lora_product *p,
                              gf_tensor dx, gf_linear_cut cut, unsigned chunks);

#endif
