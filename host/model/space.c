/* space.c - the adapter space on the host. Contract: space.h. */
#include "model/space.h"

#include <stdlib.h>
#include <string.h>

static gf_status fetch_all(gf_space *s)
{
    gf_model *m = s->model;
    TRY(gf_download(m->be, s->value, m->value));
    if (s->m) {
        TRY(gf_download(m->be, s->m, m->m));
        TRY(gf_download(m->be, s->v, m->v));
    }
    return gf_wait(m->be);
}

gf_status gf_space_open(gf_space *s, gf_model *m, bool fetch, gf_err *err)
{
    const bool state = gf_is(m->m);
    const size_t size = (size_t)gf_count(m->value);
    *s = (gf_space){.model = m};
    if (!m->be->cuda) {
        s->value = m->value.data;
        s->m = m->m.data;
        s->v = m->v.data;
        return GF_OK;
    }
    s->memory = gf_alloc(size, (state ? 3 : 1) * sizeof(float), err);
    if (!s->memory)
        return GF_ENOMEM;
    s->value = s->memory;
    s->m = state ? s->value + size : NULL;
    s->v = state ? s->m + size : NULL;
    return fetch ? gf_backend_said(m->be, fetch_all(s), err) : GF_OK;
}

static gf_status push_all(gf_space *s)
{
    gf_model *m = s->model;
    TRY(gf_upload(m->be, m->value, s->value));
    if (s->m) {
        TRY(gf_upload(m->be, m->m, s->m));
        TRY(gf_upload(m->be, m->v, s->v));
    }
    return gf_model_tails(m);
}

gf_status gf_space_push(gf_space *s, gf_err *err)
{
    return gf_backend_said(s->model->be, push_all(s), err);
}

/* The norms of a group to the magnitudes of its layers. */
static gf_status take_norms(gf_space *s, const gf_group *g, float *norm)
{
    const gf_model *m = s->model;
    if (!gf_is(g->norm))
        return GF_OK;
    TRY(gf_download(m->be, norm, gf_rows(g->norm, 0, 1)));
    TRY(gf_wait(m->be));
    for (int i = 0; i < g->count; i++) {
        const gf_tensor to = g->lin[i].magnitude;
        if (gf_is(to))
            memcpy(s->value + ((float *)to.data - (float *)m->value.data),
                   norm + gf_group_column(g, i), (size_t)to.dim[0] * sizeof *norm);
    }
    return GF_OK;
}

gf_status gf_space_magnitudes(gf_space *s, gf_err *err)
{
    const gf_model *m = s->model;
    gf_status st = GF_OK;
    int64_t widest = 0;
    for (int64_t l = 0; l < m->cfg->L; l++) {
        const gf_layer *w = &m->layer[l];
        const gf_group *group[] = {&w->qkv, &w->o, &w->gate_up, &w->down};
        for (int i = 0; i < 4; i++)
            widest = gf_group_n(group[i]) > widest ? gf_group_n(group[i]) : widest;
    }
    float *norm = gf_alloc((size_t)widest, sizeof *norm, err);
    if (!norm)
        return GF_ENOMEM;
    for (int64_t l = 0; st == GF_OK && l < m->cfg->L; l++) {
        const gf_layer *w = &m->layer[l];
        const gf_group *group[] = {&w->qkv, &w->o, &w->gate_up, &w->down};
        for (int i = 0; st == GF_OK && i < 4; i++)
            st = take_norms(s, group[i], norm);
    }
    free(norm);
    return gf_backend_said(m->be, st, err);
}

void gf_space_close(gf_space *s)
{
    free(s->memory);
    *s = (gf_space){0};
}
