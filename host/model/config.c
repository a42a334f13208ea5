/* config.json and generation_config.json (FORMATS 2.2, 2.6). */
#include "model/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "model/config_parts.h"

typedef gf_config_reader reader;

bool gf_config_null(const reader *r, const char *key)
{
    return cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(r->json, key));
}

gf_status gf_config_size(const reader *r, const char *key, int64_t missing, int64_t max,
                         int64_t *out)
{
    return gf_json_int(out, r->json, key, missing, 1, max, r->path, r->err);
}

/* ---- which family ------------------------------------------------------------------ */

static gf_status no_family(const reader *r, const char *what, const char *name)
{
    char list[256]; /* names of all families */
    if (strcmp(name, "Gemma3ForConditionalGeneration") == 0 || strcmp(name, "gemma3") == 0)
        return gf_fail(r->err, GF_EMISSING,
                       "%s: %s %s is Gemma 3 with its image tower, which graft has not: give it "
                       "the language model, as a folder of Gemma3ForCausalLM or as a GGUF file",
                       r->path, what, name);
    gf_family_list(list, sizeof list);
    return gf_fail(r->err, GF_EMISSING, "%s: graft has no %s %s; it has the families %s", r->path,
                   what, name, list);
}

static gf_status find_family(const reader *r, const gf_family **out)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(r->json, "architectures");
    const char *model_type = NULL;
    TRY(gf_json_string(&model_type, r->json, "model_type", NULL, r->path, r->err));
    if (list && !cJSON_IsNull(list)) {
        const cJSON *first = cJSON_IsArray(list) ? list->child : NULL;
        if (!cJSON_IsString(first))
            return gf_fail(r->err, GF_EINPUT, "%s: architectures: want a list of names", r->path);
        *out = gf_family_by_class(first->valuestring);
        return *out ? GF_OK : no_family(r, "architecture", first->valuestring);
    }
    if (!model_type)
        return gf_fail(r->err, GF_EINPUT,
                       "%s: neither architectures nor model_type: this is no model's config",
                       r->path);
    *out = gf_family_by_name(model_type);
    return *out ? GF_OK : no_family(r, "model_type", model_type);
}

/* ---- sizes and flags --------------------------------------------------------------- */

static gf_status read_sizes(gf_config *c, const gf_family *f, const reader *r)
{
    TRY(gf_config_size(r, "vocab_size", f->V, GF_MAX_POSITION, &c->V));
    TRY(gf_config_size(r, "hidden_size", f->D, GF_MAX_WIDTH, &c->D));
    TRY(gf_config_size(r, "intermediate_size", f->F, GF_MAX_WIDTH, &c->F));
    TRY(gf_config_size(r, "num_hidden_layers", f->L, GF_MAX_LAYERS, &c->L));
    TRY(gf_config_size(r, "num_attention_heads", f->H, GF_MAX_WIDTH, &c->H));
    const bool all_heads = f->G == 0 || gf_config_null(r, "num_key_value_heads");
    TRY(gf_config_size(r, "num_key_value_heads", all_heads ? c->H : f->G, GF_MAX_WIDTH, &c->G));
    const bool derived = f->K == 0 || gf_config_null(r, "head_dim");
    if (derived && c->D % c->H != 0 &&
        !cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(r->json, "head_dim")))
        return gf_fail(r->err, GF_EINPUT,
                       "%s: hidden_size %lld is not a multiple of num_attention_heads %lld and "
                       "head_dim is not given",
                       r->path, (long long)c->D, (long long)c->H);
    TRY(gf_config_size(r, "head_dim", derived ? c->D / c->H : f->K, GF_MAX_WIDTH, &c->K));
    return gf_config_size(r, "max_position_embeddings", f->max_position, GF_MAX_POSITION,
                          &c->max_position);
}

/* Names of two functions, of which FORMATS 2.2 has the formulas. */
static gf_status read_act(gf_config *c, const gf_family *f, const reader *r)
{
    static const struct {
        const char *name;
        gf_act act;
    } acts[] = {{"silu", GF_SILU},
                {"swish", GF_SILU},
                {"gelu_pytorch_tanh", GF_GELU_TANH},
                {"gelu_new", GF_GELU_TANH},
                {"gelu", GF_GELU_TANH}}; /* a Gemma's; else it is erf's */
    const char *name = NULL;
    c->act = f->act;
    TRY(gf_json_string(&name, r->json, f->act_key, NULL, r->path, r->err));
    if (!name)
        return GF_OK;
    for (size_t i = 0; i < sizeof acts / sizeof acts[0] - (f->gemma ? 0 : 1); i++)
        if (strcmp(name, acts[i].name) == 0) {
            c->act = acts[i].act;
            return GF_OK;
        }
    return gf_fail(r->err, GF_EMISSING, "%s: %s %s: graft has silu and gelu_pytorch_tanh", r->path,
                   f->act_key, name);
}

/* A cap: positive, or null for none. */
static gf_status cap(const reader *r, const char *key, double missing, float *out)
{
    double x = 0;
    if (!gf_config_null(r, key))
        TRY(gf_json_double(&x, r->json, key, missing, r->path, r->err));
    if (x < 0)
        return gf_fail(r->err, GF_EINPUT, "%s: %s is %g, want a positive number or null", r->path,
                       key, x);
    *out = (float)x;
    return GF_OK;
}

/* Gemma's and Granite's numbers. */
static gf_status read_scales(gf_config *c, const gf_family *f, const reader *r)
{
    c->by = (gf_multipliers){1, 1, 1};
    if (f->query_scalar > 0) {
        TRY(gf_json_double(&c->query_scalar, r->json, "query_pre_attn_scalar", f->query_scalar,
                           r->path, r->err));
        if (c->query_scalar <= 0)
            return gf_fail(r->err, GF_EINPUT,
                           "%s: query_pre_attn_scalar is %g, want a positive "
                           "number",
                           r->path, c->query_scalar);
        if (f->attention_cap > 0) /* Gemma 3's reference reads the key and does nothing with it */
            TRY(cap(r, "attn_logit_softcapping", f->attention_cap, &c->attention_cap));
        TRY(cap(r, "final_logit_softcapping", f->logits_cap, &c->logits_cap));
    }
    bool both_ways = false;
    if (f->gemma)
        TRY(gf_json_bool(&both_ways, r->json, "use_bidirectional_attention", false, r->path,
                         r->err));
    if (both_ways)
        return gf_fail(r->err, GF_EMISSING,
                       "%s: use_bidirectional_attention: graft trains models "
                       "that see earlier tokens only",
                       r->path);
    c->embed_rounded = f->gemma;
    if (!f->multipliers)
        return GF_OK;
    double attention = 1; /* the class default, not K^-1/2 */
    TRY(gf_json_double(&attention, r->json, "attention_multiplier", 1, r->path, r->err));
    c->attention_scale = (float)attention;
    TRY(gf_json_double(&c->by.embedding, r->json, "embedding_multiplier", 1, r->path, r->err));
    TRY(gf_json_double(&c->by.residual, r->json, "residual_multiplier", 1, r->path, r->err));
    return gf_json_double(&c->by.logits, r->json, "logits_scaling", 1, r->path, r->err);
}

static gf_status read_flags(gf_config *c, const gf_family *f, const reader *r)
{
    double eps = 0;
    TRY(gf_json_double(&eps, r->json, "rms_norm_eps", f->eps, r->path, r->err));
    c->eps = (float)eps;
    TRY(gf_json_bool(&c->tied, r->json, "tie_word_embeddings", f->tied, r->path, r->err));
    c->attention_bias = f->bias_rule == GF_BIAS_QKV;
    if (f->bias_rule == GF_BIAS_KEY) {
        TRY(gf_json_bool(&c->attention_bias, r->json, "attention_bias", false, r->path, r->err));
        c->output_bias = c->attention_bias;
    }
    if (f->mlp_bias_key)
        TRY(gf_json_bool(&c->mlp_bias, r->json, "mlp_bias", false, r->path, r->err));
    TRY(read_act(c, f, r));
    const cJSON *quant = cJSON_GetObjectItemCaseSensitive(r->json, "quantization_config");
    if (quant && !cJSON_IsNull(quant))
        TRY(gf_config_quantization(quant, r->path, r->err));
    c->bnb = quant && !cJSON_IsNull(quant);
    return read_scales(c, f, r);
}

static gf_status read_dtype(gf_config *c, const reader *r)
{
    const char *name = NULL;
    TRY(gf_json_string(&name, r->json, "torch_dtype", NULL, r->path, r->err));
    TRY(gf_json_string(&name, r->json, "dtype", name, r->path, r->err));
    c->dtype = GF_DTYPES; /* gf_files_open takes that of the embedding */
    if (!name)
        return GF_OK;
    if (strncmp(name, "torch.", 6) == 0) /* 6: length of the prefix that some tools write */
        name += 6;
    if (strcmp(name, "float32") == 0)
        c->dtype = GF_F32;
    else if (strcmp(name, "float16") == 0)
        c->dtype = GF_F16;
    else if (strcmp(name, "bfloat16") == 0)
        c->dtype = GF_BF16;
    else if (strcmp(name, "auto") != 0)
        return gf_fail(r->err, GF_EMISSING, "%s: dtype %s: graft has float32, float16 and bfloat16",
                       r->path, name);
    return GF_OK;
}

/* ---- special tokens ---------------------------------------------------------------- */

static gf_status token_id(const reader *r, const char *key, int32_t missing, int32_t *out)
{
    int64_t id = 0;
    if (gf_config_null(r, key)) {
        *out = -1;
        return GF_OK;
    }
    TRY(gf_json_int(&id, r->json, key, missing, INT32_MIN, INT32_MAX, r->path, r->err));
    *out = id < 0 ? -1 : (int32_t)id; /* some files say -1 for none */
    return GF_OK;
}

static gf_status eos_ids(gf_config *c, const reader *r, const char *key)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(r->json, key);
    const int limit = (int)(sizeof c->eos / sizeof c->eos[0]);
    c->eos_count = 0;
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, list)
    {
        const double id = item->valuedouble;
        if (!cJSON_IsNumber(item))
            return gf_fail(r->err, GF_EINPUT, "%s: %s: want a token id or a list of them", r->path,
                           key);
        if (!(id >= 0 && id < (double)c->V) || id != floor(id))
            return gf_fail(r->err, GF_EINPUT,
                           "%s: %s: %.17g is no id of the vocabulary's %lld tokens", r->path, key,
                           id, (long long)c->V);
        if (c->eos_count == limit)
            return gf_fail(r->err, GF_EMISSING, "%s: %s: graft takes at most %d end tokens",
                           r->path, key, limit);
        c->eos[c->eos_count++] = (int32_t)id;
    }
    return GF_OK;
}

static gf_status read_tokens(gf_config *c, const reader *r)
{
    TRY(token_id(r, "bos_token_id", c->bos, &c->bos));
    TRY(token_id(r, "pad_token_id", c->pad, &c->pad));
    if (cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(r->json, "eos_token_id")))
        return eos_ids(c, r, "eos_token_id");
    int32_t id = c->eos_count > 0 ? c->eos[0] : -1;
    if (!cJSON_GetObjectItemCaseSensitive(r->json, "eos_token_id"))
        return GF_OK;
    TRY(token_id(r, "eos_token_id", id, &id));
    if (id >= c->V)
        return gf_fail(r->err, GF_EINPUT,
                       "%s: eos_token_id: %d is no id of the vocabulary's %lld "
                       "tokens",
                       r->path, id, (long long)c->V);
    c->eos[0] = id;
    c->eos_count = id >= 0 ? 1 : 0;
    return GF_OK;
}

/* generation_config.json overrides what it names and is not null. */
static gf_status read_generation(gf_config *c, const char *dir, gf_err *err)
{
    gf_status st = GF_OK;
    cJSON *json = NULL;
    char *path = gf_path_join(dir, "generation_config.json", err);
    if (!path)
        return GF_ENOMEM;
    if (!gf_file_exists(path))
        goto out;
    TRYG(gf_json_read(&json, path, err));
    if (!cJSON_IsObject(json)) {
        st = gf_fail(err, GF_EINPUT, "%s: want an object", path);
        goto out;
    }
    static const char *const keys[] = {"bos_token_id", "eos_token_id", "pad_token_id"};
    for (int i = 0; i < 3; i++) /* the keys above */
        if (cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(json, keys[i])))
            cJSON_DeleteItemFromObjectCaseSensitive(json, keys[i]);
    TRYG(read_tokens(c, &(reader){json, path, err}));
out:
    cJSON_Delete(json);
    free(path);
    return st;
}

/* ---- all of it --------------------------------------------------------------------- */

static gf_status read_object(gf_config *c, const reader *r, const char *dir)
{
    const gf_family *f = NULL;
    TRY(find_family(r, &f));
    TRY(read_sizes(c, f, r));
    TRY(read_flags(c, f, r));
    TRY(read_dtype(c, r));
    TRY(gf_config_read_layers(c, f, r));
    c->bos = f->bos;
    c->pad = f->pad;
    c->eos[0] = f->eos;
    c->eos_count = f->eos >= 0 ? 1 : 0;
    TRY(read_tokens(c, r));
    TRY(read_generation(c, dir, r->err));
    return gf_config_finish(c, f, r->path, r->err);
}

gf_status gf_config_read(gf_config *c, const char *dir, gf_err *err)
{
    gf_status st = GF_OK;
    cJSON *json = NULL;
    *c = (gf_config){0};
    char *path = gf_path_join(dir, "config.json", err);
    if (!path)
        return GF_ENOMEM;
    TRYG(gf_json_read(&json, path, err));
    if (!cJSON_IsObject(json)) {
        st = gf_fail(err, GF_EINPUT, "%s: want an object", path);
        goto out;
    }
    TRYG(read_object(c, &(reader){json, path, err}, dir));
out:
    cJSON_Delete(json);
    free(path);
    if (st != GF_OK)
        gf_config_free(c);
    return st;
}

void gf_config_free(gf_config *c)
{
    free(c->window);
    free(c->rope_of);
    for (int i = 0; i < GF_ROPES; i++) {
        free(c->rope[i].divisor);
        free(c->rope[i].short_factor);
        free(c->rope[i].long_factor);
    }
    *c = (gf_config){0};
}
