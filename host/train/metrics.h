/* metrics.h - metrics.jsonl: one JSON object a line (DESIGN 1.2), numbers that read
 * back exactly. */
#ifndef GRAFT_HOST_TRAIN_METRICS_H
#define GRAFT_HOST_TRAIN_METRICS_H

#include "train/trainer.h"

/* Opens for appending; lines of steps after `step` are cut off first (a resume goes on from there),
 * an incomplete last line too. */
gf_status gf_metrics_open(FILE **f, const char *path, int64_t step, gf_err *err);
gf_status gf_metrics_step(FILE *f, const gf_step *s, const char *path, gf_err *err);
/* The last evaluation, and the best one so far. */
gf_status gf_metrics_eval(FILE *f, const gf_history *h, double accuracy, const char *path,
                          gf_err *err);

#endif
