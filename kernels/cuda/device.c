/* device.c - opening a device, what it is, and how its errors are told. Contract: graft/ops.h,
 * cuda.h, device.h. */
#include "device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OLDEST 8 /* compute capability 8.0: bf16 mma, cp.async */

/* ---- errors ----------------------------------------------------------------------------- */

/* Codes that tell of a kernel launched before (cuda.h: they leave the context unusable). */
static bool comes_later(CUresult code)
{
    return code == CUDA_ERROR_ECC_UNCORRECTABLE || code == CUDA_ERROR_ILLEGAL_ADDRESS ||
           code == CUDA_ERROR_LAUNCH_TIMEOUT || code == CUDA_ERROR_ASSERT ||
           (code >= CUDA_ERROR_HARDWARE_STACK_ERROR && code <= CUDA_ERROR_LAUNCH_FAILED) ||
           code == CUDA_ERROR_UNKNOWN;
}

gf_status gf_cuda_fail(gf_backend *be, CUresult code, const char *call, const char *name)
{
    gf_cuda *c = be->cuda;
    char text[256], kernels[320];
    gf_driver_text(&c->call, text, sizeof text, call, code);
    if (!comes_later(code) || c->each) {
        (void)gf_fail(&c->fault, GF_EDEVICE, "device %d (%s): %s%s%s", c->number, c->about.name,
                      name ? name : "", name ? ": " : "", text);
    } else {
        gf_kernels_text(&c->kernels, &c->kernels.since, kernels, sizeof kernels);
        (void)gf_fail(&c->fault, GF_EDEVICE,
                      "device %d (%s): %s; launched since the last wait: %s (GRAFT_CUDA_SYNC=1 in "
                      "the environment names the one)",
                      c->number, c->about.name, text, kernels[0] ? kernels : "nothing");
    }
    return gf_fail(&be->err, GF_EDEVICE, "%s", c->fault.text);
}

gf_status gf_cuda_ready(gf_backend *be)
{
    const gf_cuda *c = be->cuda;
    if (c->fault.code != GF_OK)
        return gf_fail(&be->err, c->fault.code, "%s", c->fault.text);
    if (c->absent)
        return gf_fail(&be->err, GF_EDEVICE, "this backend has no device: it runs dry only");
    return GF_OK;
}

gf_status gf_cuda_ready_outside(gf_backend *be, const char *what)
{
    TRY(gf_cuda_ready(be));
    if (be->cuda->capturing)
        return gf_fail(&be->err, GF_EDEVICE, "%s inside a captured pass", what);
    return GF_OK;
}

/* ---- what a device is ------------------------------------------------------------------- */

static CUresult attribute(const gf_driver *d, CUdevice_attribute what, CUdevice device, int *out)
{
    return d->device_attribute(out, what, device);
}

static CUresult look(const gf_driver *d, CUdevice device, gf_device *out)
{
    const struct {
        CUdevice_attribute what;
        int *to;
    } few[] = {
        {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &out->major},
        {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &out->minor},
        {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &out->multiprocessors},
    };
    int shared = 0, l2 = 0;
    size_t memory = 0;
    CUresult code = d->device_name(out->name, (int)sizeof out->name, device);
    for (size_t i = 0; code == CUDA_SUCCESS && i < sizeof few / sizeof *few; i++)
        code = attribute(d, few[i].what, device, few[i].to);
    if (code == CUDA_SUCCESS)
        code = attribute(d, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, device, &shared);
    if (code == CUDA_SUCCESS)
        code = attribute(d, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, device, &l2);
    if (code == CUDA_SUCCESS)
        code = d->device_memory(&memory, device);
    out->shared = shared;
    out->l2 = l2;
    out->memory = memory;
    return code;
}

/* Device `number` of `devices`, checked; free_ stays 0: that needs a context. */
static gf_status choose(const gf_driver *d, int number, int devices, CUdevice *device,
                        gf_device *about, gf_err *err)
{
    char text[256];
    if (number < 0 || number >= devices)
        return gf_fail(err, GF_EMISSING, "there is no CUDA device %d: this machine has %d", number,
                       devices);
    CUresult code = d->device_get(device, number);
    if (code == CUDA_SUCCESS)
        code = look(d, *device, about);
    if (code != CUDA_SUCCESS) {
        gf_driver_text(d, text, sizeof text, "cuDeviceGet", code);
        return gf_fail(err, GF_EDEVICE, "CUDA device %d: %s", number, text);
    }
    return GF_OK;
}

/* Takes the primary context, which libraries such as cuBLASLt use too, and makes it this thread's.
 */
static CUresult enter(const gf_driver *d, CUdevice device, CUcontext *out)
{
    CUresult code = d->context_retain(out, device);
    if (code != CUDA_SUCCESS)
        return code;
    code = d->context_set(*out);
    if (code != CUDA_SUCCESS)
        (void)d->context_release(device);
    return code;
}

gf_status gf_cuda_device(gf_device *out, int device, gf_err *err)
{
    gf_driver d;
    CUdevice handle;
    CUcontext context, before = NULL;
    size_t open = 0, all = 0;
    char text[256];
    int devices;
    *out = (gf_device){0};
    TRY(gf_driver_open(&d, &devices, err));
    TRY(choose(&d, device, devices, &handle, out, err));
    (void)d.context_current(&before);
    CUresult code = enter(&d, handle, &context);
    if (code == CUDA_SUCCESS) {
        code = d.memory_info(&open, &all);
        (void)d.context_set(before);
        (void)d.context_release(handle);
    }
    if (code != CUDA_SUCCESS) {
        gf_driver_text(&d, text, sizeof text, "cuMemGetInfo", code);
        return gf_fail(err, GF_EDEVICE, "CUDA device %d: %s", device, text);
    }
    out->free_ = open;
    return GF_OK;
}

/* ---- opening and closing ---------------------------------------------------------------- */

static gf_status open_own_memory(gf_backend *be, gf_err *err)
{
    gf_cuda *c = be->cuda;
    TRY(gf_kernels_open(&c->kernels, err));
    TRY(gf_pinned_open(be, err));
    TRY(gf_cuda_alloc(be, &c->scratch, GF_CUDA_SCRATCH, err));
    return gf_blas_open(be, err);
}

static gf_status open_device(gf_backend *be, int number, gf_err *err)
{
    gf_cuda *c = be->cuda;
    const char *sync = getenv("GRAFT_CUDA_SYNC");
    char text[256];
    int devices;
    size_t open = 0, all = 0;
    c->number = number;
    c->each = sync && *sync && strcmp(sync, "0") != 0;
    TRY(gf_driver_open(&c->call, &devices, err));
    TRY(choose(&c->call, number, devices, &c->device, &c->about, err));
    if (c->about.major < OLDEST)
        return gf_fail(err, GF_EMISSING,
                       "CUDA device %d (%s) has compute capability %d.%d, graft needs %d.0: use "
                       "another --device",
                       number, c->about.name, c->about.major, c->about.minor, OLDEST);
    CUresult code = enter(&c->call, c->device, &c->context);
    const char *call = "cuDevicePrimaryCtxRetain";
    if (code == CUDA_SUCCESS) {
        call = "cuStreamCreate";
        code = c->call.stream_create(&c->stream, CU_STREAM_NON_BLOCKING);
    } else {
        c->context = NULL;
    }
    if (code == CUDA_SUCCESS) {
        TRY(open_own_memory(be, err));
        call = "cuMemGetInfo"; /* what is left: plans count the backend's own by themselves */
        code = c->call.memory_info(&open, &all);
        c->about.free_ = open;
    }
    if (code != CUDA_SUCCESS) {
        gf_driver_text(&c->call, text, sizeof text, call, code);
        return gf_fail(err, GF_EDEVICE, "CUDA device %d (%s): %s", number, c->about.name, text);
    }
    return GF_OK;
}

gf_status gf_backend_open_cuda(gf_backend *be, int device, gf_err *err)
{
    *be = (gf_backend){.ops = &gf_cuda_ops};
    be->cuda = gf_alloc(1, sizeof *be->cuda, err);
    if (!be->cuda)
        return GF_ENOMEM;
    if (device == GF_DEVICE_DRY) {
        be->cuda->absent = true;
        be->dry = true;
        return GF_OK;
    }
    const gf_status st = open_device(be, device, err);
    if (st != GF_OK)
        gf_cuda_close(be);
    return st;
}

void gf_cuda_close(gf_backend *be)
{
    gf_cuda *c = be->cuda;
    if (!c)
        return;
    if (c->context) {
        (void)gf_cuda_capture_end(be, true);
        if (c->stream)
            (void)c->call.stream_wait(c->stream);
        gf_graphs_close(be);
        gf_blas_close(be);
        gf_cuda_free(be, c->scratch);
        gf_pinned_close(be);
        gf_kernels_close(&c->kernels, &c->call);
        if (c->stream)
            (void)c->call.stream_destroy(c->stream);
        /* stays current: another backend of this thread may live in it too */
        (void)c->call.context_release(c->device);
    }
    free(c->lists);
    free(c);
    be->cuda = NULL;
}

/* ---- what others ask -------------------------------------------------------------------- */

const gf_device *gf_backend_device(const gf_backend *be)
{
    static const gf_device none;
    return be->cuda ? &be->cuda->about : &none;
}

void *gf_backend_stream(const gf_backend *be)
{
    return be->cuda ? be->cuda->stream : NULL;
}

void *gf_cuda_scratch(gf_backend *be)
{
    return be->cuda->scratch;
}

size_t gf_cuda_host_bytes(const gf_backend *be)
{
    return be->cuda ? (GF_STAGES + 1) * GF_STAGING : 0;
}

/* An H100's, for dry runs: 227 KiB, 132 (NVIDIA's data sheet). */
int64_t gf_cuda_shared_limit(const gf_backend *be)
{
    return be->cuda->absent ? 227 << 10 : be->cuda->about.shared;
}

int gf_cuda_multiprocessors(const gf_backend *be)
{
    return be->cuda->absent ? 132 : be->cuda->about.multiprocessors;
}
