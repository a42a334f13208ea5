/* Filters on text and numbers, and the table of all. */
#include "text/template/strings.h"
#include "text/template/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static gf_status text_of(gf_jrun *r, gf_jval *v)
{
    return gf_jval_str(r, *v, v);
}

static gf_status f_upper(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    TRY(gf_jcall_bind(r, c, "upper", "", 0, NULL));
    TRY(text_of(r, &v));
    return gf_jstr_case(r, v, 'u', out);
}

static gf_status f_lower(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    TRY(gf_jcall_bind(r, c, "lower", "", 0, NULL));
    TRY(text_of(r, &v));
    return gf_jstr_case(r, v, 'l', out);
}

static gf_status f_capitalize(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    TRY(gf_jcall_bind(r, c, "capitalize", "", 0, NULL));
    TRY(text_of(r, &v));
    return gf_jstr_case(r, v, 'c', out);
}

/* Words begin after whitespace and -({[<, which is not str.title's rule. */
static gf_status f_title(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    TRY(gf_jcall_bind(r, c, "title", "", 0, NULL));
    TRY(text_of(r, &v));
    const bool safe = v.s->safe;
    TRY(gf_jval_text(r, "", 0, safe, out));
    TRY(gf_jrun_step(r, v.s->size));
    size_t from = 0;
    for (size_t i = 0, step; i <= v.s->size; i += step) {
        step = 1;
        if (i < v.s->size) {
            const uint32_t cp = gf_jchar_at(v.s->data + i, v.s->size - i, &step);
            if (!gf_jchar_space(cp) && (cp > 0x7f || strchr("-({[<", (int)cp) == NULL))
                continue;
        }
        gf_jval word, sep;
        TRY(gf_jval_text(r, v.s->data + from, i - from, safe, &word));
        TRY(gf_jstr_case(r, word, 'c', &word));
        TRY(gf_jval_concat(r, *out, word, out));
        const size_t k = i < v.s->size ? step : 0;
        TRY(gf_jval_text(r, v.s->data + i, k, safe, &sep));
        TRY(gf_jval_concat(r, *out, sep, out));
        from = i + k;
    }
    return GF_OK;
}

static gf_status f_trim(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    gf_jval chars = gf_jval_none();
    TRY(gf_jcall_bind(r, c, "trim", "chars", 0, &chars));
    TRY(text_of(r, &v));
    return gf_jstr_strip(r, v, chars, true, true, out);
}

static gf_status f_replace(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    gf_jval a[3] = {gf_jval_none(), gf_jval_none(), gf_jval_none()};
    TRY(gf_jcall_bind(r, c, "replace", "old,new,count", 2, a));
    TRY(text_of(r, &v));
    TRY(text_of(r, &a[0]));
    TRY(text_of(r, &a[1]));
    if (v.s->safe)
        TRY(gf_jval_text(r, v.s->data, v.s->size, false, &v));
    const int64_t count = gf_jval_integral(a[2]) ? gf_jval_as_int(a[2]) : -1;
    return gf_jstr_replace(r, v, a[0], a[1], count, out);
}

static gf_status f_string(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    TRY(gf_jcall_bind(r, c, "string", "", 0, NULL));
    return gf_jval_str(r, v, out);
}

static gf_status f_safe(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    TRY(gf_jcall_bind(r, c, "safe", "", 0, NULL));
    TRY(text_of(r, &v));
    return gf_jval_text(r, v.s->data, v.s->size, true, out);
}

static gf_status f_escape(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    TRY(gf_jcall_bind(r, c, "escape", "", 0, NULL));
    return gf_jval_escape(r, v, out);
}

static gf_status f_indent(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    gf_jval a[3] = {gf_jval_int(4), gf_jval_bool(false), gf_jval_bool(false)}, pad, line;
    TRY(gf_jcall_bind(r, c, "indent", "width,first,blank", 0, a));
    TRY(text_of(r, &v));
    const bool safe = v.s->safe;
    if (a[0].kind == GF_J_STR) {
        pad = a[0];
    } else {
        TRY(gf_jval_text(r, " ", 1, safe, &pad));
        TRY(gf_jval_arith(r, '*', pad, a[0], &pad));
    }
    /* a newline is added so that an empty last line stays a line */
    gf_jval newline;
    TRY(gf_jval_text(r, "\n", 1, safe, &newline));
    TRY(gf_jval_concat(r, v, newline, &v));
    gf_jlist *lines;
    TRY(gf_jstr_lines(r, v, false, &lines));
    TRY(gf_jval_text(r, "", 0, safe, out));
    if (gf_jval_truth(a[1]))
        TRY(gf_jval_concat(r, *out, pad, out));
    for (size_t i = 0; i < lines->count; i++) {
        line = lines->item[i];
        TRY(gf_jrun_step(r, 1));
        if (i > 0)
            TRY(gf_jval_concat(r, *out, newline, out));
        if (i > 0 && (line.s->size > 0 || gf_jval_truth(a[2])))
            TRY(gf_jval_concat(r, *out, pad, out));
        TRY(gf_jval_concat(r, *out, line, out));
    }
    return GF_OK;
}

static gf_status f_format(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    if (c->count > 0 && c->named_count > 0)
        return gf_jrun_fail(r, "can't handle positional and keyword arguments at the same time");
    TRY(text_of(r, &v));
    if (c->named_count > 0) {
        gf_jdict *d = gf_jdict_new(r);
        if (d == NULL)
            return gf_jrun_spent(r);
        for (size_t i = 0; i < c->named_count; i++)
            TRY(gf_jdict_set(r, d, (gf_jval){.kind = GF_J_STR, .s = c->name[i]}, c->named[i]));
        return gf_jformat_percent(r, v, (gf_jval){.kind = GF_J_DICT, .d = d}, out);
    }
    gf_jlist l = {.item = c->pos, .count = c->count};
    return gf_jformat_percent(r, v, gf_jval_list(GF_J_TUPLE, &l), out);
}

static gf_status f_truncate(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    gf_jval a[4] = {gf_jval_int(255), gf_jval_bool(false), gf_jval_none(), gf_jval_int(5)};
    TRY(gf_jval_text(r, "...", 3, false, &a[2]));
    TRY(gf_jcall_bind(r, c, "truncate", "length,killwords,end,leeway", 0, a));
    TRY(text_of(r, &v));
    if (!gf_jval_integral(a[0]) || !gf_jval_integral(a[3]) || a[2].kind != GF_J_STR)
        return gf_jrun_fail(r, "truncate() wants integers and a string");
    int64_t n, length = gf_jval_as_int(a[0]), end;
    TRY(gf_jval_length(r, v, &n));
    TRY(gf_jval_length(r, a[2], &end));
    if (length < end)
        return gf_jrun_fail(r, "truncate(): expected length >= %lld", (long long)end);
    if (n - length <= gf_jval_as_int(a[3])) {
        *out = v;
        return GF_OK;
    }
    size_t cut = gf_jtext_offset(v.s->data, v.s->size, (size_t)(length - end));
    if (!gf_jval_truth(a[1])) {
        const size_t space = gf_jtext_rfind(v.s->data, cut, " ", 1);
        cut = space == SIZE_MAX ? cut : space;
    }
    TRY(gf_jval_text(r, v.s->data, cut, v.s->safe, &v));
    return gf_jval_concat(r, v, a[2], out);
}

static gf_status f_center(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    gf_jval width = gf_jval_int(80), method, side;
    static const gf_jstr name = {.data = "center", .size = 6};
    TRY(gf_jcall_bind(r, c, "center", "width", 0, &width));
    TRY(text_of(r, &v));
    TRY(gf_jmethod_find(r, v, &name, &method));
    side = width;
    const gf_jcall call = {.pos = &side, .count = 1};
    return gf_jmethod_call(r, method.method, &call, out);
}

static gf_status f_wordcount(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    TRY(gf_jcall_bind(r, c, "wordcount", "", 0, NULL));
    TRY(text_of(r, &v));
    TRY(gf_jrun_step(r, v.s->size >> 4));
    int64_t n = 0;
    bool inside = false;
    for (size_t i = 0, step; i < v.s->size; i += step) {
        const uint32_t cp = gf_jchar_at(v.s->data + i, v.s->size - i, &step);
        const bool word = cp == '_' || gf_jchar_alpha(cp) || gf_jchar_digit(cp);
        n += word && !inside;
        inside = word;
    }
    *out = gf_jval_int(n);
    return GF_OK;
}

/* A number's text as Python's int() and float() take it: spaces around, underscores between. */
static bool number_text(const gf_jstr *s, char *text, size_t cap)
{
    const size_t a = gf_jtext_lstrip(s->data, s->size);
    const size_t n = gf_jtext_rstrip(s->data + a, s->size - a);
    if (n == 0 || n >= cap)
        return false;
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        const char c = s->data[a + i];
        if (c == '_' && i > 0 && i + 1 < n)
            continue;
        if (strchr("0123456789+-.eE", c) == NULL || c == '\0')
            return false;
        text[k++] = c;
    }
    text[k] = '\0';
    return true;
}

static gf_status f_int(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    gf_jval a[2] = {gf_jval_int(0), gf_jval_int(10)};
    TRY(gf_jcall_bind(r, c, "int", "default,base", 0, a));
    if (gf_jval_integral(v)) {
        *out = gf_jval_int(gf_jval_as_int(v));
        return GF_OK;
    }
    *out = a[0];
    double f;
    char text[400], *end; /* a double has at most 309 digits before its point */
    if (v.kind == GF_J_FLOAT) {
        f = v.f;
    } else if (v.kind == GF_J_STR && gf_jval_integral(a[1]) && gf_jval_as_int(a[1]) != 10) {
        const int64_t base = gf_jval_as_int(a[1]);
        if (v.s->size >= sizeof text || base < 2 || base > 36)
            return GF_OK;
        memcpy(text, v.s->data, v.s->size);
        text[v.s->size] = '\0';
        const char *digits = base == 2 && strncasecmp(text, "0b", 2) == 0   ? text + 2
                             : base == 8 && strncasecmp(text, "0o", 2) == 0 ? text + 2
                                                                            : text;
        const long long i = strtoll(digits, &end, (int)base);
        if (end != digits && *end == '\0')
            *out = gf_jval_int(i);
        return GF_OK;
    } else if (v.kind == GF_J_STR && number_text(v.s, text, sizeof text)) {
        f = strtod(text, &end);
        if (*end != '\0')
            return GF_OK;
        if (strpbrk(text, ".eE") == NULL && fabs(f) < 9e18) { /* exact below 2^63 */
            *out = gf_jval_int(strtoll(text, NULL, 10));
            return GF_OK;
        }
    } else {
        return GF_OK;
    }
    if (isnan(f) || isinf(f))
        return GF_OK;
    if (fabs(f) >= 9.2e18) /* below 2^63 */
        return gf_jrun_fail(r, "an integer result is over 64 bits");
    *out = gf_jval_int((int64_t)f);
    return GF_OK;
}

static gf_status f_float(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    gf_jval fallback = gf_jval_float(0);
    char text[400], *end; /* as above */
    TRY(gf_jcall_bind(r, c, "float", "default", 0, &fallback));
    *out = fallback;
    if (gf_jval_number(v)) {
        *out = gf_jval_float(gf_jval_as_float(v));
    } else if (v.kind == GF_J_STR && number_text(v.s, text, sizeof text)) {
        const double f = strtod(text, &end);
        if (end != text && *end == '\0')
            *out = gf_jval_float(f);
    }
    return GF_OK;
}

static gf_status f_abs(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    TRY(gf_jcall_bind(r, c, "abs", "", 0, NULL));
    if (gf_jval_number(v) && gf_jval_as_float(v) < 0)
        return gf_jval_arith(r, 'n', v, v, out);
    if (!gf_jval_number(v))
        return gf_jrun_fail(r, "bad operand type for abs(): '%s'", gf_jval_type(v));
    *out = v.kind == GF_J_BOOL ? gf_jval_int(v.b) : v;
    return GF_OK;
}

static gf_status f_round(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    gf_jval a[2] = {gf_jval_int(0), gf_jval_none()};
    TRY(gf_jval_text(r, "common", 6, false, &a[1]));
    TRY(gf_jcall_bind(r, c, "round", "precision,method", 0, a));
    if (!gf_jval_number(v) || !gf_jval_integral(a[0]) || llabs(gf_jval_as_int(a[0])) > 300)
        return gf_jrun_fail(r, "round() wants a number and a small integer precision");
    const double f = gf_jval_as_float(v);
    const int places = (int)gf_jval_as_int(a[0]);
    const double scale = pow(10, places);
    if (gf_jval_str_is(a[1], "ceil") || gf_jval_str_is(a[1], "floor")) {
        const double x = f * scale;
        *out = gf_jval_float((a[1].s->data[0] == 'c' ? ceil(x) : floor(x)) / scale);
        return GF_OK;
    }
    if (!gf_jval_str_is(a[1], "common"))
        return gf_jrun_fail(r, "round(): method must be common, ceil or floor");
    if (v.kind != GF_J_FLOAT && places >= 0) {
        *out = gf_jval_int(gf_jval_as_int(v));
        return GF_OK;
    }
    char text[700]; /* 309 digits before the point, 300 after */
    if (places >= 0) {
        snprintf(text, sizeof text, "%.*f", places, f); /* rounds the exact value, half to even */
        *out = gf_jval_float(strtod(text, NULL));
    } else {
        *out = gf_jval_float(nearbyint(f * scale) / scale);
    }
    return GF_OK;
}

static gf_status f_default(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    gf_jval a[2] = {gf_jval_none(), gf_jval_bool(false)};
    TRY(gf_jval_text(r, "", 0, false, &a[0]));
    TRY(gf_jcall_bind(r, c, "default", "default_value,boolean", 0, a));
    const bool use = v.kind == GF_J_UNDEFINED || (gf_jval_truth(a[1]) && !gf_jval_truth(v));
    *out = use ? a[0] : v;
    return GF_OK;
}

static gf_status f_tojson(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    gf_jval a[4] = {gf_jval_bool(false), gf_jval_none(), gf_jval_none(), gf_jval_bool(false)};
    TRY(gf_jcall_bind(r, c, "tojson", "ensure_ascii,indent,separators,sort_keys", 0, a));
    gf_jdumps how = {.ascii = gf_jval_truth(a[0]),
                     .sort_keys = gf_jval_truth(a[3]),
                     .item = ", ",
                     .item_size = 2,
                     .key = ": ",
                     .key_size = 2};
    if (a[1].kind != GF_J_NONE) {
        gf_jval pad = a[1];
        if (pad.kind != GF_J_STR) {
            TRY(gf_jval_text(r, " ", 1, false, &pad));
            TRY(gf_jval_arith(r, '*', pad, a[1], &pad));
        }
        how.indent = pad.s->data == NULL ? "" : pad.s->data;
        how.indent_size = pad.s->size;
        how.item_size = 1;
    }
    if (a[2].kind != GF_J_NONE) {
        gf_jlist *l;
        TRY(gf_jval_elements(r, a[2], false, &l));
        if (l->count != 2 || l->item[0].kind != GF_J_STR || l->item[1].kind != GF_J_STR)
            return gf_jrun_fail(r, "tojson(): separators must be two strings");
        how.item = l->item[0].s->data;
        how.item_size = l->item[0].s->size;
        how.key = l->item[1].s->data;
        how.key_size = l->item[1].s->size;
    }
    gf_buf b = {0};
    const gf_status st = gf_jval_json(r, v, &how, &b);
    if (st != GF_OK) {
        gf_buf_free(&b);
        return st;
    }
    return gf_jval_buf(r, &b, false, out);
}

static gf_status f_urlencode(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out)
{
    TRY(gf_jcall_bind(r, c, "urlencode", "", 0, NULL));
    if (v.kind == GF_J_DICT || v.kind == GF_J_LIST)
        return gf_jrun_fail(r, "urlencode() of a %s is not supported", gf_jval_type(v));
    TRY(text_of(r, &v));
    char *d = gf_jarena_chars(&r->arena, v.s->size * 3, r->err); /* %XX */
    if (d == NULL)
        return gf_jrun_spent(r);
    size_t n = 0;
    for (size_t i = 0; i < v.s->size; i++) {
        const unsigned char b = (unsigned char)v.s->data[i];
        const bool plain = (b >= '0' && b <= '9') || ((b | 0x20) >= 'a' && (b | 0x20) <= 'z') ||
                           (b != 0 && strchr("-._~/", b) != NULL);
        d[n++] = plain ? (char)b : '%';
        if (!plain) {
            d[n++] = "0123456789ABCDEF"[b >> 4];
            d[n++] = "0123456789ABCDEF"[b & 15];
        }
    }
    return gf_jval_text(r, d, n, false, out);
}

const gf_jfilter_row gf_jfilters_text[] = {
    {"upper", f_upper},
    {"lower", f_lower},
    {"capitalize", f_capitalize},
    {"title", f_title},
    {"trim", f_trim},
    {"replace", f_replace},
    {"string", f_string},
    {"safe", f_safe},
    {"escape", f_escape},
    {"e", f_escape},
    {"indent", f_indent},
    {"format", f_format},
    {"int", f_int},
    {"float", f_float},
    {"abs", f_abs},
    {"round", f_round},
    {"default", f_default},
    {"d", f_default},
    {"tojson", f_tojson},
    {"truncate", f_truncate},
    {"center", f_center},
    {"wordcount", f_wordcount},
    {"urlencode", f_urlencode},
    {NULL, NULL},
};

gf_jfilter gf_jfilter_find(const char *name, size_t n)
{
    const gf_jfilter_row *const tables[] = {gf_jfilters_text, gf_jfilters_sequence};
    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++)
        for (const gf_jfilter_row *row = tables[t]; row->name != NULL; row++)
            if (strlen(row->name) == n && memcmp(row->name, name, n) == 0)
                return row->run;
    return NULL;
}
