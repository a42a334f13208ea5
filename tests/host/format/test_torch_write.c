/* test_torch_write.c - torch.save's format, byte for byte what PyTorch was seen to load
 * (tests/golden/written_bin.py checks the file). GRAFT_UPDATE=1 writes it anew. */
#include "format/torch_write.h"
#include "support/scratch.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OK(expr)                                                                                   \
    do {                                                                                           \
        gf_err err_ = {0}, *err = &err_;                                                           \
        cr_assert_eq((expr), GF_OK, "%s", err_.text);                                              \
    } while (0)

static const char golden[] = GRAFT_TESTS "/golden/written.bin";

static const gf_st_decl decl[] = {{"a.lora_A.weight", GF_F32, 2, {2, 3}},
                                  {"h", GF_F16, 1, {300}},
                                  {"b\xC3\xA9", GF_BF16, 3, {2, 1, 3}},
                                  {"long", GF_I64, 2, {2, 2}},
                                  {"int", GF_I32, 1, {1}},
                                  {"byte", GF_U8, 1, {300}},
                                  {"none", GF_F32, 2, {0, 70000}},
                                  {"scalar", GF_F32, 0, {0}},
                                  {"last", GF_F32, 1, {2}}};
enum { TENSORS = sizeof decl / sizeof *decl };

static size_t bytes_of(const gf_st_decl *d)
{
    size_t n = (size_t)gf_dtype_size(d->dtype);
    for (int i = 0; i < d->rank; i++)
        n *= (size_t)d->dim[i];
    return n;
}

static void write_golden(const char *path, size_t piece)
{
    gf_torch_writer *w = NULL;
    unsigned char *data = malloc(1024);
    cr_assert(data);
    unlink(path);
    OK(gf_torch_writer_open(&w, path, decl, TENSORS, err));
    for (int i = 0; i < TENSORS; i++) {
        const size_t size = bytes_of(&decl[i]);
        for (size_t j = 0; j < size; j++)
            data[j] = (unsigned char)((7 * (size_t)i + j) % 64);
        for (size_t at = 0; at < size; at += piece)
            OK(gf_torch_writer_data(w, data + at, size - at < piece ? size - at : piece, err));
    }
    cr_expect(access(path, F_OK) != 0, "the file is there before it is whole");
    OK(gf_torch_writer_commit(w, err));
    free(data);
}

Test(torch_write, is_what_pytorch_loads)
{
    char *want = NULL, *got = NULL;
    size_t wanted = 0, size = 0;
    if (getenv("GRAFT_UPDATE"))
        write_golden(golden, 1024);
    OK(gf_file_read(golden, &want, &wanted, err));
    const size_t pieces[] = {13, 1024};
    for (int i = 0; i < 2; i++) {
        const char *path = scratch_path("written.bin"); /* the root in the zip is its stem */
        write_golden(path, pieces[i]);
        OK(gf_file_read(path, &got, &size, err));
        cr_expect(size == wanted && memcmp(got, want, size) == 0);
        free(got);
    }
    free(want);
}

Test(torch_write, nothing_is_left_of_a_file_given_up)
{
    gf_torch_writer *w = NULL;
    bool empty = false;
    gf_err failed = {0};
    OK(gf_torch_writer_open(&w, scratch_path("x.bin"), decl, TENSORS, err));
    OK(gf_torch_writer_data(w, "abc", 3, err));
    gf_torch_writer_cancel(w);
    gf_torch_writer_cancel(NULL);
    OK(gf_dir_is_empty(scratch_dir(), &empty, err));
    cr_expect(empty);
    const gf_st_decl large[] = {{"x", GF_F32, 2, {INT64_C(1) << 40, INT64_C(1) << 40}}};
    cr_expect_eq(gf_torch_writer_open(&w, scratch_path("x.bin"), large, 1, &failed), GF_EARG);
    cr_expect(w == NULL && strstr(failed.text, "overflows"), "%s", failed.text);
}
