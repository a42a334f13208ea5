/* dtype.c - element types and their conversion. Contract: graft/tensor.h. Block layouts:
 * llama.cpp's ggml-common.h (FORMATS 6.2). */
#include "blocks.h"
#include "quantise.h"

#include <assert.h>
#include <string.h>

static const struct {
    const char *name;
    int64_t block, size;
} info[GF_DTYPES] = {
#define X(name, text, elements, bytes) {text, elements, bytes},
    GF_DTYPE_LIST(X)
#undef X
};

const char *gf_dtype_name(gf_dtype t)
{
    return (unsigned)t < GF_DTYPES ? info[t].name : "?";
}

int64_t gf_dtype_block(gf_dtype t)
{
    assert((unsigned)t < GF_DTYPES);
    return info[t].block;
}

int64_t gf_dtype_size(gf_dtype t)
{
    assert((unsigned)t < GF_DTYPES);
    return info[t].size;
}

bool gf_dtype_quantised(gf_dtype t)
{
    return gf_dtype_block(t) > 1;
}

static uint32_t bits_of(float x)
{
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

static float float_of(uint32_t b)
{
    float x;
    memcpy(&x, &b, sizeof x);
    return x;
}

float gf_bf16_to_f32(uint16_t x)
{
    return float_of((uint32_t)x << 16);
}

uint16_t gf_f32_to_bf16(float x)
{
    const uint32_t b = bits_of(x);
    if ((b & 0x7FFFFFFFu) > 0x7F800000u)
        return (uint16_t)((b >> 16) | 0x40u); /* a quiet NaN: rounding could carry into Inf */
    return (uint16_t)((b + 0x7FFFu + ((b >> 16) & 1u)) >> 16);
}

float gf_f16_to_f32(uint16_t x)
{
    const uint32_t sign = (uint32_t)(x & 0x8000u) << 16, rest = x & 0x7FFFu;
    if (rest >= 0x7C00u) /* Inf and NaN; a NaN becomes quiet, as the instruction does it */
        return float_of(sign | 0x7F800000u | rest << 13 | (rest > 0x7C00u ? 0x400000u : 0u));
    /* The bits shifted into an f32's place are the value times 2^-112, also for denormals. */
    return float_of(sign | bits_of(float_of(rest << 13) * 0x1p112f));
}

uint16_t gf_f32_to_f16(float x)
{
    const uint32_t b = bits_of(x), sign = (b >> 16) & 0x8000u, a = b & 0x7FFFFFFFu;
    if (a > 0x7F800000u)
        return (uint16_t)(sign | 0x7E00u | ((a >> 13) & 0x3FFu));
    if (a >= 0x477FF000u) /* 65520 and above round to Inf */
        return (uint16_t)(sign | 0x7C00u);
    if (a < 0x38800000u) {
        /* below 2^-14 a step is 2^-24: adding 0.5, whose ulp that is, rounds to it */
        return (uint16_t)(sign | (bits_of(float_of(a) + 0.5f) - bits_of(0.5f)));
    }
    const uint32_t rounded = a + 0xFFFu + ((a >> 13) & 1u);
    return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13)); /* 112 << 23: the biases' distance */
}

static void block_q8_0(float *out, const uint8_t *b)
{
    const float d = half_at(b);
    for (int i = 0; i < 32; i++)
        out[i] = d * (float)(int8_t)b[2 + i];
}

static void block_q4_0(float *out, const uint8_t *b)
{
    const float d = half_at(b);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)((b[2 + i] & 15) - 8);
        out[i + 16] = d * (float)((b[2 + i] >> 4) - 8);
    }
}

static void block_q4_1(float *out, const uint8_t *b)
{
    const float d = half_at(b), m = half_at(b + 2);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)(b[4 + i] & 15) + m;
        out[i + 16] = d * (float)(b[4 + i] >> 4) + m;
    }
}

/* The 5-bit values of a block: nibbles in qs, fifth bits in qh. */
static void fives(int q[32], const uint8_t *qh, const uint8_t *qs)
{
    uint32_t high;
    memcpy(&high, qh, sizeof high);
    for (int i = 0; i < 16; i++) {
        q[i] = (qs[i] & 15) | (int)((high >> i) & 1u) << 4;
        q[i + 16] = (qs[i] >> 4) | (int)((high >> (i + 16)) & 1u) << 4;
    }
}

static void block_q5_0(float *out, const uint8_t *b)
{
    int q[32];
    const float d = half_at(b);
    fives(q, b + 2, b + 6);
    for (int i = 0; i < 32; i++)
        out[i] = d * (float)(q[i] - 16);
}

static void block_q5_1(float *out, const uint8_t *b)
{
    int q[32];
    const float d = half_at(b), m = half_at(b + 2);
    fives(q, b + 4, b + 8);
    for (int i = 0; i < 32; i++)
        out[i] = d * (float)q[i] + m;
}

static void blocks_to_f32(float *out, gf_dtype t, const uint8_t *in, int64_t n)
{
    assert(n % gf_dtype_block(t) == 0);
    if (gf_dtype_block(t) == GF_SUPER) {
        super_to_f32(out, t, in, 0, n);
        return;
    }
    const int64_t size = gf_dtype_size(t);
    for (int64_t i = 0; i < n; i += GF_LINE, in += size, out += GF_LINE) {
        switch (t) {
        case GF_Q8_0:
            block_q8_0(out, in);
            break;
        case GF_Q4_0:
            block_q4_0(out, in);
            break;
        case GF_Q4_1:
            block_q4_1(out, in);
            break;
        case GF_Q5_0:
            block_q5_0(out, in);
            break;
        case GF_Q5_1:
            block_q5_1(out, in);
            break;
        case GF_IQ4_NL:
            iq4_line(out, in + 2, half_at(in));
            break;
        default:
            assert(0 && "not a block type");
        }
    }
}

void gf_to_f32(float *out, gf_dtype t, const void *in, int64_t n)
{
    switch (t) {
    case GF_F32:
        memmove(out, in, (size_t)n * sizeof *out);
        break;
    case GF_F16:
        for (int64_t i = 0; i < n; i++)
            out[i] = gf_f16_to_f32(((const uint16_t *)in)[i]);
        break;
    case GF_BF16:
        for (int64_t i = 0; i < n; i++)
            out[i] = gf_bf16_to_f32(((const uint16_t *)in)[i]);
        break;
    case GF_I32:
        for (int64_t i = 0; i < n; i++)
            out[i] = (float)((const int32_t *)in)[i];
        break;
    case GF_I64:
        for (int64_t i = 0; i < n; i++)
            out[i] = (float)((const int64_t *)in)[i];
        break;
    case GF_U8:
        for (int64_t i = 0; i < n; i++)
            out[i] = (float)((const uint8_t *)in)[i];
        break;
    default:
        blocks_to_f32(out, t, in, n);
    }
}

void gf_from_f32(gf_dtype t, void *out, const float *in, int64_t n)
{
    switch (t) {
    case GF_F32:
        memmove(out, in, (size_t)n * sizeof *in);
        break;
    case GF_F16:
        for (int64_t i = 0; i < n; i++)
            ((uint16_t *)out)[i] = gf_f32_to_f16(in[i]);
        break;
    case GF_BF16:
        for (int64_t i = 0; i < n; i++)
            ((uint16_t *)out)[i] = gf_f32_to_bf16(in[i]);
        break;
    default:
        gf_quantise(t, out, in, n);
    }
}

bool gf_dtype_writable(gf_dtype t)
{
    return t == GF_F32 || t == GF_F16 || t == GF_BF16 || t == GF_Q8_0 || t == GF_Q4_0 ||
           t == GF_Q4_K;
}
