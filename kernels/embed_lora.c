/* embed_lora.c - LoRA on the embedding, and the embedding's own gradient. Contract: graft/ops.h. */
#include "fixed.h"
#include "linear.h"
#include "rows.h"

static gf_operand operand(gf_tensor t)
{
    return (gf_operand){.data = t.data, .dtype = t.dtype, .ld = t.stride};
}

typedef struct {
    gf_tensor s, ids;
    const gf_linear *lin;
} look_args;

/* S: a token's column of A. */
static void look_part(void *ctx, int thread, int threads)
{
    const look_args *a = ctx;
    int64_t begin, end;
    gf_pool_split(a->s.dim[0], 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        float *s = gf_row_at(a->s, t);
        const int32_t id = ((const int32_t *)a->ids.data)[t];
        for (int64_t q = 0; q < a->s.dim[1]; q++)
            s[q] = id < 0 ? 0 : a->lin->scale * ((const float *)gf_row_at(a->lin->a, q))[id];
    }
}

gf_status GF_CPU(embed_lora_fwd)(gf_backend *be, gf_tensor x, gf_tensor s, gf_tensor ids,
                                 const gf_linear *lin)
{
    look_args a = {s, ids, lin};
    rows_run(be, gf_count(s), look_part, &a);
    gf_gemm gemm = {.m = x.dim[0], .parts = 1, .groups = 1, .c = x.data, .c_dtype = x.dtype};
    gemm.ldc = gemm.ldr = x.stride;
    gemm.residual = x.data;
    gemm.part[0] = (gf_gemm_part){.a = operand(s), .k = s.dim[1]};
    gemm.group[0] = (gf_gemm_group){.n = x.dim[1], .scale = 1, .segments = 1};
    gemm.group[0].segment[0] = (gf_gemm_segment){.part = 0, .b = operand(lin->b)};
    GF_CPU(gemm)(be->pool, &gemm);
    return GF_OK;
}

typedef struct {
    gf_tensor p, ids;
    const gf_linear *lin;
    gf_fixed *fixed;
} spread_args;

/* A thread has some of the ranks, and all tokens in their order. */
static void spread_part(void *ctx, int thread, int threads)
{
    const spread_args *a = ctx;
    const fixed_scale scale = fixed_scale_of(a->fixed);
    int64_t begin, end;
    gf_pool_split(a->p.dim[1], 1, thread, threads, &begin, &end);
    for (int64_t t = 0; t < a->p.dim[0]; t++) {
        const int32_t id = ((const int32_t *)a->ids.data)[t];
        const float *p = gf_row_at(a->p, t);
        for (int64_t q = begin; id >= 0 && q < end; q++)
            fixed_add(scale, (int64_t *)gf_row_at(a->lin->da, q) + id, p + q, 1);
    }
}

/* A token's share is a chunk of its own. */
static void count(gf_tensor p, gf_tensor ids, float scale, gf_fixed *fixed)
{
    for (int64_t t = 0; t < p.dim[0]; t++) {
        const float *row = gf_row_at(p, t);
        uint32_t stat = 0;
        if (((const int32_t *)ids.data)[t] < 0)
            continue;
        for (int64_t q = 0; q < p.dim[1]; q++) {
            const uint32_t bits = fixed_bits(scale * row[q]);
            stat = fixed_merge(stat, bits < INF_BITS ? bits : NOT_FINITE);
        }
        fixed_count(fixed, stat);
    }
}

gf_status GF_CPU(embed_lora_bwd)(gf_backend *be, gf_tensor p, gf_tensor dx, gf_tensor s,
                                 gf_tensor ids, const gf_linear *lin, const gf_spans *row,
                                 gf_fixed *fixed)
{
    const int64_t r = s.dim[1], D = dx.dim[1];
    gf_gemm gemm = {.m = dx.dim[0], .parts = 1, .groups = 1, .c = p.data, .c_dtype = p.dtype};
    gemm.ldc = p.stride;
    gemm.part[0] = (gf_gemm_part){.a = operand(dx), .k = D};
    gemm.group[0] = (gf_gemm_group){.n = r, .scale = lin->scale, .segments = 1};
    gemm.group[0].segment[0] = (gf_gemm_segment){.part = 0, .nn = true, .b = operand(lin->b)};
    GF_CPU(gemm)(be->pool, &gemm);
    spread_args a = {p, ids, lin, fixed};
    gf_pool_run(be->pool, spread_part, &a);
    count(p, ids, 1, fixed);
    gf_linear_grads job = {.pool = be->pool, .row = row, .fixed = fixed, .count = 1};
    job.of[0] = (gf_linear_grad){.tail = operand(s),
                                 .r = r,
                                 .wide = operand(dx),
                                 .width = D,
                                 .out = lin->db,
                                 .across = true};
    GF_CPU(linear_grads)(&job);
    return GF_OK;
}

typedef struct {
    gf_tensor dtable, dx, ids;
    float scale;
    gf_fixed *fixed;
} row_args;

/* A thread has some of the columns, and all tokens in their order. */
static void row_part(void *ctx, int thread, int threads)
{
    const row_args *a = ctx;
    const fixed_scale scale = fixed_scale_of(a->fixed);
    float part[256]; /* 1 KB at a time: the first cache's */
    int64_t begin, end;
    gf_pool_split(a->dx.dim[1], 1, thread, threads, &begin, &end);
    for (int64_t t = 0; t < a->dx.dim[0]; t++) {
        const int32_t id = ((const int32_t *)a->ids.data)[t];
        for (int64_t i = begin; id >= 0 && i < end; i += 256) {
            const int64_t n = end - i < 256 ? end - i : 256;
            const float *dx = (const float *)gf_row_at(a->dx, t) + i;
            for (int64_t j = 0; j < n; j++)
                part[j] = a->scale * dx[j];
            fixed_add(scale, (int64_t *)gf_row_at(a->dtable, id) + i, part, n);
        }
    }
}

gf_status GF_CPU(embed_bwd)(gf_backend *be, gf_tensor dtable, gf_tensor dx, gf_tensor ids,
                            float scale, gf_fixed *fixed)
{
    row_args a = {dtable, dx, ids, scale, fixed};
    gf_pool_run(be->pool, row_part, &a);
    count(dx, ids, scale, fixed);
    return GF_OK;
}
