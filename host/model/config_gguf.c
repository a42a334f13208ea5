/* A GGUF's metadata as a config (FORMATS 6.3, 6.4). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/family.h"

typedef struct {
    const gf_gguf *g;
    const char *arch;
    gf_err *err;
    char key[128]; /* "ARCH.name" being read: an architecture of 63 and our longest name */
} reader;

static const char *arch_key(reader *r, const char *name)
{
    snprintf(r->key, sizeof r->key, "%s.%s", r->arch, name);
    return r->key;
}

/* A size: from 1 to max. missing 0: the key must be there. */
static gf_status size_key(reader *r, const char *name, int64_t missing, int64_t max, int64_t *out)
{
    TRY(gf_gguf_int(out, r->g, arch_key(r, name), missing, 1, max, r->err));
    if (*out > 0)
        return GF_OK;
    return gf_fail(r->err, GF_EINPUT, "%s: key %s is missing", r->g->path, r->key);
}

static gf_status real_key(reader *r, const char *name, double missing, double *out)
{
    return gf_gguf_double(out, r->g, arch_key(r, name), missing, r->err);
}

static const gf_entry *tensor(const reader *r, const char *name)
{
    return gf_source_find(&r->g->source, name);
}

/* ---- sizes ------------------------------------------------------------------------- */

static gf_status read_sizes(gf_config *c, const gf_family *f, reader *r)
{
    const gf_entry *embed = tensor(r, "token_embd.weight");
    if (!embed || embed->rank != 2 || embed->dim[0] < 1 || embed->dim[0] > GF_MAX_POSITION)
        return gf_fail(r->err, GF_EINPUT,
                       "%s: token_embd.weight is missing or no matrix: this is no model",
                       r->g->path);
    c->V = embed->dim[0];
    TRY(size_key(r, "embedding_length", 0, GF_MAX_WIDTH, &c->D));
    TRY(size_key(r, "feed_forward_length", 0, GF_MAX_WIDTH, &c->F));
    TRY(size_key(r, "block_count", 0, GF_MAX_LAYERS, &c->L));
    TRY(size_key(r, "attention.head_count", 0, GF_MAX_WIDTH, &c->H));
    TRY(size_key(r, "attention.head_count_kv", c->H, GF_MAX_WIDTH, &c->G));
    TRY(size_key(r, "context_length", 0, GF_MAX_POSITION, &c->max_position));
    TRY(size_key(r, "attention.key_length", c->D / c->H > 0 ? c->D / c->H : 1, GF_MAX_WIDTH,
                 &c->K));
    int64_t other = 0;
    TRY(size_key(r, "attention.value_length", c->K, GF_MAX_WIDTH, &other));
    if (other != c->K)
        return gf_fail(r->err, GF_EMISSING,
                       "%s: keys of width %lld and values of width %lld: graft has one width",
                       r->g->path, (long long)c->K, (long long)other);
    TRY(size_key(r, "rope.dimension_count", c->K, GF_MAX_WIDTH, &other));
    if (other != c->K && !f->partial_rotary)
        return gf_fail(r->err, GF_EMISSING,
                       "%s: RoPE over %lld of %lld columns of a head: heads of a %s model rotate "
                       "whole in graft",
                       r->g->path, (long long)other, (long long)c->K, f->name);
    c->rope[0].rotary = other;
    TRY(gf_gguf_int(&other, r->g, arch_key(r, "expert_count"), 0, 0, INT32_MAX, r->err));
    if (other > 0)
        return gf_fail(r->err, GF_EMISSING, "%s: a mixture of %lld experts: graft has none",
                       r->g->path, (long long)other);
    double eps = 0;
    TRY(real_key(r, "attention.layer_norm_rms_epsilon", NAN, &eps));
    if (isnan(eps))
        return gf_fail(r->err, GF_EINPUT, "%s: key %s is missing", r->g->path, r->key);
    c->eps = (float)eps;
    return GF_OK;
}

static void read_flags(gf_config *c, const gf_family *f, const reader *r)
{
    c->gguf = f->gguf_permuted;
    c->gguf_shifted = f->gemma;
    c->act = f->act;
    c->tied = tensor(r, "output.weight") == NULL;
    c->attention_bias = f->bias_rule == GF_BIAS_QKV || tensor(r, "blk.0.attn_q.bias") != NULL;
    c->output_bias = f->bias_rule == GF_BIAS_KEY && tensor(r, "blk.0.attn_output.bias") != NULL;
    c->mlp_bias = f->mlp_bias_key && tensor(r, "blk.0.ffn_gate.bias") != NULL;
}

/* The type that most weights have; what is quantised becomes f16. */
static gf_dtype main_dtype(const gf_source *s)
{
    uint64_t bytes[GF_DTYPES + 1] = {0};
    for (int i = 0; i < s->count; i++) {
        const gf_entry *e = &s->entry[i];
        if (e->rank == 2)
            bytes[e->readable ? e->dtype : GF_DTYPES] += e->bytes;
    }
    int best = GF_DTYPES;
    for (int t = 0; t < GF_DTYPES; t++)
        if (bytes[t] > bytes[best])
            best = t;
    return best == GF_F32 || best == GF_BF16 ? (gf_dtype)best : GF_F16;
}

/* What llama.cpp says of a Gemma by its size alone, and Granite's keys. */
static gf_status read_scales(gf_config *c, const gf_family *f, reader *r)
{
    double cap = 0, scale = 0;
    c->by = (gf_multipliers){1, 1, 1};
    if (f->query_scalar > 0)
        c->query_scalar = (double)(c->L == f->gguf_wide_scale && c->D >= c->H ? c->D / c->H : c->K);
    if (f->query_scalar > 0) {
        if (f->attention_cap > 0)
            TRY(real_key(r, "attn_logit_softcapping", f->attention_cap, &cap));
        c->attention_cap = (float)cap;
        TRY(real_key(r, "final_logit_softcapping", f->logits_cap, &cap));
        c->logits_cap = (float)cap;
    }
    if (!(c->attention_cap >= 0) || !(c->logits_cap >= 0))
        return gf_fail(r->err, GF_EINPUT, "%s: a soft cap below 0", r->g->path);
    if (!f->multipliers)
        return GF_OK;
    TRY(real_key(r, "attention.scale", 0, &scale));
    c->attention_scale = (float)(scale != 0 ? scale : 1 / sqrt((double)c->K));
    TRY(real_key(r, "embedding_scale", 1, &c->by.embedding));
    TRY(real_key(r, "residual_scale", 1, &c->by.residual));
    TRY(real_key(r, "logit_scale", 1, &c->by.logits));
    bool turns = true; /* what llama.cpp takes this key for in this family */
    TRY(gf_gguf_bool(&turns, r->g, arch_key(r, "rope.scaling.finetuned"), true, r->err));
    if (!turns)
        return gf_fail(r->err, GF_EMISSING,
                       "%s: %s is false: a Granite without RoPE, which graft "
                       "has not",
                       r->g->path, r->key);
    return GF_OK;
}

/* Every layer but each period-th slides; a list says it of each one. */
static gf_status deal_windows(gf_config *c, const gf_family *f, int64_t window, reader *r)
{
    const gf_kv *list = gf_gguf_find(r->g, arch_key(r, "attention.sliding_window_pattern"));
    int64_t period = f->window_period;
    if (list && list->type == GF_KV_ARRAY) {
        if (list->item != GF_KV_BOOL || list->count < (uint64_t)c->L)
            return gf_fail(r->err, GF_EINPUT,
                           "%s: key %s: want a truth value for each of %lld layers", r->g->path,
                           r->key, (long long)c->L);
        for (int64_t l = 0; l < c->L; l++)
            c->window[l] = list->data[l] ? window : 0;
        return GF_OK;
    }
    TRY(gf_gguf_int(&period, r->g, r->key, period, 1, GF_MAX_LAYERS, r->err));
    for (int64_t l = 0; l < c->L; l++)
        c->window[l] = (l + 1) % period != 0 ? window : 0;
    return GF_OK;
}

static gf_status read_windows(gf_config *c, const gf_family *f, reader *r)
{
    int64_t window = 0;
    TRY(gf_config_layers(c, r->err));
    if (f->rope_rule == GF_ROPE_SKIPPED) /* by llama.cpp's constant: there is no key */
        for (int64_t l = f->rope_skip - 1; l < c->L; l += f->rope_skip)
            c->rope_of[l] = -1;
    const bool assumed = f->window_rule == GF_WINDOW_PERIODIC && f->rope_rule != GF_ROPE_LOCAL;
    TRY(gf_gguf_int(&window, r->g, arch_key(r, "attention.sliding_window"), assumed ? f->window : 0,
                    0, GF_MAX_POSITION, r->err));
    if (f->window_rule == GF_WINDOW_PERIODIC)
        return deal_windows(c, f, window, r);
    if (window > 0 && window < c->max_position && f->window_rule != GF_WINDOW_ALL)
        return gf_fail(r->err, GF_EMISSING,
                       "%s: a sliding window of %lld: the file does not say for which layers of a "
                       "%s model",
                       r->g->path, (long long)window, f->name);
    if (f->window_rule == GF_WINDOW_ALL)
        for (int64_t l = 0; l < c->L; l++)
            c->window[l] = window;
    return GF_OK;
}

/* ---- RoPE -------------------------------------------------------------------------- */

static gf_status read_yarn(gf_rope_spec *o, reader *r)
{
    double extrapolation = 1, attention = 1, multiplier = 0;
    o->type = GF_ROPE_YARN;
    o->truncate = true;
    TRY(real_key(r, "rope.scaling.yarn_beta_fast", 32, &o->beta_fast)); /* llama.cpp's defaults */
    TRY(real_key(r, "rope.scaling.yarn_beta_slow", 1, &o->beta_slow));
    TRY(real_key(r, "rope.scaling.yarn_ext_factor", 1, &extrapolation));
    TRY(real_key(r, "rope.scaling.yarn_log_multiplier", 0, &multiplier));
    TRY(real_key(r, "rope.scaling.yarn_attn_factor", 1, &attention));
    if ((extrapolation != 1 && extrapolation >= 0) || multiplier != 0) /* below 0: not set */
        return gf_fail(r->err, GF_EMISSING,
                       "%s: yarn with an extrapolation factor or a log multiplier of its own: "
                       "graft has yarn as Hugging Face defines it",
                       r->g->path);
    if (attention != 1) /* llama.cpp multiplies its own growth by it: 0.1 ln F + 1 */
        o->attention_factor = attention * (0.1 * log(o->factor) + 1);
    return GF_OK;
}

/* One f32 for each pair of columns; NULL: the file has no such tensor. */
static gf_status read_pairs(float **out, const char *name, int64_t half, const reader *r)
{
    const gf_entry *e = tensor(r, name);
    if (!e)
        return GF_OK;
    if (!e->readable || e->dtype != GF_F32 || e->rank != 1 || e->dim[0] != half)
        return gf_fail(r->err, GF_EINPUT, "%s: %s: want %lld f32 numbers", r->g->path, name,
                       (long long)half);
    *out = gf_alloc((size_t)half, sizeof **out, r->err);
    if (!*out)
        return GF_ENOMEM;
    TRY(gf_source_read(&r->g->source, e, 0, *out, (size_t)half * sizeof **out, r->err));
    for (int64_t i = 0; i < half; i++)
        if (!isfinite((*out)[i]) || (*out)[i] <= 0)
            return gf_fail(r->err, GF_EINPUT, "%s: %s: number %lld is %g", r->g->path, name,
                           (long long)i, (double)(*out)[i]);
    return GF_OK;
}

/* Phi-3's long contexts: the tensors say so, whatever rope.scaling.type does. */
static gf_status read_longrope(gf_config *c, reader *r)
{
    gf_rope_spec *o = &c->rope[0];
    TRY(read_pairs(&o->long_factor, "rope_factors_long.weight", o->rotary / 2, r));
    TRY(read_pairs(&o->short_factor, "rope_factors_short.weight", o->rotary / 2, r));
    if (!o->long_factor && !o->short_factor)
        return GF_OK;
    if (!o->long_factor || !o->short_factor)
        return gf_fail(r->err, GF_EINPUT,
                       "%s: of rope_factors_long.weight and "
                       "rope_factors_short.weight only one is there",
                       r->g->path);
    o->type = GF_ROPE_LONGROPE;
    o->factor = (double)c->max_position / (double)o->original_max;
    return real_key(r, "rope.scaling.attn_factor", 1, &o->attention_factor);
}

static gf_status read_scaling(gf_config *c, reader *r)
{
    gf_rope_spec *o = &c->rope[0];
    char *type = NULL;
    double factor = 0;
    TRY(size_key(r, "rope.scaling.original_context_length", c->max_position, GF_MAX_POSITION,
                 &o->original_max));
    TRY(real_key(r, "rope.scale_linear", 0, &factor)); /* the key before rope.scaling.factor */
    TRY(real_key(r, "rope.scaling.factor", factor, &factor));
    TRY(read_longrope(c, r));
    if (o->type == GF_ROPE_LONGROPE)
        return GF_OK;
    TRY(gf_gguf_string(&type, r->g, arch_key(r, "rope.scaling.type"), r->err));
    gf_status st = GF_OK;
    const char *name = type ? type : "linear"; /* llama.cpp: linear unless another is named */
    if (factor == 0)
        factor = 1;
    o->factor = factor;
    if (strcmp(name, "yarn") == 0)
        st = read_yarn(o, r);
    else if (strcmp(name, "linear") == 0 && factor != 1)
        o->type = GF_ROPE_LINEAR;
    else if (strcmp(name, "linear") != 0 && strcmp(name, "none") != 0)
        st = gf_fail(r->err, GF_EMISSING, "%s: RoPE scaling %s; graft reads linear and yarn",
                     r->g->path, name);
    free(type);
    return st;
}

/* rope_freqs.weight: by what each frequency is divided (llama3's scaling in a GGUF). */
static gf_status read_divisors(gf_config *c, const reader *r)
{
    gf_rope_spec *o = &c->rope[0];
    TRY(read_pairs(&o->divisor, "rope_freqs.weight", o->rotary / 2, r));
    if (o->divisor && o->type != GF_ROPE_DEFAULT)
        return gf_fail(r->err, GF_EMISSING,
                       "%s: rope_freqs.weight together with rope.scaling: graft has one or the "
                       "other",
                       r->g->path);
    return GF_OK;
}

static gf_status read_rope(gf_config *c, const gf_family *f, reader *r)
{
    TRY(real_key(r, "rope.freq_base", f->theta, &c->rope[0].theta));
    TRY(real_key(r, "rope.freq_base_swa", f->local_theta, &c->rope[1].theta));
    c->rope[1].original_max = c->max_position; /* never scaled */
    TRY(read_scaling(c, r));
    return read_divisors(c, r);
}

/* ---- special tokens ---------------------------------------------------------------- */

static gf_status token(const reader *r, const char *key, int32_t *out)
{
    int64_t id = -1;
    TRY(gf_gguf_int(&id, r->g, key, -1, 0, UINT32_MAX, r->err));
    *out = id > INT32_MAX ? -1 : (int32_t)id; /* 2^32 - 1 stands for none in some files */
    return GF_OK;
}

static gf_status read_tokens(gf_config *c, const reader *r)
{
    int32_t ends[2] = {-1, -1}; /* of the text, of a turn */
    TRY(token(r, "tokenizer.ggml.bos_token_id", &c->bos));
    TRY(token(r, "tokenizer.ggml.padding_token_id", &c->pad));
    TRY(token(r, "tokenizer.ggml.eos_token_id", &ends[0]));
    TRY(token(r, "tokenizer.ggml.eot_token_id", &ends[1]));
    for (int i = 0; i < 2; i++)
        if (ends[i] >= 0 && (i == 0 || ends[1] != ends[0]))
            c->eos[c->eos_count++] = ends[i];
    return GF_OK;
}

/* ---- all of it --------------------------------------------------------------------- */

static gf_status find_family(reader *r, const gf_family **out)
{
    int64_t window = 0;
    TRY(gf_gguf_int(&window, r->g, arch_key(r, "attention.sliding_window"), 0, 0, INT32_MAX,
                    r->err));
    *out = gf_family_by_gguf(r->arch, window > 0);
    if (*out)
        return GF_OK;
    char list[256]; /* names of all families */
    gf_family_list(list, sizeof list);
    return gf_fail(r->err, GF_EMISSING,
                   "%s: graft has no architecture %.63s; it has the families %s", r->g->path,
                   r->arch, list);
}

static gf_status read_all(gf_config *c, reader *r)
{
    const gf_family *f = NULL;
    TRY(find_family(r, &f));
    TRY(read_sizes(c, f, r));
    read_flags(c, f, r);
    TRY(read_scales(c, f, r));
    TRY(read_windows(c, f, r));
    TRY(read_rope(c, f, r));
    TRY(read_tokens(c, r));
    c->dtype = main_dtype(&r->g->source);
    return gf_config_finish(c, f, r->g->path, r->err);
}

gf_status gf_config_read_gguf(gf_config *c, const gf_gguf *g, gf_err *err)
{
    *c = (gf_config){0};
    char *arch = NULL;
    gf_status st = gf_gguf_string(&arch, g, "general.architecture", err);
    if (st == GF_OK && (!arch || strlen(arch) > 63)) /* 63: what reader.key has room for */
        st =
            gf_fail(err, GF_EINPUT, "%s: key general.architecture is missing or too long", g->path);
    if (st == GF_OK)
        st = read_all(c, &(reader){.g = g, .arch = arch, .err = err});
    free(arch);
    if (st != GF_OK)
        gf_config_free(c);
    return st;
}
