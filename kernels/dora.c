/* dora.c - DoRA's norms, its scaling and their gradients. Contract: graft/ops.h. Source: Liu et al.
 * 2024; FORMATS 4.5. */
#include "fixed.h"
#include "rows.h"
#include "vec.h"

/* ---- norms -------------------------------------------------------------------------------- */

#define PIECE 4096 /* columns of a row at a time: 16 KiB; a multiple of every block */

/* The length of row i of W + scale B A: pieces of f32 in lanes, then one after the other. */
static float row_norm(const gf_linear *lin, int64_t i, float *buf)
{
    const int64_t k = lin->w.dim[1], r = gf_is(lin->a) ? lin->a.dim[0] : 0;
    const void *w = gf_row_at(lin->w, i);
    double sum = 0;
    for (int64_t at = 0; at < k; at += PIECE) {
        const int64_t n = k - at < PIECE ? k - at : PIECE;
        GF_CPU(to_f32)(buf, lin->w.dtype, w, at, n);
        for (int64_t q = 0; q < r; q++) {
            const float *a = (const float *)gf_row_at(lin->a, q) + at;
            const v16 b = v_set1(lin->scale * ((const float *)gf_row_at(lin->b, i))[q]);
            for (int64_t j = 0; j < n; j += V_LANES)
                v_put(buf + j, GF_F32, 0, n - j,
                      v_fma(b, v_get(a + j, GF_F32, 0, n - j), v_get(buf + j, GF_F32, 0, n - j)));
        }
        v16 squares = v_zero();
        for (int64_t j = 0; j < n; j += V_LANES) {
            const v16 x = v_get(buf + j, GF_F32, 0, n - j);
            squares = v_fma(x, x, squares);
        }
        sum += (double)v_sum(squares);
    }
    return (float)sqrt(sum);
}

typedef struct {
    gf_pool *pool;
    const gf_linear *lin;
    gf_tensor norm; /* [2, n] of the layer */
} norm_args;

static void norm_part(void *ctx, int thread, int threads)
{
    const norm_args *a = ctx;
    float *norm = gf_row_at(a->norm, 0), *factor = gf_row_at(a->norm, 1);
    int64_t begin, end;
    gf_pool_split(a->norm.dim[1], V_LANES, thread, threads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        if (!gf_is(a->lin->magnitude)) {
            norm[i] = factor[i] = 1;
            continue;
        }
        const float length = row_norm(a->lin, i, gf_pool_scratch(a->pool, thread));
        norm[i] = length > 0 ? length : 1;
        factor[i] = ((const float *)a->lin->magnitude.data)[i] / norm[i];
    }
}

gf_status GF_CPU(dora_norms)(gf_backend *be, const gf_group *g)
{
    for (int i = 0; i < g->count; i++) {
        const gf_linear *lin = &g->lin[i];
        norm_args a = {.pool = be->pool, .lin = lin};
        a.norm = gf_cols(g->norm, gf_group_column(g, i), lin->w.dim[0]);
        gf_pool_run(be->pool, norm_part, &a);
    }
    return GF_OK;
}

/* ---- scaling ------------------------------------------------------------------------------ */

typedef struct {
    gf_tensor y, x, residual;
    const float *factor, *bias; /* of each column; bias or NULL */
} scale_args;

static void scale_part(void *ctx, int thread, int threads)
{
    const scale_args *a = ctx;
    const int64_t width = a->y.dim[1];
    int64_t begin, end;
    gf_pool_split(a->y.dim[0], 1, thread, threads, &begin, &end);
    for (int64_t row = begin; row < end; row++) {
        const void *x = gf_row_at(a->x, row);
        const void *residual = gf_is(a->residual) ? gf_row_at(a->residual, row) : NULL;
        void *y = gf_row_at(a->y, row);
        for (int64_t i = 0; i < width; i += V_LANES) {
            const int64_t n = width - i;
            v16 v = v_mul(v_get(x, a->x.dtype, i, n), v_get(a->factor, GF_F32, i, n));
            if (a->bias)
                v = v_add(v, v_get(a->bias, GF_F32, i, n));
            if (residual)
                v = v_add(v, v_get(residual, GF_F32, i, n));
            v_put(y, a->y.dtype, i, n, v);
        }
    }
}

gf_status GF_CPU(dora_fwd)(gf_backend *be, gf_tensor y, gf_tensor z, gf_tensor residual,
                           const gf_group *g)
{
    for (int i = 0; i < g->count; i++) {
        const gf_linear *lin = &g->lin[i];
        const int64_t at = gf_group_column(g, i), n = lin->w.dim[0];
        scale_args a = {.y = gf_cols(y, at, n), .x = gf_cols(z, at, n)};
        a.residual = gf_is(residual) ? gf_cols(residual, at, n) : gf_none;
        a.factor = (const float *)gf_row_at(g->norm, 1) + at;
        a.bias = gf_is(lin->bias) ? lin->bias.data : NULL;
        rows_run(be, gf_count(a.y), scale_part, &a);
    }
    return GF_OK;
}

/* ---- gradients ---------------------------------------------------------------------------- */

typedef struct {
    gf_pool *pool;
    gf_tensor dy, z; /* of one layer */
    const float *norm;
    int64_t *dm;
    int64_t first, tokens; /* the chunk */
    fixed_scale scale;
} magnitude_args;

/* A thread's columns of a chunk: sums over the tokens in their order. Leaves its statistic at the
 * start of its scratch. */
static void magnitude_part(void *ctx, int thread, int threads)
{
    const magnitude_args *a = ctx;
    const int64_t width = a->dy.dim[1];
    uint32_t stat = 0;
    int64_t begin, end;
    gf_pool_split(width, V_LANES, thread, threads, &begin, &end);
    for (int64_t i = begin; i < end; i += V_LANES) {
        const int64_t n = width - i;
        float g[V_LANES];
        v16 sum = v_zero();
        for (int64_t t = a->first; t < a->first + a->tokens; t++)
            sum = v_fma(v_get(gf_row_at(a->dy, t), a->dy.dtype, i, n),
                        v_get(gf_row_at(a->z, t), a->z.dtype, i, n), sum);
        v_store(g, n < V_LANES ? sum : v_div(sum, v_load(a->norm + i)));
        for (int64_t j = 0; n < V_LANES && j < n; j++)
            g[j] /= a->norm[i + j];
        stat = fixed_merge(stat, fixed_add(a->scale, a->dm + i, g, n < V_LANES ? n : V_LANES));
    }
    *(uint32_t *)gf_pool_scratch(a->pool, thread) = stat;
}

static void add_magnitude(gf_backend *be, magnitude_args *a, const gf_spans *row, gf_fixed *fixed)
{
    for (int i = 0; i < row->count; i++) {
        const gf_span *s = &row->span[i];
        for (int64_t t = 0; t < s->len; t += GF_CHUNK) {
            uint32_t stat = 0;
            a->first = s->start + t;
            a->tokens = s->len - t < GF_CHUNK ? s->len - t : GF_CHUNK;
            gf_pool_run(be->pool, magnitude_part, a);
            for (int k = 0; k < gf_pool_threads(be->pool); k++)
                stat = fixed_merge(stat, *(const uint32_t *)gf_pool_scratch(be->pool, k));
            fixed_count(fixed, stat);
        }
    }
}

gf_status GF_CPU(dora_bwd)(gf_backend *be, gf_tensor dz, gf_tensor dy, gf_tensor z,
                           const gf_group *g, const gf_spans *row, gf_fixed *fixed)
{
    for (int i = 0; i < g->count; i++) {
        const gf_linear *lin = &g->lin[i];
        const int64_t at = gf_group_column(g, i), n = lin->w.dim[0];
        scale_args s = {.y = gf_cols(dz, at, n), .x = gf_cols(dy, at, n)};
        s.factor = (const float *)gf_row_at(g->norm, 1) + at;
        rows_run(be, gf_count(s.y), scale_part, &s);
        if (!gf_is(lin->dmagnitude))
            continue;
        magnitude_args a = {.pool = be->pool, .dy = s.x, .z = gf_cols(z, at, n)};
        a.norm = (const float *)gf_row_at(g->norm, 0) + at;
        a.dm = lin->dmagnitude.data;
        a.scale = fixed_scale_of(fixed);
        add_magnitude(be, &a, row, fixed);
    }
    return GF_OK;
}
