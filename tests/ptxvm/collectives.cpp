// Instructions in which the lanes of a warp see each other's registers.
#include "access.h"
#include "lanes.h"

namespace ptxvm
{

// The lane that `lane` reads, and whether it lies inside the segment (PTX ISA, shfl.sync): c holds
// the segment's mask in bits 8..12 and the clamp in bits 0..4. variant: up, down, bfly, idx.
static int shuffle_source(int variant, int lane, u32 b, u32 c, bool *inside)
{
    const int segment = c >> 8 & 31, clamp = c & 31, by = b & 31;
    const int last = (lane & segment) | (clamp & ~segment), first = lane & segment;
    const int source = variant == 0   ? lane - by
                       : variant == 1 ? lane + by
                       : variant == 2 ? lane ^ by
                                      : first | (by & ~segment);
    *inside = variant == 0 ? source >= last : source <= last;
    return *inside ? source : lane;
}

// in: value, b, c. out: value, optionally a predicate.
void shuffle(Warp &w, const Instruction &i, u32 lanes)
{
    u32 values[32], result[32], inside = 0;
    memcpy(values, w.lanes_of<u32>(i.in[0]), sizeof values);
    const u32 *b = w.lanes_of<u32>(i.in[1]), *c = w.lanes_of<u32>(i.in[2]);
    for_lanes(lanes, [&](int lane) {
        bool in;
        const int source = shuffle_source(i.variant, lane, b[lane], c[lane], &in);
        inside |= (u32)in << lane;
        result[lane] = values[source];
        if (!(lanes >> source & 1)) {
            w.report(lane, "shuffle reads a lane outside the mask",
                     [=] { return "lane " + std::to_string(source); });
            result[lane] = 0xffffdead;
        }
    });
    if (i.out[0] >= 0)
        write_lanes(w.lanes_of<u32>(i.out[0]), lanes, [&](int lane) { return result[lane]; });
    if (i.outs > 1 && i.out[1] >= 0)
        w.set_predicate(i.out[1], lanes, inside);
}

// variant: ballot, any, all, uni. option: the predicate negated.
void vote(Warp &w, const Instruction &i, u32 lanes)
{
    const u32 p = (w.predicate(i.in[0]) ^ (i.option ? ~0u : 0)) & lanes;
    if (i.variant == 0) {
        write_lanes(w.lanes_of<u32>(i.out[0]), lanes, [=](int) { return p; });
        return;
    }
    const bool yes = i.variant == 1 ? p != 0 : i.variant == 2 ? p == lanes : !p || p == lanes;
    w.set_predicate(i.out[0], lanes, yes ? ~0u : 0);
}

void match_any(Warp &w, const Instruction &i, u32 lanes)
{
    u32 result[32];
    for_lanes(lanes, [&](int lane) {
        result[lane] = 0;
        for_lanes(lanes, [&](int other) {
            const bool same = w.get(i.in[0], i.width, lane) == w.get(i.in[0], i.width, other);
            result[lane] |= (u32)same << other;
        });
    });
    write_lanes(w.lanes_of<u32>(i.out[0]), lanes, [&](int lane) { return result[lane]; });
}

void match_all(Warp &w, const Instruction &i, u32 lanes)
{
    bool same = true;
    const u64 first = w.get(i.in[0], i.width, __builtin_ctz(lanes));
    for_lanes(lanes, [&](int lane) { same &= w.get(i.in[0], i.width, lane) == first; });
    write_lanes(w.lanes_of<u32>(i.out[0]), lanes, [=](int) { return same ? lanes : 0u; });
    if (i.outs > 1)
        w.set_predicate(i.out[1], lanes, same ? ~0u : 0);
}

// Orders the memory accesses of the warp, if all its living lanes take part.
void sync_warp(Warp &w, const Instruction &, u32 lanes)
{
    if (lanes == w.live)
        w.block->launch.order.warp_barrier(w.id);
}

template <class T, class F> static void reduce(Warp &w, const Instruction &i, u32 lanes, F f)
{
    const T *a = w.lanes_of<T>(i.in[0]);
    T all = a[__builtin_ctz(lanes)];
    for_lanes(lanes & (lanes - 1), [&](int lane) { all = f(all, a[lane]); });
    write_lanes(w.lanes_of<T>(i.out[0]), lanes, [=](int) { return all; });
}
template <class T> static void redux(Warp &w, const Instruction &i, u32 lanes)
{
    switch ((Atomic)i.variant) {
    case Atomic::add:
        return reduce<T>(w, i, lanes, [](T x, T y) { return (T)((u32)x + (u32)y); });
    case Atomic::min:
        return reduce<T>(w, i, lanes, [](T x, T y) { return std::min(x, y); });
    case Atomic::max:
        return reduce<T>(w, i, lanes, [](T x, T y) { return std::max(x, y); });
    case Atomic::bit_and:
        return reduce<T>(w, i, lanes, [](T x, T y) { return x & y; });
    case Atomic::bit_or:
        return reduce<T>(w, i, lanes, [](T x, T y) { return x | y; });
    default:
        return reduce<T>(w, i, lanes, [](T x, T y) { return x ^ y; });
    }
}
Body redux_body(Atomic, const std::string &type)
{
    return type == "s32" ? redux<s32> : type == "u32" || type == "b32" ? redux<u32> : nullptr;
}

} // namespace ptxvm
