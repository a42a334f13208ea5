// For the tests of single opcodes: a table of operands and results for one instruction, and small
// kernels written out.
#pragma once
#include "device.h"
#include "numeric.h"
#include <criterion/criterion.h>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

namespace ptxvm
{

// An instruction whose operands are called %a, %b, %c, %e and whose result is %d, and what it must
// give. Values are bit patterns; of a predicate 0 or 1. It is executed for all lanes, for many, and
// for few: the others must keep what they have.
class Opcode
{
  public:
    Opcode(const char *text, const char *result, std::vector<std::string> operands)
        : text(text), result(result), operands(std::move(operands))
    {
    }
    // One case.
    Opcode &gives(u64 expected, std::vector<u64> values)
    {
        cases.push_back({expected, std::move(values)});
        return *this;
    }
    // All combinations of the operand types' edge values; f says what they give.
    Opcode &like(const std::function<u64(u64)> &f);
    Opcode &like(const std::function<u64(u64, u64)> &f);
    Opcode &like(const std::function<u64(u64, u64, u64)> &f);
    // For approximations: a relative error, of results that are neither 0 nor special.
    Opcode &within(double relative)
    {
        tolerance = relative;
        return *this;
    }
    ~Opcode(); // asserts

  private:
    struct Case {
        u64 expected;
        std::vector<u64> values;
    };
    void combine(const std::function<u64(const std::vector<u64> &)> &f);
    std::string kernel() const;
    void run(u32 lanes, size_t first) const;
    bool same(u64 expected, u64 got) const;

    std::string text, result;
    std::vector<std::string> operands;
    std::vector<Case> cases;
    double tolerance = 0;
};

// Values that are likely to go wrong, of a type by its name.
std::vector<u64> edges(const std::string &type);

// ---- kernels written out ----
// The body may use %tid, %lane (32 bits), %in, %out (64-bit addresses), %src and %dst (%in and %out
// plus 4 * %tid), and must declare what else it needs.
struct Run {
    std::vector<u32> in;
    size_t out_words = 32;
    Dim block{32, 1, 1}, grid{};
    size_t dynamic_shared = 0;
    Options options{};
};
std::string whole_kernel(const std::string &body);
std::vector<u32> results_of(const std::string &body, const Run &run);
// What the device says about it: "" where nothing is wrong.
std::string fault_of(const std::string &body, const Run &run);
std::vector<u32> counting(size_t n); // 0, 1, ...

void expect_words(const std::vector<u32> &got, const std::function<u32(unsigned)> &expected,
                  const char *what);
void expect_fault(const std::string &body, const Run &run, const char *part);

inline u64 f32(float f)
{
    return float_bits(f);
}
inline u64 f64(double d)
{
    return bit_cast<u64>(d);
}
inline float as_f32(u64 bits)
{
    return bits_float((u32)bits);
}
inline double as_f64(u64 bits)
{
    return bit_cast<double>(bits);
}

} // namespace ptxvm
