// standin_cuda_names.cpp - names: of errors, and of entry points (cuGetProcAddress and the names
// that older headers use).
#include "standin_cuda.h"

#include <dlfcn.h>

using namespace standin;

// ---- errors ---------------------------------------------------------------------------------
namespace
{

struct Named {
    CUresult code;
    const char *name, *text;
};

#define CODE(code, text)                                                                           \
    {                                                                                              \
        code, #code, text                                                                          \
    }
const Named CODES[] = {
    CODE(CUDA_SUCCESS, "no error"),
    CODE(CUDA_ERROR_INVALID_VALUE, "invalid argument"),
    CODE(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
    CODE(CUDA_ERROR_NOT_INITIALIZED, "the driver is not initialised"),
    CODE(CUDA_ERROR_NO_DEVICE, "there is no device"),
    CODE(CUDA_ERROR_INVALID_DEVICE, "no such device"),
    CODE(CUDA_ERROR_INVALID_IMAGE, "not an image of device code"),
    CODE(CUDA_ERROR_INVALID_CONTEXT, "no current context, or one that was destroyed"),
    CODE(CUDA_ERROR_NO_BINARY_FOR_GPU, "no code for this device in the image"),
    CODE(CUDA_ERROR_INVALID_PTX, "the PTX cannot be assembled"),
    CODE(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "this host memory is page-locked already"),
    CODE(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "this host memory is not page-locked"),
    CODE(CUDA_ERROR_INVALID_HANDLE, "invalid handle"),
    CODE(CUDA_ERROR_ILLEGAL_STATE, "not in a state that allows this"),
    CODE(CUDA_ERROR_NOT_FOUND, "named symbol not found"),
    CODE(CUDA_ERROR_NOT_READY, "not ready"),
    CODE(CUDA_ERROR_ILLEGAL_ADDRESS, "illegal memory access"),
    CODE(CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned address"),
    CODE(CUDA_ERROR_LAUNCH_FAILED, "a kernel failed"),
    CODE(CUDA_ERROR_NOT_PERMITTED, "not permitted here"),
    CODE(CUDA_ERROR_NOT_SUPPORTED, "not supported"),
    CODE(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "not allowed while a stream is captured"),
    CODE(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "the capture was invalidated by an earlier error"),
    CODE(CUDA_ERROR_STREAM_CAPTURE_MERGE, "this would merge two captures"),
    CODE(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "the capture was not begun on this stream"),
    CODE(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "a stream was not joined back into the capture"),
    CODE(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "a dependency crosses the capture's border"),
    CODE(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, "an implicit dependency on a captured stream"),
    CODE(CUDA_ERROR_CAPTURED_EVENT, "the event was last recorded in a capture"),
    CODE(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, "the capture belongs to another thread"),
};

const Named *named(CUresult code)
{
    for (const Named &n : CODES)
        if (n.code == code)
            return &n;
    return nullptr;
}

} // namespace

CUresult cuGetErrorName(CUresult code, const char **name)
{
    const Named *n = named(code);
    *name = n ? n->name : nullptr;
    return n ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult code, const char **text)
{
    const Named *n = named(code);
    *text = n ? n->text : nullptr;
    return n ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

// ---- entry points ---------------------------------------------------------------------------
// Where the driver has an entry point and the stand-in has none.
static CUresult not_supported()
{
    complain("an entry point was called that the test device does not have");
    return CUDA_ERROR_NOT_SUPPORTED;
}

// As in the real library, names are without the suffix that cuda.h adds.
CUresult cuGetProcAddress(const char *name, void **function, int version, cuuint64_t,
                          CUdriverProcAddressQueryResult *found)
{
    static void *self = [] {
        Dl_info info;
        dladdr(reinterpret_cast<void *>(&not_supported), &info);
        return dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    }();
    std::string plain = name;
    *function = nullptr;
    for (const char *suffix : {"_v3", "_v2", ""})
        if (!*function)
            *function = dlsym(self, (plain + suffix).c_str());
    if (found)
        *found = *function ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    if (!*function)
        *function = reinterpret_cast<void *>(&not_supported);
    (void)version;
    return CUDA_SUCCESS;
}

// Older names of the same functions, which the real library keeps too.
#ifdef cuEventElapsedTime
#undef cuEventElapsedTime
extern "C" __attribute__((visibility("default"))) CUresult cuEventElapsedTime(float *milliseconds,
                                                                              CUevent a, CUevent b)
{
    return cuEventElapsedTime_v2(milliseconds, a, b);
}
#endif
#ifdef cuDeviceGetUuid
#undef cuDeviceGetUuid
extern "C" __attribute__((visibility("default"))) CUresult cuDeviceGetUuid(CUuuid *uuid,
                                                                           CUdevice device)
{
    return cuDeviceGetUuid_v2(uuid, device);
}
#endif
