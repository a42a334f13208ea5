/* vec_avx512.h - v16 in one 512-bit register. Included by vec.h. */
#ifndef GRAFT_VEC_AVX512_H
#define GRAFT_VEC_AVX512_H

#include <immintrin.h>

typedef __m512 v16;

/* Rows and 16-lane columns of attention's register tile: 16 accumulators of 32 registers. */
#define V_TILE_ROWS 8
#define V_TILE_COLS 2

static inline __mmask16 v_mask(int n)
{
    return (__mmask16)((1u << n) - 1u); /* n < 16 */
}
static inline v16 v_set1(float x)
{
    return _mm512_set1_ps(x);
}
static inline v16 v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline v16 v_load_n(const float *p, int n)
{
    return _mm512_maskz_loadu_ps(v_mask(n), p);
}
static inline void v_store(float *p, v16 x)
{
    _mm512_storeu_ps(p, x);
}
static inline void v_store_n(float *p, v16 x, int n)
{
    _mm512_mask_storeu_ps(p, v_mask(n), x);
}
static inline v16 v_widen_bf16(__m256i h)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
static inline v16 v_load_bf16(const uint16_t *p)
{
    return v_widen_bf16(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
static inline v16 v_load_bf16_n(const uint16_t *p, int n)
{
    return v_widen_bf16(_mm256_maskz_loadu_epi16(v_mask(n), p));
}
/* To nearest even, NaN to a quiet one: the bits of gf_f32_to_bf16. */
static inline __m256i v_round_bf16(v16 x)
{
    const __m512i b = _mm512_castps_si512(x), hi = _mm512_srli_epi32(b, 16);
    const __m512i lsb = _mm512_and_si512(hi, _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(_mm512_add_epi32(b, _mm512_set1_epi32(0x7FFF)), lsb);
    const __m512i rounded = _mm512_srli_epi32(up, 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const __m512i quiet = _mm512_or_si512(hi, _mm512_set1_epi32(0x40));
    return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, nan, quiet));
}
#if defined(__AVX512BF16__)
/* The CPU's own conversion turns denormals into zeros, all else is the same. */
static inline __m256i v_narrow_bf16(v16 x)
{
    if (__builtin_expect(_mm512_fpclass_ps_mask(x, 0x20) != 0, 0)) /* 0x20: the class denormal */
        return v_round_bf16(x);
    return (__m256i)_mm512_cvtneps_pbh(x);
}
#else
static inline __m256i v_narrow_bf16(v16 x)
{
    return v_round_bf16(x);
}
#endif
static inline void v_store_bf16(uint16_t *p, v16 x)
{
    _mm256_storeu_si256((__m256i *)(void *)p, v_narrow_bf16(x));
}
static inline void v_store_bf16_n(uint16_t *p, v16 x, int n)
{
    _mm256_mask_storeu_epi16(p, v_mask(n), v_narrow_bf16(x));
}
#if defined(__AVX512BF16__)
/* Words of two bf16, the earlier one in the low half, which this CPU multiplies itself. Denormals
 * count as zeros here, read and written, sums included. */
#define V_PAIRS 1
/* Both products of every word added to c, one after the other. */
static inline v16 v_dot_pairs(v16 a, v16 b, v16 c)
{
    return _mm512_dpbf16_ps(c, (__m512bh)_mm512_castps_si512(a), (__m512bh)_mm512_castps_si512(b));
}
/* Word i: lane i of both, rounded to nearest even. */
static inline v16 v_pair(v16 low, v16 high)
{
    const __m512i lo = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(low));
    const __m512i hi = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(high));
    return _mm512_castsi512_ps(_mm512_or_si512(lo, _mm512_slli_epi32(hi, 16)));
}
/* 8 words: lanes 2i and 2i+1, rounded to nearest even. */
static inline void v_store_pairs(float *words, v16 x)
{
    _mm256_storeu_si256((__m256i *)(void *)words, (__m256i)_mm512_cvtneps_pbh(x));
}
#else
#define V_PAIRS 0
#endif
static inline v16 v_add(v16 a, v16 b)
{
    return _mm512_add_ps(a, b);
}
static inline v16 v_sub(v16 a, v16 b)
{
    return _mm512_sub_ps(a, b);
}
static inline v16 v_mul(v16 a, v16 b)
{
    return _mm512_mul_ps(a, b);
}
static inline v16 v_div(v16 a, v16 b)
{
    return _mm512_div_ps(a, b);
}
/* a * b + c */
static inline v16 v_fma(v16 a, v16 b, v16 c)
{
    return _mm512_fmadd_ps(a, b, c);
}
/* a > b ? a : b; a NaN in either gives b. */
static inline v16 v_max(v16 a, v16 b)
{
    return _mm512_max_ps(a, b);
}
static inline v16 v_min(v16 a, v16 b)
{
    return _mm512_min_ps(a, b);
}
static inline v16 v_abs(v16 x)
{
    return _mm512_abs_ps(x);
}
static inline v16 v_copysign(v16 x, v16 sign)
{
    const __m512 m = _mm512_set1_ps(-0.0f);
    return _mm512_or_ps(_mm512_andnot_ps(m, x), _mm512_and_ps(m, sign));
}
static inline v16 v_select_lt(v16 a, v16 b, v16 yes, v16 no)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}
/* Lanes lo <= i < hi of x, fill elsewhere; any lo and hi. */
static inline v16 v_keep(v16 x, int64_t lo, int64_t hi, v16 fill)
{
    const uint32_t below = lo <= 0 ? 0u : lo >= 16 ? 0xFFFFu : (1u << lo) - 1u;
    const uint32_t under = hi <= 0 ? 0u : hi >= 16 ? 0xFFFFu : (1u << hi) - 1u;
    return _mm512_mask_blend_ps((__mmask16)(under & ~below), fill, x);
}
static inline v16 v_round(v16 x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* x * 2^n for whole n in [-216, 188] and x in [0.5, 2) */
static inline v16 v_scale2(v16 x, v16 n)
{
    return _mm512_scalef_ps(x, n);
}
/* Folds 16 lanes as (i, i+8), (i, i+4), (i, i+2), (i, i+1). */
static inline float v_sum(v16 x)
{
    const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}
static inline float v_hmax(v16 x)
{
    const __m256 a = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

/* dst[c * ld + r] = lane c of r-th row, 16 x 16. */
static inline void v_transpose16(float *dst, int64_t ld, v16 r[16])
{
    v16 t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) { /* pairs of rows to fours, as 64-bit lanes */
        const __m512d a = _mm512_castps_pd(t[i]), b = _mm512_castps_pd(t[i + 1]);
        const __m512d c = _mm512_castps_pd(t[i + 2]), d = _mm512_castps_pd(t[i + 3]);
        r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        r[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        r[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        r[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
    for (int i = 0; i < 4; i++) { /* r[4g+i] holds columns i, i+4, i+8, i+12 of rows 4g.. */
        const v16 lo = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
        const v16 hi = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xDD);
        const v16 lo2 = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
        const v16 hi2 = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xDD);
        v_store(dst + (i + 0) * ld, _mm512_shuffle_f32x4(lo, lo2, 0x88));
        v_store(dst + (i + 4) * ld, _mm512_shuffle_f32x4(hi, hi2, 0x88));
        v_store(dst + (i + 8) * ld, _mm512_shuffle_f32x4(lo, lo2, 0xDD));
        v_store(dst + (i + 12) * ld, _mm512_shuffle_f32x4(hi, hi2, 0xDD));
    }
}

#endif
