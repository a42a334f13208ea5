/* record.h - proof of how an adapter was made: run.json, and the options that a resume
 * must keep. */
#ifndef GRAFT_HOST_CLI_RECORD_H
#define GRAFT_HOST_CLI_RECORD_H

#include "cli/session.h"
#include "base/hash.h"
#include "train/plan.h"

/* Hashes the base's files in a thread of its own: that takes seconds for a large one, and nothing
 * waits for it but run.json. */
typedef struct gf_base_hash gf_base_hash;
gf_status gf_base_hash_start(gf_base_hash **h, const gf_files *files, gf_err *err);
/* Waits and frees. */
gf_status gf_base_hash_end(gf_base_hash *h, gf_buf *json, gf_err *err);

/* What must be the same on --resume, as a JSON object: every option but the free ones, the data's,
 * the template's and the base's hashes in place of their paths (of the base's weights only how each
 * tensor begins), the instruction set. */
gf_status gf_record_identity(gf_session *s, gf_buf *out, gf_err *err);

typedef struct {
    const gf_plan *plan;
    const gf_arena *arena;    /* high-water marks */
    const char *base;         /* JSON of gf_base_hash_end; NULL: not known yet */
    const char *adapter_hash; /* of adapter_model.safetensors; NULL before the end */
    int64_t steps, done, examples, eval_examples;
    int64_t epoch;     /* examples of an epoch, as --data-weights has it */
    int64_t best_step; /* of the evaluations; -1: none */
    double best_loss;
    int ranks;
} gf_record;

/* The text of run.json. Appends. */
gf_status gf_record_json(gf_session *s, const gf_record *r, gf_buf *out, gf_err *err);

#endif
