/* watching.h - what a training run shows while it runs: the terminal, the GPU's state. The trainer
 * of rank 0 tells it, through gf_watch. */
#ifndef GRAFT_HOST_CLI_WATCHING_H
#define GRAFT_HOST_CLI_WATCHING_H

#include "cli/progress.h"
#include "cli/session.h"
#include "train/gauge.h"
#include "train/plan.h"
#include "train/trainer.h"

typedef struct {
    gf_session *s;
    const gf_plan *plan;
    gf_progress progress;
    gf_gauge *gauge; /* of a GPU that answers, or NULL */
    double limit;    /* FLOP/s of this machine; 0: not known */
} gf_watching;

/* Measures the machine, opens the GPU's gauge. The session has its backend, and nothing runs. */
void gf_watching_open(gf_watching *w, gf_session *s, const gf_plan *plan);
/* What the trainer calls; before it is opened. */
gf_watch gf_watching_calls(gf_watching *w);
/* The trainer is open: steps from t->step on follow. */
void gf_watching_start(gf_watching *w, const gf_trainer *t);
/* The last line of the terminal; may be called again. */
void gf_watching_close(gf_watching *w);

#endif
