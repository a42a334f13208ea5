// Moves, comparisons, selections.
#include "opcode_test.h"

using namespace ptxvm;

Test(predicate, mov)
{
    Opcode("mov.b16 %d, %a;", "b16", {"b16"}).like([](u64 a) { return a; });
    Opcode("mov.u32 %d, %a;", "u32", {"u32"}).like([](u64 a) { return a; });
    Opcode("mov.f64 %d, %a;", "f64", {"f64"}).like([](u64 a) { return a; });
    Opcode("mov.f32 %d, 0f3F800000;", "f32", {"f32"}).gives(f32(1.f), {0});
    Opcode("mov.f64 %d, 0dBFF0000000000000;", "f64", {"f64"}).gives(f64(-1.), {0});
    Opcode("mov.u32 %d, WARP_SZ;", "u32", {"u32"}).gives(32, {0});
    Opcode("mov.s32 %d, -5;", "s32", {"s32"}).gives(0xfffffffb, {0});
    Opcode("mov.pred %d, %a;", "pred", {"pred"}).gives(1, {1}).gives(0, {0});
}
Test(predicate, mov_vectors) // the first element is the lowest
{
    Opcode("mov.b64 %d, {%a, %b};", "b64", {"b32", "b32"}).like([](u64 a, u64 b) {
        return b << 32 | a;
    });
    Opcode("mov.b32 %d, {%a, %b};", "b32", {"b16", "b16"}).like([](u64 a, u64 b) {
        return b << 16 | a;
    });
    Opcode("mov.b64 {%d, _}, %a;", "b32", {"b64"}).like([](u64 a) { return a & 0xffffffff; });
    Opcode("mov.b64 {_, %d}, %a;", "b32", {"b64"}).like([](u64 a) { return a >> 32; });
    Opcode("mov.b32 {_, %d}, %a;", "b16", {"b32"}).like([](u64 a) { return a >> 16; });
}

// a < b and so on; a comparison with a NaN is false, an unordered one true.
static bool holds(const std::string &how, double a, double b)
{
    const bool nan = a != a || b != b;
    if (how == "num" || how == "nan")
        return nan == (how == "nan");
    if (nan)
        return how.size() == 3;
    const std::string op = how.substr(0, 2);
    return op == "eq"   ? a == b
           : op == "ne" ? a != b
           : op == "lt" ? a < b
           : op == "le" ? a <= b
           : op == "gt" ? a > b
                        : a >= b;
}
Test(predicate, setp_floats)
{
    for (const std::string how : {"eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu",
                                  "gtu", "geu", "num", "nan"}) {
        Opcode(("setp." + how + ".f32 %d, %a, %b;").c_str(), "pred", {"f32", "f32"})
            .like([&](u64 a, u64 b) { return (u64)holds(how, as_f32(a), as_f32(b)); });
        Opcode(("setp." + how + ".f64 %d, %a, %b;").c_str(), "pred", {"f64", "f64"})
            .like([&](u64 a, u64 b) { return (u64)holds(how, as_f64(a), as_f64(b)); });
        Opcode(("setp." + how + ".f16 %d, %a, %b;").c_str(), "pred", {"f16", "f16"})
            .like([&](u64 a, u64 b) {
                return (u64)holds(how, half_to_float((u16)a), half_to_float((u16)b));
            });
        Opcode(("setp." + how + ".bf16 %d, %a, %b;").c_str(), "pred", {"bf16", "bf16"})
            .like([&](u64 a, u64 b) {
                return (u64)holds(how, bf16_to_float((u16)a), bf16_to_float((u16)b));
            });
    }
    Opcode("setp.eq.ftz.f32 %d, %a, %b;", "pred", {"f32", "f32"})
        .gives(1, {f32(1e-42f), f32(-0.f)});
}
Test(predicate, setp_integers)
{
    for (const std::string how : {"eq", "ne", "lt", "le", "gt", "ge"}) {
        Opcode(("setp." + how + ".s32 %d, %a, %b;").c_str(), "pred", {"s32", "s32"})
            .like([&](u64 a, u64 b) { return (u64)holds(how, (s32)a, (s32)b); });
        Opcode(("setp." + how + ".u32 %d, %a, %b;").c_str(), "pred", {"u32", "u32"})
            .like([&](u64 a, u64 b) { return (u64)holds(how, (u32)a, (u32)b); });
        Opcode(("setp." + how + ".s16 %d, %a, %b;").c_str(), "pred", {"s16", "s16"})
            .like([&](u64 a, u64 b) { return (u64)holds(how, (s16)a, (s16)b); });
    }
    Opcode("setp.lt.s64 %d, %a, %b;", "pred", {"s64", "s64"}).like([](u64 a, u64 b) {
        return (u64)((s64)a < (s64)b);
    });
    for (const char *op : {"setp.lo.u64 %d, %a, %b;", "setp.lt.u64 %d, %a, %b;"})
        Opcode(op, "pred", {"u64", "u64"}).like([](u64 a, u64 b) { return (u64)(a < b); });
    Opcode("setp.hs.u32 %d, %a, %b;", "pred", {"u32", "u32"}).like([](u64 a, u64 b) {
        return (u64)(a >= b);
    });
}
Test(predicate, setp_combined)
{
    Opcode("setp.lt.and.s32 %d, %a, %b, %c;", "pred", {"s32", "s32", "pred"})
        .like([](u64 a, u64 b, u64 c) { return (u64)((s32)a < (s32)b && c); });
    Opcode("setp.lt.or.s32 %d, %a, %b, !%c;", "pred", {"s32", "s32", "pred"})
        .like([](u64 a, u64 b, u64 c) { return (u64)((s32)a < (s32)b || !c); });
    Opcode("setp.lt.xor.s32 %d, %a, %b, %c;", "pred", {"s32", "s32", "pred"})
        .like([](u64 a, u64 b, u64 c) { return (u64)((s32)a < (s32)b) ^ c; });
    // The second result: the comparison negated, then combined.
    Opcode("setp.lt.and.s32 _|%d, %a, %b, %c;", "pred", {"s32", "s32", "pred"})
        .like([](u64 a, u64 b, u64 c) { return (u64)(!((s32)a < (s32)b) && c); });
}
Test(predicate, set)
{
    Opcode("set.lt.u32.f32 %d, %a, %b;", "u32", {"f32", "f32"}).like([](u64 a, u64 b) {
        return as_f32(a) < as_f32(b) ? 0xffffffff : 0;
    });
    Opcode("set.ge.f32.s32 %d, %a, %b;", "f32", {"s32", "s32"}).like([](u64 a, u64 b) {
        return (s32)a >= (s32)b ? f32(1.f) : 0;
    });
    Opcode("set.eq.and.u32.u32 %d, %a, %b, %c;", "u32", {"u32", "u32", "pred"})
        .like([](u64 a, u64 b, u64 c) { return a == b && c ? 0xffffffff : 0; });
}
Test(predicate, set_pairs) // each half on its own
{
    Opcode("set.le.bf16x2.bf16x2 %d, %a, %b;", "b32", {"b32", "b32"})
        .gives(0x3f800000, {0x3f803f80, 0x40000000})
        .gives(0, {0x7fc04000, 0x3f803f80});
    Opcode("set.gtu.f16x2.f16x2 %d, %a, %b;", "b32", {"b32", "b32"})
        .gives(0x3c000000, {0x7e003c00, 0x3c003c00});
    Opcode("set.eq.u32.f16x2 %d, %a, %b;", "b32", {"b32", "b32"})
        .gives(0x0000ffff, {0x3c008000, 0x3c010000});
}
Test(predicate, selp)
{
    Opcode("selp.b16 %d, %a, %b, %c;", "b16", {"b16", "b16", "pred"}).like([](u64 a, u64 b, u64 c) {
        return c ? a : b;
    });
    Opcode("selp.f32 %d, %a, %b, %c;", "f32", {"f32", "f32", "pred"}).like([](u64 a, u64 b, u64 c) {
        return c ? a : b;
    });
    Opcode("selp.b64 %d, %a, %b, %c;", "b64", {"b64", "b64", "pred"}).like([](u64 a, u64 b, u64 c) {
        return c ? a : b;
    });
}
Test(predicate, slct) // by the sign of c; -0 counts as not negative, NaN as negative
{
    Opcode("slct.b32.s32 %d, %a, %b, %c;", "b32", {"b32", "b32", "s32"})
        .like([](u64 a, u64 b, u64 c) { return (s32)c >= 0 ? a : b; });
    Opcode("slct.f32.f32 %d, %a, %b, %c;", "f32", {"f32", "f32", "f32"})
        .gives(f32(1.f), {f32(1.f), f32(2.f), f32(-0.f)})
        .gives(f32(2.f), {f32(1.f), f32(2.f), f32(NAN)})
        .gives(f32(2.f), {f32(1.f), f32(2.f), f32(-1.f)});
}

Test(predicate, guards)
{
    Run run;
    run.in = counting(32);
    expect_words(
        results_of(".reg .pred %q; .reg .b32 %d; and.b32 %d, %lane, 1; "
                   "setp.ne.u32 %q, %d, 0; mov.u32 %d, 5; @%q mov.u32 %d, 6; "
                   "@!%q add.u32 %d, %d, 2; st.global.u32 [%dst], %d;",
                   run),
        [](unsigned n) { return n % 2 ? 6 : 7; }, "guards");
}
