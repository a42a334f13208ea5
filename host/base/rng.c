/* rng.c - counter-based randomness. Contract: base/rng.h. */
#include "base/rng.h"
#include "graft/ops.h"

#include <assert.h>

/* Counter: block (59 bits) with the purpose above it, then sub. A purpose is never 0, which keeps
 * these counters apart from dropout's (kernels/philox.c) below 2^19 modules. */
#define PURPOSE_SHIFT 27

uint32_t gf_rng_u32(uint64_t seed, gf_purpose purpose, uint64_t sub, uint64_t i)
{
    assert(i >> 61 == 0);
    const uint64_t block = i / 4;
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)block,
                                 (uint32_t)(block >> 32) | (uint32_t)purpose << PURPOSE_SHIFT,
                                 (uint32_t)sub, (uint32_t)(sub >> 32)};
    uint32_t word[4];
    gf_philox(word, counter, key);
    return word[i % 4];
}

static uint64_t u64(uint64_t seed, gf_purpose purpose, uint64_t sub, uint64_t i)
{
    return (uint64_t)gf_rng_u32(seed, purpose, sub, 2 * i) << 32 |
           gf_rng_u32(seed, purpose, sub, 2 * i + 1);
}

float gf_rng_float(uint64_t seed, gf_purpose purpose, uint64_t sub, uint64_t i)
{
    return (float)(gf_rng_u32(seed, purpose, sub, i) >> 8) * 0x1p-24f;
}

double gf_rng_double(uint64_t seed, gf_purpose purpose, uint64_t sub, uint64_t i)
{
    return (double)(u64(seed, purpose, sub, i) >> 11) * 0x1p-53;
}

void gf_rng_permute(int64_t *out, int64_t n, uint64_t seed, gf_purpose purpose, uint64_t sub)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = i;
    uint64_t draw = 0;
    for (int64_t i = n - 1; i > 0; i--) {
        const uint64_t k = (uint64_t)i + 1;
        const uint64_t uneven = -k % k; /* 2^64 mod k: draws below it would favour some values */
        uint64_t r;
        do
            r = u64(seed, purpose, sub, draw++);
        while (r < uneven);
        const int64_t j = (int64_t)(r % k), swap = out[i];
        out[i] = out[j];
        out[j] = swap;
    }
}
