// standin_nccl_exchange.cpp - the memory that the ranks share, and the collectives on it.
#include "standin_nccl.h"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace standin
{

// ---- the file -------------------------------------------------------------------------------
namespace
{

struct Id {
    uint64_t mark;
    int32_t process, file;
};
const uint64_t ID_MARK = 0x6c63636e74666172;

size_t slots_at()
{
    return (sizeof(Shared) + 4095) / 4096 * 4096;
}

} // namespace

bool Exchange::create(ncclUniqueId *id)
{
    // Open as long as the process lives: the ranks may come at any time.
    int file = memfd_create("graft-ranks", MFD_CLOEXEC);
    if (file < 0)
        return false;
    if (ftruncate(file, static_cast<off_t>(slots_at() + MOST_RANKS * SLOT))) {
        close(file);
        return false;
    }
    Id made = {ID_MARK, getpid(), file};
    memset(id, 0, sizeof *id);
    memcpy(id, &made, sizeof made);
    return true;
}

Exchange::~Exchange()
{
    if (shared)
        munmap(shared, bytes);
}

ncclResult_t Exchange::join(const ncclUniqueId &id, int ranks, int rank, int device,
                            std::string *text)
{
    Id where;
    memcpy(&where, &id, sizeof where);
    if (where.mark != ID_MARK) {
        *text = "the unique id was not made by ncclGetUniqueId";
        return ncclInvalidArgument;
    }
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", where.process, where.file);
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) {
        *text = "the process that made the unique id is gone";
        return ncclSystemError;
    }
    bytes = slots_at() + MOST_RANKS * SLOT;
    void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (memory == MAP_FAILED)
        return ncclSystemError;
    shared = static_cast<Shared *>(memory);
    uint32_t nobody = 0;
    if (!shared->ranks.compare_exchange_strong(nobody, static_cast<uint32_t>(ranks)) &&
        nobody != static_cast<uint32_t>(ranks)) {
        *text = "the ranks do not agree about their number";
        return ncclInvalidArgument;
    }
    Place &mine = place(rank);
    if (mine.taken.exchange(1)) {
        *text = "two processes joined as the same rank";
        return ncclInvalidUsage;
    }
    mine.device = device;
    shared->joined.fetch_add(1);
    return ncclSuccess;
}

bool Exchange::complete() const
{
    return shared->joined.load() == shared->ranks.load();
}

bool Exchange::same_device_twice() const
{
    for (uint32_t i = 0; i < shared->ranks; i++)
        for (uint32_t j = 0; j < i; j++)
            if (shared->places[i].device == shared->places[j].device)
                return true;
    return false;
}

Place &Exchange::place(int rank) const
{
    return shared->places[rank];
}

char *Exchange::slot(int rank) const
{
    return reinterpret_cast<char *>(shared) + slots_at() + static_cast<size_t>(rank) * SLOT;
}

// ---- reductions -----------------------------------------------------------------------------
namespace
{

template <class T> void reduce(char *to, const char *from, size_t bytes, ncclRedOp_t op)
{
    T *x = reinterpret_cast<T *>(to);
    const T *y = reinterpret_cast<const T *>(from);
    for (size_t i = 0; i < bytes / sizeof(T); i++)
        x[i] = op == ncclSum   ? static_cast<T>(x[i] + y[i])
               : op == ncclMax ? std::max(x[i], y[i])
                               : std::min(x[i], y[i]);
}

void reduce(char *to, const char *from, size_t bytes, ncclDataType_t type, ncclRedOp_t op)
{
    switch (type) {
    case ncclInt64: // sums wrap
        if (op == ncclSum)
            return reduce<uint64_t>(to, from, bytes, op);
        return reduce<int64_t>(to, from, bytes, op);
    case ncclUint64:
        return reduce<uint64_t>(to, from, bytes, op);
    case ncclInt32:
        if (op == ncclSum)
            return reduce<uint32_t>(to, from, bytes, op);
        return reduce<int32_t>(to, from, bytes, op);
    case ncclUint32:
        return reduce<uint32_t>(to, from, bytes, op);
    case ncclFloat32:
        return reduce<float>(to, from, bytes, op);
    default:
        return reduce<double>(to, from, bytes, op);
    }
}

} // namespace

size_t bytes_of(ncclDataType_t type)
{
    switch (type) {
    case ncclInt8:
    case ncclUint8:
        return 1;
    case ncclFloat16:
    case ncclBfloat16:
        return 2;
    case ncclInt32:
    case ncclUint32:
    case ncclFloat32:
        return 4;
    case ncclInt64:
    case ncclUint64:
    case ncclFloat64:
        return 8;
    default:
        return 0;
    }
}

bool reducible(ncclDataType_t type, ncclRedOp_t op)
{
    return bytes_of(type) >= 4 && (op == ncclSum || op == ncclMax || op == ncclMin);
}

// ---- one execution of a collective ----------------------------------------------------------
namespace
{

class Execution
{
  public:
    Execution(std::shared_ptr<ncclComm> comm_, const Collective &c_)
        : comm(std::move(comm_)), c(c_), ticket(comm->next_ticket++),
          total(c.count * bytes_of(c.type))
    {
    }

    Progress step(ptxvm::Device &device)
    {
        if (comm->aborted) {
            poison(device);
            return Progress::done;
        }
        if (comm->now_serving != ticket)
            return Progress::waiting;
        while (at < total) {
            if (!given && !give(device))
                return Progress::waiting;
            if (!take(device))
                return Progress::waiting;
        }
        comm->now_serving++;
        return Progress::done;
    }

  private:
    std::shared_ptr<ncclComm> comm;
    Collective c;
    uint64_t ticket;
    size_t total, at = 0; // bytes that a rank gives; of them done
    bool given = false;   // this turn's piece lies in its slot

    size_t piece() const
    {
        return std::min(SLOT, total - at);
    }

    template <class F> bool all(F reached) const
    {
        for (int r = 0; r < comm->ranks; r++)
            if (!reached(comm->exchange.place(r)))
                return false;
        return true;
    }

    // Puts a piece into the slot, once nobody reads the last one any more.
    bool give(ptxvm::Device &device)
    {
        uint64_t turn = comm->turn;
        if (!all([=](Place &p) { return p.left.load() >= turn; }))
            return false;
        Place &mine = comm->exchange.place(comm->rank);
        if (c.kind != BROADCAST || c.root == comm->rank) {
            const char *from = static_cast<const char *>(c.from) + at;
            memcpy(comm->exchange.slot(comm->rank), ptxvm_bytes(&device, from, piece(), false),
                   piece());
        }
        mine.posting = {c.kind, c.type, c.op, c.root, c.count};
        mine.arrived.store(turn + 1);
        return given = true;
    }

    // Takes what this rank needs, once all pieces are there.
    bool take(ptxvm::Device &device)
    {
        uint64_t turn = comm->turn;
        if (!all([=](Place &p) { return p.arrived.load() > turn; }))
            return false;
        Place &mine = comm->exchange.place(comm->rank);
        if (!all([&](Place &p) { return p.posting == mine.posting; }))
            throw ptxvm::Fault("NCCL: the ranks call different collectives, or with different "
                               "counts, types or operations");
        char *to = static_cast<char *>(c.to) + at;
        if (c.kind == ALL_GATHER)
            for (int r = 0; r < comm->ranks; r++)
                copy(device, to + static_cast<size_t>(r) * total, r);
        else
            copy(device, to, c.kind == BROADCAST ? c.root : 0);
        for (int r = 1; c.kind == ALL_REDUCE && r < comm->ranks; r++) // in the order of ranks
            reduce(ptxvm_bytes(&device, to, piece(), true), comm->exchange.slot(r), piece(), c.type,
                   c.op);
        mine.left.store(turn + 1);
        comm->turn++;
        at += piece();
        given = false;
        return true;
    }

    void copy(ptxvm::Device &device, char *to, int rank)
    {
        memcpy(ptxvm_bytes(&device, to, piece(), true), comm->exchange.slot(rank), piece());
    }

    // An aborted collective leaves nothing of use.
    void poison(ptxvm::Device &device)
    {
        size_t bytes = c.kind == ALL_GATHER ? total * static_cast<size_t>(comm->ranks) : total;
        if (bytes)
            memset(ptxvm_bytes(&device, c.to, bytes, true), 0xff, bytes);
    }
};

} // namespace

Work work_of(std::shared_ptr<ncclComm> comm, const Collective &c)
{
    return [=] {
        auto execution = std::make_shared<Execution>(comm, c);
        return Step([=](ptxvm::Device &device) { return execution->step(device); });
    };
}

} // namespace standin
