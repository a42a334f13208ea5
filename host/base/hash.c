/* hash.c - SHA-256 through libcrypto. Contract: base/hash.h. */
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A read: large against a system call's cost, small against L2. */
#define CHUNK (256 * 1024)

static void to_hex(gf_sha256 *out, const unsigned char digest[32])
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < 32; i++) {
        out->hex[2 * i] = hex[digest[i] >> 4];
        out->hex[2 * i + 1] = hex[digest[i] & 15];
    }
    out->hex[64] = 0;
}

static gf_status fail_crypto(gf_err *err)
{
    return gf_fail(err, GF_EMISSING, "libcrypto has no SHA-256 here");
}

uint64_t gf_hash_fast(uint64_t h, const void *data, size_t size)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < size; i++)
        h = (h ^ p[i]) * 0x100000001b3u; /* FNV's prime */
    return h;
}

gf_status gf_hash_bytes(gf_sha256 *out, const void *data, size_t size, gf_err *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    if (!EVP_Digest(data, size, digest, NULL, EVP_sha256(), NULL))
        return fail_crypto(err);
    to_hex(out, digest);
    return GF_OK;
}

gf_status gf_hash_file(gf_sha256 *out, const char *path, gf_err *err)
{
    gf_status st = GF_OK;
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    char *buffer = NULL;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        st = gf_fail(err, GF_EINPUT, "%s: %s", path, strerror(errno));
        goto out;
    }
    buffer = gf_alloc(CHUNK, 1, err);
    if (!buffer) {
        st = GF_ENOMEM;
        goto out;
    }
    if (!ctx || !EVP_DigestInit_ex(ctx, EVP_sha256(), NULL)) {
        st = fail_crypto(err);
        goto out;
    }
    for (;;) {
        const ssize_t n = read(fd, buffer, CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            st = gf_fail(err, GF_EINPUT, "%s: %s", path, strerror(errno));
            goto out;
        }
        if (n == 0)
            break;
        if (!EVP_DigestUpdate(ctx, buffer, (size_t)n)) {
            st = fail_crypto(err);
            goto out;
        }
    }
    if (!EVP_DigestFinal_ex(ctx, digest, NULL))
        st = fail_crypto(err);
    else
        to_hex(out, digest);
out:
    free(buffer);
    EVP_MD_CTX_free(ctx);
    if (fd >= 0)
        close(fd);
    return st;
}
