// Logic, shifts, bit fields, permutations: bit by bit as the PTX ISA describes them.
#include "opcode_test.h"

using namespace ptxvm;

static u64 cut(u64 v, int bits)
{
    return bits == 64 ? v : v & ((1ull << bits) - 1);
}
static u64 bit(u64 v, int n)
{
    return v >> n & 1;
}
static std::string typed(const char *op, int bits, const char *rest)
{
    return std::string(op) + ".b" + std::to_string(bits) + rest;
}

static void check_logic(const char *op, const std::function<u64(u64, u64)> &f)
{
    for (int bits : {16, 32, 64}) {
        const std::string t = "b" + std::to_string(bits);
        Opcode(typed(op, bits, " %d, %a, %b;").c_str(), t.c_str(), {t, t}).like([&](u64 a, u64 b) {
            return cut(f(a, b), bits);
        });
    }
    Opcode((std::string(op) + ".pred %d, %a, %b;").c_str(), "pred", {"pred", "pred"})
        .like([&](u64 a, u64 b) { return f(a, b) & 1; });
}
Test(bits, and_)
{
    check_logic("and", [](u64 a, u64 b) { return a & b; });
}
Test(bits, or_)
{
    check_logic("or", [](u64 a, u64 b) { return a | b; });
}
Test(bits, xor_)
{
    check_logic("xor", [](u64 a, u64 b) { return a ^ b; });
}
Test(bits, not_)
{
    for (int bits : {16, 32, 64}) {
        const std::string t = "b" + std::to_string(bits);
        Opcode(typed("not", bits, " %d, %a;").c_str(), t.c_str(), {t}).like([&](u64 a) {
            return cut(~a, bits);
        });
    }
    Opcode("not.pred %d, %a;", "pred", {"pred"}).gives(1, {0}).gives(0, {1});
}
Test(bits, cnot)
{
    Opcode("cnot.b32 %d, %a;", "b32", {"b32"}).gives(1, {0}).gives(0, {1}).gives(0, {0x80000000});
}

// By the width or more: zeros, or the sign.
Test(bits, shl)
{
    for (int bits : {16, 32, 64}) {
        const std::string t = "b" + std::to_string(bits);
        Opcode(typed("shl", bits, " %d, %a, %b;").c_str(), t.c_str(), {t, "u32"})
            .like([&](u64 a, u64 by) { return by >= (u64)bits ? 0 : cut(a << by, bits); });
    }
}
Test(bits, shr)
{
    for (int bits : {16, 32, 64}) {
        const std::string n = std::to_string(bits);
        Opcode(("shr.u" + n + " %d, %a, %b;").c_str(), ("u" + n).c_str(), {"u" + n, "u32"})
            .like([&](u64 a, u64 by) { return by >= (u64)bits ? 0 : a >> by; });
        Opcode(("shr.s" + n + " %d, %a, %b;").c_str(), ("s" + n).c_str(), {"s" + n, "u32"})
            .like([&](u64 a, u64 by) {
                u64 out = 0;
                for (int i = 0; i < bits; i++)
                    out |= bit(a, by + (u64)i < (u64)bits ? (int)by + i : bits - 1) << i;
                return out;
            });
    }
    Opcode("shr.b32 %d, %a, %b;", "b32", {"b32", "u32"}).gives(1, {0x80000000, 31});
}
Test(bits, shf)
{
    const auto check = [](const char *op, bool left, bool wrap) {
        Opcode(op, "b32", {"b32", "b32", "u32"}).like([=](u64 a, u64 b, u64 c) {
            const u64 by = wrap ? c % 32 : c > 32 ? 32 : c;
            u64 out = 0;
            for (u64 i = 0; i < 32; i++) { // bit i of the window
                const s64 from = left ? (s64)(32 + i - by) : (s64)(i + by);
                out |= (from < 32   ? bit(a, (int)from)
                        : from < 64 ? bit(b, (int)from - 32)
                                    : 0)
                       << i;
            }
            return out;
        });
    };
    check("shf.l.wrap.b32 %d, %a, %b, %c;", true, true);
    check("shf.l.clamp.b32 %d, %a, %b, %c;", true, false);
    check("shf.r.wrap.b32 %d, %a, %b, %c;", false, true);
    check("shf.r.clamp.b32 %d, %a, %b, %c;", false, false);
}

// The table is what the expression gives for a = 0xF0, b = 0xCC, c = 0xAA.
Test(bits, lop3)
{
    const auto check = [](int table, const std::function<u64(u64, u64, u64)> &f) {
        const std::string op = "lop3.b32 %d, %a, %b, %c, " + std::to_string(table) + ";";
        Opcode(op.c_str(), "b32", {"b32", "b32", "b32"}).like([&](u64 a, u64 b, u64 c) {
            return f(a, b, c) & 0xffffffff;
        });
    };
    check(0xf0 & 0xcc & 0xaa, [](u64 a, u64 b, u64 c) { return a & b & c; });
    check((0xf0 & 0xcc) | (0x0f & 0xaa), [](u64 a, u64 b, u64 c) { return (a & b) | (~a & c); });
    check(0xf0 ^ 0xcc ^ 0xaa, [](u64 a, u64 b, u64 c) { return a ^ b ^ c; });
    check((0xf0 | 0xaa) & 0x33, [](u64 a, u64 b, u64 c) { return (a | c) & ~b; });
}

Test(bits, prmt)
{
    Opcode("prmt.b32 %d, %a, %b, %c;", "b32", {"b32", "b32", "b32"})
        .gives(0x33221100, {0x33221100, 0x77665544, 0x3210})
        .gives(0x77665544, {0x33221100, 0x77665544, 0x7654})
        .gives(0x11005544, {0x33221100, 0x77665544, 0x1054})
        .gives(0xff00ff00, {0x80007f80, 0x00ff0000, 0x8dea}) // bit 3: eight times the sign
        .gives(0x44332211, {0x33221100, 0x77665544, 0xffff4321});
    const u64 a = 0x33221100, b = 0x77665544;
    Opcode("prmt.b32.f4e %d, %a, %b, %c;", "b32", {"b32", "b32", "b32"})
        .gives(0x33221100, {a, b, 0})
        .gives(0x44332211, {a, b, 1})
        .gives(0x66554433, {a, b, 3});
    Opcode("prmt.b32.b4e %d, %a, %b, %c;", "b32", {"b32", "b32", "b32"})
        .gives(0x55667700, {a, b, 0})
        .gives(0x66770011, {a, b, 1})
        .gives(0x00112233, {a, b, 3});
    Opcode("prmt.b32.rc8 %d, %a, %b, %c;", "b32", {"b32", "b32", "b32"})
        .gives(0x22222222, {a, b, 2});
    Opcode("prmt.b32.ecl %d, %a, %b, %c;", "b32", {"b32", "b32", "b32"})
        .gives(0x33222222, {a, b, 2});
    Opcode("prmt.b32.ecr %d, %a, %b, %c;", "b32", {"b32", "b32", "b32"})
        .gives(0x22221100, {a, b, 2});
    Opcode("prmt.b32.rc16 %d, %a, %b, %c;", "b32", {"b32", "b32", "b32"})
        .gives(0x33223322, {a, b, 1});
}

// The ISA's loops over the bits.
Test(bits, bfe)
{
    for (const char *type : {"u32", "s32", "u64", "s64"}) {
        const int last = atoi(type + 1) - 1;
        const std::string op = std::string("bfe.") + type + " %d, %a, %b, %c;";
        Opcode(op.c_str(), type, {type, "u32", "u32"}).like([&](u64 a, u64 b, u64 c) {
            const int at = b & 255, n = c & 255;
            const u64 sign =
                type[0] == 'u' || n == 0 ? 0 : bit(a, at + n - 1 < last ? at + n - 1 : last);
            u64 out = 0;
            for (int i = 0; i <= last; i++)
                out |= (i < n && at + i <= last ? bit(a, at + i) : sign) << i;
            return out;
        });
    }
}
Test(bits, bfi)
{
    for (const u64 at : {0, 1, 5, 31, 32, 33, 63, 64, 255, 256})
        for (const u64 n : {0, 1, 8, 31, 32, 33, 64, 255}) {
            const auto expected = [=](u64 a, u64 b, int last) {
                u64 out = b;
                for (int i = 0; i < (int)(n & 255) && (int)(at & 255) + i <= last; i++) {
                    const int to = (int)(at & 255) + i;
                    out = (out & ~(1ull << to)) | bit(a, i) << to;
                }
                return out;
            };
            const u64 a = 0xfedcba9876543215, b = 0x0123456789abcdef;
            Opcode("bfi.b32 %d, %a, %b, %c, %e;", "b32", {"b32", "b32", "u32", "u32"})
                .gives(expected(a & 0xffffffff, b & 0xffffffff, 31),
                       {a & 0xffffffff, b & 0xffffffff, at, n});
            Opcode("bfi.b64 %d, %a, %b, %c, %e;", "b64", {"b64", "b64", "u32", "u32"})
                .gives(expected(a, b, 63), {a, b, at, n});
        }
}
Test(bits, bfind)
{
    for (const char *type : {"u32", "s32", "u64", "s64"}) {
        const int bits = atoi(type + 1);
        const auto find = [=](u64 a) { // the highest bit unlike the sign, or unlike zero
            const u64 sign = type[0] == 's' ? bit(a, bits - 1) : 0;
            for (int i = bits - 1; i >= 0; i--)
                if (bit(a, i) != sign)
                    return i;
            return -1;
        };
        Opcode((std::string("bfind.") + type + " %d, %a;").c_str(), "u32", {type}).like([&](u64 a) {
            return (u64)(u32)find(a);
        });
        Opcode((std::string("bfind.shiftamt.") + type + " %d, %a;").c_str(), "u32", {type})
            .like([&](u64 a) { return (u64)(u32)(find(a) < 0 ? -1 : bits - 1 - find(a)); });
    }
}
static void check_count(const char *op, const std::function<u64(u64, int)> &f, bool same_width)
{
    for (int bits : {32, 64}) {
        const std::string t = "b" + std::to_string(bits);
        Opcode(typed(op, bits, " %d, %a;").c_str(), same_width ? t.c_str() : "u32", {t})
            .like([&](u64 a) { return f(a, bits); });
    }
}
Test(bits, popc)
{
    check_count(
        "popc",
        [](u64 a, int bits) {
            u64 n = 0;
            for (int i = 0; i < bits; i++)
                n += bit(a, i);
            return n;
        },
        false);
}
Test(bits, clz)
{
    check_count(
        "clz",
        [](u64 a, int bits) {
            u64 n = 0;
            while (n < (u64)bits && !bit(a, bits - 1 - (int)n))
                n++;
            return n;
        },
        false);
}
Test(bits, brev)
{
    check_count(
        "brev",
        [](u64 a, int bits) {
            u64 out = 0;
            for (int i = 0; i < bits; i++)
                out |= bit(a, i) << (bits - 1 - i);
            return out;
        },
        true);
}
Test(bits, bmsk)
{
    Opcode("bmsk.clamp.b32 %d, %a, %b;", "b32", {"u32", "u32"})
        .gives(0xff0, {4, 8})
        .gives(0xffffffff, {0, 32})
        .gives(0xffffffff, {0, 77})
        .gives(0, {32, 5})
        .gives(0xf0000000, {28, 30});
    Opcode("bmsk.wrap.b32 %d, %a, %b;", "b32", {"u32", "u32"})
        .gives(0xff0, {36, 40})
        .gives(0, {0, 32});
}
Test(bits, dp4a)
{
    const auto check = [](const char *op, bool a_signed, bool b_signed) {
        Opcode(op, "b32", {"b32", "b32", "b32"}).like([=](u64 a, u64 b, u64 c) {
            s64 sum = (s64)c;
            for (int n = 0; n < 4; n++) {
                const u8 x = (u8)(a >> 8 * n), y = (u8)(b >> 8 * n);
                sum += (a_signed ? (s64)(s8)x : x) * (b_signed ? (s64)(s8)y : y);
            }
            return (u64)(u32)sum;
        });
    };
    check("dp4a.s32.s32 %d, %a, %b, %c;", true, true);
    check("dp4a.u32.u32 %d, %a, %b, %c;", false, false);
    check("dp4a.s32.u32 %d, %a, %b, %c;", true, false);
}
