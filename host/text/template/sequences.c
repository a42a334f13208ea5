/* Filters on sequences and mappings. */
#include "text/template/strings.h"
#include "text/template/text.h"

#include <string.h>

static gf_status generator(gf_jlist *l, gf_jval *out)
{
    l->type = "generator";
    *out = gf_jval_list(GF_J_GENERATOR, l);
    return GF_OK;
}

static gf_status f_length(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    int64_t n;
    TRY(gf_jcall_bind(r, c, "length", "", 0, NULL));
    TRY(gf_jval_length(r, v, &n));
    *out = gf_jval_int(n);
    return GF_OK;
}

static gf_status f_list(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    gf_jlist *l;
    TRY(gf_jcall_bind(r, c, "list", "", 0, NULL));
    TRY(gf_jval_elements(r, v, true, &l));
    *out = gf_jval_list(GF_J_LIST, l);
    return GF_OK;
}

static gf_status f_first(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    static const gf_jundefined none = {.hint = "No first item, sequence was empty."};
    gf_jlist *l = v.l;
    TRY(gf_jcall_bind(r, c, "first", "", 0, NULL));
    if (v.kind == GF_J_GENERATOR) {
        *out = l->pos < l->count ? l->item[l->pos++] : gf_jval_undefined(&none);
        return GF_OK;
    }
    TRY(gf_jval_elements(r, v, false, &l));
    *out = l->count > 0 ? l->item[0] : gf_jval_undefined(&none);
    return GF_OK;
}

static gf_status f_last(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    static const gf_jundefined none = {.hint = "No last item, sequence was empty."};
    gf_jlist *l;
    TRY(gf_jcall_bind(r, c, "last", "", 0, NULL));
    if (v.kind == GF_J_GENERATOR)
        return gf_jrun_fail(r, "'generator' object is not reversible");
    TRY(gf_jval_elements(r, v, false, &l));
    *out = l->count > 0 ? l->item[l->count - 1] : gf_jval_undefined(&none);
    return GF_OK;
}

static gf_status f_reverse(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    TRY(gf_jcall_bind(r, c, "reverse", "", 0, NULL));
    if (v.kind == GF_J_STR) {
        const gf_jval bound[3] = {gf_jval_none(), gf_jval_none(), gf_jval_int(-1)};
        return gf_jval_slice(r, v, bound, out);
    }
    gf_jlist *l;
    TRY(gf_jval_elements(r, v, true, &l));
    for (size_t i = 0; i < l->count / 2; i++) {
        const gf_jval e = l->item[i];
        l->item[i] = l->item[l->count - 1 - i];
        l->item[l->count - 1 - i] = e;
    }
    return generator(l, out);
}

/* attribute "a.b.0" of v, as the filters' attribute arguments mean it; `key` may be an integer. */
static gf_status by_attribute(gf_jrun *r, gf_jval v, gf_jval key, gf_jval *out)
{
    if (key.kind != GF_J_STR)
        return gf_jval_item(r, v, key, out);
    const char *s = key.s->data, *const end = s + key.s->size;
    for (;;) {
        const char *dot = memchr(s, '.', (size_t)(end - s));
        const size_t n = (size_t)((dot == NULL ? end : dot) - s);
        int64_t index = 0;
        size_t digits = 0;
        for (; digits < n && digits < 18 && s[digits] >= '0' && s[digits] <= '9'; digits++)
            index = index * 10 + (s[digits] - '0');
        gf_jval k;
        if (n > 0 && digits == n)
            k = gf_jval_int(index);
        else
            TRY(gf_jval_text(r, s, n, false, &k));
        TRY(gf_jval_item(r, v, k, &v));
        if (dot == NULL)
            break;
        s = dot + 1;
    }
    *out = v;
    return GF_OK;
}

/* Text without case, where the filter does not look at case. */
static gf_status fold(gf_jrun *r, gf_jval *v, bool case_sensitive)
{
    return v->kind == GF_J_STR && !case_sensitive ? gf_jstr_case(r, *v, 'l', v) : GF_OK;
}

/* ---- map, select, reject ----------------------------------------------------------- */

static gf_status f_map(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    gf_jlist *l;
    gf_jval attribute = gf_jval_none(), fallback = gf_jval_undefined(NULL);
    TRY(gf_jval_elements(r, v, true, &l));
    if (c->count == 0) {
        gf_jval a[2] = {attribute, fallback};
        TRY(gf_jcall_bind(
            r, &(gf_jcall){.name = c->name, .named = c->named, .named_count = c->named_count},
            "map", "attribute,default", 1, a));
        for (size_t i = 0; i < l->count; i++) {
            TRY(by_attribute(r, l->item[i], a[0], &l->item[i]));
            if (l->item[i].kind == GF_J_UNDEFINED && a[1].kind != GF_J_UNDEFINED)
                l->item[i] = a[1];
        }
        return generator(l, out);
    }
    if (c->pos[0].kind != GF_J_STR)
        return gf_jrun_fail(r, "map() wants the name of a filter");
    const gf_jfilter filter = gf_jfilter_find(c->pos[0].s->data, c->pos[0].s->size);
    if (filter == NULL)
        return gf_jrun_fail(r, "no filter named '%.*s'", (int)c->pos[0].s->size, c->pos[0].s->data);
    gf_jcall rest = *c;
    rest.pos++;
    rest.count--;
    for (size_t i = 0; i < l->count; i++)
        TRY(filter(r, l->item[i], &rest, &l->item[i]));
    return generator(l, out);
}

static gf_status filter_elements(gf_jrun *r, gf_jval v, const gf_jcall *c, bool attribute,
                                 bool keep, gf_jval *out)
{
    gf_jlist *l;
    gf_jcall rest = *c;
    gf_jval key = gf_jval_none();
    gf_jtest test = NULL;
    if (attribute) {
        if (rest.count == 0)
            return gf_jrun_fail(r, "missing parameter for attribute name");
        key = *rest.pos++;
        rest.count--;
    }
    if (rest.count > 0) {
        const gf_jval name = *rest.pos++;
        rest.count--;
        test = name.kind == GF_J_STR ? gf_jtest_find(name.s->data, name.s->size) : NULL;
        if (test == NULL)
            return gf_jrun_fail(r, "select and reject want the name of a test");
    }
    TRY(gf_jval_elements(r, v, true, &l));
    size_t kept = 0;
    for (size_t i = 0; i < l->count; i++) {
        const gf_jval e = l->item[i];
        gf_jval subject = e;
        TRY(gf_jrun_step(r, 1));
        if (attribute)
            TRY(by_attribute(r, e, key, &subject));
        bool yes = gf_jval_truth(subject);
        if (test != NULL)
            TRY(test(r, subject, &rest, &yes));
        if (yes == keep)
            l->item[kept++] = e;
    }
    l->count = kept;
    return generator(l, out);
}

static gf_status f_select(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    return filter_elements(r, v, c, false, true, out);
}

static gf_status f_reject(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    return filter_elements(r, v, c, false, false, out);
}

static gf_status f_selectattr(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    return filter_elements(r, v, c, true, true, out);
}

static gf_status f_rejectattr(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    return filter_elements(r, v, c, true, false, out);
}

/* ---- join, sum, min, max ----------------------------------------------------------- */

static gf_status f_join(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    gf_jval a[2] = {gf_jval_none(), gf_jval_none()};
    gf_jlist *l;
    TRY(gf_jval_text(r, "", 0, false, &a[0]));
    TRY(gf_jcall_bind(r, c, "join", "d,attribute", 0, a));
    TRY(gf_jval_str(r, a[0], &a[0]));
    TRY(gf_jval_elements(r, v, a[1].kind != GF_J_NONE, &l));
    for (size_t i = 0; i < l->count && a[1].kind != GF_J_NONE; i++)
        TRY(by_attribute(r, l->item[i], a[1], &l->item[i]));
    return gf_jstr_join(r, a[0], l, true, out);
}

static gf_status f_sum(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    gf_jval a[2] = {gf_jval_none(), gf_jval_int(0)};
    gf_jlist *l;
    TRY(gf_jcall_bind(r, c, "sum", "attribute,start", 0, a));
    TRY(gf_jval_elements(r, v, false, &l));
    *out = a[1];
    if (out->kind == GF_J_STR)
        return gf_jrun_fail(r, "sum() can't sum strings");
    for (size_t i = 0; i < l->count; i++) {
        gf_jval e = l->item[i];
        TRY(gf_jrun_step(r, 1));
        if (a[0].kind != GF_J_NONE)
            TRY(by_attribute(r, e, a[0], &e));
        TRY(gf_jval_arith(r, '+', *out, e, out));
    }
    return GF_OK;
}

static gf_status extreme(gf_jrun *r, gf_jval v, const gf_jcall *c, bool greatest, gf_jval *out)
{
    static const gf_jundefined none = {.hint = "No aggregated item, sequence was empty."};
    gf_jval a[2] = {gf_jval_bool(false), gf_jval_none()}, best_key = gf_jval_none();
    gf_jlist *l;
    TRY(gf_jcall_bind(r, c, greatest ? "max" : "min", "case_sensitive,attribute", 0, a));
    TRY(gf_jval_elements(r, v, false, &l));
    *out = gf_jval_undefined(&none);
    for (size_t i = 0; i < l->count; i++) {
        gf_jval key = l->item[i];
        if (a[1].kind != GF_J_NONE)
            TRY(by_attribute(r, key, a[1], &key));
        TRY(fold(r, &key, gf_jval_truth(a[0])));
        int order = greatest ? 1 : -1;
        bool nan;
        if (i > 0)
            TRY(gf_jval_order(r, key, best_key, greatest ? ">" : "<", &order, &nan));
        if (greatest ? order > 0 : order < 0) {
            *out = l->item[i];
            best_key = key;
        }
    }
    return GF_OK;
}

static gf_status f_max(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    return extreme(r, v, c, true, out);
}

static gf_status f_min(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    return extreme(r, v, c, false, out);
}

/* ---- sort, unique, group ----------------------------------------------------------- */

/* Stable merge sort of elements by their keys. */
static gf_status sort_by(gf_jrun *r, gf_jval *item, gf_jval *key, gf_jval *temp, size_t n,
                         bool reverse)
{
    if (n < 2)
        return GF_OK;
    const size_t half = n / 2;
    TRY(sort_by(r, item, key, temp, half, reverse));
    TRY(sort_by(r, item + half, key + half, temp, n - half, reverse));
    gf_jval *const ti = temp, *const tk = temp + n;
    for (size_t i = 0, a = 0, b = half; i < n; i++) {
        int order = -1;
        bool nan;
        if (a < half && b < n)
            TRY(gf_jval_order(r, key[b], key[a], "<", &order, &nan));
        const bool second = a == half || (b < n && (reverse ? order > 0 : order < 0));
        const size_t from = second ? b++ : a++;
        ti[i] = item[from];
        tk[i] = key[from];
    }
    memcpy(item, ti, n * sizeof *item);
    memcpy(key, tk, n * sizeof *key);
    return GF_OK;
}

/* Sorts l by `attribute` (none: the elements, or pair[by] of dictsort). */
static gf_status sort_list(gf_jrun *r, gf_jlist *l, gf_jval attribute, bool case_sensitive,
                           bool reverse)
{
    const size_t n = l->count;
    gf_jval *key = gf_jarena_object(&r->arena, n, sizeof *key, r->err);
    gf_jval *temp = gf_jarena_object(&r->arena, 2 * n, sizeof *temp, r->err);
    if (key == NULL || temp == NULL)
        return gf_jrun_spent(r);
    for (size_t i = 0; i < n; i++) {
        key[i] = l->item[i];
        if (attribute.kind != GF_J_NONE)
            TRY(by_attribute(r, key[i], attribute, &key[i]));
        TRY(fold(r, &key[i], case_sensitive));
    }
    return sort_by(r, l->item, key, temp, n, reverse);
}

static gf_status f_sort(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    gf_jval a[3] = {gf_jval_bool(false), gf_jval_bool(false), gf_jval_none()};
    gf_jlist *l;
    TRY(gf_jcall_bind(r, c, "sort", "reverse,case_sensitive,attribute", 0, a));
    if (a[2].kind == GF_J_STR && memchr(a[2].s->data, ',', a[2].s->size) != NULL)
        return gf_jrun_fail(r, "sort() by several attributes is not supported");
    TRY(gf_jval_elements(r, v, true, &l));
    TRY(sort_list(r, l, a[2], gf_jval_truth(a[1]), gf_jval_truth(a[0])));
    *out = gf_jval_list(GF_J_LIST, l);
    return GF_OK;
}

static gf_status items_of(gf_jrun *r, gf_jval v, gf_jlist **out)
{
    static const gf_jstr items = {.data = "items", .size = 5};
    gf_jval method, view;
    TRY(gf_jmethod_find(r, v, &items, &method));
    TRY(gf_jmethod_call(r, method.method, &(gf_jcall){0}, &view));
    *out = view.l;
    return GF_OK;
}

static gf_status f_dictsort(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    gf_jval a[3] = {gf_jval_bool(false), gf_jval_none(), gf_jval_bool(false)};
    gf_jlist *l;
    TRY(gf_jval_text(r, "key", 3, false, &a[1]));
    TRY(gf_jcall_bind(r, c, "dictsort", "case_sensitive,by,reverse", 0, a));
    const bool by_value = gf_jval_str_is(a[1], "value");
    if (!by_value && !gf_jval_str_is(a[1], "key"))
        return gf_jrun_fail(r, "You can only sort by either \"key\" or \"value\"");
    if (v.kind != GF_J_DICT)
        return gf_jrun_fail(r, "dictsort() wants a mapping, not %s", gf_jval_type(v));
    TRY(items_of(r, v, &l));
    TRY(sort_list(r, l, gf_jval_int(by_value), gf_jval_truth(a[0]), gf_jval_truth(a[2])));
    *out = gf_jval_list(GF_J_LIST, l);
    return GF_OK;
}

static gf_status f_items(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    gf_jlist *l;
    TRY(gf_jcall_bind(r, c, "items", "", 0, NULL));
    if (v.kind == GF_J_UNDEFINED) {
        l = gf_jlist_new(r, 0);
        return l == NULL ? gf_jrun_spent(r) : generator(l, out);
    }
    if (v.kind != GF_J_DICT)
        return gf_jrun_fail(r, "Can only get item pairs from a mapping.");
    TRY(items_of(r, v, &l));
    return generator(l, out);
}

static gf_status f_unique(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    gf_jval a[2] = {gf_jval_bool(false), gf_jval_none()};
    gf_jlist *l;
    TRY(gf_jcall_bind(r, c, "unique", "case_sensitive,attribute", 0, a));
    TRY(gf_jval_elements(r, v, true, &l));
    gf_jdict *seen = gf_jdict_new(r);
    if (seen == NULL)
        return gf_jrun_spent(r);
    size_t kept = 0;
    for (size_t i = 0; i < l->count; i++) {
        gf_jval key = l->item[i];
        gf_jpair *p;
        if (a[1].kind != GF_J_NONE)
            TRY(by_attribute(r, key, a[1], &key));
        TRY(fold(r, &key, gf_jval_truth(a[0])));
        TRY(gf_jdict_find(r, seen, key, &p));
        if (p != NULL)
            continue;
        TRY(gf_jdict_set(r, seen, key, gf_jval_none()));
        l->item[kept++] = l->item[i];
    }
    l->count = kept;
    return generator(l, out);
}

/* (key, elements) pairs; key and elements also by the names grouper and list. */
static gf_status f_groupby(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    gf_jval a[1] = {gf_jval_none()};
    gf_jlist *l, *groups = gf_jlist_new(r, 0), *group = NULL;
    if (groups == NULL)
        return gf_jrun_spent(r);
    TRY(gf_jcall_bind(r, c, "groupby", "attribute", 1, a));
    TRY(gf_jval_elements(r, v, true, &l));
    TRY(sort_list(r, l, a[0], false, false));
    gf_jval last = gf_jval_none();
    for (size_t i = 0; i < l->count; i++) {
        gf_jval key, folded;
        bool same = false;
        TRY(by_attribute(r, l->item[i], a[0], &key));
        folded = key;
        TRY(fold(r, &folded, false));
        if (group != NULL)
            TRY(gf_jval_equal(r, folded, last, &same));
        if (!same) {
            gf_jlist *pair = gf_jlist_new(r, 2);
            group = gf_jlist_new(r, 0);
            if (pair == NULL || group == NULL)
                return gf_jrun_spent(r);
            TRY(gf_jlist_add(r, pair, key));
            TRY(gf_jlist_add(r, pair, gf_jval_list(GF_J_LIST, group)));
            TRY(gf_jlist_add(r, groups, gf_jval_list(GF_J_TUPLE, pair)));
            last = folded;
        }
        TRY(gf_jlist_add(r, group, l->item[i]));
    }
    *out = gf_jval_list(GF_J_LIST, groups);
    return GF_OK;
}

static gf_status f_batch(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    gf_jval a[2] = {gf_jval_none(), gf_jval_none()};
    gf_jlist *l, *rows = gf_jlist_new(r, 0), *row = NULL;
    if (rows == NULL)
        return gf_jrun_spent(r);
    TRY(gf_jcall_bind(r, c, "batch", "linecount,fill_with", 1, a));
    TRY(gf_jval_elements(r, v, false, &l));
    if (!gf_jval_integral(a[0]) || gf_jval_as_int(a[0]) < 1)
        return gf_jrun_fail(r, "batch() wants a positive integer");
    const size_t n = (size_t)gf_jval_as_int(a[0]);
    for (size_t i = 0; i < l->count; i++) {
        if (i % n == 0) {
            row = gf_jlist_new(r, 0);
            if (row == NULL)
                return gf_jrun_spent(r);
            TRY(gf_jlist_add(r, rows, gf_jval_list(GF_J_LIST, row)));
        }
        TRY(gf_jlist_add(r, row, l->item[i]));
    }
    while (row != NULL && a[1].kind != GF_J_NONE && row->count < n) {
        TRY(gf_jrun_step(r, 1));
        TRY(gf_jlist_add(r, row, a[1]));
    }
    return generator(rows, out);
}

static gf_status f_attr(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    gf_jval name;
    TRY(gf_jcall_bind(r, c, "attr", "name", 1, &name));
    TRY(gf_jval_str(r, name, &name));
    if (v.kind == GF_J_DICT) { /* attributes only, not keys */
        TRY(gf_jmethod_find(r, v, name.s, out));
        return GF_OK;
    }
    return gf_jval_attribute(r, v, name.s, out);
}

const gf_jfilter_row gf_jfilters_sequence[] = {
    {"length", f_length},
    {"count", f_length},
    {"list", f_list},
    {"first", f_first},
    {"last", f_last},
    {"reverse", f_reverse},
    {"map", f_map},
    {"select", f_select},
    {"reject", f_reject},
    {"selectattr", f_selectattr},
    {"rejectattr", f_rejectattr},
    {"join", f_join},
    {"sum", f_sum},
    {"max", f_max},
    {"min", f_min},
    {"sort", f_sort},
    {"dictsort", f_dictsort},
    {"items", f_items},
    {"unique", f_unique},
    {"groupby", f_groupby},
    {"batch", f_batch},
    {"attr", f_attr},
    {NULL, NULL},
};
