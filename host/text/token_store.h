/* token_store.h - the ids and labels of a data set: in memory while they are few, else in a file
 * without a name that is written once and then mapped, so that a data set may be larger than
 * memory. */
#ifndef GRAFT_HOST_TEXT_TOKEN_STORE_H
#define GRAFT_HOST_TEXT_TOKEN_STORE_H

#include "graft/base.h"

/* Zero-initialise; free with gf_token_store_free. */
typedef struct {
    int32_t *data;     /* everything, or with a file what is not written to it yet */
    int64_t used, cap; /* of data, in int32 */
    int64_t limit;     /* how much may lie in memory, in int32; 0: 16 Mi, 64 MiB */
    int64_t written;   /* int32 in the file */
    bool filed;        /* there is a file: fd is one */
    int fd;
    int32_t *map; /* the file, once sealed; read only */
} gf_token_store;

/* Appends n ids and then n labels; *at is where. The file, when it comes to that, stands in the
 * folder that TMPDIR names, else in /var/tmp; it has no name and goes with the process. GF_EIO: no
 * room there. Not after gf_token_store_seal. */
gf_status gf_token_store_add(gf_token_store *s, const int32_t *ids, const int32_t *labels,
                             int64_t n, int64_t *at, gf_err *err);
/* Nothing more is added: makes all of it readable. Must be called before a store is read. */
gf_status gf_token_store_seal(gf_token_store *s, gf_err *err);
void gf_token_store_free(gf_token_store *s);

/* The ids at `at`; their labels follow. */
static inline int32_t *gf_token_store_at(const gf_token_store *s, int64_t at)
{
    return (s->map ? s->map : s->data) + at;
}

#endif
