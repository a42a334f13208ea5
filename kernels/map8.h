/* map8.h - the 256 values that an 8-bit code stands for, times its block's largest: bitsandbytes'
 * dynamic maps, to the bit (FORMATS 8.2). Seven decades; each has twice the values of the one below
 * it, at the middles of equal steps from 0.1 to 1. Shared by C and CUDA code.
 *
 * Source: Dettmers et al. 2022 (8-bit Optimizers via Block-wise Quantization), section 2.2. */
#ifndef GRAFT_KERNELS_MAP8_H
#define GRAFT_KERNELS_MAP8_H

#include <math.h>
#include <stdint.h>

#ifdef __CUDACC__
#define GF_MAP8 static __device__ __forceinline__
#else
#define GF_MAP8 static inline
#endif

/* Point i of n + 1 from 0.1 to 1, from the nearer end: torch.linspace. */
GF_MAP8 float gf_map8_point(int i, int n)
{
    const float step = (1.0f - 0.1f) / (float)n;
    return i < (n + 1) / 2 ? fmaf(step, (float)i, 0.1f) : fmaf(-step, (float)(n - i), 1.0f);
}

/* The k-th positive value (from 0) of decades that begin with `first` values: 1 or 2. */
GF_MAP8 float gf_map8_positive(int k, int first)
{
    float decade = 1e-6f;
    int n = first;
    for (int e = 1; k >= n; e++) {
        k -= n;
        n *= 2;
        decade = e == 1   ? 1e-5f
                 : e == 2 ? 1e-4f
                 : e == 3 ? 1e-3f
                 : e == 4 ? 1e-2f
                 : e == 5 ? 1e-1f
                          : 1.0f;
    }
    return (gf_map8_point(k, n) + gf_map8_point(k + 1, n)) / 2.0f * decade;
}

/* Of a code: -0.99 ... 0 (127) ... 1, and 0 ... 1. Both rise. */
GF_MAP8 float gf_map8_signed(int code)
{
    if (code == 127 || code == 255)
        return code == 255 ? 1.0f : 0.0f;
    return code < 127 ? -gf_map8_positive(126 - code, 1) : gf_map8_positive(code - 128, 1);
}
GF_MAP8 float gf_map8_unsigned(int code)
{
    if (code == 0 || code == 255)
        return code == 255 ? 1.0f : 0.0f;
    return gf_map8_positive(code - 1, 2);
}

/* The code of the value nearest to x, the lower of two; middle[i] lies between i and i + 1. */
GF_MAP8 int gf_map8_nearest(const float *middle, float x)
{
    int code = 0;
    for (int half = 128; half > 0; half /= 2)
        code += x > middle[code + half - 1] ? half : 0;
    return code;
}

#endif
