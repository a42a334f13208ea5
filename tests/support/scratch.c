/* scratch.c - a folder of its own for a test. libc only: nothing under test may help here. */
#include "support/scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static pid_t owner;

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    (void)type;
    (void)where;
    return remove(path);
}

static void clean(void)
{
    if (getpid() == owner) /* not in a process that the test forked */
        nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *scratch_dir(void)
{
    if (!folder[0] || getpid() != owner) {
        snprintf(folder, sizeof folder, "/tmp/graft-test-XXXXXX");
        if (!mkdtemp(folder))
            abort();
        owner = getpid();
        atexit(clean);
    }
    return folder;
}

const char *scratch_path(const char *name)
{
    static char path[8][512];
    static unsigned next;
    char *p = path[next++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", scratch_dir(), name);
    return p;
}

const char *scratch_write(const char *name, const void *data, size_t size)
{
    const char *path = scratch_path(name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f) != 0)
        abort();
    return path;
}
