/* test_adamw.c - the update against its CPU twin: every operation is rounded by itself on both, so
 * the bits are the same. */
#include "support/twin_case.h"

typedef struct {
    int64_t n, offset; /* offset: elements that precede, so that pairs are not aligned */
    gf_adamw_args args;
    double scale;
} adamw_case;

static const adamw_case cases[] = {
    {1, 0, {1e-3, 0.9, 0.999, 1e-8, 0.0, 1}, 0x1p-40},
    {2, 0, {1e-3, 0.9, 0.999, 1e-8, 0.01, 2}, 0x1p-40},
    {7, 1, {1e-2, 0.8, 0.99, 1e-6, 0.1, 3}, 0.25 * 0x1p-40},
    {2048, 0, {2e-4, 0.9, 0.999, 1e-8, 0.01, 1000}, 0x1p-24},
    {2051, 0, {2e-4, 0.9, 0.95, 1e-8, 0.0, 100000}, 0x1p-40},
    {4500, 3, {2e-4, 0.0, 0.0, 0.0, 0.5, 1}, 1.0 / 3.0 * 0x1p-40},
};
#define CASES ((int)(sizeof cases / sizeof *cases))

static void set_gradient(gf_tensor g, int64_t i, int64_t x)
{
    ((int64_t *)g.data)[i] = x;
}

static void fill(twin *const t[4], int64_t n, uint64_t seed)
{
    uint64_t state = seed + 1;
    op_fill(t[0]->cpu.t, seed, 1.0);
    op_fill(t[1]->cpu.t, seed + 1, 0.01);
    for (int64_t i = 0; i < n; i++) {
        op_set(t[2]->cpu.t, i, 0, 1e-4 * (1.0 + op_random(&state)));
        set_gradient(t[3]->cpu.t, i, (int64_t)(op_random(&state) * 0x1p38));
    }
}

Test(cuda_adamw, twin)
{
    twin_pair p;
    twin_open(&p);
    for (int i = 0; i < CASES; i++) {
        const adamw_case *c = &cases[i];
        const int64_t n = c->n + c->offset;
        twin *t[4] = {
            twin_make(&p, GF_F32, "value", n, 0, 0, 0), twin_make(&p, GF_F32, "m", n, 0, 0, 0),
            twin_make(&p, GF_F32, "v", n, 0, 0, 0), twin_make(&p, GF_I64, "g", n, 0, 0, 0)};
        fill(t, n, (uint64_t)i);
        for (int step = 0; step < 2; step++) { /* the second goes on from what the first left */
            gf_adamw_args args = c->args;
            args.step += step;
#define PART(x) gf_rows(T(x), c->offset, c->n)
            TWIN_RUN(p,
                     gf_adamw(BE, PART(t[0]), PART(t[1]), PART(t[2]), PART(t[3]), c->scale, &args));
            for (int j = 0; j < 4; j++)
                cr_assert(op_same(t[j]->got.t, t[j]->cpu.t), "case %d step %d: %s", i, step,
                          t[j]->cpu.t.name);
        }
        twin_clear(&p);
    }
    twin_close(&p);
}

/* The ends of every range, zeros, denormals; NaN and Inf where the CPU has them. */
Test(cuda_adamw, edges)
{
    static const int64_t g[] = {0, 1, -1, INT64_MAX, INT64_MIN, 1 << 20, -(1LL << 52), 12345};
    static const double x[] = {0.0, -0.0, 1e-40, 3e38, (double)INFINITY, (double)NAN, 1.0, -1e-30};
    twin_pair p;
    twin_open(&p);
    twin *t[4] = {twin_make(&p, GF_F32, "value", 64, 0, 0, 0),
                  twin_make(&p, GF_F32, "m", 64, 0, 0, 0), twin_make(&p, GF_F32, "v", 64, 0, 0, 0),
                  twin_make(&p, GF_I64, "g", 64, 0, 0, 0)};
    for (int64_t i = 0; i < 64; i++) {
        op_set(t[0]->cpu.t, i, 0, x[(i / 2) % 8]);
        op_set(t[1]->cpu.t, i, 0, x[i / 8]);
        op_set(t[2]->cpu.t, i, 0, fabs(x[(i + i / 8) % 8]));
        set_gradient(t[3]->cpu.t, i, g[i % 8]);
    }
    const gf_adamw_args args = {1e-3, 0.9, 0.999, 1e-8, 0.01, 1};
    TWIN_RUN(p, gf_adamw(BE, T(t[0]), T(t[1]), T(t[2]), T(t[3]), 0x1p-40, &args));
    for (int j = 0; j < 3; j++)
        twin_equal("adamw", t[j]);
    const int64_t before = p.be.tally.launches;
    DEVICE_OK(&p.be, gf_adamw(&p.be, gf_rows(t[0]->on.t, 0, 0), gf_rows(t[1]->on.t, 0, 0),
                              gf_rows(t[2]->on.t, 0, 0), gf_rows(t[3]->on.t, 0, 0), 1.0, &args));
    cr_assert_eq(p.be.tally.launches, before);
    twin_close(&p);
}
