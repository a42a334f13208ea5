/* test_verify.c - differences of logits, on numbers worked out by hand. */
#include "model/verify.h"

#include <criterion/criterion.h>
#include <math.h>

Test(verify, equal_and_shifted_logits)
{
    const float x[] = {1, 2, 3, 4}, shifted[] = {2, 3, 4, 5};
    gf_verify v = {0};
    gf_verify_add(&v, x, x, 4);
    cr_expect_eq(v.max, 0);
    cr_expect_eq(gf_verify_error(&v), 0);
    cr_expect_eq(gf_verify_kl(&v), 0);
    gf_verify_add(&v, x, shifted, 4); /* the same probabilities */
    cr_expect_float_eq(v.max, 1, 1e-12);
    cr_expect_float_eq(gf_verify_mean(&v), 0.5, 1e-12);
    cr_expect_float_eq(gf_verify_kl(&v), 0, 1e-12);
    cr_expect_float_eq(gf_verify_error(&v), 0, 1e-7);
    cr_expect_eq(v.agree, 2);
}

Test(verify, known_difference)
{
    const float x[] = {0, logf(3)}, y[] = {logf(3), 0}; /* 1/4 3/4 and 3/4 1/4 */
    gf_verify v = {0};
    gf_verify_add(&v, x, y, 2);
    cr_expect_eq(v.agree, 0);
    cr_expect_float_eq(gf_verify_kl(&v), 0.5 * log(3), 1e-6);
    cr_expect_float_eq(gf_verify_error(&v), 2, 1e-6, "the opposite");
    cr_expect_float_eq(v.max, log(3), 1e-6);
}

Test(verify, numbers_that_are_none_are_no_agreement)
{
    const float x[] = {0, 1, 2}, y[] = {0, NAN, 2};
    gf_verify v = {0};
    gf_verify_add(&v, x, y, 3);
    cr_expect(isnan(gf_verify_error(&v)));
    cr_expect(isnan(v.max));
}

Test(verify, bound_grows_with_the_rounding)
{
    cr_expect_eq(gf_verify_bound(0, 30), GF_VERIFY_FLOOR);
    cr_expect_lt(gf_verify_bound(2e-3, 30), 0.2);
    cr_expect_gt(gf_verify_bound(2e-3, 30), 0.02);
    cr_expect_eq(gf_verify_bound(1, 30), 1);
}

Test(verify, ids_are_fixed_and_within)
{
    int32_t a[64], b[64];
    gf_verify_ids(a, 64, 100);
    gf_verify_ids(b, 64, 100);
    int different = 0;
    for (int i = 0; i < 64; i++) {
        cr_expect(a[i] >= 0 && a[i] < 100);
        cr_expect_eq(a[i], b[i]);
        different += a[i] != a[0];
    }
    cr_expect_gt(different, 50);
}
