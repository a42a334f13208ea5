/* config_parts.h - the reader of config.json in two files: what differs from layer to layer stands
 * in config_layers.c. */
#ifndef GRAFT_HOST_MODEL_CONFIG_PARTS_H
#define GRAFT_HOST_MODEL_CONFIG_PARTS_H

#include "base/json.h"
#include "model/family.h"

typedef struct {
    const cJSON *json;
    const char *path;
    gf_err *err;
} gf_config_reader;

/* A key whose explicit null means something else than its absence. */
bool gf_config_null(const gf_config_reader *r, const char *key);
/* A size: from 1 to max. */
gf_status gf_config_size(const gf_config_reader *r, const char *key, int64_t missing, int64_t max,
                         int64_t *out);

/* Sliding windows and RoPE of every layer. */
gf_status gf_config_read_layers(gf_config *c, const gf_family *f, const gf_config_reader *r);

#endif
