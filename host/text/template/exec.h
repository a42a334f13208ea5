/* exec.h - running a template: expressions (template/eval.c), statements
 * (template/exec.c), macros and global functions (template/call.c). */
#ifndef GRAFT_HOST_TEXT_TEMPLATE_EXEC_H
#define GRAFT_HOST_TEXT_TEMPLATE_EXEC_H

#include "text/template/ast.h"

/* Variables of one scope. Names are interned, so pointers are compared. */
struct gf_jframe {
    gf_jframe *parent;
    const gf_jstr **name;
    gf_jval *value;
    size_t count, cap;
    bool captured; /* a macro keeps it: it may not be used again */
};

struct gf_jloop {
    gf_jlist *items;
    size_t index0;
    gf_jval seen; /* by changed(); GF_J_UNDEFINED before the first call */
};

struct gf_jmacro {
    const gf_jstr *name;
    const gf_jparams *params;
    const gf_jnode *body;
    gf_jframe *frame;   /* where it is defined */
    const gf_jnode *of; /* for lines */
};

struct gf_jfunction {
    const char *name;
    gf_status (*run)(gf_jrun *r, const gf_jcall *c, gf_jval *out);
};

gf_jframe *gf_jframe_new(gf_jrun *r, gf_jframe *parent); /* NULL: gf_jrun_spent */
gf_status gf_jframe_set(gf_jrun *r, gf_jframe *f, const gf_jstr *name, gf_jval v);
/* NULL: no such variable in f or around it. */
gf_jval *gf_jframe_find(gf_jframe *f, const gf_jstr *name);

gf_status gf_jeval(gf_jrun *r, gf_jframe *f, const gf_jnode *n, gf_jval *out);
/* Evaluates a call's arguments; `extra` more places for named ones stay free. */
gf_status gf_jeval_arguments(gf_jrun *r, gf_jframe *f, const gf_jargs *args, size_t extra,
                             gf_jcall *out);
gf_status gf_jeval_call(gf_jrun *r, gf_jval callee, const gf_jcall *c, gf_jval *out);
/* A filter node on a value that is there already (set and filter blocks). */
gf_status gf_jeval_filter(gf_jrun *r, gf_jframe *f, const gf_jnode *n, const gf_jval *input,
                          gf_jval *out);
gf_status gf_jexec_body(gf_jrun *r, gf_jframe *f, const gf_jnode *body);
/* A body's output as a string. */
gf_status gf_jexec_capture(gf_jrun *r, gf_jframe *f, const gf_jnode *body, gf_jval *out);

gf_status gf_jloop_attribute(gf_jrun *r, gf_jloop *loop, const gf_jstr *name, bool *found,
                             gf_jval *out);
gf_status gf_jloop_call(gf_jrun *r, gf_jloop *loop, const char *method, const gf_jcall *c,
                        gf_jval *out);
gf_status gf_jmacro_call(gf_jrun *r, const gf_jmacro *m, const gf_jcall *c, gf_jval *out);
/* raise_exception, strftime_now, namespace, range, dict, cycler, joiner. */
const gf_jfunction *gf_jfunction_find(const gf_jstr *name);

#endif
