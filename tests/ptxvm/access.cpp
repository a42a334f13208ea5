// Loads, stores and atomics; every access is translated and checked here.
#include "access.h"
#include "lanes.h"

namespace ptxvm
{

void Warp::addresses(int offset, int width, s64 displacement, u64 *out)
{
    if (width == 8) {
        const u64 *a = lanes_of<u64>(offset);
        for (int lane = 0; lane < 32; lane++)
            out[lane] = a[lane] + (u64)displacement;
    } else {
        const u32 *a = lanes_of<u32>(offset);
        for (int lane = 0; lane < 32; lane++)
            out[lane] = a[lane] + (u64)displacement;
    }
}

// ---- translation and checks ----

void Block::report_hazard(Warp &w, int lane, u64 address, const Hazard &hazard, Access access,
                          bool in_shared)
{
    const bool writes = access != Access::read;
    const char *kind = "";
    switch (hazard.kind) {
    case Hazard::none:
        return;
    case Hazard::uninitialised:
        kind = "uninitialised read";
        break;
    case Hazard::in_flight:
        kind = writes ? "write to an asynchronous copy in flight"
                      : "read of an asynchronous copy in flight";
        break;
    case Hazard::after_write:
        kind = writes ? "race: write after write" : "race: read after write";
        break;
    case Hazard::after_read:
        kind = "race: write after read";
        break;
    }
    const bool race = hazard.kind == Hazard::after_write || hazard.kind == Hazard::after_read;
    w.report(lane, kind, [&] {
        const u64 at = address + hazard.byte;
        return (in_shared ? "shared address " + hexadecimal(at) : launch.memory.describe(at)) +
               (race ? ", conflicts with " + launch.name_of(hazard.other) : "");
    });
}

static Space resolve(Space space, u64 *address)
{
    if (space != Space::generic)
        return space;
    if (*address - shared_window < shared_window_size) {
        *address -= shared_window;
        return Space::shared;
    }
    if (*address - local_window < local_window_size) {
        *address -= local_window;
        return Space::local;
    }
    if (*address - param_window < param_window_size) {
        *address -= param_window;
        return Space::param;
    }
    return Space::global;
}

// Of memory that has no shadow: parameters, and what only one thread can see.
static char *reach_plain(Warp &w, int lane, u64 address, int size, Space space)
{
    Block &b = *w.block;
    const bool local = space == Space::local;
    const size_t limit = local ? (size_t)b.launch.kernel.local : b.launch.parameters.size();
    if (address + (u64)size > limit || address > limit) {
        w.report(
            lane, local ? "out-of-bounds local access" : "out-of-bounds parameter access",
            [=] { return "address " + hexadecimal(address) + " of " + std::to_string(limit); });
        return nullptr;
    }
    return local ? b.local.data() + (size_t)(w.id * 32 + lane) * limit + address
                 : b.launch.parameters.data() + address;
}

static char *reach_shared(Warp &w, int lane, u64 address, int size, Access access)
{
    Block &b = *w.block;
    if (address >= b.shared.size() || address + (u64)size > b.shared.size()) {
        w.report(
            lane,
            access == Access::read ? "out-of-bounds shared read" : "out-of-bounds shared write",
            [&] {
                return "address " + hexadecimal(address) + " of " + hexadecimal(b.shared.size());
            });
        return nullptr;
    }
    if (b.launch.options.check) {
        const Hazard hazard = b.shared_shadow.touch(b.launch.order, address, size, access,
                                                    b.stamp(w, lane, access == Access::atomic));
        if (hazard.kind != Hazard::none)
            b.report_hazard(w, lane, address, hazard, access, true);
    }
    return b.shared.data() + address;
}

static char *reach_global(Warp &w, int lane, u64 address, int size, Access access, Allocation *a)
{
    Block &b = *w.block;
    const u64 offset = a ? address - a->start : 0;
    if (!a || offset + (u64)size > a->size) {
        w.report(lane,
                 access == Access::read ? "out-of-bounds global read"
                                        : "out-of-bounds global write",
                 [&] { return b.launch.memory.describe(address); });
        return nullptr;
    }
    if (b.launch.options.check) {
        const Hazard hazard = a->shadow.touch(b.launch.order, offset, size, access,
                                              b.stamp(w, lane, access == Access::atomic));
        if (hazard.kind != Hazard::none)
            b.report_hazard(w, lane, address, hazard, access, false);
    }
    return (char *)address;
}

char *Block::reach_lane(Warp &w, int lane, u64 address, int size, Space space, Access access)
{
    u64 all[32];
    char *pointer[32];
    all[lane] = address;
    reach(w, all, 1u << lane, size, space, access, pointer);
    return pointer[lane];
}

void Block::reach(Warp &w, const u64 *address, u32 lanes, int size, Space space, Access access,
                  char **pointer)
{
    Allocation *near = nullptr; // most lanes stay in one allocation
    for (; lanes; lanes &= lanes - 1) {
        const int lane = __builtin_ctz(lanes);
        u64 a = address[lane];
        pointer[lane] = nullptr;
        const Space where = resolve(space, &a);
        if (a % (u64)size) {
            w.report(lane, "misaligned access", [&] {
                return std::to_string(size) + " bytes at " +
                       (where == Space::global ? launch.memory.describe(a) : hexadecimal(a));
            });
        } else if (where == Space::global) {
            if (!near || a - near->start >= near->size)
                near = launch.memory.find(a);
            pointer[lane] = reach_global(w, lane, a, size, access, near);
        } else if (where == Space::shared) {
            pointer[lane] = reach_shared(w, lane, a, size, access);
        } else {
            pointer[lane] = reach_plain(w, lane, a, size, where);
        }
    }
}

void Block::count_traffic(const u64 *address, u32 lanes, int size, Space space)
{
    u64 first = address[__builtin_ctz(lanes)];
    switch (resolve(space, &first)) {
    case Space::shared:
        launch.counters.count_shared(address, lanes, size);
        break;
    case Space::local:
        launch.counters.local_accesses++;
        break;
    case Space::param:
        break;
    default:
        launch.counters.count_global(address, lanes, size);
    }
}

// ---- ld, st ----

static u64 sign_extended(u64 value, int width)
{
    return width == 1   ? (u64)(s64)(s8)value
           : width == 2 ? (u64)(s64)(s16)value
           : width == 4 ? (u64)(s64)(s32)value
                        : value;
}

// The usual loads, whose elements fill registers of their own size.
template <class T>
static void copy_in(Warp &w, const Instruction &i, u32 lanes, char *const *pointer)
{
    for (int n = 0; n < i.count; n++) {
        if (i.out[n] < 0)
            continue;
        T *out = w.lanes_of<T>(i.out[n]);
        for_lanes(lanes, [=](int lane) {
            if (pointer[lane])
                memcpy(out + lane, pointer[lane] + n * (int)sizeof(T), sizeof(T));
            else
                memset(out + lane, 0xff, sizeof(T));
        });
    }
}

// in: address. out: count elements. option: sign extension.
void load(Warp &w, const Instruction &i, u32 lanes)
{
    const int size = i.width * i.count;
    u64 address[32];
    char *pointer[32];
    w.addresses(i.in[0], i.address_width, i.immediate, address);
    if (i.space != Space::param)
        w.block->count_traffic(address, lanes, size, i.space);
    w.block->reach(w, address, lanes, size, i.space, Access::read, pointer);
    if (i.width == 4 && i.register_width == 4)
        return copy_in<u32>(w, i, lanes, pointer);
    if (i.width == 8 && i.register_width == 8)
        return copy_in<u64>(w, i, lanes, pointer);
    for_lanes(lanes, [&](int lane) {
        for (int n = 0; n < i.count; n++) {
            if (i.out[n] < 0)
                continue;
            u64 value = pointer[lane] ? 0 : ~0ull;
            if (pointer[lane])
                memcpy(&value, pointer[lane] + n * i.width, i.width);
            w.put(i.out[n], i.register_width, lane,
                  i.option ? sign_extended(value, i.width) : value);
        }
    });
}

// in: address, then count elements.
void store(Warp &w, const Instruction &i, u32 lanes)
{
    const int size = i.width * i.count;
    u64 address[32];
    char *pointer[32];
    w.addresses(i.in[0], i.address_width, i.immediate, address);
    w.block->count_traffic(address, lanes, size, i.space);
    w.block->reach(w, address, lanes, size, i.space, Access::write, pointer);
    for_lanes(lanes, [&](int lane) {
        if (!pointer[lane])
            return;
        for (int n = 0; n < i.count; n++) {
            const u64 value = w.get(i.in[1 + n], i.register_width, lane);
            memcpy(pointer[lane] + n * i.width, &value, i.width);
        }
    });
}

// ---- atom, red ----

template <class T> static T combine(Atomic operation, T old, T b, T c)
{
    switch (operation) {
    case Atomic::add:
        return (T)(old + b);
    case Atomic::min:
        return ptx_min(old, b);
    case Atomic::max:
        return ptx_max(old, b);
    case Atomic::exchange:
        return b;
    case Atomic::compare:
        return old == b ? c : old;
    case Atomic::increment:
        return old >= b ? (T)0 : (T)(old + 1);
    case Atomic::decrement:
        return old == (T)0 || old > b ? b : (T)(old - 1);
    default:
        break;
    }
    if constexpr (std::is_integral<T>::value) {
        if (operation == Atomic::bit_and)
            return old & b;
        if (operation == Atomic::bit_or)
            return old | b;
        if (operation == Atomic::bit_xor)
            return old ^ b;
    }
    return old;
}
template <u16 (*pack)(float), float (*unpack)(u16)> static u32 add_packed(u32 old, u32 b)
{
    const u16 low = pack(unpack((u16)old) + unpack((u16)b));
    const u16 high = pack(unpack((u16)(old >> 16)) + unpack((u16)(b >> 16)));
    return (u32)high << 16 | low;
}

// Lanes of one atomic happen in any order.
static void shuffled_lanes(Warp &w, u32 lanes, std::vector<int> &order)
{
    for_lanes(lanes, [&](int lane) { order.push_back(lane); });
    std::shuffle(order.begin(), order.end(), w.block->launch.random);
}

// in: address, operands. out: the old value, if wanted. variant: Atomic.
template <class T, class Combine>
static void each_atomic(Warp &w, const Instruction &i, u32 lanes, Combine f)
{
    u64 address[32];
    char *pointer[32];
    std::vector<int> order;
    w.addresses(i.in[0], i.address_width, i.immediate, address);
    w.block->count_traffic(address, lanes, (int)sizeof(T) * i.count, i.space);
    w.block->reach(w, address, lanes, (int)sizeof(T) * i.count, i.space, Access::atomic, pointer);
    shuffled_lanes(w, lanes, order);
    for (int lane : order) {
        if (!pointer[lane])
            continue;
        for (int n = 0; n < i.count; n++) {
            T old, b, c{};
            memcpy(&old, pointer[lane] + n * (int)sizeof(T), sizeof(T));
            b = w.lanes_of<T>(i.in[1 + n])[lane];
            if (i.ins > 1 + i.count)
                c = w.lanes_of<T>(i.in[2])[lane];
            const T result = f(old, b, c);
            memcpy(pointer[lane] + n * (int)sizeof(T), &result, sizeof(T));
            if (i.outs > n && i.out[n] >= 0)
                w.lanes_of<T>(i.out[n])[lane] = old;
        }
    }
}
template <class T> static void atomic(Warp &w, const Instruction &i, u32 lanes)
{
    const Atomic operation = (Atomic)i.variant;
    each_atomic<T>(w, i, lanes, [=](T old, T b, T c) { return combine(operation, old, b, c); });
}
static void atomic_bf16x2(Warp &w, const Instruction &i, u32 lanes)
{
    each_atomic<u32>(w, i, lanes, [](u32 old, u32 b, u32) {
        return add_packed<float_to_bf16, bf16_to_float>(old, b);
    });
}
static void atomic_f16x2(Warp &w, const Instruction &i, u32 lanes)
{
    each_atomic<u32>(w, i, lanes, [](u32 old, u32 b, u32) {
        return add_packed<float_to_half, half_to_float>(old, b);
    });
}
template <u16 (*pack)(float), float (*unpack)(u16)>
static void atomic_half(Warp &w, const Instruction &i, u32 lanes)
{
    each_atomic<u16>(w, i, lanes,
                     [](u16 old, u16 b, u16) { return pack(unpack(old) + unpack(b)); });
}

bool atomic_by_name(const std::string &name, Atomic *operation)
{
    static const std::map<std::string, Atomic> names = {
        {"add", Atomic::add},       {"min", Atomic::min},     {"max", Atomic::max},
        {"exch", Atomic::exchange}, {"cas", Atomic::compare}, {"and", Atomic::bit_and},
        {"or", Atomic::bit_or},     {"xor", Atomic::bit_xor}, {"inc", Atomic::increment},
        {"dec", Atomic::decrement}};
    const auto it = names.find(name);
    if (it == names.end())
        return false;
    *operation = it->second;
    return true;
}

Body atomic_body(Atomic operation, const std::string &type)
{
    const bool add = operation == Atomic::add;
    const bool real = type[0] == 'f' || type[0] == 'b';
    if (type == "bf16x2")
        return add ? atomic_bf16x2 : nullptr;
    if (type == "f16x2")
        return add ? atomic_f16x2 : nullptr;
    if (type == "bf16")
        return add ? atomic_half<float_to_bf16, bf16_to_float> : nullptr;
    if (type == "f16")
        return add ? atomic_half<float_to_half, half_to_float> : nullptr;
    if (real && type[0] == 'f' && !add)
        return nullptr;
    return by_number(type, [](auto t) -> Body { return atomic<typename decltype(t)::type>; });
}

} // namespace ptxvm
