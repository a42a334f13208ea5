/* test_rmsnorm.c - against the formula in double, derivatives, rows alone, threads, guard zones. */
#include "support/op_case.h"

typedef struct {
    gf_dtype x, y;
    int64_t n, heads, width; /* heads 0: whole rows */
    float offset;
} norm_case;

static const norm_case cases[] = {
    {GF_F32, GF_F32, 5, 0, 576, 0.0f},   {GF_F32, GF_BF16, 3, 0, 33, 1.0f},
    {GF_BF16, GF_BF16, 7, 0, 17, 0.0f},  {GF_BF16, GF_F32, 2, 0, 1, 0.0f},
    {GF_F32, GF_F32, 4, 3, 40, 1.0f},    {GF_BF16, GF_BF16, 3, 2, 64, 0.0f},
    {GF_F32, GF_F32, 300, 0, 100, 0.0f}, /* enough rows for several threads */
};
#define CASES ((int)(sizeof cases / sizeof *cases))
#define EPS 1e-5f

/* A per-head tensor of a case: [n,width] or [n,heads,width]. */
static op_tensor make(const norm_case *c, gf_dtype t, const char *name, int64_t gap)
{
    return c->heads ? op_make(t, name, c->n, c->heads, c->width, gap)
                    : op_make(t, name, c->n, c->width, 0, gap);
}

typedef struct {
    op_tensor x, y, w, rstd, dy, into, dx;
} norm_set;

static norm_set make_set(const norm_case *c, int seed)
{
    norm_set s;
    s.x = make(c, c->x, "x", 5);
    s.y = make(c, c->y, "y", 3);
    s.dy = make(c, c->y, "dy", 1);
    s.into = make(c, GF_F32, "into", 2);
    s.dx = make(c, GF_F32, "dx", 7);
    s.w = op_make(GF_F32, "w", c->width, 0, 0, 0);
    s.rstd = c->heads ? op_make(GF_F32, "rstd", c->n, c->heads, 0, 1)
                      : op_make(GF_F32, "rstd", c->n, 0, 0, 0);
    op_fill(s.x.t, (uint64_t)seed, 3.0);
    op_fill(s.w.t, 2, 1.0);
    op_fill(s.dy.t, 3, 1.0);
    op_fill(s.into.t, 4, 1.0);
    return s;
}

static void free_set(norm_set *s)
{
    op_tensor *all[] = {&s->x, &s->y, &s->w, &s->rstd, &s->dy, &s->into, &s->dx};
    for (int i = 0; i < 7; i++) {
        cr_assert(op_guard_whole(all[i]), "%s: written beyond its elements", all[i]->t.name);
        op_free(all[i]);
    }
}

static double weight(const norm_set *s, int64_t i, float offset)
{
    return op_get(s->w.t, i, 0) + (double)offset;
}

/* Checks one row or head against the formulas of graft/ops.h. */
static void check_one(const norm_case *c, const norm_set *s, int64_t t, int64_t h)
{
    const int64_t n = c->width, at = h * n;
    double squares = 0.0, dot = 0.0, size = 0.0;
    for (int64_t i = 0; i < n; i++)
        squares += pow(op_get(s->x.t, t, at + i), 2);
    const double r = 1.0 / sqrt(squares / (double)n + (double)EPS);
    op_near("fwd", s->rstd.t, t, h, r, r, (double)n / 16 + 8); /* n / 16 additions a lane */
    for (int64_t i = 0; i < n; i++) {
        const double y = op_get(s->x.t, t, at + i) * r * weight(s, i, c->offset);
        op_near("fwd", s->y.t, t, at + i, y, fabs(y), (double)n / 16 + 12);
        const double term = op_get(s->dy.t, t, at + i) * y;
        dot += term / (double)n;
        size += fabs(term) / (double)n;
    }
    for (int64_t i = 0; i < n; i++) {
        const double hat = op_get(s->x.t, t, at + i) * r;
        const double g = op_get(s->dy.t, t, at + i) * weight(s, i, c->offset);
        const double into = op_get(s->into.t, t, at + i);
        op_near("bwd", s->dx.t, t, at + i, into + r * (g - hat * dot),
                fabs(into) + r * (fabs(g) + fabs(hat) * size), (double)n / 8 + 16);
    }
}

Test(rmsnorm, formula)
{
    gf_backend be;
    EACH_ISA(be, 2)
    {
        for (int i = 0; i < CASES; i++) {
            norm_set s = make_set(&cases[i], i);
            const float off = cases[i].offset;
            OP_OK(be, gf_rmsnorm_fwd(&be, s.y.t, s.rstd.t, s.x.t, gf_none, s.w.t, EPS, off));
            OP_OK(be, gf_rmsnorm_bwd(&be, s.dx.t, gf_none, gf_none, s.dy.t, s.into.t, s.x.t, s.w.t,
                                     s.rstd.t, off));
            for (int64_t t = 0; t < cases[i].n; t++)
                for (int64_t h = 0; h < (cases[i].heads ? cases[i].heads : 1); h++)
                    check_one(&cases[i], &s, t, h);
            free_set(&s);
        }
    }
}

/* A row alone, contiguous and on one thread, has the bits that it had among others. */
Test(rmsnorm, rows_alone)
{
    gf_backend be;
    EACH_ISA(be, 3)
    {
        gf_backend one;
        gf_err err = {0};
        cr_assert_eq(gf_backend_open_cpu(&one, 1, be.ops->name, &err), GF_OK);
        for (int i = 0; i < CASES; i++) {
            norm_set s = make_set(&cases[i], i);
            norm_case single = cases[i];
            single.n = 1;
            op_tensor y = make(&single, single.y, "y", 0), dx = make(&single, GF_F32, "dx", 0);
            const float off = single.offset;
            OP_OK(be, gf_rmsnorm_fwd(&be, s.y.t, s.rstd.t, s.x.t, gf_none, s.w.t, EPS, off));
            OP_OK(be, gf_rmsnorm_bwd(&be, s.dx.t, gf_none, gf_none, s.dy.t, gf_none, s.x.t, s.w.t,
                                     s.rstd.t, off));
            for (int64_t t = 0; t < cases[i].n; t++) {
                op_tensor x = op_copy(gf_rows(s.x.t, t, 1), 0),
                          dy = op_copy(gf_rows(s.dy.t, t, 1), 0);
                op_tensor rstd = op_copy(gf_rows(s.rstd.t, t, 1), 0);
                OP_OK(one, gf_rmsnorm_fwd(&one, y.t, rstd.t, x.t, gf_none, s.w.t, EPS, off));
                OP_OK(one, gf_rmsnorm_bwd(&one, dx.t, gf_none, gf_none, dy.t, gf_none, x.t, s.w.t,
                                          rstd.t, off));
                cr_assert(op_same_row(y.t, 0, s.y.t, t) && op_same_row(dx.t, 0, s.dx.t, t) &&
                              op_same_row(rstd.t, 0, s.rstd.t, t),
                          "%s: case %d row %lld", be.ops->name, i, (long long)t);
                op_free(&x);
                op_free(&dy);
                op_free(&rstd);
            }
            op_free(&y);
            op_free(&dx);
            free_set(&s);
        }
        gf_backend_close(&one);
    }
}

/* The rounded copy is dx rounded once. */
Test(rmsnorm, rounded_copy)
{
    gf_backend be;
    EACH_ISA(be, 1)
    {
        norm_set s = make_set(&cases[0], 1);
        op_tensor dx = op_make(GF_F32, "dx", s.x.t.dim[0], s.x.t.dim[1], 0, 3),
                  half = op_make(GF_BF16, "rounded", s.x.t.dim[0], s.x.t.dim[1], 0, 5);
        cr_assert_eq(s.x.t.rank, 2);
        OP_OK(be, gf_rmsnorm_fwd(&be, s.y.t, s.rstd.t, s.x.t, gf_none, s.w.t, EPS, 0));
        OP_OK(be, gf_rmsnorm_bwd(&be, dx.t, half.t, gf_none, s.dy.t, s.into.t, s.x.t, s.w.t,
                                 s.rstd.t, 0));
        for (int64_t t = 0; t < dx.t.dim[0]; t++)
            for (int64_t i = 0; i < dx.t.dim[1]; i++)
                cr_assert_eq(((const uint16_t *)op_row(half.t, t))[i],
                             gf_f32_to_bf16(((const float *)op_row(dx.t, t))[i]));
        cr_assert(op_guard_whole(&half) && op_guard_whole(&dx));
        op_free(&dx);
        op_free(&half);
        free_set(&s);
    }
}

/* With a residual: the sum of it and of what comes without, rounded once more; in its place too. */
Test(rmsnorm, residual)
{
    gf_backend be;
    EACH_ISA(be, 2)
    {
        for (int i = 0; i < CASES; i++) {
            norm_case c = cases[i];
            c.y = GF_F32;
            norm_set s = make_set(&c, i);
            op_tensor y = make(&c, GF_F32, "y", 0), on_it = op_copy(s.into.t, 2);
            OP_OK(be, gf_rmsnorm_fwd(&be, s.y.t, s.rstd.t, s.x.t, gf_none, s.w.t, EPS, c.offset));
            OP_OK(be, gf_rmsnorm_fwd(&be, y.t, s.rstd.t, s.x.t, s.into.t, s.w.t, EPS, c.offset));
            OP_OK(be, gf_rmsnorm_fwd(&be, on_it.t, s.rstd.t, s.x.t, on_it.t, s.w.t, EPS, c.offset));
            for (int64_t t = 0; t < c.n; t++)
                for (int64_t j = 0; j < gf_width(y.t); j++)
                    cr_assert_eq((float)op_get(y.t, t, j),
                                 (float)op_get(s.into.t, t, j) + (float)op_get(s.y.t, t, j));
            cr_assert(op_same(on_it.t, y.t));
            op_free(&y);
            op_free(&on_it);
            free_set(&s);
        }
    }
}

/* In place: y on x, dx on dy, dx on into. */
Test(rmsnorm, in_place)
{
    gf_backend be;
    EACH_ISA(be, 1)
    {
        norm_set s = make_set(&cases[0], 1);
        op_tensor y = op_copy(s.x.t, 2), on_dy = op_copy(s.dy.t, 2), on_into = op_copy(s.into.t, 2);
        OP_OK(be, gf_rmsnorm_fwd(&be, s.y.t, s.rstd.t, s.x.t, gf_none, s.w.t, EPS, 0));
        OP_OK(be, gf_rmsnorm_fwd(&be, y.t, s.rstd.t, y.t, gf_none, s.w.t, EPS, 0));
        cr_assert(op_same(y.t, s.y.t));
        OP_OK(be, gf_rmsnorm_bwd(&be, s.dx.t, gf_none, gf_none, s.dy.t, s.into.t, s.x.t, s.w.t,
                                 s.rstd.t, 0));
        OP_OK(be, gf_rmsnorm_bwd(&be, on_dy.t, gf_none, gf_none, on_dy.t, s.into.t, s.x.t, s.w.t,
                                 s.rstd.t, 0));
        OP_OK(be, gf_rmsnorm_bwd(&be, on_into.t, gf_none, gf_none, s.dy.t, on_into.t, s.x.t, s.w.t,
                                 s.rstd.t, 0));
        cr_assert(op_same(on_dy.t, s.dx.t) && op_same(on_into.t, s.dx.t));
        op_free(&y);
        op_free(&on_dy);
        op_free(&on_into);
        free_set(&s);
    }
}

/* dx is the derivative of sum(dy * y): central differences of the oracle's formula. */
Test(rmsnorm, derivative)
{
    gf_backend be;
    EACH_ISA(be, 1)
    {
        const norm_case c = {GF_F32, GF_F32, 1, 0, 24, 1.0f};
        norm_set s = make_set(&c, 9);
        OP_OK(be, gf_rmsnorm_fwd(&be, s.y.t, s.rstd.t, s.x.t, gf_none, s.w.t, EPS, 1));
        OP_OK(be, gf_rmsnorm_bwd(&be, s.dx.t, gf_none, gf_none, s.dy.t, gf_none, s.x.t, s.w.t,
                                 s.rstd.t, 1));
        for (int64_t i = 0; i < c.width; i++) {
            double loss[2];
            for (int side = 0; side < 2; side++) {
                double squares = 0.0;
                loss[side] = 0.0;
                const double step = side ? 1e-5 : -1e-5;
                for (int64_t j = 0; j < c.width; j++)
                    squares += pow(op_get(s.x.t, 0, j) + (j == i ? step : 0), 2);
                const double r = 1.0 / sqrt(squares / (double)c.width + (double)EPS);
                for (int64_t j = 0; j < c.width; j++)
                    loss[side] += op_get(s.dy.t, 0, j) *
                                  (op_get(s.x.t, 0, j) + (j == i ? step : 0)) * r *
                                  weight(&s, j, 1.0f);
            }
            const double slope = (loss[1] - loss[0]) / 2e-5;
            cr_assert_float_eq(op_get(s.dx.t, 0, i), slope, 2e-6);
        }
        free_set(&s);
    }
}

Test(rmsnorm, refusals)
{
    gf_backend be = {.dry = true};
    const gf_tensor x = gf_view(NULL, GF_F32, "x", 2, 128, 0),
                    r = gf_view(NULL, GF_F32, "r", 2, 0, 0);
    gf_tensor w = gf_view(NULL, GF_BF16, "w", 64, 0, 0);
    OP_REFUSED(be, gf_rmsnorm_fwd(&be, x, r, x, gf_none, w, EPS, 0),
               "rmsnorm_fwd: w is bf16 [64], want f32 [128]");
    w = gf_view(NULL, GF_F32, "w", 128, 0, 0);
    OP_REFUSED(be, gf_rmsnorm_fwd(&be, x, x, x, gf_none, w, EPS, 0),
               "rmsnorm_fwd: rstd is f32 [2,128], want f32 [2]");
    OP_REFUSED(be, gf_rmsnorm_bwd(&be, x, gf_none, gf_none, gf_none, gf_none, x, w, r, 0),
               "rmsnorm_bwd: dy is missing, want f32|bf16 [2,128]");
    gf_tensor tight = x;
    tight.stride = 100;
    OP_REFUSED(be, gf_rmsnorm_fwd(&be, tight, r, x, gf_none, w, EPS, 0),
               "rmsnorm_fwd: y has stride 100, want at least 128");
}
