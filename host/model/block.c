/* block.c - one transformer block, forward and backward, side by side.
 *
 * Read the two together: the backward is the forward in reverse, part for part. This is the only
 * description of the network; every backend runs it. Letters: graft/ops.h. */
#include "model/linear.h"

/* A view of the first N rows: tensors are sized for a full row. */
static gf_tensor used(const gf_model *m, gf_tensor t)
{
    return gf_is(t) ? gf_rows(t, 0, m->row.n) : t;
}

static gf_tensor scratch(gf_model *m, const char *name, int64_t width, int64_t pitch)
{
    return gf_model_scratch(m, name, m->opt.precision, m->row.n, m->row.room, width, pitch);
}

/* Room for what a group reads (forward) or for the gradient of what it writes, with its tail. */
static gf_tensor input_of(gf_model *m, const char *name, const gf_group *g)
{
    return scratch(m, name, g->lin[0].w.dim[1], gf_group_k(g) + g->tail);
}

static gf_tensor gradient_of(gf_model *m, const char *name, const gf_group *g)
{
    return scratch(m, name, gf_group_n(g), gf_group_n(g) + g->tail);
}

/* A device's product reads x up to a multiple of 8 columns, past its own where their number is odd.
 * The weights are zero there, but zero times the NaN that old bits may be is not. */
static gf_status clear_padding(gf_model *m, gf_tensor x, const gf_group *g)
{
    const int64_t padding = gf_group_k(g) - x.dim[1];
    return padding ? gf_zero(m->be, gf_behind(x, x.dim[1], padding)) : GF_OK;
}

/* q, k and v inside the stacked projection. */
typedef struct {
    gf_tensor q, k, v, qk;
} gf_heads_view;

static gf_heads_view split_heads(const gf_model *m, gf_tensor qkv)
{
    const int64_t Q = m->cfg->H * m->cfg->K, KV = m->cfg->G * m->cfg->K;
    return (gf_heads_view){.q = gf_cols(qkv, 0, Q),
                           .k = gf_cols(qkv, Q, KV),
                           .v = gf_cols(qkv, Q + KV, KV),
                           .qk = gf_cols(qkv, 0, Q + KV)};
}

static gf_kept kept_rows(const gf_model *m, gf_kept k)
{
    return (gf_kept){.s = used(m, k.s), .z = used(m, k.z)};
}

/* The saved tensors of layer l, cut to the tokens in use. */
static gf_saved saved_rows(const gf_model *m, int64_t l)
{
    const gf_saved *a = &m->saved[l];
    return (gf_saved){.x = used(m, a->x),
                      .rstd1 = used(m, a->rstd1),
                      .qkv = used(m, a->qkv),
                      .raw = used(m, a->raw),
                      .rstd_q = used(m, a->rstd_q),
                      .rstd_k = used(m, a->rstd_k),
                      .o = used(m, a->o),
                      .lse = used(m, a->lse),
                      .x2 = used(m, a->x2),
                      .rstd2 = used(m, a->rstd2),
                      .gate_up = used(m, a->gate_up),
                      .out1 = used(m, a->out1),
                      .out2 = used(m, a->out2),
                      .rstd_out1 = used(m, a->rstd_out1),
                      .rstd_out2 = used(m, a->rstd_out2),
                      .kept_qkv = kept_rows(m, a->kept_qkv),
                      .kept_o = kept_rows(m, a->kept_o),
                      .kept_gate_up = kept_rows(m, a->kept_gate_up),
                      .kept_down = kept_rows(m, a->kept_down)};
}

/* Generation: the new tokens' keys and values go behind those already there. */
static gf_status append_cache(gf_model *m, int64_t l, gf_heads_view h)
{
    const int64_t N = m->row.n;
    const gf_tensor iota = gf_rows(m->row.iota, 0, N);
    TRY(gf_gather_rows(m->be, gf_rows(m->cache.k[l], m->cache.used, N), h.k, iota));
    return gf_gather_rows(m->be, gf_rows(m->cache.v[l], m->cache.used, N), h.v, iota);
}

/* cos or sin for layer l: none where it has no RoPE. */
static gf_tensor angles(const gf_model *m, int64_t l, const gf_tensor *table)
{
    const int rope = m->cfg->rope_of[l];
    return rope < 0 ? gf_none : used(m, table[rope]);
}

/* q or k as their norm takes them: head by head, or all heads of a token. */
static gf_tensor to_norm(const gf_model *m, gf_tensor t, int64_t heads)
{
    return m->cfg->qk_norm == GF_QK_WHOLE ? t : gf_heads(t, heads);
}

/* o = attention(q, k, v) after q/k norm and rotation, all in place of the projection. */
static gf_status attend_fwd(gf_model *m, int64_t l, const gf_saved *a)
{
    const gf_config *c = m->cfg;
    const gf_layer *w = &m->layer[l];
    gf_backend *be = m->be;
    gf_heads_view h = split_heads(m, a->qkv);
    gf_tensor k = gf_heads(h.k, c->G), v = gf_heads(h.v, c->G);

    if (c->qk_norm != GF_QK_NONE) {
        const gf_tensor nq = to_norm(m, h.q, c->H), nk = to_norm(m, h.k, c->G);
        TRY(gf_gather_rows(be, a->raw, h.qk, used(m, m->row.iota)));
        TRY(gf_rmsnorm_fwd(be, nq, a->rstd_q, nq, gf_none, w->q_norm, c->eps, c->norm_offset));
        TRY(gf_rmsnorm_fwd(be, nk, a->rstd_k, nk, gf_none, w->k_norm, c->eps, c->norm_offset));
    }
    if (c->rope_of[l] >= 0)
        TRY(gf_rope(be, gf_heads(h.qk, c->H + c->G), angles(m, l, m->row.cos),
                    angles(m, l, m->row.sin), +1));
    if (m->opt.use == GF_USE_GENERATE) {
        TRY(append_cache(m, l, h));
        k = gf_heads(m->cache.k[l], c->G);
        v = gf_heads(m->cache.v[l], c->G);
    }
    return gf_attention_fwd(be, gf_heads(a->o, c->H), a->lse, gf_heads(h.q, c->H), k, v,
                            &m->row.spans, c->attention_scale, c->window[l], c->attention_cap);
}

/* dqkv from d_o. */
static gf_status attend_bwd(gf_model *m, int64_t l, const gf_saved *a, gf_tensor dqkv,
                            gf_tensor d_o)
{
    const gf_config *c = m->cfg;
    const gf_layer *w = &m->layer[l];
    gf_backend *be = m->be;
    const gf_heads_view h = split_heads(m, a->qkv), d = split_heads(m, dqkv);
    const gf_tensor delta = gf_model_scratch(m, "delta", GF_F32, m->row.n, m->row.room, c->H, c->H);

    TRY(gf_attention_bwd(be, gf_heads(d.q, c->H), gf_heads(d.k, c->G), gf_heads(d.v, c->G), delta,
                         gf_heads(d_o, c->H), gf_heads(a->o, c->H), a->lse, gf_heads(h.q, c->H),
                         gf_heads(h.k, c->G), gf_heads(h.v, c->G), &m->row.spans,
                         c->attention_scale, c->window[l], c->attention_cap,
                         angles(m, l, m->row.cos), angles(m, l, m->row.sin)));
    if (c->qk_norm != GF_QK_NONE) {
        const int64_t Q = c->H * c->K, KV = c->G * c->K;
        const gf_tensor dq = to_norm(m, d.q, c->H), dk = to_norm(m, d.k, c->G);
        const gf_tensor q = to_norm(m, gf_cols(a->raw, 0, Q), c->H);
        const gf_tensor k = to_norm(m, gf_cols(a->raw, Q, KV), c->G);
        TRY(gf_rmsnorm_bwd(be, dk, gf_none, gf_none, dk, gf_none, k, w->k_norm, a->rstd_k,
                           c->norm_offset));
        TRY(gf_rmsnorm_bwd(be, dq, gf_none, gf_none, dq, gf_none, q, w->q_norm, a->rstd_q,
                           c->norm_offset));
    }
    return GF_OK;
}

/* ---- a branch between two points of the residual stream ---------------------------------- */

/* Where a branch begins: at the stream's norm, or (no norm) at a copy in the run's precision. */
static gf_status enter_fwd(gf_model *m, gf_tensor y, gf_tensor rstd, gf_tensor x, gf_tensor w)
{
    const gf_config *c = m->cfg;
    if (!gf_is(w))
        return gf_gather_rows(m->be, y, x, used(m, m->row.iota));
    return gf_rmsnorm_fwd(m->be, y, rstd, x, gf_none, w, c->stream_eps, c->norm_offset);
}

/* dx += the gradient dy of what the branch read, and its rounded copy where products take one; dy
 * gives way to what was read, which the adapters' gradients want. */
static gf_status enter_bwd(gf_model *m, gf_dx g, gf_tensor dy, gf_tensor x, gf_tensor w,
                           gf_tensor rstd)
{
    const gf_tensor rounded = g.d.dtype == GF_F32 ? gf_none : g.d;
    if (gf_is(w))
        return gf_rmsnorm_bwd(m->be, g.dx, rounded, dy, dy, g.dx, x, w, rstd, m->cfg->norm_offset);
    TRY(gf_add_rows(m->be, g.dx, dy)); /* no copy: behind such a branch is a norm, see leave_bwd */
    return gf_gather_rows(m->be, dy, x, used(m, m->row.iota));
}

/* Its last layer's output and that one's norm; none without one. */
typedef struct {
    gf_tensor out, rstd, w;
} gf_leaving;

/* Where it ends: y = stream + its last layer's output, or the norm of that. */
static gf_status leave_fwd(gf_model *m, gf_tensor y, gf_tensor x, gf_tensor stream,
                           const gf_group *g, const gf_kept *kept, gf_leaving n)
{
    if (!gf_is(n.w))
        return gf_layer_linear_fwd(m, y, x, stream, g, kept);
    TRY(gf_layer_linear_fwd(m, n.out, x, gf_none, g, kept));
    return gf_rmsnorm_fwd(m->be, y, n.rstd, n.out, stream, n.w, m->cfg->eps, m->cfg->norm_offset);
}

/* *dy: the gradient of the last layer's output: the stream's, or scratch. */
static gf_status leave_bwd(gf_model *m, gf_tensor *dy, gf_dx g, const gf_group *last, gf_leaving n)
{
    *dy = g.d;
    if (!gf_is(n.w))
        return GF_OK;
    *dy = gradient_of(m, "dout", last);
    return gf_rmsnorm_bwd(m->be, *dy, gf_none, gf_none, g.dx, gf_none, n.out, n.w, n.rstd,
                          m->cfg->norm_offset);
}

/* gate and up side by side; a fused layer knows no padding between them. */
static gf_tensor up_of(const gf_model *m, const gf_layer *w, gf_tensor gate_up)
{
    const int64_t F = m->cfg->F;
    return gf_cols(gate_up, m->cfg->fused ? F : gf_group_column(&w->gate_up, 1), F);
}

gf_status gf_block_fwd(gf_model *m, int64_t l, gf_tensor y)
{
    const gf_config *c = m->cfg;
    const gf_layer *w = &m->layer[l];
    const gf_saved a = saved_rows(m, l);
    gf_backend *be = m->be;
    const size_t mark = gf_mark(m->arena, GF_PART_SCRATCH);

    const gf_tensor n1 = input_of(m, "norm1", &w->qkv);
    TRY(enter_fwd(m, n1, a.rstd1, a.x, w->norm1));
    TRY(gf_layer_linear_fwd(m, a.qkv, n1, gf_none, &w->qkv, &a.kept_qkv));
    TRY(attend_fwd(m, l, &a));
    TRY(leave_fwd(m, a.x2, a.o, a.x, &w->o, &a.kept_o,
                  (gf_leaving){a.out1, a.rstd_out1, w->post1}));
    gf_release(m->arena, GF_PART_SCRATCH, mark);

    const gf_tensor n2 = input_of(m, "norm2", &w->gate_up);
    const gf_tensor h = input_of(m, "glu", &w->down);
    TRY(enter_fwd(m, n2, a.rstd2, a.x2, w->norm2));
    TRY(gf_layer_linear_fwd(m, a.gate_up, n2, gf_none, &w->gate_up, &a.kept_gate_up));
    TRY(gf_glu_fwd(be, h, gf_cols(a.gate_up, 0, c->F), up_of(m, w, a.gate_up), c->act));
    TRY(clear_padding(m, h, &w->down));
    TRY(leave_fwd(m, y, h, a.x2, &w->down, &a.kept_down,
                  (gf_leaving){a.out2, a.rstd_out2, w->post2}));
    gf_release(m->arena, GF_PART_SCRATCH, mark);
    return GF_OK;
}

/* dx: the gradient of y on entry, of x2 on return. */
static gf_status mlp_bwd(gf_model *m, int64_t l, const gf_saved *a, gf_dx g)
{
    const gf_config *c = m->cfg;
    const gf_layer *w = &m->layer[l];
    gf_backend *be = m->be;
    gf_tensor p, dy;
    const gf_tensor gate = gf_cols(a->gate_up, 0, c->F), up = up_of(m, w, a->gate_up);
    const size_t mark = gf_mark(m->arena, GF_PART_SCRATCH);

    TRY(leave_bwd(m, &dy, g, &w->down, (gf_leaving){a->out2, a->rstd_out2, w->post2}));
    const gf_tensor dh = scratch(m, "dglu", c->F, gf_model_pitch(m, c->F));
    TRY(gf_layer_linear_bwd(m, dh, &p, dy, gf_none, &w->down, &a->kept_down));
    TRY(gf_glu_bwd(be, gate, up, dh, dh, gate, up, c->act)); /* h in place of its gradient */
    TRY(gf_layer_linear_da(m, p, dh, &w->down));
    gf_release(m->arena, GF_PART_SCRATCH, mark);

    const gf_tensor n2 = scratch(m, "norm2", c->D, c->D); /* its gradient first */
    TRY(gf_layer_linear_bwd(m, n2, &p, a->gate_up, gf_none, &w->gate_up, &a->kept_gate_up));
    TRY(enter_bwd(m, g, n2, a->x2, w->norm2, a->rstd2));
    TRY(gf_layer_linear_da(m, p, n2, &w->gate_up));
    gf_release(m->arena, GF_PART_SCRATCH, mark);
    return GF_OK;
}

/* dx: the gradient of x2 on entry, of x on return (of x2 still, if nothing below needs it). */
static gf_status attention_half_bwd(gf_model *m, int64_t l, const gf_saved *a, gf_dx g)
{
    const gf_config *c = m->cfg;
    const gf_layer *w = &m->layer[l];
    const bool below = l > m->lowest;
    gf_tensor p, dy;
    const size_t mark = gf_mark(m->arena, GF_PART_SCRATCH);

    const gf_tensor dqkv = gradient_of(m, "dqkv", &w->qkv);
    const size_t inner = gf_mark(m->arena, GF_PART_SCRATCH);
    TRY(leave_bwd(m, &dy, g, &w->o, (gf_leaving){a->out1, a->rstd_out1, w->post1}));
    const gf_tensor d_o = scratch(m, "do", c->H * c->K, c->H * c->K);
    TRY(gf_layer_linear_bwd(m, d_o, &p, dy, a->o, &w->o, &a->kept_o));
    TRY(attend_bwd(m, l, a, dqkv, d_o));
    gf_release(m->arena, GF_PART_SCRATCH, inner);

    const gf_tensor n1 = scratch(m, "norm1", c->D, c->D); /* its gradient first, if any */
    TRY(gf_layer_linear_bwd(m, below ? n1 : gf_none, &p, dqkv, gf_none, &w->qkv, &a->kept_qkv));
    if (below)
        TRY(enter_bwd(m, g, n1, a->x, w->norm1, a->rstd1));
    else
        TRY(enter_fwd(m, n1, a->rstd1, a->x, w->norm1));
    TRY(gf_layer_linear_da(m, p, n1, &w->qkv));
    gf_release(m->arena, GF_PART_SCRATCH, mark);
    return GF_OK;
}

gf_status gf_block_bwd(gf_model *m, int64_t l, gf_dx g)
{
    const gf_saved a = saved_rows(m, l);
    const gf_layer *w = &m->layer[l];
    TRY(mlp_bwd(m, l, &a, g));
    /* The lowest adapted layer may carry LoRA on its MLP only: then the pass ends here. */
    if (l == m->lowest && !gf_group_rank(&w->o) && !gf_group_rank(&w->qkv))
        return GF_OK;
    return attention_half_bwd(m, l, &a, g);
}
