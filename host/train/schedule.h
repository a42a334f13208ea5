/* schedule.h - learning rates with Hugging Face's numbers (transformers 5.23, optimization.py;
 * FORMATS 12.3): all of its schedules, by its names. */
#ifndef GRAFT_HOST_TRAIN_SCHEDULE_H
#define GRAFT_HOST_TRAIN_SCHEDULE_H

#include "graft/base.h"

/* In the order of options.def. The last two adapt: they follow the evaluation's losses. */
typedef enum {
    GF_LR_LINEAR,
    GF_LR_COSINE,
    GF_LR_CONSTANT,
    GF_LR_CONSTANT_WARMUP,
    GF_LR_COSINE_RESTARTS,
    GF_LR_COSINE_MIN,
    GF_LR_COSINE_WARMUP_MIN,
    GF_LR_POLYNOMIAL,
    GF_LR_INVERSE_SQRT,
    GF_LR_STABLE,  /* warm-up, stable, decay */
    GF_LR_PLATEAU, /* torch's ReduceLROnPlateau */
    GF_LR_GREEDY,
    GF_LR_TYPES
} gf_lr_type;

typedef enum { GF_SHAPE_LINEAR, GF_SHAPE_COSINE, GF_SHAPE_SQRT } gf_lr_shape;

/* Below `warmup`: lr_scheduler_kwargs by their names, of those types that take them. */
typedef struct {
    gf_lr_type type;
    double peak;
    int64_t total, warmup; /* steps */

    double num_cycles;
    double lr_end, power;
    int64_t timescale;
    double min_lr, min_lr_rate; /* of the cosines: only min_lr_rate, once opened */
    double warmup_lr_rate;      /* negative: 1 / warmup */
    int64_t num_stable_steps, num_decay_steps;
    gf_lr_shape warmup_type, decay_type;
    double min_lr_ratio;
    double factor, threshold, eps, max_lr;
    int64_t patience, cooldown, warmup_evals, window_size, reset_start;
    bool threshold_abs, smooth;
} gf_schedule;

/* type, peak, total and warmup are set; the rest from kwargs, a JSON object or NULL, and defaults.
 * GF_EARG: a key that the type does not take, a value out of range, one that is missing, or that
 * contradicts another or the run's length. */
gf_status gf_schedule_open(gf_schedule *s, const char *kwargs, gf_err *err);

/* Does the rate depend on evaluations? */
bool gf_lr_adapts(const gf_schedule *s);

/* The rate that update `step` (from 1) uses; with a warm-up the first is 0. Adaptive ones: peak. */
double gf_lr_at(const gf_schedule *s, int64_t step);

/* The rate of an adaptive schedule after evaluations with these losses: a function of them alone,
 * so that a resumed run needs nothing else. */
double gf_lr_adapted(const gf_schedule *s, const double *loss, int64_t count);

#endif
