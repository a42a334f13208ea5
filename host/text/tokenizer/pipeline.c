/* pipeline.c - tokenizer.json: normalizer and pre_tokenizer. Contract: tokenizer/parts.h;
 * format: FORMATS 3.5, 3.6. */
#include "text/tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>

gf_status gf_part_missing(const gf_tokenizer *t, const char *what, const char *type, gf_err *err)
{
    return gf_fail(err, GF_EMISSING, "%s: a %s of type %.60s is not supported", t->where, what,
                   type);
}

gf_status gf_part_type(const char **type, const gf_tokenizer *t, const cJSON *json,
                       const char *what, gf_err *err)
{
    if (!cJSON_IsObject(json))
        return gf_fail(err, GF_EINPUT, "%s: %s: want an object", t->where, what);
    TRY(gf_json_string(type, json, "type", NULL, t->where, err));
    if (!*type)
        return gf_fail(err, GF_EINPUT, "%s: %s: type is missing", t->where, what);
    return GF_OK;
}

gf_status gf_part_pattern(gf_pattern *p, const gf_tokenizer *t, const cJSON *json, gf_err *err)
{
    const cJSON *pattern = cJSON_GetObjectItemCaseSensitive(json, "pattern");
    const cJSON *kind = cJSON_IsObject(pattern) ? pattern->child : NULL;
    if (!cJSON_IsString(kind) || kind->next)
        return gf_fail(err, GF_EINPUT,
                       "%s: pattern: want {\"String\": \"...\"} or {\"Regex\": \"...\"}", t->where);
    if (strcmp(kind->string, "String") == 0)
        return gf_pattern_literal(p, kind->valuestring, err);
    if (strcmp(kind->string, "Regex") == 0)
        return gf_pattern_regex(p, kind->valuestring, t->where, err);
    return gf_fail(err, GF_EINPUT, "%s: pattern: want String or Regex, got %.60s", t->where,
                   kind->string);
}

gf_status gf_part_text(char **out, const gf_tokenizer *t, const cJSON *json, const char *key,
                       bool one_character, gf_err *err)
{
    const char *text;
    uint32_t cp;
    TRY(gf_json_string(&text, json, key, NULL, t->where, err));
    if (!text)
        return gf_fail(err, GF_EINPUT, "%s: %s is missing", t->where, key);
    if (one_character && (!*text || gf_utf8_next(text, &cp) != strlen(text)))
        return gf_fail(err, GF_EINPUT, "%s: %s: want one character", t->where, key);
    *out = gf_strdup(text, err);
    return *out ? GF_OK : GF_ENOMEM;
}

/* Old files have add_prefix_space instead. */
gf_status gf_part_prepend(gf_prepend *out, const gf_tokenizer *t, const cJSON *json, gf_err *err)
{
    bool add;
    const char *scheme;
    TRY(gf_json_bool(&add, json, "add_prefix_space", true, t->where, err));
    TRY(gf_json_string(&scheme, json, "prepend_scheme", add ? "always" : "never", t->where, err));
    if (strcmp(scheme, "always") == 0)
        *out = GF_PREPEND_ALWAYS;
    else if (strcmp(scheme, "first") == 0)
        *out = GF_PREPEND_FIRST;
    else if (strcmp(scheme, "never") == 0)
        *out = GF_PREPEND_NEVER;
    else
        return gf_fail(err, GF_EINPUT, "%s: prepend_scheme: want always, first or never, got %.60s",
                       t->where, scheme);
    return GF_OK;
}

static gf_status load_behaviour(gf_pre *pre, const gf_tokenizer *t, const cJSON *json,
                                const char *missing, gf_err *err)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"}; /* as in the enum */
    const char *name;
    TRY(gf_json_string(&name, json, "behavior", missing, t->where, err));
    for (int i = 0; name && i <= GF_SPLIT_CONTIGUOUS; i++) {
        if (strcmp(name, names[i]) == 0) {
            pre->behaviour = (gf_split_behaviour)i;
            return GF_OK;
        }
    }
    return gf_fail(err, GF_EINPUT,
                   "%s: behavior: want Isolated, Removed, MergedWithPrevious, "
                   "MergedWithNext or Contiguous",
                   t->where);
}

/* ---- normalizer -------------------------------------------------------------------- */

static const struct {
    const char *type;
    gf_norm_kind kind;
} norm_types[] = {
    {"Prepend", GF_NORM_PREPEND}, {"Replace", GF_NORM_REPLACE}, {"NFC", GF_NORM_NFC},
    {"NFD", GF_NORM_NFD},         {"NFKC", GF_NORM_NFKC},       {"NFKD", GF_NORM_NFKD},
    {"Lowercase", GF_NORM_LOWER}, {"Strip", GF_NORM_STRIP},
};

static gf_status load_norm(gf_tokenizer *t, const cJSON *json, gf_err *err)
{
    const char *type;
    TRY(gf_part_type(&type, t, json, "normalizer", err));
    if (strcmp(type, "Sequence") == 0) {
        const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "normalizers"), *item;
        if (!cJSON_IsArray(list))
            return gf_fail(err, GF_EINPUT, "%s: normalizers: want an array", t->where);
        cJSON_ArrayForEach(item, list) TRY(load_norm(t, item, err));
        return GF_OK;
    }
    size_t i = 0;
    const size_t count = sizeof norm_types / sizeof *norm_types;
    while (i < count && strcmp(type, norm_types[i].type) != 0)
        i++;
    if (i == count)
        return gf_part_missing(t, "normalizer", type, err);
    gf_normalizer *norm = gf_tokenizer_add_norm(t, norm_types[i].kind, err);
    if (!norm)
        return GF_ENOMEM;
    switch (norm->kind) {
    case GF_NORM_PREPEND:
        return gf_part_text(&norm->text, t, json, "prepend", false, err);
    case GF_NORM_REPLACE:
        TRY(gf_part_pattern(&norm->pattern, t, json, err));
        return gf_part_text(&norm->text, t, json, "content", false, err);
    case GF_NORM_STRIP:
        TRY(gf_json_bool(&norm->left, json, "strip_left", true, t->where, err));
        return gf_json_bool(&norm->right, json, "strip_right", true, t->where, err);
    default:
        return GF_OK;
    }
}

/* ---- pre_tokenizer ----------------------------------------------------------------- */

static gf_status load_bytes(gf_tokenizer *t, const cJSON *json, gf_err *err)
{
    gf_pre *pre = gf_tokenizer_add_pre(t, GF_PRE_BYTES, err);
    if (!pre)
        return GF_ENOMEM;
    TRY(gf_json_bool(&pre->add_prefix_space, json, "add_prefix_space", true, t->where, err));
    TRY(gf_json_bool(&pre->use_regex, json, "use_regex", true, t->where, err));
    return pre->use_regex ? gf_pattern_regex(&pre->pattern, gf_gpt2_pattern, t->where, err) : GF_OK;
}

static gf_status load_split(gf_tokenizer *t, const cJSON *json, gf_err *err)
{
    gf_pre *pre = gf_tokenizer_add_pre(t, GF_PRE_PATTERN, err);
    if (!pre)
        return GF_ENOMEM;
    TRY(load_behaviour(pre, t, json, NULL, err));
    TRY(gf_json_bool(&pre->invert, json, "invert", false, t->where, err));
    return gf_part_pattern(&pre->pattern, t, json, err);
}

static gf_status load_metaspace(gf_tokenizer *t, const cJSON *json, gf_err *err)
{
    gf_pre *pre = gf_tokenizer_add_pre(t, GF_PRE_METASPACE, err);
    if (!pre)
        return GF_ENOMEM;
    TRY(gf_part_text(&pre->replacement, t, json, "replacement", true, err));
    TRY(gf_json_bool(&pre->split, json, "split", true, t->where, err));
    TRY(gf_part_prepend(&pre->prepend, t, json, err));
    return gf_pattern_literal(&pre->pattern, pre->replacement, err);
}

static gf_status load_class(gf_tokenizer *t, const cJSON *json, const char *type, gf_err *err)
{
    bool individual;
    gf_pre *pre = gf_tokenizer_add_pre(t, GF_PRE_CLASS, err);
    if (!pre)
        return GF_ENOMEM;
    if (strcmp(type, "Digits") == 0) {
        TRY(gf_json_bool(&individual, json, "individual_digits", false, t->where, err));
        pre->in_class = gf_is_number;
        pre->behaviour = individual ? GF_SPLIT_ISOLATED : GF_SPLIT_CONTIGUOUS;
        return GF_OK;
    }
    if (strcmp(type, "Punctuation") == 0) {
        pre->in_class = gf_is_punctuation;
        return load_behaviour(pre, t, json, "Isolated", err);
    }
    pre->in_class = gf_is_space; /* WhitespaceSplit */
    pre->behaviour = GF_SPLIT_REMOVED;
    return GF_OK;
}

static gf_status load_pre(gf_tokenizer *t, const cJSON *json, gf_err *err)
{
    const char *type;
    TRY(gf_part_type(&type, t, json, "pre_tokenizer", err));
    t->has_pre = true;
    if (strcmp(type, "Sequence") == 0) {
        const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "pretokenizers"), *item;
        if (!cJSON_IsArray(list))
            return gf_fail(err, GF_EINPUT, "%s: pretokenizers: want an array", t->where);
        cJSON_ArrayForEach(item, list) TRY(load_pre(t, item, err));
        return GF_OK;
    }
    if (strcmp(type, "ByteLevel") == 0)
        return load_bytes(t, json, err);
    if (strcmp(type, "Split") == 0)
        return load_split(t, json, err);
    if (strcmp(type, "Metaspace") == 0)
        return load_metaspace(t, json, err);
    if (strcmp(type, "Digits") == 0 || strcmp(type, "Punctuation") == 0 ||
        strcmp(type, "WhitespaceSplit") == 0)
        return load_class(t, json, type, err);
    if (strcmp(type, "Whitespace") != 0)
        return gf_part_missing(t, "pre_tokenizer", type, err);
    gf_pre *pre = gf_tokenizer_add_pre(t, GF_PRE_WORDS, err);
    if (!pre)
        return GF_ENOMEM;
    pre->behaviour = GF_SPLIT_REMOVED; /* what matches neither: spaces */
    pre->invert = true;
    return GF_OK;
}

gf_status gf_tokenizer_load_pipeline(gf_tokenizer *t, const cJSON *root, gf_err *err)
{
    static const struct {
        const char *key;
        gf_status (*load)(gf_tokenizer *t, const cJSON *json, gf_err *err);
    } fields[] = {{"normalizer", load_norm},
                  {"pre_tokenizer", load_pre},
                  {"post_processor", gf_tokenizer_load_post},
                  {"decoder", gf_tokenizer_load_decoder}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const cJSON *json = cJSON_GetObjectItemCaseSensitive(root, fields[i].key);
        if (json && !cJSON_IsNull(json))
            TRY(fields[i].load(t, json, err));
    }
    return GF_OK;
}
