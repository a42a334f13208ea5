/* convert.h - a model as a GGUF file: types, keys and tensors that llama.cpp expects (FORMATS 6).
 */
#ifndef GRAFT_HOST_MODEL_CONVERT_H
#define GRAFT_HOST_MODEL_CONVERT_H

#include "format/gguf_write.h"
#include "model/names.h"

/* The type in which a GGUF of type `want` holds a tensor. Vectors are f32. Rows that are no whole
 * blocks: q4_k becomes q8_0, and what has no whole blocks of that either f16, the nearest that
 * llama.cpp's own quantiser would fall back to and graft can write. In 4 bits the matrix of the
 * logits (the output head, or the embedding where it is tied) becomes q8_0, since its errors are
 * not averaged by anything behind it; llama.cpp takes 6 bits there. */
gf_dtype gf_convert_dtype(gf_dtype want, const gf_config *c, const gf_name *name);
/* Is that a fall back, not the rule? */
bool gf_convert_falls_back(gf_dtype want, const gf_name *name);

/* Heads by which the rows of a tensor are permuted in a GGUF (FORMATS 6.5); 0: not. */
int64_t gf_convert_heads(const gf_config *c, const gf_name *name);

/* A tensor that only the GGUF has: f32 numbers. */
typedef struct {
    const char *name;
    float *data;
    int64_t count;
} gf_convert_extra;

enum { GF_CONVERT_EXTRAS = 2 };
typedef struct {
    gf_convert_extra list[GF_CONVERT_EXTRAS];
    int count;
} gf_convert_extras;

/* RoPE's divisors (rope_freqs.weight). Free with gf_convert_extras_free. */
gf_status gf_convert_extra_tensors(gf_convert_extras *x, const gf_config *c, gf_err *err);
void gf_convert_extras_free(gf_convert_extras *x);

/* All keys of the file: those of a base that is a GGUF, but for the type of its weights; else from
 * the config, with `name` and the tokenizer's keys (may be NULL). `parameters`: of the model. What
 * a GGUF cannot say (dynamic RoPE, windows of some layers ...): GF_EMISSING. */
gf_status gf_convert_keys(gf_gguf_keys *k, const gf_files *base, gf_dtype dtype, const char *name,
                          uint64_t parameters, const gf_gguf_keys *tokenizer, gf_err *err);

#endif
