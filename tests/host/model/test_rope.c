#include <criterion/criterion.h>
#include <math.h>

#include "model/config.h"

/* One f32 rounding more or less (2^-24), and half a digit of the vectors' last place. */
#define ONE_STEP 6.7e-8
/* Beyond max_position the model's theta is an f32, that of the vectors a double: two more. */
#define THREE_STEPS 1.9e-7

/* FORMATS 2.5: frequencies of heads 128 wide, printed with eight digits. */
static void expect_frequencies(const gf_rope_spec *r, int64_t length, const int *index,
                               const double *want, int count, double tolerance)
{
    float inv[64];
    gf_rope_frequencies(inv, r, length);
    for (int i = 0; i < count; i++) {
        const double got = (double)inv[index[i]];
        cr_expect(fabs(got - want[i]) <= tolerance * want[i], "%d: %.9g for %.9g", index[i], got,
                  want[i]);
    }
}

static const int seven[] = {0, 1, 16, 32, 40, 48, 63};

Test(rope, plain_and_linear)
{
    gf_rope_spec r = {.theta = 1e4, .rotary = 128, .max_position = 2048};
    expect_frequencies(&r, 0, seven,
                       (const double[]){1, 0.86596435, 0.1, 0.0099999998, 0.0031622779,
                                        0.0010000000, 0.00011547819},
                       7, ONE_STEP);
    r.type = GF_ROPE_LINEAR;
    r.factor = 4;
    expect_frequencies(
        &r, 0, seven,
        (const double[]){0.25, 0.21649109, 0.025, 0.0025, 0.00079056947, 0.00025, 2.8869548e-5}, 7,
        ONE_STEP);
}

Test(rope, llama3)
{
    const gf_rope_spec r = {.type = GF_ROPE_LLAMA3,
                            .theta = 5e5,
                            .rotary = 128,
                            .factor = 32,
                            .low_freq_factor = 1,
                            .high_freq_factor = 4,
                            .original_max = 8192};
    expect_frequencies(&r, 0, seven,
                       (const double[]){1, 0.81461722, 0.037606031, 0.00042955671, 8.5702559e-6,
                                        1.6619674e-6, 7.6723147e-8},
                       7, ONE_STEP);
}

Test(rope, yarn)
{
    gf_rope_spec r = {.type = GF_ROPE_YARN,
                      .theta = 1e6,
                      .rotary = 128,
                      .factor = 4,
                      .original_max = 32768,
                      .beta_fast = 32,
                      .beta_slow = 1,
                      .truncate = true};
    expect_frequencies(&r, 0, seven,
                       (const double[]){1, 0.80584222, 0.031622779, 0.00060294115, 4.4456985e-5,
                                        7.9056936e-6, 3.1023444e-7},
                       7, ONE_STEP);
    float inv[64];
    cr_expect_float_eq(gf_rope_frequencies(inv, &r, 0), 1.138629436, 1e-9);
    r.mscale = 1;
    r.mscale_all_dim = 1;
    cr_expect_float_eq(gf_rope_frequencies(inv, &r, 0), 1, 1e-12);
    r.attention_factor = 0.5;
    cr_expect_float_eq(gf_rope_frequencies(inv, &r, 0), 0.5, 1e-12);
}

Test(rope, dynamic)
{
    const gf_rope_spec r = {
        .type = GF_ROPE_DYNAMIC, .theta = 1e4, .rotary = 128, .factor = 4, .max_position = 2048};
    static const int index[] = {1, 32, 63};
    expect_frequencies(&r, 2048, index, (const double[]){0.86596435, 0.0099999998, 0.00011547819},
                       3, ONE_STEP);
    expect_frequencies(&r, 4096, index, (const double[]){0.84412205, 0.0044153752, 2.3095638e-5}, 3,
                       THREE_STEPS);
}

/* FORMATS 2.5: another divisor past original_max, the attention factor by the paper's fit. */
Test(rope, longrope)
{
    float few[64], many[64], inv[64], plain[64];
    for (int i = 0; i < 64; i++) {
        few[i] = 1 + (float)i / 64;
        many[i] = 1 + (float)i;
    }
    gf_rope_spec r = {.type = GF_ROPE_LONGROPE,
                      .theta = 1e4,
                      .rotary = 128,
                      .factor = 32,
                      .original_max = 4096,
                      .short_factor = few,
                      .long_factor = many};
    const gf_rope_spec base = {.theta = 1e4, .rotary = 128};
    gf_rope_frequencies(plain, &base, 0);
    cr_expect_float_eq(gf_rope_frequencies(inv, &r, 4096), 1.1902380714, 1e-10);
    for (int i = 0; i < 64; i++)
        cr_expect_float_eq(inv[i] * few[i], plain[i], 2e-7 * (double)plain[i]);
    gf_rope_frequencies(inv, &r, 4097);
    for (int i = 0; i < 64; i++)
        cr_expect_float_eq(inv[i] * many[i], plain[i], 2e-7 * (double)plain[i]);
    r.attention_factor = 1.5;
    cr_expect_eq(gf_rope_frequencies(inv, &r, 1), 1.5);
    cr_expect(gf_rope_by_length(&r) && !gf_rope_by_length(&base));
    cr_expect(gf_rope_turns_anew(&r, 4096, 4097) && gf_rope_turns_anew(&r, 5000, 10));
    cr_expect(!gf_rope_turns_anew(&r, 0, 4097) && !gf_rope_turns_anew(&r, 10, 4096) &&
              !gf_rope_turns_anew(&base, 4096, 4097));
}

Test(rope, divisors)
{
    float divisor[2] = {1, 8}, inv[2];
    const gf_rope_spec r = {.theta = 1e4, .rotary = 4, .divisor = divisor};
    gf_rope_frequencies(inv, &r, 0);
    cr_expect(inv[0] == 1 && inv[1] == 0.01F / 8);
}

Test(rope, table)
{
    const gf_rope_spec r = {.type = GF_ROPE_YARN,
                            .theta = 1e4,
                            .rotary = 8,
                            .factor = 4,
                            .original_max = 64,
                            .beta_fast = 32,
                            .beta_slow = 1,
                            .truncate = true};
    float inv[4], cosine[20], sine[20];
    const double scale = gf_rope_frequencies(inv, &r, 0);
    gf_rope_table(cosine, sine, &r, 1000, 5, 1005);
    for (int t = 0; t < 5; t++) {
        for (int i = 0; i < 4; i++) {
            const double angle = (double)((float)(1000 + t) * inv[i]);
            cr_expect_eq(cosine[4 * t + i], (float)cos(angle) * (float)scale);
            cr_expect_eq(sine[4 * t + i], (float)sin(angle) * (float)scale);
        }
    }
    gf_rope_table(cosine, sine, &r, 0, 1, 1);
    cr_expect(cosine[0] == (float)scale && sine[3] == 0);
}
