/* progress.h - a run's course on stderr: one line redrawn on a terminal, plain lines for a pipe. */
#ifndef GRAFT_HOST_CLI_PROGRESS_H
#define GRAFT_HOST_CLI_PROGRESS_H

#include <stdio.h>

#include "graft/base.h"

typedef struct {
    int64_t step; /* 1-based, done */
    double epoch;
    double loss;
    double learning_rate;
    double tokens_per_second;
} gf_progress_point;

typedef struct {
    FILE *out;
    bool terminal;
    int64_t first, total; /* steps done before this start, steps of the whole run */
    int64_t every;        /* --logging-steps */
    double started;       /* seconds of the monotonic clock */
    bool drawn;           /* a bar stands on the line */
} gf_progress;

/* `first` steps are done already (0, or a checkpoint's). A bar if `out` is a terminal. */
void gf_progress_start(gf_progress *p, FILE *out, int64_t first, int64_t total, int64_t every);
/* After each step; a pipe gets a line every `every` steps and after the last. */
void gf_progress_step(gf_progress *p, const gf_progress_point *at);
/* A line of its own between them: an evaluation, a checkpoint. */
void gf_progress_note(gf_progress *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Leaves the terminal on a fresh line. */
void gf_progress_end(gf_progress *p);

/* The text of one line, after `elapsed` seconds since the start; a bar of `bar` cells in front if
 * bar > 0. At most `size` bytes with the NUL. */
void gf_progress_text(const gf_progress *p, const gf_progress_point *at, double elapsed, int bar,
                      char *text, size_t size);

#endif
