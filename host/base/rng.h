/* rng.h - randomness as a function of (seed, purpose, index), never of call order, so that resume
 * and any number of ranks see the same numbers. Philox4x32-10 from graft/ops.h. */
#ifndef GRAFT_HOST_BASE_RNG_H
#define GRAFT_HOST_BASE_RNG_H

#include "graft/base.h"

typedef enum {
    GF_RNG_SHUFFLE = 1,
    GF_RNG_INIT = 2,
    GF_RNG_SAMPLE = 3,
    GF_RNG_SPLIT = 4,
    GF_RNG_SHARE = 9,
    GF_RNG_RESAMPLE = 12
} gf_purpose;

/* The i-th 32-bit word of the stream (seed, purpose, sub). */
uint32_t gf_rng_u32(uint64_t seed, gf_purpose purpose, uint64_t sub, uint64_t i);
/* Uniform in [0,1): 24 bits (f32-exact), or 53 bits from words 2i and 2i+1. */
float gf_rng_float(uint64_t seed, gf_purpose purpose, uint64_t sub, uint64_t i);
double gf_rng_double(uint64_t seed, gf_purpose purpose, uint64_t sub, uint64_t i);
/* Fisher-Yates permutation of 0..n-1, unbiased, keyed by (seed, purpose, sub). */
void gf_rng_permute(int64_t *out, int64_t n, uint64_t seed, gf_purpose purpose, uint64_t sub);

#endif
