// cvt: every pair of types, roundings, ranges, the small formats.
#include "opcode_test.h"

using namespace ptxvm;

static int bits(const std::string &type)
{
    return atoi(type.c_str() + type.find_first_of("0123456789"));
}
static __int128 integer(u64 v, const std::string &type)
{
    const int n = bits(type);
    const unsigned __int128 up = (unsigned __int128)v << (128 - n);
    return type[0] == 's' ? (__int128)up >> (128 - n) : (__int128)(up >> (128 - n));
}
static u64 cut(u64 v, const std::string &type)
{
    return bits(type) == 64 ? v : v & ((1ull << bits(type)) - 1);
}
static double real(u64 v, const std::string &type)
{
    return type == "f64"    ? as_f64(v)
           : type == "f32"  ? (double)as_f32(v)
           : type == "bf16" ? (double)bf16_to_float((u16)v)
                            : (double)half_to_float((u16)v);
}

static const std::vector<std::string> integers = {"s16", "u16", "s32", "u32", "s64", "u64"};

Test(convert, between_integers) // extended or cut; .sat: to the nearest
{
    for (const std::string &to : integers)
        for (const std::string &from : integers) {
            Opcode(("cvt." + to + "." + from + " %d, %a;").c_str(), to.c_str(), {from})
                .like([&](u64 a) { return cut((u64)integer(a, from), to); });
            Opcode(("cvt.sat." + to + "." + from + " %d, %a;").c_str(), to.c_str(), {from})
                .like([&](u64 a) {
                    const __int128 one = 1;
                    const __int128 low = to[0] == 's' ? -(one << (bits(to) - 1)) : 0;
                    const __int128 high = (one << (bits(to) - (to[0] == 's'))) - 1;
                    const __int128 x = integer(a, from);
                    return cut((u64)(x < low ? low : x > high ? high : x), to);
                });
        }
}
Test(convert, bytes) // in wider registers: the result is extended to the register
{
    Opcode("cvt.u8.u32 %d, %a;", "u32", {"u32"}).gives(0xf3, {0x123456f3});
    Opcode("cvt.s8.s32 %d, %a;", "s32", {"s32"}).gives(0xfffffff3, {0x123456f3});
    Opcode("cvt.s16.s8 %d, %a;", "s16", {"s16"}).gives(0xff80, {0x0180});
    Opcode("cvt.u32.u8 %d, %a;", "u32", {"u16"}).gives(0x80, {0x0180});
    Opcode("cvt.rn.f32.s8 %d, %a;", "f32", {"s16"}).gives(f32(-128.f), {0x0180});
    Opcode("cvt.sat.u8.s32 %d, %a;", "u32", {"s32"}).gives(255, {300}).gives(0, {0xffffffff});
}

// Rounded in the direction, then held within the range; NaN is 0, or the top bit where 64 bits are
// on either side.
static u64 to_integer(double x, const std::string &to, const std::string &from, int mode)
{
    if (x != x)
        return bits(from) == 64 || bits(to) == 64 ? 1ull << (bits(to) - 1) : 0;
    const double r = mode == 0   ? std::nearbyint(x)
                     : mode == 1 ? std::trunc(x)
                     : mode == 2 ? std::floor(x)
                                 : std::ceil(x);
    const double high = std::ldexp(1, bits(to) - (to[0] == 's'));
    const double low = to[0] == 's' ? -high : 0;
    if (r >= high)
        return cut(to[0] == 's' ? (1ull << (bits(to) - 1)) - 1 : ~0ull, to);
    if (r <= low)
        return cut(to[0] == 's' ? 1ull << (bits(to) - 1) : 0, to);
    return cut(r < 0 ? (u64)(s64)r : (u64)r, to);
}
Test(convert, to_integers)
{
    const char *modes[] = {"rni", "rzi", "rmi", "rpi"};
    for (const std::string &to : integers)
        for (const std::string from : {"f32", "f64", "f16", "bf16"})
            for (int mode = 0; mode < 4; mode++)
                Opcode((std::string("cvt.") + modes[mode] + "." + to + "." + from + " %d, %a;")
                           .c_str(),
                       to.c_str(), {from})
                    .like([&](u64 a) { return to_integer(real(a, from), to, from, mode); });
    Opcode("cvt.rni.s32.f32 %d, %a;", "s32", {"f32"})
        .gives(2, {f32(2.5f)})
        .gives(4, {f32(3.5f)})
        .gives(0x7fffffff, {f32(3e9f)})
        .gives(0x80000000, {f32(-INFINITY)})
        .gives(0, {f32(NAN)});
}

Test(convert, from_integers)
{
    for (const std::string &from : integers) {
        Opcode(("cvt.rn.f32." + from + " %d, %a;").c_str(), "f32", {from}).like([&](u64 a) {
            return f32(from[0] == 's' ? (float)(s64)integer(a, from)
                                      : (float)(u64)integer(a, from));
        });
        Opcode(("cvt.rn.f64." + from + " %d, %a;").c_str(), "f64", {from}).like([&](u64 a) {
            return f64(from[0] == 's' ? (double)(s64)integer(a, from)
                                      : (double)(u64)integer(a, from));
        });
    }
    Opcode("cvt.rz.f32.u32 %d, %a;", "f32", {"u32"})
        .gives(f32(16777216.f), {16777217})
        .gives(f32(4294967040.f), {0xffffffff});
    Opcode("cvt.rp.f32.s32 %d, %a;", "f32", {"s32"})
        .gives(f32(16777218.f), {16777217})
        .gives(f32(-16777216.f), {(u32)-16777217});
    Opcode("cvt.rm.f32.s32 %d, %a;", "f32", {"s32"}).gives(f32(-16777218.f), {(u32)-16777217});
    Opcode("cvt.rn.f16.s32 %d, %a;", "f16", {"s32"})
        .gives(0x6800, {2049}) // 2048: the tie goes to even
        .gives(0x6802, {2051})
        .gives(0x7c00, {70000});
    Opcode("cvt.rn.bf16.s32 %d, %a;", "bf16", {"s32"})
        .gives(0x4380, {257})
        .gives(0xc382, {(u32)-259});
}

Test(convert, wider) // exact
{
    for (const std::string from : {"f16", "bf16"})
        for (const std::string to : {"f32", "f64"})
            Opcode(("cvt." + to + "." + from + " %d, %a;").c_str(), to.c_str(), {from})
                .like([&](u64 a) {
                    const double x = real(a, from);
                    return to == "f64" ? f64(x) : f32((float)x);
                });
    Opcode("cvt.f64.f32 %d, %a;", "f64", {"f32"}).like([](u64 a) {
        return f64((double)as_f32(a));
    });
    Opcode("cvt.ftz.f64.f32 %d, %a;", "f64", {"f32"}).gives(f64(-0.), {f32(-1e-42f)});
}

Test(convert, f64_to_f32)
{
    const double above = 1 + 0x1p-24 + 0x1p-50, tie = 1 + 0x1p-24;
    Opcode("cvt.rn.f32.f64 %d, %a;", "f32", {"f64"})
        .gives(f32(1.f), {f64(tie)})
        .gives(f32(1 + 0x1p-23f), {f64(above)})
        .gives(f32(INFINITY), {f64(1e300)})
        .gives(f32(-0.f), {f64(-5e-324)})
        .gives(f32(NAN), {f64(NAN)});
    Opcode("cvt.rz.f32.f64 %d, %a;", "f32", {"f64"})
        .gives(f32(1.f), {f64(above)})
        .gives(f32(3.40282347e38f), {f64(1e300)});
    Opcode("cvt.rm.f32.f64 %d, %a;", "f32", {"f64"})
        .gives(f32(1.f), {f64(above)})
        .gives(f32(-1 - 0x1p-23f), {f64(-above)});
    Opcode("cvt.rp.f32.f64 %d, %a;", "f32", {"f64"})
        .gives(f32(1 + 0x1p-23f), {f64(tie)})
        .gives(f32(-1.f), {f64(-above)});
    Opcode("cvt.rn.f16.f64 %d, %a;", "f16", {"f64"})
        .gives(0x3c00, {f64(1 + 0x1p-11)})
        .gives(0x3c01, {f64(1 + 0x1p-11 + 0x1p-45)}); // not rounded by way of f32
}
Test(convert, integral_floats)
{
    Opcode("cvt.rni.f32.f32 %d, %a;", "f32", {"f32"})
        .gives(f32(2.f), {f32(2.5f)})
        .gives(f32(-0.f), {f32(-0.3f)});
    Opcode("cvt.rzi.f32.f32 %d, %a;", "f32", {"f32"}).gives(f32(-2.f), {f32(-2.9f)});
    Opcode("cvt.rmi.f32.f32 %d, %a;", "f32", {"f32"}).gives(f32(-3.f), {f32(-2.1f)});
    Opcode("cvt.rpi.f64.f64 %d, %a;", "f64", {"f64"}).gives(f64(3.), {f64(2.1)});
    Opcode("cvt.sat.f32.f32 %d, %a;", "f32", {"f32"})
        .gives(f32(1.f), {f32(7.f)})
        .gives(f32(0.f), {f32(-7.f)})
        .gives(f32(0.f), {f32(NAN)})
        .gives(f32(0.25f), {f32(0.25f)});
}

// Every f16 and bf16, there and back; and what lies between two of them.
static u64 nearest_by_search(float x, bool brain)
{
    u64 best = 0;
    for (u64 h = 0; h < 0x10000; h++) {
        const float v = brain ? bf16_to_float((u16)h) : half_to_float((u16)h);
        const float b = brain ? bf16_to_float((u16)best) : half_to_float((u16)best);
        if (!std::isfinite(v) || std::signbit(v) != std::signbit(x))
            continue;
        const double dv = fabs((double)v - x), db = fabs((double)b - x);
        if (std::signbit(b) != std::signbit(x) || dv < db || (dv == db && h % 2 == 0))
            best = h;
    }
    return best;
}
Test(convert, f32_to_16_bits)
{
    const float values[] = {1.f,     1.00048828f, 1.00146484f, 3.14159f, -2.7182818f,
                            6e-8f,   2.98e-8f,    2.99e-8f,    1e-5f,    -6.1e-5f,
                            65000.f, 1.00390625f, 1.01171875f};
    Opcode half("cvt.rn.f16.f32 %d, %a;", "f16", {"f32"});
    Opcode brain("cvt.rn.bf16.f32 %d, %a;", "bf16", {"f32"});
    for (float v : values) {
        half.gives(nearest_by_search(v, false), {f32(v)});
        brain.gives(nearest_by_search(v, true), {f32(v)});
    }
    half.gives(0x7bff, {f32(65519.f)}).gives(0x7c00, {f32(65520.f)}).gives(0xfc00, {f32(-1e9f)});
    half.gives(0x7fff, {f32(NAN)});
    brain.gives(0x7f80, {f32(3.4e38f)}).gives(0x7fff, {f32(NAN)}).gives(0x8000, {f32(-0.f)});
    Opcode("cvt.rz.bf16.f32 %d, %a;", "bf16", {"f32"})
        .gives(0x3f80, {f32(1.0077f)})
        .gives(0x7f7f, {f32(3.4e38f)});
    Opcode("cvt.rz.f16.f32 %d, %a;", "f16", {"f32"})
        .gives(0x3c00, {f32(1.0009f)})
        .gives(0x7bff, {f32(1e9f)})
        .gives(0xbc00, {f32(-1.0009f)});
    Opcode("cvt.rn.relu.bf16.f32 %d, %a;", "bf16", {"f32"}).gives(0, {f32(-3.f)});
}
Test(convert, pairs_of_16_bits) // the first operand is the upper half
{
    Opcode("cvt.rn.bf16x2.f32 %d, %a, %b;", "bf16x2", {"f32", "f32"})
        .gives(0x3f80c000, {f32(1.f), f32(-2.f)})
        .gives(0x7fff0000, {f32(NAN), f32(0.f)});
    Opcode("cvt.rn.f16x2.f32 %d, %a, %b;", "f16x2", {"f32", "f32"})
        .gives(0x3c00c000, {f32(1.f), f32(-2.f)});
    Opcode("cvt.rn.relu.f16x2.f32 %d, %a, %b;", "f16x2", {"f32", "f32"})
        .gives(0x3c000000, {f32(1.f), f32(-2.f)});
    Opcode("cvt.rz.bf16x2.f32 %d, %a, %b;", "bf16x2", {"f32", "f32"})
        .gives(0x3f803f80, {f32(1.0077f), f32(1.f)});
}
Test(convert, tf32) // ties away from zero
{
    Opcode("cvt.rna.tf32.f32 %d, %a;", "b32", {"f32"})
        .gives(f32(1.f), {f32(1.f + 0x1p-12f)})
        .gives(f32(1.f + 0x1p-10f), {f32(1.f + 0x1p-11f)})
        .gives(f32(-1.f - 0x1p-10f), {f32(-1.f - 0x1p-11f)})
        .gives(f32(INFINITY), {f32(INFINITY)});
}

// ---- fp8 ----

// All values of a format: sign, exponent, mantissa; e4m3 has no infinity and one NaN a sign.
static double fp8(unsigned code, bool e4m3)
{
    const int m = e4m3 ? 3 : 2, bias = e4m3 ? 7 : 15;
    const int e = (code & 0x7f) >> m, f = code & ((1 << m) - 1);
    const double sign = code & 0x80 ? -1 : 1;
    if (e4m3 ? (code & 0x7f) == 0x7f : e == 31 && f)
        return NAN;
    if (!e4m3 && e == 31)
        return sign * INFINITY;
    return sign * (e ? std::ldexp((1 << m) + f, e - bias - m) : std::ldexp(f, 1 - bias - m));
}
static u64 nearest_fp8(double x, bool e4m3)
{
    if (x != x)
        return 0x7f;
    const unsigned zero = std::signbit(x) ? 0x80 : 0;
    unsigned best = zero;
    x = std::max(-1e6,
                 std::min(1e6, x)); // beyond the largest number, but not so far as to look alike
    for (unsigned c = zero; c < zero + 0x80; c++) {
        const double v = fp8(c, e4m3), dv = fabs(v - x), db = fabs(fp8(best, e4m3) - x);
        if (std::isfinite(v) && (dv < db || (dv == db && c % 2 == 0)))
            best = c;
    }
    return best;
}
static void check_fp8(bool e4m3)
{
    const std::string name = e4m3 ? "e4m3x2" : "e5m2x2";
    const float values[] = {0.f,   -0.f,    1.f,      1.0625f, 1.1875f,  448.f,    464.f,   465.f,
                            1e9f,  -3.3f,   0.00195f, 0.0009f, 0.001f,   -1e-9f,   57344.f, 61440.f,
                            1e30f, 0.0156f, 1.7e-5f,  7.6e-6f, -7.7e-6f, INFINITY, NAN};
    Opcode down(("cvt.rn.satfinite." + name + ".f32 %d, %a, %b;").c_str(), "b16", {"f32", "f32"});
    for (float v : values)
        down.gives(nearest_fp8(v, e4m3) << 8 | nearest_fp8(-1.3f, e4m3), {f32(v), f32(-1.3f)});
    Opcode up(("cvt.rn.f16x2." + name + " %d, %a;").c_str(), "b32", {"b16"});
    Opcode again(("cvt.rn.satfinite." + name + ".f16x2 %d, %a;").c_str(), "b16", {"b32"});
    for (unsigned c = 0; c < 0x100; c++) {
        const double v = fp8(c, e4m3);
        if (v != v)
            continue;
        const u64 half = float_to_half((float)v);
        up.gives(half << 16 | 0x3c00, {c << 8 | (e4m3 ? 0x38u : 0x3cu)});
        again.gives(nearest_fp8(v, e4m3) << 8 | (e4m3 ? 0x38u : 0x3cu), {half << 16 | 0x3c00});
    }
}
Test(convert, e4m3)
{
    check_fp8(true);
}
Test(convert, e5m2)
{
    check_fp8(false);
}

Test(convert, pack)
{
    Opcode("cvt.pack.sat.u8.s32.b32 %d, %a, %b, %c;", "b32", {"s32", "s32", "b32"})
        .gives(0xbeefff00, {300, 0xfffffff0, 0xdeadbeef});
    Opcode("cvt.pack.sat.s8.s32.b32 %d, %a, %b, %c;", "b32", {"s32", "s32", "b32"})
        .gives(0xbeef7f80, {300, 0xffffff00, 0xdeadbeef});
    Opcode("cvt.pack.sat.s16.s32 %d, %a, %b;", "b32", {"s32", "s32"})
        .gives(0x7fff8000, {70000, 0xffff0000});
    Opcode("cvt.pack.sat.u16.s32 %d, %a, %b;", "b32", {"s32", "s32"})
        .gives(0xffff0000, {70000, 0xffff0000});
}
