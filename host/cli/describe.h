/* describe.h - what is in a model, an adapter, a checkpoint or this machine, as text for people.
 * Each appends to `out`. */
#ifndef GRAFT_HOST_CLI_DESCRIBE_H
#define GRAFT_HOST_CLI_DESCRIBE_H

#include "cli/session.h"

/* --model: sizes, weights, rope, tokenizer, template. */
gf_status gf_describe_model(gf_session *s, gf_buf *out, gf_err *err);
/* An adapter folder. With a model in the session also what it adapts there. */
gf_status gf_describe_adapter(gf_session *s, const char *dir, gf_buf *out, gf_err *err);
/* A GGUF file that holds an adapter (general.type); GF_EMISSING: the file is another one. */
gf_status gf_describe_gguf_adapter(const char *path, gf_buf *out, gf_err *err);
/* A checkpoint folder's state.json. */
gf_status gf_describe_checkpoint(const char *dir, gf_buf *out, gf_err *err);
/* The instruction sets that this machine has, best first, as a list; `best`: the one that auto
 * takes. */
gf_status gf_describe_isas(gf_buf *list, char best[32], gf_err *err);
/* Processor, instruction sets, memory, GPUs. */
gf_status gf_describe_machine(gf_buf *out, gf_err *err);
/* GPUs, their driver and libraries; where something is missing, what and how to get it. */
gf_status gf_describe_gpus(gf_buf *out, gf_err *err);

/* "  name    value" as every line of these looks. */
gf_status gf_describe_line(gf_buf *out, gf_err *err, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Tensors, parameters and bytes of a file by dtype. */
gf_status gf_describe_tensors(const gf_source *source, gf_buf *out, gf_err *err);

#endif
