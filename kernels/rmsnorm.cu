/* rmsnorm.cu - RMSNorm over rows, or over every head of a row. Contract: graft/ops.h. Source: Zhang
 * and Sennrich 2019, eq. 4.
 *
 * A row (or head) belongs to blockDim.x threads: a warp, with blockDim.y rows in a block, or a
 * whole block. Thread i has units i, i + blockDim.x, ... of 4 elements and adds them up in that
 * order; it keeps them in registers where they are few (8, backward 4). So a row's bits depend on
 * its width alone, also where rows are not aligned. */
#include "device.cuh"

struct task {
    unsigned row, head;
    int width, wide;
    float eps, offset, inverse; /* inverse: 1 / width */
};

/* Which of `rows` rows, heads counted, this thread works on; false: none. Threads of a warp agree.
 */
DEVICE bool find_row(task *n, unsigned rows, unsigned heads)
{
    const unsigned i = blockIdx.x * blockDim.y + threadIdx.y; /* 64-bit division is a call */
    n->row = i / heads;
    n->head = i % heads;
    return i < rows;
}

/* The sum over the threads of a row. */
DEVICE float row_sum(float x, float *part)
{
    return blockDim.x == WARP ? warp_sum(x) : block_sum(x, part);
}

/* ---- forward ----------------------------------------------------------------------------------
 */

DEVICE float add_squares(float sum, const float (&v)[4])
{
#pragma unroll
    for (int j = 0; j < 4; j++)
        sum = fmaf(v[j], v[j], sum);
    return sum;
}

DEVICE float root(const task &n, float squares)
{
    return rsqrtf(fmaf(squares, n.inverse, n.eps));
}

DEVICE void scale_unit(float (&v)[4], const float (&w)[4], float r, float offset)
{
#pragma unroll
    for (int j = 0; j < 4; j++)
        v[j] = __fmul_rn(__fmul_rn(v[j], r), __fadd_rn(w[j], offset));
}

DEVICE void add_unit(float (&v)[4], const float (&more)[4])
{
#pragma unroll
    for (int j = 0; j < 4; j++)
        v[j] = __fadd_rn(more[j], v[j]);
}

/* A row of at most 4 * N * blockDim.x aligned elements: read once. */
template <int N, typename Y, typename X>
DEVICE float forward_kept(const task &n, Y y, X x, float *residual, float *w, float *part)
{
    const int units = n.width / 4;
    float v[N][4], sum = 0.0f;
#pragma unroll
    for (int k = 0; k < N; k++) {
        const int i = threadIdx.x + k * blockDim.x;
        v[k][0] = v[k][1] = v[k][2] = v[k][3] = 0.0f;
        if (i < units)
            load_unit(v[k], ahead(x, 4 * i));
    }
#pragma unroll
    for (int k = 0; k < N; k++)
        sum = add_squares(sum, v[k]);
    const float r = root(n, row_sum(sum, part));
#pragma unroll
    for (int k = 0; k < N; k++) {
        const int i = threadIdx.x + k * blockDim.x;
        float wi[4];
        if (i >= units)
            continue;
        load_unit(wi, w + 4 * i);
        scale_unit(v[k], wi, r, n.offset);
        if (residual) {
            load_unit(wi, residual + 4 * i);
            add_unit(v[k], wi);
        }
        store_unit(ahead(y, 4 * i), v[k]);
    }
    return r;
}

/* Any row. */
template <typename Y, typename X>
DEVICE float forward_long(const task &n, Y y, X x, float *residual, float *w, float *part)
{
    float v[4], wi[4], sum = 0.0f;
    for (int i = 4 * threadIdx.x; i < n.width; i += 4 * blockDim.x) {
        load(v, ahead(x, i), n.width - i, n.wide);
        sum = add_squares(sum, v);
    }
    const float r = root(n, row_sum(sum, part));
    for (int i = 4 * threadIdx.x; i < n.width; i += 4 * blockDim.x) {
        load(v, ahead(x, i), n.width - i, n.wide);
        load(wi, w + i, n.width - i, n.wide);
        scale_unit(v, wi, r, n.offset);
        if (residual) {
            load(wi, residual + i, n.width - i, n.wide);
            add_unit(v, wi);
        }
        store(ahead(y, i), v, n.width - i, n.wide);
    }
    return r;
}

/* `wide`: everything is aligned and there is nothing beyond the last whole unit. */
template <typename Y, typename X>
DEVICE float forward(const task &n, Y y, X x, float *residual, float *w, float *part)
{
    const int each = (n.width / 4 + blockDim.x - 1) / blockDim.x;
    if (!n.wide || each > 8)
        return forward_long(n, y, x, residual, w, part);
    if (each > 4)
        return forward_kept<8>(n, y, x, residual, w, part);
    if (each > 1)
        return forward_kept<4>(n, y, x, residual, w, part);
    return forward_kept<1>(n, y, x, residual, w, part);
}

#define FORWARD(name, how, Y, X)                                                                   \
    extern "C" __global__ void __launch_bounds__(1024)                                             \
        name(gf_arg y, gf_arg rstd, gf_arg x, gf_arg residual, float *w, unsigned rows,            \
             unsigned heads, int width, int wide, float eps, float offset, float inverse)          \
    {                                                                                              \
        __shared__ float part[WARP];                                                               \
        task n = {0, 0, width, wide, eps, offset, inverse};                                        \
        if (!find_row(&n, rows, heads))                                                            \
            return;                                                                                \
        const int64_t column = (int64_t)n.head * width;                                            \
        float *more = residual.data ? place<float *>(residual, n.row, column) : nullptr;           \
        const float r =                                                                            \
            how(n, place<Y>(y, n.row, column), place<X>(x, n.row, column), more, w, part);         \
        if (threadIdx.x == 0)                                                                      \
            *place<float *>(rstd, n.row, n.head) = r;                                              \
    }

FORWARD(rmsnorm_fwd_f32, forward, float *, float *)
FORWARD(rmsnorm_fwd_bf16, forward, bf16 *, bf16 *)
FORWARD(rmsnorm_fwd_bf16_f32, forward, bf16 *, float *)
FORWARD(rmsnorm_fwd_f32_bf16, forward, float *, bf16 *)

/* ---- backward ---------------------------------------------------------------------------------
 */

struct back {
    float *w;
    float r;
    bool into, rounded, again; /* given */
};

/* hat = x * r, g = dy * (w + offset) in place of x and dy; adds up g * hat. */
DEVICE float add_products(float sum, float (&g)[4], float (&hat)[4], const float (&w)[4], float r,
                          float offset)
{
#pragma unroll
    for (int j = 0; j < 4; j++) {
        g[j] = __fmul_rn(g[j], __fadd_rn(w[j], offset));
        hat[j] = __fmul_rn(hat[j], r);
        sum = fmaf(g[j], hat[j], sum);
    }
    return sum;
}

/* r * (g - hat * mean) in place of g, added to `into`. */
DEVICE void slope_unit(float (&g)[4], const float (&hat)[4], const float (&into)[4], float r,
                       float mean)
{
#pragma unroll
    for (int j = 0; j < 4; j++)
        g[j] = __fadd_rn(into[j], __fmul_rn(r, __fsub_rn(g[j], __fmul_rn(hat[j], mean))));
}

/* The forward's output from x * r, with its roundings. */
DEVICE void scale_hat(float (&hat)[4], const float (&w)[4], float offset)
{
#pragma unroll
    for (int j = 0; j < 4; j++)
        hat[j] = __fmul_rn(hat[j], __fadd_rn(w[j], offset));
}

template <int N, typename DX, typename DY, typename X>
DEVICE void backward_kept(const task &n, const back &b, DX dx, bf16 *rounded, DY again, DY dy,
                          float *into, X x, float *part)
{
    const int units = n.width / 4;
    float g[N][4], hat[N][4], sum = 0.0f;
#pragma unroll
    for (int k = 0; k < N; k++) {
        const int i = threadIdx.x + k * blockDim.x;
        if (i < units) {
            load_unit(hat[k], ahead(x, 4 * i));
            load_unit(g[k], ahead(dy, 4 * i));
        }
    }
#pragma unroll
    for (int k = 0; k < N; k++) {
        const int i = threadIdx.x + k * blockDim.x;
        float w[4];
        if (i >= units)
            continue;
        load_unit(w, b.w + 4 * i);
        sum = add_products(sum, g[k], hat[k], w, b.r, n.offset);
    }
    const float mean = row_sum(sum, part) * n.inverse;
#pragma unroll
    for (int k = 0; k < N; k++) {
        const int i = threadIdx.x + k * blockDim.x;
        float old[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        if (i >= units)
            continue;
        if (b.into)
            load_unit(old, into + 4 * i);
        slope_unit(g[k], hat[k], old, b.r, mean);
        store_unit(ahead(dx, 4 * i), g[k]);
        if (b.rounded)
            store_unit(rounded + 4 * i, g[k]);
        if (b.again) {
            float w[4];
            load_unit(w, b.w + 4 * i);
            scale_hat(hat[k], w, n.offset);
            store_unit(ahead(again, 4 * i), hat[k]);
        }
    }
}

template <typename DX, typename DY, typename X>
DEVICE void backward_long(const task &n, const back &b, DX dx, bf16 *rounded, DY again, DY dy,
                          float *into, X x, float *part)
{
    float g[4], hat[4], w[4], sum = 0.0f;
    for (int i = 4 * threadIdx.x; i < n.width; i += 4 * blockDim.x) {
        load(hat, ahead(x, i), n.width - i, n.wide);
        load(g, ahead(dy, i), n.width - i, n.wide);
        load(w, b.w + i, n.width - i, n.wide);
        sum = add_products(sum, g, hat, w, b.r, n.offset);
    }
    const float mean = row_sum(sum, part) * n.inverse;
    for (int i = 4 * threadIdx.x; i < n.width; i += 4 * blockDim.x) {
        const int left = n.width - i;
        float old[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        load(hat, ahead(x, i), left, n.wide);
        load(g, ahead(dy, i), left, n.wide);
        load(w, b.w + i, left, n.wide);
        (void)add_products(0.0f, g, hat, w, b.r, n.offset);
        if (b.into)
            load(old, into + i, left, n.wide);
        slope_unit(g, hat, old, b.r, mean);
        store(ahead(dx, i), g, left, n.wide);
        if (b.rounded)
            store(rounded + i, g, left, n.wide);
        if (b.again) {
            load(w, b.w + i, left, n.wide);
            scale_hat(hat, w, n.offset);
            store(ahead(again, i), hat, left, n.wide);
        }
    }
}

template <typename DX, typename DY, typename X>
DEVICE void backward(const task &n, const back &b, DX dx, bf16 *rounded, DY again, DY dy,
                     float *into, X x, float *part)
{
    const int each = (n.width / 4 + blockDim.x - 1) / blockDim.x;
    if (!n.wide || each > 4)
        backward_long(n, b, dx, rounded, again, dy, into, x, part);
    else if (each > 1)
        backward_kept<4>(n, b, dx, rounded, again, dy, into, x, part);
    else
        backward_kept<1>(n, b, dx, rounded, again, dy, into, x, part);
}

#define BACKWARD(name, how, DX, DY, X)                                                             \
    extern "C" __global__ void __launch_bounds__(1024)                                             \
        name(gf_arg dx, gf_arg rounded, gf_arg y, gf_arg dy, gf_arg into, gf_arg x, float *w,      \
             gf_arg rstd, unsigned rows, unsigned heads, int width, int wide, float offset,        \
             float inverse)                                                                        \
    {                                                                                              \
        __shared__ float part[WARP];                                                               \
        task n = {0, 0, width, wide, 0.0f, offset, inverse};                                       \
        if (!find_row(&n, rows, heads))                                                            \
            return;                                                                                \
        const int64_t at = (int64_t)n.head * width;                                                \
        const back b = {w, *place<float *>(rstd, n.row, n.head), into.data != nullptr,             \
                        rounded.data != nullptr, y.data != nullptr};                               \
        how(n, b, place<DX>(dx, n.row, at), place<bf16 *>(rounded, n.row, at),                     \
            place<DY>(y, n.row, at), place<DY>(dy, n.row, at), place<float *>(into, n.row, at),    \
            place<X>(x, n.row, at), part);                                                         \
    }

BACKWARD(rmsnorm_bwd_f32, backward, float *, float *, float *)
BACKWARD(rmsnorm_bwd_bf16, backward, bf16 *, bf16 *, bf16 *)
BACKWARD(rmsnorm_bwd_f32_bf16_f32, backward, float *, bf16 *, float *)
BACKWARD(rmsnorm_bwd_bf16_f32_bf16, backward, bf16 *, float *, bf16 *)
BACKWARD(rmsnorm_bwd_mixed, backward_long, either, either, either)
