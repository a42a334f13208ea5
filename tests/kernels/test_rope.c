/* test_rope.c - rotation against the formula, its transpose, partial heads, rows alone. */
#include "support/op_case.h"

typedef struct {
    gf_dtype type;
    int64_t n, heads, width, half;
} rope_case;

static const rope_case cases[] = {
    {GF_F32, 5, 3, 64, 32},  {GF_BF16, 4, 2, 40, 20},  {GF_F32, 3, 2, 24, 5},
    {GF_BF16, 3, 1, 64, 16}, {GF_F32, 400, 1, 64, 32},
};
#define CASES ((int)(sizeof cases / sizeof *cases))

Test(rope, formula)
{
    gf_backend be;
    EACH_ISA(be, 2)
    {
        for (int k = 0; k < 2 * CASES; k++) {
            const rope_case c = cases[k / 2];
            const int direction = k % 2 ? -1 : 1;
            op_tensor x = op_make(c.type, "x", c.n, c.heads, c.width, 3);
            op_tensor cos = op_make(GF_F32, "cos", c.n, c.half, 0, 1);
            op_tensor sin = op_make(GF_F32, "sin", c.n, c.half, 0, 2);
            op_fill(x.t, 1, 2.0);
            op_fill(cos.t, 2, 1.0);
            op_fill(sin.t, 3, 1.0);
            op_tensor was = op_copy(x.t, 0);
            OP_OK(be, gf_rope(&be, x.t, cos.t, sin.t, direction));
            for (int64_t t = 0; t < c.n; t++)
                for (int64_t i = 0; i < c.heads * c.width; i++) {
                    const int64_t d = i % c.width;
                    if (d >= 2 * c.half) {
                        cr_assert_eq(op_get(x.t, t, i), op_get(was.t, t, i));
                        continue;
                    }
                    const int64_t p = d < c.half ? i + c.half : i - c.half;
                    const double a = op_get(was.t, t, i) * op_get(cos.t, t, d % c.half);
                    const double b = op_get(was.t, t, p) * op_get(sin.t, t, d % c.half) *
                                     (d < c.half ? -direction : direction);
                    op_near("rope", x.t, t, i, a + b, fabs(a) + fabs(b), 2);
                }
            cr_assert(op_guard_whole(&x) && op_guard_whole(&cos) && op_guard_whole(&sin));
            for (int64_t t = 0; t < c.n; t++) { /* alone: the same bits */
                op_tensor row = op_copy(gf_rows(was.t, t, 1), 0);
                OP_OK(be,
                      gf_rope(&be, row.t, gf_rows(cos.t, t, 1), gf_rows(sin.t, t, 1), direction));
                cr_assert(op_same_row(row.t, 0, x.t, t));
                op_free(&row);
            }
            op_free(&x);
            op_free(&was);
            op_free(&cos);
            op_free(&sin);
        }
    }
}

Test(rope, refusals)
{
    gf_backend be = {.dry = true};
    const gf_tensor x = gf_view(NULL, GF_F32, "x", 2, 3, 8),
                    c = gf_view(NULL, GF_F32, "c", 2, 5, 0);
    OP_REFUSED(be, gf_rope(&be, x, c, c, 1), "rope: 10 columns to rotate, heads are 8 wide");
    OP_REFUSED(be, gf_rope(&be, x, gf_rows(c, 0, 1), c, 1),
               "rope: cos is f32 [1,5], want f32 [2,*]");
    OP_REFUSED(be, gf_rope(&be, x, gf_cols(c, 0, 4), gf_cols(c, 0, 4), 2),
               "rope: direction is 2, want +1 or -1");
}
