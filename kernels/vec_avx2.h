/* vec_avx2.h - v16 in two 256-bit registers. Included by vec.h. */
#ifndef GRAFT_VEC_AVX2_H
#define GRAFT_VEC_AVX2_H

#include <immintrin.h>

typedef struct {
    __m256 lo, hi;
} v16;

/* Attention's register tile: 8 of 16 registers are accumulators. */
#define V_PAIRS 0 /* no products of bf16 pairs: vec_avx512.h */
#define V_TILE_ROWS 4
#define V_TILE_COLS 1

static inline v16 v_pair(__m256 lo, __m256 hi)
{
    const v16 x = {lo, hi};
    return x;
}
/* All ones in the lanes below n of eight; any n. */
static inline __m256i v_mask8(int64_t n)
{
    const int m = n < 0 ? 0 : n > 8 ? 8 : (int)n;
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(m), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline v16 v_set1(float x)
{
    return v_pair(_mm256_set1_ps(x), _mm256_set1_ps(x));
}
static inline v16 v_load(const float *p)
{
    return v_pair(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8));
}
static inline v16 v_load_n(const float *p, int n)
{
    if (n <= 8) /* the upper address may lie outside the row: not even formed */
        return v_pair(_mm256_maskload_ps(p, v_mask8(n)), _mm256_setzero_ps());
    return v_pair(_mm256_loadu_ps(p), _mm256_maskload_ps(p + 8, v_mask8(n - 8)));
}
static inline void v_store(float *p, v16 x)
{
    _mm256_storeu_ps(p, x.lo);
    _mm256_storeu_ps(p + 8, x.hi);
}
static inline void v_store_n(float *p, v16 x, int n)
{
    _mm256_maskstore_ps(p, v_mask8(n), x.lo);
    if (n > 8)
        _mm256_maskstore_ps(p + 8, v_mask8(n - 8), x.hi);
}
static inline __m256 v_widen_bf16(__m128i h)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
static inline v16 v_load_bf16(const uint16_t *p)
{
    return v_pair(v_widen_bf16(_mm_loadu_si128((const __m128i *)(const void *)p)),
                  v_widen_bf16(_mm_loadu_si128((const __m128i *)(const void *)(p + 8))));
}
static inline v16 v_load_bf16_n(const uint16_t *p, int n)
{
    uint16_t full[16] = {0};
    memcpy(full, p, (size_t)n * sizeof *p);
    return v_load_bf16(full);
}
static inline __m256i v_round_bf16(__m256 x) /* bf16 in the low half of each lane */
{
    const __m256i b = _mm256_castps_si256(x), hi = _mm256_srli_epi32(b, 16);
    const __m256i lsb = _mm256_and_si256(hi, _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(_mm256_add_epi32(b, _mm256_set1_epi32(0x7FFF)), lsb);
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i quiet = _mm256_or_si256(hi, _mm256_set1_epi32(0x40));
    return _mm256_blendv_epi8(_mm256_srli_epi32(up, 16), quiet, nan);
}
static inline void v_store_bf16(uint16_t *p, v16 x)
{
    const __m256i both = _mm256_packus_epi32(v_round_bf16(x.lo), v_round_bf16(x.hi));
    _mm256_storeu_si256((__m256i *)(void *)p, _mm256_permute4x64_epi64(both, 0xD8));
}
static inline void v_store_bf16_n(uint16_t *p, v16 x, int n)
{
    uint16_t full[16];
    v_store_bf16(full, x);
    memcpy(p, full, (size_t)n * sizeof *p);
}
static inline v16 v_add(v16 a, v16 b)
{
    return v_pair(_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi));
}
static inline v16 v_sub(v16 a, v16 b)
{
    return v_pair(_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi));
}
static inline v16 v_mul(v16 a, v16 b)
{
    return v_pair(_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi));
}
static inline v16 v_div(v16 a, v16 b)
{
    return v_pair(_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi));
}
/* a * b + c */
static inline v16 v_fma(v16 a, v16 b, v16 c)
{
    return v_pair(_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi));
}
/* a > b ? a : b; a NaN in either gives b. */
static inline v16 v_max(v16 a, v16 b)
{
    return v_pair(_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi));
}
static inline v16 v_min(v16 a, v16 b)
{
    return v_pair(_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi));
}
static inline v16 v_abs(v16 x)
{
    const __m256 m = _mm256_set1_ps(-0.0f);
    return v_pair(_mm256_andnot_ps(m, x.lo), _mm256_andnot_ps(m, x.hi));
}
static inline v16 v_copysign(v16 x, v16 sign)
{
    const __m256 m = _mm256_set1_ps(-0.0f);
    return v_pair(_mm256_or_ps(_mm256_andnot_ps(m, x.lo), _mm256_and_ps(m, sign.lo)),
                  _mm256_or_ps(_mm256_andnot_ps(m, x.hi), _mm256_and_ps(m, sign.hi)));
}
static inline v16 v_select_lt(v16 a, v16 b, v16 yes, v16 no)
{
    return v_pair(_mm256_blendv_ps(no.lo, yes.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
                  _mm256_blendv_ps(no.hi, yes.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ)));
}
/* Lanes lo <= i < hi of x, fill elsewhere; any lo and hi. */
static inline v16 v_keep(v16 x, int64_t lo, int64_t hi, v16 fill)
{
    const __m256i m0 = _mm256_andnot_si256(v_mask8(lo), v_mask8(hi));
    const __m256i m1 = _mm256_andnot_si256(v_mask8(lo - 8), v_mask8(hi - 8));
    return v_pair(_mm256_blendv_ps(fill.lo, x.lo, _mm256_castsi256_ps(m0)),
                  _mm256_blendv_ps(fill.hi, x.hi, _mm256_castsi256_ps(m1)));
}
static inline v16 v_round(v16 x)
{
    return v_pair(_mm256_round_ps(x.lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                  _mm256_round_ps(x.hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline __m256 v_scale2_half(__m256 x, __m256 n)
{
    /* in two steps, so that neither factor leaves the normal range; only the second rounds */
    const __m256i k = _mm256_cvtps_epi32(n), k1 = _mm256_srai_epi32(k, 1);
    const __m256i k2 = _mm256_sub_epi32(k, k1), bias = _mm256_set1_epi32(127);
    const __m256i f1 = _mm256_slli_epi32(_mm256_add_epi32(k1, bias), 23);
    const __m256i f2 = _mm256_slli_epi32(_mm256_add_epi32(k2, bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(x, _mm256_castsi256_ps(f1)), _mm256_castsi256_ps(f2));
}
/* x * 2^n for whole n in [-216, 188] and x in [0.5, 2) */
static inline v16 v_scale2(v16 x, v16 n)
{
    return v_pair(v_scale2_half(x.lo, n.lo), v_scale2_half(x.hi, n.hi));
}
/* Folds 16 lanes as (i, i+8), (i, i+4), (i, i+2), (i, i+1). */
static inline float v_sum(v16 x)
{
    const __m256 a = _mm256_add_ps(x.lo, x.hi);
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}
static inline float v_hmax(v16 x)
{
    const __m256 a = _mm256_max_ps(x.lo, x.hi);
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

/* dst[c * ld + r] = column c of row r, 8 x 8. */
static inline void v_transpose8(float *dst, int64_t ld, const __m256 r[8])
{
    __m256 t[8], u[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
        u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
    }
    for (int i = 0; i < 4; i++) { /* u[i] and u[i+4] hold columns i and i+4 of four rows each */
        _mm256_storeu_ps(dst + i * ld, _mm256_permute2f128_ps(u[i], u[i + 4], 0x20));
        _mm256_storeu_ps(dst + (i + 4) * ld, _mm256_permute2f128_ps(u[i], u[i + 4], 0x31));
    }
}
/* dst[c * ld + r] = lane c of r-th row, 16 x 16. */
static inline void v_transpose16(float *dst, int64_t ld, v16 r[16])
{
    for (int half = 0; half < 2; half++) {
        __m256 lo[8], hi[8];
        for (int i = 0; i < 8; i++) {
            lo[i] = r[8 * half + i].lo;
            hi[i] = r[8 * half + i].hi;
        }
        v_transpose8(dst + 8 * half, ld, lo);
        v_transpose8(dst + 8 * ld + 8 * half, ld, hi);
    }
}

#endif
