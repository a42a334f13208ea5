/* output.c - tokenizer.json: post_processor and decoder. Contract: tokenizer/parts.h;
 * format: FORMATS 3.7, 3.8. */
#include "text/tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>

/* ---- post_processor ---------------------------------------------------------------- */

/* The ids of one special token of a TemplateProcessing. */
static gf_status add_special(gf_tokenizer *t, const cJSON *json, const char *name, bool front,
                             gf_err *err)
{
    const cJSON *all = cJSON_GetObjectItemCaseSensitive(json, "special_tokens");
    const cJSON *special = cJSON_GetObjectItemCaseSensitive(all, name), *item;
    const cJSON *ids = cJSON_GetObjectItemCaseSensitive(special, "ids");
    if (!cJSON_IsArray(ids))
        return gf_fail(err, GF_EINPUT, "%s: post_processor: no ids for special token \"%.60s\"",
                       t->where, name);
    cJSON_ArrayForEach(item, ids)
    {
        if (!cJSON_IsNumber(item) || item->valuedouble != (double)item->valueint)
            return gf_fail(err, GF_EINPUT, "%s: post_processor: ids of \"%.60s\": want integers",
                           t->where, name);
        TRY(gf_tokenizer_add_affix(t, front, item->valueint, err));
    }
    return GF_OK;
}

static gf_status load_template(gf_tokenizer *t, const cJSON *json, gf_err *err)
{
    const cJSON *single = cJSON_GetObjectItemCaseSensitive(json, "single"), *item;
    if (!cJSON_IsArray(single))
        return gf_fail(err, GF_EINPUT, "%s: post_processor: single: want an array", t->where);
    if (t->prefixes || t->suffixes)
        return gf_fail(err, GF_EMISSING,
                       "%s: two post_processors that add tokens are not supported", t->where);
    int texts = 0;
    cJSON_ArrayForEach(item, single)
    {
        const cJSON *kind = cJSON_IsObject(item) ? item->child : NULL;
        const char *id = NULL;
        if (cJSON_IsObject(kind))
            TRY(gf_json_string(&id, kind, "id", NULL, t->where, err));
        if (!id)
            return gf_fail(err, GF_EINPUT,
                           "%s: post_processor: single: want {\"SpecialToken\": "
                           "{\"id\": ...}} or {\"Sequence\": ...}",
                           t->where);
        if (strcmp(kind->string, "Sequence") == 0)
            texts += strcmp(id, "A") == 0 ? 1 : 2;
        else
            TRY(add_special(t, json, id, texts == 0, err));
    }
    if (texts != 1)
        return gf_fail(err, GF_EINPUT, "%s: post_processor: single: want the text A once",
                       t->where);
    return GF_OK;
}

/* ["</s>", 2]: the id. */
static gf_status load_pair(gf_tokenizer *t, const cJSON *json, const char *key, bool front,
                           gf_err *err)
{
    const cJSON *pair = cJSON_GetObjectItemCaseSensitive(json, key);
    const cJSON *id = cJSON_IsArray(pair) && pair->child ? pair->child->next : NULL;
    if (!cJSON_IsNumber(id) || id->valuedouble != (double)id->valueint)
        return gf_fail(err, GF_EINPUT, "%s: post_processor: %s: want [\"token\", id]", t->where,
                       key);
    return gf_tokenizer_add_affix(t, front, id->valueint, err);
}

gf_status gf_tokenizer_load_post(gf_tokenizer *t, const cJSON *json, gf_err *err)
{
    const char *type;
    TRY(gf_part_type(&type, t, json, "post_processor", err));
    if (strcmp(type, "Sequence") == 0) {
        const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "processors"), *item;
        if (!cJSON_IsArray(list))
            return gf_fail(err, GF_EINPUT, "%s: processors: want an array", t->where);
        cJSON_ArrayForEach(item, list) TRY(gf_tokenizer_load_post(t, item, err));
        return GF_OK;
    }
    if (strcmp(type, "ByteLevel") == 0)
        return GF_OK; /* offsets only */
    if (strcmp(type, "TemplateProcessing") == 0)
        return load_template(t, json, err);
    if (strcmp(type, "RobertaProcessing") != 0 && strcmp(type, "BertProcessing") != 0)
        return gf_part_missing(t, "post_processor", type, err);
    if (t->prefixes || t->suffixes)
        return gf_fail(err, GF_EMISSING,
                       "%s: two post_processors that add tokens are not supported", t->where);
    TRY(load_pair(t, json, "cls", true, err));
    return load_pair(t, json, "sep", false, err);
}

/* ---- decoder ----------------------------------------------------------------------- */

static const struct {
    const char *type;
    gf_dec_kind kind;
} types[] = {
    {"ByteLevel", GF_DEC_BYTES}, {"Replace", GF_DEC_REPLACE}, {"ByteFallback", GF_DEC_FALLBACK},
    {"Fuse", GF_DEC_FUSE},       {"Strip", GF_DEC_STRIP},     {"Metaspace", GF_DEC_METASPACE},
};

gf_status gf_tokenizer_load_decoder(gf_tokenizer *t, const cJSON *json, gf_err *err)
{
    const char *type;
    TRY(gf_part_type(&type, t, json, "decoder", err));
    t->has_dec = true;
    if (strcmp(type, "Sequence") == 0) {
        const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "decoders"), *item;
        if (!cJSON_IsArray(list))
            return gf_fail(err, GF_EINPUT, "%s: decoders: want an array", t->where);
        cJSON_ArrayForEach(item, list) TRY(gf_tokenizer_load_decoder(t, item, err));
        return GF_OK;
    }
    size_t i = 0;
    while (i < sizeof types / sizeof *types && strcmp(type, types[i].type) != 0)
        i++;
    if (i == sizeof types / sizeof *types)
        return gf_part_missing(t, "decoder", type, err);
    gf_decoder *dec = gf_tokenizer_add_dec(t, types[i].kind, err);
    if (!dec)
        return GF_ENOMEM;
    switch (dec->kind) {
    case GF_DEC_REPLACE:
        TRY(gf_part_pattern(&dec->pattern, t, json, err));
        return gf_part_text(&dec->text, t, json, "content", false, err);
    case GF_DEC_STRIP:
        TRY(gf_json_int(&dec->start, json, "start", 0, 0, GF_TEXT_MAX, t->where, err));
        TRY(gf_json_int(&dec->stop, json, "stop", 0, 0, GF_TEXT_MAX, t->where, err));
        return gf_part_text(&dec->text, t, json, "content", true, err);
    case GF_DEC_METASPACE:
        TRY(gf_part_text(&dec->text, t, json, "replacement", true, err));
        return gf_part_prepend(&dec->prepend, t, json, err);
    default:
        return GF_OK;
    }
}
