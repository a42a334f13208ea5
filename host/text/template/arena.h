/* arena.h - memory that is freed as a whole: one for a parsed template, one for
 * a render. */
#ifndef GRAFT_HOST_TEXT_TEMPLATE_ARENA_H
#define GRAFT_HOST_TEXT_TEMPLATE_ARENA_H

#include "graft/base.h"

typedef struct gf_jblock gf_jblock;

typedef struct {
    gf_jblock *objects, *chars; /* two bump regions, so that text stays adjacent to text */
    size_t used, limit;         /* bytes handed out, and how many may be */
} gf_jarena;

/* Zeroed, aligned for any object. NULL and `err` when memory or the limit is spent. */
void *gf_jarena_object(gf_jarena *a, size_t count, size_t size, gf_err *err);
/* n bytes of text, not zeroed. */
char *gf_jarena_chars(gf_jarena *a, size_t n, gf_err *err);
/* Makes the text that ends at `end` longer by n bytes in place; false if something follows it. */
bool gf_jarena_extend(gf_jarena *a, const char *end, size_t n);
/* Counts bytes that are kept elsewhere (output). */
gf_status gf_jarena_charge(gf_jarena *a, size_t n, gf_err *err);
void gf_jarena_free(gf_jarena *a);

#endif
