/* device.h - an open device, as the files of this folder share it. The twins see cuda.h only. */
#ifndef GRAFT_KERNELS_CUDA_DEVICE_H
#define GRAFT_KERNELS_CUDA_DEVICE_H

#include "cuda.h"
#include "driver.h"

#define GF_STAGING ((size_t)8 << 20) /* bytes of a pinned buffer: some ms of a PCIe link */
#define GF_STAGES 4                  /* buffers of uploads: one is filled while others are read */
#define GF_KERNELS 512               /* kernels a program may have, a bit each */

/* ---- kernels (launch.c) ----------------------------------------------------------------- */

typedef struct {
    char *module, *name; /* NULL: no kernel in this place of the table */
    CUfunction function;
    size_t shared; /* dynamic shared memory that a launch may have without asking */
    int number;
} gf_kernel;

/* Which kernels were launched: what a fault that comes later can be about. */
typedef struct {
    uint64_t bit[GF_KERNELS / 64];
    bool product;
} gf_kernel_set;

typedef struct {
    CUmodule *loaded;                 /* beside gf_modules; NULL: not yet */
    gf_kernel kernel[2 * GF_KERNELS]; /* by hash of module and name */
    int count;
    gf_kernel_set since; /* the last wait, or the start of the capture */
} gf_kernels;

gf_status gf_kernels_open(gf_kernels *k, gf_err *err);
void gf_kernels_close(gf_kernels *k, const gf_driver *d);
/* "a, b, c" of a set; the last may be "...". */
void gf_kernels_text(const gf_kernels *k, const gf_kernel_set *set, char *text, size_t size);
void gf_kernels_add(gf_kernel_set *to, const gf_kernel_set *from);
/* After a kernel or product was enqueued: waits for it where each one is waited for. */
gf_status gf_cuda_launched(gf_backend *be, const char *name);

/* ---- pinned memory (memory.c) ----------------------------------------------------------- */

typedef struct {
    char *memory;
    CUevent read; /* the device has read it all */
    bool busy;    /* read has been recorded and not been waited for */
} gf_stage;

/* What gf_cuda_wait copies out. */
typedef struct {
    void *to;
    const void *from;
    size_t bytes;
} gf_pending;

typedef struct {
    gf_stage up[GF_STAGES];
    int filling;   /* the one that uploads go to */
    size_t filled; /* bytes */
    char *down;    /* downloads until the next wait */
    size_t down_used;
    gf_pending *pending;
    size_t count, room;
} gf_pinned;

gf_status gf_pinned_open(gf_backend *be, gf_err *err);
void gf_pinned_close(gf_backend *be);
/* Host bytes to device memory through the staging, in stream order. */
gf_status gf_cuda_put(gf_backend *be, void *to, const void *from, size_t bytes);

/* ---- captured passes (graph.c) ---------------------------------------------------------- */

typedef struct gf_graphs gf_graphs;

void gf_graphs_close(gf_backend *be);

/* ---- cuBLASLt (blas.c) ------------------------------------------------------------------ */

typedef struct gf_blas gf_blas;

gf_status gf_blas_open(gf_backend *be, gf_err *err);
void gf_blas_close(gf_backend *be);

/* ---- the device (device.c) -------------------------------------------------------------- */

struct gf_cuda {
    gf_driver call;
    bool absent; /* GF_DEVICE_DRY: nothing is open */
    bool each;   /* GRAFT_CUDA_SYNC: wait for every launch, to name the one that fails */
    int number;
    gf_device about;
    CUdevice device;
    CUcontext context;
    CUstream stream;
    gf_err fault; /* the first: all that comes later answers with it */
    bool capturing;
    void *scratch; /* GF_CUDA_SCRATCH bytes */
    char *lists;   /* where row.c makes a row's lists */
    size_t lists_bytes;
    gf_kernels kernels;
    gf_pinned pinned;
    gf_graphs *graphs;
    gf_blas *blas;
};

/* GF_OK if work may be enqueued; else the first failure again. */
gf_status gf_cuda_ready(gf_backend *be);
/* The same for what may not stand in a captured pass: `what` is named. */
gf_status gf_cuda_ready_outside(gf_backend *be, const char *what);
/* Records a failed call, which ends this backend's work. name: the kernel, product, ..., or NULL.
 */
gf_status gf_cuda_fail(gf_backend *be, CUresult code, const char *call, const char *name);

/* CALL(be, copy_up, ...) in a function that returns gf_status. */
#define CALL(be, field, ...)                                                                       \
    do {                                                                                           \
        const CUresult code_ = (be)->cuda->call.field(__VA_ARGS__);                                \
        if (code_ != CUDA_SUCCESS)                                                                 \
            return gf_cuda_fail(be, code_, gf_driver_names[GF_CALL_##field], NULL);                \
    } while (0)

static inline CUdeviceptr gf_address(const void *p)
{
    return (CUdeviceptr)(uintptr_t)p;
}

#endif
