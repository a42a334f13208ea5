/* test_zip.c - torch's archive and one with 64-bit sizes; a directory with one thing wrong. */
#include "format/zip.h"
#include "support/scratch.h"
#include "support/spoil.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* An archive of one entry "a/b" of the 3 bytes "xyz": local header at 0, data at 33, directory at
 * 36, end at 85. With `wide`, its sizes and all records of the end are zip64's. */
typedef struct {
    unsigned char data[256];
    size_t size;
} archive;

static void put(archive *a, const char *bytes, size_t n)
{
    memcpy(a->data + a->size, bytes, n);
    a->size += n;
}
#define PUT(a, text) put(a, text, sizeof(text) - 1)

static archive make(bool wide)
{
    archive a = {.size = 0};
    PUT(&a, "PK\3\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\3\0\0\0a/bxyz"); /* sizes 0 */
    if (!wide) {
        PUT(&a, "PK\1\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\3\0\0\0\3\0\0\0\3\0\0\0\0\0\0\0\0\0\0\0\0\0"
                "\0\0\0\0a/b");
        PUT(&a, "PK\5\6\0\0\0\0\1\0\1\0\x31\0\0\0\x24\0\0\0\0\0");
        return a;
    }
    PUT(&a, "PK\1\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\3\0\x20\0\0\0\0"
            "\0\0\0\0\0\0\0\xFF\xFF\xFF\xFF"
            "a/b"
            "\7\7\0\0\1\0\x18\0\3\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    PUT(&a,
        "PK\6\6\x2c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\x51\0\0\0"
        "\0\0\0\0\x24\0\0\0\0\0\0\0");
    PUT(&a, "PK\6\7\0\0\0\0\x75\0\0\0\0\0\0\0\1\0\0\0");
    PUT(&a, "PK\5\6\0\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0");
    return a;
}

static gf_status open_bytes(gf_zip *z, const void *data, size_t size, gf_err *err)
{
    unsigned char *copy = malloc(size + 1); /* so that a sanitizer sees a step beyond the end */
    memcpy(copy, data, size);
    copy = realloc(copy, size ? size : 1);
    const gf_map m = {copy, size};
    const gf_status st = gf_zip_read(z, &m, "x.zip", err);
    free(copy);
    return st;
}

Test(zip, reads)
{
    for (int wide = 0; wide < 2; wide++) {
        gf_zip z;
        gf_err err = {0};
        const archive a = make(wide);
        cr_assert_eq(open_bytes(&z, a.data, a.size, &err), GF_OK, "%s", err.text);
        const gf_zip_entry *e = gf_zip_find(&z, "a/b");
        cr_assert(e && e->offset == 33 && e->size == 3);
        cr_expect_null(gf_zip_find(&z, "a/c"));
        gf_zip_free(&z);
        cr_expect_null(gf_zip_find(&z, "a/b"));
    }
}

Test(zip, as_torch_writes_it)
{
    gf_zip z;
    gf_map m;
    gf_err err = {0};
    cr_assert_eq(gf_file_map(&m, GRAFT_TESTS "/golden/torch/small.bin", &err), GF_OK);
    cr_assert_eq(gf_zip_read(&z, &m, "small.bin", &err), GF_OK, "%s", err.text);
    cr_expect_eq(z.count, 22);
    const gf_zip_entry *e = gf_zip_find(&z, "small/byteorder");
    cr_assert(e && e->size == 6 && memcmp(m.data + e->offset, "little", 6) == 0);
    gf_zip_free(&z);
    gf_file_unmap(&m);
}

Test(zip, refuses)
{
    static const struct {
        bool wide;
        size_t at, n; /* bytes replaced */
        const char *with, *says;
    } table[] = {
        {false, 85, 1, "Q", "not at the file's end"},
        {false, 105, 1, "\1", "not at the file's end"}, /* a comment that is not there */
        {false, 95, 2, "\2\0", "room"},
        {false, 97, 1, "\x32", "outside the file"},  /* size of the directory */
        {false, 101, 1, "\x25", "outside the file"}, /* place of it */
        {false, 97, 1, "\x30", "beyond the directory"},
        {false, 101, 1, "\x23", "directory entry"},
        {false, 97, 4, "\xFF\xFF\xFF\xFF", "no locator"},
        {false, 36, 1, "Q", "directory entry"},
        {false, 44, 1, "\1", "encrypted"},
        {false, 46, 1, "\x08", "compressed"},
        {false, 56, 1, "\2", "compressed"},
        {false, 60, 1, "\2", "compressed"},
        {false, 64, 1, "\0", "UTF-8"},
        {false, 64, 1, "\4", "beyond the directory"},
        {false, 66, 1, "\1", "beyond the directory"},
        {false, 68, 2, "\xFF\xFF", "beyond the directory"},
        {false, 78, 1, "\1", "does not begin"},
        {false, 78, 4, "\xFE\xFF\xFF\xFF", "does not begin"},
        {false, 78, 4, "\xFF\xFF\xFF\xFF", "zip64 sizes are missing"},
        {false, 82, 1, "\xFF", "UTF-8"},
        {false, 82, 1, "\0", "UTF-8"},
        {false, 0, 1, "Q", "does not begin"},
        {false, 26, 2, "\xFF\xFF", "beyond the file"},
        {true, 173, 1, "Q", "no locator"},
        {true, 181, 1, "\x74", "points"},
        {true, 181, 8, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", "points"},
        {true, 117, 1, "Q", "points"},
        {true, 149, 8, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", "room"},
        {true, 157, 8, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", "outside"},
        {true, 165, 8, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", "outside"},
        {true, 89, 1, "\7", "zip64 sizes are missing"},
        {true, 93, 8, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", "compressed"},
        {true, 109, 8, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", "does not begin"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        gf_zip z;
        gf_err err = {0};
        archive a = make(table[i].wide);
        memcpy(a.data + table[i].at, table[i].with, table[i].n);
        cr_expect_eq(open_bytes(&z, a.data, a.size, &err), GF_EINPUT, "%d: %s", (int)i,
                     table[i].says);
        cr_expect(strstr(err.text, table[i].says), "%d: %s: %s", (int)i, table[i].says, err.text);
        gf_zip_free(&z);
    }
    for (int wide = 0; wide < 2; wide++) /* cut anywhere */
        for (size_t n = 0; n < make(wide).size; n++) {
            gf_zip z;
            const archive a = make(wide);
            cr_expect_eq(open_bytes(&z, a.data, n, NULL), GF_EINPUT);
            gf_zip_free(&z);
        }
}

Test(zip, twice)
{
    gf_zip z;
    gf_err err = {0};
    archive a = make(false), b = a;
    memmove(b.data + 85 + 49, a.data + 85, 22); /* the directory's entry again */
    memcpy(b.data + 85, a.data + 36, 49);
    b.size += 49;
    b.data[85 + 49 + 8] = b.data[85 + 49 + 10] = 2;
    b.data[85 + 49 + 12] = 98;
    cr_expect_eq(open_bytes(&z, b.data, b.size, &err), GF_EINPUT);
    cr_expect(strstr(err.text, "a/b is there twice"), "%s", err.text);
    gf_zip_free(&z);
}
