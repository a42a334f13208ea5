/* test_adamw8.c - the 8-bit update against its CPU twin: every operation is rounded by itself on
 * both, so the bits are the same, codes included. */
#include "support/twin_case.h"

typedef struct {
    int64_t n, offset; /* offset: elements that precede, so that units are not aligned */
    gf_adamw_args args;
    double scale;
} adamw8_case;

static const adamw8_case cases[] = {
    {1, 0, {1e-3, 0.9, 0.999, 1e-8, 0.0, 1}, 0x1p-40},
    {256, 0, {1e-3, 0.9, 0.999, 1e-8, 0.01, 2}, 0x1p-40},
    {300, 1, {1e-2, 0.8, 0.99, 1e-6, 0.1, 3}, 0.25 * 0x1p-40},
    {2048 + 263, 0, {2e-4, 0.9, 0.999, 1e-8, 0.01, 1000}, 0x1p-24},
};
#define CASES ((int)(sizeof cases / sizeof *cases))

enum { VALUE, M, V, M_MAX, V_MAX, G, TENSORS };

static void fill(twin *const t[TENSORS], int64_t n, uint64_t seed)
{
    uint64_t state = seed + 1;
    op_fill(t[VALUE]->cpu.t, seed, 1.0);
    for (int64_t i = 0; i < n; i++) {
        ((uint8_t *)t[M]->cpu.t.data)[i] = (uint8_t)(i * 37);
        ((uint8_t *)t[V]->cpu.t.data)[i] = (uint8_t)(i * 91);
        ((int64_t *)t[G]->cpu.t.data)[i] =
            i / GF_BLOCK8 == 1 ? 0 : (int64_t)(op_random(&state) * 0x1p38);
    }
    for (int64_t b = 0; b < t[M_MAX]->cpu.t.dim[0]; b++) { /* one block of zeros */
        op_set(t[M_MAX]->cpu.t, b, 0, b == 1 ? 0 : 0.01 * (double)(b + 1));
        op_set(t[V_MAX]->cpu.t, b, 0, b == 1 ? 0 : 1e-4 * (double)(b + 1));
    }
}

Test(cuda_adamw8, twin)
{
    twin_pair p;
    twin_open(&p);
    for (int i = 0; i < CASES; i++) {
        const adamw8_case *c = &cases[i];
        const int64_t n = c->n + c->offset, blocks = (c->n + GF_BLOCK8 - 1) / GF_BLOCK8;
        twin *t[TENSORS] = {
            twin_make(&p, GF_F32, "value", n, 0, 0, 0),
            twin_make(&p, GF_U8, "m", n, 0, 0, 0),
            twin_make(&p, GF_U8, "v", n, 0, 0, 0),
            twin_make(&p, GF_F32, "m_max", blocks, 0, 0, 0),
            twin_make(&p, GF_F32, "v_max", blocks, 0, 0, 0),
            twin_make(&p, GF_I64, "g", n, 0, 0, 0),
        };
        fill(t, n, (uint64_t)i);
        for (int step = 0; step < 2; step++) { /* the second goes on from what the first left */
            gf_adamw_args args = c->args;
            args.step += step;
#define PART(x) gf_rows(T(t[x]), c->offset, c->n)
            TWIN_RUN(p, gf_adamw8(BE, PART(VALUE), PART(M), PART(V), T(t[M_MAX]), T(t[V_MAX]),
                                  PART(G), c->scale, &args));
            for (int j = 0; j < TENSORS; j++)
                cr_assert(op_same(t[j]->got.t, t[j]->cpu.t), "case %d step %d: %s", i, step,
                          t[j]->cpu.t.name);
        }
        twin_clear(&p);
    }
    twin_close(&p);
}
