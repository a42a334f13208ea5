/* vec.h - sixteen f32 lanes, the same on every instruction set.
 *
 * Row-wise code is written once against v16. A row is read in steps of 16 from its own start, and
 * its tail by a masked load that runs the same operations on zeros; sums fold their lanes in one
 * fixed tree. So a row's bits depend on its values alone: not on where it lies, not on its stride,
 * not on its neighbours (law 3). Between instruction sets bits may differ (fma or not). */
#ifndef GRAFT_VEC_H
#define GRAFT_VEC_H

#include "graft/tensor.h"

#include <math.h>
#include <string.h>

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#include "vec_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__)
#include "vec_avx2.h"
#else
#include "vec_plain.h"
#endif

#define V_LANES 16

static inline v16 v_zero(void)
{
    return v_set1(0.0f);
}

/* Lanes i.. of a row of f32 or bf16; n is what is left of the row (16 or more: all lanes). */
static inline v16 v_get(const void *row, gf_dtype t, int64_t i, int64_t n)
{
    if (t == GF_F32) {
        const float *p = (const float *)row + i;
        return n >= V_LANES ? v_load(p) : v_load_n(p, (int)n);
    }
    const uint16_t *p = (const uint16_t *)row + i;
    return n >= V_LANES ? v_load_bf16(p) : v_load_bf16_n(p, (int)n);
}

static inline void v_put(void *row, gf_dtype t, int64_t i, int64_t n, v16 x)
{
    if (t == GF_F32) {
        float *p = (float *)row + i;
        if (n >= V_LANES)
            v_store(p, x);
        else
            v_store_n(p, x, (int)n);
        return;
    }
    uint16_t *p = (uint16_t *)row + i;
    if (n >= V_LANES)
        v_store_bf16(p, x);
    else
        v_store_bf16_n(p, x, (int)n);
}

/* exp(x): 1 ulp or so. 0 for -inf and below about -104, inf above 88.73, NaN stays NaN, and
 * exp(0) is 1. Method and coefficients: Cephes expf (Moshier), ln 2 in two parts. */
static inline v16 v_exp(v16 x)
{
    x = v_max(v_set1(-150.0f), x); /* exp(-150) rounds to 0; NaN passes: it is the second operand */
    x = v_min(v_set1(130.0f), x);  /* exp(130) is inf */
    const v16 n = v_round(v_mul(x, v_set1(1.44269504088896341f)));
    v16 r = v_fma(n, v_set1(-0.693359375f), x);
    r = v_fma(n, v_set1(2.12194440e-4f), r);
    v16 p = v_set1(1.9875691500e-4f);
    p = v_fma(p, r, v_set1(1.3981999507e-3f));
    p = v_fma(p, r, v_set1(8.3334519073e-3f));
    p = v_fma(p, r, v_set1(4.1665795894e-2f));
    p = v_fma(p, r, v_set1(1.6666665459e-1f));
    p = v_fma(p, r, v_set1(5.0000001201e-1f));
    p = v_fma(p, v_mul(r, r), r);
    return v_scale2(v_add(p, v_set1(1.0f)), n);
}

/* 2^x for x <= 127: 1 ulp or so, 2^0 is 1, 0 below about -150, NaN stays NaN. Half the work of
 * v_exp, because nothing is reduced by parts: exp(x) as 2^(x log2 e) is off by |x| ulp, which is
 * little for a softmax, where x is small or exp(x) is. Coefficients: (2^r - 1) / r interpolated at
 * the Chebyshev nodes of [-0.5, 0.5]. */
static inline v16 v_exp2(v16 x)
{
    x = v_max(v_set1(-200.0f), x); /* 2^-200 rounds to 0; NaN passes: it is the second operand */
    const v16 n = v_round(x), r = v_sub(x, n);
    v16 p = v_set1(1.545316336e-4f);
    p = v_fma(p, r, v_set1(1.339086331e-3f));
    p = v_fma(p, r, v_set1(9.618083015e-3f));
    p = v_fma(p, r, v_set1(5.550356954e-2f));
    p = v_fma(p, r, v_set1(2.402265072e-1f));
    p = v_fma(p, r, v_set1(6.931471825e-1f));
    return v_scale2(v_fma(p, r, v_set1(1.0f)), n);
}

/* tanh(x), about 2 ulp. Near 0 Cephes' polynomial, else 1 - 2 / (exp(2|x|) + 1). */
static inline v16 v_tanh(v16 x)
{
    const v16 z = v_mul(x, x), a = v_abs(x);
    v16 p = v_set1(-5.70498872745e-3f);
    p = v_fma(p, z, v_set1(2.06390887954e-2f));
    p = v_fma(p, z, v_set1(-5.37397155531e-2f));
    p = v_fma(p, z, v_set1(1.33314422036e-1f));
    p = v_fma(p, z, v_set1(-3.33332819422e-1f));
    const v16 small = v_fma(v_mul(p, z), x, x);
    const v16 e = v_add(v_exp(v_add(a, a)), v_set1(1.0f));
    const v16 big = v_copysign(v_sub(v_set1(1.0f), v_div(v_set1(2.0f), e)), x);
    return v_select_lt(a, v_set1(0.625f), small, big); /* NaN: not less, so big, which is NaN */
}

/* 1 / (1 + exp(-x)) */
static inline v16 v_sigmoid(v16 x)
{
    return v_div(v_set1(1.0f), v_add(v_set1(1.0f), v_exp(v_sub(v_zero(), x))));
}

#endif
