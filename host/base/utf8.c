/* utf8.c - UTF-8, strictly. Contract: base/utf8.h. Source: Unicode 15, table 3-7. */
#include "base/utf8.h"

#include <assert.h>

size_t gf_utf8_step(const unsigned char *s, size_t n)
{
    const unsigned char b = s[0];
    if (b < 0x80)
        return 1;
    const size_t len = b >= 0xC2 && b <= 0xDF   ? 2
                       : b >= 0xE0 && b <= 0xEF ? 3
                       : b >= 0xF0 && b <= 0xF4 ? 4
                                                : 0;
    if (!len || n < len)
        return 0;
    /* The second byte's range excludes overlong forms, surrogates and what is beyond U+10FFFF. */
    const unsigned char low = b == 0xE0 ? 0xA0 : b == 0xF0 ? 0x90 : 0x80;
    const unsigned char high = b == 0xED ? 0x9F : b == 0xF4 ? 0x8F : 0xBF;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    return len;
}

size_t gf_utf8_valid(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        const size_t len = gf_utf8_step((const unsigned char *)s + i, n - i);
        if (!len)
            break;
        i += len;
    }
    return i;
}

size_t gf_utf8_put(unsigned char out[4], uint32_t cp)
{
    assert(cp < 0x110000 && (cp < 0xD800 || cp > 0xDFFF));
    if (cp < 0x80) {
        out[0] = (unsigned char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (unsigned char)(0xC0 | cp >> 6);
        out[1] = (unsigned char)(0x80 | (cp & 63));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (unsigned char)(0xE0 | cp >> 12);
        out[1] = (unsigned char)(0x80 | (cp >> 6 & 63));
        out[2] = (unsigned char)(0x80 | (cp & 63));
        return 3;
    }
    out[0] = (unsigned char)(0xF0 | cp >> 18);
    out[1] = (unsigned char)(0x80 | (cp >> 12 & 63));
    out[2] = (unsigned char)(0x80 | (cp >> 6 & 63));
    out[3] = (unsigned char)(0x80 | (cp & 63));
    return 4;
}
