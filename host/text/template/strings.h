/* strings.h - Python's str methods, shared by methods and filters. */
#ifndef GRAFT_HOST_TEXT_TEMPLATE_STRINGS_H
#define GRAFT_HOST_TEXT_TEMPLATE_STRINGS_H

#include "text/template/value.h"

typedef gf_status (*gf_jmethod_run)(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out);

typedef struct {
    const char *name;
    gf_jmethod_run run;
} gf_jmethod_row;

extern const gf_jmethod_row gf_jmethods_str[], gf_jmethods_str_more[]; /* end with a NULL name */

/* A part of v's text, as safe as v. */
gf_status gf_jstr_part(gf_jrun *r, gf_jval v, size_t from, size_t to, gf_jval *out);
/* Arguments of the wrong type are an error; `what` names the method. */
gf_status gf_jstr_want(gf_jrun *r, const char *what, gf_jval v);
gf_status gf_jint_want(gf_jrun *r, const char *what, gf_jval v, int64_t *out);

/* 'u' upper, 'l' lower, 'c' capitalize, 't' title, 's' swapcase. */
gf_status gf_jstr_case(gf_jrun *r, gf_jval v, int how, gf_jval *out);
/* `chars` none: whitespace. */
gf_status gf_jstr_strip(gf_jrun *r, gf_jval v, gf_jval chars, bool left, bool right, gf_jval *out);
/* count < 0: all. */
gf_status gf_jstr_replace(gf_jrun *r, gf_jval v, gf_jval from, gf_jval to, int64_t count,
                          gf_jval *out);
gf_status gf_jstr_join(gf_jrun *r, gf_jval separator, const gf_jlist *l, bool convert,
                       gf_jval *out);
/* Lines without their ends. */
gf_status gf_jstr_lines(gf_jrun *r, gf_jval v, bool keep_ends, gf_jlist **out);

#endif
