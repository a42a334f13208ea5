#include "model/convert.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/family.h"

/* ---- types --------------------------------------------------------------------------- */

bool gf_convert_falls_back(gf_dtype want, const gf_name *name)
{
    return name->rank == 2 && name->dim[1] % gf_dtype_block(want) != 0;
}

static bool makes_logits(const gf_config *c, const gf_name *name)
{
    return strcmp(name->gguf, c->tied ? "token_embd.weight" : "output.weight") == 0;
}

gf_dtype gf_convert_dtype(gf_dtype want, const gf_config *c, const gf_name *name)
{
    if (name->rank < 2)
        return GF_F32;
    if (gf_dtype_quantised(want) && makes_logits(c, name))
        want = GF_Q8_0;
    if (gf_convert_falls_back(want, name))
        want = GF_Q8_0;
    return gf_convert_falls_back(want, name) ? GF_F16 : want;
}

int64_t gf_convert_heads(const gf_config *c, const gf_name *name)
{
    const gf_family *f = gf_family_by_name(c->family);
    if (!f || !f->gguf_permuted)
        return 0;
    return name->linear == GF_Q ? c->H : name->linear == GF_K ? c->G : 0;
}

/* general.file_type: what most weights are. */
static uint32_t file_type(gf_dtype t)
{
    switch (t) {
    case GF_F16:
        return 1;
    case GF_Q4_0:
        return 2;
    case GF_Q8_0:
        return 7;
    case GF_Q4_K:
        return 14; /* the small mixture: all of it q4_k but for the logits */
    case GF_BF16:
        return 32;
    default:
        return 0; /* f32 */
    }
}

/* ---- tensors besides the weights ----------------------------------------------------- */

static gf_status add_extra(gf_convert_extras *x, const char *name, const float *data, int64_t count,
                           gf_err *err)
{
    float *copy = gf_alloc((size_t)count, sizeof *copy, err);
    if (!copy)
        return GF_ENOMEM;
    if (data)
        memcpy(copy, data, (size_t)count * sizeof *copy);
    x->list[x->count++] = (gf_convert_extra){name, copy, count};
    return GF_OK;
}

/* Plain frequencies over scaled ones. */
static gf_status add_llama3(gf_convert_extras *x, const gf_rope_spec *r, gf_err *err)
{
    const int64_t half = r->rotary / 2;
    gf_rope_spec plain = *r;
    plain.type = GF_ROPE_DEFAULT;
    float *scaled = gf_alloc((size_t)half, sizeof *scaled, err);
    gf_status st = scaled ? add_extra(x, "rope_freqs.weight", NULL, half, err) : GF_ENOMEM;
    if (st == GF_OK) {
        float *d = x->list[x->count - 1].data;
        gf_rope_frequencies(d, &plain, 0);
        gf_rope_frequencies(scaled, r, 0);
        for (int64_t i = 0; i < half; i++)
            d[i] /= scaled[i];
    }
    free(scaled);
    return st;
}

gf_status gf_convert_extra_tensors(gf_convert_extras *x, const gf_config *c, gf_err *err)
{
    const gf_rope_spec *r = &c->rope[0];
    const int64_t half = r->rotary / 2;
    *x = (gf_convert_extras){0};
    if (r->divisor)
        return add_extra(x, "rope_freqs.weight", r->divisor, half, err);
    if (r->type == GF_ROPE_LLAMA3)
        return add_llama3(x, r, err);
    if (r->type != GF_ROPE_LONGROPE)
        return GF_OK;
    TRY(add_extra(x, "rope_factors_long.weight", r->long_factor, half, err));
    return add_extra(x, "rope_factors_short.weight", r->short_factor, half, err);
}

void gf_convert_extras_free(gf_convert_extras *x)
{
    for (int i = 0; i < x->count; i++)
        free(x->list[i].data);
    *x = (gf_convert_extras){0};
}

/* ---- keys of the architecture -------------------------------------------------------- */

typedef struct {
    gf_gguf_keys *k;
    const char *arch, *where; /* where: of the config, for messages */
    gf_err *err;
    char key[128]; /* "ARCH.name" */
} writer;

static const char *arch_key(writer *w, const char *name)
{
    snprintf(w->key, sizeof w->key, "%s.%s", w->arch, name);
    return w->key;
}

static gf_status put_size(writer *w, const char *name, int64_t x)
{
    return gf_gguf_put_u32(w->k, arch_key(w, name), (uint32_t)x, w->err); /* GF_MAX_...: fits */
}

static gf_status put_real(writer *w, const char *name, double x)
{
    return gf_gguf_put_f32(w->k, arch_key(w, name), (float)x, w->err);
}

static gf_status unsayable(const writer *w, const char *what)
{
    return gf_fail(w->err, GF_EMISSING,
                   "%s: %s: a GGUF of the architecture %s cannot say so; write a folder with "
                   "--output-dir instead",
                   w->where, what, w->arch);
}

static gf_status put_text(gf_gguf_keys *k, const char *key, const char *text, gf_err *err)
{
    return gf_gguf_put_string(k, key, text, strlen(text), err);
}

static gf_status put_scaling(writer *w, const char *type, const gf_rope_spec *r)
{
    TRY(put_text(w->k, arch_key(w, "rope.scaling.type"), type, w->err));
    return put_real(w, "rope.scaling.factor", r->factor);
}

/* The factor on cos and sin that the formula of the type gives. */
static gf_status attention_factor(double *out, const gf_rope_spec *r, gf_err *err)
{
    float *inv = gf_alloc((size_t)r->rotary / 2, sizeof *inv, err);
    if (!inv)
        return GF_ENOMEM;
    *out = gf_rope_frequencies(inv, r, 0);
    free(inv);
    return GF_OK;
}

static gf_status put_yarn(writer *w, const gf_rope_spec *r)
{
    double attention = 1;
    if (!r->truncate)
        return unsayable(w, "yarn with truncate false");
    TRY(attention_factor(&attention, r, w->err));
    TRY(put_scaling(w, "yarn", r));
    TRY(put_size(w, "rope.scaling.original_context_length", r->original_max));
    TRY(put_real(w, "rope.scaling.yarn_beta_fast", r->beta_fast));
    TRY(put_real(w, "rope.scaling.yarn_beta_slow", r->beta_slow));
    const double grown = 0.1 * log(r->factor) + 1; /* what llama.cpp multiplies by the key */
    if (fabs(attention / grown - 1) > 1e-6)        /* not the default: above f32's roundings */
        TRY(put_real(w, "rope.scaling.yarn_attn_factor", attention / grown));
    return GF_OK;
}

/* The factors themselves are tensors. */
static gf_status put_longrope(writer *w, const gf_rope_spec *r)
{
    double attention = 1;
    TRY(attention_factor(&attention, r, w->err));
    TRY(put_size(w, "rope.scaling.original_context_length", r->original_max));
    return put_real(w, "rope.scaling.attn_factor", attention);
}

static gf_status put_rope(writer *w, const gf_config *c)
{
    const gf_rope_spec *r = &c->rope[0];
    TRY(put_size(w, "rope.dimension_count", r->rotary));
    TRY(put_real(w, "rope.freq_base", r->theta));
    if (c->ropes > 1)
        TRY(put_real(w, "rope.freq_base_swa", c->rope[1].theta));
    switch (r->type) {
    case GF_ROPE_LINEAR:
        return put_scaling(w, "linear", r);
    case GF_ROPE_YARN:
        return put_yarn(w, r);
    case GF_ROPE_LONGROPE:
        return put_longrope(w, r);
    case GF_ROPE_DYNAMIC:
        return unsayable(w, "dynamic RoPE scaling");
    default:
        return GF_OK; /* llama3: rope_freqs.weight */
    }
}

/* A list of the layers that slide, where they are not those that readers take for granted. */
static gf_status put_pattern(writer *w, const gf_config *c, const gf_family *f)
{
    bool usual = true;
    unsigned char *list = gf_alloc((size_t)c->L, 1, w->err);
    if (!list)
        return GF_ENOMEM;
    for (int64_t l = 0; l < c->L; l++) {
        list[l] = c->window[l] > 0;
        usual = usual && list[l] == ((l + 1) % f->window_period != 0);
    }
    gf_status st = GF_OK;
    if (!usual)
        st = gf_gguf_put_array(w->k, arch_key(w, "attention.sliding_window_pattern"), GF_KV_BOOL,
                               list, (uint64_t)c->L, w->err);
    free(list);
    return st;
}

/* The reader of a family takes for granted which layers slide and which have no RoPE. */
static gf_status put_layers(writer *w, const gf_config *c, const gf_family *f)
{
    int64_t window = 0;
    for (int64_t l = 0; l < c->L; l++)
        window = c->window[l] > window ? c->window[l] : window;
    for (int64_t l = 0; l < c->L; l++) {
        const bool slides = f->window_rule == GF_WINDOW_ALL ||
                            (f->window_rule == GF_WINDOW_PERIODIC && c->window[l] > 0);
        const bool turns = f->rope_rule != GF_ROPE_SKIPPED || (l + 1) % f->rope_skip;
        if (c->window[l] != (slides ? window : 0))
            return unsayable(w, "sliding windows in other layers than usual");
        if ((c->rope_of[l] >= 0) != turns)
            return unsayable(w, "RoPE in other layers than usual");
    }
    if (f->window_rule == GF_WINDOW_PERIODIC)
        TRY(put_pattern(w, c, f));
    return window > 0 ? put_size(w, "attention.sliding_window", window) : GF_OK;
}

/* Scales that the reader of a family knows by the model's size, or by keys. */
static gf_status put_scales(writer *w, const gf_config *c, const gf_family *f)
{
    if (c->act != f->act)
        return unsayable(w, "another activation than the family's");
    if (f->gemma && !c->tied)
        return unsayable(w, "an output head of its own");
    if (c->ropes > 1 && c->rope[1].type != GF_ROPE_DEFAULT)
        return unsayable(w, "RoPE scaling of the layers with a window");
    if (f->query_scalar > 0) {
        const int64_t known = c->L == f->gguf_wide_scale ? c->D / c->H : c->K;
        if (c->query_scalar != (double)known)
            return unsayable(w, "a query_pre_attn_scalar that is not the heads' width");
        if ((f->attention_cap > 0 && !(c->attention_cap > 0)) ||
            (f->logits_cap > 0 && !(c->logits_cap > 0)))
            return unsayable(w, "a model of this family without soft caps");
    }
    if (c->attention_cap > 0)
        TRY(put_real(w, "attn_logit_softcapping", (double)c->attention_cap));
    if (c->logits_cap > 0)
        TRY(put_real(w, "final_logit_softcapping", (double)c->logits_cap));
    if (!f->multipliers)
        return GF_OK;
    TRY(put_real(w, "attention.scale", (double)c->attention_scale));
    TRY(put_real(w, "embedding_scale", c->by.embedding));
    TRY(put_real(w, "residual_scale", c->by.residual));
    return put_real(w, "logit_scale", c->by.logits);
}

static gf_status put_arch(writer *w, const gf_config *c, const gf_family *f)
{
    TRY(put_size(w, "block_count", c->L));
    TRY(put_size(w, "context_length", c->max_position));
    TRY(put_size(w, "embedding_length", c->D));
    TRY(put_size(w, "feed_forward_length", c->F));
    TRY(put_size(w, "attention.head_count", c->H));
    TRY(put_size(w, "attention.head_count_kv", c->G));
    TRY(put_size(w, "attention.key_length", c->K));
    TRY(put_size(w, "attention.value_length", c->K));
    TRY(put_real(w, "attention.layer_norm_rms_epsilon", (double)c->eps));
    TRY(put_layers(w, c, f));
    TRY(put_scales(w, c, f));
    TRY(put_size(w, "vocab_size", c->V));
    return put_rope(w, c);
}

/* ---- all keys ------------------------------------------------------------------------ */

/* "8.0B", "135M": two digits at least, as the converter rounds it. */
static void size_label(char out[32], uint64_t parameters)
{
    static const struct {
        double unit;
        char letter;
    } units[] = {{1e12, 'T'}, {1e9, 'B'}, {1e6, 'M'}, {1e3, 'K'}};
    int i = 0;
    while (i < 3 && (double)parameters < units[i].unit)
        i++;
    const double x = (double)parameters / units[i].unit;
    const int digits = x < 0.5 ? 2 : x < 9.5 ? 1 : 0; /* of rounded x: none, one, or enough */
    snprintf(out, 32, "%.*f%c", digits, x, units[i].letter); /* 32: the array's size */
}

static gf_status put_all(gf_gguf_keys *k, const gf_gguf_keys *from, gf_err *err)
{
    TRY(gf_buf_add(&k->bytes, from->bytes.data, from->bytes.len, err));
    TRY(gf_buf_add(&k->names, from->names.data, from->names.len, err));
    k->count += from->count;
    return GF_OK;
}

static gf_status from_folder(gf_gguf_keys *k, const gf_files *base, gf_dtype dtype,
                             const char *name, uint64_t parameters, const gf_gguf_keys *tokenizer,
                             gf_err *err)
{
    const gf_config *c = &base->config;
    const gf_family *f = gf_family_by_name(c->family);
    if (!f)
        return gf_fail(err, GF_EMISSING, "%s: no GGUF of the family %s", base->path, c->family);
    writer w = {.k = k, .arch = f->gguf_arch, .where = base->path, .err = err};
    char label[32];
    size_label(label, parameters);
    TRY(put_text(k, "general.architecture", f->gguf_arch, err));
    TRY(put_text(k, "general.type", "model", err));
    TRY(put_text(k, "general.name", name, err));
    TRY(put_text(k, "general.size_label", label, err));
    TRY(put_arch(&w, c, f));
    TRY(gf_gguf_put_u32(k, "general.file_type", file_type(dtype), err));
    TRY(gf_gguf_put_u32(k, "general.quantization_version", 2, err)); /* ggml's, since 2023 */
    return tokenizer ? put_all(k, tokenizer, err) : GF_OK;
}

/* What a GGUF says of itself stays; but not what it says of its file. */
static gf_status from_gguf(gf_gguf_keys *k, const gf_gguf *g, gf_dtype dtype, gf_err *err)
{
    static const char *const own[] = {"general.file_type", "general.quantization_version",
                                      "split.no", "split.count", "split.tensors.count"};
    for (int i = 0; i < g->count; i++) {
        bool skip = false;
        for (size_t j = 0; j < sizeof own / sizeof *own; j++)
            skip |= strcmp(g->kv[i].key, own[j]) == 0;
        if (!skip)
            TRY(gf_gguf_put_kv(k, &g->kv[i], err));
    }
    TRY(gf_gguf_put_u32(k, "general.file_type", file_type(dtype), err));
    return gf_gguf_put_u32(k, "general.quantization_version", 2, err);
}

gf_status gf_convert_keys(gf_gguf_keys *k, const gf_files *base, gf_dtype dtype, const char *name,
                          uint64_t parameters, const gf_gguf_keys *tokenizer, gf_err *err)
{
    if (base->is_gguf)
        return from_gguf(k, &base->gguf, dtype, err);
    return from_folder(k, base, dtype, name, parameters, tokenizer, err);
}
