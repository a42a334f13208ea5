/* torch_storage.c - both containers of torch.save. Contract: format/torch_storage.h; the formats:
 * FORMATS 5.1 (zip) and 5.3 (before torch 1.6). */
#include "format/torch_storage.h"

#include <stdlib.h>
#include <string.h>

static gf_status fail(const gf_torch_file *f, gf_err *err, const char *what)
{
    return gf_fail(err, GF_EINPUT, "%s: %s", f->path, what);
}

/* ---- what a persistent id says ----------------------------------------------------- */

static const gf_st_dtype *dtype_of(int64_t name)
{
    const char *text = gf_pickle_storages[name - GF_NAME_STORAGE].dtype;
    for (int i = 0; i < GF_ST_DTYPES; i++)
        if (strcmp(gf_st_dtypes[i].name, text) == 0)
            return &gf_st_dtypes[i];
    return NULL; /* the tables agree */
}

/* ('storage', class, key, location, elements) and in the old container a view, which must be none;
 * the offset stays 0. */
static bool take_id(const gf_pickle *p, int id, gf_torch_storage *out)
{
    if (p->value[id].kind != GF_PICKLE_STORAGE)
        return false;
    const gf_pickle_value *t = &p->value[p->value[id].item[0]];
    if (t->kind != GF_PICKLE_TUPLE || t->count < 5 || t->count > 6)
        return false;
    const gf_pickle_value *kind = &p->value[t->item[0]], *class = &p->value[t->item[1]],
                          *key = &p->value[t->item[2]], *count = &p->value[t->item[4]];
    if (kind->kind != GF_PICKLE_TEXT || kind->size != 7 || memcmp(kind->text, "storage", 7) != 0 ||
        class->kind != GF_PICKLE_NAME || class->number < GF_NAME_STORAGE ||
        key->kind != GF_PICKLE_TEXT || count->kind != GF_PICKLE_INT || count->number < 0)
        return false;
    if (t->count == 6 && p->value[t->item[5]].kind != GF_PICKLE_NONE)
        return false;
    *out = (gf_torch_storage){.key = key->text,
                              .key_size = key->size,
                              .dtype = dtype_of(class->number),
                              .count = (uint64_t)count->number};
    return true;
}

static int by_key(const void *a, const void *b)
{
    const gf_torch_storage *x = a, *y = b;
    const size_t n = x->key_size < y->key_size ? x->key_size : y->key_size;
    const int order = memcmp(x->key, y->key, n);
    return order ? order : (x->key_size > y->key_size) - (x->key_size < y->key_size);
}

gf_status gf_torch_find(const gf_torch_file *f, int id, const char *tensor, gf_torch_storage *out,
                        gf_err *err)
{
    uint64_t bytes = 0;
    if (!take_id(&f->pickle, id, out) || !gf_mul(out->count, out->dtype->bits / 8, &bytes))
        return gf_fail(err, GF_EINPUT, "%s: tensor \"%s\": its storage is none that graft reads",
                       f->path, tensor);
    if (!f->root) {
        const gf_torch_storage *old =
            f->old_count ? bsearch(out, f->old, (size_t)f->old_count, sizeof *old, by_key) : NULL;
        if (!old || old->dtype != out->dtype || old->count != out->count)
            return gf_fail(err, GF_EINPUT,
                           "%s: tensor \"%s\": its storage is not in the file as the tensor says",
                           f->path, tensor);
        *out = *old;
        return GF_OK;
    }
    char *name = gf_format(err, "%s/data/%.*s", f->root, (int)out->key_size, out->key);
    if (!name)
        return GF_ENOMEM;
    const gf_zip_entry *e = gf_zip_find(&f->zip, name);
    gf_status st = GF_OK;
    if (!e)
        st = gf_fail(err, GF_EINPUT, "%s: tensor \"%s\": its numbers, %s, are not in the file",
                     f->path, tensor, name);
    else if (e->size != bytes)
        st = gf_fail(err, GF_EINPUT,
                     "%s: tensor \"%s\": %s has %llu bytes, but %llu %s elements take %llu",
                     f->path, tensor, name, (unsigned long long)e->size,
                     (unsigned long long)out->count, out->dtype->name, (unsigned long long)bytes);
    else
        out->offset = e->offset;
    free(name);
    return st;
}

/* ---- zip --------------------------------------------------------------------------- */

/* The folder inside the archive that has the pickle: there is exactly one. */
static gf_status find_root(gf_torch_file *f, gf_err *err)
{
    static const char pickle[] = "data.pkl";
    for (int i = 0; i < f->zip.count; i++) {
        const char *name = f->zip.entry[i].name, *slash = strchr(name, '/');
        if (!slash || strcmp(slash + 1, pickle) != 0)
            continue;
        if (f->root)
            return fail(f, err, "two of its folders have a data.pkl");
        f->root = gf_strndup(name, (size_t)(slash - name), err);
        if (!f->root)
            return GF_ENOMEM;
    }
    return f->root ? GF_OK : fail(f, err, "a zip file without data.pkl: torch did not save this");
}

static gf_status root_entry(const gf_torch_file *f, const char *name, const gf_zip_entry **out,
                            gf_err *err)
{
    char *path = gf_format(err, "%s/%s", f->root, name);
    if (!path)
        return GF_ENOMEM;
    *out = gf_zip_find(&f->zip, path);
    free(path);
    return GF_OK;
}

static gf_status read_zip(gf_torch_file *f, int *top, gf_err *err)
{
    const gf_zip_entry *pickle = NULL, *order = NULL;
    TRY(gf_zip_read(&f->zip, &f->map, f->path, err));
    TRY(find_root(f, err));
    TRY(root_entry(f, "byteorder", &order, err));
    if (order && (order->size != 6 || memcmp(f->map.data + order->offset, "little", 6) != 0))
        return fail(f, err, "it was saved on a big-endian machine: save it again on this one");
    TRY(root_entry(f, "data.pkl", &pickle, err));
    char *where = gf_format(err, "%s: %s/data.pkl", f->path, f->root);
    if (!where)
        return GF_ENOMEM;
    size_t at = 0;
    const gf_status st =
        gf_pickle_run(&f->pickle, f->map.data + pickle->offset, pickle->size, &at, where, top, err);
    free(where);
    return st;
}

/* ---- the container before torch 1.6 ------------------------------------------------ */

/* A pickle of the number that marks these files. */
static const unsigned char old_magic[15] = {0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46,
                                            0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e};

/* The data of the keys in their order: a count of elements and the elements, each. */
static gf_status take_old_data(gf_torch_file *f, const gf_pickle_value *keys, size_t at,
                               gf_err *err)
{
    const gf_pickle *p = &f->pickle;
    for (int i = 0; i < p->count; i++)
        f->old_count += take_id(p, i, &f->old[f->old_count]);
    qsort(f->old, (size_t)f->old_count, sizeof *f->old, by_key);
    for (int i = 0; i < keys->count; i++) {
        const gf_pickle_value *key = &p->value[keys->item[i]];
        gf_torch_storage want = {.key = key->text, .key_size = key->size}, *s = NULL;
        uint64_t count = 0, bytes = 0;
        if (key->kind == GF_PICKLE_TEXT && f->old_count)
            s = bsearch(&want, f->old, (size_t)f->old_count, sizeof want, by_key);
        if (!s)
            return fail(f, err, "its list of storages names one that no tensor has");
        if (f->map.size - at < 8)
            return fail(f, err, "it ends inside its tensors: is the download complete?");
        memcpy(&count, f->map.data + at, 8);
        at += 8;
        if (count != s->count || !gf_mul(count, s->dtype->bits / 8, &bytes))
            return fail(f, err, "a storage has another length than its tensors say");
        if (bytes > f->map.size - at)
            return fail(f, err, "it ends inside its tensors: is the download complete?");
        while (s > f->old && by_key(s - 1, s) == 0)
            s--; /* one id may stand for several tensors */
        for (; s < f->old + f->old_count && by_key(s, &want) == 0; s++)
            s->offset = at;
        at += bytes;
    }
    for (int i = 0; i < f->old_count; i++)
        if (f->old[i].offset == 0)
            return fail(f, err, "its list of storages lacks one that a tensor has");
    return GF_OK;
}

/* What the file says of the machine that wrote it. */
static gf_status check_system(const gf_torch_file *f, int system, gf_err *err)
{
    static const char key[] = "little_endian";
    const gf_pickle_value *v = f->pickle.value, *d = &v[system];
    for (int i = 0; d->kind == GF_PICKLE_DICT && i + 1 < d->count; i += 2) {
        const gf_pickle_value *k = &v[d->item[i]], *is = &v[d->item[i + 1]];
        if (k->kind == GF_PICKLE_TEXT && k->size == sizeof key - 1 &&
            memcmp(k->text, key, k->size) == 0 && is->number == 1)
            return GF_OK;
    }
    return fail(f, err, "an old torch file that does not say little_endian: save it again");
}

static gf_status read_old(gf_torch_file *f, int *top, gf_err *err)
{
    int value = 0, keys = 0;
    size_t at = sizeof old_magic;
    const unsigned char *data = f->map.data;
    TRY(gf_pickle_run(&f->pickle, data, f->map.size, &at, f->path, &value, err));
    const gf_pickle_value *v = &f->pickle.value[value];
    if (v->kind != GF_PICKLE_INT || v->number != 1001) /* the protocol of all of them */
        return fail(f, err, "an old torch file of an unknown protocol");
    TRY(gf_pickle_run(&f->pickle, data, f->map.size, &at, f->path, &value, err));
    TRY(check_system(f, value, err));
    TRY(gf_pickle_run(&f->pickle, data, f->map.size, &at, f->path, top, err));
    TRY(gf_pickle_run(&f->pickle, data, f->map.size, &at, f->path, &keys, err));
    if (f->pickle.value[keys].kind != GF_PICKLE_LIST)
        return fail(f, err, "an old torch file without its list of storages");
    f->old = gf_alloc((size_t)f->pickle.count, sizeof *f->old, err);
    if (!f->old)
        return GF_ENOMEM;
    return take_old_data(f, &f->pickle.value[keys], at, err);
}

/* ---- either ------------------------------------------------------------------------ */

gf_status gf_torch_read(gf_torch_file *f, const char *path, int *top, gf_err *err)
{
    *f = (gf_torch_file){.path = path};
    TRY(gf_file_map(&f->map, path, err));
    if (f->map.size >= 4 && memcmp(f->map.data, "PK\3\4", 4) == 0)
        return read_zip(f, top, err);
    if (f->map.size >= sizeof old_magic && memcmp(f->map.data, old_magic, sizeof old_magic) == 0)
        return read_old(f, top, err);
    return fail(f, err,
                "byte 0: neither a zip file nor an older one of torch.save: is the "
                "download complete?");
}

void gf_torch_free(gf_torch_file *f)
{
    gf_pickle_free(&f->pickle);
    gf_zip_free(&f->zip);
    gf_file_unmap(&f->map);
    free(f->old);
    free(f->root);
    *f = (gf_torch_file){0};
}
