/* export_parts.h - what the writers of export.h share. */
#ifndef GRAFT_HOST_MODEL_EXPORT_PARTS_H
#define GRAFT_HOST_MODEL_EXPORT_PARTS_H

#include "model/export.h"

/* One alpha for a file: the one that most modules have, so that fewest need folding. */
typedef struct {
    double alpha;
    double *factor; /* [modules] what B is multiplied by; exactly 1 where alpha fits */
} gf_export_scale;

/* `r` > 0: the rank that the file's scale divides alpha by, and alpha must be a whole number;
 * 0: each module's own rank. Never 0, which llama.cpp takes for "no alpha". */
gf_status gf_export_scale_find(gf_export_scale *s, const gf_adapter *ad, int64_t r, gf_err *err);
void gf_export_scale_free(gf_export_scale *s);

/* Is module i the embedding? Llama.cpp looks rows of its A up, so that a file has A transposed. */
bool gf_export_is_embedding(const gf_export *x, int i);

/* A [r,k] and B [n,r] of module i as f32, B multiplied and its rows in the order that the base's
 * weight has in a GGUF. What is not finite is GF_EINPUT by name. Free both. */
gf_status gf_export_pair(const gf_export *x, int i, double factor, float **a, float **b,
                         gf_export_note *note, gf_err *err);

/* [rows,cols] -> [cols,rows] in a new block; the old one is freed. */
gf_status gf_export_transpose(float **m, int64_t rows, int64_t cols, gf_err *err);

/* The weight's GGUF name. */
gf_status gf_export_weight_name(char out[64], const gf_export *x, int i, gf_err *err);

#endif
