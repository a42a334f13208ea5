/* test_gguf_split.c - a model in three files, and sets of files that do not belong together. */
#include "format/gguf.h"
#include "support/scratch.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum { U16 = 2, I32 = 5 }; /* value types */

static void number(gf_buf *b, uint64_t v, size_t bytes)
{
    gf_buf_add(b, &v, bytes, NULL);
}

static void key(gf_buf *b, const char *name, uint32_t type, uint64_t v)
{
    number(b, strlen(name), 8);
    gf_buf_str(b, name, NULL);
    number(b, type, 4);
    number(b, v, type == U16 ? 2 : 4);
}

typedef struct {
    int no, count;
    int tensors;        /* split.tensors.count; -1: not there */
    const char *tensor; /* of one number, `no`; NULL: none */
    const char *name;   /* of the file; NULL: as it should be */
} shard;

static const char *write_shard(const shard *s)
{
    gf_buf b = {0};
    char name[64];
    gf_buf_str(&b, "GGUF", NULL);
    number(&b, 3, 4);
    number(&b, s->tensor != NULL, 8);
    number(&b, s->tensors < 0 ? 2 : 3, 8);
    key(&b, "split.no", U16, (uint64_t)s->no);
    key(&b, "split.count", U16, (uint64_t)s->count);
    if (s->tensors >= 0)
        key(&b, "split.tensors.count", I32, (uint64_t)s->tensors);
    if (s->tensor) {
        number(&b, strlen(s->tensor), 8);
        gf_buf_str(&b, s->tensor, NULL);
        number(&b, 1, 4);
        number(&b, 1, 8); /* [1] of f32 at 0 */
        number(&b, 0, 4);
        number(&b, 0, 8);
        while (b.len % 32)
            number(&b, 0, 1);
        const float x = (float)s->no;
        gf_buf_add(&b, &x, sizeof x, NULL);
    }
    snprintf(name, sizeof name, "m-%05d-of-%05d.gguf", s->no + 1, s->count);
    const char *path = scratch_write(s->name ? s->name : name, b.data, b.len);
    gf_buf_free(&b);
    return path;
}

Test(gguf_split, three_files)
{
    for (int first = 0; first < 2; first++) { /* the first one may hold metadata alone */
        gf_gguf g;
        gf_err err = {0};
        int64_t count = 0;
        const int tensors = first ? 3 : 2;
        const char *path = write_shard(&(shard){0, 3, tensors, first ? "a" : NULL, NULL});
        write_shard(&(shard){1, 3, tensors, "b", NULL});
        write_shard(&(shard){2, 3, -1, "c", NULL});
        cr_assert_eq(gf_gguf_open(&g, path, &err), GF_OK, "%s", err.text);
        cr_expect_eq(g.source.count, tensors);
        cr_expect_eq(g.source.files, 3);
        cr_assert_eq(gf_gguf_int(&count, &g, "split.count", 0, 0, 9, NULL), GF_OK);
        cr_expect_eq(count, 3);
        float x = -1;
        const gf_entry *c = gf_source_find(&g.source, "c");
        cr_assert_not_null(c);
        cr_assert_eq(gf_source_read(&g.source, c, 0, &x, sizeof x, &err), GF_OK);
        cr_expect_eq(x, 2.0f);
        gf_gguf_close(&g);
    }
}

Test(gguf_split, one_file)
{
    for (int count = 0; count < 2; count++) {
        gf_gguf g;
        gf_err err = {0};
        const char *path = write_shard(&(shard){0, count, 1, "a", "any.gguf"});
        cr_assert_eq(gf_gguf_open(&g, path, &err), GF_OK, "%s", err.text);
        cr_expect_eq(g.source.count, 1);
        gf_gguf_close(&g);
    }
}

Test(gguf_split, refuses)
{
    static const struct {
        shard first, second;
        const char *says;
    } table[] = {
        {{0, 2, 2, "a", NULL}, {1, 2, 2, "a", NULL}, "tensor a is also in"},
        {{0, 2, 3, "a", NULL}, {1, 2, 3, "b", NULL}, "split.tensors.count is 3"},
        {{0, 2, 2, "a", NULL}, {1, 2, 2, NULL, NULL}, "the shards have 1"},
        {{0, 3, 3, "a", NULL}, {1, 3, 3, "b", NULL}, "m-00003-of-00003.gguf: is missing"},
        {{0, 2, 2, "a", NULL}, {0, 2, 2, "b", "m-00002-of-00002.gguf"}, "shard 1 of 2, want 2"},
        {{0, 2, 2, "a", NULL}, {1, 3, 2, "b", "m-00002-of-00002.gguf"}, "shard 2 of 3, want 2"},
        {{0, 2, 2, "a", NULL}, {7, 3, 2, "b", "m-00002-of-00002.gguf"}, "split.no 7"},
        {{0, 2, 2, "a", "n.gguf"}, {1, 2, 2, "b", NULL}, "should end in -00001-of-00002"},
        {{0, 2, 2, "a", "m-00001-of-00003.gguf"}, {1, 2, 2, "b", NULL}, "should end in"},
        {{0, 2, 2, "a", "-00001-of-00002.gguf"}, {1, 2, 2, "b", NULL}, "is missing"},
        {{1, 2, 2, "a", NULL}, {1, 2, 2, "b", NULL}, "name the first one"},
        {{2, 2, 2, "a", NULL}, {1, 2, 2, "b", NULL}, "split.no 2, but split.count is 2"},
        {{1, 0, 2, "a", NULL}, {1, 2, 2, "b", NULL}, "split.no 1, but split.count is 1"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        gf_gguf g;
        gf_err err = {0};
        write_shard(&table[i].second);
        const char *path = write_shard(&table[i].first);
        cr_expect_eq(gf_gguf_open(&g, path, &err), GF_EINPUT, "%d", (int)i);
        cr_expect(strstr(err.text, table[i].says) && !strchr(err.text, '\n'), "%d: %s: %s", (int)i,
                  table[i].says, err.text);
        cr_expect_eq(g.source.count + g.source.files, 0);
    }
}

/* The second file is checked like any other, and a key of another type is named. */
Test(gguf_split, damaged)
{
    gf_gguf g;
    gf_err cut = {0}, type = {0};
    const char *path = write_shard(&(shard){0, 2, 2, "a", NULL});
    scratch_write("m-00002-of-00002.gguf", "GGUF\3\0\0\0", 8);
    cr_expect_eq(gf_gguf_open(&g, path, &cut), GF_EINPUT);
    cr_expect(strstr(cut.text, "m-00002-of-00002.gguf: byte 8"), "%s", cut.text);
    gf_buf b = {0};
    gf_buf_str(&b, "GGUF", NULL);
    number(&b, 3, 4);
    number(&b, 0, 8);
    number(&b, 1, 8);
    key(&b, "split.count", 6, 0); /* f32 */
    path = scratch_write("t.gguf", b.data, b.len);
    gf_buf_free(&b);
    cr_expect_eq(gf_gguf_open(&g, path, &type), GF_EINPUT);
    cr_expect(strstr(type.text, "split.count"), "%s", type.text);
}
