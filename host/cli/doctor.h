/* doctor.h - what this machine has of what graft can use, what is missing and how to get it. */
#ifndef GRAFT_HOST_CLI_DOCTOR_H
#define GRAFT_HOST_CLI_DOCTOR_H

#include "graft/base.h"

/* X(state, word): missing is what the machine's own parts need to be of use; optional is what only
 * some runs want. */
#define GF_FINDING_LIST(X)                                                                         \
    X(GF_FOUND, "ok")                                                                              \
    X(GF_OPTIONAL, "optional")                                                                     \
    X(GF_LACKING, "missing")

typedef enum {
#define X(state, word) state,
    GF_FINDING_LIST(X)
#undef X
} gf_finding_state;

typedef struct {
    const char *name;
    gf_finding_state state;
    char text[256];  /* what there is, or what is not */
    const char *how; /* to get it; NULL if it is there */
} gf_finding;

enum { GF_FINDINGS = 48 }; /* 16 of a machine, and a few dozen GPUs */

typedef struct {
    gf_finding item[GF_FINDINGS];
    int count, lacking;
} gf_findings;

/* Looks at processor, memory, disk (of `dir`), GPUs, their libraries, MPI and what graft is linked
 * with. */
void gf_doctor_look(gf_findings *f, const char *dir);
/* Lines for people; one JSON object. Append. */
gf_status gf_doctor_text(const gf_findings *f, gf_buf *out, gf_err *err);
gf_status gf_doctor_json(const gf_findings *f, gf_buf *out, gf_err *err);

#endif
