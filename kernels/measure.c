/* measure.c - time and state of a backend: of a CPU here, of a device in kernels/cuda. Contract:
 * graft/measure.h. */
#include "graft/measure.h"

#include "on_device.h"

#include <time.h>

#ifdef GRAFT_CUDA
#include "cuda/measure.h"
#endif

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

gf_status gf_timer_start(gf_backend *be, gf_timer *t)
{
    ON_DEVICE(gf_cuda_timer_start(be, t));
    t->start = now();
    return GF_OK;
}

gf_status gf_timer_stop(gf_backend *be, gf_timer *t, double *seconds)
{
    ON_DEVICE(gf_cuda_timer_stop(be, t, seconds));
    *seconds = now() - t->start;
    return GF_OK;
}

void gf_timer_close(gf_backend *be, gf_timer *t)
{
#ifdef GRAFT_CUDA
    if (be->cuda)
        gf_cuda_timer_close(be, t);
#endif
    (void)be;
    *t = (gf_timer){0};
}

gf_status gf_device_look(const gf_backend *be, gf_device_state *out, gf_err *err)
{
    *out = (gf_device_state){0};
    ON_DEVICE(gf_cuda_device_look(be, out, err));
    return gf_fail(err, GF_EMISSING, "a CPU has no NVML");
}
