// standin_enqueue.h - how the stand-ins of libcublasLt and libnccl put work into a stream of the
// stand-in libcuda: captured, ordered and failing like a kernel launch.
#ifndef GRAFT_PTXVM_STANDIN_ENQUEUE_H
#define GRAFT_PTXVM_STANDIN_ENQUEUE_H

#include <cuda.h>
#include "device.h"

#include <functional>

namespace standin
{

// What a step says: through, or to be asked again later because it waits for another process.
enum class Progress { done, waiting };
// One execution: called, with the driver locked, until it is through. Throws ptxvm::Fault.
using Step = std::function<Progress(ptxvm::Device &)>;
// Makes one execution: called when the work is enqueued, and once per launch of a graph.
using Work = std::function<Step()>;

} // namespace standin

// `what` names the work in messages; it must be a literal.
extern "C" __attribute__((visibility("default"))) CUresult
ptxvm_enqueue(CUstream stream, const char *what, const standin::Work *work);

// ptxvm::Device::bytes, for steps.
extern "C" __attribute__((visibility("default"))) char *
ptxvm_bytes(ptxvm::Device *device, const void *address, size_t size, bool write);

#endif
