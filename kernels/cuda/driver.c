/* driver.c - finding the CUDA driver. Contract: driver.h. */
#include "driver.h"

#include <stdio.h>

#include "library.h"

const char *const gf_driver_names[] = {
#define X(field, symbol) #symbol,
    GF_DRIVER_CALLS(X)
#undef X
};

gf_status gf_driver_load(gf_driver *d, gf_err *err)
{
    static const char *const names[] = {"libcuda.so.1", NULL};
    const gf_symbol symbols[] = {
#define X(field, symbol) {#symbol, &d->field},
        GF_DRIVER_CALLS(X)
#undef X
    };
    void *library;
    return gf_library_open(&library, names, symbols, sizeof symbols / sizeof *symbols,
                           "install NVIDIA's driver (580 or newer), or use --device cpu", err);
}

gf_status gf_driver_open(gf_driver *d, int *devices, gf_err *err)
{
    char text[192];
    *devices = 0;
    TRY(gf_driver_load(d, err));
    CUresult code = d->init(0);
    if (code == CUDA_SUCCESS)
        code = d->device_count(devices);
    if (code != CUDA_SUCCESS) {
        gf_driver_text(d, text, sizeof text, "cuInit", code);
        return gf_fail(err, GF_EMISSING,
                       "the CUDA driver does not start: %s; see what nvidia-smi says, or use "
                       "--device cpu",
                       text);
    }
    if (*devices == 0)
        return gf_fail(err, GF_EMISSING,
                       "the CUDA driver finds no device; see CUDA_VISIBLE_DEVICES, or use "
                       "--device cpu");
    return GF_OK;
}

void gf_driver_text(const gf_driver *d, char *text, size_t size, const char *call, CUresult code)
{
    const char *name = NULL, *says = NULL;
    if (d->error_name(code, &name) != CUDA_SUCCESS || !name)
        name = "an unknown error";
    if (d->error_string(code, &says) != CUDA_SUCCESS || !says)
        says = "no text";
    (void)snprintf(text, size, "%s: %s (%s)", call, name, says);
}
