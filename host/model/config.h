/* config.h - what a model is, as data: read from config.json (old and new spelling) or from a
 * GGUF's metadata (FORMATS 2.2, 2.5, 6.3). A family is names and flags here, not code elsewhere. */
#ifndef GRAFT_HOST_MODEL_CONFIG_H
#define GRAFT_HOST_MODEL_CONFIG_H

#include "base/json.h"
#include "format/gguf.h"
#include "graft/ops.h"

typedef enum {
    GF_ROPE_DEFAULT,
    GF_ROPE_LINEAR,
    GF_ROPE_DYNAMIC,
    GF_ROPE_LLAMA3,
    GF_ROPE_YARN,
    GF_ROPE_LONGROPE
} gf_rope_type;

/* One rotary embedding; the formulas are in FORMATS 2.5. */
typedef struct {
    gf_rope_type type;
    double theta, factor;
    double low_freq_factor, high_freq_factor;            /* llama3 */
    double beta_fast, beta_slow, mscale, mscale_all_dim; /* yarn; 0: not given */
    double attention_factor;                             /* yarn, longrope; 0: not given */
    bool truncate;                                       /* yarn */
    int64_t original_max;                                /* original_max_position_embeddings */
    int64_t max_position;
    int64_t rotary; /* columns of a head that rotate: K, or K * partial_rotary_factor */
    float *divisor; /* [rotary/2] a GGUF's rope_freqs.weight, or NULL; divides the default's
                       frequencies */
    /* longrope, [rotary/2]: divisors for examples of up to original_max tokens, and for longer */
    float *short_factor, *long_factor;
} gf_rope_spec;

/* Angles of a text of one length differ from those of another (dynamic, longrope). */
bool gf_rope_by_length(const gf_rope_spec *r);
/* Keys turned in a text of `before` tokens are no keys of the same text grown to `after`, as the
 * reference has it: longrope past original_max. */
bool gf_rope_turns_anew(const gf_rope_spec *r, int64_t before, int64_t after);

/* Where RMSNorm stands on q and k, before RoPE. */
typedef enum {
    GF_QK_NONE,
    GF_QK_HEAD, /* over each head, w [K] */
    GF_QK_WHOLE /* over all heads of a token, w [H*K] and [G*K] */
} gf_qk_norm;

/* The norms around a branch (attention, MLP). */
typedef enum {
    GF_NORMS_PRE,      /* h += branch(norm(h)) */
    GF_NORMS_SANDWICH, /* h += norm(branch(norm(h))) */
    GF_NORMS_POST      /* h += norm(branch(h)) */
} gf_norms;

#define GF_ROPES 2 /* at most: one for full attention, one for sliding windows (Gemma 3) */

/* Granite's multipliers (FORMATS 2, corrections); all 1 in other families. */
typedef struct {
    double embedding, residual, logits; /* logits are divided by theirs */
} gf_multipliers;

typedef struct {
    char family[32];       /* model_type: "llama", "gemma3_text", ... */
    char architecture[64]; /* "LlamaForCausalLM" ... , for config.json */
    int64_t V, D, F, L, H, G, K;
    int64_t max_position;
    float eps;
    bool tied;           /* logits through the embedding */
    bool attention_bias; /* bias on q, k, v */
    bool output_bias;    /* bias on o */
    bool mlp_bias;       /* bias on gate, up, down */
    bool fused;          /* q, k, v are one linear layer (GF_QKV), gate and up too (GF_GATE_UP) */
    gf_qk_norm qk_norm;
    gf_norms norms;
    gf_act act;
    float norm_offset;               /* 0, or 1 where w is stored as w - 1 */
    double query_scalar;             /* query_pre_attn_scalar, or 0: the family has none */
    float attention_scale;           /* K^-1/2, query_scalar^-1/2 or Granite's multiplier */
    float attention_cap, logits_cap; /* 0: none */
    gf_multipliers by;
    float stream_eps;   /* of the norms that read the residual stream: see gf_config_finish */
    float embed_scale;  /* of the embedding's rows on their way into it */
    bool embed_rounded; /* the reference rounds embed_scale to the type of the weights */
    int64_t *window;    /* [L] sliding window of each layer, 0: full attention */
    int8_t *rope_of;    /* [L] which of `rope` turns the layer's q and k; -1: none does */
    int ropes;          /* how many there are: 1 or 2 */
    gf_rope_spec rope[GF_ROPES];
    gf_dtype dtype;           /* of the checkpoint: what merge writes by default */
    int32_t bos, eos[8], pad; /* -1: none */
    int eos_count;            /* generation stops at any of eos (generation_config.json first) */
    bool gguf;                /* q/k rows of the file stand in GGUF's order (FORMATS 6.5) */
    bool bnb;                 /* a folder whose weights bitsandbytes has quantised (FORMATS 8.3) */
    bool gguf_shifted;        /* norm weights of the file are GGUF's: w + 1 (FORMATS 6.4) */
} gf_config;

/* From a folder (config.json, generation_config.json) or GGUF metadata. An architecture or RoPE
 * type that graft lacks is GF_EMISSING and named with those it has; inconsistent sizes are
 * GF_EINPUT. */
gf_status gf_config_read(gf_config *c, const char *dir, gf_err *err);
gf_status gf_config_read_gguf(gf_config *c, const gf_gguf *g, gf_err *err);
void gf_config_free(gf_config *c);

/* Writes config.json and generation_config.json that transformers 4 and 5 load, for a base that
 * came from a GGUF; `dtype` of the weights beside it. */
gf_status gf_config_write(const gf_config *c, const char *dir, gf_dtype dtype, gf_err *err);

/* cos and sin [count, rotary/2] for `count` positions from `first` of an example of `length` tokens
 * (dynamic scaling depends on it), times the attention factor. f32 arithmetic as the reference
 * (inv_freq f32, angle f32). */
void gf_rope_table(float *cos, float *sin, const gf_rope_spec *r, int64_t first, int64_t count,
                   int64_t length);
/* The inverse frequencies [rotary/2] alone and the attention factor, for tests. */
double gf_rope_frequencies(float *inv_freq, const gf_rope_spec *r, int64_t length);

/* Checks a folder's quantization_config: bitsandbytes' 4-bit (nf4, fp4) and 8-bit weights are read,
 * any other method is GF_EMISSING and named. */
gf_status gf_config_quantization(const cJSON *quant, const char *path, gf_err *err);

#endif
