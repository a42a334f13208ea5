/* torch_write.c - the zip and the pickle of a state dict. Contract: format/torch_write.h; the
 * bytes: FORMATS 5.1, 5.4 and, of zip and zip64, the format's public APPNOTE 6.3 (4.3.7 to 4.3.16).
 */
#include "format/torch_write.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64        /* torch's, of an entry's data: it maps such files */
#define HAS_DESCRIPTOR 0x08 /* flag: CRC and sizes stand behind the data */
#define NEEDS_ZIP64 45      /* version needed to extract: 4.5 */
#define FULL32 0xFFFFFFFFu  /* "look into the zip64 field" */
#define FIRST_DAY 0x0021    /* 1980-01-01, the zip's earliest: files do not depend on the day */
#define MAX_NAME 64         /* of an entry behind its root: "data/" and a number */

typedef struct {
    char name[MAX_NAME];
    uint64_t offset, size; /* of its local header; of its data */
    uint32_t crc;
} entry;

struct gf_torch_writer {
    gf_out *out;
    char *root;
    uint64_t at;      /* bytes written */
    int count, next;  /* tensors; the one whose data comes */
    uint64_t *bytes;  /* [count] */
    uint64_t written; /* bytes of it */
    int entries;
    entry *entry; /* [count + 3]: the tensors, data.pkl, byteorder, version */
};

/* ---- bytes ------------------------------------------------------------------------------ */

static gf_status put(gf_torch_writer *w, const void *data, size_t size, gf_err *err)
{
    TRY(gf_out_write(w->out, data, size, err));
    w->at += size;
    return GF_OK;
}

/* The lowest n bytes of x, low one first. */
static gf_status add_int(gf_buf *b, uint64_t x, int n, gf_err *err)
{
    unsigned char byte[8];
    for (int i = 0; i < n; i++)
        byte[i] = (unsigned char)(x >> 8 * i);
    return gf_buf_add(b, byte, (size_t)n, err);
}

/* ISO 3309's CRC-32, reflected: zip's. Four bits at a time. */
static uint32_t crc_more(uint32_t crc, const void *data, size_t size)
{
    static const uint32_t table[16] = {0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC,
                                       0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
                                       0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C,
                                       0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C};
    const unsigned char *p = data;
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

/* ---- entries of the zip ------------------------------------------------------------------ */

static uint32_t low32(uint64_t x)
{
    return x >= FULL32 ? FULL32 : (uint32_t)x;
}

static entry *last(gf_torch_writer *w)
{
    return &w->entry[w->entries - 1];
}

/* The local header, up to where the data begins. */
static gf_status begin_entry(gf_torch_writer *w, const char *name, uint64_t size, gf_err *err)
{
    gf_buf b = {0};
    gf_status st = GF_OK;
    entry *e = &w->entry[w->entries++];
    *e = (entry){.offset = w->at, .size = size};
    snprintf(e->name, sizeof e->name, "%s", name);
    const bool large = size >= FULL32;
    const size_t length = strlen(w->root) + 1 + strlen(name);
    const size_t fixed = 30 + length + (large ? 20 : 0) + 4; /* the padding's own header: 4 */
    const size_t pad = (ALIGNMENT - (w->at + fixed) % ALIGNMENT) % ALIGNMENT;
    TRYG(add_int(&b, 0x04034B50, 4, err));
    TRYG(add_int(&b, NEEDS_ZIP64, 2, err));
    TRYG(add_int(&b, HAS_DESCRIPTOR, 2, err));
    TRYG(add_int(&b, 0, 4, err)); /* stored; midnight */
    TRYG(add_int(&b, FIRST_DAY, 2, err));
    TRYG(add_int(&b, 0, 4, err)); /* CRC: behind the data */
    TRYG(add_int(&b, large ? UINT64_MAX : 0, 8, err));
    TRYG(add_int(&b, length, 2, err));
    TRYG(add_int(&b, (large ? 20u : 0u) + 4 + pad, 2, err));
    TRYG(gf_buf_printf(&b, err, "%s/%s", w->root, name));
    if (large) { /* a zip64 field whose sizes stand behind the data as well */
        TRYG(add_int(&b, 0x00100001, 4, err));
        TRYG(add_int(&b, 0, 8, err));
        TRYG(add_int(&b, 0, 8, err));
    }
    TRYG(gf_buf_str(&b, "FB", err)); /* the field that torch pads with */
    TRYG(add_int(&b, pad, 2, err));
    for (size_t i = 0; i < pad; i++)
        TRYG(gf_buf_str(&b, "Z", err));
    TRYG(put(w, b.data, b.len, err));
out:
    gf_buf_free(&b);
    return st;
}

static gf_status put_data(gf_torch_writer *w, const void *data, size_t size, gf_err *err)
{
    last(w)->crc = crc_more(last(w)->crc, data, size);
    return put(w, data, size, err);
}

static gf_status end_entry(gf_torch_writer *w, gf_err *err)
{
    gf_buf b = {0};
    const entry *e = last(w);
    const int width = e->size >= FULL32 ? 8 : 4;
    gf_status st = GF_OK;
    TRYG(add_int(&b, 0x08074B50, 4, err));
    TRYG(add_int(&b, e->crc, 4, err));
    TRYG(add_int(&b, e->size, width, err));
    TRYG(add_int(&b, e->size, width, err));
    TRYG(put(w, b.data, b.len, err));
out:
    gf_buf_free(&b);
    return st;
}

static gf_status whole_entry(gf_torch_writer *w, const char *name, const void *data, size_t size,
                             gf_err *err)
{
    TRY(begin_entry(w, name, size, err));
    TRY(put_data(w, data, size, err));
    return end_entry(w, err);
}

static gf_status add_central(gf_buf *b, const gf_torch_writer *w, const entry *e, gf_err *err)
{
    const bool size64 = e->size >= FULL32, offset64 = e->offset >= FULL32;
    const uint64_t values = (size64 ? 16u : 0u) + (offset64 ? 8u : 0u);
    TRY(add_int(b, 0x02014B50, 4, err));
    TRY(add_int(b, NEEDS_ZIP64, 2, err)); /* made by */
    TRY(add_int(b, NEEDS_ZIP64, 2, err));
    TRY(add_int(b, HAS_DESCRIPTOR, 2, err));
    TRY(add_int(b, 0, 4, err)); /* stored; midnight */
    TRY(add_int(b, FIRST_DAY, 2, err));
    TRY(add_int(b, e->crc, 4, err));
    TRY(add_int(b, low32(e->size), 4, err));
    TRY(add_int(b, low32(e->size), 4, err));
    TRY(add_int(b, strlen(w->root) + 1 + strlen(e->name), 2, err));
    TRY(add_int(b, values ? values + 4 : 0, 2, err));
    TRY(add_int(b, 0, 8, err)); /* no comment, first disk, attributes */
    TRY(add_int(b, 0, 2, err));
    TRY(add_int(b, low32(e->offset), 4, err));
    TRY(gf_buf_printf(b, err, "%s/%s", w->root, e->name));
    if (values)
        TRY(add_int(b, 1 | values << 16, 4, err));
    if (size64) {
        TRY(add_int(b, e->size, 8, err));
        TRY(add_int(b, e->size, 8, err));
    }
    return offset64 ? add_int(b, e->offset, 8, err) : GF_OK;
}

/* The zip64 end and its locator: only where 32 (or, of the count, 16) bits do not do. */
static gf_status add_end64(gf_buf *b, const gf_torch_writer *w, uint64_t size, gf_err *err)
{
    const uint64_t at = w->at + size;
    TRY(add_int(b, 0x06064B50, 4, err));
    TRY(add_int(b, 44, 8, err)); /* bytes that follow */
    TRY(add_int(b, NEEDS_ZIP64, 2, err));
    TRY(add_int(b, NEEDS_ZIP64, 2, err));
    TRY(add_int(b, 0, 8, err)); /* disks */
    TRY(add_int(b, (uint64_t)w->entries, 8, err));
    TRY(add_int(b, (uint64_t)w->entries, 8, err));
    TRY(add_int(b, size, 8, err));
    TRY(add_int(b, w->at, 8, err));
    TRY(add_int(b, 0x07064B50, 4, err));
    TRY(add_int(b, 0, 4, err));
    TRY(add_int(b, at, 8, err));
    return add_int(b, 1, 4, err); /* disks in all */
}

static gf_status add_end(gf_buf *b, const gf_torch_writer *w, gf_err *err)
{
    const uint64_t size = b->len;
    const uint64_t count = w->entries < 0xFFFF ? (uint64_t)w->entries : 0xFFFF;
    if (count == 0xFFFF || w->at >= FULL32 || size >= FULL32)
        TRY(add_end64(b, w, size, err));
    TRY(add_int(b, 0x06054B50, 4, err));
    TRY(add_int(b, 0, 4, err)); /* disks */
    TRY(add_int(b, count, 2, err));
    TRY(add_int(b, count, 2, err));
    TRY(add_int(b, low32(size), 4, err));
    TRY(add_int(b, low32(w->at), 4, err));
    return add_int(b, 0, 2, err); /* no comment */
}

/* ---- the pickle ------------------------------------------------------------------------- */

static gf_status add_text(gf_buf *b, const char *s, gf_err *err) /* BINUNICODE */
{
    TRY(gf_buf_str(b, "X", err));
    TRY(add_int(b, strlen(s), 4, err));
    return gf_buf_str(b, s, err);
}

/* BININT1, BININT2, BININT, and LONG1 of eight bytes for what is larger. */
static gf_status add_number(gf_buf *b, uint64_t x, gf_err *err)
{
    if (x > INT32_MAX) {
        TRY(gf_buf_add(b, "\x8A\x08", 2, err));
        return add_int(b, x, 8, err);
    }
    TRY(gf_buf_str(b, x < 1 << 8 ? "K" : x < 1 << 16 ? "M" : "J", err));
    return add_int(b, x, x < 1 << 8 ? 1 : x < 1 << 16 ? 2 : 4, err);
}

static const char *storage_of(gf_dtype t)
{
    switch (t) {
    case GF_F32:
        return "FloatStorage";
    case GF_F16:
        return "HalfStorage";
    case GF_BF16:
        return "BFloat16Storage";
    case GF_I32:
        return "IntStorage";
    case GF_I64:
        return "LongStorage";
    case GF_U8:
        return "ByteStorage";
    default:
        return NULL;
    }
}

/* Size and strides, which are those of rows after each other. */
static gf_status add_layout(gf_buf *b, const gf_st_decl *d, gf_err *err)
{
    TRY(gf_buf_str(b, "(", err)); /* MARK */
    for (int i = 0; i < d->rank; i++)
        TRY(add_number(b, (uint64_t)d->dim[i], err));
    TRY(gf_buf_str(b, "t(", err)); /* TUPLE, MARK */
    for (int i = 0; i < d->rank; i++) {
        uint64_t stride = 1;
        for (int k = i + 1; k < d->rank; k++)
            stride *= (uint64_t)d->dim[k]; /* at most the count, which fits */
        TRY(add_number(b, stride, err));
    }
    return gf_buf_str(b, "t", err);
}

/* name: _rebuild_tensor_v2(storage, 0, size, stride, False, OrderedDict()) */
static gf_status add_tensor(gf_buf *b, const gf_st_decl *d, int key, uint64_t elements, gf_err *err)
{
    char number[16];
    snprintf(number, sizeof number, "%d", key);
    TRY(add_text(b, d->name, err));
    TRY(gf_buf_str(b, "ctorch._utils\n_rebuild_tensor_v2\n((", err)); /* GLOBAL, MARK, MARK */
    TRY(add_text(b, "storage", err));
    TRY(gf_buf_printf(b, err, "ctorch\n%s\n", storage_of(d->dtype)));
    TRY(add_text(b, number, err));
    TRY(add_text(b, "cpu", err));
    TRY(add_number(b, elements, err));
    TRY(gf_buf_str(b, "tQ", err)); /* TUPLE, BINPERSID */
    TRY(add_number(b, 0, err));
    TRY(add_layout(b, d, err));
    /* NEWFALSE; OrderedDict called with (); TUPLE; REDUCE */
    return gf_buf_str(b,
                      "\x89"
                      "ccollections\nOrderedDict\n)RtR",
                      err);
}

static gf_status put_pickle(gf_torch_writer *w, const gf_st_decl *decl, gf_err *err)
{
    gf_buf b = {0};
    gf_status st = GF_OK;
    TRYG(gf_buf_add(&b, "\x80\x02}(", 4, err)); /* PROTO 2, EMPTY_DICT, MARK */
    for (int i = 0; i < w->count; i++)
        TRYG(
            add_tensor(&b, &decl[i], i, w->bytes[i] / (uint64_t)gf_dtype_size(decl[i].dtype), err));
    TRYG(gf_buf_str(&b, "u.", err)); /* SETITEMS, STOP */
    TRYG(whole_entry(w, "data.pkl", b.data, b.len, err));
out:
    gf_buf_free(&b);
    return st;
}

/* ---- the writer ------------------------------------------------------------------------- */

static gf_status measure(gf_torch_writer *w, const gf_st_decl *decl, const char *path, gf_err *err)
{
    for (int i = 0; i < w->count; i++) {
        assert(storage_of(decl[i].dtype));
        w->bytes[i] = (uint64_t)gf_dtype_size(decl[i].dtype);
        for (int k = 0; k < decl[i].rank; k++)
            if (!gf_mul(w->bytes[i], (uint64_t)decl[i].dim[k], &w->bytes[i]))
                return gf_fail(err, GF_EARG, "%s: tensor %s: its size overflows 64 bits", path,
                               decl[i].name);
    }
    return GF_OK;
}

/* Begins the next tensor that has data; those without any are written on the way. */
static gf_status begin_next(gf_torch_writer *w, gf_err *err)
{
    char name[MAX_NAME];
    for (; w->next < w->count; w->next++) {
        snprintf(name, sizeof name, "data/%d", w->next);
        TRY(begin_entry(w, name, w->bytes[w->next], err));
        if (w->bytes[w->next] > 0)
            break;
        TRY(end_entry(w, err));
    }
    return GF_OK;
}

static char *root_of(const char *path, gf_err *err)
{
    const char *name = gf_path_name(path), *dot = strrchr(name, '.');
    return dot && dot > name ? gf_strndup(name, (size_t)(dot - name), err) : gf_strdup(name, err);
}

gf_status gf_torch_writer_open(gf_torch_writer **out, const char *path, const gf_st_decl *decl,
                               int count, gf_err *err)
{
    gf_status st = GF_OK;
    *out = NULL;
    gf_torch_writer *w = gf_alloc(1, sizeof *w, err);
    if (!w)
        return GF_ENOMEM;
    w->count = count;
    w->root = root_of(path, err);
    w->bytes = gf_alloc((size_t)count, sizeof *w->bytes, err);
    w->entry = gf_alloc((size_t)count + 3, sizeof *w->entry, err);
    if (!w->root || !w->bytes || !w->entry) {
        st = GF_ENOMEM;
        goto out;
    }
    TRYG(measure(w, decl, path, err));
    TRYG(gf_out_open(&w->out, path, err));
    TRYG(put_pickle(w, decl, err));
    TRYG(whole_entry(w, "byteorder", "little", 6, err));
    TRYG(begin_next(w, err));
    *out = w;
    w = NULL;
out:
    gf_torch_writer_cancel(w);
    return st;
}

gf_status gf_torch_writer_data(gf_torch_writer *w, const void *data, size_t size, gf_err *err)
{
    if (size == 0)
        return GF_OK;
    assert(w->next < w->count && size <= w->bytes[w->next] - w->written);
    TRY(put_data(w, data, size, err));
    w->written += size;
    if (w->written < w->bytes[w->next])
        return GF_OK;
    w->next++;
    w->written = 0;
    TRY(end_entry(w, err));
    return begin_next(w, err);
}

gf_status gf_torch_writer_commit(gf_torch_writer *w, gf_err *err)
{
    gf_buf b = {0};
    gf_status st = GF_OK;
    assert(w->next == w->count);
    TRYG(whole_entry(w, "version", "3\n", 2, err));
    for (int i = 0; i < w->entries; i++)
        TRYG(add_central(&b, w, &w->entry[i], err));
    TRYG(add_end(&b, w, err));
    TRYG(put(w, b.data, b.len, err));
    gf_out *finished = w->out;
    w->out = NULL; /* commit frees it, whatever happens */
    TRYG(gf_out_commit(finished, err));
out:
    gf_buf_free(&b);
    gf_torch_writer_cancel(w);
    return st;
}

void gf_torch_writer_cancel(gf_torch_writer *w)
{
    if (!w)
        return;
    gf_out_cancel(w->out);
    free(w->root);
    free(w->bytes);
    free(w->entry);
    free(w);
}
