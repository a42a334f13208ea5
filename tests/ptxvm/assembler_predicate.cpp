// Moves, comparisons and selections.
#include "assembler.h"
#include "lanes.h"

namespace ptxvm
{

// ---- mov ----

struct Same {
    template <class T> T operator()(T a) const
    {
        return a;
    }
};

// mov.b64 d, {a, b}: width of an element, register_width of d.
static void pack(Warp &w, const Instruction &i, u32 lanes)
{
    for_lanes(lanes, [&](int lane) {
        u64 all = 0;
        for (int n = 0; n < i.ins; n++)
            all |= w.get(i.in[n], i.width, lane) << (8 * i.width * n);
        w.put(i.out[0], i.register_width, lane, all);
    });
}
static void unpack(Warp &w, const Instruction &i, u32 lanes)
{
    for_lanes(lanes, [&](int lane) {
        const u64 all = w.get(i.in[0], i.register_width, lane);
        for (int n = 0; n < i.outs; n++)
            if (i.out[n] >= 0)
                w.put(i.out[n], i.width, lane, all >> (8 * i.width * n));
    });
}

void Assembler::op_mov()
{
    need_operands(2, 2);
    if (type == "pred")
        return predicate_logic();
    if (width < 2 || width > 8)
        fail("a move of this type is not implemented");
    const bool packs = operands[1][0] == '{', unpacks = operands[0][0] == '{';
    if (!packs && !unpacks) {
        out(0);
        in(1, width);
        return emit(by_width(width, [](auto t) -> Body { return same1<Same>(t); }));
    }
    const auto members = members_of(operands[packs]);
    current.width = (u8)(width / (int)members.size());
    current.register_width = (u8)width;
    if (current.width < 2)
        fail("elements of 8 bits are not implemented");
    for (const std::string &m : members) {
        if (packs)
            current.in[current.ins++] = input(m, current.width);
        else
            current.out[current.outs++] = output(m);
    }
    if (packs)
        out(0);
    else
        in(1, width);
    emit(packs ? pack : unpack);
}

// ---- and, or, xor, not, mov of predicates: variant 0 .. 4 ----

static void logic_of_predicates(Warp &w, const Instruction &i, u32 lanes)
{
    const u32 a = w.predicate(i.in[0]), b = i.ins > 1 ? w.predicate(i.in[1]) : 0;
    const u32 result = i.variant == 0   ? a & b
                       : i.variant == 1 ? a | b
                       : i.variant == 2 ? a ^ b
                       : i.variant == 3 ? ~a
                                        : a;
    w.set_predicate(i.out[0], lanes, result);
}
void Assembler::predicate_logic()
{
    const char *names[] = {"and", "or", "xor", "not", "mov"};
    while (base != names[current.variant])
        current.variant++;
    need_operands(current.variant < 3 ? 3 : 2, current.variant < 3 ? 3 : 2);
    out(0);
    for (size_t n = 1; n < operands.size(); n++) {
        bool negated;
        current.in[current.ins++] = predicate_input(operands[n], &negated);
        if (negated)
            fail("a negated operand is not implemented");
    }
    emit(logic_of_predicates);
}

// ---- comparisons: variant says which; an "unordered" one is true where an operand is NaN ----

enum Comparison : u8 { eq, ne, lt, le, gt, ge, equ, neu, ltu, leu, gtu, geu, num, nan_ };

template <class T> static bool compare(u8 how, T a, T b)
{
    const bool ordered = a == a && b == b;
    switch (how) {
    case eq:
        return a == b;
    case ne:
        return a != b && ordered;
    case lt:
        return a < b;
    case le:
        return a <= b;
    case gt:
        return a > b;
    case ge:
        return a >= b;
    case equ:
        return a == b || !ordered;
    case neu:
        return a != b || !ordered;
    case ltu:
        return a < b || !ordered;
    case leu:
        return a <= b || !ordered;
    case gtu:
        return a > b || !ordered;
    case geu:
        return a >= b || !ordered;
    case num:
        return ordered;
    default:
        return !ordered;
    }
}

template <class T, class F> static u32 mask_of(const T *a, const T *b, F f)
{
    u32 mask = 0;
    for (int lane = 0; lane < 32; lane++)
        mask |= (u32)f(a[lane], b[lane]) << lane;
    return mask;
}
// The usual ones as loops of their own.
template <class T> static u32 compare_all(Warp &w, const Instruction &i)
{
    const T *a = w.lanes_of<T>(i.in[0]), *b = w.lanes_of<T>(i.in[1]);
    switch (i.variant) {
    case eq:
        return mask_of(a, b, [](T x, T y) { return x == y; });
    case lt:
        return mask_of(a, b, [](T x, T y) { return x < y; });
    case le:
        return mask_of(a, b, [](T x, T y) { return x <= y; });
    case gt:
        return mask_of(a, b, [](T x, T y) { return x > y; });
    case ge:
        return mask_of(a, b, [](T x, T y) { return x >= y; });
    default:
        return mask_of(a, b, [&](T x, T y) { return compare(i.variant, x, y); });
    }
}
template <float (*value)(u16)> static u32 compare_halves(Warp &w, const Instruction &i)
{
    const u16 *a = w.lanes_of<u16>(i.in[0]), *b = w.lanes_of<u16>(i.in[1]);
    return mask_of(a, b, [&](u16 x, u16 y) { return compare(i.variant, value(x), value(y)); });
}
static u32 compare_flushed(Warp &w, const Instruction &i)
{
    const float *a = w.lanes_of<float>(i.in[0]), *b = w.lanes_of<float>(i.in[1]);
    return mask_of(a, b, [&](float x, float y) {
        return compare(i.variant, flush_subnormal(x), flush_subnormal(y));
    });
}

// option: how to combine with the third operand (1 and, 2 or, 3 xor); immediate: it is negated.
static u32 combined(Warp &w, const Instruction &i, u32 result)
{
    const u32 c = i.option ? w.predicate(i.in[2]) ^ (i.immediate ? ~0u : 0) : 0;
    return i.option == 1   ? result & c
           : i.option == 2 ? result | c
           : i.option == 3 ? result ^ c
                           : result;
}
using Compare = u32 (*)(Warp &, const Instruction &);
template <Compare f> static void setp(Warp &w, const Instruction &i, u32 lanes)
{
    const u32 result = f(w, i);
    const u32 yes = combined(w, i, result), no = combined(w, i, ~result);
    if (i.out[0] >= 0)
        w.set_predicate(i.out[0], lanes, yes);
    if (i.outs > 1 && i.out[1] >= 0)
        w.set_predicate(i.out[1], lanes, no);
}
// set: all bits, or 1.0f (register_width 1 says that it is a real number).
template <Compare f> static void set(Warp &w, const Instruction &i, u32 lanes)
{
    const u32 result = combined(w, i, f(w, i)), one = i.register_width == 1 ? 0x3f800000 : ~0u;
    write_lanes(w.lanes_of<u32>(i.out[0]), lanes,
                [=](int lane) { return result >> lane & 1 ? one : 0; });
}

// set of pairs: immediate is what a half becomes where the comparison holds.
template <float (*value)(u16)> static void set_pair(Warp &w, const Instruction &i, u32 lanes)
{
    const u32 *a = w.lanes_of<u32>(i.in[0]), *b = w.lanes_of<u32>(i.in[1]);
    const u32 one = (u32)i.immediate;
    write_lanes(w.lanes_of<u32>(i.out[0]), lanes, [=](int lane) {
        u32 result = 0;
        for (int h = 0; h < 32; h += 16)
            if (compare(i.variant, value((u16)(a[lane] >> h)), value((u16)(b[lane] >> h))))
                result |= one << h;
        return result;
    });
}

// Takes the comparison and what follows it; operands from the second on.
void Assembler::comparison()
{
    static const std::map<std::string, Comparison> names = {
        {"eq", eq},   {"ne", ne},   {"lt", lt},   {"le", le},   {"gt", gt},   {"ge", ge},
        {"lo", lt},   {"ls", le},   {"hi", gt},   {"hs", ge},   {"equ", equ}, {"neu", neu},
        {"ltu", ltu}, {"leu", leu}, {"gtu", gtu}, {"geu", geu}, {"num", num}, {"nan", nan_}};
    const auto it = names.find(modifiers[0]);
    if (it == names.end())
        fail("this comparison is not implemented");
    understood[0] = true;
    current.variant = it->second;
    current.option = take("and") ? 1 : take("or") ? 2 : take("xor") ? 3 : 0;
    need_operands(current.option ? 4 : 3, current.option ? 4 : 3);
    ins(1, 2, width);
    if (current.option) {
        bool negated;
        current.in[current.ins++] = predicate_input(operands[3], &negated);
        current.immediate = negated;
    }
}

void Assembler::op_setp()
{
    out_pair(0);
    comparison();
    const bool flush = take("ftz");
    if (type == "f16")
        return emit(setp<compare_halves<half_to_float>>);
    if (type == "bf16")
        return emit(setp<compare_halves<bf16_to_float>>);
    if (type == "f32" && flush)
        return emit(setp<compare_flushed>);
    emit(by_number(type,
                   [](auto t) -> Body { return setp<compare_all<typename decltype(t)::type>>; }));
}

void Assembler::op_set() // set.lt.u32.f32 d, a, b
{
    out(0);
    comparison();
    const std::string to = modifiers.size() > 1 ? modifiers[modifiers.size() - 2] : "";
    take(to.c_str());
    if (contains(type, "x2")) {
        if (current.option || (to != type && to != "u32"))
            fail("this form is not implemented");
        current.immediate = to == "u32" ? 0xffff : to == "f16x2" ? 0x3c00 : 0x3f80;
        return emit(type == "f16x2" ? set_pair<half_to_float> : set_pair<bf16_to_float>);
    }
    if (to != "u32" && to != "s32" && to != "f32")
        fail("this result is not implemented");
    current.register_width = to == "f32" ? 1 : 4;
    if (type == "f32" && take("ftz"))
        return emit(set<compare_flushed>);
    emit(by_number(type,
                   [](auto t) -> Body { return set<compare_all<typename decltype(t)::type>>; }));
}

// ---- selp, slct, testp ----

template <class T> static void selp(Warp &w, const Instruction &i, u32 lanes)
{
    const T *a = w.lanes_of<T>(i.in[0]), *b = w.lanes_of<T>(i.in[1]);
    const u32 p = w.predicate(i.in[2]) ^ (i.option ? ~0u : 0);
    write_lanes(w.lanes_of<T>(i.out[0]), lanes,
                [=](int lane) { return p >> lane & 1 ? a[lane] : b[lane]; });
}
void Assembler::op_selp()
{
    bool negated;
    need_operands(4, 4);
    if (width < 2 || width > 8)
        fail("this type is not implemented");
    out(0);
    ins(1, 2, width);
    current.in[current.ins++] = predicate_input(operands[3], &negated);
    current.option = negated;
    emit(by_width(width, [](auto t) -> Body { return selp<typename decltype(t)::type>; }));
}

template <class T> struct Slct { // c >= 0 ? a : b; for a NaN b
    T operator()(T a, T b, s32 c) const
    {
        return c >= 0 ? a : b;
    }
    T operator()(T a, T b, float c) const
    {
        return c >= 0 ? a : b;
    }
};
void Assembler::op_slct() // slct.u32.s32 d, a, b, c
{
    need_operands(4, 4);
    ignore({"ftz"}); // a subnormal flushed compares like itself with 0, but for its sign
    const std::string of = modifiers.at(0);
    const int w = width_of(of);
    understood[0] = true;
    if (w < 2 || w > 8 || (type != "s32" && type != "f32"))
        fail("this type is not implemented");
    if (type == "f32" && contains(opcode, "ftz"))
        fail("slct.ftz is not implemented");
    out(0);
    ins(1, 2, w);
    in(3, 4);
    const bool real = type == "f32";
    emit(by_width(w, [real](auto t) -> Body {
        using T = typename decltype(t)::type;
        return real ? (Body)body3<Slct<T>, T, T, T, float> : (Body)body3<Slct<T>, T, T, T, s32>;
    }));
}

template <class T> static void testp(Warp &w, const Instruction &i, u32 lanes)
{
    const T *a = w.lanes_of<T>(i.in[0]);
    u32 yes = 0;
    for_lanes(lanes, [&](int lane) {
        const int kind = std::fpclassify(a[lane]);
        const bool is[] = {kind != FP_NAN && kind != FP_INFINITE,
                           kind == FP_INFINITE,
                           kind != FP_NAN,
                           kind == FP_NAN,
                           kind == FP_NORMAL || kind == FP_ZERO,
                           kind == FP_SUBNORMAL};
        yes |= (u32)is[i.variant] << lane;
    });
    w.set_predicate(i.out[0], lanes, yes);
}
void Assembler::op_testp() // the ISA counts zero among the normal numbers
{
    const char *names[] = {"finite", "infinite", "number", "notanumber", "normal", "subnormal"};
    need_operands(2, 2);
    for (u8 n = 0; n < 6; n++)
        if (take(names[n]))
            current.variant = n;
    out(0);
    in(1, width);
    emit(type == "f32" ? testp<float> : type == "f64" ? testp<double> : (Body) nullptr);
}

} // namespace ptxvm
