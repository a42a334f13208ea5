/* test_dora.c - norms, scaling and their gradients against double, on every instruction set, with
 * the same bits wherever an example stands and however many threads there are. */
#include "support/op_case.h"

typedef struct {
    int64_t n[3], r[3]; /* n 0: no layer; r 0: neither adapter nor magnitude */
    int64_t k;
    gf_dtype w, act, y;
    bool bias, residual;
    int64_t len[3]; /* tokens of each example */
} dora_case;

static const dora_case cases[] = {
    {{24, 0, 0}, {4, 0, 0}, 64, GF_F32, GF_F32, GF_F32, true, true, {5, 3}},
    {{40, 16, 7}, {3, 0, 2}, 33, GF_BF16, GF_F32, GF_F32, true, false, {600}},
    {{17, 64, 0}, {8, 1, 0}, 4133, GF_F32, GF_BF16, GF_BF16, false, false, {9, 513, 1}},
    {{48, 0, 0}, {16, 0, 0}, 96, GF_BF16, GF_BF16, GF_F32, true, true, {70}},
};
#define CASES ((int)(sizeof cases / sizeof *cases))

typedef struct {
    const dora_case *c;
    gf_group g;
    gf_span span[3];
    gf_spans row;
    gf_fixed fixed;
    int64_t sums[GF_SUMS];
    op_tensor w[3], a[3], b[3], m[3], bias[3], dm[3], norm;
    op_tensor y, z, residual, dy, dz;
} rig;

static void make_layer(rig *g, int i)
{
    const dora_case *c = g->c;
    const uint64_t seed = 10 * (uint64_t)i;
    g->w[i] = op_make(c->w, "w", c->n[i], c->k, 0, 0);
    op_fill(g->w[i].t, seed + 1, 1.0);
    g->g.lin[i] = (gf_linear){.w = g->w[i].t, .scale = 0.75f};
    if (c->bias) {
        g->bias[i] = op_make(GF_F32, "bias", c->n[i], 0, 0, 0);
        op_fill(g->bias[i].t, seed + 2, 1.0);
        g->g.lin[i].bias = g->bias[i].t;
    }
    if (!c->r[i])
        return;
    g->a[i] = op_make(GF_F32, "a", c->r[i], c->k, 0, 1);
    g->b[i] = op_make(GF_F32, "b", c->n[i], c->r[i], 0, 2);
    g->m[i] = op_make(GF_F32, "m", c->n[i], 0, 0, 0);
    g->dm[i] = op_make(GF_I64, "dm", c->n[i], 0, 0, 0);
    op_fill(g->a[i].t, seed + 3, 1.0);
    op_fill(g->b[i].t, seed + 4, 1.0);
    op_fill(g->m[i].t, seed + 5, 2.0);
    memset(g->dm[i].t.data, 0, (size_t)c->n[i] * 8);
    gf_linear *lin = &g->g.lin[i];
    lin->a = g->a[i].t, lin->b = g->b[i].t, lin->magnitude = g->m[i].t,
    lin->dmagnitude = g->dm[i].t;
}

static void make_rig(rig *g, const dora_case *c)
{
    *g = (rig){.c = c, .row = {.span = g->span}};
    for (int i = 0; i < 3 && c->len[i]; i++) {
        g->span[i] = (gf_span){g->row.tokens, c->len[i], g->row.tokens, c->len[i], 0};
        g->row.tokens += c->len[i];
        g->row.count = i + 1;
    }
    for (; g->g.count < 3 && c->n[g->g.count]; g->g.count++)
        make_layer(g, g->g.count);
    const int64_t tokens = g->row.tokens, n = gf_group_n(&g->g);
    g->norm = op_make(GF_F32, "norm", 2, n, 0, 1);
    g->g.norm = g->norm.t;
    g->y = op_make(c->y, "y", tokens, n, 0, 3);
    g->z = op_make(c->act, "z", tokens, n, 0, 1);
    g->residual = op_make(GF_F32, "residual", tokens, n, 0, 2);
    g->dy = op_make(c->act, "dy", tokens, n, 0, 5);
    g->dz = op_make(c->act, "dz", tokens, n, 0, 4);
    op_fill(g->z.t, 50, 2.0);
    op_fill(g->residual.t, 51, 1.0);
    op_fill(g->dy.t, 52, 1.0);
    g->fixed = (gf_fixed){.shift = 40, .sums = gf_view(g->sums, GF_I64, "sums", GF_SUMS, 0, 0)};
}

static void free_rig(rig *g)
{
    for (int i = 0; i < 3; i++) {
        op_free(&g->w[i]), op_free(&g->a[i]), op_free(&g->b[i]), op_free(&g->m[i]);
        op_free(&g->bias[i]), op_free(&g->dm[i]);
    }
    op_free(&g->norm), op_free(&g->y), op_free(&g->z), op_free(&g->residual);
    op_free(&g->dy), op_free(&g->dz);
}

static void run_all(gf_backend *be, rig *g)
{
    OP_OK(*be, gf_dora_norms(be, &g->g));
    OP_OK(*be, gf_dora_fwd(be, g->y.t, g->z.t, g->c->residual ? g->residual.t : gf_none, &g->g));
    OP_OK(*be, gf_dora_bwd(be, g->dz.t, g->dy.t, g->z.t, &g->g, &g->row, &g->fixed));
}

/* The length of row i of W + scale B A, in double. */
static double length_of(const rig *g, int layer, int64_t i)
{
    double sum = 0;
    for (int64_t c = 0; c < g->c->k; c++) {
        double x = op_get(g->w[layer].t, i, c);
        for (int64_t q = 0; q < g->c->r[layer]; q++)
            x += 0.75 * op_get(g->b[layer].t, i, q) * op_get(g->a[layer].t, q, c);
        sum += x * x;
    }
    return sqrt(sum);
}

static void check_column(const rig *g, int layer, int64_t i)
{
    const dora_case *c = g->c;
    const int64_t at = gf_group_column(&g->g, layer) + i;
    const bool on = c->r[layer] > 0;
    const double norm = on ? length_of(g, layer, i) : 1;
    const double factor = on ? op_get(g->m[layer].t, i, 0) / norm : 1;
    /* each of k terms is rounded once for every rank; squares, their sum in sixteen lanes */
    const double off = on ? (double)c->r[layer] + 4 + (double)c->k / 16 : 0;
    op_near("norm", g->norm.t, 0, at, norm, norm, off);
    op_near("factor", g->norm.t, 1, at, factor, fabs(factor), off + 2);
    double dm = 0, size = 0;
    for (int64_t t = 0; t < g->row.tokens; t++) {
        const double z = op_get(g->z.t, t, at), dy = op_get(g->dy.t, t, at);
        const double bias = c->bias ? op_get(g->bias[layer].t, i, 0) : 0;
        const double residual = c->residual ? op_get(g->residual.t, t, at) : 0;
        op_near("y", g->y.t, t, at, z * factor + bias + residual,
                fabs(z * factor) + fabs(bias) + fabs(residual), off + 5);
        op_near("dz", g->dz.t, t, at, dy * factor, fabs(dy * factor), off + 4);
        dm += dy * z / norm;
        size += fabs(dy * z) / norm;
    }
    if (!on)
        return;
    const double got = ldexp((double)((const int64_t *)g->dm[layer].t.data)[i], -40);
    /* at most 512 additions of a chunk, and 2^-41 for each chunk */
    cr_assert_leq(fabs(got - dm), (512 + off) * U32 * size + 8 * 0x1p-41, "dm[%lld]: %.9g, %.9g",
                  (long long)i, got, dm);
}

Test(dora, formula)
{
    gf_backend be;
    EACH_ISA(be, 2)
    {
        for (int k = 0; k < CASES; k++) {
            rig g;
            make_rig(&g, &cases[k]);
            run_all(&be, &g);
            for (int i = 0; i < g.g.count; i++)
                for (int64_t j = 0; j < cases[k].n[i]; j++)
                    check_column(&g, i, j);
            const op_tensor *const all[] = {&g.norm, &g.y, &g.z, &g.dz, &g.dy, &g.dm[0], &g.m[0]};
            for (size_t i = 0; i < sizeof all / sizeof *all; i++)
                cr_assert(op_guard_whole(all[i]), "%s", all[i]->t.name);
            cr_assert_eq(g.sums[GF_SUM_NONFINITE], 0);
            cr_assert_gt(g.sums[GF_SUM_MAGNITUDE], 0);
            free_rig(&g);
        }
    }
}

/* The examples the other way round, on another number of threads: the same gradient to the bit. */
Test(dora, rows_never_enter_the_bits)
{
    const dora_case turned = {{17, 64, 0}, {8, 1, 0}, 40, GF_F32, GF_F32, GF_F32, 0, 0, {513, 9}};
    const dora_case straight = {{17, 64, 0}, {8, 1, 0}, 40, GF_F32, GF_F32, GF_F32, 0, 0, {9, 513}};
    gf_backend be;
    EACH_ISA(be, 1)
    {
        rig a, b;
        gf_backend many;
        make_rig(&a, &straight);
        make_rig(&b, &turned);
        for (int64_t t = 0; t < 522; t++) { /* token t of b is a's */
            const int64_t from = t < 513 ? t + 9 : t - 513;
            memcpy(op_row(b.z.t, t), op_row(a.z.t, from), 81 * sizeof(float));
            memcpy(op_row(b.dy.t, t), op_row(a.dy.t, from), 81 * sizeof(float));
        }
        cr_assert_eq(gf_backend_open_cpu(&many, 3, be.ops->name, NULL), GF_OK);
        run_all(&be, &a);
        run_all(&many, &b);
        for (int i = 0; i < 2; i++)
            cr_assert(op_same(a.dm[i].t, b.dm[i].t), "%s", be.ops->name);
        cr_assert(op_same_row(a.y.t, 0, b.y.t, 513) && op_same_row(a.dz.t, 521, b.dz.t, 512));
        gf_backend_close(&many);
        free_rig(&a);
        free_rig(&b);
    }
}

/* A row of zeros has no direction; a value that is not finite is counted. */
Test(dora, edges)
{
    gf_backend be;
    EACH_ISA(be, 2)
    {
        rig g;
        make_rig(&g, &cases[0]);
        memset(op_row(g.w[0].t, 3), 0, 64 * sizeof(float));
        memset(op_row(g.b[0].t, 3), 0, 4 * sizeof(float));
        op_set(g.dy.t, 2, 5, (double)NAN);
        run_all(&be, &g);
        cr_assert_eq(op_get(g.norm.t, 0, 3), 1.0);
        cr_assert_eq(op_get(g.norm.t, 1, 3), op_get(g.m[0].t, 3, 0));
        cr_assert_eq(g.sums[GF_SUM_NONFINITE], 1);
        g.g.norm.dim[1]--;
        OP_REFUSED(be, gf_dora_norms(&be, &g.g), "dora_norms: norm is f32 [2,23], want f32 [2,24]");
        free_rig(&g);
    }
}
