/* attention.c - causal attention, forward. Contract: graft/ops.h. Source: Dao 2023
 * (FlashAttention-2), algorithm 1. */
#include "attention.h"

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
} unit;

static int64_t position(const unit *u, int64_t row)
{
    return u->span.kv_len - u->span.len + u->q0 + row % u->nq;
}

/* Scores of a row in s[from..to) to exponentials; moves its
 * maximum and leaves their sum in l. */
static void soften(const unit *u, float *s, int64_t row, const att_mask *mask, int i)
{
    const int64_t from = mask->from & ~(int64_t)15, lo = mask->lo[i], hi = mask->hi[i];
    const v16 hidden = v_set1(-INFINITY);
    v16 x[KEYS / 16], top = hidden;
    for (int64_t j = from; j < mask->to; j += 16) {
        x[j / 16] = v_keep(att_score(u->a, v_load(s + j)), lo - j, hi - j, hidden);
        top = v_max(x[j / 16], top);
    }
    const float largest = v_hmax(top), old = u->m[row];
    const float m = largest > old ? largest : old;
    v16 sum = v_zero();
    for (int64_t j = from; j < mask->to; j += 16) {
        const v16 p = v_exp(v_sub(x[j / 16], v_set1(m)));
        v_store(s + j, p);
        sum = v_add(sum, p);
    }
    u->m[row] = m;
    u->l[row] = v_sum(sum);
}

static void forward_block(const unit *u, int64_t r0, int64_t rows, int64_t k0)
{
    const att_args *a = u->a;
    att_mask mask = {.from = 0, .to = 0};
    const int n = (int)att_min(BLOCK, rows - r0);
    for (int i = 0; i < n; i++)
        att_mask_row(a, &mask, i, position(u, r0 + i), k0);
    if (mask.from == mask.to)
        return;
    const int64_t from = mask.from & ~(int64_t)15, to = att_up(mask.to, 16);
    att_product(u->s + from, KEYS, to - from, NULL, u->q + r0 * a->pitch, a->pitch, u->kt + from,
                KEYS, a->width);
    float old_l[16] = {0}, shift[16] = {0};
    for (int i = 0; i < n; i++) {
        old_l[i] = u->l[r0 + i];
        const float old_m = u->m[r0 + i];
        soften(u, u->s + i * KEYS, r0 + i, &mask, i);
        shift[i] = old_m - u->m[r0 + i];
    }
    float factor[16];
    v_store(factor, v_exp(v_load(shift)));
    for (int i = 0; i < n; i++) {
        u->f[r0 + i] = factor[i];
        u->l[r0 + i] += old_l[i] * factor[i];
    }
    att_product(u->o + r0 * a->pitch, a->pitch, a->pitch, u->f + r0, u->s + mask.from, KEYS,
                u->v + mask.from * a->pitch, a->pitch, mask.to - mask.from);
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
    for (int64_t r = 0; r < rows; r++)
        att_pack_row(u->q + r * a->pitch, a->q, u->span.start + u->q0 + r % u->nq,
                     u->h + r / u->nq);
    const int64_t last = position(u, u->nq - 1);
    for (int64_t k0 = att_first(a, position(u, 0)) / KEYS * KEYS; k0 <= last; k0 += KEYS) {
        const int64_t first = u->span.kv_start + k0, n = att_min(KEYS, u->span.kv_len - k0);
        att_pack_turned(u->kt, a->k, first, n, g);
        for (int64_t r = 0; r < n; r++)
            att_pack_row(u->v + r * a->pitch, a->v, first + r, g);
        for (int64_t r0 = 0; r0 < rows; r0 += BLOCK)
            forward_block(u, r0, rows, k0);
    }
    for (int64_t r = 0; r < rows; r++) {
        const int64_t t = u->span.start + u->q0 + r % u->nq, h = u->h + r / u->nq;
        att_put_row(a->o, t, h, u->o + r * a->pitch, 1.0f / u->l[r]);
        ((float *)gf_row_at(a->lse, t))[h] = (float)((double)u->m[r] + log((double)u->l[r]));
    }
}

/* Walks the units; with `scratch` runs those of `thread`, without only adds up their cost. */
static void walk(const att_args *a, att_deal *deal, float *scratch, int thread, int threads)
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
                else if (att_mine(deal, cost, thread, threads))
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
    walk(&j->a, &deal, gf_pool_scratch(j->pool, thread), thread, threads);
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
    j.a.heads = q.dim[1];
    j.a.groups = k.dim[1];
    j.a.share = j.a.heads / j.a.groups;
    j.a.width = q.dim[2];
    j.a.pitch = att_up(j.a.width, 16);
    att_deal deal = {0};
    walk(&j.a, &deal, NULL, 0, 1);
    j.total = deal.total;
    gf_pool_run(be->pool, forward_part, &j);
    return GF_OK;
}
