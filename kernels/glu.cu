/* glu.cu - gated linear unit. Contract: graft/ops.h. Source: Shazeer 2020.
 *
 * A thread has two units of a row, so that four (backward: six) loads are under way. */
#include "device.cuh"

#define GELU_C 0.7978845608028654f /* sqrt(2 / pi) */
#define GELU_A 0.044715f           /* of the tanh form (Hendrycks and Gimpel 2016) */
enum { SILU, GELU_TANH };          /* gf_act */

/* 1 / (1 + exp(-x)), 4 ulp. */
DEVICE float sigmoid(float x)
{
    return reciprocal_approx(__fadd_rn(1.0f, expf(-x)));
}

/* act(x); *slope = act'(x). (1 + tanh(u)) / 2 is sigmoid(2u). */
DEVICE float activate(float x, int act, float *slope)
{
    if (act == SILU) {
        const float s = sigmoid(x);
        *slope = s * fmaf(x, 1.0f - s, 1.0f);
        return x * s;
    }
    const float xx = x * x, u = GELU_C * fmaf(GELU_A * xx, x, x), cdf = sigmoid(2.0f * u);
    const float du = GELU_C * fmaf(3.0f * GELU_A, xx, 1.0f);
    /* 1 - cdf without cancellation: the slope's tail keeps its digits on both sides */
    *slope = fmaf(2.0f * x * cdf * (1.0f - cdf), du, cdf);
    return x * cdf;
}

DEVICE float gated(float gate, float up, int act)
{
    float slope;
    return activate(gate, act, &slope) * up;
}

/* This thread's row; false: none. */
DEVICE bool find_row(int64_t *row, int64_t rows)
{
    *row = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    return *row < rows;
}

/* ---- forward ----------------------------------------------------------------------------------
 */

/* Element by element: for what is not aligned, for mixtures of types, for a row's tail. */
template <typename H, typename G, typename U>
DEVICE void forward_each(H h, G gate, U up, int from, int step, int width, int act)
{
    for (int i = from; i < width; i += step)
        put(h, i, gated(get(gate, i), get(up, i), act));
}

template <int W, typename T>
DEVICE void forward_units(T *h, const T *gate, const T *up, int units, int act)
{
    float g[2][W], u[2][W];
    const int first = 2 * blockIdx.y * blockDim.x + threadIdx.x;
#pragma unroll
    for (int k = 0; k < 2; k++) {
        const int i = first + k * blockDim.x;
        if (i < units) {
            load_unit(g[k], gate + W * i);
            load_unit(u[k], up + W * i);
        }
    }
#pragma unroll
    for (int k = 0; k < 2; k++) {
        const int i = first + k * blockDim.x;
        if (i >= units)
            continue;
#pragma unroll
        for (int j = 0; j < W; j++)
            g[k][j] = gated(g[k][j], u[k][j], act);
        store_unit(h + W * i, g[k]);
    }
}

template <typename H, typename G, typename U>
DEVICE void forward_rest(H h, G gate, U up, int done, int width, int act)
{
    forward_each(h, gate, up, done + blockIdx.y * blockDim.x + threadIdx.x, gridDim.y * blockDim.x,
                 width, act);
}

/* `wide`: units of W elements are aligned. */
template <int W, typename T>
DEVICE void forward(gf_arg h, gf_arg gate, gf_arg up, int64_t rows, int width, int act, int wide)
{
    int64_t row;
    if (!find_row(&row, rows))
        return;
    T *const to = place<T *>(h, row, 0);
    T *const g = place<T *>(gate, row, 0), *const u = place<T *>(up, row, 0);
    const int units = wide ? width / W : 0;
    forward_units<W>(to, g, u, units, act);
    forward_rest(to, g, u, W * units, width, act);
}

extern "C" __global__ void __launch_bounds__(256)
    glu_fwd_f32(gf_arg h, gf_arg gate, gf_arg up, int64_t rows, int width, int act, int wide)
{
    forward<4, float>(h, gate, up, rows, width, act, wide);
}

extern "C" __global__ void __launch_bounds__(256)
    glu_fwd_bf16(gf_arg h, gf_arg gate, gf_arg up, int64_t rows, int width, int act, int wide)
{
    forward<8, bf16>(h, gate, up, rows, width, act, wide);
}

extern "C" __global__ void __launch_bounds__(256)
    glu_fwd_mixed(gf_arg h, gf_arg gate, gf_arg up, int64_t rows, int width, int act)
{
    int64_t row;
    if (find_row(&row, rows))
        forward_rest(place<either>(h, row, 0), place<either>(gate, row, 0),
                     place<either>(up, row, 0), 0, width, act);
}

/* ---- backward ---------------------------------------------------------------------------------
 */

/* What a row of the backward pass reads and writes; P is a pointer type. No h: h_too is false. */
template <typename P> struct back {
    P dgate, dup, h, dh, gate, up;
    bool h_too;
};

template <typename P>
DEVICE bool find_back(back<P> *b, gf_arg dgate, gf_arg dup, gf_arg h, gf_arg dh, gf_arg gate,
                      gf_arg up, int64_t rows)
{
    int64_t row;
    if (!find_row(&row, rows))
        return false;
    b->dgate = place<P>(dgate, row, 0);
    b->dup = place<P>(dup, row, 0);
    b->h = place<P>(h, row, 0);
    b->dh = place<P>(dh, row, 0);
    b->gate = place<P>(gate, row, 0);
    b->up = place<P>(up, row, 0);
    b->h_too = h.data != nullptr;
    return true;
}

/* dgate in place of gate, dup in place of up, h in place of dh. */
DEVICE void differentiate(float &gate, float &up, float &dh, int act)
{
    float slope;
    const float y = activate(gate, act, &slope), u = up, d = dh;
    gate = d * u * slope;
    up = d * y;
    dh = y * u;
}

template <typename P> DEVICE void backward_rest(const back<P> &b, int done, int width, int act)
{
    const int from = done + blockIdx.y * blockDim.x + threadIdx.x;
    for (int i = from; i < width; i += gridDim.y * blockDim.x) {
        float g = get(b.gate, i), u = get(b.up, i), d = get(b.dh, i);
        differentiate(g, u, d, act);
        put(b.dgate, i, g);
        put(b.dup, i, u);
        if (b.h_too)
            put(b.h, i, d);
    }
}

template <int W, typename T> DEVICE void backward_units(const back<T *> &b, int units, int act)
{
    float g[2][W], u[2][W], d[2][W];
    const int first = 2 * blockIdx.y * blockDim.x + threadIdx.x;
#pragma unroll
    for (int k = 0; k < 2; k++) {
        const int i = first + k * blockDim.x;
        if (i < units) {
            load_unit(g[k], b.gate + W * i);
            load_unit(u[k], b.up + W * i);
            load_unit(d[k], b.dh + W * i);
        }
    }
#pragma unroll
    for (int k = 0; k < 2; k++) {
        const int i = first + k * blockDim.x;
        if (i >= units)
            continue;
#pragma unroll
        for (int j = 0; j < W; j++)
            differentiate(g[k][j], u[k][j], d[k][j], act);
        store_unit(b.dgate + W * i, g[k]);
        store_unit(b.dup + W * i, u[k]);
        if (b.h_too)
            store_unit(b.h + W * i, d[k]);
    }
}

#define BACKWARD(name, W, T)                                                                       \
    extern "C" __global__ void __launch_bounds__(256)                                              \
        name(gf_arg dgate, gf_arg dup, gf_arg h, gf_arg dh, gf_arg gate, gf_arg up, int64_t rows,  \
             int width, int act, int wide)                                                         \
    {                                                                                              \
        back<T *> b;                                                                               \
        if (!find_back(&b, dgate, dup, h, dh, gate, up, rows))                                     \
            return;                                                                                \
        const int units = wide ? width / W : 0;                                                    \
        backward_units<W>(b, units, act);                                                          \
        backward_rest(b, W *units, width, act);                                                    \
    }

BACKWARD(glu_bwd_f32, 4, float)
BACKWARD(glu_bwd_bf16, 8, bf16)

extern "C" __global__ void __launch_bounds__(256)
    glu_bwd_mixed(gf_arg dgate, gf_arg dup, gf_arg h, gf_arg dh, gf_arg gate, gf_arg up,
                  int64_t rows, int width, int act)
{
    back<either> b;
    if (find_back(&b, dgate, dup, h, dh, gate, up, rows))
        backward_rest(b, 0, width, act);
}
