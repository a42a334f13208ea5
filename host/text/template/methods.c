/* Methods of dicts, lists, loops and cyclers, and how methods are found. */
#include "text/template/exec.h"
#include "text/template/strings.h"

#include <string.h>

struct gf_jmethod {
    const gf_jmethod_row *row;
    gf_jval self;
};

/* ---- dict -------------------------------------------------------------------------- */

static gf_status dict_view(gf_jrun *r, gf_jval self, const gf_jcall *c, const char *type,
                           gf_jval *out)
{
    const gf_jdict *d = self.d;
    TRY(gf_jcall_bind(r, c, type + 5, "", 0, NULL)); /* "dict_" is 5 long */
    TRY(gf_jrun_step(r, d->count));
    gf_jlist *l = gf_jlist_new(r, d->count);
    if (l == NULL)
        return gf_jrun_spent(r);
    for (size_t i = 0; i < d->count; i++) {
        gf_jval e = type[5] == 'k' ? d->pair[i].key : d->pair[i].value;
        if (type[5] == 'i') {
            gf_jlist *pair = gf_jlist_new(r, 2);
            if (pair == NULL)
                return gf_jrun_spent(r);
            pair->item[0] = d->pair[i].key;
            pair->item[1] = d->pair[i].value;
            pair->count = 2;
            e = gf_jval_list(GF_J_TUPLE, pair);
        }
        l->item[l->count++] = e;
    }
    l->type = type;
    *out = gf_jval_list(GF_J_VIEW, l);
    return GF_OK;
}

static gf_status dict_items(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    return dict_view(r, self, c, "dict_items", out);
}

static gf_status dict_keys(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    return dict_view(r, self, c, "dict_keys", out);
}

static gf_status dict_values(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    return dict_view(r, self, c, "dict_values", out);
}

static gf_status dict_get(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    gf_jval a[2] = {gf_jval_none(), gf_jval_none()};
    gf_jpair *p;
    TRY(gf_jcall_bind(r, c, "get", "key,default", 1, a));
    TRY(gf_jdict_find(r, self.d, a[0], &p));
    *out = p != NULL ? p->value : a[1];
    return GF_OK;
}

static gf_status dict_pop(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    gf_jval a[2] = {gf_jval_none(), gf_jval_none()};
    gf_jpair *p;
    TRY(gf_jcall_bind(r, c, "pop", "key,default", 1, a));
    TRY(gf_jdict_find(r, self.d, a[0], &p));
    if (p == NULL && c->count + c->named_count < 2)
        return gf_jrun_fail(r, "dict.pop(): no such key");
    *out = p != NULL ? p->value : a[1];
    return p != NULL ? gf_jdict_remove(r, self.d, p) : GF_OK;
}

static gf_status dict_setdefault(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    gf_jval a[2] = {gf_jval_none(), gf_jval_none()};
    gf_jpair *p;
    TRY(gf_jcall_bind(r, c, "setdefault", "key,default", 1, a));
    TRY(gf_jdict_find(r, self.d, a[0], &p));
    *out = p != NULL ? p->value : a[1];
    return p != NULL ? GF_OK : gf_jdict_set(r, self.d, a[0], a[1]);
}

static gf_status dict_update(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    *out = gf_jval_none();
    if (c->count > 1 || (c->count == 1 && c->pos[0].kind != GF_J_DICT))
        return gf_jrun_fail(r, "update() wants a mapping");
    for (size_t i = 0; c->count == 1 && i < c->pos[0].d->count; i++)
        TRY(gf_jdict_set(r, self.d, c->pos[0].d->pair[i].key, c->pos[0].d->pair[i].value));
    for (size_t i = 0; i < c->named_count; i++)
        TRY(gf_jdict_set(r, self.d, (gf_jval){.kind = GF_J_STR, .s = c->name[i]}, c->named[i]));
    return GF_OK;
}

static gf_status dict_copy(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    TRY(gf_jcall_bind(r, c, "copy", "", 0, NULL));
    gf_jdict *d = gf_jdict_new(r);
    if (d == NULL)
        return gf_jrun_spent(r);
    for (size_t i = 0; i < self.d->count; i++)
        TRY(gf_jdict_set(r, d, self.d->pair[i].key, self.d->pair[i].value));
    *out = (gf_jval){.kind = GF_J_DICT, .d = d};
    return GF_OK;
}

static const gf_jmethod_row dict_methods[] = {
    {"items", dict_items},
    {"keys", dict_keys},
    {"values", dict_values},
    {"get", dict_get},
    {"pop", dict_pop},
    {"copy", dict_copy},
    {"setdefault", dict_setdefault},
    {"update", dict_update},
    {NULL, NULL},
};

/* ---- list -------------------------------------------------------------------------- */

static gf_status list_append(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    gf_jval v;
    TRY(gf_jcall_bind(r, c, "append", "object", 1, &v));
    *out = gf_jval_none();
    return gf_jlist_add(r, self.l, v);
}

static gf_status list_extend(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    gf_jval v;
    gf_jlist *l;
    TRY(gf_jcall_bind(r, c, "extend", "iterable", 1, &v));
    TRY(gf_jval_elements(r, v, false, &l));
    *out = gf_jval_none();
    TRY(gf_jrun_step(r, l->count));
    for (size_t i = 0, n = l->count; i < n; i++)
        TRY(gf_jlist_add(r, self.l, l->item[i]));
    return GF_OK;
}

static gf_status list_insert(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    gf_jval a[2];
    TRY(gf_jcall_bind(r, c, "insert", "index,object", 2, a));
    if (!gf_jval_integral(a[0]))
        return gf_jrun_fail(r, "insert() wants an integer");
    const int64_t n = (int64_t)self.l->count;
    int64_t i = gf_jval_as_int(a[0]);
    i = i < -n ? 0 : i < 0 ? i + n : i > n ? n : i;
    *out = gf_jval_none();
    TRY(gf_jrun_step(r, self.l->count >> 4));
    TRY(gf_jlist_add(r, self.l, a[1]));
    memmove(&self.l->item[i + 1], &self.l->item[i], (size_t)(n - i) * sizeof(gf_jval));
    self.l->item[i] = a[1];
    return GF_OK;
}

static gf_status list_pop(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    gf_jval a = gf_jval_int(-1);
    TRY(gf_jcall_bind(r, c, "pop", "index", 0, &a));
    const int64_t n = (int64_t)self.l->count;
    if (!gf_jval_integral(a))
        return gf_jrun_fail(r, "pop() wants an integer");
    const int64_t i = gf_jval_as_int(a) < 0 ? gf_jval_as_int(a) + n : gf_jval_as_int(a);
    if (i < 0 || i >= n)
        return gf_jrun_fail(r, n == 0 ? "pop from empty list" : "pop index out of range");
    TRY(gf_jrun_step(r, self.l->count >> 4));
    *out = self.l->item[i];
    memmove(&self.l->item[i], &self.l->item[i + 1], (size_t)(n - i - 1) * sizeof(gf_jval));
    self.l->count--;
    return GF_OK;
}

static gf_status list_reverse(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    gf_jlist *l = self.l;
    TRY(gf_jcall_bind(r, c, "reverse", "", 0, NULL));
    TRY(gf_jrun_step(r, l->count));
    *out = gf_jval_none();
    for (size_t i = 0; i < l->count / 2; i++) {
        const gf_jval e = l->item[i];
        l->item[i] = l->item[l->count - 1 - i];
        l->item[l->count - 1 - i] = e;
    }
    return GF_OK;
}

static gf_status list_copy(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    gf_jlist *l;
    TRY(gf_jcall_bind(r, c, "copy", "", 0, NULL));
    TRY(gf_jval_elements(r, self, true, &l));
    *out = gf_jval_list(GF_J_LIST, l);
    return GF_OK;
}

static gf_status list_count(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    gf_jval v;
    int64_t n = 0;
    TRY(gf_jcall_bind(r, c, "count", "value", 1, &v));
    for (size_t i = 0; i < self.l->count; i++) {
        bool same;
        TRY(gf_jval_equal(r, self.l->item[i], v, &same));
        n += same;
    }
    *out = gf_jval_int(n);
    return GF_OK;
}

static gf_status list_index(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    gf_jval v;
    TRY(gf_jcall_bind(r, c, "index", "value", 1, &v));
    for (size_t i = 0; i < self.l->count; i++) {
        bool same;
        TRY(gf_jval_equal(r, self.l->item[i], v, &same));
        if (same) {
            *out = gf_jval_int((int64_t)i);
            return GF_OK;
        }
    }
    return gf_jrun_fail(r, "the value is not in the list");
}

static const gf_jmethod_row list_methods[] = {
    {"count", list_count},   {"index", list_index},     {"append", list_append},
    {"extend", list_extend}, {"insert", list_insert},   {"pop", list_pop},
    {"copy", list_copy},     {"reverse", list_reverse}, {NULL, NULL},
};

static const gf_jmethod_row tuple_methods[] = {
    {"count", list_count},
    {"index", list_index},
    {NULL, NULL},
};

/* ---- loop, cycler, float ----------------------------------------------------------- */

static gf_status loop_cycle(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    return gf_jloop_call(r, self.loop, "cycle", c, out);
}

static gf_status loop_changed(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    return gf_jloop_call(r, self.loop, "changed", c, out);
}

static const gf_jmethod_row loop_methods[] = {
    {"cycle", loop_cycle},
    {"changed", loop_changed},
    {NULL, NULL},
};

static gf_status cycler_next(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    TRY(gf_jcall_bind(r, c, "next", "", 0, NULL));
    *out = self.l->item[self.l->pos];
    self.l->pos = (self.l->pos + 1) % self.l->count;
    return GF_OK;
}

static gf_status cycler_reset(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    TRY(gf_jcall_bind(r, c, "reset", "", 0, NULL));
    self.l->pos = 0;
    *out = gf_jval_none();
    return GF_OK;
}

static const gf_jmethod_row cycler_methods[] = {
    {"next", cycler_next},
    {"reset", cycler_reset},
    {NULL, NULL},
};

static gf_status float_is_integer(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    TRY(gf_jcall_bind(r, c, "is_integer", "", 0, NULL));
    *out = gf_jval_bool(__builtin_isfinite(self.f) && self.f == __builtin_floor(self.f));
    return GF_OK;
}

static const gf_jmethod_row float_methods[] = {
    {"is_integer", float_is_integer},
    {NULL, NULL},
};

/* ---- finding ----------------------------------------------------------------------- */

static const gf_jmethod_row *methods_of(gf_jkind kind)
{
    switch (kind) {
    case GF_J_STR:
        return gf_jmethods_str;
    case GF_J_DICT:
        return dict_methods;
    case GF_J_LIST:
        return list_methods;
    case GF_J_TUPLE:
    case GF_J_RANGE:
        return tuple_methods;
    case GF_J_LOOP:
        return loop_methods;
    case GF_J_CYCLER:
        return cycler_methods;
    case GF_J_FLOAT:
        return float_methods;
    default:
        return NULL;
    }
}

static const gf_jmethod_row *find_row(const gf_jmethod_row *row, const gf_jstr *name)
{
    for (; row != NULL && row->name != NULL; row++)
        if (strlen(row->name) == name->size && memcmp(row->name, name->data, name->size) == 0)
            return row;
    return NULL;
}

gf_status gf_jmethod_find(gf_jrun *r, gf_jval object, const gf_jstr *name, gf_jval *out)
{
    *out = gf_jval_undefined(NULL);
    const gf_jmethod_row *row = find_row(methods_of(object.kind), name);
    if (row == NULL && object.kind == GF_J_STR)
        row = find_row(gf_jmethods_str_more, name);
    if (row == NULL)
        return GF_OK;
    gf_jmethod *m = gf_jarena_object(&r->arena, 1, sizeof *m, r->err);
    if (m == NULL)
        return gf_jrun_spent(r);
    *m = (gf_jmethod){.row = row, .self = object};
    *out = (gf_jval){.kind = GF_J_METHOD, .method = m};
    return GF_OK;
}

gf_status gf_jmethod_call(gf_jrun *r, const gf_jmethod *m, const gf_jcall *c, gf_jval *out)
{
    return m->row->run(r, m->self, c, out);
}
