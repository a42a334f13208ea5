// The running machine: a launch, its current block, the block's warps. Blocks run one after the
// other; the warps of a block are interleaved.
#pragma once
#include "counters.h"
#include "device.h"
#include "findings.h"
#include "memory.h"
#include "program.h"
#include "shadow.h"
#include <random>
#include <string>
#include <vector>

namespace ptxvm
{

struct Block;

// Lanes with a common program counter. The groups of a warp are disjoint.
struct Group {
    enum Parked : u8 { no, at_barrier, for_lanes }; // for_lanes: until the rest of the warp comes
    u32 pc, lanes;
    Parked parked = no;
    int barrier = 0;
};

// An asynchronous copy between its issue and the wait for it.
struct PendingCopy {
    u64 shared, global;
    u32 group; // of its lane
    u8 lane, size, source_size;
};

struct Warp {
    Block *block = nullptr;
    char *frame = nullptr; // registers
    int id = 0;
    u32 live = 0;  // lanes that have not exited
    u32 carry = 0; // CC.CF of each lane
    const Instruction *current = nullptr;
    std::vector<Group> groups;
    std::vector<PendingCopy> copies;
    u32 copy_group[32] = {}; // that a lane's next copy belongs to

    template <class T> T *lanes_of(int offset)
    {
        return (T *)(frame + offset);
    }
    u32 &predicate(int offset)
    {
        return *(u32 *)(frame + offset);
    }
    void set_predicate(int offset, u32 lanes, u32 value)
    {
        predicate(offset) = (predicate(offset) & ~lanes) | (value & lanes);
    }
    // One lane of a register of 2, 4 or 8 bytes.
    u64 get(int offset, int width, int lane)
    {
        return width == 4   ? lanes_of<u32>(offset)[lane]
               : width == 8 ? lanes_of<u64>(offset)[lane]
                            : lanes_of<u16>(offset)[lane];
    }
    void put(int offset, int width, int lane, u64 value)
    {
        if (width == 4)
            lanes_of<u32>(offset)[lane] = (u32)value;
        else if (width == 8)
            lanes_of<u64>(offset)[lane] = value;
        else
            lanes_of<u16>(offset)[lane] = (u16)value;
    }
    // The addresses of the lanes: a register and a displacement.
    void addresses(int offset, int width, s64 displacement, u64 *out);
    // Reports something at the current instruction. `detail` is called only if it will be read.
    template <class Detail> void report(int lane, const char *kind, Detail detail);
};

struct Launch {
    const Kernel &kernel;
    const Options &options;
    Memory &memory;
    Counters &counters;
    Order &order;
    Dim grid, block;
    size_t dynamic_shared;
    unsigned number; // of launches before it on this device: each has an order of its own
    unsigned threads = 0;
    std::vector<char> parameters;
    std::vector<std::pair<u64, unsigned>> block_starts; // time, index of the block
    Findings findings;
    std::mt19937 random;

    void run();
    void describe(const Warp &warp, int lane, const char *kind, const std::string &detail);
    // "thread (1,0,0) of block (2,0,0)"
    std::string name_of(unsigned block_index, unsigned thread) const;
    std::string name_of(Stamp stamp) const;
};

struct Barrier {
    int arrived = 0, needed = 0;
    int true_predicates = 0;
    Rendezvous meeting;
};

struct Block {
    Launch &launch;
    unsigned index = 0;
    std::vector<char> registers, shared, local;
    Shadow shared_shadow;
    std::vector<Warp> warps;
    Barrier barriers[16];
    int alive = 0; // threads
    u64 steps = 0; // warp instructions of this block

    explicit Block(Launch &launch);
    void run(unsigned index);

    // ---- memory (access.cpp) ----
    // Checks the lanes' accesses of `size` bytes; pointer[lane] is null where something is wrong.
    // Addresses of .shared and .local count from the beginning of their space.
    void reach(Warp &warp, const u64 *address, u32 lanes, int size, Space space, Access access,
               char **pointer);
    char *reach_lane(Warp &warp, int lane, u64 address, int size, Space space, Access access);
    void count_traffic(const u64 *address, u32 lanes, int size, Space space);
    void report_hazard(Warp &warp, int lane, u64 address, const Hazard &hazard, Access access,
                       bool in_shared);
    Stamp stamp(const Warp &warp, int lane, bool atomic) const
    {
        return Stamp::make(launch.order.known[(size_t)warp.id][(size_t)warp.id],
                           (u32)(warp.id * 32 + lane), Stamp::thread, atomic);
    }
    void finish_copies(Warp &warp, u32 lanes, u32 left_open); // async_copy.cpp

  private:
    // ---- scheduler.cpp ----
    void start_warp(Warp &warp);
    void fill_special(Warp &warp, Special special, int offset);
    bool run_warp(Warp &warp, int instructions);
    int run_straight(Warp &warp, Group &group, int instructions);
    size_t pick(const Warp &warp);
    void step(Warp &warp, size_t which);
    void branch(Warp &warp, size_t which, u32 taken);
    void exit_lanes(Warp &warp, size_t which, u32 lanes);
    void collective(Warp &warp, size_t which, u32 lanes);
    void barrier(Warp &warp, size_t which, u32 lanes);
    void arrive(Warp &warp, Group &group);
    void complete_if_full(int id);
    void merge(Warp &warp, bool all);
    void unpark(Warp &warp);
    size_t split_off(Warp &warp, size_t which, u32 lanes);
    void report_deadlock();
};

template <class Detail> void Warp::report(int lane, const char *kind, Detail detail)
{
    if (block->launch.findings.count(current, kind))
        block->launch.describe(*this, lane, kind, detail());
}

} // namespace ptxvm
