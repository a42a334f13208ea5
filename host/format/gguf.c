/* gguf.c - GGUF v2/v3 reader. Contract: format/gguf.h; the format: FORMATS 6.1. */
#include "format/gguf.h"
#include "base/json.h"

#include <limits.h>

#include <stdlib.h>
#include <string.h>

#define STRING_MAX (UINT64_C(1) << 30) /* bytes; llama.cpp's limits */
#define ARRAY_MAX (UINT64_C(1) << 30)  /* elements */

/* ggml's type numbers: name, elements and bytes of a block, and graft's own type or -1. Numbers
 * that are missing here were withdrawn, or are newer than this table. */
typedef struct {
    const char *name;
    uint16_t elements, bytes;
    int dtype;
} ggml_type;

static const ggml_type ggml_types[] = {
    [0] = {"f32", 1, 4, GF_F32},
    [1] = {"f16", 1, 2, GF_F16},
    [2] = {"q4_0", 32, 18, GF_Q4_0},
    [3] = {"q4_1", 32, 20, GF_Q4_1},
    [6] = {"q5_0", 32, 22, GF_Q5_0},
    [7] = {"q5_1", 32, 24, GF_Q5_1},
    [8] = {"q8_0", 32, 34, GF_Q8_0},
    [9] = {"q8_1", 32, 36, -1},
    [10] = {"q2_k", 256, 84, GF_Q2_K},
    [11] = {"q3_k", 256, 110, GF_Q3_K},
    [12] = {"q4_k", 256, 144, GF_Q4_K},
    [13] = {"q5_k", 256, 176, GF_Q5_K},
    [14] = {"q6_k", 256, 210, GF_Q6_K},
    [15] = {"q8_k", 256, 292, -1},
    [16] = {"iq2_xxs", 256, 66, -1},
    [17] = {"iq2_xs", 256, 74, -1},
    [18] = {"iq3_xxs", 256, 98, -1},
    [19] = {"iq1_s", 256, 50, -1},
    [20] = {"iq4_nl", 32, 18, GF_IQ4_NL},
    [21] = {"iq3_s", 256, 110, -1},
    [22] = {"iq2_s", 256, 82, -1},
    [23] = {"iq4_xs", 256, 136, GF_IQ4_XS},
    [24] = {"i8", 1, 1, -1},
    [25] = {"i16", 1, 2, -1},
    [26] = {"i32", 1, 4, GF_I32},
    [27] = {"i64", 1, 8, GF_I64},
    [28] = {"f64", 1, 8, -1},
    [29] = {"iq1_m", 256, 56, -1},
    [30] = {"bf16", 1, 2, GF_BF16},
    [34] = {"tq1_0", 256, 54, -1},
    [35] = {"tq2_0", 256, 66, -1},
    [39] = {"mxfp4", 32, 17, -1},
    [40] = {"nvfp4", 64, 36, -1},
    [41] = {"q1_0", 128, 18, -1},
};

/* Bytes of a value of each gf_kv_type; 0: not of fixed size. */
static const uint8_t kv_size[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
#define KV_TYPES (sizeof kv_size / sizeof kv_size[0])

size_t gf_gguf_value_size(gf_kv_type type)
{
    return kv_size[type];
}

int gf_gguf_type_number(gf_dtype dtype)
{
    const int count = (int)(sizeof ggml_types / sizeof ggml_types[0]);
    for (int i = 0; i < count; i++)
        if (ggml_types[i].name && ggml_types[i].dtype == (int)dtype)
            return i;
    return -1;
}

typedef struct {
    const unsigned char *data;
    uint64_t size, at;
    const char *path;
    gf_err *err;
} reader;

/* ---- reading the bytes ------------------------------------------------------------- */

static gf_status fail_at(const reader *r, uint64_t at, const char *what)
{
    return gf_fail(r->err, GF_EINPUT, "%s: byte %llu: %s", r->path, (unsigned long long)at, what);
}

static gf_status take(reader *r, uint64_t n, const unsigned char **out, const char *what)
{
    if (n > r->size - r->at)
        return gf_fail(r->err, GF_EINPUT,
                       "%s: byte %llu: the file ends inside %s (want %llu bytes, there are %llu): "
                       "is the download complete?",
                       r->path, (unsigned long long)r->at, what, (unsigned long long)n,
                       (unsigned long long)(r->size - r->at));
    *out = r->data + r->at;
    r->at += n;
    return GF_OK;
}

/* Values in the file are little-endian and unaligned; graft runs on little-endian machines only. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "GGUF values are read in place");

static gf_status take_u32(reader *r, uint32_t *v, const char *what)
{
    const unsigned char *p = NULL;
    TRY(take(r, sizeof *v, &p, what));
    memcpy(v, p, sizeof *v);
    return GF_OK;
}

static gf_status take_u64(reader *r, uint64_t *v, const char *what)
{
    const unsigned char *p = NULL;
    TRY(take(r, sizeof *v, &p, what));
    memcpy(v, p, sizeof *v);
    return GF_OK;
}

static gf_status take_bytes(reader *r, const unsigned char **s, uint64_t *n, const char *what)
{
    const uint64_t at = r->at;
    TRY(take_u64(r, n, what));
    if (*n > STRING_MAX)
        return fail_at(r, at, "a string of more than 1 GiB: the file is damaged");
    return take(r, *n, s, what);
}

/* A name or key as a new string; these appear in messages, so they must be clean text. */
static gf_status take_name(reader *r, char **out, const char *what)
{
    const unsigned char *s = NULL;
    uint64_t n = 0;
    const uint64_t at = r->at;
    TRY(take_bytes(r, &s, &n, what));
    if (n && (memchr(s, 0, n) || gf_utf8_valid((const char *)s, n) < n))
        return gf_fail(r->err, GF_EINPUT, "%s: byte %llu: %s is not valid UTF-8 text", r->path,
                       (unsigned long long)at, what);
    *out = gf_strndup((const char *)s, n, r->err);
    return *out ? GF_OK : GF_ENOMEM;
}

/* ---- metadata ---------------------------------------------------------------------- */

static gf_status take_type(reader *r, gf_kv_type *type)
{
    uint32_t v = 0;
    const uint64_t at = r->at;
    TRY(take_u32(r, &v, "a value's type"));
    if (v >= KV_TYPES)
        return fail_at(r, at, "unknown type of value: the file is damaged or newer than graft");
    *type = (gf_kv_type)v;
    return GF_OK;
}

static gf_status take_array(reader *r, gf_kv *kv)
{
    const uint64_t at = r->at;
    TRY(take_type(r, &kv->item));
    if (kv->item == GF_KV_ARRAY)
        return fail_at(r, at, "an array of arrays, which GGUF readers refuse");
    TRY(take_u64(r, &kv->count, "an array's length"));
    if (kv->count > ARRAY_MAX)
        return fail_at(r, at, "an array of more than 2^30 elements: the file is damaged");
    kv->data = r->data + r->at;
    if (kv->item != GF_KV_STRING) {
        kv->bytes = kv->count * kv_size[kv->item]; /* <= 2^33 */
        return take(r, kv->bytes, &kv->data, "an array");
    }
    const uint64_t start = r->at;
    for (uint64_t i = 0; i < kv->count; i++) {
        const unsigned char *s;
        uint64_t n;
        TRY(take_bytes(r, &s, &n, "an array of strings"));
    }
    kv->bytes = r->at - start;
    return GF_OK;
}

static gf_status take_kv(reader *r, gf_kv *kv)
{
    const uint64_t at = r->at;
    TRY(take_name(r, &kv->key, "a key"));
    if (!*kv->key)
        return fail_at(r, at, "an empty key");
    TRY(take_type(r, &kv->type));
    if (kv->type == GF_KV_ARRAY)
        return take_array(r, kv);
    if (kv->type == GF_KV_STRING) {
        TRY(take_bytes(r, &kv->data, &kv->count, "a string"));
        kv->bytes = kv->count;
        return GF_OK;
    }
    kv->bytes = kv_size[kv->type];
    return take(r, kv->bytes, &kv->data, "a value");
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static gf_status check_keys(const gf_gguf *g, gf_err *err)
{
    const char **key = gf_alloc((size_t)g->count, sizeof *key, err);
    if (!key)
        return GF_ENOMEM;
    for (int i = 0; i < g->count; i++)
        key[i] = g->kv[i].key;
    qsort(key, (size_t)g->count, sizeof *key, compare_keys);
    gf_status st = GF_OK;
    for (int i = 1; i < g->count && st == GF_OK; i++)
        if (strcmp(key[i - 1], key[i]) == 0)
            st = gf_fail(err, GF_EINPUT, "%s: the key %s is there twice", g->path, key[i]);
    free(key);
    return st;
}

static gf_status take_metadata(reader *r, gf_gguf *g, uint64_t count)
{
    enum { KV_MIN = 8 + 1 + 4 + 1 }; /* bytes of the smallest pair */
    if (count > (r->size - r->at) / KV_MIN || count > INT_MAX)
        return fail_at(r, 16, "more keys than the file has room for: it is damaged or cut off");
    g->kv = gf_alloc(count, sizeof *g->kv, r->err);
    if (!g->kv)
        return GF_ENOMEM;
    for (uint64_t i = 0; i < count; i++) {
        g->count++; /* first, so that close frees the key of a pair that fails */
        TRY(take_kv(r, &g->kv[i]));
    }
    return check_keys(g, r->err);
}

/* ---- tensors ----------------------------------------------------------------------- */

static gf_status fail_tensor(const reader *r, const gf_entry *e, const char *what)
{
    return gf_fail(r->err, GF_EINPUT, "%s: tensor %s: %s", r->path, e->name, what);
}

static gf_status take_dims(reader *r, gf_entry *e, uint64_t *elements)
{
    uint32_t dims = 0;
    TRY(take_u32(r, &dims, "a tensor's rank"));
    if (dims > 4)
        return fail_tensor(r, e, "more than 4 dimensions");
    e->rank = (int)dims;
    *elements = 1;
    for (int i = 0; i < 4; i++)
        e->dim[i] = 1;
    for (int i = e->rank - 1; i >= 0; i--) { /* the file has the contiguous one first */
        uint64_t n = 0;
        TRY(take_u64(r, &n, "a tensor's shape"));
        if (n > INT64_MAX)
            return fail_tensor(r, e, "a negative dimension");
        e->dim[i] = (int64_t)n;
        if (!gf_mul(*elements, n, elements) || *elements > INT64_MAX)
            return fail_tensor(r, e, "its shape overflows 64 bits");
    }
    return GF_OK;
}

static gf_status take_tensor(reader *r, gf_entry *e, uint64_t alignment, uint64_t *next)
{
    const uint64_t at = r->at;
    uint64_t elements = 0, offset = 0, padded = 0;
    uint32_t number = 0;
    TRY(take_name(r, &e->name, "a tensor's name"));
    if (strlen(e->name) > GF_GGUF_NAME_MAX)
        return fail_at(r, at, "a tensor's name of more than 63 bytes");
    TRY(take_dims(r, e, &elements));
    TRY(take_u32(r, &number, "a tensor's type"));
    TRY(take_u64(r, &offset, "a tensor's offset"));
    const ggml_type *t = &ggml_types[0];
    if (number < sizeof ggml_types / sizeof ggml_types[0])
        t = &ggml_types[number];
    if (number && (t == &ggml_types[0] || !t->name))
        return gf_fail(r->err, GF_EINPUT,
                       "%s: tensor %s has type number %u, which graft does not know", r->path,
                       e->name, number);
    e->dtype_text = t->name;
    e->readable = t->dtype >= 0;
    e->dtype = e->readable ? (gf_dtype)t->dtype : GF_F32;
    const uint64_t row = e->rank ? (uint64_t)e->dim[e->rank - 1] : 1;
    if (row % t->elements)
        return gf_fail(r->err, GF_EINPUT,
                       "%s: tensor %s: its rows of %llu are not whole %s blocks of %u", r->path,
                       e->name, (unsigned long long)row, t->name, (unsigned)t->elements);
    if (!gf_mul(elements / t->elements, t->bytes, &e->bytes) ||
        !gf_add(e->bytes, alignment - 1, &padded))
        return fail_tensor(r, e, "its size overflows 64 bits");
    if (offset != *next)
        return gf_fail(r->err, GF_EINPUT, "%s: tensor %s: its offset is %llu, but must be %llu",
                       r->path, e->name, (unsigned long long)offset, (unsigned long long)*next);
    e->offset = offset;
    if (!gf_add(*next, padded & ~(alignment - 1), next))
        return fail_tensor(r, e, "its end overflows 64 bits");
    return GF_OK;
}

static gf_status take_tensors(reader *r, gf_gguf *g, uint64_t count)
{
    enum { TENSOR_MIN = 8 + 4 + 4 + 8 }; /* bytes of the smallest entry */
    gf_source *s = &g->source;
    int64_t alignment = 0;
    uint64_t next = 0;
    const gf_kv *kv = gf_gguf_find(g, GF_GGUF_ALIGNMENT_KEY);
    if (kv && kv->type != GF_KV_U32)
        return gf_fail(r->err, GF_EINPUT, "%s: general.alignment: is not a u32", r->path);
    TRY(gf_gguf_int(&alignment, g, GF_GGUF_ALIGNMENT_KEY, GF_GGUF_ALIGNMENT, 1, UINT32_MAX,
                    r->err));
    if (alignment & (alignment - 1))
        return gf_fail(r->err, GF_EINPUT, "%s: general.alignment: %lld is not a power of two",
                       r->path, (long long)alignment);
    if (count > (r->size - r->at) / TENSOR_MIN || count > INT_MAX)
        return fail_at(r, 8, "more tensors than the file has room for: it is damaged or cut off");
    s->entry = gf_alloc(count, sizeof *s->entry, r->err);
    if (!s->entry)
        return GF_ENOMEM;
    for (uint64_t i = 0; i < count; i++) {
        s->count++;
        TRY(take_tensor(r, &s->entry[i], (uint64_t)alignment, &next));
    }
    const uint64_t mask = (uint64_t)alignment - 1, start = (r->at + mask) & ~mask;
    for (int i = 0; i < s->count; i++) {
        gf_entry *e = &s->entry[i];
        uint64_t end;
        if (!gf_add(e->offset, start, &e->offset) || !gf_add(e->offset, e->bytes, &end))
            return fail_tensor(r, e, "its end overflows 64 bits");
        if (end > r->size)
            return gf_fail(r->err, GF_EINPUT,
                           "%s: tensor %s: its data ends at byte %llu, the file at byte %llu: is "
                           "the download complete?",
                           r->path, e->name, (unsigned long long)end, (unsigned long long)r->size);
    }
    return gf_source_index(s, r->err);
}

/* ---- the file ---------------------------------------------------------------------- */

static gf_status take_version(reader *r)
{
    const unsigned char *magic;
    uint32_t version = 0;
    if (r->size < 4 || memcmp(r->data, "GGUF", 4) != 0)
        return fail_at(r, 0, "not a GGUF file: it does not begin with \"GGUF\"");
    TRY(take(r, 4, &magic, "the magic number"));
    TRY(take_u32(r, &version, "the version"));
    if (version && !(version & 0xFFFF))
        return fail_at(r, 4, "a big-endian GGUF file, want little-endian");
    if (version != 2 && version != 3)
        return gf_fail(r->err, GF_EINPUT,
                       "%s: byte 4: GGUF version %u, want 2 or 3: convert the model again", r->path,
                       version);
    return GF_OK;
}

gf_status gf_gguf_open_one(gf_gguf *g, const char *path, gf_err *err)
{
    gf_status st = GF_OK;
    uint64_t size, tensors = 0, keys = 0;
    *g = (gf_gguf){0};
    g->path = gf_strdup(path, err);
    if (!g->path)
        return GF_ENOMEM;
    TRYG(gf_file_map(&g->map, path, err));
    TRYG(gf_source_add_file(&g->source, path, &size, err));
    reader r = {.data = g->map.data, .size = g->map.size, .path = path, .err = err};
    TRYG(take_version(&r));
    TRYG(take_u64(&r, &tensors, "the number of tensors"));
    TRYG(take_u64(&r, &keys, "the number of keys"));
    TRYG(take_metadata(&r, g, keys));
    TRYG(take_tensors(&r, g, tensors));
out:
    if (st != GF_OK)
        gf_gguf_close(g);
    return st;
}

void gf_gguf_close(gf_gguf *g)
{
    for (int i = 0; i < g->count; i++)
        free(g->kv[i].key);
    free(g->kv);
    free(g->path);
    gf_source_close(&g->source);
    gf_file_unmap(&g->map);
    *g = (gf_gguf){0};
}
