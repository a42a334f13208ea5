/* test_gguf_write.c - gguf-py's file written again byte for byte (tests/golden/written_gguf.py),
 * and what the writer must refuse. */
#include "format/gguf_write.h"
#include "support/scratch.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static const char golden[] = GRAFT_TESTS "/golden/written.gguf";

#define OK(expr)                                                                                   \
    do {                                                                                           \
        gf_err err_ = {0}, *err = &err_;                                                           \
        cr_assert_eq((expr), GF_OK, "%s", err_.text);                                              \
    } while (0)

static void put(gf_gguf_keys *k, const char *key, gf_kv_type type, const void *value)
{
    OK(gf_gguf_put(k, key, type, value, err));
}

static void put_golden_keys(gf_gguf_keys *k)
{
    static const char *const strings[] = {"\xE2\x82\xAC", "a", "\xC3\xA9\xC3\xA9", "<s>"};
    OK(gf_gguf_put_string(k, "general.architecture", "llama", 5, err));
    OK(gf_gguf_put_u32(k, "general.alignment", 64, err));
    put(k, "t.u8", GF_KV_U8, &(uint8_t){200});
    put(k, "t.i8", GF_KV_I8, &(int8_t){-100});
    put(k, "t.u16", GF_KV_U16, &(uint16_t){60000});
    put(k, "t.i16", GF_KV_I16, &(int16_t){-30000});
    put(k, "t.u32", GF_KV_U32, &(uint32_t){4000000000});
    put(k, "t.i32", GF_KV_I32, &(int32_t){-2000000000});
    put(k, "t.u64", GF_KV_U64, &(uint64_t){UINT64_MAX});
    put(k, "t.i64", GF_KV_I64, &(int64_t){-(INT64_C(1) << 62)});
    OK(gf_gguf_put_f32(k, "t.f32", 0.1f, err));
    put(k, "t.f64", GF_KV_F64, &(double){0.1});
    OK(gf_gguf_put_bool(k, "t.yes", true, err));
    OK(gf_gguf_put_string(k, "t.string", "h\xC3\xA9llo", 6, err));
    OK(gf_gguf_put_strings(k, "t.strings", 4, err));
    for (int i = 0; i < 4; i++)
        OK(gf_gguf_add_string(k, strings[i], strlen(strings[i]), err));
    OK(gf_gguf_put_array(k, "t.ints", GF_KV_I32, (int32_t[]){1, -2, 3}, 3, err));
    OK(gf_gguf_put_array(k, "t.floats", GF_KV_F32, (float[]){0.5f, 1.5f}, 2, err));
}

static const gf_gguf_decl golden_decl[] = {
    {"f32", GF_F32, 2, {2, 3}},    {"f16", GF_F16, 1, {5}},      {"cube", GF_F32, 3, {2, 3, 4}},
    {"q4_0", GF_Q4_0, 2, {1, 64}}, {"bf16", GF_BF16, 2, {4, 8}}, {"q8_0", GF_Q8_0, 2, {2, 32}},
};
enum { GOLDEN = 6 };

static void golden_data(int i, unsigned char *out, size_t *size)
{
    static const size_t sizes[GOLDEN] = {24, 10, 96, 36, 64, 68};
    static const uint16_t halves[] = {0, 0x3C00, 0x4000, 0x4200, 0x4400}; /* 0 to 4 */
    *size = sizes[i];
    for (size_t j = 0; j < *size; j++)
        out[j] = (unsigned char)j;
    if (golden_decl[i].dtype == GF_F16)
        memcpy(out, halves, sizeof halves);
    for (size_t j = 0; golden_decl[i].dtype == GF_F32 && j < *size / 4; j++)
        memcpy(out + 4 * j, &(float){(float)j}, 4);
}

/* In pieces of `piece` bytes. */
static void write_golden(const char *path, size_t piece)
{
    gf_gguf_keys k = {0};
    gf_gguf_writer *w = NULL;
    put_golden_keys(&k);
    OK(gf_gguf_writer_open(&w, path, &k, golden_decl, GOLDEN, err));
    gf_gguf_keys_free(&k);
    for (int i = gf_gguf_writer_next(w); i >= 0; i = gf_gguf_writer_next(w)) {
        unsigned char data[128];
        size_t size = 0;
        golden_data(i, data, &size);
        for (size_t at = 0; at < size; at += piece)
            OK(gf_gguf_writer_data(w, data + at, size - at < piece ? size - at : piece, err));
    }
    OK(gf_gguf_writer_commit(w, err));
}

Test(gguf_write, is_what_gguf_py_writes)
{
    char *want = NULL, *got = NULL;
    size_t wanted = 0, size = 0;
    OK(gf_file_read(golden, &want, &wanted, err));
    const size_t pieces[] = {7, 128};
    for (int i = 0; i < 2; i++) {
        const char *path = scratch_path("written.gguf");
        write_golden(path, pieces[i]);
        OK(gf_file_read(path, &got, &size, err));
        cr_expect_eq(size, wanted);
        cr_expect(size == wanted && memcmp(got, want, size) == 0);
        free(got);
    }
    free(want);
}

Test(gguf_write, pairs_of_another_file)
{
    gf_gguf g;
    gf_gguf_keys k = {0}, again = {0};
    OK(gf_gguf_open(&g, golden, err));
    put_golden_keys(&k);
    for (int i = 0; i < g.count; i++)
        OK(gf_gguf_put_kv(&again, &g.kv[i], err));
    cr_expect_eq(again.count, k.count);
    cr_expect_eq(again.alignment, 64);
    cr_expect(again.bytes.len == k.bytes.len &&
              memcmp(again.bytes.data, k.bytes.data, k.bytes.len) == 0);
    cr_expect(gf_gguf_keys_have(&again, "t.i64"));
    cr_expect_not(gf_gguf_keys_have(&again, "t.i6"));
    gf_gguf_keys_free(&k);
    gf_gguf_keys_free(&again);
    gf_gguf_close(&g);
}

Test(gguf_write, empty_tensors_and_none)
{
    const gf_gguf_decl decl[] = {
        {"a", GF_F32, 1, {0}}, {"b", GF_F16, 1, {1}}, {"c", GF_F32, 2, {0, 4}}};
    gf_gguf_keys k = {0};
    gf_gguf_writer *w = NULL;
    gf_gguf g;
    const char *path = scratch_path("empty.gguf");
    OK(gf_gguf_writer_open(&w, path, &k, decl, 3, err));
    cr_expect_eq(gf_gguf_writer_next(w), 1);
    OK(gf_gguf_writer_data(w, "xy", 2, err));
    cr_expect_eq(gf_gguf_writer_next(w), -1);
    OK(gf_gguf_writer_commit(w, err));
    OK(gf_gguf_open(&g, path, err));
    cr_expect_eq(g.source.count, 3);
    gf_gguf_close(&g);
    OK(gf_gguf_writer_open(&w, path, &k, NULL, 0, err));
    OK(gf_gguf_writer_commit(w, err));
    OK(gf_gguf_open(&g, path, err));
    cr_expect_eq(g.source.count + g.count, 0);
    gf_gguf_close(&g);
}

Test(gguf_write, refuses_keys)
{
    gf_gguf_keys k = {0};
    OK(gf_gguf_put_u32(&k, "a", 1, err));
    gf_err err = {0};
    cr_expect_eq(gf_gguf_put_u32(&k, "a", 1, &err), GF_EARG);
    cr_expect_str_eq(err.text, "the GGUF key a is there twice");
    cr_expect_eq(gf_gguf_put_u32(&k, "", 1, NULL), GF_EARG);
    cr_expect_eq(gf_gguf_put_u32(&k, "\xFF", 1, NULL), GF_EARG);
    cr_expect_eq(gf_gguf_put_u32(&k, "general.alignment", 0, NULL), GF_EARG);
    cr_expect_eq(gf_gguf_put_u32(&k, "general.alignment", 24, NULL), GF_EARG);
    cr_expect_eq(k.count, 1);
    gf_gguf_keys_free(&k);
}

Test(gguf_write, refuses_tensors)
{
    static const char long_name[] =
        "0123456789012345678901234567890123456789012345678901234567890123"; /* 64 */
    static const struct {
        gf_gguf_decl decl;
        const char *text;
    } bad[] = {
        {{long_name, GF_F32, 1, {1}}, "more than 63 bytes"},
        {{"\xC0", GF_F32, 1, {1}}, "no UTF-8"},
        {{"x", GF_U8, 1, {1}}, "none of GGUF's"},
        {{"x", GF_F32, 2, {1, -1}}, "overflows"},
        {{"x", GF_F32, 3, {INT64_MAX, 2, 1}}, "overflows"},
        {{"x", GF_F32, 1, {INT64_MAX}}, "overflows"},
        {{"x", GF_Q8_0, 2, {32, 33}}, "rows of 33 are not whole q8_0 blocks"},
        {{"x", GF_Q8_0, 0, {0}}, "rows of 1 are not whole q8_0 blocks"},
        {{"twin", GF_F32, 1, {1}}, "two tensors are named twin"},
    };
    gf_gguf_keys k = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const gf_gguf_decl decl[] = {{"twin", GF_F32, 1, {1}}, bad[i].decl};
        gf_gguf_writer *w = NULL;
        gf_err err = {0};
        cr_expect_eq(gf_gguf_writer_open(&w, scratch_path("bad.gguf"), &k, decl, 2, &err), GF_EARG);
        cr_expect(strstr(err.text, bad[i].text), "%s", err.text);
        cr_expect_null(w);
    }
    bool empty = false;
    OK(gf_dir_is_empty(scratch_dir(), &empty, err));
    cr_expect(empty);
}

Test(gguf_write, cancelled_leaves_nothing)
{
    gf_gguf_keys k = {0};
    gf_gguf_writer *w = NULL;
    bool empty = false;
    OK(gf_gguf_writer_open(&w, scratch_path("x.gguf"), &k, golden_decl, GOLDEN, err));
    OK(gf_gguf_writer_data(w, "abcd", 4, err));
    gf_gguf_writer_cancel(w);
    gf_gguf_writer_cancel(NULL);
    OK(gf_dir_is_empty(scratch_dir(), &empty, err));
    cr_expect(empty);
}
