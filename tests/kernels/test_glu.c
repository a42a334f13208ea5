/* test_glu.c - both activations and their derivatives against double, in place, rows alone. */
#include "support/op_case.h"

static double act(double x, gf_act a, double *slope)
{
    if (a == GF_SILU) {
        const double s = 1.0 / (1.0 + exp(-x));
        *slope = s * (1.0 + x * (1.0 - s));
        return x * s;
    }
    const double c = sqrt(2.0 / 3.14159265358979323846), t = tanh(c * (x + 0.044715 * x * x * x));
    *slope = 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * c * (1.0 + 3.0 * 0.044715 * x * x);
    return 0.5 * x * (1.0 + t);
}

typedef struct {
    gf_dtype type;
    gf_act act;
    int64_t n, width;
    double size;
} glu_case;

static const glu_case cases[] = {
    {GF_F32, GF_SILU, 5, 48, 4.0},       {GF_F32, GF_SILU, 3, 33, 120.0},
    {GF_BF16, GF_SILU, 4, 17, 8.0},      {GF_F32, GF_GELU_TANH, 5, 50, 4.0},
    {GF_F32, GF_GELU_TANH, 2, 31, 50.0}, {GF_BF16, GF_GELU_TANH, 3, 15, 3.0},
    {GF_F32, GF_SILU, 200, 100, 4.0},
};
#define CASES ((int)(sizeof cases / sizeof *cases))

/* exp's 2 ulp, tanh's 3, and the operations around. Both derivatives are sums that cancel: the
 * bound is on their terms; gelu's 1 - t^2 is off by an ulp of 1, times what multiplies it. */
static void check_one(const glu_case *c, const gf_tensor in[3], const gf_tensor out[3], int64_t t,
                      int64_t i)
{
    const double x = op_get(in[0], t, i), u = op_get(in[1], t, i), d = op_get(in[2], t, i);
    double slope;
    const double y = act(x, c->act, &slope);
    const double s = 1.0 / (1.0 + exp(-x)), size = c->act == GF_SILU ? fabs(y) : fabs(x);
    const double grow = c->act == GF_SILU ? s * (1.0 + fabs(x) * (1.0 - s)) : 1.0 + pow(fabs(x), 3);
    op_near("h", out[0], t, i, y * u, size * fabs(u), 12 + fabs(x));
    op_near("dgate", out[1], t, i, d * u * slope, fabs(d * u) * grow, 20 + 2 * fabs(x));
    op_near("dup", out[2], t, i, d * y, size * fabs(d), 12 + fabs(x));
}

Test(glu, formula)
{
    gf_backend be;
    EACH_ISA(be, 2)
    {
        for (int k = 0; k < CASES; k++) {
            const glu_case c = cases[k];
            const char *const name[] = {"gate", "up", "dh", "h", "dgate", "dup", "h2"};
            op_tensor x[7];
            for (int i = 0; i < 7; i++) {
                x[i] = op_make(c.type, name[i], c.n, c.width, 0, i);
                if (i < 3)
                    op_fill(x[i].t, (uint64_t)(i + 1), i == 0 ? c.size : 2.0);
            }
            OP_OK(be, gf_glu_fwd(&be, x[3].t, x[0].t, x[1].t, c.act));
            OP_OK(be, gf_glu_bwd(&be, x[4].t, x[5].t, x[6].t, x[2].t, x[0].t, x[1].t, c.act));
            const gf_tensor in[3] = {x[0].t, x[1].t, x[2].t}, out[3] = {x[3].t, x[4].t, x[5].t};
            for (int64_t t = 0; t < c.n; t++)
                for (int64_t i = 0; i < c.width; i++)
                    check_one(&c, in, out, t, i);
            cr_assert(op_same(x[3].t, x[6].t), "h made again has other bits");
            op_tensor gate = op_copy(x[0].t, 9), up = op_copy(x[1].t, 4);
            for (int64_t t = 0; t < c.n; t++) /* rows alone, in place */
                OP_OK(be, gf_glu_bwd(&be, gf_rows(gate.t, t, 1), gf_rows(up.t, t, 1), gf_none,
                                     gf_rows(x[2].t, t, 1), gf_rows(gate.t, t, 1),
                                     gf_rows(up.t, t, 1), c.act));
            cr_assert(op_same(gate.t, x[4].t) && op_same(up.t, x[5].t));
            op_free(&gate);
            op_free(&up);
            for (int i = 0; i < 7; i++) {
                cr_assert(op_guard_whole(&x[i]) || i < 0, "%s", name[i]);
                op_free(&x[i]);
            }
        }
    }
}

/* Where exp overflows or vanishes: limits, no NaN. */
Test(glu, extremes)
{
    gf_backend be;
    EACH_ISA(be, 1)
    {
        const double in[] = {-3e38, -1e4, -105, -88.5, 0, 88.5, 105, 1e4, 1e38};
        op_tensor g = op_make(GF_F32, "gate", 1, 9, 0, 0), u = op_make(GF_F32, "up", 1, 9, 0, 0);
        op_tensor h = op_make(GF_F32, "h", 1, 9, 0, 0);
        for (int i = 0; i < 9; i++) {
            op_set(g.t, 0, i, in[i]);
            op_set(u.t, 0, i, 1.0);
        }
        OP_OK(be, gf_glu_fwd(&be, h.t, g.t, u.t, GF_SILU));
        for (int i = 0; i < 9; i++)
            cr_assert_float_eq(op_get(h.t, 0, i), in[i] < 0 ? 0.0 : in[i],
                               1e-35 + fabs(in[i]) * 1e-7 * (in[i] > 0));
        op_free(&g);
        op_free(&u);
        op_free(&h);
    }
}

Test(glu, finds_what_is_not_finite)
{
    gf_backend be;
    EACH_ISA(be, 1)
    {
        op_tensor g = op_make(GF_F32, "gate", 3, 20, 0, 0),
                  h = op_make(GF_BF16, "hidden", 3, 20, 0, 0);
        op_fill(g.t, 1, 1.0);
        op_set(g.t, 1, 19, NAN);
        be.check = true;
        cr_assert_eq(gf_glu_fwd(&be, h.t, g.t, g.t, GF_SILU), GF_ENUMERIC);
        cr_assert_str_eq(be.err.text, "glu_fwd: h (hidden): row 1 is not finite");
        op_free(&g);
        op_free(&h);
    }
}
