/* plan.h - what a run will need, from the code itself: the model is laid out on a measuring arena
 * and a row is run dry (law 4). */
#ifndef GRAFT_HOST_TRAIN_PLAN_H
#define GRAFT_HOST_TRAIN_PLAN_H

#include "model/model.h"
#include "train/loader.h"

typedef struct {
    int64_t row_tokens;
    size_t part[GF_PARTS]; /* bytes of the arena's parts */
    size_t total;          /* their sum: the one allocation */
    size_t threads;        /* bytes that the backend's threads hold */
    gf_tally row;          /* work of one full row in which every token predicts one */
} gf_plan;

/* Plans one full row. Runs nothing, allocates only tables. */
gf_status gf_plan_row(gf_plan *p, const gf_files *files, const gf_adapter *adapter, gf_backend *be,
                      const gf_model_options *opt, gf_err *err);

/* Chooses opt->row_tokens: `asked` (0: auto), at least `longest` (the longest example, or a full
 * row's length without data), at most `most` tokens (what a rank's largest step has). Auto takes
 * the largest of most, most/2, ... that fits `limit` bytes (0: no limit). GF_EARG if asked <
 * longest; GF_EFIT with the memory needed and what would fit (*p then says what is needed). */
gf_status gf_plan_choose(gf_plan *p, const gf_files *files, const gf_adapter *adapter,
                         gf_backend *be, gf_model_options *opt, int64_t asked, int64_t longest,
                         int64_t most, uint64_t limit, gf_err *err);

/* Floating-point operations of one epoch, row by row, dry, over all examples: a double, since a
 * large model's epoch may pass 2^63. */
gf_status gf_plan_epoch(double *flops, const gf_files *files, const gf_adapter *adapter,
                        gf_backend *be, const gf_model_options *opt, gf_loader *ld, gf_err *err);

/* This machine's rate in the model's precision, operations a second: a small product through the
 * backend, the best of a few. Takes some milliseconds. 0 on failure, and on a device. */
double gf_plan_rate(gf_backend *be, gf_dtype precision);

/* What this machine can do at most in the model's precision, operations a second: the rate above,
 * of a GPU its data sheet's (train/peak.h). 0: not known. */
double gf_plan_limit(gf_backend *be, gf_dtype precision);

#endif
