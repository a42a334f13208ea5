/* gemm_convert.c - rows of any storage type to f32 and bf16, vectorised by the compiler per
 * instruction set. Contract: cpu.h; block formats: tensor.h. */
#include <string.h>

#include "blocks.h"
#include "cpu.h"

enum { QK = GF_LINE }; /* elements of the smaller blocks */

static inline uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* Half to even; a NaN keeps its sign and upper payload and stays quiet. */
static inline uint16_t round_bf16(float x)
{
    const uint32_t u = bits_of(x);
    const uint32_t rounded = (u + 0x7FFFu + ((u >> 16) & 1u)) >> 16;
    const uint32_t quiet = (u >> 16) | 0x40u;
    return (uint16_t)((u & 0x7FFFFFFFu) > 0x7F800000u ? quiet : rounded);
}

static void halves_to_f32(float *out, const uint16_t *in, int64_t n)
{
    int64_t i = 0;
#if defined(__F16C__)
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(in + i))));
#endif
    for (; i < n; i++)
        out[i] = gf_f16_to_f32(in[i]);
}

/* ---- quantised blocks: 32 numbers of 8 bits, then d * q (+ m) ---------------------- */

#if defined(__AVX2__)
typedef __m256i numbers;

/* The low nibbles are the first half of the block, the high ones the second. */
static inline numbers nibbles(const unsigned char *qs)
{
    const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)qs);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(x, 4), x), _mm256_set1_epi8(15));
}

/* Bit j of qh is worth 16 in number j. */
static inline numbers fifth_bits(const unsigned char *qh, numbers q)
{
    int32_t high;
    memcpy(&high, qh, sizeof high);
    const __m256i byte = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2,
                                          2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x((int64_t)0x8040201008040201u);
    const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32(high), byte);
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);
    return _mm256_or_si256(q, _mm256_and_si256(set, _mm256_set1_epi8(16)));
}

static inline numbers minus(numbers q, int bias)
{
    return _mm256_sub_epi8(q, _mm256_set1_epi8((char)bias));
}

static inline numbers bytes(const unsigned char *qs)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)qs);
}

static inline void scale(float *out, numbers q, float d, float m, bool add)
{
#if defined(__AVX512F__)
    for (int h = 0; h < 2; h++) {
        const __m128i half = h ? _mm256_extracti128_si256(q, 1) : _mm256_castsi256_si128(q);
        __m512 v = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(half));
        v = _mm512_mul_ps(v, _mm512_set1_ps(d));
        if (add)
            v = _mm512_add_ps(v, _mm512_set1_ps(m));
        _mm512_storeu_ps(out + 16 * h, v);
    }
#else
    for (int h = 0; h < 2; h++) {
        __m128i half = h ? _mm256_extracti128_si256(q, 1) : _mm256_castsi256_si128(q);
        for (int e = 0; e < 2; e++, half = _mm_srli_si128(half, 8)) {
            __m256 v = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(half));
            v = _mm256_mul_ps(v, _mm256_set1_ps(d));
            if (add)
                v = _mm256_add_ps(v, _mm256_set1_ps(m));
            _mm256_storeu_ps(out + 16 * h + 8 * e, v);
        }
    }
#endif
}
#else
typedef struct {
    int8_t q[QK];
} numbers;

static inline numbers nibbles(const unsigned char *qs)
{
    numbers n;
    for (int j = 0; j < QK / 2; j++) {
        n.q[j] = (int8_t)(qs[j] & 15);
        n.q[j + QK / 2] = (int8_t)(qs[j] >> 4);
    }
    return n;
}

static inline numbers fifth_bits(const unsigned char *qh, numbers n)
{
    uint32_t high;
    memcpy(&high, qh, sizeof high);
    for (int j = 0; j < QK; j++)
        n.q[j] = (int8_t)(n.q[j] | (int)(high >> j & 1u) << 4);
    return n;
}

static inline numbers minus(numbers n, int bias)
{
    for (int j = 0; j < QK; j++)
        n.q[j] = (int8_t)(n.q[j] - bias);
    return n;
}

static inline numbers bytes(const unsigned char *qs)
{
    numbers n;
    memcpy(n.q, qs, QK);
    return n;
}

static inline void scale(float *out, numbers n, float d, float m, bool add)
{
    for (int j = 0; j < QK; j++)
        out[j] = add ? d * (float)n.q[j] + m : d * (float)n.q[j];
}
#endif

static void blocks_to_f32(float *out, gf_dtype t, const unsigned char *p, int64_t n)
{
    const float *const end = out + n;
    switch (t) {
    case GF_Q8_0:
        for (; out < end; out += QK, p += 34)
            scale(out, bytes(p + 2), half_at(p), 0, false);
        break;
    case GF_Q4_0:
        for (; out < end; out += QK, p += 18)
            scale(out, minus(nibbles(p + 2), 8), half_at(p), 0, false);
        break;
    case GF_Q4_1:
        for (; out < end; out += QK, p += 20)
            scale(out, nibbles(p + 4), half_at(p), half_at(p + 2), true);
        break;
    case GF_Q5_0:
        for (; out < end; out += QK, p += 22)
            scale(out, minus(fifth_bits(p + 2, nibbles(p + 6)), 16), half_at(p), 0, false);
        break;
    case GF_IQ4_NL:
        for (; out < end; out += QK, p += 18)
            iq4_line(out, p + 2, half_at(p));
        break;
    default: /* GF_Q5_1 */
        for (; out < end; out += QK, p += 24)
            scale(out, fifth_bits(p + 4, nibbles(p + 8)), half_at(p), half_at(p + 2), true);
        break;
    }
}

void GF_CPU(to_f32)(float *out, gf_dtype t, const void *row, int64_t from, int64_t n)
{
    if (gf_dtype_block(t) == GF_SUPER) {
        super_to_f32(out, t, row, from, n);
        return;
    }
    const void *in = (const char *)row + gf_row_bytes(t, from);
    switch (t) {
    case GF_F32:
        memcpy(out, in, (size_t)n * sizeof *out);
        return;
    case GF_F16:
        halves_to_f32(out, in, n);
        return;
    case GF_BF16: {
        const uint16_t *restrict x = in;
        for (int64_t i = 0; i < n; i++)
            out[i] = float_of((uint32_t)x[i] << 16);
        return;
    }
    default:
        blocks_to_f32(out, t, in, n);
    }
}

void GF_CPU(from_f32)(gf_dtype t, void *out, const float *in, int64_t n)
{
    if (t == GF_F32) {
        memmove(out, in, (size_t)n * sizeof *in);
        return;
    }
    uint16_t *restrict y = out;
    const float *restrict x = in;
    for (int64_t i = 0; i < n; i++)
        y[i] = round_bf16(x[i]);
}

void GF_CPU(to_bf16)(uint16_t *out, gf_dtype t, const void *row, int64_t from, int64_t n)
{
    enum { SLICE = 128 }; /* a whole number of lines, small enough for L1 */
    float f[SLICE];
    if (t == GF_BF16) {
        memcpy(out, (const uint16_t *)row + from, (size_t)n * sizeof *out);
        return;
    }
    if (t == GF_F32) {
        GF_CPU(from_f32)(GF_BF16, out, (const float *)row + from, n);
        return;
    }
    for (int64_t i = 0; i < n; i += SLICE) {
        const int64_t len = n - i < SLICE ? n - i : SLICE;
        GF_CPU(to_f32)(f, t, row, from + i, len);
        GF_CPU(from_f32)(GF_BF16, out + i, f, len);
    }
}
