// Logic, shifts, bit fields, permutations.
#include "assembler.h"
#include "device.h"
#include "lanes.h"

namespace ptxvm
{

struct And {
    template <class T> T operator()(T a, T b) const
    {
        return (T)(a & b);
    }
};
struct Or {
    template <class T> T operator()(T a, T b) const
    {
        return (T)(a | b);
    }
};
struct Xor {
    template <class T> T operator()(T a, T b) const
    {
        return (T)(a ^ b);
    }
};
struct Not {
    template <class T> T operator()(T a) const
    {
        return (T)~a;
    }
};
struct IsZero {
    template <class T> T operator()(T a) const
    {
        return a == 0;
    }
};

void Assembler::op_logic()
{
    if (type == "pred")
        return predicate_logic();
    const bool one = base == "not" || base == "cnot";
    need_operands(one ? 2 : 3, one ? 2 : 3);
    if (width < 2 || width > 8)
        fail("this type is not implemented");
    out(0);
    ins(1, one ? 1 : 2, width);
    emit(by_width(width, [this](auto t) -> Body {
        return base == "and"   ? same2<And>(t)
               : base == "or"  ? same2<Or>(t)
               : base == "xor" ? same2<Xor>(t)
               : base == "not" ? same1<Not>(t)
                               : same1<IsZero>(t);
    }));
}

// Shifts by the width or more give zeros, or the sign.
struct ShiftLeft {
    template <class T> T operator()(T a, u32 by) const
    {
        return by >= 8 * sizeof(T) ? (T)0 : (T)((u64)a << by);
    }
};
struct ShiftRight {
    template <class T> T operator()(T a, u32 by) const
    {
        if (by < 8 * sizeof(T))
            return (T)(a >> by);
        return a < 0 ? (T)-1 : (T)0;
    }
};
template <class F> static Body shift(const std::string &type)
{
    return by_integer(type, [](auto t) -> Body {
        using T = typename decltype(t)::type;
        return body2<F, T, T, u32>;
    });
}
void Assembler::op_shl()
{
    need_operands(3, 3);
    out(0);
    in(1, width);
    in(2, 4);
    emit(shift<ShiftLeft>(type));
}
void Assembler::op_shr()
{
    need_operands(3, 3);
    out(0);
    in(1, width);
    in(2, 4);
    emit(shift<ShiftRight>(type));
}

template <bool left, bool wrap> struct Funnel { // of b:a; the upper or the lower half
    u32 operator()(u32 a, u32 b, u32 c) const
    {
        const u32 by = wrap ? c & 31 : std::min(c, 32u);
        const u64 both = (u64)b << 32 | a;
        return left ? (u32)(both << by >> 32) : (u32)(both >> by);
    }
};
void Assembler::op_shf()
{
    const bool left = take("l"), wrap = take("wrap");
    if ((!left && !take("r")) || (!wrap && !take("clamp")) || width != 4)
        fail("this form is not implemented");
    need_operands(4, 4);
    out(0);
    ins(1, 3, 4);
    emit(left   ? wrap ? body3<Funnel<true, true>, u32, u32, u32, u32>
                       : body3<Funnel<true, false>, u32, u32, u32, u32>
           : wrap ? body3<Funnel<false, true>, u32, u32, u32, u32>
                : body3<Funnel<false, false>, u32, u32, u32, u32>);
}

// Bit n of the table is the result where a, b, c are the bits 2, 1, 0 of n.
static void lop3(Warp &w, const Instruction &i, u32 lanes)
{
    const u32 *a = w.lanes_of<u32>(i.in[0]), *b = w.lanes_of<u32>(i.in[1]);
    const u32 *c = w.lanes_of<u32>(i.in[2]);
    u32 result[32] = {};
    for (int n = 0; n < 8; n++)
        if (i.immediate >> n & 1)
            for (int lane = 0; lane < 32; lane++)
                result[lane] |= (n & 4 ? a[lane] : ~a[lane]) & (n & 2 ? b[lane] : ~b[lane]) &
                                (n & 1 ? c[lane] : ~c[lane]);
    write_lanes(w.lanes_of<u32>(i.out[0]), lanes, [&](int lane) { return result[lane]; });
}
void Assembler::op_lop3()
{
    need_operands(5, 5);
    if (width != 4)
        fail("this type is not implemented");
    out(0);
    ins(1, 3, 4);
    current.immediate = strtol(operands[4].c_str(), nullptr, 0);
    emit(lop3);
}

// The selectors of prmt's modes for c mod 4 (PTX ISA, table of prmt).
static u32 prmt_selector(int mode, u32 c)
{
    static const u16 f4e[] = {0x3210, 0x4321, 0x5432, 0x6543};
    static const u16 b4e[] = {0x5670, 0x6701, 0x7012, 0x0123};
    static const u16 rc8[] = {0x0000, 0x1111, 0x2222, 0x3333};
    static const u16 ecl[] = {0x3210, 0x3211, 0x3222, 0x3333};
    static const u16 ecr[] = {0x0000, 0x1110, 0x2210, 0x3210};
    static const u16 rc16[] = {0x1010, 0x3232, 0x1010, 0x3232};
    static const u16 *const tables[] = {f4e, b4e, rc8, ecl, ecr, rc16};
    return mode ? tables[mode - 1][c & 3] : c;
}
static void prmt(Warp &w, const Instruction &i, u32 lanes)
{
    const u32 *a = w.lanes_of<u32>(i.in[0]), *b = w.lanes_of<u32>(i.in[1]);
    const u32 *c = w.lanes_of<u32>(i.in[2]);
    const int mode = i.variant;
    write_lanes(w.lanes_of<u32>(i.out[0]), lanes, [=](int lane) {
        const u64 bytes = (u64)b[lane] << 32 | a[lane];
        const u32 selector = prmt_selector(mode, c[lane]);
        u32 result = 0;
        for (int n = 0; n < 4; n++) {
            const u32 pick = selector >> 4 * n & 15;
            const u32 byte = (u32)(bytes >> 8 * (pick & 7)) & 255;
            result |= (pick & 8 ? (byte & 128 ? 255 : 0) : byte) << 8 * n; // bit 3: the sign
        }
        return result;
    });
}
void Assembler::op_prmt()
{
    const char *modes[] = {"f4e", "b4e", "rc8", "ecl", "ecr", "rc16"};
    for (u8 n = 0; n < 6; n++)
        if (take(modes[n]))
            current.variant = (u8)(n + 1);
    take("b32");
    need_operands(4, 4);
    out(0);
    ins(1, 3, 4);
    emit(prmt);
}

// Position and length count modulo 256.
struct Extract {
    template <class T> T operator()(T a, u32 position, u32 length) const
    {
        const u32 bits = 8 * sizeof(T), at = position & 255, n = length & 255;
        // The sign of the field, or of the value where the field reaches beyond it.
        const u32 last = std::min(at + n - 1, bits - 1);
        const bool negative = n && std::is_signed<T>::value && (a >> last & 1);
        using U = std::make_unsigned_t<T>;
        U field = at < bits ? (U)((U)a >> at) : (U)0;
        const u32 kept = at < bits ? std::min(n, bits - at) : 0;
        const U mask = kept >= bits ? (U)-1 : (U)(((U)1 << kept) - 1);
        field &= mask;
        return (T)(negative ? (U)(field | (U)~mask) : field);
    }
};
template <class T> static void insert(Warp &w, const Instruction &i, u32 lanes)
{
    const T *a = w.lanes_of<T>(i.in[0]), *b = w.lanes_of<T>(i.in[1]);
    const u32 *c = w.lanes_of<u32>(i.in[2]), *d = w.lanes_of<u32>(i.in[3]);
    const u32 bits = 8 * sizeof(T);
    write_lanes(w.lanes_of<T>(i.out[0]), lanes, [=](int lane) {
        const u32 at = c[lane] & 255, n = d[lane] & 255;
        if (at >= bits)
            return b[lane];
        const T ones = n >= bits ? (T)-1 : (T)(((T)1 << n) - 1);
        const T mask = (T)(ones << at);
        return (T)((b[lane] & ~mask) | ((T)(a[lane] << at) & mask));
    });
}
void Assembler::op_bfe()
{
    need_operands(4, 4);
    if (type != "u32" && type != "s32" && type != "u64" && type != "s64")
        fail("this type is not implemented");
    out(0);
    in(1, width);
    ins(2, 3, 4);
    emit(by_integer(type, [](auto t) -> Body {
        using T = typename decltype(t)::type;
        return body3<Extract, T, T, u32, u32>;
    }));
}
void Assembler::op_bfi()
{
    need_operands(5, 5);
    if (type != "b32" && type != "b64")
        fail("this type is not implemented");
    out(0);
    ins(1, 2, width);
    ins(3, 4, 4);
    emit(width == 8 ? insert<u64> : insert<u32>);
}

// The highest bit that differs from the sign; -1: none. shiftamt: how far it is from the top.
template <bool amount> struct FindBit {
    template <class T> u32 operator()(T a) const
    {
        const std::make_unsigned_t<T> bits = a < 0 ? (T)~a : a;
        if (!bits)
            return ~0u;
        const u32 from_top = (u32)__builtin_clzll(bits) - (64 - 8 * (u32)sizeof(T));
        return amount ? from_top : 8 * (u32)sizeof(T) - 1 - from_top;
    }
};
template <bool amount> static Body find_bit(const std::string &type)
{
    return type == "u32"   ? body1<FindBit<amount>, u32, u32>
           : type == "s32" ? body1<FindBit<amount>, u32, s32>
           : type == "u64" ? body1<FindBit<amount>, u32, u64>
           : type == "s64" ? body1<FindBit<amount>, u32, s64>
                           : (Body) nullptr;
}
void Assembler::op_bfind()
{
    need_operands(2, 2);
    out(0);
    in(1, width);
    emit(take("shiftamt") ? find_bit<true>(type) : find_bit<false>(type));
}

struct CountOnes {
    template <class T> u32 operator()(T a) const
    {
        return (u32)__builtin_popcountll(a);
    }
};
struct CountZeros { // from the top
    template <class T> u32 operator()(T a) const
    {
        return a ? (u32)__builtin_clzll(a) - (64 - 8 * (u32)sizeof(T)) : 8 * (u32)sizeof(T);
    }
};
struct Reverse {
    template <class T> T operator()(T a) const
    {
        T result = 0;
        for (u32 n = 0; n < 8 * sizeof(T); n++)
            result |= (T)((a >> n & 1) << (8 * sizeof(T) - 1 - n));
        return result;
    }
};
void Assembler::op_bits()
{
    need_operands(2, 2);
    if (type != "b32" && type != "b64")
        fail("this type is not implemented");
    out(0);
    in(1, width);
    const bool wide = width == 8;
    if (base == "popc")
        return emit(wide ? body1<CountOnes, u32, u64> : body1<CountOnes, u32, u32>);
    if (base == "clz")
        return emit(wide ? body1<CountZeros, u32, u64> : body1<CountZeros, u32, u32>);
    emit(wide ? body1<Reverse, u64, u64> : body1<Reverse, u32, u32>);
}

template <class A, class B> struct Dot { // of four bytes
    u32 operator()(u32 a, u32 b, u32 c) const
    {
        s32 sum = (s32)c;
        for (int n = 0; n < 4; n++)
            sum = (s32)((u32)sum + (u32)((s32)(A)(a >> 8 * n) * (s32)(B)(b >> 8 * n)));
        return (u32)sum;
    }
};
void Assembler::op_dp4a()
{
    need_operands(4, 4);
    out(0);
    ins(1, 3, 4);
    const bool a = modifiers.at(0) == "s32", b = type == "s32";
    if ((!a && modifiers[0] != "u32") || (!b && type != "u32"))
        fail("this type is not implemented");
    understood.assign(understood.size(), true);
    emit(a   ? b ? body3<Dot<s8, s8>, u32, u32, u32, u32> : body3<Dot<s8, u8>, u32, u32, u32, u32>
           : b ? body3<Dot<u8, s8>, u32, u32, u32, u32>
             : body3<Dot<u8, u8>, u32, u32, u32, u32>);
}

// bmsk.clamp|wrap: ones from bit a on, b of them.
template <bool wrap> struct BitMask {
    u32 operator()(u32 a, u32 b) const
    {
        const u32 at = wrap ? a & 31 : std::min(a, 32u), n = wrap ? b & 31 : std::min(b, 32u);
        return (u32)(((1ull << n) - 1) << at);
    }
};
void Assembler::op_bmsk()
{
    need_operands(3, 3);
    out(0);
    ins(1, 2, 4);
    if (take("wrap"))
        return emit(body2<BitMask<true>, u32, u32, u32>);
    take("clamp");
    emit(body2<BitMask<false>, u32, u32, u32>);
}

} // namespace ptxvm
