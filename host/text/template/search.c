/* str methods that search, replace, pad and classify. */
#include "text/template/strings.h"

#include "text/template/text.h"

#include <string.h>

/* ---- search and replace ------------------------------------------------------------ */

gf_status gf_jstr_replace(gf_jrun *r, gf_jval v, gf_jval from, gf_jval to, int64_t count,
                          gf_jval *out)
{
    gf_jval rest;
    TRY(gf_jstr_want(r, "replace", from));
    TRY(gf_jstr_want(r, "replace", to));
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
        TRY(gf_jstr_part(r, v, done, at, &rest));
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
    TRY(gf_jstr_part(r, v, done, v.s->size, &rest));
    return gf_jval_concat(r, *out, rest, out);
}

static gf_status m_replace(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    gf_jval a[3] = {gf_jval_none(), gf_jval_none(), gf_jval_int(-1)};
    int64_t count;
    TRY(gf_jcall_bind(r, c, "replace", "old,new,count", 2, a));
    TRY(gf_jint_want(r, "replace", a[2], &count));
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
        TRY(gf_jstr_want(r, what, l->item[i]));
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
    TRY(gf_jstr_want(r, "find", a[0]));
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
    TRY(gf_jstr_want(r, "count", a[0]));
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
    TRY(gf_jstr_want(r, end ? "removesuffix" : "removeprefix", v));
    const size_t k = v.s->size;
    *out = self;
    if (k > n || memcmp(self.s->data + (end ? n - k : 0), v.s->data, k) != 0)
        return GF_OK;
    return gf_jstr_part(r, self, end ? 0 : k, end ? n - k : n, out);
}

static gf_status m_removeprefix(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    return remove_affix(r, self, c, false, out);
}

static gf_status m_removesuffix(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out)
{
    return remove_affix(r, self, c, true, out);
}

/* ---- padding and classes ----------------------------------------------------------- */

static gf_status pad(gf_jrun *r, gf_jval self, const gf_jcall *c, const char *what, gf_jval *out)
{
    gf_jval a[2] = {gf_jval_none(), gf_jval_none()}, side;
    int64_t width;
    TRY(gf_jval_text(r, what[0] == 'z' ? "0" : " ", 1, false, &a[1]));
    TRY(gf_jcall_bind(r, c, what, "width,fillchar", 1, a));
    TRY(gf_jint_want(r, what, a[0], &width));
    TRY(gf_jstr_want(r, what, a[1]));
    const int64_t have = (int64_t)gf_jtext_length(self.s->data, self.s->size);
    const int64_t gap = width > have ? width - have : 0;
    /* Python's center puts the odd space left where the width is odd */
    const int64_t left = what[0] == 'l' ? 0 : what[0] == 'c' ? gap / 2 + (gap & width & 1) : gap;
    const size_t sign = what[0] == 'z' && self.s->size > 0 && strchr("+-", self.s->data[0]) != NULL;
    TRY(gf_jstr_part(r, self, 0, sign, out));
    TRY(gf_jval_arith(r, '*', a[1], gf_jval_int(left), &side));
    TRY(gf_jval_concat(r, *out, side, out));
    TRY(gf_jstr_part(r, self, sign, self.s->size, &side));
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

const gf_jmethod_row gf_jmethods_str_more[] = {
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
