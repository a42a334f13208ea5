/* driver.h - the CUDA driver, loaded while the program runs: a program built with CUDA starts and
 * works on machines that have none. */
#ifndef GRAFT_KERNELS_CUDA_DRIVER_H
#define GRAFT_KERNELS_CUDA_DRIVER_H

#include <cuda.h>

#include "graft/base.h"

/* Every call that graft makes: X(field, exported name). The exported names carry the version that
 * cuda.h's macros would put there. */
#define GF_DRIVER_CALLS(X)                                                                         \
    X(init, cuInit)                                                                                \
    X(version, cuDriverGetVersion)                                                                 \
    X(error_name, cuGetErrorName)                                                                  \
    X(error_string, cuGetErrorString)                                                              \
    X(device_count, cuDeviceGetCount)                                                              \
    X(device_get, cuDeviceGet)                                                                     \
    X(device_name, cuDeviceGetName)                                                                \
    X(device_attribute, cuDeviceGetAttribute)                                                      \
    X(device_memory, cuDeviceTotalMem_v2)                                                          \
    X(context_retain, cuDevicePrimaryCtxRetain)                                                    \
    X(context_release, cuDevicePrimaryCtxRelease_v2)                                               \
    X(context_current, cuCtxGetCurrent)                                                            \
    X(context_set, cuCtxSetCurrent)                                                                \
    X(memory_info, cuMemGetInfo_v2)                                                                \
    X(memory_alloc, cuMemAlloc_v2)                                                                 \
    X(memory_free, cuMemFree_v2)                                                                   \
    X(host_alloc, cuMemHostAlloc)                                                                  \
    X(host_free, cuMemFreeHost)                                                                    \
    X(copy_up, cuMemcpyHtoDAsync_v2)                                                               \
    X(copy_down, cuMemcpyDtoHAsync_v2)                                                             \
    X(copy_rows, cuMemcpy2DAsync_v2)                                                               \
    X(fill, cuMemsetD8Async)                                                                       \
    X(stream_create, cuStreamCreate)                                                               \
    X(stream_destroy, cuStreamDestroy_v2)                                                          \
    X(stream_wait, cuStreamSynchronize)                                                            \
    X(capture_begin, cuStreamBeginCapture_v2)                                                      \
    X(capture_end, cuStreamEndCapture)                                                             \
    X(event_create, cuEventCreate)                                                                 \
    X(event_destroy, cuEventDestroy_v2)                                                            \
    X(event_record, cuEventRecord)                                                                 \
    X(event_wait, cuEventSynchronize)                                                              \
    X(event_elapsed, cuEventElapsedTime)                                                           \
    X(module_load, cuModuleLoadData)                                                               \
    X(module_unload, cuModuleUnload)                                                               \
    X(module_function, cuModuleGetFunction)                                                        \
    X(function_attribute, cuFuncGetAttribute)                                                      \
    X(function_set, cuFuncSetAttribute)                                                            \
    X(launch, cuLaunchKernel)                                                                      \
    X(graph_instantiate, cuGraphInstantiateWithFlags)                                              \
    X(graph_launch, cuGraphLaunch)                                                                 \
    X(graph_destroy, cuGraphDestroy)                                                               \
    X(graph_exec_destroy, cuGraphExecDestroy)

typedef struct {
#define X(field, symbol) __typeof__(symbol) *field;
    GF_DRIVER_CALLS(X)
#undef X
} gf_driver;

/* Their places in gf_driver_names, which texts use. */
enum {
#define X(field, symbol) GF_CALL_##field,
    GF_DRIVER_CALLS(X)
#undef X
};
extern const char *const gf_driver_names[];

/* Loads libcuda.so.1; it stays loaded, since it may not be unloaded while it has threads.
 * GF_EMISSING: no driver, or one that lacks a call; the text says which and what to do. */
gf_status gf_driver_load(gf_driver *d, gf_err *err);
/* The same, and starts it. GF_EMISSING also: it does not start, or has no device. */
gf_status gf_driver_open(gf_driver *d, int *devices, gf_err *err);

/* "cuMemAlloc_v2: CUDA_ERROR_OUT_OF_MEMORY (out of memory)" into text. */
void gf_driver_text(const gf_driver *d, char *text, size_t size, const char *call, CUresult code);

#endif
