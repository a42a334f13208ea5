/* folder.h - the weights of a Hugging Face folder, whichever of its forms they have. */
#ifndef GRAFT_HOST_FORMAT_FOLDER_H
#define GRAFT_HOST_FORMAT_FOLDER_H

#include "format/source.h"

/* Opens, in this order, what is there: model.safetensors, model.safetensors.index.json with its
 * shards, pytorch_model.bin, pytorch_model.bin.index.json with its. File names in an index must not
 * leave the folder; every tensor of weight_map must be in its shard, and no shard may hold one that
 * it does not name. None of them: GF_EINPUT says what is there. */
gf_status gf_folder_open(gf_source *s, const char *dir, gf_err *err);

#endif
