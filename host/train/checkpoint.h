/* checkpoint.h - DIR/checkpoint-N: all that an exact resume needs, and a PEFT adapter besides.
 *
 *   adapter_config.json, adapter_model.safetensors   the adapter after N updates
 *   optimizer.safetensors                            the optimizer's state, by gf_moment_name
 *   state.json                                       step, evaluations so far, and the options
 *                                                    that must stay
 *
 * The folder appears complete or not at all: it is written as DIR/.checkpoint-N.tmp and renamed. */
#ifndef GRAFT_HOST_TRAIN_CHECKPOINT_H
#define GRAFT_HOST_TRAIN_CHECKPOINT_H

#include "model/space.h"
#include "train/history.h"

typedef struct {
    int64_t step;
    const char *identity; /* JSON object of the options that must stay */
    gf_history history;   /* read: the caller frees it, whatever comes back */
    gf_optim optim;
    gf_space *space; /* values and the optimizer's state */
} gf_state;

gf_status gf_checkpoint_save(const gf_state *s, const gf_adapter *ad, const char *dir, gf_err *err);

/* Reads into s->space, s->step and the empty s->history. The checkpoint's options are
 * compared with s->identity, its adapter_config.json with `ad` (but for the base's path): the first
 * that differs is GF_EARG with both values. Moments that are no moments (NaN, Inf, v < 0):
 * GF_EINPUT. */
gf_status gf_checkpoint_load(gf_state *s, const gf_adapter *ad, const char *path, gf_err *err);

/* DIR/checkpoint-STEP; NULL without memory. The caller frees it. */
char *gf_checkpoint_path(const char *dir, int64_t step, gf_err *err);

/* The path of the checkpoint with the largest number in DIR, or NULL if there is none (GF_OK). */
gf_status gf_checkpoint_last(char **path, const char *dir, gf_err *err);

/* After checkpoint-`newest` was written: removes leftovers of interrupted writes and removals,
 * checkpoints of later steps (a course that was given up by going on from an earlier one), and the
 * oldest ones until `keep` are left; never the newest, nor that of step `best` (-1: none). Each
 * disappears at once, by a rename. */
gf_status gf_checkpoint_prune(const char *dir, int64_t keep, int64_t newest, int64_t best,
                              gf_err *err);

/* May a run write to DIR? Missing or empty: yes. Else only with `resume`, and only if everything in
 * it is a run's (run.json, metrics.jsonl, checkpoints, adapter and tokenizer files): GF_EARG names
 * what is in the way; so is an adapter without a checkpoint, which a new start would overwrite. */
gf_status gf_output_dir_check(const char *dir, bool resume, gf_err *err);

#endif
