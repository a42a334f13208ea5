// Scopes, statements and the parts of an instruction; operands and opcodes are in assembler_*.cpp.
#include "assembler.h"
#include "device.h"
#include "machine.h"
#include <cstdlib>

namespace ptxvm
{

int width_of(const std::string &type)
{
    static const std::map<std::string, int> widths = {
        {"pred", 1}, {"b8", 1},   {"u8", 1},     {"s8", 1},     {"b16", 2},  {"u16", 2},
        {"s16", 2},  {"f16", 2},  {"bf16", 2},   {"b32", 4},    {"u32", 4},  {"s32", 4},
        {"f32", 4},  {"tf32", 4}, {"f16x2", 4},  {"bf16x2", 4}, {"b64", 8},  {"u64", 8},
        {"s64", 8},  {"f64", 8},  {"e4m3x2", 2}, {"e5m2x2", 2}, {"b128", 16}};
    const auto it = widths.find(type);
    return it == widths.end() ? 0 : it->second;
}

static size_t rounded_up(size_t value, size_t unit)
{
    return (value + unit - 1) / unit * unit;
}

Declaration parse_declaration(const std::string &text)
{
    Declaration d;
    const size_t equal = text.find('=');
    const std::string head = trimmed(text.substr(0, equal));
    if (equal != std::string::npos)
        d.initial = trimmed(text.substr(equal + 1));
    d.space = contains(head, ".shared")  ? Space::shared
              : contains(head, ".local") ? Space::local
              : contains(head, ".param") ? Space::param
                                         : Space::global;
    const size_t bracket = head.find('['), before = head.find_last_of(" \t", bracket);
    d.name = trimmed(head.substr(before + 1, bracket == std::string::npos ? std::string::npos
                                                                          : bracket - before - 1));
    bool of_pointee = false; // ".ptr .align n" says something about what a pointer points at
    for (const std::string &word : split(head.substr(0, before), ' ')) {
        of_pointee |= word == ".ptr";
        if (const int bytes = word[0] == '.' ? width_of(word.substr(1)) : 0)
            d.element = (size_t)bytes;
    }
    if (before == std::string::npos || d.element == 0 || d.name.empty())
        throw Fault("a declaration that is not understood: " + text);
    d.size = d.element;
    d.dynamic = contains(head, ".extern");
    for (size_t at = bracket; at != std::string::npos; at = head.find('[', at + 1)) {
        const std::string count = trimmed(head.substr(at + 1, head.find(']', at) - at - 1));
        d.dynamic |= count.empty();
        d.size *= strtoull(count.c_str(), nullptr, 0);
    }
    d.alignment = of_pointee ? 1 : (size_t)number_after(head, ".align", 1);
    d.alignment = std::max(d.alignment, d.element);
    return d;
}

Assembler::Assembler(Kernel &k, const ModuleScope &m) : kernel(k), module(m)
{
    scopes.emplace_back();
}

void Assembler::fail(const std::string &what) const
{
    throw Fault("PTX line " + std::to_string(source.ptx_line) + ": " + what + " in `" +
                source.text + "`");
}

// ---- scopes ----

// Branches to labels of outer blocks wait for those to close.
void Assembler::close_scope()
{
    Scope closing = std::move(scopes.back());
    scopes.pop_back();
    for (const auto &branch : closing.branches) {
        const auto label = closing.labels.find(branch.second);
        if (label != closing.labels.end())
            kernel.code[branch.first].target = label->second;
        else if (!scopes.empty())
            scopes.back().branches.push_back(branch);
        else
            fail("no label " + branch.second);
    }
}

void Assembler::parameter(const Declaration &d)
{
    const size_t offset = rounded_up((size_t)kernel.parameter_bytes, d.alignment);
    scopes[0].symbols[d.name] = {Space::param, offset, false};
    kernel.parameters.push_back({(int)offset, (int)d.size});
    kernel.parameter_bytes = (int)(offset + d.size);
}

void Assembler::location(const std::string &text) // ".loc file line column, ... inlined_at ..."
{
    int file = 0, line = 0;
    if (sscanf(text.c_str(), ".loc %d %d", &file, &line) != 2 || line == 0)
        return;
    source.caller_file = source.caller_line = 0;
    if (const size_t inlined = text.find("inlined_at"); inlined != std::string::npos)
        sscanf(text.c_str() + inlined, "inlined_at %d %d", &source.caller_file,
               &source.caller_line);
    source.file = file;
    source.line = line;
}

void Assembler::declare_registers(const std::string &text) // ".reg .f32 %f<7>" or "%a, %b"
{
    const std::string rest = trimmed(text.substr(4));
    const size_t blank = rest.find(' ');
    const int width_here = width_of(rest.substr(1, blank - 1));
    if (rest[0] != '.' || blank == std::string::npos || width_here == 0 || width_here > 8)
        fail("registers of this type are not implemented");
    for (const std::string &name : split(rest.substr(blank))) {
        const size_t count = name.find('<');
        if (count != std::string::npos)
            scopes.back().families[name.substr(0, count)] = width_here;
        else
            scopes.back().registers[name] = {allocate(width_here), width_here};
    }
}

void Assembler::declare_variable(const Declaration &d)
{
    Symbol &symbol = scopes.back().symbols[d.name];
    if (d.space == Space::shared && d.dynamic) {
        symbol = {Space::shared, 0, true};
        dynamic_alignment = std::max(dynamic_alignment, d.alignment);
    } else if (d.space == Space::shared) {
        kernel.shared = (int)rounded_up((size_t)kernel.shared, d.alignment);
        symbol = {Space::shared, (u64)kernel.shared, false};
        kernel.shared += (int)d.size;
    } else { // .local; .param of a call is memory of the thread too
        kernel.local = (int)rounded_up((size_t)kernel.local, std::max(d.alignment, (size_t)8));
        symbol = {Space::local, (u64)kernel.local, false};
        kernel.local += (int)d.size;
    }
}

void Assembler::declare(const std::string &text)
{
    if (starts_with(text, ".reg"))
        declare_registers(text);
    else if (starts_with(text, ".shared") || starts_with(text, ".local") ||
             starts_with(text, ".param") || starts_with(text, ".extern"))
        declare_variable(parse_declaration(text));
    else if (!starts_with(text, ".pragma"))
        fail("unknown directive");
}

void Assembler::statement(const Statement &s)
{
    source.ptx_line = s.line;
    source.text = s.text;
    switch (s.kind) {
    case Statement::open:
        scopes.emplace_back();
        break;
    case Statement::close:
        close_scope();
        break;
    case Statement::label:
        scopes.back().labels[s.text] = (int)kernel.code.size();
        break;
    case Statement::location:
        location(s.text);
        break;
    case Statement::declaration:
        declare(s.text);
        break;
    case Statement::instruction:
        instruction(s.text);
    }
}

void Assembler::statements(const std::vector<Statement> &body)
{
    for (const Statement &s : body)
        statement(s);
}

void Assembler::finish()
{
    source.text = "(end of the kernel)";
    current = Instruction();
    understood.clear();
    emit_flow(Flow::exit, nullptr);
    close_scope();
    const size_t start = rounded_up((size_t)kernel.shared, dynamic_alignment);
    kernel.dynamic_shared_start = (int)start;
    for (const auto &c : dynamic_constants)
        kernel.constants[c.first].value += start;
}

// ---- the current instruction ----

void Assembler::instruction(const std::string &text)
{
    std::string rest = text;
    current = Instruction();
    if (rest[0] == '@') {
        const size_t blank = rest.find_first_of(" \t");
        current.guard = predicate_input(rest.substr(1, blank - 1), &current.guard_negated);
        rest = trimmed(rest.substr(blank));
    }
    const size_t end = rest.find_first_of(" \t{(");
    opcode = rest.substr(0, end);
    operands =
        end == std::string::npos ? std::vector<std::string>() : split(trimmed(rest.substr(end)));
    modifiers = split(opcode, '.');
    base = modifiers[0];
    modifiers.erase(modifiers.begin());
    understood.assign(modifiers.size(), false);
    type = modifiers.empty() ? "" : modifiers.back();
    width = width_of(type);
    if (width)
        understood.back() = true;
    const auto handler = handlers().find(base);
    if (handler == handlers().end())
        fail(base + " is not implemented");
    (this->*handler->second)();
}

bool Assembler::take(const char *modifier)
{
    bool found = false;
    for (size_t n = 0; n < modifiers.size(); n++)
        if (modifiers[n] == modifier)
            found = understood[n] = true;
    return found;
}
bool Assembler::take_any(std::initializer_list<const char *> names)
{
    bool found = false;
    for (const char *name : names)
        found |= take(name);
    return found;
}
void Assembler::ignore(std::initializer_list<const char *> names)
{
    take_any(names);
}

void Assembler::need_operands(size_t least, size_t most)
{
    if (operands.size() < least || operands.size() > most)
        fail("a wrong number of operands");
}
void Assembler::out(size_t operand)
{
    current.out[current.outs++] = output(operands.at(operand));
}
void Assembler::out_pair(size_t operand)
{
    for (const std::string &name : split(operands.at(operand), '|'))
        current.out[current.outs++] = output(name);
}
void Assembler::in(size_t operand, int w)
{
    current.in[current.ins++] = input(operands.at(operand), w);
}
void Assembler::ins(size_t first, size_t last, int w)
{
    for (size_t n = first; n <= last; n++)
        in(n, w);
}

void Assembler::emit_flow(Flow flow, Body body)
{
    for (size_t n = 0; n < understood.size(); n++)
        if (!understood[n])
            fail("." + modifiers[n] + " is not implemented");
    current.flow = flow;
    current.body = body;
    current.source = (u32)kernel.sources.size();
    kernel.sources.push_back(source);
    kernel.code.push_back(current);
}
void Assembler::emit(Body body)
{
    if (!body)
        fail(opcode + " is not implemented");
    emit_flow(Flow::next, body);
}
void Assembler::collective(const std::string &members, Body body)
{
    if (!body)
        fail(opcode + " is not implemented");
    if (!members.empty())
        current.members = input(members, 4);
    emit_flow(Flow::collective, body);
}

bool Assembler::is_real() const
{
    return type == "f32" || type == "f64";
}
bool Assembler::is_half() const
{
    return type == "f16" || type == "bf16" || type == "f16x2" || type == "bf16x2";
}

const std::map<std::string, Assembler::Handler> &Assembler::handlers()
{
    using A = Assembler;
    static const std::map<std::string, Handler> table = {{"bra", &A::op_bra},
                                                         {"ret", &A::op_exit},
                                                         {"exit", &A::op_exit},
                                                         {"trap", &A::op_trap},
                                                         {"brkpt", &A::op_trap},
                                                         {"call", &A::op_call},
                                                         {"bar", &A::op_bar},
                                                         {"barrier", &A::op_bar},
                                                         {"membar", &A::op_nothing},
                                                         {"fence", &A::op_nothing},
                                                         {"nanosleep", &A::op_nothing},
                                                         {"prefetch", &A::op_prefetch},
                                                         {"prefetchu", &A::op_prefetch},
                                                         {"discard", &A::op_prefetch},
                                                         {"applypriority", &A::op_prefetch},
                                                         {"griddepcontrol", &A::op_nothing},
                                                         {"shfl", &A::op_shfl},
                                                         {"vote", &A::op_vote},
                                                         {"redux", &A::op_redux},
                                                         {"match", &A::op_match},
                                                         {"activemask", &A::op_activemask},
                                                         {"mma", &A::op_mma},
                                                         {"ldmatrix", &A::op_ldmatrix},
                                                         {"stmatrix", &A::op_stmatrix},
                                                         {"ld", &A::op_ld},
                                                         {"ldu", &A::op_ld},
                                                         {"st", &A::op_st},
                                                         {"atom", &A::op_atom},
                                                         {"red", &A::op_atom},
                                                         {"cp", &A::op_cp},
                                                         {"cvta", &A::op_cvta},
                                                         {"isspacep", &A::op_isspacep},
                                                         {"createpolicy", &A::op_createpolicy},
                                                         {"mov", &A::op_mov},
                                                         {"setp", &A::op_setp},
                                                         {"set", &A::op_set},
                                                         {"selp", &A::op_selp},
                                                         {"slct", &A::op_slct},
                                                         {"testp", &A::op_testp},
                                                         {"add", &A::op_add},
                                                         {"sub", &A::op_sub},
                                                         {"mul", &A::op_mul},
                                                         {"mad", &A::op_mad},
                                                         {"addc", &A::op_carry},
                                                         {"subc", &A::op_carry},
                                                         {"madc", &A::op_carry},
                                                         {"div", &A::op_div},
                                                         {"rem", &A::op_rem},
                                                         {"min", &A::op_min},
                                                         {"max", &A::op_max},
                                                         {"neg", &A::op_neg},
                                                         {"abs", &A::op_abs},
                                                         {"sad", &A::op_sad},
                                                         {"mul24", &A::op_mul24},
                                                         {"mad24", &A::op_mul24},
                                                         {"and", &A::op_logic},
                                                         {"or", &A::op_logic},
                                                         {"xor", &A::op_logic},
                                                         {"not", &A::op_logic},
                                                         {"cnot", &A::op_logic},
                                                         {"shl", &A::op_shl},
                                                         {"shr", &A::op_shr},
                                                         {"shf", &A::op_shf},
                                                         {"lop3", &A::op_lop3},
                                                         {"prmt", &A::op_prmt},
                                                         {"bfe", &A::op_bfe},
                                                         {"bfi", &A::op_bfi},
                                                         {"bfind", &A::op_bfind},
                                                         {"popc", &A::op_bits},
                                                         {"clz", &A::op_bits},
                                                         {"brev", &A::op_bits},
                                                         {"dp4a", &A::op_dp4a},
                                                         {"bmsk", &A::op_bmsk},
                                                         {"fma", &A::op_fma},
                                                         {"copysign", &A::op_copysign},
                                                         {"rcp", &A::op_root},
                                                         {"sqrt", &A::op_root},
                                                         {"rsqrt", &A::op_root},
                                                         {"sin", &A::op_transcendental},
                                                         {"cos", &A::op_transcendental},
                                                         {"lg2", &A::op_transcendental},
                                                         {"ex2", &A::op_transcendental},
                                                         {"tanh", &A::op_transcendental},
                                                         {"cvt", &A::op_cvt}};
    return table;
}

} // namespace ptxvm
