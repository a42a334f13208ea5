#include "model/merge.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "format/safetensors.h"
#include "model/convert.h"
#include "model/family.h"
#include "model/merge_parts.h"

/* Weights in memory at a time (DESIGN, section 1: merge). */
#define SLICE_BYTES ((int64_t)64 << 20)

/* Rows that one thread rounds and measures: few, so that all threads get as much to do, and the
 * same ones however many threads there are, so that sums over them are too. */
#define PART_ROWS 16

typedef struct {
    const gf_files *base;
    const gf_merge_options *opt;
    gf_merge_result *result;
    gf_dtype dtype;
    gf_merge_sources sources;
    int64_t count; /* tensors */
    gf_name *name;
    int64_t done;
    gf_err *err;
} merge;

/* The file that is being written: one of two. */
typedef struct {
    gf_st_writer *folder;
    gf_gguf_writer *gguf;
} sink;

static gf_status put_data(sink *to, const void *data, size_t size, gf_err *err)
{
    return to->folder ? gf_st_writer_data(to->folder, data, size, err)
                      : gf_gguf_writer_data(to->gguf, data, size, err);
}

/* ---- one tensor ----------------------------------------------------------------------- */

typedef struct {
    gf_quality_row quality;
    gf_quality_error error;
} part;

typedef struct {
    const gf_name *name;
    const gf_entry *from;
    gf_dtype dtype;    /* as it is written */
    int64_t rows, k;   /* of the weight; k 1 for a vector */
    int64_t heads;     /* by which its rows are permuted in the base */
    float add;         /* what the output's values are above Hugging Face's */
    int64_t head_rows; /* of a head whose rows are permuted in the output; 0: they are not */
    gf_merge_delta delta;
    part whole;         /* of the tensor */
    part *part;         /* of a slice */
    int threads;        /* that round a slice */
    int64_t slice;      /* rows at a time */
    unsigned char *raw; /* [slice,k] as in the base */
    float *base, *w;    /* [slice,k]; the same if nothing is added */
    unsigned char *out; /* [slice,k] as written */
    unsigned char *put; /* the same with rows permuted */
    void *scratch;      /* of delta */
    float *row;         /* [threads,3,k]; of a vector [3,slice] */
} work;

/* Vectors of a GGUF are f32, as many rows of one number. */
static gf_dtype output_dtype(const merge *m, const gf_name *name)
{
    return m->opt->gguf ? gf_convert_dtype(m->dtype, &m->base->config, name) : m->dtype;
}

static gf_status take_buffers(const merge *m, work *t)
{
    const size_t n = (size_t)t->slice, wide = (size_t)t->k * sizeof(float);
    const bool adds = t->delta.count > 0;
    t->raw = gf_alloc(n, wide, m->err); /* no type of a weight is wider */
    t->w = gf_alloc(n, wide, m->err);
    t->base = adds ? gf_alloc(n, wide, m->err) : t->w;
    t->out = gf_alloc(n, wide, m->err);
    t->put = gf_alloc(t->head_rows > 0 ? n : 0, wide, m->err);
    t->scratch = gf_alloc(n, (size_t)gf_merge_delta_row(&t->delta), m->err);
    t->row = gf_alloc(3 * (t->name->rank < 2 ? n : (size_t)t->threads), wide, m->err);
    t->part = gf_alloc((n + PART_ROWS - 1) / PART_ROWS, sizeof *t->part, m->err);
    const bool all =
        t->raw && t->w && t->base && t->out && t->put && t->scratch && t->row && t->part;
    return all ? GF_OK : GF_ENOMEM;
}

static gf_status start_work(const merge *m, work *t, const gf_name *name)
{
    *t = (work){.name = name, .rows = name->dim[0], .k = name->dim[1]};
    t->from = gf_files_find(m->base, name->name);
    t->dtype = output_dtype(m, name);
    if (name->linear >= 0)
        t->heads = gf_files_heads(m->base, (gf_linear_id)name->linear);
    const int64_t out_heads = m->opt->gguf ? gf_convert_heads(&m->base->config, name) : 0;
    if (out_heads > 0)
        t->head_rows = t->rows / out_heads;
    TRY(gf_merge_delta_start(&t->delta, &m->sources, name, m->err));
    t->add = m->opt->gguf ? name->gguf_add : 0;
    t->whole.quality.layer = name->layer;
    t->whole.quality.dtype = t->dtype;
    t->threads = m->opt->threads < 1 ? 1 : m->opt->threads;
    /* raw, w, base, out, put: no more than 4 bytes each for an element */
    const int64_t per_row = 20 * t->k + gf_merge_delta_row(&t->delta);
    t->slice = (SLICE_BYTES - gf_merge_delta_held(&t->delta)) / per_row;
    const int64_t least = t->head_rows > 0 ? t->head_rows : 1; /* rows change places in a head */
    t->slice = t->slice < least ? least : t->slice / least * least;
    t->slice = t->slice > t->rows ? t->rows : t->slice;
    return take_buffers(m, t);
}

static void end_work(work *t)
{
    gf_merge_delta_end(&t->delta);
    free(t->raw);
    if (t->base != t->w)
        free(t->base);
    free(t->w);
    free(t->out);
    free(t->put);
    free(t->scratch);
    free(t->row);
    free(t->part);
}

typedef struct {
    work *t;
    int64_t rows, k; /* of the slice; a vector is one row */
    int thread, threads;
} share;

/* The parts of one thread. */
static void *round_share(void *arg)
{
    const share *s = arg;
    work *t = s->t;
    const bool adds = t->delta.count > 0;
    const int64_t size = gf_row_bytes(t->dtype, s->k);
    for (int64_t i = s->thread; i * PART_ROWS < s->rows; i += s->threads) {
        const int64_t first = i * PART_ROWS, left = s->rows - first;
        const int64_t rows = left < PART_ROWS ? left : PART_ROWS;
        const float *w = t->w + first * s->k;
        unsigned char *out = t->out + first * size;
        part *p = &t->part[i];
        *p = (part){0};
        gf_from_f32(t->dtype, out, w, rows * s->k);
        gf_quality_measure(&p->error, &p->quality, t->dtype, out, w,
                           adds ? t->base + first * s->k : NULL, rows, s->k,
                           t->row + 3 * s->k * s->thread);
    }
    return NULL;
}

/* w -> out, and how well. */
static gf_status round_slice(const merge *m, work *t, int64_t rows, int64_t k)
{
    const int64_t parts = (rows + PART_ROWS - 1) / PART_ROWS;
    const int threads = t->threads < parts ? t->threads : (int)parts;
    share *list = gf_alloc((size_t)threads, sizeof *list, m->err);
    pthread_t *id = gf_alloc((size_t)threads, sizeof *id, m->err);
    const gf_status st = list && id ? GF_OK : GF_ENOMEM;
    int started = 1; /* this one */
    for (int i = 0; st == GF_OK && i < threads; i++)
        list[i] = (share){t, rows, k, i, threads};
    while (st == GF_OK && started < threads &&
           pthread_create(&id[started], NULL, round_share, &list[started]) == 0)
        started++;
    if (st == GF_OK)
        round_share(&list[0]);
    for (int i = started; st == GF_OK && i < threads; i++) /* there are no more threads to have */
        round_share(&list[i]);
    for (int i = 1; i < started; i++)
        pthread_join(id[i], NULL);
    for (int64_t i = 0; st == GF_OK && i < parts; i++) {
        gf_quality_sum(&t->whole.quality, &t->part[i].quality);
        t->whole.error.error += t->part[i].error.error;
        t->whole.error.size += t->part[i].error.size;
    }
    free(list);
    free(id);
    return st;
}

/* What would become infinite, or is not a number, must not go into a model unnoticed. */
static gf_status check_range(const merge *m, const work *t, int64_t count)
{
    /* From half a step above the largest value on, rounding gives infinity; blocks have an f16 as
     * the scale of numbers of at least 7. */
    const float limit = t->dtype == GF_F32    ? INFINITY
                        : t->dtype == GF_BF16 ? 0x1.FFp127F
                                              : 65520.0F;
    bool good = true; /* all first, without a branch that would keep this from being vectorised */
    for (int64_t i = 0; i < count; i++)
        good &= fabsf(t->w[i]) < limit;
    for (int64_t i = 0; !good && i < count; i++)
        if (!(fabsf(t->w[i]) < limit))
            return gf_fail(m->err, GF_ENUMERIC,
                           "%s: %s would hold %g, which %s cannot; choose another --dtype or look "
                           "at the adapter",
                           m->opt->output, t->name->name, (double)t->w[i], gf_dtype_name(t->dtype));
    return GF_OK;
}

/* Rows of whole heads from Hugging Face's order into GGUF's: of a head's two halves, one of each in
 * turn (FORMATS 6.5). */
static const unsigned char *permuted(const work *t, const unsigned char *from, int64_t rows)
{
    const size_t size = (size_t)gf_row_bytes(t->dtype, t->k);
    const int64_t half = t->head_rows / 2;
    if (t->head_rows == 0)
        return from;
    for (int64_t head = 0; head < rows; head += t->head_rows)
        for (int64_t i = 0; i < t->head_rows; i++) {
            const int64_t to = i < half ? 2 * i : 2 * (i - half) + 1;
            memcpy(t->put + (size_t)(head + to) * size, from + (size_t)(head + i) * size, size);
        }
    return t->put;
}

static gf_status write_slice(const merge *m, work *t, int64_t first, int64_t rows, sink *to)
{
    const int64_t count = rows * t->k;
    const size_t size = (size_t)(rows * gf_row_bytes(t->dtype, t->k));
    TRY(gf_files_rows(m->base, t->from, t->heads, first, rows, t->raw, m->err));
    if (t->delta.count == 0 && t->from->dtype == t->dtype && t->add == 0)
        return put_data(to, permuted(t, t->raw, rows), size, m->err);
    gf_to_f32(t->base, t->from->dtype, t->raw, count);
    if (t->delta.count > 0)
        TRY(gf_merge_delta_rows(&t->delta, t->w, t->base, first, rows, t->scratch, m->err));
    for (int64_t i = 0; t->add != 0 && i < count; i++)
        t->w[i] += t->add;
    TRY(check_range(m, t, count));
    const bool vector = t->name->rank < 2; /* rows of one number: measured as one row */
    TRY(round_slice(m, t, vector ? 1 : rows, vector ? count : t->k));
    return put_data(to, permuted(t, t->out, rows), size, m->err);
}

static gf_status count_tensor(merge *m, work *t)
{
    gf_merge_result *r = m->result;
    r->tensors++;
    r->bytes += t->rows * gf_row_bytes(t->dtype, t->k);
    if (m->opt->gguf && gf_convert_falls_back(m->dtype, t->name) && r->fallbacks++ == 0) {
        snprintf(r->fallback, sizeof r->fallback, "%s", t->name->gguf);
        r->fallback_dtype = t->dtype;
    }
    const gf_quality_error *e = &t->whole.error;
    gf_quality_row *row = &t->whole.quality;
    if (e->error > 0)
        r->weight_error = fmax(r->weight_error, sqrt(e->error / e->size));
    if (t->delta.count == 0 || t->name->rank != 2)
        return GF_OK;
    snprintf(row->name, sizeof row->name, "%.*s", (int)(strlen(t->name->name) - strlen(".weight")),
             t->name->name);
    return gf_quality_add(&r->quality, row, m->err);
}

static gf_status report(const merge *m)
{
    if (!m->opt->progress || m->opt->progress(m->opt->ctx, m->done, m->count))
        return GF_OK;
    return gf_fail(m->err, GF_EINTERRUPT, "%s: interrupted, nothing of it was kept",
                   m->opt->output);
}

static gf_status write_tensor(merge *m, const gf_name *name, sink *to)
{
    work t;
    gf_status st = start_work(m, &t, name);
    for (int64_t at = 0; st == GF_OK && at < t.rows; at += t.slice) {
        const int64_t rows = t.rows - at < t.slice ? t.rows - at : t.slice;
        st = write_slice(m, &t, at, rows, to);
        m->done += at + rows == t.rows;
        if (st == GF_OK)
            st = report(m);
    }
    if (st == GF_OK)
        st = count_tensor(m, &t);
    end_work(&t);
    return st;
}

/* ---- a folder -------------------------------------------------------------------------- */

static gf_status write_shard(merge *m, const gf_shard *shard)
{
    gf_status st = GF_OK;
    sink to = {0};
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
    TRYG(gf_st_writer_open(&to.folder, path, decl, (int)shard->count, m->err));
    for (int i = gf_st_writer_next(to.folder); i >= 0; i = gf_st_writer_next(to.folder))
        TRYG(write_tensor(m, &name[i], &to));
    gf_st_writer *finished = to.folder;
    to.folder = NULL; /* commit frees it, whatever happens */
    TRYG(gf_st_writer_commit(finished, m->err));
out:
    gf_st_writer_cancel(to.folder);
    free(decl);
    free(path);
    return st;
}

static gf_status write_weights(merge *m)
{
    gf_shards shards = {0};
    gf_status st;
    TRYG(gf_shards_plan(&shards, m->name, m->count, m->dtype, m->opt->max_shard, m->err));
    for (int i = 0; i < shards.count; i++)
        TRYG(write_shard(m, &shards.shard[i]));
    if (shards.count > 1)
        TRYG(gf_shards_write_index(&shards, m->name, m->opt->output, m->err));
out:
    gf_shards_free(&shards);
    return st;
}

static gf_status write_configs(const merge *m)
{
    const gf_config *c = &m->base->config;
    if (m->base->is_gguf || c->bnb) /* what is written is no longer quantised */
        return gf_config_write(c, m->opt->output, m->dtype, m->err);
    const gf_dtype changed = m->dtype == c->dtype ? GF_DTYPES : m->dtype;
    return gf_config_copy(m->base->path, m->opt->output, changed, m->err);
}

static gf_status write_folder(merge *m)
{
    const char *dir = m->opt->output;
    const bool existed = gf_dir_exists(dir);
    bool empty = false;
    if (gf_dtype_quantised(m->dtype))
        return gf_fail(m->err, GF_EARG,
                       "a folder can be f32, f16 or bf16, not %s; --output FILE.gguf "
                       "can",
                       gf_dtype_name(m->dtype));
    TRY(gf_dir_is_empty(dir, &empty, m->err));
    if (!empty)
        return gf_fail(m->err, GF_EARG, "%s: is not empty; a model goes into a new or empty folder",
                       dir);
    TRY(gf_dir_make(dir, m->err));
    gf_status st =
        write_configs(m); /* first: what it cannot say is found out before the long work */
    if (st == GF_OK && m->opt->beside)
        st = m->opt->beside(m->opt->ctx, dir, m->err);
    if (st == GF_OK)
        st = write_weights(m);
    if (st != GF_OK) /* it was empty: all that is there now is ours */
        existed ? gf_dir_clear(dir, NULL) : gf_dir_remove(dir, NULL);
    return st;
}

/* ---- a GGUF file ----------------------------------------------------------------------- */

static gf_status declare(gf_gguf_decl **out, const merge *m, const gf_convert_extras *extras)
{
    gf_gguf_decl *decl = gf_alloc((size_t)(m->count + extras->count), sizeof *decl, m->err);
    *out = decl;
    if (!decl)
        return GF_ENOMEM;
    for (int64_t i = 0; i < m->count; i++) {
        const gf_name *n = &m->name[i];
        decl[i] = (gf_gguf_decl){n->gguf, output_dtype(m, n), n->rank, {n->dim[0], n->dim[1]}};
    }
    for (int i = 0; i < extras->count; i++)
        decl[m->count + i] =
            (gf_gguf_decl){extras->list[i].name, GF_F32, 1, {extras->list[i].count}};
    return GF_OK;
}

static uint64_t parameters(const merge *m)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < m->count; i++)
        sum += (uint64_t)m->name[i].dim[0] * (uint64_t)m->name[i].dim[1];
    return sum;
}

static gf_status write_gguf(merge *m)
{
    gf_gguf_keys keys = {0};
    gf_convert_extras extras = {0};
    gf_gguf_decl *decl = NULL;
    sink to = {0};
    gf_status st;
    TRYG(gf_convert_keys(&keys, m->base, m->dtype, m->opt->name, parameters(m), m->opt->tokenizer,
                         m->err));
    TRYG(gf_convert_extra_tensors(&extras, &m->base->config, m->err));
    TRYG(declare(&decl, m, &extras));
    TRYG(gf_gguf_writer_open(&to.gguf, m->opt->output, &keys, decl, (int)m->count + extras.count,
                             m->err));
    gf_gguf_keys_free(&keys); /* some megabytes */
    for (int i = gf_gguf_writer_next(to.gguf); i >= 0; i = gf_gguf_writer_next(to.gguf)) {
        if (i < m->count) {
            TRYG(write_tensor(m, &m->name[i], &to));
        } else {
            const gf_convert_extra *x = &extras.list[i - m->count];
            TRYG(put_data(&to, x->data, (size_t)x->count * sizeof *x->data, m->err));
        }
    }
    gf_gguf_writer *finished = to.gguf;
    to.gguf = NULL; /* commit frees it, whatever happens */
    TRYG(gf_gguf_writer_commit(finished, m->err));
out:
    gf_gguf_writer_cancel(to.gguf);
    gf_gguf_keys_free(&keys);
    gf_convert_extras_free(&extras);
    free(decl);
    return st;
}

/* ---- all of it ------------------------------------------------------------------------ */

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

gf_status gf_merge(gf_merge_result *r, const gf_files *base, const gf_merge_options *opt,
                   gf_err *err)
{
    merge m = {.base = base, .opt = opt, .result = r, .err = err};
    gf_status st;
    *r = (gf_merge_result){0};
    r->dtype = m.dtype = opt->dtype == GF_DTYPES ? base->config.dtype : opt->dtype;
    TRYG(gf_merge_sources_open(&m.sources, opt->adapter, opt->adapters, &base->config, err));
    TRYG(list_names(&m));
    TRYG(opt->gguf ? write_gguf(&m) : write_folder(&m));
out:
    if (st != GF_OK)
        gf_quality_free(&r->quality);
    gf_merge_sources_close(&m.sources);
    free(m.name);
    return st;
}
