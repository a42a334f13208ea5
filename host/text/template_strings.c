#include "text/template_strings.h"

#include "text/template_text.h"

#include <string.h>

/* A part of v's text, as safe as v. */
static gf_status part(gf_jrun *r, gf_jval v, size_t from, size_t to, gf_jval *out)
{
    return gf_jval_text(r, v.s->data + from, to - from, v.s->safe, out);
}

static gf_status want_str(gf_jrun *r, const char *what, gf_jval v)
{
    return v.kind == GF_J_STR
               ? GF_OK
               : gf_jrun_fail(r, "%s() wants a string, not %s", what, gf_jval_type(v));
}

static gf_status want_int(gf_jrun *r, const char *what, gf_jval v, int64_t *out)
{
    *out = 0;
    if (!gf_jval_integral(v))
        return gf_jrun_fail(r, "%s() wants an integer, not %s", what, gf_jval_type(v));
    *out = gf_jval_as_int(v);
    return GF_OK;
}

/* ---- case -------------------------------------------------------------------------------------
 */

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

/* ---- strip, split, join -----------------------------------------------------------------------
 */

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
    return part(r, v, a, b, out);
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
    TRY(part(r, v, from, to, &e));
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
    TRY(want_int(r, "split", a[1], &max));
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
    TRY(want_str(r, "split", a[0]));
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
    TRY(want_str(r, "partition", sep));
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

/* ---- search and replace -----------------------------------------------------------------------
 */

gf_status gf_jstr_replace(gf_jrun *r, gf_jval v, gf_jval from, gf_jval to, int64_t count,
                          gf_jval *out)
{
    gf_jval rest;
    TRY(want_str(r, "replace", from));
    TRY(want_str(r, "replace", to));
    TRY(gf_jrun_step(r, v.s->size >> 8));
    if (v.s->safe)
        TRY(gf_jval_escape(r, to, &to));
    else if (to.s->safe)
        TRY(gf_jval_text(r, to.s->data, to.s->size, false, &to));
    TRY(gf_jval_text(r, "", 0, v.s->safe, out));
    const char *s = v.s->data;
    size_t done = 0, search = 0;
    while (count != 0) {
        size_t at = gf_jtext_find(s, v.s->size, from.s->data, from.s->size, search);
        if (at == SIZE_MAX)
            break;
        TRY(gf_jrun_step(r, 1));
        TRY(part(r, v, done, at, &rest));
        TRY(gf_jval_concat(r, *out, rest, out));
        TRY(gf_jval_concat(r, *out, to, out));
        done = search = at + from.s->size;
        if (from.s->size == 0) { /* between characters */
            size_t step = 1;
            if (at < v.s->size)
                gf_jchar_at(s + at, v.s->size - at, &step);
            search = at + step;
        }
        count--;
    }
    TRY(part(r, v, done, v.s->size, &rest));
    return gf_jval_concat(r, *out, rest, out);
}

static gf_status m_replace(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    gf_jval a[3] = {gf_jval_none(), gf_jval_none(), gf_jval_int(-1)};
    int64_t count;
    TRY(gf_jcall_bind(r, c, "replace", "old,new,count", 2, a));
    TRY(want_int(r, "replace", a[2], &count));
    return gf_jstr_replace(r, self, a[0], a[1], count, out);
}

/* start and end of find, count, startswith as bytes. */
static gf_status range_of(gf_jrun *r, gf_jval self, const gf_jval a[3], size_t *from, size_t *to)
{
    gf_jval view;
    const gf_jval bound[3] = {a[1], a[2], gf_jval_none()};
    *from = 0;
    *to = self.s->size;
    if (a[1].kind == GF_J_NONE && a[2].kind == GF_J_NONE)
        return GF_OK;
    TRY(gf_jval_slice(r, self, bound, &view));
    *from = (size_t)(view.s->data - self.s->data);
    *to = *from + view.s->size;
    return GF_OK;
}

static gf_status affix(gf_jrun *r, gf_jval self, const gf_jcall *c, bool end, gf_jval *out)
{
    gf_jval a[3] = {gf_jval_none(), gf_jval_none(), gf_jval_none()};
    const char *what = end ? "endswith" : "startswith";
    size_t from, to;
    TRY(gf_jcall_bind(r, c, what, "prefix,start,end", 1, a));
    TRY(range_of(r, self, a, &from, &to));
    gf_jval one[1] = {a[0]};
    const gf_jlist alone = {.item = one, .count = 1};
    const gf_jlist *l = a[0].kind == GF_J_TUPLE ? a[0].l : &alone;
    bool yes = false;
    for (size_t i = 0; i < l->count && !yes; i++) {
        TRY(want_str(r, what, l->item[i]));
        const gf_jstr *s = l->item[i].s;
        yes = s->size <= to - from &&
              memcmp(self.s->data + (end ? to - s->size : from), s->data, s->size) == 0;
    }
    *out = gf_jval_bool(yes);
    return GF_OK;
}

static gf_status m_startswith(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    return affix(r, self, c, false, out);
}

static gf_status m_endswith(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    return affix(r, self, c, true, out);
}

static gf_status find_any(gf_jrun *r, gf_jval self, const gf_jcall *c, bool last, bool must,
                          gf_jval *out)
{
    gf_jval a[3] = {gf_jval_none(), gf_jval_none(), gf_jval_none()};
    size_t from, to;
    TRY(gf_jcall_bind(r, c, "find", "sub,start,end", 1, a));
    TRY(want_str(r, "find", a[0]));
    TRY(range_of(r, self, a, &from, &to));
    TRY(gf_jrun_step(r, self.s->size >> 8));
    const char *s = self.s->data + from;
    const size_t at = last ? gf_jtext_rfind(s, to - from, a[0].s->data, a[0].s->size)
                           : gf_jtext_find(s, to - from, a[0].s->data, a[0].s->size, 0);
    if (at == SIZE_MAX && must)
        return gf_jrun_fail(r, "substring not found");
    *out = gf_jval_int(at == SIZE_MAX ? -1 : (int64_t)gf_jtext_length(self.s->data, from + at));
    return GF_OK;
}

#define FIND_METHOD(name, last, must)                                                              \
    static gf_status m_##name(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)           \
    {                                                                                              \
        return find_any(r, self, c, last, must, out);                                              \
    }
FIND_METHOD(find, false, false)
FIND_METHOD(rfind, true, false)
FIND_METHOD(index, false, true)
FIND_METHOD(rindex, true, true)

static gf_status m_count(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    gf_jval a[3] = {gf_jval_none(), gf_jval_none(), gf_jval_none()};
    size_t from, to;
    TRY(gf_jcall_bind(r, c, "count", "sub,start,end", 1, a));
    TRY(want_str(r, "count", a[0]));
    TRY(range_of(r, self, a, &from, &to));
    TRY(gf_jrun_step(r, self.s->size >> 8));
    const gf_jstr *sub = a[0].s;
    int64_t n = 0;
    if (sub->size == 0) {
        n = (int64_t)gf_jtext_length(self.s->data + from, to - from) + 1;
    } else {
        for (size_t i = from;
             (i = gf_jtext_find(self.s->data, to, sub->data, sub->size, i)) != SIZE_MAX;
             i += sub->size)
            n++;
    }
    *out = gf_jval_int(n);
    return GF_OK;
}

static gf_status remove_affix(gf_jrun *r, gf_jval self, const gf_jcall *c, bool end, gf_jval *out)
{
    gf_jval v;
    const size_t n = self.s->size;
    TRY(gf_jcall_bind(r, c, end ? "removesuffix" : "removeprefix", "affix", 1, &v));
    TRY(want_str(r, end ? "removesuffix" : "removeprefix", v));
    const size_t k = v.s->size;
    *out = self;
    if (k > n || memcmp(self.s->data + (end ? n - k : 0), v.s->data, k) != 0)
        return GF_OK;
    return part(r, self, end ? 0 : k, end ? n - k : n, out);
}

static gf_status m_removeprefix(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    return remove_affix(r, self, c, false, out);
}

static gf_status m_removesuffix(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    return remove_affix(r, self, c, true, out);
}

/* ---- padding and classes ----------------------------------------------------------------------
 */

static gf_status pad(gf_jrun *r, gf_jval self, const gf_jcall *c, const char *what, gf_jval *out)
{
    gf_jval a[2] = {gf_jval_none(), gf_jval_none()}, side;
    int64_t width;
    TRY(gf_jval_text(r, what[0] == 'z' ? "0" : " ", 1, false, &a[1]));
    TRY(gf_jcall_bind(r, c, what, "width,fillchar", 1, a));
    TRY(want_int(r, what, a[0], &width));
    TRY(want_str(r, what, a[1]));
    const int64_t have = (int64_t)gf_jtext_length(self.s->data, self.s->size);
    const int64_t gap = width > have ? width - have : 0;
    /* Python's center puts the odd space left where the width is odd */
    const int64_t left = what[0] == 'l' ? 0 : what[0] == 'c' ? gap / 2 + (gap & width & 1) : gap;
    const size_t sign = what[0] == 'z' && self.s->size > 0 && strchr("+-", self.s->data[0]) != NULL;
    TRY(part(r, self, 0, sign, out));
    TRY(gf_jval_arith(r, '*', a[1], gf_jval_int(left), &side));
    TRY(gf_jval_concat(r, *out, side, out));
    TRY(part(r, self, sign, self.s->size, &side));
    TRY(gf_jval_concat(r, *out, side, out));
    TRY(gf_jval_arith(r, '*', a[1], gf_jval_int(gap - left), &side));
    return gf_jval_concat(r, *out, side, out);
}

#define PAD_METHOD(name)                                                                           \
    static gf_status m_##name(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)           \
    {                                                                                              \
        return pad(r, self, c, #name, out);                                                        \
    }
PAD_METHOD(ljust)
PAD_METHOD(rjust)
PAD_METHOD(center)
PAD_METHOD(zfill)

/* Every character of the class, and at least one; upper and lower look at cased letters only. */
static gf_status is_class(gf_jrun *r, gf_jval self, const gf_jcall *c, int class, gf_jval *out)
{
    bool all = true, any = false;
    TRY(gf_jcall_bind(r, c, "is...", "", 0, NULL));
    TRY(gf_jrun_step(r, self.s->size >> 4));
    for (size_t i = 0, step; i < self.s->size && all; i += step) {
        const uint32_t cp = gf_jchar_at(self.s->data + i, self.s->size - i, &step);
        const bool cased = gf_jchar_cased(cp);
        bool in = true;
        switch (class) {
        case 'd':
            in = gf_jchar_digit(cp);
            break;
        case 'a':
            in = gf_jchar_alpha(cp);
            break;
        case 'n':
            in = gf_jchar_alpha(cp) || gf_jchar_digit(cp);
            break;
        case 's':
            in = gf_jchar_space(cp);
            break;
        case 'u':
            in = !cased || gf_jchar_lower(cp) != cp;
            break;
        default:
            in = !cased || gf_jchar_lower(cp) == cp;
        }
        any |= class == 'u' || class == 'l' ? cased : true;
        all &= in;
    }
    *out = gf_jval_bool(all && any);
    return GF_OK;
}

#define CLASS_METHOD(name, class)                                                                  \
    static gf_status m_##name(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)           \
    {                                                                                              \
        return is_class(r, self, c, class, out);                                                   \
    }
CLASS_METHOD(isdigit, 'd')
CLASS_METHOD(isalpha, 'a')
CLASS_METHOD(isalnum, 'n')
CLASS_METHOD(isspace, 's')
CLASS_METHOD(isupper, 'u')
CLASS_METHOD(islower, 'l')

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
    {"replace", m_replace},
    {"startswith", m_startswith},
    {"endswith", m_endswith},
    {"find", m_find},
    {"rfind", m_rfind},
    {"index", m_index},
    {"rindex", m_rindex},
    {"count", m_count},
    {"removeprefix", m_removeprefix},
    {"removesuffix", m_removesuffix},
    {"ljust", m_ljust},
    {"rjust", m_rjust},
    {"center", m_center},
    {"zfill", m_zfill},
    {"isdigit", m_isdigit},
    {"isdecimal", m_isdigit},
    {"isnumeric", m_isdigit},
    {"isalpha", m_isalpha},
    {"isalnum", m_isalnum},
    {"isspace", m_isspace},
    {"isupper", m_isupper},
    {"islower", m_islower},
    {"format", gf_jformat_braces},
    {NULL, NULL},
};
