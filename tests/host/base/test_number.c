/* test_number.c - numbers for people. */
#include "base/number.h"

#include <criterion/criterion.h>
#include <math.h>

Test(number, bytes)
{
    cr_expect_str_eq(gf_number_bytes(0).text, "0 bytes");
    cr_expect_str_eq(gf_number_bytes(1).text, "1 byte");
    cr_expect_str_eq(gf_number_bytes(1023).text, "1023 bytes");
    cr_expect_str_eq(gf_number_bytes(1536).text, "1.5 KiB (1536 bytes)");
    cr_expect_str_eq(gf_number_bytes_short(1048575).text, "1.0 MiB");
    cr_expect_str_eq(gf_number_bytes(UINT64_MAX).text, "16.0 EiB (18446744073709551615 bytes)");
}

Test(number, counts)
{
    cr_expect_str_eq(gf_number_count(0).text, "0");
    cr_expect_str_eq(gf_number_count(999).text, "999");
    cr_expect_str_eq(gf_number_count(134515008).text, "134,515,008");
    cr_expect_str_eq(gf_number_count(-1000).text, "-1,000");
    cr_expect_str_eq(gf_number_count(INT64_MIN).text, "-9,223,372,036,854,775,808");
}

Test(number, durations)
{
    cr_expect_str_eq(gf_number_duration(0.84).text, "0.8 s");
    cr_expect_str_eq(gf_number_duration(9.96).text, "10 s");
    cr_expect_str_eq(gf_number_duration(59.6).text, "1 min 00 s");
    cr_expect_str_eq(gf_number_duration(185).text, "3 min 05 s");
    cr_expect_str_eq(gf_number_duration(7620).text, "2 h 07 min");
    cr_expect_str_eq(gf_number_duration(273600).text, "3 d 04 h");
    cr_expect_str_eq(gf_number_duration(-1).text, "?");
    cr_expect_str_eq(gf_number_duration((double)INFINITY).text, "?");
}
