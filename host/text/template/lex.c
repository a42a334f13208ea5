#include "text/template/lex.h"

#include "text/template/text.h"
#include "text/template/value.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    gf_jtokens *out;
    gf_jarena *arena;
    const char *s; /* the source with '\n' as its only line break */
    size_t n, pos;
    int line;
    bool line_starting; /* did the match before end with a newline? (lstrip_blocks) */
    const char *where;
    gf_err *err;
    char closing[200]; /* brackets open inside a tag; as deep as expressions may nest */
    int open;
} lexer;

static gf_status lex_fail(const lexer *l, const char *what)
{
    return gf_fail(l->err, GF_EINPUT, "%s:%d: %s", l->where, l->line, what);
}

static gf_status push(lexer *l, gf_jtoken t)
{
    gf_jtokens *o = l->out;
    if (o->count == o->cap) {
        const size_t cap = o->cap == 0 ? 256 : o->cap * 2; /* most templates have below 2000 */
        gf_jtoken *p = gf_realloc(o->token, cap, sizeof *p, l->err);
        if (p == NULL)
            return GF_ENOMEM;
        o->token = p;
        o->cap = cap;
    }
    t.line = l->line;
    o->token[o->count++] = t;
    return GF_OK;
}

static bool at(const lexer *l, size_t pos, const char *what)
{
    const size_t k = strlen(what);
    return pos <= l->n && k <= l->n - pos && memcmp(l->s + pos, what, k) == 0;
}

/* Moves on to `to`, counting lines. */
static void advance(lexer *l, size_t to)
{
    for (size_t i = l->pos; i < to; i++)
        l->line += l->s[i] == '\n';
    l->pos = to;
}

static size_t skip_space(const lexer *l, size_t pos)
{
    while (pos < l->n) {
        size_t step;
        if (!gf_jchar_space(gf_jchar_at(l->s + pos, l->n - pos, &step)))
            break;
        pos += step;
    }
    return pos;
}

/* Where a tag's end begins at pos: its length with what it strips, or 0. `plus`: "+%}" counts. */
static size_t tag_end(const lexer *l, size_t pos, const char *end, bool plus, bool trim)
{
    if (plus && l->s[pos] == '+' && at(l, pos + 1, end))
        return 3;
    if (l->s[pos] == '-' && at(l, pos + 1, end))
        return skip_space(l, pos + 3) - pos;
    if (at(l, pos, end))
        return trim && at(l, pos + 2, "\n") ? 3 : 2;
    return 0;
}

/* Text before a tag, stripped as the tag's sign and lstrip_blocks ask for. */
static gf_status push_data(lexer *l, size_t end, char sign, bool variable)
{
    const char *t = l->s + l->pos;
    size_t n = end - l->pos;
    if (sign == '-') {
        n = gf_jtext_rstrip(t, n);
    } else if (sign != '+' && !variable) {
        size_t k = n;
        while (k > 0 && t[k - 1] != '\n')
            k--;
        if ((k > 0 || l->line_starting) && n > k && skip_space(l, l->pos + k) >= end)
            n = k;
    }
    if (n > 0)
        TRY(push(l, (gf_jtoken){.kind = GF_JT_DATA, .text = t, .size = n}));
    advance(l, end);
    return GF_OK;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* \xhh, \uhhhh, \Uhhhhhhhh: `digits` of them after position i. */
static gf_status unescape_hex(const lexer *l, const char *s, size_t n, size_t i, int digits,
                              uint32_t *cp)
{
    *cp = 0;
    for (int k = 0; k < digits; k++) {
        const int d = i + (size_t)k < n ? hex_digit(s[i + (size_t)k]) : -1;
        if (d < 0)
            return lex_fail(l, "a \\x, \\u or \\U escape has too few hexadecimal digits");
        *cp = *cp << 4 | (uint32_t)d;
    }
    if (*cp > 0x10ffff || (*cp >= 0xd800 && *cp < 0xe000))
        return lex_fail(l, "an escape is not a Unicode character");
    return GF_OK;
}

/* A string literal's value, by Python's unicode-escape. An escape never grows. */
static gf_status unescape(lexer *l, const char *s, size_t n, gf_jtoken *t)
{
    char *d = gf_jarena_chars(l->arena, n + 1, l->err);
    if (d == NULL)
        return l->err != NULL && l->err->code != GF_OK ? l->err->code : GF_ENOMEM;
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] != '\\' || i + 1 == n) {
            d[k++] = s[i];
            continue;
        }
        static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
        const char c = s[++i];
        const char *hit = strchr(from, c);
        if (c == '\n')
            continue;
        if (c != '\0' && hit != NULL) {
            d[k++] = to[hit - from];
        } else if (c == 'x' || c == 'u' || c == 'U') {
            const int digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
            uint32_t cp;
            TRY(unescape_hex(l, s, n, i + 1, digits, &cp));
            k += gf_jchar_put(d + k, cp);
            i += (size_t)digits;
        } else if (c >= '0' && c <= '7') {
            uint32_t cp = 0;
            size_t j = i;
            for (; j < n && j < i + 3 && s[j] >= '0' && s[j] <= '7'; j++)
                cp = cp * 8 + (uint32_t)(s[j] - '0');
            k += gf_jchar_put(d + k, cp);
            i = j - 1;
        } else if (c == 'N') {
            return lex_fail(l, "\\N{...} escapes are not supported: write the character itself");
        } else {
            d[k++] = '\\';
            d[k++] = c;
        }
    }
    t->text = d;
    t->size = k;
    return GF_OK;
}

static gf_status lex_string(lexer *l)
{
    const char quote = l->s[l->pos];
    size_t i = l->pos + 1;
    while (i < l->n && l->s[i] != quote)
        i += l->s[i] == '\\' ? 2 : 1;
    if (i >= l->n)
        return lex_fail(l, "a string is not closed");
    gf_jtoken t = {.kind = GF_JT_STRING};
    TRY(unescape(l, l->s + l->pos + 1, i - l->pos - 1, &t));
    TRY(push(l, t));
    advance(l, i + 1);
    return GF_OK;
}

static bool digit(const lexer *l, size_t i)
{
    return i < l->n && l->s[i] >= '0' && l->s[i] <= '9';
}

/* Digits with single underscores between them, from i. */
static size_t digits_end(const lexer *l, size_t i)
{
    while (digit(l, i) || (i < l->n && l->s[i] == '_' && digit(l, i + 1)))
        i++;
    return i;
}

static gf_status lex_radix(lexer *l, int radix)
{
    int64_t v = 0;
    size_t i = l->pos + 2, used = 0;
    for (; i < l->n; i++) {
        if (l->s[i] == '_')
            continue;
        const int d = hex_digit(l->s[i]);
        if (d < 0 || d >= radix)
            break;
        used++;
        if (__builtin_mul_overflow(v, (int64_t)radix, &v) ||
            __builtin_add_overflow(v, (int64_t)d, &v))
            return lex_fail(l, "an integer is over 64 bits");
    }
    if (used == 0)
        return lex_fail(l, "a number has no digits");
    TRY(push(l, (gf_jtoken){.kind = GF_JT_INT, .i = v}));
    l->pos = i;
    return GF_OK;
}

static gf_status lex_number(lexer *l)
{
    if (l->s[l->pos] == '0' && l->pos + 1 < l->n) {
        const char c = (char)(l->s[l->pos + 1] | 0x20);
        if (c == 'x' || c == 'o' || c == 'b')
            return lex_radix(l, c == 'x' ? 16 : c == 'o' ? 8 : 2);
    }
    size_t end = digits_end(l, l->pos);
    bool is_float = false;
    if (l->pos == 0 || l->s[l->pos - 1] != '.') { /* a.0.1 is two subscripts */
        if (end < l->n && l->s[end] == '.' && digit(l, end + 1)) {
            is_float = true;
            end = digits_end(l, end + 1);
        }
        if (end < l->n && (l->s[end] | 0x20) == 'e') {
            const size_t sign = end + 1 < l->n && strchr("+-", l->s[end + 1]) != NULL;
            if (digit(l, end + 1 + sign)) {
                is_float = true;
                end = digits_end(l, end + 1 + sign);
            }
        }
    }
    char num[64]; /* 64-bit integers have 19 digits, doubles are exact with 17 */
    size_t k = 0;
    for (size_t i = l->pos; i < end; i++) {
        if (l->s[i] == '_')
            continue;
        if (k + 1 >= sizeof num)
            return lex_fail(l, "a number has too many digits");
        num[k++] = l->s[i];
    }
    num[k] = '\0';
    gf_jtoken t = {.kind = is_float ? GF_JT_FLOAT : GF_JT_INT};
    if (is_float) {
        t.f = strtod(num, NULL);
    } else {
        for (size_t i = 0; i < k; i++)
            if (__builtin_mul_overflow(t.i, (int64_t)10, &t.i) ||
                __builtin_add_overflow(t.i, (int64_t)(num[i] - '0'), &t.i))
                return lex_fail(l, "an integer is over 64 bits");
    }
    l->pos = end;
    return push(l, t);
}

static gf_status lex_bracket(lexer *l, char c)
{
    if (strchr("([{", c) != NULL) {
        if (l->open == (int)sizeof l->closing)
            return lex_fail(l, "brackets nest too deeply");
        l->closing[l->open++] = c == '(' ? ')' : (char)(c + 2); /* ASCII: '[' + 2 == ']' */
        return GF_OK;
    }
    if (l->open == 0 || l->closing[l->open - 1] != c)
        return lex_fail(l, "a closing bracket has no opening one");
    l->open--;
    return GF_OK;
}

static gf_status lex_operator(lexer *l)
{
    static const char two[][3] = {"//", "**", "==", "!=", ">=", "<="};
    const char c = l->s[l->pos];
    for (size_t i = 0; i < sizeof two / sizeof two[0]; i++)
        if (at(l, l->pos, two[i])) {
            l->pos += 2;
            return push(l, (gf_jtoken){.kind = GF_JT_OP, .op = GF_JOP2(two[i][0], two[i][1])});
        }
    if (c == '\0' || strchr("+-/*%~[](){}<>=.:|,;", c) == NULL) {
        return gf_fail(l->err, GF_EINPUT, "%s:%d: unexpected byte 0x%02x in a tag", l->where,
                       l->line, (unsigned)(unsigned char)c);
    }
    if (strchr("()[]{}", c) != NULL)
        TRY(lex_bracket(l, c));
    l->pos++;
    return push(l, (gf_jtoken){.kind = GF_JT_OP, .op = c});
}

static bool name_byte(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (unsigned char)c >= 0x80 || (!first && c >= '0' && c <= '9');
}

/* The inside of {% %} or {{ }}, through its end. */
static gf_status lex_tag(lexer *l, bool variable)
{
    const char *end = variable ? "}}" : "%}";
    l->open = 0;
    for (;;) {
        const size_t start = skip_space(l, l->pos);
        advance(l, start);
        if (l->pos >= l->n)
            return lex_fail(l, variable ? "{{ is not closed" : "{% is not closed");
        const size_t k = l->open > 0 ? 0 : tag_end(l, l->pos, end, !variable, !variable);
        if (k > 0) {
            TRY(push(l, (gf_jtoken){.kind = variable ? GF_JT_PRINT_END : GF_JT_BLOCK_END}));
            l->line_starting = l->s[l->pos + k - 1] == '\n';
            advance(l, l->pos + k);
            return GF_OK;
        }
        const char c = l->s[l->pos];
        if (c >= '0' && c <= '9') {
            TRY(lex_number(l));
        } else if (name_byte(c, true)) {
            size_t i = l->pos;
            while (i < l->n && name_byte(l->s[i], false))
                i++;
            TRY(push(l,
                     (gf_jtoken){.kind = GF_JT_NAME, .text = l->s + l->pos, .size = i - l->pos}));
            l->pos = i;
        } else if (c == '\'' || c == '"') {
            TRY(lex_string(l));
        } else {
            TRY(lex_operator(l));
        }
    }
}

static gf_status lex_comment(lexer *l)
{
    for (size_t i = l->pos; i < l->n; i++) {
        const size_t k = tag_end(l, i, "#}", true, true);
        if (k > 0) {
            l->line_starting = l->s[i + k - 1] == '\n';
            advance(l, i + k);
            return GF_OK;
        }
    }
    return lex_fail(l, "a comment is not closed");
}

/* If {% NAME %} stands at pos: its sign and end; begin tags don't take the newline that follows. */
static bool lone_tag(const lexer *l, size_t pos, const char *name, bool ends, char *sign,
                     size_t *end)
{
    if (!at(l, pos, "{%"))
        return false;
    size_t i = pos + 2;
    *sign = i < l->n && (l->s[i] == '-' || l->s[i] == '+') ? l->s[i++] : '\0';
    i = skip_space(l, i);
    if (!at(l, i, name))
        return false;
    i = skip_space(l, i + strlen(name));
    const size_t k = i < l->n ? tag_end(l, i, "%}", ends, ends) : 0;
    *end = i + k;
    return k > 0;
}

static gf_status lex_raw(lexer *l)
{
    for (size_t i = l->pos; i < l->n; i++) {
        char sign;
        size_t end;
        if (!lone_tag(l, i, "endraw", true, &sign, &end))
            continue;
        TRY(push_data(l, i, sign, false));
        l->line_starting = l->s[end - 1] == '\n';
        advance(l, end);
        return GF_OK;
    }
    return lex_fail(l, "{% raw %} is not closed");
}

static gf_status lex_root(lexer *l)
{
    while (l->pos < l->n) {
        size_t i = l->pos;
        while (i < l->n && !(l->s[i] == '{' && i + 1 < l->n && strchr("{%#", l->s[i + 1]) != NULL &&
                             l->s[i + 1] != '\0'))
            i++;
        if (i == l->n)
            return push_data(l, l->n, '+', true);
        char sign;
        size_t end;
        if (lone_tag(l, i, "raw", false, &sign, &end)) {
            TRY(push_data(l, i, sign, false));
            l->line_starting = l->s[end - 1] == '\n';
            advance(l, end);
            TRY(lex_raw(l));
            continue;
        }
        const char kind = l->s[i + 1];
        const char next = i + 2 < l->n ? l->s[i + 2] : '\0';
        sign = next == '-' || next == '+' ? next : '\0';
        TRY(push_data(l, i, sign, kind == '{'));
        advance(l, i + 2 + (sign != '\0'));
        if (kind == '#') {
            TRY(lex_comment(l));
            continue;
        }
        const bool variable = kind == '{';
        TRY(push(l, (gf_jtoken){.kind = variable ? GF_JT_PRINT_BEGIN : GF_JT_BLOCK_BEGIN}));
        TRY(lex_tag(l, variable));
    }
    return GF_OK;
}

gf_status gf_jlex(gf_jtokens *tokens, gf_jarena *a, const char *text, size_t size,
                  const char *where, gf_err *err)
{
    lexer l = {
        .out = tokens, .arena = a, .line = 1, .line_starting = true, .where = where, .err = err};
    if (!gf_jtext_valid(text, size))
        return gf_fail(err, GF_EINPUT, "%s: the template is not valid UTF-8", where);
    char *s = gf_jarena_chars(a, size + 1, err);
    if (s == NULL)
        return GF_EINPUT;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\r' && i + 1 < size && text[i + 1] == '\n')
            continue;
        s[l.n++] = text[i] == '\r' ? '\n' : text[i];
    }
    if (l.n > 0 && s[l.n - 1] == '\n')
        l.n--;
    l.s = s;
    TRY(lex_root(&l));
    return push(&l, (gf_jtoken){.kind = GF_JT_EOF});
}
