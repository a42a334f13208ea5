/* trainer.h - training: steps of rows, one reduction, one update; evaluations, checkpoints. */
#ifndef GRAFT_HOST_TRAIN_TRAINER_H
#define GRAFT_HOST_TRAIN_TRAINER_H

#include "graft/measure.h"
#include "train/evaluate.h"
#include "train/history.h"
#include "train/optimizer.h"
#include "train/samples.h"
#include "train/schedule.h"

#include <signal.h>
#include <stdio.h>

typedef struct {
    gf_schedule schedule;
    gf_optimizer optimizer;
    double max_grad_norm; /* 0: no clipping */
    int64_t batch;        /* examples of a step */
    uint64_t seed;
    bool shuffle;
    int64_t eval_steps; /* 0: at each epoch's end */
    int64_t save_steps; /* 0: at each epoch's end */
    int64_t save_total_limit;
    int64_t patience;          /* evaluations without a better loss that end the run; 0: never */
    double patience_threshold; /* by more than which a loss is better */
    bool load_best;            /* the adapter at the end is that of the best evaluation */
    const char *output_dir;
    /* The options that must not differ on resume, as a JSON object; stored in every checkpoint. */
    const char *identity;
} gf_train_options;

/* What a step did; metrics.jsonl holds one line of it. */
typedef struct {
    int64_t step, total;
    double epoch;
    double loss, grad_norm, learning_rate;
    int64_t tokens, trained;
    int64_t flops; /* of this rank, as the tally has them */
    double seconds;
    int shift;                  /* of the gradients' fixed point: 40, or 24 after an overflow */
    int64_t captured, replayed; /* rows whose graph was made, and those that replayed one */
    gf_device_state device;     /* what look() put there; zeros: not known */
} gf_step;

/* What the trainer is at; steps in between. */
typedef enum { GF_PHASE_STEPS, GF_PHASE_EVALUATION, GF_PHASE_SAVING, GF_PHASE_SAMPLES } gf_phase;

/* What the trainer of rank 0 tells whoever watches; any may be NULL. What fails ends the run. */
typedef struct {
    void (*look)(void *ctx, gf_device_state *device); /* fills it in, if it can at once */
    gf_status (*on_step)(void *ctx, const gf_step *s, gf_err *err);
    gf_status (*on_eval)(void *ctx, int64_t step, double loss, double accuracy, gf_err *err);
    gf_status (*on_samples)(void *ctx, int64_t step, const gf_answer *answer, gf_err *err);
    gf_status (*on_saved)(void *ctx, int64_t step, gf_err *err); /* checkpoint-STEP is there */
    void (*on_phase)(void *ctx, gf_phase now);
    void (*on_note)(void *ctx, const char *text); /* a line worth reading */
    void *ctx;
} gf_watch;

typedef struct {
    gf_model *model;
    const gf_adapter *adapter;
    const gf_dataset *data, *eval_data; /* eval_data may be NULL */
    gf_comm *comm;
    gf_train_options opt;
    const gf_prompts
        *prompts; /* to answer before, at evaluations and at the end, or NULL; rank 0 */
    gf_watch watch;

    gf_loader loader;
    int64_t step; /* updates done */
    gf_history history;
    double rate;        /* of a schedule that adapts */
    char *resumed_from; /* the folder of the checkpoint that it goes on from, or NULL */
    FILE *metrics;      /* rank 0 */
    char *metrics_path;
} gf_trainer;

/* Set to make the trainer stop after the step it is in, with a checkpoint (signal handlers do). */
extern volatile sig_atomic_t gf_stop_requested;

/* Opens the loader and metrics.jsonl; with `resume` (a checkpoint folder) reads it: value, m, v,
 * step; metrics.jsonl is cut back to that step. The adapter's values are there already otherwise.
 * All ranks succeed or fail together: ranks that stand at other steps, or whose identity differs
 * from rank 0's, would wait for each other or sum what does not belong together (GF_EINPUT). */
gf_status gf_trainer_open(gf_trainer *t, const char *resume, gf_err *err);
void gf_trainer_close(gf_trainer *t);

/* Trains to the end: all steps, evaluations and checkpoints; with load_best, rank 0's values are
 * then those of the best evaluation. GF_EINTERRUPT after a requested stop, when the checkpoint is
 * saved. */
gf_status gf_train(gf_trainer *t, gf_err *err);

/* All steps done, or no better evaluation for as long as the options say. */
bool gf_train_is_over(const gf_trainer *t);

/* step.c: one optimizer step: rows, reduction, clip, update. Nothing of it is kept on failure. */
gf_status gf_train_step(gf_trainer *t, gf_step *out, bool *stop, gf_err *err);

/* Number of updates that the options amount to: epochs * ceil(count / batch), or max_steps. */
int64_t gf_train_total(int64_t examples, int64_t batch, int64_t epochs, int64_t max_steps);

#endif
