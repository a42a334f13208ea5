/* file.h - reading whole or mapped files, and writing so that a file appears complete or not at
 * all: temporary file beside the target, fsync, rename, fsync of the folder (law 5). */
#ifndef GRAFT_HOST_BASE_FILE_H
#define GRAFT_HOST_BASE_FILE_H

#include "graft/base.h"

/* Reads a whole file; *data is NUL-terminated (not counted in *size). Missing, unreadable or a
 * folder: GF_EINPUT "PATH: reason". */
gf_status gf_file_read(const char *path, char **data, size_t *size, gf_err *err);

/* A read-only mapping. An empty file maps to data == "" and size 0. */
typedef struct {
    const unsigned char *data;
    size_t size;
} gf_map;
gf_status gf_file_map(gf_map *m, const char *path, gf_err *err);
void gf_file_unmap(gf_map *m);

bool gf_file_exists(const char *path);
bool gf_dir_exists(const char *path);
gf_status gf_dir_make(const char *path, gf_err *err); /* like mkdir -p */
/* fsync of a folder: what was created or renamed in it survives a power cut. GF_EIO. */
gf_status gf_dir_sync(const char *path, gf_err *err);
gf_status gf_dir_is_empty(const char *path, bool *empty, gf_err *err); /* missing counts as empty */
gf_status gf_dir_remove(const char *path, gf_err *err); /* recursively; missing is fine */

gf_status gf_dir_clear(const char *path, gf_err *err); /* removes all that is in it */

/* "a/b" from "a" and "b"; caller frees. */
char *gf_path_join(const char *dir, const char *name, gf_err *err);
/* Last component, without allocation. */
const char *gf_path_name(const char *path);

/* A file being written. Between open and commit only PATH.tmp-… exists. On any failure or cancel
 * the temporary file is removed and an old file at `path` is intact. Mode 0644 & umask. Write
 * errors (a full disk) are GF_EIO with the path and the reason. */
typedef struct gf_out gf_out;
gf_status gf_out_open(gf_out **o, const char *path, gf_err *err);
/* From now on long runs of zeros are not stored but left as holes, where the file system has them.
 * What is read back is the same. */
void gf_out_sparse(gf_out *o);
gf_status gf_out_write(gf_out *o, const void *data, size_t size, gf_err *err);
gf_status gf_out_commit(gf_out *o, gf_err *err); /* frees o, also on failure */
void gf_out_cancel(gf_out *o);                   /* frees o; NULL is fine */

/* All of it in one call. */
gf_status gf_file_write(const char *path, const void *data, size_t size, gf_err *err);

#endif
