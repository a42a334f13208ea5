// cp.async: the destination belongs to the copy engine from the issue until the issuing thread has
// waited; then it counts as written by that thread, so that the others still need a barrier.
#include "access.h"
#include "lanes.h"

namespace ptxvm
{

// in: shared address, global address, optionally bytes to read (immediate 2: ... a predicate to
// ignore the source). width: bytes. immediate: displacement of the global address, displacement: of
// the shared one. variant: 1 with a source size, 2 with a predicate.
void copy_issue(Warp &w, const Instruction &i, u32 lanes)
{
    Block &b = *w.block;
    u64 from[32], to[32];
    char *pointer[32];
    w.addresses(i.in[0], i.address_width, i.displacement, to);
    w.addresses(i.in[1], i.register_width, i.immediate, from);
    for_lanes(lanes, [&](int lane) {
        if (to[lane] - shared_window < shared_window_size)
            to[lane] -= shared_window;
    });
    b.count_traffic(to, lanes, i.width, Space::shared);
    u32 reading = 0; // lanes that read anything at all
    b.reach(w, to, lanes, i.width, Space::shared, Access::write, pointer);
    for_lanes(lanes, [&](int lane) {
        u32 size = i.width;
        if (i.variant == 1)
            size = std::min(w.lanes_of<u32>(i.in[2])[lane], size);
        else if (i.variant == 2 && (w.predicate(i.in[2]) >> lane & 1))
            size = 0;
        bool good = pointer[lane];
        if (from[lane] % i.width) {
            w.report(lane, "misaligned access", [&] {
                return std::to_string(i.width) + " bytes at " +
                       b.launch.memory.describe(from[lane]);
            });
            good = false;
        }
        // The source is read in words: only the part that counts must be there.
        for (u32 done = 0; good && done < size; done += 4)
            good = b.reach_lane(w, lane, from[lane] + done, size - done < 4 ? 1 : 4, Space::global,
                                Access::read);
        if (!good)
            return;
        reading |= size ? 1u << lane : 0;
        memset(pointer[lane], 0xff, i.width);
        if (b.launch.options.check)
            b.shared_shadow.set_in_flight(to[lane], i.width);
        w.copies.push_back({to[lane], from[lane], w.copy_group[lane], (u8)lane, i.width, (u8)size});
    });
    if (reading)
        b.count_traffic(from, reading, i.width, Space::global);
}

void copy_commit(Warp &w, const Instruction &, u32 lanes)
{
    for_lanes(lanes, [&](int lane) { w.copy_group[lane]++; });
}

// Ends all copies of the lanes but those of their newest `left_open` committed groups.
void Block::finish_copies(Warp &w, u32 lanes, u32 left_open)
{
    size_t kept = 0;
    for (size_t n = 0; n < w.copies.size(); n++) {
        const PendingCopy &c = w.copies[n];
        if (!(lanes >> c.lane & 1) || c.group + left_open >= w.copy_group[c.lane]) {
            w.copies[kept++] = c;
            continue;
        }
        char *const to = shared.data() + c.shared;
        memcpy(to, (const void *)c.global, c.source_size);
        memset(to + c.source_size, 0, (size_t)(c.size - c.source_size));
        if (launch.options.check)
            shared_shadow.mark(c.shared, c.size, stamp(w, c.lane, false));
    }
    w.copies.resize(kept);
}

void copy_wait_group(Warp &w, const Instruction &i, u32 lanes)
{
    w.block->finish_copies(w, lanes, (u32)i.immediate);
}

void copy_wait_all(Warp &w, const Instruction &i, u32 lanes)
{
    copy_commit(w, i, lanes);
    w.block->finish_copies(w, lanes, 0);
}

} // namespace ptxvm
