#include "model/merge_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

static const char index_name[] = "model.safetensors.index.json";

/* ---- shards --------------------------------------------------------------------------- */

gf_status gf_shards_plan(gf_shards *s, const gf_name *name, int64_t count, gf_dtype dtype,
                         int64_t max_bytes, gf_err *err)
{
    const uint64_t limit = max_bytes > 0 ? (uint64_t)max_bytes : UINT64_C(5000000000); /* 5 GB */
    uint64_t used = 0;
    s->shard = gf_alloc((size_t)count, sizeof *s->shard, err); /* at most one each */
    if (!s->shard)
        return GF_ENOMEM;
    for (int64_t i = 0; i < count; i++) {
        const uint64_t elements = (uint64_t)name[i].dim[0] * (uint64_t)name[i].dim[1];
        const uint64_t bytes = elements * (uint64_t)gf_dtype_size(dtype);
        s->parameters += elements;
        s->bytes += bytes;
        if (s->count == 0 || used + bytes > limit) {
            s->shard[s->count++].first = i;
            used = 0;
        }
        used += bytes;
        s->shard[s->count - 1].count++;
    }
    if (s->count > 99999) /* five digits */
        return gf_fail(err, GF_EARG, "%d files of weights are too many", s->count);
    for (int i = 0; i < s->count; i++) {
        if (s->count == 1)
            snprintf(s->shard[i].file, sizeof s->shard[i].file, "model.safetensors");
        else
            snprintf(s->shard[i].file, sizeof s->shard[i].file, "model-%05d-of-%05d.safetensors",
                     i + 1, s->count);
    }
    return GF_OK;
}

typedef struct {
    const char *name, *file;
} placed;

static int by_name(const void *a, const void *b)
{
    return strcmp(((const placed *)a)->name, ((const placed *)b)->name);
}

static gf_status put_index(gf_buf *b, const gf_shards *s, const placed *list, size_t count,
                           gf_err *err)
{
    TRY(gf_buf_printf(b, err,
                      "{\n  \"metadata\": {\n    \"total_parameters\": %llu,\n"
                      "    \"total_size\": %llu\n  },\n  \"weight_map\": {",
                      (unsigned long long)s->parameters, (unsigned long long)s->bytes));
    for (size_t i = 0; i < count; i++)
        TRY(gf_buf_printf(b, err, "%s\n    \"%s\": \"%s\"", i > 0 ? "," : "", list[i].name,
                          list[i].file));
    return gf_buf_str(b, "\n  }\n}\n", err);
}

gf_status gf_shards_write_index(const gf_shards *s, const gf_name *name, const char *dir,
                                gf_err *err)
{
    size_t count = 0;
    for (int i = 0; i < s->count; i++)
        count += (size_t)s->shard[i].count;
    gf_buf b = {0};
    gf_status st = GF_OK;
    char *path = gf_path_join(dir, index_name, err);
    placed *list = gf_alloc(count, sizeof *list, err);
    if (!path || !list) {
        st = GF_ENOMEM;
        goto out;
    }
    for (int i = 0; i < s->count; i++)
        for (int64_t j = s->shard[i].first; j < s->shard[i].first + s->shard[i].count; j++)
            list[j] = (placed){name[j].name, s->shard[i].file};
    qsort(list, count, sizeof *list, by_name);
    TRYG(put_index(&b, s, list, count, err));
    TRYG(gf_file_write(path, b.data, b.len, err));
out:
    gf_buf_free(&b);
    free(list);
    free(path);
    return st;
}

void gf_shards_free(gf_shards *s)
{
    free(s->shard);
    *s = (gf_shards){0};
}

/* ---- configs -------------------------------------------------------------------------- */

/* Behind the string that starts at text[at] == '"'. The text is JSON that was checked before. */
static size_t skip_string(const char *text, size_t at)
{
    for (at++; text[at] != '"'; at++)
        at += text[at] == '\\';
    return at + 1;
}

static size_t skip_space(const char *text, size_t at)
{
    return at + strspn(text + at, " \t\r\n");
}

static bool is_dtype_key(const char *text, size_t size)
{
    static const char *const keys[] = {"\"dtype\"", "\"torch_dtype\""};
    for (int i = 0; i < 2; i++) /* both spellings */
        if (size == strlen(keys[i]) && memcmp(text, keys[i], size) == 0)
            return true;
    return false;
}

/* The config's text with the value of its top-level dtype replaced, everything else untouched: a
 * config written anew would lose the difference between 1 and 1.0, which transformers 5 checks. */
static gf_status replace_dtype(gf_buf *b, const char *text, const char *value, gf_err *err)
{
    size_t copied = 0, at = 0;
    int depth = 0;
    bool found = false;
    while (text[at] != '\0') {
        const char c = text[at];
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        if (c != '"') {
            at++;
            continue;
        }
        const size_t start = at;
        at = skip_string(text, at);
        const size_t colon = skip_space(text, at);
        if (depth != 1 || text[colon] != ':' || !is_dtype_key(text + start, at - start))
            continue;
        at = skip_space(text, colon + 1);
        TRY(gf_buf_add(b, text + copied, at - copied, err));
        TRY(gf_buf_printf(b, err, "\"%s\"", value));
        at = text[at] == '"' ? skip_string(text, at) : at + strlen("null");
        copied = at;
        found = true;
    }
    if (!found) { /* behind the opening brace; the object has other members */
        const size_t brace = strcspn(text, "{") + 1;
        TRY(gf_buf_add(b, text, brace, err));
        TRY(gf_buf_printf(b, err, "\n  \"torch_dtype\": \"%s\",", value));
        copied = brace;
    }
    return gf_buf_str(b, text + copied, err);
}

static gf_status copy_file(const char *from, const char *to, const char *name, const char *dtype,
                           gf_err *err)
{
    char *text = NULL, *out_path = NULL;
    size_t size = 0;
    gf_buf b = {0};
    gf_status st = GF_OK;
    char *in_path = gf_path_join(from, name, err);
    if (!in_path || !(out_path = gf_path_join(to, name, err))) {
        st = GF_ENOMEM;
        goto out;
    }
    if (!gf_file_exists(in_path) && !dtype && strcmp(name, "generation_config.json") == 0)
        goto out; /* optional */
    TRYG(gf_file_read(in_path, &text, &size, err));
    if (dtype)
        TRYG(replace_dtype(&b, text, dtype, err));
    TRYG(gf_file_write(out_path, dtype ? b.data : text, dtype ? b.len : size, err));
out:
    gf_buf_free(&b);
    free(text);
    free(in_path);
    free(out_path);
    return st;
}

gf_status gf_config_copy(const char *from, const char *to, gf_dtype dtype, gf_err *err)
{
    const char *name = dtype == GF_F32    ? "float32"
                       : dtype == GF_F16  ? "float16"
                       : dtype == GF_BF16 ? "bfloat16"
                                          : NULL;
    TRY(copy_file(from, to, "config.json", name, err));
    return copy_file(from, to, "generation_config.json", NULL, err);
}
