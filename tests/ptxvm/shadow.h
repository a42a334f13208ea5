// Shadow memory: who touched a piece of memory last, and whether that happened before what happens
// now. From it come the checks for races, for reads of bytes never written, and for accesses to the
// destination of an asynchronous copy in flight.
//
// Order is happens-before, not the schedule that was drawn: each warp has a clock, and knows for
// each other warp of its block the time up to which that warp's work lies before its own. Barriers
// (also partial ones) and __syncwarp move that knowledge; nothing else does. Different blocks of a
// launch are never ordered, launches always.
#pragma once
#include "numeric.h"
#include <array>
#include <cstddef>
#include <vector>

namespace ptxvm
{

constexpr int max_warps = 32;

// 64 bits, so that one comparison settles the common case:
// clock:44 | who:16 | spread:2 | atomic:1 | set:1
struct Stamp {
    enum Spread : u32 {
        thread, // who: its index in the block
        lanes,  // of one warp; who: the warp
        warps,  // who: a set, warp number modulo 16
        blocks
    };
    u64 bits = 0;

    static Stamp make(u64 clock, u32 who, Spread spread, bool atomic)
    {
        return {clock << 20 | (u64)(who & 0xffff) << 4 | (u64)spread << 2 | (u64)atomic << 1 | 1};
    }
    static Stamp by_host()
    {
        return {1};
    }
    u64 clock() const
    {
        return bits >> 20;
    }
    u32 who() const
    {
        return bits >> 4 & 0xffff;
    }
    Spread spread() const
    {
        return (Spread)(bits >> 2 & 3);
    }
    bool atomic() const
    {
        return bits & 2;
    }
    bool set() const
    {
        return bits & 1;
    }
};

// What lies before the running instruction. Times are unique on a device and only grow.
struct Order {
    u32 warp_count = max_warps; // of a block of this launch
    u64 now = 1;                // the device's time
    u64 launch_start = 1;       // earlier stamps belong to earlier launches, or to the host
    u64 block_start = 1;        // earlier ones to other blocks of this launch
    u64 last_meeting = 1;       // the last barrier of the whole block
    // known[w][v]: warp w comes after everything that warp v did before this time; known[w][w] is
    // w's own clock.
    std::array<std::array<u64, max_warps>, max_warps> known;

    void start_block();
    void full_barrier();
    void warp_barrier(int warp)
    {
        known[warp][warp] = ++now;
    }
    bool before(Stamp past, Stamp me) const
    {
        if (past.clock() < launch_start)
            return true;
        if (past.spread() == Stamp::blocks || past.clock() < block_start)
            return false;
        if (past.clock() < last_meeting)
            return true;
        const u32 warp = me.who() / 32;
        if (past.spread() == Stamp::thread)
            return past.who() == me.who() || known[warp][past.who() / 32] > past.clock();
        if (past.spread() == Stamp::lanes)
            return known[warp][past.who()] > past.clock();
        return before_all(past, warp);
    }
    // Does `past` stand for several, me among them? Then it need not change.
    static bool includes(Stamp past, Stamp me)
    {
        const u32 warp = me.who() / 32;
        return past.clock() >= me.clock() &&
               ((past.spread() == Stamp::warps && (past.who() >> warp % 16 & 1)) ||
                (past.spread() == Stamp::lanes && past.who() == warp));
    }
    // The stamp of all that `past` stands for and of `me`, where neither is before the other.
    Stamp merged(Stamp past, Stamp me) const;

  private:
    bool before_all(Stamp past, u32 warp) const;
};

// A named barrier's participants: which warps wait, and what those that only arrived knew then.
struct Rendezvous {
    u32 waiting = 0;
    std::vector<std::array<u64, max_warps>> arrived;
    void arrive(Order &order, int warp);
    void complete(Order &order);
};

enum class Access : u8 { read, write, atomic };

struct Hazard {
    enum Kind : u8 { none, uninitialised, in_flight, after_write, after_read } kind = none;
    u8 byte = 0; // of the access
    Stamp other;
};

// Of one stretch of memory. One cell a word of 4 bytes; where parts of a word have a history of
// their own, its cell says so and four finer ones stand for it.
class Shadow
{
  public:
    Shadow() = default;
    explicit Shadow(size_t size); // nothing is written yet
    Shadow(Shadow &&other) noexcept;
    Shadow &operator=(Shadow &&other) noexcept;
    ~Shadow();
    void forget(); // as new; for memory of moderate size

    // Checks an access and records it. offset is a multiple of size, or size a multiple of 4.
    Hazard touch(const Order &order, size_t offset, int size, Access access, Stamp me);
    void mark(size_t offset, size_t size, Stamp writer); // written, by whom
    void set_in_flight(size_t offset, size_t size);      // whole words
    // The first byte never written, or size.
    size_t first_unwritten(size_t offset, size_t size) const;

  private:
    struct Cell {
        Stamp writer, reader;
    };
    static constexpr u64 in_flight_bits = ~0ull;
    static constexpr u64 divided_bits = 2; // "atomic" without "set": no stamp looks like this
    static Hazard touch_cell(const Order &order, Cell &cell, Access access, Stamp me);
    Hazard touch_part(const Order &order, size_t offset, int size, Access access, Stamp me);
    void divide(size_t word);

    size_t words = 0;
    Cell *cells = nullptr; // both are mapped, so that untouched parts cost nothing
    Cell *parts = nullptr;
};

inline Hazard Shadow::touch_cell(const Order &order, Cell &cell, Access access, Stamp me)
{
    const Stamp writer = cell.writer, reader = cell.reader;
    if (access == Access::read) {
        if (!writer.set())
            return {Hazard::uninitialised, 0, writer};
        if (!order.before(writer, me))
            return {writer.bits == in_flight_bits ? Hazard::in_flight : Hazard::after_write, 0,
                    writer};
        if (reader.bits != me.bits && !Order::includes(reader, me))
            cell.reader = !reader.set() || order.before(reader, me) ? me : order.merged(reader, me);
        return {};
    }
    Stamp mine = me;
    if (access == Access::atomic && !writer.set())
        return {Hazard::uninitialised, 0, writer};
    if (writer.set() && !order.before(writer, me)) {
        if (writer.bits == in_flight_bits)
            return {Hazard::in_flight, 0, writer};
        if (access != Access::atomic || !writer.atomic())
            return {Hazard::after_write, 0, writer};
        mine = order.merged(writer, me);
    }
    if (reader.set() && !order.before(reader, me))
        return {Hazard::after_read, 0, reader};
    cell.writer = mine;
    return {};
}

inline Hazard Shadow::touch(const Order &order, size_t offset, int size, Access access, Stamp me)
{
    if (size < 4)
        return touch_part(order, offset, size, access, me);
    Cell *cell = cells + offset / 4;
    for (int done = 0; done < size; done += 4, cell++) {
        const Hazard hazard = cell->writer.bits == divided_bits
                                  ? touch_part(order, offset + (size_t)done, 4, access, me)
                                  : touch_cell(order, *cell, access, me);
        if (hazard.kind != Hazard::none)
            return {hazard.kind, (u8)(done + hazard.byte), hazard.other};
    }
    return {};
}

} // namespace ptxvm
