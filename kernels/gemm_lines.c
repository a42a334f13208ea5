/* gemm_lines.c - B into panels from registers to registers: whole strips and whole lines of 32
 * values. Contract: gemm.h; block formats: tensor.h. What it leaves, gemm_pack.c does. */
#include "gemm.h"

#if defined(__AVX512F__)
#include "gemm_transpose.h"

#include <immintrin.h>
#include <string.h>

enum { LINE = 32 }; /* values: a quantised block, a strip, sixteen pairs */
#define INLINE static inline __attribute__((always_inline))

/* ---- 32 values of a row, as f32 ---------------------------------------------------- */

typedef struct {
    __m512 low, high;
} values;

INLINE __m512 half_everywhere(const unsigned char *p)
{
    int16_t h;
    memcpy(&h, p, sizeof h);
    return _mm512_cvtph_ps(_mm256_set1_epi16(h));
}

/* Signed bytes times d, plus m if `add`: two roundings, as gf_to_f32 has them. */
INLINE values scaled(__m256i q, __m512 d, __m512 m, bool add)
{
    values v = {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(q))),
                _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256(q, 1)))};
    v.low = _mm512_mul_ps(v.low, d);
    v.high = _mm512_mul_ps(v.high, d);
    if (add) {
        v.low = _mm512_add_ps(v.low, m);
        v.high = _mm512_add_ps(v.high, m);
    }
    return v;
}

/* The low nibbles are the first half of the block, the high ones the second. */
INLINE __m256i nibbles(const unsigned char *qs)
{
    const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)qs);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(x, 4), x), _mm256_set1_epi8(15));
}

/* Bit j of qh is worth 16 in number j. */
INLINE __m256i fifth_bits(const unsigned char *qh, __m256i q)
{
    uint32_t high;
    memcpy(&high, qh, sizeof high);
    return _mm256_mask_add_epi8(q, high, q, _mm256_set1_epi8(16));
}

INLINE __m256i minus(__m256i q, char bias)
{
    return _mm256_sub_epi8(q, _mm256_set1_epi8(bias));
}

INLINE __m512 widen_bf16(__m256i x)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

INLINE values line_of(const gf_dtype t, const unsigned char *p)
{
    const __m512 none = _mm512_setzero_ps();
    switch (t) {
    case GF_F32:
        return (values){_mm512_loadu_ps(p), _mm512_loadu_ps(p + 64)};
    case GF_BF16:
        return (values){widen_bf16(_mm256_loadu_si256((const __m256i *)(const void *)p)),
                        widen_bf16(_mm256_loadu_si256((const __m256i *)(const void *)(p + 32)))};
    case GF_F16:
        return (values){
            _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p)),
            _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(p + 32)))};
    case GF_Q8_0:
        return scaled(_mm256_loadu_si256((const __m256i *)(const void *)(p + 2)),
                      half_everywhere(p), none, false);
    case GF_Q4_0:
        return scaled(minus(nibbles(p + 2), 8), half_everywhere(p), none, false);
    case GF_Q4_1:
        return scaled(nibbles(p + 4), half_everywhere(p), half_everywhere(p + 2), true);
    case GF_Q5_0:
        return scaled(minus(fifth_bits(p + 2, nibbles(p + 6)), 16), half_everywhere(p), none,
                      false);
    default: /* GF_Q5_1 */
        return scaled(fifth_bits(p + 4, nibbles(p + 8)), half_everywhere(p), half_everywhere(p + 2),
                      true);
    }
}

#if !GF_HAVE_PAIRS
/* To bf16 and back: half to even; a NaN keeps its sign and upper payload and stays quiet. */
INLINE __m512 rounded(__m512 x)
{
    const __m512i u = _mm512_castps_si512(x), one = _mm512_set1_epi32(1);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), one);
    const __m512i even = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const __m512i quiet = _mm512_or_si512(u, _mm512_set1_epi32(0x400000));
    const __m512i top = _mm512_mask_mov_epi32(even, nan, quiet);
    return _mm512_castsi512_ps(_mm512_and_si512(top, _mm512_set1_epi32((int)0xFFFF0000)));
}
#endif

INLINE values line_as(const gf_word w, const gf_dtype t, const unsigned char *p)
{
    values v = line_of(t, p);
#if !GF_HAVE_PAIRS
    if (w == GF_WORD_ROUND && t != GF_BF16)
        v = (values){rounded(v.low), rounded(v.high)};
#endif
    (void)w;
    return v;
}

/* ---- B as [n,k] -------------------------------------------------------------------- */

/* Sixteen columns of sixteen words. */
INLINE void put_block(float *dst, __m512 r[16])
{
    transpose_16x16(r);
    for (int i = 0; i < 16; i++)
        _mm512_storeu_ps(dst + i * GF_NR, r[i]);
}

#if GF_HAVE_PAIRS
INLINE __m512 pairs_of(const gf_dtype t, const unsigned char *p)
{
    if (t == GF_BF16)
        return _mm512_loadu_ps(p);
    const values v = line_of(t, p);
    return _mm512_castsi512_ps((__m512i)_mm512_cvtne2ps_pbh(v.high, v.low));
}
#endif

/* One strip: rows are columns of the product, `step` bytes apart. Sixteen at a time:
 * as many streams as the hardware follows. */
INLINE void strip_nt(float *dst, const gf_word w, const gf_dtype t, const unsigned char *src,
                     int64_t step, int64_t k)
{
    const int64_t bytes = gf_row_bytes(t, LINE);
    for (int h = 0; h < LINE; h += 16, src += 16 * step, dst += 16) {
        const unsigned char *p = src;
        for (int64_t i = 0; i < k; i += LINE, p += bytes) {
            __m512 low[16];
#if GF_HAVE_PAIRS
            if (w == GF_WORD_PAIR) {
                for (int r = 0; r < 16; r++)
                    low[r] = pairs_of(t, p + r * step);
                put_block(dst + i / 2 * GF_NR, low);
                continue;
            }
#endif
            __m512 high[16];
            for (int r = 0; r < 16; r++) {
                const values v = line_as(w, t, p + r * step);
                low[r] = v.low;
                high[r] = v.high;
            }
            put_block(dst + i * GF_NR, low);
            put_block(dst + (i + 16) * GF_NR, high);
        }
    }
}

/* ---- B as [k,n] -------------------------------------------------------------------- */

#if GF_HAVE_PAIRS
/* Two rows of k, interleaved; of the last odd one the other is zero. */
INLINE void pair_lines(float *dst, const gf_dtype t, const unsigned char *even,
                       const unsigned char *odd)
{
    const __m512i zip = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512i low, high; /* sixteen of the even row, then sixteen of the odd one */
    if (t == GF_BF16) {
        const __m512i e = _mm512_loadu_si512(even);
        const __m512i o = odd ? _mm512_loadu_si512(odd) : _mm512_setzero_si512();
        low = _mm512_shuffle_i64x2(e, o, 0x44);
        high = _mm512_shuffle_i64x2(e, o, 0xEE);
    } else {
        const values e = line_of(t, even);
        const values o = odd ? line_of(t, odd) : (values){_mm512_setzero_ps(), _mm512_setzero_ps()};
        low = (__m512i)_mm512_cvtne2ps_pbh(o.low, e.low);
        high = (__m512i)_mm512_cvtne2ps_pbh(o.high, e.high);
    }
    _mm512_storeu_si512(dst, _mm512_permutexvar_epi16(zip, low));
    _mm512_storeu_si512(dst + 16, _mm512_permutexvar_epi16(zip, high));
}
#endif

/* Some strips: rows are k, `step` bytes apart. */
INLINE void strips_nn(float *dst, int64_t height, const gf_word w, const gf_dtype t,
                      const unsigned char *src, int64_t step, int64_t n, int64_t k)
{
    const int64_t bytes = gf_row_bytes(t, LINE);
#if GF_HAVE_PAIRS
    if (w == GF_WORD_PAIR) {
        for (int64_t i = 0; i < k; i += 2, src += 2 * step, dst += GF_NR) {
            const unsigned char *p = src, *q = i + 1 < k ? src + step : NULL;
            for (int64_t j = 0; j < n; j += LINE, p += bytes, q += q ? bytes : 0)
                pair_lines(dst + j * height, t, p, q);
        }
        return;
    }
#endif
    for (int64_t i = 0; i < k; i++, src += step, dst += GF_NR) {
        const unsigned char *p = src;
        for (int64_t j = 0; j < n; j += LINE, p += bytes) {
            const values v = line_as(w, t, p);
            _mm512_storeu_ps(dst + j * height, v.low);
            _mm512_storeu_ps(dst + j * height + 16, v.high);
        }
    }
}

/* ---- one instance for every type --------------------------------------------------- */

typedef struct {
    float *dst;
    int64_t height, step, n, k; /* step: bytes from row to row */
    const unsigned char *src;
    bool nn;
} lines;

INLINE void pack_typed(const lines *l, const gf_word w, const gf_dtype t)
{
    if (l->nn) {
        strips_nn(l->dst, l->height, w, t, l->src, l->step, l->n, l->k);
        return;
    }
    for (int64_t j = 0; j < l->n; j += GF_STRIP)
        strip_nt(l->dst + j * l->height, w, t, l->src + j * l->step, l->step, l->k);
}

#define EACH_TYPE(X)                                                                               \
    X(GF_F32) X(GF_F16) X(GF_BF16) X(GF_Q8_0) X(GF_Q4_0) X(GF_Q4_1) X(GF_Q5_0) X(GF_Q5_1)
#define INSTANCE(t)                                                                                \
    static void pack_##t(const lines *l, gf_word w)                                                \
    {                                                                                              \
        if (w == GF_WORD_F32)                                                                      \
            pack_typed(l, GF_WORD_F32, t);                                                         \
        else                                                                                       \
            pack_typed(l, GF_HAVE_PAIRS ? GF_WORD_PAIR : GF_WORD_ROUND, t);                        \
    }
EACH_TYPE(INSTANCE)

int64_t GF_CPU(pack_lines)(float *dst, int64_t height, gf_word w, const gf_operand *b, bool nn,
                           int64_t n0, int64_t n, int64_t k0, int64_t k)
{
    lines l = {.dst = dst, .height = height, .n = n, .k = nn ? k : k / LINE * LINE, .nn = nn};
    if (n % GF_STRIP || l.k == 0)
        return 0;
    l.step = gf_row_bytes(b->dtype, b->ld);
    l.src = (const unsigned char *)b->data + l.step * (nn ? k0 : n0) +
            gf_row_bytes(b->dtype, nn ? n0 : k0);
    switch (b->dtype) {
#define CASE(t)                                                                                    \
    case t:                                                                                        \
        pack_##t(&l, w);                                                                           \
        break;
        EACH_TYPE(CASE)
    default:
        return 0;
    }
    return l.k;
}
#else
int64_t GF_CPU(pack_lines)(float *dst, int64_t height, gf_word w, const gf_operand *b, bool nn,
                           int64_t n0, int64_t n, int64_t k0, int64_t k)
{
    (void)dst, (void)height, (void)w, (void)b, (void)nn, (void)n0, (void)n, (void)k0, (void)k;
    return 0;
}
#endif
