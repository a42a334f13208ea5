// Branches, calls, barriers, and what has no effect here.
#include "access.h"
#include "assembler.h"
#include "device.h"
#include "lanes.h"

namespace ptxvm
{

static void nothing(Warp &, const Instruction &, u32)
{
}

static void trap(Warp &w, const Instruction &, u32 lanes)
{
    w.report(__builtin_ctz(lanes), "trap", [] { return ""; });
}

void Assembler::op_bra()
{
    ignore({"uni"});
    need_operands(1, 1);
    scopes.back().branches.push_back({kernel.code.size(), operands[0]});
    emit_flow(Flow::branch, nothing);
}

void Assembler::op_exit()
{
    ignore({"uni"});
    if (depth == 0 || base == "exit")
        return emit_flow(Flow::exit, nothing);
    scopes.back().branches.push_back({kernel.code.size(), return_label});
    emit_flow(Flow::branch, nothing);
}

void Assembler::op_trap()
{
    emit(trap);
}

// Memory is coherent at once, and the hazards between blocks that fences are for are reported
// whether fences are there or not.
void Assembler::op_nothing()
{
    understood.assign(understood.size(), true);
    emit(nothing);
}
void Assembler::op_prefetch()
{
    op_nothing();
}

// call.uni (results), function, (arguments). The body is expanded in place; parameters are names
// for the caller's .param variables.
void Assembler::op_call()
{
    ignore({"uni"});
    size_t at = 0;
    std::vector<std::string> results, arguments;
    const auto list = [this](size_t n) {
        return split(operands[n].substr(1, operands[n].rfind(')') - 1));
    };
    if (operands[at][0] == '(')
        results = list(at++);
    const std::string name = operands.at(at++);
    if (at < operands.size() && operands[at][0] == '(')
        arguments = list(at++);
    const auto function = module.functions.find(name);
    if (current.guard >= 0 || function == module.functions.end() || at != operands.size())
        fail("this kind of call is not implemented");
    expand(function->second, results, arguments);
}

void Assembler::expand(const Function &function, const std::vector<std::string> &results,
                       const std::vector<std::string> &arguments)
{
    if (depth >= 8)
        fail("calls nested too deeply");
    if (results.size() != function.results.size() || arguments.size() != function.parameters.size())
        fail("a call with a wrong number of parameters");
    Scope inner;
    const auto bind = [&](const std::vector<Declaration> &formal,
                          const std::vector<std::string> &actual) {
        for (size_t n = 0; n < formal.size(); n++) {
            Symbol symbol;
            if (!find_symbol(actual[n], &symbol))
                fail("a parameter that is no .param variable");
            inner.symbols[formal[n].name] = symbol;
        }
    };
    bind(function.results, results);
    bind(function.parameters, arguments);
    const std::string outer_label = return_label;
    const Source place = source;
    return_label = "(return " + std::to_string(kernel.code.size()) + ")";
    depth++;
    scopes.push_back(std::move(inner));
    for (const Statement &s : function.body) {
        if (s.kind != Statement::location) // the place is that of the call
            statement(s);
    }
    scopes.back().labels[return_label] = (int)kernel.code.size();
    close_scope();
    depth--;
    return_label = outer_label;
    source = place;
}

// bar.sync / bar.arrive / bar.red / bar.warp.sync, barrier{.cta}. See Block::arrive.
void Assembler::op_bar()
{
    if (take("warp")) {
        ignore({"sync"});
        need_operands(1, 1);
        return collective(operands[0], sync_warp);
    }
    ignore({"cta"});
    current.option = base == "bar" || take("aligned");
    if (take("red"))
        return barrier_reduction();
    current.variant = take("arrive");
    if (!current.variant && !take("sync"))
        fail("this barrier is not implemented");
    need_operands(current.variant ? 2 : 1, 2);
    ins(0, operands.size() - 1, 4);
    current.immediate = operands.size() > 1;
    emit_flow(Flow::barrier, nullptr);
}

// bar.red.popc.u32 d, a{, b}, {!}c; bar.red.and.pred p, a{, b}, {!}c
void Assembler::barrier_reduction()
{
    need_operands(3, 4);
    bool negated;
    const bool counted = operands.size() == 4;
    current.variant = take("popc") ? 2 : take("and") ? 3 : take("or") ? 4 : 0;
    if (!current.variant)
        fail("this reduction is not implemented");
    out(0);
    in(1, 4);
    if (counted)
        in(2, 4);
    current.in[2] = predicate_input(operands.back(), &negated);
    current.ins = 3;
    current.immediate = counted | negated << 1;
    emit_flow(Flow::barrier, nullptr);
}

} // namespace ptxvm
