/* exposition.h - a run's numbers of this moment, as the file that Prometheus' node exporter picks
 * up. */
#ifndef GRAFT_HOST_TRAIN_EXPOSITION_H
#define GRAFT_HOST_TRAIN_EXPOSITION_H

#include "graft/measure.h"

typedef struct {
    const char *run, *version, *model;
    int64_t step, total, tokens, trained; /* tokens: since this start */
    double epoch, loss, grad_norm, learning_rate, tokens_per_second, share, seconds_left, limit;
    double eval_loss, eval_accuracy;
    uint64_t planned, memory; /* bytes; memory 0: not known */
    gf_device_state device;
    bool running, stepped, evaluated; /* before a step or an evaluation there are no such numbers */
} gf_exposition;

/* Every metric with the label run, so that several runs' files can lie in one folder. */
gf_status gf_exposition_text(const gf_exposition *e, gf_buf *out, gf_err *err);
/* Replaces the file: who reads it meanwhile gets the old one or the new one. */
gf_status gf_exposition_write(const gf_exposition *e, const char *path, gf_err *err);

#endif
