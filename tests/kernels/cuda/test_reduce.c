/* test_reduce.c - the sum of squares against its CPU twin: both in double, in other orders. */
#include "support/twin_case.h"

static const int64_t sizes[] = {1, 2, 7, 511, 16384, 16385, 40001, 70001};
#define SIZES ((int)(sizeof sizes / sizeof *sizes))

static twin *make(twin_pair *p, int64_t n, uint64_t seed)
{
    twin *g = twin_make(p, GF_I64, "g", n, 0, 0, 0);
    uint64_t state = seed + 1;
    for (int64_t i = 0; i < n; i++)
        ((int64_t *)g->cpu.t.data)[i] = (int64_t)(op_random(&state) * 0x1p50);
    return g;
}

/* The terms are not negative, so the relative error is that of the longest chain of additions: the
 * CPU's of 8192 and one for each block, the device's of 32 and the tree of a block; two roundings a
 * term. */
#define BOUND (8300 * 0x1p-53)

Test(cuda_reduce, sum_squares)
{
    twin_pair p;
    twin_open(&p);
    for (int i = 0; i < SIZES; i++) {
        twin *g = make(&p, sizes[i], (uint64_t)i);
        double want = -1.0, got = -1.0, again = -1.0;
        twin_put(&p);
        OP_OK(p.cpu, gf_sum_squares(&p.cpu, &want, g->cpu.t, 0x1p-40));
        DEVICE_OK(&p.be, gf_sum_squares(&p.be, &got, g->on.t, 0x1p-40));
        DEVICE_OK(&p.be, gf_sum_squares(&p.be, &again, g->on.t, 0x1p-40));
        DEVICE_OK(&p.be, gf_wait(&p.be));
        cr_assert(fabs(got - want) <= BOUND * want, "%lld: %.17g, want %.17g", (long long)sizes[i],
                  got, want);
        cr_assert(got == again);
        twin_clear(&p);
    }
    twin_close(&p);
}

/* From an element on whose address no pair fits: the same bits. The ends of the range; none. */
Test(cuda_reduce, edges)
{
    twin_pair p;
    twin_open(&p);
    twin *g = make(&p, 20000, 3), *h = twin_make(&p, GF_I64, "h", 20001, 0, 0, 0);
    memcpy((int64_t *)h->cpu.t.data + 1, g->cpu.t.data, 20000 * sizeof(int64_t));
    twin_put(&p);
    double straight = -1.0, shifted = -1.0, none = -1.0, large = -1.0;
    gf_backend *be = &p.be;
    DEVICE_OK(be, gf_sum_squares(be, &straight, g->on.t, 1.0));
    DEVICE_OK(be, gf_sum_squares(be, &shifted, gf_rows(h->on.t, 1, 20000), 1.0));
    DEVICE_OK(be, gf_sum_squares(be, &none, gf_rows(g->on.t, 0, 0), 1.0));
    ((int64_t *)g->cpu.t.data)[0] = INT64_MIN;
    DEVICE_OK(be, gf_upload(be, gf_rows(g->on.t, 0, 1), g->cpu.t.data));
    DEVICE_OK(be, gf_sum_squares(be, &large, gf_rows(g->on.t, 0, 1), 1.0));
    DEVICE_OK(be, gf_wait(be));
    cr_assert(straight == shifted);
    cr_assert_eq(none, 0.0);
    cr_assert_eq(large, 0x1p126);
    twin_close(&p);
}
