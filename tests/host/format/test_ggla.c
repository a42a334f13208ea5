/* test_ggla.c - the legacy adapter file, byte for byte (tests/golden/written_ggla.py). */
#include "format/ggla.h"
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

Test(ggla, fields_stand_where_the_reader_looks)
{
    static const struct {
        const char *name;
        int64_t rows, cols;
    } matrix[] = {{"blk.0.attn_q.weight.loraA", 5, 3},
                  {"blk.0.attn_q.weight.loraB", 4, 3},
                  {"blk.11.ffn_down.weight.loraA", 1, 1}};
    const char *path = scratch_path("written.ggla");
    gf_ggla_writer *w = NULL;
    float value[64], *at = value;
    char *want = NULL, *got = NULL;
    size_t wanted = 0, size = 0;
    for (int i = 0; i < 64; i++)
        value[i] = 0.5F * (float)i;
    OK(gf_ggla_open(&w, path, 3, -7, err));
    for (int i = 0; i < 3; i++) {
        OK(gf_ggla_matrix(w, matrix[i].name, at, matrix[i].rows, matrix[i].cols, err));
        at += matrix[i].rows * matrix[i].cols;
    }
    cr_expect(access(path, F_OK) != 0, "the file is there before it is whole");
    OK(gf_ggla_commit(w, err));
    OK(gf_file_read(GRAFT_TESTS "/golden/written.ggla", &want, &wanted, err));
    OK(gf_file_read(path, &got, &size, err));
    cr_expect(size == wanted && memcmp(got, want, size) == 0);
    free(want);
    free(got);
}

Test(ggla, nothing_is_left_of_a_file_given_up)
{
    const char *path = scratch_path("gone.ggla");
    gf_ggla_writer *w = NULL;
    gf_err failed = {0};
    bool empty = false;
    OK(gf_ggla_open(&w, path, 1, 1, err));
    OK(gf_ggla_matrix(w, "a", &(float){1}, 1, 1, err));
    gf_ggla_cancel(w);
    gf_ggla_cancel(NULL);
    OK(gf_dir_is_empty(scratch_dir(), &empty, err));
    cr_expect(empty);
    cr_expect_eq(gf_ggla_open(&w, scratch_path("none/x.ggla"), 1, 1, &failed), GF_EIO);
    cr_expect_null(w);
}
