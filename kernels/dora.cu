/* dora.cu - DoRA's norms, its scaling and the gradient of its magnitudes. Contract: graft/ops.h;
 * parameters: cuda/dora.h. The CPU's twin is dora.c. */
#include "cuda/dora.h"
#include "device.cuh"
#include "lora_sums.cuh"

/* ---- norms ---------------------------------------------------------------------------------- */

/* A block has GF_DORA_ROWS rows, so that A is read once for all of them; a thread every 128th
 * column. Dynamic shared memory: scale * B's rows. */
template <typename T> DEVICE void norms(const gf_dora_norms_args &g)
{
    extern __shared__ float b[]; /* [GF_DORA_ROWS][rank] */
    __shared__ float part[WARP], squares[GF_DORA_ROWS];
    const int first = blockIdx.x * GF_DORA_ROWS;
    for (int i = threadIdx.x; i < GF_DORA_ROWS * g.rank; i += GF_DORA_THREADS) {
        const int row = first + i / g.rank;
        b[i] = row < g.n ? g.scale * g.b[row * g.b_stride + i % g.rank] : 0.0f;
    }
    __syncthreads();
    float sum[GF_DORA_ROWS] = {};
    for (int c = threadIdx.x; c < g.k; c += GF_DORA_THREADS) {
        float x[GF_DORA_ROWS];
#pragma unroll
        for (int i = 0; i < GF_DORA_ROWS; i++)
            x[i] = first + i < g.n ? get(place<const T *>(g.w, first + i, c), 0) : 0.0f;
        for (int q = 0; q < g.rank; q++) {
            const float a = g.a[q * g.a_stride + c];
#pragma unroll
            for (int i = 0; i < GF_DORA_ROWS; i++)
                x[i] = fmaf(b[i * g.rank + q], a, x[i]);
        }
#pragma unroll
        for (int i = 0; i < GF_DORA_ROWS; i++)
            sum[i] = fmaf(x[i], x[i], sum[i]);
    }
#pragma unroll
    for (int i = 0; i < GF_DORA_ROWS; i++) {
        const float square = block_sum(sum[i], part);
        __syncthreads(); /* part is free again */
        if (threadIdx.x == 0)
            squares[i] = square;
    }
    __syncthreads();
    const int row = first + threadIdx.x;
    if (threadIdx.x >= GF_DORA_ROWS || row >= g.n)
        return;
    const float length = __fsqrt_rn(squares[threadIdx.x]), norm = length > 0.0f ? length : 1.0f;
    g.norm[row] = norm;
    g.factor[row] = __fdiv_rn(g.magnitude[row], norm);
}

extern "C" __global__ void __launch_bounds__(GF_DORA_THREADS)
    dora_norms_f32(const gf_dora_norms_args g)
{
    norms<float>(g);
}
extern "C" __global__ void __launch_bounds__(GF_DORA_THREADS)
    dora_norms_bf16(const gf_dora_norms_args g)
{
    norms<bf16>(g);
}

/* Rows [n, last), or all of a layer without magnitudes. */
extern "C" __global__ void __launch_bounds__(GF_DORA_THREADS) dora_ones(const gf_dora_norms_args g)
{
    const int i = (g.magnitude ? g.n : 0) + blockIdx.x * GF_DORA_THREADS + threadIdx.x;
    if (i < g.last)
        g.norm[i] = g.factor[i] = 1.0f;
}

/* ---- scaling ----------------------------------------------------------------------------------
 */

/* A thread has a unit of columns, whose factors it keeps, of GF_DORA_TOKENS rows. */
template <typename Y, typename X> DEVICE void scale(const gf_dora_scale_args &g)
{
    constexpr int U = GF_DORA_UNIT;
    const int column = (blockIdx.x * GF_DORA_THREADS + threadIdx.x) * U;
    const int left = g.width - column;
    if (left <= 0)
        return;
    float factor[U], bias[U] = {};
    load(factor, g.factor + column, left, g.wide);
    if (g.bias.data)
        load(bias, place<Y>(g.bias, 0, column), left, g.wide);
    const int64_t first = (int64_t)blockIdx.y * GF_DORA_TOKENS;
#pragma unroll 4
    for (int t = 0; t < GF_DORA_TOKENS; t++) {
        const int64_t row = first + t;
        if (row >= g.rows)
            break;
        float v[U], r[U] = {};
        load(v, place<X>(g.x, row, column), left, g.wide);
        if (g.residual.data)
            load(r, place<const float *>(g.residual, row, column), left, g.wide);
#pragma unroll
        for (int j = 0; j < U; j++)
            v[j] = __fadd_rn(__fadd_rn(__fmul_rn(v[j], factor[j]), bias[j]), r[j]);
        store(place<Y>(g.y, row, column), v, left, g.wide);
    }
}

#define SCALE(name, Y, X)                                                                          \
    extern "C" __global__ void __launch_bounds__(GF_DORA_THREADS)                                  \
        dora_scale_##name(const gf_dora_scale_args g)                                              \
    {                                                                                              \
        scale<Y, X>(g);                                                                            \
    }
SCALE(f32, float *, float *)
SCALE(bf16, bf16 *, bf16 *)
SCALE(mixed, either, either)

/* ---- the magnitudes' gradient -----------------------------------------------------------------
 */

/* A block has a chunk of tokens and 64 columns; warp w the tokens w, w + 4, ..., whose sums are
 * added in the order of the warps. */
template <typename T> DEVICE void gradient(const gf_dora_gradient_args &g)
{
    __shared__ float part[GF_DORA_TURNS][GF_DORA_COLUMNS];
    __shared__ int last;
    gf_row_header *row = (gf_row_header *)g.work;
    const int chunk = blockIdx.y, lane = threadIdx.x % WARP, turn = threadIdx.x / WARP;
    if (chunk >= row->chunks)
        return;
    uint32_t *peaks = (uint32_t *)((char *)row + row->peak_at);
    const gf_row_chunk tokens = ((const gf_row_chunk *)((const char *)row + row->chunk_at))[chunk];
    const int first = blockIdx.x * GF_DORA_COLUMNS;
    float sum[2] = {};
#pragma unroll 4
    for (int t = turn; t < tokens.count; t += GF_DORA_TURNS)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            const int column = first + lane + j * WARP;
            if (column < g.width)
                sum[j] = fmaf(get(place<const T *>(g.dy, tokens.first + t, column), 0),
                              get(place<const T *>(g.z, tokens.first + t, column), 0), sum[j]);
        }
    part[turn][lane] = sum[0];
    part[turn][lane + WARP] = sum[1];
    __syncthreads();
#pragma unroll
    for (int l = 0; l < 3; l++) {
        const int mine = threadIdx.x; /* the first 64 threads have a column each */
        const int column = first + mine, own = column - g.at[l];
        seen of_layer = {0, false};
        if (g.dm[l] && mine < GF_DORA_COLUMNS && own >= 0 && own < g.n[l]) {
            float v = part[0][mine];
            for (int t = 1; t < GF_DORA_TURNS; t++)
                v += part[t][mine];
            add_fixed(of_layer, g.dm[l] + own, __fdiv_rn(v, g.norm[column]), g.scale);
        }
        if (g.dm[l])
            raise_peak(&peaks[l * row->chunk_room + chunk], of_layer);
    }
    count_peaks(g.magnitude, g.nonfinite, row, peaks, &last);
}

extern "C" __global__ void __launch_bounds__(GF_DORA_THREADS)
    dora_gradient_f32(const gf_dora_gradient_args g)
{
    gradient<float>(g);
}
extern "C" __global__ void __launch_bounds__(GF_DORA_THREADS)
    dora_gradient_bf16(const gf_dora_gradient_args g)
{
    gradient<bf16>(g);
}
