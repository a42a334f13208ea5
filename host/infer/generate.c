/* generate.c - prompt in pieces, then token by token. Contract: infer/generate.h. */
#include "infer/generate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static gf_status check(const gf_model *m, const int32_t *ids, int64_t count,
                       const gf_generate_options *opt, gf_err *err)
{
    if (count < 1)
        return gf_fail(err, GF_EARG, "there is nothing to go on from: the prompt has no token");
    if (opt->max_new_tokens < 0 || count > m->cache.capacity ||
        opt->max_new_tokens > m->cache.capacity - count)
        return gf_fail(err, GF_EARG,
                       "a prompt of %lld tokens and %lld new ones are more than the cache's %lld",
                       (long long)count, (long long)opt->max_new_tokens,
                       (long long)m->cache.capacity);
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= m->cfg->V)
            return gf_fail(err, GF_EARG,
                           "token %lld of the prompt is %d, outside the model's vocabulary of %lld",
                           (long long)i, ids[i], (long long)m->cfg->V);
    return GF_OK;
}

/* The text has grown to a length at which all its keys are turned otherwise. */
static bool grown_out(const gf_model *m, int64_t count)
{
    for (int i = 0; i < m->cfg->ropes; i++)
        if (gf_rope_turns_anew(&m->cfg->rope[i], m->cache.used, count))
            return true;
    return false;
}

/* How many of ids need not be fed: what the cache holds of them, but the last is always fed, for
 * its logits. Keys that dynamic RoPE turned for a text of another length are none of these. */
static int64_t common_prefix(const gf_model *m, const int32_t *ids, int64_t count,
                             const int32_t *seen)
{
    int64_t n = 0;
    const int64_t longest = m->cache.used > count ? m->cache.used : count;
    if (grown_out(m, count))
        return 0;
    for (int i = 0; i < m->cfg->ropes; i++) {
        const gf_rope_spec *r = &m->cfg->rope[i];
        if (r->type == GF_ROPE_DYNAMIC && longest > r->max_position)
            return 0;
    }
    while (seen && n < m->cache.used && n < count - 1 && seen[n] == ids[n])
        n++;
    return n;
}

/* Feeds ids[from, count) in pieces that fit a row. */
static gf_status feed(gf_model *m, const int32_t *ids, int64_t from, int64_t count, int32_t *seen,
                      gf_err *err)
{
    while (from < count) {
        const int64_t left = count - from, piece = left < m->row.capacity ? left : m->row.capacity;
        const gf_status st = gf_model_feed(m, ids + from, piece, count);
        if (st != GF_OK)
            return gf_fail(err, st, "%s",
                           m->be->err.text[0] ? m->be->err.text : "the forward pass failed");
        if (seen)
            memcpy(seen + from, ids + from, (size_t)piece * sizeof *ids);
        from += piece;
    }
    return GF_OK;
}

/* Soft-caps the logits in place as training does (FORMATS 2.2), and looks at every one. */
static gf_status finish_logits(const gf_model *m, int64_t at, gf_err *err)
{
    float *z = m->host.logits;
    const float cap = m->cfg->logits_cap;
    for (int64_t i = 0; i < m->cfg->V; i++) {
        if (!isfinite(z[i]))
            return gf_fail(err, GF_ENUMERIC,
                           "the logit of token %lld is not finite at position %lld; look for NaN "
                           "or Inf in the model and the adapter",
                           (long long)i, (long long)at);
        if (cap > 0)
            z[i] = cap * tanhf(z[i] / cap);
    }
    return GF_OK;
}

static bool stops_at(const gf_generate_options *opt, int32_t id)
{
    for (int i = 0; i < opt->stops; i++)
        if (opt->stop[i] == id)
            return true;
    return false;
}

gf_status gf_generate(gf_model *m, int32_t *ids, int64_t *count, const gf_generate_options *opt,
                      gf_err *err)
{
    gf_status st = GF_OK;
    TRY(check(m, ids, *count, opt, err));
    if (opt->max_new_tokens == 0)
        return GF_OK;
    gf_candidate *scratch = gf_alloc((size_t)m->cfg->V, sizeof *scratch, err);
    if (!scratch)
        return GF_ENOMEM;
    m->cache.used = common_prefix(m, ids, *count, opt->seen);
    for (int64_t i = 0; i < opt->max_new_tokens; i++) {
        if (grown_out(m, *count))
            m->cache.used = 0; /* all keys are turned anew */
        TRYG(feed(m, ids, m->cache.used, *count, opt->seen, err));
        TRYG(finish_logits(m, *count, err));
        const int32_t id =
            gf_sample(m->host.logits, m->cfg->V, &opt->sampling, (uint64_t)*count, scratch);
        ids[(*count)++] = id;
        if ((opt->emit && !opt->emit(opt->ctx, id)) || stops_at(opt, id))
            break;
    }
out:
    free(scratch);
    return st;
}
