/* evaluate.h - loss and accuracy of a model over a data set, on all ranks together. */
#ifndef GRAFT_HOST_TRAIN_EVALUATE_H
#define GRAFT_HOST_TRAIN_EVALUATE_H

#include "comm/comm.h"
#include "model/model.h"
#include "train/loader.h"

/* Losses are summed as fixed point, scale 2^32: associative, so that rows, threads and ranks don't
 * show in the bits (DESIGN 2.1). */
#define GF_LOSS_SCALE 0x1p32

typedef struct {
    int64_t loss;    /* sum of token losses, times GF_LOSS_SCALE */
    int64_t correct; /* predicted tokens whose argmax was the label */
    int64_t tokens, trained, examples;
} gf_eval;

/* Sums over a data set without gradients, without dropout. nll: per-example sums [count] in nats,
 * or NULL. The model's row capacity must hold the longest example. */
gf_status gf_evaluate(gf_eval *out, double *nll, gf_model *m, const gf_dataset *data, gf_comm *comm,
                      gf_err *err);

/* Fills a row with the loader's row i. */
void gf_fill_row(gf_model *m, const gf_loader *ld, int64_t row);

/* Adds what the row just run lost: *loss (fixed point) and *correct. GF_ENUMERIC if a loss is not
 * finite, or beyond 2^16, where sums of some thousands would overflow. */
gf_status gf_count_losses(gf_model *m, int64_t *loss, int64_t *correct, gf_err *err);

#endif
