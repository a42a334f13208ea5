/* torch_write.h - a state dict as torch.save writes it: a zip of stored entries, one of them a
 * pickle that builds nothing but tensors, so that torch.load(weights_only=True) takes it
 * (FORMATS 5). */
#ifndef GRAFT_HOST_FORMAT_TORCH_WRITE_H
#define GRAFT_HOST_FORMAT_TORCH_WRITE_H

#include "format/safetensors.h"

/* Streaming: names, types and shapes first (plain types; names are unique), then the data, tensor
 * after tensor in the order declared. The archive's root is the file's name up to its last dot, as
 * torch has it. */
typedef struct gf_torch_writer gf_torch_writer;
gf_status gf_torch_writer_open(gf_torch_writer **w, const char *path, const gf_st_decl *decl,
                               int count, gf_err *err);
/* Some bytes of the tensor whose turn it is; several calls may make one. More than it has:
 * asserted. */
gf_status gf_torch_writer_data(gf_torch_writer *w, const void *data, size_t size, gf_err *err);
gf_status gf_torch_writer_commit(gf_torch_writer *w,
                                 gf_err *err); /* frees w; all data must be there */
void gf_torch_writer_cancel(gf_torch_writer *w);

#endif
