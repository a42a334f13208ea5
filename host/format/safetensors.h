/* safetensors.h - reader and writer (FORMATS 1). The reader refuses holes, overlaps, duplicate
 * names, out-of-range offsets, unknown dtypes, trailing bytes, as the official crate does, and
 * duplicate names besides. The writer's files are byte-identical to the official writer's. */
#ifndef GRAFT_HOST_FORMAT_SAFETENSORS_H
#define GRAFT_HOST_FORMAT_SAFETENSORS_H

#include "base/file.h"
#include "format/source.h"

/* Types graft can't hold (F8_…, I8, BOOL, F64 …) are listed with readable == false; so is a tensor
 * of more than four dimensions, its leading ones multiplied into dim[0]. Entries stand in the order
 * of their data.
 *
 * gf_safetensors_add: one file more, for a folder with shards (format/folder.h); call
 * gf_source_index after the last. */
gf_status gf_safetensors_open(gf_source *s, const char *path, gf_err *err);
gf_status gf_safetensors_add(gf_source *s, const char *path, gf_err *err);

/* Streaming writer: all names, dtypes and shapes first; then the data in the order that
 * gf_st_writer_next names (official order: dtype descending, then name).
 * metadata: "format":"pt". */
typedef struct {
    const char *name;
    gf_dtype dtype; /* plain types only */
    int rank;
    int64_t dim[4];
} gf_st_decl;

typedef struct gf_st_writer gf_st_writer;
gf_status gf_st_writer_open(gf_st_writer **w, const char *path, const gf_st_decl *decl, int count,
                            gf_err *err);
/* Index into decl of the tensor whose data comes next; -1 when all are written. Tensors without
 * elements are never asked for. */
int gf_st_writer_next(const gf_st_writer *w);
/* Some of its bytes, in order; several calls may make one tensor. More than it has: asserted. */
gf_status gf_st_writer_data(gf_st_writer *w, const void *data, size_t size, gf_err *err);
gf_status gf_st_writer_commit(gf_st_writer *w, gf_err *err); /* frees w; all data must be there */
void gf_st_writer_cancel(gf_st_writer *w);

#endif
