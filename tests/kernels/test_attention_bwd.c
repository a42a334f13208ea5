/* test_attention_bwd.c - gradients against double, against differences, and their bits. */
#include "support/attention_oracle.h"

typedef struct {
    gf_dtype type;
    int64_t heads, groups, width, window;
    float cap;
    int count;
    int64_t len[3];
} back_case;

static const back_case cases[] = {
    {GF_F32, 3, 1, 64, 0, 0.0f, 3, {70, 1, 100}}, {GF_BF16, 4, 2, 32, 0, 0.0f, 2, {65, 17}},
    {GF_F32, 2, 1, 16, 5, 0.0f, 2, {33, 64}},     {GF_F32, 2, 2, 80, 70, 4.0f, 1, {150}},
    {GF_BF16, 2, 1, 128, 0, 2.0f, 1, {72}},       {GF_F32, 2, 2, 256, 64, 0.0f, 1, {90}},
    {GF_F32, 6, 2, 40, 1, 0.0f, 3, {3, 2, 9}},    {GF_F32, 2, 1, 8, 65, 0.0f, 1, {200}},
};
#define CASES ((int)(sizeof cases / sizeof *cases))

enum { Q, K, V, O, LSE, D_O, DQ, DK, DV, DELTA, TENSORS };

typedef struct {
    op_tensor x[TENSORS];
    gf_span span[3];
    gf_spans row;
} back_set;

static void make(const back_case *c, back_set *s)
{
    static const char *const name[] = {"q", "k", "v", "o", "lse", "d_o", "dq", "dk", "dv", "delta"};
    int64_t n = 0;
    for (int i = 0; i < c->count; i++) {
        s->span[i] = (gf_span){n, c->len[i], n, c->len[i], (uint64_t)i};
        n += c->len[i];
    }
    s->row = (gf_spans){.tokens = n, .count = c->count, .span = s->span};
    for (int i = 0; i < TENSORS; i++) {
        const bool kv = i == K || i == V || i == DK || i == DV;
        if (i == LSE || i == DELTA)
            s->x[i] = op_make(GF_F32, name[i], n, c->heads, 0, i);
        else
            s->x[i] = op_make(c->type, name[i], n, kv ? c->groups : c->heads, c->width, i);
        if (i < O || i == D_O)
            op_fill(s->x[i].t, (uint64_t)(i + 1), i == Q ? 3.0 : 1.0);
    }
}

static void release(back_set *s)
{
    for (int i = 0; i < TENSORS; i++) {
        cr_assert(op_guard_whole(&s->x[i]), "%s: written beyond its elements", s->x[i].t.name);
        op_free(&s->x[i]);
    }
}

static float scale_of(const back_case *c)
{
    return 1.0f / sqrtf((float)c->width);
}

static void run(gf_backend *be, const back_case *c, back_set *s)
{
    op_tensor *x = s->x;
    OP_OK(*be, gf_attention_fwd(be, x[O].t, x[LSE].t, x[Q].t, x[K].t, x[V].t, &s->row, scale_of(c),
                                c->window, c->cap));
    OP_OK(*be, gf_attention_bwd(be, x[DQ].t, x[DK].t, x[DV].t, x[DELTA].t, x[D_O].t, x[O].t,
                                x[LSE].t, x[Q].t, x[K].t, x[V].t, &s->row, scale_of(c), c->window,
                                c->cap, gf_none, gf_none));
}

typedef struct {
    double *sum, *size; /* value and sum of absolute terms, [n, heads * width] */
} total;

static total make_total(int64_t n)
{
    const total t = {calloc((size_t)n, sizeof(double)), calloc((size_t)n, sizeof(double))};
    cr_assert(t.sum && t.size);
    return t;
}

static void add(total *t, int64_t at, double x, double size)
{
    t->sum[at] += x;
    t->size[at] += size;
}

/* Adds the gradients of one query; returns its count of roundings. o is the stored one, as for the
 * op: a bf16 output's rounding is part of the definition. */
static double back_query(const back_case *c, const back_set *s, gf_span span, int64_t i, int64_t h,
                         total t[3])
{
    static oracle_query w;
    const op_tensor *x = s->x;
    const int64_t width = c->width, g = h / (c->heads / c->groups), row = span.start + i;
    const oracle a = {x[Q].t, x[K].t, x[V].t, scale_of(c), c->cap, c->window};
    oracle_scores(&a, span, i, h, &w);
    double delta = 0.0, delta_size = 0.0;
    for (int64_t d = 0; d < width; d++) {
        const double y = op_get(x[D_O].t, row, h * width + d) * op_get(x[O].t, row, h * width + d);
        delta += y;
        delta_size += fabs(y);
    }
    for (int64_t u = w.lo; u <= w.pos; u++) {
        const double p = exp(w.s[u] - w.top) / w.sum;
        double dp = 0.0, dp_size = 0.0;
        for (int64_t d = 0; d < width; d++) {
            const double y = op_get(x[D_O].t, row, h * width + d) *
                             op_get(x[V].t, span.start + u, g * width + d);
            dp += y;
            dp_size += fabs(y);
        }
        const double ds = p * (dp - delta) * w.slope[u] * (double)a.scale;
        const double ds_size = p * (dp_size + delta_size) * (double)a.scale;
        for (int64_t d = 0; d < width; d++) {
            const int64_t qi = (row * c->heads + h) * width + d;
            const int64_t ki = ((span.start + u) * c->groups + g) * width + d;
            const double q = op_get(x[Q].t, row, h * width + d);
            const double k = op_get(x[K].t, span.start + u, g * width + d);
            const double o = op_get(x[D_O].t, row, h * width + d);
            add(&t[0], qi, ds * k, ds_size * fabs(k));
            add(&t[1], ki, ds * q, ds_size * fabs(q));
            add(&t[2], ki, p * o, p * fabs(o));
        }
    }
    return oracle_roundings(&a, &w);
}

static void check(const gf_backend *be, const back_case *c, const back_set *s)
{
    const int64_t n = s->row.tokens;
    total t[3] = {make_total(n * c->heads * c->width), make_total(n * c->groups * c->width),
                  make_total(n * c->groups * c->width)};
    double roundings = 0.0;
    for (int e = 0; e < c->count; e++)
        for (int64_t i = 0; i < c->len[e]; i++)
            for (int64_t h = 0; h < c->heads; h++)
                roundings = fmax(roundings, back_query(c, s, s->span[e], i, h, t));
    /* a key's sum runs over the queries of all heads that share it */
    roundings += 2.0 * (double)c->width + (double)(n * c->heads / c->groups);
    roundings += oracle_words(be, c->type);
    for (int k = 0; k < 3; k++) {
        const gf_tensor got = s->x[DQ + k].t;
        for (int64_t r = 0; r < n; r++)
            for (int64_t i = 0; i < gf_width(got); i++)
                op_near("bwd", got, r, i, t[k].sum[r * gf_width(got) + i],
                        t[k].size[r * gf_width(got) + i], roundings);
        free(t[k].sum);
        free(t[k].size);
    }
}

Test(attention_bwd, formula)
{
    gf_backend be;
    EACH_ISA(be, 2)
    {
        for (int i = 0; i < CASES; i++) {
            back_set s;
            make(&cases[i], &s);
            run(&be, &cases[i], &s);
            check(&be, &cases[i], &s);
            release(&s);
        }
    }
}

/* A query that sees one key gives it all its weight whatever the score is: dq and dk are zero, to
 * the bit, not an error of rounding. */
Test(attention_bwd, one_key)
{
    gf_backend be;
    EACH_ISA(be, 2)
    {
        static const back_case small[] = {{GF_F32, 6, 2, 136, 1, 0.0f, 2, {90, 3}},
                                          {GF_F32, 3, 3, 64, 0, 4.0f, 3, {1, 1, 1}},
                                          {GF_BF16, 4, 1, 40, 1, 0.0f, 1, {70}},
                                          {GF_BF16, 2, 2, 64, 0, 0.0f, 2, {1, 1}}};
        for (int k = 0; k < 4; k++) {
            back_set s;
            make(&small[k], &s);
            run(&be, &small[k], &s);
            for (int i = DQ; i <= DK; i++)
                for (int64_t r = 0; r < s.row.tokens; r++)
                    for (int64_t j = 0; j < gf_width(s.x[i].t); j++)
                        cr_assert_eq(op_get(s.x[i].t, r, j), 0.0, "%s case %d %s[%d,%d]: %g",
                                     be.ops->name, k, s.x[i].t.name, (int)r, (int)j,
                                     op_get(s.x[i].t, r, j));
            release(&s);
        }
    }
}

/* An example's gradients have the same bits alone and among others, on 1 and on 3 threads. */
Test(attention_bwd, an_examples_bits)
{
    gf_backend be;
    EACH_ISA(be, 3)
    {
        gf_backend one;
        gf_err err = {0};
        cr_assert_eq(gf_backend_open_cpu(&one, 1, be.ops->name, &err), GF_OK);
        for (int k = 0; k < CASES; k++) {
            const back_case *c = &cases[k];
            back_set s;
            make(c, &s);
            run(&be, c, &s);
            for (int e = 0; e < c->count; e++) {
                const gf_span at = s.span[e], alone = {0, at.len, 0, at.len, 0};
                back_set part = {.row = {.tokens = at.len, .count = 1, .span = &alone}};
                for (int i = 0; i < TENSORS; i++)
                    part.x[i] = op_copy(gf_rows(s.x[i].t, at.start, at.len), 2);
                run(&one, c, &part);
                for (int i = DQ; i <= DELTA; i++)
                    for (int64_t r = 0; r < at.len; r++)
                        cr_assert(op_same_row(part.x[i].t, r, s.x[i].t, at.start + r),
                                  "%s case %d span %d: %s", be.ops->name, k, e, s.x[i].t.name);
                release(&part);
            }
            release(&s);
        }
        gf_backend_close(&one);
    }
}

/* Where dq does not fit into a thread's scratch, keys and queries are walked apart: a head's dq has
 * the bits that it has when it is alone, fits, and is walked once. */
Test(attention_bwd, both_forms)
{
    gf_backend be;
    EACH_ISA(be, 1)
    {
        const back_case wide = {GF_BF16, 4, 1, 256, 40, 0.0f, 1, {1100}};
        back_case narrow = wide;
        narrow.heads = 1;
        back_set s, one;
        make(&wide, &s);
        run(&be, &wide, &s);
        make(&narrow, &one);
        for (int64_t r = 0; r < 1100; r++) {
            memcpy(op_row(one.x[Q].t, r), op_row(s.x[Q].t, r), 512);
            memcpy(op_row(one.x[D_O].t, r), op_row(s.x[D_O].t, r), 512);
        }
        run(&be, &narrow, &one);
        for (int64_t r = 0; r < 1100; r++)
            cr_assert_eq(memcmp(op_row(one.x[DQ].t, r), op_row(s.x[DQ].t, r), 512), 0);
        release(&s);
        release(&one);
    }
}

static double loss(const back_set *s, const back_case *c)
{
    static oracle_query w;
    const oracle a = {s->x[Q].t, s->x[K].t, s->x[V].t, scale_of(c), c->cap, c->window};
    double sum = 0.0, size;
    for (int64_t i = 0; i < c->len[0]; i++)
        for (int64_t h = 0; h < c->heads; h++) {
            oracle_scores(&a, s->span[0], i, h, &w);
            for (int64_t d = 0; d < c->width; d++)
                sum += op_get(s->x[D_O].t, i, h * c->width + d) *
                       oracle_out(&a, s->span[0], i, h, d, &w, &size);
        }
    return sum;
}

/* Central differences of the oracle's loss: steps of 2^-9 on values that stay exact in f32, error
 * of the difference about step^2 times the third derivative. */
Test(attention_bwd, derivative)
{
    gf_backend be;
    EACH_ISA(be, 1)
    {
        static const back_case small[] = {{GF_F32, 4, 2, 8, 0, 0.0f, 1, {7}},
                                          {GF_F32, 2, 1, 16, 3, 1.5f, 1, {9}}};
        for (int k = 0; k < 2; k++) {
            back_set s;
            make(&small[k], &s);
            run(&be, &small[k], &s);
            for (int i = 0; i < 3; i++)
                for (int64_t r = 0; r < s.row.tokens; r++)
                    for (int64_t j = r; j < gf_width(s.x[i].t); j += 5) {
                        const double was = op_get(s.x[i].t, r, j);
                        const double up = (double)(float)(was + 0x1p-9),
                                     down = (double)(float)(was - 0x1p-9);
                        op_set(s.x[i].t, r, j, up);
                        double slope = loss(&s, &small[k]);
                        op_set(s.x[i].t, r, j, down);
                        slope = (slope - loss(&s, &small[k])) / (up - down);
                        op_set(s.x[i].t, r, j, was);
                        cr_assert_float_eq(op_get(s.x[DQ + i].t, r, j), slope, 2e-5);
                    }
            release(&s);
        }
    }
}
