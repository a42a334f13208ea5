/* model.c - the whole pass over a row, and opening a model: plan by dry run, then for real. */
#include "model/model.h"

#include "base/number.h"

#include <stdlib.h>
#include <string.h>

/* ---- head: losses of the predicted tokens, and the gradient of the residual stream - */

/* Predicted tokens of a full row: all of them, or the last one while generating. */
static int64_t most_predicted(const gf_model *m)
{
    return m->opt.use == GF_USE_GENERATE ? 1 : m->opt.row_tokens;
}

/* One chunk of predicted tokens: logits exist for these only. dn [C,D] gets the gradient of the
 * normed rows nf, unless there is no backward pass. */
static gf_status head_chunk(gf_model *m, gf_tensor nf, gf_tensor dn, int64_t first, int64_t count,
                            bool train)
{
    const gf_config *c = m->cfg;
    gf_backend *be = m->be;
    const gf_spans chunk = {.tokens = count};
    const gf_dropout no_drop = {0};
    const gf_tensor label = gf_rows(m->row.label, first, count);
    const int64_t full = most_predicted(m) < m->head_rows ? most_predicted(m) : m->head_rows;
    const size_t mark = gf_mark(m->arena, GF_PART_SCRATCH);

    gf_tensor logits = m->logits;
    if (m->opt.use != GF_USE_GENERATE)
        logits = gf_model_scratch(m, "logits", GF_F32, count, full, c->V);
    TRY(gf_group_linear_fwd(be, logits, gf_none, nf, gf_none, &m->head, &chunk, no_drop));
    if (m->opt.use == GF_USE_GENERATE) /* the sampler wants logits, not a loss */
        return GF_OK;
    gf_tensor dlogits = gf_none;
    if (train)
        dlogits = m->opt.precision == GF_F32
                      ? logits
                      : gf_model_scratch(m, "dlogits", m->opt.precision, count, full, c->V);
    TRY(gf_xent(be, gf_rows(m->nll, first, count), gf_rows(m->best, first, count), dlogits, logits,
                label, c->logits_cap));
    if (train)
        TRY(gf_group_linear_bwd(be, dn, gf_none, dlogits, nf, gf_none, &m->head, &chunk, no_drop,
                                &m->fixed));
    gf_release(m->arena, GF_PART_SCRATCH, mark);
    return GF_OK;
}

/* The final norm and the head, over the rows that predict something; dx [N,D] += nothing: it is the
 * gradient's start. */
static gf_status head(gf_model *m, gf_tensor x, gf_tensor dx, bool train)
{
    const gf_config *c = m->cfg;
    gf_backend *be = m->be;
    const int64_t M = m->row.predicted, full = most_predicted(m);
    const gf_tensor index = gf_rows(m->row.index, 0, M);
    const size_t mark = gf_mark(m->arena, GF_PART_SCRATCH);
    if (M == 0)
        return train ? gf_zero(be, dx) : GF_OK;

    const gf_tensor xg = gf_model_scratch(m, "predicting x", GF_F32, M, full, c->D);
    const gf_tensor nf = gf_model_scratch(m, "final norm", m->opt.precision, M, full, c->D);
    const gf_tensor rstd = gf_model_scratch(m, "rstd", GF_F32, M, full, 0);
    TRY(gf_gather_rows(be, xg, x, index));
    TRY(gf_rmsnorm_fwd(be, nf, rstd, xg, m->norm, c->eps, c->norm_offset));
    gf_tensor dn = gf_none;
    if (train)
        dn = gf_model_scratch(m, "dnorm", m->opt.precision, M, full, c->D);
    for (int64_t i = 0; i < M; i += m->head_rows) {
        const int64_t n = M - i < m->head_rows ? M - i : m->head_rows;
        TRY(head_chunk(m, gf_rows(nf, i, n), train ? gf_rows(dn, i, n) : gf_none, i, n, train));
    }
    if (train) {
        const gf_tensor dxg = gf_model_scratch(m, "dx of predicting", GF_F32, M, full, c->D);
        TRY(gf_rmsnorm_bwd(be, dxg, dn, gf_none, xg, m->norm, rstd, c->norm_offset));
        TRY(gf_scatter_rows(be, dx, dxg, index));
    }
    gf_release(m->arena, GF_PART_SCRATCH, mark);
    return GF_OK;
}

gf_status gf_model_run(gf_model *m, bool train)
{
    const gf_config *c = m->cfg;
    const int64_t N = m->row.spans.tokens;
    const size_t mark = gf_mark(m->arena, GF_PART_SCRATCH);
    gf_tensor dx = gf_none;

    m->at_layer = -1;
    TRY(gf_embed_fwd(m->be, gf_rows(m->saved[0].x, 0, N), gf_rows(m->row.ids, 0, N), m->embed,
                     c->embed_scale));
    for (m->at_layer = 0; m->at_layer < c->L; m->at_layer++) {
        const int64_t l = m->at_layer;
        TRY(gf_block_fwd(m, l, gf_rows(l + 1 < c->L ? m->saved[l + 1].x : m->x, 0, N)));
    }
    if (train)
        dx = gf_model_scratch(m, "dx", GF_F32, N, m->opt.row_tokens, c->D);
    TRY(head(m, gf_rows(m->x, 0, N), dx, train));
    if (train)
        for (m->at_layer = c->L - 1; m->at_layer >= m->lowest; m->at_layer--)
            TRY(gf_block_bwd(m, m->at_layer, dx));
    gf_release(m->arena, GF_PART_SCRATCH, mark);
    return GF_OK;
}

/* ---- opening -------------------------------------------------------------------------- */

/* Reads one weight into its place, rows in Hugging Face's order. */
static gf_status load(gf_model *m, gf_tensor t, int64_t heads, gf_err *err)
{
    const gf_source *s = gf_files_source(m->files);
    const gf_entry *e = gf_source_find(s, t.name);
    const int64_t rows = t.rank == 1 ? 1 : t.dim[0];
    const int64_t width = t.rank == 1 ? t.dim[0] : t.dim[1];
    if (t.rank == 2 && t.dtype == e->dtype)
        return gf_files_rows(m->files, e, heads, 0, rows, t.data, err);

    /* Converted on the way: a vector to f32, an f32 matrix to bf16. Whole vectors are read as one
     * column so that their elements are put back in order too. */
    const int64_t count = rows * width;
    const size_t bytes = (size_t)gf_row_bytes(e->dtype, count);
    void *raw = gf_alloc(bytes, 1, err);
    float *wide = gf_alloc((size_t)count, sizeof *wide, err);
    gf_status st = raw && wide ? GF_OK : GF_ENOMEM;
    if (st == GF_OK)
        st = gf_files_rows(m->files, e, heads, 0, e->dim[0], raw, err);
    if (st == GF_OK) {
        gf_to_f32(wide, e->dtype, raw, count);
        gf_from_f32(t.dtype, t.data, wide, count);
    }
    free(raw);
    free(wide);
    return st;
}

static gf_status load_group(gf_model *m, const gf_group *g, const gf_linear_id *id, gf_err *err)
{
    for (int i = 0; i < g->count; i++) {
        const int64_t heads = gf_files_heads(m->files, id[i]);
        TRY(load(m, g->lin[i].w, heads, err));
        if (gf_is(g->lin[i].bias))
            TRY(load(m, g->lin[i].bias, heads, err));
    }
    return GF_OK;
}

gf_status gf_model_load(gf_model *m, gf_err *err)
{
    static const gf_linear_id qkv[] = {GF_Q, GF_K, GF_V}, o[] = {GF_O},
                              gate_up[] = {GF_GATE, GF_UP}, down[] = {GF_DOWN};
    TRY(load(m, m->embed, 0, err));
    TRY(load(m, m->norm, 0, err));
    if (!m->cfg->tied)
        TRY(load(m, m->head.lin[0].w, 0, err));
    for (int64_t l = 0; l < m->cfg->L; l++) {
        const gf_layer *w = &m->layer[l];
        const gf_tensor norms[] = {w->norm1, w->norm2, w->q_norm, w->k_norm};
        for (size_t i = 0; i < sizeof norms / sizeof *norms; i++)
            if (gf_is(norms[i]))
                TRY(load(m, norms[i], 0, err));
        TRY(load_group(m, &w->qkv, qkv, err));
        TRY(load_group(m, &w->o, o, err));
        TRY(load_group(m, &w->gate_up, gate_up, err));
        TRY(load_group(m, &w->down, down, err));
    }
    return GF_OK;
}

/* The plan: one full row, dry, in which every token predicts one. */
static gf_status dry_run(gf_model *m, gf_err *err)
{
    gf_backend *be = m->be;
    const gf_span all = {.len = m->opt.row_tokens,
                         .kv_len = m->opt.use == GF_USE_GENERATE ? m->opt.cache_tokens
                                                                 : m->opt.row_tokens};
    be->dry = true;
    be->tally = (gf_tally){0};
    m->row.spans = (gf_spans){.tokens = m->opt.row_tokens, .count = 1, .span = &all};
    m->row.predicted = most_predicted(m);
    const gf_status st = gf_model_run(m, m->opt.use == GF_USE_TRAIN);
    be->dry = false;
    return st == GF_OK ? GF_OK : gf_fail(err, st, "%s", be->err.text);
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

/* What the attention op takes (ops.c refuses the rest), said with the file's name. */
static gf_status check_heads(const gf_files *files, gf_err *err)
{
    const int64_t K = files->config.K;
    if (K % 8 == 0 && K <= 512)
        return GF_OK;
    return gf_fail(
        err, GF_EMISSING,
        "%s%s: attention heads are %lld wide (head_dim); graft runs multiples of 8 up to "
        "512",
        files->path, files->is_gguf ? "" : "/config.json", (long long)K);
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
    TRYG(check_heads(files, err));
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
    TRYG(gf_arena_commit(arena, err));
    gf_model_layout(m);
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
    *m = (gf_model){0};
}
