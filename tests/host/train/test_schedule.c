/* test_schedule.c - Hugging Face's numbers (FORMATS 12.3, reproduced there by running
 * the Trainer). */
#include "train/schedule.h"

#include <criterion/criterion.h>
#include <math.h>

static void check(gf_lr_type type, int64_t total, int64_t warmup, double peak, const double *want)
{
    const gf_schedule s = {.type = type, .peak = peak, .total = total, .warmup = warmup};
    for (int64_t step = 1; step <= total; step++)
        cr_assert_float_eq(gf_lr_at(&s, step), want[step - 1], 1e-9, "type %d step %lld: %.10f",
                           type, (long long)step, gf_lr_at(&s, step));
}

Test(schedule, the_trainers_numbers)
{
    check(GF_LR_COSINE, 6, 2, .01, (double[]){0, .005, .01, .008535534, .005, .001464466});
    check(GF_LR_LINEAR, 6, 2, .01, (double[]){0, .005, .01, .0075, .005, .0025});
    check(GF_LR_CONSTANT, 3, 2, .01, (double[]){.01, .01, .01});
    check(GF_LR_CONSTANT_WARMUP, 4, 2, .01, (double[]){0, .005, .01, .01});
}

Test(schedule, edges)
{
    check(GF_LR_LINEAR, 1, 0, 1, (double[]){1});
    check(GF_LR_COSINE, 2, 2, 1, (double[]){0, .5});
    check(GF_LR_LINEAR, 3, 5, 1, (double[]){0, .2, .4});
}
