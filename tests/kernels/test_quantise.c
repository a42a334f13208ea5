/* test_quantise.c - blocks as gguf-py makes them, q4_k no worse than llama.cpp's; numbers that have
 * no block. */
#include "graft/tensor.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

Test(quantise, as_gguf_py)
{
    enum { N = 32 * 64 };
    FILE *f = fopen(GRAFT_TESTS "/golden/dtype/quantised.bin", "rb");
    cr_assert_not_null(f);
    char name[9] = "";
    int types = 0;
    while (fread(name, 8, 1, f) == 1) {
        const gf_dtype t = strcmp(name, "q8_0") == 0 ? GF_Q8_0 : GF_Q4_0;
        static float in[N];
        static unsigned char want[N * 2], got[N * 2];
        const size_t size = (size_t)gf_row_bytes(t, N);
        cr_assert(fread(in, sizeof in, 1, f) == 1 && fread(want, size, 1, f) == 1);
        gf_from_f32(t, got, in, N);
        for (size_t i = 0; i < size; i++)
            cr_assert_eq(got[i], want[i], "%s: block %d, byte %d: %02x, want %02x", name,
                         (int)(i / (size_t)gf_dtype_size(t)), (int)(i % (size_t)gf_dtype_size(t)),
                         got[i], want[i]);
        types++;
    }
    fclose(f);
    cr_assert_eq(types, 2);
}

static double square_error(const float *x, const void *blocks)
{
    float y[256];
    double sum = 0;
    gf_to_f32(y, GF_Q4_K, blocks, 256);
    for (int i = 0; i < 256; i++)
        sum += ((double)y[i] - (double)x[i]) * ((double)y[i] - (double)x[i]);
    return sum;
}

/* One row may come out a little worse, as a search goes; all together must not. */
Test(quantise, q4_k_as_good_as_llama_cpp)
{
    enum { ROWS = 16, SIZE = 144 };
    static float x[ROWS][256];
    static unsigned char theirs[ROWS][SIZE], ours[ROWS][SIZE];
    FILE *f = fopen(GRAFT_TESTS "/golden/dtype/q4_k.bin", "rb");
    cr_assert(f && fread(x, sizeof x, 1, f) == 1 && fread(theirs, sizeof theirs, 1, f) == 1);
    fclose(f);
    gf_from_f32(GF_Q4_K, ours, x[0], ROWS * 256);
    double ratio = 0;
    for (int i = 0; i < ROWS; i++) {
        const double a = square_error(x[i], ours[i]), b = square_error(x[i], theirs[i]);
        cr_assert_leq(a, 1.08 * b, "row %d: %g, llama.cpp has %g", i, a, b);
        ratio += b > 0 ? a / b / ROWS : 1.0 / ROWS;
    }
    cr_assert_leq(ratio, 1.0, "%g", ratio);
    /* Any compiler and instruction set makes these bits: FNV-1a of what one number after another
     * gave, before eight were fitted side by side. */
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < sizeof ours; i++)
        hash = (hash ^ ours[i / SIZE][i % SIZE]) * 0x100000001b3u;
    cr_assert_eq(hash, 0x4f8a57b7299533eau, "%llx", (unsigned long long)hash);
}

static const gf_dtype written[] = {GF_Q8_0, GF_Q4_0, GF_Q4_K};

/* Whatever the numbers: no value is further off than half of a step of a plain grid over the
 * line's range would be, and a step of f16 or of six bits of the scale. */
Test(quantise, q4_k_bound)
{
    static const float size[] = {1.0f, 1e-4f, 3e4f};
    uint32_t seed = 1;
    for (int round = 0; round < 300; round++) {
        float x[256], y[256];
        unsigned char b[144];
        for (int i = 0; i < 256; i++) {
            seed = seed * 1664525u + 1013904223u;
            x[i] = ((float)(seed >> 8) * 0x1p-24f - 0.4f) * size[round % 3];
        }
        gf_from_f32(GF_Q4_K, b, x, 256);
        gf_to_f32(y, GF_Q4_K, b, 256);
        for (int i = 0; i < 256; i++) /* 0.5 / 15, a third of it for the search, 1 / 63 / 2 */
            cr_assert_float_eq(y[i], x[i], 0.055f * size[round % 3], "%d: %g, want %g", i,
                               (double)y[i], (double)x[i]);
    }
}

Test(quantise, constants_and_zero)
{
    static const float value[] = {0.0f, -0.0f, 1.0f, -1.0f, 0.0371f, -812.5f};
    for (size_t k = 0; k < sizeof written / sizeof *written; k++)
        for (size_t v = 0; v < sizeof value / sizeof *value; v++) {
            float x[256], y[256];
            unsigned char b[512];
            for (int i = 0; i < 256; i++)
                x[i] = value[v];
            gf_from_f32(written[k], b, x, 256);
            gf_to_f32(y, written[k], b, 256);
            const float step = 0x1p-10f * fabsf(value[v]) + 0x1p-20f; /* of f16, of its denormals */
            for (int i = 0; i < 256; i++)
                cr_assert_float_eq(y[i], x[i], step, "%s %g: %g", gf_dtype_name(written[k]),
                                   (double)x[i], (double)y[i]);
        }
}

/* NaN and Inf spoil their block, visibly, and no other; huge numbers never come back as small ones;
 * tiny ones become 0. */
Test(quantise, no_numbers)
{
    for (size_t k = 0; k < sizeof written / sizeof *written; k++) {
        const gf_dtype t = written[k];
        const int64_t block = gf_dtype_block(t);
        static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
        for (int v = 0; v < 4; v++) {
            float x[512], y[512];
            unsigned char b[1024];
            for (int i = 0; i < 512; i++)
                x[i] = (float)(i % 7 - 3);
            x[block + 9] = bad[v];
            gf_from_f32(t, b, x, 512);
            gf_to_f32(y, t, b, 512);
            for (int64_t i = 0; i < 512; i++)
                cr_assert_eq(isnan(y[i]), i / block == 1, "%s: %d", gf_dtype_name(t), (int)i);
        }
        static const float huge[] = {1e12f, 3.4e38f};
        for (int v = 0; v < 2; v++) {
            float x[256], y[256];
            unsigned char b[512];
            for (int i = 0; i < 256; i++)
                x[i] = i % 2 ? huge[v] : -huge[v];
            gf_from_f32(t, b, x, 256);
            gf_to_f32(y, t, b, 256);
            for (int i = 0; i < 256; i++)
                cr_assert_not(isfinite(y[i]), "%s: %g", gf_dtype_name(t), (double)y[i]);
        }
        float x[256], y[256];
        unsigned char b[512];
        for (int i = 0; i < 256; i++)
            x[i] = i % 2 ? 1e-38f : -1e-44f;
        gf_from_f32(t, b, x, 256);
        gf_to_f32(y, t, b, 256);
        for (int i = 0; i < 256; i++)
            cr_assert_eq(y[i], 0.0f, "%s", gf_dtype_name(t));
    }
}

Test(quantise, what_is_written)
{
    cr_assert(gf_dtype_writable(GF_Q4_K) && gf_dtype_writable(GF_BF16));
    cr_assert_not(gf_dtype_writable(GF_Q6_K) || gf_dtype_writable(GF_I32));
}
