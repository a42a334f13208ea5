/* adamw8.cu - one AdamW update with moments of 8 bits. Contract: graft/ops.h. Every operation is
 * rounded by itself as on the CPU: the same bits.
 *
 * A warp has a block of 256 elements at a time, so that its largest moments are found without
 * leaving the warp; a lane has four pairs of them, side by side with its neighbours'. */
#include "device.cuh"
#include "map8.h"

#define EIGHT 8 /* elements of a lane */
#define BLOCK8 (EIGHT * WARP)

struct eight {
    float value[EIGHT];
    int64_t g[EIGHT];
    uint32_t m[EIGHT], v[EIGHT]; /* codes */
};

/* Of the j-th element of this lane, in its block. */
DEVICE int place_of(int j)
{
    return j / 2 * 2 * WARP + 2 * (threadIdx.x % WARP) + j % 2;
}

/* The lane's elements of the block that begins here; those from `left` on are zeros. */
DEVICE void take(eight &e, const float *value, const int64_t *g, const uint8_t *m, const uint8_t *v,
                 int64_t left, bool wide)
{
#pragma unroll
    for (int j = 0; j < EIGHT; j += 2) {
        const int at = place_of(j);
        if (wide) {
            *(float2 *)&e.value[j] = *(const float2 *)&value[at];
            *(longlong2 *)&e.g[j] = *(const longlong2 *)&g[at];
            const uchar2 mc = *(const uchar2 *)&m[at], vc = *(const uchar2 *)&v[at];
            e.m[j] = mc.x, e.m[j + 1] = mc.y, e.v[j] = vc.x, e.v[j + 1] = vc.y;
            continue;
        }
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const bool there = at + i < left;
            e.value[j + i] = there ? value[at + i] : 0.0f;
            e.g[j + i] = there ? g[at + i] : 0;
            e.m[j + i] = there ? m[at + i] : 127; /* of zero */
            e.v[j + i] = there ? v[at + i] : 0;
        }
    }
}

DEVICE void put_back(const eight &e, float *value, uint8_t *m, uint8_t *v, int64_t left, bool wide)
{
#pragma unroll
    for (int j = 0; j < EIGHT; j += 2) {
        const int at = place_of(j);
        if (wide) {
            *(float2 *)&value[at] = make_float2(e.value[j], e.value[j + 1]);
            *(uchar2 *)&m[at] = make_uchar2((uint8_t)e.m[j], (uint8_t)e.m[j + 1]);
            *(uchar2 *)&v[at] = make_uchar2((uint8_t)e.v[j], (uint8_t)e.v[j + 1]);
            continue;
        }
#pragma unroll
        for (int i = 0; i < 2; i++)
            if (at + i < left) {
                value[at + i] = e.value[j + i];
                m[at + i] = (uint8_t)e.m[j + i];
                v[at + i] = (uint8_t)e.v[j + i];
            }
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
    const int warps = blockDim.x / WARP;
    const int64_t blocks = (n + BLOCK8 - 1) / BLOCK8, stride = (int64_t)gridDim.x * warps;
    int64_t block = (int64_t)blockIdx.x * warps + threadIdx.x / WARP;
    for (; block < blocks; block += stride) {
        const int64_t at = block * BLOCK8, left = n - at;
        const bool wide = a.wide && left >= BLOCK8;
        const float m_old = m_max[block], v_old = v_max[block];
        float mi[EIGHT], vi[EIGHT], m_new = 0.0f, v_new = 0.0f;
        eight e;
        take(e, value + at, g + at, m + at, v + at, left, wide);
#pragma unroll
        for (int j = 0; j < EIGHT; j++) { /* what is not there stays zero */
            mi[j] = __fmul_rn(p.m[e.m[j]], m_old);
            vi[j] = __fmul_rn(p.v[e.v[j]], v_old);
            e.value[j] = update(e.value[j], mi[j], vi[j], e.g[j], a);
            m_new = fmaxf(m_new, fabsf(mi[j]));
            v_new = fmaxf(v_new, vi[j]);
        }
        m_new = warp_max(m_new);
        v_new = warp_max(v_new);
#pragma unroll
        for (int j = 0; j < EIGHT; j++) {
            const float share = m_new > 0.0f ? __fdiv_rn(mi[j], m_new) : 0.0f;
            const int code = gf_map8_nearest(p.m_middle, share);
            e.m[j] = mi[j] < 0.0f && code == 127 ? 126 : code; /* its sign stays */
            e.v[j] = gf_map8_nearest(p.v_middle, v_new > 0.0f ? __fdiv_rn(vi[j], v_new) : 0.0f);
        }
        put_back(e, value + at, m + at, v + at, left, wide);
        __syncwarp(); /* all lanes have read the old ones */
        if (threadIdx.x % WARP == 0) {
            m_max[block] = m_new;
            v_max[block] = v_new;
        }
    }
}
