/* test_json.c - the validator's rules, typed members, and writing that reads back. */
#include "base/json.h"
#include "base/file.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static gf_status parse(const char *text, size_t size, gf_err *err)
{
    cJSON *root;
    /* A copy of exactly this size, so that the sanitizer sees any read past its end. */
    char *copy = malloc(size ? size : 1);
    memcpy(copy, text, size);
    const gf_status st = gf_json_parse(&root, copy, size, "x", 1, err);
    cr_assert_eq(st == GF_OK, root != NULL);
    cJSON_Delete(root);
    free(copy);
    return st;
}

Test(json, accepts)
{
    static const char *const good[] = {
        "{}",
        "[]",
        "1",
        "-0",
        "0.5e-3",
        "1E+2",
        "true",
        "false",
        "null",
        "\"\"",
        " \t\r\n[ 1 , 2 ] \n",
        "{\"a\":{\"a\":{\"a\":1}},\"b\":[{\"a\":1},{\"a\":2}]}",
        "\"\\ud83d\\ude00 \\u00e9 \\\" \\\\ \\/ \\b\\f\\n\\r\\t\"",
        "\"\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80 \x7F\"",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        gf_err err = {0};
        cr_expect_eq(parse(good[i], strlen(good[i]), &err), GF_OK, "%s: %s", good[i], err.text);
    }
}

Test(json, refuses_and_says_where)
{
    static const struct {
        const char *text, *where;
    } bad[] = {
        {"", "x:1:1: "},
        {"  ", "x:1:3: "},
        {"{", "x:1:2: "},
        {"[1,]", "x:1:4: "},
        {"{\"a\":1,}", "x:1:8: "},
        {"{\"a\" 1}", "x:1:6: "},
        {"{a:1}", "x:1:2: "},
        {"[1 2]", "x:1:4: "},
        {"01", "x:1:1: "},
        {"-", "x:1:2: "},
        {"1.", "x:1:3: "},
        {".5", "x:1:1: "},
        {"1e", "x:1:3: "},
        {"+1", "x:1:1: "},
        {"NaN", "x:1:1: "},
        {"Infinity", "x:1:1: "},
        {"tru", "x:1:1: "},
        {"[1]x", "x:1:4: "},
        {"{}{}", "x:1:3: "},
        {"// a\n1", "x:1:1: "},
        {"'a'", "x:1:1: "},
        {"[1,\n  \"\xC3\xA9\xC3\xA9\", ?]", "x:2:9: "}, /* columns are characters */
        {"\"a", "x:1:1: "},
        {"\"a\nb\"", "x:1:3: "},
        {"\"\\x\"", "x:1:2: "},
        {"\"\\u12g4\"", "x:1:2: "},
        {"\"\\u0000\"", "x:1:2: "},
        {"\"\\ud800\"", "x:1:2: "},
        {"\"\\udc00\"", "x:1:2: "},
        {"\"\\ud800\\u0041\"", "x:1:2: "},
        {"\"\xFF\"", "x:1:2: "},
        {"\"\xC0\x80\"", "x:1:2: "},         /* overlong */
        {"\"\xED\xA0\x80\"", "x:1:2: "},     /* a surrogate */
        {"\"\xF4\x90\x80\x80\"", "x:1:2: "}, /* beyond U+10FFFF */
        {"\"\xE2\x82\"", "x:1:2: "},         /* cut off */
        {"\xEF\xBB\xBF{}", "x:1:1: "},
        {"{\"a\":1,\n \"a\":2}", "x:2:2: the key \"a\""},
        {"{\"ab\":1,\"\\u0061b\":2}", "x:1:9: the key"},
        {"{\"\xC3\xA9\":1,\"\\u00e9\":2}", "x:1:8: the key"},
        {"{\"\xF0\x9F\x98\x80\":1,\"\\ud83d\\ude00\":2}", "x:1:8: the key"},
        {"1000000000000000000000000000000000000000000000000000000000000000", "x:1:1: a number"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        gf_err err = {0};
        cr_expect_eq(parse(bad[i].text, strlen(bad[i].text), &err), GF_EINPUT, "%s", bad[i].text);
        cr_expect(strncmp(err.text, bad[i].where, strlen(bad[i].where)) == 0, "%s: %s", bad[i].text,
                  err.text);
    }
    gf_err err = {0};
    cr_expect_eq(parse("[1]\0", 4, &err), GF_EINPUT, "a raw NUL");
    cr_expect_eq(parse("\"a\0b\"", 5, &err), GF_EINPUT, "a raw NUL in a string");
}

Test(json, depth)
{
    char text[1100];
    for (int depth = 511; depth <= 513; depth++) {
        gf_err err = {0};
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        cr_expect_eq(parse(text, 2 * (size_t)depth, &err), depth <= 512 ? GF_OK : GF_EINPUT);
    }
}

Test(json, cut_off_anywhere)
{
    static const char text[] =
        "{\"a\": [1.5e3, true, null, \"\\ud83d\\ude00\xC3\xA9\"], \"b\": {}}";
    for (size_t n = 0; n < sizeof text - 1; n++) {
        gf_err err = {0};
        cr_expect_eq(parse(text, n, &err), GF_EINPUT, "the first %zu bytes", n);
        cr_expect_neq(err.text[0], 0);
    }
}

/* 200k keys in one object and 200k objects with the same key: both must be linear. A quadratic
 * check takes minutes. */
Test(json, many_keys, .timeout = 60)
{
    enum { KEYS = 200000 };
    gf_buf b = {0};
    gf_err err = {0};
    gf_buf_str(&b, "{\"k\":[0", NULL);
    for (int i = 0; i < KEYS; i++)
        gf_buf_str(&b, ",{\"k\":1}", NULL);
    gf_buf_str(&b, "]", NULL);
    for (int i = 0; i < KEYS; i++)
        gf_buf_printf(&b, NULL, ",\"key %d\":%d", i, i);
    gf_buf_str(&b, "}", NULL);
    cr_expect_eq(parse(b.data, b.len, &err), GF_OK, "%s", err.text);
    b.len--;
    gf_buf_str(&b, ",\"key 77\":0}", NULL);
    cr_expect_eq(parse(b.data, b.len, &err), GF_EINPUT);
    cr_expect(strstr(err.text, "\"key 77\""), "%s", err.text);
    gf_buf_free(&b);
}

Test(json, long_key_in_message)
{
    gf_buf b = {0};
    gf_err err = {0};
    for (int k = 0; k < 2; k++) {
        gf_buf_str(&b, k ? ",\"" : "{\"", NULL);
        for (int i = 0; i < 400; i++)
            gf_buf_str(&b, "\xE2\x82\xAC", NULL);
        gf_buf_str(&b, "\":1", NULL);
    }
    gf_buf_str(&b, "}", NULL);
    cr_expect_eq(parse(b.data, b.len, &err), GF_EINPUT);
    cr_expect_eq(gf_utf8_valid(err.text, strlen(err.text)), strlen(err.text));
    gf_buf_free(&b);
}

static cJSON *object(const char *text)
{
    cJSON *root;
    gf_err err = {0};
    cr_assert_eq(gf_json_parse(&root, text, strlen(text), "x", 1, &err), GF_OK, "%s", err.text);
    return root;
}

Test(json, typed_members)
{
    cJSON *o = object("{\"i\":7,\"neg\":-3,\"half\":1.5,\"huge\":9007199254740993,\"edge\":"
                      "9007199254740991,\"inf\":1e999,\"s\":\"t\",\"b\":true,\"n\":null,\"a\":[]}");
    int64_t i = 0;
    double d = 0;
    bool b = false;
    const char *s = NULL;
    cr_expect_eq(gf_json_int(&i, o, "i", 0, 0, 10, "x", NULL), GF_OK);
    cr_expect_eq(i, 7);
    cr_expect_eq(gf_json_int(&i, o, "n", 5, 0, 10, "x", NULL), GF_OK);
    cr_expect_eq(i, 5);
    cr_expect_eq(gf_json_int(&i, o, "none", 6, 0, 10, "x", NULL), GF_OK);
    cr_expect_eq(i, 6);
    cr_expect_eq(gf_json_int(&i, NULL, "none", 4, 0, 10, "x", NULL), GF_OK);
    cr_expect_eq(i, 4);
    cr_expect_eq(gf_json_int(&i, o, "edge", 0, 0, INT64_MAX, "x", NULL), GF_OK);
    cr_expect_eq(i, INT64_C(9007199254740991));
    static const char *const wrong[] = {"neg", "half", "huge", "inf", "s", "b", "a"};
    for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
        gf_err err = {0};
        cr_expect_eq(gf_json_int(&i, o, wrong[k], 0, 0, INT64_MAX, "x", &err), GF_EINPUT, "%s",
                     wrong[k]);
        cr_expect(strstr(err.text, wrong[k]), "%s", err.text);
    }
    gf_err err = {0};
    gf_json_int(&i, o, "s", 0, 0, 1, "file", &err);
    cr_expect_str_eq(err.text, "file: s: want an integer, got a string");
    cr_expect_eq(gf_json_double(&d, o, "half", 0, "x", NULL), GF_OK);
    cr_expect_eq(d, 1.5);
    cr_expect_eq(gf_json_double(&d, o, "inf", 0, "x", NULL), GF_EINPUT);
    cr_expect_eq(gf_json_double(&d, o, "s", 0, "x", NULL), GF_EINPUT);
    cr_expect_eq(gf_json_bool(&b, o, "b", false, "x", NULL), GF_OK);
    cr_expect(b);
    cr_expect_eq(gf_json_bool(&b, o, "i", false, "x", NULL), GF_EINPUT);
    cr_expect_eq(gf_json_string(&s, o, "s", "-", "x", NULL), GF_OK);
    cr_expect_str_eq(s, "t");
    cr_expect_eq(gf_json_string(&s, o, "n", "-", "x", NULL), GF_OK);
    cr_expect_str_eq(s, "-");
    cr_expect_eq(gf_json_string(&s, o, "a", "-", "x", NULL), GF_EINPUT);
    cr_expect_eq(gf_json_string(&s, o->child, "a", "-", "x", NULL), GF_EINPUT, "not an object");
    cJSON_Delete(o);
}

Test(json, quote_reads_back)
{
    char text[260];
    size_t n = 0;
    for (int ch = 1; ch < 128; ch++)
        text[n++] = (char)ch;
    memcpy(text + n, "\xC3\xA9\xF0\x9F\x98\x80", 6);
    n += 6;
    gf_buf b = {0};
    cr_assert_eq(gf_json_quote(&b, text, n, NULL), GF_OK);
    cJSON *root;
    gf_err err = {0};
    cr_assert_eq(gf_json_parse(&root, b.data, b.len, "x", 1, &err), GF_OK, "%s", err.text);
    cr_expect_eq(strlen(root->valuestring), n);
    cr_expect_arr_eq(root->valuestring, text, n);
    cJSON_Delete(root);
    b.len = 0;
    gf_json_quote(&b, "a\"\\\x1f\n\xC3\xA9", 7, NULL);
    cr_expect_str_eq(b.data, "\"a\\\"\\\\\\u001f\\n\xC3\xA9\"");
    b.len = 0;
    cr_expect_eq(gf_json_quote(&b, "a\xFF", 2, NULL), GF_EINPUT);
    gf_buf_free(&b);
}

static void expect_number(double x)
{
    gf_buf b = {0};
    cr_assert_eq(gf_json_number(&b, x, NULL), GF_OK);
    cJSON *root;
    gf_err err = {0};
    cr_assert_eq(gf_json_parse(&root, b.data, b.len, "x", 1, &err), GF_OK, "%s", err.text);
    const double back = root->valuedouble;
    cr_expect_eq(memcmp(&back, &x, sizeof x), 0, "%s is not %a", b.data, x);
    cJSON_Delete(root);
    gf_buf_free(&b);
}

Test(json, numbers_read_back_exactly)
{
    static const double some[] = {0.0,
                                  -0.0,
                                  1.0,
                                  0.1,
                                  1.0 / 3,
                                  2e-4,
                                  1e22,
                                  1e23,
                                  0x1.fffffffffffffp1023,
                                  0x1p-1074,
                                  5e-5,
                                  123456789,
                                  1.439,
                                  9007199254740993.0};
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++)
        expect_number(some[i]);
    uint64_t bits = 88172645463325252u; /* any seed of xorshift */
    for (int i = 0; i < 20000; i++) {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        double x;
        memcpy(&x, &bits, sizeof x);
        if (isfinite(x))
            expect_number(x);
    }
    gf_buf b = {0};
    gf_json_number(&b, 0.1, NULL);
    gf_json_number(&b, (double)NAN, NULL);
    gf_json_number(&b, (double)INFINITY, NULL);
    cr_expect_str_eq(b.data, "0.1nullnull");
    gf_buf_free(&b);
}

Test(json, read_names_the_file)
{
    cJSON *root;
    gf_err err = {0};
    cr_expect_eq(gf_json_read(&root, "/nonexistent/x.json", &err), GF_EINPUT);
    cr_expect(strstr(err.text, "/nonexistent/x.json"), "%s", err.text);
}
