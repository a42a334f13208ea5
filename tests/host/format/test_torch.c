/* test_torch.c - torch's own files, zip and older, against the same tensors in safetensors
 * (tests/golden/torch/make.py); files whose pickle and containers disagree. */
#include "format/safetensors.h"
#include "format/torch.h"
#include "support/scratch.h"
#include "support/spoil.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN GRAFT_TESTS "/golden/torch/"

static void same(const gf_source *a, const gf_source *b)
{
    cr_assert_eq(a->count, b->count);
    for (int i = 0; i < a->count; i++) {
        const gf_entry *x = &a->entry[i], *y = gf_source_find(b, x->name);
        cr_assert(y && x->rank == y->rank && x->bytes == y->bytes, "%s", x->name);
        cr_expect_str_eq(x->dtype_text, y->dtype_text, "%s", x->name);
        cr_expect(x->readable == y->readable && x->dtype == y->dtype, "%s", x->name);
        for (int k = 0; k < 4; k++)
            cr_expect_eq(x->dim[k], y->dim[k], "%s", x->name);
        char *p = malloc(x->bytes + 1), *q = malloc(x->bytes + 1);
        cr_assert_eq(gf_source_read(a, x, 0, p, x->bytes, NULL), GF_OK);
        cr_assert_eq(gf_source_read(b, y, 0, q, y->bytes, NULL), GF_OK);
        cr_expect_eq(memcmp(p, q, x->bytes), 0, "%s", x->name);
        const size_t row = x->dim[0] ? x->bytes / (size_t)x->dim[0] : 0;
        for (int64_t r = 0; r < x->dim[0]; r++) { /* and row by row */
            cr_assert_eq(gf_source_read(a, x, row * (size_t)r, p, row, NULL), GF_OK);
            cr_expect_eq(memcmp(p, q + row * (size_t)r, row), 0, "%s, row %d", x->name, (int)r);
        }
        free(p);
        free(q);
    }
}

Test(torch, as_safetensors)
{
    static const char *const files[] = {GOLDEN "small.bin", GOLDEN "old.bin", GOLDEN "trainer.bin"};
    gf_source want, got;
    gf_err err = {0};
    cr_assert_eq(gf_safetensors_open(&want, GOLDEN "small.safetensors", &err), GF_OK);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(gf_torch_open(&got, files[i], &err), GF_OK, "%s", err.text);
        cr_expect(gf_source_find(&got, "transposed")->strided);
        cr_expect_not(gf_source_find(&got, "rows")->strided);
        same(&got, &want);
        gf_source_close(&got);
    }
    gf_source_close(&want);
}

/* One spoiled place: the bytes `from`, which stand once in the file, become `to`, as many. */
typedef struct {
    const char *file, *from, *to;
    size_t size;
    const char *says;
} spoiled;
#define SPOIL(file, from, to, says)                                                                \
    {                                                                                              \
        GOLDEN file, from, to, sizeof(from) - 1, says                                              \
    }

static void refuse(const spoiled *s)
{
    size_t size, at = 0, found = 0;
    gf_source source;
    gf_err err = {0};
    char *bytes = spoil_read(s->file, &size);
    for (size_t i = 0; i + s->size <= size; i++)
        if (memcmp(bytes + i, s->from, s->size) == 0) {
            at = i;
            found++;
        }
    cr_assert_eq(found, 1, "%s: %d times", s->says, (int)found);
    memcpy(bytes + at, s->to, s->size);
    const char *path = scratch_write("bad.bin", bytes, size);
    cr_expect_eq(gf_torch_open(&source, path, &err), GF_EINPUT, "%s", s->says);
    cr_expect(strstr(err.text, s->says) && !strchr(err.text, '\n'), "%s: %s", s->says, err.text);
    cr_expect_eq(source.count + source.files, 0);
    free(bytes);
}

Test(torch, refuses)
{
    static const spoiled table[] = {
        SPOIL("small.bin",
              "X\2\0\0\0"
              "12q",
              "X\2\0\0\0"
              "99q",
              "data/99, are not in the file"),
        SPOIL("small.bin",
              "X\2\0\0\0"
              "11q",
              "X\2\0\0\0"
              "10q",
              "has 5 bytes, but 2 BOOL"),
        SPOIL("small.bin", "K\x0Ctq\x08", "K\x0Btq\x08", "has 48 bytes, but 11 F32"),
        SPOIL("small.bin", "K\x0Ctq\x08", "N))q\x08", "data.pkl: byte"),
        SPOIL("small.bin", "storageq\4", "stprageq\4", "storage is none"),
        SPOIL("small.bin", "ctorch\nDoubleStorage\n", "ctorch\nDoubleStorbge\n",
              "torch.DoubleStorbge"),
        SPOIL("small.bin", "ctorch\nHalfStorage\n", "cnumpy\nHalfStorage\n", "numpy.HalfStorage"),
        SPOIL("small.bin", "ctorch._utils\n_rebuild_parameter\n",
              "cbuiltins....\n..............eval\n", "nothing of it was run"),
        SPOIL("small.bin", "K\0K\3K\4\x86q\t", "K\0K\4K\4\x86q\t", "\"plain\": it reaches beyond"),
        SPOIL("small.bin", "K\0K\3K\4\x86q\t", "K\x0DK\3K\4\x86q\t", "\"plain\": it begins beyond"),
        SPOIL("small.bin", "K\0K\3K\4\x86q\t", "K\1K\3K\4\x86q\t", "\"plain\": it reaches beyond"),
        SPOIL("small.bin", "K\0K\3K\4\x86q\t", "K\0K\3N)\x86q\t", "two tuples"),
        SPOIL("small.bin", "K\0K\3K\4\x86q\t", "N)K\3K\4\x86q\t", "begins beyond"),
        SPOIL("small.bin", "K\4K\1\x86q\n", "K\5K\1\x86q\n", "\"plain\": it reaches beyond"),
        SPOIL("small.bin", "K\4K\1\x86q\n", "K\4N)\x86q\n", "two tuples"),
        SPOIL("small.bin", "K\4K\1\x86q\n", "NNK\1\x85q\n", "two tuples"),
        SPOIL("small.bin", "X\4\0\0\0flag", "X\4\0\0\0bf16", "bf16 is there twice"),
        SPOIL("small.bin", "X\5\0\0\0plain", "X\xFF\xFF\xFF\x7Fplain", "complete"),
        SPOIL("small.bin", "X\5\0\0\0plain", "X\5\0\0\0pl\xFFin", "UTF-8"),
        SPOIL("small.bin", "X\5\0\0\0plain", "K\1K\1K\1K\1K\1", "is no text"),
        SPOIL("small.bin", "little", "bigger", "big-endian"),
        SPOIL("old.bin", "M\xE9\3.", "M\xEA\3.", "protocol"),
        SPOIL("old.bin", "little_endian", "middle_endian", "little_endian"),
        SPOIL("old.bin", "\x80\2\x8a\n", "\x80\2\x8a\x0B", "byte 0"),
        SPOIL("trainer.bin", "X\x0A\0\0\0state_dict", "X\x0A\0\0\0stbte_dict", "is not a tensor"),
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        refuse(&table[i]);
}

/* Cut anywhere, both containers are refused. */
Test(torch, cut_off)
{
    static const char *const files[] = {GOLDEN "small.bin", GOLDEN "old.bin"};
    for (int f = 0; f < 2; f++) {
        size_t size;
        char *bytes = spoil_read(files[f], &size);
        for (size_t n = 0; n < size; n += n < 64 ? 1 : 61) {
            gf_source s;
            gf_err err = {0};
            const char *path = scratch_write("cut.bin", bytes, n);
            cr_assert_eq(gf_torch_open(&s, path, &err), GF_EINPUT, "%d bytes", (int)n);
            cr_assert(*err.text && !strchr(err.text, '\n'));
        }
        free(bytes);
    }
}
