// PTX text -> Module.
#pragma once
#include "program.h"
#include <memory>
#include <string>

namespace ptxvm
{

class Memory;

// Variables are allocated in `memory`, and freed with the module. Throws Fault where the text is
// not PTX.
std::shared_ptr<Module> parse_module(const std::string &text, Memory &memory);

} // namespace ptxvm
