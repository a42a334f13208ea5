/* hash.h - SHA-256 of data and files (libcrypto), as lower-case hex; a fast hash for tables. */
#ifndef GRAFT_HOST_BASE_HASH_H
#define GRAFT_HOST_BASE_HASH_H

#include "graft/base.h"

typedef struct {
    char hex[65];
} gf_sha256;

#define GF_HASH_START 0xcbf29ce484222325u /* FNV's offset basis */
/* FNV-1a of 64 bits (Fowler, Noll, Vo), to be continued: h is GF_HASH_START or an earlier result.
 */
uint64_t gf_hash_fast(uint64_t h, const void *data, size_t size);

gf_status gf_hash_bytes(gf_sha256 *out, const void *data, size_t size, gf_err *err);
gf_status gf_hash_file(gf_sha256 *out, const char *path, gf_err *err);

#endif
