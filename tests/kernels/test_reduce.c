/* test_reduce.c - the sum of squares: exact where it can be, the same on every thread count. */
#include "support/op_case.h"

Test(sum_squares, value_and_bits)
{
    const int64_t n = 3 * 65536 + 77;
    int64_t *g = malloc((size_t)n * sizeof *g);
    cr_assert_not_null(g);
    double first = -1.0;
    for (int threads = 1; threads <= 3; threads++) {
        gf_backend be;
        EACH_ISA(be, threads)
        {
            double exact = 0.0, sum;
            for (int64_t i = 0; i < n; i++) { /* small whole numbers: no rounding anywhere */
                g[i] = (i * 37) % 1000 - 500;
                exact += (double)(g[i] * g[i]);
            }
            const gf_tensor t = gf_view(g, GF_I64, "g", n, 0, 0);
            OP_OK(be, gf_sum_squares(&be, &sum, t, 0.5));
            cr_assert_eq(sum, exact * 0.25);
            uint64_t state = 1;
            for (int64_t i = 0; i < n; i++)
                g[i] = (int64_t)(op_random(&state) * 0x1p45);
            OP_OK(be, gf_sum_squares(&be, &sum, t, 0x1.3p-40));
            if (first < 0)
                first = sum;
            cr_assert_eq(sum, first, "%s, %d threads: other bits", be.ops->name, threads);
            OP_OK(be, gf_sum_squares(&be, &sum, gf_rows(t, 0, 0), 1.0));
            cr_assert_eq(sum, 0.0);
        }
    }
    free(g);
}
