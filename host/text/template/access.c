/* object.name, object[key], object[start:stop:step]. */
#include "text/template/text.h"
#include "text/template/exec.h"
#include "text/template/value.h"

#include <string.h>

/* What messages call the type of v. */
static const char *described(gf_jval v)
{
    switch (v.kind) {
    case GF_J_NONE:
        return "None";
    case GF_J_BOOL:
        return "bool object";
    case GF_J_INT:
        return "int object";
    case GF_J_FLOAT:
        return "float object";
    case GF_J_STR:
        return "str object";
    case GF_J_LIST:
        return "list object";
    case GF_J_TUPLE:
        return "tuple object";
    case GF_J_DICT:
        return "dict object";
    default:
        return gf_jval_type(v);
    }
}

static gf_status missing(gf_jrun *r, gf_jval v, gf_jval key, gf_jval *out)
{
    gf_jundefined *u = gf_jarena_object(&r->arena, 1, sizeof *u, r->err);
    if (u == NULL)
        return gf_jrun_spent(r);
    u->key = key;
    u->type = described(v);
    *out = gf_jval_undefined(u);
    return GF_OK;
}

static gf_status attribute(gf_jrun *r, gf_jval v, const gf_jstr *name, bool *found, gf_jval *out)
{
    *found = true;
    if (v.kind == GF_J_NAMESPACE) {
        const gf_jval *e = gf_jdict_named(v.d, name->data, name->size);
        if (e != NULL)
            *out = *e;
        *found = e != NULL;
        return GF_OK;
    }
    if (v.kind == GF_J_LOOP) {
        TRY(gf_jloop_attribute(r, v.loop, name, found, out));
        if (*found)
            return GF_OK;
    }
    if (v.kind == GF_J_MACRO && name->size == 4 && memcmp(name->data, "name", 4) == 0)
        return gf_jval_text(r, v.macro->name->data, v.macro->name->size, false, out);
    if (v.kind == GF_J_CYCLER && name->size == 7 && memcmp(name->data, "current", 7) == 0) {
        *out = v.l->item[v.l->pos];
        return GF_OK;
    }
    TRY(gf_jmethod_find(r, v, name, out));
    *found = out->kind != GF_J_UNDEFINED;
    return GF_OK;
}

gf_status gf_jval_attribute(gf_jrun *r, gf_jval v, const gf_jstr *name, gf_jval *out)
{
    if (v.kind == GF_J_UNDEFINED)
        return gf_jval_is_undefined(r, v);
    bool found = false;
    TRY(attribute(r, v, name, &found, out));
    if (found)
        return GF_OK;
    const gf_jval *e = v.kind == GF_J_DICT ? gf_jdict_named(v.d, name->data, name->size) : NULL;
    if (e != NULL) {
        *out = *e;
        return GF_OK;
    }
    return missing(r, v, (gf_jval){.kind = GF_J_STR, .s = name}, out);
}

static gf_status element(gf_jrun *r, gf_jval v, int64_t i, gf_jval key, gf_jval *out)
{
    const bool text = v.kind == GF_J_STR;
    if (text)
        TRY(gf_jrun_step(r, v.s->size >> 8));
    const int64_t n = (int64_t)(text ? gf_jtext_length(v.s->data, v.s->size) : v.l->count);
    if (i < 0)
        i += n;
    if (i < 0 || i >= n)
        return missing(r, v, key, out);
    if (!text) {
        *out = v.l->item[i];
        return GF_OK;
    }
    const size_t at = gf_jtext_offset(v.s->data, v.s->size, (size_t)i);
    size_t step;
    gf_jchar_at(v.s->data + at, v.s->size - at, &step);
    return gf_jval_text(r, v.s->data + at, step, v.s->safe, out);
}

gf_status gf_jval_item(gf_jrun *r, gf_jval v, gf_jval key, gf_jval *out)
{
    if (v.kind == GF_J_UNDEFINED)
        return gf_jval_is_undefined(r, v);
    if (v.kind == GF_J_DICT && key.kind != GF_J_LIST && key.kind != GF_J_DICT) {
        gf_jpair *p;
        TRY(gf_jdict_find(r, v.d, key, &p));
        if (p != NULL) {
            *out = p->value;
            return GF_OK;
        }
    }
    if (gf_jval_integral(key) &&
        (v.kind == GF_J_STR || v.kind == GF_J_LIST || v.kind == GF_J_TUPLE || v.kind == GF_J_RANGE))
        return element(r, v, gf_jval_as_int(key), key, out);
    if (key.kind == GF_J_STR) {
        bool found = false;
        TRY(attribute(r, v, key.s, &found, out));
        if (found)
            return GF_OK;
    }
    return missing(r, v, key, out);
}

/* Python's slice.indices for a sequence of n. */
static gf_status slice_bounds(gf_jrun *r, const gf_jval bound[3], int64_t n, int64_t *start,
                              int64_t *stop, int64_t *step)
{
    for (int i = 0; i < 3; i++)
        if (bound[i].kind != GF_J_NONE && !gf_jval_integral(bound[i]))
            return gf_jrun_fail(r, "slice indices must be integers or None");
    *step = bound[2].kind == GF_J_NONE ? 1 : gf_jval_as_int(bound[2]);
    if (*step == 0)
        return gf_jrun_fail(r, "slice step cannot be zero");
    if (*step < -INT64_MAX)
        *step = -INT64_MAX; /* as good as the smallest, and can be negated */
    const int64_t low = *step < 0 ? -1 : 0, high = *step < 0 ? n - 1 : n;
    int64_t *const to[2] = {start, stop};
    for (int i = 0; i < 2; i++) {
        const bool first = (i == 0) == (*step > 0);
        int64_t v = first ? low : high;
        if (bound[i].kind != GF_J_NONE) {
            v = gf_jval_as_int(bound[i]);
            if (v < 0)
                v = v < -n ? low : v + n < low ? low : v + n;
            else if (v > high)
                v = high;
        }
        *to[i] = v;
    }
    return GF_OK;
}

static gf_status slice_text(gf_jrun *r, gf_jval v, int64_t start, int64_t step, size_t count,
                            gf_jval *out)
{
    const gf_jstr *s = v.s;
    if (step == 1) {
        const size_t a = gf_jtext_offset(s->data, s->size, (size_t)start);
        const size_t k = gf_jtext_offset(s->data + a, s->size - a, count);
        return gf_jval_text(r, s->data + a, k, s->safe, out);
    }
    gf_jlist *chars;
    TRY(gf_jval_elements(r, v, false, &chars));
    char *d = gf_jarena_chars(&r->arena, count * 4, r->err); /* UTF-8 takes at most 4 bytes */
    if (d == NULL)
        return gf_jrun_spent(r);
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        const gf_jstr *c = chars->item[start + (int64_t)i * step].s;
        memcpy(d + n, c->data, c->size);
        n += c->size;
    }
    return gf_jval_text(r, d, n, s->safe, out);
}

gf_status gf_jval_slice(gf_jrun *r, gf_jval v, const gf_jval bound[3], gf_jval *out)
{
    if (v.kind == GF_J_UNDEFINED)
        return gf_jval_is_undefined(r, v);
    if (v.kind != GF_J_STR && v.kind != GF_J_LIST && v.kind != GF_J_TUPLE && v.kind != GF_J_RANGE)
        return missing(r, v, gf_jval_none(), out);
    int64_t n, start = 0, stop = 0, step = 1;
    TRY(gf_jval_length(r, v, &n));
    TRY(slice_bounds(r, bound, n, &start, &stop, &step));
    size_t count = 0;
    if (step > 0 ? start < stop : start > stop)
        count =
            (size_t)((step > 0 ? stop - start - 1 : start - stop - 1) / (step > 0 ? step : -step)) +
            1;
    if (v.kind == GF_J_STR)
        return slice_text(r, v, start, step, count, out);
    TRY(gf_jrun_step(r, count));
    gf_jlist *l = gf_jlist_new(r, count);
    if (l == NULL)
        return gf_jrun_spent(r);
    for (size_t i = 0; i < count; i++)
        l->item[i] = v.l->item[start + (int64_t)i * step];
    l->count = count;
    *out = gf_jval_list(v.kind, l);
    return GF_OK;
}
