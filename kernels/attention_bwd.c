/* attention_bwd.c - causal attention, backward. Contract: graft/ops.h. Source: Dao 2023
 * (FlashAttention-2), algorithm 2, cut in two passes so that every sum has one owner and one order:
 * dk and dv by tiles of keys, dq by tiles of queries. Scores are made again in both. */
#include "attention.h"

#define QUERIES 64 /* of a tile in the dk/dv pass; P and dS are then KEYS x QUERIES */

/* A thread's scratch. Row r of the query side holds q, d_o and, per row, lse, delta and position.
 */
typedef struct {
    const att_args *a;
    gf_span span;
    float *q, *d_o;      /* [rows,pitch] */
    float *lse, *delta;  /* [rows] */
    int64_t *pos;        /* [rows] inside the span */
    float *kt, *vt, *k;  /* [pitch,KEYS] x 2, [KEYS,pitch] */
    float *p, *ds;       /* [rows or BLOCK,KEYS] */
    float *dq, *dk, *dv; /* [rows,pitch], [KEYS,pitch] x 2 */
} work;

static float *take(float **scratch, int64_t n)
{
    float *at = *scratch;
    *scratch += att_up(n, 16);
    return at;
}

static void load_query(const work *w, int64_t r, int64_t i, int64_t h)
{
    const att_args *a = w->a;
    const int64_t t = w->span.start + i;
    att_pack_row(w->q + r * a->pitch, a->q, t, h);
    att_pack_row(w->d_o + r * a->pitch, a->d_o, t, h);
    w->lse[r] = ((const float *)gf_row_at(a->lse, t))[h];
    w->delta[r] = ((const float *)gf_row_at(a->delta, t))[h];
    w->pos[r] = i;
}

/* Rows that fill up the last block: zeros, which see nothing. */
static void clear_queries(const work *w, int64_t from, int64_t to)
{
    const size_t bytes = (size_t)((to - from) * w->a->pitch) * sizeof(float);
    memset(w->q + from * w->a->pitch, 0, bytes);
    memset(w->d_o + from * w->a->pitch, 0, bytes);
    for (int64_t r = from; r < to; r++) {
        w->lse[r] = w->delta[r] = 0.0f;
        w->pos[r] = -1;
    }
}

/* P and dS (without the scale) of BLOCK rows from r0 on against key tile k0; zero where masked.
 * Columns [from, to) of the mask, in whole vectors. */
static att_mask remake_scores(const work *w, int64_t r0, int64_t k0, float *p, float *ds)
{
    const att_args *a = w->a;
    att_mask mask = {.from = 0, .to = 0};
    for (int i = 0; i < BLOCK; i++)
        att_mask_row(a, &mask, i, w->pos[r0 + i], k0);
    if (mask.from == mask.to)
        return mask;
    const int64_t from = mask.from & ~(int64_t)15, n = att_up(mask.to, 16) - from;
    att_product(p + from, KEYS, n, NULL, w->q + r0 * a->pitch, a->pitch, w->kt + from, KEYS,
                a->width);
    att_product(ds + from, KEYS, n, NULL, w->d_o + r0 * a->pitch, a->pitch, w->vt + from, KEYS,
                a->width);
    const v16 one = v_set1(1.0f);
    for (int i = 0; i < BLOCK; i++) {
        const v16 lse = v_set1(w->lse[r0 + i]), delta = v_set1(w->delta[r0 + i]);
        for (int64_t j = from; j < from + n; j += 16) {
            const v16 s = att_score(a, v_load(p + i * KEYS + j));
            const v16 pj = v_keep(v_exp(v_sub(s, lse)), mask.lo[i] - j, mask.hi[i] - j, v_zero());
            v16 d = v_mul(pj, v_sub(v_load(ds + i * KEYS + j), delta));
            if (a->cap > 0.0f) {
                const v16 t = v_div(s, v_set1(a->cap));
                d = v_mul(d, v_fma(v_sub(v_zero(), t), t, one));
            }
            v_store(p + i * KEYS + j, pj);
            v_store(ds + i * KEYS + j, v_keep(d, mask.lo[i] - j, mask.hi[i] - j, v_zero()));
        }
    }
    return mask;
}

static void pack_keys(const work *w, int64_t k0, int64_t g, bool rows)
{
    const att_args *a = w->a;
    const int64_t first = w->span.start + k0, n = att_min(KEYS, w->span.len - k0);
    att_pack_turned(w->kt, a->k, first, n, g);
    att_pack_turned(w->vt, a->v, first, n, g);
    for (int64_t r = 0; rows && r < n; r++)
        att_pack_row(w->k + r * a->pitch, a->k, first + r, g);
}

/* ---- dk, dv: one tile of keys of one k/v head -------------------------------------------------
 */

/* Adds what queries [q0, q0 + n) of head h give to dk and dv of the tile. */
static void add_queries(const work *w, int64_t h, int64_t q0, int64_t n, int64_t k0, int64_t keys)
{
    const att_args *a = w->a;
    for (int64_t r = 0; r < n; r++)
        load_query(w, r, q0 + r, h);
    clear_queries(w, n, att_up(n, BLOCK));
    for (int64_t r = 0; r < n; r += BLOCK)
        (void)remake_scores(w, r, k0, w->p + r * KEYS, w->ds + r * KEYS);
    for (int64_t j = 0; j < keys; j += BLOCK) {
        /* queries that see one of keys j..j+7: not before key j itself, not a window later */
        const int64_t first = att_max(k0 + j - q0, 0);
        int64_t end = n;
        if (a->window > 0)
            end = att_min(end, k0 + j + BLOCK - 1 + a->window - q0);
        if (first >= end)
            continue;
        att_product_turned(w->dv + j * a->pitch, a->pitch, a->pitch, w->p + first * KEYS + j,
                           w->d_o + first * a->pitch, a->pitch, end - first);
        att_product_turned(w->dk + j * a->pitch, a->pitch, a->pitch, w->ds + first * KEYS + j,
                           w->q + first * a->pitch, a->pitch, end - first);
    }
}

static void run_keys(work *w, float *scratch, int64_t g, int64_t k0)
{
    const att_args *a = w->a;
    const int64_t area = QUERIES * a->pitch, keys = att_min(KEYS, w->span.len - k0);
    w->q = take(&scratch, area);
    w->d_o = take(&scratch, area);
    w->lse = take(&scratch, QUERIES);
    w->delta = take(&scratch, QUERIES);
    w->pos = (int64_t *)(void *)take(&scratch, 2 * QUERIES);
    w->kt = take(&scratch, a->pitch * KEYS);
    w->vt = take(&scratch, a->pitch * KEYS);
    w->p = take(&scratch, QUERIES * KEYS);
    w->ds = take(&scratch, QUERIES * KEYS);
    w->dk = take(&scratch, KEYS * a->pitch);
    w->dv = take(&scratch, KEYS * a->pitch);
    memset(w->dk, 0, (size_t)(KEYS * a->pitch) * sizeof(float));
    memset(w->dv, 0, (size_t)(KEYS * a->pitch) * sizeof(float));
    pack_keys(w, k0, g, false);
    int64_t end = w->span.len;
    if (a->window > 0)
        end = att_min(end, k0 + KEYS - 1 + a->window);
    for (int64_t h = g * a->share; h < (g + 1) * a->share; h++)
        for (int64_t q0 = k0; q0 < end; q0 += QUERIES)
            add_queries(w, h, q0, att_min(QUERIES, w->span.len - q0), k0, keys);
    for (int64_t r = 0; r < keys; r++) {
        att_put_row(a->dk, w->span.start + k0 + r, g, w->dk + r * a->pitch, a->scale);
        att_put_row(a->dv, w->span.start + k0 + r, g, w->dv + r * a->pitch, 1.0f);
    }
}

static void walk_keys(const att_args *a, att_deal *deal, float *scratch, int thread, int threads)
{
    for (int s = 0; s < a->row->count; s++) {
        work w = {.a = a, .span = a->row->span[s]};
        for (int64_t g = 0; g < a->groups; g++)
            for (int64_t k0 = 0; k0 < w.span.len; k0 += KEYS) {
                int64_t queries = w.span.len - k0;
                if (a->window > 0)
                    queries = att_min(queries, KEYS - 1 + a->window);
                const double cost = (double)(queries * a->share);
                if (!scratch)
                    deal->total += cost;
                else if (att_mine(deal, cost, thread, threads))
                    run_keys(&w, scratch, g, k0);
            }
    }
}

/* ---- dq: one tile of queries of the heads of one k/v head -------------------------------------
 */

static void run_queries(work *w, float *scratch, int64_t h0, int64_t count, int64_t q0, int64_t nq)
{
    const att_args *a = w->a;
    const int64_t rows = count * nq, padded = att_up(rows, BLOCK);
    w->q = take(&scratch, padded * a->pitch);
    w->d_o = take(&scratch, padded * a->pitch);
    w->dq = take(&scratch, padded * a->pitch);
    w->lse = take(&scratch, padded);
    w->delta = take(&scratch, padded);
    w->pos = (int64_t *)(void *)take(&scratch, 2 * padded);
    w->kt = take(&scratch, a->pitch * KEYS);
    w->vt = take(&scratch, a->pitch * KEYS);
    w->k = take(&scratch, KEYS * a->pitch);
    w->p = take(&scratch, BLOCK * KEYS);
    w->ds = take(&scratch, BLOCK * KEYS);
    static const float one[BLOCK] = {1, 1, 1, 1, 1, 1, 1, 1};
    for (int64_t r = 0; r < rows; r++)
        load_query(w, r, q0 + r % nq, h0 + r / nq);
    clear_queries(w, rows, padded);
    memset(w->dq, 0, (size_t)(padded * a->pitch) * sizeof(float));
    for (int64_t k0 = att_first(a, q0) / KEYS * KEYS; k0 < q0 + nq; k0 += KEYS) {
        pack_keys(w, k0, h0 / a->share, true);
        for (int64_t r0 = 0; r0 < rows; r0 += BLOCK) {
            const att_mask m = remake_scores(w, r0, k0, w->p, w->ds);
            if (m.from < m.to)
                att_product(w->dq + r0 * a->pitch, a->pitch, a->pitch, one, w->ds + m.from, KEYS,
                            w->k + m.from * a->pitch, a->pitch, m.to - m.from);
        }
    }
    for (int64_t r = 0; r < rows; r++)
        att_put_row(a->dq, w->span.start + q0 + r % nq, h0 + r / nq, w->dq + r * a->pitch,
                    a->scale);
}

static void walk_queries(const att_args *a, att_deal *deal, float *scratch, int thread, int threads)
{
    /* heads that fit into half of the scratch with 32 queries, at most a k/v head's share */
    const int64_t fit = (int64_t)(GF_POOL_SCRATCH / 2 / sizeof(float)) / (3 * 32 * a->pitch);
    const int64_t most = att_max(1, att_min(a->share, fit));
    for (int s = 0; s < a->row->count; s++) {
        work w = {.a = a, .span = a->row->span[s]};
        for (int64_t h = 0; h < a->heads;) {
            const int64_t count = att_min(a->share - h % a->share, most);
            const int64_t tile = att_max(32, att_up(ROWS / count, BLOCK));
            for (int64_t q0 = 0; q0 < w.span.len; q0 += tile) {
                const int64_t nq = att_min(tile, w.span.len - q0);
                const int64_t keys = q0 + nq - att_first(a, q0);
                /* packing a key three ways costs about what 16 rows cost */
                const double cost = (double)(nq * count + 16) * (double)keys;
                if (!scratch)
                    deal->total += cost;
                else if (att_mine(deal, cost, thread, threads))
                    run_queries(&w, scratch, h, count, q0, nq);
            }
            h += count;
        }
    }
}

/* ---- the op -----------------------------------------------------------------------------------
 */

typedef struct {
    att_args a;
    gf_pool *pool;
    double keys, queries; /* cost of each pass */
} job;

/* delta[t,h] = sum over the head of d_o * o */
static void delta_part(void *ctx, int thread, int threads)
{
    const att_args *a = &((const job *)ctx)->a;
    int64_t begin, end;
    gf_pool_split(a->q.dim[0], 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        for (int64_t h = 0; h < a->heads; h++) {
            const void *o = att_head(a->o, t, h), *d = att_head(a->d_o, t, h);
            v16 sum = v_zero();
            for (int64_t c = 0; c < a->width; c += 16)
                sum = v_fma(v_get(o, a->o.dtype, c, a->width - c),
                            v_get(d, a->d_o.dtype, c, a->width - c), sum);
            ((float *)gf_row_at(a->delta, t))[h] = v_sum(sum);
        }
}

static void backward_part(void *ctx, int thread, int threads)
{
    const job *j = ctx;
    float *scratch = gf_pool_scratch(j->pool, thread);
    att_deal keys = {.total = j->keys}, queries = {.total = j->queries};
    walk_keys(&j->a, &keys, scratch, thread, threads);
    walk_queries(&j->a, &queries, scratch, thread, threads);
}

gf_status GF_CPU(attention_bwd)(gf_backend *be, gf_tensor dq, gf_tensor dk, gf_tensor dv,
                                gf_tensor delta, gf_tensor d_o, gf_tensor o, gf_tensor lse,
                                gf_tensor q, gf_tensor k, gf_tensor v, const gf_spans *row,
                                float scale, int64_t window, float cap)
{
    job j = {.pool = be->pool};
    j.a = (att_args){.q = q,
                     .k = k,
                     .v = v,
                     .o = o,
                     .lse = lse,
                     .d_o = d_o,
                     .dq = dq,
                     .dk = dk,
                     .dv = dv,
                     .delta = delta,
                     .row = row,
                     .scale = scale,
                     .cap = cap,
                     .window = window};
    j.a.heads = q.dim[1];
    j.a.groups = k.dim[1];
    j.a.share = j.a.heads / j.a.groups;
    j.a.width = q.dim[2];
    j.a.pitch = att_up(j.a.width, 16);
    att_deal keys = {0}, queries = {0};
    walk_keys(&j.a, &keys, NULL, 0, 1);
    walk_queries(&j.a, &queries, NULL, 0, 1);
    j.keys = keys.total;
    j.queries = queries.total;
    gf_pool_run(be->pool, delta_part, &j);
    gf_pool_run(be->pool, backward_part, &j);
    return GF_OK;
}
