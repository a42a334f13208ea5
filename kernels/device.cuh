/* device.cuh - what the kernels share: element types, loads and stores of several elements, sums of
 * a warp and of a block in one fixed order, dropout's draws.
 *
 * A thread works on `units` of 4 or 8 neighbouring elements: 4 of f32 or 8 of bf16 are one 128-bit
 * access, and a warp's accesses lie side by side. */
#ifndef GRAFT_KERNELS_DEVICE_CUH
#define GRAFT_KERNELS_DEVICE_CUH

#include "cuda/args.h"
#include "ptx.cuh"

#define WARP 32
#define ALL_LANES 0xffffffffu

/* ---- elements -------------------------------------------------------------------------------- */

struct bf16 {
    uint16_t bits;
};

/* The two values of a pair. */
DEVICE float low_of(uint32_t pair)
{
    return __uint_as_float(pair << 16);
}
DEVICE float high_of(uint32_t pair)
{
    return __uint_as_float(pair & 0xffff0000u);
}

DEVICE float to_f32(float x)
{
    return x;
}
DEVICE float to_f32(bf16 x)
{
    return __uint_as_float((uint32_t)x.bits << 16);
}

/* One rounding, to nearest even; NaN stays NaN. */
template <typename T> DEVICE T from_f32(float x);
template <> DEVICE float from_f32<float>(float x)
{
    return x;
}
template <> DEVICE bf16 from_f32<bf16>(float x)
{
    bf16 y;
    y.bits = (uint16_t)pack_bf16(x, 0.0f);
    return y;
}

/* A pointer whose type shows at run time only, for mixtures of f32 and bf16 that no hot path has.
 */
struct either {
    char *data;
    int is_bf16;
};

/* Element i behind p. */
DEVICE float get(const float *p, int64_t i)
{
    return p[i];
}
DEVICE float get(const bf16 *p, int64_t i)
{
    return to_f32(p[i]);
}
DEVICE float get(either p, int64_t i)
{
    return p.is_bf16 ? to_f32(((const bf16 *)p.data)[i]) : ((const float *)p.data)[i];
}
DEVICE void put(float *p, int64_t i, float x)
{
    p[i] = x;
}
DEVICE void put(bf16 *p, int64_t i, float x)
{
    p[i] = from_f32<bf16>(x);
}
DEVICE void put(either p, int64_t i, float x)
{
    if (p.is_bf16)
        put((bf16 *)p.data, i, x);
    else
        put((float *)p.data, i, x);
}

/* Where column `column` of a row of an argument stands, as a float *, bf16 * or either. */
template <typename P> DEVICE P place(gf_arg a, int64_t row, int64_t column)
{
    return (P)a.data + (row * a.stride + column);
}
template <> DEVICE either place<either>(gf_arg a, int64_t row, int64_t column)
{
    const int64_t at = row * a.stride + column;
    either p;
    p.data = (char *)a.data + at * (a.is_bf16 ? 2 : 4);
    p.is_bf16 = a.is_bf16;
    return p;
}
DEVICE float *ahead(float *p, int64_t i)
{
    return p + i;
}
DEVICE bf16 *ahead(bf16 *p, int64_t i)
{
    return p + i;
}
DEVICE either ahead(either p, int64_t i)
{
    p.data += i * (p.is_bf16 ? 2 : 4);
    return p;
}

/* ---- units: p is aligned to the unit's bytes, at most 16 ------------------------------------- */

DEVICE void load_unit(float (&v)[4], const float *p)
{
    const float4 x = *(const float4 *)p;
    v[0] = x.x, v[1] = x.y, v[2] = x.z, v[3] = x.w;
}
DEVICE void load_unit(float (&v)[4], const bf16 *p)
{
    const uint2 x = *(const uint2 *)p;
    v[0] = low_of(x.x), v[1] = high_of(x.x), v[2] = low_of(x.y), v[3] = high_of(x.y);
}
DEVICE void load_unit(float (&v)[8], const bf16 *p)
{
    const uint4 x = *(const uint4 *)p;
    v[0] = low_of(x.x), v[1] = high_of(x.x), v[2] = low_of(x.y), v[3] = high_of(x.y);
    v[4] = low_of(x.z), v[5] = high_of(x.z), v[6] = low_of(x.w), v[7] = high_of(x.w);
}
DEVICE void store_unit(float *p, const float (&v)[4])
{
    *(float4 *)p = make_float4(v[0], v[1], v[2], v[3]);
}
DEVICE void store_unit(bf16 *p, const float (&v)[4])
{
    *(uint2 *)p = make_uint2(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]));
}
DEVICE void store_unit(bf16 *p, const float (&v)[8])
{
    *(uint4 *)p = make_uint4(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]),
                             pack_bf16(v[6], v[7]));
}

/* The same where only `left` elements are there (zeros for the others, any number may be missing),
 * or where nothing is aligned. */
template <int U, typename T> DEVICE void load_some(float (&v)[U], const T *p, int64_t left)
{
#pragma unroll
    for (int j = 0; j < U; j++)
        v[j] = j < left ? to_f32(p[j]) : 0.0f;
}
template <int U, typename T> DEVICE void store_some(T *p, const float (&v)[U], int64_t left)
{
#pragma unroll
    for (int j = 0; j < U; j++)
        if (j < left)
            p[j] = from_f32<T>(v[j]);
}

/* One or the other: `wide` says that units of this tensor are aligned. */
template <int U, typename T> DEVICE void load(float (&v)[U], const T *p, int64_t left, bool wide)
{
    if (wide && left >= U)
        load_unit(v, p);
    else
        load_some(v, p, left);
}
template <int U, typename T> DEVICE void store(T *p, const float (&v)[U], int64_t left, bool wide)
{
    if (wide && left >= U)
        store_unit(p, v);
    else
        store_some(p, v, left);
}

/* The same, with the type looked at. */
DEVICE void load(float (&v)[4], either p, int64_t left, bool wide)
{
    if (p.is_bf16)
        load(v, (const bf16 *)p.data, left, wide);
    else
        load(v, (const float *)p.data, left, wide);
}
DEVICE void store(either p, const float (&v)[4], int64_t left, bool wide)
{
    if (p.is_bf16)
        store((bf16 *)p.data, v, left, wide);
    else
        store((float *)p.data, v, left, wide);
}

/* ---- sums in one fixed order ----------------------------------------------------------------- */

/* Every lane gets the sum: lanes (i, i+16), (i, i+8), ... are added. */
template <typename T> DEVICE T warp_sum(T x)
{
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2)
        x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}
/* The largest; a NaN is passed over. */
DEVICE float warp_max(float x)
{
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, step));
    return x;
}

/* The sum over a block of whole warps, threads numbered along x only; every thread gets it. `part`:
 * shared memory of the block, [32]. Nobody may be reading `part` from an earlier call. */
template <typename T> DEVICE T block_sum(T x, T *part)
{
    x = warp_sum(x);
    if (threadIdx.x % WARP == 0)
        part[threadIdx.x / WARP] = x;
    __syncthreads();
    /* each warp folds the warps' sums for itself */
    const unsigned warps = blockDim.x / WARP, lane = threadIdx.x % WARP;
    return warp_sum(lane < warps ? part[lane] : (T)0);
}

/* ---- rotation: graft/ops.h (rope) ------------------------------------------------------------- */

/* Turns a pair of columns: the CPU's operations, one rounding each: the same bits. */
DEVICE void turn(float &low, float &high, float c, float s)
{
    const float a = low, b = high;
    low = __fsub_rn(__fmul_rn(a, c), __fmul_rn(b, s));
    high = __fadd_rn(__fmul_rn(b, c), __fmul_rn(a, s));
}

/* ---- dropout: graft/ops.h (gf_philox, gf_dropout_keep) --------------------------------------- */

/* Philox4x32-10 of Salmon et al. 2011. */
DEVICE uint4 philox(uint4 c, uint2 k)
{
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const uint32_t h0 = __umulhi(0xD2511F53u, c.x), l0 = 0xD2511F53u * c.x;
        const uint32_t h1 = __umulhi(0xCD9E8D57u, c.z), l1 = 0xCD9E8D57u * c.z;
        c = make_uint4(h1 ^ c.y ^ k.x, l1, h0 ^ c.w ^ k.y, l0);
        k.x += 0x9E3779B9u;
        k.y += 0xBB67AE85u;
    }
    return c;
}

/* Bit j says whether dropout keeps channel 8 * eight + j. `least` is the smallest draw that is
 * kept: ceil(p * 65536), as the host has it. */
DEVICE uint32_t dropout_keep8(uint64_t seed, uint32_t epoch, uint64_t example, int32_t position,
                              uint32_t module, uint32_t eight, uint32_t least)
{
    const uint2 key = make_uint2((uint32_t)seed, (uint32_t)(seed >> 32) ^ (epoch * 0x9E3779B9u));
    const uint4 r = philox(make_uint4((uint32_t)example, (uint32_t)(example >> 32) ^ (module << 8),
                                      (uint32_t)position, eight),
                           key);
    const uint32_t word[4] = {r.x, r.y, r.z, r.w};
    uint32_t kept = 0;
#pragma unroll
    for (int j = 0; j < 8; j++)
        kept |= (uint32_t)(((word[j / 2] >> (16 * (j % 2))) & 0xFFFFu) >= least) << j;
    return kept;
}

#endif
