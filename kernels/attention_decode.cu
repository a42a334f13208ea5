/* attention_decode.cu - causal attention, forward, for a few queries against many keys
 * (generation). Contract: graft/ops.h.
 *
 * A block owns one query of up to HEADS query heads that share a k/v head: keys and values are read
 * once for all of them. Its warps deal the keys among themselves by position. Inside a warp the
 * head's columns lie over `lanes` lanes, 8 each, so that a warp reads several keys at a time, in
 * full sectors; each such group of lanes keeps a softmax of its own keys, and these are put
 * together in one order at the end. Sums are f32, nothing is rounded to bf16 in between.
 *
 * grid: (G * share / HEADS, tiles, queries of a tile); more queries than that go round. */
#include "attention.cuh"

#define HEADS 4 /* 64 registers of queries and sums */
#define WARPS 8
#define FLIGHT 4 /* keys that a group of lanes reads before it looks at the first */

/* ---- what depends on the element type -----------------------------------------------------------
 * A lane's 8 columns: one chunk of 16 bytes of bf16, or the chunks `lane` and `lane + lanes`. */

/* The lane's columns of the head at p; zeros where the head is less wide, or if nothing is there.
 */
DEVICE void load_columns(float (&v)[8], const bf16 *p, int lane, int, int width, bool there)
{
#pragma unroll
    for (int i = 0; i < 8; i++)
        v[i] = 0.0f;
    if (there && lane * 8 < width)
        load_unit(v, p + lane * 8);
}
DEVICE void load_columns(float (&v)[8], const float *p, int lane, int lanes, int width, bool there)
{
    float half[2][4] = {};
    if (there && lane * 4 < width)
        load_unit(half[0], p + lane * 4);
    if (there && (lane + lanes) * 4 < width)
        load_unit(half[1], p + (lane + lanes) * 4);
#pragma unroll
    for (int i = 0; i < 8; i++)
        v[i] = half[i / 4][i % 4];
}

/* The other way. */
DEVICE void store_columns(bf16 *p, const float (&v)[8], int lane, int, int width)
{
    if (lane * 8 < width)
        store_unit(p + lane * 8, v);
}
DEVICE void store_columns(float *p, const float (&v)[8], int lane, int lanes, int width)
{
    if (lane * 4 < width)
        store_unit(p + lane * 4, {v[0], v[1], v[2], v[3]});
    if ((lane + lanes) * 4 < width)
        store_unit(p + (lane + lanes) * 4, {v[4], v[5], v[6], v[7]});
}

DEVICE float exp2_of(const bf16 *, float x)
{
    return exp2_approx(x);
}
DEVICE float exp2_of(const float *, float x)
{
    return exp2f(x);
}
DEVICE float tanh_of(const bf16 *, float x)
{
    return tanh_fast(x);
}
DEVICE float tanh_of(const float *, float x)
{
    return tanhf(x);
}

/* ---- the softmax of some keys -------------------------------------------------------------------
 */

struct softmax {
    float top, sum, o[8];
};

/* Puts another's keys into one. */
template <typename T> DEVICE void join(softmax &to, const softmax &from)
{
    const float most = fmaxf(to.top, from.top);
    const float f = exp2_of((const T *)0, (to.top - most) * LOG2E);
    const float g = exp2_of((const T *)0, (from.top - most) * LOG2E);
    to.top = most;
    to.sum = to.sum * f + from.sum * g;
#pragma unroll
    for (int i = 0; i < 8; i++)
        to.o[i] = to.o[i] * f + from.o[i] * g;
}

DEVICE softmax from_lane(const softmax &x, int other)
{
    softmax y;
    y.top = __shfl_xor_sync(ALL_LANES, x.top, other);
    y.sum = __shfl_xor_sync(ALL_LANES, x.sum, other);
#pragma unroll
    for (int i = 0; i < 8; i++)
        y.o[i] = __shfl_xor_sync(ALL_LANES, x.o[i], other);
    return y;
}

/* The score of a key, in all lanes of its group; LOWEST if it is hidden. */
template <typename T>
DEVICE float score(const gf_attention_args &a, const float (&q)[8], const float (&k)[8], int lanes,
                   bool there)
{
    float s = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; i++)
        s = fmaf(q[i], k[i], s);
    for (int step = lanes / 2; step > 0; step /= 2)
        s += __shfl_xor_sync(ALL_LANES, s, step);
    /* rounded as it is compared: no fma with what follows */
    s = a.cap > 0.0f ? __fmul_rn(a.cap, tanh_of((const T *)0, s * a.inner)) : __fmul_rn(s, a.scale);
    return there ? s : LOWEST;
}

/* What the query at `position` sees, for `heads` heads: the lane group's part of the keys. */
template <typename T>
DEVICE void walk_keys(const gf_attention_args &a, softmax (&x)[HEADS], const float (&q)[HEADS][8],
                      const T *k, const T *v, int position, int heads, int lanes)
{
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    const int groups = WARP / lanes, step = WARPS * FLIGHT * groups;
    const int low = first_key(a, position), mine = warp * FLIGHT * groups + lane / lanes;
    for (int base = low / step * step; base <= position; base += step) {
        float y[FLIGHT][8], z[FLIGHT][8];
        bool there[FLIGHT];
#pragma unroll
        for (int f = 0; f < FLIGHT; f++) {
            const int key = base + mine + f * groups;
            there[f] = key >= low && key <= position;
            load_columns(y[f], k + (int64_t)key * a.k_stride, lane % lanes, lanes, a.width,
                         there[f]);
            load_columns(z[f], v + (int64_t)key * a.v_stride, lane % lanes, lanes, a.width,
                         there[f]);
        }
#pragma unroll
        for (int h = 0; h < HEADS; h++) {
            if (h >= heads)
                break;
            float s[FLIGHT], most = x[h].top;
#pragma unroll
            for (int f = 0; f < FLIGHT; f++) {
                s[f] = score<T>(a, q[h], y[f], lanes, there[f]);
                most = fmaxf(most, s[f]);
            }
            const float fade = exp2_of((const T *)0, (x[h].top - most) * LOG2E);
            x[h].top = most;
            x[h].sum *= fade;
#pragma unroll
            for (int i = 0; i < 8; i++)
                x[h].o[i] *= fade;
#pragma unroll
            for (int f = 0; f < FLIGHT; f++) {
                const float p = exp2_of((const T *)0, (s[f] - most) * LOG2E);
                x[h].sum += p;
#pragma unroll
                for (int i = 0; i < 8; i++)
                    x[h].o[i] = fmaf(p, z[f][i], x[h].o[i]);
            }
        }
    }
}

/* ---- the kernel ---------------------------------------------------------------------------------
 */

/* The warps' parts. */
struct parts {
    float top[HEADS][WARPS], sum[HEADS][WARPS], o[HEADS][WARPS][8][WARP];
};

/* Writes the lane's columns of head h, and lse. */
template <typename T>
DEVICE void put_together(const gf_attention_args &a, const parts &x, int h, T *o, float *lse,
                         int lane, int lanes)
{
    float most = x.top[h][0], sum = 0.0f, all[8] = {};
#pragma unroll
    for (int w = 1; w < WARPS; w++)
        most = fmaxf(most, x.top[h][w]);
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
        const float f = exp2_of((const T *)0, (x.top[h][w] - most) * LOG2E);
        sum = fmaf(x.sum[h][w], f, sum);
#pragma unroll
        for (int i = 0; i < 8; i++)
            all[i] = fmaf(x.o[h][w][i][lane], f, all[i]);
    }
    const float factor = reciprocal(sum);
#pragma unroll
    for (int i = 0; i < 8; i++)
        all[i] = all[i] * factor + 0.0f; /* -0 becomes 0 */
    store_columns(o, all, lane, lanes, a.width);
    if (lane == 0)
        *lse = most + logf(sum);
}

template <typename T> DEVICE void decode(const gf_attention_args &a)
{
    __shared__ parts shared;
    part p;
    if (!find_rows(p, a, false, 0, GF_TILE))
        return;
    const int cuts = (a.share + HEADS - 1) / HEADS, group = (int)blockIdx.x / cuts;
    const int cut = (int)blockIdx.x % cuts * HEADS, heads = min(a.share - cut, HEADS);
    const int head0 = group * a.share + cut;
    int lanes = 1;
    while (lanes * 8 < a.width)
        lanes *= 2;
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    for (int r = (int)blockIdx.z; r < p.count; r += (int)gridDim.z) {
        T *const o = head_of<T>(a, a.o, a.o_stride, p.first + r, head0);
        float *const lse = a.lse + (int64_t)(p.first + r) * a.lse_stride + head0;
        if (p.filler) {
            store_zeros(o, 0, 1, heads * a.width);
            if ((int)threadIdx.x < heads)
                lse[threadIdx.x] = 0.0f;
            continue;
        }
        float q[HEADS][8];
        softmax x[HEADS];
#pragma unroll
        for (int h = 0; h < HEADS; h++) {
            load_columns(q[h], head_of<T>(a, a.q, a.q_stride, p.first + r, head0 + h), lane % lanes,
                         lanes, a.width, h < heads);
            x[h] = {LOWEST, 0.0f, {}};
        }
        walk_keys<T>(a, x, q, head_of<T>(a, a.k, a.k_stride, p.span.kv_start, group),
                     head_of<T>(a, a.v, a.v_stride, p.span.kv_start, group), p.position + r, heads,
                     lanes);
#pragma unroll
        for (int h = 0; h < HEADS; h++) {
            for (int other = lanes; other < WARP; other *= 2)
                join<T>(x[h], from_lane(x[h], other));
            if (lane == 0) {
                shared.top[h][warp] = x[h].top;
                shared.sum[h][warp] = x[h].sum;
            }
#pragma unroll
            for (int i = 0; i < 8; i++)
                if (lane < lanes)
                    shared.o[h][warp][i][lane] = x[h].o[i];
        }
        __syncthreads();
        if (warp < heads && lane < lanes)
            put_together(a, shared, warp, o + warp * a.width, lse + warp, lane, lanes);
        __syncthreads();
    }
}

extern "C" __global__ void __launch_bounds__(WARPS *WARP)
    attention_decode_bf16(const __grid_constant__ gf_attention_args a)
{
    decode<bf16>(a);
}
extern "C" __global__ void __launch_bounds__(WARPS *WARP)
    attention_decode_f32(const __grid_constant__ gf_attention_args a)
{
    decode<float>(a);
}
