/* modelfile.h - Ollama's Modelfile for a base, a GGUF adapter and the chat template that was
 * trained with (FORMATS 10). */
#ifndef GRAFT_HOST_CLI_MODELFILE_H
#define GRAFT_HOST_CLI_MODELFILE_H

#include "cli/session.h"

typedef struct {
    gf_session *session; /* of tokenizer and template */
    const gf_config *base;
    const char *base_path; /* a .gguf file, or a folder, which Ollama can't take for sure */
    bool base_is_gguf;
    const char *adapter; /* PEFT folder */
    const char *gguf;    /* name of the GGUF adapter beside the Modelfile */
    const cJSON *run;    /* run.json; or NULL */
} gf_modelfile;

/* Appends the Modelfile's text to `out`, and to `said` what the user should know, a sentence a
 * line. A path that a Modelfile cannot hold: GF_EARG. */
gf_status gf_modelfile_text(const gf_modelfile *m, gf_buf *out, gf_buf *said, gf_err *err);

#endif
