/* attention.c - causal attention, forward. Contract: graft/ops.h. Source: Dao 2023
 * (FlashAttention-2), algorithm 1. */
#include "attention_deal.h"

/* Where a maximum starts: below every finite score, and finite, so that a row that has seen nothing
 * yet multiplies what it has by exp(0) = 1 and not by NaN. */
#define LOWEST (-3.0e38f)

/* One unit: `count` query heads from h on of one k/v head, queries [q0, q0 + nq) of a span. Row
 * i * nq + t is query t of head i. */
typedef struct {
    const att_args *a;
    gf_span span;
    int64_t h, count, q0, nq;
    float *q, *o, *kt, *v, *s; /* scratch: [rows,pitch] x 2, [pitch,KEYS], [KEYS,pitch], tile */
    float *m, *l, *f;          /* [rows]: maximum, denominator, factor of what was summed so far */
    int64_t *pos;              /* [rows] inside the span */
} unit;

/* Of query `row` of the unit, inside the span. */
static int64_t position(const unit *u, int64_t row)
{
    return u->span.kv_len - u->span.len + u->q0 + row;
}

/* Maxima are of raw products, if scores are these times something positive: that saves a pass. */
static bool is_raw(const att_args *a)
{
    return !(a->cap > 0.0f) && a->scale > 0.0f;
}

/* exp(score) = 2^(what maxima are of * unit_of). */
static float unit_of(const att_args *a)
{
    return is_raw(a) ? a->scale * LOG2E : LOG2E;
}

/* top[i] is the largest of row i. Two loops over the rows instead of one: each row's maximum and
 * sum take long to come out, but do not wait for another's. `full`: nothing is masked. */
__attribute__((always_inline)) static inline void
top_rows(const unit *u, const att_mask *mask, int64_t from, int64_t to, bool full, float *top)
{
    const v16 hidden = v_set1(LOWEST);
    for (int i = 0; i < BLOCK; i++) {
        float *s = u->s + i * KEYS;
        v16 most = hidden;
        for (int64_t j = from; j < to; j += 16) {
            v16 x = v_load(s + j);
            if (!is_raw(u->a)) {
                x = att_score(u->a, x);
                v_store(s + j, x);
            }
            most = v_max(full ? x : v_keep(x, mask->lo[i] - j, mask->hi[i] - j, hidden), most);
        }
        top[i] = v_hmax(most);
    }
}

/* Exponentials j.. of a row as words, in place: pairs take half, so they lie behind what
 * is read. */
static inline void put_words(const att_args *a, float *row, int64_t j, v16 p)
{
#if V_PAIRS
    if (a->pair) {
        v_store_pairs(row + j / 2, p);
        return;
    }
#endif
    (void)a;
    v_store(row + j, p);
}

/* Exponentials below m[i], as words, 0 where masked; sum[i] is what row i adds to
 * its denominator. */
__attribute__((always_inline)) static inline void soften_rows(const unit *u, const att_mask *mask,
                                                              int64_t from, int64_t to, bool full,
                                                              const float *m, float *sum)
{
    const v16 scale = v_set1(unit_of(u->a)), hidden = v_set1(-INFINITY);
    for (int i = 0; i < BLOCK; i++) {
        float *s = u->s + i * KEYS;
        const v16 mi = v_set1(m[i]);
        v16 all = v_zero();
        for (int64_t j = from; j < to; j += 16) {
            v16 x = v_mul(v_sub(v_load(s + j), mi), scale);
            if (!full)
                x = v_keep(x, mask->lo[i] - j, mask->hi[i] - j, hidden);
            const v16 p = v_exp2(x);
            put_words(u->a, s, j, p);
            all = v_add(all, p);
        }
        sum[i] = v_sum(all);
    }
}

/* One block of rows against key tile k0. */
static void forward_block(const unit *u, int64_t r0, int64_t k0)
{
    const att_args *a = u->a;
    const att_mask mask = att_mask_block(a, u->pos + r0, k0);
    if (mask.from == mask.to)
        return;
    const int64_t from = mask.from & ~(int64_t)15, to = att_up(mask.to, 16);
    att_product(a, u->s + from, KEYS, to - from, NULL, u->q + r0 * a->pitch, a->pitch, u->kt + from,
                KEYS, a->words);
    float top[BLOCK], sum[BLOCK];
    if (mask.full)
        top_rows(u, &mask, 0, KEYS, true, top);
    else
        top_rows(u, &mask, from, to, false, top);
    float *m = u->m + r0, *l = u->l + r0, *f = u->f + r0;
    const v16 old = v_load_n(m, BLOCK), largest = v_max(v_load_n(top, BLOCK), old);
    v_store_n(f, v_exp2(v_mul(v_sub(old, largest), v_set1(unit_of(a)))), BLOCK);
    v_store_n(m, largest, BLOCK);
    if (mask.full)
        soften_rows(u, &mask, 0, KEYS, true, m, sum);
    else
        soften_rows(u, &mask, from, to, false, m, sum);
    for (int i = 0; i < BLOCK; i++)
        l[i] = l[i] * f[i] + sum[i];
    const int64_t first = att_word(a, mask.from), end = att_word_end(a, mask.to);
    att_product(a, u->o + r0 * a->pitch, a->pitch, a->pitch, f, u->s + first, KEYS,
                u->v + first * a->pitch, a->pitch, end - first);
}

static void run_unit(unit *u, float *scratch)
{
    const att_args *a = u->a;
    const int64_t rows = u->count * u->nq, padded = att_up(rows, BLOCK), g = u->h / a->share;
    u->q = scratch;
    u->o = u->q + padded * a->pitch;
    u->kt = u->o + padded * a->pitch;
    u->v = u->kt + a->pitch * KEYS;
    u->s = u->v + KEYS * a->pitch;
    u->m = u->s + BLOCK * KEYS;
    u->l = u->m + padded;
    u->f = u->l + padded;
    memset(u->q + rows * a->pitch, 0, (size_t)((padded - rows) * a->pitch) * sizeof(float));
    memset(u->o, 0, (size_t)(padded * a->pitch) * sizeof(float));
    memset(u->s, 0, BLOCK * KEYS * sizeof(float));
    for (int64_t r = 0; r < padded; r++) {
        u->m[r] = LOWEST;
        u->l[r] = 0.0f;
        u->f[r] = 1.0f;
    }
    u->pos = (int64_t *)(void *)(u->f + padded); /* padded is a multiple of 8: aligned */
    for (int64_t r = 0; r < padded; r++)
        u->pos[r] = r < rows ? position(u, r % u->nq) : -1; /* what fills up sees nothing */
    for (int64_t r = 0; r < rows; r++)
        att_pack_row(a, u->q + r * a->pitch, a->q, u->span.start + u->q0 + r % u->nq,
                     u->h + r / u->nq);
    const int64_t last = position(u, u->nq - 1);
    for (int64_t k0 = att_first(a, position(u, 0)) / KEYS * KEYS; k0 <= last; k0 += KEYS) {
        const int64_t first = u->span.kv_start + k0, n = att_min(KEYS, u->span.kv_len - k0);
        att_pack_turned(a, u->kt, a->k, first, n, g);
        att_pack_rows(a, u->v, a->v, first, n, g);
        for (int64_t r0 = 0; r0 < rows; r0 += BLOCK)
            forward_block(u, r0, k0);
    }
    for (int64_t r = 0; r < rows; r++) {
        const int64_t t = u->span.start + u->q0 + r % u->nq, h = u->h + r / u->nq;
        att_put_row(a->o, t, h, u->o + r * a->pitch, 1.0f / u->l[r]);
        const double top = (double)u->m[r] * (is_raw(a) ? (double)a->scale : 1.0);
        *att_number(a->lse, t, h) = (float)(top + log((double)u->l[r]));
    }
}

/* Walks the units; with `scratch` runs those of the deal, without only adds up their cost. */
static void walk(const att_args *a, att_deal *deal, float *scratch)
{
    /* heads that fit into half of the scratch with 32 queries, at most a k/v head's share */
    const int64_t fit = (int64_t)(GF_POOL_SCRATCH / 2 / sizeof(float)) / (2 * 32 * a->pitch);
    const int64_t most = att_max(1, att_min(a->share, fit));
    for (int s = 0; s < a->row->count; s++) {
        const gf_span span = a->row->span[s];
        for (int64_t h = 0; h < a->heads;) {
            const int64_t left = a->share - h % a->share, count = att_min(left, most);
            const int64_t tile = att_max(32, att_up(ROWS / count, BLOCK));
            for (int64_t q0 = 0; q0 < span.len; q0 += tile) {
                unit u = {.a = a, .span = span, .h = h, .count = count, .q0 = q0};
                u.nq = att_min(tile, span.len - q0);
                const int64_t last = position(&u, u.nq - 1);
                const int64_t keys = last + 1 - att_first(a, position(&u, 0));
                /* packing a key costs about what 16 rows cost */
                const double cost = (double)(u.nq * count + 16) * (double)keys;
                if (!scratch)
                    deal->total += cost;
                else if (att_mine(deal, cost))
                    run_unit(&u, scratch);
            }
            h += count;
        }
    }
}

typedef struct {
    att_args a;
    gf_pool *pool;
    double total;
} job;

static void forward_part(void *ctx, int thread, int threads)
{
    const job *j = ctx;
    att_deal deal = {.total = j->total};
    deal.lo = j->total * thread / threads;
    deal.hi = j->total * (thread + 1) / threads; /* the next one's lo, to the bit */
    walk(&j->a, &deal, gf_pool_scratch(j->pool, thread));
}

gf_status GF_CPU(attention_fwd)(gf_backend *be, gf_tensor o, gf_tensor lse, gf_tensor q,
                                gf_tensor k, gf_tensor v, const gf_spans *row, float scale,
                                int64_t window, float cap)
{
    job j = {.pool = be->pool};
    j.a = (att_args){.q = q,
                     .k = k,
                     .v = v,
                     .o = o,
                     .lse = lse,
                     .row = row,
                     .scale = scale,
                     .cap = cap,
                     .window = window};
    att_geometry(&j.a);
    att_deal deal = {0};
    walk(&j.a, &deal, NULL);
    j.total = deal.total;
    gf_pool_run(be->pool, forward_part, &j);
    return GF_OK;
}
