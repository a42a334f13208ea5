/* gemm_mask.c - dropout of whole rows: gf_dropout_keep, sixteen draws of eight channels at a time.
 * Contract: gemm.h; the definition: philox.c. */
#include "gemm.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

enum { LANES = 16 }; /* counters in flight: one AVX-512 register of 32-bit words */

#if defined(__AVX512F__)
typedef __m512i words;
enum { WIDTH = 16 };
static inline words set1(uint32_t x)
{
    return _mm512_set1_epi32((int32_t)x);
}
static inline words both(words a, words b)
{
    return _mm512_xor_si512(a, b);
}
static inline words count_up(uint32_t first)
{
    return _mm512_add_epi32(
        set1(first), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}
/* Both halves of the 64-bit products with m: even and odd lanes apart. */
static inline words multiply(words a, words m, words *high)
{
    const words even = _mm512_mul_epu32(a, m), odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), m);
    *high = _mm512_mask_mov_epi32(_mm512_srli_epi64(even, 32), 0xAAAA, odd);
    return _mm512_mask_mov_epi32(even, 0xAAAA, _mm512_slli_epi64(odd, 32));
}
static inline void put(uint32_t *out, words a)
{
    _mm512_storeu_si512(out, a);
}
#elif defined(__AVX2__)
typedef __m256i words;
enum { WIDTH = 8 };
static inline words set1(uint32_t x)
{
    return _mm256_set1_epi32((int32_t)x);
}
static inline words both(words a, words b)
{
    return _mm256_xor_si256(a, b);
}
static inline words count_up(uint32_t first)
{
    return _mm256_add_epi32(set1(first), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline words multiply(words a, words m, words *high)
{
    const words even = _mm256_mul_epu32(a, m), odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), m);
    *high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
    return _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
}
static inline void put(uint32_t *out, words a)
{
    _mm256_storeu_si256((__m256i *)(void *)out, a);
}
#else
typedef uint32_t words;
enum { WIDTH = 1 };
static inline words set1(uint32_t x)
{
    return x;
}
static inline words both(words a, words b)
{
    return a ^ b;
}
static inline words count_up(uint32_t first)
{
    return first;
}
static inline words multiply(words a, words m, words *high)
{
    const uint64_t p = (uint64_t)a * m;
    *high = (uint32_t)(p >> 32);
    return (uint32_t)p;
}
static inline void put(uint32_t *out, words a)
{
    *out = a;
}
#endif

/* Philox4x32-10 on LANES counters that differ in their last word only. */
static void philox_lanes(uint32_t out[4][LANES], const uint32_t counter[3], uint32_t last,
                         const uint32_t key[2])
{
    for (uint32_t l = 0; l < LANES; l += WIDTH) {
        words c0 = set1(counter[0]), c1 = set1(counter[1]), c2 = set1(counter[2]);
        words c3 = count_up(last + l);
        uint32_t k0 = key[0], k1 = key[1];
        for (int round = 0; round < 10; round++) {
            words high0, high1;
            const words low0 = multiply(c0, set1(0xD2511F53u), &high0);
            const words low1 = multiply(c2, set1(0xCD9E8D57u), &high1);
            c0 = both(both(high1, c1), set1(k0));
            c2 = both(both(high0, c3), set1(k1));
            c1 = low1;
            c3 = low0;
            k0 += 0x9E3779B9u; /* Weyl increments of the paper */
            k1 += 0xBB67AE85u;
        }
        put(out[0] + l, c0);
        put(out[1] + l, c1);
        put(out[2] + l, c2);
        put(out[3] + l, c3);
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

void GF_CPU(mask_apply)(float *x, const uint8_t *bits, float inverse, int64_t n)
{
    int64_t i = 0;
#if defined(__AVX512F__)
    for (; i + 16 <= n; i += 16) {
        const __mmask16 keep = (__mmask16)(bits[i / 8] | bits[i / 8 + 1] << 8);
        _mm512_storeu_ps(
            x + i, _mm512_maskz_mul_ps(keep, _mm512_loadu_ps(x + i), _mm512_set1_ps(inverse)));
    }
#elif defined(__AVX2__)
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    for (; i + 8 <= n; i += 8) {
        const __m256i keep =
            _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(bits[i / 8]), bit), bit);
        const __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(inverse));
        _mm256_storeu_ps(x + i, _mm256_and_ps(v, _mm256_castsi256_ps(keep)));
    }
#endif
    for (; i < n; i++)
        x[i] = bits[i / 8] >> (i % 8) & 1 ? x[i] * inverse : 0.0f;
}

void GF_CPU(mask_row)(float *x, const gf_mask *m, int64_t t, int64_t c0, int64_t n)
{
    enum { SLICE = 8 * LANES };
    const float inverse = 1.0f / (1.0f - m->drop.p);
    for (int64_t i = 0; i < n; i += SLICE) {
        uint8_t bits[LANES];
        const int64_t len = n - i < SLICE ? n - i : SLICE;
        GF_CPU(mask_bits)(bits, m, t, c0 + i, len);
        GF_CPU(mask_apply)(x + i, bits, inverse, len);
    }
}
