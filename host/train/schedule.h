/* schedule.h - learning rates with Hugging Face's numbers (FORMATS 12.3). */
#ifndef GRAFT_HOST_TRAIN_SCHEDULE_H
#define GRAFT_HOST_TRAIN_SCHEDULE_H

#include "graft/base.h"

typedef enum { GF_LR_LINEAR, GF_LR_COSINE, GF_LR_CONSTANT, GF_LR_CONSTANT_WARMUP } gf_lr_type;

typedef struct {
    gf_lr_type type;
    double peak;
    int64_t total, warmup; /* steps */
} gf_schedule;

/* The rate that update `step` (from 1) uses; with a warm-up the first is 0. */
double gf_lr_at(const gf_schedule *s, int64_t step);

#endif
