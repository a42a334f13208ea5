/* test_status.c - the first text wins, every status has its exit code, growing strings grow. */
#include "graft/base.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

Test(status, the_first_text_wins)
{
    gf_err err = {0};
    cr_assert_eq(gf_fail(&err, GF_EINPUT, "%s:%d: bad", "a.json", 3), GF_EINPUT);
    cr_assert_eq(gf_fail(&err, GF_EIO, "later"), GF_EIO);
    cr_assert_eq(err.code, GF_EINPUT);
    cr_assert_str_eq(err.text, "a.json:3: bad");
    cr_assert_eq(gf_fail(NULL, GF_EARG, "nobody listens"), GF_EARG);
}

Test(status, a_long_text_is_cut_not_overrun)
{
    gf_err err = {0};
    char *text = malloc(5000);
    memset(text, 'x', 4999);
    text[4999] = 0;
    gf_fail(&err, GF_EARG, "%s", text);
    cr_assert_eq(strlen(err.text), sizeof err.text - 1);
    free(text);
}

Test(status, exit_codes)
{
    cr_assert_eq(gf_exit_code(GF_OK), 0);
    cr_assert_eq(gf_exit_code(GF_EARG), 2);
    cr_assert_eq(gf_exit_code(GF_EINPUT), 2);
    cr_assert_eq(gf_exit_code(GF_EFIT), 2);
    cr_assert_eq(gf_exit_code(GF_EIO), 1);
    cr_assert_eq(gf_exit_code(GF_ENUMERIC), 1);
    cr_assert_eq(gf_exit_code(GF_EINTERRUPT), 3);
}

Test(status, allocations_that_cannot_be)
{
    gf_err err = {0};
    cr_assert_null(gf_alloc(SIZE_MAX / 2, 3, &err));
    cr_assert_eq(err.code, GF_ENOMEM);
    char *old = gf_strdup("kept", NULL);
    cr_assert_null(gf_realloc(old, SIZE_MAX, SIZE_MAX, NULL));
    cr_assert_str_eq(old, "kept");
    free(old);
}

Test(status, strings_grow)
{
    gf_buf b = {0};
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(gf_buf_printf(&b, NULL, "%d,", i), GF_OK);
    cr_assert_eq(gf_buf_add(&b, "\0z", 2, NULL), GF_OK);
    cr_assert_eq(b.len, 3890 + 2);
    cr_assert_eq(b.data[b.len], 0);
    cr_assert_eq(strncmp(b.data, "0,1,2,3,", 8), 0);
    gf_buf_free(&b);
    cr_assert_null(b.data);
}
