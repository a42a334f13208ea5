#include "model/family.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Class defaults: FORMATS 2.2, equal in transformers 4.57 and 5.23. */
static const gf_family families[] = {
    {.name = "llama",
     .architecture = "LlamaForCausalLM",
     .base_class = "LlamaModel",
     .gguf_arch = "llama",
     .gguf_permuted = true,
     .V = 32000,
     .D = 4096,
     .F = 11008,
     .L = 32,
     .H = 32,
     .max_position = 2048,
     .eps = 1e-6,
     .theta = 1e4,
     .bos = 1,
     .eos = 2,
     .pad = -1,
     .window_rule = GF_WINDOW_NONE,
     .bias_rule = GF_BIAS_KEY,
     .mlp_bias_key = true},
    {.name = "mistral",
     .architecture = "MistralForCausalLM",
     .base_class = "MistralModel",
     .gguf_arch = "llama",
     .gguf_permuted = true,
     .gguf_only_as = true,
     .V = 32000,
     .D = 4096,
     .F = 14336,
     .L = 32,
     .H = 32,
     .G = 8,
     .max_position = 131072,
     .window = 4096,
     .eps = 1e-6,
     .theta = 1e4,
     .bos = 1,
     .eos = 2,
     .pad = -1,
     .window_rule = GF_WINDOW_ALL,
     .bias_rule = GF_BIAS_NONE},
    {.name = "qwen2",
     .architecture = "Qwen2ForCausalLM",
     .base_class = "Qwen2Model",
     .gguf_arch = "qwen2",
     .V = 151936,
     .D = 4096,
     .F = 22016,
     .L = 32,
     .H = 32,
     .G = 32,
     .max_position = 32768,
     .window = 4096,
     .max_window_layers = 28,
     .eps = 1e-6,
     .theta = 1e4,
     .bos = -1,
     .eos = -1,
     .pad = -1,
     .window_rule = GF_WINDOW_LAYERED,
     .bias_rule = GF_BIAS_QKV},
    {.name = "qwen3",
     .architecture = "Qwen3ForCausalLM",
     .base_class = "Qwen3Model",
     .gguf_arch = "qwen3",
     .V = 151936,
     .D = 4096,
     .F = 22016,
     .L = 32,
     .H = 32,
     .G = 32,
     .K = 128,
     .max_position = 32768,
     .window = 4096,
     .max_window_layers = 28,
     .eps = 1e-6,
     .theta = 1e4,
     .bos = -1,
     .eos = -1,
     .pad = -1,
     .window_rule = GF_WINDOW_LAYERED,
     .bias_rule = GF_BIAS_KEY,
     .qk_norm = true},
};
#define FAMILIES (sizeof families / sizeof families[0])

const gf_family *gf_family_by_class(const char *name)
{
    for (size_t i = 0; i < FAMILIES; i++)
        if (strcmp(name, families[i].architecture) == 0 ||
            strcmp(name, families[i].base_class) == 0)
            return &families[i];
    return NULL;
}

const gf_family *gf_family_by_name(const char *name)
{
    for (size_t i = 0; i < FAMILIES; i++)
        if (strcmp(name, families[i].name) == 0)
            return &families[i];
    return NULL;
}

const gf_family *gf_family_by_gguf(const char *arch, bool window)
{
    for (size_t i = 0; i < FAMILIES; i++)
        if (strcmp(arch, families[i].gguf_arch) == 0 && !families[i].gguf_only_as && !window)
            return &families[i];
    for (size_t i = 0; i < FAMILIES; i++) /* a window: the family of that arch that can have one */
        if (strcmp(arch, families[i].gguf_arch) == 0 && families[i].window_rule != GF_WINDOW_NONE)
            return &families[i];
    return NULL;
}

void gf_family_list(char *buf, size_t size)
{
    size_t at = 0;
    buf[0] = '\0';
    for (size_t i = 0; i < FAMILIES && at < size; i++)
        at += (size_t)snprintf(buf + at, size - at, "%s%s", i > 0 ? ", " : "", families[i].name);
}

/* ---- checks that both readers share ------------------------------------------------ */

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

gf_status gf_config_finish(gf_config *c, const gf_family *family, const char *where, gf_err *err)
{
    TRY(check_heads(c, where, err));
    if (!isfinite(c->eps) || c->eps < 0)
        return gf_fail(err, GF_EINPUT, "%s: rms_norm_eps %g is not usable", where, (double)c->eps);
    c->rope.rotary = c->K;
    c->rope.max_position = c->max_position;
    TRY(check_rope(&c->rope, where, err));
    snprintf(c->family, sizeof c->family, "%s", family->name);
    snprintf(c->architecture, sizeof c->architecture, "%s", family->architecture);
    c->qk_norm = family->qk_norm;
    c->act = GF_SILU;
    c->norm_offset = 0;
    c->embed_scale = 1;
    c->attention_scale = (float)(1 / sqrt((double)c->K));
    c->attention_cap = 0;
    c->logits_cap = 0;
    return GF_OK;
}
