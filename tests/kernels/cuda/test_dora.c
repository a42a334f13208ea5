/* test_dora.c - DoRA's ops against their CPU twins: norms within the rounding of another order of
 * the sum, all else within that of the norms. */
#include "support/twin_case.h"

enum { ALIGN = 8, TAIL = 16, PITCH = 64 };

typedef struct {
    int64_t n[3], r[3]; /* r 0: neither adapter nor magnitude */
    int64_t k;
    gf_dtype act, y;
    bool bias, residual;
    int64_t len[3], filler;
} dora_case;

static const dora_case cases[] = {
    {{24, 0, 0}, {4, 0, 0}, 64, GF_F32, GF_F32, true, true, {5, 3}, 0},
    {{40, 16, 12}, {3, 0, 2}, 40, GF_F32, GF_F32, true, false, {600}, 8},
    {{136, 264, 0}, {8, 1, 0}, 72, GF_BF16, GF_BF16, true, false, {9, 513, 1}, 21},
    {{48, 0, 0}, {16, 0, 0}, 96, GF_BF16, GF_F32, true, true, {70}, 58},
};
#define CASES ((int)(sizeof cases / sizeof *cases))

typedef struct {
    gf_group g[2]; /* on the CPU, on the device */
    twin *w, *bias[2], *norm, *y, *z, *residual, *dy, *dz, *sums;
    twin *a[3], *b[3], *m[3], *dm[3];
} rig;

/* Both sides have the device's layout; the CPU leaves padding alone. */
static void make_layer(twin_pair *p, const dora_case *c, rig *r, int i, int64_t at)
{
    const uint64_t seed = 10 * (uint64_t)i;
    if (c->r[i]) {
        r->a[i] = twin_make(p, GF_F32, "a", c->r[i], c->k, 0, 1);
        r->b[i] = twin_make(p, GF_F32, "b", c->n[i], c->r[i], 0, 2);
        r->m[i] = twin_make(p, GF_F32, "m", c->n[i], 0, 0, 0);
        r->dm[i] = twin_make(p, GF_I64, "dm", c->n[i], 0, 0, 0);
        op_fill(r->a[i]->cpu.t, seed + 3, 1.0);
        op_fill(r->b[i]->cpu.t, seed + 4, 1.0);
        op_fill(r->m[i]->cpu.t, seed + 5, 2.0);
        memset(r->dm[i]->cpu.t.data, 0, (size_t)c->n[i] * 8);
    }
    for (int side = 0; side < 2; side++) {
        gf_linear *lin = &r->g[side].lin[i];
        *lin = (gf_linear){.scale = 0.75f};
        lin->w = gf_cols(gf_rows(twin_side(r->w, side), at, c->n[i]), 0, c->k);
        if (c->bias)
            lin->bias = gf_rows(twin_side(r->bias[side], side), at, c->n[i]);
        lin->a = twin_side(r->a[i], side), lin->b = twin_side(r->b[i], side);
        lin->magnitude = twin_side(r->m[i], side), lin->dmagnitude = twin_side(r->dm[i], side);
    }
}

static void make_rig(twin_pair *p, const dora_case *c, rig *r)
{
    int64_t n = 0, at = 0, tokens = c->filler;
    *r = (rig){0};
    for (int i = 0; i < 3; i++) {
        n += (c->n[i] + ALIGN - 1) / ALIGN * ALIGN;
        tokens += c->len[i];
    }
    r->w = twin_make(p, c->act, "w", n + TAIL, c->k + TAIL, 0, PITCH - (c->k + TAIL) % PITCH);
    op_fill(r->w->cpu.t, 1, 1.0);
    for (int side = 0; side < 2; side++) { /* a device's has y's type */
        r->bias[side] = twin_make(p, side ? c->y : GF_F32, "bias", n, 0, 0, 0);
        for (int64_t i = 0; i < n; i++)
            op_set(r->bias[side]->cpu.t, i, 0, (double)(i % 17 - 8) / 8);
    }
    for (int side = 0; side < 2; side++)
        r->g[side] = (gf_group){.align = ALIGN, .tail = TAIL};
    for (int i = 0; i < 3 && c->n[i]; i++) {
        make_layer(p, c, r, i, at);
        at += (c->n[i] + ALIGN - 1) / ALIGN * ALIGN;
        r->g[0].count = r->g[1].count = i + 1;
    }
    r->norm = twin_make(p, GF_F32, "norm", 2, n, 0, 0);
    r->y = twin_make(p, c->y, "y", tokens, n, 0, 8);
    r->z = twin_make(p, c->act, "z", tokens, n, 0, 0);
    r->residual = twin_make(p, GF_F32, "residual", tokens, n, 0, 4);
    r->dy = twin_make(p, c->act, "dy", tokens, n, 0, 16);
    r->dz = twin_make(p, c->act, "dz", tokens, n, 0, 16);
    r->sums = twin_make(p, GF_I64, "sums", GF_SUMS, 0, 0, 0);
    op_fill(r->z->cpu.t, 50, 2.0);
    op_fill(r->residual->cpu.t, 51, 1.0);
    op_fill(r->dy->cpu.t, 52, 1.0);
    for (int64_t t = tokens - c->filler; t < tokens; t++)
        for (int64_t i = 0; i < n; i++)
            op_set(r->dy->cpu.t, t, i, 0);
    memset(r->sums->cpu.t.data, 0, GF_SUMS * 8);
    for (int side = 0; side < 2; side++)
        r->g[side].norm = twin_side(r->norm, side);
}

static void run_side(gf_backend *be, rig *r, bool side, const dora_case *c, const gf_spans *row)
{
    const int64_t tokens = be->cuda ? r->y->cpu.t.dim[0] : row->tokens; /* a CPU has no filler */
    const gf_group *g = &r->g[side];
    gf_fixed fixed = {.shift = 40, .sums = twin_side(r->sums, side)};
#define IN(t) gf_rows(twin_side(r->t, side), 0, tokens)
    OP_OK(*be, gf_dora_norms(be, g));
    OP_OK(*be, gf_dora_fwd(be, IN(y), IN(z), c->residual ? IN(residual) : gf_none, g));
    OP_OK(*be, gf_dora_bwd(be, IN(dz), IN(dy), IN(z), g, row, &fixed));
#undef IN
}

/* Columns of a layer in the first `rows` rows. */
static void near(const char *what, const twin *t, int64_t rows, int64_t at, int64_t n, double bound)
{
    device_near(what, gf_cols(gf_rows(t->got.t, 0, rows), at, n),
                gf_cols(gf_rows(t->cpu.t, 0, rows), at, n), bound, bound);
}

static void check_case(twin_pair *p, const dora_case *c)
{
    rig r;
    gf_span span[3];
    gf_spans row = {.span = span};
    make_rig(p, c, &r);
    for (int i = 0; i < 3 && c->len[i]; i++) {
        span[row.count++] = (gf_span){row.tokens, c->len[i], row.tokens, c->len[i], 0};
        row.tokens += c->len[i];
    }
    twin_put(p);
    device_row bound = device_bind(&p->be, row, r.y->cpu.t.dim[0], 0);
    run_side(&p->be, &r, true, c, &bound.row);
    run_side(&p->cpu, &r, false, c, &row);
    twin_get(p);
    device_unbind(&p->be, &bound);
    /* f32 sums of k squares in another order; a bf16 may then round to its other side */
    const double fine = 1e-5, act = c->act == GF_BF16 ? 0x1p-7 : fine;
    const double y = c->y == GF_BF16 ? 0x1p-7 : fine;
    for (int i = 0; i < r.g[0].count; i++) {
        const int64_t at = gf_group_column(&r.g[0], i);
        near("norm", r.norm, 2, at, c->n[i], fine);
        near("y", r.y, row.tokens, at, c->n[i], y);
        near("dz", r.dz, row.tokens, at, c->n[i], act);
        for (int64_t j = 0; c->r[i] && j < c->n[i]; j++) {
            const double got = ldexp((double)((int64_t *)r.dm[i]->got.t.data)[j], -40);
            const double want = ldexp((double)((int64_t *)r.dm[i]->cpu.t.data)[j], -40);
            cr_assert_leq(fabs(got - want), 1e-4 * (1 + fabs(want)), "dm[%lld]", (long long)j);
        }
    }
    for (int64_t t = row.tokens; t < r.dz->cpu.t.dim[0]; t++) /* filler */
        for (int64_t i = 0; i < r.dz->cpu.t.dim[1]; i++)
            cr_assert_eq(op_get(r.dz->got.t, t, i), 0.0);
    const int64_t *got = r.sums->got.t.data, *want = r.sums->cpu.t.data;
    cr_assert_eq(got[GF_SUM_MAGNITUDE], want[GF_SUM_MAGNITUDE]);
    cr_assert_eq(got[GF_SUM_NONFINITE], 0);
    twin_clear(p);
}

Test(cuda_dora, twin)
{
    twin_pair p;
    twin_open(&p);
    for (int i = 0; i < CASES; i++)
        check_case(&p, &cases[i]);
    twin_close(&p);
}
