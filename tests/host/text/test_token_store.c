/* test_token_store.c - tokens in memory and in a file read back the same. */
#include "text/token_store.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 300, LONGEST = 97 };

static int32_t token(int64_t example, int64_t t)
{
    return (int32_t)(example * 1000 + t);
}

static void check(int64_t limit, bool filed)
{
    gf_token_store s = {.limit = limit};
    gf_err err = {0};
    int32_t ids[LONGEST], labels[LONGEST];
    int64_t at[COUNT];
    for (int64_t e = 0; e < COUNT; e++) {
        for (int64_t t = 0; t < e % LONGEST; t++) {
            ids[t] = token(e, t);
            labels[t] = -ids[t];
        }
        cr_assert_eq(gf_token_store_add(&s, ids, labels, e % LONGEST, &at[e], &err), GF_OK, "%s",
                     err.text);
    }
    cr_assert_eq(gf_token_store_seal(&s, &err), GF_OK, "%s", err.text);
    cr_assert_eq(s.filed, filed);
    for (int64_t e = 0; e < COUNT; e++)
        for (int64_t t = 0; t < e % LONGEST; t++) {
            const int32_t *p = gf_token_store_at(&s, at[e]);
            cr_assert_eq(p[t], token(e, t));
            cr_assert_eq(p[e % LONGEST + t], -token(e, t));
        }
    gf_token_store_free(&s);
}

Test(token_store, in_memory)
{
    check(0, false);
}

Test(token_store, in_a_file)
{
    check(1000, true);
    check(10, true); /* less than an example has */
}

Test(token_store, no_room_is_an_error)
{
    gf_token_store s = {.limit = 2};
    gf_err err = {0};
    const int32_t ids[2] = {1, 2};
    int64_t at;
    setenv("TMPDIR", "/dev/null/not-a-folder", 1);
    cr_assert_eq(gf_token_store_add(&s, ids, ids, 2, &at, &err), GF_OK);
    cr_assert_eq(gf_token_store_add(&s, ids, ids, 2, &at, &err), GF_EIO);
    cr_assert(strstr(err.text, "/dev/null/not-a-folder") && strstr(err.text, "TMPDIR"), "%s",
              err.text);
    gf_token_store_free(&s);
}
