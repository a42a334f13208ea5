/* test_bnb.c - checkpoints that transformers saved with bitsandbytes, against what bitsandbytes
 * dequantises them to (tests/golden/bnb/make.py), bit for bit; companions that do not fit. */
#include "format/bnb.h"
#include "format/folder.h"
#include "format/safetensors.h"
#include "support/scratch.h"
#include "support/spoil.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN GRAFT_TESTS "/golden/bnb/"

static void same(const gf_source *got, const gf_source *want, const gf_entry *w)
{
    const gf_entry *e = gf_source_find(got, w->name);
    cr_assert(e && e->readable && e->dtype == w->dtype && e->rank == w->rank &&
                  e->bytes == w->bytes && e->dim[0] == w->dim[0] && e->dim[1] == w->dim[1],
              "%s", w->name);
    unsigned char *a = malloc(e->bytes), *b = malloc(e->bytes);
    cr_assert_eq(gf_source_read(got, e, 0, a, e->bytes, NULL), GF_OK);
    cr_assert_eq(gf_source_read(want, w, 0, b, e->bytes, NULL), GF_OK);
    for (size_t i = 0; i < e->bytes; i++)
        cr_assert_eq(a[i], b[i], "%s: byte %d of %d: %02x, want %02x", e->name, (int)i,
                     (int)e->bytes, a[i], b[i]);
    /* in pieces that begin and end inside blocks */
    const size_t item = (size_t)gf_dtype_size(e->dtype), piece = 37 * item;
    for (size_t at = 0; at < e->bytes; at += piece) {
        const size_t n = e->bytes - at < piece ? e->bytes - at : piece;
        cr_assert_eq(gf_source_read(got, e, at, a, n, NULL), GF_OK);
        cr_assert_eq(memcmp(a, b + at, n), 0, "%s: from byte %d", e->name, (int)at);
    }
    free(a);
    free(b);
}

Test(bnb, as_bitsandbytes)
{
    static const struct {
        const char *dir, *type;
        gf_dtype dtype;
        bool nested;
    } table[] = {{"nf4", "nf4", GF_BF16, false},
                 {"nf4-dq", "nf4", GF_F16, true},
                 {"fp4", "fp4", GF_F32, false},
                 {"storage", "nf4", GF_BF16, true},
                 {"int8", "int8", GF_F32, false}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        gf_source got, want;
        gf_err err = {0};
        char path[512];
        int folded = 0;
        snprintf(path, sizeof path, GOLDEN "%s", table[i].dir);
        cr_assert_eq(gf_folder_open(&got, path, &err), GF_OK, "%s", err.text);
        cr_assert_eq(gf_bnb_fold(&got, &folded, &err), GF_OK, "%s", err.text);
        cr_expect_eq(folded, 7);
        snprintf(path, sizeof path, GOLDEN "%s/want.safetensors", table[i].dir);
        cr_assert_eq(gf_safetensors_open(&want, path, &err), GF_OK, "%s", err.text);
        cr_expect_eq(got.count, want.count);
        const gf_entry *up = gf_source_find(&got, "model.layers.0.mlp.up_proj.weight");
        cr_assert(up && up->bnb);
        cr_expect_str_eq(up->dtype_text, table[i].type);
        cr_expect_eq(up->dtype, table[i].dtype);
        cr_expect_eq(up->bnb->nested, table[i].nested);
        for (int k = 0; k < want.count; k++)
            same(&got, &want, &want.entry[k]);
        gf_source_close(&got);
        gf_source_close(&want);
    }
}

#define UP "model.layers.0.mlp.up_proj.weight"
#define STATE UP ".quant_state.bitsandbytes__nf4"

typedef struct {
    const char *dir, *tensor;
    spoil_how how;
    const char *value, *says;
} spoiled;

static gf_status fold(const char *path, gf_err *err)
{
    gf_source s;
    int folded = 0;
    cr_assert_eq(gf_safetensors_open(&s, path, err), GF_OK, "%s", err->text);
    const gf_status st = gf_bnb_fold(&s, &folded, err);
    gf_source_close(&s);
    return st;
}

Test(bnb, refuses)
{
    static const spoiled table[] = {
        {"nf4-dq", UP, SPOIL_REMOVE, NULL, "weight that it belongs to is missing"},
        {"nf4-dq", UP, SPOIL_RENAME, "other", "weight that it belongs to is missing"},
        {"nf4-dq", UP ".absmax", SPOIL_REMOVE, NULL, ".absmax is missing"},
        {"nf4-dq", UP ".absmax", SPOIL_DTYPE, "I8", ".absmax does not have 264 elements of U8"},
        {"nf4-dq", UP ".quant_map", SPOIL_REMOVE, NULL, ".quant_map is missing"},
        {"nf4-dq", UP ".quant_map", SPOIL_DTYPE, "I32", ".quant_map does not have 16"},
        {"nf4-dq", UP ".quant_map", SPOIL_POISON, "nan", "not that of its type"},
        {"nf4-dq", UP ".nested_absmax", SPOIL_REMOVE, NULL, ".absmax does not have"},
        {"nf4-dq", UP ".nested_absmax", SPOIL_DTYPE, "I32", ".nested_absmax does not have 2"},
        {"nf4-dq", UP ".nested_quant_map", SPOIL_REMOVE, NULL, ".nested_quant_map is missing"},
        {"nf4-dq", STATE, SPOIL_DTYPE, "BOOL", "state is no text"},
        {"nf4-dq", STATE, SPOIL_RENAME, UP ".quant_state.bitsandbytes__fp4", "another type"},
        {"fp4", UP ".absmax", SPOIL_REMOVE, NULL, ".absmax is missing"},
        {"fp4", UP ".absmax", SPOIL_DTYPE, "I32", ".absmax does not have 60 elements of F32"},
        {"fp4", UP ".quant_map", SPOIL_POISON, "inf", "not that of its type"},
        {"int8", "model.layers.0.mlp.up_proj.SCB", SPOIL_DTYPE, "I32", ".SCB does not have 80"},
        {"int8", "model.layers.0.mlp.up_proj.SCB", SPOIL_RENAME, "x.SCB", "weight that it"},
        {"int8", UP, SPOIL_DTYPE, "U8", "no I8 matrix"},
        {"int8", UP, SPOIL_SHAPE, "[3840]", "no I8 matrix"},
        {"int8", UP, SPOIL_SHAPE, "[40,96]", ".SCB does not have 40"},
        {"int8", UP "_format", SPOIL_DTYPE, "BOOL", ".weight_format does not have"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const spoiled *t = &table[i];
        char path[512];
        size_t size;
        gf_err err = {0};
        snprintf(path, sizeof path, GOLDEN "%s/model.safetensors", t->dir);
        char *bytes = spoil_read(path, &size);
        const char *bad = scratch_write("bad.safetensors", bytes, size);
        free(bytes);
        spoil_tensor(bad, t->tensor, t->how, t->value);
        cr_expect_eq(fold(bad, &err), GF_EINPUT, "%d: %s", (int)i, t->says);
        cr_expect(strstr(err.text, t->says) && !strchr(err.text, '\n'), "%d: %s: %s", (int)i,
                  t->says, err.text);
    }
}

/* The state's JSON with one thing changed, as many bytes. */
Test(bnb, states)
{
    static const struct {
        const char *from, *to, *says;
    } table[] = {
        {"\"quant_type\": \"nf4\"", "\"quant_type\": \"fp4\"", "another type"},
        {"\"quant_type\": \"nf4\"", "\"quant_typo\": \"nf4\"", "another type"},
        {"\"quant_type\": \"nf4\"", "\"quant_type\": 12345", "quant_type"},
        {"\"blocksize\": 64", "\"blocksize\": 63", "blocksize: want 32, 64"},
        {"\"blocksize\": 64", "\"blocksize\": 16", "blocksize: want 32, 64"},
        {"\"blocksize\": 64", "\"blocksize\": -4", "blocksize"},
        {"\"blocksize\": 64", "\"blocksize\":128", ".absmax does not have 132"},
        {"\"dtype\": \"float16\"", "\"dtype\": \"float64\"", "another dtype"},
        {"\"shape\": [352, 48]", "\"shape\": [352, 49]", "half a byte"},
        {"\"shape\": [352, 48]", "\"shape\": [352,  0]", "shape that no weight has"},
        {"\"shape\": [352, 48]", "\"shape\": [352,4.5]", "shape that no weight has"},
        {"\"shape\": [352, 48]", "\"shape\": [8,44,48]", "shape that no weight has"},
        {"\"shape\": [352, 48]", "\"shape\": [\"2\", 48]", "shape that no weight has"},
        {"\"shape\": [352, 48]", "\"shope\": [352, 48]", "no shape"},
        {"\"nested_blocksize\": 256", "\"nested_blocksize\": 255", "nested_blocksize"},
        {"\"nested_blocksize\": 256", "\"nested_blocksize\": 128",
         ".nested_absmax does not have 3"},
        {"\"nested_dtype\": \"float32\"", "\"nested_dtype\": \"float16\"", "another dtype"},
        {"\"nested_offset\": ", "\"nested_offset\":x", "up_proj.weight:1:"},
        {"{", "[", "up_proj.weight:1:"},
        {"}", "\xFF", "up_proj.weight:1:"},
    };
    size_t size;
    char *bytes = spoil_read(GOLDEN "nf4-dq/model.safetensors", &size);
    gf_source s;
    cr_assert_eq(gf_safetensors_open(&s, GOLDEN "nf4-dq/model.safetensors", NULL), GF_OK);
    const gf_entry *state = gf_source_find(&s, STATE);
    cr_assert_not_null(state);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        gf_err err = {0};
        const size_t n = strlen(table[i].from);
        cr_assert_eq(strlen(table[i].to), n, "%s", table[i].to);
        char *copy = malloc(size), *at;
        memcpy(copy, bytes, size);
        at = memmem(copy + state->offset, state->bytes, table[i].from, n);
        cr_assert_not_null(at, "%s", table[i].from);
        memcpy(at, table[i].to, n);
        const char *bad = scratch_write("bad.safetensors", copy, size);
        cr_expect_eq(fold(bad, &err), GF_EINPUT, "%s", table[i].to);
        cr_expect(strstr(err.text, table[i].says), "%s: %s", table[i].to, err.text);
        free(copy);
    }
    gf_source_close(&s);
    free(bytes);
}
