/* spoil.h - copies of good files with one thing wrong. Every function aborts the test's process if
 * the good file is not what it expects. */
#ifndef GRAFT_TESTS_SUPPORT_SPOIL_H
#define GRAFT_TESTS_SUPPORT_SPOIL_H

#include <stddef.h>

typedef enum {
    SPOIL_DTYPE,    /* value: the dtype's name */
    SPOIL_SHAPE,    /* value: the shape as JSON */
    SPOIL_OFFSETS,  /* value: data_offsets as JSON */
    SPOIL_SHIFT,    /* value: a number added to both offsets */
    SPOIL_RENAME,   /* value: the new name */
    SPOIL_TWICE,    /* the description stands twice */
    SPOIL_REMOVE,   /* with its data: the file is well-formed */
    SPOIL_ADD,      /* value: the name of a new one of the same type and shape, zeros */
    SPOIL_POISON,   /* the first number becomes NaN or Inf; value: "nan" or "inf" */
    SPOIL_METADATA, /* value: __metadata__ as JSON; tensor: ignored */
} spoil_how;

/* Rewrites a safetensors file with its tensor `tensor` spoiled. */
void spoil_tensor(const char *path, const char *tensor, spoil_how how, const char *value);

/* Replaces a file's bytes. */
void spoil_write(const char *path, const void *data, size_t size);

/* A file's bytes with a NUL behind them; the caller frees them. */
char *spoil_read(const char *path, size_t *size);

#endif
