// Warp collectives and tensor instructions.
#include "access.h"
#include "assembler.h"
#include "lanes.h"

namespace ptxvm
{

void Assembler::op_shfl()
{
    if (!take("sync"))
        fail("only shfl.sync is implemented");
    need_operands(5, 5);
    current.variant = take("up") ? 0 : take("down") ? 1 : take("bfly") ? 2 : 3;
    ignore({"idx"});
    out_pair(0);
    ins(1, 3, 4);
    collective(operands[4], shuffle);
}

void Assembler::op_vote()
{
    bool negated;
    if (!take("sync"))
        fail("only vote.sync is implemented");
    need_operands(3, 3);
    current.variant = take("ballot") ? 0 : take("any") ? 1 : take("all") ? 2 : 3;
    ignore({"uni"});
    out(0);
    current.in[current.ins++] = predicate_input(operands[1], &negated);
    current.option = negated;
    collective(operands[2], vote);
}

void Assembler::op_redux()
{
    Atomic operation = Atomic::exchange;
    take("sync");
    for (const std::string &m : modifiers)
        if (atomic_by_name(m, &operation))
            take(m.c_str());
    if (operation >= Atomic::exchange && operation <= Atomic::compare)
        fail("this reduction is not implemented");
    need_operands(3, 3);
    current.variant = (u8)operation;
    out(0);
    in(1, 4);
    collective(operands[2], redux_body(operation, type));
}

void Assembler::op_match()
{
    take("sync");
    const bool all = take("all");
    if (!all && !take("any"))
        fail("this match is not implemented");
    need_operands(3, 3);
    current.width = (u8)width;
    out_pair(0);
    in(1, width);
    collective(operands[2], all ? match_all : match_any);
}

void Assembler::op_activemask()
{
    need_operands(1, 1);
    out(0);
    emit([](Warp &w, const Instruction &i, u32 lanes) {
        write_lanes(w.lanes_of<u32>(i.out[0]), lanes, [=](int) { return lanes; });
    });
}

// mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {d}, {a}, {b}, {c}
void Assembler::op_mma()
{
    if (!take("sync") || !take("aligned") || !take("row") || !take("col") || modifiers.size() < 6)
        fail("this form is not implemented");
    need_operands(4, 4);
    std::string types;
    for (size_t n = modifiers.size() - 4; n < modifiers.size(); n++) {
        types += (types.empty() ? "" : ".") + modifiers[n];
        understood[n] = true;
    }
    std::string shape;
    for (const std::string &m : modifiers)
        if (m[0] == 'm' && take(m.c_str()))
            shape = m;
    const Body body = mma_body(shape, types);
    if (!body)
        fail("shape " + shape + " of " + types + " is not implemented");
    const bool tf32 = contains(types, "tf32");
    const size_t k = (size_t)number_after(shape, "k", 0), a = tf32 ? k / 2 : k / 4, b = a / 2;
    const size_t sizes[] = {4, a, b, 4};
    for (size_t n = 0; n < 4; n++) {
        const auto members = members_of(operands[n]);
        if (members.size() != sizes[n])
            fail("operand " + std::to_string(n) + " must have " + std::to_string(sizes[n]) +
                 " registers");
        for (const std::string &m : members) {
            if (n == 0)
                current.out[current.outs++] = output(m);
            else
                current.in[current.ins++] = input(m, 4);
        }
    }
    collective("", body);
}

// The matrices of ldmatrix and stmatrix: .x1, .x2, .x4
static int matrices(const std::string &opcode)
{
    return contains(opcode, ".x4") ? 4 : contains(opcode, ".x2") ? 2 : 1;
}

void Assembler::op_ldmatrix()
{
    const int count = matrices(opcode);
    if (!take("sync") || !take("aligned") || !take("m8n8"))
        fail("this form is not implemented");
    ignore({"x1", "x2", "x4"});
    current.space = take_space();
    current.option = take("trans");
    current.count = (u8)count;
    need_operands(2, 2);
    for (const std::string &m : members_of(operands[0]))
        current.out[current.outs++] = output(m);
    if (current.outs != count || type != "b16")
        fail("a wrong number of registers");
    current.space = address(operands[1], current.space, &current.in[0], &current.address_width,
                            &current.immediate);
    current.ins = 1;
    collective("", load_matrices);
}

void Assembler::op_stmatrix()
{
    const int count = matrices(opcode);
    if (!take("sync") || !take("aligned") || !take("m8n8"))
        fail("this form is not implemented");
    ignore({"x1", "x2", "x4"});
    current.space = take_space();
    current.option = take("trans");
    current.count = (u8)count;
    need_operands(2, 2);
    current.space = address(operands[0], current.space, &current.in[0], &current.address_width,
                            &current.immediate);
    current.ins = 1;
    for (const std::string &m : members_of(operands[1]))
        current.in[current.ins++] = input(m, 4);
    if (current.ins != count + 1 || type != "b16")
        fail("a wrong number of registers");
    collective("", store_matrices);
}

} // namespace ptxvm
