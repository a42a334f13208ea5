/* file.c - whole files, mappings, folders, and files that appear complete or not at all.
 * Contract: base/file.h. */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Small writes are gathered up to this: large against a system call's cost, small against L2. */
#define OUT_BUFFER (256 * 1024)

/* Zeros are looked for in blocks of this: file systems hold files in pages of 4 KB and more, and
 * runs that are worth it are long. */
#define HOLE_BLOCK ((size_t)64 * 1024)

static gf_status fail_read(gf_err *err, const char *path)
{
    return gf_fail(err, GF_EINPUT, "%s: %s", path, strerror(errno));
}

static gf_status fail_write(gf_err *err, const char *path)
{
    return gf_fail(err, GF_EIO, "%s: %s", path, strerror(errno));
}

static int open_again(int dir, const char *path, int flags, mode_t mode)
{
    int fd;
    do
        fd = openat(dir, path, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

/* ---- reading ----------------------------------------------------------------------- */

static gf_status open_input(int *fd, struct stat *info, const char *path, gf_err *err)
{
    *fd = open_again(AT_FDCWD, path, O_RDONLY, 0);
    if (*fd < 0)
        return fail_read(err, path);
    gf_status st = GF_OK;
    if (fstat(*fd, info) != 0)
        st = fail_read(err, path);
    else if (S_ISDIR(info->st_mode))
        st = gf_fail(err, GF_EINPUT, "%s: is a folder, want a file", path);
    if (st != GF_OK)
        close(*fd);
    return st;
}

gf_status gf_file_read(const char *path, char **data, size_t *size, gf_err *err)
{
    gf_status st = GF_OK;
    int fd;
    struct stat info;
    gf_buf b = {0};
    *data = NULL;
    *size = 0;
    TRY(open_input(&fd, &info, path, err));
    /* The size is a hint: a pipe or a file in /proc says 0, a growing file says too little. One
     * byte more than the hint, so that the usual file ends without growing the buffer. */
    size_t cap = info.st_size > 0 ? (size_t)info.st_size + 1 : 4096;
    for (;;) {
        if (!b.data || b.len == cap) {
            if (b.data)
                cap = cap * 2;
            char *p = gf_realloc(b.data, cap + 1, 1, err); /* and the NUL */
            if (!p) {
                st = GF_ENOMEM;
                goto out;
            }
            b.data = p;
        }
        const ssize_t n = read(fd, b.data + b.len, cap - b.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            st = fail_read(err, path);
            goto out;
        }
        if (n == 0)
            break;
        b.len += (size_t)n;
    }
    b.data[b.len] = 0;
    *data = b.data;
    *size = b.len;
    b.data = NULL;
out:
    free(b.data);
    close(fd);
    return st;
}

gf_status gf_file_map(gf_map *m, const char *path, gf_err *err)
{
    int fd;
    struct stat info;
    *m = (gf_map){0};
    TRY(open_input(&fd, &info, path, err));
    gf_status st = GF_OK;
    if (!S_ISREG(info.st_mode)) {
        st = gf_fail(err, GF_EINPUT, "%s: is not a regular file", path);
    } else if (info.st_size == 0) {
        m->data = (const unsigned char *)"";
    } else {
        void *p = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            st = fail_read(err, path);
        else
            *m = (gf_map){.data = p, .size = (size_t)info.st_size};
    }
    close(fd);
    return st;
}

void gf_file_unmap(gf_map *m)
{
    if (m->size)
        munmap((void *)(uintptr_t)m->data, m->size);
    *m = (gf_map){0};
}

/* ---- paths and folders ------------------------------------------------------------- */

bool gf_file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && !S_ISDIR(info.st_mode);
}

bool gf_dir_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static gf_status make_one(const char *path, gf_err *err)
{
    if (mkdir(path, 0777) == 0 || gf_dir_exists(path))
        return GF_OK;
    return fail_write(err, path);
}

gf_status gf_dir_make(const char *path, gf_err *err)
{
    char *part = gf_strdup(path, err);
    if (!part)
        return GF_ENOMEM;
    gf_status st = GF_OK;
    for (char *p = part; *p && st == GF_OK; p++) {
        if (*p != '/' || p == part)
            continue;
        *p = 0;
        st = make_one(part, err);
        *p = '/';
    }
    if (st == GF_OK)
        st = make_one(part, err);
    free(part);
    return st;
}

gf_status gf_dir_sync(const char *path, gf_err *err)
{
    gf_status st = GF_OK;
    const int fd = open_again(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
    /* A folder that may be written but not read can't be opened; EINVAL: a file system
     * without it. */
    if (fd < 0 ? errno != EACCES : fsync(fd) != 0 && errno != EINVAL)
        st = fail_write(err, path);
    if (fd >= 0)
        close(fd);
    return st;
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

gf_status gf_dir_is_empty(const char *path, bool *empty, gf_err *err)
{
    DIR *d = opendir(path);
    *empty = true;
    if (!d)
        return errno == ENOENT ? GF_OK : fail_read(err, path);
    const struct dirent *e;
    errno = 0;
    while (*empty && (e = readdir(d)))
        *empty = is_dots(e->d_name);
    /* What cannot be listed must not pass for empty. */
    const gf_status st = *empty && errno ? fail_read(err, path) : GF_OK;
    closedir(d);
    return st;
}

/* Removes what is in the folder `fd` (taken over), never through a symbolic link. */
static gf_status remove_inside(int fd, const char *path, gf_err *err)
{
    DIR *d = fdopendir(fd);
    if (!d) {
        close(fd);
        return fail_write(err, path);
    }
    gf_status st = GF_OK;
    for (const struct dirent *e; st == GF_OK && (e = readdir(d));) {
        if (is_dots(e->d_name))
            continue;
        if (unlinkat(dirfd(d), e->d_name, 0) == 0 || errno == ENOENT)
            continue;
        if (errno != EISDIR && errno != EPERM) {
            st = fail_write(err, path);
            break;
        }
        const int sub = open_again(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        if (sub < 0) {
            st = fail_write(err, path);
            break;
        }
        char *name = gf_path_join(path, e->d_name, err);
        if (!name) {
            close(sub);
            st = GF_ENOMEM;
            break;
        }
        st = remove_inside(sub, name, err);
        if (st == GF_OK && unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR) != 0)
            st = fail_write(err, name);
        free(name);
    }
    closedir(d);
    return st;
}

gf_status gf_dir_remove(const char *path, gf_err *err)
{
    const int fd = open_again(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (fd < 0)
        return errno == ENOENT ? GF_OK : fail_write(err, path);
    TRY(remove_inside(fd, path, err));
    return rmdir(path) == 0 ? GF_OK : fail_write(err, path);
}

gf_status gf_dir_clear(const char *path, gf_err *err)
{
    const int fd = open_again(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
    return fd < 0 ? fail_write(err, path) : remove_inside(fd, path, err);
}

char *gf_path_join(const char *dir, const char *name, gf_err *err)
{
    const size_t n = strlen(dir);
    return gf_format(err, "%s%s%s", dir, n && dir[n - 1] != '/' ? "/" : "", name);
}

const char *gf_path_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- writing ----------------------------------------------------------------------- */

struct gf_out {
    int fd; /* -1 once a write has failed and the temporary file is gone */
    char *path, *temporary;
    bool sparse;
    uint64_t at; /* bytes of the file so far, without those in the buffer */
    size_t used;
    char buffer[OUT_BUFFER];
};

gf_status gf_out_open(gf_out **o, const char *path, gf_err *err)
{
    static atomic_uint counter; /* two writers of one path in one process */
    enum { TRIES = 100 };       /* names left over by killed processes with this pid */
    *o = NULL;
    gf_out *new = gf_alloc(1, sizeof *new, err);
    if (!new)
        return GF_ENOMEM;
    new->fd = -1;
    new->path = gf_strdup(path, err);
    gf_status st = new->path ? GF_OK : GF_ENOMEM;
    for (int i = 0; st == GF_OK && new->fd < 0; i++) {
        free(new->temporary);
        new->temporary =
            gf_format(err, "%s.tmp-%ld-%u", path, (long)getpid(), atomic_fetch_add(&counter, 1));
        if (!new->temporary) {
            st = GF_ENOMEM;
            break;
        }
        new->fd = open_again(AT_FDCWD, new->temporary, O_WRONLY | O_CREAT | O_EXCL, 0644);
        if (new->fd < 0 && (errno != EEXIST || i == TRIES))
            st = fail_write(err, path);
    }
    if (st != GF_OK) {
        gf_out_cancel(new);
        return st;
    }
    *o = new;
    return GF_OK;
}

/* Closes and removes the temporary file. */
static void drop(gf_out *o)
{
    if (o->fd >= 0) {
        close(o->fd);
        unlink(o->temporary);
    }
    o->fd = -1;
}

/* errno as the reason. */
static gf_status fail_out(gf_out *o, gf_err *err)
{
    const gf_status st = fail_write(err, o->path);
    drop(o);
    return st;
}

static gf_status write_bytes(gf_out *o, const char *data, size_t size, gf_err *err)
{
    o->at += size;
    while (size) {
        const ssize_t n = write(o->fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail_out(o, err);
        data += n;
        size -= (size_t)n;
    }
    return GF_OK;
}

static bool is_zero(const char *data, size_t size)
{
    return size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0);
}

static gf_status skip_bytes(gf_out *o, size_t size, gf_err *err)
{
    o->at += size;
    return lseek(o->fd, (off_t)size, SEEK_CUR) < 0 ? fail_out(o, err) : GF_OK;
}

/* Bytes up to where the next block of the file begins, of `size`. */
static size_t in_block(uint64_t at, size_t size)
{
    const size_t rest = HOLE_BLOCK - at % HOLE_BLOCK;
    return rest < size ? rest : size;
}

/* Runs of blocks that are stored and of such that are not, in turn. */
static gf_status write_sparse(gf_out *o, const char *data, size_t size, gf_err *err)
{
    for (size_t stored = 0, hole = 0; size; size -= stored + hole, data += stored + hole) {
        stored = hole = 0;
        for (size_t n;
             (n = in_block(o->at + stored, size - stored)) > 0 && !is_zero(data + stored, n);)
            stored += n;
        TRY(write_bytes(o, data, stored, err));
        for (size_t n; (n = in_block(o->at + hole, size - stored - hole)) > 0 &&
                       is_zero(data + stored + hole, n);)
            hole += n;
        TRY(skip_bytes(o, hole, err));
    }
    return GF_OK;
}

static gf_status write_all(gf_out *o, const char *data, size_t size, gf_err *err)
{
    return o->sparse ? write_sparse(o, data, size, err) : write_bytes(o, data, size, err);
}

static gf_status flush(gf_out *o, gf_err *err)
{
    TRY(write_all(o, o->buffer, o->used, err));
    o->used = 0;
    return GF_OK;
}

void gf_out_sparse(gf_out *o)
{
    o->sparse = true;
}

gf_status gf_out_write(gf_out *o, const void *data, size_t size, gf_err *err)
{
    if (o->fd < 0)
        return gf_fail(err, GF_EIO, "%s: an earlier write failed", o->path);
    if (size > OUT_BUFFER - o->used)
        TRY(flush(o, err));
    if (size > OUT_BUFFER - o->used)
        return write_all(o, data, size, err);
    if (size)
        memcpy(o->buffer + o->used, data, size);
    o->used += size;
    return GF_OK;
}

static gf_status sync_folder_of(const char *path, gf_err *err)
{
    const char *name = gf_path_name(path);
    char *dir = name == path ? gf_strdup(".", err) : gf_strndup(path, (size_t)(name - path), err);
    const gf_status st = dir ? gf_dir_sync(dir, err) : GF_ENOMEM;
    free(dir);
    return st;
}

gf_status gf_out_commit(gf_out *o, gf_err *err)
{
    gf_status st = GF_OK;
    if (o->fd < 0) {
        st = gf_fail(err, GF_EIO, "%s: an earlier write failed", o->path);
        goto out;
    }
    TRYG(flush(o, err));
    /* A hole at the end counts only once the file has its length. */
    if (o->sparse && ftruncate(o->fd, (off_t)o->at) != 0) {
        st = fail_out(o, err);
        goto out;
    }
    if (fsync(o->fd) != 0 && errno != EINVAL) {
        st = fail_write(err, o->path);
        goto out;
    }
    const int closed = close(o->fd);
    o->fd = -1;
    if ((closed != 0 && errno != EINTR) || rename(o->temporary, o->path) != 0) {
        st = fail_write(err, o->path);
        unlink(o->temporary);
        goto out;
    }
    st = sync_folder_of(o->path, err);
out:
    gf_out_cancel(o);
    return st;
}

void gf_out_cancel(gf_out *o)
{
    if (!o)
        return;
    drop(o);
    free(o->path);
    free(o->temporary);
    free(o);
}

gf_status gf_file_write(const char *path, const void *data, size_t size, gf_err *err)
{
    gf_out *o;
    TRY(gf_out_open(&o, path, err));
    const gf_status st = gf_out_write(o, data, size, err);
    if (st != GF_OK) {
        gf_out_cancel(o);
        return st;
    }
    return gf_out_commit(o, err);
}
