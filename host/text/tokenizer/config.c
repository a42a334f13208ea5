/* config.c - the files beside tokenizer.json: roles of special tokens, added tokens, the
 * chat template. Contract: tokenizer.h; format: FORMATS 3.7, 3.10. */
#include "base/file.h"
#include "text/tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>

/* *root stays NULL if there is no such file. */
static gf_status read_optional(const gf_tokenizer *t, const char *name, cJSON **root, char **path,
                               gf_err *err)
{
    *path = gf_path_join(t->dir, name, err);
    if (!*path)
        return GF_ENOMEM;
    if (!gf_file_exists(*path))
        return GF_OK;
    TRY(gf_json_read(root, *path, err));
    if (!cJSON_IsObject(*root))
        return gf_fail(err, GF_EINPUT, "%s: want a JSON object", *path);
    return GF_OK;
}

/* "text" or {"content": "text", ...}; NULL: not given. */
static gf_status token_text(const char **text, const cJSON *root, const char *key,
                            const char *where, gf_err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);
    *text = NULL;
    if (cJSON_IsObject(item))
        return gf_json_string(text, item, "content", NULL, where, err);
    if (cJSON_IsFalse(item)) /* an old way of saying none */
        return GF_OK;
    return gf_json_string(text, root, key, NULL, where, err);
}

static bool is_added(const gf_tokenizer *t, int32_t id)
{
    for (int32_t i = 0; i < t->added_count; i++)
        if (t->added[i].id == id)
            return true;
    return false;
}

static gf_status load_role(gf_tokenizer *t, const cJSON *root, const char *key, int32_t *role,
                           const char *where, gf_err *err)
{
    const char *text;
    TRY(token_text(&text, root, key, where, err));
    if (!text || !*text)
        return GF_OK;
    const int32_t id = gf_vocab_find_any(&t->vocab, text, strlen(text));
    if (id < 0 && strcmp(key, "pad_token") == 0)
        return GF_OK; /* nothing here pads; some models name one that they lack */
    if (id < 0)
        return gf_fail(err, GF_EINPUT, "%s: %s \"%.60s\" is not in the vocabulary", where, key,
                       text);
    *role = id;
    gf_vocab_at(&t->vocab, id)->special = true;
    /* transformers looks for these in texts even where tokenizer.json doesn't list them. */
    return is_added(t, id) ? GF_OK : gf_tokenizer_add_added(t, (gf_added){.id = id}, true, err);
}

static gf_status load_roles(gf_tokenizer *t, const cJSON *root, const char *where, gf_err *err)
{
    const struct {
        const char *key;
        int32_t *role;
    } roles[] = {{"bos_token", &t->bos},
                 {"eos_token", &t->eos},
                 {"pad_token", &t->pad},
                 {"unk_token", &t->unk}};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        TRY(load_role(t, root, roles[i].key, roles[i].role, where, err));
    return GF_OK;
}

/* Tokens that only tokenizer_config.json knows. */
static gf_status load_decoder_list(gf_tokenizer *t, const cJSON *root, const char *where,
                                   gf_err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "added_tokens_decoder"), *item;
    if (!cJSON_IsObject(list))
        return GF_OK;
    cJSON_ArrayForEach(item, list)
    {
        char *end;
        const char *content = NULL;
        const long id = strtol(item->string, &end, 10);
        if (cJSON_IsObject(item))
            TRY(gf_json_string(&content, item, "content", NULL, where, err));
        if (!content || *end || end == item->string || id < 0 || id >= GF_TOKEN_MAX)
            return gf_fail(err, GF_EINPUT,
                           "%s: added_tokens_decoder: \"%.20s\": want an id and its content", where,
                           item->string);
        if (!*content || gf_vocab_find_any(&t->vocab, content, strlen(content)) >= 0)
            continue;
        gf_added a = {.id = (int32_t)id};
        bool special;
        TRY(gf_json_bool(&a.single_word, item, "single_word", false, where, err));
        TRY(gf_json_bool(&a.lstrip, item, "lstrip", false, where, err));
        TRY(gf_json_bool(&a.rstrip, item, "rstrip", false, where, err));
        TRY(gf_json_bool(&special, item, "special", false, where, err));
        TRY(gf_json_bool(&a.normalized, item, "normalized", !special, where, err));
        TRY(gf_vocab_add(&t->vocab, content, strlen(content), id, true, where, err));
        TRY(gf_tokenizer_add_added(t, a, special, err));
    }
    return GF_OK;
}

/* transformers rebuilds the post-processor of these classes from add_bos_token (default true) and
 * add_eos_token (default false). */
static gf_status rebuild_post(gf_tokenizer *t, const cJSON *root, const char *where, gf_err *err)
{
    static const char *const classes[] = {"LlamaTokenizer", "LlamaTokenizerFast", "GemmaTokenizer",
                                          "GemmaTokenizerFast"};
    const char *class;
    bool bos, eos, match = false;
    TRY(gf_json_string(&class, root, "tokenizer_class", "", where, err));
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        match |= strcmp(class, classes[i]) == 0;
    if (!match)
        return GF_OK;
    TRY(gf_json_bool(&bos, root, "add_bos_token", true, where, err));
    TRY(gf_json_bool(&eos, root, "add_eos_token", false, where, err));
    if ((bos && t->bos < 0) || (eos && t->eos < 0))
        return gf_fail(err, GF_EINPUT, "%s: %s is asked for, but there is no %s", where,
                       bos && t->bos < 0 ? "add_bos_token" : "add_eos_token",
                       bos && t->bos < 0 ? "bos_token" : "eos_token");
    t->prefixes = t->suffixes = 0;
    if (bos)
        TRY(gf_tokenizer_add_affix(t, true, t->bos, err));
    return eos ? gf_tokenizer_add_affix(t, false, t->eos, err) : GF_OK;
}

/* A string, or a list of {"name", "template"} of which "default" counts. */
static gf_status load_template(gf_tokenizer *t, const cJSON *root, const char *where, gf_err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, "chat_template");
    const char *text = NULL;
    if (cJSON_IsArray(item)) {
        const cJSON *entry;
        cJSON_ArrayForEach(entry, item)
        {
            const char *name;
            if (!cJSON_IsObject(entry))
                return gf_fail(err, GF_EINPUT, "%s: chat_template: want objects in the list",
                               where);
            TRY(gf_json_string(&name, entry, "name", "", where, err));
            if (strcmp(name, "default") == 0)
                TRY(gf_json_string(&text, entry, "template", NULL, where, err));
        }
    } else {
        TRY(gf_json_string(&text, root, "chat_template", NULL, where, err));
    }
    if (!text)
        return GF_OK;
    t->chat_template = gf_strdup(text, err);
    return t->chat_template ? GF_OK : GF_ENOMEM;
}

/* The file wins over tokenizer_config.json. */
static gf_status load_template_file(gf_tokenizer *t, gf_err *err)
{
    size_t size;
    char *text = NULL, *path = gf_path_join(t->dir, "chat_template.jinja", err);
    if (!path)
        return GF_ENOMEM;
    gf_status st = GF_OK;
    if (gf_file_exists(path)) {
        TRYG(gf_file_read(path, &text, &size, err));
        const size_t good = gf_utf8_valid(text, size);
        if (good != size || memchr(text, 0, size)) {
            st = gf_fail(err, GF_EINPUT, "%s: not a UTF-8 text (byte %zu)", path, good);
            goto out;
        }
        free(t->chat_template);
        t->chat_template = text;
        text = NULL;
    }
out:
    free(text);
    free(path);
    return st;
}

gf_status gf_tokenizer_load_config(gf_tokenizer *t, gf_err *err)
{
    gf_status st;
    cJSON *config = NULL, *map = NULL;
    char *config_path = NULL, *map_path = NULL;
    TRYG(read_optional(t, "tokenizer_config.json", &config, &config_path, err));
    TRYG(read_optional(t, "special_tokens_map.json", &map, &map_path, err));
    if (config)
        TRYG(load_decoder_list(t, config, config_path, err));
    if (map)
        TRYG(load_roles(t, map, map_path, err));
    if (config) { /* later: it has priority */
        TRYG(load_roles(t, config, config_path, err));
        TRYG(rebuild_post(t, config, config_path, err));
        TRYG(load_template(t, config, config_path, err));
    }
    TRYG(load_template_file(t, err));
out:
    cJSON_Delete(config);
    cJSON_Delete(map);
    free(config_path);
    free(map_path);
    return st;
}
