/* json_check.c - the strict validating pass over a text. Contract: base/json.h.
 * Grammar: RFC 8259. */
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* Deeper texts are refused: no format here nests deeper than a dozen, and cJSON recurses. */
#define DEPTH_MAX 512
/* cJSON copies a number into 64 bytes and would cut a longer one. */
#define NUMBER_MAX 63
/* Mersenne prime 2^61 - 1, the modulus of the key hash. */
#define HASH_PRIME ((UINT64_C(1) << 61) - 1)

__extension__ typedef unsigned __int128 wide;

/* A key already seen. One table holds those of every object of the text, so that a vocabulary of
 * 150k keys and 150k objects of one key cost the same. object 0: a free place. */
typedef struct {
    uint64_t hash, object;
    const char *raw;
    size_t len;
} seen_key;

typedef struct {
    const char *start, *at, *end;
    const char *where;
    int line;
    int depth;
    uint64_t base; /* of the polynomial hash, random: nobody can prepare keys that collide */
    uint64_t objects;
    seen_key *table;
    size_t places, used; /* places is a power of two */
    gf_err *err;
} checker;

static gf_status value(checker *c);

/* ---- messages ---------------------------------------------------------------------- */

/* Columns are characters, from 1. */
static gf_status fail_at(const checker *c, const char *at, const char *what)
{
    const char *line_start = c->start;
    int line = c->line;
    for (const char *p = c->start; p < at; p++)
        if (*p == '\n') {
            line_start = p + 1;
            line++;
        }
    size_t col = 1;
    for (const char *p = line_start; p < at; p++)
        col += ((unsigned char)*p & 0xC0) != 0x80;
    return gf_fail(c->err, GF_EINPUT, "%s:%d:%zu: %s", c->where, line, col, what);
}

static gf_status fail_key(const checker *c, const char *raw, size_t len)
{
    enum { SHOWN = 60 }; /* of a key's bytes: enough to find it, and the line stays readable */
    size_t n = len < SHOWN ? len : gf_utf8_valid(raw, SHOWN);
    char text[SHOWN + 64];
    snprintf(text, sizeof text, "the key \"%.*s%s\" is in this object twice", (int)n, raw,
             n < len ? "..." : "");
    return fail_at(c, raw - 1, text);
}

static gf_status fail_char(const checker *c, const char *want)
{
    char text[128];
    if (c->at >= c->end)
        snprintf(text, sizeof text, "the text ends where %s should be", want);
    else if (*c->at > ' ' && *c->at < 0x7F)
        snprintf(text, sizeof text, "want %s, got '%c'", want, *c->at);
    else
        snprintf(text, sizeof text, "want %s, got byte 0x%02X", want, (unsigned char)*c->at);
    return fail_at(c, c->at, text);
}

/* ---- keys -------------------------------------------------------------------------- */

static int hex_digit(char ch)
{
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    if (ch >= 'a' && ch <= 'f')
        return ch - 'a' + 10;
    if (ch >= 'A' && ch <= 'F')
        return ch - 'A' + 10;
    return -1;
}

/* Four hex digits at p, or -1. */
static int32_t hex4(const char *p, const char *end)
{
    if (end - p < 4)
        return -1;
    int32_t v = 0;
    for (int i = 0; i < 4; i++) {
        const int d = hex_digit(p[i]);
        if (d < 0)
            return -1;
        v = v * 16 + d;
    }
    return v;
}

/* The bytes that the next character or escape of an already checked string stands for. */
static size_t decode(const char **p, unsigned char out[4])
{
    const char *s = *p;
    if (*s != '\\') {
        *p = s + 1;
        out[0] = (unsigned char)*s;
        return 1;
    }
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (s[1] != 'u') {
        out[0] = (unsigned char)to[strchr(from, s[1]) - from];
        *p = s + 2;
        return 1;
    }
    uint32_t cp = (uint32_t)hex4(s + 2, s + 6);
    *p = s + 6;
    if (cp >= 0xD800 && cp <= 0xDBFF) {
        cp = 0x10000 + ((cp - 0xD800) << 10) + ((uint32_t)hex4(s + 8, s + 12) - 0xDC00);
        *p = s + 12;
    }
    return gf_utf8_put(out, cp);
}

static uint64_t hash_byte(uint64_t h, uint64_t base, unsigned char b)
{
    const wide x = (wide)h * base + b + 1;
    uint64_t r = (uint64_t)(x & HASH_PRIME) + (uint64_t)(x >> 61);
    return r >= HASH_PRIME ? r - HASH_PRIME : r;
}

static uint64_t hash_key(const checker *c, const char *raw, size_t len)
{
    uint64_t h = 1;
    for (const char *p = raw; p < raw + len;) {
        unsigned char b[4];
        const size_t n = decode(&p, b);
        for (size_t i = 0; i < n; i++)
            h = hash_byte(h, c->base, b[i]);
    }
    return h;
}

/* Equal after escapes are resolved. */
static bool same_key(const char *a, size_t an, const char *b, size_t bn)
{
    const char *a_end = a + an, *b_end = b + bn;
    unsigned char x[4], y[4];
    size_t xn = 0, xi = 0, yn = 0, yi = 0;
    for (;;) {
        if (xi == xn && a < a_end) {
            xn = decode(&a, x);
            xi = 0;
        }
        if (yi == yn && b < b_end) {
            yn = decode(&b, y);
            yi = 0;
        }
        if (xi == xn || yi == yn)
            return xi == xn && yi == yn;
        if (x[xi++] != y[yi++])
            return false;
    }
}

/* Spreads hash and object over the table: the multiplier is 2^64 / golden ratio. */
static size_t place(const checker *c, uint64_t hash, uint64_t object)
{
    uint64_t h = (hash ^ object * UINT64_C(0xD6E8FEB86659FD93)) * UINT64_C(0x9E3779B97F4A7C15);
    return (size_t)(h >> 20) & (c->places - 1);
}

static gf_status grow(checker *c)
{
    const size_t old_places = c->places;
    seen_key *old = c->table;
    const size_t places = old_places ? 2 * old_places : 64;
    seen_key *table = gf_alloc(places, sizeof *table, c->err);
    if (!table)
        return GF_ENOMEM;
    c->table = table;
    c->places = places;
    for (size_t i = 0; i < old_places; i++) {
        if (!old[i].object)
            continue;
        size_t at = place(c, old[i].hash, old[i].object);
        while (table[at].object)
            at = (at + 1) & (places - 1);
        table[at] = old[i];
    }
    free(old);
    return GF_OK;
}

static gf_status add_key(checker *c, uint64_t object, const char *raw, size_t len)
{
    if (2 * c->used >= c->places)
        TRY(grow(c));
    const uint64_t hash = hash_key(c, raw, len);
    size_t at = place(c, hash, object);
    for (; c->table[at].object; at = (at + 1) & (c->places - 1)) {
        const seen_key *k = &c->table[at];
        if (k->hash == hash && k->object == object && same_key(k->raw, k->len, raw, len))
            return fail_key(c, raw, len);
    }
    c->table[at] = (seen_key){.hash = hash, .object = object, .raw = raw, .len = len};
    c->used++;
    return GF_OK;
}

/* ---- grammar ----------------------------------------------------------------------- */

static void space(checker *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\t' || *c->at == '\r'))
        c->at++;
}

/* After a backslash. */
static gf_status escape(checker *c)
{
    const char *start = c->at - 1;
    if (c->at >= c->end)
        return fail_at(c, start, "the text ends inside a string");
    const char ch = *c->at++;
    if (ch != 'u')
        return ch && strchr("\"\\/bfnrt", ch) ? GF_OK
                                              : fail_at(c, start, "unknown escape in a string");
    const int32_t unit = hex4(c->at, c->end);
    if (unit < 0)
        return fail_at(c, start, "\\u wants four hexadecimal digits");
    c->at += 4;
    if (unit == 0)
        return fail_at(c, start, "\\u0000 in a string");
    if (unit >= 0xDC00 && unit <= 0xDFFF)
        return fail_at(c, start, "half of a surrogate pair");
    if (unit < 0xD800 || unit > 0xDBFF)
        return GF_OK;
    const bool pair = c->end - c->at >= 6 && c->at[0] == '\\' && c->at[1] == 'u';
    const int32_t low = pair ? hex4(c->at + 2, c->end) : -1;
    if (low < 0xDC00 || low > 0xDFFF)
        return fail_at(c, start, "half of a surrogate pair");
    c->at += 6;
    return GF_OK;
}

/* At the opening quote; *raw and *len are what is between the quotes. */
static gf_status string(checker *c, const char **raw, size_t *len)
{
    const char *open = c->at++;
    *raw = c->at;
    while (c->at < c->end) {
        const unsigned char ch = (unsigned char)*c->at;
        if (ch == '"') {
            *len = (size_t)(c->at++ - *raw);
            return GF_OK;
        }
        if (ch == '\\') {
            c->at++;
            TRY(escape(c));
        } else if (ch < 0x20) {
            return fail_at(c, c->at, "a raw control character in a string (a missing quote?)");
        } else if (ch < 0x80) {
            c->at++;
        } else {
            const size_t n = gf_utf8_step((const unsigned char *)c->at, (size_t)(c->end - c->at));
            if (!n)
                return fail_at(c, c->at, "invalid UTF-8");
            c->at += n;
        }
    }
    return fail_at(c, open, "this string does not end");
}

static size_t digits(checker *c)
{
    const char *start = c->at;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9')
        c->at++;
    return (size_t)(c->at - start);
}

static gf_status number(checker *c)
{
    const char *start = c->at;
    if (*c->at == '-')
        c->at++;
    const char *whole = c->at;
    const size_t n = digits(c);
    if (!n)
        return fail_char(c, "a digit");
    if (n > 1 && *whole == '0')
        return fail_at(c, whole, "a number may not begin with 0");
    if (c->at < c->end && *c->at == '.') {
        c->at++;
        if (!digits(c))
            return fail_char(c, "a digit");
    }
    if (c->at < c->end && (*c->at == 'e' || *c->at == 'E')) {
        c->at++;
        if (c->at < c->end && (*c->at == '+' || *c->at == '-'))
            c->at++;
        if (!digits(c))
            return fail_char(c, "a digit");
    }
    if (c->at - start > NUMBER_MAX)
        return fail_at(c, start, "a number of more than 63 characters");
    return GF_OK;
}

static gf_status word(checker *c, const char *text)
{
    const size_t n = strlen(text);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, text, n) != 0)
        return fail_char(c, "a value");
    c->at += n;
    return GF_OK;
}

/* A comma and *more, or the closing bracket and not. */
static gf_status separator(checker *c, char close, const char *want, bool *more)
{
    space(c);
    if (c->at >= c->end || (*c->at != ',' && *c->at != close))
        return fail_char(c, want);
    *more = *c->at++ == ',';
    if (*more)
        space(c);
    return GF_OK;
}

static gf_status object(checker *c)
{
    const uint64_t id = ++c->objects;
    c->at++;
    space(c);
    if (c->at < c->end && *c->at == '}') {
        c->at++;
        return GF_OK;
    }
    for (bool more = true; more;) {
        const char *raw;
        size_t len;
        if (c->at >= c->end || *c->at != '"')
            return fail_char(c, "a key in double quotes");
        TRY(string(c, &raw, &len));
        TRY(add_key(c, id, raw, len));
        space(c);
        if (c->at >= c->end || *c->at != ':')
            return fail_char(c, "':' after the key");
        c->at++;
        space(c);
        TRY(value(c));
        TRY(separator(c, '}', "',' or '}'", &more));
    }
    return GF_OK;
}

static gf_status array(checker *c)
{
    c->at++;
    space(c);
    if (c->at < c->end && *c->at == ']') {
        c->at++;
        return GF_OK;
    }
    for (bool more = true; more;) {
        TRY(value(c));
        TRY(separator(c, ']', "',' or ']'", &more));
    }
    return GF_OK;
}

static gf_status value(checker *c)
{
    if (c->at >= c->end)
        return fail_char(c, "a value");
    const char ch = *c->at;
    const char *raw;
    size_t len;
    switch (ch) {
    case '"':
        return string(c, &raw, &len);
    case 't':
        return word(c, "true");
    case 'f':
        return word(c, "false");
    case 'n':
        return word(c, "null");
    case '{':
    case '[':
        if (c->depth == DEPTH_MAX)
            return fail_at(c, c->at, "more than 512 levels of nesting");
        c->depth++;
        TRY(ch == '{' ? object(c) : array(c));
        c->depth--;
        return GF_OK;
    default:
        if (ch == '-' || (ch >= '0' && ch <= '9'))
            return number(c);
        return fail_char(c, "a value");
    }
}

static gf_status check(checker *c)
{
    if (c->end - c->at >= 3 && memcmp(c->at, "\xEF\xBB\xBF", 3) == 0)
        return fail_at(c, c->at, "a byte order mark: save the file as UTF-8 without one");
    space(c);
    TRY(value(c));
    space(c);
    if (c->at < c->end)
        return fail_char(c, "the end of the text");
    return GF_OK;
}

gf_status gf_json_check(const char *text, size_t size, const char *where, int line, gf_err *err)
{
    checker c = {.start = text, .at = text, .where = where, .line = line, .err = err};
    c.end = size ? text + size : text;
    /* Without entropy (an ancient kernel) the address is what an attacker doesn't know. */
    if (getrandom(&c.base, sizeof c.base, GRND_NONBLOCK) != (ssize_t)sizeof c.base)
        c.base = (uint64_t)(uintptr_t)&c;
    c.base = c.base % (HASH_PRIME - 256) + 256;
    const gf_status st = check(&c);
    free(c.table);
    return st;
}
