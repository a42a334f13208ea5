/* test_vec.c - exp and tanh of sixteen lanes over all of f32, in the vectors that this file is
 * compiled for (the plain ones, unless the build says otherwise); glu, xent and attention see those
 * of every instruction set. */
#include "vec.h"

#include <criterion/criterion.h>

/* |got - want| in units of want's last place; denormals share one. */
static double ulps(float got, double want)
{
    const double place = ldexp(1.0, ilogb(fmax(fabs(want), 0x1p-126)) - 23);
    return fabs((double)got - want) / place;
}

Test(vec, exp_and_tanh)
{
    for (uint32_t b = 0; b < 0xFF800000u; b += 16 * 9973) { /* 9973: a prime, 26 thousand vectors */
        float in[16], e[16], t[16];
        for (uint32_t i = 0; i < 16; i++) {
            const uint32_t bits = b + i * 9973;
            memcpy(in + i, &bits, sizeof bits);
        }
        v_store(e, v_exp(v_load(in)));
        v_store(t, v_tanh(v_load(in)));
        for (int i = 0; i < 16; i++) {
            const double x = (double)in[i];
            if (isnan(in[i])) {
                cr_assert(isnan(e[i]) && isnan(t[i]));
                continue;
            }
            cr_assert_leq(ulps(t[i], tanh(x)), 2.0, "tanh(%a) is %a", x, (double)t[i]);
            if (x > 88.7228) /* ln of the largest f32 */
                cr_assert(isinf(e[i]), "exp(%g)", x);
            else
                cr_assert_leq(ulps(e[i], exp(x)), 2.0, "exp(%a) is %a", x, (double)e[i]);
        }
    }
}

Test(vec, powers_of_two)
{
    for (int b = -2540000; b <= 2032000; b += 16 * 37) { /* x in [-158.75, 127], 1/16000 apart */
        float in[16], out[16];
        for (int i = 0; i < 16; i++)
            in[i] = (float)(b + 37 * i > 2032000 ? 2032000 : b + 37 * i) / 16000.0f;
        v_store(out, v_exp2(v_load(in)));
        for (int i = 0; i < 16; i++)
            cr_assert_leq(ulps(out[i], exp2((double)in[i])), 2.0, "2^%a", (double)in[i]);
    }
    const float in[16] = {-INFINITY, -3e38f, -151.0f, 0.0f, -0.0f, NAN, 1.0f, -149.0f};
    float out[16];
    v_store(out, v_exp2(v_load(in)));
    cr_assert(out[0] == 0.0f && out[1] == 0.0f && out[2] == 0.0f && out[3] == 1.0f);
    cr_assert(out[4] == 1.0f && isnan(out[5]) && out[6] == 2.0f && out[7] == 0x1p-149f);
}

Test(vec, limits)
{
    const float in[16] = {-INFINITY, -3e38f, -104.0f, 0.0f, -0.0f, 89.0f, INFINITY, NAN};
    float out[16];
    v_store(out, v_exp(v_load(in)));
    cr_assert(out[0] == 0.0f && out[1] == 0.0f && out[2] == 0.0f);
    cr_assert(out[3] == 1.0f && out[4] == 1.0f && isinf(out[5]) && isinf(out[6]) && isnan(out[7]));
}

Test(vec, lanes)
{
    float x[16], y[256], in[17];
    for (int i = 0; i < 17; i++)
        in[i] = (float)(i + 1);
    cr_assert_eq(v_sum(v_load(in)), 136.0f);
    cr_assert_eq(v_hmax(v_load(in + 1)), 17.0f);
    for (int n = 0; n < 16; n++) {
        v_store(x, v_load_n(in, n));
        for (int i = 0; i < 16; i++)
            cr_assert_eq(x[i], i < n ? in[i] : 0.0f);
        v_store(x, v_keep(v_load(in), n - 3, n, v_set1(-1.0f)));
        for (int i = 0; i < 16; i++)
            cr_assert_eq(x[i], i >= n - 3 && i < n ? in[i] : -1.0f);
        v_store(x, v_zero());
        v_store_n(x, v_load(in), n);
        for (int i = 0; i < 16; i++)
            cr_assert_eq(x[i], i < n ? in[i] : 0.0f);
    }
    v16 rows[16];
    for (int i = 0; i < 16; i++)
        rows[i] = v_add(v_load(in), v_set1((float)(100 * i)));
    v_transpose16(y, 16, rows);
    for (int c = 0; c < 16; c++)
        for (int r = 0; r < 16; r++)
            cr_assert_eq(y[c * 16 + r], (float)(100 * r + c + 1));
}
