/* gguf.h - GGUF v2/v3 reader (FORMATS 6): metadata and the tensor table. */
#ifndef GRAFT_HOST_FORMAT_GGUF_H
#define GRAFT_HOST_FORMAT_GGUF_H

#include "base/file.h"
#include "format/source.h"

typedef enum {
    GF_KV_U8,
    GF_KV_I8,
    GF_KV_U16,
    GF_KV_I16,
    GF_KV_U32,
    GF_KV_I32,
    GF_KV_F32,
    GF_KV_BOOL,
    GF_KV_STRING,
    GF_KV_ARRAY,
    GF_KV_U64,
    GF_KV_I64,
    GF_KV_F64
} gf_kv_type; /* the values are the file's */

typedef struct {
    char *key;
    gf_kv_type type;
    gf_kv_type item;           /* element type of an array */
    uint64_t count;            /* elements of an array, bytes of a string */
    const unsigned char *data; /* the value's bytes in the mapping; strings without their length;
                                  an array of strings: u64 length + bytes each */
    uint64_t bytes;            /* of data */
} gf_kv;

typedef struct {
    gf_map map;
    char *path;
    int count;
    gf_kv *kv;
    gf_source source; /* dims reversed to Hugging Face order */
} gf_gguf;

#define GF_GGUF_ALIGNMENT_KEY "general.alignment"
#define GF_GGUF_ALIGNMENT 32 /* of the data, where that key is missing */
#define GF_GGUF_NAME_MAX 63  /* bytes of a tensor's name: llama.cpp keeps 64 with the NUL */

/* Bytes of a value; 0: not of fixed size. */
size_t gf_gguf_value_size(gf_kv_type type);
/* The number by which files name a type; -1: GGUF has none for it. */
int gf_gguf_type_number(gf_dtype dtype);

/* Checks everything that llama.cpp's reader checks (FORMATS 6.1): magic, version, key and tensor
 * uniqueness, lengths, alignment, offsets equal to the padded running sum, data inside the file. */
gf_status gf_gguf_open_one(gf_gguf *g, const char *path, gf_err *err);
/* The same, and where the file is the first of several (split.count; NAME-00001-of-0000N.gguf) the
 * others', too, whose tensors then stand behind its own. A shard that is missing, or says that it
 * is another one: GF_EINPUT. */
gf_status gf_gguf_open(gf_gguf *g, const char *path, gf_err *err);
void gf_gguf_close(gf_gguf *g);

const gf_kv *gf_gguf_find(const gf_gguf *g, const char *key);
/* Numbers of any integer / float type; missing key: `missing`; wrong type or range: GF_EINPUT. */
gf_status gf_gguf_int(int64_t *out, const gf_gguf *g, const char *key, int64_t missing, int64_t min,
                      int64_t max, gf_err *err);
gf_status gf_gguf_double(double *out, const gf_gguf *g, const char *key, double missing,
                         gf_err *err);
gf_status gf_gguf_bool(bool *out, const gf_gguf *g, const char *key, bool missing, gf_err *err);
/* A new NUL-terminated string, or NULL if the key is missing (GF_OK); NUL inside or invalid UTF-8:
 * GF_EINPUT. The caller frees it. */
gf_status gf_gguf_string(char **out, const gf_gguf *g, const char *key, gf_err *err);
/* Walks an array of strings: *cursor starts NULL; false at the end, and for anything that is not an
 * array of strings. Their bytes are not checked for UTF-8 and are not NUL-terminated. */
bool gf_gguf_next_string(const gf_kv *kv, const unsigned char **cursor, const char **s, size_t *n);

#endif
