// standin_cuda_module.cpp - modules, functions and launches of the stand-in for libcuda.
#include "standin_cuda.h"

#include <algorithm>
#include <cstring>

using namespace standin;
using ptxvm::Device;

static const int FREE_SHARED = 48 << 10; // what a block gets without asking for more

// ---- modules --------------------------------------------------------------------------------
static CUmod_st &module(CUctx_st &c, CUmodule handle)
{
    auto found = c.modules.find(handle);
    if (found == c.modules.end())
        refuse(CUDA_ERROR_INVALID_HANDLE, "no such module in this context");
    return *found->second;
}

CUresult cuModuleLoadDataEx(CUmodule *result, const void *image, unsigned options, CUjit_option *,
                            void **)
{
    return with_context([&](CUctx_st &c, Lock &) {
        c.refuse_in_capture("cuModuleLoadData");
        if (options)
            refuse(CUDA_ERROR_NOT_SUPPORTED, "cuModuleLoadDataEx: no option is supported");
        auto m = std::make_unique<CUmod_st>();
        m->context = &c;
        try {
            m->module = c.device.load(ptx_of(image, driver().arch));
        } catch (const ptxvm::Fault &f) {
            refuse(CUDA_ERROR_INVALID_PTX, "%s", f.what());
        }
        *result = m.get();
        c.modules[*result] = std::move(m);
    });
}

CUresult cuModuleLoadData(CUmodule *result, const void *image)
{
    return cuModuleLoadDataEx(result, image, 0, nullptr, nullptr);
}

CUresult cuModuleLoadFatBinary(CUmodule *result, const void *image)
{
    return cuModuleLoadDataEx(result, image, 0, nullptr, nullptr);
}

CUresult cuModuleUnload(CUmodule handle)
{
    return with_context([&](CUctx_st &c, Lock &lock) {
        module(c, handle);
        c.refuse_in_capture("cuModuleUnload");
        c.wait_all(lock);
        c.modules.erase(handle);
    });
}

CUresult cuModuleGetFunction(CUfunction *result, CUmodule handle, const char *name)
{
    return with_context([&](CUctx_st &c, Lock &) {
        CUmod_st &m = module(c, handle);
        auto &f = m.functions[name];
        if (!f) {
            const ptxvm::Kernel *kernel = c.device.find(*m.module, name);
            if (!kernel) {
                m.functions.erase(name);
                refuse(CUDA_ERROR_NOT_FOUND);
            }
            int shared = static_cast<int>(Device::shared_bytes(*kernel));
            f.reset(new CUfunc_st{&m, kernel, std::max(0, FREE_SHARED - shared)});
        }
        *result = f.get();
    });
}

// ---- functions ------------------------------------------------------------------------------
CUfunc_st &CUctx_st::function(CUfunction handle)
{
    for (auto &m : modules)
        for (auto &f : m.second->functions)
            if (f.second.get() == handle)
                return *f.second;
    refuse(CUDA_ERROR_INVALID_HANDLE, "no such function in this context (its module unloaded?)");
}

CUresult cuFuncSetAttribute(CUfunction handle, CUfunction_attribute which, int value)
{
    return with_context([&](CUctx_st &c, Lock &) {
        CUfunc_st &f = c.function(handle);
        if (which == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT)
            return; // a hint
        if (which != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
            refuse(CUDA_ERROR_NOT_SUPPORTED, "cuFuncSetAttribute: attribute %d",
                   static_cast<int>(which));
        int fixed = static_cast<int>(Device::shared_bytes(*f.kernel));
        if (value < 0 || fixed + value > driver().shared_limit)
            refuse(CUDA_ERROR_INVALID_VALUE,
                   "%s: %d + %d bytes of shared memory, the device has %d for a block",
                   Device::name(*f.kernel).c_str(), fixed, value, driver().shared_limit);
        f.dynamic_shared = value;
    });
}

CUresult cuFuncGetAttribute(int *value, CUfunction_attribute which, CUfunction handle)
{
    return with_context([&](CUctx_st &c, Lock &) {
        CUfunc_st &f = c.function(handle);
        switch (which) {
        case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
            *value = static_cast<int>(Device::max_threads(*f.kernel));
            break;
        case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
            *value = static_cast<int>(Device::shared_bytes(*f.kernel));
            break;
        case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
            *value = static_cast<int>(Device::local_bytes(*f.kernel));
            break;
        case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
            *value = f.dynamic_shared;
            break;
        case CU_FUNC_ATTRIBUTE_PTX_VERSION:
        case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
            *value = driver().arch;
            break;
        default: // registers, for one: PTX does not say
            refuse(CUDA_ERROR_NOT_SUPPORTED, "cuFuncGetAttribute: attribute %d",
                   static_cast<int>(which));
        }
    });
}

// By threads and shared memory; registers are not known.
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction handle, int threads,
                                                     size_t dynamic_shared)
{
    return with_context([&](CUctx_st &c, Lock &) {
        CUfunc_st &f = c.function(handle);
        if (threads <= 0)
            refuse(CUDA_ERROR_INVALID_VALUE);
        size_t warps = (static_cast<size_t>(threads) + 31) / 32;
        size_t shared = Device::shared_bytes(*f.kernel) + dynamic_shared + 1024;
        size_t room = static_cast<size_t>(driver().shared_limit) + 1024;
        bool fits = static_cast<unsigned>(threads) <= Device::max_threads(*f.kernel);
        *blocks = fits ? static_cast<int>(std::min({size_t{32}, 64 / warps, room / shared})) : 0;
    });
}

// ---- launches -------------------------------------------------------------------------------
static void check_limits(const CUfunc_st &f, ptxvm::Dim grid, ptxvm::Dim block, unsigned shared)
{
    const char *name = Device::name(*f.kernel).c_str();
    unsigned long threads = 1ul * block.x * block.y * block.z;
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffu || grid.y > 65535 ||
        grid.z > 65535)
        refuse(CUDA_ERROR_INVALID_VALUE, "%s: a grid of %u x %u x %u blocks", name, grid.x, grid.y,
               grid.z);
    if (threads == 0 || threads > 1024 || block.z > 64 || block.x > 1024 || block.y > 1024)
        refuse(CUDA_ERROR_INVALID_VALUE, "%s: a block of %u x %u x %u threads", name, block.x,
               block.y, block.z);
    if (threads > Device::max_threads(*f.kernel))
        refuse(CUDA_ERROR_INVALID_VALUE, "%s: %lu threads, it was compiled for %u", name, threads,
               Device::max_threads(*f.kernel));
    if (shared > static_cast<unsigned>(f.dynamic_shared))
        refuse(CUDA_ERROR_INVALID_VALUE,
               "%s: %u bytes of dynamic shared memory, %d are allowed (cuFuncSetAttribute)", name,
               shared, f.dynamic_shared);
}

CUresult cuLaunchKernel(CUfunction handle, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                        unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                        CUstream stream, void **parameters, void **extra)
{
    return with_context([&](CUctx_st &c, Lock &) {
        CUstream_st &s = c.stream(stream);
        CUfunc_st &f = c.function(handle);
        ptxvm::Dim grid{grid_x, grid_y, grid_z}, block{block_x, block_y, block_z};
        check_limits(f, grid, block, shared);
        size_t count = Device::parameter_count(*f.kernel);
        if (extra)
            refuse(CUDA_ERROR_NOT_SUPPORTED, "cuLaunchKernel: parameters in a buffer (extra)");
        if (count && !parameters)
            refuse(CUDA_ERROR_INVALID_VALUE);
        // A copy: the caller's variables may change as soon as this call returns.
        std::vector<std::vector<char>> values(count);
        for (size_t i = 0; i < count; i++) {
            const char *value = static_cast<const char *>(parameters[i]);
            values[i].assign(value, value + Device::parameter_size(*f.kernel, i));
        }
        const ptxvm::Kernel *kernel = f.kernel;
        auto module = f.module->module; // keeps the kernel alive in graphs
        c.push(s, Device::name(*kernel).c_str(), simple([=](Device &device) {
                   std::vector<const void *> addresses;
                   for (auto &v : values)
                       addresses.push_back(v.data());
                   (void)module;
                   device.launch(*kernel, grid, block, shared, addresses.data());
               }));
    });
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction handle, void **parameters,
                          void **extra)
{
    if (config->numAttrs) {
        complain("cuLaunchKernelEx: no launch attribute is supported");
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    return cuLaunchKernel(handle, config->gridDimX, config->gridDimY, config->gridDimZ,
                          config->blockDimX, config->blockDimY, config->blockDimZ,
                          config->sharedMemBytes, config->hStream, parameters, extra);
}
