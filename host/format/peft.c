/* peft.c - adapter_config.json, read and checked. Contract: format/peft.h; keys: FORMATS 4.1. */
#include "format/peft.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

/* No layer is wider, so a larger rank is a mistake; it also keeps products of sizes small. */
#define RANK_MAX (1 << 20)

/* What a key of the file means to graft. */
typedef enum {
    HONOURED, /* read below */
    NOTE,     /* bookkeeping: any value */
    OFF       /* not supported: must be null, false or empty */
} meaning;

typedef struct {
    const char *key;
    meaning meaning;
} known_key;

static const known_key known_keys[] = {
    {"alora_invocation_tokens", OFF},
    {"alpha_pattern", HONOURED},
    {"arrow_config", OFF},
    {"auto_mapping", NOTE},
    {"base_model_name_or_path", HONOURED},
    {"bias", HONOURED},
    {"corda_config", OFF},
    {"ensure_weight_tying", OFF},
    {"eva_config", NOTE},
    {"exclude_modules", HONOURED},
    {"fan_in_fan_out", OFF},
    {"inference_mode", NOTE},
    {"init_lora_weights", HONOURED},
    {"kasa_config", OFF},
    {"layer_replication", OFF},
    {"layers_pattern", HONOURED},
    {"layers_to_transform", HONOURED},
    {"loftq_config", OFF},
    {"lora_alpha", HONOURED},
    {"lora_bias", OFF},
    {"lora_dropout", HONOURED},
    {"lora_ga_config", OFF},
    {"megatron_config", OFF},
    {"megatron_core", NOTE},
    {"modules_to_save", HONOURED},
    {"monteclora_config", OFF},
    {"peft_type", HONOURED},
    {"peft_version", NOTE},
    {"qalora_group_size", NOTE},
    {"r", HONOURED},
    {"rank_pattern", HONOURED},
    {"revision", NOTE},
    {"target_modules", HONOURED},
    {"target_parameters", OFF},
    {"task_type", NOTE},
    {"trainable_token_indices", OFF},
    {"use_bdlora", OFF},
    {"use_dora", HONOURED},
    {"use_qalora", OFF},
    {"use_rslora", HONOURED},
    {"velora_config", OFF},
};

typedef struct {
    const cJSON *root;
    const char *path;
    gf_err *err;
} config_file;

/* ---- refusals ---------------------------------------------------------------------- */

static gf_status refuse(const config_file *f, const cJSON *item, const char *why)
{
    char *value = cJSON_PrintUnformatted(item);
    if (!value)
        return gf_fail(f->err, GF_ENOMEM, "out of memory");
    const gf_status st =
        gf_fail(f->err, GF_EMISSING, "%s: %s: %.80s: %s", f->path, item->string, value, why);
    cJSON_free(value);
    return st;
}

static bool says_nothing(const cJSON *item)
{
    if (cJSON_IsString(item))
        return !*item->valuestring;
    if (cJSON_IsArray(item) || cJSON_IsObject(item))
        return !item->child;
    return cJSON_IsNull(item) || cJSON_IsFalse(item);
}

static gf_status check_keys(const config_file *f)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, f->root)
    {
        const known_key *known = NULL;
        for (size_t i = 0; i < sizeof known_keys / sizeof known_keys[0] && !known; i++)
            if (strcmp(known_keys[i].key, item->string) == 0)
                known = &known_keys[i];
        if ((known && known->meaning != OFF) || says_nothing(item))
            continue;
        TRY(refuse(f, item,
                   known ? "graft does not support this kind of adapter"
                         : "graft does not know this key, so it can't tell what it changes"));
    }
    return GF_OK;
}

/* Keys that have one meaning which graft supports. */
static gf_status check_fixed(const config_file *f)
{
    const char *type, *bias, *init = NULL;
    TRY(gf_json_string(&type, f->root, "peft_type", "", f->path, f->err));
    if (strcmp(type, "LORA") != 0)
        return gf_fail(f->err, *type ? GF_EMISSING : GF_EINPUT,
                       "%s: peft_type: want \"LORA\", got \"%s\"", f->path, type);
    TRY(gf_json_string(&bias, f->root, "bias", "none", f->path, f->err));
    if (strcmp(bias, "none") != 0)
        return refuse(f, cJSON_GetObjectItemCaseSensitive(f->root, "bias"),
                      "graft does not train biases");
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(f->root, "init_lora_weights");
    if (cJSON_IsString(item))
        init = item->valuestring;
    if (init && strcmp(init, "gaussian") != 0 && strcmp(init, "orthogonal") != 0 &&
        strcmp(init, "eva") != 0) /* these leave the base as it is */
        return refuse(f, item,
                      "this initialisation changes the base model, or graft doesn't know it");
    item = cJSON_GetObjectItemCaseSensitive(f->root, "layers_pattern");
    if (cJSON_IsArray(item) && item->child && !item->child->next) {
        if (!cJSON_IsString(item->child) || strcmp(item->child->valuestring, "layers") != 0)
            return refuse(f, item, "want \"layers\"");
    } else if (item && !says_nothing(item) &&
               (!cJSON_IsString(item) || strcmp(item->valuestring, "layers") != 0)) {
        return refuse(f, item, "want \"layers\"");
    }
    return GF_OK;
}

/* ---- values ------------------------------------------------------------------------ */

static gf_status fail_kind(const config_file *f, const cJSON *item, const char *key,
                           const char *want)
{
    return gf_fail(f->err, GF_EINPUT, "%s: %s: want %s, got %s", f->path, key, want,
                   gf_json_kind(item));
}

/* A list of names, or one string: target_modules and exclude_modules. */
static gf_status take_modules(const config_file *f, const char *key, char ***list, int *count,
                              char **regex)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(f->root, key), *name;
    if (!item || cJSON_IsNull(item))
        return GF_OK;
    if (cJSON_IsString(item)) {
        *regex = gf_strdup(item->valuestring, f->err);
        return *regex ? GF_OK : GF_ENOMEM;
    }
    if (!cJSON_IsArray(item))
        return fail_kind(f, item, key, "a list of names or a string");
    *list = gf_alloc((size_t)cJSON_GetArraySize(item), sizeof **list, f->err);
    if (!*list)
        return GF_ENOMEM;
    cJSON_ArrayForEach(name, item)
    {
        if (!cJSON_IsString(name))
            return fail_kind(f, name, key, "a list of names");
        (*list)[*count] = gf_strdup(name->valuestring, f->err);
        if (!(*list)[*count])
            return GF_ENOMEM;
        ++*count;
    }
    return GF_OK;
}

static gf_status take_saves(const config_file *f, gf_peft_config *c)
{
    char *text = NULL;
    TRY(take_modules(f, "modules_to_save", &c->save, &c->saves, &text));
    if (!text)
        return GF_OK;
    free(text);
    return fail_kind(f, cJSON_GetObjectItemCaseSensitive(f->root, "modules_to_save"),
                     "modules_to_save", "a list of names");
}

static gf_status take_layer(const config_file *f, gf_peft_config *c, const cJSON *item)
{
    const double x = item->valuedouble;
    if (!cJSON_IsNumber(item) || !(x >= 0 && x <= INT32_MAX) || x != (double)(int32_t)x)
        return gf_fail(f->err, GF_EINPUT,
                       "%s: layers_to_transform: want a layer's number, or a list of them",
                       f->path);
    c->layer[c->layers++] = (int64_t)x;
    return GF_OK;
}

static gf_status take_layers(const config_file *f, gf_peft_config *c)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(f->root, "layers_to_transform"), *number;
    if (!item || cJSON_IsNull(item))
        return GF_OK;
    const bool list = cJSON_IsArray(item);
    c->layer = gf_alloc(list ? (size_t)cJSON_GetArraySize(item) : 1, sizeof *c->layer, f->err);
    if (!c->layer)
        return GF_ENOMEM;
    if (!list)
        return take_layer(f, c, item);
    cJSON_ArrayForEach(number, item) TRY(take_layer(f, c, number));
    return GF_OK;
}

static gf_status take_patterns(const config_file *f, const char *key, gf_pattern **list, int *count,
                               bool ranks)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(f->root, key), *value;
    if (!item || cJSON_IsNull(item))
        return GF_OK;
    if (!cJSON_IsObject(item))
        return fail_kind(f, item, key, "an object");
    *list = gf_alloc((size_t)cJSON_GetArraySize(item), sizeof **list, f->err);
    if (!*list)
        return GF_ENOMEM;
    cJSON_ArrayForEach(value, item)
    {
        gf_pattern p = {0};
        int64_t rank = 0;
        if (cJSON_IsNull(value)) /* which the typed access takes for a missing value */
            return fail_kind(f, value, value->string, "a number");
        if (ranks) {
            TRY(gf_json_int(&rank, item, value->string, 0, 1, RANK_MAX, f->path, f->err));
            p.value = (double)rank;
        } else {
            TRY(gf_json_double(&p.value, item, value->string, 0, f->path, f->err));
        }
        p.pattern = gf_strdup(value->string, f->err);
        if (!p.pattern)
            return GF_ENOMEM;
        (*list)[(*count)++] = p;
    }
    return GF_OK;
}

static gf_status take_numbers(const config_file *f, gf_peft_config *c)
{
    TRY(gf_json_int(&c->r, f->root, "r", 8, 1, RANK_MAX, f->path, f->err));
    TRY(gf_json_double(&c->lora_alpha, f->root, "lora_alpha", 8, f->path, f->err));
    TRY(gf_json_double(&c->lora_dropout, f->root, "lora_dropout", 0, f->path, f->err));
    if (!(c->lora_dropout >= 0 && c->lora_dropout < 1))
        return gf_fail(f->err, GF_EINPUT, "%s: lora_dropout: want 0 to below 1, got %g", f->path,
                       c->lora_dropout);
    TRY(gf_json_bool(&c->use_dora, f->root, "use_dora", false, f->path, f->err));
    return gf_json_bool(&c->use_rslora, f->root, "use_rslora", false, f->path, f->err);
}

static gf_status take_all(const config_file *f, gf_peft_config *c)
{
    const char *base;
    if (!cJSON_IsObject(f->root))
        return gf_fail(f->err, GF_EINPUT, "%s: want an object, got %s", f->path,
                       gf_json_kind(f->root));
    TRY(check_fixed(f));
    TRY(check_keys(f));
    TRY(take_numbers(f, c));
    TRY(take_modules(f, "target_modules", &c->target, &c->targets, &c->target_regex));
    if (!c->targets && !c->target_regex)
        return gf_fail(f->err, GF_EINPUT,
                       "%s: target_modules: it names no module: write out which ones are adapted",
                       f->path);
    TRY(take_modules(f, "exclude_modules", &c->exclude, &c->excludes, &c->exclude_regex));
    TRY(take_saves(f, c));
    TRY(take_layers(f, c));
    if (c->layers && c->target_regex && strcmp(c->target_regex, "all-linear") != 0)
        return gf_fail(f->err, GF_EINPUT,
                       "%s: layers_to_transform: goes only with a list of target_modules", f->path);
    TRY(take_patterns(f, "rank_pattern", &c->rank_pattern, &c->rank_patterns, true));
    TRY(take_patterns(f, "alpha_pattern", &c->alpha_pattern, &c->alpha_patterns, false));
    TRY(gf_json_string(&base, f->root, "base_model_name_or_path", NULL, f->path, f->err));
    if (base && !(c->base_model = gf_strdup(base, f->err)))
        return GF_ENOMEM;
    return GF_OK;
}

gf_status gf_peft_read_config(gf_peft_config *c, const char *path, gf_err *err)
{
    cJSON *root = NULL;
    *c = (gf_peft_config){0};
    TRY(gf_json_read(&root, path, err));
    const config_file f = {.root = root, .path = path, .err = err};
    const gf_status st = take_all(&f, c);
    cJSON_Delete(root);
    if (st != GF_OK)
        gf_peft_config_free(c);
    return st;
}

/* ---- freeing ----------------------------------------------------------------------- */

static void free_names(char **list, int count)
{
    for (int i = 0; i < count; i++)
        free(list[i]);
    free(list);
}

static void free_patterns(gf_pattern *list, int count)
{
    for (int i = 0; i < count; i++)
        free(list[i].pattern);
    free(list);
}

void gf_peft_config_free(gf_peft_config *c)
{
    free_names(c->target, c->targets);
    free_names(c->exclude, c->excludes);
    free_names(c->save, c->saves);
    free_patterns(c->rank_pattern, c->rank_patterns);
    free_patterns(c->alpha_pattern, c->alpha_patterns);
    free(c->target_regex);
    free(c->exclude_regex);
    free(c->layer);
    free(c->base_model);
    *c = (gf_peft_config){0};
}
