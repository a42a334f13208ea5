/* fixed.h - gradients in fixed point: f32 sums of a chunk of tokens, rounded and added to i64, with
 * the greatest of them for the step's counters. Contract: graft/ops.h, gf_fixed. */
#ifndef GRAFT_KERNELS_FIXED_H
#define GRAFT_KERNELS_FIXED_H

#include "graft/ops.h"

#include <math.h>
#include <string.h>

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#include <immintrin.h>
#endif

/* A statistic: the bits of the greatest |g| that is finite, and whether one was not. */
#define NOT_FINITE 0x80000000u
#define INF_BITS 0x7F800000u

typedef struct {
    double scale;  /* 2^shift */
    uint32_t safe; /* bits of the least |g| that does not fit into 2^62 */
} fixed_scale;

static inline uint32_t fixed_bits(float g)
{
    uint32_t u;
    memcpy(&u, &g, sizeof u);
    return u & 0x7FFFFFFFu; /* ordered as |g| is */
}

static inline fixed_scale fixed_scale_of(const gf_fixed *f)
{
    return (fixed_scale){ldexp(1.0, f->shift), fixed_bits(ldexpf(1.0f, 62 - f->shift))};
}

static inline void fixed_wrap(int64_t *out, int64_t v)
{
    *out = (int64_t)((uint64_t)*out + (uint64_t)v);
}

/* One by one, for rows that hold something that is not finite or does not fit. */
static inline uint32_t fixed_add_carefully(int64_t *out, const float *g, int64_t n, double scale)
{
    uint32_t top = 0, bad = 0;
    for (int64_t i = 0; i < n; i++) {
        const uint32_t u = fixed_bits(g[i]);
        if (u >= INF_BITS) {
            bad = NOT_FINITE;
            continue;
        }
        top = u > top ? u : top;
        const double limit = 0x1p62; /* leaves one bit for the sum */
        fixed_wrap(&out[i], llrint(fmax(-limit, fmin(limit, (double)g[i] * scale))));
    }
    return top | bad;
}

/* out[i] += g[i] in fixed point; returns the statistic of the n values. */
static inline uint32_t fixed_add(fixed_scale s, int64_t *out, const float *g, int64_t n)
{
    uint32_t top = 0;
    for (int64_t i = 0; i < n; i++) {
        const uint32_t u = fixed_bits(g[i]);
        top = u > top ? u : top;
    }
    if (top >= s.safe)
        return fixed_add_carefully(out, g, n, s.scale);
    int64_t i = 0;
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    const __m512d scale = _mm512_set1_pd(s.scale);
    for (; i + 8 <= n; i += 8) {
        const __m512d v = _mm512_mul_pd(_mm512_cvtps_pd(_mm256_loadu_ps(g + i)), scale);
        const __m512i q =
            _mm512_cvt_roundpd_epi64(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm512_storeu_si512(out + i, _mm512_add_epi64(_mm512_loadu_si512(out + i), q));
    }
#endif
    for (; i < n; i++)
        fixed_wrap(&out[i], llrint((double)g[i] * s.scale));
    return top;
}

static inline uint32_t fixed_merge(uint32_t a, uint32_t b)
{
    const uint32_t x = a & ~NOT_FINITE, y = b & ~NOT_FINITE;
    return (x > y ? x : y) | ((a | b) & NOT_FINITE);
}

/* A chunk of a weight, whole, into the step's counters. */
static inline void fixed_count(gf_fixed *f, uint32_t stat)
{
    int64_t *sum = f->sums.data;
    float top;
    const uint32_t bits = stat & ~NOT_FINITE;
    memcpy(&top, &bits, sizeof top);
    const float most = 0x1p40f; /* far beyond any limit, and 2^22 of them still fit */
    sum[GF_SUM_MAGNITUDE] += (int64_t)ceilf(top < most ? top : most);
    sum[GF_SUM_NONFINITE] += (stat & NOT_FINITE) != 0;
}

#endif
