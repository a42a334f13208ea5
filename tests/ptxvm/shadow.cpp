#include "shadow.h"
#include "device.h"
#include <sys/mman.h>
#include <utility>

namespace ptxvm
{

// ---- order ----

void Order::start_block()
{
    full_barrier();
    block_start = now;
}

void Order::full_barrier()
{
    last_meeting = ++now;
    for (auto &row : known)
        row.fill(now);
}

bool Order::before_all(Stamp past, u32 warp) const
{
    for (u32 rest = past.who(); rest; rest &= rest - 1) {
        const u32 v = (u32)__builtin_ctz(rest);
        if (known[warp][v] <= past.clock() ||
            (v + 16 < warp_count && known[warp][v + 16] <= past.clock()))
            return false;
    }
    return true;
}

Stamp Order::merged(Stamp past, Stamp me) const
{
    const u64 clock = std::max(past.clock(), me.clock());
    const u32 my_warp = me.who() / 32;
    if (past.spread() == Stamp::blocks || past.clock() < block_start)
        return Stamp::make(clock, 0, Stamp::blocks, me.atomic());
    u32 warps = 1u << my_warp % 16;
    if (past.spread() == Stamp::warps)
        warps |= past.who();
    else if (const u32 warp = past.spread() == Stamp::thread ? past.who() / 32 : past.who();
             warp != my_warp)
        warps |= 1u << warp % 16;
    else
        return Stamp::make(clock, my_warp, Stamp::lanes, me.atomic());
    return Stamp::make(clock, warps, Stamp::warps, me.atomic());
}

// A warp that only arrives goes on: what it does from now on is not part of what it handed over.
void Rendezvous::arrive(Order &order, int warp)
{
    order.warp_barrier(warp);
    arrived.push_back(order.known[(size_t)warp]);
}

void Rendezvous::complete(Order &order)
{
    std::array<u64, max_warps> all{};
    const auto take = [&all](const std::array<u64, max_warps> &row) {
        for (size_t v = 0; v < max_warps; v++)
            all[v] = std::max(all[v], row[v]);
    };
    for (const auto &row : arrived)
        take(row);
    for (size_t w = 0; w < max_warps; w++)
        if (waiting >> w & 1)
            take(order.known[w]);
    order.now++;
    for (size_t w = 0; w < max_warps; w++) // those who waited have done nothing since
        if (waiting >> w & 1)
            all[w] = order.now;
    for (size_t w = 0; w < max_warps; w++)
        if (waiting >> w & 1)
            order.known[w] = all;
    waiting = 0;
    arrived.clear();
}

// ---- cells ----

static void *map_zeros(size_t size)
{
    void *p = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        throw Fault("no address space for " + std::to_string(size) + " bytes of shadow memory");
    return p;
}

Shadow::Shadow(size_t size) : words((size + 3) / 4)
{
    if (words == 0)
        return;
    cells = (Cell *)map_zeros(words * sizeof(Cell));
    parts = (Cell *)map_zeros(words * 4 * sizeof(Cell));
}
Shadow::~Shadow()
{
    if (cells)
        munmap(cells, words * sizeof(Cell));
    if (parts)
        munmap(parts, words * 4 * sizeof(Cell));
}
Shadow::Shadow(Shadow &&other) noexcept
{
    *this = std::move(other);
}
Shadow &Shadow::operator=(Shadow &&other) noexcept
{
    std::swap(words, other.words);
    std::swap(cells, other.cells);
    std::swap(parts, other.parts);
    return *this;
}

void Shadow::forget()
{
    std::fill(cells, cells + words, Cell{}); // the parts of a word are set when it is divided
}

void Shadow::divide(size_t word)
{
    Cell &whole = cells[word];
    if (whole.writer.bits == divided_bits)
        return;
    std::fill(parts + word * 4, parts + word * 4 + 4, whole);
    whole = {{divided_bits}, {}};
}

Hazard Shadow::touch_part(const Order &order, size_t offset, int size, Access access, Stamp me)
{
    divide(offset / 4);
    for (int i = 0; i < size; i++) {
        const Hazard hazard = touch_cell(order, parts[offset + (size_t)i], access, me);
        if (hazard.kind != Hazard::none)
            return {hazard.kind, (u8)i, hazard.other};
    }
    if (size == 4 && access == Access::write) // all four have one history again
        cells[offset / 4] = {me, {}};
    return {};
}

void Shadow::mark(size_t offset, size_t size, Stamp writer)
{
    const size_t end = offset + size;
    for (; offset < end && offset % 4; offset++) {
        divide(offset / 4);
        parts[offset] = {writer, {}};
    }
    std::fill(cells + offset / 4, cells + std::max(offset, end) / 4, Cell{writer, {}});
    for (size_t i = std::max(offset, end / 4 * 4); i < end; i++) {
        divide(i / 4);
        parts[i] = {writer, {}};
    }
}

void Shadow::set_in_flight(size_t offset, size_t size)
{
    std::fill(cells + offset / 4, cells + (offset + size) / 4, Cell{{in_flight_bits}, {}});
}

size_t Shadow::first_unwritten(size_t offset, size_t size) const
{
    for (size_t i = 0; i < size;) {
        const Cell &cell = cells[(offset + i) / 4];
        const bool divided = cell.writer.bits == divided_bits;
        if (!(divided ? parts[offset + i] : cell).writer.set())
            return i;
        i += divided ? 1 : 4 - (offset + i) % 4;
    }
    return size;
}

} // namespace ptxvm
