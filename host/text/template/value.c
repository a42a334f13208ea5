/* Strings, lists, dicts, and values from JSON. */
#include "text/template/value.h"

#include "text/template/text.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

gf_status gf_jrun_fail(gf_jrun *r, const char *fmt, ...)
{
    char what[600]; /* messages that templates raise are sentences */
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return gf_fail(r->err, GF_EINPUT, "%s:%d: %s", r->where, r->line, what);
}

gf_status gf_jrun_spent(const gf_jrun *r)
{
    return r->err != NULL && r->err->code != GF_OK ? r->err->code : GF_ENOMEM;
}

gf_status gf_jrun_step(gf_jrun *r, size_t n)
{
    if (n > (size_t)r->steps)
        return gf_jrun_fail(r, "the template runs for more than 10 million steps");
    r->steps -= (int64_t)n;
    return GF_OK;
}

/* ---- strings ----------------------------------------------------------------------- */

gf_status gf_jval_text(gf_jrun *r, const char *s, size_t n, bool safe, gf_jval *out)
{
    gf_jstr *str = gf_jarena_object(&r->arena, 1, sizeof *str, r->err);
    if (str == NULL)
        return gf_jrun_spent(r);
    *str = (gf_jstr){.data = s, .size = n, .safe = safe};
    *out = (gf_jval){.kind = GF_J_STR, .s = str};
    return GF_OK;
}

gf_status gf_jval_copy(gf_jrun *r, const char *s, size_t n, bool safe, gf_jval *out)
{
    char *d = gf_jarena_chars(&r->arena, n, r->err);
    if (d == NULL)
        return gf_jrun_spent(r);
    if (n > 0)
        memcpy(d, s, n);
    return gf_jval_text(r, d, n, safe, out);
}

gf_status gf_jval_buf(gf_jrun *r, gf_buf *b, bool safe, gf_jval *out)
{
    const gf_status st = gf_jval_copy(r, b->data, b->len, safe, out);
    gf_buf_free(b);
    return st;
}

gf_status gf_jval_escape(gf_jrun *r, gf_jval v, gf_jval *out)
{
    static const char from[] = "&<>\"'";
    static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
    TRY(gf_jval_str(r, v, &v));
    if (v.s->safe) {
        *out = v;
        return GF_OK;
    }
    size_t n = 0;
    for (size_t i = 0; i < v.s->size; i++) {
        const char *hit = v.s->data[i] == '\0' ? NULL : strchr(from, v.s->data[i]);
        n += hit == NULL ? 1 : strlen(to[hit - from]);
    }
    char *d = gf_jarena_chars(&r->arena, n, r->err);
    if (d == NULL)
        return gf_jrun_spent(r);
    char *p = d;
    for (size_t i = 0; i < v.s->size; i++) {
        const char *hit = v.s->data[i] == '\0' ? NULL : strchr(from, v.s->data[i]);
        if (hit == NULL) {
            *p++ = v.s->data[i];
        } else {
            const size_t k = strlen(to[hit - from]);
            memcpy(p, to[hit - from], k);
            p += k;
        }
    }
    return gf_jval_text(r, d, n, true, out);
}

gf_status gf_jval_concat(gf_jrun *r, gf_jval a, gf_jval b, gf_jval *out)
{
    const bool safe = a.s->safe || b.s->safe;
    if (safe) {
        TRY(gf_jval_escape(r, a, &a));
        TRY(gf_jval_escape(r, b, &b));
    }
    if (a.s->size == 0 || b.s->size == 0) {
        *out = a.s->size == 0 ? b : a;
        return GF_OK;
    }
    TRY(gf_jrun_step(r, b.s->size >> 8)); /* copying 256 bytes counts as a step */
    /* a + b + c: what was made last grows in place, the shorter text keeps its bytes */
    const char *data = a.s->data;
    char *tail = (char *)(uintptr_t)(data + a.s->size);
    if (!gf_jarena_extend(&r->arena, tail, b.s->size)) {
        char *d = gf_jarena_chars(&r->arena, a.s->size + b.s->size, r->err);
        if (d == NULL)
            return gf_jrun_spent(r);
        memcpy(d, a.s->data, a.s->size);
        data = d;
        tail = d + a.s->size;
    }
    memcpy(tail, b.s->data, b.s->size);
    return gf_jval_text(r, data, a.s->size + b.s->size, safe, out);
}

/* ---- lists ------------------------------------------------------------------------- */

gf_jlist *gf_jlist_new(gf_jrun *r, size_t cap)
{
    gf_jlist *l = gf_jarena_object(&r->arena, 1, sizeof *l, r->err);
    if (l == NULL)
        return NULL;
    if (cap > 0) {
        l->item = gf_jarena_object(&r->arena, cap, sizeof *l->item, r->err);
        if (l->item == NULL)
            return NULL;
    }
    l->cap = cap;
    return l;
}

gf_status gf_jlist_add(gf_jrun *r, gf_jlist *l, gf_jval v)
{
    if (l->count == l->cap) {
        const size_t cap = l->cap < 4 ? 8 : l->cap * 2;
        gf_jval *item = gf_jarena_object(&r->arena, cap, sizeof *item, r->err);
        if (item == NULL)
            return gf_jrun_spent(r);
        if (l->count > 0)
            memcpy(item, l->item, l->count * sizeof *item);
        l->item = item;
        l->cap = cap;
    }
    l->item[l->count++] = v;
    return GF_OK;
}

static gf_status characters(gf_jrun *r, gf_jval v, gf_jlist *l)
{
    for (size_t i = 0, step; i < v.s->size; i += step) {
        gf_jval c;
        gf_jchar_at(v.s->data + i, v.s->size - i, &step);
        TRY(gf_jval_text(r, v.s->data + i, step, v.s->safe, &c));
        TRY(gf_jlist_add(r, l, c));
    }
    return GF_OK;
}

gf_status gf_jval_elements(gf_jrun *r, gf_jval v, bool own, gf_jlist **out)
{
    if (!own && (v.kind == GF_J_LIST || v.kind == GF_J_TUPLE || v.kind == GF_J_RANGE ||
                 v.kind == GF_J_VIEW)) {
        *out = v.l;
        return GF_OK;
    }
    gf_jlist *l = gf_jlist_new(r, 0);
    if (l == NULL)
        return gf_jrun_spent(r);
    *out = l;
    switch (v.kind) {
    case GF_J_UNDEFINED:
        return GF_OK;
    case GF_J_STR:
        TRY(gf_jrun_step(r, v.s->size));
        return characters(r, v, l);
    case GF_J_DICT:
        TRY(gf_jrun_step(r, v.d->count));
        for (size_t i = 0; i < v.d->count; i++)
            TRY(gf_jlist_add(r, l, v.d->pair[i].key));
        return GF_OK;
    case GF_J_LIST:
    case GF_J_TUPLE:
    case GF_J_RANGE:
    case GF_J_VIEW:
    case GF_J_GENERATOR:
        TRY(gf_jrun_step(r, v.l->count - v.l->pos));
        for (size_t i = v.l->pos; i < v.l->count; i++)
            TRY(gf_jlist_add(r, l, v.l->item[i]));
        if (v.kind == GF_J_GENERATOR)
            v.l->pos = v.l->count;
        return GF_OK;
    default:
        return gf_jrun_fail(r, "'%s' object is not iterable", gf_jval_type(v));
    }
}

/* ---- dicts ------------------------------------------------------------------------- */

static uint64_t hash_bytes(const char *s, size_t n)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a, 64 bits: its offset and prime */
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * 1099511628211u;
    return h;
}

/* Equal values have equal hashes; false: not hashable. */
static bool hash_value(gf_jval v, int depth, uint64_t *h)
{
    switch (v.kind) {
    case GF_J_STR:
        *h = hash_bytes(v.s->data, v.s->size);
        return true;
    case GF_J_BOOL:
    case GF_J_INT:
    case GF_J_FLOAT: {
        const double f = gf_jval_as_float(v) + 0.0; /* -0 is 0 */
        *h = hash_bytes((const char *)&f, sizeof f);
        return true;
    }
    case GF_J_TUPLE:
        *h = v.l->count;
        for (size_t i = 0; i < v.l->count; i++) {
            uint64_t e;
            if (depth > 100 || !hash_value(v.l->item[i], depth + 1, &e))
                return false;
            *h = (*h ^ e) * 1099511628211u;
        }
        return true;
    case GF_J_LIST:
    case GF_J_DICT:
        return false;
    default:
        *h = (uint64_t)v.kind;
        return true;
    }
}

gf_jdict *gf_jdict_new(gf_jrun *r)
{
    return gf_jarena_object(&r->arena, 1, sizeof(gf_jdict), r->err);
}

gf_jval *gf_jdict_named(const gf_jdict *d, const char *key, size_t n)
{
    if (d->slot != NULL) {
        for (uint64_t s = hash_bytes(key, n) % d->slots; d->slot[s] != 0; s = (s + 1) % d->slots) {
            gf_jpair *p = &d->pair[d->slot[s] - 1];
            if (p->key.kind == GF_J_STR && p->key.s->size == n &&
                memcmp(p->key.s->data, key, n) == 0)
                return &p->value;
        }
        return NULL;
    }
    for (size_t i = 0; i < d->count; i++) {
        gf_jpair *p = &d->pair[i];
        if (p->key.kind == GF_J_STR && p->key.s->size == n && memcmp(p->key.s->data, key, n) == 0)
            return &p->value;
    }
    return NULL;
}

gf_status gf_jdict_find(gf_jrun *r, const gf_jdict *d, gf_jval key, gf_jpair **out)
{
    uint64_t h;
    *out = NULL;
    if (!hash_value(key, 0, &h))
        return gf_jrun_fail(r, "unhashable type: '%s'", gf_jval_type(key));
    size_t s = d->slot == NULL ? 0 : h % d->slots;
    for (size_t i = 0; d->slot != NULL ? d->slot[s] != 0 : i < d->count; i++) {
        gf_jpair *p = &d->pair[d->slot != NULL ? d->slot[s] - 1 : i];
        bool same;
        TRY(gf_jval_equal(r, p->key, key, &same));
        if (same) {
            *out = p;
            return GF_OK;
        }
        s = d->slot == NULL ? 0 : (s + 1) % d->slots;
    }
    return GF_OK;
}

/* A new table, at most half full. */
static gf_status rehash(gf_jrun *r, gf_jdict *d)
{
    d->slots = d->cap * 2;
    d->slot = gf_jarena_object(&r->arena, d->slots, sizeof *d->slot, r->err);
    if (d->slot == NULL)
        return gf_jrun_spent(r);
    for (size_t i = 0; i < d->count; i++) {
        uint64_t h = 0;
        hash_value(d->pair[i].key, 0, &h);
        size_t s = h % d->slots;
        while (d->slot[s] != 0)
            s = (s + 1) % d->slots;
        d->slot[s] = (uint32_t)i + 1;
    }
    return GF_OK;
}

gf_status gf_jdict_set(gf_jrun *r, gf_jdict *d, gf_jval key, gf_jval value)
{
    gf_jpair *p;
    TRY(gf_jdict_find(r, d, key, &p));
    if (p != NULL) {
        p->value = value;
        return GF_OK;
    }
    const bool grow = d->count == d->cap;
    if (grow) {
        const size_t cap = d->cap == 0 ? 4 : d->cap * 2;
        gf_jpair *pair = gf_jarena_object(&r->arena, cap, sizeof *pair, r->err);
        if (pair == NULL)
            return gf_jrun_spent(r);
        if (d->count > 0)
            memcpy(pair, d->pair, d->count * sizeof *pair);
        d->pair = pair;
        d->cap = cap;
    }
    d->pair[d->count++] = (gf_jpair){key, value};
    if (grow && d->cap > 8) /* below, a linear search is faster */
        return rehash(r, d);
    if (d->slot != NULL) {
        uint64_t h = 0;
        hash_value(key, 0, &h);
        size_t s = h % d->slots;
        while (d->slot[s] != 0)
            s = (s + 1) % d->slots;
        d->slot[s] = (uint32_t)d->count;
    }
    return GF_OK;
}

gf_status gf_jdict_remove(gf_jrun *r, gf_jdict *d, const gf_jpair *p)
{
    const size_t i = (size_t)(p - d->pair);
    TRY(gf_jrun_step(r, d->count));
    memmove(&d->pair[i], &d->pair[i + 1], (d->count - i - 1) * sizeof *p);
    d->count--;
    return d->slot != NULL ? rehash(r, d) : GF_OK;
}

/* ---- from JSON --------------------------------------------------------------------- */

/* A number as the file spells it, where gf_template_numbers kept that. */
static gf_status from_literal(gf_jrun *r, const char *s, gf_jval *out)
{
    if (strpbrk(s, ".eE") != NULL) {
        *out = gf_jval_float(strtod(s, NULL));
        return GF_OK;
    }
    errno = 0;
    *out = gf_jval_int(strtoll(s, NULL, 10));
    if (errno == ERANGE)
        return gf_jrun_fail(r, "the integer %.40s in the data is over 64 bits", s);
    return GF_OK;
}

static gf_status from_number(gf_jrun *r, const cJSON *j, gf_jval *out)
{
    if (j->valuestring != NULL)
        return from_literal(r, j->valuestring, out);
    const double f = j->valuedouble;
    /* 2^53: up to there a double holds every integer */
    if (f == floor(f) && fabs(f) <= 9007199254740992.0)
        *out = gf_jval_int((int64_t)f);
    else
        *out = gf_jval_float(f);
    return GF_OK;
}

gf_status gf_jval_from_json(gf_jrun *r, const cJSON *j, int depth, gf_jval *out)
{
    if (depth > 600) /* the validator's depth is 512 */
        return gf_jrun_fail(r, "the data nest too deeply");
    if (cJSON_IsString(j))
        return gf_jval_text(r, j->valuestring, strlen(j->valuestring), false, out);
    if (cJSON_IsNumber(j))
        return from_number(r, j, out);
    if (cJSON_IsBool(j)) {
        *out = gf_jval_bool(cJSON_IsTrue(j));
        return GF_OK;
    }
    const cJSON *e;
    if (cJSON_IsArray(j)) {
        gf_jlist *l = gf_jlist_new(r, 0);
        if (l == NULL)
            return gf_jrun_spent(r);
        *out = gf_jval_list(GF_J_LIST, l);
        cJSON_ArrayForEach(e, j)
        {
            gf_jval v;
            TRY(gf_jval_from_json(r, e, depth + 1, &v));
            TRY(gf_jlist_add(r, l, v));
        }
        return GF_OK;
    }
    if (cJSON_IsObject(j)) {
        gf_jdict *d = gf_jdict_new(r);
        if (d == NULL)
            return gf_jrun_spent(r);
        *out = (gf_jval){.kind = GF_J_DICT, .d = d};
        cJSON_ArrayForEach(e, j)
        {
            gf_jval k, v;
            TRY(gf_jval_text(r, e->string, strlen(e->string), false, &k));
            TRY(gf_jval_from_json(r, e, depth + 1, &v));
            TRY(gf_jdict_set(r, d, k, v));
        }
        return GF_OK;
    }
    *out = gf_jval_none();
    return GF_OK;
}
