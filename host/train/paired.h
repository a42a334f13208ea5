/* paired.h - two models on the same examples: how sure is it that one is better? */
#ifndef GRAFT_HOST_TRAIN_PAIRED_H
#define GRAFT_HOST_TRAIN_PAIRED_H

#include "graft/base.h"

typedef struct {
    double difference;          /* sum d / sum w */
    double error;               /* its standard error: the ratio estimator's, examples as units */
    double low, high;           /* difference -+ 1.96 error: 95 % */
    double boot_low, boot_high; /* 2.5 and 97.5 % of the differences of resampled examples */
    int64_t resamples;
} gf_paired;

/* d [n]: what an example's sums differ by between the two; w [n]: its weight, w > 0 (trained
 * tokens; 1 for questions). Pairs stay together, so that what is hard for both cancels. The
 * bootstrap draws n examples 10,000 times, fewer from over 5,000 examples, by `seed`. Of fewer than
 * two examples only the difference is known; the rest is NaN.
 * Source: Cochran 1977, section 6.3 (variance of a ratio); Efron and Tibshirani 1993, section 13.3
 * (percentile interval). */
gf_status gf_paired_compare(gf_paired *p, const double *d, const double *w, int64_t n,
                            uint64_t seed, gf_err *err);

#endif
