/* export_gguf.c - the GGUF adapter. Contract: model/export.h; keys, names and scale: FORMATS 6.6.
 */
#include "model/export_parts.h"

#include "format/gguf_write.h"
#include "model/family.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const gf_export *x;
    gf_dtype dtype;
    gf_export_scale scale;
    gf_gguf_keys keys;
    gf_gguf_decl *decl; /* [2 * modules]: A and B of each */
    char (*name)[72];   /* and ".lora_a" */
    gf_gguf_writer *writer;
    gf_export_note *note;
    gf_err *err;
} work;

static gf_status put_text(work *w, const char *key, const char *value)
{
    return gf_gguf_put_string(&w->keys, key, value, strlen(value), w->err);
}

static gf_status put_keys(work *w)
{
    const gf_family *family = gf_family_by_name(w->x->base->family);
    const char *arch = w->x->arch ? w->x->arch : family->gguf_arch;
    TRY(put_text(w, "general.architecture", arch));
    TRY(put_text(w, "general.type", "adapter"));
    TRY(put_text(w, "adapter.type", "lora"));
    if (w->x->name && *w->x->name)
        TRY(put_text(w, "general.name", w->x->name));
    return gf_gguf_put_f32(&w->keys, "adapter.lora.alpha", (float)w->scale.alpha, w->err);
}

/* The type asked for; f16 where its blocks do not divide the rows, as the official converter has
 * it. */
static gf_dtype type_of(work *w, int64_t cols)
{
    if (cols % gf_dtype_block(w->dtype) == 0)
        return w->dtype;
    w->note->other++;
    return GF_F16;
}

static gf_status declare(work *w)
{
    const gf_adapter *ad = w->x->adapter;
    const size_t count = 2 * (size_t)ad->count;
    w->decl = gf_alloc(count, sizeof *w->decl, w->err);
    w->name = gf_alloc(count, sizeof *w->name, w->err);
    if (!w->decl || !w->name)
        return GF_ENOMEM;
    for (int i = 0; i < ad->count; i++) {
        const gf_lora *lo = &ad->lora[i];
        char weight[64];
        TRY(gf_export_weight_name(weight, w->x, i, w->err));
        for (int m = 0; m < 2; m++) { /* A, B */
            gf_gguf_decl *d = &w->decl[2 * i + m];
            snprintf(w->name[2 * i + m], sizeof *w->name, "%s.lora_%c", weight, "ab"[m]);
            *d = (gf_gguf_decl){.name = w->name[2 * i + m],
                                .rank = 2,
                                .dim = {m ? lo->n : lo->r, m ? lo->r : lo->k}};
            if (m == 0 && gf_export_is_embedding(w->x, i))
                *d = (gf_gguf_decl){.name = d->name, .rank = 2, .dim = {lo->k, lo->r}};
            d->dtype = type_of(w, d->dim[1]);
        }
    }
    return GF_OK;
}

/* The largest value that each type holds. */
static float limit_of(gf_dtype t)
{
    switch (t) {
    case GF_F16:
        return 65504.0F;
    case GF_BF16:
        return 0x1.FEp127F;
    case GF_Q8_0:
        return 127 * 65504.0F; /* its scale is f16 */
    default:
        return INFINITY;
    }
}

static gf_status put_matrix(work *w, const gf_gguf_decl *d, const float *m)
{
    const int64_t count = d->dim[0] * d->dim[1];
    for (int64_t i = 0; i < count; i++)
        if (fabsf(m[i]) > limit_of(d->dtype))
            return gf_fail(w->err, GF_EARG, "%s would hold %g, which %s cannot: take --dtype f32",
                           d->name, (double)m[i], gf_dtype_name(d->dtype));
    const size_t size = (size_t)gf_row_bytes(d->dtype, count);
    void *data = gf_alloc(size, 1, w->err);
    if (!data)
        return GF_ENOMEM;
    gf_from_f32(d->dtype, data, m, count);
    const gf_status st = gf_gguf_writer_data(w->writer, data, size, w->err);
    free(data);
    return st;
}

static gf_status put_module(work *w, int i)
{
    float *a = NULL, *b = NULL;
    gf_status st = gf_export_pair(w->x, i, w->scale.factor[i], &a, &b, w->note, w->err);
    if (st == GF_OK && gf_export_is_embedding(w->x, i))
        st = gf_export_transpose(&a, w->x->adapter->lora[i].r, w->x->adapter->lora[i].k, w->err);
    if (st == GF_OK)
        st = put_matrix(w, &w->decl[2 * i], a);
    if (st == GF_OK)
        st = put_matrix(w, &w->decl[2 * i + 1], b);
    free(a);
    free(b);
    return st;
}

gf_status gf_export_gguf(const gf_export *x, const char *path, gf_dtype dtype, gf_export_note *note,
                         gf_err *err)
{
    work w = {.x = x, .dtype = dtype, .note = note, .err = err};
    gf_status st = GF_OK;
    *note = (gf_export_note){0};
    TRYG(gf_export_scale_find(&w.scale, x->adapter, 0, err));
    note->alpha = w.scale.alpha;
    TRYG(put_keys(&w));
    TRYG(declare(&w));
    TRYG(gf_gguf_writer_open(&w.writer, path, &w.keys, w.decl, 2 * x->adapter->count, err));
    for (int i = 0; i < x->adapter->count; i++)
        TRYG(put_module(&w, i));
    gf_gguf_writer *finished = w.writer;
    w.writer = NULL; /* commit frees it, whatever happens */
    TRYG(gf_gguf_writer_commit(finished, err));
out:
    gf_gguf_writer_cancel(w.writer);
    gf_gguf_keys_free(&w.keys);
    gf_export_scale_free(&w.scale);
    free(w.decl);
    free(w.name);
    return st;
}
