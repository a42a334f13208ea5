// standin_cuda_memory.cpp - device and page-locked memory, copies and fills of the stand-in for
// libcuda.
//
// A copy from the host reads its source when it runs, which may be as late as the next wait: a
// buffer that is used again too early gives wrong numbers. A copy to the host fills its target with
// 0xff when it is enqueued.
#include "standin_cuda.h"

#include <cstdlib>
#include <cstring>

using namespace standin;

// ---- device memory --------------------------------------------------------------------------
CUresult cuMemAlloc(CUdeviceptr *address, size_t bytes)
{
    return with_context([&](CUctx_st &c, Lock &) {
        c.refuse_in_capture("cuMemAlloc");
        if (bytes == 0)
            refuse(CUDA_ERROR_INVALID_VALUE);
        *address = c.device.allocate(bytes);
        if (!*address)
            refuse(CUDA_ERROR_OUT_OF_MEMORY);
    });
}

CUresult cuMemFree(CUdeviceptr address)
{
    return with_context([&](CUctx_st &c, Lock &lock) {
        c.refuse_in_capture("cuMemFree");
        if (!address)
            return;
        c.wait_all(lock); // as the real one does
        if (!c.device.release(address))
            refuse(CUDA_ERROR_INVALID_VALUE, "cuMemFree: no memory was allocated at %#llx",
                   address);
    });
}

// ---- page-locked host memory ----------------------------------------------------------------
CUresult cuMemHostAlloc(void **address, size_t bytes, unsigned flags)
{
    return enter([&](Driver &d, Lock &) {
        const unsigned known =
            CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
        CUctx_st *c = d.context_of(current_context);
        if (!c)
            refuse(CUDA_ERROR_INVALID_CONTEXT);
        c->refuse_in_capture("cuMemHostAlloc");
        if (bytes == 0 || flags & ~known)
            refuse(CUDA_ERROR_INVALID_VALUE);
        void *memory = nullptr;
        if (posix_memalign(&memory, 4096, bytes))
            refuse(CUDA_ERROR_OUT_OF_MEMORY);
        memset(memory, 0xff, bytes);
        d.pinned[static_cast<char *>(memory)] = bytes;
        d.owned.insert(static_cast<char *>(memory));
        *address = memory;
    });
}

CUresult cuMemAllocHost(void **address, size_t bytes)
{
    return cuMemHostAlloc(address, bytes, 0);
}

static void finish_all(Driver &d, Lock &lock)
{
    for (auto &c : d.contexts)
        if (c)
            c->wait_all(lock);
}

CUresult cuMemFreeHost(void *address)
{
    return enter([&](Driver &d, Lock &lock) {
        if (!address)
            return;
        char *start = static_cast<char *>(address);
        if (!d.owned.count(start))
            refuse(CUDA_ERROR_INVALID_VALUE, "cuMemFreeHost: nothing was allocated at %p", address);
        finish_all(d, lock); // copies may still read it
        d.owned.erase(start);
        d.pinned.erase(start);
        free(address);
    });
}

CUresult cuMemHostRegister(void *address, size_t bytes, unsigned)
{
    return with_context([&](CUctx_st &, Lock &) {
        auto &pinned = driver().pinned;
        char *start = static_cast<char *>(address);
        if (!address || bytes == 0)
            refuse(CUDA_ERROR_INVALID_VALUE);
        auto next = pinned.lower_bound(start);
        bool taken = next != pinned.end() && next->first < start + bytes;
        if (next != pinned.begin()) {
            auto before = std::prev(next);
            taken |= before->first + before->second > start;
        }
        if (taken)
            refuse(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
        pinned[start] = bytes;
    });
}

CUresult cuMemHostUnregister(void *address)
{
    return enter([&](Driver &d, Lock &lock) {
        char *start = static_cast<char *>(address);
        if (!d.pinned.count(start) || d.owned.count(start))
            refuse(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
        finish_all(d, lock);
        d.pinned.erase(start);
    });
}

// ---- copies and fills -----------------------------------------------------------------------
namespace
{

// `rows` rows of `width` bytes at each `pitch`; a flat range is one row.
struct Side {
    bool host;
    char *start; // host memory, or the device's address
    size_t pitch;
};

struct Plane {
    size_t width, rows;
};

CUdeviceptr address_of(const Side &side, size_t row)
{
    return reinterpret_cast<CUdeviceptr>(side.start) + row * side.pitch;
}

// Refuses what the driver checks at once: device ranges in no allocation, page-locked ranges that
// run over their end.
void check(CUctx_st &c, const Side &side, const Plane &plane, const char *name)
{
    if (plane.rows == 0 || plane.width == 0)
        return;
    size_t span = (plane.rows - 1) * side.pitch + plane.width;
    if (plane.rows > 1 && side.pitch < plane.width)
        refuse(CUDA_ERROR_INVALID_VALUE, "%s: a pitch of %zu bytes for rows of %zu", name,
               side.pitch, plane.width);
    if (!side.host) {
        uint64_t start;
        size_t size;
        CUdeviceptr first = address_of(side, 0);
        if (!c.device.find_allocation(first, &start, &size))
            refuse(CUDA_ERROR_INVALID_VALUE, "%s: %#llx is no device memory", name, first);
        if (first + span > start + size)
            refuse(CUDA_ERROR_INVALID_VALUE,
                   "%s: %zu bytes at %#llx end %llu bytes behind their allocation", name, span,
                   first, static_cast<unsigned long long>(first + span - start - size));
        return;
    }
    uint64_t start;
    size_t size;
    if (!side.start || c.device.find_allocation(address_of(side, 0), &start, &size))
        refuse(CUDA_ERROR_INVALID_VALUE, "%s: %p is no host memory", name,
               static_cast<void *>(side.start));
    auto &pinned = driver().pinned;
    auto next = pinned.upper_bound(side.start);
    if (next == pinned.begin())
        return;
    auto block = *std::prev(next);
    if (side.start < block.first + block.second && side.start + span > block.first + block.second)
        refuse(CUDA_ERROR_INVALID_VALUE,
               "%s: %zu bytes at %p run over the end of their page-locked memory", name, span,
               static_cast<void *>(side.start));
}

char *bytes_of(ptxvm::Device &device, const Side &side, size_t row, size_t width, bool write)
{
    return side.host ? side.start + row * side.pitch
                     : device.bytes(address_of(side, row), width, write);
}

// Enqueues a copy.
void copy(CUctx_st &c, CUstream_st &s, Side to, Side from, Plane plane, const char *name)
{
    check(c, to, plane, name);
    check(c, from, plane, name);
    c.push(s, name, [=] {
        if (to.host)
            for (size_t i = 0; i < plane.rows; i++)
                memset(to.start + i * to.pitch, 0xff, plane.width);
        return Step([=](ptxvm::Device &device) {
            for (size_t i = 0; i < plane.rows && plane.width; i++) {
                const char *source = bytes_of(device, from, i, plane.width, false);
                memmove(bytes_of(device, to, i, plane.width, true), source, plane.width);
            }
            return Progress::done;
        });
    });
}

Side on_host(const void *address, size_t pitch = 0)
{
    return {true, static_cast<char *>(const_cast<void *>(address)), pitch};
}

Side on_device(CUdeviceptr address, size_t pitch = 0)
{
    return {false, reinterpret_cast<char *>(address), pitch};
}

CUresult enqueue_copy(Side to, Side from, size_t bytes, CUstream stream, const char *name)
{
    return with_context([&](CUctx_st &c, Lock &) {
        copy(c, c.stream(stream), to, from, {bytes, 1}, name);
    });
}

// The calls without a stream: on the legacy stream, and through when they return.
CUresult copy_now(Side to, Side from, size_t bytes, const char *name)
{
    return with_context([&](CUctx_st &c, Lock &lock) {
        copy(c, *c.streams[0], to, from, {bytes, 1}, name);
        c.wait(lock, Signal(c.streams[0]->tail));
    });
}

} // namespace

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
    return enqueue_copy(on_device(to), on_host(from), bytes, stream, "cuMemcpyHtoDAsync");
}

CUresult cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    return enqueue_copy(on_host(to), on_device(from), bytes, stream, "cuMemcpyDtoHAsync");
}

CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    return enqueue_copy(on_device(to), on_device(from), bytes, stream, "cuMemcpyDtoDAsync");
}

CUresult cuMemcpyHtoD(CUdeviceptr to, const void *from, size_t bytes)
{
    return copy_now(on_device(to), on_host(from), bytes, "cuMemcpyHtoD");
}

CUresult cuMemcpyDtoH(void *to, CUdeviceptr from, size_t bytes)
{
    return copy_now(on_host(to), on_device(from), bytes, "cuMemcpyDtoH");
}

CUresult cuMemcpyDtoD(CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
    return copy_now(on_device(to), on_device(from), bytes, "cuMemcpyDtoD");
}

// ---- planes ---------------------------------------------------------------------------------
static Side side(CUmemorytype type, const void *host, CUdeviceptr device, size_t pitch, size_t x,
                 size_t y)
{
    if (type == CU_MEMORYTYPE_HOST)
        return on_host(static_cast<const char *>(host) + y * pitch + x, pitch);
    if (type == CU_MEMORYTYPE_DEVICE)
        return on_device(device + y * pitch + x, pitch);
    refuse(CUDA_ERROR_NOT_SUPPORTED, "cuMemcpy2D: memory type %d", static_cast<int>(type));
}

static void copy_plane(CUctx_st &c, CUstream_st &s, const CUDA_MEMCPY2D &p, const char *name)
{
    Side to = side(p.dstMemoryType, p.dstHost, p.dstDevice, p.dstPitch, p.dstXInBytes, p.dstY);
    Side from = side(p.srcMemoryType, p.srcHost, p.srcDevice, p.srcPitch, p.srcXInBytes, p.srcY);
    copy(c, s, to, from, {p.WidthInBytes, p.Height}, name);
}

CUresult cuMemcpy2DAsync(const CUDA_MEMCPY2D *plane, CUstream stream)
{
    return with_context(
        [&](CUctx_st &c, Lock &) { copy_plane(c, c.stream(stream), *plane, "cuMemcpy2DAsync"); });
}

CUresult cuMemcpy2D(const CUDA_MEMCPY2D *plane)
{
    return with_context([&](CUctx_st &c, Lock &lock) {
        copy_plane(c, *c.streams[0], *plane, "cuMemcpy2D");
        c.wait(lock, Signal(c.streams[0]->tail));
    });
}

// ---- fills ----------------------------------------------------------------------------------
template <class T>
static CUresult fill(CUdeviceptr to, T value, size_t count, CUstream stream, const char *name)
{
    return with_context([&](CUctx_st &c, Lock &) {
        size_t bytes = count * sizeof(T);
        if (to % sizeof(T))
            refuse(CUDA_ERROR_INVALID_VALUE, "%s: %#llx is not aligned to %zu bytes", name, to,
                   sizeof(T));
        check(c, on_device(to), {bytes, 1}, name);
        c.push(c.stream(stream), name, simple([=](ptxvm::Device &device) {
                   char *start = bytes ? device.bytes(to, bytes, true) : nullptr;
                   if (sizeof(T) == 1 && bytes)
                       memset(start, static_cast<int>(value), bytes);
                   else
                       for (size_t i = 0; i < bytes; i += sizeof(T))
                           memcpy(start + i, &value, sizeof(T));
               }));
    });
}

CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream)
{
    return fill(to, value, count, stream, "cuMemsetD8Async");
}

CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, CUstream stream)
{
    return fill(to, value, count, stream, "cuMemsetD32Async");
}

// Like the real ones they may return before the memory is filled, in the legacy stream.
CUresult cuMemsetD8(CUdeviceptr to, unsigned char value, size_t count)
{
    return cuMemsetD8Async(to, value, count, nullptr);
}

CUresult cuMemsetD32(CUdeviceptr to, unsigned value, size_t count)
{
    return cuMemsetD32Async(to, value, count, nullptr);
}
