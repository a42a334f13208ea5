// Runs a sample kernel (samples.h) on a device with inputs of its own and compares it with a
// reference in double precision.
#pragma once
#include "device.h"
#include <string>
#include <vector>

namespace ptxvm
{

struct Outcome {
    double error = 0;                   // the largest, as a part of its bound: more than 1 is wrong
    std::vector<unsigned char> results; // as the device left them
};
// kernel: "rmsnorm_none" and so on. Throws Fault where the device finds something.
Outcome run_sample(Device &device, const Module &module, const std::string &kernel);

} // namespace ptxvm
