#include "text/template/strings.h"

#include "text/template/text.h"

#include <string.h>

/* A part of v's text, as safe as v. */
gf_status gf_jstr_part(gf_jrun *r, gf_jval v, size_t from, size_t to, gf_jval *out)
{
    return gf_jval_text(r, v.s->data + from, to - from, v.s->safe, out);
}

gf_status gf_jstr_want(gf_jrun *r, const char *what, gf_jval v)
{
    return v.kind == GF_J_STR
               ? GF_OK
               : gf_jrun_fail(r, "%s() wants a string, not %s", what, gf_jval_type(v));
}

gf_status gf_jint_want(gf_jrun *r, const char *what, gf_jval v, int64_t *out)
{
    *out = 0;
    if (!gf_jval_integral(v))
        return gf_jrun_fail(r, "%s() wants an integer, not %s", what, gf_jval_type(v));
    *out = gf_jval_as_int(v);
    return GF_OK;
}

/* ---- case -------------------------------------------------------------------------- */

static gf_status put(gf_jrun *r, gf_buf *b, uint32_t cp)
{
    char s[4];
    return gf_buf_add(b, s, gf_jchar_put(s, cp), r->err);
}

static gf_status case_of(gf_jrun *r, gf_jval v, int how, gf_buf *b)
{
    bool start = true, after_cased = false;
    for (size_t i = 0, step; i < v.s->size; i += step, start = false) {
        const uint32_t cp = gf_jchar_at(v.s->data + i, v.s->size - i, &step);
        const bool up = how == 'u' || (how == 'c' && start) || (how == 't' && !after_cased) ||
                        (how == 's' && gf_jchar_lower(cp) == cp);
        after_cased = gf_jchar_cased(cp);
        if (up && cp == 0xdf) /* sharp s, the one common letter that grows */
            TRY(gf_buf_str(b, how == 'u' || how == 's' ? "SS" : "Ss", r->err));
        else
            TRY(put(r, b, up ? gf_jchar_upper(cp) : gf_jchar_lower(cp)));
    }
    return GF_OK;
}

gf_status gf_jstr_case(gf_jrun *r, gf_jval v, int how, gf_jval *out)
{
    gf_buf b = {0};
    TRY(gf_jrun_step(r, v.s->size >> 4)); /* a few characters cost as much as a step */
    TRY(gf_jarena_charge(&r->arena, v.s->size, r->err));
    const gf_status st = case_of(r, v, how, &b);
    if (st != GF_OK) {
        gf_buf_free(&b);
        return st;
    }
    return gf_jval_buf(r, &b, v.s->safe, out);
}

#define CASE_METHOD(name, how)                                                                     \
    static gf_status m_##name(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)           \
    {                                                                                              \
        TRY(gf_jcall_bind(r, c, #name, "", 0, NULL));                                              \
        return gf_jstr_case(r, self, how, out);                                                    \
    }
CASE_METHOD(upper, 'u')
CASE_METHOD(lower, 'l')
CASE_METHOD(capitalize, 'c')
CASE_METHOD(title, 't')
CASE_METHOD(swapcase, 's')

/* ---- strip, split, join ------------------------------------------------------------ */

static bool in_set(gf_jval chars, uint32_t cp)
{
    if (chars.kind != GF_J_STR)
        return gf_jchar_space(cp);
    for (size_t i = 0, step; i < chars.s->size; i += step)
        if (gf_jchar_at(chars.s->data + i, chars.s->size - i, &step) == cp)
            return true;
    return false;
}

gf_status gf_jstr_strip(gf_jrun *r, gf_jval v, gf_jval chars, bool left, bool right, gf_jval *out)
{
    if (chars.kind != GF_J_STR && chars.kind != GF_J_NONE)
        return gf_jrun_fail(r, "strip arg must be None or str, not %s", gf_jval_type(chars));
    const char *s = v.s->data;
    size_t a = 0, b = v.s->size, step;
    TRY(gf_jrun_step(r, b >> 8)); /* scanning 256 bytes counts as a step */
    while (left && a < b && in_set(chars, gf_jchar_at(s + a, b - a, &step)))
        a += step;
    while (right && b > a) {
        size_t k = b - 1;
        while (k > a && ((unsigned char)s[k] & 0xc0) == 0x80) /* to the character's first byte */
            k--;
        if (!in_set(chars, gf_jchar_at(s + k, b - k, &step)))
            break;
        b = k;
    }
    return gf_jstr_part(r, v, a, b, out);
}

#define STRIP_METHOD(name, left, right)                                                            \
    static gf_status m_##name(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)           \
    {                                                                                              \
        gf_jval chars = gf_jval_none();                                                            \
        TRY(gf_jcall_bind(r, c, #name, "chars", 0, &chars));                                       \
        return gf_jstr_strip(r, self, chars, left, right, out);                                    \
    }
STRIP_METHOD(strip, true, true)
STRIP_METHOD(lstrip, true, false)
STRIP_METHOD(rstrip, false, true)

static gf_status add_part(gf_jrun *r, gf_jval v, size_t from, size_t to, gf_jlist *l)
{
    gf_jval e;
    TRY(gf_jstr_part(r, v, from, to, &e));
    return gf_jlist_add(r, l, e);
}

static gf_status split_space(gf_jrun *r, gf_jval v, int64_t max, gf_jlist *l)
{
    const char *s = v.s->data;
    const size_t n = v.s->size;
    for (size_t i = gf_jtext_lstrip(s, n); i < n; i += gf_jtext_lstrip(s + i, n - i)) {
        if (max-- == 0)
            return add_part(r, v, i, i + gf_jtext_rstrip(s + i, n - i), l);
        size_t end = i, step;
        while (end < n && !gf_jchar_space(gf_jchar_at(s + end, n - end, &step)))
            end += step;
        TRY(add_part(r, v, i, end, l));
        i = end;
    }
    return GF_OK;
}

static gf_status split_on(gf_jrun *r, gf_jval v, const gf_jstr *sep, int64_t max, bool from_right,
                          gf_jlist *l)
{
    const char *s = v.s->data;
    size_t from = 0, n = v.s->size;
    for (; max != 0; max--) {
        const size_t at = from_right ? gf_jtext_rfind(s, n, sep->data, sep->size)
                                     : gf_jtext_find(s, n, sep->data, sep->size, from);
        if (at == SIZE_MAX)
            break;
        TRY(gf_jrun_step(r, 1));
        if (from_right) {
            TRY(add_part(r, v, at + sep->size, n, l));
            n = at;
        } else {
            TRY(add_part(r, v, from, at, l));
            from = at + sep->size;
        }
    }
    TRY(add_part(r, v, from, n, l));
    for (size_t i = 0; from_right && i < l->count / 2; i++) {
        const gf_jval e = l->item[i];
        l->item[i] = l->item[l->count - 1 - i];
        l->item[l->count - 1 - i] = e;
    }
    return GF_OK;
}

static gf_status split_any(gf_jrun *r, gf_jval self, const gf_jcall *c, bool from_right,
                           gf_jval *out)
{
    gf_jval a[2] = {gf_jval_none(), gf_jval_int(-1)};
    int64_t max;
    TRY(gf_jcall_bind(r, c, "split", "sep,maxsplit", 0, a));
    TRY(gf_jint_want(r, "split", a[1], &max));
    gf_jlist *l = gf_jlist_new(r, 0);
    if (l == NULL)
        return gf_jrun_spent(r);
    *out = gf_jval_list(GF_J_LIST, l);
    TRY(gf_jrun_step(r, self.s->size >> 8));
    if (a[0].kind == GF_J_NONE) {
        if (from_right && max >= 0)
            return gf_jrun_fail(r, "rsplit() with maxsplit wants a separator");
        return split_space(r, self, max, l);
    }
    TRY(gf_jstr_want(r, "split", a[0]));
    if (a[0].s->size == 0)
        return gf_jrun_fail(r, "empty separator");
    return split_on(r, self, a[0].s, max, from_right, l);
}

static gf_status m_split(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    return split_any(r, self, c, false, out);
}

static gf_status m_rsplit(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    return split_any(r, self, c, true, out);
}

static bool line_end(uint32_t cp)
{
    return (cp >= 10 && cp <= 13) || (cp >= 0x1c && cp <= 0x1e) || cp == 0x85 || cp == 0x2028 ||
           cp == 0x2029;
}

gf_status gf_jstr_lines(gf_jrun *r, gf_jval v, bool keep_ends, gf_jlist **out)
{
    gf_jlist *l = gf_jlist_new(r, 0);
    if (l == NULL)
        return gf_jrun_spent(r);
    const char *s = v.s->data;
    const size_t n = v.s->size;
    size_t from = 0;
    for (size_t i = 0, step; i < n; i += step) {
        if (!line_end(gf_jchar_at(s + i, n - i, &step)))
            continue;
        if (s[i] == '\r' && i + 1 < n && s[i + 1] == '\n')
            step = 2;
        TRY(add_part(r, v, from, keep_ends ? i + step : i, l));
        from = i + step;
    }
    if (from < n)
        TRY(add_part(r, v, from, n, l));
    *out = l;
    return GF_OK;
}

static gf_status m_splitlines(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    gf_jval keep = gf_jval_bool(false);
    gf_jlist *l;
    TRY(gf_jcall_bind(r, c, "splitlines", "keepends", 0, &keep));
    TRY(gf_jrun_step(r, self.s->size >> 4));
    TRY(gf_jstr_lines(r, self, gf_jval_truth(keep), &l));
    *out = gf_jval_list(GF_J_LIST, l);
    return GF_OK;
}

gf_status gf_jstr_join(gf_jrun *r, gf_jval separator, const gf_jlist *l, bool convert, gf_jval *out)
{
    TRY(gf_jval_text(r, "", 0, separator.s->safe, out));
    for (size_t i = 0; i < l->count; i++) {
        gf_jval e = l->item[i];
        TRY(gf_jrun_step(r, 1));
        if (!convert && e.kind != GF_J_STR)
            return gf_jrun_fail(r, "sequence item %zu: expected str instance, %s found", i,
                                gf_jval_type(e));
        TRY(gf_jval_str(r, e, &e));
        if (convert && e.s->safe) /* the filter joins plain text */
            TRY(gf_jval_text(r, e.s->data, e.s->size, false, &e));
        if (i > 0)
            TRY(gf_jval_concat(r, *out, separator, out));
        TRY(gf_jval_concat(r, *out, e, out));
    }
    return GF_OK;
}

static gf_status m_join(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    gf_jval v;
    gf_jlist *l;
    TRY(gf_jcall_bind(r, c, "join", "iterable", 1, &v));
    TRY(gf_jval_elements(r, v, false, &l));
    return gf_jstr_join(r, self, l, false, out);
}

static gf_status partition_any(gf_jrun *r, gf_jval self, const gf_jcall *c, bool last, gf_jval *out)
{
    gf_jval sep;
    TRY(gf_jcall_bind(r, c, "partition", "sep", 1, &sep));
    TRY(gf_jstr_want(r, "partition", sep));
    if (sep.s->size == 0)
        return gf_jrun_fail(r, "empty separator");
    TRY(gf_jrun_step(r, self.s->size >> 8));
    const char *s = self.s->data;
    const size_t n = self.s->size, k = sep.s->size;
    const size_t at =
        last ? gf_jtext_rfind(s, n, sep.s->data, k) : gf_jtext_find(s, n, sep.s->data, k, 0);
    const size_t a = at != SIZE_MAX ? at : last ? 0 : n;
    const size_t b = at != SIZE_MAX ? at + k : a;
    gf_jlist *l = gf_jlist_new(r, 3);
    if (l == NULL)
        return gf_jrun_spent(r);
    TRY(add_part(r, self, 0, a, l));
    TRY(add_part(r, self, a, b, l));
    TRY(add_part(r, self, b, n, l));
    *out = gf_jval_list(GF_J_TUPLE, l);
    return GF_OK;
}

static gf_status m_partition(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    return partition_any(r, self, c, false, out);
}

static gf_status m_rpartition(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    return partition_any(r, self, c, true, out);
}

const gf_jmethod_row gf_jmethods_str[] = {
    {"upper", m_upper},
    {"lower", m_lower},
    {"casefold", m_lower},
    {"capitalize", m_capitalize},
    {"title", m_title},
    {"swapcase", m_swapcase},
    {"strip", m_strip},
    {"lstrip", m_lstrip},
    {"rstrip", m_rstrip},
    {"split", m_split},
    {"rsplit", m_rsplit},
    {"splitlines", m_splitlines},
    {"join", m_join},
    {"partition", m_partition},
    {"rpartition", m_rpartition},
    {NULL, NULL},
};
