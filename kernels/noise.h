/* noise.h - NEFTune's draws, shared by C and CUDA code. A token's channels 4 i to 4 i + 3 take the
 * words of Philox4x32-10 under the keys of dropout (gf_dropout_keep, graft/ops.h), with i in place
 * of c / 8 and a module that no layer has. */
#ifndef GRAFT_KERNELS_NOISE_H
#define GRAFT_KERNELS_NOISE_H

#include <stdint.h>

#ifdef __CUDACC__
#define GF_NOISE static __device__ __forceinline__
#else
#define GF_NOISE static inline
#endif

#define GF_NOISE_MODULE 0xFFFFFFu /* 24 bits, as many as a counter has for it */

/* Uniform in (-1, 1): an odd multiple of 2^-24, exact. */
GF_NOISE float gf_noise_of(uint32_t word)
{
    return (float)((int32_t)(word >> 8) * 2 + 1 - (1 << 24)) * 0x1p-24f;
}

#endif
