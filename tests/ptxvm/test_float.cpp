// Arithmetic of f32, f64, f16 and bf16. Where a result is to be rounded in some direction, what
// must come out is computed in a wider format.
#include "opcode_test.h"

using namespace ptxvm;

static float flushed(float f)
{
    return f != 0 && fabsf(f) < 1.17549435e-38f ? copysignf(0.f, f) : f;
}
static u64 flushed(u64 bits)
{
    return f32(flushed(as_f32(bits)));
}
// x, known more exactly than f32 can say, to f32: mode 0 nearest, 1 zero, 2 down, 3 up.
static u64 rounded(long double x, int mode)
{
    float f = (float)x; // to nearest
    if (std::isnan(f) || (std::isinf(x)))
        return f32(f);
    const bool above = (long double)f > x, below = (long double)f < x;
    const bool to_zero_wrong = x > 0 ? above : below;
    if ((mode == 1 && to_zero_wrong) || (mode == 2 && above) || (mode == 3 && below))
        f = nextafterf(f, mode == 1 ? 0.f : mode == 2 ? -INFINITY : INFINITY);
    return f32(f);
}

// ---- f32: nearest, flushing, saturating, directed ----

static void check_two(const char *op, const std::function<float(float, float)> &f)
{
    const auto name = [op](const char *rest) { return std::string(op) + rest; };
    for (const char *plain : {".f32 %d, %a, %b;", ".rn.f32 %d, %a, %b;"})
        Opcode(name(plain).c_str(), "f32", {"f32", "f32"}).like([&](u64 a, u64 b) {
            return f32(f(as_f32(a), as_f32(b)));
        });
    Opcode(name(".ftz.f32 %d, %a, %b;").c_str(), "f32", {"f32", "f32"}).like([&](u64 a, u64 b) {
        return f32(flushed(f(flushed(as_f32(a)), flushed(as_f32(b)))));
    });
    Opcode(name(".sat.f32 %d, %a, %b;").c_str(), "f32", {"f32", "f32"}).like([&](u64 a, u64 b) {
        const float r = f(as_f32(a), as_f32(b));
        return f32(r > 0 ? r < 1 ? r : 1.f : 0.f);
    });
}
// Bits, also of a zero's sign.
static void check_directed(const char *op,
                           const std::function<long double(long double, long double)> &f)
{
    const char *modes[] = {"rn", "rz", "rm", "rp"};
    const float values[] = {1.f, 3.f, -7.f, 0.1f, -1.1f, 1e6f, 65537.f, 1e-4f};
    for (int mode = 0; mode < 4; mode++) {
        Opcode o((std::string(op) + "." + modes[mode] + ".f32 %d, %a, %b;").c_str(), "f32",
                 {"f32", "f32"});
        for (float a : values)
            for (float b : values)
                if (const long double exact = f(a, b); exact != 0)
                    o.gives(rounded(exact, mode), {f32(a), f32(b)});
    }
}
static void check_double(const char *op, const std::function<double(double, double)> &f)
{
    Opcode((std::string(op) + ".f64 %d, %a, %b;").c_str(), "f64", {"f64", "f64"})
        .like([&](u64 a, u64 b) { return f64(f(as_f64(a), as_f64(b))); });
}
Test(floats, add)
{
    check_two("add", [](float a, float b) { return a + b; });
    check_double("add", [](double a, double b) { return a + b; });
    check_directed("add", [](long double a, long double b) { return a + b; });
}
Test(floats, sub)
{
    check_two("sub", [](float a, float b) { return a - b; });
    check_double("sub", [](double a, double b) { return a - b; });
    check_directed("sub", [](long double a, long double b) { return a - b; });
}
Test(floats, mul)
{
    check_two("mul", [](float a, float b) { return a * b; });
    check_double("mul", [](double a, double b) { return a * b; });
    check_directed("mul", [](long double a, long double b) { return a * b; });
    Opcode("mul.rz.f64 %d, %a, %b;", "f64", {"f64", "f64"})
        .gives(f64(0.01), {f64(0.1), f64(0.1)}) // 0.1 * 0.1 is a little more than 0.01
        .gives(f64(6), {f64(2), f64(3)});
}
Test(floats, fma)
{
    // The product is not rounded: a * b - round(a * b) is its error.
    Opcode("fma.rn.f32 %d, %a, %b, %c;", "f32", {"f32", "f32", "f32"})
        .gives(f32(0x1p-46f), {f32(1 + 0x1p-23f), f32(1 + 0x1p-23f), f32(-(1 + 0x1p-22f))})
        .gives(f32(-6.f), {f32(2.f), f32(-3.5f), f32(1.f)})
        .gives(f32(NAN), {f32(INFINITY), f32(0.f), f32(1.f)});
    Opcode("mad.rn.f32 %d, %a, %b, %c;", "f32", {"f32", "f32", "f32"})
        .gives(f32(0x1p-46f), {f32(1 + 0x1p-23f), f32(1 + 0x1p-23f), f32(-(1 + 0x1p-22f))});
    Opcode("fma.rn.f64 %d, %a, %b, %c;", "f64", {"f64", "f64", "f64"})
        .gives(f64(0x1p-104), {f64(1 + 0x1p-52), f64(1 + 0x1p-52), f64(-(1 + 0x1p-51))});
    Opcode("fma.rn.ftz.f32 %d, %a, %b, %c;", "f32", {"f32", "f32", "f32"})
        .gives(f32(1.f), {f32(1e-40f), f32(1e38f), f32(1.f)})
        .gives(f32(0.f), {f32(1e-20f), f32(1e-20f), f32(1e-42f)});
    Opcode("fma.rn.sat.f32 %d, %a, %b, %c;", "f32", {"f32", "f32", "f32"})
        .gives(f32(1.f), {f32(2.f), f32(3.f), f32(1.f)})
        .gives(f32(0.f), {f32(2.f), f32(-3.f), f32(1.f)})
        .gives(f32(0.f), {f32(NAN), f32(-3.f), f32(1.f)});
    const char *modes[] = {"rz", "rm", "rp"};
    for (int mode = 1; mode < 4; mode++)
        Opcode((std::string("fma.") + modes[mode - 1] + ".f32 %d, %a, %b, %c;").c_str(), "f32",
               {"f32", "f32", "f32"})
            .gives(rounded(0.1f * (long double)0.3f + 0.7f, mode),
                   {f32(0.1f), f32(0.3f), f32(0.7f)})
            .gives(rounded(-3.f * (long double)0.3f - 0.7f, mode),
                   {f32(-3.f), f32(0.3f), f32(-0.7f)});
}
Test(floats, div)
{
    for (const char *op :
         {"div.rn.f32 %d, %a, %b;", "div.full.f32 %d, %a, %b;", "div.approx.f32 %d, %a, %b;"})
        Opcode(op, "f32", {"f32", "f32"}).like([](u64 a, u64 b) {
            return f32(as_f32(a) / as_f32(b));
        });
    Opcode("div.full.ftz.f32 %d, %a, %b;", "f32", {"f32", "f32"}).like([](u64 a, u64 b) {
        return flushed(f32(as_f32(flushed(a)) / as_f32(flushed(b))));
    });
    check_double("div.rn", [](double a, double b) { return a / b; });
    check_directed("div", [](long double a, long double b) { return a / b; });
}
Test(floats, rcp)
{
    for (const char *op : {"rcp.rn.f32 %d, %a;", "rcp.approx.f32 %d, %a;"})
        Opcode(op, "f32", {"f32"}).like([](u64 a) { return f32(1.f / as_f32(a)); });
    Opcode("rcp.approx.ftz.f32 %d, %a;", "f32", {"f32"}).like([](u64 a) {
        return flushed(f32(1.f / as_f32(flushed(a))));
    });
    Opcode("rcp.rn.f64 %d, %a;", "f64", {"f64"}).like([](u64 a) { return f64(1 / as_f64(a)); });
    Opcode("rcp.rp.f32 %d, %a;", "f32", {"f32"}).gives(rounded(1.L / 3, 3), {f32(3.f)});
    Opcode("rcp.rm.f32 %d, %a;", "f32", {"f32"}).gives(rounded(1.L / 3, 2), {f32(3.f)});
}
Test(floats, sqrt)
{
    for (const char *op : {"sqrt.rn.f32 %d, %a;", "sqrt.approx.f32 %d, %a;"})
        Opcode(op, "f32", {"f32"}).like([](u64 a) { return f32(std::sqrt(as_f32(a))); });
    Opcode("sqrt.approx.ftz.f32 %d, %a;", "f32", {"f32"}).gives(0, {f32(1e-42f)});
    Opcode("sqrt.rn.f64 %d, %a;", "f64", {"f64"}).like([](u64 a) {
        return f64(std::sqrt(as_f64(a)));
    });
    Opcode("sqrt.rz.f32 %d, %a;", "f32", {"f32"})
        .gives(rounded(1.41421356237309504880L, 1), {f32(2.f)})
        .gives(rounded(1.73205080756887729353L, 1), {f32(3.f)});
}
Test(floats, rsqrt)
{
    Opcode("rsqrt.approx.f32 %d, %a;", "f32", {"f32"})
        .like([](u64 a) { return f32((float)(1 / std::sqrt((double)as_f32(a)))); })
        .within(2e-7);
    Opcode("rsqrt.approx.ftz.f32 %d, %a;", "f32", {"f32"})
        .gives(f32(INFINITY), {f32(1e-42f)})
        .gives(f32(0.5f), {f32(4.f)});
}
Test(floats, sin)
{
    Opcode("sin.approx.f32 %d, %a;", "f32", {"f32"})
        .gives(f32((float)std::sin(1.5)), {f32(1.5f)})
        .gives(f32(-0.f), {f32(-0.f)})
        .gives(f32(NAN), {f32(INFINITY)})
        .within(2e-7);
}
Test(floats, cos)
{
    Opcode("cos.approx.f32 %d, %a;", "f32", {"f32"})
        .gives(f32((float)std::cos(1.5)), {f32(1.5f)})
        .gives(f32(1.f), {f32(0.f)})
        .within(2e-7);
}
Test(floats, lg2)
{
    Opcode("lg2.approx.f32 %d, %a;", "f32", {"f32"})
        .gives(f32(3.f), {f32(8.f)})
        .gives(f32(-INFINITY), {f32(0.f)})
        .gives(f32(NAN), {f32(-1.f)})
        .gives(f32(1.5849625f), {f32(3.f)})
        .within(2e-7);
}
Test(floats, ex2)
{
    Opcode("ex2.approx.f32 %d, %a;", "f32", {"f32"})
        .gives(f32(8.f), {f32(3.f)})
        .gives(f32(0.f), {f32(-INFINITY)})
        .gives(f32(INFINITY), {f32(128.f)})
        .gives(f32(1.f), {f32(-0.f)})
        .gives(f32(1e-40f), {f32(-132.877123f)})
        .within(2e-5);
    Opcode("ex2.approx.ftz.f32 %d, %a;", "f32", {"f32"})
        .gives(f32(0.f), {f32(-132.877123f)})
        .gives(f32(1.f), {f32(1e-42f)});
    Opcode("ex2.approx.f16 %d, %a;", "f16", {"f16"}).gives(0x4800, {0x4200});
    Opcode("ex2.approx.ftz.bf16 %d, %a;", "bf16", {"bf16"}).gives(0x4100, {0x4040});
    Opcode("ex2.approx.ftz.bf16x2 %d, %a;", "bf16x2", {"bf16x2"}).gives(0x41003f80, {0x40400000});
}
Test(floats, tanh)
{
    Opcode("tanh.approx.f32 %d, %a;", "f32", {"f32"})
        .gives(f32((float)std::tanh(0.5)), {f32(0.5f)})
        .gives(f32(-1.f), {f32(-INFINITY)})
        .gives(f32(-0.f), {f32(-0.f)})
        .within(2e-7);
    Opcode("tanh.approx.f16x2 %d, %a;", "f16x2", {"f16x2"}).gives(0xbc000000, {0xfc000000});
    Opcode("tanh.approx.bf16 %d, %a;", "bf16", {"bf16"}).gives(0x3f80, {0x7f80});
}

// A NaN loses against a number; -0 is less than +0.
static void check_extreme(const char *op, bool largest)
{
    const auto pick = [largest](auto a, auto b) {
        if (a != a)
            return b;
        if (b != b)
            return a;
        if (a == b)
            return std::signbit(a) == largest ? b : a;
        return (a < b) == largest ? b : a;
    };
    const auto name = [op](const char *rest) { return std::string(op) + rest; };
    Opcode(name(".f32 %d, %a, %b;").c_str(), "f32", {"f32", "f32"}).like([&](u64 a, u64 b) {
        return f32(pick(as_f32(a), as_f32(b)));
    });
    Opcode(name(".ftz.f32 %d, %a, %b;").c_str(), "f32", {"f32", "f32"}).like([&](u64 a, u64 b) {
        return f32(pick(as_f32(flushed(a)), as_f32(flushed(b))));
    });
    Opcode(name(".NaN.f32 %d, %a, %b;").c_str(), "f32", {"f32", "f32"}).like([&](u64 a, u64 b) {
        const float x = as_f32(a), y = as_f32(b);
        return x != x || y != y ? f32(NAN) : f32(pick(x, y));
    });
    Opcode(name(".f64 %d, %a, %b;").c_str(), "f64", {"f64", "f64"}).like([&](u64 a, u64 b) {
        return f64(pick(as_f64(a), as_f64(b)));
    });
    Opcode(name(".f16 %d, %a, %b;").c_str(), "f16", {"f16", "f16"}).like([&](u64 a, u64 b) {
        return (u64)float_to_half(pick(half_to_float((u16)a), half_to_float((u16)b)));
    });
    Opcode(name(".bf16 %d, %a, %b;").c_str(), "bf16", {"bf16", "bf16"}).like([&](u64 a, u64 b) {
        return (u64)float_to_bf16(pick(bf16_to_float((u16)a), bf16_to_float((u16)b)));
    });
}
Test(floats, min)
{
    check_extreme("min", false);
    Opcode("min.NaN.bf16x2 %d, %a, %b;", "bf16x2", {"bf16x2", "bf16x2"})
        .gives(0x7fff4000, {0x7fc04040, 0x3f804000});
}
Test(floats, max)
{
    check_extreme("max", true);
    Opcode("max.bf16x2 %d, %a, %b;", "bf16x2", {"bf16x2", "bf16x2"})
        .gives(0x3f804040, {0x7fc04040, 0x3f804000})
        .gives(0x00004000, {0x80004000, 0x0000c000});
}
Test(floats, neg)
{
    Opcode("neg.f32 %d, %a;", "f32", {"f32"}).like([](u64 a) { return a ^ 0x80000000; });
    Opcode("neg.ftz.f32 %d, %a;", "f32", {"f32"}).gives(0x80000000, {1}).gives(0, {0x80000007});
    Opcode("neg.f64 %d, %a;", "f64", {"f64"}).like([](u64 a) { return a ^ 1ull << 63; });
    Opcode("neg.f16 %d, %a;", "f16", {"f16"}).gives(0xbc00, {0x3c00}).gives(0, {0x8000});
    Opcode("neg.bf16x2 %d, %a;", "bf16x2", {"bf16x2"}).gives(0xbf800000, {0x3f808000});
}
Test(floats, abs)
{
    Opcode("abs.f32 %d, %a;", "f32", {"f32"}).like([](u64 a) { return a & 0x7fffffff; });
    Opcode("abs.ftz.f32 %d, %a;", "f32", {"f32"}).gives(0, {0x80000007});
    Opcode("abs.f64 %d, %a;", "f64", {"f64"}).like([](u64 a) { return a & ~(1ull << 63); });
    Opcode("abs.bf16 %d, %a;", "bf16", {"bf16"}).gives(0x3f80, {0xbf80});
    Opcode("abs.bf16x2 %d, %a;", "bf16x2", {"bf16x2"}).gives(0x3f800000, {0xbf808000});
    Opcode("abs.f16x2 %d, %a;", "f16x2", {"f16x2"}).gives(0x3c000000, {0xbc008000});
}
Test(floats, copysign) // the sign of a, the magnitude of b
{
    Opcode("copysign.f32 %d, %a, %b;", "f32", {"f32", "f32"})
        .gives(f32(-2.f), {f32(-0.f), f32(2.f)})
        .gives(f32(2.f), {f32(1.f), f32(-2.f)});
    Opcode("copysign.f64 %d, %a, %b;", "f64", {"f64", "f64"}).gives(f64(-2), {f64(-1), f64(2)});
}
Test(floats, testp)
{
    const struct {
        const char *kind;
        std::function<bool(float)> is;
    } kinds[] = {{"finite", [](float f) { return std::isfinite(f); }},
                 {"infinite", [](float f) { return std::isinf(f); }},
                 {"number", [](float f) { return !std::isnan(f); }},
                 {"notanumber", [](float f) { return std::isnan(f); }},
                 {"normal", [](float f) { return std::isnormal(f) || f == 0; }},
                 {"subnormal", [](float f) { return f != 0 && fabsf(f) < 1.17549435e-38f; }}};
    for (const auto &k : kinds) {
        Opcode((std::string("testp.") + k.kind + ".f32 %d, %a;").c_str(), "pred", {"f32"})
            .like([&](u64 a) { return (u64)k.is(as_f32(a)); });
        Opcode((std::string("testp.") + k.kind + ".f64 %d, %a;").c_str(), "pred", {"f64"})
            .gives(k.is(1.f), {f64(1e200)});
    }
}

// ---- 16 bits ----

static float of_half(u64 h)
{
    return half_to_float((u16)h);
}
static float of_brain(u64 h)
{
    return bf16_to_float((u16)h);
}
static void check_halves(const char *op, const std::function<double(double, double)> &f)
{
    const auto name = [op](const char *rest) { return std::string(op) + rest; };
    Opcode(name(".f16 %d, %a, %b;").c_str(), "f16", {"f16", "f16"}).like([&](u64 a, u64 b) {
        return (u64)float_to_half(round_to_odd(f(of_half(a), of_half(b))));
    });
    Opcode(name(".bf16 %d, %a, %b;").c_str(), "bf16", {"bf16", "bf16"}).like([&](u64 a, u64 b) {
        return (u64)float_to_bf16(round_to_odd(f(of_brain(a), of_brain(b))));
    });
    const auto pair = [&](u64 a, u64 b, bool brain) {
        u64 out = 0;
        for (int h = 0; h < 32; h += 16) {
            const u64 x = a >> h & 0xffff, y = b >> h & 0xffff;
            out |= (u64)(brain ? float_to_bf16((float)f(of_brain(x), of_brain(y)))
                               : float_to_half((float)f(of_half(x), of_half(y))))
                   << h;
        }
        return out;
    };
    const u64 a = 0x3c014248, b = 0xbc00c249; // both signs, no NaN
    Opcode(name(".f16x2 %d, %a, %b;").c_str(), "f16x2", {"f16x2", "f16x2"})
        .gives(pair(a, b, false), {a, b});
    Opcode(name(".bf16x2 %d, %a, %b;").c_str(), "bf16x2", {"bf16x2", "bf16x2"})
        .gives(pair(a, b, true), {a, b});
}
Test(halves, add)
{
    check_halves("add", [](double a, double b) { return a + b; });
    check_halves("add.rn", [](double a, double b) { return a + b; });
}
Test(halves, sub)
{
    check_halves("sub", [](double a, double b) { return a - b; });
}
Test(halves, mul)
{
    check_halves("mul", [](double a, double b) { return a * b; });
}
Test(halves, fma)
{
    Opcode("fma.rn.bf16 %d, %a, %b, %c;", "bf16", {"bf16", "bf16", "bf16"})
        .gives(0x40e0, {0x4000, 0x4040, 0x3f80}) // 2 * 3 + 1
        .gives(0x3f80, {0x3b80, 0x3f80, 0x3f80}) // 2^-8 + 1: the tie goes to even
        .gives(0x3f81, {0x3b81, 0x3f80, 0x3f80}) // a little more than the tie
        .gives(0x3f82, {0x3b80, 0x3f80, 0x3f81}) // 2^-8 + (1 + 2^-7): the next tie
        .gives(0x7fff, {0x7f80, 0x0000, 0x3f80});
    Opcode("fma.rn.f16 %d, %a, %b, %c;", "f16", {"f16", "f16", "f16"})
        .gives(0x4700, {0x4000, 0x4200, 0x3c00})
        .gives(0x7c00, {0x7bff, 0x4000, 0x0000})  // beyond 65504
        .gives(0x3c00, {0x1000, 0x3c00, 0x3c00})  // 2^-11 + 1: the tie goes to even
        .gives(0x3c01, {0x1001, 0x3c00, 0x3c00}); // a little more
    Opcode("fma.rn.relu.bf16 %d, %a, %b, %c;", "bf16", {"bf16", "bf16", "bf16"})
        .gives(0, {0x4000, 0xc040, 0x3f80});
    Opcode("fma.rn.sat.f16 %d, %a, %b, %c;", "f16", {"f16", "f16", "f16"})
        .gives(0x3c00, {0x4000, 0x4200, 0x3c00})
        .gives(0, {0x7e00, 0x4200, 0x3c00});
    Opcode("fma.rn.bf16x2 %d, %a, %b, %c;", "bf16x2", {"bf16x2", "bf16x2", "bf16x2"})
        .gives(0x40e0c0a0, {0x40004000, 0x4040c040, 0x3f803f80});
    Opcode("fma.rn.f16x2 %d, %a, %b, %c;", "f16x2", {"f16x2", "f16x2", "f16x2"})
        .gives(0x4700c500, {0x40004000, 0x4200c200, 0x3c003c00});
}
// (1 + 2^-10) * (2 - 2^-9) * 2^-12 = 2^-11 - 2^-31, just less than the tie above 1 + 2^-10. In f32
// the sum would be the tie, and that would go up to the even neighbour.
Test(halves, fma_rounds_once)
{
    Opcode("fma.rn.f16 %d, %a, %b, %c;", "f16", {"f16", "f16", "f16"})
        .gives(0x3c01, {0x3c01, 0x0ffe, 0x3c01});
}
