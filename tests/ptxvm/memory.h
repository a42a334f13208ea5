// The device's global memory: allocations in a reserved range of host addresses, with red zones
// between them, and their shadow memory.
#pragma once
#include "shadow.h"
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace ptxvm
{

struct Allocation {
    u64 start, size;
    Shadow shadow; // empty without checks
};

class Memory
{
  public:
    Memory(size_t capacity, bool check);
    ~Memory();
    Memory(const Memory &) = delete;
    Memory &operator=(const Memory &) = delete;

    u64 allocate(size_t size); // 0: more than is free
    bool release(u64 address);
    size_t unused() const
    {
        return capacity - used;
    }
    // The live allocation around an address; null between allocations. Valid until it is released.
    Allocation *find(u64 address)
    {
        const u64 offset = address - base;
        if (offset >= reserved || !granules[offset / granule])
            return nullptr;
        Allocation *a = slots[granules[offset / granule] - 1].get();
        return address < a->start + a->size ? a : nullptr;
    }
    // Where an address lies, in words that do not depend on where the range is.
    std::string describe(u64 address) const;
    // Throws Fault where the bytes are not inside one allocation, or (reading) never written.
    char *bytes(u64 address, size_t size, bool write);

  private:
    static constexpr u64 granule = 256; // of addresses; at least as much lies between allocations
    u64 find_gap(u64 from, u64 to, size_t size) const;
    void set_granules(u64 start, size_t size, u32 value);

    const size_t capacity;
    const bool check;
    size_t used = 0;
    u64 base = 0, reserved = 0;
    u64 next = 0;            // where the search begins: a freed range rests as long as possible
    u32 *granules = nullptr; // slot + 1
    std::vector<std::unique_ptr<Allocation>> slots;
    std::vector<u32> free_slots;
    std::map<u64, u32> by_start; // slot
};

} // namespace ptxvm
