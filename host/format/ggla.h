/* ggla.h - writer of llama.cpp's adapter file from before GGUF adapters ("ggml-adapter-model.bin",
 * FORMATS 7). It was read until mid-2024; nothing reads it back here. */
#ifndef GRAFT_HOST_FORMAT_GGLA_H
#define GRAFT_HOST_FORMAT_GGLA_H

#include "base/file.h"

/* Longest name of a tensor: the reader's buffer, less its NUL. */
#define GF_GGLA_NAME_MAX 63

typedef struct gf_ggla_writer gf_ggla_writer;

/* The reader adds (alpha / r) B A to the weight: one pair of whole numbers for the file. */
gf_status gf_ggla_open(gf_ggla_writer **w, const char *path, int32_t r, int32_t alpha, gf_err *err);
/* One matrix of f32, rows of `cols` after each other. NAME.loraA is A transposed, [k,r]; NAME.loraB
 * is [n,r]. Sizes from 1 to INT32_MAX, a name of at most GF_GGLA_NAME_MAX bytes: asserted. */
gf_status gf_ggla_matrix(gf_ggla_writer *w, const char *name, const float *data, int64_t rows,
                         int64_t cols, gf_err *err);
gf_status gf_ggla_commit(gf_ggla_writer *w, gf_err *err); /* frees w, also on failure */
void gf_ggla_cancel(gf_ggla_writer *w);                   /* frees w; NULL is fine */

#endif
