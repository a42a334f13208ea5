/* merge.h - base + adapter -> a new model folder, streaming: at most 64 MB of weights in memory. */
#ifndef GRAFT_HOST_MODEL_MERGE_H
#define GRAFT_HOST_MODEL_MERGE_H

#include "model/files.h"

typedef struct {
    const char *adapter; /* PEFT folder */
    const char *output;  /* new or empty folder */
    gf_dtype dtype; /* of the weights written; GF_DTYPES: the base's (f16 for a quantised GGUF) */
    int64_t max_shard; /* bytes of weights in one file; 0: 50 GB */
    void (*progress)(void *ctx, int64_t done, int64_t total); /* tensors; may be NULL */
    void *ctx;
} gf_merge_options;

/* Writes OUTPUT/model.safetensors (or shards with an index over 50 GB), config.json and the
 * generation config (copied, or written from a GGUF's metadata). The tokenizer is the caller's.
 * Arithmetic: PEFT's default merge, delta = (B A) * scale in f32, W += delta in f32, one rounding
 * to the output dtype (FORMATS 4.6), bit-equal for r <= 128. */
gf_status gf_merge(const gf_files *base, const gf_merge_options *opt, gf_err *err);

#endif
