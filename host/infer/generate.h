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

typedef struct {
    float logit;
    int32_t id;
} gf_candidate;

/* One draw from softmax(logits / temperature) over the top_k likeliest, of which the smallest set
 * that reaches top_p (after top_k, as Hugging Face orders them); equals in order of their ids.
 * `index` is the new token's place in the text. The logits hold no NaN. `scratch` holds V entries
 * of the caller's (not looked at if greedy). */
int32_t gf_sample(const float *logits, int64_t V, const gf_sampling *s, uint64_t index,
                  gf_candidate *scratch);

typedef struct {
    gf_sampling sampling;
    int64_t max_new_tokens;
    const int32_t *stop; /* ids that end the answer (they are part of the result) */
    int stops;
    /* The ids behind m->cache, room for cache_tokens of them; gf_generate keeps it up to date. With
     * it a next call does not feed again what both texts begin with. NULL: every call
     * starts anew. */
    int32_t *seen;
    /* Called with each new token; may be NULL. Returning false ends the answer. */
    bool (*emit)(void *ctx, int32_t id);
    void *ctx;
} gf_generate_options;

/* Appends new ids behind ids[0..count): `ids` has room for count + max_new_tokens, *count is
 * updated. The model is one of GF_USE_GENERATE. No ids, ids outside V, or more tokens than the
 * cache holds: GF_EARG. Logits that are not finite: GF_ENUMERIC. */
gf_status gf_generate(gf_model *m, int32_t *ids, int64_t *count, const gf_generate_options *opt,
                      gf_err *err);

#endif
