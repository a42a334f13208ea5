/* describe_model.c - a model as text. Contract: describe.h. */
#include <stdio.h>
#include <string.h>

#include "cli/describe.h"
#include "base/number.h"

static gf_status rope(const gf_rope_spec *r, const char *title, gf_buf *out, gf_err *err)
{
    static const char *const names[] = {"default", "linear", "dynamic",
                                        "llama3",  "yarn",   "longrope"};
    TRY(gf_describe_line(out, err, title, "%s, theta %g, %lld columns of a head%s", names[r->type],
                         r->theta, (long long)r->rotary,
                         r->divisor ? ", divided by the file's factors" : ""));
    if (r->type != GF_ROPE_DEFAULT)
        TRY(gf_describe_line(out, err, "", "factor %g, made for %lld positions", r->factor,
                             (long long)r->original_max));
    return GF_OK;
}

/* Sliding windows: how many layers, how wide. */
static gf_status windows(const gf_config *c, gf_buf *out, gf_err *err)
{
    int64_t layers = 0, width = 0;
    for (int64_t l = 0; l < c->L; l++)
        if (c->window[l]) {
            layers++;
            width = c->window[l];
        }
    if (!layers)
        return GF_OK;
    return gf_describe_line(out, err, "sliding window", "%lld tokens in %lld of %lld layers",
                            (long long)width, (long long)layers, (long long)c->L);
}

/* Norms besides those before attention and MLP, and numbers that multiply. */
static gf_status norms(const gf_config *c, gf_buf *out, gf_err *err)
{
    static const char *const where[] = {"before", "before and behind", "behind"};
    if (c->qk_norm != GF_QK_NONE || c->norms != GF_NORMS_PRE)
        TRY(gf_describe_line(out, err, "norms", "%s attention and MLP%s", where[c->norms],
                             c->qk_norm != GF_QK_NONE ? ", of queries and keys too" : ""));
    if (c->attention_cap > 0 || c->logits_cap > 0)
        TRY(gf_describe_line(out, err, "soft caps", "attention %g, logits %g (0: none)",
                             (double)c->attention_cap, (double)c->logits_cap));
    if (c->by.embedding != 1 || c->by.residual != 1 || c->by.logits != 1)
        TRY(gf_describe_line(
            out, err, "multipliers", "embedding %g, residual %g, attention %g, logits 1/%g",
            c->by.embedding, c->by.residual, (double)c->attention_scale, c->by.logits));
    return GF_OK;
}

/* Layers without RoPE. */
static gf_status unturned(const gf_config *c, gf_buf *out, gf_err *err)
{
    int64_t layers = 0;
    for (int64_t l = 0; l < c->L; l++)
        layers += c->rope_of[l] < 0;
    if (!layers)
        return GF_OK;
    return gf_describe_line(out, err, "", "none in %lld of %lld layers", (long long)layers,
                            (long long)c->L);
}

static gf_status sizes(const gf_config *c, gf_buf *out, gf_err *err)
{
    TRY(gf_describe_line(out, err, "family", "%s (%s)", c->family, c->architecture));
    TRY(gf_describe_line(out, err, "layers", "%lld", (long long)c->L));
    TRY(gf_describe_line(out, err, "width", "%lld, feed-forward %lld", (long long)c->D,
                         (long long)c->F));
    TRY(gf_describe_line(out, err, "heads", "%lld of width %lld, %lld for keys and values",
                         (long long)c->H, (long long)c->K, (long long)c->G));
    TRY(gf_describe_line(out, err, "vocabulary", "%s, output %s", gf_number_count(c->V).text,
                         c->tied ? "tied to the embedding" : "of its own"));
    TRY(gf_describe_line(out, err, "positions", "%s", gf_number_count(c->max_position).text));
    TRY(gf_describe_line(out, err, "activation", "%s, norm epsilon %g",
                         c->act == GF_SILU ? "SiLU" : "GELU (tanh)", (double)c->eps));
    TRY(norms(c, out, err));
    if (c->attention_bias || c->output_bias || c->mlp_bias)
        TRY(gf_describe_line(out, err, "biases", "%s%s%s", c->attention_bias ? "q k v " : "",
                             c->output_bias ? "o " : "", c->mlp_bias ? "gate up down" : ""));
    TRY(windows(c, out, err));
    for (int i = 0; i < c->ropes; i++)
        TRY(rope(&c->rope[i], c->ropes > 1 && i > 0 ? "rope of windows" : "rope", out, err));
    return unturned(c, out, err);
}

static gf_status token(const gf_tokenizer *t, const char *name, int32_t id, gf_buf *out,
                       gf_err *err)
{
    const char *text = id >= 0 && t ? gf_tokenizer_token(t, id) : NULL;
    if (id < 0)
        return GF_OK;
    return gf_describe_line(out, err, name, "%d %s", id, text ? text : "(no such token)");
}

static gf_status tokenizer(gf_session *s, gf_buf *out, gf_err *err)
{
    TRY(gf_session_tokenizer(s, false, err));
    const gf_tokenizer *t = s->tokenizer;
    const gf_config *c = &s->files.config;
    if (!t)
        return gf_describe_line(out, err, "tokenizer", "none");
    TRY(gf_describe_line(out, err, "tokenizer", "%s tokens%s%s",
                         gf_number_count(gf_tokenizer_size(t)).text,
                         gf_tokenizer_adds_bos(t) ? ", adds BOS" : "",
                         gf_tokenizer_adds_eos(t) ? ", adds EOS" : ""));
    TRY(token(t, "bos", gf_tokenizer_bos(t), out, err));
    TRY(token(t, "eos", gf_tokenizer_eos(t), out, err));
    for (int i = 0; i < c->eos_count; i++)
        if (c->eos[i] != gf_tokenizer_eos(t))
            TRY(token(t, "also ends", c->eos[i], out, err));
    TRY(token(t, "pad", gf_tokenizer_pad(t), out, err));
    const char *text = gf_tokenizer_template(t);
    if (!text)
        return gf_describe_line(out, err, "chat template", "none");
    gf_err own = {0};
    const bool runs = gf_session_template(s, false, &own) == GF_OK;
    return gf_describe_line(out, err, "chat template", "%zu bytes%s%s", strlen(text),
                            runs ? "" : ", which graft cannot run: ", runs ? "" : own.text);
}

gf_status gf_describe_model(gf_session *s, gf_buf *out, gf_err *err)
{
    TRY(gf_session_files(s, err));
    TRY(gf_buf_printf(out, err, "model %s\n", s->o->model));
    TRY(gf_describe_line(out, err, "format", "%s",
                         s->files.is_gguf ? "GGUF" : "Hugging Face folder (safetensors)"));
    TRY(sizes(&s->files.config, out, err));
    TRY(gf_describe_tensors(gf_files_source(&s->files), out, err));
    return tokenizer(s, out, err);
}
