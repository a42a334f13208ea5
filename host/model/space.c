/* space.c - the adapter space on the host. Contract: space.h. */
#include "model/space.h"

#include "model/factor.h"

#include <stdlib.h>
#include <string.h>

static gf_status fetch_all(gf_space *s)
{
    gf_model *m = s->model;
    TRY(gf_download(m->be, s->value, m->value));
    for (int i = 0; i < GF_MOMENTS; i++)
        if (s->moment[i])
            TRY(gf_download(m->be, s->moment[i], m->moment[i]));
    return gf_wait(m->be);
}

/* Bytes of a copy, so that what follows it is aligned. */
static size_t room_of(gf_tensor t)
{
    enum { ALIGN = 16 }; /* more than any element's */
    const size_t bytes = gf_is(t) ? (size_t)(gf_count(t) * gf_dtype_size(t.dtype)) : 0;
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

gf_status gf_space_open(gf_space *s, gf_model *m, bool fetch, gf_err *err)
{
    *s = (gf_space){.model = m};
    if (!m->be->cuda) {
        s->value = m->value.data;
        for (int i = 0; i < GF_MOMENTS; i++)
            s->moment[i] = m->moment[i].data;
        return GF_OK;
    }
    size_t bytes = room_of(m->value);
    for (int i = 0; i < GF_MOMENTS; i++)
        bytes += room_of(m->moment[i]);
    char *at = s->memory = gf_alloc(bytes, 1, err);
    if (!at)
        return GF_ENOMEM;
    s->value = s->memory;
    at += room_of(m->value);
    for (int i = 0; i < GF_MOMENTS; i++) {
        s->moment[i] = gf_is(m->moment[i]) ? at : NULL;
        at += room_of(m->moment[i]);
    }
    return fetch ? gf_backend_said(m->be, fetch_all(s), err) : GF_OK;
}

static gf_status push_all(gf_space *s)
{
    gf_model *m = s->model;
    TRY(gf_upload(m->be, m->value, s->value));
    for (int i = 0; i < GF_MOMENTS; i++)
        if (s->moment[i])
            TRY(gf_upload(m->be, m->moment[i], s->moment[i]));
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

/* DoRA's start: every magnitude is its row's norm, as gf_space_push has just made them of A and B.
 */
static gf_status start_magnitudes(gf_space *s, gf_err *err)
{
    const gf_model *m = s->model;
    gf_status st = GF_OK;
    int64_t widest = 0;
    for (int64_t l = 0; l < m->cfg->L; l++) {
        const gf_group *group[GF_GROUPS];
        gf_layer_groups(group, &m->layer[l]);
        for (int i = 0; i < GF_GROUPS; i++)
            widest = gf_group_n(group[i]) > widest ? gf_group_n(group[i]) : widest;
    }
    float *norm = gf_alloc((size_t)widest, sizeof *norm, err);
    if (!norm)
        return GF_ENOMEM;
    for (int64_t l = 0; st == GF_OK && l < m->cfg->L; l++) {
        const gf_group *group[GF_GROUPS];
        gf_layer_groups(group, &m->layer[l]);
        for (int i = 0; st == GF_OK && i < GF_GROUPS; i++)
            st = take_norms(s, group[i], norm);
    }
    free(norm);
    return gf_backend_said(m->be, st, err);
}

/* A GPU's run has a CPU do it, in f32, once. */
static gf_status factor(gf_space *s, gf_init init, gf_err *err)
{
    gf_model *m = s->model;
    gf_backend cpu;
    if (!m->be->cuda)
        return gf_factor_init(m->adapter, s->value, init, m->files, m->be, err);
    TRY(gf_backend_open_cpu(&cpu, 0, "auto", err));
    const gf_status st = gf_factor_init(m->adapter, s->value, init, m->files, &cpu, err);
    gf_backend_close(&cpu);
    return st;
}

gf_status gf_space_start(gf_space *s, gf_init init, uint64_t seed, gf_err *err)
{
    if (init == GF_INIT_PISSA || init == GF_INIT_OLORA)
        TRY(factor(s, init, err));
    else
        gf_adapter_init(s->model->adapter, s->value, init, seed);
    TRY(gf_adapter_copy_base(s->model->adapter, s->value, s->model->files, err));
    if (!s->model->adapter->config.use_dora)
        return GF_OK;
    TRY(gf_space_push(s, err));
    return start_magnitudes(s, err);
}

void gf_space_close(gf_space *s)
{
    free(s->memory);
    *s = (gf_space){0};
}
