/* bnb.c - bitsandbytes' weights as plain ones. Contract: format/bnb.h; the formats: FORMATS 8. */
#include "format/bnb.h"
#include "base/json.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define STATE_MAX 65536 /* bytes of a state's JSON; bitsandbytes writes some 200 */
#define INVERSE_127 7.874015718698502e-3F /* as bitsandbytes multiplies LLM.int8 */

/* Their codes' values, in f32 (bitsandbytes 0.50, functional.py: get_4bit_type). */
static const float tables[2][16] = {
    [GF_BNB_NF4] = {-1.0F, -0.6961928009986877F, -0.5250730514526367F, -0.39491748809814453F,
                    -0.28444138169288635F, -0.18477343022823334F, -0.09105003625154495F, 0.0F,
                    0.07958029955625534F, 0.16093020141124725F, 0.24611230194568634F,
                    0.33791524171829224F, 0.44070982933044434F, 0.5626170039176941F,
                    0.7229568362236023F, 1.0F},
    [GF_BNB_FP4] = {0.0F, 0.0052083334885537624F, 0.6666666865348816F, 1.0F, 0.3333333432674408F,
                    0.5F, 0.1666666716337204F, 0.25F, 0.0F, -0.0052083334885537624F,
                    -0.6666666865348816F, -1.0F, -0.3333333432674408F, -0.5F, -0.1666666716337204F,
                    -0.25F},
};

/* ---- reading ----------------------------------------------------------------------- */

enum { SLICE = 1 << 15 }; /* elements dequantised at a time */

typedef struct {
    unsigned char codes[SLICE + 1], scale_codes[SLICE / 32 + 2];
    float scales[SLICE / 32 + 2], inner[SLICE / 32 + 2], values[SLICE];
} room;

/* Scales of blocks [first, first + count). */
static gf_status read_scales(const gf_source *s, const gf_bnb *b, int64_t first, int64_t count,
                             room *r, gf_err *err)
{
    const size_t n = (size_t)count, item = sizeof(float);
    if (!b->nested)
        return gf_source_read(s, &b->absmax, (uint64_t)first * item, r->scales, n * item, err);
    const int64_t from = first / b->inner_block, to = (first + count - 1) / b->inner_block;
    TRY(gf_source_read(s, &b->absmax, (uint64_t)first, r->scale_codes, n, err));
    TRY(gf_source_read(s, &b->inner, (uint64_t)from * item, r->inner,
                       (size_t)(to - from + 1) * item, err));
    for (int64_t i = 0; i < count; i++) {
        const float inner = r->inner[(first + i) / b->inner_block - from];
        r->scales[i] = b->map[r->scale_codes[i]] * inner + b->offset;
    }
    return GF_OK;
}

/* Values [first, first + n) in f32. */
static gf_status read_values(const gf_source *s, const gf_bnb *b, int64_t first, int64_t n, room *r,
                             gf_err *err)
{
    const int64_t block = first / b->block, blocks = (first + n - 1) / b->block - block + 1;
    const bool eight = b->kind == GF_BNB_INT8;
    const int64_t low = eight ? first : first / 2, high = eight ? first + n : (first + n + 1) / 2;
    TRY(gf_source_read(s, &b->codes, (uint64_t)low, r->codes, (size_t)(high - low), err));
    TRY(read_scales(s, b, block, blocks, r, err));
    for (int64_t i = 0; i < n; i++) {
        const float scale = r->scales[(first + i) / b->block - block];
        if (eight) {
            r->values[i] = (float)(int8_t)r->codes[i] * scale * INVERSE_127;
            continue;
        }
        const unsigned char pair = r->codes[(first + i) / 2 - low];
        r->values[i] = tables[b->kind][(first + i) % 2 ? pair & 15 : pair >> 4] * scale;
    }
    return GF_OK;
}

gf_status gf_bnb_read(const gf_source *s, const gf_entry *e, uint64_t at, void *out, size_t size,
                      gf_err *err)
{
    const uint64_t item = (uint64_t)gf_dtype_size(e->dtype);
    const int64_t first = (int64_t)(at / item), count = (int64_t)(size / item);
    unsigned char *to = out;
    gf_status st = GF_OK;
    assert(at % item == 0 && size % item == 0);
    room *r = gf_alloc(1, sizeof *r, err);
    if (!r)
        return GF_ENOMEM;
    for (int64_t i = 0; i < count && st == GF_OK; i += SLICE) {
        const int64_t n = count - i < SLICE ? count - i : SLICE;
        st = read_values(s, e->bnb, first + i, n, r, err);
        if (st == GF_OK)
            gf_from_f32(e->dtype, to + (uint64_t)i * item, r->values, n);
    }
    free(r);
    return st;
}

/* ---- finding what belongs together ------------------------------------------------- */

typedef struct {
    gf_source *s;
    bool *gone; /* entries that have become part of another */
    const gf_entry *weight;
    char *where; /* "PATH: tensor NAME" of the weight */
    gf_err *err;
} folder;

static gf_status fail(const folder *f, const char *what)
{
    return gf_fail(f->err, GF_EINPUT, "%s: %s", f->where, what);
}

/* "a" + "b" among the names; NULL: none, or no memory. */
static gf_entry *find(const folder *f, const char *a, const char *b)
{
    char *name = gf_format(f->err, "%s%s", a, b);
    const gf_entry *e = name ? gf_source_find(f->s, name) : NULL;
    free(name);
    return e ? &f->s->entry[e - f->s->entry] : NULL;
}

/* A companion of `count` elements, or GF_EINPUT; it is no longer an entry of its own. */
static gf_status take(const folder *f, gf_entry *e, const char *suffix, const char *dtype,
                      int64_t count, gf_entry *out)
{
    if (!e)
        return gf_fail(f->err, GF_EINPUT, "%s: it is quantised, but %s is missing", f->where,
                       suffix);
    const uint64_t item = strcmp(dtype, "F32") == 0 ? 4 : 1; /* the two that occur */
    if (strcmp(e->dtype_text, dtype) != 0 || e->strided || e->bytes != (uint64_t)count * item)
        return gf_fail(f->err, GF_EINPUT, "%s: %s does not have %lld elements of %s", f->where,
                       suffix, (long long)count, dtype);
    *out = *e;
    out->name = f->weight->name;
    f->gone[e - f->s->entry] = true;
    return GF_OK;
}

static gf_status set_dtype(const folder *f, gf_entry *e, const char *name)
{
    static const struct {
        const char *name;
        gf_dtype dtype;
    } types[] = {{"float32", GF_F32}, {"float16", GF_F16}, {"bfloat16", GF_BF16}};
    for (int i = 0; i < 3; i++) /* the types above */
        if (strcmp(name, types[i].name) == 0) {
            e->dtype = types[i].dtype;
            return GF_OK;
        }
    return fail(f, "its quantisation state has another dtype than float32, float16 and bfloat16");
}

/* The true shape; *count elements. */
static gf_status take_shape(const folder *f, gf_entry *e, const cJSON *state, int64_t *count)
{
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(state, "shape"), *n;
    *count = 1;
    e->rank = 0;
    for (int i = 0; i < 4; i++)
        e->dim[i] = 1;
    if (!cJSON_IsArray(shape))
        return fail(f, "its quantisation state has no shape");
    cJSON_ArrayForEach(n, shape)
    {
        const double x = n->valuedouble;
        if (!cJSON_IsNumber(n) || !(x >= 1 && x <= 0x1p31) || x != (double)(int64_t)x ||
            e->rank == 2) /* so that their product is below 2^62 */
            return fail(f, "its quantisation state has a shape that no weight has");
        e->dim[e->rank++] = (int64_t)x;
        *count *= (int64_t)x;
    }
    return GF_OK;
}

/* Block sizes that bitsandbytes has: powers of two. */
static gf_status take_block(const folder *f, const cJSON *state, const char *key, int64_t *out)
{
    TRY(gf_json_int(out, state, key, 0, 0, 4096, f->where, f->err));
    if (*out < 32 || (*out & (*out - 1)))
        return gf_fail(f->err, GF_EINPUT, "%s: %s: want 32, 64, … or 4096", f->where, key);
    return GF_OK;
}

static gf_status take_nested(const folder *f, gf_bnb *b, const cJSON *state, int64_t blocks)
{
    const char *name = f->weight->name, *dtype = NULL;
    double offset = 0;
    gf_entry map;
    TRY(take_block(f, state, "nested_blocksize", &b->inner_block));
    TRY(gf_json_string(&dtype, state, "nested_dtype", "float32", f->where, f->err));
    TRY(gf_json_double(&offset, state, "nested_offset", 0, f->where, f->err));
    if (strcmp(dtype, "float32") != 0)
        return fail(f, "its scales are quantised from another dtype than float32");
    b->offset = (float)offset;
    TRY(take(f, find(f, name, ".nested_quant_map"), ".nested_quant_map", "F32", 256, &map));
    TRY(gf_source_read(f->s, &map, 0, b->map, sizeof b->map, f->err));
    TRY(take(f, find(f, name, ".absmax"), ".absmax", "U8", blocks, &b->absmax));
    const int64_t inner = (blocks + b->inner_block - 1) / b->inner_block;
    return take(f, find(f, name, ".nested_absmax"), ".nested_absmax", "F32", inner, &b->inner);
}

static gf_status take_four(const folder *f, gf_entry *e, gf_bnb *b, const cJSON *state)
{
    const char *type = NULL, *dtype = NULL;
    int64_t count = 0;
    gf_entry map;
    float table[16];
    TRY(gf_json_string(&type, state, "quant_type", "", f->where, f->err));
    TRY(gf_json_string(&dtype, state, "dtype", "", f->where, f->err));
    TRY(take_block(f, state, "blocksize", &b->block));
    TRY(set_dtype(f, e, dtype));
    if (strcmp(type, b->kind == GF_BNB_NF4 ? "nf4" : "fp4") != 0)
        return fail(f, "its quantisation state is of another type than its name says");
    TRY(take_shape(f, e, state, &count));
    if (e->strided || e->bytes != ((uint64_t)count + 1) / 2)
        return fail(f, "it does not have half a byte for each element of its shape");
    b->codes = *e;
    const int64_t blocks = (count + b->block - 1) / b->block;
    TRY(take(f, find(f, e->name, ".quant_map"), ".quant_map", "F32", 16, &map));
    TRY(gf_source_read(f->s, &map, 0, table, sizeof table, f->err));
    for (int i = 0; i < 16; i++)
        if (table[i] != tables[b->kind][i])
            return fail(f, "its .quant_map is not that of its type");
    b->nested = find(f, e->name, ".nested_absmax") != NULL;
    if (b->nested)
        TRY(take_nested(f, b, state, blocks));
    else
        TRY(take(f, find(f, e->name, ".absmax"), ".absmax", "F32", blocks, &b->absmax));
    e->dtype_text = type[0] == 'n' ? "nf4" : "fp4";
    e->bytes = (uint64_t)(count * gf_dtype_size(e->dtype));
    return GF_OK;
}

/* ---- folding ----------------------------------------------------------------------- */

static gf_status start(folder *f, const char *name, size_t size, const char *suffix,
                       gf_entry **weight, const char *companion)
{
    char *base = gf_strndup(name, size, f->err);
    if (!base)
        return GF_ENOMEM;
    *weight = find(f, base, suffix);
    free(base);
    free(f->where);
    f->where = NULL;
    if (!*weight || (*weight)->bnb)
        return gf_fail(f->err, GF_EINPUT, "tensor %s: the weight that it belongs to is missing",
                       companion);
    f->weight = *weight;
    f->where =
        gf_format(f->err, "%s: tensor %s", f->s->file[f->weight->file].path, f->weight->name);
    return f->where ? GF_OK : GF_ENOMEM;
}

/* The state's JSON stands in a tensor of bytes. */
static gf_status read_state(const folder *f, const gf_entry *e, cJSON **state)
{
    if (strcmp(e->dtype_text, "U8") != 0 || e->strided || e->bytes > STATE_MAX)
        return fail(f, "its quantisation state is no text");
    char *text = gf_alloc(e->bytes, 1, f->err);
    gf_status st = text ? gf_source_read(f->s, e, 0, text, e->bytes, f->err) : GF_ENOMEM;
    if (st == GF_OK)
        st = gf_json_parse(state, text, e->bytes, f->where, 1, f->err);
    free(text);
    return st;
}

/* Owned by the entry from the start, so that close frees it. */
static gf_bnb *attach(gf_entry *e, gf_bnb_kind kind, gf_err *err)
{
    e->bnb = gf_alloc(1, sizeof *e->bnb, err);
    if (e->bnb)
        e->bnb->kind = kind;
    e->readable = true;
    return e->bnb;
}

static gf_status fold_four(folder *f, int i, size_t base, gf_bnb_kind kind)
{
    gf_entry *e = NULL;
    cJSON *state = NULL;
    gf_bnb b = {.kind = kind};
    TRY(start(f, f->s->entry[i].name, base, "", &e, f->s->entry[i].name));
    gf_status st = read_state(f, &f->s->entry[i], &state);
    if (st == GF_OK)
        st = take_four(f, e, &b, state);
    cJSON_Delete(state);
    TRY(st);
    if (!attach(e, kind, f->err))
        return GF_ENOMEM;
    *e->bnb = b;
    f->gone[i] = true;
    return GF_OK;
}

static gf_status fold_eight(folder *f, int i, size_t base)
{
    gf_entry *e = NULL, format;
    unsigned char order = 0;
    char *name = f->s->entry[i].name;
    TRY(start(f, name, base, ".weight", &e, name));
    if (strcmp(e->dtype_text, "I8") != 0 || e->rank != 2 || e->strided)
        return fail(f, "it has scales of LLM.int8, but is no I8 matrix");
    gf_bnb b = {.kind = GF_BNB_INT8, .codes = *e, .block = e->dim[1] ? e->dim[1] : 1};
    TRY(take(f, &f->s->entry[i], ".SCB", "F32", e->dim[0], &b.absmax));
    gf_entry *noted = find(f, e->name, "_format");
    if (noted) {
        TRY(take(f, noted, ".weight_format", "U8", 1, &format));
        TRY(gf_source_read(f->s, &format, 0, &order, 1, f->err));
    }
    if (order != 0) /* 0: row-major */
        return fail(f, "its elements stand in the order of one kind of GPU: save it again");
    if (b.block < 32)
        return fail(f, "rows of fewer than 32 elements, which LLM.int8 does not have");
    if (!attach(e, GF_BNB_INT8, f->err))
        return GF_ENOMEM;
    *e->bnb = b;
    e->dtype = GF_F32;
    e->dtype_text = "int8";
    e->bytes *= sizeof(float); /* of I8: far from overflow */
    return GF_OK;
}

/* Length of name without `suffix`; 0: it does not end so. */
static size_t without(const char *name, const char *suffix)
{
    const size_t n = strlen(name), m = strlen(suffix);
    return n > m && strcmp(name + n - m, suffix) == 0 ? n - m : 0;
}

static gf_status fold_all(folder *f, int *folded)
{
    for (int i = 0; i < f->s->count; i++) {
        const char *name = f->s->entry[i].name;
        const size_t nf4 = without(name, ".quant_state.bitsandbytes__nf4"),
                     fp4 = without(name, ".quant_state.bitsandbytes__fp4"),
                     eight = without(name, ".SCB");
        if (nf4 || fp4)
            TRY(fold_four(f, i, nf4 ? nf4 : fp4, nf4 ? GF_BNB_NF4 : GF_BNB_FP4));
        else if (eight)
            TRY(fold_eight(f, i, eight));
        *folded += nf4 || fp4 || eight;
    }
    return GF_OK;
}

gf_status gf_bnb_fold(gf_source *s, int *folded, gf_err *err)
{
    folder f = {.s = s, .gone = gf_alloc((size_t)s->count, sizeof(bool), err), .err = err};
    *folded = 0;
    if (!f.gone)
        return GF_ENOMEM;
    gf_status st = fold_all(&f, folded);
    int kept = 0;
    for (int i = 0; st == GF_OK && i < s->count; i++) {
        if (f.gone[i])
            free(s->entry[i].name);
        else
            s->entry[kept++] = s->entry[i];
    }
    if (st == GF_OK) {
        s->count = kept;
        free(s->by_name);
        s->by_name = NULL;
        st = gf_source_index(s, err);
    }
    free(f.gone);
    free(f.where);
    return st;
}
