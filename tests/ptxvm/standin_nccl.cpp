// standin_nccl.cpp - the entry points of the stand-in for libnccl.so.2.
#include "standin_nccl.h"

#include <climits>
#include <cstdarg>
#include <cstdio>
#include <map>
#include <thread>

using namespace standin;

namespace
{

// The live communicators. A handle stays known to the work that was enqueued with it.
struct Registry {
    std::mutex mutex;
    std::map<ncclComm_t, std::shared_ptr<ncclComm>> live;
    std::string last; // error without a communicator
};

Registry &registry()
{
    static Registry *r = new Registry; // threads may outlive main
    return *r;
}

__attribute__((format(printf, 3, 4))) ncclResult_t fail(ncclComm *comm, ncclResult_t result,
                                                        const char *format, ...)
{
    char text[256];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    fprintf(stderr, "ptxvm: NCCL: %s\n", text);
    if (comm) {
        std::lock_guard<std::mutex> lock(comm->mutex);
        comm->error = text;
    } else {
        std::lock_guard<std::mutex> lock(registry().mutex);
        registry().last = text;
    }
    return result;
}

std::shared_ptr<ncclComm> find(ncclComm_t handle)
{
    std::lock_guard<std::mutex> lock(registry().mutex);
    auto found = registry().live.find(handle);
    return found == registry().live.end() ? nullptr : found->second;
}

std::shared_ptr<ncclComm> take_out(ncclComm_t handle)
{
    std::lock_guard<std::mutex> lock(registry().mutex);
    auto found = registry().live.find(handle);
    if (found == registry().live.end())
        return nullptr;
    auto comm = found->second;
    registry().live.erase(found);
    return comm;
}

// Whether the ranks are together: in progress, success, or what is wrong.
ncclResult_t state_of(ncclComm &comm)
{
    if (comm.failed != ncclSuccess)
        return static_cast<ncclResult_t>(comm.failed.load());
    if (comm.aborted)
        return ncclInternalError;
    if (!comm.exchange.complete())
        return ncclInProgress;
    if (!comm.exchange.same_device_twice())
        return ncclSuccess;
    comm.failed = ncclInvalidUsage;
    return fail(&comm, ncclInvalidUsage, "two ranks use the same device");
}

} // namespace

// ---- the library ----------------------------------------------------------------------------
ncclResult_t ncclGetVersion(int *version)
{
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    if (!Exchange::create(id))
        return fail(nullptr, ncclSystemError, "no shared memory");
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t result)
{
    switch (result) {
    case ncclSuccess:
        return "no error";
    case ncclUnhandledCudaError:
        return "unhandled cuda error";
    case ncclSystemError:
        return "unhandled system error";
    case ncclInternalError:
        return "internal error";
    case ncclInvalidArgument:
        return "invalid argument";
    case ncclInvalidUsage:
        return "invalid usage";
    case ncclRemoteError:
        return "remote process exited or there was a network error";
    case ncclInProgress:
        return "operation in progress";
    default:
        return "unknown result code";
    }
}

const char *ncclGetLastError(ncclComm_t handle)
{
    static thread_local std::string text;
    auto comm = find(handle);
    if (comm) {
        std::lock_guard<std::mutex> lock(comm->mutex);
        text = comm->error;
    } else {
        std::lock_guard<std::mutex> lock(registry().mutex);
        text = registry().last;
    }
    return text.c_str();
}

// ---- communicators --------------------------------------------------------------------------
ncclResult_t ncclCommInitRankConfig(ncclComm_t *handle, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t *config)
{
    CUdevice device;
    *handle = nullptr;
    if (cuCtxGetDevice(&device) != CUDA_SUCCESS)
        return fail(nullptr, ncclUnhandledCudaError, "no current context");
    if (ranks < 1 || ranks > MOST_RANKS || rank < 0 || rank >= ranks)
        return fail(nullptr, ncclInvalidArgument, "rank %d of %d", rank, ranks);
    if (config && config->magic != 0xcafebeef)
        return fail(nullptr, ncclInvalidArgument, "a configuration that was not initialised");
    auto comm = std::make_shared<ncclComm>();
    comm->ranks = ranks;
    comm->rank = rank;
    comm->device = device;
    comm->blocking = !config || config->blocking == INT_MIN || config->blocking != 0;
    std::string text;
    ncclResult_t result = comm->exchange.join(id, ranks, rank, device, &text);
    if (result != ncclSuccess)
        return fail(nullptr, result, "%s", text.c_str());
    *handle = comm.get();
    {
        std::lock_guard<std::mutex> lock(registry().mutex);
        registry().live[*handle] = comm;
    }
    if (!comm->blocking) {
        comm->polled = false;
        return ncclInProgress;
    }
    while ((result = state_of(*comm)) == ncclInProgress)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return result;
}

ncclResult_t ncclCommInitRank(ncclComm_t *handle, int ranks, ncclUniqueId id, int rank)
{
    return ncclCommInitRankConfig(handle, ranks, id, rank, nullptr);
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t handle, ncclResult_t *result)
{
    auto comm = find(handle);
    if (!comm)
        return fail(nullptr, ncclInvalidArgument, "no such communicator (destroyed or aborted)");
    *result = state_of(*comm);
    comm->polled = true;
    return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t handle, int *count)
{
    auto comm = find(handle);
    if (!comm)
        return fail(nullptr, ncclInvalidArgument, "no such communicator");
    *count = comm->ranks;
    return ncclSuccess;
}

ncclResult_t ncclCommUserRank(const ncclComm_t handle, int *rank)
{
    auto comm = find(handle);
    if (!comm)
        return fail(nullptr, ncclInvalidArgument, "no such communicator");
    *rank = comm->rank;
    return ncclSuccess;
}

// Waits for what was enqueued.
ncclResult_t ncclCommDestroy(ncclComm_t handle)
{
    if (!find(handle))
        return fail(nullptr, ncclInvalidArgument, "no such communicator");
    CUresult code = cuCtxSynchronize(); // another thread may abort meanwhile
    take_out(handle);
    return code == CUDA_SUCCESS ? ncclSuccess : ncclUnhandledCudaError;
}

// What waits in a stream ends as if it were done, with nothing of use in its buffers: the program
// has to know that it aborted.
ncclResult_t ncclCommAbort(ncclComm_t handle)
{
    auto comm = take_out(handle);
    if (!comm)
        return fail(nullptr, ncclInvalidArgument, "no such communicator");
    comm->aborted = true;
    return ncclSuccess;
}

// ---- collectives ----------------------------------------------------------------------------
static ncclResult_t enqueue(ncclComm_t handle, const Collective &c, cudaStream_t stream)
{
    auto comm = find(handle);
    if (!comm)
        return fail(nullptr, ncclInvalidArgument, "no such communicator (destroyed or aborted)");
    ncclResult_t state = state_of(*comm);
    if (state == ncclInProgress)
        return fail(comm.get(), ncclInvalidUsage, "a collective before the ranks are together");
    if (state != ncclSuccess)
        return state;
    if (!comm->polled)
        return fail(comm.get(), ncclInvalidUsage,
                    "a collective while ncclCommGetAsyncError was not asked about the last call");
    if (bytes_of(c.type) == 0 || (c.kind == ALL_REDUCE && !reducible(c.type, c.op)))
        return fail(comm.get(), ncclInvalidArgument, "data type %d with operation %d", c.type,
                    c.op);
    if (c.root < 0 || c.root >= comm->ranks)
        return fail(comm.get(), ncclInvalidArgument, "root %d of %d ranks", c.root, comm->ranks);
    Work work = work_of(comm, c);
    if (ptxvm_enqueue(stream, "NCCL", &work) != CUDA_SUCCESS)
        return fail(comm.get(), ncclUnhandledCudaError, "the collective cannot be enqueued");
    comm->polled = comm->blocking;
    return comm->blocking ? ncclSuccess : ncclInProgress;
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream)
{
    return enqueue(comm, {ALL_REDUCE, from, to, count, type, op, 0}, stream);
}

ncclResult_t ncclBroadcast(const void *from, void *to, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream)
{
    return enqueue(comm, {BROADCAST, from, to, count, type, ncclSum, root}, stream);
}

ncclResult_t ncclAllGather(const void *from, void *to, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream)
{
    return enqueue(comm, {ALL_GATHER, from, to, count, type, ncclSum, 0}, stream);
}

// Calls of a group are enqueued one by one: no rank has more than one device here.
ncclResult_t ncclGroupStart()
{
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd()
{
    return ncclSuccess;
}
