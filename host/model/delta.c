#include "model/delta.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* Elements one by one, in portable C. libm's fmaf is slow where the CPU has none; the bits are the
 * same. */
static void plain(float *w, const float *b, const float *a, int64_t rows, int64_t cols, int64_t k,
                  int64_t r, float scale)
{
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t col = 0; col < cols; col++) {
            float sum = 0;
            for (int64_t i = 0; i < r; i++)
                sum = fmaf(b[row * r + i], a[i * k + col], sum);
            w[row * k + col] += sum * scale;
        }
    }
}

#if defined(__x86_64__)
#include <immintrin.h>

#define WITH_FMA __attribute__((target("avx2,fma")))

#define LANES 8           /* f32 in a vector */
#define TILE_ROWS 4       /* by TILE_COLS: eight sums, and room for their operands, */
#define TILE_COLS 16      /* in the sixteen vector registers of AVX2 */
#define PACK_FLOATS 16384 /* 64 KB: a block of A that stays in cache while the rows pass */

/* A full tile. `step`: from row to row of A. */
WITH_FMA static void tile(float *w, const float *b, const float *a, int64_t step, int64_t k,
                          int64_t r, float scale)
{
    __m256 sum[TILE_ROWS][2];
    for (int row = 0; row < TILE_ROWS; row++)
        sum[row][0] = sum[row][1] = _mm256_setzero_ps();
    for (int64_t i = 0; i < r; i++) {
        const __m256 a0 = _mm256_loadu_ps(a + i * step);
        const __m256 a1 = _mm256_loadu_ps(a + i * step + LANES);
        for (int row = 0; row < TILE_ROWS; row++) {
            const __m256 x = _mm256_broadcast_ss(b + row * r + i);
            sum[row][0] = _mm256_fmadd_ps(x, a0, sum[row][0]);
            sum[row][1] = _mm256_fmadd_ps(x, a1, sum[row][1]);
        }
    }
    const __m256 s = _mm256_set1_ps(scale);
    for (int row = 0; row < TILE_ROWS; row++) {
        for (int half = 0; half < 2; half++) {
            float *at = w + row * k + half * LANES;
            const __m256 delta = _mm256_mul_ps(sum[row][half], s); /* rounded before the sum */
            _mm256_storeu_ps(at, _mm256_add_ps(_mm256_loadu_ps(at), delta));
        }
    }
}

/* Columns [at, end) of all full tiles. Packed, because rows of A stand a power of two apart in most
 * models, where they would push each other out of the cache. */
WITH_FMA static void block(float *w, const float *b, const float *a, int64_t rows, int64_t at,
                           int64_t end, int64_t k, int64_t r, float scale)
{
    float pack[PACK_FLOATS];
    const bool fits = r * (end - at) <= PACK_FLOATS;
    for (int64_t col = at; fits && col < end; col += TILE_COLS)
        for (int64_t i = 0; i < r; i++)
            memcpy(pack + (col - at) * r + i * TILE_COLS, a + i * k + col,
                   TILE_COLS * sizeof *pack);
    for (int64_t row = 0; row < rows; row += TILE_ROWS)
        for (int64_t col = at; col < end; col += TILE_COLS)
            tile(w + row * k + col, b + row * r, fits ? pack + (col - at) * r : a + col,
                 fits ? TILE_COLS : k, k, r, scale);
}

WITH_FMA static void tiled(float *w, const float *b, const float *a, int64_t rows, int64_t k,
                           int64_t r, float scale)
{
    const int64_t full_rows = rows / TILE_ROWS * TILE_ROWS, full_cols = k / TILE_COLS * TILE_COLS;
    int64_t cols = PACK_FLOATS / r / TILE_COLS * TILE_COLS;
    cols = cols < TILE_COLS ? TILE_COLS : cols;
    for (int64_t at = 0; at < full_cols; at += cols)
        block(w, b, a, full_rows, at, at + cols < full_cols ? at + cols : full_cols, k, r, scale);
    plain(w + full_cols, b, a + full_cols, full_rows, k - full_cols, k, r, scale);
    plain(w + full_rows * k, b + full_rows * r, a, rows - full_rows, k, k, r, scale);
}
#endif

void gf_delta_add(float *w, const float *b, const float *a, int64_t rows, int64_t k, int64_t r,
                  float scale)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        tiled(w, b, a, rows, k, r, scale);
        return;
    }
#endif
    plain(w, b, a, rows, k, k, r, scale);
}

void gf_delta_scale(float *w, const float *magnitude, int64_t rows, int64_t k)
{
    for (int64_t row = 0; row < rows; row++) {
        float *x = w + row * k;
        double sum = 0;
        for (int64_t i = 0; i < k; i++)
            sum += (double)x[i] * (double)x[i];
        const float length = (float)sqrt(sum);
        const float factor = length > 0 ? magnitude[row] / length : 1;
        for (int64_t i = 0; i < k; i++)
            x[i] *= factor;
    }
}
