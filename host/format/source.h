/* source.h - tensors in files: one table over a GGUF file, or the shards of one, or of safetensors
 * or torch files.
 *
 * Names are those of the file. Nothing is read but headers until gf_source_read. */
#ifndef GRAFT_HOST_FORMAT_SOURCE_H
#define GRAFT_HOST_FORMAT_SOURCE_H

#include "base/file.h"
#include "graft/tensor.h"

typedef struct {
    char *name;
    gf_dtype dtype;
    const char *dtype_text; /* as in the file, for messages; set also for types graft can't read */
    bool readable;          /* dtype is one of gf_dtype */
    int rank;               /* 0 to 4, Hugging Face order: the last dimension is contiguous */
    int64_t dim[4];         /* unused ones are 1 */
    int file;               /* index into files */
    uint64_t offset;        /* of the first byte in that file */
    uint64_t bytes;
    bool
        strided; /* its elements lie apart (a transposed view); gf_source_read puts them in order */
    int64_t stride[4];  /* then: elements from one index to the next */
    struct gf_bnb *bnb; /* a weight quantised by bitsandbytes (format/bnb.h), owned; else NULL */
} gf_entry;

typedef struct {
    char *path;
    int fd;
    gf_map map; /* of a file with strided tensors, else empty */
} gf_source_file;

typedef struct {
    int count;
    gf_entry *entry; /* in file order */
    int files;
    gf_source_file *file;
    int *by_name; /* entries sorted by name */
} gf_source;

/* Binary search by name; NULL if there is none. */
const gf_entry *gf_source_find(const gf_source *s, const char *name);

/* Reads `size` bytes of the tensor's data from byte `at` of it (asserted to lie inside it; of
 * strided and quantised ones whole elements). Safe from several threads. */
gf_status gf_source_read(const gf_source *s, const gf_entry *e, uint64_t at, void *out, size_t size,
                         gf_err *err);
void gf_source_close(gf_source *s);

/* For the readers. Opens one more file; its index is s->files - 1 afterwards. *size in bytes. */
gf_status gf_source_add_file(gf_source *s, const char *path, uint64_t *size, gf_err *err);
/* Makes by_name once all entries are there. The same name twice: GF_EINPUT. */
gf_status gf_source_index(gf_source *s, gf_err *err);

#endif
