/* launch_attention.c - twins of attention: which kernel, how many blocks, how much shared memory.
 * Contract: graft/ops.h; what a block does: kernels/attention*.cu. */
#include "cuda.h"

#include <stdio.h>

#include "attention_args.h"

#define WIDEST 256        /* columns of a head */
#define SMALL_THREADS 128 /* of a block of queries, and of every block in f32 */
#define KEYS_THREADS 256  /* of a block of keys */
#define DECODE_THREADS 256
#define DECODE_HEADS 4    /* of a block */
#define DECODE_QUERIES 8  /* longest span that is generation's */
#define DELTA_THREADS 256 /* f32: 128 */
#define DELTA_HEADS 8     /* of a block */
#define DELTA_ROWS 16
#define GRID_Y 65535 /* most blocks along y (CUDA C++ guide, technical specifications) */

/* ---- shapes of blocks ------------------------------------------------------------------- */

/* What the kernels of a class of widths were compiled with, at the end of the .cu files. Numbers
 * of rows: of the tile that a block owns, and of the blocks that it walks. */
typedef struct {
    int width;
    int fwd_queries, fwd_keys;
    int dkv_keys, dkv_queries;
    int dq_queries, dq_keys;
} tiling;

static const tiling tilings[] = {
    {32, 128, 64, 128, 64, 128, 32}, {64, 128, 64, 128, 64, 128, 32},
    {96, 128, 32, 128, 32, 128, 32}, {128, 128, 32, 128, 32, 128, 32},
    {256, 64, 32, 64, 16, 64, 16},
};

/* f32: rows of both, and the distance of a row of scores. */
typedef struct {
    int width, rows, pitch;
} f32_tiling;
static const f32_tiling f32_tilings[] = {{128, 32, 36}, {256, 16, 24}};

typedef struct {
    char kernel[40];
    gf_dim grid;
    unsigned threads;
    size_t shared;
} launch;

static void name(launch *l, const char *what, gf_dtype type, int width)
{
    (void)snprintf(l->kernel, sizeof l->kernel, "attention_%s_%s_%d", what, gf_dtype_name(type),
                   width);
}

static const tiling *tiling_of(int64_t width)
{
    const tiling *t = tilings;
    while (t->width < width)
        t++;
    return t;
}

typedef enum { FORWARD, KEYS, QUERIES } part;

/* heads: H or G, whatever a block belongs to. */
static launch launch_of(part p, gf_dtype type, int64_t width, int64_t heads, unsigned tiles)
{
    static const char *const what[] = {"fwd", "dkv", "dq"};
    launch l = {.threads = SMALL_THREADS};
    int own;
    if (type == GF_F32) {
        const f32_tiling *t = &f32_tilings[width > f32_tilings[0].width];
        const size_t rows = (size_t)t->rows, row = (size_t)width + 4, pitch = (size_t)t->pitch;
        l.shared = sizeof(float) *
                   (p == FORWARD ? rows * (3 * row + pitch) : rows * (4 * row + 2 * pitch + 2));
        own = t->rows;
        name(&l, what[p], type, t->width);
    } else {
        const tiling *t = tiling_of(width);
        const int walked = p == FORWARD ? t->fwd_keys : p == KEYS ? t->dkv_queries : t->dq_keys;
        own = p == FORWARD ? t->fwd_queries : p == KEYS ? t->dkv_keys : t->dq_queries;
        /* q, or k and v, or q and d_o; two stages of two tensors; lse and delta, for keys twice and
         * of 4 heads (struct numbers_of) */
        l.shared = (size_t)((p == FORWARD ? own : 2 * own) + 4 * walked) * (size_t)t->width * 2;
        l.shared += p == FORWARD ? 0 : p == KEYS ? 64 * ((size_t)walked + 8) : (size_t)own * 8;
        l.threads = p == KEYS ? KEYS_THREADS : SMALL_THREADS;
        name(&l, what[p], type, t->width);
    }
    l.grid = (gf_dim){(unsigned)heads * (unsigned)(GF_TILE / own), tiles, 1};
    return l;
}

static gf_status run(gf_backend *be, const char *module, const launch *l, gf_attention_args *a)
{
    return GF_LAUNCH(be, module, l->kernel, l->grid, ((gf_dim){l->threads, 1, 1}), l->shared, a);
}

#define LOG2E 1.44269504088896341f

/* ---- what the kernels take -------------------------------------------------------------- */

static gf_status want_rows(gf_backend *be, const char *op, gf_dtype type, int count,
                           const gf_tensor x[])
{
    for (int i = 0; i < count; i++) {
        if (x[i].dtype != type)
            return gf_fail(&be->err, GF_ESHAPE, "%s: %s is %s and q %s, on a device they are one",
                           op, x[i].name, gf_dtype_name(x[i].dtype), gf_dtype_name(type));
        const int64_t bytes = gf_row_bytes(type, x[i].stride);
        if (bytes % 16 != 0 || (uintptr_t)x[i].data % 16 != 0)
            return gf_fail(&be->err, GF_ESHAPE,
                           "%s: rows of %s do not start at multiples of 16 bytes", op, x[i].name);
        if (bytes > INT32_MAX / GF_TILE)
            return gf_fail(&be->err, GF_ESHAPE, "%s: rows of %s are %lld bytes apart", op,
                           x[i].name, (long long)bytes);
    }
    return GF_OK;
}

static gf_status want(gf_backend *be, const char *op, gf_tensor q, const gf_spans *row,
                      unsigned tiles, float scale)
{
    if (q.dim[2] > WIDEST)
        return gf_fail(&be->err, GF_EMISSING,
                       "%s: heads are %lld wide, on a device at most %d: use --device cpu", op,
                       (long long)q.dim[2], WIDEST);
    if (!(scale > 0.0f)) /* maxima are of products before they are scaled */
        return gf_fail(&be->err, GF_ESHAPE, "%s: scale is %g, want more than 0", op, (double)scale);
    if (tiles > GRID_Y)
        return gf_fail(&be->err, GF_ESHAPE, "%s: %u tiles, at most %d", op, tiles, GRID_Y);
    if (!be->dry && !gf_is(row->work))
        return gf_fail(&be->err, GF_ESHAPE, "%s: the row was not bound (gf_row_bind)", op);
    return GF_OK;
}

static gf_attention_args args_of(gf_tensor o, gf_tensor lse, gf_tensor q, gf_tensor k, gf_tensor v,
                                 const gf_spans *row, float scale, int64_t window, float cap)
{
    return (gf_attention_args){.work = row->work.data,
                               .q = q.data,
                               .k = k.data,
                               .v = v.data,
                               .o = o.data,
                               .lse = lse.data,
                               .q_stride = (int32_t)q.stride,
                               .k_stride = (int32_t)k.stride,
                               .v_stride = (int32_t)v.stride,
                               .o_stride = (int32_t)o.stride,
                               .lse_stride = (int32_t)lse.stride,
                               .heads = (int32_t)q.dim[1],
                               .share = (int32_t)(q.dim[1] / k.dim[1]),
                               .width = (int32_t)q.dim[2],
                               .window =
                                   window > 0 && window < INT32_MAX ? (int32_t)window : INT32_MAX,
                               .scale = scale,
                               .cap = cap,
                               .unit = cap > 0.0f ? 1.0f : scale * LOG2E,
                               .inner = cap > 0.0f ? scale / cap : 0.0f,
                               .outer = cap > 0.0f ? cap * LOG2E : 0.0f};
}

/* ---- forward ---------------------------------------------------------------------------- */

/* Whether the row is one of generation: a few new tokens each, with keys of earlier ones. Its
 * queries' bits may differ from those that attention_fwd's other kernels give. */
static bool is_decode(const gf_spans *row)
{
    bool earlier = false;
    for (int i = 0; i < row->count; i++) {
        if (row->span[i].len > DECODE_QUERIES)
            return false;
        earlier = earlier || row->span[i].kv_len > row->span[i].len;
    }
    return earlier;
}

static gf_status decode(gf_backend *be, gf_tensor q, gf_tensor k, const gf_spans *row,
                        unsigned tiles, gf_attention_args *a)
{
    int64_t most = 1; /* filler's rows go round among as many blocks */
    for (int i = 0; i < row->count; i++)
        most = row->span[i].len > most ? row->span[i].len : most;
    const int64_t cuts = (a->share + DECODE_HEADS - 1) / DECODE_HEADS;
    const launch l = {.threads = DECODE_THREADS,
                      .grid = {(unsigned)(k.dim[1] * cuts), tiles, (unsigned)most}};
    const char *kernel = q.dtype == GF_F32 ? "attention_decode_f32" : "attention_decode_bf16";
    return GF_LAUNCH(be, "attention_decode", kernel, l.grid, ((gf_dim){l.threads, 1, 1}), 0, a);
}

gf_status gf_cuda_attention_fwd(gf_backend *be, gf_tensor o, gf_tensor lse, gf_tensor q,
                                gf_tensor k, gf_tensor v, const gf_spans *row, float scale,
                                int64_t window, float cap)
{
    static const char op[] = "attention_fwd";
    const gf_tensor rows[] = {q, k, v, o};
    const unsigned tiles = gf_cuda_row_grid(be, row, q.dim[0]).tiles;
    TRY(want(be, op, q, row, tiles, scale));
    TRY(want_rows(be, op, q.dtype, 4, rows));
    gf_attention_args a = args_of(o, lse, q, k, v, row, scale, window, cap);
    if (is_decode(row))
        return decode(be, q, k, row, tiles, &a);
    const launch l = launch_of(FORWARD, q.dtype, q.dim[2], q.dim[1], tiles);
    return run(be, q.dtype == GF_F32 ? "attention_f32" : "attention", &l, &a);
}

/* Whether the kernels for bf16 turn dq and dk themselves by this table. */
static bool can_turn(gf_tensor x)
{
    return gf_is(x) && x.dim[1] % 4 == 0 && x.stride % 4 == 0 && (uintptr_t)x.data % 16 == 0 &&
           x.stride <= INT32_MAX;
}

/* ---- backward --------------------------------------------------------------------------- */

gf_status gf_cuda_attention_bwd(gf_backend *be, gf_tensor dq, gf_tensor dk, gf_tensor dv,
                                gf_tensor delta, gf_tensor d_o, gf_tensor o, gf_tensor lse,
                                gf_tensor q, gf_tensor k, gf_tensor v, const gf_spans *row,
                                float scale, int64_t window, float cap, gf_tensor cos,
                                gf_tensor sin)
{
    static const char op[] = "attention_bwd";
    const gf_tensor rows[] = {q, k, v, o, d_o, dq, dk, dv};
    const unsigned tiles = gf_cuda_row_grid(be, row, q.dim[0]).tiles;
    TRY(want(be, op, q, row, tiles, scale));
    TRY(want_rows(be, op, q.dtype, 8, rows));
    gf_attention_args a = args_of(o, lse, q, k, v, row, scale, window, cap);
    a.d_o = d_o.data;
    a.dq = dq.data;
    a.dk = dk.data;
    a.dv = dv.data;
    a.delta = delta.data;
    a.d_o_stride = (int32_t)d_o.stride;
    a.dq_stride = (int32_t)dq.stride;
    a.dk_stride = (int32_t)dk.stride;
    a.dv_stride = (int32_t)dv.stride;
    a.delta_stride = (int32_t)delta.stride;
    const bool f32 = q.dtype == GF_F32, fused = !f32 && can_turn(cos) && can_turn(sin);
    if (fused) {
        a.cos = cos.data;
        a.sin = sin.data;
        a.cos_stride = (int32_t)cos.stride;
        a.sin_stride = (int32_t)sin.stride;
        a.pairs = (int32_t)cos.dim[1];
    }
    const char *module = f32 ? "attention_f32" : "attention_bwd";
    const gf_dim grid = {(unsigned)(q.dim[1] + DELTA_HEADS - 1) / DELTA_HEADS, tiles,
                         GF_TILE / DELTA_ROWS};
    const gf_dim block = {f32 ? SMALL_THREADS : DELTA_THREADS, 1, 1};
    TRY(GF_LAUNCH(be, module, f32 ? "attention_delta_f32" : "attention_delta_bf16", grid, block, 0,
                  &a));
    const launch keys = launch_of(KEYS, q.dtype, q.dim[2], k.dim[1], tiles);
    TRY(run(be, module, &keys, &a));
    const launch queries = launch_of(QUERIES, q.dtype, q.dim[2], q.dim[1], tiles);
    TRY(run(be, module, &queries, &a));
    if (!gf_is(cos) || fused)
        return GF_OK;
    TRY(gf_cuda_rope(be, dk, cos, sin, -1));
    return gf_cuda_rope(be, dq, cos, sin, -1);
}
