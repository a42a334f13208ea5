/* Macros, the loop object, and global functions. */
#include "text/template/exec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool same(const gf_jstr *a, const char *b)
{
    return a->size == strlen(b) && memcmp(a->data, b, a->size) == 0;
}

/* ---- arguments --------------------------------------------------------------------- */

gf_status gf_jcall_bind(gf_jrun *r, const gf_jcall *c, const char *what, const char *names,
                        size_t required, gf_jval *slot)
{
    size_t n = 0;
    bool given[16] = {false}; /* no builtin has more than 5 parameters */
    for (const char *p = names; *p != '\0'; n++) {
        const size_t k = strcspn(p, ",");
        if (n < c->count) {
            slot[n] = c->pos[n];
            given[n] = true;
        }
        for (size_t i = 0; i < c->named_count; i++) {
            if (c->name[i]->size != k || memcmp(c->name[i]->data, p, k) != 0)
                continue;
            if (given[n])
                return gf_jrun_fail(r, "%s() got multiple values for argument '%.*s'", what, (int)k,
                                    p);
            slot[n] = c->named[i];
            given[n] = true;
        }
        if (!given[n] && n < required)
            return gf_jrun_fail(r, "%s() missing required argument '%.*s'", what, (int)k, p);
        p += k + (p[k] == ',');
    }
    if (c->count > n)
        return gf_jrun_fail(r, "%s() takes at most %zu arguments (%zu given)", what, n, c->count);
    for (size_t i = 0; i < c->named_count; i++) {
        const gf_jstr *name = c->name[i];
        bool known = false;
        for (const char *p = names; *p != '\0' && !known;) {
            const size_t k = strcspn(p, ",");
            known = name->size == k && memcmp(name->data, p, k) == 0;
            p += k + (p[k] == ',');
        }
        if (!known)
            return gf_jrun_fail(r, "%s() got an unexpected keyword argument '%.*s'", what,
                                (int)name->size, name->data);
    }
    return GF_OK;
}

/* ---- macros ------------------------------------------------------------------------ */

/* varargs and kwargs, if the body speaks of them; else there must be none left. */
static gf_status macro_rest(gf_jrun *r, const gf_jmacro *m, const gf_jcall *c, const bool *used,
                            gf_jframe *f)
{
    const gf_jparams *p = m->params;
    gf_jlist *varargs = gf_jlist_new(r, 0);
    gf_jdict *kwargs = gf_jdict_new(r);
    if (varargs == NULL || kwargs == NULL)
        return gf_jrun_spent(r);
    for (size_t i = p->count; i < c->count; i++)
        TRY(gf_jlist_add(r, varargs, c->pos[i]));
    bool has_caller = false;
    for (size_t i = 0; i < c->named_count; i++) {
        if (used[i])
            continue;
        if (p->uses_caller && same(c->name[i], "caller")) {
            has_caller = true;
            if (r->caller_name != NULL)
                TRY(gf_jframe_set(r, f, r->caller_name, c->named[i]));
            continue;
        }
        if (!p->uses_kwargs)
            return gf_jrun_fail(r, "macro '%.*s' takes no keyword argument '%.*s'",
                                (int)m->name->size, m->name->data, (int)c->name[i]->size,
                                c->name[i]->data);
        TRY(gf_jdict_set(r, kwargs, (gf_jval){.kind = GF_J_STR, .s = c->name[i]}, c->named[i]));
    }
    if (varargs->count > 0 && !p->uses_varargs)
        return gf_jrun_fail(r, "macro '%.*s' takes not more than %zu argument(s)",
                            (int)m->name->size, m->name->data, p->count);
    static const gf_jundefined no_caller = {.hint = "No caller defined"};
    if (p->uses_caller && !has_caller && r->caller_name != NULL)
        TRY(gf_jframe_set(r, f, r->caller_name, gf_jval_undefined(&no_caller)));
    if (p->uses_varargs && r->varargs_name != NULL)
        TRY(gf_jframe_set(r, f, r->varargs_name, gf_jval_list(GF_J_TUPLE, varargs)));
    if (p->uses_kwargs && r->kwargs_name != NULL)
        TRY(gf_jframe_set(r, f, r->kwargs_name, (gf_jval){.kind = GF_J_DICT, .d = kwargs}));
    return GF_OK;
}

static gf_status macro_bind(gf_jrun *r, const gf_jmacro *m, const gf_jcall *c, gf_jframe *f)
{
    static const gf_jundefined not_given = {.hint = "a macro's parameter was not provided"};
    const gf_jparams *p = m->params;
    bool *used = gf_jarena_object(&r->arena, c->named_count + 1, sizeof *used, r->err);
    if (used == NULL)
        return gf_jrun_spent(r);
    for (size_t i = 0; i < p->count; i++) {
        gf_jval v = gf_jval_undefined(&not_given);
        bool given = i < c->count;
        if (given)
            v = c->pos[i];
        for (size_t k = 0; k < c->named_count; k++) {
            if (!same(c->name[k], p->name[i]->data))
                continue;
            if (given)
                return gf_jrun_fail(r, "macro '%.*s' got multiple values for argument '%s'",
                                    (int)m->name->size, m->name->data, p->name[i]->data);
            v = c->named[k];
            given = used[k] = true;
        }
        if (!given && p->fallback != NULL && p->fallback[i] != NULL)
            TRY(gf_jeval(r, f, p->fallback[i], &v));
        TRY(gf_jframe_set(r, f, p->name[i], v));
    }
    return macro_rest(r, m, c, used, f);
}

gf_status gf_jmacro_call(gf_jrun *r, const gf_jmacro *m, const gf_jcall *c, gf_jval *out)
{
    if (r->calls >= 200) /* the contract's depth */
        return gf_jrun_fail(r, "macros call each other more than 200 deep");
    gf_jframe *f = gf_jframe_new(r, m->frame);
    if (f == NULL)
        return gf_jrun_spent(r);
    TRY(macro_bind(r, m, c, f));
    r->calls++;
    const gf_status st = gf_jexec_capture(r, f, m->body, out);
    r->calls--;
    return st;
}

/* ---- loop -------------------------------------------------------------------------- */

gf_status gf_jloop_attribute(gf_jrun *r, gf_jloop *loop, const gf_jstr *name, bool *found,
                             gf_jval *out)
{
    (void)r;
    static const gf_jundefined no_previous = {.hint = "there is no previous item"};
    static const gf_jundefined no_next = {.hint = "there is no next item"};
    const int64_t i = (int64_t)loop->index0, n = (int64_t)loop->items->count;
    *found = true;
    if (same(name, "index"))
        *out = gf_jval_int(i + 1);
    else if (same(name, "index0"))
        *out = gf_jval_int(i);
    else if (same(name, "first"))
        *out = gf_jval_bool(i == 0);
    else if (same(name, "last"))
        *out = gf_jval_bool(i + 1 == n);
    else if (same(name, "length"))
        *out = gf_jval_int(n);
    else if (same(name, "revindex"))
        *out = gf_jval_int(n - i);
    else if (same(name, "revindex0"))
        *out = gf_jval_int(n - i - 1);
    else if (same(name, "depth"))
        *out = gf_jval_int(1); /* recursive loops are not supported */
    else if (same(name, "depth0"))
        *out = gf_jval_int(0);
    else if (same(name, "previtem"))
        *out = i > 0 ? loop->items->item[i - 1] : gf_jval_undefined(&no_previous);
    else if (same(name, "nextitem"))
        *out = i + 1 < n ? loop->items->item[i + 1] : gf_jval_undefined(&no_next);
    else
        *found = false;
    return GF_OK;
}

gf_status gf_jloop_call(gf_jrun *r, gf_jloop *loop, const char *method, const gf_jcall *c,
                        gf_jval *out)
{
    if (c->named_count > 0)
        return gf_jrun_fail(r, "loop.%s() takes no keyword arguments", method);
    if (strcmp(method, "cycle") == 0) {
        if (c->count == 0)
            return gf_jrun_fail(r, "no items for cycling given");
        *out = c->pos[loop->index0 % c->count];
        return GF_OK;
    }
    gf_jlist *now = gf_jlist_new(r, c->count + 1);
    if (now == NULL)
        return gf_jrun_spent(r);
    for (size_t i = 0; i < c->count; i++)
        TRY(gf_jlist_add(r, now, c->pos[i]));
    const gf_jval v = gf_jval_list(GF_J_TUPLE, now);
    bool equal;
    TRY(gf_jval_equal(r, loop->seen, v, &equal));
    loop->seen = v;
    *out = gf_jval_bool(!equal);
    return GF_OK;
}

/* ---- functions --------------------------------------------------------------------- */

static gf_status raise_exception(gf_jrun *r, const gf_jcall *c, gf_jval *out)
{
    gf_jval v;
    TRY(gf_jcall_bind(r, c, "raise_exception", "message", 1, &v));
    TRY(gf_jval_str(r, v, &v));
    *out = gf_jval_none();
    return gf_jrun_fail(r, "%.*s", v.s->size > 500 ? 500 : (int)v.s->size, v.s->data);
}

static gf_status strftime_now(gf_jrun *r, const gf_jcall *c, gf_jval *out)
{
    gf_jval v;
    TRY(gf_jcall_bind(r, c, "strftime_now", "format", 1, &v));
    if (v.kind != GF_J_STR)
        return gf_jrun_fail(r, "strftime_now() wants a string, not %s", gf_jval_type(v));
    char format[200], text[1000]; /* a date's format and the date */
    if (v.s->size >= sizeof format - 1 || memchr(v.s->data, '\0', v.s->size) != NULL)
        return gf_jrun_fail(r, "strftime_now() wants a format below 200 bytes");
    memcpy(format, v.s->data, v.s->size);
    memcpy(format + v.s->size, "x", 2); /* so that an empty result is not a failure */
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    char *end = NULL;
    const long long at = epoch == NULL ? 0 : strtoll(epoch, &end, 10);
    const bool fixed = end != NULL && end != epoch && *end == '\0';
    if (epoch != NULL && !fixed)
        return gf_jrun_fail(r, "SOURCE_DATE_EPOCH is not a whole number of seconds");
    const time_t now = fixed ? (time_t)at : time(NULL);
    struct tm tm;
    if ((fixed ? gmtime_r(&now, &tm) : localtime_r(&now, &tm)) == NULL)
        return gf_jrun_fail(r, "the date is out of range");
    const size_t n = strftime(text, sizeof text, format, &tm);
    if (n == 0)
        return gf_jrun_fail(r, "the result of strftime_now() is too long");
    return gf_jval_copy(r, text, n - 1, false, out);
}

/* Items of a mapping or of a sequence of pairs, and named arguments, into d. */
static gf_status fill_dict(gf_jrun *r, const gf_jcall *c, const char *what, gf_jdict *d)
{
    if (c->count > 1)
        return gf_jrun_fail(r, "%s() takes at most 1 positional argument", what);
    if (c->count == 1 && c->pos[0].kind == GF_J_DICT) {
        const gf_jdict *from = c->pos[0].d;
        for (size_t i = 0; i < from->count; i++)
            TRY(gf_jdict_set(r, d, from->pair[i].key, from->pair[i].value));
    } else if (c->count == 1) {
        gf_jlist *l, *pair;
        TRY(gf_jval_elements(r, c->pos[0], false, &l));
        for (size_t i = 0; i < l->count; i++) {
            TRY(gf_jval_elements(r, l->item[i], false, &pair));
            if (pair->count != 2)
                return gf_jrun_fail(r, "%s() wants pairs", what);
            TRY(gf_jdict_set(r, d, pair->item[0], pair->item[1]));
        }
    }
    for (size_t i = 0; i < c->named_count; i++)
        TRY(gf_jdict_set(r, d, (gf_jval){.kind = GF_J_STR, .s = c->name[i]}, c->named[i]));
    return GF_OK;
}

static gf_status new_namespace(gf_jrun *r, const gf_jcall *c, gf_jval *out)
{
    gf_jdict *d = gf_jdict_new(r);
    *out = (gf_jval){.kind = GF_J_NAMESPACE, .d = d};
    return d == NULL ? gf_jrun_spent(r) : fill_dict(r, c, "namespace", d);
}

static gf_status new_dict(gf_jrun *r, const gf_jcall *c, gf_jval *out)
{
    gf_jdict *d = gf_jdict_new(r);
    *out = (gf_jval){.kind = GF_J_DICT, .d = d};
    return d == NULL ? gf_jrun_spent(r) : fill_dict(r, c, "dict", d);
}

static gf_status new_range(gf_jrun *r, const gf_jcall *c, gf_jval *out)
{
    gf_jval a[3] = {gf_jval_int(0), gf_jval_int(0), gf_jval_int(1)};
    if (c->count < 1 || c->count > 3 || c->named_count > 0)
        return gf_jrun_fail(r, "range() takes 1 to 3 arguments");
    for (size_t i = 0; i < c->count; i++) {
        if (!gf_jval_integral(c->pos[i]))
            return gf_jrun_fail(r, "'%s' object cannot be interpreted as an integer",
                                gf_jval_type(c->pos[i]));
        a[c->count == 1 ? 1 : i] = gf_jval_int(gf_jval_as_int(c->pos[i]));
    }
    const int64_t start = a[0].i, stop = a[1].i, step = a[2].i;
    if (step == 0)
        return gf_jrun_fail(r, "range() arg 3 must not be zero");
    uint64_t n = 0;
    if (step > 0 ? start < stop : start > stop) {
        const uint64_t span =
            step > 0 ? (uint64_t)stop - (uint64_t)start : (uint64_t)start - (uint64_t)stop;
        const uint64_t by = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
        n = (span - 1) / by + 1;
    }
    if (n > 100000) /* the sandbox's own bound */
        return gf_jrun_fail(r, "range too big: the sandbox blocks ranges above 100000");
    TRY(gf_jrun_step(r, n));
    gf_jlist *l = gf_jlist_new(r, n);
    if (l == NULL)
        return gf_jrun_spent(r);
    for (uint64_t i = 0; i < n; i++)
        l->item[i] = gf_jval_int((int64_t)((uint64_t)start + i * (uint64_t)step));
    l->count = n;
    *out = gf_jval_list(GF_J_RANGE, l);
    return GF_OK;
}

static gf_status new_cycler(gf_jrun *r, const gf_jcall *c, gf_jval *out)
{
    if (c->count == 0 || c->named_count > 0)
        return gf_jrun_fail(r, "cycler() wants at least one item");
    gf_jlist *l = gf_jlist_new(r, c->count);
    if (l == NULL)
        return gf_jrun_spent(r);
    memcpy(l->item, c->pos, c->count * sizeof *l->item);
    l->count = c->count;
    *out = gf_jval_list(GF_J_CYCLER, l);
    return GF_OK;
}

static gf_status new_joiner(gf_jrun *r, const gf_jcall *c, gf_jval *out)
{
    gf_jval sep;
    TRY(gf_jval_text(r, ", ", 2, false, &sep));
    TRY(gf_jcall_bind(r, c, "joiner", "sep", 0, &sep));
    gf_jlist *l = gf_jlist_new(r, 1);
    if (l == NULL)
        return gf_jrun_spent(r);
    l->item[l->count++] = sep;
    *out = gf_jval_list(GF_J_JOINER, l);
    return GF_OK;
}

const gf_jfunction *gf_jfunction_find(const gf_jstr *name)
{
    static const gf_jfunction table[] = {
        {"raise_exception", raise_exception},
        {"strftime_now", strftime_now},
        {"namespace", new_namespace},
        {"range", new_range},
        {"dict", new_dict},
        {"cycler", new_cycler},
        {"joiner", new_joiner},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (same(name, table[i].name))
            return &table[i];
    return NULL;
}
