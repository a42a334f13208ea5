/* 'a %s' % x and 'a {}'.format(x). */
#include "text/template/value.h"

#include "text/template/text.h"

#include <stdio.h>
#include <string.h>

/* One conversion: [[fill]align][sign][#][0][width][.precision][type] */
typedef struct {
    char align, sign, type;
    bool alt, zero, comma;
    int64_t width, precision; /* precision -1: none */
    uint32_t fill;
} spec;

static const int64_t max_width = 1000; /* nobody pads a chat further */

/* Pads the text at b->data[from..] to the width, counted in characters. */
static gf_status pad(gf_jrun *r, gf_buf *b, size_t from, const spec *s, char align)
{
    const int64_t have = (int64_t)gf_jtext_length(b->data + from, b->len - from);
    const int64_t gap = s->width - have;
    if (gap <= 0)
        return GF_OK;
    char fill[4];
    const size_t k = gf_jchar_put(fill, s->fill);
    const int64_t left = align == '<' ? 0 : align == '^' ? gap / 2 : gap;
    size_t at = from; /* zeros go between sign and digits */
    if (align == '=' && at < b->len && strchr("+- ", b->data[at]) != NULL)
        at++;
    TRY(gf_jarena_charge(&r->arena, (size_t)gap * k, r->err));
    for (int64_t i = 0; i < gap; i++)
        TRY(gf_buf_add(b, fill, k, r->err));
    const size_t before = (size_t)left * k;
    memmove(b->data + at + before, b->data + at, b->len - at - (size_t)gap * k);
    for (size_t i = 0; i < before; i += k)
        memcpy(b->data + at + i, fill, k);
    const size_t after = (size_t)(gap - left) * k;
    for (size_t i = 0; i < after; i += k)
        memcpy(b->data + b->len - after + i, fill, k);
    return GF_OK;
}

static gf_status number(gf_jrun *r, gf_jval v, const spec *s, gf_buf *b)
{
    char text[700]; /* a double with 309 digits and up to 300 places */
    char format[16];
    const char *sign = s->sign == '+' ? "+" : s->sign == ' ' ? " " : "";
    if (s->precision > 300 || s->comma)
        return gf_jrun_fail(r, "this format of a number is not supported");
    if (strchr("eEfFgG%", s->type) != NULL) {
        const double f = gf_jval_as_float(v) * (s->type == '%' ? 100 : 1);
        snprintf(format, sizeof format, "%%%s%s.*%c", sign, s->alt ? "#" : "",
                 s->type == '%' ? 'f' : s->type);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* built from checked letters, just above */
        snprintf(text, sizeof text, format, s->precision < 0 ? 6 : (int)s->precision, f);
        if (s->type == '%')
            strcat(text, "%");
    } else {
        if (!gf_jval_integral(v))
            return gf_jrun_fail(r, "format '%c' wants an integer, not %s", s->type,
                                gf_jval_type(v));
        const int64_t i = gf_jval_as_int(v);
        const uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
        const char *prefix = !s->alt          ? ""
                             : s->type == 'x' ? "0x"
                             : s->type == 'X' ? "0X"
                             : s->type == 'o' ? "0o"
                                              : "";
        snprintf(format, sizeof format, "%%s%%s%%ll%c", s->type == 'd' ? 'u' : s->type);
        snprintf(text, sizeof text, format, i < 0 ? "-" : sign, prefix, (unsigned long long)u);
#pragma GCC diagnostic pop
    }
    return gf_buf_str(b, text, r->err);
}

/* v by a specification: what str.format and % have in common. */
static gf_status convert(gf_jrun *r, gf_jval v, const spec *given, gf_buf *b)
{
    spec s = *given;
    const size_t from = b->len;
    if (s.width > max_width)
        return gf_jrun_fail(r, "a format's width is above %lld", (long long)max_width);
    if (s.type == '\0' && gf_jval_number(v) && v.kind != GF_J_BOOL && s.precision >= 0)
        s.type = 'g';
    if (s.type == '\0' && v.kind == GF_J_INT)
        s.type = 'd';
    if (s.type == 's' || s.type == '\0') {
        gf_jval t;
        TRY(gf_jval_str(r, v, &t));
        size_t n = t.s->size;
        if (s.precision >= 0)
            n = gf_jtext_offset(t.s->data, n, (size_t)s.precision);
        TRY(gf_jarena_charge(&r->arena, n, r->err));
        TRY(gf_buf_add(b, t.s->data, n, r->err));
        return pad(r, b, from, &s, s.align != '\0' ? s.align : gf_jval_number(v) ? '>' : '<');
    }
    if (strchr("dxXoeEfFgG%", s.type) == NULL)
        return gf_jrun_fail(r, "the format character '%c' is not supported", s.type);
    if (!gf_jval_number(v))
        return gf_jrun_fail(r, "format '%c' wants a number, not %s", s.type, gf_jval_type(v));
    TRY(number(r, v, &s, b));
    return pad(r, b, from, &s, s.align != '\0' ? s.align : s.zero ? '=' : '>');
}

static bool read_int(const char **p, const char *end, int64_t *out)
{
    if (*p == end || **p < '0' || **p > '9')
        return false;
    *out = 0;
    while (*p < end && **p >= '0' && **p <= '9' && *out < 1000000)
        *out = *out * 10 + (*(*p)++ - '0');
    return true;
}

/* ---- % ----------------------------------------------------------------------------- */

typedef struct {
    gf_jval args;
    size_t next;
} percent_args;

static gf_status percent_next(gf_jrun *r, percent_args *a, gf_jval *out)
{
    const bool tuple = a->args.kind == GF_J_TUPLE;
    if (a->next >= (tuple ? a->args.l->count : 1))
        return gf_jrun_fail(r, "not enough arguments for format string");
    *out = tuple ? a->args.l->item[a->next] : a->args;
    a->next++;
    return GF_OK;
}

static gf_status percent_one(gf_jrun *r, const char **p, const char *end, percent_args *a,
                             gf_buf *b)
{
    spec s = {.precision = -1, .fill = ' '};
    gf_jval v = gf_jval_none();
    bool named = false;
    if (*p < end && **p == '(') {
        const char *close = memchr(*p, ')', (size_t)(end - *p));
        if (close == NULL || a->args.kind != GF_J_DICT)
            return gf_jrun_fail(r, "format requires a mapping");
        const gf_jval *e = gf_jdict_named(a->args.d, *p + 1, (size_t)(close - *p - 1));
        if (e == NULL)
            return gf_jrun_fail(r, "a format names a key that is not there");
        v = *e;
        named = true;
        a->next = 1;
        *p = close + 1;
    }
    for (; *p < end && strchr("-+ #0", **p) != NULL && **p != '\0'; ++*p) {
        s.align = **p == '-' ? '<' : s.align;
        s.sign = **p == '+' || (**p == ' ' && s.sign == '\0') ? **p : s.sign;
        s.alt |= **p == '#';
        s.zero |= **p == '0';
    }
    read_int(p, end, &s.width);
    if (*p < end && **p == '.') {
        ++*p;
        s.precision = 0;
        read_int(p, end, &s.precision);
    }
    if (*p >= end)
        return gf_jrun_fail(r, "incomplete format");
    s.type = *(*p)++;
    if (s.type == '%')
        return gf_buf_str(b, "%", r->err);
    if (!named)
        TRY(percent_next(r, a, &v));
    if (s.type == 'i' || s.type == 'u')
        s.type = 'd';
    if (s.type == 'd' && v.kind == GF_J_FLOAT && v.f > -9e18 && v.f < 9e18)
        v = gf_jval_int((int64_t)v.f); /* %d cuts floats */
    if (s.type == 'r') {
        gf_buf t = {0};
        const gf_status st = gf_jval_repr(r, v, &t);
        if (st != GF_OK) {
            gf_buf_free(&t);
            return st;
        }
        TRY(gf_jval_buf(r, &t, false, &v));
        s.type = 's';
    }
    if (s.zero && s.align == '\0' && s.type != 's')
        s.fill = '0';
    if (s.type == 's' && s.align == '\0')
        s.align = '>';
    return convert(r, v, &s, b);
}

static gf_status percent_all(gf_jrun *r, const gf_jstr *format, percent_args *a, gf_buf *b)
{
    const char *p = format->data, *const end = p + format->size;
    while (p < end) {
        const char *mark = memchr(p, '%', (size_t)(end - p));
        const size_t n = (size_t)((mark == NULL ? end : mark) - p);
        TRY(gf_jarena_charge(&r->arena, n, r->err));
        TRY(gf_buf_add(b, p, n, r->err));
        TRY(gf_jrun_step(r, 1));
        p += n;
        if (mark != NULL) {
            p++;
            TRY(percent_one(r, &p, end, a, b));
        }
    }
    const size_t given = a->args.kind == GF_J_TUPLE ? a->args.l->count : 1;
    if (a->next < given && a->args.kind != GF_J_DICT && a->args.kind != GF_J_LIST)
        return gf_jrun_fail(r, "not all arguments converted during string formatting");
    return GF_OK;
}

gf_status gf_jformat_percent(gf_jrun *r, gf_jval format, gf_jval args, gf_jval *out)
{
    gf_buf b = {0};
    percent_args a = {.args = args};
    const gf_status st = percent_all(r, format.s, &a, &b);
    if (st != GF_OK) {
        gf_buf_free(&b);
        return st;
    }
    return gf_jval_buf(r, &b, format.s->safe, out);
}

/* ---- {} ---------------------------------------------------------------------------- */

static gf_status parse_spec(gf_jrun *r, const char *p, const char *end, spec *s)
{
    *s = (spec){.precision = -1, .fill = ' '};
    size_t step = 0;
    if (p < end)
        s->fill = gf_jchar_at(p, (size_t)(end - p), &step);
    if (p < end && p + step < end && p[step] != '\0' && strchr("<>^=", p[step]) != NULL) {
        s->align = p[step];
        p += step + 1;
    } else {
        s->fill = ' ';
        if (p < end && *p != '\0' && strchr("<>^=", *p) != NULL)
            s->align = *p++;
    }
    if (p < end && (*p == '+' || *p == '-' || *p == ' '))
        s->sign = *p++;
    if (p < end && *p == '#') {
        s->alt = true;
        p++;
    }
    if (p < end && *p == '0') {
        s->zero = true;
        s->fill = s->align == '\0' ? '0' : s->fill;
        p++;
    }
    read_int(&p, end, &s->width);
    if (p < end && *p == ',') {
        s->comma = true;
        p++;
    }
    if (p < end && *p == '.') {
        p++;
        if (!read_int(&p, end, &s->precision))
            return gf_jrun_fail(r, "Format specifier missing precision");
    }
    if (p < end)
        s->type = *p++;
    return p == end ? GF_OK : gf_jrun_fail(r, "Invalid format specifier");
}

/* The argument that a field names: {}, {0}, {name}, {name.a[b]}. */
static gf_status field_value(gf_jrun *r, const char *p, const char *end, const gf_jcall *c,
                             size_t *next, gf_jval *out)
{
    const char *q = p;
    while (q < end && *q != '.' && *q != '[')
        q++;
    int64_t index;
    const char *digits = p;
    if (q == p) {
        index = (int64_t)(*next)++;
    } else if (!read_int(&digits, q, &index) || digits != q) {
        index = -1;
        for (size_t i = 0; i < c->named_count; i++)
            if (c->name[i]->size == (size_t)(q - p) &&
                memcmp(c->name[i]->data, p, (size_t)(q - p)) == 0)
                index = (int64_t)(c->count + i);
    }
    if (index < 0 || (size_t)index >= c->count + (q == p || digits == q ? 0 : c->named_count))
        return gf_jrun_fail(r, "format() has no argument '%.*s'", (int)(q - p), p);
    *out = (size_t)index < c->count ? c->pos[index] : c->named[(size_t)index - c->count];
    while (q < end) {
        const bool bracket = *q == '[';
        const char *from = q + 1;
        for (q = from; q < end && (bracket ? *q != ']' : *q != '.' && *q != '[');)
            q++;
        gf_jval key;
        const char *number_end = from;
        if (bracket && read_int(&number_end, q, &index) && number_end == q)
            key = gf_jval_int(index);
        else
            TRY(gf_jval_text(r, from, (size_t)(q - from), false, &key));
        if (bracket && q == end)
            return gf_jrun_fail(r, "expected ']' in a format field");
        q += bracket;
        TRY(bracket ? gf_jval_item(r, *out, key, out) : gf_jval_attribute(r, *out, key.s, out));
    }
    return GF_OK;
}

static gf_status field(gf_jrun *r, const char *p, const char *end, const gf_jcall *c, size_t *next,
                       gf_buf *b)
{
    const char *colon = memchr(p, ':', (size_t)(end - p));
    const char *name_end = colon == NULL ? end : colon;
    char conversion = '\0';
    if (name_end - p >= 2 && name_end[-2] == '!') {
        conversion = name_end[-1];
        name_end -= 2;
    }
    gf_jval v;
    spec s;
    TRY(field_value(r, p, name_end, c, next, &v));
    TRY(parse_spec(r, colon == NULL ? end : colon + 1, end, &s));
    if (conversion == 'r') {
        gf_buf t = {0};
        const gf_status st = gf_jval_repr(r, v, &t);
        if (st != GF_OK) {
            gf_buf_free(&t);
            return st;
        }
        TRY(gf_jval_buf(r, &t, false, &v));
    } else if (conversion == 's') {
        TRY(gf_jval_str(r, v, &v));
    } else if (conversion != '\0') {
        return gf_jrun_fail(r, "the conversion !%c is not supported", conversion);
    }
    return convert(r, v, &s, b);
}

static gf_status braces_all(gf_jrun *r, const gf_jstr *format, const gf_jcall *c, gf_buf *b)
{
    const char *p = format->data, *const end = p + format->size;
    size_t next = 0;
    while (p < end) {
        const char *q = p;
        while (q < end && *q != '{' && *q != '}')
            q++;
        TRY(gf_jarena_charge(&r->arena, (size_t)(q - p), r->err));
        TRY(gf_buf_add(b, p, (size_t)(q - p), r->err));
        TRY(gf_jrun_step(r, 1));
        if (q == end)
            break;
        if (q + 1 < end && q[1] == *q) {
            TRY(gf_buf_add(b, q, 1, r->err));
            p = q + 2;
            continue;
        }
        const char *close = *q == '{' ? memchr(q, '}', (size_t)(end - q)) : NULL;
        if (close == NULL)
            return gf_jrun_fail(r, "Single '%c' encountered in format string", *q);
        TRY(field(r, q + 1, close, c, &next, b));
        p = close + 1;
    }
    return GF_OK;
}

gf_status gf_jformat_braces(gf_jrun *r, gf_jval format, const gf_jcall *c, gf_jval *out)
{
    gf_buf b = {0};
    const gf_status st = braces_all(r, format.s, c, &b);
    if (st != GF_OK) {
        gf_buf_free(&b);
        return st;
    }
    return gf_jval_buf(r, &b, format.s->safe, out);
}
