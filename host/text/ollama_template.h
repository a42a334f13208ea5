/* ollama_template.h - a model's chat template as Ollama takes one, in the syntax of Go's
 * text/template (FORMATS 10.1).
 *
 * Nothing is translated. Conversations with marks in them are rendered with the model's own
 * template; what stands before, between and behind the marks makes the Go template, if it has one
 * of two forms: each message between a head and a foot of its role, or the system message inside a
 * user's turn. What that template gives is then compared with the model's own rendering of other
 * conversations; if one differs, there is no Go template, rather than a wrong one. */
#ifndef GRAFT_HOST_TEXT_OLLAMA_TEMPLATE_H
#define GRAFT_HOST_TEXT_OLLAMA_TEMPLATE_H

#include "text/template.h"

typedef struct {
    const char *bos, *eos, *pad, *unk; /* the tokenizer's tokens; may be NULL */
    bool adds_bos; /* the runtime puts BOS first, so that the template must not */
} gf_ollama_tokens;

/* Zero-initialise; free with gf_ollama_template_free. */
typedef struct {
    gf_buf text; /* empty: there is none, and `why` says why */
    char why[160];
    char *stop;     /* what ends an assistant's turn; NULL: nothing without blanks */
    bool strips;    /* the model's template strips blanks around a message; Go's has no means to */
    bool no_system; /* it takes no system message; here one stands before the first user's */
    bool lacks_bos; /* the runtime puts BOS first, the model's template does not */
} gf_ollama_template;

/* GF_OK also if there is none; what fails then is memory. */
gf_status gf_ollama_template_make(gf_ollama_template *out, const gf_template *jinja,
                                  const gf_ollama_tokens *tokens, gf_err *err);
void gf_ollama_template_free(gf_ollama_template *t);

#endif
