// What a launch was found to do wrong: one entry per instruction and kind, counted.
#pragma once
#include "numeric.h"
#include <map>
#include <string>
#include <vector>

namespace ptxvm
{

struct Kernel;
struct Instruction;

std::string hexadecimal(u64 value);
// "kernel at file.cu:12 `text`", or the line of the PTX where the PTX names no file.
std::string place_of(const Kernel &kernel, const Instruction &instruction);

class Findings
{
  public:
    // True for the first of its kind at that instruction: the caller then describes it.
    bool count(const Instruction *instruction, const char *kind)
    {
        total++;
        return counts[{instruction, kind}]++ == 0;
    }
    void describe(const std::string &line)
    {
        lines.push_back(line);
    }
    u64 found() const
    {
        return total;
    }
    // Lists at most 12 on stderr, then throws a Fault with the first; nothing if there are none.
    void raise(const std::string &kernel) const;

  private:
    u64 total = 0;
    std::map<std::pair<const Instruction *, const char *>, u64> counts;
    std::vector<std::string> lines;
};

} // namespace ptxvm
