/* test_folder.c - which files of a folder are its weights, and indices that say something else than
 * their shards (FORMATS 1.5). */
#include "format/folder.h"
#include "support/scratch.h"
#include "support/spoil.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define F32 "{\"dtype\":\"F32\",\"shape\":"

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

static void write_index(const char *map)
{
    char text[1024];
    snprintf(text, sizeof text, "{\"metadata\":{\"total_size\":8},\"weight_map\":%s}", map);
    scratch_write("model.safetensors.index.json", text, strlen(text));
}

Test(folder, shards)
{
    gf_source s;
    gf_err err = {0};
    file_of("model-00001-of-00002.safetensors",
            "{\"b\":" F32 "[1],\"data_offsets\":[0,4]},\"c\":" F32 "[1],\"data_offsets\":[4,8]}}",
            0, 8);
    file_of("model-00002-of-00002.safetensors", "{\"a\":" F32 "[1],\"data_offsets\":[0,4]}}", 0, 4);
#define ONE "\"model-00001-of-00002.safetensors\""
#define TWO "\"model-00002-of-00002.safetensors\""
    write_index("{\"a\":" TWO ",\"b\":" ONE ",\"c\":" ONE "}");
    cr_assert_eq(gf_folder_open(&s, scratch_dir(), &err), GF_OK, "%s", err.text);
    cr_expect_eq(s.count, 3);
    cr_expect_eq(s.files, 2);
    const gf_entry *a = gf_source_find(&s, "a");
    cr_expect(strstr(s.file[a->file].path, "model-00002"));
    gf_source_close(&s);

    static const struct {
        const char *map, *says;
    } bad[] = {
        {"{\"a\":" TWO ",\"b\":" ONE "}", "tensor c"},                             /* unnamed */
        {"{\"a\":" TWO ",\"b\":" ONE ",\"c\":" ONE ",\"d\":" ONE "}", "tensor d"}, /* not there */
        {"{\"a\":" TWO ",\"b\":" TWO ",\"c\":" ONE "}", "tensor b"}, /* another shard's */
        {"{\"a\":\"model-00003-of-00002.safetensors\"}", "is missing"},
        {"{\"a\":\"../x.safetensors\"}", "in this folder"},
        {"{\"a\":\"/etc/passwd\"}", "in this folder"},
        {"{\"a\":\"..\"}", "in this folder"},
        {"{\"a\":\"\"}", "in this folder"},
        {"{\"a\":7}", "in this folder"},
        {"[]", "weight_map"},
        {"{\"a\":" ONE ",\"a\":" TWO "}", "twice"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        gf_err why = {0};
        write_index(bad[i].map);
        cr_expect_eq(gf_folder_open(&s, scratch_dir(), &why), GF_EINPUT, "%s", bad[i].map);
        cr_expect(strstr(why.text, bad[i].says), "%s: %s", bad[i].map, why.text);
    }
    /* A tensor in two shards. */
    file_of("model-00002-of-00002.safetensors", "{\"b\":" F32 "[1],\"data_offsets\":[0,4]}}", 0, 4);
    write_index("{\"a\":" TWO ",\"b\":" ONE ",\"c\":" ONE "}");
    gf_err twice = {0};
    cr_expect_eq(gf_folder_open(&s, scratch_dir(), &twice), GF_EINPUT);
    cr_expect(strstr(twice.text, "tensor b is also in"), "%s", twice.text);
    /* The single file goes first. */
    file_of("model.safetensors", "{}", 0, 0);
    cr_assert_eq(gf_folder_open(&s, scratch_dir(), &err), GF_OK);
    cr_expect_eq(s.count, 0);
    gf_source_close(&s);
}

Test(folder, folder_without)
{
    gf_source s;
    gf_err err = {0}, none = {0};
    scratch_write("tf_model.h5", "", 0);
    cr_expect_eq(gf_folder_open(&s, scratch_dir(), &err), GF_EINPUT);
    cr_expect(strstr(err.text, "tf_model.h5"), "%s", err.text);
    cr_expect_eq(gf_folder_open(&s, "/nonexistent", &none), GF_EINPUT);
}

Test(folder, reference_models)
{
    static const char *const names[] = {"llama-gqa", "gemma2-softcap", "qwen2-bias"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[512];
        gf_source s;
        gf_err err = {0};
        snprintf(path, sizeof path, GRAFT_SHARED "/golden/%s/model", names[i]);
        if (!gf_dir_exists(path))
            cr_skip_test("no " GRAFT_SHARED "/golden");
        cr_assert_eq(gf_folder_open(&s, path, &err), GF_OK, "%s", err.text);
        cr_expect_not_null(gf_source_find(&s, "model.embed_tokens.weight"));
        gf_source_close(&s);
    }
}

/* torch's files in their turn: after safetensors, the single one before an index. */
Test(folder, torch)
{
    gf_source s;
    gf_err err = {0}, bad = {0};
    size_t size;
    char *bytes = spoil_read(GRAFT_TESTS "/golden/torch/small.bin", &size);
    static const char map[] = "{\"weight_map\":{\"plain\":\"pytorch_model-00001-of-00001.bin\"}}";
    scratch_write("pytorch_model-00001-of-00001.bin", bytes, size);
    scratch_write("pytorch_model.bin.index.json", map, strlen(map));
    cr_expect_eq(gf_folder_open(&s, scratch_dir(), &bad), GF_EINPUT);
    cr_expect(strstr(bad.text, "not in the weight_map"), "%s", bad.text);
    scratch_write("pytorch_model.bin", bytes, size);
    cr_assert_eq(gf_folder_open(&s, scratch_dir(), &err), GF_OK, "%s", err.text);
    cr_expect_not_null(gf_source_find(&s, "transposed"));
    gf_source_close(&s);
    file_of("model.safetensors", "{}", 0, 0);
    cr_assert_eq(gf_folder_open(&s, scratch_dir(), &err), GF_OK);
    cr_expect_eq(s.count, 0);
    gf_source_close(&s);
    free(bytes);
}
