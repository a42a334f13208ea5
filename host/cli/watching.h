/* watching.h - what those who look at a training run get: the terminal's line, TensorBoard, the
 * report, Prometheus, samples. The trainer of rank 0 tells it, through gf_watch. */
#ifndef GRAFT_HOST_CLI_WATCHING_H
#define GRAFT_HOST_CLI_WATCHING_H

#include "cli/answer.h"
#include "cli/progress.h"
#include "cli/record.h"
#include "train/gauge.h"
#include "train/monitor.h"

typedef struct {
    gf_session *s;
    const gf_plan *plan;
    gf_progress progress;
    gf_gauge *gauge; /* of a GPU that answers, or NULL */
    gf_monitor *monitor;
    double limit;   /* FLOP/s of this machine; 0: not known */
    cJSON *options; /* the texts of param */
    gf_hparam *param;
    int params;
    gf_buf data;  /* gf_facts_data and gf_facts_options */
    gf_buf facts; /* that and run.json's text */
} gf_watching;

/* Measures the machine, opens the GPU's gauge. The session has its backend, and nothing runs. */
void gf_watching_open(gf_watching *w, gf_session *s, const gf_plan *plan);
/* What the trainer calls; before it is opened. */
gf_watch gf_watching_calls(gf_watching *w);
/* The trainer is open: steps from t->step on follow. */
gf_status gf_watching_start(gf_watching *w, const gf_trainer *t, const gf_record *r, gf_err *err);
/* The last line of the terminal; may be called again. */
void gf_watching_rest(gf_watching *w);
/* The run's end ("done", "stopped", "failed"), with run.json's text or NULL: the report's last
 * state. */
gf_status gf_watching_end(gf_watching *w, const char *state, const gf_buf *record, gf_err *err);
/* Closes all; a run that has not come to its end has failed. */
void gf_watching_close(gf_watching *w);

#endif
