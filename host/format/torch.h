/* torch.h - files of torch.save: pytorch_model.bin, adapter_model.bin (FORMATS 5). Read as a table
 * of tensors like any other; nothing in them is run (format/pickle.h). */
#ifndef GRAFT_HOST_FORMAT_TORCH_H
#define GRAFT_HOST_FORMAT_TORCH_H

#include "format/source.h"

/* A state dictionary, plain or under "state_dict" or "model": name -> tensor, in the file's order.
 * Both containers are read: zip (torch 1.6 and later) and the one before it. Tensors may share
 * their storage and have any strides: gf_source_read gives them row by row. Types that graft can't
 * hold (F64, I8 …) are listed with readable == false. Whatever is damaged, or not a tensor:
 * GF_EINPUT. */
gf_status gf_torch_open(gf_source *s, const char *path, gf_err *err);

/* One file more, for those with shards; call gf_source_index after the last. */
gf_status gf_torch_add(gf_source *s, const char *path, gf_err *err);

#endif
