/* Contract: token_store.h. */
#include "text/token_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const int64_t in_memory = 16 << 20; /* int32: 64 MiB, as a merge's slices */
static const int64_t first_cap = 16 << 10; /* int32: 64 KiB, a small data set */

static const char *folder(void)
{
    const char *dir = getenv("TMPDIR");
    return dir != NULL && dir[0] != '\0' ? dir : "/var/tmp"; /* where /tmp may be memory */
}

static gf_status fail(const char *what, gf_err *err)
{
    return gf_fail(err, GF_EIO,
                   "%s: cannot %s the tokens of the data: %s; set TMPDIR to a folder with room",
                   folder(), what, strerror(errno));
}

static gf_status open_file(gf_token_store *s, gf_err *err)
{
    char name[4096]; /* PATH_MAX */
    s->fd = open(folder(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (s->fd < 0) { /* a file system without such files */
        if (snprintf(name, sizeof name, "%s/graft-XXXXXX", folder()) >= (int)sizeof name)
            return gf_fail(err, GF_EIO, "TMPDIR is too long");
        s->fd = mkostemp(name, O_CLOEXEC);
        if (s->fd < 0)
            return fail("keep", err);
        unlink(name);
    }
    s->filed = true;
    return GF_OK;
}

/* What lies in memory goes to the file. */
static gf_status flush(gf_token_store *s, gf_err *err)
{
    const char *at = (const char *)s->data;
    size_t left = (size_t)s->used * sizeof *s->data;
    if (!s->filed)
        TRY(open_file(s, err));
    while (left > 0) {
        const ssize_t n = write(s->fd, at, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail("write", err);
        at += n;
        left -= (size_t)n;
    }
    s->written += s->used;
    s->used = 0;
    return GF_OK;
}

static gf_status make_room(gf_token_store *s, int64_t more, gf_err *err)
{
    const int64_t limit = s->limit > 0 ? s->limit : in_memory;
    if (s->used > 0 && s->used + more > limit)
        TRY(flush(s, err));
    if (s->used + more <= s->cap)
        return GF_OK;
    int64_t cap = s->cap > 0 ? s->cap : first_cap;
    while (cap < s->used + more)
        cap *= 2;
    int32_t *p = gf_realloc(s->data, (size_t)cap, sizeof *p, err);
    if (p == NULL)
        return GF_ENOMEM;
    s->data = p;
    s->cap = cap;
    return GF_OK;
}

gf_status gf_token_store_add(gf_token_store *s, const int32_t *ids, const int32_t *labels,
                             int64_t n, int64_t *at, gf_err *err)
{
    TRY(make_room(s, 2 * n, err));
    *at = s->written + s->used;
    if (n == 0)
        return GF_OK;
    memcpy(s->data + s->used, ids, (size_t)n * sizeof *ids);
    memcpy(s->data + s->used + n, labels, (size_t)n * sizeof *labels);
    s->used += 2 * n;
    return GF_OK;
}

gf_status gf_token_store_seal(gf_token_store *s, gf_err *err)
{
    if (!s->filed || s->map != NULL)
        return GF_OK;
    TRY(flush(s, err));
    void *p = mmap(NULL, (size_t)s->written * sizeof *s->data, PROT_READ, MAP_SHARED, s->fd, 0);
    if (p == MAP_FAILED)
        return fail("map", err);
    s->map = p;
    free(s->data);
    s->data = NULL;
    s->cap = 0;
    return GF_OK;
}

void gf_token_store_free(gf_token_store *s)
{
    if (s->map != NULL)
        munmap(s->map, (size_t)s->written * sizeof *s->data);
    if (s->filed)
        close(s->fd);
    free(s->data);
    *s = (gf_token_store){0};
}
