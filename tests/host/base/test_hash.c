/* test_hash.c - the examples of FIPS 180-4. */
#include "base/hash.h"
#include "support/scratch.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static const char of_abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
static const char of_nothing[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
static const char of_million[] = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

Test(hash, bytes_and_files)
{
    gf_sha256 h;
    gf_err err = {0};
    cr_assert_eq(gf_hash_bytes(&h, "abc", 3, &err), GF_OK);
    cr_expect_str_eq(h.hex, of_abc);
    cr_assert_eq(gf_hash_bytes(&h, "", 0, &err), GF_OK);
    cr_expect_str_eq(h.hex, of_nothing);
    char *a = malloc(1000000);
    memset(a, 'a', 1000000);
    cr_assert_eq(gf_hash_file(&h, scratch_write("a", a, 1000000), &err), GF_OK);
    cr_expect_str_eq(h.hex, of_million);
    cr_assert_eq(gf_hash_file(&h, scratch_write("b", "", 0), &err), GF_OK);
    cr_expect_str_eq(h.hex, of_nothing);
    free(a);
}

Test(hash, missing_file)
{
    gf_sha256 h;
    gf_err err = {0};
    cr_expect_eq(gf_hash_file(&h, "/nonexistent/x", &err), GF_EINPUT);
    cr_expect(strstr(err.text, "/nonexistent/x"));
    gf_err folder = {0};
    cr_expect_eq(gf_hash_file(&h, "/", &folder), GF_EINPUT);
}
