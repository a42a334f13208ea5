// Loads, stores, atomics, asynchronous copies, address spaces.
#include "access.h"
#include "assembler.h"
#include "lanes.h"

namespace ptxvm
{

Space Assembler::take_space()
{
    if (take_any({"param", "param::func", "param::entry"}))
        return Space::param;
    if (take_any({"shared", "shared::cta"}))
        return Space::shared;
    if (take("local"))
        return Space::local;
    if (take_any({"global", "const"}))
        return Space::global;
    return Space::generic;
}

// Order, scope and hints to the caches change nothing here. A cache policy is a last operand.
void Assembler::take_memory_modifiers(size_t *operand_count)
{
    ignore({"weak",
            "relaxed",
            "acquire",
            "release",
            "acq_rel",
            "volatile",
            "cta",
            "cluster",
            "gpu",
            "sys",
            "ca",
            "cg",
            "cs",
            "lu",
            "cv",
            "wb",
            "wt",
            "nc",
            "L1::evict_normal",
            "L1::evict_unchanged",
            "L1::evict_first",
            "L1::evict_last",
            "L1::no_allocate",
            "L2::evict_normal",
            "L2::evict_first",
            "L2::evict_last",
            "L2::64B",
            "L2::128B",
            "L2::256B"});
    if (take("L2::cache_hint") && *operand_count > 0)
        --*operand_count;
}

int Assembler::take_vector()
{
    return take("v2") ? 2 : take("v4") ? 4 : take("v8") ? 8 : 1;
}

void Assembler::op_ld()
{
    size_t count = operands.size();
    current.count = (u8)take_vector();
    current.space = take_space();
    take_memory_modifiers(&count);
    const auto members = members_of(operands.at(0));
    if (count != 2 || members.size() != current.count || width == 0 || width > 8)
        fail("these operands are not implemented");
    current.width = (u8)width;
    current.option = type[0] == 's';
    for (const std::string &m : members) {
        current.out[current.outs++] = output(m);
        if (const int w = register_width(m))
            current.register_width = (u8)w;
    }
    if (current.register_width < width)
        fail("a register too narrow");
    current.space = address(operands[1], current.space, &current.in[0], &current.address_width,
                            &current.immediate);
    current.ins = 1;
    emit(load);
}

void Assembler::op_st()
{
    size_t count = operands.size();
    current.count = (u8)take_vector();
    current.space = take_space();
    take_memory_modifiers(&count);
    if (count != 2 || width == 0 || width > 8)
        fail("these operands are not implemented");
    const auto members = members_of(operands[1]);
    current.width = (u8)width;
    current.space = address(operands[0], current.space, &current.in[0], &current.address_width,
                            &current.immediate);
    current.ins = 1;
    int registers = 0; // their width; constants take it over
    for (const std::string &m : members)
        registers = std::max(registers, register_width(m));
    registers = registers ? registers : std::max(width, 2);
    if (members.size() != current.count || registers < width)
        fail("these operands are not implemented");
    current.register_width = (u8)registers;
    for (const std::string &m : members)
        current.in[current.ins++] = input(m, registers);
    emit(store);
}

void Assembler::op_atom()
{
    size_t count = operands.size(), at = 0;
    Atomic operation{};
    bool found = false;
    for (const std::string &m : modifiers)
        found |= atomic_by_name(m, &operation) && take(m.c_str());
    if (!found)
        fail("this operation is not implemented");
    current.variant = (u8)operation;
    current.count = (u8)take_vector();
    current.space = take_space();
    take_memory_modifiers(&count);
    ignore({"noftz"});
    if (base == "atom")
        for (const std::string &m : members_of(operands.at(at++)))
            current.out[current.outs++] = output(m);
    current.space = address(operands.at(at++), current.space, &current.in[0],
                            &current.address_width, &current.immediate);
    current.ins = 1;
    const size_t values = operation == Atomic::compare ? 2 : 1;
    if (count != at + values || (current.count > 1 && values > 1))
        fail("these operands are not implemented");
    for (; at < count; at++)
        for (const std::string &m : members_of(operands[at]))
            current.in[current.ins++] = input(m, width);
    if (current.ins != 1 + values * current.count)
        fail("these operands are not implemented");
    emit(atomic_body(operation, type));
}

// cp.async.ca|cg.shared.global [to], [from], bytes{, read}; commit_group; wait_group n; wait_all
void Assembler::op_cp()
{
    size_t count = operands.size();
    s64 at;
    if (!take("async"))
        fail("only cp.async is implemented");
    if (take("commit_group"))
        return emit(copy_commit);
    if (take("wait_all"))
        return emit(copy_wait_all);
    if (take("wait_group")) {
        need_operands(1, 1);
        current.immediate = atoi(operands[0].c_str());
        return emit(copy_wait_group);
    }
    const bool global_cache = contains(opcode, ".cg");
    if (!take_any({"ca", "cg"}) || !take_any({"shared", "shared::cta"}) || !take("global"))
        fail("this copy is not implemented");
    take_memory_modifiers(&count);
    if (count < 3 || count > 4)
        fail("a wrong number of operands");
    address(operands[0], Space::shared, &current.in[0], &current.address_width, &at);
    current.displacement = (int)at;
    address(operands[1], Space::global, &current.in[1], &current.register_width,
            &current.immediate);
    current.ins = 2;
    current.width = (u8)atoi(operands[2].c_str());
    if (current.width != 16 && (global_cache || (current.width != 4 && current.width != 8)))
        fail("a copy of this size does not exist");
    if (count == 4 && register_width(operands[3]) == 1) {
        bool negated;
        current.in[current.ins++] = predicate_input(operands[3], &negated);
        current.variant = 2;
        if (negated)
            fail("a negated predicate is not implemented");
    } else if (count == 4) {
        in(3, 4);
        current.variant = 1;
    }
    emit(copy_issue);
}

// ---- address spaces ----

static u64 window_of(Space space)
{
    return space == Space::shared  ? shared_window
           : space == Space::local ? local_window
           : space == Space::param ? param_window
                                   : 0;
}
static void shift_address(Warp &w, const Instruction &i, u32 lanes)
{
    const u64 by = (u64)i.immediate;
    if (i.width == 4) {
        const u32 *a = w.lanes_of<u32>(i.in[0]);
        return write_lanes(w.lanes_of<u32>(i.out[0]), lanes, [=](int l) { return a[l] + by; });
    }
    const u64 *a = w.lanes_of<u64>(i.in[0]);
    write_lanes(w.lanes_of<u64>(i.out[0]), lanes, [=](int l) { return a[l] + by; });
}

void Assembler::op_cvta()
{
    const bool from_generic = take("to");
    const u64 window = window_of(take_space());
    need_operands(2, 2);
    if (width != 8 && window)
        fail("only 64-bit addresses are implemented");
    out(0);
    in(1, width);
    current.width = (u8)width;
    current.immediate = (s64)(from_generic ? 0 - window : window);
    emit(shift_address);
}

static void is_in_space(Warp &w, const Instruction &i, u32 lanes)
{
    const u64 *a = w.lanes_of<u64>(i.in[0]);
    u32 yes = 0;
    for_lanes(lanes, [&](int lane) {
        const u64 window = a[lane] >> 48 << 48;
        const bool global =
            window != shared_window && window != local_window && window != param_window;
        yes |= (u32)(i.immediate ? window == (u64)i.immediate : global) << lane;
    });
    w.set_predicate(i.out[0], lanes, yes);
}
void Assembler::op_isspacep()
{
    current.immediate = (s64)window_of(take_space());
    need_operands(2, 2);
    out(0);
    in(1, 8);
    emit(is_in_space);
}

// The policies only hint at caches.
void Assembler::op_createpolicy()
{
    understood.assign(understood.size(), true);
    out(0);
    emit([](Warp &w, const Instruction &i, u32 lanes) {
        write_lanes(w.lanes_of<u64>(i.out[0]), lanes, [](int) { return 0; });
    });
}

} // namespace ptxvm
