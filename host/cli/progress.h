/* progress.h - a run's course on stderr: one line redrawn on a terminal, as wide as the terminal is
 * now and never wider; plain lines for a pipe. */
#ifndef GRAFT_HOST_CLI_PROGRESS_H
#define GRAFT_HOST_CLI_PROGRESS_H

#include <pthread.h>
#include <stdio.h>

#include "graft/base.h"
#include "graft/measure.h"

typedef struct {
    int64_t step; /* 1-based, done */
    double epoch;
    double loss;
    double learning_rate;
    double tokens_per_second;
    double share;           /* of what the machine can do; 0: not known */
    uint64_t memory;        /* bytes in use; 0: not known */
    gf_device_state device; /* of a GPU; zeros: not known */
} gf_progress_point;

typedef struct {
    FILE *out;
    bool terminal, utf8;
    int64_t first, total; /* steps done before this start, steps of the whole run */
    int64_t every;        /* --logging-steps */
    uint64_t planned;     /* bytes that the run was planned to take */
    double started;       /* seconds of the monotonic clock */

    gf_progress_point at; /* the last step */
    double stepped;       /* when it was done */
    double smooth_sum, smooth_weight;
    double eval;          /* the last evaluation's loss; NaN: none */
    const char *doing;    /* "step", or what goes on between steps */
    int drawn;            /* columns of the line that stands; 0: none */
    pthread_t painter;    /* terminal: redraws for the clock and for a new width */
    pthread_mutex_t lock; /* terminal: of all this, between the painter and the run */
    bool painting;
} gf_progress;

/* `first` steps are done already (0, or a checkpoint's). A bar if `out` is a terminal. */
void gf_progress_start(gf_progress *p, FILE *out, int64_t first, int64_t total, int64_t every,
                       uint64_t planned);
/* After each step; a pipe gets a line every `every` steps and after the last. */
void gf_progress_step(gf_progress *p, const gf_progress_point *at);
/* What goes on now, a word: "step", "evaluate", ... (static). */
void gf_progress_doing(gf_progress *p, const char *word);
/* The loss of an evaluation, to stand in the line. */
void gf_progress_eval(gf_progress *p, double loss);
/* A line of its own between them: an evaluation, a checkpoint. */
void gf_progress_note(gf_progress *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Leaves the terminal on a fresh line. */
void gf_progress_end(gf_progress *p);

/* progress_line.c. A terminal's line of at most `columns` columns, `now` seconds on the clock of
 * p->started: as many of the values as fit, the most asked for first, and a bar in what is left.
 * Returns its width; `size` (4 * columns + 1 will do) bytes take it. */
int gf_progress_line(const gf_progress *p, double now, int columns, char *text, size_t size);
/* The line for a pipe. */
void gf_progress_plain(const gf_progress *p, double now, char *text, size_t size);

#endif
