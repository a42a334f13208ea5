/* family.h - the families that graft runs, one row each: what a missing key of config.json means,
 * and what differs in their networks and files (FORMATS 2.2, 2.3, 6.3, 6.5). */
#ifndef GRAFT_HOST_MODEL_FAMILY_H
#define GRAFT_HOST_MODEL_FAMILY_H

#include "model/config.h"

typedef enum {
    GF_WINDOW_NONE,   /* sliding_window is not a key of the family */
    GF_WINDOW_ALL,    /* every layer, unless null */
    GF_WINDOW_LAYERED /* use_sliding_window, then layer_types or max_window_layers */
} gf_window_rule;

typedef enum {
    GF_BIAS_NONE,
    GF_BIAS_QKV, /* q, k and v always have one, o never */
    GF_BIAS_KEY  /* attention_bias: all of q, k, v, o or none */
} gf_bias_rule;

typedef struct {
    const char *name;         /* model_type of config.json */
    const char *architecture; /* of the causal language model */
    const char *base_class;   /* of the checkpoint without a head */
    const char *gguf_arch;    /* general.architecture */
    bool gguf_permuted;       /* rows of q and k interleaved in a GGUF (FORMATS 6.5) */
    bool gguf_only_as;        /* another row is meant by gguf_arch unless a window is set */
    /* class defaults; G 0: = H, K 0: = D / H */
    int64_t V, D, F, L, H, G, K, max_position, window, max_window_layers;
    double eps, theta;
    int32_t bos, eos, pad; /* -1: none */
    gf_window_rule window_rule;
    gf_bias_rule bias_rule;
    bool mlp_bias_key; /* mlp_bias is a key */
    bool qk_norm;
} gf_family;

/* By class name of config.json's architectures (with or without head), by model_type, by GGUF
 * architecture; NULL: none. */
const gf_family *gf_family_by_class(const char *name);
const gf_family *gf_family_by_name(const char *name);
const gf_family *gf_family_by_gguf(const char *arch, bool window);

/* "llama, mistral, ..." for messages. */
void gf_family_list(char *buf, size_t size);

/* What both readers of a config end with: derived values, and every check of sizes against each
 * other. `where` names the file in messages. */
gf_status gf_config_finish(gf_config *c, const gf_family *family, const char *where, gf_err *err);

/* Largest values taken from files: far above any model, low enough that no product of two of them
 * and an element size overflows 63 bits. */
#define GF_MAX_WIDTH ((int64_t)1 << 24)
#define GF_MAX_LAYERS ((int64_t)1 << 14)
#define GF_MAX_POSITION ((int64_t)INT32_MAX) /* positions and ids are i32 */

#endif
