/* test_utf8.c - every scalar value, and every pair of bytes against the definition. */
#include "base/utf8.h"

#include <criterion/criterion.h>

Test(utf8, every_scalar_value_round_trips)
{
    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        if (cp >= 0xD800 && cp <= 0xDFFF)
            continue;
        unsigned char s[4];
        const size_t n = gf_utf8_put(s, cp);
        const size_t want = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
        if (n != want || gf_utf8_step(s, n) != n || (n > 1 && gf_utf8_step(s, n - 1) != 0))
            cr_assert_fail("U+%04X", cp);
    }
}

Test(utf8, what_is_not_valid)
{
    static const char *const bad[] = {
        "\x80",         "\xBF",         "\xC0\x80",         "\xC1\xBF",         "\xC2",
        "\xC2\x41",     "\xE0\x80\x80", "\xE0\x9F\xBF",     "\xED\xA0\x80",     "\xED\xBF\xBF",
        "\xE2\x82\x41", "\xF0\x80\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
        "\xFE",         "\xFF",         "\xF0\x9F\x98"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[8] = "a";
        strcat(text, bad[i]);
        cr_expect_eq(gf_utf8_valid(text, strlen(text)), 1, "case %zu", i);
    }
    cr_expect_eq(gf_utf8_valid("a\0b", 3), 3, "NUL is a character");
    cr_expect_eq(gf_utf8_valid("", 0), 0);
}
