/* monitor.h - what a run leaves for those who look at it: TensorBoard events (DIR/runs/…),
 * samples.jsonl, report.html and a file for Prometheus. Rank 0 has one and tells it what happens;
 * what cannot be written is GF_EIO. */
#ifndef GRAFT_HOST_TRAIN_MONITOR_H
#define GRAFT_HOST_TRAIN_MONITOR_H

#include "format/tensorboard.h"
#include "train/report.h"
#include "train/trainer.h"

/* All pointers outlive the monitor. */
typedef struct {
    const char *dir; /* --output-dir, which is there */
    bool tensorboard, html;
    const char *metrics_file; /* or NULL */
    const char *version, *model;
    const gf_hparam *param; /* the options, for TensorBoard */
    int params;
    const char *facts; /* see gf_report */
    const gf_plan *plan;
    const gf_arena *arena;
    const gf_prompts *prompts; /* or NULL */
    double limit;              /* FLOP/s of this machine; 0: not known */
    int64_t step, total;       /* done before this start, of the whole run */
} gf_monitor_options;

typedef struct gf_monitor gf_monitor;

/* After gf_trainer_open: metrics.jsonl has been cut back to opt->step, and so is samples.jsonl.
 * What an earlier start left is gone on from; at step 0 it is removed. */
gf_status gf_monitor_open(gf_monitor **m, const gf_monitor_options *opt, gf_err *err);

/* memory: bytes in use; 0: not known. */
gf_status gf_monitor_step(gf_monitor *m, const gf_step *s, uint64_t memory, gf_err *err);
gf_status gf_monitor_eval(gf_monitor *m, int64_t step, double loss, double accuracy, gf_err *err);
gf_status gf_monitor_samples(gf_monitor *m, int64_t step, const gf_answer *answer, gf_err *err);
gf_status gf_monitor_saved(gf_monitor *m, int64_t step, gf_err *err);

/* The run's end, as the report is to call it: "done", "stopped" or "failed". facts: what is known
 * now, or NULL. */
gf_status gf_monitor_end(gf_monitor *m, const char *state, const char *facts, gf_err *err);
void gf_monitor_close(gf_monitor *m); /* NULL is fine */

#endif
