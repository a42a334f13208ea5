#include "model/delta.h"

#include <math.h>

#define TILE_ROWS 4  /* with TILE_COLS 16: eight 8-wide sums, and room for their operands, */
#define TILE_COLS 16 /* in the sixteen vector registers of AVX2 */

/* A full tile, inlined into one function for each instruction set. */
static inline __attribute__((always_inline)) void tile(float *w, const float *b, const float *a,
                                                       int64_t k, int64_t r, float scale)
{
    float sum[TILE_ROWS][TILE_COLS] = {{0}};
    for (int64_t i = 0; i < r; i++)
        for (int row = 0; row < TILE_ROWS; row++)
            for (int col = 0; col < TILE_COLS; col++)
                sum[row][col] = fmaf(b[row * r + i], a[i * k + col], sum[row][col]);
    for (int row = 0; row < TILE_ROWS; row++)
        for (int col = 0; col < TILE_COLS; col++)
            w[row * k + col] += sum[row][col] * scale;
}

/* What is left at the edges; the same chain, so the same bits. */
static inline __attribute__((always_inline)) void edge(float *w, const float *b, const float *a,
                                                       int64_t rows, int64_t cols, int64_t k,
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

static inline __attribute__((always_inline)) void
all(float *w, const float *b, const float *a, int64_t rows, int64_t k, int64_t r, float scale)
{
    const int64_t full_rows = rows / TILE_ROWS * TILE_ROWS, full_cols = k / TILE_COLS * TILE_COLS;
    for (int64_t col = 0; col < full_cols; col += TILE_COLS) /* its part of A stays in cache */
        for (int64_t row = 0; row < full_rows; row += TILE_ROWS)
            tile(w + row * k + col, b + row * r, a + col, k, r, scale);
    edge(w + full_cols, b, a + full_cols, full_rows, k - full_cols, k, r, scale);
    edge(w + full_rows * k, b + full_rows * r, a, rows - full_rows, k, k, r, scale);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void
all_avx2(float *w, const float *b, const float *a, int64_t rows, int64_t k, int64_t r, float scale)
{
    all(w, b, a, rows, k, r, scale);
}
#endif

void gf_delta_add(float *w, const float *b, const float *a, int64_t rows, int64_t k, int64_t r,
                  float scale)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        all_avx2(w, b, a, rows, k, r, scale);
        return;
    }
#endif
    all(w, b, a, rows, k, r, scale); /* libm's fmaf: slow, the same bits */
}
