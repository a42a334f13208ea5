/* test_safetensors.c - the official reader's rules one by one (FORMATS 1.4), and a writer whose
 * files are the official writer's to the byte (tests/golden/small_safetensors.py). */
#include "format/safetensors.h"
#include "support/scratch.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

/* A file of a header and `data` zero bytes; length 0 stands for the header's own. */
static const char *file_of(const char *name, const char *header, uint64_t length, size_t data)
{
    const size_t n = strlen(header);
    char *bytes = calloc(8 + n + data + 1, 1);
    if (!length)
        length = n;
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, n);
    const char *path = scratch_write(name, bytes, 8 + n + data);
    free(bytes);
    return path;
}

static gf_status open_one(const char *header, size_t data, gf_err *err)
{
    gf_source s;
    const gf_status st = gf_safetensors_open(&s, file_of("x.safetensors", header, 0, data), err);
    if (st == GF_OK)
        gf_source_close(&s);
    else
        cr_expect_eq(s.count + s.files, 0);
    return st;
}

#define F32 "{\"dtype\":\"F32\",\"shape\":"

Test(safetensors, accepts)
{
    static const struct {
        const char *header;
        size_t data;
    } good[] = {
        {"{}", 0},
        {" \n\t\r{} \n\t\r", 0},
        {"{\"__metadata__\":{\"format\":\"pt\"}}", 0},
        {"{\"__metadata__\":null}", 0},
        {"{\"__metadata__\":{}}", 0},
        {"{\"a\":" F32 "[1],\"data_offsets\":[0,4]}}", 4},
        {"{\"b\":" F32 "[1],\"data_offsets\":[4,8]},\"a\":" F32 "[1],\"data_offsets\":[0,4]}}", 8},
        {"{\"a\":" F32 "[],\"data_offsets\":[0,4]}}", 4},
        {"{\"a\":" F32 "[0,7],\"data_offsets\":[0,0]}}", 0},
        {"{\"a\":" F32 "[2],\"data_offsets\":[0,8]},\"z\":" F32 "[0],\"data_offsets\":[8,8]}}", 8},
        {"{\"z\":" F32 "[0],\"data_offsets\":[0,0]},\"a\":" F32 "[2],\"data_offsets\":[0,8]}}", 8},
        {"{\"\":" F32 "[1],\"data_offsets\":[0,4]}}", 4},
        {"{\"a\":" F32 "[1],\"data_offsets\":[0,4],\"extra\":{\"x\":1.5}}}", 4},
        {"{\"a\":[\"F32\",[1],[0,4]]}", 4},
        {"{\"a\":{\"dtype\":\"F4\",\"shape\":[2],\"data_offsets\":[0,1]}}", 1},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,2,3,1,2],\"data_offsets\":[0,12]}}", 12},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        gf_err err = {0};
        cr_expect_eq(open_one(good[i].header, good[i].data, &err), GF_OK, "%s: %s", good[i].header,
                     err.text);
    }
}

Test(safetensors, refuses)
{
    static const struct {
        const char *header;
        size_t data;
        const char *says;
    } bad[] = {
        {"[]", 0, "want an object"},
        {"", 0, "header"}, /* length 0 */
        {"{", 0, "header:1:2"},
        {"{}x", 0, "header:1:3"},
        {"\xEF\xBB\xBF{}", 0, "byte order mark"},
        {"{\"\xFF\":1}", 0, "UTF-8"},
        {"{\"__metadata__\":[]}", 0, "__metadata__"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "__metadata__"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "twice"},
        {"{\"a\":" F32 "[1],\"data_offsets\":[0,4]},\"a\":" F32 "[1],\"data_offsets\":[0,4]}}", 4,
         "twice"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
         "twice"},
        {"{\"a\":1}", 0, "\"a\""},
        {"{\"a\":[\"F32\",[1]]}", 4, "\"a\""},
        {"{\"a\":[\"F32\",[1],[0,4],1]}", 4, "\"a\""},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "data_offsets"},
        {"{\"a\":{\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype \"f32\""},
        {"{\"a\":{\"dtype\":\"F128\",\"shape\":[1],\"data_offsets\":[0,16]}}", 16,
         "dtype \"F128\""},
        {"{\"a\":{\"dtype\":3,\"shape\":[1],\"data_offsets\":[0,16]}}", 16, "dtype"},
        {"{\"a\":" F32 "[1],\"data_offsets\":[4,8]}}", 8, "offset 4"}, /* a hole */
        {"{\"a\":" F32 "[1],\"data_offsets\":[0,4]},\"b\":" F32 "[1],\"data_offsets\":[8,12]}}", 12,
         "\"b\""},
        {"{\"a\":" F32 "[1],\"data_offsets\":[0,4]},\"b\":" F32 "[1],\"data_offsets\":[2,6]}}", 6,
         "\"b\""}, /* overlap */
        {"{\"a\":" F32 "[1],\"data_offsets\":[0,4]},\"b\":" F32 "[1],\"data_offsets\":[0,4]}}", 4,
         "offset 0"}, /* the same */
        {"{\"a\":" F32 "[1],\"data_offsets\":[4,0]}}", 4, "\"a\""},
        {"{\"a\":" F32 "[1],\"data_offsets\":[0,8]}}", 8, "make 4 bytes"},
        {"{\"a\":" F32 "[1],\"data_offsets\":[0,4]}}", 5, "5"},        /* trailing bytes */
        {"{\"a\":" F32 "[1],\"data_offsets\":[0,4]}}", 3, "download"}, /* too short */
        {"{}", 1, "at its end"},
        {"{\"a\":{\"dtype\":\"F4\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
         "whole number of bytes"},
        {"{\"a\":" F32 "[-1],\"data_offsets\":[0,4]}}", 4, "dimension"},
        {"{\"a\":" F32 "[1.5],\"data_offsets\":[0,4]}}", 4, "dimension"},
        {"{\"a\":" F32 "[\"1\"],\"data_offsets\":[0,4]}}", 4, "dimension"},
        {"{\"a\":" F32 "[36893488147419103232],\"data_offsets\":[0,4]}}", 4, "dimension"},
        {"{\"a\":" F32 "[1099511627776,1099511627776],\"data_offsets\":[0,4]}}", 4, "overflows"},
        {"{\"a\":" F32 "[4294967296,2147483647],\"data_offsets\":[0,4]}}", 4, "overflows"},
        {"{\"a\":" F32 "[1],\"data_offsets\":[0]}}", 4, "data_offsets"},
        {"{\"a\":" F32 "[1],\"data_offsets\":[0,2,4]}}", 4, "data_offsets"},
        {"{\"a\":" F32 "[1],\"data_offsets\":[0,4.5]}}", 4, "data offset"},
        {"{\"a\":" F32 "[1],\"data_offsets\":[-4,0]}}", 4, "data offset"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,2,3,1,2],\"data_offsets\":[0,13]}}", 13,
         "12 bytes"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        gf_err err = {0};
        cr_expect_eq(open_one(bad[i].header, bad[i].data, &err), GF_EINPUT, "%s", bad[i].header);
        cr_expect(strstr(err.text, bad[i].says), "%s: %s", bad[i].header, err.text);
        cr_expect(strstr(err.text, "x.safetensors"), "%s", err.text);
    }
}

Test(safetensors, refuses_lengths)
{
    static const uint64_t lengths[] = {3, 100000001, 1u << 20, UINT64_MAX, UINT64_MAX - 7};
    gf_source s;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        gf_err err = {0};
        cr_expect_eq(gf_safetensors_open(&s, file_of("x", "{}", lengths[i], 0), &err), GF_EINPUT);
        cr_expect_neq(err.text[0], 0);
    }
    gf_err padding = {0};
    cr_expect_eq(gf_safetensors_open(&s, scratch_write("n", "\3\0\0\0\0\0\0\0{}\0", 11), &padding),
                 GF_EINPUT, "padded with NUL");
    gf_err none = {0}, folder = {0};
    cr_expect_eq(gf_safetensors_open(&s, "/nonexistent/x", &none), GF_EINPUT);
    cr_expect_eq(gf_safetensors_open(&s, scratch_dir(), &folder), GF_EINPUT);
}

/* ---- the golden file --------------------------------------------------------------- */

static const gf_st_decl small[] = {
    {"model.layers.10.weight", GF_F32, 2, {2, 3}},
    {"model.layers.9.weight", GF_F32, 2, {3, 2}},
    {"b", GF_BF16, 1, {5}},
    {"a", GF_F16, 3, {1, 1, 3}},
    {"ids", GF_I64, 1, {2}},
    {"counts", GF_I32, 1, {3}},
    {"bytes", GF_U8, 1, {7}},
    {"scalar", GF_F32, 0, {0}},
    {"empty", GF_F32, 2, {0, 4}},
    {"quote \" and \\ and \n", GF_U8, 1, {1}},
    {"h\xC3\xA9llo \xF0\x9F\x98\x80", GF_F32, 1, {1}},
};
enum { SMALL = sizeof small / sizeof small[0] };
static const char golden[] = GRAFT_TESTS "/golden/small.safetensors";

static size_t small_bytes(int i)
{
    size_t n = (size_t)gf_dtype_size(small[i].dtype);
    for (int d = 0; d < small[i].rank; d++)
        n *= (size_t)small[i].dim[d];
    return n;
}

/* Writes the golden file's tensors in pieces of at most `piece` bytes. */
static void write_small(const char *path, size_t piece)
{
    gf_st_writer *w;
    gf_err err = {0};
    cr_assert_eq(gf_st_writer_open(&w, path, small, SMALL, &err), GF_OK, "%s", err.text);
    for (int i; (i = gf_st_writer_next(w)) >= 0;) {
        unsigned char data[64];
        const size_t size = small_bytes(i);
        for (size_t k = 0; k < size; k++)
            data[k] = (unsigned char)((size_t)i + k);
        for (size_t at = 0; at < size; at += piece)
            cr_assert_eq(
                gf_st_writer_data(w, data + at, size - at < piece ? size - at : piece, &err),
                GF_OK);
    }
    cr_assert_eq(gf_st_writer_commit(w, &err), GF_OK, "%s", err.text);
}

Test(safetensors, writes_what_the_official_writer_does)
{
    char *want, *got;
    size_t want_size, got_size;
    gf_err err = {0};
    cr_assert_eq(gf_file_read(golden, &want, &want_size, &err), GF_OK, "%s", err.text);
    for (size_t piece = 1; piece <= 64; piece *= 4) {
        write_small(scratch_path("w"), piece);
        cr_assert_eq(gf_file_read(scratch_path("w"), &got, &got_size, &err), GF_OK);
        cr_assert_eq(got_size, want_size);
        cr_expect_arr_eq(got, want, want_size);
        free(got);
    }
    free(want);
}

Test(safetensors, reads_it_back)
{
    gf_source s;
    gf_err err = {0};
    cr_assert_eq(gf_safetensors_open(&s, golden, &err), GF_OK, "%s", err.text);
    cr_expect_eq(s.count, SMALL);
    for (int i = 0; i < SMALL; i++) {
        unsigned char data[64];
        const gf_entry *e = gf_source_find(&s, small[i].name);
        cr_assert_not_null(e, "%s", small[i].name);
        cr_expect(e->readable);
        cr_expect_eq(e->dtype, small[i].dtype);
        cr_expect_eq(e->rank, small[i].rank);
        cr_expect_eq(e->bytes, small_bytes(i));
        for (int d = 0; d < 4; d++)
            cr_expect_eq(e->dim[d], d < small[i].rank ? small[i].dim[d] : 1);
        cr_assert_eq(gf_source_read(&s, e, 0, data, e->bytes, &err), GF_OK);
        for (size_t k = 0; k < e->bytes; k++)
            cr_expect_eq(data[k], (size_t)i + k);
    }
    cr_expect_null(gf_source_find(&s, "none"));
    gf_source_close(&s);
}

Test(safetensors, cut_off_or_changed_anywhere)
{
    char *bytes;
    size_t size;
    gf_source s;
    cr_assert_eq(gf_file_read(golden, &bytes, &size, NULL), GF_OK);
    for (size_t n = 0; n < size; n++) {
        gf_err err = {0};
        cr_expect_eq(gf_safetensors_open(&s, scratch_write("cut", bytes, n), &err), GF_EINPUT);
        cr_expect_neq(err.text[0], 0);
    }
    for (size_t n = 0; n < size; n++) { /* must not crash; most are errors, some are other files */
        bytes[n] ^= 0x11;
        if (gf_safetensors_open(&s, scratch_write("flip", bytes, size), NULL) == GF_OK)
            gf_source_close(&s);
        bytes[n] ^= 0x11;
    }
    free(bytes);
}

Test(safetensors, lists_what_it_cannot_hold)
{
    gf_source s;
    gf_err err = {0};
    const char *path =
        file_of("x",
                "{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[2],\"data_offsets\":[0,2]},"
                "\"b\":{\"dtype\":\"F32\",\"shape\":[1,2,1,1,3],\"data_offsets\":[2,26]}}",
                0, 26);
    cr_assert_eq(gf_safetensors_open(&s, path, &err), GF_OK, "%s", err.text);
    const gf_entry *a = gf_source_find(&s, "a"), *b = gf_source_find(&s, "b");
    cr_expect(!a->readable);
    cr_expect_str_eq(a->dtype_text, "F8_E4M3");
    cr_expect(!b->readable);
    cr_expect_eq(b->rank, 4);
    cr_expect_eq(b->dim[0], 2);
    cr_expect_eq(b->dim[3], 3);
    gf_source_close(&s);
}

/* ---- the writer's refusals --------------------------------------------------------- */

Test(safetensors, writer_refuses)
{
    static const gf_st_decl bad[][2] = {
        {{"a", GF_F32, 1, {1}}, {"a", GF_F32, 1, {1}}},
        {{"a", GF_F32, 1, {1}}, {"a", GF_F16, 1, {1}}},
        {{"a", GF_F32, 1, {1}}, {"__metadata__", GF_F16, 1, {1}}},
        {{"a", GF_F32, 1, {1}}, {"b", GF_F16, 2, {INT64_MAX, INT64_MAX}}},
        {{"a", GF_U8, 1, {INT64_MAX}}, {"b", GF_F16, 1, {INT64_MAX}}},
        {{"a", GF_F32, 1, {1}}, {"\xFF", GF_F32, 1, {1}}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        gf_st_writer *w;
        gf_err err = {0};
        cr_expect_neq(gf_st_writer_open(&w, scratch_path("w"), bad[i], 2, &err), GF_OK, "%zu", i);
        cr_expect_null(w);
        cr_expect_neq(err.text[0], 0);
    }
    cr_expect(!gf_file_exists(scratch_path("w")));
}

Test(safetensors, cancelled_leaves_nothing)
{
    gf_st_writer *w;
    bool empty;
    cr_assert_eq(gf_st_writer_open(&w, scratch_path("w"), small, SMALL, NULL), GF_OK);
    gf_st_writer_cancel(w);
    gf_st_writer_cancel(NULL);
    cr_assert_eq(gf_dir_is_empty(scratch_dir(), &empty, NULL), GF_OK);
    cr_expect(empty);
}
