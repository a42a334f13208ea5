/* gguf_write.h - streaming writer of GGUF v3 (FORMATS 6.1): keys first, then tensors declared all
 * at once, then their data in slices. What it writes passes the checks of gguf.h's reader. */
#ifndef GRAFT_HOST_FORMAT_GGUF_WRITE_H
#define GRAFT_HOST_FORMAT_GGUF_WRITE_H

#include "format/gguf.h"

/* ---- keys ---------------------------------------------------------------------------- */

/* Pairs as they will stand in the file, in the order in which they were put. Zero-initialise, free
 * with gf_gguf_keys_free. */
typedef struct {
    gf_buf bytes;
    gf_buf names;       /* of all keys, each with its NUL */
    uint64_t count;     /* pairs */
    uint64_t alignment; /* of the data: general.alignment, once that was put; 0: 32 */
    uint64_t strings;   /* that an array begun with gf_gguf_put_strings still lacks */
} gf_gguf_keys;

/* Adds a pair. A key that is there already, is empty or not UTF-8, or an alignment that is no power
 * of two: GF_EARG. */
gf_status gf_gguf_put_u32(gf_gguf_keys *k, const char *key, uint32_t value, gf_err *err);
gf_status gf_gguf_put_f32(gf_gguf_keys *k, const char *key, float value, gf_err *err);
gf_status gf_gguf_put_bool(gf_gguf_keys *k, const char *key, bool value, gf_err *err);
gf_status gf_gguf_put_string(gf_gguf_keys *k, const char *key, const char *s, size_t n,
                             gf_err *err);
/* Any type of fixed size; value points to one. */
gf_status gf_gguf_put(gf_gguf_keys *k, const char *key, gf_kv_type type, const void *value,
                      gf_err *err);
/* `count` values of a type of fixed size. */
gf_status gf_gguf_put_array(gf_gguf_keys *k, const char *key, gf_kv_type item, const void *values,
                            uint64_t count, gf_err *err);
/* An array of `count` strings; as many calls of gf_gguf_add_string must follow (asserted). */
gf_status gf_gguf_put_strings(gf_gguf_keys *k, const char *key, uint64_t count, gf_err *err);
gf_status gf_gguf_add_string(gf_gguf_keys *k, const char *s, size_t n, gf_err *err);
/* A pair of an open file as it is there. */
gf_status gf_gguf_put_kv(gf_gguf_keys *k, const gf_kv *kv, gf_err *err);

bool gf_gguf_keys_have(const gf_gguf_keys *k, const char *key);
void gf_gguf_keys_free(gf_gguf_keys *k);

/* ---- the file ------------------------------------------------------------------------ */

typedef struct {
    const char *name; /* at most 63 bytes */
    gf_dtype dtype;   /* any that GGUF has (gf_gguf_type_number) */
    int rank;         /* 0 to 4 */
    int64_t dim[4];   /* Hugging Face order: the last one is contiguous, in whole blocks */
} gf_gguf_decl;

/* Data follows in the order of `decl`. A name that is too long, not UTF-8 or there twice, a shape
 * whose rows are no whole blocks or whose size overflows, a type that GGUF lacks: GF_EARG.
 * `keys` and `decl` are not looked at again. */
typedef struct gf_gguf_writer gf_gguf_writer;
gf_status gf_gguf_writer_open(gf_gguf_writer **w, const char *path, const gf_gguf_keys *keys,
                              const gf_gguf_decl *decl, int count, gf_err *err);
/* Index into decl of the tensor whose data comes next; -1 when all are written. Tensors without
 * elements are never asked for. */
int gf_gguf_writer_next(const gf_gguf_writer *w);
/* Some of its bytes, in order; several calls may make one tensor. More than it has: asserted. */
gf_status gf_gguf_writer_data(gf_gguf_writer *w, const void *data, size_t size, gf_err *err);
gf_status gf_gguf_writer_commit(gf_gguf_writer *w, gf_err *err); /* frees w; all data is there */
void gf_gguf_writer_cancel(gf_gguf_writer *w);                   /* NULL is fine */

#endif
