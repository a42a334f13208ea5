/* quality.h - how much of what an adapter adds to the weights is left once they are rounded to the
 * type in which they are written, measured element by element. */
#ifndef GRAFT_HOST_MODEL_QUALITY_H
#define GRAFT_HOST_MODEL_QUALITY_H

#include "graft/tensor.h"

/* Of one module, with W the base's weight, d what the adapters add, R the rounding. */
typedef struct {
    char name[96]; /* Hugging Face's, without ".weight" */
    int64_t layer; /* -1: outside the blocks */
    gf_dtype dtype;
    double elements;
    double delta;    /* sum of d^2 */
    double rounding; /* sum of (R(W + d) - (W + d))^2 */
    double kept;     /* sum of (R(W + d) - R(W)) d */
} gf_quality_row;

typedef struct {
    gf_quality_row *row;
    int count;
} gf_quality;

/* Root mean squares of d and of the rounding error; the share of d that is left: the projection of
 * R(W + d) - R(W) on d, 1 where nothing is lost, 0 where every change was rounded away. An error of
 * rounding that goes either way leaves it at 1: the noise is what `rounding` says. */
double gf_quality_delta(const gf_quality_row *r);
double gf_quality_rounding(const gf_quality_row *r);
double gf_quality_kept(const gf_quality_row *r);

/* Below this share rounding eats the adapter: of what training moved more than a tenth is gone,
 * always in the same direction (back to the base), which no other error of a file does. */
#define GF_QUALITY_KEPT_MIN 0.9

/* Sums of rows that belong together, for instance of a layer. */
void gf_quality_sum(gf_quality_row *to, const gf_quality_row *r);

/* What is measured slice by slice: of every tensor how far it is from what it should be, and of
 * those that an adapter changes the row above. */
typedef struct {
    double error, size; /* sums of squares of rounding and of weights */
} gf_quality_error;

/* Adds `rows` rows of k: `want` [rows,k] = W + d, `written` as it is in the file (type t), `base`
 * [rows,k] = W or NULL if nothing was added. scratch: 3 k f32. */
void gf_quality_measure(gf_quality_error *e, gf_quality_row *r, gf_dtype t, const void *written,
                        const float *want, const float *base, int64_t rows, int64_t k,
                        float *scratch);
gf_status gf_quality_add(gf_quality *q, const gf_quality_row *r, gf_err *err);
void gf_quality_free(gf_quality *q);

#endif
