/* gemm_tile.c - the micro-kernels: a tile of C in registers. Contract: gemm.h.
 *
 * Every row count has its own instance, so that few rows cost little; each element sees the same
 * operations in the same order in all of them. */
#include "gemm.h"

#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 12")
#endif
#define NV_MOST 8
#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
typedef __m512 vec;
INLINE vec load(const float *p)
{
    return _mm512_loadu_ps(p);
}
INLINE void store(float *p, vec v)
{
    _mm512_storeu_ps(p, v);
}
INLINE vec spread(const float *p)
{
    return _mm512_set1_ps(*p);
}
INLINE vec multiply_add(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}
#elif defined(__AVX2__)
typedef __m256 vec;
INLINE vec load(const float *p)
{
    return _mm256_loadu_ps(p);
}
INLINE void store(float *p, vec v)
{
    _mm256_storeu_ps(p, v);
}
INLINE vec spread(const float *p)
{
    return _mm256_set1_ps(*p);
}
INLINE vec multiply_add(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}
#else
typedef float vec __attribute__((vector_size(4 * GF_VL)));
INLINE vec load(const float *p)
{
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}
INLINE void store(float *p, vec v)
{
    memcpy(p, &v, sizeof v);
}
INLINE vec spread(const float *p)
{
    return (vec){*p, *p, *p, *p};
}
INLINE vec multiply_add(vec a, vec b, vec c)
{
    return a * b + c; /* two roundings: not every plain CPU has fma */
}
#endif

INLINE void call_ahead(gf_ahead *h)
{
    for (int i = h->rate; i > 0 && h->now < h->count; i--) {
        gf_source *s = &h->of[h->now];
        __builtin_prefetch(s->at + s->line * GF_CACHE_LINE, 0, 2);
        if (++s->line < s->lines)
            continue;
        s->line = 0;
        s->at += s->step;
        h->now += --s->rows == 0;
    }
}

/* c + the products of one word. */
INLINE vec multiply_word(const bool pair, vec a, vec b, vec c)
{
#if GF_HAVE_PAIRS
    if (pair)
        return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b);
#endif
    (void)pair;
    return multiply_add(a, b, c);
}

/* t = c, or t += c if `again`; then c = 0. */
INLINE void fold(vec c[GF_MR][NV_MOST], const int mr, const int nv, float *t, int64_t ldt,
                 bool again)
{
    UNROLL
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < nv; j++) {
            float *to = t + i * ldt + j * GF_VL;
            vec sum = c[i][j];
            if (again)
                sum += load(to);
            store(to, sum);
            c[i][j] = (vec){0};
        }
}

INLINE void tile(const bool pair, const int mr, const int nv, const gf_runs *r, const float *b,
                 float *t, int64_t ldt, bool again)
{
    vec c[GF_MR][NV_MOST];
    UNROLL
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < nv; j++)
            c[i][j] = (vec){0};
    for (int run = 0; run < 2; run++) {
        const float *a = r->a + gf_panel_at(0, r->begin[run]);
        int64_t n = GF_DEPTH - r->begin[run] % GF_DEPTH, at = r->begin[run];
        for (int64_t k = r->k[run]; k > 0; k -= n, n = GF_DEPTH) {
            n = n < k ? n : k;
            if (r->ahead) {
                call_ahead(&r->ahead[0]);
                call_ahead(&r->ahead[1]);
            }
            for (int64_t w = 0; w < n; w++, a++, b += GF_NR) {
                vec bv[NV_MOST];
                for (int j = 0; j < nv; j++)
                    bv[j] = load(b + j / 2 * r->b_panel + j % 2 * GF_VL);
                UNROLL
                for (int i = 0; i < mr; i++) {
                    const vec av = spread(a + i * GF_DEPTH);
                    for (int j = 0; j < nv; j++)
                        c[i][j] = multiply_word(pair, av, bv[j], c[i][j]);
                }
            }
            a += (GF_MR - 1) * GF_DEPTH;
            at += n;
            if (at % gf_chain(pair) == 0 || n == k) {
                fold(c, mr, nv, t, ldt, again);
                again = true;
            }
        }
    }
    if (!again) /* no word at all */
        fold(c, mr, nv, t, ldt, false);
}

INLINE void tile_f32(const int mr, const int nv, const gf_runs *r, const float *b, float *t,
                     int64_t ldt, bool again)
{
    tile(false, mr, nv, r, b, t, ldt, again);
}

#if GF_HAVE_PAIRS
INLINE void tile_pair(const int mr, const int nv, const gf_runs *r, const float *b, float *t,
                      int64_t ldt, bool again)
{
    tile(true, mr, nv, r, b, t, ldt, again);
}
#endif

#define INSTANCE(kind, nv, mr)                                                                     \
    static void kind##_##nv##_##mr(const gf_runs *r, const float *b, float *t, int64_t ldt,        \
                                   bool again)                                                     \
    {                                                                                              \
        kind(mr, nv, r, b, t, ldt, again);                                                         \
    }
#define FEW_ROWS(X, kind, nv) X(kind, nv, 1) X(kind, nv, 2) X(kind, nv, 3)
#if GF_MR == 12
#define ROWS(X, kind, nv)                                                                          \
    FEW_ROWS(X, kind, nv)                                                                          \
    X(kind, nv, 4)                                                                                 \
    X(kind, nv, 5)                                                                                 \
    X(kind, nv, 6)                                                                                 \
    X(kind, nv, 7) X(kind, nv, 8) X(kind, nv, 9) X(kind, nv, 10) X(kind, nv, 11) X(kind, nv, 12)
#else
#define ROWS(X, kind, nv) FEW_ROWS(X, kind, nv) X(kind, nv, 4) X(kind, nv, 5) X(kind, nv, 6)
#endif
#define ENTRY(kind, nv, mr) kind##_##nv##_##mr,

ROWS(INSTANCE, tile_f32, 1)
ROWS(INSTANCE, tile_f32, 2)
static gf_tile_fn *const f32_table[2][GF_MR] = {{ROWS(ENTRY, tile_f32, 1)},
                                                {ROWS(ENTRY, tile_f32, 2)}};
#if GF_FEW
FEW_ROWS(INSTANCE, tile_f32, 8)
static gf_tile_fn *const f32_few[GF_FEW] = {FEW_ROWS(ENTRY, tile_f32, 8)};
#endif
#if GF_HAVE_PAIRS
ROWS(INSTANCE, tile_pair, 1)
ROWS(INSTANCE, tile_pair, 2)
FEW_ROWS(INSTANCE, tile_pair, 8)
static gf_tile_fn *const pair_table[2][GF_MR] = {{ROWS(ENTRY, tile_pair, 1)},
                                                 {ROWS(ENTRY, tile_pair, 2)}};
static gf_tile_fn *const pair_few[GF_FEW] = {FEW_ROWS(ENTRY, tile_pair, 8)};
#endif

gf_tile_fn *GF_CPU(tile)(gf_word w, int mr, int nv)
{
#if GF_HAVE_PAIRS
    if (w == GF_WORD_PAIR)
        return nv == 8 ? pair_few[mr - 1] : pair_table[nv - 1][mr - 1];
#endif
    (void)w;
#if GF_FEW
    if (nv == 8)
        return f32_few[mr - 1];
#endif
    return f32_table[nv - 1][mr - 1];
}

#if defined(__AVX512F__)
/* Whole lines, from rows on their boundary: the cache need not read them first. */
static bool stream_out(gf_dtype type, char *c, int64_t step, const float *t, int64_t ldt, int rows)
{
    if (((uintptr_t)c | (uintptr_t)step) % GF_CACHE_LINE)
        return false;
    for (int i = 0; i < rows; i++, t += ldt, c += step) {
        if (type == GF_F32) {
            _mm512_stream_ps((float *)(void *)c, load(t));
            _mm512_stream_ps((float *)(void *)(c + GF_CACHE_LINE), load(t + GF_VL));
            continue;
        }
#if GF_HAVE_PAIRS
        _mm512_stream_si512((void *)c, (__m512i)_mm512_cvtne2ps_pbh(load(t + GF_VL), load(t)));
#else
        return false;
#endif
    }
    return true;
}
#endif

void GF_CPU(tile_out)(gf_dtype type, void *c, int64_t ldc, const float *t, int64_t ldt, int rows,
                      int columns, bool stream)
{
    char *p = c;
    const int64_t step = gf_row_bytes(type, ldc);
#if defined(__AVX512F__)
    if (stream && columns == GF_NR && stream_out(type, p, step, t, ldt, rows))
        return;
#endif
    (void)stream;
    for (int i = 0; i < rows; i++, t += ldt, p += step) {
        if (type == GF_F32) {
            memcpy(p, t, (size_t)columns * sizeof *t);
            continue;
        }
#if GF_HAVE_PAIRS
        const __mmask32 some = columns < 32 ? ((__mmask32)1 << columns) - 1 : (__mmask32)-1;
        const __m512 low = _mm512_maskz_loadu_ps((__mmask16)some, t);
        const __m512 high = _mm512_maskz_loadu_ps((__mmask16)(some >> 16), t + GF_VL);
        _mm512_mask_storeu_epi16(p, some, (__m512i)_mm512_cvtne2ps_pbh(high, low));
#else
        GF_CPU(from_f32)(type, p, t, columns);
#endif
    }
}

void GF_CPU(tile_fence)(void)
{
#if defined(__AVX512F__)
    _mm_sfence();
#endif
}
