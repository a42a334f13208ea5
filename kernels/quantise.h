/* quantise.h - f32 into the blocks of GGUF that graft writes: part of dtype.c's gf_from_f32. */
#ifndef GRAFT_KERNELS_QUANTISE_H
#define GRAFT_KERNELS_QUANTISE_H

#include "graft/tensor.h"

/* n values, a multiple of the block, into q8_0, q4_0 or q4_k. */
void gf_quantise(gf_dtype t, void *out, const float *in, int64_t n);

#endif
