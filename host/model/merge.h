/* merge.h - base, with or without adapters, -> a model of its own: a folder of safetensors or a
 * GGUF file, streaming: at most 64 MB of weights in memory. */
#ifndef GRAFT_HOST_MODEL_MERGE_H
#define GRAFT_HOST_MODEL_MERGE_H

#include "format/gguf_write.h"
#include "model/merge_delta.h"
#include "model/quality.h"

typedef struct {
    const gf_merge_adapter *adapter; /* none: the base in another form */
    int adapters;
    const char *output; /* a new or empty folder, or the GGUF file (replaced if it is there) */
    bool gguf;          /* a file */
    const char *name;   /* general.name of a GGUF made from a folder */
    /* tokenizer.ggml.* of a GGUF made from a folder; NULL: the base has no tokenizer. What is made
     * from a GGUF keeps that one's. */
    const gf_gguf_keys *tokenizer;
    gf_dtype dtype; /* of the weights written; GF_DTYPES: the base's (f16 for a quantised GGUF) */
    int64_t max_shard; /* bytes of weights in one file of a folder; 0: 5 GB */
    int threads;       /* that round weights, 0: one; the bits are the same for any number */
    /* Called when the folder is there and before the long work; what it writes there is removed
     * with the rest if anything fails. May be NULL. */
    gf_status (*beside)(void *ctx, const char *dir, gf_err *err);
    /* After each slice: tensors done so far. false: stop (GF_EINTERRUPT). May be NULL. */
    bool (*progress)(void *ctx, int64_t done, int64_t total);
    void *ctx;
} gf_merge_options;

typedef struct {
    int64_t tensors, bytes;  /* written, of weights */
    int64_t fallbacks;       /* tensors that the type asked for cannot hold (gf_convert_dtype) */
    char fallback[96];       /* the first of them */
    gf_dtype fallback_dtype; /* and what it became */
    gf_dtype dtype;          /* of the weights */
    double weight_error; /* largest of all tensors: RMS of what rounding changed over RMS of it */
    gf_quality quality;  /* of the adapters' share; free with gf_quality_free */
} gf_merge_result;

/* Writes the model whole or not at all. A folder gets config.json and generation_config.json
 * (copied, or written from a GGUF's metadata) and shards of weights with an index, or one file.
 *
 * Arithmetic: every adapter's delta = (B A) * scale in f32 (DoRA: W' - W with W' = (m / |W + B A
 * scale|) (W + B A scale)), W += sum of weight * delta in f32, one rounding to the output type. One
 * adapter of weight 1: PEFT's merge, bit for bit up to r = 192 (FORMATS 4.6). Several: PEFT's
 * add_weighted_adapter with combination_type "cat", and what its merges one after another give but
 * for their roundings in between. (PEFT's "linear" adds A to A and B to B, which mixes the A of one
 * adapter with the B of another; that is not done here.) */
gf_status gf_merge(gf_merge_result *r, const gf_files *base, const gf_merge_options *opt,
                   gf_err *err);

#endif
