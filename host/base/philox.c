/* philox.c - Philox4x32-10 and the dropout mask that both backends implement. Contract:
 * graft/ops.h. Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3". */
#include "graft/ops.h"

void gf_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u; /* Weyl increments of the paper */
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

bool gf_dropout_keep(gf_dropout d, uint64_t example, int64_t pos, uint32_t module, int64_t c)
{
    /* The epoch goes into the key's high word, above any seed that people type: a seed's own high
     * bits are mixed in, so that 64-bit seeds count too. */
    const uint32_t key[2] = {(uint32_t)d.seed, (uint32_t)(d.seed >> 32) ^ (d.epoch * 0x9E3779B9u)};
    const uint32_t counter[4] = {(uint32_t)example, (uint32_t)(example >> 32) ^ (module << 8),
                                 (uint32_t)pos, (uint32_t)(c / 8)};
    uint32_t word[4];
    gf_philox(word, counter, key);
    const int64_t lane = c % 8;
    const uint32_t draw = (word[lane / 2] >> (16 * (lane % 2))) & 0xFFFFu;
    return (float)draw >= d.p * 65536.0f;
}
