/* files.h - a model on disk: a Hugging Face folder or a GGUF file, behind one set of names. */
#ifndef GRAFT_HOST_MODEL_FILES_H
#define GRAFT_HOST_MODEL_FILES_H

#include "model/config.h"

/* The linear layers that blocks have, in the order of the field's names (q_proj ... down_proj);
 * behind them those that stand for several in families that fuse them (Phi-3). */
typedef enum {
    GF_Q,
    GF_K,
    GF_V,
    GF_O,
    GF_GATE,
    GF_UP,
    GF_DOWN,
    GF_QKV,
    GF_GATE_UP,
    GF_LINEARS,
    /* outside the blocks, layer -1; the embedding is a layer from V to D, as PEFT has it */
    GF_EMBED = GF_LINEARS,
    GF_HEAD
} gf_linear_id;

typedef struct {
    char *path;
    bool is_gguf;
    gf_gguf gguf;     /* open if is_gguf */
    gf_source shards; /* else */
    bool bare;        /* a checkpoint of the base class: its names lack "model." */
    gf_config config;
} gf_files;

/* Opens a folder or a .gguf file and checks that the tensors are those of the family: a missing, a
 * wrongly shaped, an unreadable (dtype) or an unexpected one is named (GF_EINPUT). Those that
 * FORMATS 2.3 says to ignore (rotary_emb.inv_freq, lm_head of tied models) are. Headers only. */
gf_status gf_files_open(gf_files *f, const char *path, gf_err *err);
void gf_files_close(gf_files *f);

const gf_source *gf_files_source(const gf_files *f);

/* The tensor that Hugging Face calls `name` ("model.layers.0.self_attn.q_proj.weight",
 * "model.embed_tokens.weight", "lm_head.weight"), whatever the file calls it; NULL: none. */
const gf_entry *gf_files_find(const gf_files *f, const char *name);

/* Those that a block of this model has, in its order; returns their number. */
int gf_module_ids(const gf_config *c, const gf_linear_id **ids);
/* The module's number in the model, which keys dropout and the start of A. */
uint32_t gf_module_number(int64_t layer, gf_linear_id id);
/* "model.layers.L.self_attn.q_proj" for (layer, id); buf of at least 64 bytes. */
const char *gf_module_name(char buf[64], int64_t layer, gf_linear_id id);
/* Its weight's [n, k]. */
void gf_module_shape(const gf_config *c, gf_linear_id id, int64_t *n, int64_t *k);

/* Rows [first, first + count) of a weight or bias as Hugging Face has them: in its order (q and k
 * of a GGUF llama are put back, FORMATS 6.5) and with its values (norms of a GGUF Gemma are w + 1
 * there, and w here), in the file's dtype, rows contiguous. `heads` is the number of heads if the
 * rows are permuted, else 0 (gf_files_heads). */
gf_status gf_files_rows(const gf_files *f, const gf_entry *e, int64_t heads, int64_t first,
                        int64_t count, void *out, gf_err *err);
/* Heads by which the rows of the module's weight in this file are permuted: H, G or 0. */
int64_t gf_files_heads(const gf_files *f, gf_linear_id id);

#endif
