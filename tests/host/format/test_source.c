/* test_source.c - the table over files: lookup, reading in parts, and a file that changes. */
#include "format/safetensors.h"
#include "format/source.h"
#include "support/scratch.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <unistd.h>

static const char golden[] = GRAFT_TESTS "/golden/small.safetensors";

Test(source, finds_every_name)
{
    gf_source s;
    cr_assert_eq(gf_safetensors_open(&s, golden, NULL), GF_OK);
    for (int i = 0; i < s.count; i++)
        cr_expect_eq(gf_source_find(&s, s.entry[i].name), &s.entry[i]);
    static const char *const none[] = {"", " ", "A", "model.layers.1", "zzz", "\xFF"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        cr_expect_null(gf_source_find(&s, none[i]));
    gf_source_close(&s);
    cr_expect_null(gf_source_find(&s, "a"), "an empty table");
}

Test(source, reads_any_part)
{
    gf_source s;
    cr_assert_eq(gf_safetensors_open(&s, golden, NULL), GF_OK);
    const gf_entry *e = gf_source_find(&s, "model.layers.9.weight"); /* bytes 1, 2, ... 24 */
    for (size_t at = 0; at <= 24; at++)
        for (size_t n = 0; at + n <= 24; n++) {
            unsigned char out[24] = {0};
            cr_assert_eq(gf_source_read(&s, e, at, out, n, NULL), GF_OK);
            for (size_t k = 0; k < n; k++)
                cr_assert_eq(out[k], 1 + at + k);
        }
    gf_source_close(&s);
}

Test(source, file_that_shrinks)
{
    char *bytes;
    size_t size;
    gf_source s;
    gf_err err = {0};
    unsigned char out[24];
    cr_assert_eq(gf_file_read(golden, &bytes, &size, NULL), GF_OK);
    const char *path = scratch_write("x", bytes, size);
    free(bytes);
    cr_assert_eq(gf_safetensors_open(&s, path, NULL), GF_OK);
    cr_assert_eq(truncate(path, (off_t)size - 40), 0);
    const gf_entry *e = &s.entry[s.count - 1];
    cr_expect_eq(gf_source_read(&s, e, 0, out, e->bytes, &err), GF_EINPUT);
    cr_expect(strstr(err.text, path), "%s", err.text);
    gf_source_close(&s);
}
