/* look.c - what CUDA finds on this machine. Contract: graft/ops.h. */
#include <stdio.h>

#include "blas.h"
#include "cuda.h"
#include "driver.h"
#include "library.h"

static int cublaslt_version(void)
{
    gf_blas_calls call;
    return gf_blas_load(&call, NULL) == GF_OK ? (int)call.version() : 0;
}

/* host/comm loads NCCL for work; here only its number is asked for. */
static int nccl_version(void)
{
    static const char *const names[] = {"libnccl.so.2", NULL};
    int (*get)(int *) = NULL;
    const gf_symbol symbol = {"ncclGetVersion", &get};
    void *library;
    int version = 0;
    if (gf_library_open(&library, names, &symbol, 1, "", NULL) != GF_OK)
        return 0;
    return get(&version) == 0 ? version : 0;
}

static void nvml_version(char *text, unsigned size)
{
    static const char *const names[] = {"libnvidia-ml.so.1", NULL};
    int (*start)(void) = NULL, (*get)(char *, unsigned) = NULL;
    const gf_symbol symbols[] = {{"nvmlInit_v2", &start}, {"nvmlSystemGetNVMLVersion", &get}};
    void *library;
    *text = '\0';
    if (gf_library_open(&library, names, symbols, 2, "", NULL) == GF_OK && start() == 0 &&
        get(text, size) != 0)
        *text = '\0';
}

/* Libraries are looked for only where there is a device for them: loading them takes a moment. */
void gf_cuda_look(gf_cuda_machine *out)
{
    gf_driver d;
    gf_err err = {0};
    *out = (gf_cuda_machine){0};
    gf_status st = gf_driver_load(&d, &err);
    if (st == GF_OK) {
        (void)d.version(&out->driver);
        st = gf_driver_open(&d, &out->devices, &err);
    }
    if (st != GF_OK) {
        (void)snprintf(out->why, sizeof out->why, "%.255s", err.text);
        return;
    }
    out->cublaslt = cublaslt_version();
    out->nccl = nccl_version();
    nvml_version(out->nvml, sizeof out->nvml);
}
