#include "text/template/text.h"

#include <string.h>
#include <utf8proc.h>

uint32_t gf_jchar_at(const char *s, size_t n, size_t *step)
{
    const unsigned char c = (unsigned char)s[0];
    const size_t k = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    *step = k <= n ? k : n;
    if (k == 1)
        return c;
    uint32_t cp = c & (0xffu >> (k + 1));
    for (size_t i = 1; i < *step; i++)
        cp = cp << 6 | ((unsigned char)s[i] & 0x3fu);
    return cp;
}

size_t gf_jchar_put(char *d, uint32_t cp)
{
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)cp, (utf8proc_uint8_t *)d);
}

bool gf_jchar_space(uint32_t cp)
{
    if (cp < 0x80)
        return (cp >= 9 && cp <= 13) || (cp >= 28 && cp <= 32);
    return cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

bool gf_jchar_printable(uint32_t cp)
{
    if (cp < 0x80)
        return cp >= 32 && cp < 127;
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
        return false;
    default:
        return true;
    }
}

uint32_t gf_jchar_upper(uint32_t cp)
{
    return (uint32_t)utf8proc_toupper((utf8proc_int32_t)cp);
}

uint32_t gf_jchar_lower(uint32_t cp)
{
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
}

bool gf_jchar_cased(uint32_t cp)
{
    const utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT;
}

bool gf_jchar_alpha(uint32_t cp)
{
    const utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return gf_jchar_cased(cp) || c == UTF8PROC_CATEGORY_LM || c == UTF8PROC_CATEGORY_LO;
}

bool gf_jchar_digit(uint32_t cp)
{
    return utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_ND;
}

bool gf_jtext_valid(const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        if ((unsigned char)s[i] < 0x80) {
            i++;
            continue;
        }
        utf8proc_int32_t cp;
        const utf8proc_ssize_t k =
            utf8proc_iterate((const utf8proc_uint8_t *)s + i, (utf8proc_ssize_t)(n - i), &cp);
        if (k <= 0)
            return false;
        i += (size_t)k;
    }
    return true;
}

size_t gf_jtext_length(const char *s, size_t n)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        k += ((unsigned char)s[i] & 0xc0) != 0x80; /* not a continuation byte */
    return k;
}

size_t gf_jtext_rstrip(const char *s, size_t n)
{
    while (n > 0) {
        size_t k = n - 1, step;
        while (k > 0 && ((unsigned char)s[k] & 0xc0) == 0x80)
            k--;
        if (!gf_jchar_space(gf_jchar_at(s + k, n - k, &step)))
            break;
        n = k;
    }
    return n;
}

size_t gf_jtext_lstrip(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        size_t step;
        if (!gf_jchar_space(gf_jchar_at(s + i, n - i, &step)))
            break;
        i += step;
    }
    return i;
}

size_t gf_jtext_offset(const char *s, size_t n, size_t k)
{
    size_t i = 0;
    for (; i < n; i++)
        if (((unsigned char)s[i] & 0xc0) != 0x80 && k-- == 0)
            return i;
    return n;
}

size_t gf_jtext_find(const char *s, size_t n, const char *what, size_t k, size_t from)
{
    if (from > n || k > n - from)
        return SIZE_MAX;
    if (k == 0)
        return from;
    const char *p = memmem(s + from, n - from, what, k);
    return p == NULL ? SIZE_MAX : (size_t)(p - s);
}

size_t gf_jtext_rfind(const char *s, size_t n, const char *what, size_t k)
{
    if (k > n)
        return SIZE_MAX;
    for (size_t i = n - k;; i--) {
        if (memcmp(s + i, what, k) == 0)
            return i;
        if (i == 0)
            return SIZE_MAX;
    }
}
