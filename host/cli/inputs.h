/* inputs.h - what train and plan make of their options: the adapter to be, the data,
 * the schedule. */
#ifndef GRAFT_HOST_CLI_INPUTS_H
#define GRAFT_HOST_CLI_INPUTS_H

#include "cli/session.h"
#include "train/trainer.h"

/* s->adapter from --lora-r, --target-modules, ... or from --init-adapter, whose r, alpha and
 * targets an option must not contradict (GF_EARG). */
gf_status gf_inputs_adapter(gf_session *s, gf_err *err);

/* --data-weights as numbers, one for each --data; NULL if not given. The caller frees them. */
gf_status gf_inputs_weights(double **weight, const gf_options *o, gf_err *err);

/* --data, and --eval-data or --eval-split (then eval->count > 0). */
gf_status gf_inputs_data(gf_session *s, gf_dataset *data, gf_dataset *eval, gf_err *err);

/* Precision, dropout and use of the model to be trained; row_tokens is left 0. */
gf_model_options gf_inputs_model(const gf_session *s);

/* Schedule, optimizer and intervals for a data set of `examples`. GF_EARG: --lr-scheduler-kwargs
 * that the schedule does not take; evaluations that something waits for and no data for them. */
gf_status gf_inputs_training(gf_train_options *out, const gf_options *o, int64_t examples,
                             gf_err *err);

/* A line on stderr if examples over --max-length were dropped or truncated (law 1). */
void gf_inputs_say_overlength(const char *name, const gf_dataset *data);

/* What a row has to hold: the longest example of both sets, the longest prompt with its answer
 * (prompts may be NULL). */
int64_t gf_inputs_longest(const gf_dataset *data, const gf_dataset *eval, const gf_prompts *p);

#endif
