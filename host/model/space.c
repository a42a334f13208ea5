/* space.c - the adapter space on the host. Contract: space.h. */
#include "model/space.h"

#include <stdlib.h>

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

void gf_space_close(gf_space *s)
{
    free(s->memory);
    *s = (gf_space){0};
}
