/* adapter.c - which modules carry LoRA, where their tensors lie, and how they start. */
#include "model/adapter.h"

#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "q_proj" of "model.layers.3.self_attn.q_proj". */
static const char *leaf(const char *module)
{
    const char *dot = strrchr(module, '.');
    return dot ? dot + 1 : module;
}

/* Modules outside the blocks. */
static const gf_linear_id outer[] = {GF_EMBED, GF_HEAD};
enum { OUTER = sizeof outer / sizeof *outer };

/* Does a name in a target list mean this module? */
static bool names(const char *target, int64_t layer, gf_linear_id id)
{
    char buf[64];
    const char *name = gf_module_name(buf, layer, id);
    const size_t n = strlen(name), size = strlen(target);
    return n >= size && !strcmp(name + n - size, target) &&
           (n == size || name[n - size - 1] == '.');
}

/* The modules of one block, for messages. */
static const char *module_list(const gf_config *model)
{
    return model->fused
               ? "qkv_proj, o_proj, gate_up_proj, down_proj of "
                 "model.layers.N.self_attn and model.layers.N.mlp, embed_tokens and lm_head"
               : "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj of "
                 "model.layers.N.self_attn and model.layers.N.mlp, embed_tokens and lm_head";
}

/* Every name in a target list must find something: PEFT lets a misspelt one pass silently. */
static gf_status check_targets(const gf_peft_config *c, const gf_config *model, gf_err *err)
{
    const gf_linear_id *ids;
    const int linears = gf_module_ids(model, &ids);
    for (int t = 0; t < c->targets; t++) {
        bool found = names(c->target[t], -1, GF_EMBED) || names(c->target[t], -1, GF_HEAD);
        for (int64_t l = 0; l < model->L && !found; l++)
            for (int i = 0; i < linears && !found; i++)
                found = names(c->target[t], l, ids[i]);
        if (!found)
            return gf_fail(err, GF_EARG,
                           "target module \"%s\" matches nothing in this model, which has %s",
                           c->target[t], module_list(model));
    }
    return GF_OK;
}

static gf_status check_layers(const gf_peft_config *c, const gf_config *model, gf_err *err)
{
    for (int i = 0; i < c->layers; i++)
        if (c->layer[i] < 0 || c->layer[i] >= model->L)
            return gf_fail(err, GF_EARG,
                           "layers_to_transform names layer %lld, the model has layers 0 to %lld",
                           (long long)c->layer[i], (long long)(model->L - 1));
    return GF_OK;
}

/* all-linear as PEFT stores it: the minimal list of names. */
static gf_status expand_all_linear(gf_peft_config *c, const gf_config *model, gf_err *err)
{
    const gf_linear_id *ids;
    const int linears = gf_module_ids(model, &ids);
    if (!c->target_regex || strcmp(c->target_regex, "all-linear"))
        return GF_OK;
    c->target = gf_alloc((size_t)linears, sizeof *c->target, err);
    if (!c->target)
        return GF_ENOMEM;
    for (int i = 0; i < linears; i++) {
        char buf[64];
        c->target[i] = gf_strdup(leaf(gf_module_name(buf, 0, ids[i])), err);
        if (!c->target[i])
            return GF_ENOMEM;
        c->targets++;
    }
    free(c->target_regex);
    c->target_regex = NULL;
    return GF_OK;
}

/* Where (layer, id) stands in ad->at. */
static int64_t slot(const gf_adapter *ad, int64_t layer, gf_linear_id id)
{
    return (layer < 0 ? ad->layers - 1 : layer) * GF_LINEARS + id;
}

static gf_status add_module(gf_adapter *ad, const gf_config *model, int64_t layer, gf_linear_id id,
                            gf_err *err)
{
    char buf[64];
    const char *name = gf_module_name(buf, layer, id);
    bool on;
    TRY(gf_peft_matches(&on, &ad->config, name, err));
    if (!on)
        return GF_OK;
    gf_lora lo = {.layer = layer, .id = id, .magnitude = -1};
    gf_module_shape(model, id, &lo.n, &lo.k);
    TRY(gf_peft_rank(&lo.r, &lo.scale, &ad->config, name, err));
    if (lo.r < 1)
        return gf_fail(err, GF_EARG, "%s: a rank of %lld; want 1 or more", name, (long long)lo.r);
    ad->at[slot(ad, layer, id)] = ad->count;
    ad->lora[ad->count++] = lo;
    return GF_OK;
}

/* PEFT's all-linear means neither. What has no meaning for them, or none here, is refused. */
static gf_status add_outer(gf_adapter *ad, const gf_config *model, gf_linear_id id, gf_err *err)
{
    char buf[64];
    if (ad->config.target_regex && !strcmp(ad->config.target_regex, "all-linear"))
        return GF_OK;
    TRY(add_module(ad, model, -1, id, err));
    if (ad->at[slot(ad, -1, id)] >= 0 && ad->config.use_dora)
        return gf_fail(err, GF_EMISSING, "graft has no DoRA of %s; leave it out of the targets",
                       gf_module_name(buf, -1, id));
    return GF_OK;
}

/* PEFT takes whatever ends in such a name; here it is the embedding or the head. */
static gf_status check_saves(gf_adapter *ad, const gf_config *model, gf_err *err)
{
    const gf_peft_config *c = &ad->config;
    ad->full_embed = ad->full_head = -1;
    for (int i = 0; i < c->saves; i++) {
        const bool embed = names(c->save[i], -1, GF_EMBED), head = names(c->save[i], -1, GF_HEAD);
        if (!embed && !head)
            return gf_fail(
                err, GF_EMISSING,
                "modules_to_save: \"%s\": graft trains embed_tokens and lm_head in full, "
                "no other module; leave it out",
                c->save[i]);
        if (model->tied)
            return gf_fail(err, GF_EMISSING,
                           "modules_to_save: \"%s\": the model's output head is its embedding, and "
                           "a copy of one of the two would part them; name it in target_modules "
                           "instead, for LoRA on it",
                           c->save[i]);
        *(embed ? &ad->full_embed : &ad->full_head) = 0; /* lay_out puts its place */
    }
    return GF_OK;
}

/* ---- the flat space ------------------------------------------------------------------------- */

static void add_param(gf_adapter *ad, gf_param_kind kind, int lora, int rank, int64_t rows,
                      int64_t cols, const char *what)
{
    char module[64];
    const gf_lora *lo = &ad->lora[lora];
    gf_param *p = &ad->param[ad->params++];
    *p = (gf_param){
        .kind = kind, .lora = lora, .rank = rank, .rows = rows, .cols = cols, .at = ad->size};
    snprintf(p->name, sizeof p->name, "base_model.model.%s.%s",
             gf_module_name(module, lo->layer, lo->id), what);
    ad->size += rows * cols;
}

static void add_params(gf_adapter *ad, gf_param_kind kind)
{
    for (int i = 0; i < ad->count; i++) {
        gf_lora *lo = &ad->lora[i];
        if (lo->id == GF_EMBED) {
            if (kind == GF_PARAM_EMBED_A) {
                lo->a = ad->params;
                add_param(ad, kind, i, 2, lo->r, lo->k, "lora_embedding_A");
            } else if (kind == GF_PARAM_EMBED_B) {
                lo->b = ad->params;
                add_param(ad, kind, i, 2, lo->n, lo->r, "lora_embedding_B");
            }
        } else if (kind == GF_PARAM_A) {
            lo->a = ad->params;
            add_param(ad, kind, i, 2, lo->r, lo->k, "lora_A.weight");
        } else if (kind == GF_PARAM_B) {
            lo->b = ad->params;
            add_param(ad, kind, i, 2, lo->n, lo->r, "lora_B.weight");
        } else if (kind == GF_PARAM_MAGNITUDE && ad->config.use_dora) {
            lo->magnitude = ad->params;
            add_param(ad, kind, i, 1, lo->n, 1, "lora_magnitude_vector");
        }
    }
}

static void add_full(gf_adapter *ad, int *at, const gf_config *model, gf_linear_id id)
{
    char module[64];
    if (*at < 0)
        return;
    *at = ad->params;
    gf_param *p = &ad->param[ad->params++];
    *p = (gf_param){.kind = GF_PARAM_FULL, .lora = -1, .rank = 2, .at = ad->size};
    p->rows = model->V; /* as the weights lie; LoRA's A and B are of the transposed embedding */
    p->cols = model->D;
    snprintf(p->name, sizeof p->name, "base_model.model.%s.weight", gf_module_name(module, -1, id));
    ad->size += p->rows * p->cols;
}

static gf_status lay_out(gf_adapter *ad, const gf_config *model, gf_err *err)
{
    const size_t most = (size_t)ad->count * 3 + OUTER; /* A, B, m */
    ad->param = gf_alloc(most, sizeof *ad->param, err);
    if (!ad->param)
        return GF_ENOMEM;
    for (int kind = 0; kind < GF_PARAM_KINDS; kind++) {
        ad->start[kind] = ad->size;
        add_params(ad, (gf_param_kind)kind);
    }
    add_full(ad, &ad->full_embed, model, GF_EMBED);
    add_full(ad, &ad->full_head, model, GF_HEAD);
    ad->start[GF_PARAM_KINDS] = ad->size;
    return GF_OK;
}

/* ---- resolving ------------------------------------------------------------------------------ */

static gf_status resolve(gf_adapter *ad, gf_peft_config *config, const gf_config *model, bool asked,
                         gf_err *err)
{
    *ad = (gf_adapter){.config = *config, .layers = model->L};
    *config = (gf_peft_config){0};
    gf_status st = GF_OK;
    TRYG(expand_all_linear(&ad->config, model, err));
    if (asked)
        TRYG(check_targets(&ad->config, model, err));
    TRYG(check_layers(&ad->config, model, err));
    TRYG(check_saves(ad, model, err));
    const size_t most = (size_t)model->L * GF_LINEARS + OUTER;
    ad->lora = gf_alloc(most, sizeof *ad->lora, err);
    ad->at = gf_alloc(most, sizeof *ad->at, err);
    if (!ad->lora || !ad->at) {
        st = GF_ENOMEM;
        goto out;
    }
    for (size_t i = 0; i < most; i++)
        ad->at[i] = -1;
    const gf_linear_id *ids;
    const int linears = gf_module_ids(model, &ids);
    for (int64_t l = 0; l < model->L; l++)
        for (int i = 0; i < linears; i++)
            TRYG(add_module(ad, model, l, ids[i], err));
    for (int i = 0; i < OUTER; i++)
        TRYG(add_outer(ad, model, outer[i], err));
    if (ad->count == 0)
        st = gf_fail(err, GF_EARG, "the target modules match nothing in this model, which has %s",
                     module_list(model));
    else
        st = lay_out(ad, model, err);
out:
    if (st != GF_OK)
        gf_adapter_free(ad);
    return st;
}

gf_status gf_adapter_resolve(gf_adapter *ad, gf_peft_config *config, const gf_config *model,
                             gf_err *err)
{
    return resolve(ad, config, model, true, err);
}

gf_status gf_adapter_adopt(gf_adapter *ad, gf_peft_config *config, const gf_config *model,
                           gf_err *err)
{
    return resolve(ad, config, model, false, err);
}

void gf_adapter_free(gf_adapter *ad)
{
    gf_peft_config_free(&ad->config);
    free(ad->lora);
    free(ad->at);
    free(ad->param);
    *ad = (gf_adapter){0};
}

const gf_lora *gf_adapter_find(const gf_adapter *ad, int64_t layer, gf_linear_id id)
{
    if (!ad)
        return NULL;
    const int at = ad->at[slot(ad, layer, id)];
    return at < 0 ? NULL : &ad->lora[at];
}

/* One normal draw from two uniforms (Box and Muller 1958). */
static double normal(uint64_t seed, uint64_t module, uint64_t i)
{
    const double u = gf_rng_double(seed, GF_RNG_INIT, module, 2 * i);
    const double v = gf_rng_double(seed, GF_RNG_INIT, module, 2 * i + 1);
    return sqrt(-2.0 * log(1.0 - u)) * cos(2.0 * M_PI * v);
}

/* N(0, 1) for B, zeros for A: the reverse of a linear layer's. */
static void init_embedding(const gf_adapter *ad, const gf_lora *lo, float *value, uint64_t seed)
{
    const uint64_t module = gf_module_number(lo->layer, lo->id);
    for (int64_t e = 0; e < lo->n * lo->r; e++)
        value[ad->param[lo->b].at + e] = (float)normal(seed, module, (uint64_t)e);
}

void gf_adapter_init(const gf_adapter *ad, float *value, gf_init init, uint64_t seed)
{
    memset(value, 0, (size_t)ad->size * sizeof *value);
    for (int i = 0; i < ad->count; i++) {
        const gf_lora *lo = &ad->lora[i];
        const uint64_t module = gf_module_number(lo->layer, lo->id);
        const float bound = 1.0f / sqrtf((float)lo->k);
        float *a = value + ad->param[lo->a].at;
        if (lo->id == GF_EMBED) {
            init_embedding(ad, lo, value, seed);
            continue;
        }
        for (int64_t e = 0; e < lo->r * lo->k; e++)
            a[e] =
                init == GF_INIT_GAUSSIAN
                    ? (float)(normal(seed, module, (uint64_t)e) / (double)lo->r)
                    : (2.0f * gf_rng_float(seed, GF_RNG_INIT, module, (uint64_t)e) - 1.0f) * bound;
    }
}

static gf_status copy_base(const gf_param *p, float *value, gf_linear_id id, const gf_files *files,
                           gf_err *err)
{
    enum { ROWS = 256 }; /* read at a time: some MiB */
    char module[64], name[80];
    snprintf(name, sizeof name, "%s.weight", gf_module_name(module, -1, id));
    const gf_entry *e = gf_files_find(files, name);
    void *raw = gf_alloc((size_t)gf_row_bytes(e->dtype, ROWS * p->cols), 1, err);
    gf_status st = raw ? GF_OK : GF_ENOMEM;
    for (int64_t at = 0; st == GF_OK && at < p->rows; at += ROWS) {
        const int64_t n = p->rows - at < ROWS ? p->rows - at : ROWS;
        st = gf_files_rows(files, e, 0, at, n, raw, err);
        if (st == GF_OK)
            gf_to_f32(value + p->at + at * p->cols, e->dtype, raw, n * p->cols);
    }
    free(raw);
    return st;
}

gf_status gf_adapter_copy_base(const gf_adapter *ad, float *value, const gf_files *files,
                               gf_err *err)
{
    if (ad->full_embed >= 0)
        TRY(copy_base(&ad->param[ad->full_embed], value, GF_EMBED, files, err));
    if (ad->full_head >= 0)
        TRY(copy_base(&ad->param[ad->full_head], value, GF_HEAD, files, err));
    return GF_OK;
}
