// Integer arithmetic. What must come out is computed here in 128 bits, or written down.
#include "opcode_test.h"

using namespace ptxvm;

using s128 = __int128;
using u128 = unsigned __int128;

// A value of n bits, as a signed number.
static s128 sign(u64 v, int bits)
{
    return (s128)((u128)v << (128 - bits)) >> (128 - bits);
}
static u64 cut(u128 v, int bits)
{
    return (u64)(v & (((u128)1 << bits) - 1));
}
static s128 number(u64 v, const std::string &type)
{
    const int bits = atoi(type.c_str() + 1);
    return type[0] == 's' ? sign(v, bits) : (s128)cut(v, bits);
}

// Every integer type: `op` with .type appended, compared with f on exact numbers.
static void for_types(const std::string &op, std::vector<std::string> types, size_t operands,
                      const std::function<s128(s128, s128, s128)> &f)
{
    for (const std::string &t : types) {
        const int bits = atoi(t.c_str() + 1);
        const std::string text = op + "." + t + " %d, %a" + (operands > 1 ? ", %b" : "") +
                                 (operands > 2 ? ", %c" : "") + ";";
        Opcode o(text.c_str(), t.c_str(), std::vector<std::string>(operands, t));
        const auto three = [&](u64 a, u64 b, u64 c) {
            return cut((u128)f(number(a, t), number(b, t), number(c, t)), bits);
        };
        if (operands == 1)
            o.like([&](u64 a) { return three(a, 0, 0); });
        else if (operands == 2)
            o.like([&](u64 a, u64 b) { return three(a, b, 0); });
        else
            o.like(three);
    }
}
static const std::vector<std::string> all = {"s16", "u16", "s32", "u32", "s64", "u64"};

Test(integer, add)
{
    for_types("add", all, 2, [](s128 a, s128 b, s128) { return a + b; });
}
Test(integer, add_sat)
{
    Opcode("add.sat.s32 %d, %a, %b;", "s32", {"s32", "s32"}).like([](u64 a, u64 b) {
        const s64 sum = (s64)(s32)a + (s32)b;
        return cut((u128)(sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum), 32);
    });
}
Test(integer, sub)
{
    for_types("sub", all, 2, [](s128 a, s128 b, s128) { return a - b; });
    Opcode("sub.sat.s32 %d, %a, %b;", "s32", {"s32", "s32"})
        .gives(0x80000000, {0x80000000, 1})
        .gives(0x7fffffff, {0x7fffffff, 0xffffffff})
        .gives(0xfffffffe, {1, 3});
}
Test(integer, mul_lo)
{
    for_types("mul.lo", all, 2, [](s128 a, s128 b, s128) { return (s128)((u128)a * (u128)b); });
}
// The upper half of the product of n bits.
static void check_high(const char *op, const char *type, size_t operands)
{
    const int bits = atoi(type + 1);
    for_types(op, {type}, operands, [=](s128 a, s128 b, s128 c) {
        const bool is_signed = type[0] == 's';
        return (is_signed ? a * b >> bits : (s128)((u128)a * (u128)b >> bits)) + c;
    });
}
Test(integer, mul_hi)
{
    for (const char *type : {"s16", "u16", "s32", "u32", "s64", "u64"})
        check_high("mul.hi", type, 2);
}
Test(integer, mul_wide)
{
    Opcode("mul.wide.s32 %d, %a, %b;", "s64", {"s32", "s32"}).like([](u64 a, u64 b) {
        return (u64)((s64)(s32)a * (s64)(s32)b);
    });
    Opcode("mul.wide.u32 %d, %a, %b;", "u64", {"u32", "u32"}).like([](u64 a, u64 b) {
        return a * b;
    });
    Opcode("mul.wide.s16 %d, %a, %b;", "s32", {"s16", "s16"}).like([](u64 a, u64 b) {
        return (u64)(u32)((s16)a * (s16)b);
    });
    Opcode("mul.wide.u16 %d, %a, %b;", "u32", {"u16", "u16"}).like([](u64 a, u64 b) {
        return (u64)(u32)(a * b);
    });
}
Test(integer, mul24)
{
    Opcode("mul24.lo.s32 %d, %a, %b;", "s32", {"s32", "s32"})
        .gives(0xffffff00, {0x00ffffff, 0x100}) // -1 of 24 bits
        .gives(35, {0x7f000005, 7});
    Opcode("mul24.hi.u32 %d, %a, %b;", "u32", {"u32", "u32"})
        .gives(0xfffffe00, {0xffffffff, 0x00ffffff})
        .gives(0, {1, 1});
    Opcode("mad24.lo.u32 %d, %a, %b, %c;", "u32", {"u32", "u32", "u32"}).gives(16, {3, 5, 1});
}
Test(integer, mad_lo)
{
    for_types("mad.lo", all, 3,
              [](s128 a, s128 b, s128 c) { return (s128)((u128)a * (u128)b + (u128)c); });
}
Test(integer, mad_hi)
{
    for (const char *type : {"s32", "u32", "s64", "u64"})
        check_high("mad.hi", type, 3);
}
Test(integer, mad_wide)
{
    Opcode("mad.wide.s32 %d, %a, %b, %c;", "s64", {"s32", "s32", "s64"})
        .like([](u64 a, u64 b, u64 c) { return (u64)((s64)(s32)a * (s64)(s32)b) + c; });
    Opcode("mad.wide.u32 %d, %a, %b, %c;", "u64", {"u32", "u32", "u64"})
        .like([](u64 a, u64 b, u64 c) { return a * b + c; });
    Opcode("mad.wide.u16 %d, %a, %b, %c;", "u32", {"u16", "u16", "u32"})
        .like([](u64 a, u64 b, u64 c) { return (u64)(u32)(a * b + c); });
}

// Division by zero is left open by the ISA: here it is all ones, and the remainder the dividend.
Test(integer, div)
{
    for_types("div", all, 2, [](s128 a, s128 b, s128) { return b ? a / b : -1; });
}
Test(integer, rem)
{
    for_types("rem", all, 2, [](s128 a, s128 b, s128) { return b ? a % b : a; });
}
Test(integer, min)
{
    for_types("min", all, 2, [](s128 a, s128 b, s128) { return a < b ? a : b; });
}
Test(integer, max)
{
    for_types("max", all, 2, [](s128 a, s128 b, s128) { return a < b ? b : a; });
}
Test(integer, neg)
{
    for_types("neg", {"s16", "s32", "s64"}, 1, [](s128 a, s128, s128) { return -a; });
}
Test(integer, abs)
{
    for_types("abs", {"s16", "s32", "s64"}, 1, [](s128 a, s128, s128) { return a < 0 ? -a : a; });
}
Test(integer, sad)
{
    for_types("sad", all, 3, [](s128 a, s128 b, s128 c) { return c + (a < b ? b - a : a - b); });
}

// ---- carry chains: the carry of one instruction goes into the next ----

// 128 bits in four registers: in[0..3] op in[4..7].
static void check_chain(const char *first, const char *next, const char *last,
                        const std::function<u128(u128, u128)> &f)
{
    std::string body = ".reg .b32 %x<8>, %y<4>;\n";
    for (int n = 0; n < 8; n++)
        body += "ld.global.u32 %x" + std::to_string(n) + ", [%in+" + std::to_string(4 * n) + "];\n";
    for (int n = 0; n < 4; n++)
        body += std::string(n == 0  ? first
                            : n < 3 ? next
                                    : last) +
                " %y" + std::to_string(n) + ", %x" + std::to_string(n) + ", %x" +
                std::to_string(n + 4) + ";\n";
    for (int n = 0; n < 4; n++)
        body +=
            "st.global.u32 [%out+" + std::to_string(4 * n) + "], %y" + std::to_string(n) + ";\n";
    const u64 values[] = {0, 1, ~0ull, 0x8000000000000000ull, 0xfedcba9876543210ull};
    for (u64 a : values)
        for (u64 b : values) {
            const u128 x = (u128)a << 64 | b, y = (u128)b << 64 | (a ^ 0x1234);
            Run run;
            run.block.x = 1;
            run.out_words = 4;
            for (const u128 v : {x, y})
                for (int n = 0; n < 4; n++)
                    run.in.push_back((u32)(v >> 32 * n));
            const u128 expected = f(x, y);
            expect_words(
                results_of(body, run), [=](unsigned n) { return (u32)(expected >> 32 * n); },
                first);
        }
}
Test(integer, add_cc_addc)
{
    check_chain("add.cc.u32", "addc.cc.u32", "addc.u32", [](u128 a, u128 b) { return a + b; });
    check_chain("add.cc.s32", "addc.cc.s32", "addc.s32", [](u128 a, u128 b) { return a + b; });
}
Test(integer, sub_cc_subc)
{
    check_chain("sub.cc.u32", "subc.cc.u32", "subc.u32", [](u128 a, u128 b) { return a - b; });
}
Test(integer, add_cc_64)
{
    const char *body = ".reg .b64 %x<4>, %y<2>; ld.global.v2.u64 {%x0, %x1}, [%in];\n"
                       "ld.global.v2.u64 {%x2, %x3}, [%in+16];\n"
                       "add.cc.u64 %y0, %x0, %x2; addc.u64 %y1, %x1, %x3;\n"
                       "st.global.v2.u64 [%out], {%y0, %y1};";
    Run run;
    run.block.x = 1;
    run.out_words = 4;
    run.in = {0xffffffff, 0xffffffff, 5, 0, 1, 0, 7, 0};
    const u32 expected[] = {0, 0, 13, 0};
    expect_words(
        results_of(body, run), [&](unsigned n) { return expected[n]; }, "add.cc.u64");
}
// A product of 64 bits from halves of 32, as compilers write it: mad.lo.cc, madc.hi, madc.lo.
Test(integer, mad_cc_madc)
{
    const char *body =
        ".reg .b32 %a, %b, %c, %lo, %hi, %h2;\n"
        "ld.global.u32 %a, [%in]; ld.global.u32 %b, [%in+4]; ld.global.u32 %c, [%in+8];\n"
        "mad.lo.cc.u32 %lo, %a, %b, %c; madc.hi.u32 %hi, %a, %b, 7;\n"
        "mad.hi.cc.s32 %h2, %a, %b, %c; addc.u32 %h2, %h2, 0;\n"
        "st.global.u32 [%out], %lo; st.global.u32 [%out+4], %hi; st.global.u32 [%out+8], %h2;";
    for (u32 a : {0u, 5u, 0xffffffffu, 0x80000001u})
        for (u32 b : {1u, 0xfffffff0u, 0x7fffffffu})
            for (u32 c : {0u, 1u, 0xffffffffu}) {
                Run run;
                run.block.x = 1;
                run.out_words = 3;
                run.in = {a, b, c};
                const u64 sum = (u64)a * b + c + (7ull << 32);
                const u64 high = (u32)((s64)(s32)a * (s32)b >> 32);
                const u32 third = (u32)(high + c) + (u32)((high + c) >> 32);
                const u32 expected[] = {(u32)sum, (u32)(sum >> 32), third};
                expect_words(
                    results_of(body, run), [&](unsigned n) { return expected[n]; }, "madc");
            }
}
