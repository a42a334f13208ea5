/* config.json and generation_config.json (FORMATS 2.2, 2.6). */
#include "model/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "model/family.h"

typedef struct {
    const cJSON *json;
    const char *path;
    gf_err *err;
} reader;

/* A key whose explicit null means something else than its absence. */
static bool is_null(const reader *r, const char *key)
{
    return cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(r->json, key));
}

static gf_status size_key(const reader *r, const char *key, int64_t missing, int64_t max,
                          int64_t *out)
{
    return gf_json_int(out, r->json, key, missing, 1, max, r->path, r->err);
}

/* ---- which family ------------------------------------------------------------------ */

static gf_status no_family(const reader *r, const char *what, const char *name)
{
    char list[256]; /* names of all families */
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
    TRY(size_key(r, "vocab_size", f->V, GF_MAX_POSITION, &c->V));
    TRY(size_key(r, "hidden_size", f->D, GF_MAX_WIDTH, &c->D));
    TRY(size_key(r, "intermediate_size", f->F, GF_MAX_WIDTH, &c->F));
    TRY(size_key(r, "num_hidden_layers", f->L, GF_MAX_LAYERS, &c->L));
    TRY(size_key(r, "num_attention_heads", f->H, GF_MAX_WIDTH, &c->H));
    const bool all_heads = f->G == 0 || is_null(r, "num_key_value_heads");
    TRY(size_key(r, "num_key_value_heads", all_heads ? c->H : f->G, GF_MAX_WIDTH, &c->G));
    const bool derived = f->K == 0 || is_null(r, "head_dim");
    if (derived && c->D % c->H != 0 &&
        !cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(r->json, "head_dim")))
        return gf_fail(r->err, GF_EINPUT,
                       "%s: hidden_size %lld is not a multiple of num_attention_heads %lld and "
                       "head_dim is not given",
                       r->path, (long long)c->D, (long long)c->H);
    TRY(size_key(r, "head_dim", derived ? c->D / c->H : f->K, GF_MAX_WIDTH, &c->K));
    return size_key(r, "max_position_embeddings", f->max_position, GF_MAX_POSITION,
                    &c->max_position);
}

static gf_status read_flags(gf_config *c, const gf_family *f, const reader *r)
{
    double eps = 0;
    TRY(gf_json_double(&eps, r->json, "rms_norm_eps", f->eps, r->path, r->err));
    c->eps = (float)eps;
    TRY(gf_json_bool(&c->tied, r->json, "tie_word_embeddings", false, r->path, r->err));
    c->attention_bias = f->bias_rule == GF_BIAS_QKV;
    if (f->bias_rule == GF_BIAS_KEY) {
        TRY(gf_json_bool(&c->attention_bias, r->json, "attention_bias", false, r->path, r->err));
        c->output_bias = c->attention_bias;
    }
    if (f->mlp_bias_key)
        TRY(gf_json_bool(&c->mlp_bias, r->json, "mlp_bias", false, r->path, r->err));
    const char *act = NULL;
    TRY(gf_json_string(&act, r->json, "hidden_act", "silu", r->path, r->err));
    if (strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0) /* two names of one function */
        return gf_fail(r->err, GF_EMISSING, "%s: hidden_act %s: graft has only silu for a %s model",
                       r->path, act, f->name);
    const cJSON *quant = cJSON_GetObjectItemCaseSensitive(r->json, "quantization_config");
    if (quant && !cJSON_IsNull(quant))
        TRY(gf_config_quantization(quant, r->path, r->err));
    c->bnb = quant && !cJSON_IsNull(quant);
    return GF_OK;
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

/* ---- sliding windows --------------------------------------------------------------- */

static gf_status layer_types(gf_config *c, int64_t window, const cJSON *list, const reader *r)
{
    if (!cJSON_IsArray(list))
        return gf_fail(r->err, GF_EINPUT, "%s: layer_types: want a list", r->path);
    int64_t l = 0;
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, list)
    {
        if (l == c->L)
            return gf_fail(r->err, GF_EINPUT, "%s: layer_types has more than the %lld layers",
                           r->path, (long long)c->L);
        const char *type = cJSON_IsString(item) ? item->valuestring : "?";
        if (strcmp(type, "sliding_attention") == 0) {
            if (window == 0)
                return gf_fail(
                    r->err, GF_EINPUT,
                    "%s: layer_types has sliding_attention, but no sliding_window is set", r->path);
            c->window[l] = window;
        } else if (strcmp(type, "full_attention") != 0) {
            return gf_fail(r->err, GF_EMISSING,
                           "%s: layer_types: %s; graft has full_attention and sliding_attention",
                           r->path, type);
        }
        l++;
    }
    if (l != c->L)
        return gf_fail(r->err, GF_EINPUT, "%s: layer_types has %lld of %lld layers", r->path,
                       (long long)l, (long long)c->L);
    return GF_OK;
}

static gf_status read_windows(gf_config *c, const gf_family *f, const reader *r)
{
    c->window = gf_alloc((size_t)c->L, sizeof *c->window, r->err);
    if (!c->window)
        return GF_ENOMEM;
    if (f->window_rule == GF_WINDOW_NONE)
        return GF_OK;
    int64_t window = 0;
    if (!is_null(r, "sliding_window")) /* null switches it off, absence is the default */
        TRY(size_key(r, "sliding_window", f->window, GF_MAX_POSITION, &window));
    if (f->window_rule == GF_WINDOW_ALL) {
        for (int64_t l = 0; l < c->L; l++)
            c->window[l] = window;
        return GF_OK;
    }
    bool use = false;
    TRY(gf_json_bool(&use, r->json, "use_sliding_window", false, r->path, r->err));
    if (!use)
        window = 0;
    const cJSON *types = cJSON_GetObjectItemCaseSensitive(r->json, "layer_types");
    if (types && !cJSON_IsNull(types))
        return layer_types(c, window, types, r);
    int64_t from = 0;
    TRY(gf_json_int(&from, r->json, "max_window_layers", f->max_window_layers, 0, GF_MAX_POSITION,
                    r->path, r->err));
    for (int64_t l = from; l < c->L; l++)
        c->window[l] = window;
    return GF_OK;
}

/* ---- RoPE -------------------------------------------------------------------------- */

static gf_status rope_type(gf_rope_spec *o, const reader *p)
{
    static const struct {
        const char *name;
        gf_rope_type type;
    } types[] = {{"default", GF_ROPE_DEFAULT},
                 {"linear", GF_ROPE_LINEAR},
                 {"dynamic", GF_ROPE_DYNAMIC},
                 {"llama3", GF_ROPE_LLAMA3},
                 {"yarn", GF_ROPE_YARN}};
    const char *name = NULL;
    TRY(gf_json_string(&name, p->json, "type", "default", p->path, p->err));
    TRY(gf_json_string(&name, p->json, "rope_type", name, p->path, p->err));
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(name, types[i].name) == 0) {
            o->type = types[i].type;
            return GF_OK;
        }
    }
    return gf_fail(p->err, GF_EMISSING,
                   "%s: RoPE type %s; graft has default, linear, dynamic, llama3 and yarn", p->path,
                   name);
}

static gf_status need(const reader *p, const char *key, double *out)
{
    TRY(gf_json_double(out, p->json, key, NAN, p->path, p->err));
    if (isnan(*out))
        return gf_fail(p->err, GF_EINPUT, "%s: this RoPE type needs %s", p->path, key);
    return GF_OK;
}

static gf_status rope_scaling(gf_rope_spec *o, int64_t max_position, const reader *p,
                              const reader *r)
{
    /* A top-level original_max_position_embeddings overrides the one inside (FORMATS 2.2). */
    TRY(size_key(p, "original_max_position_embeddings", max_position, GF_MAX_POSITION,
                 &o->original_max));
    TRY(size_key(r, "original_max_position_embeddings", o->original_max, GF_MAX_POSITION,
                 &o->original_max));
    if (o->type == GF_ROPE_LINEAR || o->type == GF_ROPE_DYNAMIC)
        return need(p, "factor", &o->factor);
    if (o->type == GF_ROPE_LLAMA3) {
        TRY(need(p, "factor", &o->factor));
        TRY(need(p, "low_freq_factor", &o->low_freq_factor));
        return need(p, "high_freq_factor", &o->high_freq_factor);
    }
    TRY(gf_json_double(&o->factor, p->json, "factor",
                       (double)max_position / (double)o->original_max, p->path, p->err));
    TRY(gf_json_double(&o->attention_factor, p->json, "attention_factor", 0, p->path, p->err));
    TRY(gf_json_double(&o->mscale, p->json, "mscale", 0, p->path, p->err));
    TRY(gf_json_double(&o->mscale_all_dim, p->json, "mscale_all_dim", 0, p->path, p->err));
    TRY(gf_json_double(&o->beta_fast, p->json, "beta_fast", 0, p->path, p->err));
    TRY(gf_json_double(&o->beta_slow, p->json, "beta_slow", 0, p->path, p->err));
    return gf_json_bool(&o->truncate, p->json, "truncate", true, p->path, p->err);
}

/* The object that holds RoPE's parameters: rope_scaling (4.x, and first where both are given, as in
 * 5.23), else rope_parameters (5.x), else none. */
static gf_status rope_object(const reader *r, const cJSON **out)
{
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};
    *out = NULL;
    for (int i = 0; i < 2; i++) { /* two spellings */
        const cJSON *o = cJSON_GetObjectItemCaseSensitive(r->json, keys[i]);
        if (!o || cJSON_IsNull(o))
            continue;
        if (!cJSON_IsObject(o))
            return gf_fail(r->err, GF_EINPUT, "%s: %s: want an object", r->path, keys[i]);
        if (o->child && !*out)
            *out = o;
    }
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, *out)
    {
        if (cJSON_IsObject(item))
            return gf_fail(r->err, GF_EMISSING,
                           "%s: RoPE parameters by layer type (%s): graft has one RoPE for all "
                           "layers of these families",
                           r->path, item->string);
    }
    return GF_OK;
}

static gf_status read_rope(gf_config *c, const gf_family *f, const reader *r)
{
    gf_rope_spec *o = &c->rope;
    const cJSON *object = NULL;
    TRY(rope_object(r, &object));
    double partial = 1;
    TRY(gf_json_double(&o->theta, r->json, "rope_theta", f->theta, r->path, r->err));
    TRY(gf_json_double(&partial, r->json, "partial_rotary_factor", 1, r->path, r->err));
    o->original_max = c->max_position;
    if (object) {
        const reader p = {object, r->path, r->err};
        TRY(gf_json_double(&o->theta, object, "rope_theta", o->theta, r->path, r->err));
        TRY(gf_json_double(&partial, object, "partial_rotary_factor", partial, r->path, r->err));
        TRY(rope_type(o, &p));
        if (o->type != GF_ROPE_DEFAULT)
            TRY(rope_scaling(o, c->max_position, &p, r));
    }
    if (o->type == GF_ROPE_YARN) { /* 0 and null mean these (FORMATS 2.5) */
        o->beta_fast = o->beta_fast == 0 ? 32 : o->beta_fast;
        o->beta_slow = o->beta_slow == 0 ? 1 : o->beta_slow;
    }
    if (partial != 1)
        return gf_fail(r->err, GF_EMISSING,
                       "%s: partial_rotary_factor %g: heads of a %s model rotate whole in graft",
                       r->path, partial, f->name);
    return GF_OK;
}

/* ---- special tokens ---------------------------------------------------------------- */

static gf_status token_id(const reader *r, const char *key, int32_t missing, int32_t *out)
{
    int64_t id = 0;
    if (is_null(r, key)) {
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
    TRY(read_windows(c, f, r));
    TRY(read_rope(c, f, r));
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
    free(c->rope.divisor);
    *c = (gf_config){0};
}
