/* adapter.h - a LoRA adapter over a model's linear layers: which modules, which ranks, and where
 * each A and B lies in the flat adapter space. PEFT's rules (FORMATS 4). */
#ifndef GRAFT_HOST_MODEL_ADAPTER_H
#define GRAFT_HOST_MODEL_ADAPTER_H

#include "format/peft.h"
#include "model/files.h"

typedef struct {
    int64_t layer; /* -1: GF_EMBED, GF_HEAD */
    gf_linear_id id;
    int64_t r, n, k;
    double scale;  /* alpha / r or alpha / sqrt(r) */
    int a, b;      /* A [r,k] and B [n,r] in gf_adapter.param */
    int magnitude; /* DoRA's m [n] there; -1: none */
} gf_lora;

/* A trained tensor: PEFT's name and shape, and where it starts in the flat adapter space, which is
 * ordered by kind: all A, then all B, and so on, each in model order. */
typedef enum {
    GF_PARAM_A,
    GF_PARAM_B,
    GF_PARAM_MAGNITUDE, /* DoRA's m [n] */
    GF_PARAM_EMBED_A,   /* of the embedding: [r,V] */
    GF_PARAM_EMBED_B,   /* [D,r] */
    GF_PARAM_FULL,      /* a whole tensor of the base (modules_to_save) */
    GF_PARAM_KINDS
} gf_param_kind;

typedef struct {
    gf_param_kind kind;
    int lora; /* its module in gf_adapter.lora; -1: none */
    int rank; /* 1: a vector, cols is 1 */
    int64_t rows, cols;
    int64_t at;     /* elements */
    char name[128]; /* in adapter_model.safetensors */
} gf_param;

typedef struct {
    gf_peft_config config;
    gf_lora *lora; /* in model order: layer, then id */
    int count;
    int *at; /* [layers * GF_LINEARS + 2] index into lora, or -1; embedding and head at the end */
    int64_t layers;
    gf_param *param; /* in the order of the flat space */
    int params;
    int full_embed, full_head;         /* modules_to_save: their GF_PARAM_FULL in param; -1: none */
    int64_t start[GF_PARAM_KINDS + 1]; /* where each kind starts in the flat space, then its end */
    int64_t size;                      /* parameters of the flat space */
    bool split; /* PiSSA, OLoRA: only the first half of every rank trains (factor.h) */
} gf_adapter;

typedef enum { GF_INIT_DEFAULT, GF_INIT_GAUSSIAN, GF_INIT_PISSA, GF_INIT_OLORA } gf_init;

/* Resolves config against the model: takes over *config (which is emptied). A target that matches
 * nothing is GF_EARG and lists the modules that exist; "all-linear" is expanded to the list of
 * names. modules_to_save other than the embedding and the head, or of a model that has one tensor
 * for both, is GF_EMISSING. */
gf_status gf_adapter_resolve(gf_adapter *ad, gf_peft_config *config, const gf_config *model,
                             gf_err *err);
/* The same for a config that was read: a name in it that this model has no module for is let pass,
 * as PEFT does (it writes one list for models of many kinds). Its tensors have the last word: each
 * must belong to a module, and each module must have its own (gf_adapter_file_open). */
gf_status gf_adapter_adopt(gf_adapter *ad, gf_peft_config *config, const gf_config *model,
                           gf_err *err);
void gf_adapter_free(gf_adapter *ad);

/* The module of (layer, id), or NULL; layer -1: GF_EMBED and GF_HEAD. */
const gf_lora *gf_adapter_find(const gf_adapter *ad, int64_t layer, gf_linear_id id);

/* Fills the flat space for the first two: A by Philox keyed by (seed, module), B = 0. Default:
 * U(-1/sqrt(k), 1/sqrt(k)) (kaiming_uniform with a = sqrt 5); gaussian: N(0, 1/r^2) (PEFT's
 * normal_(std=1/r)). Of the embedding A = 0 and B ~ N(0, 1), whatever init says (FORMATS 4.4). */
void gf_adapter_init(const gf_adapter *ad, float *value, gf_init init, uint64_t seed);

/* modules_to_save start as the base has them, once the rest of the flat space is filled. */
gf_status gf_adapter_copy_base(const gf_adapter *ad, float *value, const gf_files *files,
                               gf_err *err);

/* Reads DIR/adapter_config.json alone, to be resolved. */
gf_status gf_adapter_open(gf_adapter *ad, const char *dir, const gf_config *model, gf_err *err);

/* DIR/adapter_model.safetensors or .bin, checked: a tensor that belongs to no module, or a missing
 * or misshapen one, is GF_EINPUT by name: never a silent no-op. Close it whatever comes back. */
typedef struct {
    gf_source source;
    const gf_entry **entry; /* [ad->params]: f32, f16 or bf16 */
} gf_adapter_file;
gf_status gf_adapter_file_open(gf_adapter_file *f, const gf_adapter *ad, const char *dir,
                               gf_err *err);
/* The folder's tensors as they are: adapter_model.safetensors, or without it adapter_model.bin. */
gf_status gf_adapter_source(gf_source *s, const char *dir, gf_err *err);
/* Rows [first, first + count) of a tensor as f32; `raw` has room for them as f32. */
gf_status gf_adapter_file_rows(const gf_adapter_file *f, const gf_entry *e, int64_t first,
                               int64_t count, void *raw, float *out, gf_err *err);
void gf_adapter_file_close(gf_adapter_file *f);

/* Reads such a file into the flat space. */
gf_status gf_adapter_read(const gf_adapter *ad, float *value, const char *dir, gf_err *err);
/* Writes DIR/adapter_config.json and DIR/adapter_model.safetensors (f32). */
gf_status gf_adapter_write(const gf_adapter *ad, const float *value, const char *dir, gf_err *err);

#endif
