/* optimizer.h - the update behind the gradients: which op, on which parts of the adapter space. */
#ifndef GRAFT_HOST_TRAIN_OPTIMIZER_H
#define GRAFT_HOST_TRAIN_OPTIMIZER_H

#include "model/model.h"

typedef struct {
    double beta1, beta2, eps, weight_decay;
    double rate[GF_PARAM_KINDS]; /* times the schedule's: LoRA+ */
} gf_optimizer;

/* Update `step` (from 1) of all trained tensors with the gradient m->grad * scale; the optimizer is
 * the model's (gf_model_options). Errors are in be->err. */
gf_status gf_optimizer_update(const gf_optimizer *o, gf_model *m, double lr, double scale,
                              int64_t step);

#endif
