/* unicode.c - UTF-8 and look-ups in the Unicode 16 tables. Contract: unicode.h. */
#include "text/tokenizer/unicode.h"

size_t gf_utf8_bad(const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    const unsigned c = s[0];
    if (c < 0xC2 || c > 0xF4)
        return 1;
    const size_t len = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    unsigned low = 0x80, high = 0xBF; /* bounds of the second byte, Unicode table 3-7 */
    if (c == 0xE0)
        low = 0xA0; /* no overlong form */
    else if (c == 0xED)
        high = 0x9F; /* no surrogate */
    else if (c == 0xF0)
        low = 0x90; /* no overlong form */
    else if (c == 0xF4)
        high = 0x8F; /* not beyond U+10FFFF */
    size_t i = 1;
    for (; i < len && i < n && s[i] >= low && s[i] <= high; i++) {
        low = 0x80;
        high = 0xBF;
    }
    return i;
}

size_t gf_utf8_next(const char *s, uint32_t *cp)
{
    const unsigned char *u = (const unsigned char *)s;
    if (u[0] < 0x80) {
        *cp = u[0];
        return 1;
    }
    if (u[0] < 0xE0) {
        *cp = (u[0] & 0x1Fu) << 6 | (u[1] & 0x3Fu);
        return 2;
    }
    if (u[0] < 0xF0) {
        *cp = (u[0] & 0xFu) << 12 | (u[1] & 0x3Fu) << 6 | (u[2] & 0x3Fu);
        return 3;
    }
    *cp = (u[0] & 7u) << 18 | (u[1] & 0x3Fu) << 12 | (u[2] & 0x3Fu) << 6 | (u[3] & 0x3Fu);
    return 4;
}

size_t gf_utf8_back(const char *s, size_t at)
{
    do
        at--;
    while (at > 0 && ((unsigned char)s[at] & 0xC0) == 0x80);
    return at;
}

static bool in_ranges(const gf_cp_range *r, size_t count, uint32_t cp)
{
    size_t low = 0, high = count;
    while (low < high) {
        const size_t mid = (low + high) / 2;
        if (cp > r[mid].last)
            low = mid + 1;
        else if (cp < r[mid].first)
            high = mid;
        else
            return true;
    }
    return false;
}

bool gf_is_space(uint32_t cp)
{
    if (cp < 0x80)
        return cp == ' ' || (cp >= 9 && cp <= 13);
    return cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

bool gf_is_number(uint32_t cp)
{
    if (cp < 0x80)
        return cp >= '0' && cp <= '9';
    return in_ranges(gf_unicode_number, gf_unicode_number_count, cp);
}

bool gf_is_punctuation(uint32_t cp)
{
    if (cp < 0x80) /* all of ASCII's, whatever their category */
        return (cp > ' ' && cp < '0') || (cp > '9' && cp < 'A') || (cp > 'Z' && cp < 'a') ||
               (cp > 'z' && cp < 0x7F);
    return in_ranges(gf_unicode_punctuation, gf_unicode_punctuation_count, cp);
}

bool gf_is_word(uint32_t cp)
{
    return in_ranges(gf_unicode_word, gf_unicode_word_count, cp);
}

bool gf_is_composing(uint32_t cp)
{
    if (cp < 0x900) /* the first one is U+09BE */
        return false;
    return in_ranges(gf_unicode_composing, gf_unicode_composing_count, cp);
}

uint32_t gf_to_lower(uint32_t cp)
{
    if (cp < 0x80)
        return cp >= 'A' && cp <= 'Z' ? cp + 32 : cp;
    size_t low = 0, high = gf_unicode_lower_count;
    while (low < high) {
        const size_t mid = (low + high) / 2;
        const gf_cp_lower *r = &gf_unicode_lower[mid];
        if (cp > r->last)
            low = mid + 1;
        else if (cp < r->first)
            high = mid;
        else
            return (cp - r->first) % (uint32_t)r->step == 0 ? (uint32_t)((int32_t)cp + r->delta)
                                                            : cp;
    }
    return cp;
}

uint32_t gf_stand_in(uint32_t cp)
{
    size_t low = 0, high = gf_unicode_stand_in_count;
    while (low < high) {
        const size_t mid = (low + high) / 2;
        const gf_cp_stand_in *r = &gf_unicode_stand_in[mid];
        if (cp > r->last)
            low = mid + 1;
        else if (cp < r->first)
            high = mid;
        else
            return r->stand_in;
    }
    return cp;
}
