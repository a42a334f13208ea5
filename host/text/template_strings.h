/* template_strings.h - Python's str methods, shared by methods and filters. */
#ifndef GRAFT_HOST_TEXT_TEMPLATE_STRINGS_H
#define GRAFT_HOST_TEXT_TEMPLATE_STRINGS_H

#include "text/template_value.h"

typedef gf_status (*gf_jmethod_run)(gf_jrun *r, gf_jval self, const gf_jcall *c, gf_jval *out);

typedef struct {
    const char *name;
    gf_jmethod_run run;
} gf_jmethod_row;

extern const gf_jmethod_row gf_jmethods_str[]; /* ends with a NULL name */

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
