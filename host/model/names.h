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
    int64_t layer;  /* -1: outside the blocks */
    int linear;     /* gf_linear_id of a linear layer's weight or bias, else -1 */
    float gguf_add; /* what a GGUF's values are above Hugging Face's: 1 for a Gemma's norms, else 0;
                       gf_files_rows takes it away, who writes a GGUF adds it */
} gf_name;

/* Embedding, blocks, final norm, and the output head unless it is tied. */
int64_t gf_names_count(const gf_config *c);
/* The i-th of them. */
void gf_names_get(gf_name *out, const gf_config *c, int64_t i);

/* The GGUF name of what Hugging Face calls `name` in a model of c's family (Gemma 2 and Llama mean
 * different tensors by post_attention_layernorm); false: GGUF has none for it. */
bool gf_names_to_gguf(char out[64], const gf_config *c, const char *name);

/* The norms of a block. */
typedef enum {
    GF_NORM_ATTENTION,      /* before attention */
    GF_NORM_ATTENTION_POST, /* of its output */
    GF_NORM_MLP,            /* before the MLP */
    GF_NORM_MLP_POST,       /* of its output */
    GF_NORM_Q,
    GF_NORM_K
} gf_norm_id;
/* "model.layers.L.input_layernorm.weight" for (layer, id); NULL: the family has no such norm. */
const char *gf_norm_name(char buf[80], const gf_config *c, int64_t layer, gf_norm_id id);

#endif
