/* gguf_write.c - streaming writer of GGUF v3. Contract: format/gguf_write.h. */
#include "format/gguf_write.h"
#include "base/json.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Values in memory go to the file as they are. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "GGUF values are written in place");

static gf_status add_u32(gf_buf *b, uint32_t x, gf_err *err)
{
    return gf_buf_add(b, &x, sizeof x, err);
}

static gf_status add_u64(gf_buf *b, uint64_t x, gf_err *err)
{
    return gf_buf_add(b, &x, sizeof x, err);
}

static gf_status add_text(gf_buf *b, const char *s, size_t n, gf_err *err)
{
    TRY(add_u64(b, n, err));
    return gf_buf_add(b, s, n, err);
}

/* ---- keys ---------------------------------------------------------------------------- */

bool gf_gguf_keys_have(const gf_gguf_keys *k, const char *key)
{
    for (size_t at = 0; at < k->names.len; at += strlen(k->names.data + at) + 1)
        if (strcmp(k->names.data + at, key) == 0)
            return true;
    return false;
}

static gf_status start_pair(gf_gguf_keys *k, const char *key, gf_kv_type type, gf_err *err)
{
    const size_t n = strlen(key);
    assert(k->strings == 0);
    if (n == 0 || gf_utf8_valid(key, n) < n)
        return gf_fail(err, GF_EARG, "a GGUF key must be UTF-8 text of at least one character");
    if (gf_gguf_keys_have(k, key))
        return gf_fail(err, GF_EARG, "the GGUF key %s is there twice", key);
    TRY(gf_buf_add(&k->names, key, n + 1, err));
    TRY(add_text(&k->bytes, key, n, err));
    k->count++;
    return add_u32(&k->bytes, type, err);
}

gf_status gf_gguf_put(gf_gguf_keys *k, const char *key, gf_kv_type type, const void *value,
                      gf_err *err)
{
    const size_t size = gf_gguf_value_size(type);
    assert(size > 0);
    if (type == GF_KV_U32 && strcmp(key, GF_GGUF_ALIGNMENT_KEY) == 0) {
        uint32_t alignment = 0;
        memcpy(&alignment, value, sizeof alignment);
        if (alignment == 0 || alignment & (alignment - 1))
            return gf_fail(err, GF_EARG, "%s: %u is not a power of two", key, alignment);
        k->alignment = alignment;
    }
    TRY(start_pair(k, key, type, err));
    return gf_buf_add(&k->bytes, value, size, err);
}

gf_status gf_gguf_put_u32(gf_gguf_keys *k, const char *key, uint32_t value, gf_err *err)
{
    return gf_gguf_put(k, key, GF_KV_U32, &value, err);
}

gf_status gf_gguf_put_f32(gf_gguf_keys *k, const char *key, float value, gf_err *err)
{
    return gf_gguf_put(k, key, GF_KV_F32, &value, err);
}

gf_status gf_gguf_put_bool(gf_gguf_keys *k, const char *key, bool value, gf_err *err)
{
    const uint8_t byte = value;
    return gf_gguf_put(k, key, GF_KV_BOOL, &byte, err);
}

gf_status gf_gguf_put_string(gf_gguf_keys *k, const char *key, const char *s, size_t n, gf_err *err)
{
    TRY(start_pair(k, key, GF_KV_STRING, err));
    return add_text(&k->bytes, s, n, err);
}

static gf_status start_array(gf_gguf_keys *k, const char *key, gf_kv_type item, uint64_t count,
                             gf_err *err)
{
    TRY(start_pair(k, key, GF_KV_ARRAY, err));
    TRY(add_u32(&k->bytes, item, err));
    return add_u64(&k->bytes, count, err);
}

gf_status gf_gguf_put_array(gf_gguf_keys *k, const char *key, gf_kv_type item, const void *values,
                            uint64_t count, gf_err *err)
{
    const size_t size = gf_gguf_value_size(item);
    assert(size > 0);
    TRY(start_array(k, key, item, count, err));
    return gf_buf_add(&k->bytes, values, count * size, err);
}

gf_status gf_gguf_put_strings(gf_gguf_keys *k, const char *key, uint64_t count, gf_err *err)
{
    TRY(start_array(k, key, GF_KV_STRING, count, err));
    k->strings = count;
    return GF_OK;
}

gf_status gf_gguf_add_string(gf_gguf_keys *k, const char *s, size_t n, gf_err *err)
{
    assert(k->strings > 0);
    k->strings--;
    return add_text(&k->bytes, s, n, err);
}

gf_status gf_gguf_put_kv(gf_gguf_keys *k, const gf_kv *kv, gf_err *err)
{
    if (kv->type == GF_KV_STRING)
        return gf_gguf_put_string(k, kv->key, (const char *)kv->data, kv->count, err);
    if (kv->type != GF_KV_ARRAY)
        return gf_gguf_put(k, kv->key, kv->type, kv->data, err);
    TRY(start_array(k, kv->key, kv->item, kv->count, err));
    return gf_buf_add(&k->bytes, kv->data, kv->bytes, err);
}

void gf_gguf_keys_free(gf_gguf_keys *k)
{
    gf_buf_free(&k->bytes);
    gf_buf_free(&k->names);
    *k = (gf_gguf_keys){0};
}

/* ---- tensors ------------------------------------------------------------------------- */

struct gf_gguf_writer {
    gf_out *out;
    int count, next;  /* next: tensor whose data comes */
    uint64_t written; /* bytes of it */
    uint64_t alignment;
    uint64_t *bytes; /* of each tensor */
};

static gf_status fail_tensor(const char *path, const gf_gguf_decl *d, const char *what, gf_err *err)
{
    return gf_fail(err, GF_EARG, "%s: tensor %s: %s", path, d->name, what);
}

static gf_status measure(uint64_t *bytes, const gf_gguf_decl *d, const char *path, gf_err *err)
{
    const size_t n = strlen(d->name);
    uint64_t elements = 1;
    if (n > GF_GGUF_NAME_MAX || gf_utf8_valid(d->name, n) < n)
        return gf_fail(err, GF_EARG, "%s: a tensor's name of more than %d bytes, or no UTF-8: %s",
                       path, GF_GGUF_NAME_MAX, d->name);
    if (gf_gguf_type_number(d->dtype) < 0)
        return fail_tensor(path, d, "its type is none of GGUF's", err);
    assert(d->rank >= 0 && d->rank <= 4);
    for (int i = 0; i < d->rank; i++)
        if (d->dim[i] < 0 || !gf_mul(elements, (uint64_t)d->dim[i], &elements) ||
            elements > INT64_MAX)
            return fail_tensor(path, d, "its size overflows 64 bits", err);
    const uint64_t block = (uint64_t)gf_dtype_block(d->dtype);
    if ((d->rank ? (uint64_t)d->dim[d->rank - 1] : 1) % block)
        return gf_fail(err, GF_EARG, "%s: tensor %s: its rows of %lld are not whole %s blocks",
                       path, d->name, d->rank ? (long long)d->dim[d->rank - 1] : 1,
                       gf_dtype_name(d->dtype));
    if (!gf_mul(elements / block, (uint64_t)gf_dtype_size(d->dtype), bytes) || *bytes > INT64_MAX)
        return fail_tensor(path, d, "its size overflows 64 bits", err);
    return GF_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static gf_status check_names(const gf_gguf_decl *decl, int count, const char *path, gf_err *err)
{
    const char **name = gf_alloc((size_t)count, sizeof *name, err);
    if (!name)
        return GF_ENOMEM;
    for (int i = 0; i < count; i++)
        name[i] = decl[i].name;
    qsort(name, (size_t)count, sizeof *name, compare_names);
    gf_status st = GF_OK;
    for (int i = 1; i < count && st == GF_OK; i++)
        if (strcmp(name[i - 1], name[i]) == 0)
            st = gf_fail(err, GF_EARG, "%s: two tensors are named %s", path, name[i]);
    free(name);
    return st;
}

/* Zeros up to the alignment. */
static uint64_t padding(const gf_gguf_writer *w, uint64_t size)
{
    return -size & (w->alignment - 1);
}

static gf_status add_tensor(gf_buf *b, const gf_gguf_decl *d, uint64_t offset, gf_err *err)
{
    TRY(add_text(b, d->name, strlen(d->name), err));
    TRY(add_u32(b, (uint32_t)d->rank, err));
    for (int i = d->rank - 1; i >= 0; i--) /* the file has the contiguous one first */
        TRY(add_u64(b, (uint64_t)d->dim[i], err));
    TRY(add_u32(b, (uint32_t)gf_gguf_type_number(d->dtype), err));
    return add_u64(b, offset, err);
}

static gf_status make_table(gf_buf *b, const gf_gguf_writer *w, const gf_gguf_decl *decl,
                            const char *path, gf_err *err)
{
    uint64_t offset = 0;
    for (int i = 0; i < w->count; i++) {
        TRY(add_tensor(b, &decl[i], offset, err));
        if (!gf_add(offset, w->bytes[i] + padding(w, w->bytes[i]), &offset) || offset > INT64_MAX)
            return gf_fail(err, GF_EARG, "%s: its size overflows 64 bits", path);
    }
    return GF_OK;
}

/* ---- the file ------------------------------------------------------------------------ */

static gf_status pad(gf_gguf_writer *w, uint64_t size, gf_err *err)
{
    static const char zeros[64]; /* at once; alignments are rarely larger than 32 */
    gf_status st = GF_OK;
    for (uint64_t left = padding(w, size); left > 0 && st == GF_OK;) {
        const size_t n = left < sizeof zeros ? (size_t)left : sizeof zeros;
        st = gf_out_write(w->out, zeros, n, err);
        left -= n;
    }
    return st;
}

/* Tensors without elements have no data to wait for. */
static void skip_empty(gf_gguf_writer *w)
{
    while (w->next < w->count && w->bytes[w->next] == 0)
        w->next++;
}

static gf_status write_head(gf_gguf_writer *w, const gf_gguf_keys *keys, const gf_buf *table,
                            gf_err *err)
{
    enum { VERSION = 3 };
    gf_buf head = {0};
    gf_status st;
    TRYG(gf_buf_str(&head, "GGUF", err));
    TRYG(add_u32(&head, VERSION, err));
    TRYG(add_u64(&head, (uint64_t)w->count, err));
    TRYG(add_u64(&head, keys->count, err));
    TRYG(gf_out_write(w->out, head.data, head.len, err));
    TRYG(gf_out_write(w->out, keys->bytes.data, keys->bytes.len, err));
    TRYG(gf_out_write(w->out, table->data, table->len, err));
    TRYG(pad(w, head.len + keys->bytes.len + table->len, err));
out:
    gf_buf_free(&head);
    return st;
}

gf_status gf_gguf_writer_open(gf_gguf_writer **out, const char *path, const gf_gguf_keys *keys,
                              const gf_gguf_decl *decl, int count, gf_err *err)
{
    gf_status st = GF_OK;
    gf_buf table = {0};
    *out = NULL;
    assert(keys->strings == 0);
    gf_gguf_writer *w = gf_alloc(1, sizeof *w, err);
    if (!w)
        return GF_ENOMEM;
    w->count = count;
    w->alignment = keys->alignment ? keys->alignment : GF_GGUF_ALIGNMENT;
    w->bytes = gf_alloc((size_t)count, sizeof *w->bytes, err);
    if (!w->bytes) {
        st = GF_ENOMEM;
        goto out;
    }
    TRYG(check_names(decl, count, path, err));
    for (int i = 0; i < count; i++)
        TRYG(measure(&w->bytes[i], &decl[i], path, err));
    TRYG(make_table(&table, w, decl, path, err));
    TRYG(gf_out_open(&w->out, path, err));
    gf_out_sparse(w->out);
    TRYG(write_head(w, keys, &table, err));
    skip_empty(w);
    *out = w;
    w = NULL;
out:
    gf_buf_free(&table);
    gf_gguf_writer_cancel(w);
    return st;
}

int gf_gguf_writer_next(const gf_gguf_writer *w)
{
    return w->next < w->count ? w->next : -1;
}

gf_status gf_gguf_writer_data(gf_gguf_writer *w, const void *data, size_t size, gf_err *err)
{
    if (size == 0)
        return GF_OK;
    assert(w->next < w->count && size <= w->bytes[w->next] - w->written);
    TRY(gf_out_write(w->out, data, size, err));
    w->written += size;
    if (w->written < w->bytes[w->next])
        return GF_OK;
    TRY(pad(w, w->written, err)); /* the last tensor too, as ggml does */
    w->next++;
    w->written = 0;
    skip_empty(w);
    return GF_OK;
}

gf_status gf_gguf_writer_commit(gf_gguf_writer *w, gf_err *err)
{
    assert(w->next == w->count);
    const gf_status st = gf_out_commit(w->out, err);
    w->out = NULL;
    gf_gguf_writer_cancel(w);
    return st;
}

void gf_gguf_writer_cancel(gf_gguf_writer *w)
{
    if (!w)
        return;
    gf_out_cancel(w->out);
    free(w->bytes);
    free(w);
}
