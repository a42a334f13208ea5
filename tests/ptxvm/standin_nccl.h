// standin_nccl.h - the stand-in for libnccl.so.2: communicators between processes of one machine.
//
// The ranks share a memory file without a name: it belongs to the process that made the unique id,
// and the id says where to find it (/proc/PID/fd/N). So nothing is left behind, however the ranks
// end. A collective is a sequence of turns: in each, every rank puts a piece into its slot, waits
// until all have, and takes what it needs. As with the real library, a rank that dies leaves the
// others waiting until ncclCommAbort.
#ifndef GRAFT_PTXVM_STANDIN_NCCL_H
#define GRAFT_PTXVM_STANDIN_NCCL_H

#pragma GCC visibility push(default) // the definitions of what nccl.h declares are the exports
#include <nccl.h>
#pragma GCC visibility pop
#include "standin_enqueue.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

namespace standin
{

const int MOST_RANKS = 16;
const size_t SLOT = 1 << 20; // bytes of a piece

// What the ranks must agree about in a turn.
struct Posting {
    int32_t kind, type, op, root;
    uint64_t count;
    bool operator==(const Posting &o) const
    {
        return kind == o.kind && type == o.type && op == o.op && root == o.root && count == o.count;
    }
};

struct Place { // one rank's
    std::atomic<uint32_t> taken;
    std::atomic<int32_t> device;
    std::atomic<uint64_t> arrived, left; // the last turn whose piece lies there, is done with
    Posting posting;
};

struct Shared {
    std::atomic<uint32_t> ranks; // 0 until the first one joins
    std::atomic<uint32_t> joined;
    Place places[MOST_RANKS];
};

// The mapped file.
class Exchange
{
  public:
    static bool create(ncclUniqueId *id); // the file, and what stands for it
    Exchange() = default;
    ~Exchange();
    Exchange(const Exchange &) = delete;
    Exchange &operator=(const Exchange &) = delete;

    ncclResult_t join(const ncclUniqueId &id, int ranks, int rank, int device, std::string *text);
    bool complete() const; // all have joined
    bool same_device_twice() const;
    Place &place(int rank) const;
    char *slot(int rank) const;

  private:
    Shared *shared = nullptr;
    size_t bytes = 0;
};

} // namespace standin

struct ncclComm {
    standin::Exchange exchange;
    int ranks, rank, device;
    bool blocking = true;
    std::atomic<bool> polled{true}; // ncclCommGetAsyncError was called since the last call
    std::atomic<bool> aborted{false};
    std::atomic<int> failed{ncclSuccess};
    std::mutex mutex; // of what follows
    std::string error;
    uint64_t next_ticket = 0, now_serving = 0; // collectives run in the order of their calls
    uint64_t turn = 0;                         // of pieces
};

namespace standin
{

enum Kind { ALL_REDUCE, BROADCAST, ALL_GATHER };

struct Collective {
    Kind kind;
    const void *from;
    void *to;
    size_t count; // elements that a rank gives
    ncclDataType_t type;
    ncclRedOp_t op;
    int root;
};

size_t bytes_of(ncclDataType_t type); // 0: not supported
// Whether `op` can be applied to elements of `type`.
bool reducible(ncclDataType_t type, ncclRedOp_t op);
// The work of a collective: one execution for each launch.
Work work_of(std::shared_ptr<ncclComm> comm, const Collective &c);

} // namespace standin

#endif
