/* blocks.h - lines of 32 values of GGUF's larger blocks, for dtype.c and for the instruction sets'
 * gemm_convert.c, whose compiler makes vectors of these loops.
 *
 * A block of 256 is eight lines, each with a scale of its own (or two, one for 16 values), so that
 * a product may begin at any line. Layouts: llama.cpp's ggml-common.h; every value is rounded as
 * gguf-py rounds it: scale times scale, times number, minus the minimum. */
#ifndef GRAFT_KERNELS_BLOCKS_H
#define GRAFT_KERNELS_BLOCKS_H

#include "graft/tensor.h"

#include <string.h>

#if defined(__F16C__)
#include <immintrin.h>
#endif

enum {
    GF_LINE = 32,  /* values; also the block of the smaller types */
    GF_SUPER = 256 /* values of the larger blocks, "super-blocks" */
};

static inline float half_at(const unsigned char *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
#if defined(__F16C__)
    return _cvtsh_ss(h);
#else
    return gf_f16_to_f32(h);
#endif
}

/* IQ4's sixteen numbers. */
static const int8_t iq4_number[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};

/* The sixteen bytes of 32 nibbles: the low ones are the first half, the high ones the second. */
#if defined(__AVX2__)
static inline void iq4_line(float *restrict out, const unsigned char *qs, float d)
{
    const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)qs), low = _mm_set1_epi8(15);
    const __m128i table = _mm_loadu_si128((const __m128i *)(const void *)iq4_number);
    for (int h = 0; h < 2; h++, out += 16) {
        const __m128i code = _mm_and_si128(h ? _mm_srli_epi16(x, 4) : x, low);
        const __m128i q = _mm_shuffle_epi8(table, code);
        for (int e = 0; e < 2; e++) {
            const __m128i eight = e ? _mm_srli_si128(q, 8) : q;
            const __m256 v = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight));
            _mm256_storeu_ps(out + 8 * e, _mm256_mul_ps(v, _mm256_set1_ps(d)));
        }
    }
}
#else
static inline void iq4_line(float *restrict out, const unsigned char *qs, float d)
{
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)iq4_number[qs[i] & 15];
        out[i + 16] = d * (float)iq4_number[qs[i] >> 4];
    }
}
#endif

/* [scales and minima 16 x (4 + 4 bits)][2 bits x 256][d][dmin] */
static inline void q2_k_line(float *restrict out, const unsigned char *b, int line)
{
    const unsigned char *qs = b + 16 + line / 4 * 32;
    const float d = half_at(b + 80), dmin = half_at(b + 82);
    for (int h = 0; h < 32; h += 16) {
        const int sm = b[2 * line + h / 16];
        const float scale = d * (float)(sm & 15), min = dmin * (float)(sm >> 4);
        for (int i = h; i < h + 16; i++)
            out[i] = scale * (float)(qs[i] >> line % 4 * 2 & 3) - min;
    }
}

/* [third bits 256][2 bits x 256][scales 16 x 6 bits][d]: third bit not set means 4 less. */
static inline void q3_k_line(float *restrict out, const unsigned char *b, int line)
{
    const unsigned char *qs = b + 32 + line / 4 * 32, *s = b + 96;
    const float d = half_at(b + 108);
    for (int h = 0; h < 32; h += 16) {
        const int k = 2 * line + h / 16;
        const int low = k < 8 ? s[k] & 15 : s[k - 8] >> 4, high = s[8 + k % 4] >> k / 4 * 2 & 3;
        const float scale = d * (float)((low | high << 4) - 32);
        for (int i = h; i < h + 16; i++)
            out[i] = scale * (float)((qs[i] >> line % 4 * 2 & 3) - 4 + (b[i] >> line & 1) * 4);
    }
}

/* Scale and minimum of a line of q4_k and q5_k: 6 bits each, the last four lines' high bits with
 * the first four's. */
static inline void scale_and_min(const unsigned char *s, int line, int *scale, int *min)
{
    if (line < 4) {
        *scale = s[line] & 63;
        *min = s[line + 4] & 63;
    } else {
        *scale = (s[line + 4] & 15) | s[line - 4] >> 6 << 4;
        *min = s[line + 4] >> 4 | s[line] >> 6 << 4;
    }
}

/* [d][dmin][scales and minima 8 x (6 + 6 bits)][4 bits x 256] */
static inline void q4_k_line(float *restrict out, const unsigned char *b, int line)
{
    const unsigned char *qs = b + 16 + line / 2 * 32;
    const int shift = line % 2 * 4;
    int s, m;
    scale_and_min(b + 4, line, &s, &m);
    const float scale = half_at(b) * (float)s, min = half_at(b + 2) * (float)m;
    for (int i = 0; i < 32; i++)
        out[i] = scale * (float)(qs[i] >> shift & 15) - min;
}

/* [d][dmin][scales and minima][fifth bits 256][4 bits x 256] */
static inline void q5_k_line(float *restrict out, const unsigned char *b, int line)
{
    const unsigned char *qh = b + 16, *qs = b + 48 + line / 2 * 32;
    const int shift = line % 2 * 4;
    int s, m;
    scale_and_min(b + 4, line, &s, &m);
    const float scale = half_at(b) * (float)s, min = half_at(b + 2) * (float)m;
    for (int i = 0; i < 32; i++)
        out[i] = scale * (float)((qs[i] >> shift & 15) | (qh[i] >> line & 1) << 4) - min;
}

/* [low 4 bits x 256][high 2 bits x 256][scales 16 x i8][d] */
static inline void q6_k_line(float *restrict out, const unsigned char *b, int line)
{
    const unsigned char *ql = b + line / 4 * 64 + line % 2 * 32, *qh = b + 128 + line / 4 * 32;
    const int low = line % 4 / 2 * 4, high = line % 4 * 2;
    const float d = half_at(b + 208);
    for (int h = 0; h < 32; h += 16) {
        const float scale = d * (float)(int8_t)b[192 + 2 * line + h / 16];
        for (int i = h; i < h + 16; i++)
            out[i] = scale * (float)(((ql[i] >> low & 15) | (qh[i] >> high & 3) << 4) - 32);
    }
}

/* [d][high 2 bits of 8 scales][low 4 bits of them][4 bits x 256] */
static inline void iq4_xs_line(float *restrict out, const unsigned char *b, int line)
{
    const int low = b[4 + line / 2] >> line % 2 * 4 & 15,
              high = b[2 + line / 4] >> line % 4 * 2 & 3;
    iq4_line(out, b + 8 + 16 * line, half_at(b) * (float)((low | high << 4) - 32));
}

/* n values of a row of super-blocks from value `from` on, both whole lines. */
static inline void super_to_f32(float *restrict out, gf_dtype t, const unsigned char *row,
                                int64_t from, int64_t n)
{
    const int64_t size = gf_dtype_size(t);
    for (int64_t i = from; i < from + n; i += GF_LINE, out += GF_LINE) {
        const unsigned char *b = row + i / GF_SUPER * size;
        const int line = (int)(i % GF_SUPER / GF_LINE);
        switch (t) {
        case GF_Q2_K:
            q2_k_line(out, b, line);
            break;
        case GF_Q3_K:
            q3_k_line(out, b, line);
            break;
        case GF_Q4_K:
            q4_k_line(out, b, line);
            break;
        case GF_Q5_K:
            q5_k_line(out, b, line);
            break;
        case GF_Q6_K:
            q6_k_line(out, b, line);
            break;
        default: /* GF_IQ4_XS */
            iq4_xs_line(out, b, line);
            break;
        }
    }
}

#endif
