/* test_xent.c - cross-entropy and its gradient against the CPU twin, which adds up in double; what
 * is counted of it, which is the same. */
#include "support/twin_case.h"

typedef struct {
    gf_dtype out;
    int64_t m, v, gap, out_gap;
    double size, shift;
    float cap;
} xent_case;

static const xent_case cases[] = {
    {GF_F32, 4, 40, 0, 0, 4.0, 0.0, 0.0f},     {GF_BF16, 3, 1000, 0, 8, 8.0, 0.0, 0.0f},
    {GF_F32, 2, 9002, 2, 2, 6.0, 100.0, 0.0f}, {GF_F32, 3, 5003, 1, 1, 20.0, 0.0, 30.0f},
    {GF_BF16, 2, 131, 1, 0, 15.0, 0.0, 5.0f},  {GF_F32, 3, 1, 0, 3, 1.0, 0.0, 0.0f},
    {GF_BF16, 2, 3, 1, 5, 1.0, -50.0, 0.0f},   {GF_F32, 2, 513, 3, 3, 30.0, 0.0, 0.0f},
    {GF_BF16, 2, 8200, 0, 0, 3.0, 0.0, 50.0f}, {GF_F32, 1, 8192, 0, 0, 3.0, 1e4, 0.0f},
};
#define CASES ((int)(sizeof cases / sizeof *cases))

typedef struct {
    twin *nll, *best, *d, *logits, *label;
} xent_set;

static xent_set make_set(twin_pair *p, const xent_case *c)
{
    xent_set s = {.nll = twin_make(p, GF_F32, "nll", c->m, 0, 0, 0)};
    s.best = twin_make(p, GF_I32, "best", c->m, 0, 0, 0);
    s.d = twin_make(p, c->out, "dlogits", c->m, c->v, 0, c->out_gap);
    s.logits = twin_make(p, GF_F32, "logits", c->m, c->v, 0, c->gap);
    s.label = twin_make(p, GF_I32, "label", c->m, 0, 0, 0);
    uint64_t state = 11;
    for (int64_t r = 0; r < c->m; r++) {
        for (int64_t i = 0; i < c->v; i++)
            op_set(s.logits->cpu.t, r, i, c->shift + c->size * op_random(&state));
        op_set(s.label->cpu.t, r, 0, r % 3 == 2 ? -1.0 : (double)((r * 1013) % c->v));
    }
    return s;
}

/* An exponential is off by 2 ulp on either side, a sum by the 64 additions of its longest chain;
 * tanh, and its argument, by 3 ulp, which the cap multiplies. The gradient is at most 1, and so is
 * the factor of the cap. */
static double slack(const xent_case *c)
{
    return (100.0 + 16.0 * (double)c->cap) * U32;
}

Test(cuda_xent, twin)
{
    twin_pair p;
    twin_open(&p);
    for (int i = 0; i < CASES; i++) {
        const xent_case *c = &cases[i];
        const xent_set s = make_set(&p, c);
        twin *d = i == 1 ? NULL : s.d;
        TWIN_RUN(p, gf_xent(BE, T(s.nll), T(s.best), T(d), T(s.logits), T(s.label), c->cap));
        device_near("xent", s.nll->got.t, s.nll->cpu.t, slack(c), 4 * U32);
        twin_equal("xent", s.best);
        device_near("xent", s.d->got.t, s.d->cpu.t, slack(c), c->out == GF_BF16 ? 2 * U16 : 0.0);
        twin_clear(&p);
    }
    twin_close(&p);
}

/* A row alone and the gradient on the logits, with gaps of their own: the same bits (law 3). */
Test(cuda_xent, rows_alone)
{
    twin_pair p;
    twin_open(&p);
    for (int i = 0; i < CASES; i++) {
        xent_case c = cases[i];
        const xent_set s = make_set(&p, &c);
        twin_put(&p);
        gf_backend *be = &p.be;
        DEVICE_OK(be, gf_xent(be, s.nll->on.t, s.best->on.t, s.d->on.t, s.logits->on.t,
                              s.label->on.t, c.cap));
        twin_get(&p);
        for (int64_t r = 0; r < c.m; r++) {
            xent_case one = c;
            one.m = 1;
            one.gap = c.gap % 4 ? 0 : 1;
            const xent_set t = make_set(&p, &one);
            DEVICE_OK(be, gf_upload(be, t.logits->on.t, op_row(s.logits->cpu.t, r)));
            DEVICE_OK(be, gf_upload(be, t.label->on.t, op_row(s.label->cpu.t, r)));
            DEVICE_OK(be, gf_xent(be, t.nll->on.t, t.best->on.t,
                                  c.out == GF_F32 ? t.logits->on.t : t.d->on.t, t.logits->on.t,
                                  t.label->on.t, c.cap));
            twin_get(&p);
            cr_assert(op_same_row(t.nll->got.t, 0, s.nll->got.t, r), "case %d: nll", i);
            cr_assert(op_same_row(t.best->got.t, 0, s.best->got.t, r), "case %d: best", i);
            cr_assert(op_same_row(c.out == GF_F32 ? t.logits->got.t : t.d->got.t, 0, s.d->got.t, r),
                      "case %d: dlogits", i);
        }
        twin_clear(&p);
    }
    twin_close(&p);
}

/* Ties go to the first column, wherever the two stand; a row of one value. */
Test(cuda_xent, ties)
{
    static const int64_t at[][2] = {{0, 1},     {3, 4},     {5, 2047},
                                    {130, 131}, {127, 128}, {1999, 2046}};
    twin_pair p;
    twin_open(&p);
    const xent_case c = {GF_F32, 7, 2048, 0, 0, 1.0, 0.0, 0.0f};
    const xent_set s = make_set(&p, &c);
    for (int64_t r = 0; r < 6; r++)
        for (int k = 0; k < 2; k++)
            op_set(s.logits->cpu.t, r, at[r][k], 3.0);
    for (int64_t i = 0; i < c.v; i++)
        op_set(s.logits->cpu.t, 6, i, -7.0);
    for (int64_t r = 0; r < 7; r++)
        op_set(s.label->cpu.t, r, 0, 100.0);
    TWIN_RUN(p, gf_xent(BE, T(s.nll), T(s.best), T(s.d), T(s.logits), T(s.label), 0.0f));
    for (int64_t r = 0; r < 6; r++)
        cr_assert_eq(op_get(s.best->got.t, r, 0), (double)at[r][0]);
    twin_equal("ties", s.best);
    device_near("ties", s.nll->got.t, s.nll->cpu.t, slack(&c), 4 * U32);
    twin_close(&p);
}

/* NaN, Inf and -Inf: the CPU's places. */
Test(cuda_xent, not_finite)
{
    twin_pair p;
    twin_open(&p);
    for (int k = 0; k < 2; k++) {
        const xent_case c = {GF_F32, 9, 700 + k, 0, 0, 4.0, 0.0, k ? 20.0f : 0.0f};
        const xent_set s = make_set(&p, &c);
        const gf_tensor z = s.logits->cpu.t;
        for (int64_t r = 0; r < c.m; r++)
            op_set(s.label->cpu.t, r, 0, 100.0);
        op_set(z, 0, 699, NAN);
        op_set(z, 1, 100, NAN); /* the label's */
        op_set(z, 2, 50, INFINITY);
        op_set(z, 3, 100, -INFINITY);
        op_set(z, 4, 101, -INFINITY);
        for (int64_t i = 0; i < c.v; i++) {
            op_set(z, 5, i, -INFINITY);
            op_set(z, 6, i, NAN);
            op_set(z, 7, i, i == 100 ? 1.0 : -INFINITY);
            op_set(z, 8, i, i % 3 == 2 ? 2.0 : i % 3 ? (double)NAN : -INFINITY);
        }
        TWIN_RUN(p, gf_xent(BE, T(s.nll), T(s.best), T(s.d), T(s.logits), T(s.label), c.cap));
        device_near("not finite", s.nll->got.t, s.nll->cpu.t, slack(&c), 4 * U32);
        twin_equal("not finite", s.best);
        device_near("not finite", s.d->got.t, s.d->cpu.t, slack(&c), 0.0);
        twin_clear(&p);
    }
    twin_close(&p);
}

/* Sums of what is added to what was there: whole numbers, so the same. */
Test(cuda_xent, count_losses)
{
    static const int64_t sizes[] = {1, 31, 257, 3000};
    static const double odd[] = {(double)NAN, (double)INFINITY, -(double)INFINITY,
                                 65536.0,     -65536.0,         65535.99,
                                 -0.25,       0x1p-33,          3 * 0x1p-33};
    twin_pair p;
    twin_open(&p);
    for (int k = 0; k < 4; k++) {
        const int64_t n = sizes[k];
        twin *sums = twin_make(&p, GF_I64, "sums", GF_SUMS, 0, 0, 0);
        twin *nll = twin_make(&p, GF_F32, "nll", n, 0, 0, 0);
        twin *best = twin_make(&p, GF_I32, "best", n, 0, 0, 0);
        twin *label = twin_make(&p, GF_I32, "label", n, 0, 0, 0);
        uint64_t state = 5;
        for (int64_t i = 0; i < GF_SUMS; i++)
            ((int64_t *)sums->cpu.t.data)[i] = 1000 - 700 * i;
        for (int64_t i = 0; i < n; i++) {
            op_set(nll->cpu.t, i, 0, i % 5 == 4 ? odd[i / 5 % 9] : 9.0 + 9.0 * op_random(&state));
            op_set(best->cpu.t, i, 0, (double)(i % 7));
            op_set(label->cpu.t, i, 0, i % 11 == 3 ? -1.0 : (double)(i % 3));
        }
        TWIN_RUN(p, gf_count_losses(BE, T(sums), T(nll), T(best), T(label)));
        cr_assert(op_same(sums->got.t, sums->cpu.t), "n %lld", (long long)n);
        const int64_t before = p.be.tally.launches;
        DEVICE_OK(&p.be, gf_count_losses(&p.be, sums->on.t, gf_rows(nll->on.t, 0, 0),
                                         gf_rows(best->on.t, 0, 0), gf_rows(label->on.t, 0, 0)));
        cr_assert_eq(p.be.tally.launches, before);
        twin_clear(&p);
    }
    twin_close(&p);
}
