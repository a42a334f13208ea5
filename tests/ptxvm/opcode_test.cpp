#include "opcode_test.h"
#include <cinttypes>
#include <memory>

namespace ptxvm
{

static int bits_of(const std::string &type)
{
    if (type == "pred" || type == "f16x2" || type == "bf16x2")
        return 32;
    return atoi(type.c_str() + type.find_first_of("0123456789"));
}

std::vector<u64> edges(const std::string &type)
{
    if (type == "pred")
        return {0, 1};
    if (type == "f32")
        return {f32(0.f),  f32(-0.f),       f32(1.f),       f32(-1.5f),  f32(3.1415927f),
                f32(2.5f), f32(-1e-20f),    f32(3.4e38f),   f32(1e-42f), f32(-INFINITY),
                f32(NAN),  f32(16777217.f), f32(-1234.567f)};
    if (type == "f64")
        return {f64(0.),  f64(-0.),   f64(1.),      f64(-1.5),     f64(3.14159265358979),
                f64(NAN), f64(1e300), f64(-5e-324), f64(INFINITY), f64(0.1)};
    if (type == "f16")
        return {0, 0x8000, 0x3c00, 0xbe00, 0x4248, 0x7bff, 0x0001, 0xfc00, 0x7e00, 0x1234};
    if (type == "bf16")
        return {0, 0x8000, 0x3f80, 0xbfc0, 0x4049, 0x7f7f, 0x0001, 0xff80, 0x7fc0, 0x3456};
    const int bits = bits_of(type);
    const u64 all = bits == 64 ? ~0ull : (1ull << bits) - 1;
    const u64 top = 1ull << (bits - 1);
    std::vector<u64> out = {0,
                            1,
                            2,
                            31,
                            32,
                            33,
                            top - 1,
                            top,
                            top + 1,
                            all,
                            all - 1,
                            0x123456789abcdef0ull & all,
                            0xfedcba9876543217ull & all};
    if (bits == 64)
        out.insert(out.end(), {0xffffffffull, 0x100000000ull, 63, 64});
    return out;
}

void Opcode::combine(const std::function<u64(const std::vector<u64> &)> &f)
{
    std::vector<std::vector<u64>> all;
    for (const std::string &type : operands)
        all.push_back(edges(type));
    std::vector<size_t> index(operands.size(), 0);
    for (;;) {
        std::vector<u64> values;
        for (size_t n = 0; n < index.size(); n++)
            values.push_back(all[n][index[n]]);
        cases.push_back({f(values), values});
        size_t n = 0;
        while (n < index.size() && ++index[n] == all[n].size())
            index[n++] = 0;
        if (n == index.size())
            return;
    }
}
Opcode &Opcode::like(const std::function<u64(u64)> &f)
{
    combine([&](const std::vector<u64> &v) { return f(v[0]); });
    return *this;
}
Opcode &Opcode::like(const std::function<u64(u64, u64)> &f)
{
    combine([&](const std::vector<u64> &v) { return f(v[0], v[1]); });
    return *this;
}
Opcode &Opcode::like(const std::function<u64(u64, u64, u64)> &f)
{
    combine([&](const std::vector<u64> &v) { return f(v[0], v[1], v[2]); });
    return *this;
}

// Operand n of lane l stands at in + 8 * (32 n + l), as 64 bits; the result goes to out + 8 l.
std::string Opcode::kernel() const
{
    static const char *const names[] = {"%a", "%b", "%c", "%e"};
    std::string body = ".reg .b64 %ra, %rb, %wide; .reg .pred %g, %one; .reg .b32 %bit, %p;\n"
                       "shl.b32 %bit, 1, %lane; ld.param.u32 %p, [mask];\n"
                       "and.b32 %p, %p, %bit; setp.ne.u32 %g, %p, 0;\n"
                       "mul.wide.u32 %wide, %tid, 8; add.u64 %ra, %in, %wide;"
                       "add.u64 %rb, %out, %wide;\n";
    for (size_t n = 0; n < operands.size(); n++) {
        const std::string name = names[n], at = "[%ra+" + std::to_string(256 * n) + "];\n";
        const std::string bits = std::to_string(bits_of(operands[n]));
        if (operands[n] == "pred")
            body += ".reg .pred " + name + "; ld.global.u32 %p, " + at + "setp.ne.u32 " + name +
                    ", %p, 0;\n";
        else
            body += ".reg .b" + bits + " " + name + "; ld.global.b" + bits + " " + name + ", " + at;
    }
    const std::string bits = std::to_string(bits_of(result));
    if (result == "pred") // what a lane has that does not execute it: false
        return body + ".reg .pred %d; setp.ne.u32 %d, 0, 0;\n@%g " + text +
               "\nselp.u32 %p, 1, 0, %d; cvt.u64.u32 %wide, %p; st.global.u64 [%rb], %wide;\n";
    return body + ".reg .b" + bits + " %d; mov.u" + bits + " %d, 77;\n@%g " + text +
           "\nmov.u64 %wide, 0; st.global.u64 [%rb], %wide; st.global.b" + bits + " [%rb], %d;\n";
}

bool Opcode::same(u64 expected, u64 got) const
{
    const bool pair = result.find("x2") != std::string::npos;
    const bool real = result[0] == 'f' || result.substr(0, 2) == "bf";
    if (expected == got || !real || pair)
        return expected == got;
    const auto value = [this](u64 bits) {
        return result == "f64"    ? as_f64(bits)
               : result == "f32"  ? (double)as_f32(bits)
               : result == "bf16" ? (double)bf16_to_float((u16)bits)
                                  : (double)half_to_float((u16)bits);
    };
    const double e = value(expected), g = value(got);
    if (e != e || g != g)
        return e != e && g != g;
    return tolerance > 0 && std::isfinite(e) && fabs(g - e) <= tolerance * fabs(e);
}

void Opcode::run(u32 lanes, size_t first) const
{
    Options options;
    options.memory = 1 << 20;
    Device device(options);
    const auto module = device.load(whole_kernel(kernel()));
    const Kernel *k = device.find(*module, "test_kernel");
    const u64 in = device.allocate(4 * 256), out = device.allocate(256);
    u64 *values = (u64 *)device.bytes(in, 4 * 256, true);
    const size_t count = std::min(cases.size() - first, (size_t)32);
    for (size_t n = 0; n < operands.size(); n++)
        for (size_t lane = 0; lane < 32; lane++)
            values[32 * n + lane] = cases[first + std::min(lane, count - 1)].values[n];
    const void *parameters[] = {&in, &out, &lanes};
    device.launch(*k, {}, {32, 1, 1}, 0, parameters);
    const u64 *got = (const u64 *)device.bytes(out, 256, false);
    for (size_t lane = 0; lane < count; lane++) {
        const Case &c = cases[first + lane];
        const bool active = lanes >> lane & 1;
        std::string operands_here;
        for (u64 v : c.values) {
            char one[24];
            snprintf(one, sizeof one, " %#" PRIx64, v);
            operands_here += one;
        }
        cr_assert(active ? same(c.expected, got[lane]) : got[lane] == (result == "pred" ? 0u : 77u),
                  "%s of%s: %#" PRIx64 ", expected %#" PRIx64 " (lanes %#x)", text.c_str(),
                  operands_here.c_str(), got[lane], active ? c.expected : 77, lanes);
    }
}

Opcode::~Opcode()
{
    cr_assert(!cases.empty());
    try {
        for (size_t first = 0; first < cases.size(); first += 32)
            run(~0u, first);
        run(0x5a5affd3, 0);
        run(0x00010402, 0);
    } catch (const std::exception &e) {
        cr_assert(false, "%s: %s", text.c_str(), e.what());
    }
}

// ---- kernels written out ----

std::string whole_kernel(const std::string &body)
{
    return ".version 8.0\n.target sm_90\n.address_size 64\n"
           ".visible .entry test_kernel(.param .u64 in, .param .u64 out, .param .u32 mask)\n{\n"
           ".reg .b32 %tid, %lane; .reg .b64 %in, %out, %src, %dst, %four;\n"
           "ld.param.u64 %in, [in]; ld.param.u64 %out, [out];\n"
           "mov.u32 %tid, %tid.x; and.b32 %lane, %tid, 31; mul.wide.u32 %four, %tid, 4;\n"
           "add.u64 %src, %in, %four; add.u64 %dst, %out, %four;\n" +
           body + "\nret;\n}\n";
}

static std::vector<u32> execute(const std::string &body, const Run &run)
{
    Options options = run.options;
    options.memory = 1 << 24;
    Device device(options);
    const auto module = device.load(whole_kernel(body));
    const Kernel *k = device.find(*module, "test_kernel");
    const size_t in_bytes = std::max(run.in.size(), (size_t)1) * 4, out_bytes = run.out_words * 4;
    const u64 in = device.allocate(in_bytes), out = device.allocate(out_bytes);
    if (!run.in.empty())
        memcpy(device.bytes(in, in_bytes, true), run.in.data(), in_bytes);
    memset(device.bytes(out, out_bytes, true), 0xee, out_bytes);
    const u32 mask = ~0u;
    const void *parameters[] = {&in, &out, &mask};
    device.launch(*k, run.grid, run.block, run.dynamic_shared, parameters);
    const u32 *words = (const u32 *)device.bytes(out, out_bytes, false);
    return std::vector<u32>(words, words + run.out_words);
}

std::vector<u32> results_of(const std::string &body, const Run &run)
{
    try {
        return execute(body, run);
    } catch (const std::exception &e) {
        cr_assert(false, "%s", e.what());
        return {};
    }
}
std::string fault_of(const std::string &body, const Run &run)
{
    try {
        execute(body, run);
        return "";
    } catch (const Fault &fault) {
        return fault.what();
    }
}
std::vector<u32> counting(size_t n)
{
    std::vector<u32> out(n);
    for (size_t i = 0; i < n; i++)
        out[i] = (u32)i;
    return out;
}
void expect_words(const std::vector<u32> &got, const std::function<u32(unsigned)> &expected,
                  const char *what)
{
    for (unsigned n = 0; n < got.size(); n++)
        cr_assert(got[n] == expected(n), "%s: word %u is %#x, expected %#x", what, n, got[n],
                  expected(n));
}
void expect_fault(const std::string &body, const Run &run, const char *part)
{
    const std::string fault = fault_of(body, run);
    cr_assert(fault.find(part) != std::string::npos, "expected \"%s\", got \"%s\"", part,
              fault.c_str());
}

} // namespace ptxvm
