/* verify.h - logits of the model that was written against those of base and adapter. */
#ifndef GRAFT_HOST_MODEL_VERIFY_H
#define GRAFT_HOST_MODEL_VERIFY_H

#include "graft/base.h"

typedef struct {
    int64_t tokens, agree; /* agree: the likeliest token is the same */
    double max, mean;      /* of the logits' absolute differences; mean: a sum until it is asked */
    double kl;             /* sum of KL(want || got), nats */
    double diff2, spread2; /* sums of squares: of the differences, of want around its mean, both
                              without what a token's logits have in common, which changes no
                              probability */
    int64_t values;
} gf_verify;

/* Adds one token's logits [V]. */
void gf_verify_add(gf_verify *v, const float *want, const float *got, int64_t V);

double gf_verify_mean(const gf_verify *v); /* absolute difference */
double gf_verify_kl(const gf_verify *v);   /* a token */
/* Root mean square of the differences over that of the logits: 0 equal, about 1.4 unrelated. */
double gf_verify_error(const gf_verify *v);

/* The largest error that rounding explains, for weights that are off by `weight_error` (relative
 * root mean square, of the tensor where it is largest) in a model of `layers` blocks. Each of the 2
 * L branches and the head brings an error of the weights' own relative size into the stream;
 * independent of each other they grow with the square root of their number. GF_VERIFY_MARGIN: what
 * later layers may make of an error, by softmax and norms of small inputs; measured: 0.2 to 3 of it
 * in the models of tests/golden. GF_VERIFY_FLOOR: f32 sums in another order. An error of 1 is never
 * explained: nothing of the model is left then. */
#define GF_VERIFY_MARGIN 8.0
#define GF_VERIFY_FLOOR 1e-4
double gf_verify_bound(double weight_error, int64_t layers);

/* Fixed pseudo-random ids below V, the same for every file of a vocabulary. */
void gf_verify_ids(int32_t *ids, int64_t count, int64_t V);

#endif
