/* test_glu.c - the gated linear unit against its CPU twin, whose sigmoid and tanh are others. */
#include "support/twin_case.h"

typedef struct {
    gf_dtype h, gate, up, dh, dgate, dup;
    int64_t n, width, gap;
    gf_act act;
} glu_case;

#define F GF_F32
#define B GF_BF16
static const glu_case cases[] = {
    {F, F, F, F, F, F, 3, 64, 0, GF_SILU},  {F, F, F, F, F, F, 2, 2052, 4, GF_GELU_TANH},
    {B, B, B, B, B, B, 3, 128, 0, GF_SILU}, {B, B, B, B, B, B, 2, 4104, 8, GF_GELU_TANH},
    {F, F, F, F, F, F, 3, 33, 0, GF_SILU},  {B, B, B, B, B, B, 3, 21, 3, GF_GELU_TANH},
    {B, B, B, B, B, B, 5, 1, 0, GF_SILU},   {F, F, F, F, F, F, 1, 70, 2, GF_SILU},
    {B, F, B, F, B, F, 2, 100, 0, GF_SILU}, {F, B, F, B, F, B, 3, 19, 1, GF_GELU_TANH},
    {F, F, F, B, F, F, 2, 600, 0, GF_SILU}, {B, B, B, B, B, B, 2, 69, 3, GF_SILU},
    {F, F, F, F, F, F, 130, 4, 0, GF_SILU}, /* several rows a block */
};
#define CASES ((int)(sizeof cases / sizeof *cases))

typedef struct {
    twin *h, *gate, *up, *dh, *dgate, *dup;
} glu_set;

static glu_set make_set(twin_pair *p, const glu_case *c, uint64_t seed)
{
    glu_set s = {.h = twin_make(p, c->h, "h", c->n, c->width, 0, c->gap)};
    s.gate = twin_make(p, c->gate, "gate", c->n, c->width, 0, c->gap);
    s.up = twin_make(p, c->up, "up", c->n, c->width, 0, c->gap);
    s.dh = twin_make(p, c->dh, "dh", c->n, c->width, 0, c->gap);
    s.dgate = twin_make(p, c->dgate, "dgate", c->n, c->width, 0, c->gap);
    s.dup = twin_make(p, c->dup, "dup", c->n, c->width, 0, c->gap);
    op_fill(s.gate->cpu.t, seed, 6.0);
    op_fill(s.up->cpu.t, seed + 1, 2.0);
    op_fill(s.dh->cpu.t, seed + 2, 1.0);
    return s;
}

/* With |gate| <= 6, |up| <= 2, |dh| <= 1. A sigmoid is off by 4 ulp here and 3 there, (1 + tanh) /
 * 2 by 3 ulp of 1 there; the argument of gelu's by 4 roundings, which |y| sigmoid'(y) <= 0.23 makes
 * small. Then |gate| and |up| multiply that: 12 * 2 * 8 U32 at most. */
#define FORWARD (192 * U32)
/* act' adds gate * sigmoid * (1 - sigmoid), where 1 - sigmoid is off by an ulp of 1; for gelu that
 * is multiplied by du <= 4.7, and the CPU's 1 - tanh^2 is off by 4 ulp: 3 * 4.7 * 8 U32, twice
 * |up|.
 */
#define BACKWARD (240 * U32)

static double of_type(gf_dtype t)
{
    return t == GF_BF16 ? 2 * U16 : 0.0;
}

Test(cuda_glu, forward)
{
    twin_pair p;
    twin_open(&p);
    for (int i = 0; i < CASES; i++) {
        const glu_case *c = &cases[i];
        const glu_set s = make_set(&p, c, (uint64_t)i);
        TWIN_RUN(p, gf_glu_fwd(BE, T(s.h), T(s.gate), T(s.up), c->act));
        device_near("forward", s.h->got.t, s.h->cpu.t, FORWARD, of_type(c->h));
        twin_clear(&p);
    }
    twin_close(&p);
}

Test(cuda_glu, backward)
{
    twin_pair p;
    twin_open(&p);
    for (int i = 0; i < CASES; i++) {
        const glu_case *c = &cases[i];
        const glu_set s = make_set(&p, c, (uint64_t)i);
        twin *h = i % 3 == 2 ? NULL : s.h;
        TWIN_RUN(p,
                 gf_glu_bwd(BE, T(s.dgate), T(s.dup), T(h), T(s.dh), T(s.gate), T(s.up), c->act));
        device_near("backward", s.dgate->got.t, s.dgate->cpu.t, BACKWARD, of_type(c->dgate));
        device_near("backward", s.dup->got.t, s.dup->cpu.t, FORWARD, of_type(c->dup));
        if (h)
            device_near("backward", h->got.t, h->cpu.t, FORWARD, of_type(c->h));
        else
            cr_assert(op_same(s.h->got.t, s.h->cpu.t));
        twin_clear(&p);
    }
    twin_close(&p);
}

/* dgate on gate and dup on up: the bits of the call that keeps them apart; h is forward's. */
Test(cuda_glu, in_place)
{
    twin_pair p;
    twin_open(&p);
    for (int i = 0; i < CASES; i++) {
        const glu_case *c = &cases[i];
        if (c->dgate != c->gate || c->dup != c->up)
            continue;
        const glu_set s = make_set(&p, c, (uint64_t)i);
        twin *h = twin_make(&p, c->h, "h", c->n, c->width, 0, c->gap);
        twin_put(&p);
        gf_backend *be = &p.be;
        const gf_tensor gate = s.gate->on.t, up = s.up->on.t, dh = s.dh->on.t;
        DEVICE_OK(be, gf_glu_fwd(be, s.h->on.t, gate, up, c->act));
        DEVICE_OK(be, gf_glu_bwd(be, s.dgate->on.t, s.dup->on.t, gf_none, dh, gate, up, c->act));
        DEVICE_OK(be, gf_glu_bwd(be, gate, up, h->on.t, dh, gate, up, c->act));
        twin_get(&p);
        cr_assert(op_same(s.gate->got.t, s.dgate->got.t), "case %d: dgate", i);
        cr_assert(op_same(s.up->got.t, s.dup->got.t), "case %d: dup", i);
        cr_assert(op_same(h->got.t, s.h->got.t), "case %d: h", i);
        twin_clear(&p);
    }
    twin_close(&p);
}

/* Gate and up side by side in one tensor, up from a column on that no alignment fits: the bits of
 * tensors of their own. A row alone has the bits that it had among others (law 3). */
Test(cuda_glu, columns)
{
    twin_pair p;
    twin_open(&p);
    for (int k = 0; k < 2; k++) {
        const gf_dtype type = k ? GF_BF16 : GF_F32;
        twin *both = twin_make(&p, type, "both", 3, 75, 0, 5);
        twin *h = twin_make(&p, type, "h", 3, 37, 0, 3),
             *one = twin_make(&p, type, "h", 1, 37, 0, 0);
        twin *g = twin_make(&p, type, "g", 1, 37, 0, 0), *u = twin_make(&p, type, "u", 1, 37, 0, 0);
        op_fill(both->cpu.t, 1, 5.0);
        TWIN_RUN(p,
                 gf_glu_fwd(BE, T(h), gf_cols(T(both), 0, 37), gf_cols(T(both), 38, 37), GF_SILU));
        device_near("columns", h->got.t, h->cpu.t, FORWARD * 3, of_type(type));
        gf_backend *be = &p.be;
        DEVICE_OK(be, gf_upload(be, g->on.t, op_row(both->cpu.t, 2)));
        DEVICE_OK(be, gf_upload(be, u->on.t, op_row(gf_cols(both->cpu.t, 38, 37), 2)));
        DEVICE_OK(be, gf_glu_fwd(be, one->on.t, g->on.t, u->on.t, GF_SILU));
        twin_get(&p);
        cr_assert(op_same_row(one->got.t, 0, h->got.t, 2));
        twin_clear(&p);
    }
    twin_close(&p);
}

/* NaN and Inf in the same places; what is finite within `bound` of the row's largest factor. */
static void alike(const twin *t, const double *factor, double bound)
{
    for (int64_t i = 0; i < t->cpu.t.dim[0]; i++)
        for (int64_t j = 0; j < gf_width(t->cpu.t); j++) {
            const double a = op_get(t->got.t, i, j), b = op_get(t->cpu.t, i, j);
            const double size = isfinite(factor[i]) ? fmax(1.0, fabs(factor[i])) : 1.0;
            cr_assert(isfinite(b) ? fabs(a - b) <= bound * size : a == b || (isnan(a) && isnan(b)),
                      "%s[%lld,%lld] is %g, want %g", t->cpu.t.name, (long long)i, (long long)j, a,
                      b);
        }
}

/* Inf, NaN and what overflows on the way. */
Test(cuda_glu, not_finite)
{
    static const double x[] = {(double)NAN,
                               (double)INFINITY,
                               -(double)INFINITY,
                               1e20,
                               -1e20,
                               3e38,
                               -3e38,
                               90.0,
                               -90.0,
                               -105.0,
                               1e10,
                               -1e10,
                               0.0,
                               -0.0,
                               1e-40};
    const int64_t n = (int64_t)(sizeof x / sizeof *x);
    twin_pair p;
    twin_open(&p);
    for (int k = 0; k < 4; k++) {
        const glu_case c = {
            F, F, F, F, F, F, n, k < 2 ? 24 : 23, 0, k % 2 ? GF_SILU : GF_GELU_TANH};
        const glu_set s = make_set(&p, &c, 5);
        for (int64_t i = 0; i < n; i++) {
            op_set(s.gate->cpu.t, i, 3, x[i]);
            op_set(s.up->cpu.t, i, 11, x[i]);
            op_set(s.dh->cpu.t, i, 17, x[i]);
        }
        TWIN_RUN(p, gf_glu_fwd(BE, T(s.h), T(s.gate), T(s.up), c.act));
        alike(s.h, x, FORWARD);
        TWIN_RUN(p,
                 gf_glu_bwd(BE, T(s.dgate), T(s.dup), T(s.h), T(s.dh), T(s.gate), T(s.up), c.act));
        alike(s.dgate, x, BACKWARD);
        alike(s.dup, x, FORWARD);
        const int64_t before = p.be.tally.launches;
        DEVICE_OK(&p.be, gf_glu_fwd(&p.be, gf_rows(s.h->on.t, 0, 0), gf_rows(s.gate->on.t, 0, 0),
                                    gf_rows(s.up->on.t, 0, 0), c.act));
        cr_assert_eq(p.be.tally.launches, before);
        twin_clear(&p);
    }
    twin_close(&p);
}
