/* What both readers of a config end with: what follows from the rest, and every check. Contract:
 * model/family.h. */
#include "model/family.h"

#include <math.h>
#include <stdio.h>

static gf_status check_heads(const gf_config *c, const char *where, gf_err *err)
{
    if (c->H % c->G != 0)
        return gf_fail(err, GF_EINPUT,
                       "%s: %lld attention heads are not a multiple of %lld key/value heads", where,
                       (long long)c->H, (long long)c->G);
    if (c->K % 2 != 0)
        return gf_fail(err, GF_EINPUT, "%s: head width %lld is odd, RoPE needs pairs", where,
                       (long long)c->K);
    if (c->H * c->K > GF_MAX_WIDTH)
        return gf_fail(err, GF_EINPUT, "%s: %lld heads of width %lld are more than graft takes",
                       where, (long long)c->H, (long long)c->K);
    return GF_OK;
}

static gf_status positive(const char *where, const char *what, double x, gf_err *err)
{
    if (isfinite(x) && x > 0)
        return GF_OK;
    return gf_fail(err, GF_EINPUT, "%s: %s is %g, want a positive number", where, what, x);
}

static gf_status check_longrope(const gf_rope_spec *r, const char *where, gf_err *err)
{
    for (int64_t i = 0; i < r->rotary / 2; i++) {
        TRY(positive(where, "a number of short_factor", (double)r->short_factor[i], err));
        TRY(positive(where, "a number of long_factor", (double)r->long_factor[i], err));
    }
    if (!isfinite(r->attention_factor) || r->attention_factor < 0)
        return gf_fail(err, GF_EINPUT, "%s: attention_factor %g is not usable", where,
                       r->attention_factor);
    if (r->factor > 1 && r->original_max < 2) /* whose logarithm is the divisor */
        return gf_fail(err, GF_EINPUT,
                       "%s: longrope needs original_max_position_embeddings of 2 "
                       "or more",
                       where);
    return GF_OK;
}

static gf_status check_rope(const gf_rope_spec *r, const char *where, gf_err *err)
{
    TRY(positive(where, "rope_theta", r->theta, err));
    if (r->type == GF_ROPE_DEFAULT)
        return GF_OK;
    TRY(positive(where, "RoPE factor", r->factor, err));
    if (r->type == GF_ROPE_LLAMA3) {
        TRY(positive(where, "low_freq_factor", r->low_freq_factor, err));
        if (!isfinite(r->high_freq_factor) || r->high_freq_factor <= r->low_freq_factor)
            return gf_fail(err, GF_EINPUT,
                           "%s: high_freq_factor %g is not above low_freq_factor %g", where,
                           r->high_freq_factor, r->low_freq_factor);
    }
    if (r->type == GF_ROPE_DYNAMIC && r->rotary <= 2)
        return gf_fail(err, GF_EINPUT, "%s: dynamic RoPE needs heads wider than 2", where);
    if (r->type == GF_ROPE_LONGROPE)
        TRY(check_longrope(r, where, err));
    if (r->type == GF_ROPE_YARN) {
        TRY(positive(where, "beta_fast", r->beta_fast, err));
        TRY(positive(where, "beta_slow", r->beta_slow, err));
        if (r->theta <= 1)
            return gf_fail(err, GF_EINPUT, "%s: yarn needs rope_theta above 1, got %g", where,
                           r->theta);
        if (!isfinite(r->attention_factor) || r->attention_factor < 0 || !isfinite(r->mscale) ||
            !isfinite(r->mscale_all_dim))
            return gf_fail(err, GF_EINPUT, "%s: attention_factor or mscale is not usable", where);
    }
    return GF_OK;
}

/* Columns that rotate: all, unless the reader knows better. */
static gf_status check_rotary(gf_config *c, gf_rope_spec *r, const char *where, gf_err *err)
{
    if (r->rotary == 0)
        r->rotary = c->K;
    if (r->rotary % 2 == 0 && r->rotary >= 2 && r->rotary <= c->K)
        return GF_OK;
    return gf_fail(err, GF_EINPUT,
                   "%s: RoPE over %lld columns of heads of %lld: want an even number "
                   "from 2 to these",
                   where, (long long)r->rotary, (long long)c->K);
}

/* The residual stream h is held as h' = h / r with r = Granite's residual_multiplier, so that
 * h += r * branch is h' += branch, as in every other family. h'0 = h0 / r. RMSNorm does not see the
 * scale: h' / sqrt(mean(h'^2) + eps') = h / sqrt(mean(h^2) + eps) with eps' = eps / r^2. */
static gf_status derive_scales(gf_config *c, const gf_family *f, const char *where, gf_err *err)
{
    const double r = c->by.residual;
    TRY(positive(where, "embedding_multiplier", c->by.embedding, err));
    TRY(positive(where, "residual_multiplier", r, err));
    TRY(positive(where, "logits_scaling", c->by.logits, err));
    c->stream_eps = (float)((double)c->eps / (r * r));
    c->embed_scale = f->gemma ? (float)sqrt((double)c->D) : (float)(c->by.embedding / r);
    if (c->query_scalar > 0)
        c->attention_scale = (float)(1 / sqrt(c->query_scalar));
    else if (!f->multipliers)
        c->attention_scale = (float)(1 / sqrt((double)c->K));
    TRY(positive(where, "attention_multiplier or query_pre_attn_scalar", (double)c->attention_scale,
                 err));
    if (!isfinite((float)(1 / c->by.logits)))
        return gf_fail(err, GF_EINPUT, "%s: logits_scaling is %g, too small", where, c->by.logits);
    if (!isfinite(c->attention_cap) || !isfinite(c->logits_cap))
        return gf_fail(err, GF_EINPUT, "%s: a soft cap is too large", where);
    if (!isfinite(c->stream_eps) || !isfinite(c->embed_scale) || c->embed_scale <= 0)
        return gf_fail(err, GF_EINPUT,
                       "%s: embedding_multiplier %g and residual_multiplier %g are "
                       "not usable together",
                       where, c->by.embedding, r);
    return GF_OK;
}

/* Which RoPE turns which layer. */
static void deal_ropes(gf_config *c, const gf_family *f)
{
    c->ropes = 1;
    if (f->rope_rule != GF_ROPE_LOCAL)
        return;
    for (int64_t l = 0; l < c->L; l++)
        if (c->window[l] > 0) {
            c->rope_of[l] = 1;
            c->ropes = 2;
        }
}

gf_status gf_config_layers(gf_config *c, gf_err *err)
{
    c->window = gf_alloc((size_t)c->L, sizeof *c->window, err);
    c->rope_of = gf_alloc((size_t)c->L, sizeof *c->rope_of, err);
    return c->window && c->rope_of ? GF_OK : GF_ENOMEM;
}

gf_status gf_config_finish(gf_config *c, const gf_family *f, const char *where, gf_err *err)
{
    TRY(check_heads(c, where, err));
    if (!isfinite(c->eps) || c->eps < 0)
        return gf_fail(err, GF_EINPUT, "%s: rms_norm_eps %g is not usable", where, (double)c->eps);
    deal_ropes(c, f);
    for (int i = 0; i < c->ropes; i++) {
        c->rope[i].max_position = c->max_position;
        TRY(check_rotary(c, &c->rope[i], where, err));
        TRY(check_rope(&c->rope[i], where, err));
    }
    snprintf(c->family, sizeof c->family, "%s", f->name);
    snprintf(c->architecture, sizeof c->architecture, "%s", f->architecture);
    c->fused = f->fused;
    c->qk_norm = f->qk_norm;
    c->norms = f->norms;
    c->norm_offset = f->gemma ? 1 : 0;
    return derive_scales(c, f, where, err);
}
