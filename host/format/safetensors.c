/* safetensors.c - reader of files and sharded folders. Contract: format/safetensors.h; the format
 * and the rules: FORMATS 1. */
#include "format/safetensors.h"
#include "format/safetensors_dtype.h"
#include "base/json.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define METADATA "__metadata__"

/* In the official order, which is also the writer's. */
const gf_st_dtype gf_st_dtypes[GF_ST_DTYPES] = {
    {"BOOL", 8, -1},     {"F4", 4, -1},          {"F6_E2M3", 6, -1},     {"F6_E3M2", 6, -1},
    {"U8", 8, GF_U8},    {"I8", 8, -1},          {"F8_E5M2", 8, -1},     {"F8_E4M3", 8, -1},
    {"F8_E8M0", 8, -1},  {"F8_E4M3FNUZ", 8, -1}, {"F8_E5M2FNUZ", 8, -1}, {"I16", 16, -1},
    {"U16", 16, -1},     {"F16", 16, GF_F16},    {"BF16", 16, GF_BF16},  {"I32", 32, GF_I32},
    {"U32", 32, -1},     {"F32", 32, GF_F32},    {"C64", 64, -1},        {"F64", 64, -1},
    {"I64", 64, GF_I64}, {"U64", 64, -1},
};

/* ---- one tensor -------------------------------------------------------------------- */

typedef struct {
    const char *path;
    const cJSON *item; /* a tensor's description; its key is the name */
    gf_err *err;
} described;

static gf_status fail(const described *d, const char *what)
{
    return gf_fail(d->err, GF_EINPUT, "%s: tensor \"%s\": %s", d->path, d->item->string, what);
}

/* A field by name; or by place, since the official reader takes ["F32",[1],[0,4]], too. */
static const cJSON *field(const described *d, const char *name, int place)
{
    if (!cJSON_IsArray(d->item))
        return cJSON_GetObjectItemCaseSensitive(d->item, name);
    const cJSON *f = d->item->child;
    while (f && place--)
        f = f->next;
    return f;
}

static gf_status take_int(const described *d, const cJSON *n, const char *what, int64_t *out)
{
    const double x = n->valuedouble;
    if (!cJSON_IsNumber(n) || !(x >= 0 && x < 0x1p53) || x != (double)(int64_t)x)
        return fail(d, what);
    *out = (int64_t)x;
    return GF_OK;
}

static gf_status take_dtype(const described *d, gf_entry *e, uint64_t *bits)
{
    const cJSON *f = field(d, "dtype", 0);
    if (!cJSON_IsString(f))
        return fail(d, "it has no dtype, or that is not a string");
    for (int i = 0; i < GF_ST_DTYPES; i++) {
        const gf_st_dtype *t = &gf_st_dtypes[i];
        if (strcmp(t->name, f->valuestring) != 0)
            continue;
        e->dtype_text = t->name;
        e->readable = t->dtype >= 0;
        e->dtype = e->readable ? (gf_dtype)t->dtype : GF_F32;
        *bits = t->bits;
        return GF_OK;
    }
    return gf_fail(d->err, GF_EINPUT, "%s: tensor \"%s\": unknown dtype \"%s\"", d->path,
                   d->item->string, f->valuestring);
}

static gf_status take_shape(const described *d, gf_entry *e, uint64_t *elements)
{
    const cJSON *f = field(d, "shape", 1), *n;
    if (!cJSON_IsArray(f))
        return fail(d, "it has no shape, or that is not an array");
    const int rank = cJSON_GetArraySize(f);
    for (int i = 0; i < 4; i++)
        e->dim[i] = 1;
    /* What graft trains has two dimensions; of more than four only the size is of interest. */
    const int folded = rank > 4 ? rank - 4 : 0;
    e->rank = rank - folded;
    e->readable = e->readable && !folded;
    *elements = 1;
    int at = 0;
    cJSON_ArrayForEach(n, f)
    {
        int64_t v = 0;
        uint64_t dim;
        TRY(take_int(d, n, "a dimension is not a whole number from 0 to 2^53", &v));
        int64_t *to = &e->dim[at > folded ? at - folded : 0];
        at++;
        if (!gf_mul(*elements, (uint64_t)v, elements) ||
            !gf_mul((uint64_t)*to, (uint64_t)v, &dim) || dim > INT64_MAX)
            return fail(d, "its shape overflows 64 bits");
        *to = (int64_t)dim;
    }
    return GF_OK;
}

/* Offsets are still those behind the header. */
static gf_status take_tensor(const described *d, gf_entry *e)
{
    uint64_t bits = 0, elements = 0, size;
    int64_t begin = 0, end = 0;
    if (cJSON_IsArray(d->item) ? cJSON_GetArraySize(d->item) != 3 : !cJSON_IsObject(d->item))
        return fail(d, "its description is not an object");
    TRY(take_dtype(d, e, &bits));
    TRY(take_shape(d, e, &elements));
    const cJSON *f = field(d, "data_offsets", 2);
    if (!cJSON_IsArray(f) || cJSON_GetArraySize(f) != 2)
        return fail(d, "its data_offsets are not two numbers");
    const char *range = "a data offset is not a whole number from 0 to 2^53";
    TRY(take_int(d, f->child, range, &begin));
    TRY(take_int(d, f->child->next, range, &end));
    if (!gf_mul(elements, bits, &size))
        return fail(d, "its size overflows 64 bits");
    if (size % 8)
        return fail(d, "its size is not a whole number of bytes");
    if (end < begin || (uint64_t)(end - begin) != size / 8)
        return gf_fail(
            d->err, GF_EINPUT,
            "%s: tensor \"%s\": data_offsets %lld to %lld, but shape and dtype make %llu "
            "bytes",
            d->path, d->item->string, (long long)begin, (long long)end,
            (unsigned long long)(size / 8));
    e->offset = (uint64_t)begin;
    e->bytes = size / 8;
    e->name = gf_strdup(d->item->string, d->err);
    return e->name ? GF_OK : GF_ENOMEM;
}

/* ---- one file ---------------------------------------------------------------------- */

static int by_offset(const void *a, const void *b)
{
    const gf_entry *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* The data must be covered without holes or overlaps, to its last byte. */
static gf_status check_cover(gf_entry *e, int count, const char *path, uint64_t start,
                             uint64_t size, gf_err *err)
{
    uint64_t next = 0;
    qsort(e, (size_t)count, sizeof *e, by_offset);
    for (int i = 0; i < count; i++) {
        if (e[i].offset != next)
            return gf_fail(err, GF_EINPUT,
                           "%s: tensor \"%s\": its data begins at offset %llu, but the one before "
                           "ends at %llu",
                           path, e[i].name, (unsigned long long)e[i].offset,
                           (unsigned long long)next);
        next += e[i].bytes; /* both below 2^53 */
        e[i].offset += start;
    }
    if (next == size - start)
        return GF_OK;
    return gf_fail(err, GF_EINPUT,
                   "%s: the header describes %llu bytes of data, the file has %llu: %s", path,
                   (unsigned long long)next, (unsigned long long)(size - start),
                   next > size - start ? "is the download complete?" : "bytes at its end too many");
}

static gf_status check_metadata(const cJSON *m, const char *path, gf_err *err)
{
    if (cJSON_IsNull(m))
        return GF_OK;
    if (!cJSON_IsObject(m))
        return gf_fail(err, GF_EINPUT, "%s: " METADATA ": want an object, got %s", path,
                       gf_json_kind(m));
    const cJSON *v;
    cJSON_ArrayForEach(v, m) if (!cJSON_IsString(v)) return gf_fail(
        err, GF_EINPUT, "%s: " METADATA ": %s: want a string, got %s", path, v->string,
        gf_json_kind(v));
    return GF_OK;
}

static gf_status take_entries(gf_source *s, const cJSON *root, const char *path, uint64_t start,
                              uint64_t size, gf_err *err)
{
    if (!cJSON_IsObject(root))
        return gf_fail(err, GF_EINPUT, "%s: the header is %s, want an object", path,
                       gf_json_kind(root));
    const size_t most = (size_t)cJSON_GetArraySize(root) + (size_t)s->count;
    if (most > INT_MAX)
        return gf_fail(err, GF_EINPUT, "%s: more than 2^31 tensors", path);
    gf_entry *entry = gf_realloc(s->entry, most, sizeof *entry, err);
    if (!entry)
        return GF_ENOMEM;
    s->entry = entry;
    const int first = s->count;
    described d = {.path = path, .err = err};
    cJSON_ArrayForEach(d.item, root)
    {
        if (strcmp(d.item->string, METADATA) == 0) {
            TRY(check_metadata(d.item, path, err));
            continue;
        }
        gf_entry *e = &s->entry[s->count];
        *e = (gf_entry){.file = s->files - 1};
        TRY(take_tensor(&d, e));
        s->count++;
    }
    return check_cover(s->entry + first, s->count - first, path, start, size, err);
}

gf_status gf_safetensors_add(gf_source *s, const char *path, gf_err *err)
{
    gf_status st = GF_OK;
    uint64_t size = 0, n = 0;
    char *text = NULL, *where = NULL;
    cJSON *root = NULL;
    TRY(gf_source_add_file(s, path, &size, err));
    /* The header and its length are read as if they were a tensor. */
    gf_entry header = {.name = (char *)(uintptr_t) "header", .file = s->files - 1, .bytes = 8};
    if (size < 8)
        return gf_fail(err, GF_EINPUT,
                       "%s: %llu bytes are too few for a safetensors file: is the download "
                       "complete?",
                       path, (unsigned long long)size);
    TRY(gf_source_read(s, &header, 0, &n, 8, err));
    if (n > GF_ST_HEADER_MAX)
        return gf_fail(err, GF_EINPUT,
                       "%s: byte 0: a header of %llu bytes, at most 100000000 are allowed: not a "
                       "safetensors file",
                       path, (unsigned long long)n);
    if (n > size - 8)
        return gf_fail(err, GF_EINPUT,
                       "%s: byte 0: a header of %llu bytes, but the file has %llu: is the download "
                       "complete?",
                       path, (unsigned long long)n, (unsigned long long)size);
    header.offset = 8;
    header.bytes = n;
    text = gf_alloc(n, 1, err);
    where = gf_format(err, "%s: header", path);
    if (!text || !where) {
        st = GF_ENOMEM;
        goto out;
    }
    TRYG(gf_source_read(s, &header, 0, text, n, err));
    TRYG(gf_json_parse(&root, text, n, where, 1, err));
    TRYG(take_entries(s, root, path, 8 + n, size, err));
out:
    cJSON_Delete(root);
    free(where);
    free(text);
    return st;
}

gf_status gf_safetensors_open(gf_source *s, const char *path, gf_err *err)
{
    *s = (gf_source){0};
    gf_status st = gf_safetensors_add(s, path, err);
    if (st == GF_OK)
        st = gf_source_index(s, err);
    if (st != GF_OK)
        gf_source_close(s);
    return st;
}
