/* todo.c - twins that are not written yet: delete an op's line when its twin lands. Temporary. */
#include "cuda.h"

#define TODO(op, ...)                                                                              \
    gf_status gf_cuda_##op(gf_backend *be, __VA_ARGS__)                                            \
    {                                                                                              \
        return gf_fail(&be->err, GF_EMISSING, #op " on CUDA: not yet");                            \
    }
#pragma GCC diagnostic ignored "-Wunused-parameter"
#define T gf_tensor
