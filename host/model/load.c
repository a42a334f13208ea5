/* load.c - weights from the files to their place, rows in Hugging Face's order. */
#include "model/model.h"

#include <stdlib.h>

/* Elements converted at a time, as f32: what is read ahead of a device's copies. */
#define SLICE ((int64_t)1 << 20)

/* Buffers of a slice: as stored, as f32, as held. */
typedef struct {
    void *raw, *held;
    float *wide;
    float by; /* what every value is multiplied with */
} slice;

/* Rows [first, first + rows) of e, converted to t's dtype, to those of t. A vector is one row of
 * t and read as a column, so that its elements are put in order too. */
static gf_status load_rows(gf_model *m, gf_tensor t, const gf_entry *e, int64_t heads,
                           int64_t first, int64_t rows, slice *s, gf_err *err)
{
    const bool vector = t.rank == 1;
    const int64_t count = rows * (vector ? 1 : t.dim[1]);
    TRY(gf_files_rows(m->files, e, heads, first, rows, s->raw, err));
    const void *from = s->raw;
    if (e->dtype != t.dtype || s->by != 1) {
        gf_to_f32(s->wide, e->dtype, s->raw, count);
        for (int64_t i = 0; i < count && s->by != 1; i++)
            s->wide[i] *= s->by;
        gf_from_f32(t.dtype, s->held, s->wide, count);
        from = s->held;
    }
    return gf_backend_said(m->be, gf_upload(m->be, gf_rows(t, first, rows), from), err);
}

/* One weight times `by`, slice by slice. */
static gf_status load_times(gf_model *m, gf_tensor t, int64_t heads, float by, gf_err *err)
{
    const gf_entry *e = gf_source_find(gf_files_source(m->files), t.name);
    const int64_t width = t.rank == 1 ? 1 : t.dim[1];
    int64_t rows = SLICE / width;
    rows = rows < 1 ? 1 : rows < t.dim[0] ? rows : t.dim[0];
    const size_t count = (size_t)(rows * width);
    slice s = {.raw = gf_alloc((size_t)gf_row_bytes(e->dtype, rows * width), 1, err),
               .wide = gf_alloc(count, sizeof *s.wide, err),
               .held = gf_alloc(count, sizeof(float), err),
               .by = by};
    gf_status st = s.raw && s.wide && s.held ? GF_OK : GF_ENOMEM;
    for (int64_t at = 0; st == GF_OK && at < t.dim[0]; at += rows) {
        const int64_t n = t.dim[0] - at < rows ? t.dim[0] - at : rows;
        st = load_rows(m, t, e, heads, at, n, &s, err);
    }
    free(s.raw);
    free(s.wide);
    free(s.held);
    return st;
}

/* One weight, straight to its place where it is stored as it is held. */
static gf_status load(gf_model *m, gf_tensor t, int64_t heads, gf_err *err)
{
    const gf_entry *e = gf_source_find(gf_files_source(m->files), t.name);
    if (!m->be->cuda && t.rank == 2 && t.dtype == e->dtype)
        return gf_files_rows(m->files, e, heads, 0, t.dim[0], t.data, err);
    return load_times(m, t, heads, 1, err);
}

static gf_status load_group(gf_model *m, const gf_group *g, const gf_linear_id *id, gf_err *err)
{
    for (int i = 0; i < g->count; i++) {
        const int64_t heads = gf_files_heads(m->files, id[i]);
        TRY(load(m, g->lin[i].w, heads, err));
        if (gf_is(g->lin[i].bias) && g->lin[i].bias.name)
            TRY(load(m, g->lin[i].bias, heads, err));
    }
    return GF_OK;
}

gf_status gf_model_load(gf_model *m, gf_err *err)
{
    static const gf_linear_id qkv[] = {GF_Q, GF_K, GF_V}, o[] = {GF_O},
                              gate_up[] = {GF_GATE, GF_UP}, down[] = {GF_DOWN},
                              fused_qkv[] = {GF_QKV}, fused_gate_up[] = {GF_GATE_UP};
    const bool fused = m->cfg->fused, trained = m->adapter != NULL;
    if (!trained || m->adapter->full_embed < 0)
        TRY(load(m, m->embed, 0, err));
    /* Granite's logits are divided by a number: so is what the head reads. */
    TRY(load_times(m, m->norm, 0, (float)(1 / m->cfg->by.logits), err));
    if (!m->cfg->tied && (!trained || m->adapter->full_head < 0))
        TRY(load(m, m->head.lin[0].w, 0, err));
    for (int64_t l = 0; l < m->cfg->L; l++) {
        const gf_layer *w = &m->layer[l];
        const gf_tensor norms[] = {w->norm1, w->post1, w->norm2, w->post2, w->q_norm, w->k_norm};
        for (size_t i = 0; i < sizeof norms / sizeof *norms; i++)
            if (gf_is(norms[i]))
                TRY(load(m, norms[i], 0, err));
        TRY(load_group(m, &w->qkv, fused ? fused_qkv : qkv, err));
        TRY(load_group(m, &w->o, o, err));
        TRY(load_group(m, &w->gate_up, fused ? fused_gate_up : gate_up, err));
        TRY(load_group(m, &w->down, down, err));
    }
    return GF_OK;
}
