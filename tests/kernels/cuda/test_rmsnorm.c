/* test_rmsnorm.c - RMSNorm against its CPU twin, within what other orders of summation and another
 * square root may differ by; laws and edges. */
#include "support/twin_case.h"

#define EPS 1e-5f

typedef struct {
    gf_dtype x, y;                /* forward; backward: x, and dy */
    gf_dtype dx;                  /* backward */
    int64_t n, heads, width, gap; /* heads 0: whole rows */
    float offset;
} norm_case;

/* A warp, with 1, 4 and 8 units a thread; a block; what registers don't hold; odd widths; all
 * mixtures of types. */
static const norm_case cases[] = {
    {GF_F32, GF_F32, GF_F32, 5, 0, 576, 0, 0.0f},
    {GF_F32, GF_BF16, GF_F32, 3, 0, 1024, 8, 1.0f},
    {GF_BF16, GF_BF16, GF_BF16, 3, 3, 128, 0, 0.0f},
    {GF_BF16, GF_BF16, GF_BF16, 2, 5, 32, 16, 1.0f},
    {GF_F32, GF_F32, GF_F32, 3, 2, 256, 4, 0.0f},
    {GF_F32, GF_BF16, GF_F32, 2, 0, 2048, 0, 0.0f},
    {GF_BF16, GF_BF16, GF_BF16, 2, 0, 1540, 0, 1.0f},
    {GF_F32, GF_F32, GF_F32, 1, 0, 16388, 0, 0.0f},
    {GF_F32, GF_F32, GF_F32, 5, 0, 33, 0, 1.0f},
    {GF_F32, GF_BF16, GF_F32, 2, 0, 1, 1, 0.0f},
    {GF_BF16, GF_BF16, GF_BF16, 2, 3, 17, 2, 0.0f},
    {GF_F32, GF_F32, GF_F32, 2, 0, 1026, 1, 0.0f},
    {GF_BF16, GF_F32, GF_BF16, 2, 0, 100, 0, 0.0f},
    {GF_BF16, GF_F32, GF_F32, 2, 2, 36, 3, 1.0f},
    {GF_F32, GF_BF16, GF_BF16, 2, 0, 1100, 0, 0.0f},
    {GF_BF16, GF_BF16, GF_F32, 2, 0, 64, 0, 0.0f},
};
#define CASES ((int)(sizeof cases / sizeof *cases))

typedef struct {
    twin *y, *rstd, *x, *w, *dx, *rounded, *dy, *into;
} norm_set;

static twin *make(twin_pair *p, const norm_case *c, gf_dtype t, const char *name)
{
    return c->heads ? twin_make(p, t, name, c->n, c->heads, c->width, c->gap)
                    : twin_make(p, t, name, c->n, c->width, 0, c->gap);
}

static norm_set make_set(twin_pair *p, const norm_case *c, uint64_t seed)
{
    norm_set s = {.y = make(p, c, c->y, "y"), .x = make(p, c, c->x, "x")};
    s.rstd = c->heads ? twin_make(p, GF_F32, "rstd", c->n, c->heads, 0, 1)
                      : twin_make(p, GF_F32, "rstd", c->n, 0, 0, 0);
    s.w = twin_make(p, GF_F32, "w", c->width, 0, 0, 0);
    s.dx = make(p, c, c->dx, "dx");
    s.rounded = make(p, c, GF_BF16, "rounded");
    s.dy = make(p, c, c->y, "dy");
    s.into = make(p, c, GF_F32, "into");
    op_fill(s.x->cpu.t, seed, 3.0);
    op_fill(s.w->cpu.t, 2, 1.0);
    op_fill(s.dy->cpu.t, 3, 1.0);
    op_fill(s.into->cpu.t, 4, 1.0);
    return s;
}

/* Either side adds `width` terms in chains of at most 32 and a tree of ten levels; after it there
 * are six operations, and rsqrt and the mean's reciprocal are off by 2 ulp. The sum of squares has
 * no cancellation; its relative error goes through the root by half. */
static double roundings(int64_t width)
{
    const double chain = width < 32 * 32 ? 32.0 : (double)width / 32.0;
    return 2.0 * (chain + 20.0);
}
static double of_type(gf_dtype t)
{
    return t == GF_BF16 ? 2 * U16 : 0.0; /* each side rounds once, half an ulp of 2^-7 */
}

Test(cuda_rmsnorm, forward)
{
    twin_pair p;
    twin_open(&p);
    for (int i = 0; i < CASES; i++) {
        const norm_case *c = &cases[i];
        const norm_set s = make_set(&p, c, (uint64_t)i);
        TWIN_RUN(p, gf_rmsnorm_fwd(BE, T(s.y), T(s.rstd), T(s.x), gf_none, T(s.w), EPS, c->offset));
        const double u = roundings(c->width) * U32;
        device_near("forward", s.rstd->got.t, s.rstd->cpu.t, 0.0, u);
        device_near("forward", s.y->got.t, s.y->cpu.t, 0.0, u + of_type(c->y));
        twin_clear(&p);
    }
    twin_close(&p);
}

/* The residual is added to what comes without one, and the sum rounded once; also in its place. */
Test(cuda_rmsnorm, residual)
{
    twin_pair p;
    twin_open(&p);
    for (int i = 0; i < CASES; i++) {
        norm_case c = cases[i];
        c.y = GF_F32;
        const norm_set s = make_set(&p, &c, (uint64_t)i);
        twin *sum = make(&p, &c, GF_F32, "sum");
        gf_backend *be = &p.be;
        twin_put(&p);
        const gf_tensor x = s.x->on.t, w = s.w->on.t, r = s.rstd->on.t, old = s.into->on.t;
        DEVICE_OK(be, gf_rmsnorm_fwd(be, s.y->on.t, r, x, gf_none, w, EPS, c.offset));
        DEVICE_OK(be, gf_rmsnorm_fwd(be, sum->on.t, r, x, old, w, EPS, c.offset));
        DEVICE_OK(be, gf_rmsnorm_fwd(be, old, r, x, old, w, EPS, c.offset));
        twin_get(&p);
        cr_assert(op_same(s.into->got.t, sum->got.t), "case %d", i);
        for (int64_t t = 0; t < c.n; t++)
            for (int64_t j = 0; j < gf_width(sum->got.t); j++)
                cr_assert_eq((float)op_get(sum->got.t, t, j),
                             (float)op_get(s.into->cpu.t, t, j) + (float)op_get(s.y->got.t, t, j),
                             "case %d", i);
        twin_clear(&p);
    }
    twin_close(&p);
}

/* |dx| is at most |into| + r (|g| + |hat| mean|g hat|): with |x| <= 3, |dy| <= 1, |w + offset| <= 2
 * and hat's mean square 1, the terms' sizes are bounded by this. */
static double size_of(const norm_set *s, double width)
{
    double most = 0.0;
    for (int64_t i = 0; i < s->rstd->cpu.t.dim[0]; i++)
        for (int64_t h = 0; h < gf_width(s->rstd->cpu.t); h++)
            most = fmax(most, op_get(s->rstd->cpu.t, i, h));
    const double hat = fmin(3.0 * most, sqrt(width)); /* hat's squares add up to width */
    return 1.0 + most * (2.0 + hat * 2.0);
}

Test(cuda_rmsnorm, backward)
{
    twin_pair p;
    twin_open(&p);
    for (int i = 0; i < CASES; i++) {
        const norm_case *c = &cases[i];
        const norm_set s = make_set(&p, c, (uint64_t)i);
        twin *into = i % 3 == 2 ? NULL : s.into, *rounded = i % 2 ? NULL : s.rounded;
        OP_OK(p.cpu, gf_rmsnorm_fwd(&p.cpu, s.y->cpu.t, s.rstd->cpu.t, s.x->cpu.t, gf_none,
                                    s.w->cpu.t, EPS, c->offset));
        TWIN_RUN(p, gf_rmsnorm_bwd(BE, T(s.dx), T(rounded), gf_none, T(s.dy), T(into), T(s.x),
                                   T(s.w), T(s.rstd), c->offset));
        const double u = roundings(c->width) * U32 * size_of(&s, (double)c->width);
        device_near("backward", s.dx->got.t, s.dx->cpu.t, u, of_type(c->dx));
        if (rounded)
            device_near("backward", rounded->got.t, rounded->cpu.t, u, of_type(GF_BF16));
        else
            cr_assert(op_same(s.rounded->got.t, s.rounded->cpu.t));
        twin_clear(&p);
    }
    twin_close(&p);
}

/* y on x; dx on dy; dx on into: the bits of the call that keeps them apart. */
Test(cuda_rmsnorm, in_place)
{
    twin_pair p;
    twin_open(&p);
    for (int i = 0; i < CASES; i++) {
        const norm_case *c = &cases[i];
        norm_set s = make_set(&p, c, (uint64_t)i);
        twin_put(&p);
        const gf_tensor x = s.x->on.t, w = s.w->on.t, r = s.rstd->on.t, dy = s.dy->on.t;
        gf_backend *be = &p.be;
        DEVICE_OK(be, gf_rmsnorm_fwd(be, s.y->on.t, r, x, gf_none, w, EPS, c->offset));
        DEVICE_OK(
            be, gf_rmsnorm_bwd(be, s.dx->on.t, gf_none, gf_none, dy, s.into->on.t, x, w, r, 0.0f));
        if (c->dx == GF_F32)
            DEVICE_OK(be, gf_rmsnorm_bwd(be, s.into->on.t, gf_none, gf_none, dy, s.into->on.t, x, w,
                                         r, 0.0f));
        twin *old = make(&p, c, GF_F32, "into");
        op_fill(old->cpu.t, 4, 1.0);
        DEVICE_OK(be, gf_upload(be, device_whole(&old->on), old->cpu.memory));
        if (c->dx == c->y)
            DEVICE_OK(be, gf_rmsnorm_bwd(be, dy, gf_none, gf_none, dy, old->on.t, x, w, r, 0.0f));
        if (c->x == c->y)
            DEVICE_OK(be, gf_rmsnorm_fwd(be, x, r, x, gf_none, w, EPS, c->offset));
        twin_get(&p);
        cr_assert(c->dx != GF_F32 || op_same(s.into->got.t, s.dx->got.t), "case %d: into", i);
        cr_assert(c->dx != c->y || op_same(s.dy->got.t, s.dx->got.t), "case %d: dy", i);
        cr_assert(c->x != c->y || op_same(s.x->got.t, s.y->got.t), "case %d: x", i);
        twin_clear(&p);
    }
    twin_close(&p);
}

/* Law 3: a row alone, without a gap, has the bits that it had among others, also where neither the
 * one nor the other is aligned. */
Test(cuda_rmsnorm, rows_alone)
{
    twin_pair p;
    twin_open(&p);
    for (int i = 0; i < CASES; i++) {
        norm_case c = cases[i];
        const norm_set s = make_set(&p, &c, (uint64_t)i);
        twin_put(&p);
        gf_backend *be = &p.be;
        DEVICE_OK(be, gf_rmsnorm_fwd(be, s.y->on.t, s.rstd->on.t, s.x->on.t, gf_none, s.w->on.t,
                                     EPS, 0.0f));
        DEVICE_OK(be, gf_rmsnorm_bwd(be, s.dx->on.t, s.rounded->on.t, gf_none, s.dy->on.t,
                                     s.into->on.t, s.x->on.t, s.w->on.t, s.rstd->on.t, 0.0f));
        twin_get(&p);
        const int64_t row = c.n - 1;
        c.n = 1;
        c.gap = c.gap % 4 ? 0 : 1;
        norm_set one = make_set(&p, &c, 1);
        const gf_tensor x = one.x->on.t;
        DEVICE_OK(be, gf_upload(be, x, op_row(s.x->cpu.t, row)));
        DEVICE_OK(be, gf_upload(be, one.w->on.t, s.w->cpu.t.data));
        DEVICE_OK(be, gf_upload(be, one.dy->on.t, op_row(s.dy->cpu.t, row)));
        DEVICE_OK(be, gf_upload(be, one.into->on.t, op_row(s.into->cpu.t, row)));
        DEVICE_OK(be, gf_rmsnorm_fwd(be, one.y->on.t, one.rstd->on.t, x, gf_none, one.w->on.t, EPS,
                                     0.0f));
        DEVICE_OK(be, gf_rmsnorm_bwd(be, one.dx->on.t, one.rounded->on.t, gf_none, one.dy->on.t,
                                     one.into->on.t, x, one.w->on.t, one.rstd->on.t, 0.0f));
        twin_get(&p);
        cr_assert(op_same_row(one.y->got.t, 0, s.y->got.t, row), "case %d: y", i);
        cr_assert(op_same_row(one.rstd->got.t, 0, s.rstd->got.t, row), "case %d: rstd", i);
        cr_assert(op_same_row(one.dx->got.t, 0, s.dx->got.t, row), "case %d: dx", i);
        cr_assert(op_same_row(one.rounded->got.t, 0, s.rounded->got.t, row), "case %d", i);
        twin_clear(&p);
    }
    twin_close(&p);
}

/* Columns of wider tensors from one on that is not aligned, on whose rows the bits are those of
 * aligned ones. */
Test(cuda_rmsnorm, not_aligned)
{
    twin_pair p;
    twin_open(&p);
    for (int64_t width = 48; width <= 1200; width *= 5) {
        twin *x = twin_make(&p, GF_F32, "x", 3, width + 8, 0, 0);
        twin *y = twin_make(&p, GF_BF16, "y", 3, width + 8, 0, 0);
        twin *w = twin_make(&p, GF_F32, "w", width, 0, 0, 0);
        twin *r = twin_make(&p, GF_F32, "rstd", 3, 0, 0, 0);
        twin *straight = twin_make(&p, GF_F32, "x", 3, width, 0, 0);
        twin *z = twin_make(&p, GF_BF16, "z", 3, width, 0, 0);
        op_fill(x->cpu.t, 1, 1.0);
        op_fill(y->cpu.t, 2, 1.0);
        op_fill(w->cpu.t, 3, 1.0);
        for (int64_t i = 0; i < 3; i++)
            memcpy(op_row(straight->cpu.t, i), (float *)op_row(x->cpu.t, i) + 3,
                   (size_t)width * sizeof(float));
        TWIN_RUN(p, gf_rmsnorm_fwd(BE, gf_cols(T(y), 5, width), T(r), gf_cols(T(x), 3, width),
                                   gf_none, T(w), EPS, 0.0f));
        device_near("columns", y->got.t, y->cpu.t, 0.0, 2 * U16 + roundings(width) * U32);
        gf_backend *be = &p.be;
        DEVICE_OK(
            be, gf_rmsnorm_fwd(be, z->on.t, r->on.t, straight->on.t, gf_none, w->on.t, EPS, 0.0f));
        twin_get(&p);
        cr_assert(op_same(z->got.t, gf_cols(y->got.t, 5, width)));
        twin_clear(&p);
    }
    twin_close(&p);
}

/* What is not a number in x or dy shows where the CPU shows it; a row of zeros; no rows. */
Test(cuda_rmsnorm, not_finite)
{
    static const double bad[] = {(double)NAN, (double)INFINITY, -(double)INFINITY, 3e38};
    twin_pair p;
    twin_open(&p);
    for (int i = 0; i < 4; i++) {
        const norm_case *c = &cases[i];
        const norm_set s = make_set(&p, c, 7);
        op_set(s.x->cpu.t, 1, 9, bad[i]);
        op_set(s.dy->cpu.t, 0, 11, bad[3 - i]);
        for (int64_t j = 0; j < gf_width(s.x->cpu.t); j++)
            op_set(s.x->cpu.t, c->n - 1, j, 0.0);
        TWIN_RUN(p, gf_rmsnorm_fwd(BE, T(s.y), T(s.rstd), T(s.x), gf_none, T(s.w), EPS, 0.0f));
        const double u = roundings(c->width) * U32;
        device_near("forward", s.y->got.t, s.y->cpu.t, 0.0, u + of_type(c->y));
        memcpy(s.rstd->got.memory, s.rstd->cpu.memory, s.rstd->cpu.bytes);
        TWIN_RUN(p, gf_rmsnorm_bwd(BE, T(s.dx), T(s.rounded), gf_none, T(s.dy), T(s.into), T(s.x),
                                   T(s.w), T(s.rstd), 0.0f));
        for (int64_t r = 0; r < c->n; r++)
            for (int64_t j = 0; j < gf_width(s.dx->cpu.t); j++)
                cr_assert_eq(isnan(op_get(s.dx->got.t, r, j)), isnan(op_get(s.dx->cpu.t, r, j)),
                             "case %d row %lld column %lld", i, (long long)r, (long long)j);
        const int64_t before = p.be.tally.launches;
        DEVICE_OK(&p.be,
                  gf_rmsnorm_fwd(&p.be, gf_rows(s.y->on.t, 0, 0), gf_rows(s.rstd->on.t, 0, 0),
                                 gf_rows(s.x->on.t, 0, 0), gf_none, s.w->on.t, EPS, 0.0f));
        cr_assert_eq(p.be.tally.launches, before);
        twin_clear(&p);
    }
    twin_close(&p);
}
