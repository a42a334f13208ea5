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

gf_status gf_convert_extra_tensors(gf_convert_extras *x, const gf_config *c, gf_err *err)
{
    const gf_rope_spec *r = &c->rope[0];
    const int64_t half = r->rotary / 2;
    *x = (gf_convert_extras){0};
    if (!r->divisor && r->type != GF_ROPE_LLAMA3)
        return GF_OK;
    float *d = gf_alloc((size_t)half, 2 * sizeof *d, err);
    if (!d)
        return GF_ENOMEM;
    x->list[x->count++] = (gf_convert_extra){"rope_freqs.weight", d, half};
    if (r->divisor) {
        memcpy(d, r->divisor, (size_t)half * sizeof *d);
        return GF_OK;
    }
    gf_rope_spec plain = *r;
    plain.type = GF_ROPE_DEFAULT;
    gf_rope_frequencies(d, &plain, 0);
    gf_rope_frequencies(d + half, r, 0);
    for (int64_t i = 0; i < half; i++)
        d[i] /= d[half + i];
    return GF_OK;
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
    const char *arch;
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

static gf_status put_text(gf_gguf_keys *k, const char *key, const char *text, gf_err *err)
{
    return gf_gguf_put_string(k, key, text, strlen(text), err);
}

static gf_status put_scaling(writer *w, const char *type, const gf_rope_spec *r)
{
    TRY(put_text(w->k, arch_key(w, "rope.scaling.type"), type, w->err));
    return put_real(w, "rope.scaling.factor", r->factor);
}

static gf_status put_yarn(writer *w, const gf_rope_spec *r, const char *where)
{
    if (!r->truncate)
        return gf_fail(w->err, GF_EMISSING,
                       "%s: yarn with truncate false: a GGUF cannot say so; write a folder with "
                       "--output-dir instead",
                       where);
    float *inv = gf_alloc((size_t)r->rotary / 2, sizeof *inv, w->err);
    if (!inv)
        return GF_ENOMEM;
    const double attention = gf_rope_frequencies(inv, r, 0);
    free(inv);
    TRY(put_scaling(w, "yarn", r));
    TRY(put_size(w, "rope.scaling.original_context_length", r->original_max));
    TRY(put_real(w, "rope.scaling.yarn_beta_fast", r->beta_fast));
    TRY(put_real(w, "rope.scaling.yarn_beta_slow", r->beta_slow));
    const double grown = 0.1 * log(r->factor) + 1; /* what llama.cpp multiplies by the key */
    if (fabs(attention / grown - 1) > 1e-6)        /* not the default: above f32's roundings */
        TRY(put_real(w, "rope.scaling.yarn_attn_factor", attention / grown));
    return GF_OK;
}

static gf_status put_rope(writer *w, const gf_config *c, const char *where)
{
    const gf_rope_spec *r = &c->rope[0];
    TRY(put_size(w, "rope.dimension_count", r->rotary));
    TRY(put_real(w, "rope.freq_base", r->theta));
    switch (r->type) {
    case GF_ROPE_LINEAR:
        return put_scaling(w, "linear", r);
    case GF_ROPE_YARN:
        return put_yarn(w, r, where);
    case GF_ROPE_DYNAMIC:
        return gf_fail(w->err, GF_EMISSING,
                       "%s: dynamic RoPE scaling: a GGUF cannot say it; write a folder with "
                       "--output-dir instead",
                       where);
    default:
        return GF_OK; /* llama3: rope_freqs.weight */
    }
}

static gf_status put_windows(writer *w, const gf_config *c, const gf_family *f, const char *where)
{
    int64_t window = 0;
    for (int64_t l = 0; l < c->L; l++)
        window = c->window[l] > window ? c->window[l] : window;
    if (window == 0)
        return GF_OK;
    if (f->window_rule != GF_WINDOW_ALL)
        return gf_fail(w->err, GF_EMISSING,
                       "%s: sliding windows in some layers of a %s model: a GGUF cannot say in "
                       "which; write a folder with --output-dir instead",
                       where, f->name);
    return put_size(w, "attention.sliding_window", window);
}

static gf_status put_arch(writer *w, const gf_config *c, const gf_family *f, const char *where)
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
    TRY(put_windows(w, c, f, where));
    TRY(put_size(w, "vocab_size", c->V));
    return put_rope(w, c, where);
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
    const bool plain = f && !f->gemma && !f->fused && !f->multipliers && f->norms == GF_NORMS_PRE &&
                       f->rope_rule == GF_ROPE_ALL;
    if (!plain)
        return gf_fail(err, GF_EMISSING, "%s: no GGUF of the family %s", base->path, c->family);
    writer w = {.k = k, .arch = f->gguf_arch, .err = err};
    char label[32];
    size_label(label, parameters);
    TRY(put_text(k, "general.architecture", f->gguf_arch, err));
    TRY(put_text(k, "general.type", "model", err));
    TRY(put_text(k, "general.name", name, err));
    TRY(put_text(k, "general.size_label", label, err));
    TRY(put_arch(&w, c, f, base->path));
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
