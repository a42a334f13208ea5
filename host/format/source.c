/* source.c - the table over tensors in files. Contract: format/source.h. */
#include "format/source.h"
#include "format/bnb.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

gf_status gf_source_add_file(gf_source *s, const char *path, uint64_t *size, gf_err *err)
{
    gf_source_file *file = gf_realloc(s->file, (size_t)s->files + 1, sizeof *file, err);
    if (!file)
        return GF_ENOMEM;
    s->file = file;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return gf_fail(err, GF_EINPUT, "%s: %s", path, strerror(errno));
    struct stat info;
    gf_status st = GF_OK;
    char *copy = NULL;
    if (fstat(fd, &info) != 0)
        st = gf_fail(err, GF_EINPUT, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(info.st_mode))
        st = gf_fail(err, GF_EINPUT, "%s: is not a regular file", path);
    else if (!(copy = gf_strdup(path, err)))
        st = GF_ENOMEM;
    if (st != GF_OK) {
        close(fd);
        return st;
    }
    *size = (uint64_t)info.st_size;
    s->file[s->files++] = (gf_source_file){.path = copy, .fd = fd};
    return GF_OK;
}

static int by_name(const void *a, const void *b, void *source)
{
    const gf_source *s = source;
    return strcmp(s->entry[*(const int *)a].name, s->entry[*(const int *)b].name);
}

gf_status gf_source_index(gf_source *s, gf_err *err)
{
    s->by_name = gf_alloc((size_t)s->count, sizeof *s->by_name, err);
    if (!s->by_name)
        return GF_ENOMEM;
    for (int i = 0; i < s->count; i++)
        s->by_name[i] = i;
    qsort_r(s->by_name, (size_t)s->count, sizeof *s->by_name, by_name, s);
    for (int i = 1; i < s->count; i++) {
        const gf_entry *a = &s->entry[s->by_name[i - 1]], *b = &s->entry[s->by_name[i]];
        if (strcmp(a->name, b->name) != 0)
            continue;
        if (a->file == b->file)
            return gf_fail(err, GF_EINPUT, "%s: the tensor %s is there twice",
                           s->file[a->file].path, a->name);
        return gf_fail(err, GF_EINPUT, "%s: the tensor %s is also in %s", s->file[a->file].path,
                       a->name, s->file[b->file].path);
    }
    return GF_OK;
}

const gf_entry *gf_source_find(const gf_source *s, const char *name)
{
    int low = 0, high = s->count;
    while (low < high) {
        const int mid = low + (high - low) / 2;
        const gf_entry *e = &s->entry[s->by_name[mid]];
        const int order = strcmp(name, e->name);
        if (order == 0)
            return e;
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

/* Element by element, from the mapping. */
static void read_strided(const gf_source *s, const gf_entry *e, uint64_t at, void *out, size_t size)
{
    uint64_t count = 1;
    for (int i = 0; i < 4; i++)
        count *= (uint64_t)e->dim[i];
    const uint64_t item = e->bytes / count;
    const unsigned char *data = s->file[e->file].map.data + e->offset;
    unsigned char *to = out;
    assert(at % item == 0 && size % item == 0);
    for (uint64_t i = at / item; size; i++, to += item, size -= item) {
        uint64_t rest = i, from = 0;
        for (int k = e->rank - 1; k >= 0; k--) {
            from += rest % (uint64_t)e->dim[k] * (uint64_t)e->stride[k];
            rest /= (uint64_t)e->dim[k];
        }
        memcpy(to, data + from * item, item);
    }
}

gf_status gf_source_read(const gf_source *s, const gf_entry *e, uint64_t at, void *out, size_t size,
                         gf_err *err)
{
    assert(at <= e->bytes && size <= e->bytes - at);
    if (e->bnb)
        return gf_bnb_read(s, e, at, out, size, err);
    if (e->strided) {
        read_strided(s, e, at, out, size);
        return GF_OK;
    }
    const gf_source_file *file = &s->file[e->file];
    char *to = out;
    uint64_t from = e->offset + at;
    while (size) {
        const ssize_t n = pread(file->fd, to, size, (off_t)from);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return gf_fail(err, GF_EINPUT, "%s: %s: %s", file->path, e->name, strerror(errno));
        if (n == 0)
            return gf_fail(err, GF_EINPUT,
                           "%s: %s: the file now ends at byte %llu: it was changed while in use",
                           file->path, e->name, (unsigned long long)from);
        to += n;
        from += (uint64_t)n;
        size -= (size_t)n;
    }
    return GF_OK;
}

void gf_source_close(gf_source *s)
{
    for (int i = 0; i < s->count; i++) {
        free(s->entry[i].name);
        free(s->entry[i].bnb);
    }
    for (int i = 0; i < s->files; i++) {
        gf_file_unmap(&s->file[i].map);
        close(s->file[i].fd);
        free(s->file[i].path);
    }
    free(s->entry);
    free(s->file);
    free(s->by_name);
    *s = (gf_source){0};
}
