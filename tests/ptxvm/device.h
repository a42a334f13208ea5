// The test device: one GPU in software. It assembles PTX and executes it a warp-wide instruction at
// a time, with checks of every memory access (bounds, alignment, lifetime, initialisation, races,
// asynchronous copies in flight) and of every barrier and warp collective.
//
// The stand-in libraries are built on this interface. There is no global state: any number of
// devices live in one process. A device is used by one thread at a time.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>

namespace ptxvm
{

struct Dim {
    unsigned x = 1, y = 1, z = 1;
};

struct Options {
    bool check = true;          // shadow memory: initialisation, races, copies in flight
    bool stress = false;        // split warps stay split until an instruction makes them converge
    unsigned seed = 1;          // of the order of blocks, warps, lanes of an atomic
    size_t memory = 4ull << 30; // what the device says that it has, bytes
    std::string report;         // a file that gets the counters as JSON lines; "" for none

    // PTXVM_CHECK=full|bounds, PTXVM_STRESS=1, PTXVM_SEED=n, PTXVM_MEMORY=bytes,
    // PTXVM_REPORT=file. Throws Fault for a value that means nothing.
    static Options from_environment();
};

// Anything that the device finds wrong: what() is one readable line.
struct Fault : std::runtime_error {
    explicit Fault(const std::string &what) : std::runtime_error(what)
    {
    }
};

struct Kernel; // one .entry; lives as long as its module
struct Module; // one PTX text, assembled, with its global and constant variables

class Device
{
  public:
    explicit Device(const Options &options);
    ~Device(); // appends the counters to options.report
    Device(const Device &) = delete;
    Device &operator=(const Device &) = delete;

    const Options &options() const;

    // ---- memory: a device address is a host address in a reserved range ----
    // 0: not enough memory. At 256-byte boundaries; contents are undefined (and known to be).
    uint64_t allocate(size_t size);
    bool release(uint64_t address); // false: no allocation starts there
    size_t memory_free() const;     // of options.memory
    // The allocation that holds an address: false if there is none.
    bool find_allocation(uint64_t address, uint64_t *start, size_t *size) const;
    // The bytes behind an address, for copies and for library stand-ins. Throws Fault where they
    // are not inside one live allocation. With write they count as written from now on; without,
    // they must have been written (the Fault names the first that was not).
    char *bytes(uint64_t address, size_t size, bool write);

    // ---- modules ----
    // Throws Fault where the text is no PTX. An instruction that is not implemented makes its
    // kernel unusable and no other: launch() names it.
    std::shared_ptr<Module> load(const std::string &ptx);
    const Kernel *find(const Module &module, const std::string &name) const; // null: none
    // A .global or .const variable: false if there is none.
    bool find_variable(const Module &module, const std::string &name, uint64_t *address,
                       size_t *size) const;

    static const std::string &name(const Kernel &kernel);
    static size_t parameter_count(const Kernel &kernel);
    static size_t parameter_size(const Kernel &kernel, size_t index); // bytes
    static size_t shared_bytes(const Kernel &kernel);                 // static shared memory
    static size_t local_bytes(const Kernel &kernel);                  // of one thread
    static unsigned max_threads(const Kernel &kernel); // .maxntid or .reqntid; else 1024

    // ---- execution: returns when the last block has ended ----
    // parameters[i] points at parameter_size(i) bytes. Throws Fault if anything was found; all
    // findings of the launch (12 at most) are listed on stderr first.
    void launch(const Kernel &kernel, Dim grid, Dim block, size_t dynamic_shared,
                const void *const *parameters);

    // ---- counters: launches, instructions, mma, shared wavefronts and global sectors with their
    // ideals, a line per kernel ----
    void report(FILE *out) const;
    void report_json(FILE *out) const; // one object a line

  private:
    struct State;
    std::unique_ptr<State> state;
};

} // namespace ptxvm
