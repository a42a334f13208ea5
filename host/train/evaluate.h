/* evaluate.h - loss and accuracy of a model over a data set, on all ranks together. */
#ifndef GRAFT_HOST_TRAIN_EVALUATE_H
#define GRAFT_HOST_TRAIN_EVALUATE_H

#include "comm/comm.h"
#include "model/model.h"
#include "train/loader.h"

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

/* Adds what the row just run lost, by the rules of the op count_losses: *loss (fixed point) and
 * *correct. GF_ENUMERIC if a loss is not countable. After gf_model_losses. */
gf_status gf_add_losses(const gf_model *m, int64_t *loss, int64_t *correct, gf_err *err);

#endif
