#include "model/delta.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define TILE_ROWS 4       /* with TILE_COLS 16: eight 8-wide sums, and room for their operands, */
#define TILE_COLS 16      /* in the sixteen vector registers of AVX2 */
#define PACK_FLOATS 16384 /* 64 KB: a block of A that stays in cache while the rows pass */

/* Inlined into one function for each instruction set. */
#define INLINE static inline __attribute__((always_inline))

/* A full tile. `step`: from row to row of A. */
INLINE void tile(float *w, const float *b, const float *a, int64_t step, int64_t k, int64_t r,
                 float scale)
{
    float sum[TILE_ROWS][TILE_COLS] = {{0}};
    for (int64_t i = 0; i < r; i++)
        for (int row = 0; row < TILE_ROWS; row++)
            for (int col = 0; col < TILE_COLS; col++)
                sum[row][col] = fmaf(b[row * r + i], a[i * step + col], sum[row][col]);
    for (int row = 0; row < TILE_ROWS; row++)
        for (int col = 0; col < TILE_COLS; col++)
            w[row * k + col] += sum[row][col] * scale;
}

/* What is left at the edges; the same chain, so the same bits. */
INLINE void edge(float *w, const float *b, const float *a, int64_t rows, int64_t cols, int64_t k,
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

/* Columns [at, end) of all full tiles. Packed, because rows of A stand a power of two apart in most
 * models, where they would push each other out of the cache. */
INLINE void block(float *w, const float *b, const float *a, int64_t rows, int64_t at, int64_t end,
                  int64_t k, int64_t r, float scale)
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

INLINE void all(float *w, const float *b, const float *a, int64_t rows, int64_t k, int64_t r,
                float scale)
{
    const int64_t full_rows = rows / TILE_ROWS * TILE_ROWS, full_cols = k / TILE_COLS * TILE_COLS;
    int64_t cols = PACK_FLOATS / r / TILE_COLS * TILE_COLS;
    cols = cols < TILE_COLS ? TILE_COLS : cols;
    for (int64_t at = 0; at < full_cols; at += cols)
        block(w, b, a, full_rows, at, at + cols < full_cols ? at + cols : full_cols, k, r, scale);
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
