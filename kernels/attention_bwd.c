/* attention_bwd.c - causal attention, backward. Contract: graft/ops.h. Source: Dao 2023
 * (FlashAttention-2), algorithm 2, in one of two forms with the same bits.
 *
 * Fused, 5 products: one thread owns a k/v head of an example, walks its tiles of keys upwards and
 * sums dq in its scratch. Split, 7 products: dk and dv by tiles of keys, then dq by tiles of
 * queries, scores made again in both; many threads share one k/v head, however long. Either way
 * every sum has one owner and one order, that of FlashAttention's loops, and no atomics. */
#include "attention.h"

#define QUERIES 64 /* of a tile where keys are outside; P and dS are then QUERIES x KEYS */
#define TILES 2    /* of keys that share one loading of the queries: half the traffic */

/* A thread's scratch. Row r of the query side holds q, d_o and, per row, lse, delta and position.
 */
typedef struct {
    const att_args *a;
    gf_span span;
    float *q, *d_o;                     /* [rows,pitch] */
    float *lse, *delta;                 /* [rows] */
    int64_t *pos;                       /* [rows] inside the span */
    float *kt, *vt, *k; /* per tile: */ /* [pitch,KEYS] x 2, [KEYS,pitch] */
    float *p, *ds;                      /* [rows or BLOCK,KEYS] */
    float *dq, *dk, *dv;                /* [rows,pitch], [KEYS,pitch] x 2 */
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
    w->lse[r] = *att_number(a->lse, t, h);
    w->delta[r] = *att_number(a->delta, t, h);
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

/* Products q k and d_o v of a block to P and dS. `full`: nothing is masked. */
__attribute__((always_inline)) static inline void slope_rows(const work *w, int64_t r0,
                                                             const att_mask *mask, int64_t from,
                                                             int64_t to, bool full, float *p,
                                                             float *ds)
{
    const att_args *a = w->a;
    const v16 one = v_set1(1.0f);
    for (int i = 0; i < BLOCK; i++) {
        const v16 lse = v_set1(w->lse[r0 + i]), delta = v_set1(w->delta[r0 + i]);
        for (int64_t j = from; j < to; j += 16) {
            float *pj = p + i * KEYS + j, *dj = ds + i * KEYS + j;
            const v16 s = att_score(a, v_load(pj));
            v16 x = v_exp(v_sub(s, lse));
            v16 d = v_mul(x, v_sub(v_load(dj), delta));
            if (a->cap > 0.0f) {
                const v16 t = v_div(s, v_set1(a->cap));
                d = v_mul(d, v_fma(v_sub(v_zero(), t), t, one));
            }
            if (!full) {
                x = v_keep(x, mask->lo[i] - j, mask->hi[i] - j, v_zero());
                d = v_keep(d, mask->lo[i] - j, mask->hi[i] - j, v_zero());
            }
            v_store(pj, x);
            v_store(dj, d);
        }
    }
}

/* P and dS (without the scale) of BLOCK rows from r0 on against key tile k0, packed at place
 * `tile`; zero where masked. Columns [from, to) of the mask, in whole vectors. */
static att_mask remake_scores(const work *w, int64_t r0, int64_t k0, int64_t tile, float *p,
                              float *ds)
{
    const att_args *a = w->a;
    att_mask mask = {.from = 0, .to = 0};
    bool full = true;
    for (int i = 0; i < BLOCK; i++) {
        att_mask_row(a, &mask, i, w->pos[r0 + i], k0);
        full = full && mask.lo[i] == 0 && mask.hi[i] == KEYS;
    }
    if (mask.from == mask.to)
        return mask;
    const int64_t from = mask.from & ~(int64_t)15, n = att_up(mask.to, 16) - from;
    const int64_t at = tile * KEYS * a->pitch;
    att_product(p + from, KEYS, n, NULL, w->q + r0 * a->pitch, a->pitch, w->kt + at + from, KEYS,
                a->width);
    att_product(ds + from, KEYS, n, NULL, w->d_o + r0 * a->pitch, a->pitch, w->vt + at + from, KEYS,
                a->width);
    if (full)
        slope_rows(w, r0, &mask, 0, KEYS, true, p, ds);
    else
        slope_rows(w, r0, &mask, from, from + n, false, p, ds);
    return mask;
}

/* Packs tile k0 at place `tile` of the packed ones. */
static void pack_keys(const work *w, int64_t k0, int64_t g, bool rows, int64_t tile)
{
    const att_args *a = w->a;
    const int64_t first = w->span.start + k0, n = att_min(KEYS, w->span.len - k0);
    const int64_t at = tile * KEYS * a->pitch;
    att_pack_turned(w->kt + at, a->k, first, n, g);
    att_pack_turned(w->vt + at, a->v, first, n, g);
    for (int64_t r = 0; rows && r < n; r++)
        att_pack_row(w->k + at + r * a->pitch, a->k, first + r, g);
}

/* ---- keys outside: dk, dv of TILES tiles of one k/v head, and dq if fused ---------------------
 */

/* P and dS of the n loaded queries, the first being q0, against tile k0; adds them to dk and dv of
 * the tile and, if w->dq, to dq[n,pitch]. */
static void add_tile(work *w, int64_t q0, int64_t n, int64_t k0, int64_t tile, float *dq)
{
    static const float one[BLOCK] = {1, 1, 1, 1, 1, 1, 1, 1};
    const att_args *a = w->a;
    const int64_t at = tile * KEYS * a->pitch, keys = att_min(KEYS, w->span.len - k0);
    for (int64_t r = 0; r < n; r += BLOCK) {
        const att_mask m = remake_scores(w, r, k0, tile, w->p + r * KEYS, w->ds + r * KEYS);
        if (dq && m.from < m.to)
            att_product(dq + r * a->pitch, a->pitch, a->pitch, one, w->ds + r * KEYS + m.from, KEYS,
                        w->k + at + m.from * a->pitch, a->pitch, m.to - m.from);
    }
    for (int64_t j = 0; j < keys; j += BLOCK) {
        /* queries that see one of keys j..j+7: not before key j itself, not a window later */
        const int64_t first = att_max(k0 + j - q0, 0);
        int64_t end = n;
        if (a->window > 0)
            end = att_min(end, k0 + j + BLOCK - 1 + a->window - q0);
        if (first >= end)
            continue;
        att_product_turned(w->dv + at + j * a->pitch, a->pitch, a->pitch, w->p + first * KEYS + j,
                           w->d_o + first * a->pitch, a->pitch, end - first);
        att_product_turned(w->dk + at + j * a->pitch, a->pitch, a->pitch, w->ds + first * KEYS + j,
                           w->q + first * a->pitch, a->pitch, end - first);
    }
}

/* Scratch of this form but dq, in floats. */
static int64_t keys_scratch(const att_args *a)
{
    return (2 * QUERIES + 5 * TILES * KEYS) * a->pitch + 2 * QUERIES * KEYS + 4 * QUERIES;
}

/* `dq`: [share, dq_rows, pitch], or NULL. */
static void run_keys(work *w, float *scratch, int64_t g, int64_t k0, float *dq, int64_t dq_rows)
{
    const att_args *a = w->a;
    const int64_t area = QUERIES * a->pitch, tiles_area = TILES * KEYS * a->pitch;
    const int64_t len = w->span.len, tiles = att_min(TILES, (len - k0 + KEYS - 1) / KEYS);
    w->q = take(&scratch, area);
    w->d_o = take(&scratch, area);
    w->lse = take(&scratch, QUERIES);
    w->delta = take(&scratch, QUERIES);
    w->pos = (int64_t *)(void *)take(&scratch, 2 * QUERIES);
    w->kt = take(&scratch, tiles_area);
    w->vt = take(&scratch, tiles_area);
    w->k = take(&scratch, tiles_area);
    w->p = take(&scratch, QUERIES * KEYS);
    w->ds = take(&scratch, QUERIES * KEYS);
    w->dk = take(&scratch, tiles_area);
    w->dv = take(&scratch, tiles_area);
    memset(w->dk, 0, (size_t)tiles_area * sizeof(float));
    memset(w->dv, 0, (size_t)tiles_area * sizeof(float));
    for (int64_t t = 0; t < tiles; t++)
        pack_keys(w, k0 + t * KEYS, g, dq != NULL, t);
    int64_t end = len;
    if (a->window > 0)
        end = att_min(end, k0 + tiles * KEYS - 1 + a->window);
    for (int64_t h = 0; h < a->share; h++)
        for (int64_t q0 = k0; q0 < end; q0 += QUERIES) {
            const int64_t n = att_min(QUERIES, len - q0);
            for (int64_t r = 0; r < n; r++)
                load_query(w, r, q0 + r, g * a->share + h);
            clear_queries(w, n, att_up(n, BLOCK));
            for (int64_t t = 0; t < tiles && k0 + t * KEYS < q0 + n; t++)
                add_tile(w, q0, n, k0 + t * KEYS, t,
                         dq ? dq + (h * dq_rows + q0) * a->pitch : NULL);
        }
    for (int64_t r = 0; r < att_min(tiles * KEYS, len - k0); r++) {
        att_put_row(a->dk, w->span.start + k0 + r, g, w->dk + r * a->pitch, a->scale);
        att_put_row(a->dv, w->span.start + k0 + r, g, w->dv + r * a->pitch, 1.0f);
    }
}

/* All of one k/v head of an example, fused. */
static void run_fused(work *w, float *scratch, int64_t g)
{
    const att_args *a = w->a;
    const int64_t len = w->span.len, rows = att_up(len, BLOCK);
    float *dq = take(&scratch, a->share * rows * a->pitch);
    memset(dq, 0, (size_t)(a->share * rows * a->pitch) * sizeof(float));
    for (int64_t k0 = 0; k0 < len; k0 += TILES * KEYS)
        run_keys(w, scratch, g, k0, dq, rows);
    for (int64_t h = 0; h < a->share; h++)
        for (int64_t i = 0; i < len; i++)
            att_put_row(a->dq, w->span.start + i, g * a->share + h, dq + (h * rows + i) * a->pitch,
                        a->scale);
}

/* ---- who does what ----------------------------------------------------------------------------
 */

/* A k/v head of an example whose cost lies wholly inside a thread's even share of
 * the total, and whose dq fits, is that thread's, fused; the others are split between all. */
typedef struct {
    double total; /* of all k/v heads */
    int threads;
} plan;

/* Cost of a k/v head: its (query, key) pairs, up to what tiles add. */
static double head_cost(const att_args *a, gf_span span)
{
    const double n = (double)span.len, w = (double)a->window;
    return (double)a->share * (a->window > 0 && w < n ? w * (n + 1) : n * (n + 1) / 2);
}

/* The thread that runs the head fused, or -1; `before` is the cost of all heads before it. */
static int fused_owner(const att_args *a, const plan *p, gf_span span, double before)
{
    const int64_t dq = a->share * att_up(span.len, BLOCK) * a->pitch;
    if (p->total <= 0.0 || dq > (int64_t)(GF_POOL_SCRATCH / sizeof(float)) - keys_scratch(a))
        return -1;
    const double after = before + head_cost(a, span);
    for (int t = (int)(before / p->total * p->threads); t < p->threads; t++) {
        if (before < p->total * t / p->threads)
            break;
        if (after <= p->total * (t + 1) / p->threads)
            return t;
    }
    return -1;
}

/* Sums, over all heads, the cost of those that threads below `thread` run fused, and of all such.
 */
static void fused_costs(const att_args *a, const plan *p, int thread, double *below, double *all)
{
    double before = 0.0;
    *below = *all = 0.0;
    for (int s = 0; s < a->row->count; s++)
        for (int64_t g = 0; g < a->groups; g++) {
            const double cost = head_cost(a, a->row->span[s]);
            const int owner = fused_owner(a, p, a->row->span[s], before);
            before += cost;
            *all += owner >= 0 ? cost : 0.0;
            *below += owner >= 0 && owner < thread ? cost : 0.0;
        }
}

/* Where the split work of `thread` begins, as a share of all of it: its even share of the total is
 * what it runs fused plus this. Costs are whole numbers, so that neighbours agree to the bit. */
static double split_begin(const att_args *a, const plan *p, int thread)
{
    double below, all;
    fused_costs(a, p, thread, &below, &all);
    if (thread == 0)
        return 0.0;
    if (thread == p->threads || all >= p->total)
        return 2.0; /* beyond the end */
    return (p->total * thread / p->threads - below) / (p->total - all);
}

static void walk_keys(const att_args *a, const plan *p, att_deal *deal, float *scratch)
{
    double before = 0.0;
    for (int s = 0; s < a->row->count; s++) {
        work w = {.a = a, .span = a->row->span[s]};
        for (int64_t g = 0; g < a->groups; g++) {
            const bool fused = fused_owner(a, p, w.span, before) >= 0;
            before += head_cost(a, w.span);
            for (int64_t k0 = 0; k0 < w.span.len && !fused; k0 += TILES * KEYS) {
                int64_t queries = w.span.len - k0;
                if (a->window > 0)
                    queries = att_min(queries, TILES * KEYS - 1 + a->window);
                const double cost = (double)(queries * a->share);
                if (!scratch)
                    deal->total += cost;
                else if (att_mine(deal, cost))
                    run_keys(&w, scratch, g, k0, NULL, 0);
            }
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
        pack_keys(w, k0, h0 / a->share, true, 0);
        for (int64_t r0 = 0; r0 < rows; r0 += BLOCK) {
            const att_mask m = remake_scores(w, r0, k0, 0, w->p, w->ds);
            if (m.from < m.to)
                att_product(w->dq + r0 * a->pitch, a->pitch, a->pitch, one, w->ds + m.from, KEYS,
                            w->k + m.from * a->pitch, a->pitch, m.to - m.from);
        }
    }
    for (int64_t r = 0; r < rows; r++)
        att_put_row(a->dq, w->span.start + q0 + r % nq, h0 + r / nq, w->dq + r * a->pitch,
                    a->scale);
}

static void walk_queries(const att_args *a, const plan *p, att_deal *deal, float *scratch)
{
    /* heads that fit into half of the scratch with 32 queries, at most a k/v head's share */
    const int64_t fit = (int64_t)(GF_POOL_SCRATCH / 2 / sizeof(float)) / (3 * 32 * a->pitch);
    const int64_t most = att_max(1, att_min(a->share, fit));
    double before = 0.0;
    for (int s = 0; s < a->row->count; s++) {
        work w = {.a = a, .span = a->row->span[s]};
        for (int64_t h = 0; h < a->heads;) {
            const int64_t count = att_min(a->share - h % a->share, most);
            const int64_t tile = att_max(32, att_up(ROWS / count, BLOCK));
            const bool fused = fused_owner(a, p, w.span, before) >= 0;
            for (int64_t q0 = 0; q0 < w.span.len && !fused; q0 += tile) {
                const int64_t nq = att_min(tile, w.span.len - q0);
                const int64_t keys = q0 + nq - att_first(a, q0);
                /* packing a key three ways costs about what 16 rows cost */
                const double cost = (double)(nq * count + 16) * (double)keys;
                if (!scratch)
                    deal->total += cost;
                else if (att_mine(deal, cost))
                    run_queries(&w, scratch, h, count, q0, nq);
            }
            h += count;
            before += h % a->share == 0 ? head_cost(a, w.span) : 0.0;
        }
    }
}

/* ---- the op -----------------------------------------------------------------------------------
 */

typedef struct {
    att_args a;
    gf_pool *pool;
    plan p;
    double keys, queries; /* cost of each pass over what is split */
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
            *att_number(a->delta, t, h) = v_sum(sum);
        }
}

static void run_mine(const job *j, float *scratch, int thread)
{
    double before = 0.0;
    for (int s = 0; s < j->a.row->count; s++) {
        work w = {.a = &j->a, .span = j->a.row->span[s]};
        for (int64_t g = 0; g < j->a.groups; g++) {
            if (fused_owner(&j->a, &j->p, w.span, before) == thread)
                run_fused(&w, scratch, g);
            before += head_cost(&j->a, w.span);
        }
    }
}

static void backward_part(void *ctx, int thread, int threads)
{
    const job *j = ctx;
    float *scratch = gf_pool_scratch(j->pool, thread);
    (void)threads;
    run_mine(j, scratch, thread);
    const double lo = split_begin(&j->a, &j->p, thread), hi = split_begin(&j->a, &j->p, thread + 1);
    att_deal keys = {.lo = lo * j->keys, .hi = hi * j->keys};
    att_deal queries = {.lo = lo * j->queries, .hi = hi * j->queries};
    walk_keys(&j->a, &j->p, &keys, scratch);
    walk_queries(&j->a, &j->p, &queries, scratch);
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
    att_deal keys = {.total = 0}, queries = {.total = 0};
    j.p.threads = gf_pool_threads(be->pool);
    for (int s = 0; s < row->count; s++)
        j.p.total += (double)j.a.groups * head_cost(&j.a, row->span[s]);
    walk_keys(&j.a, &j.p, &keys, NULL);
    walk_queries(&j.a, &j.p, &queries, NULL);
    j.keys = keys.total;
    j.queries = queries.total;
    gf_pool_run(be->pool, delta_part, &j);
    gf_pool_run(be->pool, backward_part, &j);
    return GF_OK;
}
