// standin_cuda.h - the stand-in for libcuda.so.1: what its files share.
//
// The driver is one process-wide object behind one mutex. A context (one per device, the primary
// one) owns the virtual device, its streams and its memory. A stream is a queue: an entry point
// that enqueues returns at once, and nothing runs until something waits (or asks: cuEventQuery and
// cuStreamQuery each run one piece of work). Then the heads of the streams run in an order drawn
// from PTXVM_SEED, as far as events allow. So a missing dependency shows as a wrong result under
// some seed, and host memory that is reused too early shows always.
//
// What the program does wrong is answered with the driver's error code and one line on stderr that
// begins with "ptxvm: ". Faults of kernels and copies break the context as on a real device: every
// later call answers with the same code.
#ifndef GRAFT_PTXVM_STANDIN_CUDA_H
#define GRAFT_PTXVM_STANDIN_CUDA_H

#pragma GCC visibility push(default) // the definitions of what cuda.h declares are the exports
#include <cuda.h>
#pragma GCC visibility pop
#include "device.h"
#include "standin_enqueue.h"

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace standin
{

// ---- refusals: thrown inside an entry point, which answers with the code --------------------
struct Refusal {
    CUresult code;
};
[[noreturn]] void refuse(CUresult code);
// With a line on stderr, for what no correct program does.
[[noreturn]] void refuse(CUresult code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

using Lock = std::unique_lock<std::mutex>;

// ---- streams --------------------------------------------------------------------------------
// A point in a stream that others can wait for.
struct Marker {
    bool done = false;
    double at = 0; // seconds, once done
};
using Signal = std::shared_ptr<Marker>;

struct Item {
    Step step;                 // empty: only a marker
    std::vector<Signal> after; // what other streams must have reached before
    Signal reached;            // set when this item is through
};

struct Capture;

} // namespace standin

struct CUgraphNode_st {
    const char *what;
    standin::Work work;
    std::vector<size_t> after; // indices into the graph's nodes
};

struct CUgraph_st {
    std::vector<std::shared_ptr<CUgraphNode_st>> nodes;
};

struct CUgraphExec_st {
    CUgraph_st graph;
};

struct CUstream_st {
    CUctx_st *context = nullptr;
    bool blocking = true; // ordered against the legacy stream
    std::deque<standin::Item> queue;
    standin::Signal tail; // the last item's
    std::shared_ptr<standin::Capture> capture;
    std::vector<size_t> frontier; // while capturing: the nodes that the next one follows
};

struct CUevent_st {
    CUctx_st *context = nullptr;
    bool timed = true;
    standin::Signal recorded; // the last record; empty: never recorded
    std::shared_ptr<standin::Capture> capture;
    std::vector<size_t> frontier;
};

struct CUfunc_st {
    CUmod_st *module;
    const ptxvm::Kernel *kernel;
    int dynamic_shared; // the largest that a launch may ask for
};

struct CUmod_st {
    CUctx_st *context;
    std::shared_ptr<ptxvm::Module> module;
    std::map<std::string, std::unique_ptr<CUfunc_st>> functions;
};

namespace standin
{

struct Capture {
    CUctx_st *context = nullptr;
    CUstream_st *origin = nullptr;
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
    std::thread::id thread;
    bool invalid = false;
    std::unique_ptr<CUgraph_st> graph;
    std::set<CUstream_st *> joined; // by events; the origin is not among them

    // Appends a node behind `after` and gives its index.
    size_t add(const char *what, Work work, std::vector<size_t> after);
};

} // namespace standin

// A device's primary context.
struct CUctx_st {
    CUctx_st(int ordinal_, const ptxvm::Options &options);

    int ordinal;
    int retained = 0;
    ptxvm::Device device;
    std::mt19937 random;
    CUresult broken = CUDA_SUCCESS;
    std::vector<std::unique_ptr<CUstream_st>> streams; // the first is the legacy stream
    std::map<CUevent, std::unique_ptr<CUevent_st>> events;
    std::map<CUmodule, std::unique_ptr<CUmod_st>> modules;
    std::map<CUgraph, std::unique_ptr<CUgraph_st>> graphs;
    std::map<CUgraphExec, std::unique_ptr<CUgraphExec_st>> executables;
    std::set<standin::Capture *> captures; // under way

    // Handles: the stream behind a handle (null: the legacy stream), or INVALID_HANDLE.
    CUstream_st &stream(CUstream handle);
    CUevent_st &event(CUevent handle);
    CUfunc_st &function(CUfunction handle);

    // Enqueues work, or makes it a node of the graph that the stream is being captured into.
    void push(CUstream_st &s, const char *what, standin::Work work);
    // A marker behind everything in the stream.
    standin::Signal mark(CUstream_st &s);
    // Runs one item of a stream drawn at random. False: none may run now; *outside is set where
    // that is because an item waits for another process.
    bool step(bool *outside);
    // Runs what it takes until the marker is reached; the lock is open while nothing can run.
    void wait(standin::Lock &lock, const standin::Signal &until);
    void wait_all(standin::Lock &lock);
    // Refuses a call that a capture under way does not allow, and invalidates that capture.
    void refuse_in_capture(const char *name);
    void append(CUstream_st &s, standin::Item item);

  private:
    void run(CUstream_st &s, bool *outside);
};

namespace standin
{

// ---- the process's driver -------------------------------------------------------------------
struct Driver {
    std::mutex mutex;
    bool ready = false;   // cuInit was called
    int devices = 1;      // PTXVM_DEVICES
    int arch = 80;        // PTXVM_ARCH: 80 or 90, the compute capability times ten
    int shared_limit = 0; // PTXVM_SMEM: the largest shared memory of a block, bytes
    ptxvm::Options options;
    std::vector<std::unique_ptr<CUctx_st>> contexts; // by ordinal, made when first retained
    std::map<char *, size_t> pinned;                 // page-locked memory: start -> bytes
    std::set<char *> owned;                          // those of pinned that were allocated here

    CUctx_st *context_of(CUcontext handle);
    void check_ordinal(CUdevice device) const;
};
Driver &driver();
extern thread_local CUcontext current_context;
extern thread_local bool inside; // this thread runs device work: no call of the driver is allowed

// What every entry point does: takes the lock and turns refusals into codes.
template <class Body> CUresult enter(Body body)
{
    if (inside)
        return CUDA_ERROR_NOT_PERMITTED; // a host function calls the driver
    Driver &d = driver();
    Lock lock(d.mutex);
    if (!d.ready)
        return CUDA_ERROR_NOT_INITIALIZED;
    try {
        body(d, lock);
    } catch (const Refusal &r) {
        return r.code;
    }
    return CUDA_SUCCESS;
}

// The same for calls that need the thread's context, which must not be broken.
template <class Body> CUresult with_context(Body body)
{
    return enter([&](Driver &d, Lock &lock) {
        CUctx_st *context = d.context_of(current_context);
        if (!context)
            refuse(CUDA_ERROR_INVALID_CONTEXT);
        if (context->broken)
            refuse(context->broken);
        body(*context, lock);
        if (context->broken) // found while the call waited
            refuse(context->broken);
    });
}

// Work that is done when it returns.
Work simple(std::function<void(ptxvm::Device &)> body);
double now(); // seconds of a steady clock

// standin_cuda_fatbin.cpp: the PTX in an image (fatbin or PTX text) for compute capability `arch`;
// refuses with what is wrong.
std::string ptx_of(const void *image, int arch);

} // namespace standin

#endif
