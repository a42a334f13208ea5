/* model.c - the whole pass over a row, and opening a model: plan by dry run, then for real. */
#include "model/model.h"

#include "base/number.h"

#include <stdlib.h>
#include <string.h>

/* ---- head: losses of the predicted tokens, and the gradient of the residual stream - */

/* Predicted tokens of a full row: all of them, or the last one while generating. */
static int64_t most_predicted(const gf_model *m)
{
    return m->opt.use == GF_USE_GENERATE ? 1 : m->row.room;
}

/* Where among the row's examples the head is, and how many tokens of it have been predicted. */
typedef struct {
    int span;
    int64_t within;
} head_place;

static bool head_trains(const gf_model *m)
{
    return gf_group_rank(&m->head) > 0 || gf_is(m->head.lin[0].dw);
}

/* The next chunk of predicted tokens, from `first` on. If the head trains it is laid from
 * the gradients' chunks, GF_CHUNK predicted tokens of an example each, none of them split. */
static void next_chunk(const gf_model *m, gf_spans *chunk, gf_span *piece, head_place *at,
                       int64_t first)
{
    const int64_t M = m->row.m, left = M - first < m->head_rows ? M - first : m->head_rows;
    const int32_t *index = m->row.host.index;
    if (!head_trains(m) || m->be->dry || m->opt.use == GF_USE_GENERATE) {
        piece[0] = (gf_span){.len = left, .kv_len = left};
        chunk->tokens = left;
        chunk->count = 1;
        return;
    }
    chunk->tokens = 0;
    chunk->count = 0;
    while (first < M) {
        const gf_span *s = &m->row.spans.span[at->span];
        const int64_t most = GF_CHUNK - at->within % GF_CHUNK;
        int64_t n = 0;
        while (first + n < M && n < most && index[first + n] < s->start + s->len)
            n++;
        if (chunk->tokens + n > m->head_rows)
            return;
        if (n > 0)
            piece[chunk->count++] = (gf_span){.start = chunk->tokens,
                                              .len = n,
                                              .kv_start = chunk->tokens,
                                              .kv_len = at->within + n, /* dropout's position */
                                              .example = s->example};
        chunk->tokens += n;
        first += n;
        at->within += n;
        if (first < M && index[first] >= s->start + s->len)
            *at = (head_place){.span = at->span + 1};
    }
}

/* One chunk of predicted tokens: logits exist for these only. dn [C,D] gets the gradient of the
 * normed rows nf, unless there is no backward pass. */
static gf_status head_chunk(gf_model *m, gf_tensor nf, gf_tensor dn, int64_t first,
                            const gf_spans *chunk, bool train)
{
    const gf_config *c = m->cfg;
    gf_backend *be = m->be;
    const int64_t count = chunk->tokens, rank = gf_group_rank(&m->head);
    const gf_dropout none = {0}, drop = rank ? m->opt.dropout : none;
    gf_tensor s = gf_none, p = gf_none;
    const gf_tensor label = gf_rows(m->row.label, first, count);
    const int64_t full = most_predicted(m) < m->head_rows ? most_predicted(m) : m->head_rows;
    const int64_t pitch = gf_model_pitch(m, c->V);
    const size_t mark = gf_mark(m->arena, GF_PART_SCRATCH);

    m->at_first = first;
    gf_tensor logits = m->logits;
    if (m->opt.use != GF_USE_GENERATE)
        logits = gf_model_scratch(m, "logits", GF_F32, count, full, c->V, pitch);
    if (rank)
        s = gf_model_scratch(m, "S of the head", m->opt.precision, count, full, rank, rank);
    TRY(gf_group_linear_fwd(be, logits, s, nf, gf_none, &m->head, chunk, drop));
    if (m->opt.use == GF_USE_GENERATE) /* the sampler wants logits, not a loss */
        return GF_OK;
    gf_tensor dlogits = gf_none;
    if (train)
        dlogits = m->opt.precision == GF_F32
                      ? logits
                      : gf_model_scratch(m, "dlogits", m->opt.precision, count, full, c->V, pitch);
    TRY(gf_xent(be, gf_rows(m->nll, first, count), gf_rows(m->best, first, count), dlogits, logits,
                label, c->logits_cap));
    if (train && rank)
        p = gf_model_scratch(m, "P of the head", m->opt.precision, count, full, rank, rank);
    if (train)
        TRY(gf_group_linear_bwd(be, dn, p, dlogits, nf, s, &m->head, chunk, drop, &m->fixed));
    gf_release(m->arena, GF_PART_SCRATCH, mark);
    return GF_OK;
}

/* The final norm and the head, over the rows that predict something; dx [N,D] += nothing: it is the
 * gradient's start. */
static gf_status head(gf_model *m, gf_tensor x, gf_tensor dx, bool train)
{
    const gf_config *c = m->cfg;
    gf_backend *be = m->be;
    const int64_t M = m->row.m, full = most_predicted(m);
    const gf_tensor index = gf_rows(m->row.index, 0, M);
    const size_t mark = gf_mark(m->arena, GF_PART_SCRATCH);
    m->at_first = 0;
    if (M == 0)
        return train ? gf_zero(be, dx) : GF_OK;

    const gf_tensor xg = gf_model_scratch(m, "predicting x", GF_F32, M, full, c->D, c->D);
    const gf_tensor nf = gf_model_scratch(m, "final norm", m->opt.precision, M, full, c->D, c->D);
    const gf_tensor rstd =
        gf_rows(gf_take(m->arena, GF_PART_SCRATCH, "rstd", GF_F32, full, 0, 0), 0, M);
    TRY(gf_gather_rows(be, xg, x, index));
    TRY(gf_rmsnorm_fwd(be, nf, rstd, xg, gf_none, m->norm, c->stream_eps, c->norm_offset));
    gf_tensor dn = gf_none;
    if (train)
        dn = gf_model_scratch(m, "dnorm", m->opt.precision, M, full, c->D, c->D);
    gf_span piece[GF_CHUNK];
    gf_spans chunk = {.span = piece};
    head_place at = {0, 0};
    for (int64_t i = 0; i < M; i += chunk.tokens) {
        next_chunk(m, &chunk, piece, &at, i);
        TRY(head_chunk(m, gf_rows(nf, i, chunk.tokens),
                       train ? gf_rows(dn, i, chunk.tokens) : gf_none, i, &chunk, train));
    }
    m->at_first = 0;
    if (train) {
        const gf_tensor dxg = gf_model_scratch(m, "dx of predicting", GF_F32, M, full, c->D, c->D);
        TRY(gf_rmsnorm_bwd(be, dxg, gf_none, gf_none, dn, gf_none, xg, m->norm, rstd,
                           c->norm_offset));
        TRY(gf_scatter_rows(be, dx, dxg, index));
    }
    gf_release(m->arena, GF_PART_SCRATCH, mark);
    return GF_OK;
}

/* The residual stream's gradient, with room behind for the tails of the groups that read it. */
static gf_dx take_dx(gf_model *m)
{
    const int64_t D = m->cfg->D, N = m->row.n;
    int64_t tail = 0;
    for (int64_t l = 0; l < m->cfg->L; l++) {
        tail = m->layer[l].o.tail > tail ? m->layer[l].o.tail : tail;
        tail = m->layer[l].down.tail > tail ? m->layer[l].down.tail : tail;
    }
    const bool read = m->cfg->norms == GF_NORMS_PRE; /* else by the norms behind the branches */
    if (m->opt.precision == GF_F32 || !read) {
        const gf_tensor dx =
            gf_model_scratch(m, "dx", GF_F32, N, m->row.room, D, read ? D + tail : D);
        return (gf_dx){dx, dx};
    }
    return (gf_dx){
        .dx = gf_model_scratch(m, "dx", GF_F32, N, m->row.room, D, D),
        .d = gf_model_scratch(m, "rounded", m->opt.precision, N, m->row.room, D, D + tail)};
}

/* A Gemma's root of D is rounded to the type that its weights are held in (FORMATS 2.4). */
static float embed_scale(const gf_model *m)
{
    const float scale = m->cfg->embed_scale;
    const bool rounded = m->cfg->embed_rounded && m->opt.precision == GF_BF16;
    return rounded ? gf_bf16_to_f32(gf_f32_to_bf16(scale)) : scale;
}

/* The embedding's adapter: what it adds is scaled with the rest. */
static gf_linear embed_lora(const gf_model *m)
{
    gf_linear lin = m->embed_lora;
    lin.scale *= embed_scale(m);
    return lin;
}

/* x = the tokens' rows of the embedding, with its adapter. */
static gf_status embed_fwd(gf_model *m, gf_tensor x)
{
    const int64_t N = m->row.n;
    const gf_tensor ids = gf_rows(m->row.ids, 0, N);
    TRY(gf_embed_fwd(m->be, x, ids, m->embed, embed_scale(m)));
    if (!gf_is(m->embed_lora.a))
        return GF_OK;
    const gf_linear lin = embed_lora(m);
    return gf_embed_lora_fwd(m->be, x, gf_rows(m->embed_s, 0, N), ids, &lin);
}

static gf_status embed_bwd(gf_model *m, gf_tensor dx)
{
    const int64_t N = m->row.n;
    if (gf_is(m->dembed))
        return gf_embed_bwd(m->be, m->dembed, dx, gf_rows(m->row.learned, 0, N), embed_scale(m),
                            &m->fixed);
    const int64_t r = m->embed_lora.a.dim[0];
    const gf_linear lin = embed_lora(m);
    const gf_tensor p = gf_model_scratch(m, "P of the embedding", GF_F32, N, m->row.room, r, r);
    return gf_embed_lora_bwd(m->be, p, dx, gf_rows(m->embed_s, 0, N), gf_rows(m->row.learned, 0, N),
                             &lin, &m->row.spans, &m->fixed);
}

static gf_status backward(gf_model *m, gf_dx g)
{
    if (g.d.dtype != GF_F32)
        TRY(gf_gather_rows(m->be, g.d, g.dx, gf_rows(m->row.iota, 0, m->row.n)));
    const int64_t lowest = m->lowest < 0 ? 0 : m->lowest;
    for (m->at_layer = m->cfg->L - 1; m->at_layer >= lowest; m->at_layer--)
        TRY(gf_block_bwd(m, m->at_layer, g));
    return m->lowest < 0 ? embed_bwd(m, g.dx) : GF_OK;
}

/* All ops of a row, in order. */
static gf_status pass(gf_model *m, bool train)
{
    const gf_config *c = m->cfg;
    const gf_row *r = &m->row;
    const size_t mark = gf_mark(m->arena, GF_PART_SCRATCH);
    gf_dx g = {gf_none, gf_none};

    m->at_layer = -1;
    TRY(embed_fwd(m, gf_rows(m->saved[0].x, 0, r->n)));
    if (train && m->opt.noise_alpha > 0) {
        const gf_dropout *key = &m->opt.dropout;
        const gf_noise noise = {m->opt.noise_alpha, key->seed, key->epoch};
        TRY(gf_embed_noise(m->be, gf_rows(m->saved[0].x, 0, r->n), &r->spans, noise));
    }
    for (m->at_layer = 0; m->at_layer < c->L; m->at_layer++) {
        const int64_t l = m->at_layer;
        TRY(gf_block_fwd(m, l, gf_rows(l + 1 < c->L ? m->saved[l + 1].x : m->x, 0, r->n)));
    }
    if (train)
        g = take_dx(m);
    TRY(head(m, gf_rows(m->x, 0, r->n), g.dx, train));
    if (train) {
        TRY(gf_count_losses(m->be, m->sums, gf_rows(m->nll, 0, r->m), gf_rows(m->best, 0, r->m),
                            gf_rows(r->label, 0, r->m)));
        TRY(backward(m, g));
    }
    gf_release(m->arena, GF_PART_SCRATCH, mark);
    return GF_OK;
}

/* The row's shape, and whatever else a captured launch keeps: another model of this backend, or
 * another dropout, must not find it. */
static uint64_t graph_key(const gf_model *m, bool train)
{
    const gf_dropout *drop = &m->opt.dropout;
    uint32_t p, alpha;
    memcpy(&p, &drop->p, sizeof p);
    memcpy(&alpha, &m->opt.noise_alpha, sizeof alpha);
    const uint64_t part[] = {gf_row_shape(m->be, &m->row.spans, m->row.n),
                             (uint64_t)m->row.m,
                             (uint64_t)(uintptr_t)m->row.ids.data,
                             (uint64_t)m->fixed.shift << 2 | (uint64_t)m->be->separate_lora << 1 |
                                 (uint64_t)train,
                             (uint64_t)alpha << 32 | p,
                             p || alpha ? drop->seed : 0};
    uint64_t h = 14695981039346656037u; /* FNV-1a over 64-bit words */
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        h = (h ^ part[i]) * 1099511628211u;
        h ^= h >> 29; /* the multiplication carries upwards only */
    }
    return h;
}

gf_status gf_model_run(gf_model *m, bool train)
{
    /* Generation's launches depend on how much the cache holds; a search for what is not finite
     * looks between the launches. */
    const bool graph = m->opt.use != GF_USE_GENERATE && !m->be->check && !m->be->dry;
    bool done = false;
    TRY(gf_row_ready(m));
    if (!graph)
        return pass(m, train);
    const uint64_t key = graph_key(m, train);
    TRY(gf_replay(m->be, key, &done));
    if (done)
        return GF_OK;
    TRY(gf_capture(m->be, key));
    const gf_status st = pass(m, train), end = gf_capture_end(m->be, st != GF_OK);
    return st != GF_OK ? st : end;
}

gf_status gf_model_losses(gf_model *m)
{
    TRY(gf_download(m->be, m->host.nll, gf_rows(m->nll, 0, m->row.predicted)));
    TRY(gf_download(m->be, m->host.best, gf_rows(m->best, 0, m->row.predicted)));
    return gf_wait(m->be);
}

gf_status gf_model_tails(gf_model *m)
{
    for (int64_t l = 0; l < m->cfg->L; l++) {
        const gf_group *group[GF_GROUPS];
        gf_layer_groups(group, &m->layer[l]);
        for (int i = 0; i < GF_GROUPS; i++) {
            TRY(gf_group_tails(m->be, group[i]));
            TRY(gf_dora_norms(m->be, group[i]));
        }
    }
    return GF_OK;
}

static gf_status freeze(gf_backend *be, const gf_linear *lin)
{
    if (!gf_is(lin->da))
        return GF_OK;
    const int64_t half = lin->da.dim[0] / 2;
    TRY(gf_zero(be, gf_rows(lin->da, half, half)));
    return gf_zero(be, gf_cols(lin->db, half, half));
}

gf_status gf_model_freeze(gf_model *m)
{
    for (int64_t l = 0; m->adapter->split && l < m->cfg->L; l++) {
        const gf_group *group[GF_GROUPS];
        gf_layer_groups(group, &m->layer[l]);
        for (int i = 0; i < GF_GROUPS; i++)
            for (int j = 0; j < group[i]->count; j++)
                TRY(freeze(m->be, &group[i]->lin[j]));
    }
    return GF_OK;
}

/* ---- opening -------------------------------------------------------------------------- */

/* The plan: one full row, dry, in which every token predicts one. */
static gf_status dry_run(gf_model *m, gf_err *err)
{
    gf_backend *be = m->be;
    const gf_span all = {.len = m->opt.row_tokens,
                         .kv_len = m->opt.use == GF_USE_GENERATE ? m->opt.cache_tokens
                                                                 : m->opt.row_tokens};
    be->dry = true;
    be->tally = (gf_tally){0};
    m->row.spans.tokens = m->opt.row_tokens;
    m->row.spans.count = 1;
    m->row.spans.span = &all;
    m->row.predicted = most_predicted(m);
    const gf_status st = gf_model_run(m, m->opt.use == GF_USE_TRAIN);
    be->dry = false;
    return gf_backend_said(be, st, err);
}

static gf_status alloc_tables(gf_model *m, gf_err *err)
{
    const size_t L = (size_t)m->cfg->L;
    m->layer = gf_alloc(L, sizeof *m->layer, err);
    m->saved = gf_alloc(L, sizeof *m->saved, err);
    m->cache.k = gf_alloc(L, sizeof *m->cache.k, err);
    m->cache.v = gf_alloc(L, sizeof *m->cache.v, err);
    m->row.max_spans = m->opt.row_tokens; /* an example has at least one token */
    m->row.span = gf_alloc((size_t)m->row.max_spans, sizeof *m->row.span, err);
    const bool all = m->layer && m->saved && m->cache.k && m->cache.v && m->row.span;
    return all ? GF_OK : GF_ENOMEM;
}

/* Where the host fills rows and reads results: in the tensors on a CPU, in copies otherwise. */
static gf_status open_host(gf_model *m, gf_err *err)
{
    const int64_t N = m->row.room;
    int64_t C = 0; /* of all RoPEs */
    for (int i = 0; i < m->cfg->ropes; i++)
        C += m->cfg->rope[i].rotary / 2;
    const int64_t V = m->opt.use == GF_USE_GENERATE ? m->cfg->V : 0;
    gf_row *r = &m->row;
    gf_model_host *h = &m->host;
    if (!m->be->cuda) {
        r->host =
            (gf_row_host){r->ids.data, r->learned.data, r->index.data, r->label.data, {0}, {0}};
        for (int i = 0; i < m->cfg->ropes; i++) {
            r->host.cos[i] = r->cos[i].data;
            r->host.sin[i] = r->sin[i].data;
        }
        *h = (gf_model_host){.nll = m->nll.data, .best = m->best.data, .logits = m->logits.data};
    } else {
        float *at = h->memory = gf_alloc((size_t)(N * (6 + 2 * C) + V), sizeof *at, err);
        if (!at)
            return GF_ENOMEM;
        for (int i = 0; i < m->cfg->ropes; i++) {
            r->host.cos[i] = at;
            r->host.sin[i] = r->host.cos[i] + N * (m->cfg->rope[i].rotary / 2);
            at = r->host.sin[i] + N * (m->cfg->rope[i].rotary / 2);
        }
        h->nll = at;
        h->logits = h->nll + N;
        r->host.ids = (int32_t *)(h->logits + V);
        r->host.learned = r->host.ids + N;
        r->host.index = r->host.learned + N;
        r->host.label = r->host.index + N;
        h->best = r->host.label + N;
    }
    for (int64_t i = 0; i < N; i++) /* ids are filled anew for every row */
        r->host.ids[i] = (int32_t)i;
    const gf_status st = gf_upload(m->be, r->iota, r->host.ids);
    return gf_backend_said(m->be, st, err);
}

/* What the ops take (ops.c refuses the rest), said with the file's name. */
static gf_status check_widths(const gf_files *files, const gf_backend *be, gf_err *err)
{
    const int64_t K = files->config.K, D = files->config.D;
    if (be->cuda && D % 8 != 0) /* groups would pad what they add to the residual stream */
        return gf_fail(
            err, GF_EMISSING,
            "%s%s: the model is %lld wide (hidden_size); on a GPU graft runs multiples of 8: use "
            "--device cpu",
            files->path, files->is_gguf ? "" : "/config.json", (long long)D);
    const int most = be->cuda ? 256 : 512;
    if (K % 8 == 0 && K <= most)
        return GF_OK;
    return gf_fail(
        err, GF_EMISSING,
        "%s%s: attention heads are %lld wide (head_dim); graft runs multiples of 8 up to %d%s",
        files->path, files->is_gguf ? "" : "/config.json", (long long)K, most,
        be->cuda ? " on a GPU, up to 512 with --device cpu" : "");
}

static gf_status check_outer(const gf_adapter *ad, const gf_backend *be, gf_err *err)
{
    const gf_lora *embed = gf_adapter_find(ad, -1, GF_EMBED);
    if (ad && be->cuda && (ad->full_embed >= 0 || ad->full_head >= 0))
        return gf_fail(err, GF_EMISSING,
                       "modules_to_save (a full copy of %s) runs on a CPU only so far: use "
                       "--device cpu, or leave it out",
                       ad->full_embed >= 0 ? "embed_tokens" : "lm_head");
    if (!be->cuda || (!embed && !gf_adapter_find(ad, -1, GF_HEAD)))
        return GF_OK;
    return gf_fail(
        err, GF_EMISSING,
        "an adapter of %s runs on a CPU only so far: use --device cpu, or leave it out of "
        "the targets",
        embed ? "embed_tokens" : "lm_head");
}

gf_status gf_model_open(gf_model *m, const gf_files *files, const gf_adapter *adapter,
                        gf_backend *be, gf_arena *arena, const gf_model_options *opt,
                        uint64_t limit, bool plan_only, gf_err *err)
{
    *m = (gf_model){.files = files,
                    .cfg = &files->config,
                    .adapter = adapter,
                    .be = be,
                    .arena = arena,
                    .opt = *opt,
                    .fixed = {.shift = 40}};
    gf_status st = GF_OK;
    TRYG(check_widths(files, be, err));
    TRYG(check_outer(adapter, be, err));
    TRYG(alloc_tables(m, err));
    gf_model_layout(m);
    TRYG(dry_run(m, err));
    if (plan_only)
        return GF_OK;
    const size_t need = gf_arena_planned(arena);
    if (limit && need > limit) {
        st = gf_fail(
            err, GF_EFIT, "this needs %s (weights %s, a row of %lld tokens %s) and has %s",
            gf_number_bytes_short(need).text,
            gf_number_bytes_short(arena->part[GF_PART_WEIGHTS].peak).text,
            (long long)opt->row_tokens,
            gf_number_bytes_short(arena->part[GF_PART_ACT].peak + arena->part[GF_PART_SCRATCH].peak)
                .text,
            gf_number_bytes_short(limit).text);
        goto out;
    }
    TRYG(gf_arena_commit(arena, be, err));
    gf_model_layout(m);
    TRYG(open_host(m, err));
    TRYG(gf_model_load(m, err));
    gf_row_start(m);
out:
    if (st != GF_OK)
        gf_model_close(m);
    return st;
}

void gf_model_close(gf_model *m)
{
    free(m->layer);
    free(m->saved);
    free(m->cache.k);
    free(m->cache.v);
    free(m->row.span);
    free(m->host.memory);
    *m = (gf_model){0};
}
