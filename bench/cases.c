/* cases.c - see cases.h. Sizes of rows: those at which the promises are made (PERFORMANCE 10). */
#include "cases.h"

#include <stdlib.h>
#include <string.h>

const bench_shape bench_shapes[] = {
    {"Llama-3-8B", 4096, 4096, 32, 8, 128, 14336, 128256, 16, 1024},
    {"SmolLM2-135M", 4096, 576, 9, 3, 64, 1536, 49152, 16, 1024},
    {"tiny", 40, 64, 4, 2, 16, 96, 160, 4, 24}, /* for tests: every path, no size */
};
const int bench_shape_count = sizeof bench_shapes / sizeof *bench_shapes;

#define PITCH 64 /* elements: of a group's buffer on a device */
#define TAIL 16  /* tails are multiples of so many ranks */

/* ---- tensors -------------------------------------------------------------------------- */

typedef enum { ZERO, RANDOM, COUNTING, IDS } filling;

static double value_of(filling how, uint32_t *state, double scale, int64_t i)
{
    *state = *state * 1664525u + 1013904223u; /* Numerical Recipes */
    if (how == RANDOM)
        return scale * (double)(int32_t)*state * 0x1p-31;
    if (how == IDS)
        return (double)((*state >> 8) % (uint32_t)scale);
    return how == COUNTING ? (double)i : 0;
}

static void fill_rows(void *host, gf_dtype type, int64_t count, filling how, double scale)
{
    uint32_t state = 1;
    float *one = host;
    uint16_t *half = host;
    int32_t *id = host;
    int64_t *fixed = host;
    for (int64_t i = 0; i < count; i++) {
        const double x = value_of(how, &state, scale, i);
        if (type == GF_BF16)
            half[i] = gf_f32_to_bf16((float)x);
        else if (type == GF_I32)
            id[i] = (int32_t)x;
        else if (type == GF_I64)
            fixed[i] = (int64_t)(x * 0x1p40);
        else
            one[i] = (float)x;
    }
}

/* `pitch` elements from row to row, rows * pitch of memory. */
static gf_tensor take(bench_case *c, gf_dtype type, const char *name, int64_t rows, int64_t width,
                      int64_t pitch, filling how, double scale)
{
    gf_tensor t = gf_view(NULL, type, name, rows, width, 0);
    if (width)
        t.stride = pitch;
    if (c->status != GF_OK)
        return t;
    const size_t bytes = (size_t)(gf_row_bytes(type, t.stride) * rows);
    const int64_t count = rows * (width ? width : 1);
    c->status = gf_backend_alloc(c->be, &c->memory[c->blocks], bytes, &c->err);
    if (c->status != GF_OK)
        return t;
    t.data = c->memory[c->blocks++];
    if (how == ZERO)
        return t; /* fresh memory is */
    void *host = gf_alloc((size_t)count, (size_t)gf_dtype_size(type), &c->err);
    c->status = host ? GF_OK : GF_ENOMEM;
    if (host) {
        fill_rows(host, type, count, how, scale);
        c->status = gf_upload(c->be, t, host);
    }
    if (c->status == GF_OK)
        c->status = gf_wait(c->be);
    free(host);
    return t;
}

static gf_tensor plain(bench_case *c, gf_dtype type, const char *name, int64_t rows, int64_t width,
                       filling how, double scale)
{
    return take(c, type, name, rows, width, width, how, scale);
}

static void out(bench_case *c, gf_tensor t)
{
    c->out[c->outs++] = t;
}

/* ---- ops without a group -------------------------------------------------------------- */

static void make_embed(bench_case *c)
{
    const bench_shape *s = c->shape;
    c->t[1] = plain(c, GF_I32, "ids", c->N, 0, IDS, (double)s->V);
    c->t[2] = plain(c, GF_BF16, "table", s->V, s->D, RANDOM, 1);
    out(c, c->t[0] = plain(c, GF_F32, "y", c->N, s->D, ZERO, 0));
}
static gf_status run_embed(bench_case *c)
{
    return gf_embed_fwd(c->be, c->t[0], c->t[1], c->t[2], 1.0f);
}

static void make_norm(bench_case *c)
{
    const bench_shape *s = c->shape;
    c->t[2] = plain(c, GF_F32, "x", c->N, s->D, RANDOM, 2);
    c->t[3] = plain(c, GF_F32, "w", s->D, 0, RANDOM, 1);
    out(c, c->t[0] = plain(c, GF_BF16, "y", c->N, s->D, ZERO, 0));
    out(c, c->t[1] = plain(c, GF_F32, "rstd", c->N, 0, ZERO, 0));
}
static gf_status run_norm(bench_case *c)
{
    return gf_rmsnorm_fwd(c->be, c->t[0], c->t[1], c->t[2], gf_none, c->t[3], 1e-5f, 0.0f);
}

static void make_norm_bwd(bench_case *c)
{
    const bench_shape *s = c->shape;
    c->t[2] = plain(c, GF_BF16, "dy", c->N, s->D, RANDOM, 1);
    c->t[3] = plain(c, GF_F32, "into", c->N, s->D, RANDOM, 1);
    c->t[4] = plain(c, GF_F32, "x", c->N, s->D, RANDOM, 2);
    c->t[5] = plain(c, GF_F32, "w", s->D, 0, RANDOM, 1);
    c->t[6] = plain(c, GF_F32, "rstd", c->N, 0, RANDOM, 1);
    out(c, c->t[0] = plain(c, GF_F32, "dx", c->N, s->D, ZERO, 0));
    out(c, c->t[1] = plain(c, GF_BF16, "rounded", c->N, s->D, ZERO, 0));
}
static gf_status run_norm_bwd(bench_case *c)
{
    return gf_rmsnorm_bwd(c->be, c->t[0], c->t[1], gf_none, c->t[2], c->t[3], c->t[4], c->t[5],
                          c->t[6], 0.0f);
}

/* In place: what is compared is one run's; a rotation keeps sizes however often it is done. */
static void make_rope(bench_case *c)
{
    const bench_shape *s = c->shape;
    const gf_tensor x = plain(c, GF_BF16, "x", c->N, (s->H + s->G) * s->K, RANDOM, 1);
    c->t[1] = plain(c, GF_F32, "cos", c->N, s->K / 2, RANDOM, 1);
    c->t[2] = plain(c, GF_F32, "sin", c->N, s->K / 2, RANDOM, 0.5);
    out(c, x);
    c->t[0] = gf_heads(x, s->H + s->G);
}
static gf_status run_rope(bench_case *c)
{
    return gf_rope(c->be, c->t[0], c->t[1], c->t[2], 1);
}

static void make_attention(bench_case *c)
{
    const bench_shape *s = c->shape;
    const gf_tensor qkv = plain(c, GF_BF16, "qkv", c->N, (s->H + 2 * s->G) * s->K, RANDOM, 1);
    const gf_tensor o = plain(c, GF_BF16, "o", c->N, s->H * s->K, ZERO, 0);
    out(c, o);
    out(c, c->t[1] = plain(c, GF_F32, "lse", c->N, s->H, ZERO, 0));
    c->t[0] = gf_heads(o, s->H);
    c->t[2] = gf_heads(gf_cols(qkv, 0, s->H * s->K), s->H);
    c->t[3] = gf_heads(gf_cols(qkv, s->H * s->K, s->G * s->K), s->G);
    c->t[4] = gf_heads(gf_cols(qkv, (s->H + s->G) * s->K, s->G * s->K), s->G);
}
static gf_status run_attention(bench_case *c)
{
    return gf_attention_fwd(c->be, c->t[0], c->t[1], c->t[2], c->t[3], c->t[4], &c->row, 0.125f, 0,
                            0.0f);
}

static void make_attention_bwd(bench_case *c)
{
    const bench_shape *s = c->shape;
    make_attention(c);
    if (c->status == GF_OK)
        c->status = run_attention(c);
    const gf_tensor d = plain(c, GF_BF16, "dqkv", c->N, (s->H + 2 * s->G) * s->K, ZERO, 0);
    const gf_tensor d_o = plain(c, GF_BF16, "do", c->N, s->H * s->K, RANDOM, 1);
    c->outs = 0;
    out(c, d);
    c->t[5] = gf_heads(gf_cols(d, 0, s->H * s->K), s->H);
    c->t[6] = gf_heads(gf_cols(d, s->H * s->K, s->G * s->K), s->G);
    c->t[7] = gf_heads(gf_cols(d, (s->H + s->G) * s->K, s->G * s->K), s->G);
    c->t[8] = plain(c, GF_F32, "delta", c->N, s->H, ZERO, 0);
    c->t[9] = gf_heads(d_o, s->H);
}
static gf_status run_attention_bwd(bench_case *c)
{
    const gf_tensor *t = c->t;
    return gf_attention_bwd(c->be, t[5], t[6], t[7], t[8], t[9], t[0], t[1], t[2], t[3], t[4],
                            &c->row, 0.125f, 0, 0.0f, gf_none, gf_none);
}

static void make_glu(bench_case *c)
{
    const int64_t F = c->shape->F;
    const gf_tensor both = plain(c, GF_BF16, "gate_up", c->N, 2 * F, RANDOM, 4);
    c->t[1] = gf_cols(both, 0, F);
    c->t[2] = gf_cols(both, F, F);
    out(c, c->t[0] = plain(c, GF_BF16, "h", c->N, F, ZERO, 0));
}
static gf_status run_glu(bench_case *c)
{
    return gf_glu_fwd(c->be, c->t[0], c->t[1], c->t[2], GF_SILU);
}

static void make_glu_bwd(bench_case *c)
{
    const int64_t F = c->shape->F;
    make_glu(c);
    c->outs = 0;
    const gf_tensor d = plain(c, GF_BF16, "d", c->N, 2 * F, ZERO, 0);
    out(c, d);
    c->t[3] = gf_cols(d, 0, F);
    c->t[4] = gf_cols(d, F, F);
    c->t[5] = plain(c, GF_BF16, "dh", c->N, F, RANDOM, 1);
}
static gf_status run_glu_bwd(bench_case *c)
{
    return gf_glu_bwd(c->be, c->t[3], c->t[4], gf_none, c->t[5], c->t[1], c->t[2], GF_SILU);
}

static void make_xent(bench_case *c)
{
    const int64_t M = c->N < c->shape->M ? c->N : c->shape->M, V = c->shape->V;
    c->t[3] = plain(c, GF_F32, "logits", M, V, RANDOM, 8);
    c->t[4] = plain(c, GF_I32, "label", M, 0, IDS, (double)V);
    out(c, c->t[0] = plain(c, GF_F32, "nll", M, 0, ZERO, 0));
    out(c, c->t[1] = plain(c, GF_I32, "best", M, 0, ZERO, 0));
    out(c, c->t[2] = plain(c, GF_BF16, "dlogits", M, V, ZERO, 0));
}
static gf_status run_xent(bench_case *c)
{
    return gf_xent(c->be, c->t[0], c->t[1], c->t[2], c->t[3], c->t[4], 0.0f);
}

static void make_gather(bench_case *c)
{
    c->t[1] = plain(c, GF_F32, "x", c->N, c->shape->D, RANDOM, 1);
    c->t[2] = plain(c, GF_I32, "index", c->N, 0, COUNTING, 0);
    out(c, c->t[0] = plain(c, GF_F32, "y", c->N, c->shape->D, ZERO, 0));
}
static gf_status run_gather(bench_case *c)
{
    return gf_gather_rows(c->be, c->t[0], c->t[1], c->t[2]);
}
static gf_status run_scatter(bench_case *c)
{
    return gf_scatter_rows(c->be, c->t[0], c->t[1], c->t[2]);
}

/* Adapter parameters of one layer of the shape. */
static int64_t parameters(const bench_shape *s)
{
    return s->R * (6 * s->D + 3 * s->F + 3 * s->H * s->K + 2 * s->G * s->K);
}

static void make_adamw(bench_case *c)
{
    const int64_t n = parameters(c->shape);
    out(c, c->t[0] = plain(c, GF_F32, "value", n, 0, RANDOM, 1));
    out(c, c->t[1] = plain(c, GF_F32, "m", n, 0, ZERO, 0));
    out(c, c->t[2] = plain(c, GF_F32, "v", n, 0, ZERO, 0));
    c->t[3] = plain(c, GF_I64, "g", n, 0, RANDOM, 1);
}
static gf_status run_adamw(bench_case *c)
{
    const gf_adamw_args args = {.lr = 1e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .step = 1};
    return gf_adamw(c->be, c->t[0], c->t[1], c->t[2], c->t[3], 0x1p-40, &args);
}

static void make_adamw8(bench_case *c)
{
    const int64_t n = parameters(c->shape), blocks = (n + GF_BLOCK8 - 1) / GF_BLOCK8;
    out(c, c->t[0] = plain(c, GF_F32, "value", n, 0, RANDOM, 1));
    c->t[1] = plain(c, GF_U8, "m", n, 0, ZERO, 0);
    c->t[2] = plain(c, GF_U8, "v", n, 0, ZERO, 0);
    out(c, c->t[3] = plain(c, GF_F32, "m_max", blocks, 0, ZERO, 0));
    out(c, c->t[4] = plain(c, GF_F32, "v_max", blocks, 0, ZERO, 0));
    c->t[5] = plain(c, GF_I64, "g", n, 0, RANDOM, 1);
}
static gf_status run_adamw8(bench_case *c)
{
    const gf_adamw_args args = {.lr = 1e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .step = 1};
    return gf_adamw8(c->be, c->t[0], c->t[1], c->t[2], c->t[3], c->t[4], c->t[5], 0x1p-40, &args);
}

static void make_lion(bench_case *c)
{
    const int64_t n = parameters(c->shape);
    out(c, c->t[0] = plain(c, GF_F32, "value", n, 0, RANDOM, 1));
    out(c, c->t[1] = plain(c, GF_F32, "m", n, 0, ZERO, 0));
    c->t[2] = plain(c, GF_I64, "g", n, 0, RANDOM, 1);
}
static gf_status run_lion(bench_case *c)
{
    const gf_lion_args args = {.lr = 1e-4, .beta1 = 0.9, .beta2 = 0.99};
    return gf_lion(c->be, c->t[0], c->t[1], c->t[2], 0x1p-40, &args);
}

static void make_sum(bench_case *c)
{
    c->t[0] = plain(c, GF_I64, "g", parameters(c->shape), 0, RANDOM, 1);
}
static gf_status run_sum(bench_case *c)
{
    return gf_sum_squares(c->be, &c->sum, c->t[0], 0x1p-40);
}

/* ---- groups of linear layers ---------------------------------------------------------- */

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

/* Layers of n[i] outputs over k inputs in one pitched buffer; t[0] y, t[1] x, t[2] s, t[3]
 * residual, t[4] dy, t[5] p, t[6] dx. */
static void make_group(bench_case *c, int count, const int64_t *n, int64_t k, int64_t rank,
                       bool residual)
{
    const bool device = c->be->cuda;
    gf_group *g = &c->group;
    int64_t width = 0, row = 0;
    for (int i = 0; i < count; i++)
        width += n[i];
    *g = (gf_group){
        .count = count, .align = device ? 8 : 0, .tail = device ? round_up(count * rank, TAIL) : 0};
    const int64_t tail = round_up(count * rank, TAIL);
    const gf_tensor w =
        take(c, GF_BF16, "w", width + tail, k, round_up(k + tail, PITCH), RANDOM, 1);
    for (int i = 0; i < count; row += n[i++]) {
        gf_linear *l = &g->lin[i];
        l->w = gf_rows(w, row, n[i]);
        l->scale = 2;
        l->module = (uint32_t)i;
        if (!rank)
            continue;
        l->a = plain(c, GF_F32, "A", rank, k, RANDOM, 1);
        l->b = plain(c, GF_F32, "B", n[i], rank, RANDOM, 1);
        l->da = plain(c, GF_I64, "dA", rank, k, ZERO, 0);
        l->db = plain(c, GF_I64, "dB", n[i], rank, ZERO, 0);
    }
    const gf_dtype wide = residual || !rank ? GF_F32 : GF_BF16;
    c->t[0] = plain(c, wide, "y", c->N, width, ZERO, 0);
    const gf_tensor x = take(c, GF_BF16, "x", c->N, k + tail, k + tail, RANDOM, 1);
    const gf_tensor dy = take(c, GF_BF16, "dy", c->N, width + tail, width + tail, RANDOM, 1);
    c->t[1] = gf_cols(x, 0, k);
    c->t[2] = rank ? gf_cols(x, k, count * rank) : gf_none;
    c->t[3] = residual ? plain(c, GF_F32, "residual", c->N, width, RANDOM, 1) : gf_none;
    c->t[4] = gf_cols(dy, 0, width);
    c->t[5] = rank ? gf_cols(dy, width, count * rank) : gf_none;
    c->t[6] = plain(c, GF_BF16, "dx", c->N, k, ZERO, 0);
    c->fixed = (gf_fixed){.shift = 40, .sums = plain(c, GF_I64, "sums", GF_SUMS, 0, ZERO, 0)};
    if (c->status == GF_OK)
        c->status = gf_group_tails(c->be, g);
    out(c, c->t[0]);
}
static gf_status run_linear(bench_case *c)
{
    const gf_dropout none = {0};
    return gf_group_linear_fwd(c->be, c->t[0], c->t[2], c->t[1], c->t[3], &c->group, &c->row, none);
}
static gf_status run_linear_bwd(bench_case *c)
{
    const gf_dropout none = {0};
    return gf_group_linear_bwd(c->be, c->t[6], c->t[5], c->t[4], c->t[1], c->t[2], &c->group,
                               &c->row, none, &c->fixed);
}

static void make_qkv(bench_case *c)
{
    const bench_shape *s = c->shape;
    make_group(c, 3, (int64_t[]){s->H * s->K, s->G * s->K, s->G * s->K}, s->D, s->R, false);
}
static void make_o(bench_case *c)
{
    make_group(c, 1, &c->shape->D, c->shape->H * c->shape->K, c->shape->R, true);
}
static void make_gate_up(bench_case *c)
{
    make_group(c, 2, (int64_t[]){c->shape->F, c->shape->F}, c->shape->D, c->shape->R, false);
}
static void make_down(bench_case *c)
{
    make_group(c, 1, &c->shape->D, c->shape->F, c->shape->R, true);
}
static void make_head(bench_case *c)
{
    c->N = c->N < c->shape->M ? c->N : c->shape->M;
    c->row.tokens = c->N;
    make_group(c, 1, &c->shape->V, c->shape->D, 0, false);
}

/* The backward passes look at dx and the first layer's gradients. */
static void gradients(bench_case *c)
{
    c->outs = 0;
    out(c, c->t[6]);
    if (!gf_is(c->group.lin[0].da))
        return;
    out(c, c->group.lin[0].da);
    out(c, c->group.lin[0].db);
}
static void make_qkv_bwd(bench_case *c)
{
    make_qkv(c);
    gradients(c);
}
static void make_o_bwd(bench_case *c)
{
    make_o(c);
    gradients(c);
}
static void make_gate_up_bwd(bench_case *c)
{
    make_gate_up(c);
    gradients(c);
}
static void make_down_bwd(bench_case *c)
{
    make_down(c);
    gradients(c);
}
static void make_head_bwd(bench_case *c)
{
    make_head(c);
    gradients(c);
}
static gf_status run_tails(bench_case *c)
{
    return gf_group_tails(c->be, &c->group);
}
static void make_tails(bench_case *c)
{
    make_gate_up(c);
    c->outs = 0; /* the other ops read them: a wrong one shows there */
}

const bench_op bench_ops[] = {
    {"embed_fwd", make_embed, run_embed},
    {"rmsnorm_fwd", make_norm, run_norm},
    {"linear_fwd qkv", make_qkv, run_linear},
    {"linear_fwd o", make_o, run_linear},
    {"linear_fwd gate_up", make_gate_up, run_linear},
    {"linear_fwd down", make_down, run_linear},
    {"linear_fwd head", make_head, run_linear},
    {"rope", make_rope, run_rope},
    {"attention_fwd", make_attention, run_attention},
    {"glu_fwd", make_glu, run_glu},
    {"gather_rows", make_gather, run_gather},
    {"xent", make_xent, run_xent},
    {"scatter_rows", make_gather, run_scatter},
    {"rmsnorm_bwd", make_norm_bwd, run_norm_bwd},
    {"linear_bwd qkv", make_qkv_bwd, run_linear_bwd},
    {"linear_bwd o", make_o_bwd, run_linear_bwd},
    {"linear_bwd gate_up", make_gate_up_bwd, run_linear_bwd},
    {"linear_bwd down", make_down_bwd, run_linear_bwd},
    {"linear_bwd head", make_head_bwd, run_linear_bwd},
    {"attention_bwd", make_attention_bwd, run_attention_bwd},
    {"glu_bwd", make_glu_bwd, run_glu_bwd},
    {"group_tails", make_tails, run_tails},
    {"sum_squares", make_sum, run_sum},
    {"adamw", make_adamw, run_adamw},
    {"adamw8", make_adamw8, run_adamw8},
    {"lion", make_lion, run_lion},
};
const int bench_op_count = sizeof bench_ops / sizeof *bench_ops;

/* ---- opening -------------------------------------------------------------------------- */

gf_status bench_case_open(bench_case *c, gf_backend *be, const bench_op *op,
                          const bench_shape *shape, int64_t n)
{
    *c = (bench_case){.be = be, .shape = shape, .N = n};
    c->span = (gf_span){.len = n, .kv_len = n, .example = 7};
    const size_t work = gf_row_work_bytes(be, n);
    if (work) {
        c->status = gf_backend_alloc(be, &c->memory[0], work, &c->err);
        c->row.work = gf_view(c->memory[0], GF_U8, "work", (int64_t)work, 0, 0);
        c->blocks = 1;
    }
    c->row.tokens = n;
    c->row.count = 1;
    c->row.span = &c->span;
    if (c->status == GF_OK)
        c->status = gf_row_bind(be, &c->row, n, 0);
    if (c->status == GF_OK)
        op->make(c);
    if (c->status != GF_OK && !c->err.text[0])
        gf_fail(&c->err, c->status, "%s", be->err.text);
    return c->status;
}

void bench_case_close(bench_case *c)
{
    (void)gf_wait(c->be);
    for (int i = 0; i < c->blocks; i++)
        gf_backend_free(c->be, c->memory[i]);
}
