/* gguf_value.c - metadata values by key. Contract: format/gguf.h. Values are read where they lie in
 * the mapping, little-endian and unaligned. */
#include "base/json.h"
#include "format/gguf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const kv_name[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                      "bool", "string", "array", "u64", "i64", "f64"};

const gf_kv *gf_gguf_find(const gf_gguf *g, const char *key)
{
    for (int i = 0; i < g->count; i++)
        if (strcmp(g->kv[i].key, key) == 0)
            return &g->kv[i];
    return NULL;
}

static gf_status fail_kind(const gf_gguf *g, const gf_kv *kv, const char *want, gf_err *err)
{
    return gf_fail(err, GF_EINPUT, "%s: %s: want %s, got %s", g->path, kv->key, want,
                   kv_name[kv->type]);
}

#define LOAD(type_, from)                                                                          \
    type_ v_;                                                                                      \
    memcpy(&v_, from, sizeof v_)
/* False if the value is no integer or does not fit. */
static bool load_int(const gf_kv *kv, int64_t *out)
{
    switch (kv->type) {
#define CASE(kind, type_)                                                                          \
    case kind: {                                                                                   \
        LOAD(type_, kv->data);                                                                     \
        *out = v_;                                                                                 \
        return true;                                                                               \
    }
        CASE(GF_KV_U8, uint8_t)
        CASE(GF_KV_I8, int8_t)
        CASE(GF_KV_U16, uint16_t)
        CASE(GF_KV_I16, int16_t)
        CASE(GF_KV_U32, uint32_t)
        CASE(GF_KV_I32, int32_t)
        CASE(GF_KV_I64, int64_t)
#undef CASE
    case GF_KV_U64: {
        LOAD(uint64_t, kv->data);
        *out = (int64_t)v_;
        return v_ <= INT64_MAX;
    }
    default:
        return false;
    }
}

static bool is_int(gf_kv_type t)
{
    return t <= GF_KV_I32 || t == GF_KV_U64 || t == GF_KV_I64;
}

gf_status gf_gguf_int(int64_t *out, const gf_gguf *g, const char *key, int64_t missing, int64_t min,
                      int64_t max, gf_err *err)
{
    const gf_kv *kv = gf_gguf_find(g, key);
    int64_t v = missing;
    if (kv) {
        if (!is_int(kv->type))
            return fail_kind(g, kv, "an integer", err);
        if (!load_int(kv, &v) || v < min || v > max)
            return gf_fail(err, GF_EINPUT, "%s: %s: want %lld to %lld, got %lld%s", g->path, key,
                           (long long)min, (long long)max, (long long)v,
                           kv->type == GF_KV_U64 && v < 0 ? " + 2^64" : "");
    }
    *out = v;
    return GF_OK;
}

gf_status gf_gguf_double(double *out, const gf_gguf *g, const char *key, double missing,
                         gf_err *err)
{
    const gf_kv *kv = gf_gguf_find(g, key);
    double v = missing;
    int64_t whole;
    if (kv) {
        if (kv->type == GF_KV_F32) {
            LOAD(float, kv->data);
            v = (double)v_;
        } else if (kv->type == GF_KV_F64) {
            LOAD(double, kv->data);
            v = v_;
        } else if (load_int(kv, &whole)) {
            v = (double)whole;
        } else {
            return fail_kind(g, kv, "a number", err);
        }
        if (!isfinite(v))
            return gf_fail(err, GF_EINPUT, "%s: %s: is not a finite number", g->path, key);
    }
    *out = v;
    return GF_OK;
}

gf_status gf_gguf_bool(bool *out, const gf_gguf *g, const char *key, bool missing, gf_err *err)
{
    const gf_kv *kv = gf_gguf_find(g, key);
    if (kv && kv->type != GF_KV_BOOL)
        return fail_kind(g, kv, "a bool", err);
    if (kv && kv->data[0] > 1)
        return gf_fail(err, GF_EINPUT, "%s: %s: a bool is 0 or 1, got %u", g->path, key,
                       kv->data[0]);
    *out = kv ? kv->data[0] : missing;
    return GF_OK;
}

gf_status gf_gguf_string(char **out, const gf_gguf *g, const char *key, gf_err *err)
{
    const gf_kv *kv = gf_gguf_find(g, key);
    *out = NULL;
    if (!kv)
        return GF_OK;
    if (kv->type != GF_KV_STRING)
        return fail_kind(g, kv, "a string", err);
    const char *s = (const char *)kv->data;
    if (kv->count && memchr(s, 0, kv->count))
        return gf_fail(err, GF_EINPUT, "%s: %s: the text holds a NUL", g->path, key);
    if (gf_utf8_valid(s, kv->count) < kv->count)
        return gf_fail(err, GF_EINPUT, "%s: %s: the text is not UTF-8 at its byte %zu", g->path,
                       key, gf_utf8_valid(s, kv->count));
    *out = gf_strndup(s, kv->count, err);
    return *out ? GF_OK : GF_ENOMEM;
}

bool gf_gguf_next_string(const gf_kv *kv, const unsigned char **cursor, const char **s, size_t *n)
{
    if (kv->type != GF_KV_ARRAY || kv->item != GF_KV_STRING)
        return false;
    if (!*cursor)
        *cursor = kv->data;
    if (*cursor == kv->data + kv->bytes)
        return false;
    uint64_t size;
    memcpy(&size, *cursor, sizeof size);
    *s = (const char *)*cursor + sizeof size;
    *n = size;
    *cursor += sizeof size + size;
    return true;
}
