// Arithmetic of f16 and bf16, single and in pairs. The operands are exact in f32; a result is
// rounded once.
#include "assembler.h"
#include "lanes.h"

namespace ptxvm
{

namespace
{

struct Half {
    static float value(u16 h)
    {
        return half_to_float(h);
    }
    static u16 round(float f)
    {
        return float_to_half(f);
    }
};
struct Brain {
    static float value(u16 h)
    {
        return bf16_to_float(h);
    }
    static u16 round(float f)
    {
        return float_to_bf16(f);
    }
};

// A sum, difference or product of two has at most 24 bits where it matters: f32 is wide enough for
// a second rounding not to show.
struct HalfAdd {
    template <class F> static u16 of(u16 a, u16 b, u16)
    {
        return F::round(F::value(a) + F::value(b));
    }
};
struct HalfSubtract {
    template <class F> static u16 of(u16 a, u16 b, u16)
    {
        return F::round(F::value(a) - F::value(b));
    }
};
struct HalfMultiply {
    template <class F> static u16 of(u16 a, u16 b, u16)
    {
        return F::round(F::value(a) * F::value(b));
    }
};
struct HalfFma { // the product is exact in f64; the sum keeps what decides the rounding
    template <class F> static u16 of(u16 a, u16 b, u16 c)
    {
        const double product = (double)F::value(a) * (double)F::value(b);
        return F::round(round_to_odd(add_to_odd(product, (double)F::value(c))));
    }
};
struct HalfMin {
    template <class F> static u16 of(u16 a, u16 b, u16)
    {
        return F::round(ptx_min(F::value(a), F::value(b)));
    }
};
struct HalfMax {
    template <class F> static u16 of(u16 a, u16 b, u16)
    {
        return F::round(ptx_max(F::value(a), F::value(b)));
    }
};
struct HalfNegate {
    template <class F> static u16 of(u16 a, u16, u16)
    {
        return a ^ 0x8000;
    }
};
struct HalfMagnitude {
    template <class F> static u16 of(u16 a, u16, u16)
    {
        return a & 0x7fff;
    }
};
struct HalfExponential2 {
    template <class F> static u16 of(u16 a, u16, u16)
    {
        return F::round(exp2f(F::value(a)));
    }
};
struct HalfTangent {
    template <class F> static u16 of(u16 a, u16, u16)
    {
        return F::round(tanhf(F::value(a)));
    }
};

// variant: 1 .relu (negative and NaN become 0... a NaN stays one), 2 .sat (to [0, 1], NaN to 0),
// 4 .NaN (of min and max)
template <class F> u16 modified(u8 variant, u16 result, u16 a, u16 b)
{
    const auto is_nan = [](u16 h) { return F::value(h) != F::value(h); };
    if ((variant & 4) && (is_nan(a) || is_nan(b)))
        result = 0x7fff;
    if ((variant & 1) && !is_nan(result) && (result & 0x8000))
        result = 0;
    if (variant & 2)
        result = F::value(result) > 0 ? F::round(std::min(F::value(result), 1.f)) : (u16)0;
    return result;
}

// T: u16, or u32 for a pair. Operands that an instruction lacks are its first.
template <class F, class Operation, class T>
void half_body(Warp &w, const Instruction &i, u32 lanes)
{
    const T *a = w.lanes_of<T>(i.in[0]);
    const T *b = w.lanes_of<T>(i.in[i.ins > 1 ? 1 : 0]);
    const T *c = w.lanes_of<T>(i.in[i.ins > 2 ? 2 : 0]);
    const u8 variant = i.variant;
    write_lanes(w.lanes_of<T>(i.out[0]), lanes, [=](int lane) {
        T result = 0;
        for (unsigned h = 0; h < 8 * sizeof(T); h += 16) {
            const u16 x = (u16)(a[lane] >> h), y = (u16)(b[lane] >> h), z = (u16)(c[lane] >> h);
            u16 one = Operation::template of<F>(x, y, z);
            if (variant)
                one = modified<F>(variant, one, x, y);
            result = (T)(result | (T)one << h);
        }
        return result;
    });
}
template <class Operation> Body pick_half(const std::string &type)
{
    return type == "f16"     ? half_body<Half, Operation, u16>
           : type == "f16x2" ? half_body<Half, Operation, u32>
           : type == "bf16"  ? half_body<Brain, Operation, u16>
                             : half_body<Brain, Operation, u32>;
}

} // namespace

void Assembler::half_arithmetic()
{
    const size_t operands_here = base == "fma" ? 4 : base == "neg" || base == "abs" ? 2 : 3;
    need_operands(operands_here, operands_here);
    ignore({"rn"});
    current.variant = (u8)(take("relu") | take("sat") << 1 | take("NaN") << 2);
    out(0);
    ins(1, operands_here - 1, width);
    emit(base == "add"   ? pick_half<HalfAdd>(type)
         : base == "sub" ? pick_half<HalfSubtract>(type)
         : base == "mul" ? pick_half<HalfMultiply>(type)
         : base == "fma" ? pick_half<HalfFma>(type)
         : base == "min" ? pick_half<HalfMin>(type)
         : base == "max" ? pick_half<HalfMax>(type)
         : base == "neg" ? pick_half<HalfNegate>(type)
         : base == "abs" ? pick_half<HalfMagnitude>(type)
                         : (Body) nullptr);
}

void Assembler::half_function() // ex2.approx, tanh.approx
{
    need_operands(2, 2);
    if (!take("approx"))
        fail("this form is not implemented");
    if (type[0] == 'b')
        ignore({"ftz"}); // ex2 of a subnormal bf16 is 1 either way, and no result is subnormal
    out(0);
    in(1, width);
    emit(base == "ex2"    ? pick_half<HalfExponential2>(type)
         : base == "tanh" ? pick_half<HalfTangent>(type)
                          : (Body) nullptr);
}

} // namespace ptxvm
