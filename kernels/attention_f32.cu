/* attention_f32.cu - causal attention, forward and backward, f32 without tensor cores. Contract:
 * graft/ops.h. The same loops as attention.cu and attention_bwd.cu, for runs in full f32.
 *
 * Heads up to 128 columns wide go through tiles of 32 rows, wider ones through tiles of 16: either
 * way a thread holds 32 sums of an output. 8 threads share Rows / 16 rows; they compute the scores
 * of those rows, every eighth column, and then every eighth chunk of 4 columns of the output, so
 * that scores go through shared memory inside a warp only.
 *
 * Rows of a tile lie width + 4 elements apart: an odd number of chunks, so that eight neighbours'
 * chunks lie in eight groups of banks. grid: (heads * GF_TILE / Rows, tiles); block: 128. */
#include "attention.cuh"

#define THREADS 128

template <int Rows> struct f32_shape {
    static constexpr int own = Rows / 16;              /* rows of a thread */
    static constexpr int columns = Rows / 8;           /* scores of a row that a thread computes */
    static constexpr int chunks = 4096 / Rows / 32;    /* chunks of a row that a thread sums */
    static constexpr int pitch = Rows == 32 ? 36 : 24; /* of scores: warps' writes don't collide */
    static constexpr int split = GF_TILE / Rows;
};

/* Starts copying rows [0, Rows) of a head, zeros from `count` on. */
template <int Rows>
DEVICE void load_rows(float *to, const float *from, int stride, int count, int width)
{
    const int chunk = (int)threadIdx.x % 8 * 4;
    for (int row = (int)threadIdx.x / 8; row < Rows; row += THREADS / 8)
        for (int column = chunk; column < width; column += 32)
            cp_async16(shared_address(to + row * (width + 4) + column),
                       from + (row < count ? row * stride + column : 0), row < count ? 16 : 0);
}

/* Waits for what was copied, of all threads. */
DEVICE void arrive()
{
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
}

/* s[r][c] = row r of a times row 8 c of b, one chain along the width. */
template <int Rows>
DEVICE void dot(float (&s)[f32_shape<Rows>::own][f32_shape<Rows>::columns], const float *a,
                const float *b, int width)
{
    constexpr int own = f32_shape<Rows>::own, columns = f32_shape<Rows>::columns;
#pragma unroll
    for (int r = 0; r < own; r++)
#pragma unroll
        for (int c = 0; c < columns; c++)
            s[r][c] = 0.0f;
    for (int k = 0; k < width; k += 4) {
        float x[own][4], y[4];
#pragma unroll
        for (int r = 0; r < own; r++)
            load_unit(x[r], a + r * (width + 4) + k);
#pragma unroll
        for (int c = 0; c < columns; c++) {
            load_unit(y, b + 8 * c * (width + 4) + k);
#pragma unroll
            for (int r = 0; r < own; r++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    s[r][c] = fmaf(x[r][i], y[i], s[r][c]);
        }
    }
}

/* o[r] += s[r] b over the rows of b, chunks `chunk`, chunk + 8, ... of them; those that the width
 * does not have are earlier ones again, in the same banks, and nobody stores them. */
template <int Rows>
DEVICE void add_rows(float (&o)[f32_shape<Rows>::own][f32_shape<Rows>::chunks][4], const float *s,
                     const float *b, int chunk, int width)
{
    constexpr int own = f32_shape<Rows>::own, pitch = f32_shape<Rows>::pitch;
    const int least = 4 * chunk < width ? 4 * chunk : 0;
#pragma unroll
    for (int c = 0; c < f32_shape<Rows>::chunks; c++) {
        if (32 * c >= width)
            break;
        const int column = 4 * (chunk + 8 * c) < width ? 4 * (chunk + 8 * c) : least;
        for (int k = 0; k < Rows; k += 4) {
            float x[own][4], y[4];
#pragma unroll
            for (int r = 0; r < own; r++)
                load_unit(x[r], s + r * pitch + k);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                load_unit(y, b + (k + i) * (width + 4) + column);
#pragma unroll
                for (int r = 0; r < own; r++)
#pragma unroll
                    for (int e = 0; e < 4; e++)
                        o[r][c][e] = fmaf(x[r][i], y[e], o[r][c][e]);
            }
        }
    }
}

/* Writes factor[r] * o[r] to rows r < count. Adding 0 turns -0 into 0. */
template <int Rows>
DEVICE void store_rows(float *to, int stride,
                       const float (&o)[f32_shape<Rows>::own][f32_shape<Rows>::chunks][4],
                       const float (&factor)[f32_shape<Rows>::own], int count, int chunk, int width)
{
#pragma unroll
    for (int r = 0; r < f32_shape<Rows>::own; r++)
#pragma unroll
        for (int c = 0; c < f32_shape<Rows>::chunks; c++) {
            const int column = 4 * (chunk + 8 * c);
            if (r < count && column < width)
                *(float4 *)(to + r * stride + column) =
                    make_float4(o[r][c][0] * factor[r] + 0.0f, o[r][c][1] * factor[r] + 0.0f,
                                o[r][c][2] * factor[r] + 0.0f, o[r][c][3] * factor[r] + 0.0f);
        }
}

/* Over the 8 threads of a row. */
DEVICE float eight_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 1));
    x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 2));
    return fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 4));
}
DEVICE float eight_sum(float x)
{
    x += __shfl_xor_sync(ALL_LANES, x, 1);
    x += __shfl_xor_sync(ALL_LANES, x, 2);
    return x + __shfl_xor_sync(ALL_LANES, x, 4);
}

/* ---- forward ------------------------------------------------------------------------------------
 */

/* A block of keys from `key` on: products to exponentials below the maximum so far, which go to p;
 * what was summed is scaled down to it. Exactly 1 for the maximum itself. */
template <int Rows>
DEVICE void soften(const gf_attention_args &a, float (&s)[f32_shape<Rows>::columns],
                   float (&o)[f32_shape<Rows>::chunks][4], float &top, float &sum, float *p,
                   int query, int key)
{
    float most = top;
#pragma unroll
    for (int c = 0; c < f32_shape<Rows>::columns; c++) {
        /* rounded as it is compared: no fma with what follows */
        s[c] = a.cap > 0.0f ? __fmul_rn(a.cap, tanhf(s[c] * a.inner)) : __fmul_rn(s[c], a.scale);
        if (is_hidden(a, query, key + 8 * c))
            s[c] = LOWEST;
        most = fmaxf(most, s[c]);
    }
    most = eight_max(most);
    const float fade = exp2f((top - most) * LOG2E);
    top = most;
    sum *= fade;
#pragma unroll
    for (int c = 0; c < f32_shape<Rows>::columns; c++) {
        const float x = exp2f((s[c] - most) * LOG2E);
        p[8 * c] = x;
        sum += x;
    }
#pragma unroll
    for (int c = 0; c < f32_shape<Rows>::chunks; c++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            o[c][e] *= fade;
}

template <int Rows> DEVICE void forward(const gf_attention_args &a)
{
    typedef f32_shape<Rows> shape;
    extern __shared__ __align__(16) float f32_shared[];
    part p;
    if (!find_part(p, a, false, Rows))
        return;
    float *const to = head_of<float>(a, a.o, a.o_stride, p.first, p.head);
    float *const lse = a.lse + (int64_t)p.first * a.lse_stride + p.head;
    if (p.filler) {
        store_zeros(to, a.o_stride, p.count, a.width);
        if ((int)threadIdx.x < p.count)
            lse[(int)threadIdx.x * a.lse_stride] = 0.0f;
        return;
    }
    const int begin = first_key(a, p.position) / Rows;
    const int end = (p.position + p.count - 1) / Rows + 1;
    const int row = (int)threadIdx.x / 8 * shape::own, chunk = (int)threadIdx.x % 8;
    const int pitch = a.width + 4;
    const float *k = head_of<float>(a, a.k, a.k_stride, p.span.kv_start, p.head / a.share);
    const float *v = head_of<float>(a, a.v, a.v_stride, p.span.kv_start, p.head / a.share);

    float *const sq = f32_shared, *const sk = sq + Rows * pitch, *const sv = sk + Rows * pitch;
    float *const scores = sv + Rows * pitch + row * shape::pitch;
    load_rows<Rows>(sq, head_of<float>(a, a.q, a.q_stride, p.first, p.head), a.q_stride, p.count,
                    a.width);
    float o[shape::own][shape::chunks][4] = {}, top[shape::own], sum[shape::own] = {};
#pragma unroll
    for (int r = 0; r < shape::own; r++)
        top[r] = LOWEST;
    for (int n = begin; n < end; n++) {
        const int key = n * Rows, left = p.span.kv_len - key;
        load_rows<Rows>(sk, k + (int64_t)key * a.k_stride, a.k_stride, left, a.width);
        load_rows<Rows>(sv, v + (int64_t)key * a.v_stride, a.v_stride, left, a.width);
        arrive();
        float s[shape::own][shape::columns];
        dot<Rows>(s, sq + row * pitch, sk + chunk * pitch, a.width);
#pragma unroll
        for (int r = 0; r < shape::own; r++)
            soften<Rows>(a, s[r], o[r], top[r], sum[r], scores + r * shape::pitch + chunk,
                         p.position + row + r, key + chunk);
        __syncwarp();
        add_rows<Rows>(o, scores, sv, chunk, a.width);
        __syncthreads();
    }
    float factor[shape::own];
#pragma unroll
    for (int r = 0; r < shape::own; r++) {
        const float all = eight_sum(sum[r]);
        factor[r] = reciprocal(all);
        if (chunk == 0 && row + r < p.count)
            lse[(row + r) * a.lse_stride] = top[r] + logf(all);
    }
    store_rows<Rows>(to + row * a.o_stride, a.o_stride, o, factor, p.count - row, chunk, a.width);
}

/* ---- backward -----------------------------------------------------------------------------------
 */

#define DELTA_ROWS 16
#define DELTA_HEADS 8
#define DELTA_COLUMNS 32

/* A thread sums one row of one head in the order of dot(): see attention_bwd.cu. grid: (H / 8,
 * tiles, GF_TILE / 16). */
extern "C" __global__ void __launch_bounds__(THREADS)
    attention_delta_f32(const __grid_constant__ gf_attention_args a)
{
    __shared__ __align__(16) float rows[2][THREADS][DELTA_COLUMNS + 4];
    part p;
    if (!find_rows(p, a, false, (int)blockIdx.z * DELTA_ROWS, DELTA_ROWS))
        return;
    const int head0 = (int)blockIdx.x * DELTA_HEADS, chunk = (int)threadIdx.x % 8 * 4;
    const int row = (int)threadIdx.x / DELTA_HEADS, head = head0 + (int)threadIdx.x % DELTA_HEADS;
    float sum = 0.0f;
    for (int k = 0; k < a.width && !p.filler; k += DELTA_COLUMNS) {
        for (int i = (int)threadIdx.x / 8; i < THREADS; i += THREADS / 8) {
            const int r = i / DELTA_HEADS, h = head0 + i % DELTA_HEADS;
            const int bytes = r < p.count && h < a.heads && k + chunk < a.width ? 16 : 0;
            const int64_t column = bytes ? h * a.width + k + chunk : 0;
            const int64_t at = bytes ? p.first + r : p.first;
            cp_async16(shared_address(&rows[0][i][chunk]),
                       (float *)a.d_o + at * a.d_o_stride + column, bytes);
            cp_async16(shared_address(&rows[1][i][chunk]), (float *)a.o + at * a.o_stride + column,
                       bytes);
        }
        arrive();
        for (int i = 0; i < DELTA_COLUMNS && k + i < a.width; i += 4) {
            float x[4], y[4];
            load_unit(x, &rows[0][threadIdx.x][i]);
            load_unit(y, &rows[1][threadIdx.x][i]);
#pragma unroll
            for (int e = 0; e < 4; e++)
                sum = fmaf(x[e], y[e], sum);
        }
        __syncthreads();
    }
    if (row < p.count && head < a.heads)
        a.delta[(int64_t)(p.first + row) * a.delta_stride + head] = sum;
}

/* Products of q and k and of d_o and v to P and dS (without the scale), 0 where hidden. */
DEVICE void to_slope(const gf_attention_args &a, float &s, float &d, float lse, float delta,
                     bool hidden)
{
    float bent = 1.0f;
    if (a.cap > 0.0f) {
        const float t = tanhf(s * a.inner);
        s = a.cap * t;
        bent = 1.0f - t * t;
    } else {
        s *= a.scale;
    }
    const float p = exp2f((s - lse) * LOG2E);
    const float slope = p * (d - delta) * bent;
    s = hidden ? 0.0f : p;
    d = hidden ? 0.0f : slope;
}

/* Starts copying lse and delta of rows [0, Rows) of a head, zeros from `count` on. */
template <int Rows>
DEVICE void load_numbers(const gf_attention_args &a, float *to, int first, int count, int head)
{
    if ((int)threadIdx.x >= 2 * Rows)
        return;
    const bool is_delta = (int)threadIdx.x >= Rows;
    const int stride = is_delta ? a.delta_stride : a.lse_stride, row = (int)threadIdx.x % Rows;
    const float *from = (is_delta ? a.delta : a.lse) + (int64_t)first * stride + head;
    cp_async4(shared_address(to + threadIdx.x), from + (row < count ? row * stride : 0),
              row < count ? 4 : 0);
}

/* Shared memory of the backward kernels: four tiles of rows, then p, ds, and lse and delta. */
struct f32_backward {
    float *tile[4], *p, *ds, *numbers;
};

template <int Rows> DEVICE f32_backward lay_out(float *at, int width)
{
    f32_backward x;
#pragma unroll
    for (int i = 0; i < 4; i++)
        x.tile[i] = at + i * Rows * (width + 4);
    x.p = at + 4 * Rows * (width + 4);
    x.ds = x.p + Rows * f32_shape<Rows>::pitch;
    x.numbers = x.ds + Rows * f32_shape<Rows>::pitch;
    return x;
}

template <int Rows> DEVICE void backward_keys(const gf_attention_args &a)
{
    typedef f32_shape<Rows> shape;
    extern __shared__ __align__(16) float f32_shared[];
    part p;
    if (!find_part(p, a, true, Rows))
        return;
    float *const dk_out = head_of<float>(a, a.dk, a.dk_stride, p.first, p.head);
    float *const dv_out = head_of<float>(a, a.dv, a.dv_stride, p.first, p.head);
    if (p.filler) {
        store_zeros(dk_out, a.dk_stride, p.count, a.width);
        store_zeros(dv_out, a.dv_stride, p.count, a.width);
        return;
    }
    const int begin = p.position / Rows;
    const int end = (query_end(a, p.position + p.count - 1, p.span.len) - 1) / Rows + 1;
    const int row = (int)threadIdx.x / 8 * shape::own, chunk = (int)threadIdx.x % 8;
    const int pitch = a.width + 4;
    const f32_backward at = lay_out<Rows>(f32_shared, a.width); /* tiles: k, v, q, d_o */
    load_rows<Rows>(at.tile[0], head_of<float>(a, a.k, a.k_stride, p.first, p.head), a.k_stride,
                    p.count, a.width);
    load_rows<Rows>(at.tile[1], head_of<float>(a, a.v, a.v_stride, p.first, p.head), a.v_stride,
                    p.count, a.width);
    float dk[shape::own][shape::chunks][4] = {}, dv[shape::own][shape::chunks][4] = {};
    for (int head = p.head * a.share; head < (p.head + 1) * a.share; head++)
        for (int n = begin; n < end; n++) {
            const int query = n * Rows, left = p.span.len - query, from = p.span.start + query;
            load_rows<Rows>(at.tile[2], head_of<float>(a, a.q, a.q_stride, from, head), a.q_stride,
                            left, a.width);
            load_rows<Rows>(at.tile[3], head_of<float>(a, a.d_o, a.d_o_stride, from, head),
                            a.d_o_stride, left, a.width);
            load_numbers<Rows>(a, at.numbers, from, left, head);
            arrive();
            float s[shape::own][shape::columns], d[shape::own][shape::columns];
            dot<Rows>(s, at.tile[0] + row * pitch, at.tile[2] + chunk * pitch, a.width);
            dot<Rows>(d, at.tile[1] + row * pitch, at.tile[3] + chunk * pitch, a.width);
#pragma unroll
            for (int r = 0; r < shape::own; r++)
#pragma unroll
                for (int c = 0; c < shape::columns; c++) {
                    const int column = chunk + 8 * c;
                    to_slope(a, s[r][c], d[r][c], at.numbers[column], at.numbers[Rows + column],
                             is_hidden(a, query + column, p.position + row + r));
                    at.p[(row + r) * shape::pitch + column] = s[r][c];
                    at.ds[(row + r) * shape::pitch + column] = d[r][c];
                }
            __syncwarp();
            add_rows<Rows>(dv, at.p + row * shape::pitch, at.tile[3], chunk, a.width);
            add_rows<Rows>(dk, at.ds + row * shape::pitch, at.tile[2], chunk, a.width);
            __syncthreads();
        }
    float scale[shape::own], one[shape::own];
#pragma unroll
    for (int r = 0; r < shape::own; r++) {
        scale[r] = a.scale;
        one[r] = 1.0f;
    }
    store_rows<Rows>(dk_out + row * a.dk_stride, a.dk_stride, dk, scale, p.count - row, chunk,
                     a.width);
    store_rows<Rows>(dv_out + row * a.dv_stride, a.dv_stride, dv, one, p.count - row, chunk,
                     a.width);
}

template <int Rows> DEVICE void backward_queries(const gf_attention_args &a)
{
    typedef f32_shape<Rows> shape;
    extern __shared__ __align__(16) float f32_shared[];
    part p;
    if (!find_part(p, a, false, Rows))
        return;
    float *const to = head_of<float>(a, a.dq, a.dq_stride, p.first, p.head);
    if (p.filler) {
        store_zeros(to, a.dq_stride, p.count, a.width);
        return;
    }
    const int begin = first_key(a, p.position) / Rows;
    const int end = (p.position + p.count - 1) / Rows + 1;
    const int row = (int)threadIdx.x / 8 * shape::own, chunk = (int)threadIdx.x % 8;
    const int pitch = a.width + 4;
    const float *k = head_of<float>(a, a.k, a.k_stride, p.span.start, p.head / a.share);
    const float *v = head_of<float>(a, a.v, a.v_stride, p.span.start, p.head / a.share);
    const f32_backward at = lay_out<Rows>(f32_shared, a.width); /* tiles: q, d_o, k, v */
    load_rows<Rows>(at.tile[0], head_of<float>(a, a.q, a.q_stride, p.first, p.head), a.q_stride,
                    p.count, a.width);
    load_rows<Rows>(at.tile[1], head_of<float>(a, a.d_o, a.d_o_stride, p.first, p.head),
                    a.d_o_stride, p.count, a.width);
    load_numbers<Rows>(a, at.numbers, p.first, p.count, p.head);
    float dq[shape::own][shape::chunks][4] = {};
    for (int n = begin; n < end; n++) {
        const int key = n * Rows, left = p.span.len - key;
        load_rows<Rows>(at.tile[2], k + (int64_t)key * a.k_stride, a.k_stride, left, a.width);
        load_rows<Rows>(at.tile[3], v + (int64_t)key * a.v_stride, a.v_stride, left, a.width);
        arrive();
        float s[shape::own][shape::columns], d[shape::own][shape::columns];
        dot<Rows>(s, at.tile[0] + row * pitch, at.tile[2] + chunk * pitch, a.width);
        dot<Rows>(d, at.tile[1] + row * pitch, at.tile[3] + chunk * pitch, a.width);
#pragma unroll
        for (int r = 0; r < shape::own; r++)
#pragma unroll
            for (int c = 0; c < shape::columns; c++) {
                const int column = chunk + 8 * c;
                to_slope(a, s[r][c], d[r][c], at.numbers[row + r], at.numbers[Rows + row + r],
                         is_hidden(a, p.position + row + r, key + column));
                at.ds[(row + r) * shape::pitch + column] = d[r][c];
            }
        __syncwarp();
        add_rows<Rows>(dq, at.ds + row * shape::pitch, at.tile[2], chunk, a.width);
        __syncthreads();
    }
    float scale[shape::own];
#pragma unroll
    for (int r = 0; r < shape::own; r++)
        scale[r] = a.scale;
    store_rows<Rows>(to + row * a.dq_stride, a.dq_stride, dq, scale, p.count - row, chunk, a.width);
}

/* Shared memory: kernels/cuda/launch_attention.c. */
#define KERNELS(width, rows)                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS, 1)                                       \
        attention_fwd_f32_##width(const __grid_constant__ gf_attention_args a)                     \
    {                                                                                              \
        forward<rows>(a);                                                                          \
    }                                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS, 1)                                       \
        attention_dkv_f32_##width(const __grid_constant__ gf_attention_args a)                     \
    {                                                                                              \
        backward_keys<rows>(a);                                                                    \
    }                                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS, 1)                                       \
        attention_dq_f32_##width(const __grid_constant__ gf_attention_args a)                      \
    {                                                                                              \
        backward_queries<rows>(a);                                                                 \
    }
KERNELS(128, 32)
KERNELS(256, 16)
