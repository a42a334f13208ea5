// standin_cuda_device.cpp - the process's driver, its devices and their primary contexts.
#include "standin_cuda.h"

#include <cstdarg>
#include <cstdlib>
#include <cstring>

namespace standin
{

thread_local CUcontext current_context;
thread_local bool inside;

void refuse(CUresult code)
{
    throw Refusal{code};
}

static void line(const char *format, va_list list)
{
    char text[1024];
    vsnprintf(text, sizeof text, format, list);
    fprintf(stderr, "ptxvm: %s\n", text);
}

void complain(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    line(format, list);
    va_end(list);
}

void refuse(CUresult code, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    line(format, list);
    va_end(list);
    throw Refusal{code};
}

// Never destroyed while a thread may still be in a call; its contexts are, at exit (leave()).
Driver &driver()
{
    static Driver *d = new Driver;
    return *d;
}

CUctx_st *Driver::context_of(CUcontext handle)
{
    for (auto &c : contexts)
        if (c && c.get() == handle)
            return c.get();
    return nullptr;
}

void Driver::check_ordinal(CUdevice device) const
{
    if (device < 0 || device >= devices)
        refuse(CUDA_ERROR_INVALID_DEVICE);
}

// A number from the environment, or what stands for "not set".
static long number(const char *name, long otherwise, long least, long most)
{
    const char *text = getenv(name);
    if (!text || !*text)
        return otherwise;
    char *end;
    long value = strtol(text, &end, 10);
    if (*end || value < least || value > most)
        refuse(CUDA_ERROR_INVALID_VALUE, "%s=%s is not a number from %ld to %ld", name, text, least,
               most);
    return value;
}

// CUDA_VISIBLE_DEVICES: the ordinals up to the first one that does not exist. The devices are all
// alike, so only their number matters.
static int visible(int devices)
{
    const char *list = getenv("CUDA_VISIBLE_DEVICES");
    if (!list)
        return devices;
    int count = 0;
    for (char *end; *list; list = *end ? end + 1 : end) {
        long ordinal = strtol(list, &end, 10);
        if (end == list || ordinal < 0 || ordinal >= devices || (*end && *end != ','))
            break;
        count++;
    }
    return count;
}

static void read_environment(Driver &d)
{
    try {
        d.options = ptxvm::Options::from_environment();
    } catch (const ptxvm::Fault &f) {
        refuse(CUDA_ERROR_INVALID_VALUE, "%s", f.what());
    }
    d.devices = visible(static_cast<int>(number("PTXVM_DEVICES", 1, 0, 64)));
    d.arch = static_cast<int>(number("PTXVM_ARCH", 80, 80, 90));
    if (d.arch != 80 && d.arch != 90)
        refuse(CUDA_ERROR_INVALID_VALUE, "PTXVM_ARCH=%d: 80 or 90", d.arch);
    int most = (d.arch == 90 ? 227 : 163) << 10;
    d.shared_limit = static_cast<int>(number("PTXVM_SMEM", most, 48 << 10, most));
}

// Contexts end with the program, so that their devices write their reports. Work that nothing
// waited for is dropped, as on a real device.
static void leave()
{
    Driver &d = driver();
    if (d.mutex.try_lock()) { // else a thread is still inside: its context is in use
        d.contexts.clear();
        d.ready = false;
        d.mutex.unlock();
    }
}

} // namespace standin

using namespace standin;

CUctx_st::CUctx_st(int ordinal_, const ptxvm::Options &options)
    : ordinal(ordinal_), device(options), random(options.seed + static_cast<unsigned>(ordinal_))
{
    streams.push_back(std::make_unique<CUstream_st>());
    streams[0]->context = this;
}

// ---- the library and its devices ------------------------------------------------------------
CUresult cuInit(unsigned flags)
{
    Driver &d = driver();
    Lock lock(d.mutex);
    if (flags)
        return CUDA_ERROR_INVALID_VALUE;
    if (d.ready)
        return CUDA_SUCCESS;
    try {
        read_environment(d);
    } catch (const Refusal &r) {
        return r.code;
    }
    if (d.devices == 0)
        return CUDA_ERROR_NO_DEVICE;
    d.contexts.resize(static_cast<size_t>(d.devices));
    d.ready = true;
    static bool once = atexit(leave) == 0;
    return once ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuDriverGetVersion(int *version)
{
    *version = CUDA_VERSION;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count)
{
    return enter([&](Driver &d, Lock &) { *count = d.devices; });
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    return enter([&](Driver &d, Lock &) {
        d.check_ordinal(ordinal);
        *device = ordinal;
    });
}

CUresult cuDeviceGetName(char *name, int size, CUdevice device)
{
    return enter([&](Driver &d, Lock &) {
        d.check_ordinal(device);
        snprintf(name, static_cast<size_t>(size), "test device sm_%d", d.arch);
    });
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device)
{
    return enter([&](Driver &d, Lock &) {
        d.check_ordinal(device);
        memcpy(uuid->bytes, "graft-test-dev\0", 16);
        uuid->bytes[15] = static_cast<char>(device);
    });
}

CUresult cuDeviceGetPCIBusId(char *text, int size, CUdevice device)
{
    return enter([&](Driver &d, Lock &) {
        d.check_ordinal(device);
        snprintf(text, static_cast<size_t>(size), "0000:%02x:00.0", static_cast<unsigned>(device));
    });
}

CUresult cuDeviceTotalMem(size_t *bytes, CUdevice device)
{
    return enter([&](Driver &d, Lock &) {
        d.check_ordinal(device);
        *bytes = d.options.memory;
    });
}

// An A100's or H100's, but for the few multiprocessors and what PTXVM_SMEM says.
static int attribute(const Driver &d, CUdevice_attribute which, CUdevice device)
{
    switch (which) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
        return d.arch / 10;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
        return d.arch % 10;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
        return 4;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
        return 32;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:
        return 1024;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:
        return 64;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
        return 0x7fffffff;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:
        return 65535;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
        return 2048;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR:
        return 32;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
        return 48 << 10;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
        return d.shared_limit;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
        return d.shared_limit + 1024;
    case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK:
        return 1024;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR:
        return 65536;
    case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY:
        return 65536;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: // kHz
        return 1410000;
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: // kHz
        return 1215000;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: // bits
        return 5120;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:
        return 40 << 20;
    case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
        return device;
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
        return 2;
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
    case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
        return 1;
    case CU_DEVICE_ATTRIBUTE_INTEGRATED:
    case CU_DEVICE_ATTRIBUTE_ECC_ENABLED:
    case CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS:
    case CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS:
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH:
    case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE:
    case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID:
    case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID:
    case CU_DEVICE_ATTRIBUTE_KERNEL_EXEC_TIMEOUT:
        return 0;
    default:
        refuse(CUDA_ERROR_INVALID_VALUE,
               "cuDeviceGetAttribute: the test device has no answer for "
               "attribute %d",
               static_cast<int>(which));
    }
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute which, CUdevice device)
{
    return enter([&](Driver &d, Lock &) {
        d.check_ordinal(device);
        *value = attribute(d, which, device);
    });
}

// ---- contexts -------------------------------------------------------------------------------
CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
    return enter([&](Driver &d, Lock &) {
        d.check_ordinal(device);
        auto &c = d.contexts[static_cast<size_t>(device)];
        if (!c)
            c = std::make_unique<CUctx_st>(device, d.options);
        c->retained++;
        *context = c.get();
    });
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device)
{
    return enter([&](Driver &d, Lock &lock) {
        d.check_ordinal(device);
        auto &c = d.contexts[static_cast<size_t>(device)];
        if (!c || c->retained == 0)
            refuse(CUDA_ERROR_INVALID_CONTEXT);
        if (c->retained == 1)
            c->wait_all(lock);
        if (--c->retained == 0)
            c.reset();
    });
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active)
{
    return enter([&](Driver &d, Lock &) {
        d.check_ordinal(device);
        *flags = 0;
        *active = d.contexts[static_cast<size_t>(device)] != nullptr;
    });
}

CUresult cuCtxSetCurrent(CUcontext context)
{
    return enter([&](Driver &d, Lock &) {
        if (context && !d.context_of(context))
            refuse(CUDA_ERROR_INVALID_CONTEXT);
        current_context = context;
    });
}

CUresult cuCtxGetCurrent(CUcontext *context)
{
    return enter([&](Driver &, Lock &) { *context = current_context; });
}

CUresult cuCtxGetDevice(CUdevice *device)
{
    return with_context([&](CUctx_st &c, Lock &) { *device = c.ordinal; });
}

CUresult cuCtxSynchronize()
{
    return with_context([&](CUctx_st &c, Lock &lock) {
        c.refuse_in_capture("cuCtxSynchronize");
        c.wait_all(lock);
    });
}

CUresult cuMemGetInfo(size_t *available, size_t *total)
{
    return with_context([&](CUctx_st &c, Lock &) {
        *available = c.device.memory_free();
        *total = c.device.options().memory;
    });
}
