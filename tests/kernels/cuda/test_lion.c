/* test_lion.c - the update against its CPU twin: the same bits. */
#include "support/twin_case.h"

typedef struct {
    int64_t n, offset; /* offset: elements that precede, so that pairs are not aligned */
    gf_lion_args args;
    double scale;
} lion_case;

static const lion_case cases[] = {
    {1, 0, {1e-3, 0.9, 0.99, 0.0}, 0x1p-40},
    {7, 1, {1e-2, 0.8, 0.95, 0.1}, 0.25 * 0x1p-40},
    {2051, 0, {2e-4, 0.9, 0.99, 0.01}, 0x1p-24},
    {4500, 3, {2e-4, 0.0, 0.0, 0.5}, 1.0 / 3.0 * 0x1p-40},
};
#define CASES ((int)(sizeof cases / sizeof *cases))

Test(cuda_lion, twin)
{
    twin_pair p;
    twin_open(&p);
    for (int i = 0; i < CASES; i++) {
        const lion_case *c = &cases[i];
        const int64_t n = c->n + c->offset;
        uint64_t state = (uint64_t)i + 1;
        twin *t[3] = {twin_make(&p, GF_F32, "value", n, 0, 0, 0),
                      twin_make(&p, GF_F32, "m", n, 0, 0, 0),
                      twin_make(&p, GF_I64, "g", n, 0, 0, 0)};
        op_fill(t[0]->cpu.t, (uint64_t)i, 1.0);
        op_fill(t[1]->cpu.t, (uint64_t)i + 7, 0.01);
        for (int64_t j = 0; j < n; j++)
            ((int64_t *)t[2]->cpu.t.data)[j] =
                j % 5 == 0 ? 0 : (int64_t)(op_random(&state) * 0x1p34);
        op_set(t[1]->cpu.t, n - 1, 0, 0); /* beside a zero gradient: no step */
        ((int64_t *)t[2]->cpu.t.data)[n - 1] = 0;
#define PART(x) gf_rows(T(x), c->offset, c->n)
        TWIN_RUN(p, gf_lion(BE, PART(t[0]), PART(t[1]), PART(t[2]), c->scale, &c->args));
        for (int j = 0; j < 3; j++)
            cr_assert(op_same(t[j]->got.t, t[j]->cpu.t), "case %d: %s", i, t[j]->cpu.t.name);
        twin_clear(&p);
    }
    twin_close(&p);
}
