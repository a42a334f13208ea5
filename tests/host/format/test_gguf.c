/* test_gguf.c - gguf-py's file read back (tests/golden/small_gguf.py), and files that break one
 * rule each (FORMATS 6.1). */
#include "format/gguf.h"
#include "support/scratch.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static const char golden[] = GRAFT_TESTS "/golden/small.gguf";

static void open_golden(gf_gguf *g)
{
    gf_err err = {0};
    cr_assert_eq(gf_gguf_open(g, golden, &err), GF_OK, "%s", err.text);
}

static void expect_int(const gf_gguf *g, const char *key, int64_t want)
{
    int64_t v = 0;
    gf_err err = {0};
    cr_expect_eq(gf_gguf_int(&v, g, key, 77, INT64_MIN, INT64_MAX, &err), GF_OK, "%s", err.text);
    cr_expect_eq(v, want, "%s", key);
}

Test(gguf, values)
{
    gf_gguf g;
    open_golden(&g);
    expect_int(&g, "t.u8", 200);
    expect_int(&g, "t.i8", -100);
    expect_int(&g, "t.u16", 60000);
    expect_int(&g, "t.i16", -30000);
    expect_int(&g, "t.u32", 4000000000);
    expect_int(&g, "t.i32", -2000000000);
    expect_int(&g, "t.i64", -(INT64_C(1) << 62));
    expect_int(&g, "none", 77);
    double d = 0;
    bool b = false;
    char *s = NULL;
    cr_expect_eq(gf_gguf_double(&d, &g, "t.f32", 0, NULL), GF_OK);
    cr_expect_eq(d, (double)0.1f);
    cr_expect_eq(gf_gguf_double(&d, &g, "t.f64", 0, NULL), GF_OK);
    cr_expect_eq(d, 0.1);
    cr_expect_eq(gf_gguf_double(&d, &g, "t.i8", 0, NULL), GF_OK);
    cr_expect_eq(d, -100);
    cr_expect_eq(gf_gguf_double(&d, &g, "none", 1.5, NULL), GF_OK);
    cr_expect_eq(d, 1.5);
    cr_expect_eq(gf_gguf_bool(&b, &g, "t.yes", false, NULL), GF_OK);
    cr_expect(b);
    cr_expect_eq(gf_gguf_bool(&b, &g, "t.no", true, NULL), GF_OK);
    cr_expect(!b);
    cr_expect_eq(gf_gguf_string(&s, &g, "t.string", NULL), GF_OK);
    cr_expect_str_eq(s, "h\xC3\xA9llo");
    free(s);
    cr_expect_eq(gf_gguf_string(&s, &g, "none", NULL), GF_OK);
    cr_expect_null(s);
    gf_gguf_close(&g);
}

Test(gguf, wrong_types_and_ranges)
{
    gf_gguf g;
    gf_err err = {0};
    int64_t i;
    double d;
    bool b;
    char *s;
    open_golden(&g);
    cr_expect_eq(gf_gguf_int(&i, &g, "t.u64", 0, 0, INT64_MAX, &err), GF_EINPUT, "2^64 - 1");
    cr_expect_eq(gf_gguf_int(&i, &g, "t.u8", 0, 0, 199, NULL), GF_EINPUT);
    cr_expect_eq(gf_gguf_int(&i, &g, "t.i8", 0, -99, 0, NULL), GF_EINPUT);
    cr_expect_eq(gf_gguf_int(&i, &g, "t.f32", 0, 0, 9, NULL), GF_EINPUT);
    cr_expect_eq(gf_gguf_int(&i, &g, "t.yes", 0, 0, 9, NULL), GF_EINPUT);
    cr_expect_eq(gf_gguf_double(&d, &g, "t.string", 0, NULL), GF_EINPUT);
    cr_expect_eq(gf_gguf_bool(&b, &g, "t.u8", 0, NULL), GF_EINPUT);
    gf_err text = {0};
    cr_expect_eq(gf_gguf_string(&s, &g, "t.strings", &text), GF_EINPUT);
    cr_expect(strstr(text.text, "t.strings: want a string, got array"), "%s", text.text);
    gf_gguf_close(&g);
}

Test(gguf, string_arrays)
{
    static const char *const want[] = {"", "a", "\xC3\xA9\xC3\xA9", "<s>"};
    gf_gguf g;
    const unsigned char *cursor = NULL;
    const char *s;
    size_t n, i = 0;
    open_golden(&g);
    const gf_kv *kv = gf_gguf_find(&g, "t.strings");
    cr_expect_eq(kv->count, 4);
    for (; gf_gguf_next_string(kv, &cursor, &s, &n); i++) {
        cr_assert_lt(i, 4);
        cr_expect_eq(n, strlen(want[i]));
        cr_expect_eq(memcmp(s, want[i], n), 0);
    }
    cr_expect_eq(i, 4);
    cursor = NULL;
    cr_expect(!gf_gguf_next_string(gf_gguf_find(&g, "t.ints"), &cursor, &s, &n));
    gf_gguf_close(&g);
}

Test(gguf, tensors)
{
    gf_gguf g;
    gf_err err = {0};
    float x[24];
    open_golden(&g);
    cr_expect_eq(g.source.count, 5);
    const gf_entry *cube = gf_source_find(&g.source, "cube");
    cr_expect_eq(cube->rank, 3);
    cr_expect(cube->dim[0] == 2 && cube->dim[1] == 3 && cube->dim[2] == 4 && cube->dim[3] == 1);
    cr_assert_eq(gf_source_read(&g.source, cube, 0, x, sizeof x, &err), GF_OK);
    for (int i = 0; i < 24; i++)
        cr_expect_eq(x[i], (float)i);
    const gf_entry *q4 = gf_source_find(&g.source, "q4_0"), *q6 = gf_source_find(&g.source, "q6_k");
    cr_expect(q4->readable && q4->dtype == GF_Q4_0 && q4->bytes == 36 && q4->dim[1] == 64);
    cr_expect(q6->readable && q6->dtype == GF_Q6_K && q6->bytes == 210 && q6->dim[1] == 256);
    cr_expect_str_eq(q6->dtype_text, "q6_k");
    unsigned char raw[210];
    cr_assert_eq(gf_source_read(&g.source, q6, 0, raw, sizeof raw, &err), GF_OK);
    for (size_t i = 0; i < sizeof raw; i++)
        cr_expect_eq(raw[i], i);
    gf_gguf_close(&g);
}

Test(gguf, cut_off_or_changed_anywhere)
{
    char *bytes;
    size_t size;
    gf_gguf g;
    open_golden(&g);
    const gf_entry *last = &g.source.entry[g.source.count - 1];
    const size_t needed = last->offset + last->bytes; /* padding behind it is not needed */
    gf_gguf_close(&g);
    cr_assert_eq(gf_file_read(golden, &bytes, &size, NULL), GF_OK);
    for (size_t n = 0; n < needed; n++) {
        gf_err err = {0};
        cr_expect_eq(gf_gguf_open(&g, scratch_write("cut", bytes, n), &err), GF_EINPUT, "%zu", n);
        cr_expect_neq(err.text[0], 0);
    }
    for (size_t n = 0; n < size; n++) { /* must not crash; some changes make another valid file */
        for (int flip = 0x11; flip < 256; flip += 0x6E) {
            bytes[n] = (char)(bytes[n] ^ flip);
            if (gf_gguf_open(&g, scratch_write("flip", bytes, size), NULL) == GF_OK)
                gf_gguf_close(&g);
            bytes[n] = (char)(bytes[n] ^ flip);
        }
    }
    free(bytes);
}

/* ---- files made by hand ------------------------------------------------------------ */

static void u32(gf_buf *b, uint32_t v)
{
    gf_buf_add(b, &v, sizeof v, NULL);
}
static void u64(gf_buf *b, uint64_t v)
{
    gf_buf_add(b, &v, sizeof v, NULL);
}
static void string(gf_buf *b, const char *s)
{
    u64(b, strlen(s));
    gf_buf_str(b, s, NULL);
}
static void begin(gf_buf *b, uint32_t version, uint64_t tensors, uint64_t keys)
{
    gf_buf_str(b, "GGUF", NULL);
    u32(b, version);
    u64(b, tensors);
    u64(b, keys);
}
static void pad(gf_buf *b, size_t to)
{
    while (b->len % to)
        gf_buf_add(b, "", 1, NULL);
}
/* A tensor of one dimension. */
static void tensor(gf_buf *b, const char *name, uint64_t n, uint32_t type, uint64_t offset)
{
    string(b, name);
    u32(b, 1);
    u64(b, n);
    u32(b, type);
    u64(b, offset);
}

/* Opens and frees; `says` NULL: must be good. */
static void expect(gf_buf *b, const char *says)
{
    gf_gguf g;
    gf_err err = {0};
    const gf_status st = gf_gguf_open(&g, scratch_write("hand.gguf", b->data, b->len), &err);
    gf_buf_free(b);
    if (st == GF_OK)
        gf_gguf_close(&g);
    cr_expect_eq(st, says ? GF_EINPUT : GF_OK, "want \"%s\", got \"%s\"", says ? says : "",
                 err.text);
    if (says)
        cr_expect(strstr(err.text, says), "want \"%s\", got \"%s\"", says, err.text);
}

Test(gguf, versions)
{
    static const struct {
        uint32_t version;
        const char *says;
    } cases[] = {{2, NULL},        {3, NULL},        {0, "version 0"},
                 {1, "version 1"}, {4, "version 4"}, {3u << 24, "big-endian"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gf_buf b = {0};
        begin(&b, cases[i].version, 0, 0);
        expect(&b, cases[i].says);
    }
    gf_buf magic = {0};
    gf_buf_str(&magic, "GGML\3\0\0\0", NULL);
    expect(&magic, "not a GGUF");
}

Test(gguf, metadata_rules)
{
    gf_buf b = {0};
    begin(&b, 3, 0, UINT64_MAX);
    expect(&b, "more keys");
    begin(&b, 3, UINT64_MAX, 0);
    expect(&b, "more tensors");
    for (int twice = 0; twice < 2; twice++) {
        begin(&b, 3, 0, 2);
        string(&b, "a");
        u32(&b, GF_KV_U32);
        u32(&b, 1);
        string(&b, twice ? "a" : "b");
        u32(&b, GF_KV_U32);
        u32(&b, 1);
        expect(&b, twice ? "key a is there twice" : NULL);
    }
    begin(&b, 3, 0, 1);
    string(&b, "");
    u32(&b, GF_KV_U64);
    u64(&b, 1);
    expect(&b, "empty key");
    begin(&b, 3, 0, 1);
    string(&b, "\xFFkey");
    u32(&b, GF_KV_U64);
    u64(&b, 1);
    expect(&b, "UTF-8");
    begin(&b, 3, 0, 1);
    string(&b, "key");
    u32(&b, 13);
    u64(&b, 1);
    expect(&b, "unknown type");
    static const uint64_t lengths[] = {100, UINT64_C(1) << 29, (UINT64_C(1) << 30) + 1, UINT64_MAX};
    for (size_t i = 0; i < 4; i++) {
        begin(&b, 3, 0, 1);
        string(&b, "text");
        u32(&b, GF_KV_STRING);
        u64(&b, lengths[i]);
        expect(&b, i < 2 ? "ends inside" : "1 GiB");
        for (uint32_t item = 0; item < 13; item++) {
            begin(&b, 3, 0, 1);
            string(&b, "list");
            u32(&b, GF_KV_ARRAY);
            u32(&b, item);
            u64(&b, lengths[i]);
            expect(&b, item == GF_KV_ARRAY ? "array of arrays" : i < 2 ? "ends inside" : "2^30");
        }
    }
}

Test(gguf, alignment)
{
    static const struct {
        uint32_t value;
        const char *says;
    } cases[] = {{1, NULL}, {8, NULL}, {64, NULL}, {0, "alignment"}, {48, "power of two"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gf_buf b = {0};
        begin(&b, 3, 2, 1);
        string(&b, "general.alignment");
        u32(&b, GF_KV_U32);
        u32(&b, cases[i].value);
        const size_t step = cases[i].value ? cases[i].value : 1;
        tensor(&b, "a", 1, 0, 0);
        tensor(&b, "b", 1, 0, (4 + step - 1) / step * step);
        pad(&b, step);
        u32(&b, 1);
        pad(&b, step);
        u32(&b, 2);
        expect(&b, cases[i].says);
    }
    gf_buf b = {0};
    begin(&b, 3, 0, 1);
    string(&b, "general.alignment");
    u32(&b, GF_KV_U64);
    u64(&b, 32);
    expect(&b, "u32");
}

Test(gguf, tensor_rules)
{
    static const struct {
        const char *name;
        uint64_t n;
        uint32_t type;
        uint64_t offset;
        const char *says;
    } cases[] = {
        {"b", 8, 0, 32, NULL},
        {"a", 8, 0, 32, "tensor a is there twice"},
        {"b", 8, 0, 0, "must be 32"},
        {"b", 8, 0, 64, "must be 32"},
        {"b", 33, 8, 32, "blocks of 32"},
        {"b", 8, 4, 32, "type number 4"},
        {"b", 8, 1000, 32, "type number 1000"},
        {"b", UINT64_MAX, 0, 32, "negative"},
        {"b", INT64_MAX, 0, 32, "overflows"},
        {"b", 9, 0, 32, "its data ends at byte"},
        {"b", 0, 0, 32, NULL},
        {"123456789012345678901234567890123456789012345678901234567890123", 8, 0, 32, NULL},
        {"1234567890123456789012345678901234567890123456789012345678901234", 8, 0, 32, "63 bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gf_buf b = {0};
        begin(&b, 3, 2, 0);
        tensor(&b, "a", 2, 0, 0);
        tensor(&b, cases[i].name, cases[i].n, cases[i].type, cases[i].offset);
        pad(&b, 32);
        for (int k = 0; k < 8; k++)
            u64(&b, 0);
        expect(&b, cases[i].says);
    }
    gf_buf b = {0};
    begin(&b, 3, 1, 0);
    string(&b, "a");
    u32(&b, 5);
    for (int k = 0; k < 8; k++)
        u64(&b, 1);
    expect(&b, "4 dimensions");
    begin(&b, 3, 1, 0);
    string(&b, "a");
    u32(&b, 4);
    for (int k = 0; k < 4; k++)
        u64(&b, 1u << 20);
    u32(&b, 0);
    u64(&b, 0);
    expect(&b, "overflows");
}

Test(gguf, no_file)
{
    gf_gguf g;
    gf_err err = {0}, folder = {0}, empty = {0};
    cr_expect_eq(gf_gguf_open(&g, "/nonexistent/x.gguf", &err), GF_EINPUT);
    cr_expect_eq(gf_gguf_open(&g, scratch_dir(), &folder), GF_EINPUT);
    cr_expect_eq(gf_gguf_open(&g, scratch_write("x", "", 0), &empty), GF_EINPUT);
}
