/* hash.h - SHA-256 of data and files (libcrypto), as lower-case hex. */
#ifndef GRAFT_HOST_BASE_HASH_H
#define GRAFT_HOST_BASE_HASH_H

#include "graft/base.h"

typedef struct {
    char hex[65];
} gf_sha256;

gf_status gf_hash_bytes(gf_sha256 *out, const void *data, size_t size, gf_err *err);
gf_status gf_hash_file(gf_sha256 *out, const char *path, gf_err *err);

#endif
