/* test_dtype.c - conversions: every 16-bit value, rounding at every midpoint, gguf-py's blocks. */
#include "graft/tensor.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static uint32_t bits(float x)
{
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

/* The value of a 16-bit float with `e` exponent and `m` mantissa bits, from the definition. */
static double value_of(unsigned x, int e, int m)
{
    const int exponent = (int)(x >> m) & ((1 << e) - 1), bias = (1 << (e - 1)) - 1;
    const double mantissa = (double)(x & ((1u << m) - 1u)), sign = x >> 15 ? -1.0 : 1.0;
    if (exponent == (1 << e) - 1)
        return mantissa != 0.0 ? NAN : sign * INFINITY;
    if (exponent == 0)
        return sign * ldexp(mantissa, 1 - bias - m);
    return sign * ldexp(mantissa + ldexp(1.0, m), exponent - bias - m);
}

Test(dtype, every_half)
{
    for (unsigned x = 0; x < 65536; x++) {
        const double b = value_of(x, 8, 7), h = value_of(x, 5, 10);
        const float gb = gf_bf16_to_f32((uint16_t)x), gh = gf_f16_to_f32((uint16_t)x);
        cr_assert(isnan(b) ? isnan(gb) : bits(gb) == bits((float)b), "bf16 %04x", x);
        cr_assert(isnan(h) ? isnan(gh) : bits(gh) == bits((float)h), "f16 %04x", x);
        if (!isnan(b))
            cr_assert_eq(gf_f32_to_bf16(gb), x);
        if (!isnan(h))
            cr_assert_eq(gf_f32_to_f16(gh), x);
    }
    cr_assert(isnan(gf_bf16_to_f32(gf_f32_to_bf16(NAN))) &&
              isnan(gf_f16_to_f32(gf_f32_to_f16(NAN))));
}

/* Between two neighbours lies a midpoint: it goes to the even one, its f32 neighbours to
 * the near. */
Test(dtype, rounding)
{
    for (unsigned x = 0; x < 0x7F80; x++) {
        const float lo = (float)value_of(x, 8, 7);
        const uint32_t mid = bits(lo) + 0x8000u;
        for (int d = -1; d <= 1; d++) {
            float y;
            const uint32_t b = mid + (uint32_t)d;
            memcpy(&y, &b, sizeof y);
            const unsigned want = d < 0 ? x : d > 0 ? x + 1 : x + (x & 1u);
            cr_assert_eq(gf_f32_to_bf16(y), want);
            cr_assert_eq(gf_f32_to_bf16(-y), want | 0x8000u);
        }
    }
    for (unsigned x = 0; x < 0x7C00; x++) {
        const double lo = value_of(x, 5, 10), hi = x == 0x7BFF ? 65536.0 : value_of(x + 1, 5, 10);
        const float mid = (float)((lo + hi) / 2); /* exact in f32 */
        cr_assert_eq(gf_f32_to_f16(mid), x + (x & 1u), "f16 %04x", x);
        cr_assert_eq(gf_f32_to_f16(nextafterf(mid, 0.0f)), x);
        cr_assert_eq(gf_f32_to_f16(-nextafterf(mid, INFINITY)), (x + 1) | 0x8000u);
    }
    cr_assert_eq(gf_f32_to_f16(1e30f), 0x7C00);
    cr_assert_eq(gf_f32_to_f16(1e-30f), 0);
}

Test(dtype, table)
{
    cr_assert_str_eq(gf_dtype_name(GF_Q5_1), "q5_1");
    cr_assert_eq(gf_dtype_block(GF_Q4_0), 32);
    cr_assert_eq(gf_dtype_size(GF_Q8_0), 34);
    cr_assert(gf_dtype_quantised(GF_Q4_1) && !gf_dtype_quantised(GF_BF16));
    cr_assert_eq(gf_row_bytes(GF_Q4_1, 576), 360);
}

Test(dtype, blocks_as_gguf_py)
{
    FILE *f = fopen(GRAFT_TESTS "/golden/dtype/blocks.bin", "rb");
    cr_assert_not_null(f);
    char name[9] = "";
    int types = 0;
    while (fread(name, 8, 1, f) == 1) {
        gf_dtype t = GF_Q8_0;
        while (t < GF_DTYPES && strcmp(gf_dtype_name(t), name) != 0)
            t++;
        cr_assert_lt(t, GF_DTYPES, "%s", name);
        static unsigned char raw[12 * 256 * 2];
        static float want[12 * 256], got[12 * 256];
        const int64_t n = 12 * (gf_dtype_block(t) > 64 ? gf_dtype_block(t) : 64);
        cr_assert_eq(fread(raw, (size_t)gf_row_bytes(t, n), 1, f), 1u);
        cr_assert_eq(fread(want, sizeof *want, (size_t)n, f), (size_t)n);
        gf_to_f32(got, t, raw, n);
        for (int64_t i = 0; i < n; i++)
            cr_assert(isnan(want[i]) ? isnan(got[i]) : bits(got[i]) == bits(want[i]),
                      "%s: value %d is %g, want %g", name, (int)i, (double)got[i], (double)want[i]);
        types++;
    }
    fclose(f);
    cr_assert_eq(types, GF_DTYPES - GF_Q8_0);
}
