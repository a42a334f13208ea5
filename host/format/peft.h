/* peft.h - adapter_config.json and adapter_model.safetensors as PEFT reads and writes them
 * (FORMATS 4). */
#ifndef GRAFT_HOST_FORMAT_PEFT_H
#define GRAFT_HOST_FORMAT_PEFT_H

#include "format/safetensors.h"

typedef struct {
    char *pattern;
    double value;
} gf_pattern; /* an entry of rank_pattern or alpha_pattern, in file order */

/* What graft honours of an adapter_config.json. */
typedef struct {
    int64_t r;
    double lora_alpha, lora_dropout;
    bool use_rslora, use_dora;
    char **target; /* list of target_modules; or none */
    int targets;
    char *target_regex; /* or target_modules as one string ("all-linear" included) */
    char **exclude;
    int excludes;
    char *exclude_regex;
    char **save; /* modules_to_save: names, trained in full */
    int saves;
    int64_t *layer; /* layers_to_transform */
    int layers;
    gf_pattern *rank_pattern, *alpha_pattern;
    int rank_patterns, alpha_patterns;
    char *base_model; /* base_model_name_or_path */
} gf_peft_config;

/* Reads and checks a config. A key with a value that graft cannot honour (bias != none,
 * lora_bias, ... : FORMATS 4.1) is GF_EMISSING and names key and value. Unknown keys whose
 * value is null, false or empty are ignored; other unknown keys are refused by name. target_modules
 * missing, null or empty: GF_EINPUT (PEFT resolves its per-model default before it saves). */
gf_status gf_peft_read_config(gf_peft_config *c, const char *path, gf_err *err);
/* Every key that PEFT 0.21 writes, sorted, indent 2 (FORMATS 4.1); lists and patterns in the order
 * given. layers_to_transform with a target string, "all-linear" included: GF_EARG, as PEFT would
 * not load it: write the names out. Appends to `text`; `path` is for messages. */
gf_status gf_peft_config_text(const gf_peft_config *c, const char *path, gf_buf *text, gf_err *err);
/* Writes it to `path`. */
gf_status gf_peft_write_config(const gf_peft_config *c, const char *path, gf_err *err);
void gf_peft_config_free(gf_peft_config *c);

/* Does the module path (model.layers.0.self_attn.q_proj) match target/exclude/layers? PEFT's rules,
 * FORMATS 4.2: list = equal or ends with "."+item; string = full match (PCRE2); layers only with a
 * list or "all-linear", and not for a target that is the whole path (as PEFT 0.21.2's code has it).
 * What modules_to_save names is none.
 * The caller asks for linear layers only, so "all-linear" is every module but lm_head. A regex that
 * does not compile or that backtracks without end: GF_EINPUT. */
gf_status gf_peft_matches(bool *out, const gf_peft_config *c, const char *module, gf_err *err);
/* r and scale of a module: the first pattern (in file order) that matches whole trailing
 * components, else r and lora_alpha; alpha/r or alpha/sqrt(r). */
gf_status gf_peft_rank(int64_t *r, double *scale, const gf_peft_config *c, const char *module,
                       gf_err *err);

#endif
