/* attention_bwd.c - causal attention, backward. Contract: graft/ops.h. Source: Dao 2023
 * (FlashAttention-2), algorithm 2, in one of two forms with the same bits.
 *
 * Fused, 5 products: one thread owns a k/v head of an example, walks its tiles of keys upwards and
 * sums dq in its scratch. Split, 7 products: dk and dv by tiles of keys, then dq by tiles of
 * queries, scores made again in both; many threads share one k/v head, however long. Either way
 * every sum has one owner and one order, that of FlashAttention's loops, and no atomics. */
#include "attention_deal.h"

#define QUERIES 64 /* of a tile where keys are outside; P and dS are then QUERIES x KEYS */
#define TILES 2    /* of keys that share one loading of the queries: half the traffic */

/* A thread's scratch. Row r of the query side holds q, d_o and, per row, lse, delta
 * and position. */
typedef struct {
    const att_args *a;
    gf_span span;
    float *q, *d_o;             /* [rows,pitch], words along the width */
    float *inner_q, *inner_d_o; /* words along the rows; without pairs q and d_o */
    float *lse, *delta;         /* [rows] */
    int64_t *pos;               /* [rows] inside the span */
    float *kt, *vt, *k;         /* per tile: [pitch,KEYS] x 2, [KEYS,pitch] */
    float *p, *ds;              /* [rows or BLOCK,KEYS], words along the rows */
    float *ds_keys;             /* [BLOCK,KEYS], words along the keys, if pairs */
    float *dq, *dk, *dv;        /* [rows,pitch], [KEYS,pitch] x 2 */
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
    att_pack_row(a, w->q + r * a->pitch, a->q, t, h);
    att_pack_row(a, w->d_o + r * a->pitch, a->d_o, t, h);
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

/* P and dS of row r, columns j.., from the products of q and k and of d_o and v; zero where
 * masked. `full`: nothing is. */
__attribute__((always_inline)) static inline void slope_one(const work *w, int64_t r, int64_t lo,
                                                            int64_t hi, bool full, v16 *p, v16 *ds)
{
    const att_args *a = w->a;
    const v16 s = att_score(a, *p);
    v16 x = v_exp2(v_mul(v_sub(s, v_set1(w->lse[r])), v_set1(LOG2E)));
    v16 d = v_mul(x, v_sub(*ds, v_set1(w->delta[r])));
    if (a->cap > 0.0f) {
        const v16 t = v_div(s, v_set1(a->cap));
        d = v_mul(d, v_fma(v_sub(v_zero(), t), t, v_set1(1.0f)));
    }
    *p = full ? x : v_keep(x, lo, hi, v_zero());
    *ds = full ? d : v_keep(d, lo, hi, v_zero());
}

/* P and dS of the rows r and r + 1, to words, columns j..: without pairs in place; with pairs the
 * words of both rows stand in the first's place, and dS along the keys in ds_keys. */
__attribute__((always_inline)) static inline void put_two(const work *w, int i, int64_t j, v16 p[2],
                                                          v16 ds[2], float *pj, float *dj)
{
#if V_PAIRS
    if (w->a->pair) {
        v_store(pj, v_pair(p[0], p[1]));
        v_store(dj, v_pair(ds[0], ds[1]));
        v_store_pairs(w->ds_keys + i * KEYS + j / 2, ds[0]);
        v_store_pairs(w->ds_keys + (i + 1) * KEYS + j / 2, ds[1]);
        return;
    }
#endif
    (void)w, (void)i, (void)j;
    for (int row = 0; row < 2; row++) {
        v_store(pj + row * KEYS, p[row]);
        v_store(dj + row * KEYS, ds[row]);
    }
}

/* Products q k and d_o v of a block to P and dS. `full`: nothing is masked. */
__attribute__((always_inline)) static inline void slope_rows(const work *w, int64_t r0,
                                                             const att_mask *m, int64_t from,
                                                             int64_t to, bool full, float *p,
                                                             float *ds)
{
    for (int i = 0; i < BLOCK; i += 2)
        for (int64_t j = from; j < to; j += 16) {
            float *pj = p + i * KEYS + j, *dj = ds + i * KEYS + j;
            v16 x[2] = {v_load(pj), v_load(pj + KEYS)}, d[2] = {v_load(dj), v_load(dj + KEYS)};
            slope_one(w, r0 + i, m->lo[i] - j, m->hi[i] - j, full, &x[0], &d[0]);
            slope_one(w, r0 + i + 1, m->lo[i + 1] - j, m->hi[i + 1] - j, full, &x[1], &d[1]);
            put_two(w, i, j, x, d, pj, dj);
        }
}

/* P and dS (without the scale) of BLOCK rows from r0 on against key tile k0, packed at place
 * `tile`; zero where masked. Columns [from, to) of the mask, in whole vectors. */
static att_mask remake_scores(const work *w, int64_t r0, int64_t k0, int64_t tile, float *p,
                              float *ds)
{
    const att_args *a = w->a;
    const att_mask mask = att_mask_block(a, w->pos + r0, k0);
    if (mask.from == mask.to)
        return mask;
    const int64_t from = mask.from & ~(int64_t)15, n = att_up(mask.to, 16) - from;
    const int64_t at = tile * KEYS * a->pitch;
    att_product(a, p + from, KEYS, n, NULL, w->q + r0 * a->pitch, a->pitch, w->kt + at + from, KEYS,
                a->words);
    att_product(a, ds + from, KEYS, n, NULL, w->d_o + r0 * a->pitch, a->pitch, w->vt + at + from,
                KEYS, a->words);
    if (mask.full)
        slope_rows(w, r0, &mask, 0, KEYS, true, p, ds);
    else
        slope_rows(w, r0, &mask, from, from + n, false, p, ds);
    return mask;
}

/* dq += dS K of the block that was made last, its dS at ds, against the tile packed at `tile`. */
static void add_dq(const work *w, const att_mask *m, const float *ds, int64_t tile, float *dq)
{
    static const float one[BLOCK] = {1, 1, 1, 1, 1, 1, 1, 1};
    const att_args *a = w->a;
    const int64_t first = att_word(a, m->from), end = att_word_end(a, m->to);
    const float *k = w->k + tile * KEYS * a->pitch;
    att_product(a, dq, a->pitch, a->pitch, one, (a->pair ? w->ds_keys : ds) + first, KEYS,
                k + first * a->pitch, a->pitch, end - first);
}

/* Packs tile k0 at place `tile` of the packed ones. */
static void pack_keys(const work *w, int64_t k0, int64_t g, bool rows, int64_t tile)
{
    const att_args *a = w->a;
    const int64_t first = w->span.start + k0, n = att_min(KEYS, w->span.len - k0);
    const int64_t at = tile * KEYS * a->pitch;
    att_pack_turned(a, w->kt + at, a->k, first, n, g);
    att_pack_turned(a, w->vt + at, a->v, first, n, g);
    if (rows)
        att_pack_rows(a, w->k + at, a->k, first, n, g);
}

/* ---- keys outside: dk, dv of TILES tiles of one k/v head, and dq if fused ---------- */

/* P and dS of the n loaded queries, the first being q0, against tile k0; adds them to dk and dv of
 * the tile and, if w->dq, to dq[n,pitch]. */
static void add_tile(work *w, int64_t q0, int64_t n, int64_t k0, int64_t tile, float *dq)
{
    const att_args *a = w->a;
    const int64_t at = tile * KEYS * a->pitch, keys = att_min(KEYS, w->span.len - k0);
    for (int64_t r = 0; r < n; r += BLOCK) {
        const att_mask m = remake_scores(w, r, k0, tile, w->p + r * KEYS, w->ds + r * KEYS);
        if (dq && m.from < m.to)
            add_dq(w, &m, w->ds + r * KEYS, tile, dq + r * a->pitch);
    }
    for (int64_t j = 0; j < keys; j += BLOCK) {
        /* queries that see one of keys j..j+7: not before key j itself, not a window later */
        const int64_t first = att_max(k0 + j - q0, 0); /* a multiple of BLOCK */
        int64_t end = n;
        if (a->window > 0)
            end = att_min(end, k0 + j + BLOCK - 1 + a->window - q0);
        if (first >= end)
            continue;
        const int64_t row = att_word(a, first), rows = att_word_end(a, end) - row;
        att_product_turned(a, w->dv + at + j * a->pitch, a->pitch, a->pitch,
                           w->p + first * KEYS + j, w->inner_d_o + row * a->pitch, a->pitch, rows);
        att_product_turned(a, w->dk + at + j * a->pitch, a->pitch, a->pitch,
                           w->ds + first * KEYS + j, w->inner_q + row * a->pitch, a->pitch, rows);
    }
}

/* Scratch of this form but dq, in floats. */
static int64_t keys_scratch(const att_args *a)
{
    return ((a->pair ? 3 : 2) * QUERIES + 5 * TILES * KEYS) * a->pitch + 2 * QUERIES * KEYS +
           (a->pair ? BLOCK * KEYS : 0) + 4 * QUERIES;
}

/* Lays out the scratch of this form. */
static void take_keys(work *w, float *scratch)
{
    const att_args *a = w->a;
    const int64_t area = QUERIES * a->pitch, tiles_area = TILES * KEYS * a->pitch;
    w->q = take(&scratch, area);
    w->d_o = take(&scratch, area);
    w->inner_q = a->pair ? take(&scratch, area / 2) : w->q;
    w->inner_d_o = a->pair ? take(&scratch, area / 2) : w->d_o;
    w->lse = take(&scratch, QUERIES);
    w->delta = take(&scratch, QUERIES);
    w->pos = (int64_t *)(void *)take(&scratch, 2 * QUERIES);
    w->kt = take(&scratch, tiles_area);
    w->vt = take(&scratch, tiles_area);
    w->k = take(&scratch, tiles_area);
    w->p = take(&scratch, QUERIES * KEYS);
    w->ds = take(&scratch, QUERIES * KEYS);
    w->ds_keys = a->pair ? take(&scratch, BLOCK * KEYS) : NULL;
    w->dk = take(&scratch, tiles_area);
    w->dv = take(&scratch, tiles_area);
    memset(w->dk, 0, (size_t)tiles_area * sizeof(float));
    memset(w->dv, 0, (size_t)tiles_area * sizeof(float));
}

/* Queries [q0, q0 + n) of head h, both ways where the words differ. */
static void load_queries(const work *w, int64_t q0, int64_t n, int64_t h)
{
    const att_args *a = w->a;
    for (int64_t r = 0; r < n; r++)
        load_query(w, r, q0 + r, h);
    clear_queries(w, n, att_up(n, BLOCK));
    if (!a->pair)
        return;
    att_pack_rows(a, w->inner_q, a->q, w->span.start + q0, n, h);
    att_pack_rows(a, w->inner_d_o, a->d_o, w->span.start + q0, n, h);
}

/* `dq`: [share, dq_rows, pitch], or NULL. */
static void run_keys(work *w, float *scratch, int64_t g, int64_t k0, float *dq, int64_t dq_rows)
{
    const att_args *a = w->a;
    const int64_t len = w->span.len, tiles = att_min(TILES, (len - k0 + KEYS - 1) / KEYS);
    take_keys(w, scratch);
    for (int64_t t = 0; t < tiles; t++)
        pack_keys(w, k0 + t * KEYS, g, dq != NULL, t);
    int64_t end = len;
    if (a->window > 0)
        end = att_min(end, k0 + tiles * KEYS - 1 + a->window);
    for (int64_t h = 0; h < a->share; h++)
        for (int64_t q0 = k0; q0 < end; q0 += QUERIES) {
            const int64_t n = att_min(QUERIES, len - q0);
            load_queries(w, q0, n, g * a->share + h);
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

static void walk_keys(const att_args *a, const att_plan *p, att_deal *deal, float *scratch)
{
    double before = 0.0;
    for (int s = 0; s < a->row->count; s++) {
        work w = {.a = a, .span = a->row->span[s]};
        for (int64_t g = 0; g < a->groups; g++) {
            const bool fused = att_fused_owner(a, p, w.span, before) >= 0;
            before += att_head_cost(a, w.span);
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

/* ---- dq: one tile of queries of the heads of one k/v head -------------------------- */

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
    w->ds_keys = a->pair ? take(&scratch, BLOCK * KEYS) : NULL;
    for (int64_t r = 0; r < rows; r++)
        load_query(w, r, q0 + r % nq, h0 + r / nq);
    clear_queries(w, rows, padded);
    memset(w->dq, 0, (size_t)(padded * a->pitch) * sizeof(float));
    for (int64_t k0 = att_first(a, q0) / KEYS * KEYS; k0 < q0 + nq; k0 += KEYS) {
        pack_keys(w, k0, h0 / a->share, true, 0);
        for (int64_t r0 = 0; r0 < rows; r0 += BLOCK) {
            const att_mask m = remake_scores(w, r0, k0, 0, w->p, w->ds);
            if (m.from < m.to)
                add_dq(w, &m, w->ds, 0, w->dq + r0 * a->pitch);
        }
    }
    for (int64_t r = 0; r < rows; r++)
        att_put_row(a->dq, w->span.start + q0 + r % nq, h0 + r / nq, w->dq + r * a->pitch,
                    a->scale);
}

static void walk_queries(const att_args *a, const att_plan *p, att_deal *deal, float *scratch)
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
            const bool fused = att_fused_owner(a, p, w.span, before) >= 0;
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
            before += h % a->share == 0 ? att_head_cost(a, w.span) : 0.0;
        }
    }
}

/* ---- the op ------------------------------------------------------------------------ */

typedef struct {
    att_args a;
    gf_pool *pool;
    att_plan p;
    double keys, queries; /* cost of each pass over what is split */
} job;

/* out[c][i] = word c.. of row t + i of head h, of `rows` rows (others 0). */
static void turn_words(const att_args *a, float out[256], gf_tensor x, int64_t t, int64_t rows,
                       int64_t h, int64_t c)
{
    v16 r[16];
    for (int64_t i = 0; i < 16; i++)
        r[i] = i < rows ? att_words(a, att_head(x, t + i, h), x.dtype, c) : v_zero();
    v_transpose16(out, 16, r);
}

/* delta[t,h] = sum over the head of d_o * o, in the order in which the products of d_o and v are
 * summed: for a query that sees one key, whose o is that key's v, dS is then zero as it should be,
 * not a rounding error of which AdamW would make a step of full size. */
static void delta_part(void *ctx, int thread, int threads)
{
    const att_args *a = &((const job *)ctx)->a;
    int64_t begin, end;
    gf_pool_split(a->q.dim[0], 16, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t += 16)
        for (int64_t h = 0; h < a->heads; h++) {
            const int64_t rows = att_min(16, end - t);
            v16 sum = v_zero();
            for (int64_t c = 0; c < a->words; c += 16) {
                float o[256], d[256];
                turn_words(a, o, a->o, t, rows, h, c);
                turn_words(a, d, a->d_o, t, rows, h, c);
                for (int64_t k = 0; k < att_min(16, a->words - c); k++)
                    sum = att_step(a->pair, v_load(d + 16 * k), v_load(o + 16 * k), sum);
            }
            float lane[16];
            v_store(lane, sum);
            for (int64_t i = 0; i < rows; i++)
                *att_number(a->delta, t + i, h) = lane[i];
        }
}

static void run_mine(const job *j, float *scratch, int thread)
{
    double before = 0.0;
    for (int s = 0; s < j->a.row->count; s++) {
        work w = {.a = &j->a, .span = j->a.row->span[s]};
        for (int64_t g = 0; g < j->a.groups; g++) {
            if (att_fused_owner(&j->a, &j->p, w.span, before) == thread)
                run_fused(&w, scratch, g);
            before += att_head_cost(&j->a, w.span);
        }
    }
}

static void backward_part(void *ctx, int thread, int threads)
{
    const job *j = ctx;
    float *scratch = gf_pool_scratch(j->pool, thread);
    (void)threads;
    run_mine(j, scratch, thread);
    const double lo = att_split_begin(&j->a, &j->p, thread),
                 hi = att_split_begin(&j->a, &j->p, thread + 1);
    att_deal keys = {.lo = lo * j->keys, .hi = hi * j->keys};
    att_deal queries = {.lo = lo * j->queries, .hi = hi * j->queries};
    walk_keys(&j->a, &j->p, &keys, scratch);
    walk_queries(&j->a, &j->p, &queries, scratch);
}

gf_status GF_CPU(attention_bwd)(gf_backend *be, gf_tensor dq, gf_tensor dk, gf_tensor dv,
                                gf_tensor delta, gf_tensor d_o, gf_tensor o, gf_tensor lse,
                                gf_tensor q, gf_tensor k, gf_tensor v, const gf_spans *row,
                                float scale, int64_t window, float cap, gf_tensor cos,
                                gf_tensor sin)
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
    att_geometry(&j.a);
    att_deal keys = {.total = 0}, queries = {.total = 0};
    j.p.threads = gf_pool_threads(be->pool);
    j.p.room = (int64_t)(GF_POOL_SCRATCH / sizeof(float)) - keys_scratch(&j.a);
    for (int s = 0; s < row->count; s++)
        j.p.total += (double)j.a.groups * att_head_cost(&j.a, row->span[s]);
    walk_keys(&j.a, &j.p, &keys, NULL);
    walk_queries(&j.a, &j.p, &queries, NULL);
    j.keys = keys.total;
    j.queries = queries.total;
    gf_pool_run(be->pool, delta_part, &j);
    gf_pool_run(be->pool, backward_part, &j);
    if (!gf_is(cos))
        return GF_OK;
    TRY(GF_CPU(rope)(be, dk, cos, sin, -1));
    return GF_CPU(rope)(be, dq, cos, sin, -1);
}
