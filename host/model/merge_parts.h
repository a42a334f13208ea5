/* merge_parts.h - the files that a merge writes around its weights: shards and their index
 * (FORMATS 1.5), configs copied from a folder. */
#ifndef GRAFT_HOST_MODEL_MERGE_PARTS_H
#define GRAFT_HOST_MODEL_MERGE_PARTS_H

#include "model/names.h"

typedef struct {
    char file[64];        /* model.safetensors, or model-00001-of-00002.safetensors */
    int64_t first, count; /* of the model's tensors, in model order */
} gf_shard;

typedef struct {
    int count;
    gf_shard *shard;
    uint64_t bytes, parameters; /* of all tensors */
} gf_shards;

/* Deals tensors to files of at most max_bytes of data (0: 5 GB, as transformers 4 does, so that a
 * download that breaks off costs little); a tensor that is larger gets a file of its own. */
gf_status gf_shards_plan(gf_shards *s, const gf_name *name, int64_t count, gf_dtype dtype,
                         int64_t max_bytes, gf_err *err);
gf_status gf_shards_write_index(const gf_shards *s, const gf_name *name, const char *dir,
                                gf_err *err);
void gf_shards_free(gf_shards *s);

/* Copies config.json and generation_config.json byte for byte, but for the dtype if it changes
 * (GF_DTYPES: it does not). */
gf_status gf_config_copy(const char *from, const char *to, gf_dtype dtype, gf_err *err);

#endif
