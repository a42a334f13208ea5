/* report.h - report.html: a run on one page that needs nothing but itself. The page
 * (report_page.html, part of the program) is filled with one block of JSON. */
#ifndef GRAFT_HOST_TRAIN_REPORT_H
#define GRAFT_HOST_TRAIN_REPORT_H

#include "train/curves.h"
#include "train/plan.h"

typedef struct {
    const char *state; /* "running", "done", "stopped", "failed" */
    int64_t step, total;
    double seconds;    /* of this start */
    const char *facts; /* members of a JSON object, without its braces: what the caller knows */
    const gf_plan *plan;
    const gf_arena *arena; /* high-water marks */
    const gf_curves *curves;
    const char *samples; /* path of samples.jsonl; need not be there */
} gf_report;

/* Writes the page; an old one stays until the new one is complete. */
gf_status gf_report_write(const gf_report *r, const char *path, gf_err *err);

/* Appends JSON so that it may stand in a <script> of any page: no < > & and no line separators. */
gf_status gf_report_escape(gf_buf *out, const char *json, size_t n, gf_err *err);

#endif
