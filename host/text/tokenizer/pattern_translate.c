/* pattern_translate.c - a pattern of Oniguruma's Ruby syntax, written for PCRE2. What the two read
 * differently is changed or refused. Contract: tokenizer/parts.h; rules: FORMATS 3.5. */
#include "text/tokenizer/parts.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* White_Space and its complement; PCRE2's \s has U+180E too. */
#define SPACES                                                                                     \
    "\\x09-\\x0D\\x20\\x85\\xA0\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}"   \
    "\\x{3000}"
#define NOT_SPACES                                                                                 \
    "\\x00-\\x08\\x0E-\\x1F\\x21-\\x84\\x86-\\x9F\\xA1-\\x{167F}\\x{1681}-\\x{1FFF}"               \
    "\\x{200B}-\\x{2027}\\x{202A}-\\x{202E}\\x{2030}-\\x{205E}\\x{2060}-\\x{2FFF}"                 \
    "\\x{3001}-\\x{10FFFF}"
/* Alphabetic (letters, letter numbers, four ranges of symbols), marks, digits, connectors, and
 * Latin-1's other numbers, which Oniguruma counts too. */
#define WORDS                                                                                      \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\xB2\\xB3\\xB9\\xBC-\\xBE\\x{24B6}-\\x{24E9}"               \
    "\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}"

typedef struct {
    const char *re, *where;
    size_t n, i;
    bool in_class;
    gf_buf *out;
    gf_err *err;
} translation;

static gf_status refuse(const translation *t, const char *what)
{
    return gf_fail(t->err, GF_EMISSING, "%s: pattern, byte %zu: %s is not supported", t->where,
                   t->i, what);
}

static bool is_category(const char *name, size_t n)
{
    static const char *const all[] = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me",
                                      "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi",
                                      "Pf", "Po", "S",  "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl",
                                      "Zp", "C",  "Cc", "Cf", "Cs", "Co", "Cn"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strlen(all[i]) == n && memcmp(all[i], name, n) == 0)
            return true;
    return false;
}

/* \p{Name}, \P{Name}, \p{^Name}: at the p. Other names are scripts. */
static gf_status property(translation *t)
{
    bool negated = t->re[t->i] == 'P';
    size_t i = t->i + 1;
    if (i >= t->n || t->re[i] != '{')
        return refuse(t, "\\p without braces");
    i++;
    if (i < t->n && t->re[i] == '^') {
        negated = !negated;
        i++;
    }
    const char *name = t->re + i;
    const char *close = memchr(name, '}', t->n - i);
    const size_t n = close ? (size_t)(close - name) : 0;
    if (!close || n == 0 || n > 40) /* the longest script name has 22 letters */
        return refuse(t, "this \\p{...}");
    for (size_t j = 0; j < n; j++)
        if (!isalpha((unsigned char)name[j]) && name[j] != '_')
            return refuse(t, "this \\p{...}");
    t->i = i + n + 1;
    return gf_buf_printf(t->out, t->err, "\\%c{%s%.*s}", negated ? 'P' : 'p',
                         is_category(name, n) ? "" : "sc:", (int)n, name);
}

/* Four hexadecimal digits: at the u. */
static gf_status code_unit(translation *t)
{
    if (t->n - t->i < 5)
        return refuse(t, "a short \\u");
    for (size_t j = 1; j <= 4; j++)
        if (!isxdigit((unsigned char)t->re[t->i + j]))
            return refuse(t, "\\u without four digits");
    TRY(gf_buf_printf(t->out, t->err, "\\x{%.4s}", t->re + t->i + 1));
    t->i += 5;
    return GF_OK;
}

/* At a backslash. */
static gf_status escape(translation *t)
{
    if (t->i + 1 >= t->n)
        return refuse(t, "a backslash at the end");
    const char c = t->re[++t->i];
    const char *text = NULL;
    switch (c) {
    case 'p':
    case 'P':
        return property(t);
    case 'u':
        return code_unit(t);
    case 's':
        text = t->in_class ? SPACES : "[" SPACES "]";
        break;
    case 'S':
        text = t->in_class ? NOT_SPACES : "[^" SPACES "]";
        break;
    case 'w':
        text = t->in_class ? WORDS : "[" WORDS "]";
        break;
    case 'W':
        if (t->in_class)
            return refuse(t, "\\W in a class");
        text = "[^" WORDS "]";
        break;
    case 'd':
        text = "\\p{Nd}";
        break;
    case 'D':
        text = "\\P{Nd}";
        break;
    case 'v':
        text = "\\x0B";
        break;
    case 'b':
    case 'B':
        if (!t->in_class)
            return refuse(t, "a word boundary");
        break;
    default:
        if (isalpha((unsigned char)c) && !strchr(t->in_class ? "nrtfaex" : "nrtfaexAzZ", c)) {
            char what[] = {'\\', c, 0};
            return refuse(t, what);
        }
    }
    if (text) {
        t->i++;
        return gf_buf_str(t->out, text, t->err);
    }
    uint32_t cp;
    const size_t len = gf_utf8_next(t->re + t->i, &cp);
    TRY(gf_buf_add(t->out, "\\", 1, t->err));
    TRY(gf_buf_add(t->out, t->re + t->i, len, t->err));
    t->i += len;
    return GF_OK;
}

/* At "(?": flags may follow, and Ruby's m is PCRE2's s. */
static gf_status group(translation *t)
{
    size_t i = t->i + 2;
    while (i < t->n && strchr("imx-", t->re[i]) && t->re[i])
        i++;
    const bool flags = i > t->i + 2 && i < t->n && (t->re[i] == ':' || t->re[i] == ')');
    if (!flags && (t->i + 2 >= t->n || !strchr(":=!><", t->re[t->i + 2]) || !t->re[t->i + 2]))
        return refuse(t, "this kind of group");
    TRY(gf_buf_str(t->out, "(?", t->err));
    t->i += 2;
    for (; flags && t->i < i; t->i++)
        TRY(gf_buf_add(t->out, t->re[t->i] == 'm' ? "s" : t->re + t->i, 1, t->err));
    return GF_OK;
}

/* At "{": {,n} is {0,n} in Ruby, a + after the brace is no possessive mark, and what is no
 * quantifier is literal in both. */
static gf_status braces(translation *t)
{
    size_t i = t->i + 1, digits = 0;
    const bool open = i < t->n && t->re[i] == ',';
    for (; i < t->n && (isdigit((unsigned char)t->re[i]) || t->re[i] == ','); i++)
        digits += t->re[i] != ',';
    const bool quantifier = digits && i < t->n && t->re[i] == '}';
    if (quantifier && i + 1 < t->n && t->re[i + 1] == '+')
        return refuse(t, "+ after a counted repeat");
    t->i++;
    return gf_buf_str(t->out, quantifier && open ? "{0" : "{", t->err);
}

static gf_status in_class(translation *t)
{
    const char c = t->re[t->i];
    if (c == '[' && t->i + 1 < t->n && t->re[t->i + 1] == ':')
        return refuse(t, "a POSIX class");
    if (c == '[')
        return refuse(t, "a class inside a class");
    if (c == '&' && t->i + 1 < t->n && t->re[t->i + 1] == '&')
        return refuse(t, "an intersection of classes");
    t->in_class = c != ']';
    t->i++;
    return gf_buf_add(t->out, &c, 1, t->err);
}

static gf_status class_start(translation *t)
{
    t->in_class = true;
    TRY(gf_buf_str(t->out, "[", t->err));
    t->i++;
    if (t->i < t->n && t->re[t->i] == '^') {
        TRY(gf_buf_str(t->out, "^", t->err));
        t->i++;
    }
    if (t->i < t->n && t->re[t->i] == ']')
        return refuse(t, "a class that begins with ]");
    return GF_OK;
}

gf_status gf_pattern_translate(gf_buf *out, const char *re, size_t n, const char *where,
                               gf_err *err)
{
    translation t = {.re = re, .n = n, .where = where, .out = out, .err = err};
    while (t.i < n) {
        if (re[t.i] == '\\') {
            TRY(escape(&t));
        } else if (t.in_class) {
            TRY(in_class(&t));
        } else if (re[t.i] == '[') {
            TRY(class_start(&t));
        } else if (re[t.i] == '(' && t.i + 1 < n && re[t.i + 1] == '?') {
            TRY(group(&t));
        } else if (re[t.i] == '(' && t.i + 1 < n && re[t.i + 1] == '*') {
            return refuse(&t, "(*"); /* a verb in PCRE2 */
        } else if (re[t.i] == '{') {
            TRY(braces(&t));
        } else {
            TRY(gf_buf_add(out, re + t.i, 1, err));
            t.i++;
        }
    }
    return GF_OK;
}
