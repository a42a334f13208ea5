/* test_quality.c - what rounding leaves of a change, on numbers where it can be said beforehand. */
#include "model/quality.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

enum { ROWS = 4, K = 64, COUNT = ROWS * K };

typedef struct {
    float base[COUNT], want[COUNT], scratch[3 * K];
    unsigned char written[4 * COUNT];
    gf_quality_row row;
    gf_quality_error error;
} made;

/* W on the grid of bf16 between 1 and 2, whose steps are 2^-7; d is so many steps. */
static void measure(made *m, gf_dtype t, float steps, bool changes)
{
    *m = (made){0};
    for (int i = 0; i < COUNT; i++) {
        m->base[i] = 1 + (float)(i % 100) / 128;
        m->want[i] = m->base[i] + steps / 128;
    }
    gf_from_f32(t, m->written, m->want, COUNT);
    gf_quality_measure(&m->error, &m->row, t, m->written, m->want, changes ? m->base : NULL, ROWS,
                       K, m->scratch);
}

Test(quality, nothing_is_lost_in_f32)
{
    made m;
    measure(&m, GF_F32, 0.125f, true);
    cr_expect_float_eq(gf_quality_delta(&m.row), 0.125 / 128, 1e-12);
    cr_expect_eq(gf_quality_rounding(&m.row), 0);
    cr_expect_float_eq(gf_quality_kept(&m.row), 1, 1e-12);
    cr_expect_eq(m.error.error, 0);
    cr_expect_eq(m.row.elements, COUNT);
}

Test(quality, less_than_half_a_step_is_eaten)
{
    made m;
    measure(&m, GF_BF16, 0.375f, true);
    cr_expect_eq(gf_quality_kept(&m.row), 0);
    cr_expect_float_eq(gf_quality_rounding(&m.row), 0.375 / 128, 1e-9, "all of the change");
    measure(&m, GF_BF16, 0.75f, true);
    cr_expect_float_eq(gf_quality_kept(&m.row), 4 / 3.0, 1e-9, "and more than half is a whole one");
    measure(&m, GF_BF16, 2, true);
    cr_expect_float_eq(gf_quality_kept(&m.row), 1, 1e-12);
    cr_expect_eq(gf_quality_rounding(&m.row), 0);
}

/* Noise of blocks is no loss: with W anywhere on the grid, on average the change is there. */
Test(quality, blocks_keep_what_they_blur)
{
    static float base[64 * 1024], want[64 * 1024], scratch[3 * 1024];
    static unsigned char written[64 * 1024];
    gf_quality_row row = {0};
    gf_quality_error error = {0};
    for (int i = 0; i < 64 * 1024; i++) {
        base[i] = sinf((float)i * 1.7f) + sinf((float)i * 0.013f);
        want[i] = base[i] + 0.02f * cosf((float)i * 2.9f);
    }
    gf_from_f32(GF_Q4_0, written, want, 64 * 1024);
    gf_quality_measure(&error, &row, GF_Q4_0, written, want, base, 64, 1024, scratch);
    cr_expect_gt(gf_quality_rounding(&row), gf_quality_delta(&row));
    cr_expect_float_eq(gf_quality_kept(&row), 1, 0.2, "%g", gf_quality_kept(&row));
}

Test(quality, without_an_adapter_only_the_error)
{
    made m;
    measure(&m, GF_BF16, 0.5f, false);
    cr_expect_eq(m.row.elements, 0);
    cr_expect_gt(m.error.size, COUNT);
    cr_expect_gt(m.error.error, 0);
    cr_expect_eq(gf_quality_kept(&m.row), 1);
}

Test(quality, list_and_sums)
{
    gf_quality q = {0};
    gf_quality_row sum = {0};
    made m;
    measure(&m, GF_BF16, 2, true);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(gf_quality_add(&q, &m.row, NULL), GF_OK);
        gf_quality_sum(&sum, &q.row[i]);
    }
    cr_expect_eq(q.count, 3);
    cr_expect_eq(sum.elements, 3 * COUNT);
    cr_expect_float_eq(gf_quality_delta(&sum), 2 / 128.0, 1e-9);
    gf_quality_free(&q);
    cr_expect_null(q.row);
}
