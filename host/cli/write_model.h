/* write_model.h - what merge and convert share: from options to a model on disk, and the report on
 * it. */
#ifndef GRAFT_HOST_CLI_WRITE_MODEL_H
#define GRAFT_HOST_CLI_WRITE_MODEL_H

#include "cli/session.h"
#include "model/merge.h"
#include "model/verify.h"

/* What was done, for the report. */
typedef struct {
    const gf_merge_adapter *adapter;
    int adapters;
    gf_merge_result merged;
    bool verified;
    gf_verify verify;
    double bound;     /* of gf_verify_error */
    uint64_t peak;    /* largest anonymous memory seen while writing, bytes; 0: not known */
    double seconds;   /* of writing */
    const char *note; /* of gf_tokenizer_put_gguf */
} gf_written;

/* Writes --model with these adapters to --output-dir or --output, verifies it with --verify and
 * prints the report; GF_ENUMERIC if the check fails. */
gf_status gf_write_model(const gf_options *o, const gf_merge_adapter *adapter, int adapters,
                         gf_err *err);

/* write_report.c: on stderr, and on stdout with --json. */
gf_status gf_write_report(const gf_options *o, const gf_written *w, gf_err *err);

/* verify_model.c: runs base + adapter and what was written over the same tokens, in f32 on the
 * CPU. */
gf_status gf_verify_model(gf_written *w, const gf_options *o, const char *path, gf_err *err);

#endif
