/* gemm_convert.c - rows of any storage type to f32 and bf16, vectorised by the compiler per
 * instruction set. Contract: cpu.h; block formats: tensor.h. */
#include <string.h>

#include "cpu.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

enum { QK = 32 }; /* elements of every quantised block */

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

static float half_at(const unsigned char *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
#if defined(__F16C__)
    return _cvtsh_ss(h);
#else
    return gf_f16_to_f32(h);
#endif
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

static void scale_i8(float *restrict out, const int8_t *restrict q, float d)
{
    for (int j = 0; j < QK; j++)
        out[j] = d * (float)q[j];
}

static void scale_add_i8(float *restrict out, const int8_t *restrict q, float d, float m)
{
    for (int j = 0; j < QK; j++)
        out[j] = d * (float)q[j] + m;
}

/* The low nibbles are the first half of the block, the high ones the second. */
static void nibbles(int8_t *restrict q, const unsigned char *restrict qs, int bias)
{
    for (int j = 0; j < QK / 2; j++) {
        q[j] = (int8_t)((qs[j] & 15) - bias);
        q[j + QK / 2] = (int8_t)((qs[j] >> 4) - bias);
    }
}

/* Nibbles with a fifth bit each, bit j of qh for element j. */
static void five_bits(int8_t *restrict q, const unsigned char *restrict qh,
                      const unsigned char *restrict qs, int bias)
{
    uint32_t high;
    memcpy(&high, qh, sizeof high);
    for (uint32_t j = 0; j < QK / 2; j++) {
        q[j] = (int8_t)((int)((qs[j] & 15u) | (high >> j & 1u) << 4) - bias);
        q[j + QK / 2] =
            (int8_t)((int)((uint32_t)(qs[j] >> 4) | (high >> (j + QK / 2) & 1u) << 4) - bias);
    }
}

static void block_to_f32(float *out, gf_dtype t, const unsigned char *p)
{
    int8_t q[QK];
    const float d = half_at(p);
    switch (t) {
    case GF_Q8_0:
        memcpy(q, p + 2, QK);
        scale_i8(out, q, d);
        break;
    case GF_Q4_0:
        nibbles(q, p + 2, 8);
        scale_i8(out, q, d);
        break;
    case GF_Q4_1:
        nibbles(q, p + 4, 0);
        scale_add_i8(out, q, d, half_at(p + 2));
        break;
    case GF_Q5_0:
        five_bits(q, p + 2, p + 6, 16);
        scale_i8(out, q, d);
        break;
    default: /* GF_Q5_1 */
        five_bits(q, p + 4, p + 8, 0);
        scale_add_i8(out, q, d, half_at(p + 2));
        break;
    }
}

void GF_CPU(to_f32)(float *out, gf_dtype t, const void *in, int64_t n)
{
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
    default: {
        const unsigned char *p = in;
        const int64_t size = gf_dtype_size(t);
        for (int64_t i = 0; i < n; i += QK, p += size)
            block_to_f32(out + i, t, p);
    }
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

void GF_CPU(to_bf16)(uint16_t *out, gf_dtype t, const void *in, int64_t n)
{
    enum { SLICE = 128 }; /* a whole number of blocks, small enough for L1 */
    float f[SLICE];
    if (t == GF_BF16) {
        memcpy(out, in, (size_t)n * sizeof *out);
        return;
    }
    if (t == GF_F32) {
        GF_CPU(from_f32)(GF_BF16, out, in, n);
        return;
    }
    for (int64_t i = 0; i < n; i += SLICE) {
        const int64_t len = n - i < SLICE ? n - i : SLICE;
        GF_CPU(to_f32)(f, t, (const char *)in + gf_row_bytes(t, i), len);
        GF_CPU(from_f32)(GF_BF16, out + i, f, len);
    }
}
