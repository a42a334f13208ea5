/* rows.cu - gathering, scattering, adding and clearing rows. Contract: graft/ops.h. */
#include "device.cuh"

/* The same type on both sides: bits are moved, 16 bytes at a time where that is aligned (`wide`),
 * four units of a thread under way. */
template <typename T> DEVICE void move_row(T *y, const T *x, int width, int wide)
{
    const int each = 16 / sizeof(T), units = wide ? width / each : 0;
    for (int first = threadIdx.x; first < units; first += 4 * blockDim.x) {
        uint4 v[4];
#pragma unroll
        for (int k = 0; k < 4; k++)
            if (first + k * blockDim.x < units)
                v[k] = ((const uint4 *)x)[first + k * blockDim.x];
#pragma unroll
        for (int k = 0; k < 4; k++)
            if (first + k * blockDim.x < units)
                ((uint4 *)y)[first + k * blockDim.x] = v[k];
    }
    for (int i = each * units + threadIdx.x; i < width; i += blockDim.x)
        y[i] = x[i];
}
DEVICE void copy_row(float *y, const float *x, int width, int wide)
{
    move_row(y, x, width, wide);
}
DEVICE void copy_row(bf16 *y, const bf16 *x, int width, int wide)
{
    move_row(y, x, width, wide);
}

/* f32 to bf16 or back; `wide`: units of 4 are aligned. */
template <typename Y, typename X> DEVICE void copy_row(Y *y, const X *x, int width, int wide)
{
    const int units = wide ? width / 4 : 0;
    for (int first = threadIdx.x; first < units; first += 4 * blockDim.x) {
        float v[4][4];
#pragma unroll
        for (int k = 0; k < 4; k++)
            if (first + k * blockDim.x < units)
                load_unit(v[k], x + 4 * (first + k * blockDim.x));
#pragma unroll
        for (int k = 0; k < 4; k++)
            if (first + k * blockDim.x < units)
                store_unit(y + 4 * (first + k * blockDim.x), v[k]);
    }
    for (int i = 4 * units + threadIdx.x; i < width; i += blockDim.x)
        put(y, i, get(x, i));
}

/* y += x, `wide` as above. */
template <typename X> DEVICE void add_row(float *y, const X *x, int width, int wide)
{
    const int units = wide ? width / 4 : 0;
    for (int i = threadIdx.x; i < units; i += blockDim.x) {
        float a[4], b[4];
        load_unit(a, y + 4 * i);
        load_unit(b, x + 4 * i);
#pragma unroll
        for (int j = 0; j < 4; j++)
            a[j] = __fadd_rn(a[j], b[j]);
        store_unit(y + 4 * i, a);
    }
    for (int i = 4 * units + threadIdx.x; i < width; i += blockDim.x)
        y[i] = __fadd_rn(y[i], get(x, i));
}

DEVICE void clear_row(char *y, int64_t bytes, int wide)
{
    const int64_t units = wide ? bytes / 16 : 0;
#pragma unroll 1 /* else the number of rounds is divided for, in 64 bits */
    for (int64_t i = threadIdx.x; i < units; i += blockDim.x)
        ((uint4 *)y)[i] = make_uint4(0, 0, 0, 0);
#pragma unroll 1
    for (int64_t i = 16 * units + threadIdx.x; i < bytes; i += blockDim.x)
        y[i] = 0;
}

/* The row of this thread's team; false: none. */
DEVICE bool find_row(int64_t *row, int64_t rows)
{
    *row = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    return *row < rows;
}

#define GATHER(name, Y, X)                                                                         \
    extern "C" __global__ void __launch_bounds__(256)                                              \
        name(gf_arg y, gf_arg x, const int32_t *index, int64_t rows, int width, int wide)          \
    {                                                                                              \
        int64_t row;                                                                               \
        if (!find_row(&row, rows))                                                                 \
            return;                                                                                \
        const int32_t from = index[row];                                                           \
        if (from < 0)                                                                              \
            clear_row((char *)place<Y *>(y, row, 0), (int64_t)sizeof(Y) * width, wide);            \
        else                                                                                       \
            copy_row(place<Y *>(y, row, 0), place<X *>(x, from, 0), width, wide);                  \
    }

GATHER(gather_rows_f32, float, float)
GATHER(gather_rows_bf16, bf16, bf16)
GATHER(gather_rows_f32_bf16, float, bf16)
GATHER(gather_rows_bf16_f32, bf16, float)

#define SCATTER(name, X)                                                                           \
    extern "C" __global__ void __launch_bounds__(256)                                              \
        name(gf_arg y, gf_arg x, const int32_t *index, int64_t rows, int width, int wide)          \
    {                                                                                              \
        int64_t row;                                                                               \
        if (!find_row(&row, rows))                                                                 \
            return;                                                                                \
        const int32_t to = index[row];                                                             \
        if (to >= 0)                                                                               \
            copy_row(place<float *>(y, to, 0), place<X *>(x, row, 0), width, wide);                \
    }

SCATTER(scatter_rows_f32, float)
SCATTER(scatter_rows_bf16, bf16)

#define ADD(name, X)                                                                               \
    extern "C" __global__ void __launch_bounds__(256)                                              \
        name(gf_arg y, gf_arg x, int64_t rows, int width, int wide)                                \
    {                                                                                              \
        int64_t row;                                                                               \
        if (!find_row(&row, rows))                                                                 \
            return;                                                                                \
        add_row(place<float *>(y, row, 0), place<X *>(x, row, 0), width, wide);                    \
    }

ADD(add_rows_f32, float)
ADD(add_rows_bf16, bf16)

/* Rows of `bytes` at distances of `pitch`. */
extern "C" __global__ void __launch_bounds__(256)
    zero_rows(char *x, int64_t pitch, int64_t bytes, int64_t rows, int wide)
{
    int64_t row;
    if (find_row(&row, rows))
        clear_row(x + row * pitch, bytes, wide);
}
