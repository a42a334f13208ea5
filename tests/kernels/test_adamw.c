/* test_adamw.c - the formula in its order of roundings, bit for bit on every instruction set. */
#include "support/op_case.h"

#define N 20011

typedef struct {
    float value[N], m[N], v[N];
} adam_state;

static void expect(adam_state *s, const int64_t *g, double scale, const gf_adamw_args *a)
{
    const double t = (double)a->step;
    const float keep = (float)(1.0 - a->lr * a->weight_decay), w1 = (float)(1.0 - a->beta1);
    const float b2 = (float)a->beta2, w2 = (float)(1.0 - a->beta2), eps = (float)a->eps;
    const float step = (float)(a->lr / (1.0 - pow(a->beta1, t)));
    const float root = (float)sqrt(1.0 - pow(a->beta2, t));
    for (int i = 0; i < N; i++) {
        volatile float gr = (float)(scale * (double)g[i]); /* volatile: no fusing of roundings */
        volatile float dm = gr - s->m[i], add = dm * w1;
        s->m[i] = s->m[i] + add;
        volatile float old = s->v[i] * b2, square = w2 * gr;
        square = square * gr;
        s->v[i] = old + square;
        volatile float den = sqrtf(s->v[i]);
        den = den / root;
        den = den + eps;
        volatile float kept = s->value[i] * keep, move = step * s->m[i];
        move = move / den;
        s->value[i] = kept - move;
    }
}

Test(adamw, bits)
{
    static adam_state got, want;
    static int64_t g[N];
    gf_backend be;
    EACH_ISA(be, 3)
    {
        uint64_t state = 5;
        for (int i = 0; i < N; i++) {
            want.value[i] = (float)op_random(&state);
            want.m[i] = want.v[i] = 0.0f;
        }
        got = want;
        for (int64_t t = 1; t <= 4; t++) {
            const gf_adamw_args a = {2e-4, 0.9, 0.999, 1e-8, t == 2 ? 0.0 : 0.01, t};
            for (int i = 0; i < N; i++) /* 2^40 fixed point; some exact zeros */
                g[i] = i % 7 == 0 ? 0 : (int64_t)(op_random(&state) * 0x1p38);
            const gf_tensor x[4] = {
                gf_view(got.value, GF_F32, "value", N, 0, 0), gf_view(got.m, GF_F32, "m", N, 0, 0),
                gf_view(got.v, GF_F32, "v", N, 0, 0), gf_view(g, GF_I64, "g", N, 0, 0)};
            OP_OK(be, gf_adamw(&be, x[0], x[1], x[2], x[3], 0x1p-40 / 37.0, &a));
            expect(&want, g, 0x1p-40 / 37.0, &a);
            cr_assert_eq(memcmp(&got, &want, sizeof got), 0, "%s step %d", be.ops->name, (int)t);
        }
    }
}

/* Three steps of torch.optim.AdamW(lr=.01, weight_decay=.1) on p = 1, g = .5, -.25, 2: the same in
 * double; torch's own f32 lies within an ulp or two. */
Test(adamw, formula)
{
    gf_backend be;
    EACH_ISA(be, 1)
    {
        const double grad[] = {0.5, -0.25, 2.0};
        double p = 1, m = 0, v = 0;
        float fp = 1, fm = 0, fv = 0;
        for (int64_t t = 1; t <= 3; t++) {
            const gf_adamw_args a = {0.01, 0.9, 0.999, 1e-8, 0.1, t};
            int64_t g = (int64_t)(grad[t - 1] * 0x1p40);
            OP_OK(be,
                  gf_adamw(&be, gf_view(&fp, GF_F32, "p", 1, 0, 0),
                           gf_view(&fm, GF_F32, "m", 1, 0, 0), gf_view(&fv, GF_F32, "v", 1, 0, 0),
                           gf_view(&g, GF_I64, "g", 1, 0, 0), 0x1p-40, &a));
            p *= 1 - 0.01 * 0.1;
            m = 0.9 * m + 0.1 * grad[t - 1];
            v = 0.999 * v + 0.001 * grad[t - 1] * grad[t - 1];
            p -= 0.01 / (1 - pow(0.9, (double)t)) * m /
                 (sqrt(v) / sqrt(1 - pow(0.999, (double)t)) + 1e-8);
            cr_assert_float_eq((double)fp, p, 3e-7);
        }
    }
}
