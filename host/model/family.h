/* family.h - the families that graft runs, one row each: what a missing key of config.json means,
 * and what differs in their networks and files (FORMATS 2.2, 2.3, 6.3, 6.5). */
#ifndef GRAFT_HOST_MODEL_FAMILY_H
#define GRAFT_HOST_MODEL_FAMILY_H

#include "model/config.h"

typedef enum {
    GF_WINDOW_NONE,    /* sliding_window is not a key of the family */
    GF_WINDOW_ALL,     /* every layer, unless null */
    GF_WINDOW_FROM,    /* use_sliding_window, then layer_types or from max_window_layers on */
    GF_WINDOW_NO_ROPE, /* use_sliding_window, then layer_types or the layers without RoPE */
    GF_WINDOW_PERIODIC /* layer_types, or every layer but each window_period-th */
} gf_window_rule;

typedef enum {
    GF_ROPE_ALL,    /* one for all layers */
    GF_ROPE_LOCAL,  /* another for the layers with a sliding window */
    GF_ROPE_SKIPPED /* none in layers of which no_rope_layers says 0 */
} gf_rope_rule;

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
    int64_t gguf_wide_scale;  /* a GGUF of so many layers has query_scalar D / H, others K (as
                                 llama.cpp tells Gemma's 27B from the rest) */
    /* class defaults; G 0: = H, K 0: = D / H */
    int64_t V, D, F, L, H, G, K, max_position, window, max_window_layers;
    int64_t original_max; /* original_max_position_embeddings; 0: no key of the class */
    double eps, theta, local_theta;
    int32_t bos, eos, pad; /* -1: none */
    bool tied;
    double query_scalar, attention_cap, logits_cap; /* 0: none */
    gf_window_rule window_rule;
    int64_t window_period;
    gf_rope_rule rope_rule;
    int64_t rope_skip;     /* each so-manieth layer has none: no_rope_layer_interval's default */
    bool partial_rotary;   /* partial_rotary_factor is a key */
    bool yarn_is_longrope; /* what its files call yarn, or su, is longrope */
    gf_bias_rule bias_rule;
    bool mlp_bias_key;   /* mlp_bias is a key */
    const char *act_key; /* hidden_act or hidden_activation */
    gf_act act;
    bool fused;
    gf_qk_norm qk_norm;
    gf_norms norms;
    bool gemma;       /* norms with w + 1, embedding times sqrt(D), gelu always the tanh form */
    bool multipliers; /* Granite's keys */
} gf_family;

/* By class name of config.json's architectures (with or without head), by model_type, by GGUF
 * architecture; NULL: none. */
const gf_family *gf_family_by_class(const char *name);
const gf_family *gf_family_by_name(const char *name);
const gf_family *gf_family_by_gguf(const char *arch, bool window);

/* "llama, mistral, ..." for messages. */
void gf_family_list(char *buf, size_t size);

/* Allocates window and rope_of, zeroed: full attention, RoPE number 0. */
gf_status gf_config_layers(gf_config *c, gf_err *err);

/* What both readers of a config end with: derived values, and every check of sizes against each
 * other. Before it, rope_of says -1 for layers without RoPE and 0 for the others. `where` names the
 * file in messages. */
gf_status gf_config_finish(gf_config *c, const gf_family *family, const char *where, gf_err *err);

/* Largest values taken from files: far above any model, low enough that no product of two of them
 * and an element size overflows 63 bits. */
#define GF_MAX_WIDTH ((int64_t)1 << 24)
#define GF_MAX_LAYERS ((int64_t)1 << 14)
#define GF_MAX_POSITION ((int64_t)INT32_MAX) /* positions and ids are i32 */

#endif
