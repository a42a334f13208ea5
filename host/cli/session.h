/* session.h - what the commands share: from options to an open tokenizer, chat template, model,
 * adapter and backend, each opened when a command asks for it and all closed by one call. */
#ifndef GRAFT_HOST_CLI_SESSION_H
#define GRAFT_HOST_CLI_SESSION_H

#include "cli/options.h"
#include "comm/comm.h"
#include "model/model.h"
#include "text/dataset.h"

/* Zero-initialise with gf_session_start; close with gf_session_close, whatever failed between. */
typedef struct {
    const gf_options *o;
    const gf_comm *comm; /* of the ranks, each of which takes a device of its own; or NULL */
    bool plan;           /* only plans: without a device of its own a dry one will do */
    bool has_files, has_backend, has_adapter, has_model;
    gf_files files;          /* o->model */
    gf_tokenizer *tokenizer; /* NULL: the model has none (only token data can be used) */
    gf_template *chat;       /* NULL: the model has none */
    gf_backend backend;
    gf_adapter adapter; /* o->adapter, or what the command resolved; values in model.value */
    gf_arena arena;
    gf_model model;
} gf_session;

void gf_session_start(gf_session *s, const gf_options *o);
void gf_session_close(gf_session *s);

/* The headers of --model: s->files. Done once, however often it is called; so are the others. */
gf_status gf_session_files(gf_session *s, gf_err *err);

/* The tokenizer of --model. A folder without tokenizer.json, or a GGUF without one, leaves NULL and
 * is GF_OK unless `needed`. Does not need s->files: a folder of tokenizer files alone will do. */
gf_status gf_session_tokenizer(gf_session *s, bool needed, gf_err *err);

/* --chat-template, or the model's own: s->chat. None at all leaves NULL and is GF_OK unless
 * `needed`. Opens the tokenizer too. */
gf_status gf_session_template(gf_session *s, bool needed, gf_err *err);

/* The text of the chat template in use, for gf_tokenizer_save and for hashes: a new string of the
 * caller's, or NULL if there is none. */
gf_status gf_session_template_text(gf_session *s, char **text, gf_err *err);

/* Opens files, tokenizer and template and fills `out` from the options: what gf_dataset_load needs.
 * V comes from the model. */
gf_status gf_session_data_options(gf_session *s, gf_data_options *out, gf_err *err);

/* s->backend by --device, --threads, --isa. --device auto: a GPU where there is one. */
gf_status gf_session_backend(gf_session *s, gf_err *err);

/* --adapter, if given: s->adapter is resolved against the model (values are read by
 * gf_session_model). */
gf_status gf_session_adapter(gf_session *s, gf_err *err);

/* Opens all of the above but tokenizer and template, then s->model: for GF_USE_EVAL cache_tokens is
 * 0. The adapter (if any) and its values are read. Memory by gf_session_limit. Does not fit:
 * GF_EFIT with the numbers. Not for training: the trainer opens its own. */
gf_status gf_session_model(gf_session *s, gf_use use, int64_t row_tokens, int64_t cache_tokens,
                           gf_err *err);

/* --precision, resolved: GF_F32 or GF_BF16; auto is the open backend's default. */
gf_dtype gf_session_precision(const gf_session *s);
/* What a run takes besides its plan: of the host on a CPU, of the device on one. Bytes. */
uint64_t gf_session_reserve(const gf_session *s);
/* --memory-limit, or what is free now where the open backend takes it from, on a device less the
 * reserve; 0: not known. */
uint64_t gf_session_limit(const gf_session *s);

/* Reads one conversation for the template: an array of messages, or an object with `messages` (and
 * perhaps `tools`). The caller deletes *root; *messages and *tools point into it. */
gf_status gf_session_conversation(cJSON **root, const cJSON **messages, const cJSON **tools,
                                  const char *path, gf_err *err);

/* Renders the conversation with the session's template and appends its ids, without adding special
 * tokens. `rendered` may be NULL. */
gf_status gf_session_render(gf_session *s, const cJSON *messages, const cJSON *tools,
                            bool add_generation_prompt, gf_buf *rendered, gf_tokens *ids,
                            gf_err *err);

#endif
