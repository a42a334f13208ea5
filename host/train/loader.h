/* loader.h - which examples a step takes, on which rank, in which rows (DESIGN 2.1). All of it is a
 * function of the data, the seed and the step: nothing has to be saved to resume. */
#ifndef GRAFT_HOST_TRAIN_LOADER_H
#define GRAFT_HOST_TRAIN_LOADER_H

#include "text/dataset.h"

typedef struct {
    const gf_dataset *data;
    int64_t batch; /* examples of a step, over all ranks */
    uint64_t seed;
    bool shuffle;
    int rank, ranks;

    int64_t steps_per_epoch;
    int64_t count;  /* examples of an epoch: the data set's, or what the weights make of them */
    int64_t *order; /* [count] of the epoch in `epoch` */
    int64_t *drawn; /* with weights: [the larger of count and the data set's], scratch */
    int64_t epoch;
    int64_t *pick; /* the step's examples of this rank, laid out row by row */
    int64_t *row;  /* row[i]: where row i starts in pick; row[rows] is the end */
    int64_t rows;
    int64_t *load; /* [ranks] scratch of the dealing */
} gf_loader;

gf_status gf_loader_open(gf_loader *ld, const gf_dataset *data, int64_t batch, uint64_t seed,
                         bool shuffle, int rank, int ranks, gf_err *err);
void gf_loader_close(gf_loader *ld);

/* With weights (gf_dataset_weigh) each epoch draws its own share of a source, by the seed and the
 * epoch. Without shuffling the sources keep their order, and so do the examples in each.
 *
 * Lays out step `step` (from 0): examples step % steps_per_epoch of epoch step / steps_per_epoch,
 * dealt to ranks so that their tokens are balanced, then first-fit by falling length into rows of
 * at most `capacity` tokens (each example fits: the caller has checked). */
void gf_loader_step(gf_loader *ld, int64_t step, int64_t capacity);

/* The same for the whole data set, which has no weights, in file order, for evaluation: `part` of
 * ceil(count / batch). */
void gf_loader_part(gf_loader *ld, int64_t part, int64_t capacity);

/* Tokens of the largest share that a rank gets in any of the first `steps` steps. */
int64_t gf_loader_most_tokens(gf_loader *ld, int64_t steps);

#endif
