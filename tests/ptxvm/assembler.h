// Turns the statements of a kernel into instructions: registers and constants get places in the
// warp's frame, opcodes their bodies. An instruction that is not understood, down to its last
// modifier, makes the kernel unusable; it is never executed as something similar.
#pragma once
#include "program.h"
#include "text.h"
#include <map>
#include <string>
#include <vector>

namespace ptxvm
{

// ".shared .align 16 .b8 name[64]"
struct Declaration {
    std::string name, initial;
    Space space = Space::global;
    size_t alignment = 1, element = 0, size = 0;
    bool dynamic = false; // .extern or without a size
};
Declaration parse_declaration(const std::string &text);
// Bytes of a type by its name; 0: no type, 1 also for predicates.
int width_of(const std::string &type);

struct Function { // a .func: its calls are expanded in place
    std::vector<Declaration> results, parameters;
    std::vector<Statement> body;
};
// What the kernels of a module have in common.
struct ModuleScope {
    Module *module = nullptr;
    std::map<std::string, Function> functions;
    std::map<std::string, Declaration> shared;
};

class Assembler
{
  public:
    Assembler(Kernel &kernel, const ModuleScope &module);
    void parameter(const Declaration &declaration);
    void statements(const std::vector<Statement> &body);
    void finish();

  private:
    struct Register {
        int offset, width;
    };
    struct Symbol {
        Space space;
        u64 value;
        bool dynamic; // counts from the dynamic shared memory, whose start is not known yet
    };
    struct Scope {
        std::map<std::string, Register> registers;
        std::map<std::string, int> families; // "%r" of "%r<5>": width
        std::map<std::string, Symbol> symbols;
        std::map<std::string, int> labels;
        std::vector<std::pair<size_t, std::string>> branches; // instruction, label
    };

    [[noreturn]] void fail(const std::string &what) const;

    // ---- scopes (assembler.cpp) and operands (assembler_operands.cpp) ----
    void close_scope();
    void statement(const Statement &statement);
    void location(const std::string &text);
    void declare(const std::string &text);
    void declare_registers(const std::string &text);
    void declare_variable(const Declaration &declaration);
    int allocate(int width);
    bool find_register(const std::string &name, Register *found);
    bool find_symbol(const std::string &name, Symbol *found);
    int constant(u64 value, int width);
    int special(const std::string &name, int width);
    int register_width(const std::string &operand); // 0: no register
    int input(const std::string &operand, int width);
    int output(const std::string &operand); // -1 for "_"
    int predicate_input(const std::string &operand, bool *negated);
    Space address(const std::string &operand, Space space, int *offset, u8 *width, s64 *at);

    // ---- the current instruction ----
    void instruction(const std::string &text);
    bool take(const char *modifier); // is it there? (then it is understood)
    bool take_any(std::initializer_list<const char *> modifiers);
    void ignore(std::initializer_list<const char *> modifiers);
    void need_operands(size_t least, size_t most);
    void out(size_t operand);
    void out_pair(size_t operand); // "%p|%q"
    void in(size_t operand, int width);
    void ins(size_t first, size_t last, int width);
    void emit(Body body);
    void emit_flow(Flow flow, Body body);
    void collective(const std::string &members, Body body);
    bool is_real() const; // f32, f64
    bool is_half() const; // f16, bf16 and pairs

    // ---- opcodes ----
    using Handler = void (Assembler::*)();
    static const std::map<std::string, Handler> &handlers();
    // assembler_control.cpp
    void op_bra();
    void op_exit();
    void op_trap();
    void op_call();
    void op_bar();
    void op_nothing();
    void op_prefetch();
    void expand(const Function &function, const std::vector<std::string> &results,
                const std::vector<std::string> &arguments);
    void barrier_reduction();
    // assembler_warp.cpp
    void op_shfl();
    void op_vote();
    void op_redux();
    void op_match();
    void op_activemask();
    void op_mma();
    void op_ldmatrix();
    void op_stmatrix();
    // assembler_memory.cpp
    void op_ld();
    void op_st();
    void op_atom();
    void op_cp();
    void op_cvta();
    void op_isspacep();
    void op_createpolicy();
    Space take_space();
    void take_memory_modifiers(size_t *operand_count);
    int take_vector();
    // assembler_predicate.cpp
    void op_mov();
    void op_setp();
    void op_set();
    void op_selp();
    void op_slct();
    void op_testp();
    void predicate_logic();
    void comparison();
    // assembler_integer.cpp
    void op_add();
    void op_sub();
    void op_mul();
    void op_mad();
    void op_carry();
    void op_div();
    void op_rem();
    void op_min();
    void op_max();
    void op_neg();
    void op_abs();
    void op_sad();
    void op_mul24();
    // assembler_bits.cpp
    void op_logic();
    void op_shl();
    void op_shr();
    void op_shf();
    void op_lop3();
    void op_prmt();
    void op_bfe();
    void op_bfi();
    void op_bfind();
    void op_bits();
    void op_dp4a();
    void op_bmsk();
    // assembler_float.cpp: f32 and f64
    void float_two(const char *name);
    void float_minmax(bool largest);
    void float_sign(bool negate);
    void float_div();
    void op_fma();
    void op_copysign();
    void op_root();
    void op_transcendental();
    int take_rounding();
    // assembler_half.cpp
    void half_arithmetic();
    void half_function();
    // assembler_convert.cpp
    void op_cvt();
    void convert_pair(const std::string &to, const std::string &from);
    void convert_pack();

    Kernel &kernel;
    const ModuleScope &module;
    std::vector<Scope> scopes;
    std::vector<std::pair<size_t, Space>> dynamic_constants;
    size_t dynamic_alignment = 16;
    std::map<std::pair<u64, int>, int> constants;
    int depth = 0;            // of expanded calls
    std::string return_label; // of the function that is being expanded

    Source source;
    Instruction current;
    std::string opcode, base, type; // "add.f32", "add", "f32"
    int width = 0;                  // of type
    std::vector<std::string> modifiers, operands;
    std::vector<bool> understood;
};

} // namespace ptxvm
