/* data_report.h - what `graft data` says about a data set, as numbers, text and JSON. */
#ifndef GRAFT_HOST_CLI_DATA_REPORT_H
#define GRAFT_HOST_CLI_DATA_REPORT_H

#include "cli/data_twins.h"
#include "cli/options.h"
#include "text/dataset.h"

enum { GF_LENGTH_BUCKETS = 16 }; /* lines of a histogram */

typedef struct {
    const gf_dataset *data;
    const gf_dataset *train; /* NULL: the data is not compared with other data */
    int64_t examples, tokens, trained;
    int64_t min, median, p90, p99, max; /* lengths in tokens; nearest rank */
    int64_t longest;                    /* its number; -1 if there is none */
    int64_t max_length;
    int64_t over; /* examples longer than max_length that are still in the set */
    int64_t dropped, truncated;
    int64_t no_end_token, prefix_mismatch; /* turns, see gf_dataset */
    gf_twins same, same_text;       /* examples that an earlier one equals, exactly or loosely */
    gf_twins overlap, overlap_text; /* examples that `train` holds too */
    int buckets;                    /* bucket[i] counts lengths in (i * width, (i + 1) * width] */
    int64_t width, bucket[GF_LENGTH_BUCKETS];
} gf_data_report;

/* The report points into `d`, and into `train`, with which d is compared unless it is NULL. */
gf_status gf_data_report_make(gf_data_report *r, const gf_dataset *d, const gf_dataset *train,
                              int64_t max_length, gf_err *err);
/* Lines for people, with what training would do about over-length examples; the histogram's bars
 * keep to `columns`. Appends. */
gf_status gf_data_report_text(const gf_data_report *r, const gf_options *o, const char *name,
                              int columns, gf_buf *out, gf_err *err);
/* One JSON object. Appends. */
gf_status gf_data_report_json(const gf_data_report *r, gf_buf *out, gf_err *err);

#endif
