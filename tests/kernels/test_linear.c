/* test_linear.c - groups of linear layers with adapters: forward, backward and gradients against
 * double, as derivatives of each other, and with the same bits wherever an example stands. */
#include "isas.h"
#include "support/op_case.h"

typedef struct {
    int64_t n[3], r[3]; /* r 0: no adapter; n 0: no layer */
    int64_t k;
    gf_dtype x, w, y, dx;
    bool bias, residual;
    float p;
    int64_t len[4]; /* tokens of each example; 0: none */
} group_case;

static const group_case cases[] = {
    {{112, 0, 0}, {4, 0, 0}, 64, GF_F32, GF_F32, GF_F32, GF_F32, true, false, 0, {20, 7}},
    {{64, 32, 48}, {16, 0, 5}, 96, GF_F32, GF_BF16, GF_F32, GF_F32, true, false, 0, {9}},
    {{64, 64, 0}, {8, 40, 0}, 672, GF_F32, GF_Q4_1, GF_F32, GF_F32, false, true, 0, {3, 30, 1}},
    {{33, 70, 0}, {3, 2, 0}, 51, GF_F32, GF_F32, GF_F32, GF_F32, false, true, 0.25f, {31, 2}},
    {{64, 32, 32}, {16, 8, 4}, 96, GF_BF16, GF_BF16, GF_BF16, GF_F32, true, false, 0, {20, 19}},
    {{96, 0, 0}, {16, 0, 0}, 1400, GF_BF16, GF_F32, GF_F32, GF_BF16, false, true, 0, {17}},
    {{64, 96, 64}, {6, 7, 9}, 64, GF_BF16, GF_Q8_0, GF_BF16, GF_BF16, true, false, 0.5f, {11, 8}},
    {{64, 0, 0}, {260, 0, 0}, 32, GF_F32, GF_F32, GF_F32, GF_F32, false, false, 0, {600}},
    {{259, 0, 0}, {0, 0, 0}, 64, GF_F32, GF_F16, GF_F32, GF_F32, false, false, 0, {5}},
};
enum { CASES = sizeof cases / sizeof *cases };

/* All tensors of a case. */
typedef struct {
    const group_case *c;
    gf_group g;
    gf_span span[4];
    gf_spans row;
    gf_dropout drop;
    gf_fixed fixed;
    op_tensor w[3], bias[3], a[3], b[3], da[3], db[3];
    op_tensor x, y, s, residual, dy, dx, p;
    float *wf[3]; /* dequantised */
    int64_t sums[GF_SUMS];
} rig;

static int64_t sum_of(const rig *g, gf_sum which)
{
    return ((const int64_t *)g->fixed.sums.data)[which];
}

static void fill_weight(op_tensor *w, uint64_t seed)
{
    if (w->t.dtype == GF_F32 || w->t.dtype == GF_BF16) {
        op_fill(w->t, seed, 1.0);
        return;
    }
    const int64_t size = gf_dtype_size(w->t.dtype),
                  bytes = gf_row_bytes(w->t.dtype, gf_count(w->t));
    unsigned char *data = w->t.data;
    for (int64_t i = 0; i < bytes; i++)
        data[i] = (unsigned char)random_int(&seed, 0, 255);
    const uint16_t d = gf_f32_to_f16(0.01f), m = gf_f32_to_f16(-0.07f);
    for (int64_t i = 0; i < bytes; i += size)
        if (w->t.dtype == GF_F16) {
            const uint16_t v = gf_f32_to_f16(random_real(&seed));
            memcpy(data + i, &v, 2);
        } else {
            memcpy(data + i, &d, 2);
            if (w->t.dtype == GF_Q4_1)
                memcpy(data + i + 2, &m, 2);
        }
}

static void make_layer(rig *g, int i)
{
    const group_case *c = g->c;
    gf_linear *lin = &g->g.lin[i];
    const uint64_t seed = (uint64_t)i * 10;
    g->w[i] = op_make(c->w, "w", c->n[i], c->k, 0, 0);
    fill_weight(&g->w[i], seed + 1);
    g->wf[i] = malloc((size_t)(c->n[i] * c->k) * sizeof(float));
    gf_to_f32(g->wf[i], c->w, g->w[i].t.data, c->n[i] * c->k);
    *lin = (gf_linear){.w = g->w[i].t, .scale = 0.75f + (float)i, .module = (uint32_t)(3 + i)};
    if (c->bias) {
        g->bias[i] = op_make(GF_F32, "bias", c->n[i], 0, 0, 0);
        op_fill(g->bias[i].t, seed + 2, 1.0);
        lin->bias = g->bias[i].t;
    }
    if (!c->r[i])
        return;
    g->a[i] = op_make(GF_F32, "a", c->r[i], c->k, 0, 3);
    g->b[i] = op_make(GF_F32, "b", c->n[i], c->r[i], 0, 1);
    g->da[i] = op_make(GF_I64, "da", c->r[i], c->k, 0, 2);
    g->db[i] = op_make(GF_I64, "db", c->n[i], c->r[i], 0, 5);
    op_fill(g->a[i].t, seed + 3, 1.0);
    op_fill(g->b[i].t, seed + 4, 1.0);
    lin->a = g->a[i].t;
    lin->b = g->b[i].t;
    lin->da = g->da[i].t;
    lin->db = g->db[i].t;
}

static void clear_gradients(rig *g)
{
    for (int i = 0; i < g->g.count; i++)
        for (int64_t r = 0; g->c->r[i] && r < g->da[i].t.dim[0]; r++)
            memset(op_row(g->da[i].t, r), 0, (size_t)g->c->k * 8);
    for (int i = 0; i < g->g.count; i++)
        for (int64_t r = 0; g->c->r[i] && r < g->db[i].t.dim[0]; r++)
            memset(op_row(g->db[i].t, r), 0, (size_t)g->c->r[i] * 8);
    memset(g->sums, 0, sizeof g->sums);
    g->fixed = (gf_fixed){.shift = 40, .sums = gf_view(g->sums, GF_I64, "sums", GF_SUMS, 0, 0)};
}

static void make_rig(rig *g, const group_case *c)
{
    *g = (rig){.c = c, .row = {.span = g->span}};
    int64_t tokens = 0;
    for (int i = 0; i < 4 && c->len[i]; i++) {
        g->span[i] = (gf_span){tokens, c->len[i], tokens, c->len[i], 100 + (uint64_t)i};
        tokens += c->len[i];
        g->row.count = i + 1;
    }
    g->row.tokens = tokens;
    g->drop = (gf_dropout){c->p, 0x123456789ABCDEFu, 2};
    for (; g->g.count < 3 && c->n[g->g.count]; g->g.count++)
        make_layer(g, g->g.count);
    const int64_t n = gf_group_n(&g->g), rank = gf_group_rank(&g->g);
    g->x = op_make(c->x, "x", tokens, c->k, 0, 3);
    g->y = op_make(c->y, "y", tokens, n, 0, 5);
    g->dy = op_make(c->x, "dy", tokens, n, 0, 1);
    g->dx = op_make(c->dx, "dx", tokens, c->k, 0, 7);
    g->residual = op_make(GF_F32, "residual", tokens, n, 0, 2);
    op_fill(g->x.t, 50, 1.0);
    op_fill(g->dy.t, 51, 1.0);
    op_fill(g->residual.t, 52, 1.0);
    if (rank) {
        g->s = op_make(c->x, "s", tokens, rank, 0, 1);
        g->p = op_make(c->x, "p", tokens, rank, 0, 3);
    }
    clear_gradients(g);
}

static void free_rig(rig *g)
{
    for (int i = 0; i < 3; i++) {
        op_free(&g->w[i]), op_free(&g->bias[i]), op_free(&g->a[i]), op_free(&g->b[i]);
        op_free(&g->da[i]), op_free(&g->db[i]);
        free(g->wf[i]);
    }
    op_free(&g->x), op_free(&g->y), op_free(&g->s), op_free(&g->residual), op_free(&g->dy);
    op_free(&g->dx), op_free(&g->p);
}

/* Calls the ops; the row may be another one than the rig's. */
static void forward(gf_backend *be, rig *g, const gf_spans *row)
{
    OP_OK(*be, gf_group_linear_fwd(be, g->y.t, g->s.t, g->x.t,
                                   g->c->residual ? g->residual.t : gf_none, &g->g, row, g->drop));
}

static void backward(gf_backend *be, rig *g, const gf_spans *row)
{
    OP_OK(*be, gf_group_linear_bwd(be, g->dx.t, g->p.t, g->dy.t, g->x.t, g->s.t, &g->g, row,
                                   g->drop, &g->fixed));
}

/* ---- against double ---------------------------------------------------------------- */

/* A weight as the products see it. */
static double seen(const rig *g, double v)
{
    return g->c->x == GF_BF16 ? (double)gf_bf16_to_f32(gf_f32_to_bf16((float)v)) : v;
}

static const gf_span *span_of(const rig *g, int64_t t)
{
    int i = 0;
    while (t >= g->span[i].start + g->span[i].len)
        i++;
    return &g->span[i];
}

static bool kept(const rig *g, int layer, int64_t t, int64_t channel)
{
    const gf_span *s = span_of(g, t);
    return g->drop.p == 0 ||
           gf_dropout_keep(g->drop, s->example, t - s->start, g->g.lin[layer].module, channel);
}

static float inverse(const rig *g)
{
    return 1.0f / (1.0f - g->drop.p);
}

static double dropped_x(const rig *g, int layer, int64_t t, int64_t channel)
{
    if (!kept(g, layer, t, channel))
        return 0;
    return seen(g, (float)op_get(g->x.t, t, channel) * inverse(g));
}

static void check_forward(const rig *g, int64_t t)
{
    const group_case *c = g->c;
    int64_t n0 = 0, r0 = 0;
    for (int i = 0; i < g->g.count; n0 += c->n[i], r0 += c->r[i], i++) {
        for (int64_t j = 0; j < c->r[i]; j++) {
            double sum = 0, size = 0;
            for (int64_t l = 0; l < c->k; l++) {
                const double v = dropped_x(g, i, t, l) * seen(g, op_get(g->a[i].t, j, l));
                sum += v;
                size += fabs(v);
            }
            const double scale = g->g.lin[i].scale;
            op_near("s", g->s.t, t, r0 + j, sum * scale, size * scale, (double)(2 * c->k + 4));
        }
        for (int64_t j = 0; j < c->n[i]; j++) {
            double sum = c->bias ? op_get(g->bias[i].t, j, 0) : 0;
            sum += c->residual ? op_get(g->residual.t, t, n0 + j) : 0;
            double size = fabs(sum);
            for (int64_t l = 0; l < c->k; l++) {
                const double v = op_get(g->x.t, t, l) * seen(g, (double)g->wf[i][j * c->k + l]);
                sum += v;
                size += fabs(v);
            }
            for (int64_t l = 0; l < c->r[i]; l++) {
                const double v = op_get(g->s.t, t, r0 + l) * seen(g, op_get(g->b[i].t, j, l));
                sum += v;
                size += fabs(v);
            }
            op_near("y", g->y.t, t, n0 + j, sum, size, (double)(2 * (c->k + c->r[i]) + 4));
        }
    }
}

static void check_tails_back(const rig *g, int64_t t)
{
    const group_case *c = g->c;
    int64_t n0 = 0, r0 = 0;
    for (int i = 0; i < g->g.count; n0 += c->n[i], r0 += c->r[i], i++)
        for (int64_t j = 0; j < c->r[i]; j++) {
            double sum = 0, size = 0;
            for (int64_t l = 0; l < c->n[i]; l++) {
                const double v = op_get(g->dy.t, t, n0 + l) * seen(g, op_get(g->b[i].t, l, j));
                sum += v;
                size += fabs(v);
            }
            const double scale = g->g.lin[i].scale;
            op_near("p", g->p.t, t, r0 + j, sum * scale, size * scale, (double)(2 * c->n[i] + 4));
        }
}

static void check_to_input(const rig *g, int64_t t)
{
    const group_case *c = g->c;
    for (int64_t l = 0; l < c->k; l++) {
        double sum = 0, size = 0;
        int64_t n0 = 0, r0 = 0, terms = 0;
        for (int i = 0; i < g->g.count; n0 += c->n[i], r0 += c->r[i], i++) {
            for (int64_t j = 0; j < c->n[i]; j++) {
                const double v =
                    op_get(g->dy.t, t, n0 + j) * seen(g, (double)g->wf[i][j * c->k + l]);
                sum += v;
                size += fabs(v);
            }
            for (int64_t j = 0; j < c->r[i] && kept(g, i, t, l); j++) {
                const double v = op_get(g->p.t, t, r0 + j) * seen(g, op_get(g->a[i].t, j, l)) *
                                 (double)inverse(g);
                sum += v;
                size += fabs(v);
            }
            terms += c->n[i] + c->r[i] + 2;
        }
        op_near("dx", g->dx.t, t, l, sum, size, (double)(2 * terms + 4));
    }
}

static double fixed_at(gf_tensor t, int64_t row, int64_t i)
{
    int64_t v;
    memcpy(&v, (char *)op_row(t, row) + 8 * i, sizeof v);
    return (double)v * 0x1p-40;
}

static void check_gradient(const rig *g, const char *what, double got, double want, double size)
{
    /* chunks of up to 512 terms in f32, each rounded once to 2^-41 */
    const double tol = 2 * 514 * U32 * size + 8 * 0x1p-41;
    cr_assert(fabs(got - want) <= tol, "%s is %.9g, want %.9g +- %.2g (k %d)", what, got, want, tol,
              (int)g->c->k);
}

static void check_gradients(const rig *g)
{
    const group_case *c = g->c;
    int64_t n0 = 0, r0 = 0;
    for (int i = 0; i < g->g.count; n0 += c->n[i], r0 += c->r[i], i++)
        for (int64_t j = 0; j < c->r[i]; j++) {
            for (int64_t l = 0; l < c->k; l++) {
                double sum = 0, size = 0;
                for (int64_t t = 0; t < g->row.tokens; t++) {
                    const double v = op_get(g->p.t, t, r0 + j) * dropped_x(g, i, t, l);
                    sum += v;
                    size += fabs(v);
                }
                check_gradient(g, "da", fixed_at(g->da[i].t, j, l), sum, size);
            }
            for (int64_t l = 0; l < c->n[i]; l++) {
                double sum = 0, size = 0;
                for (int64_t t = 0; t < g->row.tokens; t++) {
                    const double v = op_get(g->s.t, t, r0 + j) * op_get(g->dy.t, t, n0 + l);
                    sum += v;
                    size += fabs(v);
                }
                check_gradient(g, "db", fixed_at(g->db[i].t, l, j), sum, size);
            }
        }
}

static void check_guards(const rig *g)
{
    cr_assert(op_guard_whole(&g->y) && op_guard_whole(&g->dx) && op_guard_whole(&g->x));
    if (gf_group_rank(&g->g))
        cr_assert(op_guard_whole(&g->s) && op_guard_whole(&g->p));
    for (int i = 0; i < g->g.count; i++)
        if (g->c->r[i])
            cr_assert(op_guard_whole(&g->da[i]) && op_guard_whole(&g->db[i]));
}

Test(linear, formula)
{
    for (int i = 0; i < ISAS; i++)
        for (int k = 0; k < CASES; k++) {
            gf_backend be;
            if (!isa_open(&be, &isa_list[i], 2))
                break;
            rig g;
            make_rig(&g, &cases[k]);
            forward(&be, &g, &g.row);
            backward(&be, &g, &g.row);
            for (int64_t t = 0; t < g.row.tokens; t += 1 + g.row.tokens / 20) {
                check_forward(&g, t);
                check_tails_back(&g, t);
                check_to_input(&g, t);
            }
            check_gradients(&g);
            check_guards(&g);
            cr_assert_eq(sum_of(&g, GF_SUM_NONFINITE), 0);
            free_rig(&g);
            gf_backend_close(&be);
        }
}

Test(linear, y_may_be_the_residual)
{
    gf_backend be;
    EACH_ISA(be, 2)
    {
        rig g;
        make_rig(&g, &cases[2]);
        forward(&be, &g, &g.row);
        OP_OK(be, gf_group_linear_fwd(&be, g.residual.t, g.s.t, g.x.t, g.residual.t, &g.g, &g.row,
                                      g.drop));
        cr_assert(op_same(g.residual.t, g.y.t));
        free_rig(&g);
    }
}

Test(linear, no_dx_when_nobody_needs_it)
{
    gf_backend be;
    EACH_ISA(be, 1)
    {
        rig g;
        make_rig(&g, &cases[0]);
        forward(&be, &g, &g.row);
        OP_OK(be, gf_group_linear_bwd(&be, gf_none, g.p.t, g.dy.t, g.x.t, g.s.t, &g.g, &g.row,
                                      g.drop, &g.fixed));
        check_gradients(&g);
        free_rig(&g);
    }
}

/* ---- the same bits -------------------------------------------------------------------- */

static void same_gradients(const rig *a, const rig *b)
{
    for (int i = 0; i < a->g.count; i++)
        if (a->c->r[i])
            cr_assert(op_same(a->da[i].t, b->da[i].t) && op_same(a->db[i].t, b->db[i].t));
    cr_assert_eq(sum_of(a, GF_SUM_MAGNITUDE), sum_of(b, GF_SUM_MAGNITUDE));
    cr_assert_eq(sum_of(a, GF_SUM_NONFINITE), sum_of(b, GF_SUM_NONFINITE));
}

Test(linear, threads_do_not_show)
{
    for (int i = 0; i < ISAS; i++)
        for (int k = 0; k < CASES; k++) {
            gf_backend be;
            rig one;
            make_rig(&one, &cases[k]);
            for (int threads = 1; threads <= 3; threads++) {
                if (!isa_open(&be, &isa_list[i], threads))
                    break;
                rig g;
                make_rig(&g, &cases[k]);
                rig *to = threads == 1 ? &one : &g;
                forward(&be, to, &to->row);
                backward(&be, to, &to->row);
                if (threads > 1) {
                    cr_assert(op_same(one.y.t, g.y.t) && op_same(one.dx.t, g.dx.t));
                    same_gradients(&one, &g);
                }
                free_rig(&g);
                gf_backend_close(&be);
            }
            free_rig(&one);
        }
}

/* One call for the row against one call for each example alone. */
Test(linear, neighbours_do_not_show)
{
    for (int i = 0; i < ISAS; i++)
        for (int k = 0; k < CASES; k++) {
            gf_backend be;
            if (!isa_open(&be, &isa_list[i], 2))
                break;
            rig all, alone;
            make_rig(&all, &cases[k]);
            make_rig(&alone, &cases[k]);
            forward(&be, &all, &all.row);
            backward(&be, &all, &all.row);
            const rig whole = alone;
            for (int e = whole.row.count - 1; e >= 0; e--) {
                const gf_span in_row = whole.span[e];
                const gf_span span = {0, in_row.len, 0, in_row.len, in_row.example};
                const gf_spans row = {.tokens = in_row.len, .count = 1, .span = &span};
                gf_tensor *const of_rig[] = {&alone.x.t,  &alone.y.t, &alone.s.t,       &alone.dy.t,
                                             &alone.dx.t, &alone.p.t, &alone.residual.t};
                const gf_tensor full[] = {whole.x.t,  whole.y.t, whole.s.t,       whole.dy.t,
                                          whole.dx.t, whole.p.t, whole.residual.t};
                for (int j = 0; j < 7; j++)
                    *of_rig[j] =
                        gf_is(full[j]) ? gf_rows(full[j], in_row.start, in_row.len) : gf_none;
                forward(&be, &alone, &row);
                backward(&be, &alone, &row);
            }
            cr_assert(op_same(all.y.t, whole.y.t) && op_same(all.dx.t, whole.dx.t));
            same_gradients(&all, &alone);
            free_rig(&all);
            free_rig(&alone);
            gf_backend_close(&be);
        }
}

/* ---- derivatives ---------------------------------------------------------------------- */

/* sum of y * dy: what dy is the gradient of. */
static double objective(const rig *g)
{
    double sum = 0;
    for (int64_t t = 0; t < g->row.tokens; t++)
        for (int64_t j = 0; j < gf_width(g->y.t); j++)
            sum += op_get(g->y.t, t, j) * op_get(g->dy.t, t, j);
    return sum;
}

/* The objective is linear in one element of anything: any step gives the derivative. */
static void check_derivative(gf_backend *be, rig *g, const char *what, gf_tensor of, int64_t row,
                             int64_t i, double got)
{
    const double at = op_get(of, row, i);
    double value[2];
    for (int side = 0; side < 2; side++) {
        op_set(of, row, i, at + (side ? 1 : -1));
        forward(be, g, &g->row);
        value[side] = objective(g);
    }
    op_set(of, row, i, at);
    const double want = (value[1] - value[0]) / 2;
    /* y and s carry some hundred roundings of values up to some ten */
    cr_assert(fabs(got - want) <= 1e-4 * (1 + fabs(want)) + 2e-3, "%s: d%s[%d,%d] is %g, want %g",
              be->ops->name, what, (int)row, (int)i, got, want);
}

Test(linear, backward_is_the_derivative)
{
    static const int f32_cases[] = {0, 1, 3};
    for (int i = 0; i < ISAS; i++)
        for (int k = 0; k < 3; k++) {
            gf_backend be;
            if (!isa_open(&be, &isa_list[i], 2))
                break;
            rig g;
            make_rig(&g, &cases[f32_cases[k]]);
            uint64_t seed = 99;
            forward(&be, &g, &g.row);
            backward(&be, &g, &g.row);
            for (int n = 0; n < 12; n++) {
                const int64_t t = random_int(&seed, 0, (int)g.row.tokens - 1);
                const int64_t c = random_int(&seed, 0, (int)g.c->k - 1);
                check_derivative(&be, &g, "x", g.x.t, t, c, op_get(g.dx.t, t, c));
                const int64_t r = random_int(&seed, 0, (int)g.c->r[0] - 1);
                check_derivative(&be, &g, "A", g.a[0].t, r, c, fixed_at(g.da[0].t, r, c));
                const int64_t o = random_int(&seed, 0, (int)g.c->n[0] - 1);
                check_derivative(&be, &g, "B", g.b[0].t, o, r, fixed_at(g.db[0].t, o, r));
            }
            free_rig(&g);
            gf_backend_close(&be);
        }
}

/* ---- counters and dropout ------------------------------------------------------------- */

Test(linear, counts_magnitudes_and_what_is_not_finite)
{
    static const group_case c = {{8, 0, 0}, {2, 0, 0}, 8, GF_F32, GF_F32,  GF_F32,
                                 GF_F32,    0,         0, 0,      {600, 3}};
    for (int i = 0; i < ISAS; i++) {
        gf_backend be;
        if (!isa_open(&be, &isa_list[i], 2))
            break;
        rig g;
        make_rig(&g, &c);
        for (int64_t t = 0; t < 603; t++)
            for (int64_t j = 0; j < 8; j++) {
                op_set(g.x.t, t, j, t == 0 && j == 1 ? 2.5 : 0);
                op_set(g.dy.t, t, j, t == 601 && j == 7 ? 1e30 : t == 0 && j == 0 ? 1 : 0);
            }
        op_set(g.a[0].t, 0, 1, 1), op_set(g.a[0].t, 1, 1, -1);
        op_set(g.b[0].t, 0, 0, 3), op_set(g.b[0].t, 0, 1, 4);
        g.g.lin[0].scale = 1;
        forward(&be, &g, &g.row);
        op_set(g.s.t, 601, 0, INFINITY); /* chunk 3 of dB: inf in one element, 1e30 in another */
        op_set(g.s.t, 601, 1, 1.0);
        backward(&be, &g, &g.row);
        /* P(0) = (3, 4): dA's greatest is 4 * 2.5; S(0) = (2.5, -2.5): dB's is 2.5 -> 3. The third
         * chunk's dA is 0 (x is), its dB's greatest finite value is held at 2^40; inf * 0
         * is NaN. */
        cr_assert_eq(sum_of(&g, GF_SUM_MAGNITUDE), 10 + 3 + (INT64_C(1) << 40), "%lld",
                     (long long)sum_of(&g, GF_SUM_MAGNITUDE));
        cr_assert_eq(sum_of(&g, GF_SUM_NONFINITE), 1);
        cr_assert_eq(fixed_at(g.da[0].t, 1, 1), 10.0);
        cr_assert_eq(fixed_at(g.db[0].t, 0, 1), -2.5);
        cr_assert_eq(fixed_at(g.db[0].t, 7, 1), 0x1p22);
        free_rig(&g);
        gf_backend_close(&be);
    }
}

Test(linear, dropout_keeps_its_share)
{
    static const group_case c = {{1, 0, 0}, {1, 0, 0}, 1, GF_F32, GF_F32, GF_F32,
                                 GF_F32,    0,         0, 0.3f,   {4, 4}};
    rig g;
    make_rig(&g, &c);
    enum { CHANNELS = 4096, TOKENS = 8 };
    int64_t keep = 0;
    for (int64_t t = 0; t < TOKENS; t++)
        for (int64_t i = 0; i < CHANNELS; i++)
            keep += kept(&g, 0, t, i);
    /* 32768 draws: a standard deviation of 0.0025 */
    cr_assert_float_eq((double)keep / (TOKENS * CHANNELS), 0.7, 0.0125);
    free_rig(&g);
}
