/* test_noise.c - NEFTune's noise: its bounds and mean, one draw for each token and channel wherever
 * they stand, fixed values. */
#include "support/op_case.h"

#include "noise.h"

enum { WIDTH = 70, TOKENS = 90 };

static void run(gf_backend *be, float *x, const gf_span *span, int count, gf_noise noise)
{
    const int64_t n = span[count - 1].start + span[count - 1].len;
    const gf_spans row = {.tokens = n, .count = count, .span = span};
    OP_OK(*be, gf_embed_noise(be, gf_view(x, GF_F32, "x", n, WIDTH, 0), &row, noise));
}

Test(noise, uniform)
{
    static float x[TOKENS * WIDTH];
    const gf_span one[] = {{0, TOKENS, 0, TOKENS, 3}};
    gf_backend be;
    EACH_ISA(be, 2)
    {
        memset(x, 0, sizeof x);
        run(&be, x, one, 1, (gf_noise){5.0f, 42, 1});
        const double size = 5 / sqrt(TOKENS * WIDTH);
        double sum = 0, squares = 0, most = 0;
        for (int i = 0; i < TOKENS * WIDTH; i++) {
            sum += (double)x[i];
            squares += (double)x[i] * (double)x[i];
            most = fmax(most, fabs((double)x[i]));
        }
        /* of n draws: the mean within 5 deviations, the variance a third of size^2 within 5 % */
        cr_assert_leq(fabs(sum), 5 * size * sqrt(TOKENS * WIDTH / 3.0));
        cr_assert_float_eq(squares / (TOKENS * WIDTH), size * size / 3, 0.05 * size * size / 3);
        cr_assert(most <= size && most > 0.99 * size);
        cr_assert_neq(x[0], x[1]);
    }
}

/* An example's noise is the same wherever it stands; another example's, epoch's or seed's is not.
 */
Test(noise, keys)
{
    static float x[TOKENS * WIDTH], y[TOKENS * WIDTH];
    const gf_span both[] = {{0, 20, 0, 20, 7}, {20, 30, 20, 30, 1ULL << 40}};
    const gf_span alone[] = {{0, 30, 0, 30, 1ULL << 40}};
    const gf_noise noise = {5.0f, 42, 1};
    gf_backend be;
    EACH_ISA(be, 3)
    {
        memset(x, 0, sizeof x), memset(y, 0, sizeof y);
        run(&be, x, both, 2, noise);
        run(&be, y, alone, 1, noise);
        cr_assert_eq(memcmp(x + 20 * WIDTH, y, 30 * WIDTH * sizeof *x), 0);
        const gf_noise other[] = {{5.0f, 42, 2}, {5.0f, 43, 1}, {5.0f, 42 + (1ULL << 32), 1}};
        for (int i = 0; i < 3; i++) {
            memset(x, 0, sizeof x);
            run(&be, x, alone, 1, other[i]);
            cr_assert_neq(x[5], y[5]);
        }
        memset(x, 0, sizeof x);
        run(&be, x, (gf_span[]){{0, 30, 0, 30, 8}}, 1, noise);
        cr_assert_neq(x[5], y[5]);
    }
}

/* The draws by the definition, from Philox itself. */
Test(noise, definition)
{
    static float x[3 * WIDTH];
    const gf_span one[] = {{0, 3, 0, 3, 5}};
    const float size = 2.0f / sqrtf(3.0f * WIDTH);
    gf_backend be;
    EACH_ISA(be, 1)
    {
        for (int i = 0; i < 3 * WIDTH; i++)
            x[i] = 1.0f;
        run(&be, x, one, 1, (gf_noise){2.0f, 9, 4});
        for (uint32_t i = 0; i < 3 * WIDTH; i++) {
            const uint32_t key[2] = {9, 4 * 0x9E3779B9u}, channel = i % WIDTH;
            const uint32_t counter[4] = {5, GF_NOISE_MODULE << 8, i / WIDTH, channel / 4};
            uint32_t word[4];
            gf_philox(word, counter, key);
            const float u = (float)(2.0 * (double)(word[channel % 4] >> 8) + 1 - 0x1p24) * 0x1p-24f;
            cr_assert_eq(x[i], 1.0f + size * u, "%u", i);
        }
    }
}
