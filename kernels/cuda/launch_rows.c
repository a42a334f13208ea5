/* launch_rows.c - twins of the ops that work row by row: which kernel, how many blocks. Contract:
 * graft/ops.h.
 *
 * How many threads share a row depends on its width alone, so that the order of a sum does (law 3).
 * Where all that a kernel touches is aligned it moves 128 bits at a time ("wide"); where not, the
 * same elements one by one. */
#include "launch_args.h"

#define WARP 32
#define BLOCK 256 /* threads of a block that has many rows or units of them */

/* ---- grids ------------------------------------------------------------------------------ */

typedef struct {
    gf_dim grid, block;
} shape;

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Threads for so many units of work: whole warps, at most `most`. */
static unsigned threads_for(int64_t units, unsigned most)
{
    const int64_t warps = divide_up(units, WARP);
    return warps < 1 ? WARP : warps * WARP > most ? most : (unsigned)warps * WARP;
}

/* Teams of `team` threads along x, one for each row, as many in a block as make 128 threads. */
static shape teams(int64_t rows, unsigned team)
{
    const unsigned each = team < 128 ? 128 / team : 1;
    return (shape){.grid = {(unsigned)divide_up(rows, each), 1, 1}, .block = {team, each, 1}};
}

/* ---- which kernel ----------------------------------------------------------------------- */

static bool all_are(gf_dtype type, int count, const gf_tensor t[])
{
    for (int i = 0; i < count; i++)
        if (gf_is(t[i]) && t[i].dtype != type)
            return false;
    return true;
}

static bool all_aligned(int64_t unit, int count, const gf_tensor t[])
{
    for (int i = 0; i < count; i++)
        if (!gf_arg_aligned(t[i], unit))
            return false;
    return true;
}
#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* ---- embedding -------------------------------------------------------------------------- */

gf_status gf_cuda_embed_fwd(gf_backend *be, gf_tensor y, gf_tensor ids, gf_tensor table,
                            float scale)
{
    if (table.dtype != GF_F32 && table.dtype != GF_BF16)
        return gf_fail(&be->err, GF_ESHAPE, "embed_fwd: table is %s, on a device want f32 or bf16",
                       gf_dtype_name(table.dtype));
    const gf_tensor all[] = {y, table};
    int64_t rows = y.dim[0];
    int width = (int)y.dim[1], wide = all_aligned(4, COUNT(all), all);
    gf_arg to = gf_arg_of(y), from = gf_arg_of(table);
    const shape s = teams(rows, threads_for(divide_up(width, 16), BLOCK));
    return GF_LAUNCH(be, "embed", table.dtype == GF_F32 ? "embed_fwd_f32" : "embed_fwd_bf16",
                     s.grid, s.block, 0, &to, &ids.data, &from, &rows, &width, &scale, &wide);
}

gf_status gf_cuda_embed_noise(gf_backend *be, gf_tensor x, const gf_spans *row, gf_noise noise)
{
    int width = (int)x.dim[1], wide = gf_arg_aligned(x, 4);
    gf_arg to = gf_arg_of(x);
    void *lists = row->work.data;
    const shape s = teams(x.dim[0], threads_for(divide_up(width, 4), BLOCK));
    return GF_LAUNCH(be, "noise", "embed_noise", s.grid, s.block, 0, &to, &lists, &width,
                     &noise.alpha, &noise.seed, &wide);
}

/* ---- RMSNorm ---------------------------------------------------------------------------- */

/* A warp for each row up to `most` wide; beyond, a block with four units of 4 a thread. */
static shape norm_shape(int64_t rows, int64_t width, int64_t most)
{
    if (width <= most)
        return teams(rows, WARP);
    const unsigned threads = threads_for(divide_up(width, 16), 1024);
    return (shape){.grid = {(unsigned)rows, 1, 1}, .block = {threads, 1, 1}};
}

/* Heads of a row, or 1. */
static unsigned heads_of(gf_tensor x)
{
    return x.rank == 3 ? (unsigned)x.dim[1] : 1;
}

gf_status gf_cuda_rmsnorm_fwd(gf_backend *be, gf_tensor y, gf_tensor rstd, gf_tensor x,
                              gf_tensor residual, gf_tensor w, float eps, float offset)
{
    const gf_tensor typed[] = {y, x}, all[] = {y, x, residual, w};
    const char *name = all_are(GF_F32, 2, typed)    ? "rmsnorm_fwd_f32"
                       : all_are(GF_BF16, 2, typed) ? "rmsnorm_fwd_bf16"
                       : y.dtype == GF_BF16         ? "rmsnorm_fwd_bf16_f32"
                                                    : "rmsnorm_fwd_f32_bf16";
    unsigned heads = heads_of(x), rows = (unsigned)x.dim[0] * heads;
    int width = (int)x.dim[x.rank - 1];
    float inverse = 1.0f / (float)width;
    int wide = width % 4 == 0 && all_aligned(4, COUNT(all), all);
    gf_arg to = gf_arg_of(y), r = gf_arg_of(rstd), from = gf_arg_of(x), more = gf_arg_of(residual);
    const shape s = norm_shape(rows, width, 1024);
    return GF_LAUNCH(be, "rmsnorm", name, s.grid, s.block, 0, &to, &r, &from, &more, &w.data, &rows,
                     &heads, &width, &wide, &eps, &offset, &inverse);
}

gf_status gf_cuda_rmsnorm_bwd(gf_backend *be, gf_tensor dx, gf_tensor rounded, gf_tensor y,
                              gf_tensor dy, gf_tensor into, gf_tensor x, gf_tensor w,
                              gf_tensor rstd, float offset)
{
    const gf_tensor typed[] = {dx, dy, x}, all[] = {dx, rounded, y, dy, into, x, w};
    const char *name = all_are(GF_F32, 3, typed)    ? "rmsnorm_bwd_f32"
                       : all_are(GF_BF16, 3, typed) ? "rmsnorm_bwd_bf16"
                       : dx.dtype == GF_F32 && dy.dtype == GF_BF16 && x.dtype == GF_F32
                           ? "rmsnorm_bwd_f32_bf16_f32"
                       : dx.dtype == GF_BF16 && dy.dtype == GF_F32 && x.dtype == GF_BF16
                           ? "rmsnorm_bwd_bf16_f32_bf16"
                           : "rmsnorm_bwd_mixed";
    unsigned heads = heads_of(x), rows = (unsigned)x.dim[0] * heads;
    int width = (int)x.dim[x.rank - 1];
    float inverse = 1.0f / (float)width;
    int wide = width % 4 == 0 && all_aligned(4, COUNT(all), all);
    gf_arg to = gf_arg_of(dx), copy = gf_arg_of(rounded), again = gf_arg_of(y),
           slope = gf_arg_of(dy), old = gf_arg_of(into), from = gf_arg_of(x), r = gf_arg_of(rstd);
    const shape s = norm_shape(rows, width, 512);
    return GF_LAUNCH(be, "rmsnorm", name, s.grid, s.block, 0, &to, &copy, &again, &slope, &old,
                     &from, &w.data, &r, &rows, &heads, &width, &wide, &offset, &inverse);
}

/* ---- rotary embedding ------------------------------------------------------------------- */

gf_status gf_cuda_rope(gf_backend *be, gf_tensor x, gf_tensor cos, gf_tensor sin, int direction)
{
    const gf_tensor all[] = {x, cos, sin};
    int heads = (int)x.dim[1], width = (int)x.dim[2], pairs = (int)cos.dim[1];
    int wide = width % 4 == 0 && pairs % 4 == 0 && all_aligned(4, COUNT(all), all);
    float turn = (float)direction;
    gf_arg to = gf_arg_of(x), c = gf_arg_of(cos), s = gf_arg_of(sin);
    const int64_t units = wide ? pairs / 4 : pairs;
    const unsigned along = units < BLOCK ? (unsigned)units : BLOCK;
    if (along == 0 || heads == 0)
        return GF_OK;
    unsigned side = along < 128 ? 128 / along : 1;
    if (side > (unsigned)heads)
        side = (unsigned)heads;
    return GF_LAUNCH(be, "rope", x.dtype == GF_F32 ? "rope_f32" : "rope_bf16",
                     ((gf_dim){(unsigned)x.dim[0], 1, 1}), ((gf_dim){along, side, 1}), 0, &to, &c,
                     &s, &heads, &width, &pairs, &turn, &wide);
}

/* ---- gated linear unit ------------------------------------------------------------------ */

/* Two units a thread; what a block does not reach of a row is up to blocks along y. */
static shape glu_shape(int64_t rows, int64_t width, int64_t unit)
{
    const int64_t units = divide_up(width, unit);
    shape s = teams(rows, threads_for(divide_up(units, 2), BLOCK));
    s.grid.y = (unsigned)divide_up(units, 2 * (int64_t)s.block.x);
    return s;
}

gf_status gf_cuda_glu_fwd(gf_backend *be, gf_tensor h, gf_tensor gate, gf_tensor up, gf_act act)
{
    const gf_tensor all[] = {h, gate, up};
    const int unit = all_are(GF_BF16, COUNT(all), all) ? 8 : 4;
    const char *name = unit == 8                          ? "glu_fwd_bf16"
                       : all_are(GF_F32, COUNT(all), all) ? "glu_fwd_f32"
                                                          : "glu_fwd_mixed";
    int64_t rows = gate.dim[0];
    int width = (int)gate.dim[1], which = (int)act, wide = all_aligned(unit, COUNT(all), all);
    gf_arg to = gf_arg_of(h), g = gf_arg_of(gate), u = gf_arg_of(up);
    const shape s = glu_shape(rows, width, unit);
    return GF_LAUNCH(be, "glu", name, s.grid, s.block, 0, &to, &g, &u, &rows, &width, &which,
                     &wide);
}

gf_status gf_cuda_glu_bwd(gf_backend *be, gf_tensor dgate, gf_tensor dup, gf_tensor h, gf_tensor dh,
                          gf_tensor gate, gf_tensor up, gf_act act)
{
    const gf_tensor all[] = {dgate, dup, h, dh, gate, up};
    const int unit = all_are(GF_BF16, COUNT(all), all) ? 8 : 4;
    const char *name = unit == 8                          ? "glu_bwd_bf16"
                       : all_are(GF_F32, COUNT(all), all) ? "glu_bwd_f32"
                                                          : "glu_bwd_mixed";
    int64_t rows = gate.dim[0];
    int width = (int)gate.dim[1], which = (int)act, wide = all_aligned(unit, COUNT(all), all);
    gf_arg to_gate = gf_arg_of(dgate), to_up = gf_arg_of(dup), to_h = gf_arg_of(h);
    gf_arg slope = gf_arg_of(dh), g = gf_arg_of(gate), u = gf_arg_of(up);
    const shape s = glu_shape(rows, width, unit);
    return GF_LAUNCH(be, "glu", name, s.grid, s.block, 0, &to_gate, &to_up, &to_h, &slope, &g, &u,
                     &rows, &width, &which, &wide);
}

/* ---- moving rows ------------------------------------------------------------------------ */

/* Units of 16 bytes where both sides have one type, else of 4 elements; four of them a thread. */
static gf_status copy(gf_backend *be, const char *name, gf_tensor y, gf_tensor x, gf_tensor index)
{
    const int unit = y.dtype == GF_BF16 && x.dtype == GF_BF16 ? 8 : 4;
    int64_t rows = index.dim[0];
    /* y at 16 bytes whatever its type is: it may have to be cleared */
    int wide = gf_arg_aligned(y, y.dtype == GF_BF16 ? 8 : 4) && gf_arg_aligned(x, unit);
    int width = (int)gf_width(y);
    gf_arg to = gf_arg_of(y), from = gf_arg_of(x);
    const shape s = teams(rows, threads_for(divide_up(width, 4 * unit), BLOCK));
    return GF_LAUNCH(be, "rows", name, s.grid, s.block, 0, &to, &from, &index.data, &rows, &width,
                     &wide);
}

gf_status gf_cuda_gather_rows(gf_backend *be, gf_tensor y, gf_tensor x, gf_tensor index)
{
    static const char *const name[2][2] = {{"gather_rows_f32", "gather_rows_f32_bf16"},
                                           {"gather_rows_bf16_f32", "gather_rows_bf16"}};
    return copy(be, name[y.dtype == GF_BF16][x.dtype == GF_BF16], y, x, index);
}

gf_status gf_cuda_scatter_rows(gf_backend *be, gf_tensor y, gf_tensor x, gf_tensor index)
{
    TRY(gf_cuda_zero(be, y));
    return copy(be, x.dtype == GF_F32 ? "scatter_rows_f32" : "scatter_rows_bf16", y, x, index);
}

gf_status gf_cuda_add_rows(gf_backend *be, gf_tensor y, gf_tensor x)
{
    int64_t rows = y.dim[0];
    int width = (int)gf_width(y), wide = gf_arg_aligned(y, 4) && gf_arg_aligned(x, 4);
    gf_arg to = gf_arg_of(y), from = gf_arg_of(x);
    const shape s = teams(rows, threads_for(divide_up(width, 4), BLOCK));
    return GF_LAUNCH(be, "rows", x.dtype == GF_F32 ? "add_rows_f32" : "add_rows_bf16", s.grid,
                     s.block, 0, &to, &from, &rows, &width, &wide);
}

gf_status gf_cuda_zero(gf_backend *be, gf_tensor x)
{
    int64_t rows = x.dim[0], bytes = gf_row_bytes(x.dtype, gf_width(x));
    int64_t pitch = gf_row_bytes(x.dtype, x.stride);
    if (rows <= 1 || pitch == bytes)
        return gf_cuda_clear(be, x.data, (size_t)(rows * bytes));
    if (bytes == 0)
        return GF_OK;
    int wide = (uintptr_t)x.data % 16 == 0 && pitch % 16 == 0;
    const shape s = teams(rows, threads_for(divide_up(bytes, 16), BLOCK));
    return GF_LAUNCH(be, "rows", "zero_rows", s.grid, s.block, 0, &x.data, &pitch, &bytes, &rows,
                     &wide);
}
