/* memory.c - device memory, and copies through pinned memory. Contract: graft/ops.h, device.h.
 *
 * An upload is copied to a pinned buffer at once and read from there by the device later, so that
 * the caller's memory is free when the call returns and copies overlap with the device's work. The
 * buffers are used in turn; before one is filled again, its event is waited for. Small uploads
 * share a buffer. Downloads gather in another one until gf_cuda_wait hands them out. */
#include "device.h"

#include <stdlib.h>
#include <string.h>

#define STAGE_ALIGN ((size_t)256) /* of copies in a buffer: whole lines, 128-bit accesses */

/* ---- memory ----------------------------------------------------------------------------- */

static double mib(size_t bytes)
{
    return (double)bytes / (double)(1 << 20);
}

gf_status gf_cuda_alloc(gf_backend *be, void **out, size_t bytes, gf_err *err)
{
    gf_cuda *c = be->cuda;
    CUdeviceptr memory = 0;
    size_t open = 0, all = 0;
    *out = NULL;
    if (be->dry)
        return gf_fail(err, GF_EDEVICE, "a dry run has no device memory");
    gf_status st = gf_cuda_ready_outside(be, "an allocation");
    if (st != GF_OK)
        return gf_fail(err, st, "%s", be->err.text);
    CUresult code = c->call.memory_alloc(&memory, bytes > 0 ? bytes : 1);
    if (code == CUDA_ERROR_OUT_OF_MEMORY) {
        if (c->call.memory_info(&open, &all) != CUDA_SUCCESS)
            open = all = 0;
        return gf_fail(err, GF_ENOMEM,
                       "the run needs %.1f MiB more of %s, which has %.1f of %.1f MiB free",
                       mib(bytes), c->about.name, mib(open), mib(all));
    }
    if (code == CUDA_SUCCESS)
        code = c->call.fill(memory, 0, bytes > 0 ? bytes : 1, c->stream);
    if (code != CUDA_SUCCESS) {
        st = gf_cuda_fail(be, code, "cuMemAlloc", NULL);
        return gf_fail(err, st, "%s", be->err.text);
    }
    *out = (void *)(uintptr_t)memory;
    return GF_OK;
}

/* Captured passes go, too: what is allocated next may lie where they read and write. */
void gf_cuda_free(gf_backend *be, void *memory)
{
    gf_cuda *c = be->cuda;
    if (!memory || !c || c->absent)
        return;
    if (c->graphs && !c->capturing) {
        (void)c->call.stream_wait(c->stream);
        gf_graphs_close(be);
    }
    (void)c->call.memory_free(gf_address(memory));
}

gf_status gf_cuda_clear(gf_backend *be, void *to, size_t bytes)
{
    gf_cuda *c = be->cuda;
    if (bytes == 0)
        return GF_OK;
    be->tally.launches++;
    if (be->dry)
        return GF_OK;
    TRY(gf_cuda_ready(be));
    CALL(be, fill, gf_address(to), 0, bytes, c->stream);
    return GF_OK;
}

/* ---- pinned buffers --------------------------------------------------------------------- */

gf_status gf_pinned_open(gf_backend *be, gf_err *err)
{
    gf_cuda *c = be->cuda;
    gf_pinned *p = &c->pinned;
    CUresult code = c->call.host_alloc((void **)&p->down, GF_STAGING, 0);
    for (int i = 0; i < GF_STAGES && code == CUDA_SUCCESS; i++) {
        code = c->call.host_alloc((void **)&p->up[i].memory, GF_STAGING, 0);
        if (code == CUDA_SUCCESS)
            code = c->call.event_create(&p->up[i].read, CU_EVENT_DISABLE_TIMING);
    }
    if (code == CUDA_SUCCESS)
        return GF_OK;
    return gf_fail(err, GF_ENOMEM,
                   "%.0f MiB of page-locked memory are not to be had; see ulimit -l",
                   mib((GF_STAGES + 1) * GF_STAGING));
}

void gf_pinned_close(gf_backend *be)
{
    gf_cuda *c = be->cuda;
    gf_pinned *p = &c->pinned;
    for (int i = 0; i < GF_STAGES; i++) {
        if (p->up[i].read)
            (void)c->call.event_destroy(p->up[i].read);
        if (p->up[i].memory)
            (void)c->call.host_free(p->up[i].memory);
    }
    if (p->down)
        (void)c->call.host_free(p->down);
    free(p->pending);
    *p = (gf_pinned){0};
}

/* Room for `bytes` of one upload, at most a buffer. */
static gf_status take_stage(gf_backend *be, size_t bytes, char **out)
{
    gf_cuda *c = be->cuda;
    gf_pinned *p = &c->pinned;
    if (p->filled + bytes > GF_STAGING) {
        CALL(be, event_record, p->up[p->filling].read, c->stream);
        p->up[p->filling].busy = true;
        p->filling = (p->filling + 1) % GF_STAGES;
        p->filled = 0;
        if (p->up[p->filling].busy)
            CALL(be, event_wait, p->up[p->filling].read);
        p->up[p->filling].busy = false;
    }
    *out = p->up[p->filling].memory + p->filled;
    p->filled = (p->filled + bytes + STAGE_ALIGN - 1) / STAGE_ALIGN * STAGE_ALIGN;
    return GF_OK;
}

/* ---- uploads ---------------------------------------------------------------------------- */

gf_status gf_cuda_put(gf_backend *be, void *to, const void *from, size_t bytes)
{
    gf_cuda *c = be->cuda;
    char *stage = NULL;
    for (size_t at = 0; at < bytes;) {
        const size_t piece = bytes - at < GF_STAGING ? bytes - at : GF_STAGING;
        TRY(take_stage(be, piece, &stage));
        memcpy(stage, (const char *)from + at, piece);
        CALL(be, copy_up, gf_address((char *)to + at), stage, piece, c->stream);
        at += piece;
    }
    return GF_OK;
}

/* `rows` rows of `width` bytes between memory without gaps and a pitched tensor. */
static CUDA_MEMCPY2D pitched(gf_tensor t, int64_t first, size_t width, size_t rows)
{
    const size_t pitch = (size_t)gf_row_bytes(t.dtype, t.stride);
    return (CUDA_MEMCPY2D){.dstDevice = gf_address((char *)t.data + pitch * (size_t)first),
                           .dstPitch = pitch,
                           .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                           .srcMemoryType = CU_MEMORYTYPE_HOST,
                           .srcPitch = width,
                           .WidthInBytes = width,
                           .Height = rows};
}

static bool has_gaps(gf_tensor t)
{
    return t.dim[0] > 1 && t.stride != gf_width(t);
}

/* Rows of a piece: as many as a buffer holds. 0: not even one. */
static int64_t rows_of_piece(int64_t left, size_t width)
{
    const int64_t most = (int64_t)(GF_STAGING / width);
    return left < most ? left : most;
}

gf_status gf_cuda_upload(gf_backend *be, gf_tensor t, const void *from)
{
    gf_cuda *c = be->cuda;
    const size_t width = (size_t)gf_row_bytes(t.dtype, gf_width(t));
    char *stage = NULL;
    if (be->dry || gf_count(t) == 0)
        return GF_OK;
    TRY(gf_cuda_ready_outside(be, "an upload"));
    if (!has_gaps(t))
        return gf_cuda_put(be, t.data, from, width * (size_t)t.dim[0]);
    for (int64_t i = 0; i < t.dim[0];) {
        const int64_t rows = rows_of_piece(t.dim[0] - i, width);
        const char *piece = (const char *)from + width * (size_t)i;
        if (rows == 0) { /* a row longer than a buffer */
            const gf_tensor row = gf_rows(t, i, 1);
            TRY(gf_cuda_put(be, row.data, piece, width));
            i++;
            continue;
        }
        CUDA_MEMCPY2D copy = pitched(t, i, width, (size_t)rows);
        TRY(take_stage(be, width * (size_t)rows, &stage));
        memcpy(stage, piece, width * (size_t)rows);
        copy.srcHost = stage;
        CALL(be, copy_rows, &copy, c->stream);
        i += rows;
    }
    return GF_OK;
}

/* ---- downloads -------------------------------------------------------------------------- */

static void hand_out(gf_pinned *p)
{
    for (size_t i = 0; i < p->count; i++)
        memcpy(p->pending[i].to, p->pending[i].from, p->pending[i].bytes);
    p->count = 0;
    p->down_used = 0;
}

/* Room for `bytes`, at most a buffer, that the next wait hands out to `to`. Where the buffer is
 * full, what is in it is waited for: large downloads belong between steps. */
static gf_status take_down(gf_backend *be, void *to, size_t bytes, char **out)
{
    gf_pinned *p = &be->cuda->pinned;
    if (p->down_used + bytes > GF_STAGING) {
        CALL(be, stream_wait, be->cuda->stream);
        hand_out(p);
    }
    if (p->count == p->room) {
        const size_t room = p->room ? 2 * p->room : 16;
        gf_pending *more = gf_realloc(p->pending, room, sizeof *more, &be->err);
        if (!more)
            return GF_ENOMEM;
        p->pending = more;
        p->room = room;
    }
    *out = p->down + p->down_used;
    p->down_used = (p->down_used + bytes + STAGE_ALIGN - 1) / STAGE_ALIGN * STAGE_ALIGN;
    p->pending[p->count++] = (gf_pending){to, *out, bytes};
    return GF_OK;
}

static gf_status fetch(gf_backend *be, void *to, const void *from, size_t bytes)
{
    char *stage = NULL;
    for (size_t at = 0; at < bytes;) {
        const size_t piece = bytes - at < GF_STAGING ? bytes - at : GF_STAGING;
        TRY(take_down(be, (char *)to + at, piece, &stage));
        CALL(be, copy_down, stage, gf_address((const char *)from + at), piece, be->cuda->stream);
        at += piece;
    }
    return GF_OK;
}

/* After a failure nobody waits for what was under way, and its places may be gone. */
static gf_status or_none(gf_backend *be, gf_status st)
{
    if (st != GF_OK)
        be->cuda->pinned.count = 0;
    return st;
}

gf_status gf_cuda_fetch(gf_backend *be, void *to, const void *from, size_t bytes)
{
    if (be->dry)
        return GF_OK;
    TRY(gf_cuda_ready_outside(be, "a download"));
    return or_none(be, fetch(be, to, from, bytes));
}

static gf_status download(gf_backend *be, void *to, gf_tensor t)
{
    gf_cuda *c = be->cuda;
    const size_t width = (size_t)gf_row_bytes(t.dtype, gf_width(t));
    char *stage = NULL;
    if (!has_gaps(t))
        return fetch(be, to, t.data, width * (size_t)t.dim[0]);
    for (int64_t i = 0; i < t.dim[0];) {
        const int64_t rows = rows_of_piece(t.dim[0] - i, width);
        char *piece = (char *)to + width * (size_t)i;
        if (rows == 0) {
            TRY(fetch(be, piece, gf_rows(t, i, 1).data, width));
            i++;
            continue;
        }
        CUDA_MEMCPY2D copy = pitched(t, i, width, (size_t)rows);
        TRY(take_down(be, piece, width * (size_t)rows, &stage));
        copy.srcMemoryType = CU_MEMORYTYPE_DEVICE;
        copy.srcDevice = copy.dstDevice;
        copy.srcPitch = copy.dstPitch;
        copy.dstMemoryType = CU_MEMORYTYPE_HOST;
        copy.dstHost = stage;
        copy.dstPitch = width;
        CALL(be, copy_rows, &copy, c->stream);
        i += rows;
    }
    return GF_OK;
}

gf_status gf_cuda_download(gf_backend *be, void *to, gf_tensor t)
{
    if (be->dry || gf_count(t) == 0)
        return GF_OK;
    TRY(gf_cuda_ready_outside(be, "a download"));
    return or_none(be, download(be, to, t));
}

gf_status gf_cuda_wait(gf_backend *be)
{
    gf_cuda *c = be->cuda;
    if (be->dry)
        return GF_OK;
    TRY(gf_cuda_ready_outside(be, "a wait"));
    CALL(be, stream_wait, c->stream);
    hand_out(&c->pinned);
    for (int i = 0; i < GF_STAGES; i++)
        c->pinned.up[i].busy = false;
    c->pinned.filled = 0;
    c->kernels.since = (gf_kernel_set){0};
    return GF_OK;
}
