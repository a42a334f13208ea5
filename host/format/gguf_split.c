/* gguf_split.c - a GGUF model in several files, as llama.cpp's gguf-split makes them: the first one
 * has all metadata, each says which one it is. Contract: format/gguf.h (gf_gguf_open). */
#include "format/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARDS_MAX 99999 /* five digits in the name */

/* ".../model-00001-of-00003.gguf" without what follows "model"; 0: another name. */
static size_t stem_of(const char *path, int64_t count)
{
    char tail[32]; /* two numbers of five digits and some twelve characters around them */
    const int n = snprintf(tail, sizeof tail, "-00001-of-%05lld.gguf", (long long)count);
    const size_t size = strlen(path), tail_size = (size_t)n;
    return size > tail_size && strcmp(path + size - tail_size, tail) == 0 ? size - tail_size : 0;
}

/* Which shard of how many a file says it is; 1 of 1 if it says nothing. */
static gf_status place_of(const gf_gguf *g, int64_t *number, int64_t *count, gf_err *err)
{
    TRY(gf_gguf_int(count, g, "split.count", 1, 0, SHARDS_MAX, err));
    TRY(gf_gguf_int(number, g, "split.no", 0, 0, SHARDS_MAX, err));
    *count = *count ? *count : 1; /* some converters write 0 into single files */
    if (*number >= *count)
        return gf_fail(err, GF_EINPUT, "%s: split.no %lld, but split.count is %lld", g->path,
                       (long long)*number, (long long)*count);
    return GF_OK;
}

/* Moves a shard's tensors and its open file into g. */
static gf_status move(gf_gguf *g, gf_gguf *part, gf_err *err)
{
    gf_source *to = &g->source, *from = &part->source;
    gf_entry *entry =
        gf_realloc(to->entry, (size_t)to->count + (size_t)from->count, sizeof *entry, err);
    if (!entry)
        return GF_ENOMEM;
    to->entry = entry;
    gf_source_file *file = gf_realloc(to->file, (size_t)to->files + 1, sizeof *file, err);
    if (!file)
        return GF_ENOMEM;
    to->file = file;
    file[to->files] = from->file[0];
    for (int i = 0; i < from->count; i++) {
        entry[to->count] = from->entry[i];
        entry[to->count++].file = to->files;
    }
    to->files++;
    from->count = from->files = 0;
    return GF_OK;
}

static gf_status join_one(gf_gguf *g, const char *path, int64_t number, int64_t count, gf_err *err)
{
    gf_gguf part;
    int64_t no = 0, of = 0;
    if (!gf_file_exists(path))
        return gf_fail(err, GF_EINPUT, "%s: is missing, but %s is the first of %lld shards", path,
                       g->path, (long long)count);
    TRY(gf_gguf_open_one(&part, path, err));
    gf_status st = place_of(&part, &no, &of, err);
    if (st == GF_OK && (no != number || of != count))
        st = gf_fail(err, GF_EINPUT, "%s: says it is shard %lld of %lld, want %lld of %lld", path,
                     (long long)no + 1, (long long)of, (long long)number + 1, (long long)count);
    if (st == GF_OK)
        st = move(g, &part, err);
    gf_gguf_close(&part);
    return st;
}

static gf_status check_count(const gf_gguf *g, gf_err *err)
{
    int64_t tensors = 0;
    const int64_t have = g->source.count;
    TRY(gf_gguf_int(&tensors, g, "split.tensors.count", have, 0, INT32_MAX, err));
    if (tensors == have)
        return GF_OK;
    return gf_fail(err, GF_EINPUT, "%s: split.tensors.count is %lld, but the shards have %lld",
                   g->path, (long long)tensors, (long long)have);
}

static gf_status join(gf_gguf *g, size_t stem, int64_t count, gf_err *err)
{
    gf_status st = GF_OK;
    for (int64_t i = 1; i < count && st == GF_OK; i++) {
        char *path = gf_format(err, "%.*s-%05lld-of-%05lld.gguf", (int)stem, g->path,
                               (long long)i + 1, (long long)count);
        st = path ? join_one(g, path, i, count, err) : GF_ENOMEM;
        free(path);
    }
    TRY(st);
    TRY(check_count(g, err));
    free(g->source.by_name);
    g->source.by_name = NULL;
    return gf_source_index(&g->source, err);
}

gf_status gf_gguf_open(gf_gguf *g, const char *path, gf_err *err)
{
    int64_t number = 0, count = 1;
    TRY(gf_gguf_open_one(g, path, err));
    gf_status st = place_of(g, &number, &count, err);
    const size_t stem = stem_of(path, count);
    if (st == GF_OK && number > 0)
        st = gf_fail(err, GF_EINPUT,
                     "%s: is shard %lld of %lld: name the first one, …-00001-of-%05lld.gguf", path,
                     (long long)number + 1, (long long)count, (long long)count);
    else if (st == GF_OK && count > 1 && !stem)
        st = gf_fail(err, GF_EINPUT,
                     "%s: is the first of %lld shards, so its name should end in "
                     "-00001-of-%05lld.gguf, as those of the others do",
                     path, (long long)count, (long long)count);
    else if (st == GF_OK && count > 1)
        st = join(g, stem, count, err);
    if (st != GF_OK)
        gf_gguf_close(g);
    return st;
}
