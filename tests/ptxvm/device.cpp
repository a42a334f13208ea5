#include "device.h"
#include "machine.h"
#include "module_parser.h"
#include <cstdlib>
#include <cstring>
#include <map>

namespace ptxvm
{

static unsigned long long number_from(const char *name, const char *text)
{
    char *end;
    const unsigned long long value = strtoull(text, &end, 0);
    if (end == text || *end)
        throw Fault(std::string(name) + "=" + text + ": not a number");
    return value;
}

Options Options::from_environment()
{
    Options o;
    if (const char *check = getenv("PTXVM_CHECK")) {
        o.check = strcmp(check, "bounds") != 0;
        if (o.check && strcmp(check, "full") != 0)
            throw Fault(std::string("PTXVM_CHECK=") + check + ": full or bounds");
    }
    if (const char *stress = getenv("PTXVM_STRESS"))
        o.stress = number_from("PTXVM_STRESS", stress) != 0;
    if (const char *seed = getenv("PTXVM_SEED"))
        o.seed = (unsigned)number_from("PTXVM_SEED", seed);
    if (const char *memory = getenv("PTXVM_MEMORY"))
        o.memory = number_from("PTXVM_MEMORY", memory);
    if (const char *report = getenv("PTXVM_REPORT"))
        o.report = report;
    return o;
}

struct Device::State {
    Options options;
    Memory memory;
    Order order;
    std::map<std::string, Counters> counters; // by kernel
    unsigned launches = 0;

    explicit State(const Options &o) : options(o), memory(o.memory, o.check)
    {
    }
};

Device::Device(const Options &options) : state(std::make_unique<State>(options))
{
}

Device::~Device()
{
    if (state->options.report.empty())
        return;
    if (FILE *out = fopen(state->options.report.c_str(), "a")) {
        report_json(out);
        fclose(out);
    } else {
        fprintf(stderr, "[test device] cannot write %s\n", state->options.report.c_str());
    }
}

const Options &Device::options() const
{
    return state->options;
}

uint64_t Device::allocate(size_t size)
{
    return state->memory.allocate(size);
}
bool Device::release(uint64_t address)
{
    return state->memory.release(address);
}
size_t Device::memory_free() const
{
    return state->memory.unused();
}
bool Device::find_allocation(uint64_t address, uint64_t *start, size_t *size) const
{
    const Allocation *a = state->memory.find(address);
    if (!a)
        return false;
    *start = a->start;
    *size = a->size;
    return true;
}
char *Device::bytes(uint64_t address, size_t size, bool write)
{
    return state->memory.bytes(address, size, write);
}

std::shared_ptr<Module> Device::load(const std::string &ptx)
{
    return parse_module(ptx, state->memory);
}
const Kernel *Device::find(const Module &module, const std::string &name) const
{
    const auto it = module.kernels.find(name);
    return it == module.kernels.end() ? nullptr : it->second.get();
}
bool Device::find_variable(const Module &module, const std::string &name, uint64_t *address,
                           size_t *size) const
{
    const auto it = module.variables.find(name);
    if (it == module.variables.end())
        return false;
    *address = it->second.address;
    *size = it->second.size;
    return true;
}

const std::string &Device::name(const Kernel &kernel)
{
    return kernel.name;
}
size_t Device::parameter_count(const Kernel &kernel)
{
    return kernel.parameters.size();
}
size_t Device::parameter_size(const Kernel &kernel, size_t index)
{
    return (size_t)kernel.parameters.at(index).size;
}
size_t Device::shared_bytes(const Kernel &kernel)
{
    return (size_t)kernel.shared;
}
size_t Device::local_bytes(const Kernel &kernel)
{
    return (size_t)kernel.local;
}
unsigned Device::max_threads(const Kernel &kernel)
{
    return kernel.max_threads;
}

void Device::launch(const Kernel &kernel, Dim grid, Dim block, size_t dynamic_shared,
                    const void *const *parameters)
{
    if (!kernel.broken.empty())
        throw Fault("kernel " + kernel.name + " cannot run here: " + kernel.broken);
    const uint64_t threads = (uint64_t)block.x * block.y * block.z;
    if (threads == 0 || threads > kernel.max_threads || !grid.x || !grid.y || !grid.z)
        throw Fault("kernel " + kernel.name + ": a launch of " + std::to_string(threads) +
                    " threads a block, 1 .. " + std::to_string(kernel.max_threads) +
                    " are possible");
    Launch launch{kernel,
                  state->options,
                  state->memory,
                  state->counters[kernel.name],
                  state->order,
                  grid,
                  block,
                  dynamic_shared,
                  state->launches++,
                  {},
                  {},
                  {},
                  {},
                  {}};
    launch.parameters.resize((size_t)kernel.parameter_bytes);
    for (size_t n = 0; n < kernel.parameters.size(); n++) {
        const Parameter &p = kernel.parameters[n];
        memcpy(launch.parameters.data() + p.offset, parameters[n], (size_t)p.size);
    }
    launch.run();
    launch.findings.raise(kernel.name);
}

void Device::report(FILE *out) const
{
    Counters::print_head(out);
    for (const auto &kernel : state->counters)
        kernel.second.print(out, kernel.first);
}
void Device::report_json(FILE *out) const
{
    for (const auto &kernel : state->counters)
        kernel.second.print_json(out, kernel.first);
}

} // namespace ptxvm
