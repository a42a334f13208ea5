/* test_xent.c - losses to 1e-6, gradients, the best column, caps, aliases. */
#include "support/op_case.h"

typedef struct {
    gf_dtype out;
    int64_t m, v;
    double size, shift;
    float cap;
} xent_case;

static const xent_case cases[] = {
    {GF_F32, 3, 49152, 4.0, 0.0, 0.0f},  {GF_F32, 2, 50257, 12.0, -80.0, 0.0f},
    {GF_BF16, 4, 1000, 3.0, 10.0, 0.0f}, {GF_F32, 5, 17, 40.0, 0.0, 30.0f},
    {GF_F32, 3, 1, 1.0, 0.0, 0.0f},      {GF_F32, 4, 2049, 300.0, 1000.0, 0.0f},
    {GF_BF16, 3, 33, 90.0, 0.0, 30.0f},
};
#define CASES ((int)(sizeof cases / sizeof *cases))

static double z_of(const xent_case *c, double logit)
{
    return c->cap > 0.0f ? (double)c->cap * tanh(logit / (double)c->cap) : logit;
}

static void check_row(const xent_case *c, const gf_tensor t[5], int64_t r)
{
    double m = -INFINITY, sum = 0.0;
    for (int64_t i = 0; i < c->v; i++)
        m = fmax(m, z_of(c, op_get(t[3], r, i)));
    for (int64_t i = 0; i < c->v; i++)
        sum += exp(z_of(c, op_get(t[3], r, i)) - m);
    const int64_t label = (int64_t)op_get(t[4], r, 0);
    const double nll = m + log(sum) - z_of(c, op_get(t[3], r, label));
    /* the cap leaves an ulp or three of cap in z; the loss is one rounding of its value */
    const double tol = 3e-7 + U32 * fabs(nll) + 4 * U32 * (double)c->cap;
    cr_assert_float_eq(op_get(t[0], r, 0), nll, tol, "nll %.9g, want %.9g", op_get(t[0], r, 0),
                       nll);
    const int64_t best = (int64_t)op_get(t[1], r, 0);
    cr_assert(best >= 0 && best < c->v);
    cr_assert(z_of(c, op_get(t[3], r, best)) >= m - 4 * U32 * (double)c->cap);
    for (int64_t i = 0; i < c->v; i++) {
        const double z = z_of(c, op_get(t[3], r, i)), p = exp(z - m) / sum;
        const double slope = c->cap > 0.0f ? 1.0 - pow(z / (double)c->cap, 2) : 1.0;
        const double want = (p - (i == label)) * slope;
        /* exp's argument carries an ulp of its size; the cap's slope an ulp of 1 */
        const double size = (p * (4.0 + fabs(z - m)) + (i == label)) + (c->cap > 0.0f ? 4 : 0);
        op_near("xent", t[2], r, i, want, size, 4 + (double)c->cap);
    }
}

static void make(const xent_case *c, op_tensor x[5])
{
    x[0] = op_make(GF_F32, "nll", c->m, 0, 0, 0);
    x[1] = op_make(GF_I32, "best", c->m, 0, 0, 0);
    x[2] = op_make(c->out, "dlogits", c->m, c->v, 0, 3);
    x[3] = op_make(GF_F32, "logits", c->m, c->v, 0, 1);
    x[4] = op_make(GF_I32, "label", c->m, 0, 0, 0);
    uint64_t state = 11;
    for (int64_t r = 0; r < c->m; r++) {
        for (int64_t i = 0; i < c->v; i++)
            op_set(x[3].t, r, i, c->shift + c->size * op_random(&state));
        op_set(x[4].t, r, 0, (double)((r * 1013) % c->v));
    }
}

Test(xent, formula)
{
    gf_backend be;
    EACH_ISA(be, 2)
    {
        for (int k = 0; k < CASES; k++) {
            op_tensor x[5];
            make(&cases[k], x);
            OP_OK(be, gf_xent(&be, x[0].t, x[1].t, x[2].t, x[3].t, x[4].t, cases[k].cap));
            const gf_tensor t[5] = {x[0].t, x[1].t, x[2].t, x[3].t, x[4].t};
            for (int64_t r = 0; r < cases[k].m; r++)
                check_row(&cases[k], t, r);
            /* rows alone and in place: the same bits */
            op_tensor nll = op_copy(x[0].t, 0), best = op_copy(x[1].t, 0), z = op_copy(x[3].t, 4);
            for (int64_t r = 0; r < cases[k].m; r++) {
                const gf_tensor out = cases[k].out == GF_F32 ? gf_rows(z.t, r, 1) : gf_none;
                OP_OK(be, gf_xent(&be, gf_rows(nll.t, r, 1), gf_rows(best.t, r, 1), out,
                                  gf_rows(z.t, r, 1), gf_rows(x[4].t, r, 1), cases[k].cap));
            }
            cr_assert(op_same(nll.t, x[0].t) && op_same(best.t, x[1].t));
            cr_assert(cases[k].out != GF_F32 || op_same(z.t, x[2].t));
            op_free(&nll);
            op_free(&best);
            op_free(&z);
            for (int i = 0; i < 5; i++) {
                cr_assert(op_guard_whole(&x[i]));
                op_free(&x[i]);
            }
        }
    }
}

/* Ties go to the first; a NaN shows in the loss and leaves `best` a column. */
Test(xent, ties_and_nan)
{
    gf_backend be;
    EACH_ISA(be, 1)
    {
        const xent_case c = {GF_F32, 1, 40, 1.0, 0.0, 0.0f};
        op_tensor x[5];
        make(&c, x);
        op_set(x[3].t, 0, 21, 3.0);
        op_set(x[3].t, 0, 35, 3.0);
        OP_OK(be, gf_xent(&be, x[0].t, x[1].t, gf_none, x[3].t, x[4].t, 0));
        cr_assert_eq(op_get(x[1].t, 0, 0), 21);
        for (int64_t i = 0; i < 40; i += 13) {
            op_set(x[3].t, 0, i, NAN);
            OP_OK(be, gf_xent(&be, x[0].t, x[1].t, gf_none, x[3].t, x[4].t, 0));
            cr_assert(isnan(op_get(x[0].t, 0, 0)));
        }
        be.check = true;
        cr_assert_eq(gf_xent(&be, x[0].t, x[1].t, gf_none, x[3].t, x[4].t, 0), GF_ENUMERIC);
        for (int64_t i = 0; i < 40; i++)
            op_set(x[3].t, 0, i, NAN);
        be.check = false;
        OP_OK(be, gf_xent(&be, x[0].t, x[1].t, gf_none, x[3].t, x[4].t, 0));
        cr_assert_eq(op_get(x[1].t, 0, 0), 0);
        op_set(x[4].t, 0, 0, -100);
        OP_REFUSED(be, gf_xent(&be, x[0].t, x[1].t, gf_none, x[3].t, x[4].t, 0),
                   "xent: label[0] is -100, want -1 to 39");
        for (int i = 0; i < 5; i++)
            op_free(&x[i]);
    }
}

/* Label -1 is filler: no loss, no gradient, no best. */
Test(xent, filler)
{
    gf_backend be;
    EACH_ISA(be, 1)
    {
        const xent_case c = {GF_F32, 2, 40, 1.0, 0.0, 0.0f};
        op_tensor x[5];
        make(&c, x);
        op_set(x[4].t, 1, 0, -1);
        OP_OK(be, gf_xent(&be, x[0].t, x[1].t, x[2].t, x[3].t, x[4].t, 0));
        cr_assert_eq(op_get(x[0].t, 1, 0), 0.0);
        cr_assert_eq(op_get(x[1].t, 1, 0), -1.0);
        cr_assert_gt(op_get(x[0].t, 0, 0), 0.0);
        for (int64_t i = 0; i < 40; i++)
            cr_assert_eq(op_get(x[2].t, 1, i), 0.0);
        for (int i = 0; i < 5; i++)
            op_free(&x[i]);
    }
}

/* Fixed point with scale 2^32; what cannot be added is counted. */
Test(xent, losses_are_counted)
{
    static const float nll[] = {0.5f, 0x1.8p-33f, 65535.5f, 65536.0f, NAN, INFINITY, 3.0f};
    static const int32_t best[] = {1, 2, 3, 4, 5, 6, -1}, label[] = {1, 7, 3, 4, 5, 6, -1};
    gf_backend be;
    EACH_ISA(be, 1)
    {
        int64_t sum[GF_SUMS] = {10, 20, 30, 40};
        const gf_tensor sums = gf_view(sum, GF_I64, "sums", GF_SUMS, 0, 0);
        OP_OK(be,
              gf_count_losses(&be, sums, gf_view((void *)(uintptr_t)nll, GF_F32, "nll", 7, 0, 0),
                              gf_view((void *)(uintptr_t)best, GF_I32, "best", 7, 0, 0),
                              gf_view((void *)(uintptr_t)label, GF_I32, "label", 7, 0, 0)));
        /* 0.75 rounds to 1 */
        cr_assert_eq(sum[GF_SUM_LOSS], 10 + (INT64_C(1) << 31) + 1 + 131071 * (INT64_C(1) << 31));
        cr_assert_eq(sum[GF_SUM_CORRECT], 20 + 2);
        cr_assert_eq(sum[GF_SUM_MAGNITUDE], 30);
        cr_assert_eq(sum[GF_SUM_NONFINITE], 40 + 3);
    }
}
