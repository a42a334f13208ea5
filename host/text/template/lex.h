/* lex.h - a template's text to tokens, with Jinja's whitespace rules (trim_blocks and
 * lstrip_blocks on, one trailing newline dropped; FORMATS 3.11). */
#ifndef GRAFT_HOST_TEXT_TEMPLATE_LEX_H
#define GRAFT_HOST_TEXT_TEMPLATE_LEX_H

#include "text/template/arena.h"

typedef enum {
    GF_JT_EOF,
    GF_JT_DATA,
    GF_JT_PRINT_BEGIN,
    GF_JT_PRINT_END,
    GF_JT_BLOCK_BEGIN,
    GF_JT_BLOCK_END,
    GF_JT_NAME,
    GF_JT_STRING,
    GF_JT_INT,
    GF_JT_FLOAT,
    GF_JT_OP,
} gf_jtoken_kind;

typedef struct {
    gf_jtoken_kind kind;
    int line;         /* 1-based */
    int op;           /* GF_JT_OP */
    const char *text; /* data, name, or a string's value; not NUL-terminated */
    size_t size;
    int64_t i;
    double f;
} gf_jtoken;

typedef struct {
    gf_jtoken *token; /* the last one is GF_JT_EOF */
    size_t count, cap;
} gf_jtokens;

/* `tokens` is malloc'd (caller frees ->token), texts lie in `a`. GF_EINPUT "WHERE:LINE: what". */
gf_status gf_jlex(gf_jtokens *tokens, gf_jarena *a, const char *text, size_t size,
                  const char *where, gf_err *err);

#endif
