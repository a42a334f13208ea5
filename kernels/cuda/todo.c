/* todo.c - twins that are not written yet: delete an op's line when its twin lands. Temporary. */
#include "cuda.h"

#define TODO(op, ...)                                                                              \
    gf_status gf_cuda_##op(gf_backend *be, __VA_ARGS__)                                            \
    {                                                                                              \
        return gf_fail(&be->err, GF_EMISSING, #op " on CUDA: not yet");                            \
    }
#pragma GCC diagnostic ignored "-Wunused-parameter"
#define T gf_tensor
TODO(group_linear_fwd, T y, T s, T x, T residual, const gf_group *g, const gf_spans *row, gf_dropout drop)
TODO(group_linear_bwd, T dx, T p, T dy, T x, T s, const gf_group *g, const gf_spans *row, gf_dropout drop, gf_fixed *fixed)
TODO(attention_fwd, T o, T lse, T q, T k, T v, const gf_spans *row, float scale, int64_t window, float cap)
TODO(attention_bwd, T dq, T dk, T dv, T delta, T d_o, T o, T lse, T q, T k, T v, const gf_spans *row, float scale, int64_t window, float cap)
TODO(group_tails, const gf_group *g)
