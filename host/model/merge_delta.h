/* merge_delta.h - what adapters make of the weights of one tensor, slice by slice of its rows. */
#ifndef GRAFT_HOST_MODEL_MERGE_DELTA_H
#define GRAFT_HOST_MODEL_MERGE_DELTA_H

#include "model/adapter.h"
#include "model/names.h"

typedef struct {
    const char *dir; /* PEFT folder */
    double weight;   /* of what it adds; 1: as it was trained */
} gf_merge_adapter;

/* An open adapter. */
typedef struct {
    gf_adapter adapter;
    gf_adapter_file file;
    double weight;
} gf_merge_source;

typedef struct {
    gf_merge_source *source;
    int count;
} gf_merge_sources;

/* Opens them all, resolved against the base. Close whatever comes back. */
gf_status gf_merge_sources_open(gf_merge_sources *s, const gf_merge_adapter *list, int count,
                                const gf_config *base, gf_err *err);
void gf_merge_sources_close(gf_merge_sources *s);

/* What one adapter does to one tensor. */
typedef struct {
    const gf_merge_source *from;
    const gf_entry *b;    /* [rows,r]; of an embedding [k,r], and `a` is its transpose */
    const gf_entry *rows; /* of an embedding: A [r,rows]; else NULL */
    const gf_entry *m;    /* DoRA's magnitude [rows], or NULL */
    const gf_entry *full; /* the whole tensor instead, or NULL */
    float *a;             /* [r,k] */
    int64_t r;
    float scale; /* of B A, without the adapter's weight */
} gf_merge_part;

typedef struct {
    gf_merge_part *part;
    int count; /* 0: no adapter touches the tensor */
    int64_t k, ranks;
} gf_merge_delta;

gf_status gf_merge_delta_start(gf_merge_delta *d, const gf_merge_sources *s, const gf_name *name,
                               gf_err *err);
void gf_merge_delta_end(gf_merge_delta *d);
/* Bytes of `scratch` below for each row, and of A, which are held while the tensor lasts. */
int64_t gf_merge_delta_row(const gf_merge_delta *d);
int64_t gf_merge_delta_held(const gf_merge_delta *d);
/* w [rows,k] = base [rows,k] (both f32) with what the adapters add to rows [first, first + rows).
 */
gf_status gf_merge_delta_rows(const gf_merge_delta *d, float *w, const float *base, int64_t first,
                              int64_t rows, void *scratch, gf_err *err);

#endif
