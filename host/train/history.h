/* history.h - the evaluations of a run. Whatever follows them (adaptive learning rates, early
 * stopping, the best checkpoint) is a function of this list, so that a checkpoint that holds it
 * resumes all of them exactly. */
#ifndef GRAFT_HOST_TRAIN_HISTORY_H
#define GRAFT_HOST_TRAIN_HISTORY_H

#include "base/json.h"

/* Zero-initialised it is empty. The evaluation before the first step has step 0: it is kept, but
 * counts for nothing below. */
typedef struct {
    int64_t *step;
    double *loss;
    int64_t count;
} gf_history;

gf_status gf_history_add(gf_history *h, int64_t step, double loss, gf_err *err);
void gf_history_free(gf_history *h);

/* Where evaluations of a trained adapter start: 1 if the first is of step 0, else 0. */
int64_t gf_history_first(const gf_history *h);

/* The evaluation with the least loss, the first of equals; -1: none. */
int64_t gf_history_best(const gf_history *h);

/* Evaluations in a row, up to the last, that were no better than the best before them by more than
 * `threshold`: transformers' EarlyStoppingCallback. */
int64_t gf_history_waited(const gf_history *h, double threshold);

/* [[step,loss],...], losses so that they read back exactly. */
gf_status gf_history_write(const gf_history *h, gf_buf *out, gf_err *err);
/* Reads such an array into an empty history; NULL: none. Steps rise and do not pass `last`.
 * GF_EINPUT with `where`. */
gf_status gf_history_read(gf_history *h, const cJSON *array, int64_t last, const char *where,
                          gf_err *err);

#endif
