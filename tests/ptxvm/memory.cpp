#include "memory.h"
#include "device.h"
#include "findings.h"
#include <sys/mman.h>

namespace ptxvm
{

// Contents of fresh memory are NaN in every format, up to this size: touching more costs too much.
constexpr size_t poisoned = 64 << 20;

static void *reserve(size_t size)
{
    void *p = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        throw Fault("no address space for a device of " + std::to_string(size) + " bytes");
    return p;
}

Memory::Memory(size_t size, bool with_shadow) : capacity(size), check(with_shadow)
{
    reserved = (2 * size + (16 << 20)) / granule * granule;
    base = (u64)reserve(reserved);
    granules = (u32 *)reserve(reserved / granule * sizeof *granules);
    next = base;
}
Memory::~Memory()
{
    munmap((void *)base, reserved);
    munmap(granules, reserved / granule * sizeof *granules);
}

u64 Memory::find_gap(u64 from, u64 to, size_t size) const
{
    u64 start = from + granule;
    for (auto it = by_start.lower_bound(from); start + size + granule <= to; ++it) {
        if (it == by_start.end() || start + size + granule <= it->first)
            return start;
        const Allocation &a = *slots[it->second];
        start = (a.start + a.size + 2 * granule - 1) / granule * granule;
    }
    return 0;
}

void Memory::set_granules(u64 start, size_t size, u32 value)
{
    const size_t first = (start - base) / granule, end = (start - base + size - 1) / granule + 1;
    std::fill(granules + first, granules + end, value);
}

u64 Memory::allocate(size_t size)
{
    if (size == 0 || size > capacity - used)
        return 0;
    u64 start = find_gap(next, base + reserved, size);
    if (!start)
        start = find_gap(base, base + reserved, size);
    if (!start)
        return 0;
    u32 slot = (u32)slots.size();
    if (free_slots.empty()) {
        slots.emplace_back();
    } else {
        slot = free_slots.back();
        free_slots.pop_back();
    }
    slots[slot] =
        std::make_unique<Allocation>(Allocation{start, size, check ? Shadow(size) : Shadow()});
    by_start[start] = slot;
    set_granules(start, size, slot + 1);
    if (size <= poisoned)
        memset((void *)start, 0xff, size);
    used += size;
    next = (start + size + granule - 1) / granule * granule;
    return start;
}

bool Memory::release(u64 address)
{
    const auto it = by_start.find(address);
    if (it == by_start.end())
        return false;
    const size_t size = slots[it->second]->size;
    set_granules(address, size, 0);
    // The last page may hold the beginning of what comes behind.
    const u64 page = 4096, first = (address + page - 1) / page * page;
    const u64 end = (address + size) / page * page;
    if (end > first)
        madvise((void *)first, end - first, MADV_DONTNEED);
    slots[it->second].reset();
    free_slots.push_back(it->second);
    by_start.erase(it);
    used -= size;
    return true;
}

std::string Memory::describe(u64 address) const
{
    const auto behind = by_start.upper_bound(address);
    if (behind == by_start.begin())
        return "no allocation is there (" + hexadecimal(address) + ")";
    const Allocation &a = *slots[std::prev(behind)->second];
    const u64 offset = address - a.start;
    const std::string of = " of an allocation of " + std::to_string(a.size) + " bytes";
    if (offset < a.size)
        return "byte " + std::to_string(offset) + of;
    return offset - a.size < 1 << 20
               ? std::to_string(offset - a.size) + " bytes behind the end" + of
               : "no allocation is there (" + hexadecimal(address) + ")";
}

char *Memory::bytes(u64 address, size_t size, bool write)
{
    if (size == 0)
        return (char *)address;
    Allocation *a = find(address);
    const std::string what = write ? "a write of " : "a read of ";
    if (!a)
        throw Fault(what + std::to_string(size) + " bytes at " + hexadecimal(address) +
                    ": no allocation is there");
    const u64 offset = address - a->start;
    if (size > a->size - offset)
        throw Fault(what + std::to_string(size) + " bytes at " + hexadecimal(address) +
                    ": the allocation ends after " + std::to_string(a->size - offset));
    if (!check)
        return (char *)address;
    if (write) {
        a->shadow.mark(offset, size, Stamp::by_host());
    } else {
        const size_t fine = a->shadow.first_unwritten(offset, size);
        if (fine < size)
            throw Fault(what + std::to_string(size) + " bytes at " + hexadecimal(address) +
                        ": byte " + std::to_string(fine) + " was never written");
    }
    return (char *)address;
}

} // namespace ptxvm
