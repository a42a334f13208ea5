/* test_paired.c - the ratio's error and the bootstrap against numpy on the same numbers
 * (golden/paired.py), and what is not known. */
#include "train/paired.h"

#include <criterion/criterion.h>
#include <math.h>

enum { N = 40 };

Test(paired, numpy)
{
    double d[N], w[N];
    gf_paired p, again;
    for (int i = 0; i < N; i++) {
        w[i] = 5 + i * 7 % 11;
        d[i] = w[i] * ((i * 37 % 23) / 23.0 - 0.6);
    }
    cr_assert_eq(gf_paired_compare(&p, d, w, N, 42, NULL), GF_OK);
    cr_assert_float_eq(p.difference, -0.11514168288989833, 1e-12);
    cr_assert_float_eq(p.error, 0.04840103865283277, 1e-12);
    cr_assert_float_eq(p.high - p.low, 2 * 1.959963984540054 * p.error, 1e-12);
    /* numpy draws other samples: a twentieth of the interval is more than they vary by */
    cr_assert_float_eq(p.boot_low, -0.2100810740117006, 0.005);
    cr_assert_float_eq(p.boot_high, -0.022788517297954815, 0.005);
    cr_assert_eq(p.resamples, 10000);
    gf_paired_compare(&again, d, w, N, 42, NULL);
    cr_assert(again.boot_low == p.boot_low && again.boot_high == p.boot_high);
    gf_paired_compare(&again, d, w, N, 43, NULL);
    cr_assert_neq(again.boot_low, p.boot_low);
}

Test(paired, too_few)
{
    gf_paired p;
    cr_assert_eq(gf_paired_compare(&p, (double[]){3}, (double[]){2}, 1, 1, NULL), GF_OK);
    cr_assert(p.difference == 1.5 && isnan(p.error) && isnan(p.boot_low) && p.resamples == 0);
}
