// Which group of lanes runs next: divergence, convergence, barriers, exits.
#include "lanes.h"

namespace ptxvm
{

constexpr u64 endless = 1ull << 33; // warp instructions of one block

static u32 guarded(Warp &w, const Instruction &i, u32 lanes)
{
    if (i.guard < 0)
        return lanes;
    return lanes & (w.predicate(i.guard) ^ (i.guard_negated ? ~0u : 0));
}

static const char *no_detail()
{
    return "";
}

// The group to run: the lowest program counter, so that the lanes of a loop or of an `if` meet
// again; under stress any one.
size_t Block::pick(const Warp &w)
{
    size_t chosen = w.groups.size();
    unsigned candidates = 0;
    for (size_t i = 0; i < w.groups.size(); i++) {
        if (w.groups[i].parked != Group::no)
            continue;
        candidates++;
        if (chosen == w.groups.size() ||
            (launch.options.stress ? launch.random() % candidates == 0
                                   : w.groups[i].pc < w.groups[chosen].pc))
            chosen = i;
    }
    return chosen;
}

// Groups at the same place become one. Under stress only where they must: at collectives, at
// barriers, or where one waits for the rest of the warp.
void Block::merge(Warp &w, bool all)
{
    all |= !launch.options.stress;
    for (size_t a = 0; a < w.groups.size(); a++)
        for (size_t b = a + 1; b < w.groups.size();) {
            Group &x = w.groups[a], &y = w.groups[b];
            const bool may =
                x.pc == y.pc && x.parked != Group::at_barrier && y.parked != Group::at_barrier;
            if (may &&
                (all || x.parked || y.parked || launch.kernel.code[x.pc].flow > Flow::exit)) {
                x.lanes |= y.lanes;
                x.parked = Group::no;
                w.groups.erase(w.groups.begin() + (std::ptrdiff_t)b);
            } else {
                b++;
            }
        }
}

// Leaves `lanes` in the group and moves the others to a new one; returns that one's index.
size_t Block::split_off(Warp &w, size_t which, u32 lanes)
{
    Group rest = w.groups[which];
    rest.lanes &= ~lanes;
    w.groups[which].lanes = lanes;
    w.groups.push_back(rest);
    return w.groups.size() - 1;
}

void Block::branch(Warp &w, size_t which, u32 taken)
{
    const u32 target = (u32)launch.kernel.code[w.groups[which].pc].target;
    if (taken == w.groups[which].lanes) {
        w.groups[which].pc = target;
        return;
    }
    if (taken) {
        const size_t staying = split_off(w, which, taken);
        w.groups[which].pc = target;
        which = staying;
    }
    w.groups[which].pc++;
}

void Block::exit_lanes(Warp &w, size_t which, u32 lanes)
{
    for (const PendingCopy &copy : w.copies)
        if (lanes >> copy.lane & 1)
            w.report(copy.lane, "exit with asynchronous copies in flight", no_detail);
    w.live &= ~lanes;
    alive -= __builtin_popcount(lanes);
    Group &g = w.groups[which];
    g.lanes &= ~lanes;
    g.pc++;
    if (!g.lanes)
        w.groups.erase(w.groups.begin() + (std::ptrdiff_t)which);
}

static bool differ(const u32 *values, u32 lanes, u32 from)
{
    u32 bits = 0;
    for_lanes(lanes, [&](int lane) { bits |= values[lane] ^ from; });
    return bits;
}

// Runs a collective, or parks the group until all its members are there.
void Block::collective(Warp &w, size_t which, u32 lanes)
{
    if (lanes != w.groups[which].lanes)
        w.groups[split_off(w, which, lanes)].pc++;
    const Instruction &i = *w.current;
    const int first = __builtin_ctz(lanes);
    u32 members = i.members < 0 ? ~0u : w.lanes_of<u32>(i.members)[first];
    const auto mask = [&members] { return "mask " + hexadecimal(members); };
    if (i.members < 0 && members & ~w.live)
        w.report(first, "warp collective by a part of a warp", mask);
    if (lanes & ~members)
        w.report(__builtin_ctz(lanes & ~members), "lane is not in its own mask", mask);
    if (i.members >= 0 && differ(w.lanes_of<u32>(i.members), lanes & members, members))
        w.report(first, "warp collective with different masks", mask);
    members &= w.live; // lanes that have exited may be named, but not waited for
    if (members & ~lanes) {
        w.groups[which].parked = Group::for_lanes;
        merge(w, true);
        return;
    }
    i.body(w, i, lanes);
    w.groups[which].pc++;
}

void Block::barrier(Warp &w, size_t which, u32 lanes)
{
    if (lanes != w.groups[which].lanes)
        w.groups[split_off(w, which, lanes)].pc++;
    const bool aligned = w.current->option;
    if (aligned && lanes != w.live) {
        w.groups[which].parked = Group::for_lanes;
        merge(w, true);
    } else {
        arrive(w, w.groups[which]);
    }
}

// in: barrier, threads (or none: all of the block), predicate of a reduction. variant: 1 arrives
// without waiting, 2 popc, 3 and, 4 or. option: aligned. immediate: bits say which operands exist.
void Block::arrive(Warp &w, Group &group)
{
    const Instruction &i = *w.current;
    const int lane = __builtin_ctz(group.lanes);
    const u32 id = w.lanes_of<u32>(i.in[0])[lane];
    const bool counted = i.immediate & 1;
    const int needed = counted ? (int)w.lanes_of<u32>(i.in[1])[lane] : (int)launch.threads;
    if (id > 15 || needed <= 0 || (counted && needed % 32)) {
        w.report(lane, "barrier with a wrong number", [=] {
            return "barrier " + std::to_string(id) + " for " + std::to_string(needed) + " threads";
        });
        group.pc++;
        return;
    }
    Barrier &b = barriers[id];
    if (b.arrived && b.needed != needed)
        w.report(lane, "barrier with different numbers of threads", [&] {
            return std::to_string(needed) + ", others came with " + std::to_string(b.needed);
        });
    b.needed = needed;
    b.arrived += __builtin_popcount(group.lanes);
    if (b.arrived > b.needed)
        w.report(lane, "more threads at a barrier than it is for",
                 [&] { return std::to_string(b.arrived) + " of " + std::to_string(b.needed); });
    if (i.variant >= 2) {
        const u32 p = w.predicate(i.in[2]) ^ (i.immediate & 2 ? ~0u : 0);
        b.true_predicates += __builtin_popcount(p & group.lanes);
    }
    if (i.variant == 1) {
        b.meeting.arrive(launch.order, w.id);
        group.pc++;
        group.parked = Group::no;
    } else {
        b.meeting.waiting |= 1u << w.id;
        group.parked = Group::at_barrier;
        group.barrier = (int)id;
    }
    complete_if_full((int)id);
}

void Block::complete_if_full(int id)
{
    Barrier &b = barriers[id];
    if (b.arrived < b.needed)
        return;
    if (b.needed == (int)launch.threads && b.meeting.arrived.empty())
        launch.order.full_barrier();
    else
        b.meeting.complete(launch.order);
    for (Warp &w : warps)
        for (Group &g : w.groups) {
            if (g.parked != Group::at_barrier || g.barrier != id)
                continue;
            const Instruction &i = launch.kernel.code[g.pc];
            const int t = b.true_predicates;
            if (i.variant == 2)
                write_lanes(w.lanes_of<u32>(i.out[0]), g.lanes, [=](int) { return (u32)t; });
            else if (i.variant > 2)
                w.set_predicate(i.out[0], g.lanes,
                                (i.variant == 3 ? t == b.arrived : t > 0) ? ~0u : 0);
            g.parked = Group::no;
            g.pc++;
        }
    b = Barrier();
}

// Lanes that wait for lanes of their warp which can no longer come: reported, then let through.
void Block::unpark(Warp &w)
{
    if (w.groups.size() == 1 && w.groups[0].parked == Group::for_lanes)
        w.groups[0].parked = Group::no; // the others have exited: it will say so itself
    for (const Group &g : w.groups)
        if (g.parked == Group::no)
            return;
    for (size_t n = 0; n < w.groups.size(); n++) {
        if (w.groups[n].parked != Group::for_lanes)
            continue;
        Group &g = w.groups[n];
        const Instruction &i = launch.kernel.code[g.pc];
        const bool at_barrier = i.flow == Flow::barrier;
        w.current = &i;
        if (!at_barrier || g.lanes != w.live)
            w.report(__builtin_ctz(g.lanes),
                     at_barrier ? "barrier reached by part of a warp" : "divergent warp collective",
                     [&] { return "lanes " + hexadecimal(g.lanes); });
        if (at_barrier) {
            arrive(w, g);
        } else {
            i.body(w, i, g.lanes);
            g.parked = Group::no;
            g.pc++;
        }
    }
}

// The common case: a warp in one piece, up to the next instruction that might change that.
int Block::run_straight(Warp &w, Group &g, int instructions)
{
    const Instruction *code = launch.kernel.code.data();
    int done = 0;
    for (; done < instructions; done++) {
        const Instruction &i = code[g.pc];
        if (i.flow > Flow::branch)
            break;
        const u32 lanes = guarded(w, i, g.lanes);
        if (i.flow == Flow::branch) {
            if (lanes && lanes != g.lanes)
                break;
            g.pc = lanes ? (u32)i.target : g.pc + 1;
        } else {
            w.current = &i;
            if (lanes)
                i.body(w, i, lanes);
            g.pc++;
        }
    }
    return done;
}

void Block::step(Warp &w, size_t which)
{
    Group &g = w.groups[which];
    const Instruction &i = launch.kernel.code[g.pc];
    const u32 lanes = guarded(w, i, g.lanes);
    w.current = &i;
    if (i.flow == Flow::branch) {
        branch(w, which, lanes);
    } else if (!lanes) {
        g.pc++;
    } else if (i.flow == Flow::next) {
        i.body(w, i, lanes);
        g.pc++;
    } else if (i.flow == Flow::exit) {
        exit_lanes(w, which, lanes);
    } else if (i.flow == Flow::collective) {
        collective(w, which, lanes);
    } else {
        barrier(w, which, lanes);
    }
}

// False if nothing of the warp can move.
bool Block::run_warp(Warp &w, int instructions)
{
    bool moved = false;
    while (instructions > 0 && w.live) {
        const size_t which = pick(w);
        if (which == w.groups.size())
            break;
        moved = true;
        if (w.groups.size() == 1) {
            const int done = run_straight(w, w.groups[0], instructions);
            steps += (u64)done;
            instructions -= done;
            if (instructions <= 0)
                break;
        }
        step(w, which);
        steps++;
        instructions--;
        if (w.groups.size() > 1)
            merge(w, false);
        unpark(w);
    }
    return moved;
}

void Block::report_deadlock()
{
    const bool gone = alive < (int)launch.threads;
    for (Warp &w : warps)
        for (const Group &g : w.groups)
            if (g.parked == Group::at_barrier) {
                const Barrier &b = barriers[g.barrier];
                w.current = &launch.kernel.code[g.pc];
                w.report(__builtin_ctz(g.lanes),
                         gone ? "barrier while other threads have exited"
                              : "deadlock: a barrier never completes",
                         [&] {
                             return std::to_string(b.arrived) + " of " + std::to_string(b.needed) +
                                    " threads came";
                         });
            }
}

void Block::start_warp(Warp &w)
{
    const unsigned lanes = std::min(32u, launch.threads - (unsigned)w.id * 32);
    w.live = lanes == 32 ? ~0u : (1u << lanes) - 1;
    w.carry = 0;
    w.groups.assign(1, Group{0, w.live});
    w.copies.clear();
    for (const auto &special : launch.kernel.specials)
        fill_special(w, special.first, special.second);
}

void Block::run(unsigned which)
{
    index = which;
    steps = 0;
    alive = (int)launch.threads;
    launch.order.start_block();
    launch.block_starts.push_back({launch.order.block_start, which});
    std::fill(shared.begin(), shared.end(), (char)0xff);
    if (launch.options.check)
        shared_shadow.forget();
    std::fill(local.begin(), local.end(), (char)0xff);
    std::fill(std::begin(barriers), std::end(barriers), Barrier());
    for (Warp &w : warps)
        start_warp(w);
    while (alive) {
        const size_t first = launch.random() % warps.size();
        bool moved = false;
        for (size_t n = 0; n < warps.size() && !moved; n++) {
            Warp &w = warps[(first + n) % warps.size()];
            if (w.live)
                moved = run_warp(w, 1 + (int)(launch.random() % 200));
        }
        if (!moved) {
            report_deadlock();
            break;
        }
        if (steps > endless) {
            warps[first].report(0, "a block that does not end", no_detail);
            break;
        }
    }
    launch.counters.instructions += steps;
}

} // namespace ptxvm
