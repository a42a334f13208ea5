/* memory.c - a backend's memory and what the host sees of it: on a CPU plain memory, on a device
 * what kernels/cuda does. Contract: graft/ops.h. */
#include "cpu.h"
#include "on_device.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Alignment of an allocation: a huge page, so that the kernel can use them throughout. */
#define HUGE_PAGE ((size_t)2 << 20)

/* Zeroing touches every page: what does not fit fails now, not in the middle of step 1. */
static gf_status alloc_host(void **out, size_t bytes, gf_err *err)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (bytes > SIZE_MAX - HUGE_PAGE ||
        (pages > 0 && page > 0 && bytes / (size_t)page > (size_t)pages))
        return gf_fail(err, GF_ENOMEM, "the run needs %zu MiB, more than this machine has",
                       bytes >> 20);
    const size_t whole = (bytes + HUGE_PAGE) / HUGE_PAGE * HUGE_PAGE;
    if (posix_memalign(out, HUGE_PAGE, whole) != 0)
        return gf_fail(err, GF_ENOMEM, "cannot allocate %zu MiB for the run", whole >> 20);
    (void)madvise(*out, whole, MADV_HUGEPAGE); /* advice: fewer TLB misses, nothing if refused */
    memset(*out, 0, bytes);
    return GF_OK;
}

gf_status gf_backend_alloc(gf_backend *be, void **out, size_t bytes, gf_err *err)
{
    *out = NULL;
    ON_DEVICE(gf_cuda_alloc(be, out, bytes, err));
    return alloc_host(out, bytes, err);
}

void gf_backend_free(gf_backend *be, void *memory)
{
#ifdef GRAFT_CUDA
    if (be->cuda) {
        gf_cuda_free(be, memory);
        return;
    }
#endif
    (void)be;
    free(memory);
}

/* Rows between host memory without gaps and t. */
static void copy_rows(gf_tensor t, void *rows, bool up)
{
    size_t bytes = (size_t)gf_row_bytes(t.dtype, gf_width(t));
    if (t.stride == gf_width(t)) { /* all in one */
        bytes *= (size_t)t.dim[0];
        t.dim[0] = bytes > 0;
    }
    for (int64_t i = 0; i < t.dim[0]; i++) {
        void *there = gf_row_at(t, i), *here = (char *)rows + bytes * (size_t)i;
        if (there != here)
            memcpy(up ? there : here, up ? here : there, bytes);
    }
}

gf_status gf_upload(gf_backend *be, gf_tensor t, const void *from)
{
    ON_DEVICE(gf_cuda_upload(be, t, from));
    copy_rows(t, (void *)(uintptr_t)from, true);
    return GF_OK;
}

gf_status gf_download(gf_backend *be, void *to, gf_tensor t)
{
    ON_DEVICE(gf_cuda_download(be, to, t));
    copy_rows(t, to, false);
    return GF_OK;
}

gf_status gf_wait(gf_backend *be)
{
    ON_DEVICE(gf_cuda_wait(be));
    return GF_OK;
}

/* ---- rows: a CPU's twins take the spans as they are ------------------------------------ */

size_t gf_row_work_bytes(const gf_backend *be, int64_t tokens)
{
    ON_DEVICE(gf_cuda_row_work_bytes(be, tokens));
    (void)tokens;
    return 0;
}

gf_status gf_row_bind(gf_backend *be, gf_spans *row, int64_t n, uint32_t epoch)
{
    ON_DEVICE(gf_cuda_row_bind(be, row, n, epoch));
    (void)row, (void)n, (void)epoch;
    return GF_OK;
}

uint64_t gf_row_shape(const gf_backend *be, const gf_spans *row, int64_t n)
{
    ON_DEVICE(gf_cuda_row_shape(be, row, n));
    (void)row;
    return (uint64_t)n;
}

int64_t gf_row_bucket(const gf_backend *be, int64_t tokens, int64_t capacity)
{
    ON_DEVICE(gf_cuda_row_bucket(be, tokens, capacity));
    (void)capacity;
    return tokens;
}

gf_status gf_replay(gf_backend *be, uint64_t key, bool *done)
{
    *done = false;
    ON_DEVICE(gf_cuda_replay(be, key, done));
    (void)key;
    return GF_OK;
}

gf_status gf_capture(gf_backend *be, uint64_t key)
{
    ON_DEVICE(gf_cuda_capture(be, key));
    (void)key;
    return GF_OK;
}

gf_status gf_capture_end(gf_backend *be, bool failed)
{
    ON_DEVICE(gf_cuda_capture_end(be, failed));
    (void)failed;
    return GF_OK;
}
