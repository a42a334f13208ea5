/* eval.h - what `graft eval` says of one model, or of a base beside the tuned one. Inside host/cli
 * only. */
#ifndef GRAFT_HOST_CLI_EVAL_H
#define GRAFT_HOST_CLI_EVAL_H

#include "cli/options.h"
#include "text/choices.h"
#include "train/evaluate.h"
#include "train/paired.h"

/* What a model made of the examples. */
typedef struct {
    gf_eval sum;
    double *nll; /* [count] of each example */
} gf_scores;

/* Prints loss, perplexity and accuracy, as JSON with --json; writes --per-example. base: NULL, or
 * the model without its adapter, for --compare. */
gf_status gf_eval_report(const gf_options *o, const gf_dataset *data, const gf_scores *tuned,
                         const gf_scores *base, gf_err *err);

/* The same of multiple-choice questions: a question's answer is the choice with the highest
 * log-likelihood, as it is (acc), by byte (acc_norm) and by token (acc_norm_token). */
gf_status gf_eval_report_choices(const gf_options *o, const gf_choices *c, const gf_scores *tuned,
                                 const gf_scores *base, gf_err *err);

/* eval_report.c: ,"KEY":number */
gf_status gf_eval_field(gf_buf *b, const char *key, double x, gf_err *err);
/* {"difference":...,"standard_error":...,"interval":[...],"bootstrap":[...],"resamples":...} */
gf_status gf_eval_paired(gf_buf *b, const gf_paired *p, gf_err *err);

#endif
