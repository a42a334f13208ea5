// Operands: registers, constants, special registers, symbols, addresses.
#include "assembler.h"
#include <cstdlib>

namespace ptxvm
{

// ---- operands ----

int Assembler::allocate(int w)
{
    const int offset = kernel.frame;
    kernel.frame += w == 1 ? 64 : w * 32; // a predicate is one mask; lines of 64 bytes
    return offset;
}

bool Assembler::find_register(const std::string &name, Register *found)
{
    for (size_t n = scopes.size(); n--;) {
        Scope &scope = scopes[n];
        const auto it = scope.registers.find(name);
        if (it != scope.registers.end()) {
            *found = it->second;
            return true;
        }
        size_t digits = name.size();
        while (digits && isdigit((unsigned char)name[digits - 1]))
            digits--;
        const auto family = scope.families.find(name.substr(0, digits));
        if (digits < name.size() && family != scope.families.end()) {
            *found = scope.registers[name] = {allocate(family->second), family->second};
            return true;
        }
    }
    return false;
}

bool Assembler::find_symbol(const std::string &name, Symbol *found)
{
    for (size_t n = scopes.size(); n--;) {
        const auto it = scopes[n].symbols.find(name);
        if (it != scopes[n].symbols.end()) {
            *found = it->second;
            return true;
        }
    }
    const auto variable = module.module->variables.find(name);
    if (variable != module.module->variables.end()) {
        *found = {Space::global, variable->second.address, false};
        return true;
    }
    const auto shared = module.shared.find(name);
    if (shared == module.shared.end())
        return false;
    // A shared variable of the module becomes one of the first kernel scope that uses it.
    std::swap(scopes.front(), scopes.back());
    declare_variable(shared->second);
    std::swap(scopes.front(), scopes.back());
    *found = scopes.front().symbols[name];
    return true;
}

int Assembler::constant(u64 value, int w)
{
    const auto key = std::make_pair(value, w);
    const auto it = constants.find(key);
    if (it != constants.end())
        return it->second;
    const int offset = allocate(w);
    kernel.constants.push_back({offset, w, value});
    return constants[key] = offset;
}

static bool parse_number(const std::string &text, int width, u64 *value)
{
    const char *s = text.c_str();
    const bool negative = s[0] == '-';
    if (!isdigit((unsigned char)s[negative]))
        return false;
    const char kind = text.size() > 2 && s[0] == '0' ? (char)tolower(s[1]) : ' ';
    if (kind == 'f' || kind == 'd') { // the bits of an f32 or of an f64
        *value = strtoull(s + 2, nullptr, 16);
        if (kind == 'd' && width == 4) // as an operand of f32
            *value = float_bits((float)bit_cast<double>(*value));
    } else if (contains(text, ".")) {
        const double d = strtod(s, nullptr);
        *value = width == 8 ? bit_cast<u64>(d) : float_bits((float)d);
    } else {
        *value = negative ? (u64)strtoll(s, nullptr, 0) : strtoull(s, nullptr, 0);
    }
    return true;
}

int Assembler::special(const std::string &name, int w)
{
    static const std::map<std::string, Special> names = {
        {"%tid.x", Special::tid_x},
        {"%tid.y", Special::tid_y},
        {"%tid.z", Special::tid_z},
        {"%ntid.x", Special::ntid_x},
        {"%ntid.y", Special::ntid_y},
        {"%ntid.z", Special::ntid_z},
        {"%ctaid.x", Special::ctaid_x},
        {"%ctaid.y", Special::ctaid_y},
        {"%ctaid.z", Special::ctaid_z},
        {"%nctaid.x", Special::nctaid_x},
        {"%nctaid.y", Special::nctaid_y},
        {"%nctaid.z", Special::nctaid_z},
        {"%laneid", Special::laneid},
        {"%warpid", Special::warpid},
        {"%nwarpid", Special::nwarpid},
        {"%smid", Special::smid},
        {"%nsmid", Special::nsmid},
        {"%gridid", Special::gridid},
        {"%lanemask_eq", Special::lanemask_eq},
        {"%lanemask_lt", Special::lanemask_lt},
        {"%lanemask_le", Special::lanemask_le},
        {"%lanemask_gt", Special::lanemask_gt},
        {"%lanemask_ge", Special::lanemask_ge},
        {"%clock", Special::clock},
        {"%clock_hi", Special::clock_hi},
        {"%clock64", Special::clock64},
        {"%globaltimer", Special::globaltimer},
        {"%dynamic_smem_size", Special::dynamic_smem_size},
        {"%total_smem_size", Special::total_smem_size}};
    const auto it = names.find(name);
    if (it == names.end())
        fail("unknown register " + name);
    if (w != (is_wide(it->second) ? 8 : 4))
        fail(name + " as an operand of " + std::to_string(8 * w) + " bits is not implemented");
    const auto known = kernel.specials.find(it->second);
    if (known != kernel.specials.end())
        return known->second;
    return kernel.specials[it->second] = allocate(8);
}

int Assembler::register_width(const std::string &operand)
{
    Register r;
    return find_register(operand, &r) ? r.width : 0;
}

int Assembler::input(const std::string &operand, int w)
{
    Register r;
    Symbol symbol;
    u64 value;
    if (find_register(operand, &r)) {
        if (r.width != w)
            fail("register " + operand + " is not of " + std::to_string(8 * w) + " bits");
        return r.offset;
    }
    if (parse_number(operand, w, &value))
        return constant(w == 8 ? value : w == 4 ? (u32)value : (u16)value, w);
    if (operand == "WARP_SZ")
        return constant(32, w);
    if (operand[0] == '%')
        return special(operand, w);
    if (!find_symbol(operand, &symbol))
        fail("unknown operand " + operand);
    if (!symbol.dynamic)
        return constant(symbol.value, w);
    const int offset = allocate(w);
    dynamic_constants.push_back({kernel.constants.size(), symbol.space});
    kernel.constants.push_back({offset, w, symbol.value});
    return offset;
}

int Assembler::output(const std::string &operand)
{
    Register r;
    if (operand == "_")
        return -1;
    if (!find_register(operand, &r))
        fail("unknown register " + operand);
    return r.offset;
}

int Assembler::predicate_input(const std::string &operand, bool *negated)
{
    *negated = operand[0] == '!';
    const std::string name = operand.substr(*negated);
    if (isdigit((unsigned char)name[0]) || name[0] == '-') // a constant: 0, 1, -1
        return constant(name == "0" ? 0 : ~0u, 4);
    if (register_width(name) != 1)
        fail(name + " is not a predicate");
    return output(name);
}

// "[base+4]" or "[symbol+4]": the register with the base, and the displacement. Returns the space:
// that of the symbol where the symbol knows better.
Space Assembler::address(const std::string &operand, Space space, int *offset, u8 *w, s64 *at)
{
    if (operand.size() < 3 || operand[0] != '[')
        fail("not an address: " + operand);
    std::string name = trimmed(operand.substr(1, operand.rfind(']') - 1));
    const size_t sign = name.find_first_of("+-", 1);
    *at = 0;
    if (sign != std::string::npos) {
        std::string number = name.substr(sign + (name[sign] == '+'));
        number = trimmed(number);
        *at = strtoll(number.c_str(), nullptr, 0);
        name = trimmed(name.substr(0, sign));
    }
    Register r;
    Symbol symbol;
    if (find_register(name, &r)) {
        *offset = r.offset;
        *w = (u8)r.width;
        return space;
    }
    *w = 8;
    *offset = input(name, 8);
    if (find_symbol(name, &symbol) && (space == Space::param || space == Space::generic))
        return symbol.space;
    return space;
}

} // namespace ptxvm
