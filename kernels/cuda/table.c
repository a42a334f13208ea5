/* table.c - CUDA's table of ops. Contract: graft/ops.h. */
#include "cuda.h"

const gf_ops gf_cuda_ops = {.name = "cuda",
#define X(op) .op = gf_cuda_##op,
                            GF_OPS(X)
#undef X
};
