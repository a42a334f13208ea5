/* verify_model.c - see write_model.h. */
#include "cli/write_model.h"

#include <stdlib.h>
#include <string.h>

/* Enough for the argmax to mean something, few enough for a CPU and a large model. */
#define TOKENS 64

/* Logits [count, V] of the model at `path`, token after token. */
static gf_status run(float **out, int64_t *V, int64_t *layers, const gf_options *o,
                     const char *path, const char *adapter, int32_t *ids, int64_t *count,
                     gf_err *err)
{
    gf_options own = *o;
    gf_session s;
    gf_status st;
    own.model = (char *)(uintptr_t)path;
    own.adapter = (char *)(uintptr_t)adapter;
    own.device = GF_DEVICE_CPU;
    own.precision = GF_PRECISION_FP32;
    gf_session_start(&s, &own);
    TRYG(gf_session_files(&s, err));
    const gf_config *c = &s.files.config;
    *count = c->max_position < TOKENS ? c->max_position : TOKENS;
    *V = c->V;
    *layers = c->L;
    gf_verify_ids(ids, *count, c->V);
    TRYG(gf_session_model(&s, GF_USE_GENERATE, 1, *count, err));
    *out = gf_alloc((size_t)*count, (size_t)c->V * sizeof(float), err);
    if (!*out) {
        st = GF_ENOMEM;
        goto out;
    }
    for (int64_t i = 0; i < *count; i++) {
        TRYG(gf_backend_said(&s.backend, gf_model_feed(&s.model, &ids[i], 1, *count), err));
        memcpy(*out + i * c->V, s.model.host.logits, (size_t)c->V * sizeof(float));
    }
out:
    gf_session_close(&s);
    return st;
}

gf_status gf_verify_model(gf_written *w, const gf_options *o, const char *path, gf_err *err)
{
    int32_t ids[TOKENS];
    float *want = NULL, *got = NULL;
    int64_t V = 0, other = 0, count = 0, layers = 0;
    gf_status st;
    TRYG(run(&want, &V, &layers, o, o->model, w->adapters ? w->adapter[0].dir : NULL, ids, &count,
             err));
    TRYG(run(&got, &other, &layers, o, path, NULL, ids, &count, err));
    for (int64_t i = 0; i < count; i++)
        gf_verify_add(&w->verify, want + i * V, got + i * V, V);
    w->bound = gf_verify_bound(w->merged.weight_error, layers);
    w->verified = true;
out:
    free(want);
    free(got);
    return st;
}
