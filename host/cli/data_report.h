/* data_report.h - what `graft data` says about a data set, as numbers, text and JSON. */
#ifndef GRAFT_HOST_CLI_DATA_REPORT_H
#define GRAFT_HOST_CLI_DATA_REPORT_H

#include "cli/options.h"
#include "text/dataset.h"

typedef struct {
    int64_t examples, tokens, trained;
    int64_t min, median, p90, p99, max; /* lengths in tokens; nearest rank */
    int64_t max_length;
    int64_t over; /* examples longer than max_length that are still in the set */
    int64_t dropped, truncated;
    int64_t duplicates;                    /* examples with ids and labels of an earlier one */
    int64_t no_end_token, prefix_mismatch; /* turns, see gf_dataset */
    const gf_dataset *data;
    int64_t longest;             /* its number; -1 if there is none, as below */
    int64_t duplicate, original; /* the first such pair */
} gf_data_report;

/* The report points into `d`. */
gf_status gf_data_report_make(gf_data_report *r, const gf_dataset *d, int64_t max_length,
                              gf_err *err);
/* Lines for people, with what training would do about over-length examples. Appends. */
gf_status gf_data_report_text(const gf_data_report *r, const gf_options *o, const char *name,
                              gf_buf *out, gf_err *err);
/* One JSON object. Appends. */
gf_status gf_data_report_json(const gf_data_report *r, gf_buf *out, gf_err *err);

#endif
