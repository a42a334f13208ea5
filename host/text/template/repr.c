/* str(), repr(), json.dumps(). */
#include "text/template/text.h"
#include "text/template/value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int max_depth = 600; /* values from JSON nest 512 deep at most */

/* Text on its way into a buffer counts against the render's memory. */
static gf_status add(gf_jrun *r, gf_buf *b, const char *s, size_t n)
{
    TRY(gf_jarena_charge(&r->arena, n, r->err));
    return gf_buf_add(b, s, n, r->err);
}

static gf_status add_str(gf_jrun *r, gf_buf *b, const char *s)
{
    return add(r, b, s, strlen(s));
}

/* Python's repr of a float: the fewest digits that read back, exponent below 1e-4 and from 1e16. */
gf_status gf_jfloat_repr(gf_jrun *r, double f, gf_buf *b)
{
    char s[40]; /* 17 digits, sign, point, exponent, and up to 16 places of padding */
    if (isnan(f))
        return add_str(r, b, "nan");
    if (isinf(f))
        return add_str(r, b, f < 0 ? "-inf" : "inf");
    int precision = 0;
    do {
        snprintf(s, sizeof s, "%.*e", precision, f);
    } while (strtod(s, NULL) != f && ++precision < 17);
    const char *e = strchr(s, 'e');
    const int exponent = e == NULL ? 0 : atoi(e + 1);
    if (exponent >= -4 && exponent < 16) {
        const int places = precision > exponent ? precision - exponent : 0;
        snprintf(s, sizeof s, "%.*f", places, f);
        TRY(add_str(r, b, s));
        return places == 0 ? add_str(r, b, ".0") : GF_OK;
    }
    return add_str(r, b, s); /* C and Python write exponents alike: e+16, e-05 */
}

static gf_status repr_text(gf_jrun *r, const gf_jstr *s, gf_buf *b)
{
    const bool single = memchr(s->data, '\'', s->size) != NULL;
    const bool doubled = memchr(s->data, '"', s->size) != NULL;
    const char quote = single && !doubled ? '"' : '\'';
    if (s->safe)
        TRY(add_str(r, b, "Markup("));
    TRY(add(r, b, &quote, 1));
    for (size_t i = 0, step; i < s->size; i += step) {
        const uint32_t cp = gf_jchar_at(s->data + i, s->size - i, &step);
        char e[12];
        if (cp == (uint32_t)quote || cp == '\\')
            snprintf(e, sizeof e, "\\%c", (int)cp);
        else if (cp == '\n' || cp == '\r' || cp == '\t')
            snprintf(e, sizeof e, "\\%c", cp == '\n' ? 'n' : cp == '\r' ? 'r' : 't');
        else if (gf_jchar_printable(cp))
            e[0] = '\0';
        else
            snprintf(e, sizeof e,
                     cp < 0x100     ? "\\x%02x"
                     : cp < 0x10000 ? "\\u%04x"
                                    : "\\U%08x",
                     cp);
        if (e[0] == '\0')
            TRY(add(r, b, s->data + i, step));
        else
            TRY(add_str(r, b, e));
    }
    TRY(add(r, b, &quote, 1));
    return s->safe ? add_str(r, b, ")") : GF_OK;
}

static gf_status repr_at(gf_jrun *r, gf_jval v, int depth, gf_buf *b);

static gf_status repr_dict(gf_jrun *r, const gf_jdict *d, int depth, gf_buf *b)
{
    TRY(add_str(r, b, "{"));
    for (size_t i = 0; i < d->count; i++) {
        if (i > 0)
            TRY(add_str(r, b, ", "));
        TRY(repr_at(r, d->pair[i].key, depth + 1, b));
        TRY(add_str(r, b, ": "));
        TRY(repr_at(r, d->pair[i].value, depth + 1, b));
    }
    return add_str(r, b, "}");
}

static gf_status repr_items(gf_jrun *r, const gf_jlist *l, int depth, gf_buf *b)
{
    for (size_t i = 0; i < l->count; i++) {
        if (i > 0)
            TRY(add_str(r, b, ", "));
        TRY(repr_at(r, l->item[i], depth + 1, b));
    }
    return GF_OK;
}

static gf_status repr_range(gf_jrun *r, const gf_jlist *l, gf_buf *b)
{
    char s[80]; /* three integers */
    const long long first = l->count == 0 ? 0 : l->item[0].i;
    const long long step = l->count < 2 ? 1 : l->item[1].i - l->item[0].i;
    const long long end = first + step * (long long)l->count;
    snprintf(s, sizeof s, step == 1 ? "range(%lld, %lld)" : "range(%lld, %lld, %lld)", first, end,
             step);
    return add_str(r, b, s);
}

static gf_status repr_list(gf_jrun *r, gf_jval v, int depth, gf_buf *b)
{
    if (v.kind == GF_J_RANGE)
        return repr_range(r, v.l, b);
    if (v.kind == GF_J_VIEW) {
        TRY(add_str(r, b, v.l->type));
        TRY(add_str(r, b, "(["));
        TRY(repr_items(r, v.l, depth, b));
        return add_str(r, b, "])");
    }
    TRY(add_str(r, b, v.kind == GF_J_TUPLE ? "(" : "["));
    TRY(repr_items(r, v.l, depth, b));
    if (v.kind == GF_J_TUPLE)
        return add_str(r, b, v.l->count == 1 ? ",)" : ")");
    return add_str(r, b, "]");
}

static gf_status repr_at(gf_jrun *r, gf_jval v, int depth, gf_buf *b)
{
    if (depth > max_depth)
        return gf_jrun_fail(r, "a value nests too deeply to be printed");
    TRY(gf_jrun_step(r, 1));
    char s[64]; /* an integer, or a type's name in brackets */
    switch (v.kind) {
    case GF_J_UNDEFINED:
        return add_str(r, b, "Undefined");
    case GF_J_NONE:
        return add_str(r, b, "None");
    case GF_J_BOOL:
        return add_str(r, b, v.b ? "True" : "False");
    case GF_J_INT:
        snprintf(s, sizeof s, "%lld", (long long)v.i);
        return add_str(r, b, s);
    case GF_J_FLOAT:
        return gf_jfloat_repr(r, v.f, b);
    case GF_J_STR:
        return repr_text(r, v.s, b);
    case GF_J_LIST:
    case GF_J_TUPLE:
    case GF_J_RANGE:
    case GF_J_VIEW:
        return repr_list(r, v, depth, b);
    case GF_J_DICT:
        return repr_dict(r, v.d, depth, b);
    case GF_J_NAMESPACE:
        TRY(add_str(r, b, "<Namespace "));
        TRY(repr_dict(r, v.d, depth, b));
        return add_str(r, b, ">");
    default:
        snprintf(s, sizeof s, "<%s object>", gf_jval_type(v));
        return add_str(r, b, s);
    }
}

gf_status gf_jval_repr(gf_jrun *r, gf_jval v, gf_buf *b)
{
    return repr_at(r, v, 0, b);
}

gf_status gf_jval_print(gf_jrun *r, gf_jval v, gf_buf *b)
{
    if (v.kind == GF_J_STR) {
        TRY(gf_jrun_step(r, v.s->size >> 8)); /* copying 256 bytes counts as a step */
        return add(r, b, v.s->data, v.s->size);
    }
    return v.kind == GF_J_UNDEFINED ? GF_OK : repr_at(r, v, 0, b);
}

gf_status gf_jval_str(gf_jrun *r, gf_jval v, gf_jval *out)
{
    if (v.kind == GF_J_STR) {
        *out = v;
        return GF_OK;
    }
    gf_buf b = {0};
    const gf_status st = gf_jval_print(r, v, &b);
    if (st != GF_OK) {
        gf_buf_free(&b);
        return st;
    }
    return gf_jval_buf(r, &b, false, out);
}

/* ---- json.dumps -------------------------------------------------------------------- */

static gf_status json_escape(gf_jrun *r, uint32_t cp, gf_buf *b)
{
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    char s[16]; /* two \uXXXX */
    const char *hit = cp == 0 || cp > 0x7f ? NULL : strchr(from, (int)cp);
    if (hit != NULL) {
        snprintf(s, sizeof s, "\\%c", to[hit - from]);
    } else if (cp >= 0x10000) {
        const uint32_t v = cp - 0x10000;
        snprintf(s, sizeof s, "\\u%04x\\u%04x", 0xd800 | (v >> 10), 0xdc00 | (v & 0x3ff));
    } else {
        snprintf(s, sizeof s, "\\u%04x", cp);
    }
    return add_str(r, b, s);
}

static gf_status json_text(gf_jrun *r, const gf_jstr *t, bool ascii, gf_buf *b)
{
    TRY(add_str(r, b, "\""));
    size_t from = 0;
    for (size_t i = 0, step; i < t->size; i += step) {
        const uint32_t cp = gf_jchar_at(t->data + i, t->size - i, &step);
        if (cp >= 0x20 && cp != '"' && cp != '\\' && !(ascii && cp > 0x7e))
            continue;
        TRY(add(r, b, t->data + from, i - from));
        TRY(json_escape(r, cp, b));
        from = i + step;
    }
    TRY(add(r, b, t->data + from, t->size - from));
    return add_str(r, b, "\"");
}

static gf_status json_float(gf_jrun *r, double f, gf_buf *b)
{
    if (isnan(f))
        return add_str(r, b, "NaN");
    if (isinf(f))
        return add_str(r, b, f < 0 ? "-Infinity" : "Infinity");
    return gf_jfloat_repr(r, f, b);
}

/* What stands before an element, or before the closing bracket. */
static gf_status json_break(gf_jrun *r, const gf_jdumps *how, int depth, bool comma, gf_buf *b)
{
    if (comma)
        TRY(add(r, b, how->item, how->item_size));
    if (how->indent == NULL)
        return GF_OK;
    TRY(add_str(r, b, "\n"));
    for (int i = 0; i < depth; i++)
        TRY(add(r, b, how->indent, how->indent_size));
    return GF_OK;
}

static gf_status json_at(gf_jrun *r, gf_jval v, const gf_jdumps *how, int depth, gf_buf *b);

static gf_status json_key(gf_jrun *r, gf_jval key, const gf_jdumps *how, gf_buf *b)
{
    if (key.kind == GF_J_STR)
        return json_text(r, key.s, how->ascii, b);
    if (key.kind != GF_J_NONE && !gf_jval_number(key))
        return gf_jrun_fail(r, "keys must be str, int, float, bool or None, not %s",
                            gf_jval_type(key));
    TRY(add_str(r, b, "\""));
    TRY(json_at(r, key, how, 0, b));
    return add_str(r, b, "\"");
}

static gf_status json_list(gf_jrun *r, const gf_jlist *l, const gf_jdumps *how, int depth,
                           gf_buf *b)
{
    if (l->count == 0)
        return add_str(r, b, "[]");
    TRY(add_str(r, b, "["));
    for (size_t i = 0; i < l->count; i++) {
        TRY(json_break(r, how, depth + 1, i > 0, b));
        TRY(json_at(r, l->item[i], how, depth + 1, b));
    }
    TRY(json_break(r, how, depth, false, b));
    return add_str(r, b, "]");
}

static gf_status json_dict(gf_jrun *r, const gf_jdict *d, const gf_jdumps *how, int depth,
                           gf_buf *b)
{
    if (d->count == 0)
        return add_str(r, b, "{}");
    gf_jpair *pair = d->pair;
    if (how->sort_keys) {
        pair = gf_jarena_object(&r->arena, d->count, sizeof *pair, r->err);
        if (pair == NULL)
            return gf_jrun_spent(r);
        for (size_t i = 0; i < d->count;
             i++) { /* insertion: objects are small, steps are bounded */
            size_t k = i;
            for (; k > 0; k--) {
                int order;
                bool nan;
                TRY(gf_jval_order(r, d->pair[i].key, pair[k - 1].key, "<", &order, &nan));
                if (order >= 0)
                    break;
                pair[k] = pair[k - 1];
            }
            pair[k] = d->pair[i];
        }
    }
    TRY(add_str(r, b, "{"));
    for (size_t i = 0; i < d->count; i++) {
        TRY(json_break(r, how, depth + 1, i > 0, b));
        TRY(json_key(r, pair[i].key, how, b));
        TRY(add(r, b, how->key, how->key_size));
        TRY(json_at(r, pair[i].value, how, depth + 1, b));
    }
    TRY(json_break(r, how, depth, false, b));
    return add_str(r, b, "}");
}

static gf_status json_at(gf_jrun *r, gf_jval v, const gf_jdumps *how, int depth, gf_buf *b)
{
    if (depth > max_depth)
        return gf_jrun_fail(r, "a value nests too deeply for JSON");
    TRY(gf_jrun_step(r, 1));
    switch (v.kind) {
    case GF_J_NONE:
        return add_str(r, b, "null");
    case GF_J_BOOL:
        return add_str(r, b, v.b ? "true" : "false");
    case GF_J_INT:
        return repr_at(r, v, 0, b);
    case GF_J_FLOAT:
        return json_float(r, v.f, b);
    case GF_J_STR:
        TRY(gf_jrun_step(r, v.s->size >> 8));
        return json_text(r, v.s, how->ascii, b);
    case GF_J_LIST:
    case GF_J_TUPLE:
        return json_list(r, v.l, how, depth, b);
    case GF_J_DICT:
        return json_dict(r, v.d, how, depth, b);
    default:
        return gf_jrun_fail(r, "Object of type %s is not JSON serializable", gf_jval_type(v));
    }
}

gf_status gf_jval_json(gf_jrun *r, gf_jval v, const gf_jdumps *how, gf_buf *b)
{
    return json_at(r, v, how, 0, b);
}
