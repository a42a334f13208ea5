/* cuda_absent.c - what a build without CUDA answers where one with it would look for a device.
 * Compiled only there. Contract: graft/ops.h. */
#include "graft/ops.h"

#include <stdio.h>

static const char why[] = "this build has no CUDA: making one with it takes nvcc, cuda.h and "
                          "cublasLt.h";

gf_status gf_backend_open_cuda(gf_backend *be, int device, gf_err *err)
{
    (void)device;
    *be = (gf_backend){0};
    return gf_fail(err, GF_EMISSING, "%s; use --device cpu", why);
}

void gf_cuda_look(gf_cuda_machine *out)
{
    *out = (gf_cuda_machine){0};
    (void)snprintf(out->why, sizeof out->why, "%s", why);
}

gf_status gf_cuda_device(gf_device *out, int device, gf_err *err)
{
    (void)device;
    *out = (gf_device){0};
    return gf_fail(err, GF_EMISSING, "%s", why);
}

const gf_device *gf_backend_device(const gf_backend *be)
{
    static const gf_device none;
    (void)be;
    return &none;
}

void *gf_backend_stream(const gf_backend *be)
{
    (void)be;
    return NULL;
}

const char *gf_backend_note(const gf_backend *be)
{
    (void)be;
    return "";
}
