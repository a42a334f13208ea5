/* names.h - every tensor of a model, in order, with its shape and its name in both kinds of files
 * (FORMATS 2.3, 6.4). */
#ifndef GRAFT_HOST_MODEL_NAMES_H
#define GRAFT_HOST_MODEL_NAMES_H

#include "model/files.h"

typedef struct {
    char name[96]; /* Hugging Face's; the longest has 56 characters */
    char gguf[64]; /* GGUF's, whose limit is 63 */
    int rank;      /* 1 or 2 */
    int64_t dim[2];
    int64_t layer; /* -1: outside the blocks */
    int linear;    /* gf_linear_id of a linear layer's weight or bias, else -1 */
} gf_name;

/* Embedding, blocks, final norm, and the output head unless it is tied. */
int64_t gf_names_count(const gf_config *c);
/* The i-th of them. */
void gf_names_get(gf_name *out, const gf_config *c, int64_t i);

/* The GGUF name of what Hugging Face calls `name`; false: GGUF has none for it. */
bool gf_names_to_gguf(char out[64], const char *name);

#endif
