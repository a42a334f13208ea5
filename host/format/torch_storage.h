/* torch_storage.h - torch.save's two containers: where the pickle is, and where the numbers that it
 * names. Used by torch.c. */
#ifndef GRAFT_HOST_FORMAT_TORCH_STORAGE_H
#define GRAFT_HOST_FORMAT_TORCH_STORAGE_H

#include "format/pickle.h"
#include "format/safetensors_dtype.h"
#include "format/zip.h"

/* Elements of one type in the file. */
typedef struct {
    const char *key; /* in the pickle's bytes */
    size_t key_size;
    const gf_st_dtype *dtype;
    uint64_t offset, count;
} gf_torch_storage;

typedef struct {
    const char *path;
    gf_map map;
    gf_zip zip;
    char *root; /* of the zip's entries: "archive"; NULL: the old container */
    gf_pickle pickle;
    gf_torch_storage *old; /* the old container's, sorted by key */
    int old_count;
} gf_torch_file;

/* Maps a file, finds and runs its pickle; *top is its value. Free with gf_torch_free, also after a
 * failure. `path` must live as long. */
gf_status gf_torch_read(gf_torch_file *f, const char *path, int *top, gf_err *err);
void gf_torch_free(gf_torch_file *f);

/* The storage that value `id` of the pickle means: its bytes are in the file, as many as it says.
 * Else GF_EINPUT, naming the tensor. */
gf_status gf_torch_find(const gf_torch_file *f, int id, const char *tensor, gf_torch_storage *out,
                        gf_err *err);

#endif
