#include "findings.h"
#include "device.h"
#include "program.h"
#include <algorithm>

namespace ptxvm
{

std::string hexadecimal(u64 value)
{
    char text[24];
    snprintf(text, sizeof text, "0x%llx", (unsigned long long)value);
    return text;
}

std::string place_of(const Kernel &kernel, const Instruction &instruction)
{
    const Source &source = kernel.sources[instruction.source];
    std::string at = "PTX line " + std::to_string(source.ptx_line);
    if (const auto file = kernel.files->find(source.file);
        source.line && file != kernel.files->end())
        at = file->second.substr(file->second.rfind('/') + 1) + ":" + std::to_string(source.line);
    return kernel.name + " at " + at + " `" + source.text + "`";
}

void Findings::raise(const std::string &kernel) const
{
    if (total == 0)
        return;
    constexpr size_t listed = 12;
    for (size_t i = 0; i < std::min(lines.size(), listed); i++)
        fprintf(stderr, "[test device] %s\n", lines[i].c_str());
    if (lines.size() > listed)
        fprintf(stderr, "[test device] %s: %zu more places\n", kernel.c_str(),
                lines.size() - listed);
    throw Fault(lines[0] + (total > 1 ? "; " + std::to_string(total) + " findings in all" : ""));
}

} // namespace ptxvm
