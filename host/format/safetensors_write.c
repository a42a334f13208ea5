/* safetensors_write.c - streaming writer, byte-identical to the official one. Contract:
 * format/safetensors.h; the order and the padding: FORMATS 1.3. */
#include "base/json.h"
#include "format/safetensors.h"
#include "format/safetensors_dtype.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int decl;  /* index into the caller's declarations */
    int order; /* of its dtype in the official list */
    uint64_t bytes;
} part;

struct gf_st_writer {
    gf_out *out;
    int count, next;  /* next: part whose data comes */
    uint64_t written; /* bytes of it */
    part *part;       /* in the file's order */
};

static int official_order(const void *a, const void *b, void *declarations)
{
    const part *x = a, *y = b;
    const gf_st_decl *decl = declarations;
    if (x->order != y->order)
        return x->order > y->order ? -1 : 1;
    return strcmp(decl[x->decl].name, decl[y->decl].name);
}

static gf_status measure(part *p, const gf_st_decl *d, const char *path, gf_err *err)
{
    for (p->order = 0; p->order < GF_ST_DTYPES; p->order++)
        if (gf_st_dtypes[p->order].dtype == (int)d->dtype)
            break;
    assert(p->order < GF_ST_DTYPES); /* plain types only */
    p->bytes = gf_st_dtypes[p->order].bits / 8;
    for (int i = 0; i < d->rank; i++) {
        assert(d->dim[i] >= 0);
        if (!gf_mul(p->bytes, (uint64_t)d->dim[i], &p->bytes))
            return gf_fail(err, GF_EARG, "%s: tensor %s: its size overflows 64 bits", path,
                           d->name);
    }
    return GF_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static gf_status check_names(const gf_st_decl *decl, int count, const char *path, gf_err *err)
{
    const char **name = gf_alloc((size_t)count, sizeof *name, err);
    if (!name)
        return GF_ENOMEM;
    for (int i = 0; i < count; i++)
        name[i] = decl[i].name;
    qsort(name, (size_t)count, sizeof *name, by_name);
    gf_status st = GF_OK;
    for (int i = 1; i < count && st == GF_OK; i++)
        if (strcmp(name[i - 1], name[i]) == 0)
            st = gf_fail(err, GF_EARG, "%s: two tensors are named %s", path, name[i]);
    free(name);
    return st;
}

static gf_status add_entry(gf_buf *b, const part *p, const gf_st_decl *d, uint64_t begin,
                           uint64_t end, gf_err *err)
{
    TRY(gf_buf_str(b, ",", err));
    TRY(gf_json_quote(b, d->name, strlen(d->name), err));
    TRY(gf_buf_printf(b, err, ":{\"dtype\":\"%s\",\"shape\":[", gf_st_dtypes[p->order].name));
    for (int i = 0; i < d->rank; i++)
        TRY(gf_buf_printf(b, err, "%s%lld", i ? "," : "", (long long)d->dim[i]));
    return gf_buf_printf(b, err, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)begin,
                         (unsigned long long)end);
}

static gf_status make_header(gf_buf *b, const gf_st_writer *w, const gf_st_decl *decl,
                             const char *path, gf_err *err)
{
    uint64_t at = 0, end;
    TRY(gf_buf_str(b, "{\"__metadata__\":{\"format\":\"pt\"}", err));
    for (int i = 0; i < w->count; i++) {
        const gf_st_decl *d = &decl[w->part[i].decl];
        if (strcmp(d->name, "__metadata__") == 0)
            return gf_fail(err, GF_EARG, "%s: a tensor can't be named __metadata__", path);
        if (!gf_add(at, w->part[i].bytes, &end))
            return gf_fail(err, GF_EARG, "%s: its size overflows 64 bits", path);
        TRY(add_entry(b, &w->part[i], d, at, end, err));
        at = end;
    }
    TRY(gf_buf_str(b, "}", err));
    while (b->len % 8) /* so that the data begins 8-byte aligned */
        TRY(gf_buf_str(b, " ", err));
    if (b->len > GF_ST_HEADER_MAX)
        return gf_fail(err, GF_EARG,
                       "%s: a header of %zu bytes: no reader takes more than 100000000", path,
                       b->len);
    return GF_OK;
}

/* Tensors without elements have no data to wait for. */
static void skip_empty(gf_st_writer *w)
{
    while (w->next < w->count && w->part[w->next].bytes == 0)
        w->next++;
}

gf_status gf_st_writer_open(gf_st_writer **out, const char *path, const gf_st_decl *decl, int count,
                            gf_err *err)
{
    gf_status st = GF_OK;
    gf_buf header = {0};
    *out = NULL;
    gf_st_writer *w = gf_alloc(1, sizeof *w, err);
    if (!w)
        return GF_ENOMEM;
    w->part = gf_alloc((size_t)count, sizeof *w->part, err);
    if (!w->part) {
        st = GF_ENOMEM;
        goto out;
    }
    w->count = count;
    TRYG(check_names(decl, count, path, err));
    for (int i = 0; i < count; i++) {
        w->part[i].decl = i;
        TRYG(measure(&w->part[i], &decl[i], path, err));
    }
    qsort_r(w->part, (size_t)count, sizeof *w->part, official_order,
            (void *)(uintptr_t)decl); /* which only reads */
    TRYG(make_header(&header, w, decl, path, err));
    TRYG(gf_out_open(&w->out, path, err));
    gf_out_sparse(w->out);
    const uint64_t n = header.len;
    TRYG(gf_out_write(w->out, &n, sizeof n, err));
    TRYG(gf_out_write(w->out, header.data, header.len, err));
    skip_empty(w);
    *out = w;
    w = NULL;
out:
    gf_buf_free(&header);
    gf_st_writer_cancel(w);
    return st;
}

int gf_st_writer_next(const gf_st_writer *w)
{
    return w->next < w->count ? w->part[w->next].decl : -1;
}

gf_status gf_st_writer_data(gf_st_writer *w, const void *data, size_t size, gf_err *err)
{
    if (size == 0)
        return GF_OK;
    assert(w->next < w->count && size <= w->part[w->next].bytes - w->written);
    TRY(gf_out_write(w->out, data, size, err));
    w->written += size;
    if (w->written == w->part[w->next].bytes) {
        w->next++;
        w->written = 0;
        skip_empty(w);
    }
    return GF_OK;
}

gf_status gf_st_writer_commit(gf_st_writer *w, gf_err *err)
{
    assert(w->next == w->count);
    const gf_status st = gf_out_commit(w->out, err);
    w->out = NULL;
    gf_st_writer_cancel(w);
    return st;
}

void gf_st_writer_cancel(gf_st_writer *w)
{
    if (!w)
        return;
    gf_out_cancel(w->out);
    free(w->part);
    free(w);
}
