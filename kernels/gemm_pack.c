/* gemm_pack.c - operands into panels: transposed, widened, dequantised, rounded, masked on the way.
 * Contract: gemm.h. */
#include "gemm.h"

#include <string.h>

#if defined(__AVX512F__)
#include "gemm_transpose.h"
#elif defined(__AVX2__)
#include <immintrin.h>
#endif

/* ---- transposing words --------------------------------------------------------------------------
 * dst[w * ldd + i] = word w of row i, for w < words and i < VL; rows from `rows` on are zero. The
 * rows are `step` bytes apart. rows <= VL. */

#if defined(__AVX512F__)
typedef __m512 vec;

static void transpose(float *dst, int64_t ldd, const char *src, int64_t step, int rows,
                      int64_t words)
{
    for (int64_t w = 0; w < words; w += 16) {
        const int64_t len = words - w < 16 ? words - w : 16;
        const __mmask16 some = (__mmask16)((1u << len) - 1u);
        vec r[16];
        if (rows == 16 && len == 16)
            for (int i = 0; i < 16; i++)
                r[i] = _mm512_loadu_ps(src + i * step + 4 * w);
        else
            for (int i = 0; i < 16; i++)
                r[i] = i < rows ? _mm512_maskz_loadu_ps(some, src + i * step + 4 * w)
                                : _mm512_setzero_ps();
        transpose_16x16(r);
        float *d = dst + w * ldd;
        if (len == 16)
            for (int i = 0; i < 16; i++)
                _mm512_storeu_ps(d + i * ldd, r[i]);
        else
            for (int i = 0; i < len; i++)
                _mm512_storeu_ps(d + i * ldd, r[i]);
    }
}
#elif defined(__AVX2__)
typedef __m256 vec;

static inline __attribute__((always_inline)) void transpose_8x8(vec r[8])
{
    vec t[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            const __m256d a = _mm256_castps_pd(t[i + j]), b = _mm256_castps_pd(t[i + 2 + j]);
            r[i + 2 * j] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
            r[i + 2 * j + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
        }
    for (int c = 0; c < 4; c++) {
        t[c] = _mm256_permute2f128_ps(r[c], r[4 + c], 0x20);
        t[4 + c] = _mm256_permute2f128_ps(r[c], r[4 + c], 0x31);
    }
    for (int c = 0; c < 8; c++)
        r[c] = t[c];
}

static void transpose(float *dst, int64_t ldd, const char *src, int64_t step, int rows,
                      int64_t words)
{
    for (int64_t w = 0; w < words; w += 8) {
        const int len = words - w < 8 ? (int)(words - w) : 8;
        const __m256i some =
            _mm256_cmpgt_epi32(_mm256_set1_epi32(len), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        vec r[8];
        for (int i = 0; i < 8; i++) {
            const float *p = (const float *)(const void *)(src + i * step + 4 * w);
            r[i] = i >= rows  ? _mm256_setzero_ps()
                   : len == 8 ? _mm256_loadu_ps(p)
                              : _mm256_maskload_ps(p, some);
        }
        transpose_8x8(r);
        for (int i = 0; i < len; i++)
            _mm256_storeu_ps(dst + (w + i) * ldd, r[i]);
    }
}
#else
static void transpose(float *dst, int64_t ldd, const char *src, int64_t step, int rows,
                      int64_t words)
{
    for (int64_t w = 0; w < words; w++) {
        float *d = dst + w * ldd;
        for (int i = 0; i < rows; i++)
            memcpy(d + i, src + i * step + 4 * w, sizeof *d);
        for (int i = rows; i < GF_VL; i++)
            d[i] = 0;
    }
}
#endif

/* ---- rows as words ----------------------------------------------------------------- */

/* Bytes of the blocks that n elements reach into. */
static int64_t element_bytes(gf_dtype t, int64_t n)
{
    const int64_t block = gf_dtype_block(t);
    return block == 1 ? gf_row_bytes(t, n) : (n + block - 1) / block * gf_dtype_size(t);
}

static const char *row_at(const gf_operand *o, int64_t i)
{
    return (const char *)o->data + gf_row_bytes(o->dtype, o->ld) * i;
}

/* Element (i, j) of a row-major operand, or the block that it is in. */
static const char *at(const gf_operand *o, int64_t i, int64_t j)
{
    return row_at(o, i) + gf_row_bytes(o->dtype, j);
}

/* Values [from, from + n) of a row as f32, rounded to bf16 if the products want it. */
static void row_to_f32(float *out, gf_word w, gf_dtype t, const char *row, int64_t from, int64_t n)
{
    GF_CPU(to_f32)(out, t, row, from, n);
    if (w != GF_WORD_ROUND || t == GF_BF16)
        return;
    enum { SLICE = 128 };
    for (int64_t i = 0; i < n; i += SLICE) {
        uint16_t half[SLICE];
        const int64_t len = n - i < SLICE ? n - i : SLICE;
        GF_CPU(from_f32)(GF_BF16, half, out + i, len);
        GF_CPU(to_f32)(out + i, GF_BF16, half, 0, len);
    }
}

/* n values as words; the second half of a last odd pair is zero. */
static void row_to_words(float *out, gf_word w, gf_dtype t, const char *row, int64_t from,
                         int64_t n)
{
    if (w != GF_WORD_PAIR) {
        row_to_f32(out, w, t, row, from, n);
        return;
    }
    if (n % 2)
        out[n / 2] = 0;
    GF_CPU(to_bf16)((uint16_t *)(void *)out, t, row, from, n);
}

/* Rows in memory are words already. */
static bool ready(gf_word w, gf_dtype t, int64_t k)
{
    return (w == GF_WORD_F32 && t == GF_F32) || (w == GF_WORD_PAIR && t == GF_BF16 && k % 2 == 0);
}

/* Calls rows into the outer cache that will be packed next. Strided rows are beyond what the
 * hardware foresees: without this a panel costs a wait on memory for each. */
static void call_rows(const char *p, int64_t step, int64_t rows, int64_t bytes)
{
    enum { LINE = 64 };
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < bytes; i += LINE)
            __builtin_prefetch(p + r * step + i, 0, 2);
}

/* A masked row: dropout is taken in f32 and rounded to A's type. */
static void masked_row(float *out, gf_word w, const gf_operand *a, const gf_mask *mask, int64_t t,
                       int64_t k0, int64_t n)
{
    float x[128];
    GF_CPU(to_f32)(x, a->dtype, row_at(a, t), k0, n);
    GF_CPU(mask_row)(x, mask, t, k0, n);
    row_to_words(out, w, GF_F32, (const char *)x, 0, n);
}

/* n words of a row into a panel, from word `begin` on. */
static void put_words(float *row, int64_t begin, const float *words, int64_t n)
{
    int64_t i = 0;
    if (begin % GF_DEPTH) {
        i = GF_DEPTH - begin % GF_DEPTH;
        i = i < n ? i : n;
        memcpy(row + gf_panel_at(0, begin), words, (size_t)i * sizeof *row);
    }
    float *d = row + gf_panel_at(0, begin + i);
    for (; i + GF_DEPTH <= n; i += GF_DEPTH, d += GF_MR * GF_DEPTH)
        memcpy(d, words + i, GF_DEPTH * sizeof *d);
    if (i < n)
        memcpy(d, words + i, (size_t)(n - i) * sizeof *d);
}

/* Whole blocks of a whole panel whose rows are words already. */
static void copy_blocks(float *panel, const char *src, int64_t step, int64_t words)
{
    for (int64_t i = 0; i < words; i += GF_DEPTH, src += GF_DEPTH * sizeof *panel)
        for (int r = 0; r < GF_MR; r++, panel += GF_DEPTH)
            memcpy(panel, src + r * step, GF_DEPTH * sizeof *panel);
}

void GF_CPU(pack_a)(float *panel, int64_t begin, gf_word w, const gf_operand *a,
                    const gf_mask *mask, int64_t m0, int64_t rows, int64_t k0, int64_t k)
{
    enum { SLICE = 128 }; /* of all rows before the next: the panel is written as one stream */
    const bool direct = !mask && ready(w, a->dtype, k);
    const int64_t step = element_bytes(a->dtype, a->ld);
    for (int64_t i = 0; i < k; i += SLICE) {
        const int64_t len = k - i < SLICE ? k - i : SLICE;
        const char *src = at(a, m0, k0 + i);
        if (direct && rows == GF_MR && begin % GF_DEPTH == 0 && len == SLICE) {
            copy_blocks(panel + gf_panel_at(0, begin + gf_words(w, i)), src, step,
                        gf_words(w, len));
            continue;
        }
        for (int64_t r = 0; r < rows; r++) {
            float buf[SLICE];
            const float *words = buf;
            if (direct)
                words = (const float *)(const void *)(src + r * step);
            else if (mask)
                masked_row(buf, w, a, mask, m0 + r, k0 + i, len);
            else
                row_to_words(buf, w, a->dtype, row_at(a, m0 + r), k0 + i, len);
            put_words(panel + r * GF_DEPTH, begin + gf_words(w, i), words, gf_words(w, len));
        }
    }
}

/* ---- B as [n,k]: rows are columns of the product -------------------------------------- */

static void pack_strip_nt(float *dst, int64_t height, gf_word w, const gf_operand *b, int64_t n0,
                          int64_t n, int64_t k0, int64_t k, float *buf)
{
    enum { SLICE = 128 };
    const bool direct = ready(w, b->dtype, k);
    for (int64_t i = 0; i < k; i += SLICE) {
        const int64_t len = k - i < SLICE ? k - i : SLICE, words = gf_words(w, len);
        const char *src = at(b, n0, k0 + i);
        int64_t step = element_bytes(b->dtype, b->ld);
        if (n == GF_STRIP)
            call_rows(src + n * step, step, n, element_bytes(b->dtype, len));
        if (!direct) {
            for (int64_t r = 0; r < n; r++)
                row_to_words(buf + r * SLICE, w, b->dtype, row_at(b, n0 + r), k0 + i, len);
            src = (const char *)buf;
            step = SLICE * (int64_t)sizeof *buf;
        }
        for (int64_t r = 0; r < GF_STRIP; r += GF_VL) {
            float *d = dst + r / GF_NR * GF_NR * height + gf_words(w, i) * GF_NR + r % GF_NR;
            const int64_t have = n - r < GF_VL ? n - r : GF_VL;
            transpose(d, GF_NR, src + r * step, step, have < 0 ? 0 : (int)have, words);
        }
    }
}

/* ---- B as [k,n] ----------------------------------------------------------------------- */

enum { AHEAD = 16 }; /* rows: some 500 cycles of packing, a wait on memory */

/* One word row of a chunk of strips: `line` holds padded columns as words. */
static void spread_line(float *dst, int64_t height, int64_t word, const float *line, int64_t n)
{
    for (int64_t j = 0; j < n; j += GF_NR)
        memcpy(dst + j * height + word * GF_NR, line + j, GF_NR * sizeof *dst);
}

#if GF_HAVE_PAIRS
/* Two rows of bf16, interleaved into words; n a multiple of 32. */
static void zip_pairs(float *dst, int64_t height, int64_t word, const uint16_t *even,
                      const uint16_t *odd, int64_t n)
{
    const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40,
                                         8, 39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    for (int64_t j = 0; j < n; j += 32) {
        const __m512i e = _mm512_loadu_si512(even + j), o = _mm512_loadu_si512(odd + j);
        float *d = dst + j * height + word * GF_NR;
        _mm512_storeu_si512(d, _mm512_permutex2var_epi16(e, low, o));
        _mm512_storeu_si512(d + 16, _mm512_permutex2var_epi16(e, high, o));
    }
}

static void pack_nn_pairs(float *dst, int64_t height, const gf_operand *b, int64_t n0, int64_t n,
                          int64_t k0, int64_t k, float *buf)
{
    enum { WIDTH = GF_PACK_STRIPS * GF_STRIP };
    uint16_t *line = (uint16_t *)(void *)buf; /* two rows, and a third of zeros */
    const int64_t padded = (n + GF_STRIP - 1) / GF_STRIP * GF_STRIP;
    memset(line, 0, 3 * WIDTH * sizeof *line);
    const int64_t step = element_bytes(b->dtype, b->ld), bytes = element_bytes(b->dtype, n);
    const bool direct = b->dtype == GF_BF16 && n == padded;
    for (int64_t i = 0; i < k; i += 2) {
        const uint16_t *row[2] = {line, line + 2 * WIDTH};
        for (int64_t h = 0; h < 2 && i + h < k; h++) {
            const char *src = at(b, k0 + i + h, n0);
            call_rows(src + AHEAD * step, step, 1, bytes);
            if (direct) {
                row[h] = (const uint16_t *)(const void *)src;
                continue;
            }
            GF_CPU(to_bf16)(line + h * WIDTH, b->dtype, row_at(b, k0 + i + h), n0, n);
            row[h] = line + h * WIDTH;
        }
        zip_pairs(dst, height, i / 2, row[0], row[1], padded);
    }
}
#endif

static void pack_nn(float *dst, int64_t height, gf_word w, const gf_operand *b, int64_t n0,
                    int64_t n, int64_t k0, int64_t k, float *buf)
{
    const int64_t padded = (n + GF_STRIP - 1) / GF_STRIP * GF_STRIP;
    const bool direct = w == GF_WORD_F32 && b->dtype == GF_F32 && n == padded;
    const int64_t step = element_bytes(b->dtype, b->ld), bytes = element_bytes(b->dtype, n);
    memset(buf, 0, (size_t)padded * sizeof *buf);
    for (int64_t i = 0; i < k; i++) {
        const char *src = at(b, k0 + i, n0);
        call_rows(src + AHEAD * step, step, 1, bytes);
        if (direct) {
            spread_line(dst, height, i, (const float *)(const void *)src, padded);
            continue;
        }
        row_to_f32(buf, w, b->dtype, row_at(b, k0 + i), n0, n);
        spread_line(dst, height, i, buf, padded);
    }
}

void GF_CPU(pack_b)(float *dst, int64_t height, gf_word w, const gf_operand *b, bool nn, int64_t n0,
                    int64_t n, int64_t k0, int64_t k, float *buf)
{
    const int64_t done = GF_CPU(pack_lines)(dst, height, w, b, nn, n0, n, k0, k);
    dst += gf_words(w, done) * GF_NR;
    k0 += done;
    k -= done;
    if (k == 0)
        return;
    if (!nn) {
        for (int64_t j = 0; j < n; j += GF_STRIP)
            pack_strip_nt(dst + j * height, height, w, b, n0 + j,
                          n - j < GF_STRIP ? n - j : GF_STRIP, k0, k, buf);
        return;
    }
#if GF_HAVE_PAIRS
    if (w == GF_WORD_PAIR) {
        pack_nn_pairs(dst, height, b, n0, n, k0, k, buf);
        return;
    }
#endif
    pack_nn(dst, height, w, b, n0, n, k0, k, buf);
}
