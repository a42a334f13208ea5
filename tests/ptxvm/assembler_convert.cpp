// cvt.
#include "assembler.h"
#include "lanes.h"
#include <cfenv>

namespace ptxvm
{

namespace
{

enum Rounding : u8 { unsaid, nearest, zero, down, up, to_integer = 8 }; // to_integer: .rni ...
constexpr u8 saturate = 1, flush = 2, relu = 4;                         // Instruction::option

struct F16 {
    u16 bits;
};
struct Bf16 {
    u16 bits;
};
template <class T>
constexpr bool is_half_type = std::is_same<T, F16>::value || std::is_same<T, Bf16>::value;
template <class T>
constexpr bool is_float_type = std::is_floating_point<T>::value || is_half_type<T>;

template <class T> auto value_of(T x)
{
    if constexpr (std::is_same<T, F16>::value)
        return half_to_float(x.bits);
    else if constexpr (std::is_same<T, Bf16>::value)
        return bf16_to_float(x.bits);
    else
        return x;
}

template <class T> T integral(T x, u8 rounding)
{
    switch (rounding & 7) {
    case zero:
        return std::trunc(x);
    case down:
        return std::floor(x);
    case up:
        return std::ceil(x);
    default:
        return std::nearbyint(x); // the mode is always to nearest even
    }
}

// Correctly rounded from a value that a double holds exactly.
template <class D> D narrowed(double x, u8 rounding)
{
    if constexpr (std::is_same<D, double>::value) {
        return x;
    } else if constexpr (std::is_same<D, float>::value) {
        const float f = (float)x;
        if (rounding == zero && fabs((double)f) > fabs(x))
            return nextafterf(f, 0.f);
        if (rounding == down && (double)f > x)
            return nextafterf(f, -INFINITY);
        if (rounding == up && (double)f < x)
            return nextafterf(f, INFINITY);
        return f;
    } else {
        constexpr bool half = std::is_same<D, F16>::value;
        const float f = round_to_odd(x);
        const bool truncate = rounding == zero;
        return D{half       ? truncate ? float_to_half_toward_zero(f) : float_to_half(f)
                       : truncate ? float_to_bf16_toward_zero(f)
                            : float_to_bf16(f)};
    }
}

// Out of range: the nearest number. NaN: 0, but the lowest bit pattern with the top bit set where
// either side has 64 bits (PTX ISA, cvt).
template <class D, class S> D to_integer_type(S x, u8 rounding)
{
    using Limits = std::numeric_limits<D>;
    if (x != x)
        return sizeof(S) == 8 || sizeof(D) == 8 ? (D)(1ull << (8 * sizeof(D) - 1)) : (D)0;
    const double whole = (double)integral(x, rounding == unsaid ? (u8)zero : rounding);
    if (whole <= (double)Limits::min())
        return Limits::min();
    if (whole >= (double)Limits::max())
        return Limits::max();
    return (D)whole;
}

template <class D, class S> D convert(S from, u8 rounding, u8 option)
{
    auto x = value_of(from);
    if constexpr (std::is_same<decltype(x), float>::value)
        if (option & flush)
            x = flush_subnormal(x);
    if constexpr (is_float_type<D> && is_float_type<S>) {
        if (rounding & to_integer)
            x = integral(x, rounding);
        if (option & saturate)
            x = x > 0 ? std::min(x, (decltype(x))1) : 0;
        if (option & relu)
            x = x < 0 ? 0 : x;
        D y = narrowed<D>((double)x, rounding);
        if constexpr (std::is_same<D, float>::value)
            if (option & flush)
                y = flush_subnormal(y);
        return y;
    } else if constexpr (is_float_type<S>) {
        return to_integer_type<D>(x, rounding);
    } else if constexpr (std::is_floating_point<D>::value) {
        // 64-bit integers are rounded once, in the direction asked for.
        if (rounding < zero)
            return (D)x;
        static const int modes[] = {0, 0, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
        fesetround(modes[rounding]);
        volatile S moved = x;
        volatile D y = (D)moved;
        fesetround(FE_TONEAREST);
        return y;
    } else if constexpr (is_half_type<D>) {
        return narrowed<D>((double)x, rounding);
    } else if (option & saturate) {
        using Limits = std::numeric_limits<D>;
        const __int128 wide = x;
        return (D)std::max<__int128>(Limits::min(), std::min<__int128>(Limits::max(), wide));
    } else {
        return (D)x;
    }
}

// width, register_width: of the registers of source and result, which may be wider than the types.
template <class D, class S> void cvt(Warp &w, const Instruction &i, u32 lanes)
{
    for_lanes(lanes, [&](int lane) {
        const u64 raw = w.get(i.in[0], i.width, lane);
        S from;
        memcpy(&from, &raw, sizeof from);
        const D to = convert<D, S>(from, i.variant, i.option);
        u64 out = 0;
        if constexpr (std::is_integral<D>::value)
            out = (u64)(s64)to; // sign- or zero-extended
        else
            memcpy(&out, &to, sizeof to);
        w.put(i.out[0], i.register_width, lane, out);
    });
}
// The frequent ones as loops that the compiler vectorises.
struct BrainOf {
    u16 operator()(float a) const
    {
        return float_to_bf16(a);
    }
};
struct OfBrain {
    float operator()(u16 a) const
    {
        return bf16_to_float(a);
    }
};
struct OfHalf {
    float operator()(u16 a) const
    {
        return half_to_float(a);
    }
};
struct Widen {
    u64 operator()(u32 a) const
    {
        return a;
    }
    s64 operator()(s32 a) const
    {
        return a;
    }
};

template <class D> Body from_type(const std::string &from)
{
    static const std::map<std::string, Body> table = {
        {"u8", cvt<D, u8>},     {"s8", cvt<D, s8>},     {"u16", cvt<D, u16>},
        {"s16", cvt<D, s16>},   {"u32", cvt<D, u32>},   {"s32", cvt<D, s32>},
        {"u64", cvt<D, u64>},   {"s64", cvt<D, s64>},   {"f16", cvt<D, F16>},
        {"bf16", cvt<D, Bf16>}, {"f32", cvt<D, float>}, {"f64", cvt<D, double>}};
    const auto it = table.find(from);
    return it == table.end() ? nullptr : it->second;
}
Body conversion(const std::string &to, const std::string &from)
{
    using Pick = Body (*)(const std::string &);
    static const std::map<std::string, Pick> table = {
        {"u8", from_type<u8>},     {"s8", from_type<s8>},     {"u16", from_type<u16>},
        {"s16", from_type<s16>},   {"u32", from_type<u32>},   {"s32", from_type<s32>},
        {"u64", from_type<u64>},   {"s64", from_type<s64>},   {"f16", from_type<F16>},
        {"bf16", from_type<Bf16>}, {"f32", from_type<float>}, {"f64", from_type<double>}};
    const auto it = table.find(to);
    return it == table.end() ? nullptr : it->second(from);
}

// ---- pairs: the first operand becomes the upper half ----

template <u16 (*round)(float), bool relu_too> struct Pair16 {
    u32 operator()(float a, float b) const
    {
        const auto one = [](float x) { return round(relu_too && x < 0 ? 0.f : x); };
        return (u32)one(a) << 16 | one(b);
    }
};
template <u8 (*round)(float), bool relu_too> struct Pair8 {
    u16 operator()(float a, float b) const
    {
        const auto one = [](float x) { return round(relu_too && x < 0 ? 0.f : x); };
        return (u16)(one(a) << 8 | one(b));
    }
};
template <u8 (*round)(float), bool relu_too> struct Pair8OfHalves {
    u16 operator()(u32 a) const
    {
        return Pair8<round, relu_too>()(half_to_float((u16)(a >> 16)), half_to_float((u16)a));
    }
};
template <float (*value)(u8), bool relu_too> struct HalvesOfPair8 {
    u32 operator()(u16 a) const
    {
        return Pair16<float_to_half, relu_too>()(value((u8)(a >> 8)), value((u8)a));
    }
};
template <bool r>
Body pair_conversion(const std::string &to, const std::string &from, bool truncate)
{
    if (to == "bf16x2" && from == "f32")
        return truncate ? body2<Pair16<float_to_bf16_toward_zero, r>, u32, float, float>
                        : body2<Pair16<float_to_bf16, r>, u32, float, float>;
    if (to == "f16x2" && from == "f32")
        return truncate ? body2<Pair16<float_to_half_toward_zero, r>, u32, float, float>
                        : body2<Pair16<float_to_half, r>, u32, float, float>;
    if (to == "e4m3x2" && from == "f32")
        return body2<Pair8<float_to_e4m3, r>, u16, float, float>;
    if (to == "e5m2x2" && from == "f32")
        return body2<Pair8<float_to_e5m2, r>, u16, float, float>;
    if (to == "e4m3x2" && from == "f16x2")
        return body1<Pair8OfHalves<float_to_e4m3, r>, u16, u32>;
    if (to == "e5m2x2" && from == "f16x2")
        return body1<Pair8OfHalves<float_to_e5m2, r>, u16, u32>;
    if (to == "f16x2" && from == "e4m3x2")
        return body1<HalvesOfPair8<e4m3_to_float, r>, u32, u16>;
    if (to == "f16x2" && from == "e5m2x2")
        return body1<HalvesOfPair8<e5m2_to_float, r>, u32, u16>;
    return nullptr;
}

struct ToTf32 {
    u32 operator()(float a) const
    {
        return float_to_tf32(a);
    }
};

// cvt.pack.sat.D.s32.b32 d, a, b, c: b in the lowest bits, a above it, c's bits above those.
template <class T> struct PackSaturated {
    u32 operator()(s32 a, s32 b, u32 c) const
    {
        const auto one = [](s32 x) {
            using L = std::numeric_limits<T>;
            return (u32)(std::make_unsigned_t<T>)std::max<s32>(L::min(),
                                                               std::min<s32>(L::max(), x));
        };
        const int bits = 8 * sizeof(T);
        return (u32)((u64)c << 2 * bits) | one(a) << bits | one(b);
    }
};

} // namespace

void Assembler::convert_pair(const std::string &to, const std::string &from)
{
    if (!contains(opcode, ".satfinite") && to[0] == 'e')
        fail("a conversion to fp8 without .satfinite");
    if (contains(opcode, ".satfinite") && to[0] != 'e')
        fail(".satfinite is not implemented");
    ignore({"rn", "satfinite"});
    const bool truncate = take("rz"), with_relu = take("relu");
    const bool two = from == "f32";
    need_operands(two ? 3 : 2, two ? 3 : 2);
    out(0);
    ins(1, two ? 2 : 1, width_of(from));
    if (register_width(operands[0]) != width_of(to))
        fail("a register of the wrong width");
    emit(with_relu ? pair_conversion<true>(to, from, truncate)
                   : pair_conversion<false>(to, from, truncate));
}

void Assembler::convert_pack()
{
    need_operands(3, 4);
    const std::string to = modifiers.size() > 2 ? modifiers[2] : "";
    const bool bytes = to == "u8" || to == "s8";
    if (!take("sat") || !contains(opcode, ".s32") || operands.size() != (bytes ? 4u : 3u))
        fail("this form is not implemented");
    understood.assign(understood.size(), true);
    out(0);
    ins(1, 2, 4);
    current.in[current.ins++] = bytes ? input(operands[3], 4) : constant(0, 4);
    emit(to == "u8"    ? body3<PackSaturated<u8>, u32, s32, s32, u32>
         : to == "s8"  ? body3<PackSaturated<s8>, u32, s32, s32, u32>
         : to == "u16" ? body3<PackSaturated<u16>, u32, s32, s32, u32>
         : to == "s16" ? body3<PackSaturated<s16>, u32, s32, s32, u32>
                       : (Body) nullptr);
}

void Assembler::op_cvt()
{
    if (take("pack"))
        return convert_pack();
    if (modifiers.size() < 2)
        fail("a conversion needs two types");
    const std::string from = type, to = modifiers[modifiers.size() - 2];
    take(to.c_str());
    if (contains(to, "x2"))
        return convert_pair(to, from);
    need_operands(2, 2);
    out(0);
    if (to == "tf32") {
        in(1, 4);
        return take("rna") ? emit(body1<ToTf32, u32, float>) : fail("only .rna is implemented");
    }
    const int from_width = register_width(operands[1]);
    current.width = (u8)(from_width ? from_width : std::max(width, 2));
    current.register_width = (u8)register_width(operands[0]);
    in(1, current.width);
    const struct {
        const char *name;
        u8 rounding;
    } roundings[] = {{"rn", nearest},
                     {"rz", zero},
                     {"rm", down},
                     {"rp", up},
                     {"rni", nearest | to_integer},
                     {"rzi", zero | to_integer},
                     {"rmi", down | to_integer},
                     {"rpi", up | to_integer}};
    for (const auto &r : roundings)
        if (take(r.name))
            current.variant = r.rounding;
    current.option =
        (u8)((take("sat") ? saturate : 0) | (take("ftz") ? flush : 0) | (take("relu") ? relu : 0));
    if ((to == "f16" || to == "bf16") && (current.variant & 7) > zero &&
        !(current.variant & to_integer))
        fail("this rounding is not implemented");
    const bool plain = current.option == 0 && current.register_width == width_of(to) &&
                       current.width == width && !(current.variant & to_integer);
    if (plain && to == "bf16" && from == "f32" && current.variant == nearest)
        return emit(body1<BrainOf, u16, float>);
    if (plain && to == "f32" && from == "bf16")
        return emit(body1<OfBrain, float, u16>);
    if (plain && to == "f32" && from == "f16")
        return emit(body1<OfHalf, float, u16>);
    if (plain && to == "u64" && from == "u32")
        return emit(body1<Widen, u64, u32>);
    if (plain && to == "s64" && from == "s32")
        return emit(body1<Widen, s64, s32>);
    emit(conversion(to, from));
}

} // namespace ptxvm
