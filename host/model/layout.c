/* layout.c - where everything of a model lies. The same code runs twice: measuring, then for real;
 * so sizes stand here and nowhere else (law 4). */
#include "model/model.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Logits are made for so many bytes of tokens at a time, f32: large enough that packing the head's
 * weights is amortised, small beside the activations of a row. */
#define HEAD_CHUNK_BYTES (48LL << 20)
#define HEAD_CHUNK_MIN 64
#define HEAD_CHUNK_MAX 512

static gf_dtype act_of(const gf_model *m)
{
    return m->opt.precision;
}

/* f32 weights are held as bf16 where the products are bf16: they would be rounded there anyway. */
static gf_dtype held_as(const gf_model *m, gf_dtype file)
{
    return file == GF_F32 && act_of(m) == GF_BF16 ? GF_BF16 : file;
}

static gf_tensor take_weight(gf_model *m, const char *name, int64_t n, int64_t k)
{
    const gf_entry *e = gf_files_find(m->files, name);
    assert(e); /* gf_files_open has checked */
    return gf_take(m->arena, GF_PART_WEIGHTS, e->name, held_as(m, e->dtype), n, k, 0);
}

/* A vector is always held in f32; none if the file lacks it. */
static gf_tensor take_vector(gf_model *m, const char *name, int64_t n)
{
    const gf_entry *e = gf_files_find(m->files, name);
    return e ? gf_take(m->arena, GF_PART_WEIGHTS, e->name, GF_F32, n, 0, 0) : gf_none;
}

/* A's and B's views into the flat space. */
static void adapt(const gf_model *m, gf_linear *lin, int64_t layer, gf_linear_id id)
{
    const gf_lora *lo = gf_adapter_find(m->adapter, layer, id);
    if (!lo)
        return;
    float *value = m->value.data;
    int64_t *grad = m->grad.data;
    lin->a = gf_view(value ? value + lo->a : NULL, GF_F32, "A", lo->r, lo->k, 0);
    lin->b = gf_view(value ? value + lo->b : NULL, GF_F32, "B", lo->n, lo->r, 0);
    lin->scale = (float)lo->scale;
    if (m->opt.use != GF_USE_TRAIN)
        return;
    lin->da = gf_view(grad ? grad + lo->a : NULL, GF_I64, "dA", lo->r, lo->k, 0);
    lin->db = gf_view(grad ? grad + lo->b : NULL, GF_I64, "dB", lo->n, lo->r, 0);
}

static gf_linear take_linear(gf_model *m, int64_t layer, gf_linear_id id)
{
    char module[64], name[80];
    int64_t n, k;
    gf_module_name(module, layer, id);
    gf_module_shape(m->cfg, id, &n, &k);
    gf_linear lin = {.module = (uint32_t)(layer * GF_LINEARS + id)};
    snprintf(name, sizeof name, "%s.weight", module);
    lin.w = take_weight(m, name, n, k);
    snprintf(name, sizeof name, "%s.bias", module);
    lin.bias = take_vector(m, name, n);
    adapt(m, &lin, layer, id);
    return lin;
}

static void take_layer(gf_model *m, int64_t l)
{
    gf_layer *w = &m->layer[l];
    char name[80];
    const char *format = "model.layers.%lld.%s.weight";
    const int64_t D = m->cfg->D, K = m->cfg->K;
    snprintf(name, sizeof name, format, (long long)l, "input_layernorm");
    w->norm1 = take_vector(m, name, D);
    snprintf(name, sizeof name, format, (long long)l, "post_attention_layernorm");
    w->norm2 = take_vector(m, name, D);
    if (m->cfg->qk_norm) {
        snprintf(name, sizeof name, format, (long long)l, "self_attn.q_norm");
        w->q_norm = take_vector(m, name, K);
        snprintf(name, sizeof name, format, (long long)l, "self_attn.k_norm");
        w->k_norm = take_vector(m, name, K);
    }
    w->qkv = (gf_group){
        .count = 3,
        .lin = {take_linear(m, l, GF_Q), take_linear(m, l, GF_K), take_linear(m, l, GF_V)}};
    w->o = (gf_group){.count = 1, .lin = {take_linear(m, l, GF_O)}};
    w->gate_up =
        (gf_group){.count = 2, .lin = {take_linear(m, l, GF_GATE), take_linear(m, l, GF_UP)}};
    w->down = (gf_group){.count = 1, .lin = {take_linear(m, l, GF_DOWN)}};
}

static void take_weights(gf_model *m)
{
    const gf_config *c = m->cfg;
    m->embed = take_weight(m, "model.embed_tokens.weight", c->V, c->D);
    m->norm = take_vector(m, "model.norm.weight", c->D);
    m->head = (gf_group){.count = 1};
    m->head.lin[0].w = c->tied ? m->embed : take_weight(m, "lm_head.weight", c->V, c->D);
    m->lowest = c->L;
    for (int64_t l = c->L - 1; l >= 0; l--)
        for (int id = 0; id < GF_LINEARS; id++)
            if (gf_adapter_find(m->adapter, l, (gf_linear_id)id))
                m->lowest = l;
    for (int64_t l = 0; l < c->L; l++)
        take_layer(m, l);
}

static void take_space(gf_model *m)
{
    if (!m->adapter)
        return;
    const int64_t n = m->adapter->size;
    m->value = gf_take(m->arena, GF_PART_SPACE, "value", GF_F32, n, 0, 0);
    if (m->opt.use != GF_USE_TRAIN)
        return;
    m->grad = gf_take(m->arena, GF_PART_SPACE, "gradient", GF_I64, n, 0, 0);
    m->m = gf_take(m->arena, GF_PART_SPACE, "m", GF_F32, n, 0, 0);
    m->v = gf_take(m->arena, GF_PART_SPACE, "v", GF_F32, n, 0, 0);
}

static gf_tensor take_act(gf_model *m, const char *name, gf_dtype dtype, int64_t d0, int64_t d1)
{
    return gf_take(m->arena, GF_PART_ACT, name, dtype, d0, d1, 0);
}

/* The adapters' inner product of a group, if it has adapters. */
static gf_tensor take_tail(gf_model *m, const char *name, const gf_group *g)
{
    const int64_t rank = gf_group_rank(g);
    return rank ? take_act(m, name, act_of(m), m->opt.row_tokens, rank) : gf_none;
}

static gf_saved take_saved(gf_model *m, const gf_layer *w)
{
    const gf_config *c = m->cfg;
    const int64_t N = m->opt.row_tokens, Q = c->H * c->K, KV = c->G * c->K;
    const gf_dtype act = act_of(m);
    gf_saved a = {
        .x = take_act(m, "x", GF_F32, N, c->D),
        .rstd1 = take_act(m, "rstd1", GF_F32, N, 0),
        .qkv = take_act(m, "qkv", act, N, Q + 2 * KV),
        .o = take_act(m, "o", act, N, Q),
        .lse = take_act(m, "lse", GF_F32, N, c->H),
        .x2 = take_act(m, "x2", GF_F32, N, c->D),
        .rstd2 = take_act(m, "rstd2", GF_F32, N, 0),
        .gate_up = take_act(m, "gate_up", act, N, 2 * c->F),
        .s_qkv = take_tail(m, "s_qkv", &w->qkv),
        .s_o = take_tail(m, "s_o", &w->o),
        .s_gate_up = take_tail(m, "s_gate_up", &w->gate_up),
        .s_down = take_tail(m, "s_down", &w->down),
    };
    if (c->qk_norm) {
        a.raw = take_act(m, "raw q, k", act, N, Q + KV);
        a.rstd_q = take_act(m, "rstd_q", GF_F32, N, c->H);
        a.rstd_k = take_act(m, "rstd_k", GF_F32, N, c->G);
    }
    return a;
}

/* Layers below the lowest adapted one are never seen by the backward pass: they share one place. So
 * do all layers when there is no backward pass. Ranks may differ between them, so that the place is
 * as large as the largest of them. */
static void take_activations(gf_model *m)
{
    const gf_config *c = m->cfg;
    const int64_t shared = m->opt.use == GF_USE_TRAIN ? m->lowest : c->L;
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
    m->x = take_act(m, "x", GF_F32, m->opt.row_tokens, c->D);
    m->nll = take_act(m, "nll", GF_F32, m->opt.row_tokens, 0);
    m->best = take_act(m, "best", GF_I32, m->opt.row_tokens, 0);
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
    m->logits = take_act(m, "logits", GF_F32, 1, c->V);
}

static void take_row(gf_model *m)
{
    const int64_t N = m->opt.row_tokens, C = m->cfg->rope.rotary / 2;
    gf_row *r = &m->row;
    r->capacity = N;
    r->ids = take_act(m, "ids", GF_I32, N, 0);
    r->cos = take_act(m, "cos", GF_F32, N, C);
    r->sin = take_act(m, "sin", GF_F32, N, C);
    r->index = take_act(m, "index", GF_I32, N, 0);
    r->label = take_act(m, "label", GF_I32, N, 0);
    r->iota = take_act(m, "iota", GF_I32, N, 0);
    for (int64_t i = 0; r->iota.data && i < N; i++)
        ((int32_t *)r->iota.data)[i] = (int32_t)i;
}

void gf_model_layout(gf_model *m)
{
    const int64_t rows = HEAD_CHUNK_BYTES / (m->cfg->V * (int64_t)sizeof(float));
    m->head_rows = rows < HEAD_CHUNK_MIN   ? HEAD_CHUNK_MIN
                   : rows > HEAD_CHUNK_MAX ? HEAD_CHUNK_MAX
                                           : rows;
    take_space(m);
    take_weights(m);
    take_activations(m);
    take_cache(m);
    take_row(m);
}

gf_tensor gf_model_scratch(gf_model *m, const char *name, gf_dtype dtype, int64_t rows,
                           int64_t full, int64_t d1)
{
    return gf_rows(gf_take(m->arena, GF_PART_SCRATCH, name, dtype, full, d1, 0), 0, rows);
}
