#include "format/ggla.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC 0x67676C61 /* "ggla" as a number: the file begins with "algg" */
#define VERSION 1
#define ALIGNMENT 32 /* of a matrix, in the file */
#define TYPE_F32 0

struct gf_ggla_writer {
    gf_out *out;
    uint64_t at; /* bytes written */
};

static gf_status put(gf_ggla_writer *w, const void *data, size_t size, gf_err *err)
{
    TRY(gf_out_write(w->out, data, size, err));
    w->at += size;
    return GF_OK;
}

gf_status gf_ggla_open(gf_ggla_writer **out, const char *path, int32_t r, int32_t alpha,
                       gf_err *err)
{
    const int32_t header[] = {MAGIC, VERSION, r, alpha};
    *out = NULL;
    gf_ggla_writer *w = gf_alloc(1, sizeof *w, err);
    if (!w)
        return GF_ENOMEM;
    gf_status st = gf_out_open(&w->out, path, err);
    if (st == GF_OK)
        st = put(w, header, sizeof header, err);
    if (st != GF_OK)
        gf_ggla_cancel(w);
    else
        *out = w;
    return st;
}

gf_status gf_ggla_matrix(gf_ggla_writer *w, const char *name, const float *data, int64_t rows,
                         int64_t cols, gf_err *err)
{
    static const char zeros[ALIGNMENT] = {0};
    const size_t length = strlen(name);
    assert(length <= GF_GGLA_NAME_MAX && rows >= 1 && rows <= INT32_MAX && cols >= 1 &&
           cols <= INT32_MAX);
    /* dimensions, length of the name, type; the contiguous dimension first */
    const int32_t header[] = {2, (int32_t)length, TYPE_F32, (int32_t)cols, (int32_t)rows};
    TRY(put(w, header, sizeof header, err));
    TRY(put(w, name, length, err));
    TRY(put(w, zeros, (ALIGNMENT - w->at % ALIGNMENT) % ALIGNMENT, err));
    return put(w, data, (size_t)rows * (size_t)cols * sizeof *data, err);
}

gf_status gf_ggla_commit(gf_ggla_writer *w, gf_err *err)
{
    const gf_status st = gf_out_commit(w->out, err);
    w->out = NULL;
    gf_ggla_cancel(w);
    return st;
}

void gf_ggla_cancel(gf_ggla_writer *w)
{
    if (!w)
        return;
    gf_out_cancel(w->out);
    free(w);
}
