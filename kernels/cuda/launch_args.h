/* launch_args.h - tensors as arguments of kernels that work row by row. */
#ifndef GRAFT_KERNELS_CUDA_LAUNCH_ARGS_H
#define GRAFT_KERNELS_CUDA_LAUNCH_ARGS_H

#include "args.h"
#include "cuda.h"

static inline gf_arg gf_arg_of(gf_tensor t)
{
    return (gf_arg){.data = t.data, .stride = t.stride, .is_bf16 = t.dtype == GF_BF16};
}

/* Whether units of `unit` elements, from a row's start on, are accesses of their own size in every
 * row. No tensor: true. */
static inline bool gf_arg_aligned(gf_tensor t, int64_t unit)
{
    const uintptr_t bytes = (uintptr_t)(unit * gf_dtype_size(t.dtype));
    return (uintptr_t)t.data % bytes == 0 && (t.rank < 2 || t.dim[0] <= 1 || t.stride % unit == 0);
}

#endif
