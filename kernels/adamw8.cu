/* adamw8.cu - one AdamW update with moments of 8 bits. Contract: graft/ops.h. Every operation is
 * rounded by itself as on the CPU: the same bits.
 *
 * A warp has a block of 256 elements at a time, a lane eight neighbours of it, so that the block's
 * largest moments are found without leaving the warp. */
#include "device.cuh"
#include "map8.h"

#define EIGHT 8 /* elements of a lane */
#define BLOCK8 (EIGHT * WARP)

struct eight {
    float value[EIGHT];
    int64_t g[EIGHT];
    uint32_t m[2], v[2]; /* codes, four in each */
};

DEVICE uint32_t code_at(const uint32_t (&codes)[2], int j)
{
    return codes[j / 4] >> (8 * (j % 4)) & 255u;
}

/* Elements from `at` on, `count` of them (8 where wide); zeros behind. */
DEVICE void take(eight &e, const float *value, const int64_t *g, const uint8_t *m, const uint8_t *v,
                 int64_t at, int count, bool wide)
{
    if (wide) {
#pragma unroll
        for (int j = 0; j < EIGHT; j += 4)
            *(float4 *)&e.value[j] = *(const float4 *)&value[at + j];
#pragma unroll
        for (int j = 0; j < EIGHT; j += 2)
            *(longlong2 *)&e.g[j] = *(const longlong2 *)&g[at + j];
        *(uint2 *)e.m = *(const uint2 *)&m[at];
        *(uint2 *)e.v = *(const uint2 *)&v[at];
        return;
    }
    e.m[0] = e.m[1] = e.v[0] = e.v[1] = 0;
#pragma unroll
    for (int j = 0; j < EIGHT; j++) {
        const bool there = j < count;
        e.value[j] = there ? value[at + j] : 0.0f;
        e.g[j] = there ? g[at + j] : 0;
        e.m[j / 4] |= there ? (uint32_t)m[at + j] << (8 * (j % 4)) : 0;
        e.v[j / 4] |= there ? (uint32_t)v[at + j] << (8 * (j % 4)) : 0;
    }
}

DEVICE void put_back(const eight &e, float *value, uint8_t *m, uint8_t *v, int64_t at, int count,
                     bool wide)
{
    if (wide) {
#pragma unroll
        for (int j = 0; j < EIGHT; j += 4)
            *(float4 *)&value[at + j] = *(const float4 *)&e.value[j];
        *(uint2 *)&m[at] = *(const uint2 *)e.m;
        *(uint2 *)&v[at] = *(const uint2 *)e.v;
        return;
    }
#pragma unroll
    for (int j = 0; j < EIGHT; j++)
        if (j < count) {
            value[at + j] = e.value[j];
            m[at + j] = (uint8_t)code_at(e.m, j);
            v[at + j] = (uint8_t)code_at(e.v, j);
        }
}

DEVICE float update(float value, float &m, float &v, int64_t g, const gf_adamw8_factors &a)
{
    const float gr = __double2float_rn(__dmul_rn(a.scale, __ll2double_rn(g)));
    v = __fadd_rn(__fmul_rn(v, a.beta2), __fmul_rn(__fmul_rn(a.w2, gr), gr));
    m = __fadd_rn(__fmul_rn(m, a.beta1), __fmul_rn(a.w1, gr));
    const float by = __fdiv_rn(m, __fadd_rn(__fsqrt_rn(v), a.eps));
    return __fmul_rn(__fsub_rn(value, __fmul_rn(a.step, by)), a.keep);
}

struct maps {
    float m[256], v[256], m_middle[256], v_middle[256];
};

DEVICE void make_maps(maps &p)
{
    const int i = threadIdx.x;
    p.m[i] = gf_map8_signed(i);
    p.v[i] = gf_map8_unsigned(i);
    __syncthreads();
    p.m_middle[i] = i < 255 ? __fadd_rn(p.m[i], p.m[i + 1]) / 2.0f : 0.0f;
    p.v_middle[i] = i < 255 ? __fadd_rn(p.v[i], p.v[i + 1]) / 2.0f : 0.0f;
    __syncthreads();
}

extern "C" __global__ void __launch_bounds__(256)
    adamw8(float *value, uint8_t *m, uint8_t *v, float *m_max, float *v_max, const int64_t *g,
           int64_t n, const gf_adamw8_factors a)
{
    __shared__ maps p;
    make_maps(p);
    const int lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    const int64_t blocks = (n + BLOCK8 - 1) / BLOCK8, stride = (int64_t)gridDim.x * warps;
    int64_t block = (int64_t)blockIdx.x * warps + threadIdx.x / WARP;
    for (; block < blocks; block += stride) {
        const int64_t at = block * BLOCK8 + lane * EIGHT, left = n - at;
        const int count = left < 0 ? 0 : left < EIGHT ? (int)left : EIGHT;
        const bool wide = a.wide && count == EIGHT;
        const float m_old = m_max[block], v_old = v_max[block];
        float mi[EIGHT], vi[EIGHT], m_new = 0.0f, v_new = 0.0f;
        eight e;
        take(e, value, g, m, v, at, count, wide);
#pragma unroll
        for (int j = 0; j < EIGHT; j++) {
            mi[j] = __fmul_rn(p.m[code_at(e.m, j)], m_old);
            vi[j] = __fmul_rn(p.v[code_at(e.v, j)], v_old);
            e.value[j] = update(e.value[j], mi[j], vi[j], e.g[j], a);
            m_new = j < count ? fmaxf(m_new, fabsf(mi[j])) : m_new;
            v_new = j < count ? fmaxf(v_new, vi[j]) : v_new;
        }
        m_new = warp_max(m_new);
        v_new = warp_max(v_new);
        e.m[0] = e.m[1] = e.v[0] = e.v[1] = 0;
#pragma unroll
        for (int j = 0; j < EIGHT; j++) {
            const float share = m_new > 0.0f ? __fdiv_rn(mi[j], m_new) : 0.0f;
            int code = gf_map8_nearest(p.m_middle, share);
            code = mi[j] < 0.0f && code == 127 ? 126 : code; /* its sign stays */
            e.m[j / 4] |= (uint32_t)code << (8 * (j % 4));
            code = gf_map8_nearest(p.v_middle, v_new > 0.0f ? __fdiv_rn(vi[j], v_new) : 0.0f);
            e.v[j / 4] |= (uint32_t)code << (8 * (j % 4));
        }
        put_back(e, value, m, v, at, count, wide);
        __syncwarp(); /* all lanes have read the old ones */
        if (lane == 0) {
            m_max[block] = m_new;
            v_max[block] = v_new;
        }
    }
}
