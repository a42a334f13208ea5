// The number formats of PTX that C++ lacks: f16, bf16, e4m3, e5m2, tf32, their conversions and
// roundings; and the integer names that the whole virtual machine uses.
#pragma once
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

namespace ptxvm
{

using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;
using s8 = int8_t;
using s16 = int16_t;
using s32 = int32_t;
using s64 = int64_t;

template <class To, class From> inline To bit_cast(From from)
{
    static_assert(sizeof(To) == sizeof(From), "the same bits");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
inline u32 float_bits(float f)
{
    return bit_cast<u32>(f);
}
inline float bits_float(u32 u)
{
    return bit_cast<float>(u);
}

inline float flush_subnormal(float f)
{
    return fabsf(f) < FLT_MIN ? copysignf(0.f, f) : f;
}

// ---- bf16: the upper half of an f32 ----
inline float bf16_to_float(u16 b)
{
    return bits_float((u32)b << 16);
}
inline u16 float_to_bf16(float f) // to nearest even; every NaN becomes the canonical one
{
    const u32 u = float_bits(f);
    const u32 rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16;
    return (u16)((u & 0x7fffffff) > 0x7f800000 ? 0x7fff : rounded);
}
inline u16 float_to_bf16_toward_zero(float f)
{
    return (u16)(f != f ? 0x7fff : float_bits(f) >> 16);
}

// ---- f16 ----
inline float half_to_float(u16 h)
{
    // Scaled by 2^112 the f32's exponent is right, and subnormals come out normal.
    const u32 magnitude = (u32)(h & 0x7fff) << 13;
    const u32 finite = float_bits(bits_float(magnitude) * 0x1p112f);
    const u32 special = magnitude | 0x7f800000;
    return bits_float((u32)(h & 0x8000) << 16 | ((h & 0x7c00) == 0x7c00 ? special : finite));
}
inline u16 float_to_half(float f) // to nearest even
{
    const u32 sign = float_bits(f) >> 16 & 0x8000;
    u32 a = float_bits(f) & 0x7fffffff;
    if (a > 0x7f800000)
        return 0x7fff;
    if (a >= 0x477ff000) // from the middle between 65504 and 65536
        return (u16)(sign | 0x7c00);
    if (a < 0x38800000) // below 2^-14: the unit of 0.5f is that of an f16 subnormal
        return (u16)(sign | (float_bits(bits_float(a) + 0.5f) - float_bits(0.5f)));
    a += 0xfff + (a >> 13 & 1);
    return (u16)(sign | (a - (112u << 23)) >> 13);
}
inline u16 float_to_half_toward_zero(float f)
{
    const u16 nearest = float_to_half(f);
    if (f != f || fabsf(half_to_float(nearest)) <= fabsf(f))
        return nearest;
    return (u16)(nearest - 1); // one unit nearer to zero, infinity to the largest number
}

// ---- from wider results without rounding twice: round to odd first ----
// The result keeps in its last bit whether anything was cut off, so that the rounding to a format
// of at most 22 bits that follows sees what it needs.
inline float round_to_odd(double x)
{
    const float f = (float)x;
    if ((double)f == x || x != x || (float_bits(f) & 1))
        return f;
    return nextafterf(f, x > (double)f ? INFINITY : -INFINITY);
}
// a + b in double, rounded to odd.
inline double add_to_odd(double a, double b)
{
    const double sum = a + b, part = sum - a;
    const double lost = (a - (sum - part)) + (b - part);
    if (lost == 0 || lost != lost || (bit_cast<u64>(sum) & 1))
        return sum;
    return nextafter(sum, lost > 0 ? (double)INFINITY : -(double)INFINITY);
}

// ---- fp8: to nearest even, beyond the largest number that number, NaN 0x7f ----
template <int Mantissa, int Bias> u8 encode_fp8(float f, u8 largest)
{
    if (f != f)
        return 0x7f;
    const u8 sign = std::signbit(f) ? 0x80 : 0;
    if (std::isinf(f))
        return sign | largest;
    const float a = fabsf(f);
    const int exponent = std::max(a == 0 ? 1 - Bias : ilogbf(a), 1 - Bias);
    const long units = lrintf(ldexpf(a, Mantissa - exponent));
    // A normal number has its leading one in `units`: it adds one to the exponent field.
    const long code = units + ((long)(exponent + Bias - 1) << Mantissa);
    return (u8)(sign | std::min(code, (long)largest));
}
template <int Mantissa, int Bias> float decode_fp8(u8 code)
{
    const int exponent = code >> Mantissa & ((1 << (7 - Mantissa)) - 1);
    const int units = code & ((1 << Mantissa) - 1);
    const float a = exponent ? ldexpf((float)(units + (1 << Mantissa)), exponent - Bias - Mantissa)
                             : ldexpf((float)units, 1 - Bias - Mantissa);
    return code & 0x80 ? -a : a;
}
inline u8 float_to_e4m3(float f)
{
    return encode_fp8<3, 7>(f, 0x7e);
}
inline float e4m3_to_float(u8 v)
{
    return (v & 0x7f) == 0x7f ? NAN : decode_fp8<3, 7>(v);
}
inline u8 float_to_e5m2(float f)
{
    return encode_fp8<2, 15>(f, 0x7b);
}
inline float e5m2_to_float(u8 v)
{
    return half_to_float((u16)(v << 8)); // the same exponent: the upper byte of an f16
}

// ---- tf32: an f32 with 10 bits behind the point ----
inline u32 float_to_tf32(float f) // to nearest, ties away from zero
{
    const u32 u = float_bits(f);
    return (u & 0x7f800000) == 0x7f800000 ? (f != f ? 0x7fffffff : u) : (u + 0x1000) & ~0x1fffu;
}
inline float tf32_operand(u32 u) // what the tensor core sees of a register
{
    return bits_float(u & ~0x1fffu);
}

// ---- minimum and maximum of PTX: a NaN loses, -0 is less than +0 ----
template <class T> inline T ptx_min(T a, T b)
{
    if constexpr (std::is_floating_point<T>::value) {
        if (a != a || b != b)
            return a == a ? a : b == b ? b : std::numeric_limits<T>::quiet_NaN();
        return a < b || (a == b && std::signbit(a)) ? a : b;
    } else {
        return a < b ? a : b;
    }
}
template <class T> inline T ptx_max(T a, T b)
{
    if constexpr (std::is_floating_point<T>::value) {
        if (a != a || b != b)
            return a == a ? a : b == b ? b : std::numeric_limits<T>::quiet_NaN();
        return a > b || (a == b && std::signbit(b)) ? a : b;
    } else {
        return a > b ? a : b;
    }
}

} // namespace ptxvm
