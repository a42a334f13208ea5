/* data_twins.h - examples that a data set holds twice, or that two data sets share. */
#ifndef GRAFT_HOST_CLI_DATA_TWINS_H
#define GRAFT_HOST_CLI_DATA_TWINS_H

#include "text/dataset.h"

typedef enum {
    GF_TWIN_LABELS, /* the same ids and labels */
    GF_TWIN_IDS,    /* the same ids */
    GF_TWIN_TEXT    /* the same text but for case and white space, by a hash of 64 bits */
} gf_twin_kind;

typedef struct {
    int64_t count;        /* examples with a twin */
    int64_t first, other; /* the first of them and its first twin; -1 if there is none */
} gf_twins;

/* Looks for the examples of `d` in `in`: where both are one data set, among the earlier ones. Takes
 * 16 bytes an example of `in`. */
gf_status gf_twins_find(gf_twins *t, const gf_dataset *d, const gf_dataset *in, gf_twin_kind kind,
                        gf_err *err);

#endif
