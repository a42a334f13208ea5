/* curves.h - a run's course in little memory: each curve as at most GF_CURVES_POINTS points, of
 * which every one stands for as many steps as it takes. */
#ifndef GRAFT_HOST_TRAIN_CURVES_H
#define GRAFT_HOST_TRAIN_CURVES_H

#include "graft/base.h"

enum {
    GF_CURVES_POINTS = 4096
}; /* more than a page has pixels; even: points are joined in pairs */

/* X(name as in metrics.jsonl) */
#define GF_CURVE_LIST(X)                                                                           \
    X(loss)                                                                                        \
    X(grad_norm)                                                                                   \
    X(learning_rate)                                                                               \
    X(tokens_per_second)

typedef enum {
#define X(name) GF_CURVE_##name,
    GF_CURVE_LIST(X)
#undef X
        GF_CURVES
} gf_curve;

typedef struct {
    int64_t last, count; /* the last step of it, and how many */
    double sum[GF_CURVES], least[GF_CURVES], most[GF_CURVES];
} gf_curves_point;

typedef struct {
    int64_t step;
    double loss, accuracy;
} gf_curves_evaluation;

/* Zero-initialise; free with gf_curves_free. */
typedef struct {
    gf_curves_point *point;
    int points;
    int64_t width; /* steps of a full point */
    gf_curves_evaluation *eval;
    size_t evals, cap;
} gf_curves;

gf_status gf_curves_step(gf_curves *h, int64_t step, const double value[GF_CURVES], gf_err *err);
gf_status gf_curves_eval(gf_curves *h, int64_t step, double loss, double accuracy, gf_err *err);
/* What metrics.jsonl holds, after a resume has cut it back. Missing: nothing. */
gf_status gf_curves_read(gf_curves *h, const char *path, gf_err *err);
/* {"width":…,"step":[…],"loss":[…],"loss_least":[…],"loss_most":[…],…,"eval":{"step":[…],…}}:
 * means, and where a point stands for several steps their extremes. Appends. */
gf_status gf_curves_json(const gf_curves *h, gf_buf *out, gf_err *err);
void gf_curves_free(gf_curves *h);

#endif
