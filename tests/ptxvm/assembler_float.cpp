// Arithmetic of f32 and f64.
#include "assembler.h"
#include "lanes.h"
#include <cfenv>

namespace ptxvm
{

struct FloatAdd {
    template <class T> T operator()(T a, T b) const
    {
        return a + b;
    }
};
struct FloatSubtract {
    template <class T> T operator()(T a, T b) const
    {
        return a - b;
    }
};
struct FloatMultiply {
    template <class T> T operator()(T a, T b) const
    {
        return a * b;
    }
};
struct FloatDivide {
    template <class T> T operator()(T a, T b) const
    {
        return a / b;
    }
};
struct FusedMultiplyAdd {
    template <class T> T operator()(T a, T b, T c) const
    {
        return std::fma(a, b, c);
    }
};
struct Smaller {
    template <class T> T operator()(T a, T b) const
    {
        return ptx_min(a, b);
    }
};
struct Larger {
    template <class T> T operator()(T a, T b) const
    {
        return ptx_max(a, b);
    }
};
template <class F> struct NanWins { // .NaN
    template <class T> T operator()(T a, T b) const
    {
        return a == a && b == b ? F()(a, b) : std::numeric_limits<T>::quiet_NaN();
    }
};
struct Reciprocal {
    template <class T> T operator()(T a) const
    {
        return 1 / a;
    }
};
struct SquareRoot {
    template <class T> T operator()(T a) const
    {
        return std::sqrt(a);
    }
};
struct ReciprocalRoot {
    template <class T> T operator()(T a) const
    {
        return 1 / std::sqrt(a);
    }
};
struct Sine {
    float operator()(float a) const
    {
        return sinf(a);
    }
};
struct Cosine {
    float operator()(float a) const
    {
        return cosf(a);
    }
};
struct Logarithm2 {
    float operator()(float a) const
    {
        return log2f(a);
    }
};
struct Exponential2 {
    float operator()(float a) const
    {
        return exp2f(a);
    }
};
struct HyperbolicTangent {
    float operator()(float a) const
    {
        return tanhf(a);
    }
};

// .ftz: subnormal operands and results become zero. .sat: to [0, 1], a NaN to 0.
template <class F, bool flush, bool saturate> struct Modified {
    template <class... T> float operator()(T... x) const
    {
        float result = flush ? F()(flush_subnormal(x)...) : F()(x...);
        if (flush)
            result = flush_subnormal(result);
        if (saturate)
            result = result > 0 ? std::min(result, 1.f) : 0.f;
        return result;
    }
};

template <class F, class T, int operands>
static void body_of(Warp &w, const Instruction &i, u32 lanes)
{
    if constexpr (operands == 1)
        body1<F, T, T>(w, i, lanes);
    else if constexpr (operands == 2)
        body2<F, T, T, T>(w, i, lanes);
    else
        body3<F, T, T, T, T>(w, i, lanes);
}
// variant: 0 to nearest, or 1 + the mode in fenv.h. The body reads and writes memory that
// fesetround might see, so that the compiler cannot move it out from between the calls.
template <Body body> static void rounded(Warp &w, const Instruction &i, u32 lanes)
{
    static const int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
    fesetround(modes[i.variant]);
    body(w, i, lanes);
    fesetround(FE_TONEAREST);
}
template <class F, int operands>
static Body pick(bool wide, bool flush, bool saturate, bool directed)
{
    if (wide)
        return directed ? rounded<body_of<F, double, operands>> : body_of<F, double, operands>;
    if (directed) {
        return flush      ? saturate ? nullptr
                                     : rounded<body_of<Modified<F, true, false>, float, operands>>
                    : saturate ? nullptr
                          : rounded<body_of<F, float, operands>>;
    }
    return flush      ? saturate ? body_of<Modified<F, true, true>, float, operands>
                                 : body_of<Modified<F, true, false>, float, operands>
                : saturate ? body_of<Modified<F, false, true>, float, operands>
                      : body_of<F, float, operands>;
}

// 0 to nearest (also where nothing is said), 1 zero, 2 down, 3 up
int Assembler::take_rounding()
{
    ignore({"rn"});
    return take("rz") ? 1 : take("rm") ? 2 : take("rp") ? 3 : 0;
}

void Assembler::float_two(const char *name)
{
    need_operands(3, 3);
    out(0);
    ins(1, 2, width);
    const int mode = take_rounding();
    const bool flush = take("ftz"), saturate = take("sat"), wide = type == "f64";
    current.variant = (u8)mode;
    emit(name[0] == 'a'   ? pick<FloatAdd, 2>(wide, flush, saturate, mode)
         : name[0] == 's' ? pick<FloatSubtract, 2>(wide, flush, saturate, mode)
                          : pick<FloatMultiply, 2>(wide, flush, saturate, mode));
}

void Assembler::op_fma()
{
    if (is_half())
        return half_arithmetic();
    need_operands(4, 4);
    out(0);
    ins(1, 3, width);
    const int mode = take_rounding();
    const bool flush = take("ftz"), saturate = take("sat");
    current.variant = (u8)mode;
    emit(pick<FusedMultiplyAdd, 3>(type == "f64", flush, saturate, mode));
}

// div.rn.f32, .full, .approx: the last two may be less exact; here they are not.
void Assembler::float_div()
{
    need_operands(3, 3);
    out(0);
    ins(1, 2, width);
    const int mode = take_rounding();
    const bool flush = take("ftz");
    ignore({"full", "approx"});
    current.variant = (u8)mode;
    emit(pick<FloatDivide, 2>(type == "f64", flush, false, mode));
}

void Assembler::float_minmax(bool largest)
{
    need_operands(3, 3);
    out(0);
    ins(1, 2, width);
    const bool nan = take("NaN"), flush = take("ftz"), wide = type == "f64";
    if (nan)
        return emit(largest ? pick<NanWins<Larger>, 2>(wide, flush, false, false)
                            : pick<NanWins<Smaller>, 2>(wide, flush, false, false));
    emit(largest ? pick<Larger, 2>(wide, flush, false, false)
                 : pick<Smaller, 2>(wide, flush, false, false));
}

struct FlipSign { // of the bits: also of a NaN
    template <class T> T operator()(T a) const
    {
        return (T)(a ^ (T)((T)1 << (8 * sizeof(T) - 1)));
    }
};
struct ClearSign {
    template <class T> T operator()(T a) const
    {
        return (T)(a & (T) ~((T)1 << (8 * sizeof(T) - 1)));
    }
};
template <class F> struct Flushing {
    u32 operator()(u32 a) const
    {
        return F()(float_bits(flush_subnormal(bits_float(a))));
    }
};
void Assembler::float_sign(bool negate)
{
    need_operands(2, 2);
    out(0);
    in(1, width);
    if (type == "f64")
        return emit(negate ? body1<FlipSign, u64, u64> : body1<ClearSign, u64, u64>);
    if (take("ftz"))
        return emit(negate ? body1<Flushing<FlipSign>, u32, u32>
                           : body1<Flushing<ClearSign>, u32, u32>);
    emit(negate ? body1<FlipSign, u32, u32> : body1<ClearSign, u32, u32>);
}

struct CopySign { // the sign of a, the magnitude of b
    template <class T> T operator()(T a, T b) const
    {
        return std::copysign(b, a);
    }
};
void Assembler::op_copysign()
{
    need_operands(3, 3);
    out(0);
    ins(1, 2, width);
    emit(pick<CopySign, 2>(type == "f64", false, false, false));
}

void Assembler::op_root()
{
    need_operands(2, 2);
    out(0);
    in(1, width);
    const int mode = take_rounding();
    const bool flush = take("ftz"), wide = type == "f64";
    ignore({"approx"});
    current.variant = (u8)mode;
    if (!is_real())
        fail("this type is not implemented");
    emit(base == "rcp"    ? pick<Reciprocal, 1>(wide, flush, false, mode)
         : base == "sqrt" ? pick<SquareRoot, 1>(wide, flush, false, mode)
                          : pick<ReciprocalRoot, 1>(wide, flush, false, mode));
}

void Assembler::op_transcendental()
{
    if (is_half())
        return half_function();
    need_operands(2, 2);
    out(0);
    in(1, width);
    const bool flush = take("ftz");
    if (!take("approx") || type != "f32")
        fail("this form is not implemented");
    emit(base == "sin"   ? pick<Sine, 1>(false, flush, false, false)
         : base == "cos" ? pick<Cosine, 1>(false, flush, false, false)
         : base == "lg2" ? pick<Logarithm2, 1>(false, flush, false, false)
         : base == "ex2" ? pick<Exponential2, 1>(false, flush, false, false)
                         : pick<HyperbolicTangent, 1>(false, flush, false, false));
}

} // namespace ptxvm
