/* launch_dora.c - DoRA's ops on CUDA. Contract: graft/ops.h; kernels: dora.cu. */
#include "dora.h"
#include "launch_args.h"

static const gf_dim threads = {GF_DORA_THREADS, 1, 1};

static unsigned blocks(int64_t n, int64_t each)
{
    return (unsigned)((n + each - 1) / each);
}

/* A vector's element; NULL in dry runs. */
static float *element(gf_tensor t, int64_t row, int64_t column)
{
    return t.data ? (float *)t.data + row * t.stride + column : NULL;
}

static gf_status layer_norms(gf_backend *be, const gf_group *g, int i)
{
    const gf_linear *lin = &g->lin[i];
    const int64_t at = gf_group_column(g, i), n = lin->w.dim[0];
    const bool on = gf_is(lin->magnitude);
    gf_dora_norms_args a = {.w = gf_arg_of(lin->w),
                            .magnitude = lin->magnitude.data,
                            .norm = element(g->norm, 0, at),
                            .factor = element(g->norm, 1, at),
                            .scale = lin->scale,
                            .n = (int32_t)n,
                            .k = (int32_t)lin->w.dim[1],
                            .last = (int32_t)(gf_group_column(g, i + 1) - at)};
    if (gf_is(lin->a)) {
        a.a = lin->a.data;
        a.b = lin->b.data;
        a.a_stride = lin->a.stride;
        a.b_stride = lin->b.stride;
        a.rank = (int32_t)lin->a.dim[0];
    }
    if (lin->w.dtype != GF_F32 && lin->w.dtype != GF_BF16)
        return gf_fail(&be->err, GF_ESHAPE,
                       "dora_norms: weights are %s, on a device want f32 or bf16",
                       gf_dtype_name(lin->w.dtype));
    const gf_dim ones = {blocks(a.last - (on ? n : 0), GF_DORA_THREADS), 1, 1};
    TRY(GF_LAUNCH(be, "dora", "dora_ones", ones, threads, 0, &a));
    if (!on)
        return GF_OK;
    const gf_dim grid = {blocks(n, GF_DORA_ROWS), 1, 1};
    return GF_LAUNCH(be, "dora", lin->w.dtype == GF_F32 ? "dora_norms_f32" : "dora_norms_bf16",
                     grid, threads, (size_t)a.rank * GF_DORA_ROWS * sizeof(float), &a);
}

gf_status gf_cuda_dora_norms(gf_backend *be, const gf_group *g)
{
    for (int i = 0; i < g->count; i++)
        TRY(layer_norms(be, g, i));
    return GF_OK;
}

static gf_status scale(gf_backend *be, gf_tensor y, gf_tensor x, gf_tensor bias, gf_tensor residual,
                       const gf_group *g)
{
    const gf_tensor all[] = {y, x, bias, residual};
    gf_dora_scale_args a = {.y = gf_arg_of(y),
                            .x = gf_arg_of(x),
                            .bias = gf_arg_of(bias),
                            .residual = gf_arg_of(residual),
                            .factor = element(g->norm, 1, 0),
                            .rows = y.dim[0],
                            .width = (int32_t)y.dim[1],
                            .wide = g->norm.stride % GF_DORA_UNIT == 0};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        a.wide = a.wide && gf_arg_aligned(all[i], GF_DORA_UNIT);
    const char *name = y.dtype != x.dtype  ? "dora_scale_mixed"
                       : y.dtype == GF_F32 ? "dora_scale_f32"
                                           : "dora_scale_bf16";
    const gf_dim grid = {blocks(y.dim[1], GF_DORA_THREADS * GF_DORA_UNIT),
                         blocks(y.dim[0], GF_DORA_TOKENS), 1};
    return GF_LAUNCH(be, "dora", name, grid, threads, 0, &a);
}

gf_status gf_cuda_dora_fwd(gf_backend *be, gf_tensor y, gf_tensor z, gf_tensor residual,
                           const gf_group *g)
{
    gf_tensor bias = g->lin[0].bias; /* the layers' are one vector, padded as y is */
    if (gf_is(bias) && bias.dtype != y.dtype)
        return gf_fail(&be->err, GF_ESHAPE, "dora_fwd: bias is %s, y is %s; want one type",
                       gf_dtype_name(bias.dtype), gf_dtype_name(y.dtype));
    return scale(be, y, z, bias, residual, g);
}

gf_status gf_cuda_dora_bwd(gf_backend *be, gf_tensor dz, gf_tensor dy, gf_tensor z,
                           const gf_group *g, const gf_spans *row, gf_fixed *fixed)
{
    TRY(scale(be, dz, dy, gf_none, gf_none, g));
    bool any = false;
    gf_dora_gradient_args a = {.dy = gf_arg_of(dy),
                               .z = gf_arg_of(z),
                               .norm = element(g->norm, 0, 0),
                               .work = row ? row->work.data : NULL,
                               .width = (int32_t)dy.dim[1]};
    for (int i = 0; i < g->count; i++) {
        a.dm[i] = g->lin[i].dmagnitude.data;
        a.at[i] = (int32_t)gf_group_column(g, i);
        a.n[i] = (int32_t)g->lin[i].w.dim[0];
        any |= gf_is(g->lin[i].dmagnitude);
    }
    if (!any)
        return GF_OK;
    int64_t *sums = fixed->sums.data;
    a.magnitude = sums ? sums + GF_SUM_MAGNITUDE : NULL;
    a.nonfinite = sums ? sums + GF_SUM_NONFINITE : NULL;
    a.scale = (float)((int64_t)1 << fixed->shift);
    const gf_dim grid = {blocks(dy.dim[1], GF_DORA_COLUMNS),
                         gf_cuda_row_grid(be, row, dy.dim[0]).chunks, 1};
    return GF_LAUNCH(be, "dora", dy.dtype == GF_F32 ? "dora_gradient_f32" : "dora_gradient_bf16",
                     grid, threads, 0, &a);
}
