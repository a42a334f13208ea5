/* Truth, equality, order, membership, length. */
#include "text/template/text.h"
#include "text/template/value.h"

#include <math.h>
#include <string.h>

static const int max_depth = 600; /* values from JSON nest 512 deep at most */

const char *gf_jval_type(gf_jval v)
{
    switch (v.kind) {
    case GF_J_UNDEFINED:
        return "Undefined";
    case GF_J_NONE:
        return "NoneType";
    case GF_J_BOOL:
        return "bool";
    case GF_J_INT:
        return "int";
    case GF_J_FLOAT:
        return "float";
    case GF_J_STR:
        return v.s->safe ? "Markup" : "str";
    case GF_J_LIST:
        return "list";
    case GF_J_TUPLE:
        return "tuple";
    case GF_J_RANGE:
        return "range";
    case GF_J_VIEW:
    case GF_J_GENERATOR:
        return v.l->type;
    case GF_J_DICT:
        return "dict";
    case GF_J_NAMESPACE:
        return "Namespace";
    case GF_J_LOOP:
        return "LoopContext";
    case GF_J_MACRO:
        return "Macro";
    case GF_J_METHOD:
        return "builtin_function_or_method";
    case GF_J_FUNCTION:
        return "function";
    case GF_J_CYCLER:
        return "Cycler";
    case GF_J_JOINER:
        return "Joiner";
    }
    return "object";
}

bool gf_jval_truth(gf_jval v)
{
    switch (v.kind) {
    case GF_J_UNDEFINED:
    case GF_J_NONE:
        return false;
    case GF_J_BOOL:
        return v.b;
    case GF_J_INT:
        return v.i != 0;
    case GF_J_FLOAT:
        return v.f != 0;
    case GF_J_STR:
        return v.s->size > 0;
    case GF_J_LIST:
    case GF_J_TUPLE:
    case GF_J_RANGE:
    case GF_J_VIEW:
        return v.l->count > 0;
    case GF_J_DICT:
        return v.d->count > 0;
    default:
        return true;
    }
}

static bool is_sequence(gf_jval v)
{
    return v.kind == GF_J_LIST || v.kind == GF_J_TUPLE || v.kind == GF_J_RANGE;
}

static int order_text(const gf_jstr *a, const gf_jstr *b)
{
    /* the order of UTF-8 bytes is the order of characters */
    const size_t n = a->size < b->size ? a->size : b->size;
    const int c = n == 0 ? 0 : memcmp(a->data, b->data, n);
    return c != 0 ? c : (a->size > b->size) - (a->size < b->size);
}

static gf_status equal_at(gf_jrun *r, gf_jval a, gf_jval b, int depth, bool *out);

static gf_status equal_lists(gf_jrun *r, const gf_jlist *a, const gf_jlist *b, int depth, bool *out)
{
    *out = a->count == b->count;
    for (size_t i = 0; i < a->count && *out; i++)
        TRY(equal_at(r, a->item[i], b->item[i], depth + 1, out));
    return GF_OK;
}

static gf_status equal_dicts(gf_jrun *r, const gf_jdict *a, const gf_jdict *b, int depth, bool *out)
{
    *out = a->count == b->count;
    for (size_t i = 0; i < a->count && *out; i++) {
        gf_jpair *p;
        TRY(gf_jdict_find(r, b, a->pair[i].key, &p));
        *out = p != NULL;
        if (*out)
            TRY(equal_at(r, a->pair[i].value, p->value, depth + 1, out));
    }
    return GF_OK;
}

static gf_status equal_at(gf_jrun *r, gf_jval a, gf_jval b, int depth, bool *out)
{
    if (depth > max_depth)
        return gf_jrun_fail(r, "values nest too deeply to be compared");
    TRY(gf_jrun_step(r, 1));
    *out = false;
    if (gf_jval_integral(a) && gf_jval_integral(b)) {
        *out = gf_jval_as_int(a) == gf_jval_as_int(b);
    } else if (gf_jval_number(a) && gf_jval_number(b)) {
        *out = gf_jval_as_float(a) == gf_jval_as_float(b);
    } else if (a.kind != b.kind) {
        *out = false;
    } else if (a.kind == GF_J_STR) {
        *out = a.s->size == b.s->size &&
               (a.s->data == b.s->data || memcmp(a.s->data, b.s->data, a.s->size) == 0);
        TRY(gf_jrun_step(r, *out ? a.s->size >> 8 : 0));
    } else if (is_sequence(a)) {
        return equal_lists(r, a.l, b.l, depth, out);
    } else if (a.kind == GF_J_DICT) {
        return equal_dicts(r, a.d, b.d, depth, out);
    } else if (a.kind == GF_J_NONE || a.kind == GF_J_UNDEFINED) {
        *out = true;
    } else {
        *out = a.l == b.l; /* one object: every payload is a pointer */
    }
    return GF_OK;
}

gf_status gf_jval_equal(gf_jrun *r, gf_jval a, gf_jval b, bool *out)
{
    return equal_at(r, a, b, 0, out);
}

static gf_status order_at(gf_jrun *r, gf_jval a, gf_jval b, const char *op, int depth, int *out,
                          bool *nan);

static gf_status order_lists(gf_jrun *r, gf_jval a, gf_jval b, const char *op, int depth, int *out,
                             bool *nan)
{
    for (size_t i = 0; i < a.l->count && i < b.l->count; i++) {
        bool same;
        TRY(equal_at(r, a.l->item[i], b.l->item[i], depth + 1, &same));
        if (!same)
            return order_at(r, a.l->item[i], b.l->item[i], op, depth + 1, out, nan);
    }
    *out = (a.l->count > b.l->count) - (a.l->count < b.l->count);
    return GF_OK;
}

static gf_status order_at(gf_jrun *r, gf_jval a, gf_jval b, const char *op, int depth, int *out,
                          bool *nan)
{
    *nan = false;
    TRY(gf_jrun_step(r, 1));
    if (a.kind == GF_J_UNDEFINED)
        return gf_jval_is_undefined(r, a);
    if (b.kind == GF_J_UNDEFINED)
        return gf_jval_is_undefined(r, b);
    if (gf_jval_integral(a) && gf_jval_integral(b)) {
        const int64_t x = gf_jval_as_int(a), y = gf_jval_as_int(b);
        *out = (x > y) - (x < y);
        return GF_OK;
    }
    if (gf_jval_number(a) && gf_jval_number(b)) {
        const double x = gf_jval_as_float(a), y = gf_jval_as_float(b);
        *nan = isnan(x) || isnan(y);
        *out = (x > y) - (x < y);
        return GF_OK;
    }
    if (a.kind == GF_J_STR && b.kind == GF_J_STR) {
        *out = order_text(a.s, b.s);
        return GF_OK;
    }
    if (a.kind == b.kind && (a.kind == GF_J_LIST || a.kind == GF_J_TUPLE) && depth < max_depth)
        return order_lists(r, a, b, op, depth, out, nan);
    return gf_jrun_fail(r, "'%s' not supported between instances of '%s' and '%s'", op,
                        gf_jval_type(a), gf_jval_type(b));
}

gf_status gf_jval_order(gf_jrun *r, gf_jval a, gf_jval b, const char *op, int *out, bool *nan)
{
    return order_at(r, a, b, op, 0, out, nan);
}

gf_status gf_jval_contains(gf_jrun *r, gf_jval container, gf_jval v, bool *out)
{
    *out = false;
    switch (container.kind) {
    case GF_J_STR:
        if (v.kind != GF_J_STR)
            return gf_jrun_fail(r, "'in <string>' requires string as left operand, not %s",
                                gf_jval_type(v));
        TRY(gf_jrun_step(r, container.s->size >> 8));
        *out = gf_jtext_find(container.s->data, container.s->size, v.s->data, v.s->size, 0) !=
               SIZE_MAX;
        return GF_OK;
    case GF_J_DICT: {
        gf_jpair *p;
        TRY(gf_jdict_find(r, container.d, v, &p));
        *out = p != NULL;
        return GF_OK;
    }
    case GF_J_UNDEFINED:
        return GF_OK;
    case GF_J_LIST:
    case GF_J_TUPLE:
    case GF_J_RANGE:
    case GF_J_VIEW:
    case GF_J_GENERATOR: {
        gf_jlist *l = container.l;
        size_t i = l->pos;
        while (i < l->count && !*out)
            TRY(gf_jval_equal(r, l->item[i++], v, out));
        if (container.kind == GF_J_GENERATOR)
            l->pos = i;
        return GF_OK;
    }
    default:
        return gf_jrun_fail(r, "argument of type '%s' is not iterable", gf_jval_type(container));
    }
}

gf_status gf_jval_length(gf_jrun *r, gf_jval v, int64_t *out)
{
    switch (v.kind) {
    case GF_J_UNDEFINED:
        *out = 0;
        return GF_OK;
    case GF_J_STR:
        TRY(gf_jrun_step(r, v.s->size >> 8));
        *out = (int64_t)gf_jtext_length(v.s->data, v.s->size);
        return GF_OK;
    case GF_J_LIST:
    case GF_J_TUPLE:
    case GF_J_RANGE:
    case GF_J_VIEW:
        *out = (int64_t)v.l->count;
        return GF_OK;
    case GF_J_DICT:
        *out = (int64_t)v.d->count;
        return GF_OK;
    default:
        return gf_jrun_fail(r, "object of type '%s' has no len()", gf_jval_type(v));
    }
}

gf_status gf_jval_is_undefined(gf_jrun *r, gf_jval v)
{
    const gf_jundefined *u = v.u;
    if (u == NULL)
        return gf_jrun_fail(r, "an undefined value was used");
    if (u->hint != NULL)
        return gf_jrun_fail(r, "%s", u->hint);
    if (u->type == NULL)
        return gf_jrun_fail(r, "'%.*s' is undefined", (int)u->name->size, u->name->data);
    if (u->key.kind == GF_J_STR)
        return gf_jrun_fail(r, "'%s' has no attribute '%.*s'", u->type,
                            u->key.s->size > 80 ? 80 : (int)u->key.s->size, u->key.s->data);
    if (u->key.kind == GF_J_INT)
        return gf_jrun_fail(r, "%s has no element %lld", u->type, (long long)u->key.i);
    return gf_jrun_fail(r, "%s has no such element", u->type);
}
