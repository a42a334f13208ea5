/* layout.c - where everything of a model lies. The same code runs twice: measuring, then for real;
 * so sizes stand here and nowhere else (law 4). */
#include "model/model.h"
#include "model/names.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Logits are made for so many bytes of tokens at a time, f32: large enough that packing the head's
 * weights is amortised, small beside the activations of a row. */
#define HEAD_CHUNK_BYTES (48LL << 20)
#define HEAD_CHUNK_MIN 64
#define HEAD_CHUNK_MAX 512
/* On a device every chunk reads the head's weights twice, which takes as long as a product of 300
 * rows (an H100: 702 TF/s, 2.7 TB/s): some times that. */
#define HEAD_CHUNK_DEVICE 1024

/* On a device every layer's n and k, and every row, are multiples of so many elements: 16 bytes of
 * bf16, what a vector access takes. */
#define DEVICE_ALIGN 8
/* Weights' rows start at multiples of so many elements: 128 bytes of bf16 (PERFORMANCE 2.2). */
#define DEVICE_PITCH 64
/* Tails are whole steps of the tensor cores' inner dimension. */
#define DEVICE_TAIL 16

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

int64_t gf_model_pitch(const gf_model *m, int64_t n)
{
    return m->be->cuda ? round_up(n, DEVICE_ALIGN) : n;
}

static gf_dtype act_of(const gf_model *m)
{
    return m->opt.precision;
}

/* f32 weights are held as bf16 where the products are bf16: they would be rounded there anyway. A
 * device holds all weights in the run's precision. */
static gf_dtype held_as(const gf_model *m, gf_dtype file)
{
    if (m->be->cuda)
        return act_of(m);
    return file == GF_F32 && act_of(m) == GF_BF16 ? GF_BF16 : file;
}

/* Where a tensor's width is wanted in a room of `pitch` elements. */
static gf_tensor take_pitched(gf_model *m, gf_part part, const char *name, gf_dtype dtype,
                              int64_t rows, int64_t width, int64_t pitch)
{
    return gf_cols(gf_take(m->arena, part, name, dtype, rows, pitch, 0), 0, width);
}

static gf_tensor take_weight(gf_model *m, const char *name, int64_t n, int64_t k)
{
    const gf_entry *e = gf_files_find(m->files, name);
    assert(e); /* gf_files_open has checked */
    return take_pitched(m, GF_PART_WEIGHTS, e->name, held_as(m, e->dtype), n, k,
                        gf_model_pitch(m, k));
}

/* A vector is always held in f32. */
static gf_tensor take_vector(gf_model *m, const char *name)
{
    const gf_entry *e = gf_files_find(m->files, name);
    assert(e); /* gf_files_open has checked */
    return gf_take(m->arena, GF_PART_WEIGHTS, e->name, GF_F32, e->dim[0], 0, 0);
}

/* A trained tensor's place in the values or the gradients. */
static gf_tensor space_of(const gf_model *m, gf_tensor flat, int param, const char *name)
{
    const gf_param *p = &m->adapter->param[param];
    const gf_tensor t = gf_rows(flat, p->at, p->rows * p->cols);
    return gf_view(t.data, t.dtype, name, p->rows, p->rank == 2 ? p->cols : 0, 0);
}

/* A's and B's views into the flat space. */
static void adapt(const gf_model *m, gf_linear *lin, int64_t layer, gf_linear_id id)
{
    const gf_lora *lo = gf_adapter_find(m->adapter, layer, id);
    if (!lo)
        return;
    lin->a = space_of(m, m->value, lo->a, "A");
    lin->b = space_of(m, m->value, lo->b, "B");
    lin->scale = (float)lo->scale;
    if (lo->magnitude >= 0)
        lin->magnitude = space_of(m, m->value, lo->magnitude, "magnitude");
    if (m->opt.use != GF_USE_TRAIN)
        return;
    lin->da = space_of(m, m->grad, lo->a, "dA");
    lin->db = space_of(m, m->grad, lo->b, "dB");
    if (lo->magnitude >= 0)
        lin->dmagnitude = space_of(m, m->grad, lo->magnitude, "dm");
}

/* A device adds a bias in the type of what the product writes: f32 where that is the residual
 * stream (block.c). */
static gf_dtype bias_type(const gf_model *m, gf_linear_id id)
{
    const bool to_stream = (id == GF_O || id == GF_DOWN) && m->cfg->norms == GF_NORMS_PRE;
    return m->be->cuda && !to_stream ? act_of(m) : GF_F32;
}

/* A linear layer without its weights: shapes, adapter, names to find them by. */
static gf_linear describe_linear(const gf_model *m, int64_t layer, gf_linear_id id)
{
    char module[64], name[80];
    int64_t n, k;
    gf_module_name(module, layer, id);
    gf_module_shape(m->cfg, id, &n, &k);
    snprintf(name, sizeof name, "%s.weight", module);
    const gf_entry *e = gf_files_find(m->files, name);
    assert(e); /* gf_files_open has checked */
    gf_linear lin = {.module = gf_module_number(layer, id)};
    lin.w = gf_view(NULL, held_as(m, e->dtype), e->name, n, k, 0);
    snprintf(name, sizeof name, "%s.bias", module);
    e = gf_files_find(m->files, name);
    if (e)
        lin.bias = gf_view(NULL, bias_type(m, id), e->name, n, 0, 0);
    adapt(m, &lin, layer, id);
    return lin;
}

/* A CPU's weights lie as they are stored, one after the other. */
static void take_apart(gf_model *m, gf_group *g)
{
    for (int i = 0; i < g->count; i++) {
        gf_linear *lin = &g->lin[i];
        lin->w = gf_take(m->arena, GF_PART_WEIGHTS, lin->w.name, lin->w.dtype, lin->w.dim[0],
                         lin->w.dim[1], 0);
        if (gf_is(lin->bias))
            lin->bias =
                gf_take(m->arena, GF_PART_WEIGHTS, lin->bias.name, GF_F32, lin->bias.dim[0], 0, 0);
    }
}

/* A device's are stacked in one buffer with tails (gf_group, graft/ops.h); so are the biases. */
static void take_stacked(gf_model *m, gf_group *g)
{
    const int64_t rank = gf_group_rank(g);
    const gf_linear *biased = NULL;
    g->align = DEVICE_ALIGN;
    g->tail = round_up(rank, DEVICE_TAIL);
    const gf_tensor all =
        gf_take(m->arena, GF_PART_WEIGHTS, g->lin[0].w.name, act_of(m), gf_group_n(g) + g->tail,
                round_up(gf_group_k(g) + g->tail, DEVICE_PITCH), 0);
    for (int i = 0; i < g->count; i++)
        if (gf_is(g->lin[i].bias))
            biased = &g->lin[i];
    gf_tensor bias = gf_none;
    if (biased)
        bias = gf_take(m->arena, GF_PART_WEIGHTS, "bias", biased->bias.dtype, gf_group_n(g), 0, 0);
    for (int i = 0; i < g->count; i++) {
        gf_linear *lin = &g->lin[i];
        const int64_t n = lin->w.dim[0], at = gf_group_column(g, i);
        const char *name = lin->w.name;
        lin->w = gf_cols(gf_rows(all, at, n), 0, lin->w.dim[1]);
        lin->w.name = name;
        if (!biased)
            continue;
        name = gf_is(lin->bias) ? lin->bias.name : NULL; /* zeros */
        lin->bias = gf_rows(bias, at, n);
        lin->bias.name = name;
    }
}

static gf_group take_group(gf_model *m, int64_t layer, gf_linear_id first, int count)
{
    gf_group g = {.count = count};
    for (int i = 0; i < count; i++)
        g.lin[i] = describe_linear(m, layer, (gf_linear_id)((int)first + i));
    if (m->be->cuda)
        take_stacked(m, &g);
    else
        take_apart(m, &g);
    bool dora = false;
    for (int i = 0; i < count; i++)
        dora |= gf_is(g.lin[i].magnitude);
    if (dora)
        g.norm = gf_take(m->arena, GF_PART_SPACE, "norms", GF_F32, 2, gf_group_n(&g), 0);
    return g;
}

/* A norm's weight, none where the family has no such norm. */
static gf_tensor take_norm(gf_model *m, int64_t layer, gf_norm_id id)
{
    char buf[80];
    const char *name = gf_norm_name(buf, m->cfg, layer, id);
    return name ? take_vector(m, name) : gf_none;
}

static void take_layer(gf_model *m, int64_t l)
{
    gf_layer *w = &m->layer[l];
    const bool fused = m->cfg->fused;
    w->norm1 = take_norm(m, l, GF_NORM_ATTENTION);
    w->post1 = take_norm(m, l, GF_NORM_ATTENTION_POST);
    w->norm2 = take_norm(m, l, GF_NORM_MLP);
    w->post2 = take_norm(m, l, GF_NORM_MLP_POST);
    w->q_norm = take_norm(m, l, GF_NORM_Q);
    w->k_norm = take_norm(m, l, GF_NORM_K);
    w->qkv = take_group(m, l, fused ? GF_QKV : GF_Q, fused ? 1 : 3);
    w->o = take_group(m, l, GF_O, 1);
    w->gate_up = take_group(m, l, fused ? GF_GATE_UP : GF_GATE, fused ? 1 : 2);
    w->down = take_group(m, l, GF_DOWN, 1);
}

/* The embedding or the head: the adapter's own copy, and its gradient, or the base's weight. */
static gf_tensor take_whole(gf_model *m, gf_tensor *gradient, int param, const char *name)
{
    if (param < 0)
        return take_weight(m, name, m->cfg->V, m->cfg->D);
    if (m->opt.use == GF_USE_TRAIN)
        *gradient = space_of(m, m->grad, param, name);
    return space_of(m, m->value, param, name);
}

static void take_weights(gf_model *m)
{
    const gf_config *c = m->cfg;
    const int embed = m->adapter ? m->adapter->full_embed : -1;
    const int head = m->adapter ? m->adapter->full_head : -1;
    m->head = (gf_group){.count = 1};
    m->embed = take_whole(m, &m->dembed, embed, "model.embed_tokens.weight");
    m->norm = take_vector(m, "model.norm.weight");
    m->head.lin[0].w =
        c->tied ? m->embed : take_whole(m, &m->head.lin[0].dw, head, "lm_head.weight");
    adapt(m, &m->head.lin[0], -1, GF_HEAD);
    m->head.lin[0].module = gf_module_number(-1, GF_HEAD);
    adapt(m, &m->embed_lora, -1, GF_EMBED);
    m->lowest = c->L;
    for (int64_t l = c->L - 1; l >= 0; l--)
        for (int id = 0; id < GF_LINEARS; id++)
            if (gf_adapter_find(m->adapter, l, (gf_linear_id)id))
                m->lowest = l;
    if (gf_is(m->embed_lora.a) || gf_is(m->dembed))
        m->lowest = -1;
    for (int64_t l = 0; l < c->L; l++)
        take_layer(m, l);
}

static void take_space(gf_model *m)
{
    const int64_t n = m->adapter ? m->adapter->size : 0;
    if (m->opt.use == GF_USE_TRAIN) {
        m->reduced = gf_take(m->arena, GF_PART_SPACE, "gradient", GF_I64, n + GF_SUMS, 0, 0);
        m->grad = gf_rows(m->reduced, 0, n);
        m->sums = gf_rows(m->reduced, n, GF_SUMS);
        m->fixed.sums = m->sums;
    }
    if (!m->adapter)
        return;
    m->value = gf_take(m->arena, GF_PART_SPACE, "value", GF_F32, n, 0, 0);
    if (m->opt.use != GF_USE_TRAIN)
        return;
    int64_t size[GF_MOMENTS];
    gf_moments_size(size, m->adapter, m->opt.optim);
    for (int i = 0; i < GF_MOMENTS; i++)
        if (size[i])
            m->moment[i] = gf_take(m->arena, GF_PART_SPACE, gf_moment_name((gf_moment)i),
                                   gf_moment_dtype((gf_moment)i), size[i], 0, 0);
}

static gf_tensor take_act(gf_model *m, const char *name, gf_dtype dtype, int64_t d0, int64_t d1)
{
    return gf_take(m->arena, GF_PART_ACT, name, dtype, d0, d1, 0);
}

/* What a group's adapters keep for the backward pass, if it has adapters. with_s: S has no other
 * place. */
static gf_kept take_kept(gf_model *m, const gf_group *g, bool with_s)
{
    const int64_t rank = gf_group_rank(g);
    gf_kept kept = {gf_none, gf_none};
    if (rank && with_s)
        kept.s = take_act(m, "S", act_of(m), m->row.room, rank);
    if (gf_is(g->norm))
        kept.z = take_act(m, "z", act_of(m), m->row.room, gf_group_n(g));
    return kept;
}

gf_tensor gf_behind(gf_tensor t, int64_t first, int64_t count)
{
    assert(t.rank == 2 && first >= t.dim[1] && first + count <= t.stride);
    t.dim[1] = t.stride;
    return gf_cols(t, first, count);
}

static gf_saved take_saved(gf_model *m, const gf_layer *w)
{
    const gf_config *c = m->cfg;
    const int64_t N = m->row.room, Q = c->H * c->K, KV = c->G * c->K;
    const int64_t gate_up = gf_group_n(&w->gate_up);
    const gf_dtype act = act_of(m);
    gf_saved a = {
        .x = take_act(m, "x", GF_F32, N, c->D),
        .rstd1 = take_act(m, "rstd1", GF_F32, N, 0),
        .qkv = take_act(m, "qkv", act, N, Q + 2 * KV),
        .o = take_pitched(m, GF_PART_ACT, "o", act, N, Q, Q + w->o.tail),
        .lse = take_act(m, "lse", GF_F32, N, c->H),
        .x2 = take_act(m, "x2", GF_F32, N, c->D),
        .rstd2 = take_act(m, "rstd2", GF_F32, N, 0),
        .gate_up =
            take_pitched(m, GF_PART_ACT, "gate_up", act, N, gate_up, gate_up + w->gate_up.tail),
        .kept_qkv = take_kept(m, &w->qkv, true),
        .kept_o = take_kept(m, &w->o, w->o.tail == 0),
        .kept_gate_up = take_kept(m, &w->gate_up, true),
        .kept_down = take_kept(m, &w->down, true),
    };
    if (w->o.tail) /* o is kept on a device, and with it its tail */
        a.kept_o.s = gf_behind(a.o, Q, gf_group_rank(&w->o));
    if (c->qk_norm != GF_QK_NONE) {
        const bool whole = c->qk_norm == GF_QK_WHOLE;
        a.raw = take_act(m, "raw q, k", act, N, Q + KV);
        a.rstd_q = take_act(m, "rstd_q", GF_F32, N, whole ? 0 : c->H);
        a.rstd_k = take_act(m, "rstd_k", GF_F32, N, whole ? 0 : c->G);
    }
    if (c->norms != GF_NORMS_PRE) {
        a.out1 = take_act(m, "attention's output", act, N, c->D);
        a.out2 = take_act(m, "MLP's output", act, N, c->D);
        a.rstd_out1 = take_act(m, "rstd of attention", GF_F32, N, 0);
        a.rstd_out2 = take_act(m, "rstd of MLP", GF_F32, N, 0);
    }
    return a;
}

/* Layers below the lowest adapted one are never seen by the backward pass: they share one place. So
 * do all layers when there is no backward pass. Ranks may differ between them, so that the place is
 * as large as the largest of them. */
static void take_activations(gf_model *m)
{
    const gf_config *c = m->cfg;
    const int64_t lowest = m->lowest < 0 ? 0 : m->lowest;
    const int64_t shared = m->opt.use == GF_USE_TRAIN ? lowest : c->L;
    const size_t start = gf_mark(m->arena, GF_PART_ACT);
    size_t end = start;
    for (int64_t l = 0; l < shared; l++) {
        gf_release(m->arena, GF_PART_ACT, start);
        m->saved[l] = take_saved(m, &m->layer[l]);
        const size_t mark = gf_mark(m->arena, GF_PART_ACT);
        end = mark > end ? mark : end;
    }
    const size_t rest = end - gf_mark(m->arena, GF_PART_ACT);
    if (rest)
        gf_take(m->arena, GF_PART_ACT, "shared", GF_U8, (int64_t)rest, 0, 0);
    for (int64_t l = shared; l < c->L; l++)
        m->saved[l] = take_saved(m, &m->layer[l]);
    m->x = take_act(m, "x", GF_F32, m->row.room, c->D);
    if (gf_is(m->embed_lora.a))
        m->embed_s = take_act(m, "S of the embedding", GF_F32, m->row.room, m->embed_lora.a.dim[0]);
    m->nll = take_act(m, "nll", GF_F32, m->row.room, 0);
    m->best = take_act(m, "best", GF_I32, m->row.room, 0);
}

static void take_cache(gf_model *m)
{
    const gf_config *c = m->cfg;
    if (m->opt.use != GF_USE_GENERATE)
        return;
    m->cache.capacity = m->opt.cache_tokens;
    for (int64_t l = 0; l < c->L; l++) {
        m->cache.k[l] = take_act(m, "cached k", act_of(m), m->opt.cache_tokens, c->G * c->K);
        m->cache.v[l] = take_act(m, "cached v", act_of(m), m->opt.cache_tokens, c->G * c->K);
    }
    m->logits = take_pitched(m, GF_PART_ACT, "logits", GF_F32, 1, c->V, gf_model_pitch(m, c->V));
}

static void take_row(gf_model *m)
{
    const int64_t N = m->row.room;
    gf_row *r = &m->row;
    r->ids = take_act(m, "ids", GF_I32, N, 0);
    if (m->opt.use == GF_USE_TRAIN && m->lowest < 0)
        r->learned = take_act(m, "learned ids", GF_I32, N, 0);
    for (int i = 0; i < m->cfg->ropes; i++) {
        r->cos[i] = take_act(m, "cos", GF_F32, N, m->cfg->rope[i].rotary / 2);
        r->sin[i] = take_act(m, "sin", GF_F32, N, m->cfg->rope[i].rotary / 2);
    }
    r->index = take_act(m, "index", GF_I32, N, 0);
    r->label = take_act(m, "label", GF_I32, N, 0);
    r->iota = take_act(m, "iota", GF_I32, N, 0);
    const size_t work = gf_row_work_bytes(m->be, N);
    if (work)
        r->spans.work = take_act(m, "row lists", GF_U8, (int64_t)work, 0);
}

void gf_model_layout(gf_model *m)
{
    const int64_t rows = HEAD_CHUNK_BYTES / (m->cfg->V * (int64_t)sizeof(float));
    m->head_rows = m->be->cuda             ? HEAD_CHUNK_DEVICE
                   : rows < HEAD_CHUNK_MIN ? HEAD_CHUNK_MIN
                   : rows > HEAD_CHUNK_MAX ? HEAD_CHUNK_MAX
                                           : rows;
    const bool full = m->adapter && m->adapter->full_head >= 0;
    if (full || gf_adapter_find(m->adapter, -1, GF_HEAD)) /* a gradient's chunk is never split */
        m->head_rows = GF_CHUNK;
    m->row.capacity = m->opt.row_tokens;
    m->row.room = gf_row_bucket(m->be, m->row.capacity, m->row.capacity);
    take_space(m);
    take_weights(m);
    take_activations(m);
    take_cache(m);
    take_row(m);
}

gf_tensor gf_model_scratch(gf_model *m, const char *name, gf_dtype dtype, int64_t rows,
                           int64_t full, int64_t d1, int64_t pitch)
{
    return gf_rows(take_pitched(m, GF_PART_SCRATCH, name, dtype, full, d1, pitch), 0, rows);
}
