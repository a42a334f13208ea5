/* linear.h - what the linear layers' forward and gradients share. */
#ifndef GRAFT_KERNELS_LINEAR_H
#define GRAFT_KERNELS_LINEAR_H

#include "gemm.h"

static inline int64_t gf_linear_rank(const gf_linear *lin)
{
    return gf_is(lin->a) ? lin->a.dim[0] : 0;
}

/* One gradient: out += fixed point of sum_t tail[t,:]^T wide[t,:], chunk by chunk.
 * out is [r, width], or [width, r] if `across`. */
typedef struct {
    gf_operand tail; /* [N,r] P or S */
    int64_t r;
    gf_operand wide;     /* [N,width] x or dy */
    const gf_mask *mask; /* dropout of wide, or NULL */
    int64_t width;
    gf_tensor out; /* i64 */
    bool across;
} gf_linear_grad;

typedef struct {
    gf_pool *pool;
    const gf_spans *row;
    gf_fixed *fixed;
    int count;
    gf_linear_grad of[6]; /* dA and dB of three layers; or of one, and its dW */
} gf_linear_grads;

#ifdef GF_ISA
/* Every gradient of a group: f32 sums over chunks of GF_CHUNK tokens counted from each span's
 * start, in ascending token order; rounded half to even at 2^fixed->shift. Values that are not
 * finite are counted and left out; those beyond 2^62 in fixed point are held there (magnitude
 * tells). */
void GF_CPU(linear_grads)(const gf_linear_grads *job);
#endif

#endif
