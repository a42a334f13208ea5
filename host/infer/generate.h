/* generate.h - completing token ids: greedy or sampled, one token at a time through the cache. */
#ifndef GRAFT_HOST_INFER_GENERATE_H
#define GRAFT_HOST_INFER_GENERATE_H

#include "model/model.h"

typedef struct {
    double temperature; /* 0: greedy, the largest logit (the first of equals) */
    int64_t top_k;      /* 0: all */
    double top_p;       /* 1: all; else the smallest set whose probabilities reach it */
    uint64_t seed;      /* randomness is a function of (seed, index of the new token) */
} gf_sampling;

/* One draw. `scratch` holds V entries of the caller's. */
typedef struct {
    float logit;
    int32_t id;
} gf_candidate;
int32_t gf_sample(const float *logits, int64_t V, const gf_sampling *s, uint64_t index,
                  gf_candidate *scratch);

typedef struct {
    gf_sampling sampling;
    int64_t max_new_tokens;
    const int32_t *stop; /* ids that end the answer (they are part of the result) */
    int stops;
    /* Called with each new token; may be NULL. Returning false ends the answer. */
    bool (*emit)(void *ctx, int32_t id);
    void *ctx;
} gf_generate_options;

/* Appends new ids behind ids[0..count): `ids` has room for count + max_new_tokens, *count is updated.
 * The model (GF_USE_GENERATE) keeps its cache: what of `ids` it has already seen is not fed again,
 * so a chat goes on where it was. More tokens than the cache holds: GF_EARG. */
gf_status gf_generate(gf_model *m, int32_t *ids, int64_t *count, const gf_generate_options *opt,
                      gf_err *err);

#endif
