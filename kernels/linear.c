/* linear.c - linear layers with their adapters, forward and to the input. Contract: graft/ops.h.
 *
 * K-extension: x W^T + S B^T is one product over the concatenation [x | S] with W and B below each
 * other, and dy W + P A one over [dy | P]; only S and P are products of their own. */
#include "gemm.h"
#include "linear.h"

static gf_operand operand(gf_tensor t)
{
    return (gf_operand){.data = t.data, .dtype = t.dtype, .ld = t.stride};
}

/* The columns of a [N, sum] tensor that belong to each layer. */
typedef struct {
    int64_t n[3], r[3]; /* first column in y and in s */
} columns;

static columns columns_of(const gf_group *g)
{
    columns c = {{0}, {0}};
    for (int i = 0; i + 1 < g->count; i++) {
        c.n[i + 1] = c.n[i] + g->lin[i].w.dim[0];
        c.r[i + 1] = c.r[i] + gf_linear_rank(&g->lin[i]);
    }
    return c;
}

/* ---- forward -------------------------------------------------------------------------- */

/* S = scale * drop(x) A^T of every layer: one product if they see the same x. */
static void tails(gf_pool *pool, gf_tensor s, gf_tensor x, const gf_group *g, const gf_spans *row,
                  gf_dropout drop)
{
    gf_gemm all = {.m = x.dim[0], .parts = 1, .c = s.data, .c_dtype = s.dtype, .ldc = s.stride};
    all.part[0] = (gf_gemm_part){.a = operand(x), .k = x.dim[1]};
    const columns at = columns_of(g);
    for (int i = 0; i < g->count; i++) {
        const gf_linear *lin = &g->lin[i];
        if (!gf_linear_rank(lin))
            continue;
        gf_gemm_group group = {.n = gf_linear_rank(lin), .scale = lin->scale, .segments = 1};
        group.segment[0] = (gf_gemm_segment){.part = 0, .b = operand(lin->a)};
        if (drop.p > 0) {
            const gf_mask mask = {drop, row, lin->module};
            gf_gemm one = all;
            one.part[0].mask = &mask;
            one.groups = 1;
            one.group[0] = group;
            one.c = gf_cols(s, at.r[i], group.n).data;
            GF_CPU(gemm)(pool, &one);
        } else {
            all.group[all.groups++] = group;
        }
    }
    if (all.groups)
        GF_CPU(gemm)(pool, &all);
}

gf_status GF_CPU(group_linear_fwd)(gf_backend *be, gf_tensor y, gf_tensor s, gf_tensor x,
                                   gf_tensor residual, const gf_group *g, const gf_spans *row,
                                   gf_dropout drop)
{
    if (gf_group_rank(g) > 0)
        tails(be->pool, s, x, g, row, drop);
    gf_gemm gemm = {.m = x.dim[0], .parts = 1, .groups = g->count};
    gemm.part[0] = (gf_gemm_part){.a = operand(x), .k = x.dim[1]};
    gemm.c = y.data;
    gemm.c_dtype = y.dtype;
    gemm.ldc = y.stride;
    if (gf_is(residual)) {
        gemm.residual = residual.data;
        gemm.ldr = residual.stride;
    }
    const columns at = columns_of(g);
    for (int i = 0; i < g->count; i++) {
        const gf_linear *lin = &g->lin[i];
        const int64_t r = gf_linear_rank(lin);
        gf_gemm_group *group = &gemm.group[i];
        *group = (gf_gemm_group){.n = lin->w.dim[0], .scale = 1, .segments = 1};
        group->bias = gf_is(lin->bias) ? lin->bias.data : NULL;
        group->segment[0] = (gf_gemm_segment){.part = 0, .b = operand(lin->w)};
        if (r) {
            group->segment[group->segments++] =
                (gf_gemm_segment){.part = gemm.parts, .b = operand(lin->b)};
            gemm.part[gemm.parts++] = (gf_gemm_part){.a = operand(gf_cols(s, at.r[i], r)), .k = r};
        }
    }
    GF_CPU(gemm)(be->pool, &gemm);
    return GF_OK;
}

/* ---- backward ------------------------------------------------------------------------- */

/* P = scale * dy B of every layer. */
static void back_tails(gf_pool *pool, gf_tensor p, gf_tensor dy, const gf_group *g)
{
    const columns at = columns_of(g);
    for (int i = 0; i < g->count; i++) {
        const gf_linear *lin = &g->lin[i];
        const int64_t r = gf_linear_rank(lin), n = lin->w.dim[0];
        if (!r)
            continue;
        gf_gemm gemm = {.m = dy.dim[0], .parts = 1, .groups = 1};
        gemm.part[0] = (gf_gemm_part){.a = operand(gf_cols(dy, at.n[i], n)), .k = n};
        gemm.group[0] = (gf_gemm_group){.n = r, .scale = lin->scale, .segments = 1};
        gemm.group[0].segment[0] = (gf_gemm_segment){.part = 0, .nn = true, .b = operand(lin->b)};
        gemm.c = gf_cols(p, at.r[i], r).data;
        gemm.c_dtype = p.dtype;
        gemm.ldc = p.stride;
        GF_CPU(gemm)(pool, &gemm);
    }
}

/* dx = [dy | P] [W; A]; under dropout the adapters' products are masked and added one by one. */
static void to_input(gf_pool *pool, gf_tensor dx, gf_tensor p, gf_tensor dy, const gf_group *g,
                     const gf_spans *row, gf_dropout drop)
{
    gf_gemm gemm = {.m = dy.dim[0], .groups = 1, .c = dx.data, .c_dtype = dx.dtype};
    gemm.ldc = dx.stride;
    gf_gemm_group *group = &gemm.group[0];
    *group = (gf_gemm_group){.n = dx.dim[1], .scale = 1};
    const columns at = columns_of(g);
    gf_mask mask[3];
    for (int i = 0; i < g->count; i++) {
        const int64_t n = g->lin[i].w.dim[0];
        group->segment[group->segments++] =
            (gf_gemm_segment){.part = gemm.parts, .nn = true, .b = operand(g->lin[i].w)};
        gemm.part[gemm.parts++] = (gf_gemm_part){.a = operand(gf_cols(dy, at.n[i], n)), .k = n};
    }
    for (int i = 0; i < g->count; i++) {
        const gf_linear *lin = &g->lin[i];
        const int64_t r = gf_linear_rank(lin);
        if (!r)
            continue;
        mask[i] = (gf_mask){drop, row, lin->module};
        group->segment[group->segments++] = (gf_gemm_segment){.part = gemm.parts,
                                                              .nn = true,
                                                              .b = operand(lin->a),
                                                              .mask = drop.p > 0 ? &mask[i] : NULL};
        gemm.part[gemm.parts++] = (gf_gemm_part){.a = operand(gf_cols(p, at.r[i], r)), .k = r};
    }
    GF_CPU(gemm)(pool, &gemm);
}

/* mask[3] lives as long as the job. */
static void add_da(gf_linear_grads *job, gf_mask *mask, gf_tensor p, gf_tensor x, const gf_group *g,
                   const gf_spans *row, gf_dropout drop)
{
    const columns at = columns_of(g);
    for (int i = 0; i < g->count; i++) {
        const gf_linear *lin = &g->lin[i];
        const int64_t r = gf_linear_rank(lin);
        if (!r || !gf_is(lin->da))
            continue;
        mask[i] = (gf_mask){drop, row, lin->module};
        job->of[job->count++] = (gf_linear_grad){.tail = operand(gf_cols(p, at.r[i], r)),
                                                 .r = r,
                                                 .wide = operand(x),
                                                 .width = x.dim[1],
                                                 .mask = drop.p > 0 ? &mask[i] : NULL,
                                                 .out = lin->da};
    }
}

gf_status GF_CPU(group_linear_da)(gf_backend *be, gf_tensor p, gf_tensor x, const gf_group *g,
                                  const gf_spans *row, gf_dropout drop, gf_fixed *fixed)
{
    gf_linear_grads job = {.pool = be->pool, .row = row, .fixed = fixed};
    gf_mask mask[3];
    add_da(&job, mask, p, x, g, row, drop);
    GF_CPU(linear_grads)(&job);
    return GF_OK;
}

gf_status GF_CPU(group_linear_bwd)(gf_backend *be, gf_tensor dx, gf_tensor p, gf_tensor dy,
                                   gf_tensor x, gf_tensor s, const gf_group *g, const gf_spans *row,
                                   gf_dropout drop, gf_fixed *fixed)
{
    if (gf_group_rank(g) > 0)
        back_tails(be->pool, p, dy, g);
    if (gf_is(dx))
        to_input(be->pool, dx, p, dy, g, row, drop);
    gf_linear_grads job = {.pool = be->pool, .row = row, .fixed = fixed};
    const columns at = columns_of(g);
    gf_mask mask[3];
    if (gf_is(x))
        add_da(&job, mask, p, x, g, row, drop);
    for (int i = 0; i < g->count; i++) {
        const gf_linear *lin = &g->lin[i];
        const int64_t r = gf_linear_rank(lin), n = lin->w.dim[0];
        if (gf_is(lin->dw))
            job.of[job.count++] = (gf_linear_grad){.tail = operand(gf_cols(dy, at.n[i], n)),
                                                   .r = n,
                                                   .wide = operand(x),
                                                   .width = x.dim[1],
                                                   .out = lin->dw};
        if (!r || !gf_is(lin->db))
            continue;
        job.of[job.count++] = (gf_linear_grad){.tail = operand(gf_cols(s, at.r[i], r)),
                                               .r = r,
                                               .wide = operand(gf_cols(dy, at.n[i], n)),
                                               .width = n,
                                               .out = lin->db,
                                               .across = true};
    }
    if (job.count)
        GF_CPU(linear_grads)(&job);
    return GF_OK;
}

/* The CPU's products take A and B where they are. */
gf_status GF_CPU(group_tails)(gf_backend *be, const gf_group *g)
{
    (void)g;
    return gf_fail(&be->err, GF_ESHAPE, "group_tails: a CPU has no tails");
}
