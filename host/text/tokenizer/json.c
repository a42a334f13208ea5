/* json.c - tokenizer.json: model, merges and added tokens. Contract: tokenizer.h; format:
 * FORMATS 3.1 to 3.3. */
#include "base/file.h"
#include "text/tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>

static const cJSON *member(const cJSON *json, const char *key)
{
    const cJSON *m = cJSON_GetObjectItemCaseSensitive(json, key);
    return cJSON_IsNull(m) ? NULL : m;
}

static gf_status load_vocab(gf_tokenizer *t, const cJSON *model, gf_err *err)
{
    const cJSON *vocab = member(model, "vocab"), *item;
    if (!cJSON_IsObject(vocab))
        return gf_fail(err, GF_EINPUT, "%s: model.vocab is missing or not an object", t->where);
    size_t count = 0;
    cJSON_ArrayForEach(item, vocab) count++;
    TRY(gf_vocab_reserve(&t->vocab, count, 0, err));
    cJSON_ArrayForEach(item, vocab)
    {
        if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0) ||
            !(item->valuedouble < GF_TOKEN_MAX) ||
            item->valuedouble != (double)(int64_t)item->valuedouble)
            return gf_fail(err, GF_EINPUT, "%s: model.vocab: \"%.60s\": want an id within 0 .. %d",
                           t->where, item->string, GF_TOKEN_MAX - 1);
        TRY(gf_vocab_add(&t->vocab, item->string, strlen(item->string), (int64_t)item->valuedouble,
                         false, t->where, err));
    }
    return GF_OK;
}

/* "a b" (before tokenizers 0.20) or ["a", "b"]. */
static gf_status load_merge(gf_tokenizer *t, const cJSON *item, int32_t rank, gf_err *err)
{
    const char *left, *right;
    size_t n;
    if (cJSON_IsString(item)) {
        left = item->valuestring;
        const char *space = strchr(left, ' ');
        if (!space || strchr(space + 1, ' '))
            return gf_fail(err, GF_EINPUT, "%s: model.merges[%d]: want two parts and one space",
                           t->where, rank);
        n = (size_t)(space - left);
        right = space + 1;
    } else {
        const cJSON *first = cJSON_IsArray(item) ? item->child : NULL;
        const cJSON *second = first ? first->next : NULL;
        if (!second || second->next || !cJSON_IsString(first) || !cJSON_IsString(second))
            return gf_fail(err, GF_EINPUT, "%s: model.merges[%d]: want two strings", t->where,
                           rank);
        left = first->valuestring;
        n = strlen(left);
        right = second->valuestring;
    }
    return gf_vocab_merge(&t->vocab, left, n, right, strlen(right), rank, t->where, err);
}

static gf_status load_merges(gf_tokenizer *t, const cJSON *model, gf_err *err)
{
    const cJSON *merges = member(model, "merges"), *item;
    if (!cJSON_IsArray(merges))
        return gf_fail(err, GF_EINPUT, "%s: model.merges is missing or not an array", t->where);
    size_t count = 0;
    cJSON_ArrayForEach(item, merges) count++;
    TRY(gf_vocab_reserve(&t->vocab, 0, count, err));
    int32_t rank = 0;
    cJSON_ArrayForEach(item, merges)
    {
        if (rank == 0 && item == merges->child && cJSON_IsString(item) &&
            strncmp(item->valuestring, "#version", 8) == 0)
            continue;
        TRY(load_merge(t, item, rank, err));
        rank++;
    }
    return GF_OK;
}

static gf_status check_model(const gf_tokenizer *t, const cJSON *model, gf_err *err)
{
    const char *type, *text;
    double dropout;
    if (!cJSON_IsObject(model))
        return gf_fail(err, GF_EINPUT, "%s: model is missing or not an object", t->where);
    TRY(gf_json_string(&type, model, "type", member(model, "merges") ? "BPE" : "?", t->where, err));
    if (strcmp(type, "BPE") != 0)
        return gf_fail(err, GF_EMISSING,
                       "%s: a tokenizer model of type %.60s is not supported, only BPE is",
                       t->where, type);
    TRY(gf_json_double(&dropout, model, "dropout", 0, t->where, err));
    if (dropout != 0)
        return gf_fail(err, GF_EMISSING, "%s: model.dropout is not supported; set it to null",
                       t->where);
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (int i = 0; i < 2; i++) {
        TRY(gf_json_string(&text, model, affixes[i], "", t->where, err));
        if (*text)
            return gf_fail(err, GF_EMISSING, "%s: model.%s \"%.20s\" is not supported", t->where,
                           affixes[i], text);
    }
    return GF_OK;
}

static gf_status load_added(gf_tokenizer *t, const cJSON *item, gf_err *err)
{
    gf_added a = {0};
    const char *content;
    bool special;
    int64_t id;
    if (!cJSON_IsObject(item))
        return gf_fail(err, GF_EINPUT, "%s: added_tokens: want objects", t->where);
    TRY(gf_json_int(&id, item, "id", -1, 0, GF_TOKEN_MAX - 1, t->where, err));
    TRY(gf_json_string(&content, item, "content", NULL, t->where, err));
    TRY(gf_json_bool(&a.single_word, item, "single_word", false, t->where, err));
    TRY(gf_json_bool(&a.lstrip, item, "lstrip", false, t->where, err));
    TRY(gf_json_bool(&a.rstrip, item, "rstrip", false, t->where, err));
    TRY(gf_json_bool(&special, item, "special", false, t->where, err));
    TRY(gf_json_bool(&a.normalized, item, "normalized", !special, t->where, err));
    if (id < 0 || !content)
        return gf_fail(err, GF_EINPUT, "%s: an added token without %s", t->where,
                       id < 0 ? "id" : "content");
    if (!*content)
        return GF_OK; /* it can't be found in a text */
    a.id = gf_vocab_find_any(&t->vocab, content, strlen(content));
    if (a.id >= 0 && a.id != id)
        return gf_fail(err, GF_EINPUT, "%s: added token \"%.60s\" has id %lld, but %d elsewhere",
                       t->where, content, (long long)id, a.id);
    if (a.id < 0)
        TRY(gf_vocab_add(&t->vocab, content, strlen(content), id, true, t->where, err));
    a.id = (int32_t)id;
    return gf_tokenizer_add_added(t, a, special, err);
}

gf_status gf_tokenizer_load_json(gf_tokenizer *t, const cJSON *root, gf_err *err)
{
    if (!cJSON_IsObject(root))
        return gf_fail(err, GF_EINPUT, "%s: want a JSON object", t->where);
    const cJSON *model = member(root, "model"), *item;
    const char *unk;
    TRY(check_model(t, model, err));
    TRY(load_vocab(t, model, err));
    TRY(load_merges(t, model, err));
    TRY(gf_json_bool(&t->bpe.fuse_unk, model, "fuse_unk", false, t->where, err));
    TRY(gf_json_bool(&t->bpe.byte_fallback, model, "byte_fallback", false, t->where, err));
    TRY(gf_json_bool(&t->bpe.ignore_merges, model, "ignore_merges", false, t->where, err));
    const cJSON *added = member(root, "added_tokens");
    if (added && !cJSON_IsArray(added))
        return gf_fail(err, GF_EINPUT, "%s: added_tokens: want an array", t->where);
    cJSON_ArrayForEach(item, added) TRY(load_added(t, item, err));
    TRY(gf_json_string(&unk, model, "unk_token", NULL, t->where, err));
    if (unk) {
        t->unk = t->bpe.unk = gf_vocab_find_any(&t->vocab, unk, strlen(unk));
        if (t->unk < 0)
            return gf_fail(err, GF_EINPUT, "%s: model.unk_token \"%.60s\" is not a token", t->where,
                           unk);
    }
    return gf_tokenizer_load_pipeline(t, root, err);
}

gf_status gf_tokenizer_parse(gf_tokenizer **out, const char *text, size_t size, const char *where,
                             gf_err *err)
{
    gf_status st;
    gf_tokenizer *t = NULL;
    cJSON *root = NULL;
    TRYG(gf_json_parse(&root, text, size, where, 1, err));
    TRYG(gf_tokenizer_new(&t, where, err));
    TRYG(gf_tokenizer_load_json(t, root, err));
    TRYG(gf_tokenizer_prepare(t, err));
    *out = t;
    t = NULL;
out:
    gf_tokenizer_free(t);
    cJSON_Delete(root);
    return st;
}

/* Which of the files that could make a tokenizer there is instead, for the message. */
static gf_status no_tokenizer(const char *dir, const char *path, gf_err *err)
{
    char *model = gf_path_join(dir, "tokenizer.model", err);
    if (!model)
        return GF_ENOMEM;
    const bool sentencepiece = gf_file_exists(model);
    free(model);
    if (sentencepiece)
        return gf_fail(err, GF_EMISSING,
                       "%s: only tokenizer.model is there; save the tokenizer as tokenizer.json "
                       "(AutoTokenizer.from_pretrained(...).save_pretrained(...))",
                       dir);
    return gf_fail(err, GF_EINPUT, "%s: no such file; the model folder needs a tokenizer", path);
}

gf_status gf_tokenizer_open(gf_tokenizer **out, const char *dir, gf_err *err)
{
    gf_status st;
    gf_tokenizer *t = NULL;
    cJSON *root = NULL;
    char *path = gf_path_join(dir, "tokenizer.json", err);
    if (!path)
        return GF_ENOMEM;
    if (!gf_file_exists(path)) {
        st = no_tokenizer(dir, path, err);
        goto out;
    }
    TRYG(gf_json_read(&root, path, err));
    TRYG(gf_tokenizer_new(&t, path, err));
    t->dir = gf_strdup(dir, err);
    if (!t->dir) {
        st = GF_ENOMEM;
        goto out;
    }
    TRYG(gf_tokenizer_load_json(t, root, err));
    TRYG(gf_tokenizer_load_config(t, err));
    TRYG(gf_tokenizer_prepare(t, err));
    *out = t;
    t = NULL;
out:
    gf_tokenizer_free(t);
    cJSON_Delete(root);
    free(path);
    return st;
}
