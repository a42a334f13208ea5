// Integer arithmetic, and the opcodes that integers share with real numbers.
#include "assembler.h"
#include "lanes.h"

namespace ptxvm
{

// Two's complement: computed unsigned, so that overflow wraps.
template <class T>
using Wide = std::conditional_t<std::is_signed<T>::value, __int128, unsigned __int128>;

struct Add {
    template <class T> T operator()(T a, T b) const
    {
        return (T)((u64)a + (u64)b);
    }
};
struct Subtract {
    template <class T> T operator()(T a, T b) const
    {
        return (T)((u64)a - (u64)b);
    }
};
struct AddSaturating {
    s32 operator()(s32 a, s32 b) const
    {
        return (s32)std::min<s64>(std::max<s64>((s64)a + b, INT32_MIN), INT32_MAX);
    }
};
struct SubtractSaturating {
    s32 operator()(s32 a, s32 b) const
    {
        return (s32)std::min<s64>(std::max<s64>((s64)a - b, INT32_MIN), INT32_MAX);
    }
};
struct Low {
    template <class T> T operator()(T a, T b, T c = 0) const
    {
        return (T)((u64)a * (u64)b + (u64)c);
    }
};
struct High {
    template <class T> T operator()(T a, T b, T c = 0) const
    {
        return (T)((u64)(T)((Wide<T>)a * (Wide<T>)b >> (8 * sizeof(T))) + (u64)c);
    }
};
template <class D> struct Widened {
    template <class T> D operator()(T a, T b, D c = 0) const
    {
        return (D)((u64)((D)a * (D)b) + (u64)c);
    }
};
// Division by zero: the ISA leaves the value open.
struct Divide {
    template <class T> T operator()(T a, T b) const
    {
        if (std::is_signed<T>::value && b == (T)-1)
            return (T)(0 - (u64)a);
        return b ? (T)(a / b) : (T)-1;
    }
};
struct Remainder {
    template <class T> T operator()(T a, T b) const
    {
        if (std::is_signed<T>::value && b == (T)-1)
            return 0;
        return b ? (T)(a % b) : a;
    }
};
struct Minimum {
    template <class T> T operator()(T a, T b) const
    {
        return b < a ? b : a;
    }
};
struct Maximum {
    template <class T> T operator()(T a, T b) const
    {
        return b > a ? b : a;
    }
};
struct Negate {
    template <class T> T operator()(T a) const
    {
        return (T)(0 - (u64)a);
    }
};
struct Magnitude {
    template <class T> T operator()(T a) const
    {
        return a < 0 ? (T)(0 - (u64)a) : a;
    }
};
struct DifferenceAdded { // sad
    template <class T> T operator()(T a, T b, T c) const
    {
        return (T)((u64)c + (u64)(a > b ? (u64)a - (u64)b : (u64)b - (u64)a));
    }
};

// ---- carries: CC is one bit a lane ----

// variant bit 0: carry in, bit 1: carry out. out = a + b + carry, b inverted for a difference:
// then the carry is the absence of a borrow, and CC holds the borrow.
template <class T, bool subtract> static void add_carry(Warp &w, const Instruction &i, u32 lanes)
{
    const T *a = w.lanes_of<T>(i.in[0]), *b = w.lanes_of<T>(i.in[1]);
    T *d = w.lanes_of<T>(i.out[0]);
    u32 carry = w.carry;
    for_lanes(lanes, [&](int lane) {
        const u32 in = i.variant & 1 ? w.carry >> lane & 1 : 0;
        const unsigned __int128 sum = subtract
                                          ? (unsigned __int128)a[lane] + (T)~b[lane] + (in ? 0 : 1)
                                          : (unsigned __int128)a[lane] + b[lane] + in;
        const u32 over = (u32)(sum >> (8 * sizeof(T))) & 1;
        carry = (carry & ~(1u << lane)) | (u32)(subtract ? !over : over) << lane;
        d[lane] = (T)sum;
    });
    if (i.variant & 2)
        w.carry = carry;
}
// mad{c}.lo|hi{.cc}: option: high half. The product's signedness is that of S.
template <class S> static void multiply_carry(Warp &w, const Instruction &i, u32 lanes)
{
    using T = std::make_unsigned_t<S>;
    const S *a = w.lanes_of<S>(i.in[0]), *b = w.lanes_of<S>(i.in[1]);
    const T *c = w.lanes_of<T>(i.in[2]);
    T *d = w.lanes_of<T>(i.out[0]);
    u32 carry = w.carry;
    for_lanes(lanes, [&](int lane) {
        const Wide<S> product = (Wide<S>)a[lane] * b[lane];
        const T part = (T)(i.option ? product >> (8 * sizeof(T)) : product);
        const unsigned __int128 sum =
            (unsigned __int128)part + c[lane] + (i.variant & 1 ? w.carry >> lane & 1 : 0);
        carry = (carry & ~(1u << lane)) | ((u32)(sum >> (8 * sizeof(T))) & 1) << lane;
        d[lane] = (T)sum;
    });
    if (i.variant & 2)
        w.carry = carry;
}

// add.cc, sub.cc, mad.lo.cc, addc{.cc}, subc{.cc}, madc.lo|hi{.cc}
void Assembler::op_carry()
{
    const bool in_too = base.back() == 'c';
    const bool product = base[0] == 'm', subtract = base[0] == 's', wide = width == 8;
    current.variant = (u8)(in_too | take("cc") << 1);
    out(0);
    ins(1, product ? 3 : 2, width);
    need_operands(product ? 4 : 3, product ? 4 : 3);
    if (width != 4 && width != 8)
        fail("this type is not implemented");
    if (product) {
        current.option = take("hi");
        if (!current.option && !take("lo"))
            fail("this product is not implemented");
        const bool is_signed = type[0] == 's';
        return emit(wide        ? is_signed ? multiply_carry<s64> : multiply_carry<u64>
                           : is_signed ? multiply_carry<s32>
                                : multiply_carry<u32>);
    }
    emit(wide       ? subtract ? add_carry<u64, true> : add_carry<u64, false>
               : subtract ? add_carry<u32, true>
                    : add_carry<u32, false>);
}

// ---- the opcodes ----

void Assembler::op_add()
{
    if (is_half())
        return half_arithmetic();
    if (is_real())
        return float_two("add");
    if (contains(opcode, ".cc"))
        return op_carry();
    need_operands(3, 3);
    out(0);
    ins(1, 2, width);
    if (type == "s32" && take("sat"))
        return emit(body2<AddSaturating, s32, s32, s32>);
    emit(by_integer(type, [](auto t) -> Body { return same2<Add>(t); }));
}

void Assembler::op_sub()
{
    if (is_half())
        return half_arithmetic();
    if (is_real())
        return float_two("sub");
    if (contains(opcode, ".cc"))
        return op_carry();
    need_operands(3, 3);
    out(0);
    ins(1, 2, width);
    if (type == "s32" && take("sat"))
        return emit(body2<SubtractSaturating, s32, s32, s32>);
    emit(by_integer(type, [](auto t) -> Body { return same2<Subtract>(t); }));
}

template <bool mad> static Body widened(const std::string &type)
{
    const auto body = [](auto t, auto d) -> Body {
        using T = typename decltype(t)::type;
        using D = typename decltype(d)::type;
        return mad ? (Body)body3<Widened<D>, D, T, T, D> : (Body)body2<Widened<D>, D, T, T>;
    };
    return type == "s32"   ? body(Type<s32>(), Type<s64>())
           : type == "u32" ? body(Type<u32>(), Type<u64>())
           : type == "s16" ? body(Type<s16>(), Type<s32>())
           : type == "u16" ? body(Type<u16>(), Type<u32>())
                           : (Body) nullptr;
}

void Assembler::op_mul()
{
    if (is_half())
        return half_arithmetic();
    if (is_real())
        return float_two("mul");
    need_operands(3, 3);
    out(0);
    ins(1, 2, width);
    if (take("wide"))
        return emit(widened<false>(type));
    if (take("hi"))
        return emit(by_integer(type, [](auto t) -> Body { return same2<High>(t); }));
    if (!take("lo"))
        fail("this product is not implemented");
    emit(by_integer(type, [](auto t) -> Body { return same2<Low>(t); }));
}

void Assembler::op_mad()
{
    if (is_real())
        return op_fma();
    if (contains(opcode, ".cc"))
        return op_carry();
    const bool wide = take("wide");
    need_operands(4, 4);
    out(0);
    ins(1, 2, width);
    in(3, wide ? 2 * width : width);
    if (wide)
        return emit(widened<true>(type));
    if (take("hi"))
        return emit(by_integer(type, [](auto t) -> Body { return same3<High>(t); }));
    if (!take("lo"))
        fail("this product is not implemented");
    emit(by_integer(type, [](auto t) -> Body { return same3<Low>(t); }));
}

// The lower 24 bits of the operands; the result's lower or bits 16 .. 47.
template <class T> struct Low24 {
    T operator()(T a, T b, T c = 0) const
    {
        const s64 x = std::is_signed<T>::value ? (s64)((u64)a << 40) >> 40 : (s64)(a & 0xffffff);
        const s64 y = std::is_signed<T>::value ? (s64)((u64)b << 40) >> 40 : (s64)(b & 0xffffff);
        return (T)((u64)(x * y) + (u64)c);
    }
};
template <class T> struct High24 {
    T operator()(T a, T b, T c = 0) const
    {
        const s64 x = std::is_signed<T>::value ? (s64)((u64)a << 40) >> 40 : (s64)(a & 0xffffff);
        const s64 y = std::is_signed<T>::value ? (s64)((u64)b << 40) >> 40 : (s64)(b & 0xffffff);
        return (T)((u64)(x * y >> 16) + (u64)c);
    }
};
void Assembler::op_mul24()
{
    const bool mad = base == "mad24", high = take("hi"), is_signed = type == "s32";
    if ((!high && !take("lo")) || (!is_signed && type != "u32"))
        fail("this product is not implemented");
    need_operands(mad ? 4 : 3, mad ? 4 : 3);
    out(0);
    ins(1, mad ? 3 : 2, 4);
    const auto body = [mad, high](auto t) -> Body {
        using T = typename decltype(t)::type;
        return mad    ? high ? same3<High24<T>>(t) : same3<Low24<T>>(t)
                  : high ? same2<High24<T>>(t)
                      : same2<Low24<T>>(t);
    };
    emit(is_signed ? body(Type<s32>()) : body(Type<u32>()));
}

void Assembler::op_div()
{
    if (is_real())
        return float_div();
    need_operands(3, 3);
    out(0);
    ins(1, 2, width);
    emit(by_integer(type, [](auto t) -> Body { return same2<Divide>(t); }));
}
void Assembler::op_rem()
{
    need_operands(3, 3);
    out(0);
    ins(1, 2, width);
    emit(by_integer(type, [](auto t) -> Body { return same2<Remainder>(t); }));
}

void Assembler::op_min()
{
    if (is_half())
        return half_arithmetic();
    if (is_real())
        return float_minmax(false);
    need_operands(3, 3);
    out(0);
    ins(1, 2, width);
    emit(by_integer(type, [](auto t) -> Body { return same2<Minimum>(t); }));
}
void Assembler::op_max()
{
    if (is_half())
        return half_arithmetic();
    if (is_real())
        return float_minmax(true);
    need_operands(3, 3);
    out(0);
    ins(1, 2, width);
    emit(by_integer(type, [](auto t) -> Body { return same2<Maximum>(t); }));
}

void Assembler::op_neg()
{
    if (is_half() || is_real())
        return is_half() ? half_arithmetic() : float_sign(true);
    need_operands(2, 2);
    out(0);
    in(1, width);
    emit(by_integer(type, [](auto t) -> Body { return same1<Negate>(t); }));
}
void Assembler::op_abs()
{
    if (is_half() || is_real())
        return is_half() ? half_arithmetic() : float_sign(false);
    need_operands(2, 2);
    out(0);
    in(1, width);
    emit(by_integer(type, [](auto t) -> Body { return same1<Magnitude>(t); }));
}

void Assembler::op_sad()
{
    need_operands(4, 4);
    out(0);
    ins(1, 3, width);
    emit(by_integer(type, [](auto t) -> Body { return same3<DifferenceAdded>(t); }));
}

} // namespace ptxvm
