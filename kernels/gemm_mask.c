/* gemm_mask.c - dropout of whole rows: gf_dropout_keep, sixteen draws of eight channels at a time.
 * Contract: gemm.h; the definition: philox.c. */
#include "gemm.h"

enum { LANES = 16 }; /* counters in flight: one AVX-512 register of 32-bit words */

/* Philox4x32-10 on LANES counters that differ in their last word only. */
static void philox_lanes(uint32_t out[4][LANES], const uint32_t counter[3], uint32_t last,
                         const uint32_t key[2])
{
    uint32_t c0[LANES], c1[LANES], c2[LANES], c3[LANES];
    uint32_t k0 = key[0], k1 = key[1];
    for (uint32_t l = 0; l < LANES; l++) {
        c0[l] = counter[0];
        c1[l] = counter[1];
        c2[l] = counter[2];
        c3[l] = last + l;
    }
    for (int round = 0; round < 10; round++) {
        for (int l = 0; l < LANES; l++) {
            const uint64_t p0 = (uint64_t)0xD2511F53u * c0[l], p1 = (uint64_t)0xCD9E8D57u * c2[l];
            c0[l] = (uint32_t)(p1 >> 32) ^ c1[l] ^ k0;
            c2[l] = (uint32_t)(p0 >> 32) ^ c3[l] ^ k1;
            c1[l] = (uint32_t)p1;
            c3[l] = (uint32_t)p0;
        }
        k0 += 0x9E3779B9u; /* Weyl increments of the paper */
        k1 += 0xBB67AE85u;
    }
    for (int l = 0; l < LANES; l++) {
        out[0][l] = c0[l];
        out[1][l] = c1[l];
        out[2][l] = c2[l];
        out[3][l] = c3[l];
    }
}

/* The span that holds token t: the spans cover the row in order. */
static const gf_span *span_of(const gf_spans *row, int64_t t)
{
    int low = 0, high = row->count - 1;
    while (low < high) {
        const int mid = low + (high - low + 1) / 2;
        if (row->span[mid].start <= t)
            low = mid;
        else
            high = mid - 1;
    }
    return &row->span[low];
}

/* The smallest 16-bit draw that is kept: draw >= p * 65536 as the definition compares them. */
static uint32_t first_kept(float p)
{
    const float limit = p * 65536.0f;
    uint32_t draw = (uint32_t)(limit < 0 ? 0 : limit);
    if ((float)draw < limit)
        draw++;
    return draw;
}

void GF_CPU(mask_bits)(uint8_t *bits, const gf_mask *m, int64_t t, int64_t c0, int64_t n)
{
    const gf_span *s = span_of(m->row, t);
    const int64_t pos = t - s->start + (s->kv_len - s->len);
    const gf_dropout d = m->drop;
    const uint32_t key[2] = {(uint32_t)d.seed, (uint32_t)(d.seed >> 32) ^ (d.epoch * 0x9E3779B9u)};
    const uint32_t counter[3] = {(uint32_t)s->example,
                                 (uint32_t)(s->example >> 32) ^ (m->module << 8), (uint32_t)pos};
    const uint32_t limit = first_kept(d.p);
    const int64_t bytes = (n + 7) / 8;
    for (int64_t b = 0; b < bytes; b += LANES) {
        uint32_t word[4][LANES];
        uint32_t byte[LANES] = {0};
        philox_lanes(word, counter, (uint32_t)(c0 / 8 + b), key);
        for (uint32_t j = 0; j < 4; j++)
            for (int l = 0; l < LANES; l++) {
                byte[l] |= (uint32_t)((word[j][l] & 0xFFFFu) >= limit) << (2 * j);
                byte[l] |= (uint32_t)((word[j][l] >> 16) >= limit) << (2 * j + 1);
            }
        const int64_t len = bytes - b < LANES ? bytes - b : LANES;
        for (int64_t l = 0; l < len; l++)
            bits[b + l] = (uint8_t)byte[l];
    }
}

void GF_CPU(mask_row)(float *x, const gf_mask *m, int64_t t, int64_t c0, int64_t n)
{
    enum { SLICE = 8 * LANES };
    const float inverse = 1.0f / (1.0f - m->drop.p);
    for (int64_t i = 0; i < n; i += SLICE) {
        uint8_t bits[LANES];
        const int64_t len = n - i < SLICE ? n - i : SLICE;
        GF_CPU(mask_bits)(bits, m, t, c0 + i, len);
        for (int64_t j = 0; j < len; j++)
            x[i + j] = bits[j / 8] >> (j % 8) & 1 ? x[i + j] * inverse : 0.0f;
    }
}
