/* folder.c - the weights of a Hugging Face folder. Contract: format/folder.h; names and order:
 * FORMATS 1.5. */
#include "format/folder.h"
#include "base/json.h"
#include "format/safetensors.h"
#include "format/torch.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

typedef gf_status add_file(gf_source *s, const char *path, gf_err *err);

/* In the order in which they are looked for: what is first is taken. */
static const struct {
    const char *name;
    add_file *add;
    bool index;
} places[] = {
    {"model.safetensors", gf_safetensors_add, false},
    {"model.safetensors.index.json", gf_safetensors_add, true},
    {"pytorch_model.bin", gf_torch_add, false},
    {"pytorch_model.bin.index.json", gf_torch_add, true},
};
enum { PLACES = sizeof places / sizeof places[0] };

/* ---- shards ------------------------------------------------------------------------ */

static int by_key(const void *a, const void *b)
{
    return strcmp((*(const cJSON *const *)a)->string, (*(const cJSON *const *)b)->string);
}

static int by_value(const void *a, const void *b)
{
    return strcmp((*(const cJSON *const *)a)->valuestring, (*(const cJSON *const *)b)->valuestring);
}

/* The members of weight_map in an array, checked. */
static gf_status take_map(const cJSON ***out, int *count, const cJSON *root, const char *path,
                          gf_err *err)
{
    const cJSON *map = cJSON_GetObjectItemCaseSensitive(root, "weight_map"), *item;
    if (!cJSON_IsObject(map))
        return gf_fail(err, GF_EINPUT, "%s: it has no weight_map, or that is not an object", path);
    *count = cJSON_GetArraySize(map);
    const cJSON **list = gf_alloc((size_t)*count, sizeof *list, err);
    if (!list)
        return GF_ENOMEM;
    *out = list;
    cJSON_ArrayForEach(item, map)
    {
        const char *name = item->valuestring;
        if (!cJSON_IsString(item) || !*name || strchr(name, '/') || strcmp(name, ".") == 0 ||
            strcmp(name, "..") == 0)
            return gf_fail(err, GF_EINPUT,
                           "%s: weight_map: %s: want the name of a file in this folder", path,
                           item->string);
        *list++ = item;
    }
    return GF_OK;
}

static gf_status add_shards(gf_source *s, add_file *add, const cJSON **map, int count,
                            const char *dir, const char *index, gf_err *err)
{
    qsort(map, (size_t)count, sizeof(const cJSON *), by_value);
    for (int i = 0; i < count; i++) {
        if (i && strcmp(map[i]->valuestring, map[i - 1]->valuestring) == 0)
            continue;
        char *path = gf_path_join(dir, map[i]->valuestring, err);
        if (!path)
            return GF_ENOMEM;
        gf_status st = GF_OK;
        if (!gf_file_exists(path))
            st = gf_fail(err, GF_EINPUT, "%s: is missing, but %s names it", path, index);
        else
            st = add(s, path, err);
        free(path);
        TRY(st);
    }
    return GF_OK;
}

/* Index and shards must say the same. */
static gf_status check_map(const gf_source *s, const cJSON **map, int count, const char *index,
                           gf_err *err)
{
    qsort(map, (size_t)count, sizeof(const cJSON *), by_key);
    for (int i = 0; i < count; i++) {
        const gf_entry *e = gf_source_find(s, map[i]->string);
        if (!e || strcmp(gf_path_name(s->file[e->file].path), map[i]->valuestring) != 0)
            return gf_fail(err, GF_EINPUT, "%s: weight_map: the tensor %s is not in %s", index,
                           map[i]->string, map[i]->valuestring);
    }
    for (int i = 0; i < s->count; i++) { /* both are sorted by name: the first gap is an extra */
        const gf_entry *e = &s->entry[s->by_name[i]];
        if (i >= count || strcmp(e->name, map[i]->string) != 0)
            return gf_fail(err, GF_EINPUT, "%s: the tensor %s is not in the weight_map of %s",
                           s->file[e->file].path, e->name, index);
    }
    return GF_OK;
}

static gf_status open_index(gf_source *s, add_file *add, const char *dir, const char *index,
                            gf_err *err)
{
    gf_status st = GF_OK;
    cJSON *root = NULL;
    const cJSON **map = NULL;
    int count = 0;
    TRYG(gf_json_read(&root, index, err));
    TRYG(take_map(&map, &count, root, index, err));
    TRYG(add_shards(s, add, map, count, dir, index, err));
    TRYG(gf_source_index(s, err));
    TRYG(check_map(s, map, count, index, err));
out:
    free(map);
    cJSON_Delete(root);
    return st;
}

/* Names what the folder holds instead, so that a wrong path explains itself. */
static gf_status fail_empty(const char *dir, gf_err *err)
{
    enum { SHOWN = 200 }; /* bytes of names: a line's worth */
    gf_status st = GF_OK;
    gf_buf names = {0};
    DIR *d = opendir(dir);
    if (!d)
        return gf_fail(err, GF_EINPUT, "%s: no such folder", dir);
    for (const struct dirent *e; st == GF_OK && (e = readdir(d));)
        if (e->d_name[0] != '.' && names.len < SHOWN)
            st = gf_buf_printf(&names, err, "%s%s", names.len ? ", " : "", e->d_name);
    closedir(d);
    if (st == GF_OK)
        st = gf_fail(err, GF_EINPUT,
                     "%s: neither model.safetensors nor pytorch_model.bin nor an index of their "
                     "shards is here, but %s",
                     dir, names.len ? names.data : "nothing");
    gf_buf_free(&names);
    return st;
}

/* ---- the folder -------------------------------------------------------------------- */

/* The place at `path` if something is there. */
static gf_status try_place(gf_source *s, int i, const char *dir, const char *path, bool *found,
                           gf_err *err)
{
    *found = true;
    if (gf_dir_exists(path))
        return gf_fail(err, GF_EINPUT, "%s: is a folder, want a file", path);
    if (!gf_file_exists(path)) {
        *found = false;
        return GF_OK;
    }
    if (places[i].index)
        return open_index(s, places[i].add, dir, path, err);
    TRY(places[i].add(s, path, err));
    return gf_source_index(s, err);
}

gf_status gf_folder_open(gf_source *s, const char *dir, gf_err *err)
{
    gf_status st = GF_OK;
    bool found = false;
    *s = (gf_source){0};
    for (int i = 0; i < PLACES && st == GF_OK && !found; i++) {
        char *path = gf_path_join(dir, places[i].name, err);
        st = path ? try_place(s, i, dir, path, &found, err) : GF_ENOMEM;
        free(path);
    }
    if (st == GF_OK && !found)
        st = fail_empty(dir, err);
    if (st != GF_OK)
        gf_source_close(s);
    return st;
}
