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

static std::string line_of(const Kernel &kernel, int file, int line) // "" if it is not known
{
    const auto known = kernel.files->find(file);
    if (line == 0 || known == kernel.files->end())
        return "";
    const std::string &path = known->second;
    return path.substr(path.rfind('/') + 1) + ":" + std::to_string(line);
}

std::string place_of(const Kernel &kernel, const Instruction &instruction)
{
    const Source &source = kernel.sources[instruction.source];
    std::string at = line_of(kernel, source.file, source.line);
    if (at.empty())
        at = "PTX line " + std::to_string(source.ptx_line);
    const std::string caller = line_of(kernel, source.caller_file, source.caller_line);
    if (!caller.empty())
        at += " (inlined at " + caller + ")";
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
