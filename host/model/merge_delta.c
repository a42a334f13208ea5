#include "model/merge_delta.h"

#include <stdlib.h>
#include <string.h>

#include "model/delta.h"

/* ---- adapters ------------------------------------------------------------------------ */

/* One tensor is both; the adapter changed one of the two. */
static gf_status check_tied(const gf_adapter *ad, const char *dir, const gf_config *base,
                            gf_err *err)
{
    const gf_lora *embed = gf_adapter_find(ad, -1, GF_EMBED);
    if (!base->tied || (!embed && !gf_adapter_find(ad, -1, GF_HEAD)))
        return GF_OK;
    return gf_fail(err, GF_EMISSING,
                   "%s: the model's output head is its embedding: merging the adapter of %s would "
                   "change both; use it beside the base",
                   dir, embed ? "embed_tokens" : "lm_head");
}

gf_status gf_merge_sources_open(gf_merge_sources *s, const gf_merge_adapter *list, int count,
                                const gf_config *base, gf_err *err)
{
    s->source = gf_alloc((size_t)count, sizeof *s->source, err);
    if (!s->source)
        return GF_ENOMEM;
    for (s->count = 0; s->count < count;) {
        gf_merge_source *o = &s->source[s->count];
        const char *dir = list[s->count++].dir; /* counted first, so that close frees it */
        o->weight = list[s->count - 1].weight;
        TRY(gf_adapter_open(&o->adapter, dir, base, err));
        TRY(check_tied(&o->adapter, dir, base, err));
        TRY(gf_adapter_file_open(&o->file, &o->adapter, dir, err));
    }
    return GF_OK;
}

void gf_merge_sources_close(gf_merge_sources *s)
{
    for (int i = 0; i < s->count; i++) {
        gf_adapter_free(&s->source[i].adapter);
        gf_adapter_file_close(&s->source[i].file);
    }
    free(s->source);
    *s = (gf_merge_sources){0};
}

/* ---- one adapter, one tensor --------------------------------------------------------- */

static const gf_entry *find_param(const gf_merge_source *s, gf_param_kind kind)
{
    for (int i = 0; i < s->adapter.params; i++)
        if (s->adapter.param[i].kind == kind)
            return s->file.entry[i];
    return NULL;
}

/* A [r,k], or of an embedding B [k,r] transposed: what the rows are made of. */
static gf_status read_a(gf_merge_part *p, const gf_entry *e, int64_t k, gf_err *err)
{
    const bool transposed = p->rows != NULL;
    const int64_t rows = e->dim[0], cols = e->dim[1];
    p->a = gf_alloc((size_t)p->r, (size_t)k * sizeof(float), err);
    float *raw = gf_alloc((size_t)cols, sizeof *raw, err);
    float *row = gf_alloc((size_t)cols, sizeof *row, err);
    gf_status st = p->a && raw && row ? GF_OK : GF_ENOMEM;
    for (int64_t i = 0; st == GF_OK && i < rows; i++) {
        st = gf_adapter_file_rows(&p->from->file, e, i, 1, raw, row, err);
        for (int64_t j = 0; st == GF_OK && j < cols; j++)
            p->a[transposed ? j * k + i : i * k + j] = row[j];
    }
    free(raw);
    free(row);
    return st;
}

static gf_status start_linear(gf_merge_part *p, const gf_lora *lo, gf_err *err)
{
    const gf_merge_source *s = p->from;
    p->r = lo->r;
    p->scale = (float)lo->scale;
    p->b = s->file.entry[lo->b];
    p->m = lo->magnitude >= 0 ? s->file.entry[lo->magnitude] : NULL;
    return read_a(p, s->file.entry[lo->a], lo->k, err);
}

static gf_status start_embedding(gf_merge_part *p, int64_t k, gf_err *err)
{
    const gf_merge_source *s = p->from;
    const gf_entry *b = find_param(s, GF_PARAM_EMBED_B);
    double scale = 0;
    p->rows = find_param(s, GF_PARAM_EMBED_A);
    if (!p->rows || !b)
        return GF_OK;
    TRY(gf_peft_rank(&p->r, &scale, &s->adapter.config, "model.embed_tokens", err));
    p->scale = (float)scale;
    p->b = b;
    return read_a(p, b, k, err);
}

/* A whole tensor that the adapter has in place of the base's. */
static const gf_entry *find_full(const gf_merge_source *s, const char *name)
{
    static const char prefix[] = "base_model.model.";
    for (int i = 0; i < s->adapter.params; i++) {
        const gf_param *p = &s->adapter.param[i];
        if (p->kind == GF_PARAM_FULL && strncmp(p->name, prefix, sizeof prefix - 1) == 0 &&
            strcmp(p->name + sizeof prefix - 1, name) == 0)
            return s->file.entry[i];
    }
    return NULL;
}

static gf_status start_part(gf_merge_part *p, const gf_name *name, gf_err *err)
{
    p->full = find_full(p->from, name->name);
    if (p->full || name->rank != 2)
        return GF_OK;
    if (strcmp(name->name, "model.embed_tokens.weight") == 0)
        return start_embedding(p, name->dim[1], err);
    const gf_linear_id id = name->layer < 0 ? GF_HEAD : (gf_linear_id)name->linear;
    const gf_lora *lo = gf_adapter_find(&p->from->adapter, name->layer, id);
    return lo ? start_linear(p, lo, err) : GF_OK;
}

gf_status gf_merge_delta_start(gf_merge_delta *d, const gf_merge_sources *s, const gf_name *name,
                               gf_err *err)
{
    *d = (gf_merge_delta){.k = name->dim[1]};
    if (s->count == 0)
        return GF_OK;
    d->part = gf_alloc((size_t)s->count, sizeof *d->part, err);
    if (!d->part)
        return GF_ENOMEM;
    for (int i = 0; i < s->count; i++) {
        gf_merge_part *p = &d->part[d->count];
        p->from = &s->source[i];
        const gf_status st = start_part(p, name, err);
        d->count += st != GF_OK || p->b || p->full; /* what failed is freed, too */
        TRY(st);
        d->ranks = p->r > d->ranks ? p->r : d->ranks;
    }
    return GF_OK;
}

void gf_merge_delta_end(gf_merge_delta *d)
{
    for (int i = 0; i < d->count; i++)
        free(d->part[i].a);
    free(d->part);
    *d = (gf_merge_delta){0};
}

/* ---- slices -------------------------------------------------------------------------- */

int64_t gf_merge_delta_held(const gf_merge_delta *d)
{
    int64_t bytes = 0;
    for (int i = 0; i < d->count; i++)
        bytes += d->part[i].r * d->k * (int64_t)sizeof(float);
    return bytes;
}

/* Rows of B as stored and as f32; one adapter's own result; a whole tensor's rows as stored. */
int64_t gf_merge_delta_row(const gf_merge_delta *d)
{
    return d->count ? (2 * d->ranks + 2 * d->k) * (int64_t)sizeof(float) : 0;
}

/* [rows,r] of B; of an embedding the columns of A. `raw` and `out` have room for rows * r f32. */
static gf_status read_b(const gf_merge_part *p, int64_t first, int64_t rows, float *raw, float *out,
                        gf_err *err)
{
    if (!p->rows)
        return gf_adapter_file_rows(&p->from->file, p->b, first, rows, raw, out, err);
    const int64_t size = gf_row_bytes(p->rows->dtype, 1);
    float *wide = raw + rows; /* a column as stored, then as f32: 2 of r + r */
    for (int64_t i = 0; i < p->r; i++) {
        TRY(gf_source_read(&p->from->file.source, p->rows,
                           (uint64_t)((i * p->rows->dim[1] + first) * size), raw,
                           (size_t)(rows * size), err));
        gf_to_f32(wide, p->rows->dtype, raw, rows);
        for (int64_t row = 0; row < rows; row++)
            out[row * p->r + i] = wide[row];
    }
    return GF_OK;
}

/* What the tensor's rows would be with this adapter alone, at weight 1; w holds the base's. */
static gf_status replace_rows(const gf_merge_part *p, float *w, int64_t k, int64_t first,
                              int64_t rows, float *scratch, gf_err *err)
{
    if (p->full)
        return gf_adapter_file_rows(&p->from->file, p->full, first, rows, scratch, w, err);
    float *b = scratch + rows * p->r;
    TRY(read_b(p, first, rows, scratch, b, err));
    gf_delta_add(w, b, p->a, rows, k, p->r, p->scale);
    if (!p->m)
        return GF_OK;
    float *m = scratch + rows; /* B is no longer needed: room for 2 r numbers a row */
    TRY(gf_adapter_file_rows(&p->from->file, p->m, first, rows, scratch, m, err));
    gf_delta_scale(w, m, rows, k);
    return GF_OK;
}

gf_status gf_merge_delta_rows(const gf_merge_delta *d, float *w, const float *base, int64_t first,
                              int64_t rows, void *scratch, gf_err *err)
{
    const int64_t count = rows * d->k;
    float *own = scratch, *rest = own + count;
    memcpy(w, base, (size_t)count * sizeof *w);
    for (int i = 0; i < d->count; i++) {
        const gf_merge_part *p = &d->part[i];
        const double weight = p->from->weight;
        const bool adds = !p->m && !p->full; /* a plain delta, whatever the base */
        if (adds) {
            float *b = rest + rows * p->r;
            TRY(read_b(p, first, rows, rest, b, err));
            gf_delta_add(w, b, p->a, rows, d->k, p->r, (float)((double)p->scale * weight));
            continue;
        }
        if (d->count == 1 && weight == 1) /* without a difference that would round */
            return replace_rows(p, w, d->k, first, rows, rest, err);
        memcpy(own, base, (size_t)count * sizeof *own);
        TRY(replace_rows(p, own, d->k, first, rows, rest, err));
        for (int64_t j = 0; j < count; j++)
            w[j] += (float)(weight * ((double)own[j] - (double)base[j]));
    }
    return GF_OK;
}
