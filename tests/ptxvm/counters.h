// What a kernel did, added up over its launches.
#pragma once
#include "numeric.h"
#include <cstdio>
#include <string>

namespace ptxvm
{

struct Counters {
    u64 launches = 0;
    u64 instructions = 0; // of warps
    u64 mma = 0;
    u64 shared_accesses = 0, shared_wavefronts = 0, shared_ideal = 0;
    u64 global_accesses = 0, global_sectors = 0, global_ideal = 0;
    u64 local_accesses = 0;

    // One access of a warp: `size` bytes at each of the lanes' addresses.
    void count_shared(const u64 *address, u32 lanes, int size);
    void count_global(const u64 *address, u32 lanes, int size);

    void print(FILE *out, const std::string &kernel) const;
    void print_json(FILE *out, const std::string &kernel) const;
    static void print_head(FILE *out);
};

} // namespace ptxvm
