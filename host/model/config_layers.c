/* What config.json says of each layer: its sliding window, its RoPE (FORMATS 2.2, 2.5). */
#include <math.h>
#include <string.h>

#include "model/config_parts.h"

typedef gf_config_reader reader;

/* ---- layers without RoPE ----------------------------------------------------------- */

/* no_rope_layers says 1 where there IS one; without the list each so-manieth layer has none. */
static gf_status read_skips(gf_config *c, const gf_family *f, const reader *r)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(r->json, "no_rope_layers");
    int64_t l = 0, step = 0;
    if (f->rope_rule != GF_ROPE_SKIPPED)
        return GF_OK;
    TRY(gf_config_size(r, "no_rope_layer_interval", f->rope_skip, GF_MAX_LAYERS, &step));
    if (!list || cJSON_IsNull(list)) {
        for (l = step - 1; l < c->L; l += step)
            c->rope_of[l] = -1;
        return GF_OK;
    }
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, list)
    {
        const bool yes = cJSON_IsTrue(item) || (cJSON_IsNumber(item) && item->valuedouble == 1);
        const bool no = cJSON_IsFalse(item) || (cJSON_IsNumber(item) && item->valuedouble == 0);
        if (!yes && !no)
            return gf_fail(r->err, GF_EINPUT, "%s: no_rope_layers: want a list of 0 and 1",
                           r->path);
        if (l < c->L) /* it may be longer than the model */
            c->rope_of[l++] = yes ? 0 : -1;
    }
    if (!cJSON_IsArray(list) || l < c->L)
        return gf_fail(r->err, GF_EINPUT, "%s: no_rope_layers: want a list of %lld numbers",
                       r->path, (long long)c->L);
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

/* Layers of which no list says more. */
static gf_status deal_windows(gf_config *c, const gf_family *f, int64_t window, const reader *r)
{
    int64_t from = 0, period = 0;
    if (f->window_rule == GF_WINDOW_FROM)
        TRY(gf_json_int(&from, r->json, "max_window_layers", f->max_window_layers, 0,
                        GF_MAX_POSITION, r->path, r->err));
    if (f->window_rule == GF_WINDOW_PERIODIC) {
        TRY(gf_config_size(r, "_sliding_window_pattern", f->window_period, GF_MAX_LAYERS, &period));
        TRY(gf_config_size(r, "sliding_window_pattern", period, GF_MAX_LAYERS, &period));
    }
    for (int64_t l = from; l < c->L; l++) {
        const bool slides = f->window_rule == GF_WINDOW_NO_ROPE    ? c->rope_of[l] < 0
                            : f->window_rule == GF_WINDOW_PERIODIC ? (l + 1) % period != 0
                                                                   : true;
        c->window[l] = slides ? window : 0;
        if (slides && window == 0 && f->window_rule == GF_WINDOW_PERIODIC)
            return gf_fail(r->err, GF_EINPUT,
                           "%s: layer %lld of a %s model has a sliding window, "
                           "but no sliding_window is set",
                           r->path, (long long)l, f->name);
    }
    return GF_OK;
}

static gf_status read_windows(gf_config *c, const gf_family *f, const reader *r)
{
    int64_t window = 0;
    bool use = true;
    if (f->window_rule == GF_WINDOW_NONE)
        return GF_OK;
    const cJSON *size = cJSON_GetObjectItemCaseSensitive(r->json, "sliding_window");
    if (!size)
        window = f->window;
    else if (!cJSON_IsNull(size)) /* null switches it off */
        TRY(gf_config_size(r, "sliding_window", 0, GF_MAX_POSITION, &window));
    if (f->window_rule == GF_WINDOW_FROM || f->window_rule == GF_WINDOW_NO_ROPE)
        TRY(gf_json_bool(&use, r->json, "use_sliding_window", false, r->path, r->err));
    if (!use)
        window = 0;
    const cJSON *types = cJSON_GetObjectItemCaseSensitive(r->json, "layer_types");
    if (types && !cJSON_IsNull(types) && f->window_rule != GF_WINDOW_ALL)
        return layer_types(c, window, types, r);
    return deal_windows(c, f, window, r);
}

/* ---- RoPE -------------------------------------------------------------------------- */

static gf_status rope_type(gf_rope_spec *o, const gf_family *f, const reader *p)
{
    static const struct {
        const char *name;
        gf_rope_type type;
    } types[] = {{"default", GF_ROPE_DEFAULT}, {"linear", GF_ROPE_LINEAR},
                 {"dynamic", GF_ROPE_DYNAMIC}, {"llama3", GF_ROPE_LLAMA3},
                 {"yarn", GF_ROPE_YARN},       {"longrope", GF_ROPE_LONGROPE}};
    const char *name = NULL;
    TRY(gf_json_string(&name, p->json, "type", "default", p->path, p->err));
    TRY(gf_json_string(&name, p->json, "rope_type", name, p->path, p->err));
    if (f->yarn_is_longrope && (strcmp(name, "yarn") == 0 || strcmp(name, "su") == 0))
        name = "longrope"; /* its names in Phi-3's first files */
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(name, types[i].name) == 0) {
            o->type = types[i].type;
            return GF_OK;
        }
    }
    return gf_fail(
        p->err, GF_EMISSING,
        "%s: RoPE type %s; graft has default, linear, dynamic, llama3, yarn and longrope", p->path,
        name);
}

static gf_status need(const reader *p, const char *key, double *out)
{
    TRY(gf_json_double(out, p->json, key, NAN, p->path, p->err));
    if (isnan(*out))
        return gf_fail(p->err, GF_EINPUT, "%s: this RoPE type needs %s", p->path, key);
    return GF_OK;
}

/* A divisor for each pair of columns. */
static gf_status factors(const reader *p, const char *key, int64_t count, float **out)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(p->json, key), *item = NULL;
    int64_t n = 0;
    *out = gf_alloc((size_t)count, sizeof **out, p->err);
    if (!*out)
        return GF_ENOMEM;
    if (cJSON_IsArray(list))
        cJSON_ArrayForEach(item, list)
        {
            if (n < count && cJSON_IsNumber(item))
                (*out)[n] = (float)item->valuedouble;
            n += cJSON_IsNumber(item) ? 1 : count + 1; /* too many: refused below */
        }
    if (n == count)
        return GF_OK;
    return gf_fail(p->err, GF_EINPUT, "%s: longrope needs %s, a list of %lld numbers", p->path, key,
                   (long long)count);
}

static gf_status read_longrope(gf_rope_spec *o, const reader *p)
{
    TRY(factors(p, "short_factor", o->rotary / 2, &o->short_factor));
    return factors(p, "long_factor", o->rotary / 2, &o->long_factor);
}

static gf_status read_yarn(gf_rope_spec *o, const reader *p)
{
    TRY(gf_json_double(&o->mscale, p->json, "mscale", 0, p->path, p->err));
    TRY(gf_json_double(&o->mscale_all_dim, p->json, "mscale_all_dim", 0, p->path, p->err));
    TRY(gf_json_double(&o->beta_fast, p->json, "beta_fast", 0, p->path, p->err));
    TRY(gf_json_double(&o->beta_slow, p->json, "beta_slow", 0, p->path, p->err));
    o->beta_fast = o->beta_fast == 0 ? 32 : o->beta_fast; /* 0 and null mean these (FORMATS 2.5) */
    o->beta_slow = o->beta_slow == 0 ? 1 : o->beta_slow;
    return gf_json_bool(&o->truncate, p->json, "truncate", true, p->path, p->err);
}

static gf_status rope_scaling(gf_rope_spec *o, const gf_family *f, int64_t max_position,
                              const reader *p, const reader *r)
{
    /* A top-level original_max_position_embeddings overrides the one inside (FORMATS 2.2), so does
     * the class default of one. */
    TRY(gf_config_size(p, "original_max_position_embeddings", max_position, GF_MAX_POSITION,
                       &o->original_max));
    TRY(gf_config_size(r, "original_max_position_embeddings",
                       f->original_max > 0 ? f->original_max : o->original_max, GF_MAX_POSITION,
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
    return o->type == GF_ROPE_LONGROPE ? read_longrope(o, p) : read_yarn(o, p);
}

/* How many columns of a head rotate. */
static gf_status read_rotary(gf_rope_spec *o, const gf_config *c, const gf_family *f,
                             const cJSON *object, const reader *r)
{
    double partial = 1;
    TRY(gf_json_double(&partial, r->json, "partial_rotary_factor", 1, r->path, r->err));
    TRY(gf_json_double(&partial, object, "partial_rotary_factor", partial, r->path, r->err));
    if (partial != 1 && !f->partial_rotary)
        return gf_fail(r->err, GF_EMISSING,
                       "%s: partial_rotary_factor %g: heads of a %s model rotate whole in graft",
                       r->path, partial, f->name);
    if (!(partial > 0 && partial <= 1) || (int64_t)((double)c->K * partial) < 2)
        return gf_fail(r->err, GF_EINPUT,
                       "%s: partial_rotary_factor %g of heads of %lld columns is "
                       "not usable",
                       r->path, partial, (long long)c->K);
    o->rotary = (int64_t)((double)c->K * partial); /* cut, as the reference does */
    return GF_OK;
}

/* One RoPE from its object, which may be NULL or null. */
static gf_status read_spec(gf_rope_spec *o, const gf_config *c, const gf_family *f,
                           const cJSON *object, double theta, const reader *r)
{
    const reader p = {object, r->path, r->err};
    TRY(gf_json_double(&o->theta, object, "rope_theta", theta, r->path, r->err));
    TRY(read_rotary(o, c, f, object, r));
    TRY(rope_type(o, f, &p));
    o->original_max = c->max_position;
    return o->type == GF_ROPE_DEFAULT ? GF_OK : rope_scaling(o, f, c->max_position, &p, r);
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
    return GF_OK;
}

/* The member of rope_parameters for one type of layers, or NULL. */
static gf_status of_type(const reader *r, const char *type, const cJSON **out)
{
    const cJSON *all = cJSON_GetObjectItemCaseSensitive(r->json, "rope_parameters");
    const cJSON *o = cJSON_GetObjectItemCaseSensitive(all, type);
    *out = o && !cJSON_IsNull(o) ? o : NULL;
    if (*out && !cJSON_IsObject(*out))
        return gf_fail(r->err, GF_EINPUT, "%s: rope_parameters: %s: want an object", r->path, type);
    return GF_OK;
}

static gf_status read_rope(gf_config *c, const gf_family *f, const reader *r)
{
    const cJSON *object = NULL, *item = NULL, *full = NULL, *sliding = NULL;
    double theta = 0, local = 0;
    TRY(rope_object(r, &object));
    TRY(of_type(r, "full_attention", &full));
    TRY(of_type(r, "sliding_attention", &sliding));
    TRY(gf_json_double(&theta, r->json, "rope_theta", f->theta, r->path, r->err));
    if (f->rope_rule != GF_ROPE_LOCAL) {
        cJSON_ArrayForEach(item, object)
        {
            if (cJSON_IsObject(item))
                return gf_fail(r->err, GF_EMISSING,
                               "%s: RoPE parameters by layer type (%s): graft has one RoPE for all "
                               "layers of a %s model",
                               r->path, item->string, f->name);
        }
        return read_spec(&c->rope[0], c, f, object, theta, r);
    }
    /* rope_scaling, of old files, is that of the full layers alone */
    TRY(read_spec(&c->rope[0], c, f, full ? full : object, theta, r));
    TRY(gf_json_double(&local, r->json, "rope_local_base_freq", f->local_theta, r->path, r->err));
    return read_spec(&c->rope[1], c, f, sliding, local, r);
}

gf_status gf_config_read_layers(gf_config *c, const gf_family *f, const reader *r)
{
    TRY(gf_config_layers(c, r->err));
    TRY(read_skips(c, f, r));
    TRY(read_windows(c, f, r));
    return read_rope(c, f, r);
}
