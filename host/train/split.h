/* split.h - holding a share of the data out for evaluation. */
#ifndef GRAFT_HOST_TRAIN_SPLIT_H
#define GRAFT_HOST_TRAIN_SPLIT_H

#include "text/dataset.h"

/* Moves round(share * count) examples, at least one, of `data` to `held_out` (empty before), chosen
 * by the seed; both keep the file's order. GF_EARG if nothing would be left to train on. The
 * held-out examples' tokens and file names belong to `data`, which must live longer; its sources
 * then count what is left to train on, which is what weights are of. */
gf_status gf_split(gf_dataset *data, gf_dataset *held_out, double share, uint64_t seed,
                   gf_err *err);

/* Chooses about share * count examples to hold out: held[count] says which, *out how many. Examples
 * with one text (gf_example.text) stay on one side, so that they may be fewer. The seed decides.
 * GF_EINPUT: nothing is left on one of the sides. */
gf_status gf_split_choose(bool *held, int64_t *out, const gf_dataset *data, double share,
                          uint64_t seed, gf_err *err);

#endif
