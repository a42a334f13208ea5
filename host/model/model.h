/* model.h - the network: weights, adapter space and activations in one arena; forward and backward
 * over rows. Written once; every backend runs it through graft/ops.h. Letters: graft/ops.h. */
#ifndef GRAFT_HOST_MODEL_MODEL_H
#define GRAFT_HOST_MODEL_MODEL_H

#include "graft/arena.h"
#include "graft/ops.h"
#include "model/adapter.h"
#include "model/moments.h"

/* ---- a row: whole examples laid end to end (DESIGN 2.1) ------------------------------------- */

/* What the host fills; gf_model_run uploads it. On a CPU these are the tensors themselves. */
typedef struct {
    int32_t *ids, *learned, *index, *label;
    float *cos[GF_ROPES], *sin[GF_ROPES];
} gf_row_host;

typedef struct {
    int64_t capacity; /* tokens */
    int64_t room;     /* N of the tensors below: capacity, on a device rounded up to a bucket */
    int64_t max_spans;
    gf_spans spans; /* what the ops get; span points to `span` */
    gf_span *span;  /* [max_spans], on the host */
    gf_row_host host;
    gf_tensor ids;     /* [room] i32 */
    gf_tensor learned; /* ids, but -1 for padding, whose embedding nothing trains; or none */
    gf_tensor cos[GF_ROPES], sin[GF_ROPES]; /* [room, C] f32 of each RoPE */
    gf_tensor index;                        /* [room] i32: rows of x that predict a label */
    gf_tensor label;                        /* [room] i32: what they predict */
    gf_tensor iota;                         /* [room] i32: 0, 1, 2, ... */
    int64_t predicted;                      /* entries of index and label that the row has */
    int64_t n, m;             /* N and M of the tensors in use: with filler on a device */
    int64_t turned[GF_ROPES]; /* host.cos and sin begin with so many of positions 0, 1, 2, ... */
} gf_row;

/* ---- the network ------------------------------------------------------------------- */

typedef struct {
    gf_tensor norm1, norm2;   /* before attention and MLP, [D] f32; or none */
    gf_tensor post1, post2;   /* of their outputs; or none */
    gf_tensor q_norm, k_norm; /* [K], or [HK] and [GK], f32; or none */
    gf_group qkv, o, gate_up, down;
} gf_layer;

/* A layer's groups, in the order of the pass. */
enum { GF_GROUPS = 4 };
static inline void gf_layer_groups(const gf_group *out[GF_GROUPS], const gf_layer *w)
{
    out[0] = &w->qkv, out[1] = &w->o, out[2] = &w->gate_up, out[3] = &w->down;
}

/* What the backward pass of a group of linear layers needs of their adapters. */
typedef struct {
    gf_tensor s; /* [N,R] their inner products, or none */
    gf_tensor z; /* [N,n] DoRA: the product before its magnitude, or none */
} gf_kept;

/* What the backward pass of a layer needs (tier "cheap": norms' and GLU's outputs are
 * made again). */
typedef struct {
    gf_tensor x, rstd1;            /* [N,D] f32, [N] */
    gf_tensor qkv;                 /* [N,(H+2G)K]: rotated q, rotated k, v */
    gf_tensor raw, rstd_q, rstd_k; /* q and k before their norm [N,(H+G)K], [N,H], [N,G] (norms
                                      over all heads: [N], [N]); or none */
    gf_tensor o, lse;              /* [N,HK], [N,H] */
    gf_tensor x2, rstd2;           /* [N,D] f32, [N] */
    gf_tensor gate_up;             /* [N,2F] */
    gf_tensor out1, out2; /* attention's and MLP's outputs before their norm [N,D]; or none */
    gf_tensor rstd_out1, rstd_out2; /* [N], or none */
    gf_kept kept_qkv, kept_o, kept_gate_up, kept_down;
} gf_saved;

/* Keys and values of tokens already seen, for generation. */
typedef struct {
    gf_tensor *k, *v; /* [L] of [capacity, G*K] */
    int64_t capacity, used;
} gf_cache;

typedef enum {
    GF_USE_TRAIN,   /* forward, backward, gradients, optimizer state */
    GF_USE_EVAL,    /* forward and losses */
    GF_USE_GENERATE /* forward with a cache, logits of the last token */
} gf_use;

typedef struct {
    gf_use use;
    gf_dtype precision;   /* GF_F32 or GF_BF16: activations and products */
    int64_t row_tokens;   /* capacity of a row */
    int64_t cache_tokens; /* GF_USE_GENERATE: prompt and answer together */
    gf_dropout dropout;   /* p, seed; the trainer sets the epoch */
    float noise_alpha;    /* NEFTune: noise on what is trained on, keyed as dropout; 0: none */
    gf_optim optim;       /* whose state the adapter space has room for */
} gf_model_options;

/* Results where the host can read them: the tensors themselves on a CPU, copies otherwise. */
typedef struct {
    float *nll;    /* [row.predicted], after gf_model_losses */
    int32_t *best; /* the same */
    float *logits; /* [V], after gf_model_feed */
    void *memory;  /* of all copies, those of the row too; NULL on a CPU */
} gf_model_host;

typedef struct {
    const gf_files *files;
    const gf_config *cfg;
    const gf_adapter *adapter; /* or NULL */
    gf_backend *be;
    gf_arena *arena;
    gf_model_options opt;

    gf_tensor embed, norm; /* [V,D] any storage, [D] f32 */
    gf_tensor dembed;      /* [V,D] i64: the embedding's gradient, if it trains in full */
    gf_group head;         /* [V,D]: the output head, perhaps the embedding itself */
    gf_linear embed_lora;  /* the embedding's adapter (a [r,V], b [D,r]), or none */
    gf_layer *layer;       /* [L] */

    gf_tensor value, grad;        /* the flat adapter space [size]: f32, i64 */
    gf_tensor moment[GF_MOMENTS]; /* the optimizer's state; parts that it lacks are none */
    gf_tensor sums;               /* [GF_SUMS] i64, right behind grad */
    gf_tensor reduced;            /* grad and sums in one: what ranks add up */
    gf_saved *saved;              /* [L]; all the same one unless training */
    gf_row row;
    gf_cache cache;
    gf_tensor x;       /* [N,D] f32: the residual stream behind the last layer */
    gf_tensor embed_s; /* [N,r] f32 of embed_lora, or none */
    gf_tensor nll;     /* [N] f32 of the row's predicted tokens */
    gf_tensor best;    /* [N] i32: their argmax */
    gf_tensor logits;  /* GF_USE_GENERATE: [1,V] f32 */
    gf_model_host host;
    gf_fixed fixed;    /* the step's gradient scale and flags */
    int64_t lowest;    /* lowest layer with an adapter: backward stops there; -1: the embedding */
    int64_t at_layer;  /* where the pass is, for messages; L: the head */
    int64_t at_first;  /* in the head: the first predicted token of the chunk that it is at */
    int64_t head_rows; /* tokens of a logits chunk */
} gf_model;

/* Lays the model out on a measuring arena, runs one full row dry (the plan: arena peaks and
 * be->tally of that row), commits the arena, lays out again and reads the weights. `files`,
 * `adapter`, `be` and `arena` must outlive the model. limit: bytes that the arena may take (0: no
 * limit); what does not fit is GF_EFIT with the numbers. plan_only stops after the dry run. The
 * adapter's values are the caller's to fill (gf_adapter_init or gf_adapter_read
 * into value.data). */
gf_status gf_model_open(gf_model *m, const gf_files *files, const gf_adapter *adapter,
                        gf_backend *be, gf_arena *arena, const gf_model_options *opt,
                        uint64_t limit, bool plan_only, gf_err *err);
void gf_model_close(gf_model *m);

/* Starts a new row; then adds examples while they fit (the caller checks tokens <= capacity).
 * Labels NULL: nothing is predicted. */
void gf_row_start(gf_model *m);
void gf_row_add(gf_model *m, const int32_t *ids, const int32_t *labels, int64_t length,
                uint64_t example);

/* What the likeliest token behind the example added last is: m->host.best has it after the row's
 * losses, in the order in which was asked. For examples without labels. */
void gf_row_ask(gf_model *m);

/* Forward of the row, loss per predicted token into m->nll and m->best. With train: the backward
 * pass follows, gradients are added to m->grad, losses and counters to m->sums. On a device it
 * returns when all is enqueued, and rows of a shape that it has seen replay a graph. Errors are in
 * be->err. */
gf_status gf_model_run(gf_model *m, bool train);
/* Waits for the row's losses: m->host.nll and m->host.best. */
gf_status gf_model_losses(gf_model *m);
/* Every group's tails and DoRA's norms, after the adapter's values have changed. */
gf_status gf_model_tails(gf_model *m);
/* The gradients of what does not train become zero: the second halves of a split adapter. */
gf_status gf_model_freeze(gf_model *m);

/* Generation: feeds `count` tokens behind those in the cache (count <= row capacity) and leaves the
 * logits of the last one in m->logits. `length`: of the text that is known by now, with what is
 * still to be fed (RoPE that grows with the length turns all pieces of a prompt alike).
 * m->host.logits has them for the host. */
gf_status gf_model_feed(gf_model *m, const int32_t *ids, int64_t count, int64_t length);

/* The residual stream's gradient. */
typedef struct {
    gf_tensor dx; /* [N,D] f32 */
    gf_tensor d;  /* as products take it: dx itself in f32, a rounded copy in bf16 */
} gf_dx;

/* block.c: one transformer block. y [N,D] f32 = block l of saved[l].x; with a cache, keys and
 * values are appended to it first. The backward pass takes the gradient of y and leaves that of x
 * there (unless nothing below needs it). */
gf_status gf_block_fwd(gf_model *m, int64_t l, gf_tensor y);
gf_status gf_block_bwd(gf_model *m, int64_t l, gf_dx g);

/* row.c: pads the row to its bucket and brings it to the backend. */
gf_status gf_row_ready(gf_model *m);

/* layout.c */
void gf_model_layout(gf_model *m);
/* Scratch of `rows` rows out of `full`: always taken in full, so that a run's high-water mark is
 * that of the plan's full row, to the byte (law 4). pitch: elements from row to row, d1 or more. */
gf_tensor gf_model_scratch(gf_model *m, const char *name, gf_dtype dtype, int64_t rows,
                           int64_t full, int64_t d1, int64_t pitch);
/* Columns [first, first + count) behind the ones that t shows, within its stride. */
gf_tensor gf_behind(gf_tensor t, int64_t first, int64_t count);
/* Elements of a row of n elements, rounded up to what a device's accesses want; n on a CPU. */
int64_t gf_model_pitch(const gf_model *m, int64_t n);

/* load.c */
gf_status gf_model_load(gf_model *m, gf_err *err);

#endif
