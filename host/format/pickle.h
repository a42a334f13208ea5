/* pickle.h - the part of Python's pickle language that describes tensors (FORMATS 5.2).
 *
 * A pickle is a program for a stack machine. This machine knows the instructions that build
 * numbers, strings, tuples, lists and dictionaries, and a short list of names; a call of one of
 * them becomes a value that says so, and nothing is called. What another pickle asks for is refused
 * by name. No recursion, and no more memory than a constant times the pickle's bytes. */
#ifndef GRAFT_HOST_FORMAT_PICKLE_H
#define GRAFT_HOST_FORMAT_PICKLE_H

#include "graft/base.h"

typedef enum {
    GF_PICKLE_NONE,
    GF_PICKLE_BOOL,
    GF_PICKLE_INT,
    GF_PICKLE_FLOAT,
    GF_PICKLE_TEXT,
    GF_PICKLE_TUPLE,
    GF_PICKLE_LIST,
    GF_PICKLE_DICT,   /* item: key, value, key, value …; a key twice stands twice */
    GF_PICKLE_NAME,   /* one of gf_pickle_name */
    GF_PICKLE_CALL,   /* of name `number`, with the tuple item[0] */
    GF_PICKLE_STORAGE /* a persistent id: the tuple item[0] */
} gf_pickle_kind;

/* What a pickle may refer to. */
typedef enum {
    GF_NAME_ORDERED_DICT,
    GF_NAME_SIZE, /* torch.Size: a tuple */
    GF_NAME_TENSOR,
    GF_NAME_TENSOR_V2,
    GF_NAME_PARAMETER,
    GF_NAME_DTYPE,
    GF_NAME_STORAGE /* and above: the index of gf_pickle_storages added */
} gf_pickle_name;

/* torch's storage classes and what safetensors calls their elements. */
typedef struct {
    const char *class, *dtype;
} gf_pickle_storage;
enum { GF_PICKLE_STORAGES = 11 };
extern const gf_pickle_storage gf_pickle_storages[GF_PICKLE_STORAGES];

/* One of gf_pickle_name for a module and a name in it, neither NUL-terminated; -1: it is none. */
int gf_pickle_find_name(const char *module, size_t module_size, const char *name, size_t size);

typedef struct {
    gf_pickle_kind kind;
    int64_t number;   /* BOOL, INT; NAME and CALL: the name */
    const char *text; /* TEXT: in the pickle's bytes, not NUL-terminated; checked UTF-8 */
    size_t size;      /* of it */
    int *item;        /* indices of values; for kinds that hold some */
    int count, room;
} gf_pickle_value;

typedef struct {
    gf_pickle_value *value;
    int count, room;
} gf_pickle;

/* Runs the pickle that starts at data[*at] up to its STOP, behind which *at is then; *top is the
 * index of its value. Values of several runs gather in p (zeroed at first). Anything else than the
 * above: GF_EINPUT "WHERE: byte N: …". Free with gf_pickle_free, also after a failure. */
gf_status gf_pickle_run(gf_pickle *p, const unsigned char *data, size_t size, size_t *at,
                        const char *where, int *top, gf_err *err);
void gf_pickle_free(gf_pickle *p);

#endif
