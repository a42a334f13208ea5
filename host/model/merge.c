#include "model/merge.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "model/adapter.h"
#include "model/delta.h"
#include "model/merge_parts.h"
#include "model/names.h"

/* Weights in memory at a time (DESIGN, section 1: merge). */
#define SLICE_BYTES ((int64_t)64 << 20)

typedef struct {
    const gf_files *base;
    const gf_merge_options *opt;
    gf_dtype dtype;
    gf_adapter adapter;
    gf_adapter_file lora;
    int64_t count; /* tensors */
    gf_name *name;
    int64_t done;
    gf_err *err;
} merge;

/* ---- one tensor ----------------------------------------------------------------------- */

typedef struct {
    const gf_entry *from;
    int64_t rows, k;      /* of the weight; k 1 for a vector */
    int64_t heads;        /* by which its rows are permuted */
    const gf_lora *lo;    /* or NULL */
    const gf_entry *b;    /* of lo */
    float *a;             /* [r,k] of lo */
    float *magnitude;     /* [rows] of lo with DoRA, or NULL */
    int64_t slice;        /* rows at a time */
    unsigned char *raw;   /* [slice,k] as in the file */
    float *w;             /* [slice,k] */
    unsigned char *out;   /* [slice,k] as written */
    unsigned char *b_raw; /* [slice,r] */
    float *b_f32;
} work;

static gf_status read_magnitude(const merge *m, work *t)
{
    t->magnitude = gf_alloc((size_t)t->rows, sizeof *t->magnitude, m->err);
    void *raw = gf_alloc((size_t)t->rows, sizeof(float), m->err);
    gf_status st = t->magnitude && raw ? GF_OK : GF_ENOMEM;
    if (st == GF_OK)
        st = gf_adapter_file_rows(&m->lora, m->lora.entry[t->lo->magnitude], 0, t->rows, raw,
                                  t->magnitude, m->err);
    free(raw);
    return st;
}

static gf_status read_a(const merge *m, work *t)
{
    const gf_entry *a = m->lora.entry[t->lo->a];
    t->b = m->lora.entry[t->lo->b];
    t->a = gf_alloc((size_t)t->lo->r, (size_t)t->k * sizeof(float), m->err);
    void *raw = gf_alloc((size_t)t->k, sizeof(float), m->err);
    gf_status st = t->a && raw ? GF_OK : GF_ENOMEM;
    for (int64_t i = 0; st == GF_OK && i < t->lo->r; i++)
        st = gf_adapter_file_rows(&m->lora, a, i, 1, raw, t->a + i * t->k, m->err);
    free(raw);
    if (st == GF_OK && t->lo->magnitude >= 0)
        st = read_magnitude(m, t);
    return st;
}

static gf_status start_work(const merge *m, work *t, const gf_name *name)
{
    *t = (work){.rows = name->dim[0], .k = name->dim[1]};
    t->from = gf_files_find(m->base, name->name);
    int64_t r = 0;
    if (name->linear >= 0) {
        t->heads = gf_files_heads(m->base, (gf_linear_id)name->linear);
        if (name->rank == 2)
            t->lo = gf_adapter_find(&m->adapter, name->layer, (gf_linear_id)name->linear);
    }
    if (t->lo) {
        TRY(read_a(m, t));
        r = t->lo->r;
    }
    const int64_t per_row = 12 * t->k + 8 * r; /* raw, f32 and out; B raw and f32: 4 bytes each */
    t->slice = (SLICE_BYTES - 4 * r * t->k) / per_row;
    t->slice = t->slice < 1 ? 1 : t->slice > t->rows ? t->rows : t->slice;
    const size_t n = (size_t)t->slice;
    t->raw = gf_alloc(n, (size_t)t->k * 4, m->err); /* 4: no type of a weight is wider */
    t->w = gf_alloc(n, (size_t)t->k * 4, m->err);
    t->out = gf_alloc(n, (size_t)t->k * 4, m->err);
    t->b_raw = gf_alloc(n, (size_t)r * 4, m->err);
    t->b_f32 = gf_alloc(n, (size_t)r * 4, m->err);
    return t->raw && t->w && t->out && t->b_raw && t->b_f32 ? GF_OK : GF_ENOMEM;
}

static void end_work(work *t)
{
    free(t->a);
    free(t->magnitude);
    free(t->raw);
    free(t->w);
    free(t->out);
    free(t->b_raw);
    free(t->b_f32);
}

/* What would become infinite, or is not a number, must not go into a model unnoticed. */
static gf_status check_range(const merge *m, const work *t, const char *name, int64_t count)
{
    /* from half a step above the largest value on, rounding gives infinity */
    const float limit = m->dtype == GF_F16    ? 65520.0F
                        : m->dtype == GF_BF16 ? 0x1.FFp127F
                                              : INFINITY;
    for (int64_t i = 0; i < count; i++)
        if (!(fabsf(t->w[i]) < limit))
            return gf_fail(m->err, GF_ENUMERIC,
                           "%s: %s would hold %g, which %s cannot; choose another --dtype or look "
                           "at the adapter",
                           m->opt->output, name, (double)t->w[i], gf_dtype_name(m->dtype));
    return GF_OK;
}

static gf_status write_slice(const merge *m, const work *t, const char *name, int64_t first,
                             int64_t rows, gf_st_writer *w)
{
    const size_t size = (size_t)gf_row_bytes(m->dtype, rows * t->k);
    TRY(gf_files_rows(m->base, t->from, t->heads, first, rows, t->raw, m->err));
    if (!t->lo && t->from->dtype == m->dtype)
        return gf_st_writer_data(w, t->raw, size, m->err);
    gf_to_f32(t->w, t->from->dtype, t->raw, rows * t->k);
    if (t->lo) {
        TRY(gf_adapter_file_rows(&m->lora, t->b, first, rows, t->b_raw, t->b_f32, m->err));
        gf_delta_add(t->w, t->b_f32, t->a, rows, t->k, t->lo->r, (float)t->lo->scale);
        if (t->magnitude)
            gf_delta_scale(t->w, t->magnitude + first, rows, t->k);
    }
    TRY(check_range(m, t, name, rows * t->k));
    gf_from_f32(m->dtype, t->out, t->w, rows * t->k);
    return gf_st_writer_data(w, t->out, size, m->err);
}

static gf_status write_tensor(merge *m, const gf_name *name, gf_st_writer *w)
{
    work t;
    gf_status st = start_work(m, &t, name);
    for (int64_t at = 0; st == GF_OK && at < t.rows; at += t.slice) {
        const int64_t rows = t.rows - at < t.slice ? t.rows - at : t.slice;
        st = write_slice(m, &t, name->name, at, rows, w);
    }
    end_work(&t);
    if (st == GF_OK && m->opt->progress)
        m->opt->progress(m->opt->ctx, ++m->done, m->count);
    return st;
}

/* ---- the files of weights ------------------------------------------------------------- */

static gf_status write_shard(merge *m, const gf_shard *shard)
{
    gf_status st = GF_OK;
    gf_st_writer *w = NULL;
    char *path = gf_path_join(m->opt->output, shard->file, m->err);
    gf_st_decl *decl = gf_alloc((size_t)shard->count, sizeof *decl, m->err);
    if (!path || !decl) {
        st = GF_ENOMEM;
        goto out;
    }
    const gf_name *name = m->name + shard->first;
    for (int64_t i = 0; i < shard->count; i++)
        decl[i] =
            (gf_st_decl){name[i].name, m->dtype, name[i].rank, {name[i].dim[0], name[i].dim[1]}};
    TRYG(gf_st_writer_open(&w, path, decl, (int)shard->count, m->err));
    for (int i = gf_st_writer_next(w); i >= 0; i = gf_st_writer_next(w))
        TRYG(write_tensor(m, &name[i], w));
    gf_st_writer *finished = w;
    w = NULL; /* commit frees it, whatever happens */
    TRYG(gf_st_writer_commit(finished, m->err));
out:
    gf_st_writer_cancel(w);
    free(decl);
    free(path);
    return st;
}

static gf_status write_weights(merge *m, gf_shards *shards)
{
    TRY(gf_shards_plan(shards, m->name, m->count, m->dtype, m->opt->max_shard, m->err));
    for (int i = 0; i < shards->count; i++)
        TRY(write_shard(m, &shards->shard[i]));
    if (shards->count > 1)
        TRY(gf_shards_write_index(shards, m->name, m->opt->output, m->err));
    return GF_OK;
}

static gf_status write_configs(const merge *m)
{
    const gf_config *c = &m->base->config;
    if (m->base->is_gguf || c->bnb) /* what is written is no longer quantised */
        return gf_config_write(c, m->opt->output, m->dtype, m->err);
    const gf_dtype changed = m->dtype == c->dtype ? GF_DTYPES : m->dtype;
    return gf_config_copy(m->base->path, m->opt->output, changed, m->err);
}

/* ---- all of it ------------------------------------------------------------------------ */

static gf_status check_options(const merge *m)
{
    bool empty = false;
    if (m->dtype != GF_F32 && m->dtype != GF_F16 && m->dtype != GF_BF16)
        return gf_fail(m->err, GF_EARG, "a merged model can be f32, f16 or bf16, not %s",
                       gf_dtype_name(m->dtype));
    TRY(gf_dir_is_empty(m->opt->output, &empty, m->err));
    if (!empty)
        return gf_fail(m->err, GF_EARG,
                       "%s: is not empty; a merged model goes into a new or empty folder",
                       m->opt->output);
    return GF_OK;
}

static gf_status list_names(merge *m)
{
    m->count = gf_names_count(&m->base->config);
    m->name = gf_alloc((size_t)m->count, sizeof *m->name, m->err);
    if (!m->name)
        return GF_ENOMEM;
    for (int64_t i = 0; i < m->count; i++)
        gf_names_get(&m->name[i], &m->base->config, i);
    return GF_OK;
}

gf_status gf_merge(const gf_files *base, const gf_merge_options *opt, gf_err *err)
{
    merge m = {.base = base, .opt = opt, .err = err};
    gf_shards shards = {0};
    gf_status st = GF_OK;
    bool existed = gf_dir_exists(opt->output), started = false;
    m.dtype = opt->dtype == GF_DTYPES ? base->config.dtype : opt->dtype;
    TRYG(check_options(&m));
    TRYG(gf_adapter_open(&m.adapter, opt->adapter, &base->config, err));
    TRYG(gf_adapter_file_open(&m.lora, &m.adapter, opt->adapter, err));
    TRYG(list_names(&m));
    started = true;
    TRYG(gf_dir_make(opt->output, err));
    TRYG(write_configs(&m)); /* first: what it cannot say is found out before the long work */
    TRYG(write_weights(&m, &shards));
out:
    if (st != GF_OK && started)
        gf_shards_remove(&shards, opt->output, existed);
    gf_shards_free(&shards);
    gf_adapter_free(&m.adapter);
    gf_adapter_file_close(&m.lora);
    free(m.name);
    return st;
}
