// Loops over the lanes of a warp, and from them the bodies of element-wise instructions.
#pragma once
#include "machine.h"

namespace ptxvm
{

// In front of a loop: its iterations are independent of each other.
#if defined(__clang__)
#define PTXVM_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define PTXVM_INDEPENDENT _Pragma("GCC ivdep")
#endif

// Calls f(lane) for each of the lanes, in ascending order.
template <class F> inline void for_lanes(u32 lanes, F f)
{
    for (; lanes; lanes &= lanes - 1)
        f(__builtin_ctz(lanes));
}

// out[lane] = f(lane) where no lane reads what another writes: the compiler may vectorise. Few
// lanes are computed one by one, many all together and then chosen from.
template <class T, class F> inline void write_lanes(T *out, u32 lanes, F f)
{
    if (lanes == ~0u) {
        PTXVM_INDEPENDENT
        for (int lane = 0; lane < 32; lane++)
            out[lane] = (T)f(lane);
    } else if (__builtin_popcount(lanes) <= 6) {
        for_lanes(lanes, [&](int lane) { out[lane] = (T)f(lane); });
    } else {
        alignas(64) T all[32];
        PTXVM_INDEPENDENT
        for (int lane = 0; lane < 32; lane++)
            all[lane] = (T)f(lane);
        for (int lane = 0; lane < 32; lane++)
            out[lane] = lanes >> lane & 1 ? all[lane] : out[lane];
    }
}

// Bodies: F is a function object without state; D, A, B, C the types of result and operands.
template <class F, class D, class A> void body1(Warp &w, const Instruction &i, u32 lanes)
{
    const A *a = w.lanes_of<A>(i.in[0]);
    write_lanes(w.lanes_of<D>(i.out[0]), lanes, [=](int l) { return F()(a[l]); });
}
template <class F, class D, class A, class B> void body2(Warp &w, const Instruction &i, u32 lanes)
{
    const A *a = w.lanes_of<A>(i.in[0]);
    const B *b = w.lanes_of<B>(i.in[1]);
    write_lanes(w.lanes_of<D>(i.out[0]), lanes, [=](int l) { return F()(a[l], b[l]); });
}
template <class F, class D, class A, class B, class C>
void body3(Warp &w, const Instruction &i, u32 lanes)
{
    const A *a = w.lanes_of<A>(i.in[0]);
    const B *b = w.lanes_of<B>(i.in[1]);
    const C *c = w.lanes_of<C>(i.in[2]);
    write_lanes(w.lanes_of<D>(i.out[0]), lanes, [=](int l) { return F()(a[l], b[l], c[l]); });
}

// ---- the same, chosen by the name of a type ----
template <class T> struct Type {
    using type = T;
};
// f(Type<T>()) for the integer type of that name; null for any other name.
template <class F> Body by_integer(const std::string &type, F f)
{
    if (type == "s32")
        return f(Type<s32>());
    if (type == "u32" || type == "b32")
        return f(Type<u32>());
    if (type == "s64")
        return f(Type<s64>());
    if (type == "u64" || type == "b64")
        return f(Type<u64>());
    if (type == "s16")
        return f(Type<s16>());
    if (type == "u16" || type == "b16")
        return f(Type<u16>());
    return nullptr;
}
// Also f32 and f64.
template <class F> Body by_number(const std::string &type, F f)
{
    if (type == "f32")
        return f(Type<float>());
    if (type == "f64")
        return f(Type<double>());
    return by_integer(type, f);
}
// By size only: b16, b32, b64.
template <class F> Body by_width(int width, F f)
{
    return width == 2 ? f(Type<u16>()) : width == 4 ? f(Type<u32>()) : f(Type<u64>());
}

template <class F, class T> Body same1(Type<T>)
{
    return body1<F, T, T>;
}
template <class F, class T> Body same2(Type<T>)
{
    return body2<F, T, T, T>;
}
template <class F, class T> Body same3(Type<T>)
{
    return body3<F, T, T, T, T>;
}

} // namespace ptxvm
