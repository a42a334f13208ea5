// What the assembler makes of PTX: instructions as {function, register offsets}, kernels, modules.
#pragma once
#include "numeric.h"
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace ptxvm
{

struct Warp;
struct Instruction;

// Executes one instruction for the given lanes of a warp.
using Body = void (*)(Warp &, const Instruction &, u32 lanes);

enum class Flow : u8 { next, branch, exit, barrier, collective };
enum class Space : u8 { generic, global, shared, local, param };

// Where the state spaces lie in the generic address space: no host address looks like this.
constexpr u64 shared_window = 0xf0ull << 48, shared_window_size = 1 << 24;
constexpr u64 local_window = 0xf1ull << 48, local_window_size = 1ull << 40;
constexpr u64 param_window = 0xf2ull << 48, param_window_size = 1 << 24;

// A register is an array of 32 lanes (of a predicate: a mask) in the warp's frame; operands are the
// offsets of registers. What the fields `variant`, `immediate`... mean is up to the body.
struct Instruction {
    Body body = nullptr;
    s64 immediate = 0;    // a constant operand, or the displacement of an address
    int out[8], in[12];   // -1 in out: the result is not wanted
    int guard = -1;       // predicate
    int target = -1;      // of a branch
    int members = -1;     // register with the lanes of a collective; -1: the whole warp
    int displacement = 0; // of a second address
    u32 source = 0;       // index in Kernel::sources
    u8 outs = 0, ins = 0;
    Flow flow = Flow::next;
    Space space = Space::generic;
    bool guard_negated = false;
    u8 width = 4;          // of one element in memory, bytes
    u8 register_width = 4; // of a data register
    u8 address_width = 8;  // of an address register
    u8 variant = 0, option = 0;
    u8 count = 1; // elements of a vector
};

// Where an instruction stands: in the .cu file if the PTX says so.
struct Source {
    std::string text;
    int ptx_line = 0, file = 0, line = 0;
    int caller_file = 0, caller_line = 0; // of inlined code: where it was inlined
};

struct Constant {
    int offset, width;
    u64 value;
};
struct Parameter {
    int offset, size;
};

// A special register: its lanes are filled in when a block starts (clocks: when they are read).
enum class Special : u8 {
    tid_x,
    tid_y,
    tid_z,
    ntid_x,
    ntid_y,
    ntid_z,
    ctaid_x,
    ctaid_y,
    ctaid_z,
    nctaid_x,
    nctaid_y,
    nctaid_z,
    laneid,
    warpid,
    nwarpid,
    smid,
    nsmid,
    gridid,
    lanemask_eq,
    lanemask_lt,
    lanemask_le,
    lanemask_gt,
    lanemask_ge,
    clock,
    clock_hi,
    clock64,
    globaltimer,
    dynamic_smem_size,
    total_smem_size
};

inline bool is_wide(Special s) // 64 bits
{
    return s == Special::clock64 || s == Special::globaltimer || s == Special::gridid;
}

struct Kernel {
    std::string name;
    std::vector<Instruction> code;
    std::vector<Source> sources;
    std::vector<Constant> constants;
    std::vector<Parameter> parameters;
    std::map<Special, int> specials; // register offset
    int frame = 0;                   // bytes of registers of a warp
    int shared = 0;                  // bytes of static shared memory
    int dynamic_shared_start = 0;
    int local = 0; // bytes of local memory of a thread
    int parameter_bytes = 0;
    unsigned max_threads = 1024;
    std::string broken; // the first thing that the assembler could not handle
    const std::map<int, std::string> *files = nullptr; // of its module
};

struct Variable { // of a module: .global or .const
    u64 address;
    u64 size;
};

class Memory;
struct Module {
    std::map<std::string, std::unique_ptr<Kernel>> kernels;
    std::map<int, std::string> files;
    std::map<std::string, Variable> variables;
    Memory *memory = nullptr; // holds the variables
    ~Module();
};

} // namespace ptxvm
