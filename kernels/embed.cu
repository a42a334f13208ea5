/* embed.cu - token ids to rows of the embedding. Contract: graft/ops.h. */
#include "device.cuh"

/* Scales a row: four units of a thread under way. `wide`: units of 4 are aligned. */
template <typename T> DEVICE void scale_row(float *y, const T *x, int width, float scale, int wide)
{
    const int units = wide ? width / 4 : 0;
    for (int first = threadIdx.x; first < units; first += 4 * blockDim.x) {
        float v[4][4];
#pragma unroll
        for (int k = 0; k < 4; k++)
            if (first + k * blockDim.x < units)
                load_unit(v[k], x + 4 * (first + k * blockDim.x));
#pragma unroll
        for (int k = 0; k < 4; k++) {
            if (first + k * blockDim.x >= units)
                continue;
#pragma unroll
            for (int j = 0; j < 4; j++)
                v[k][j] *= scale;
            store_unit(y + 4 * (first + k * blockDim.x), v[k]);
        }
    }
    for (int i = 4 * units + threadIdx.x; i < width; i += blockDim.x)
        y[i] = scale * get(x, i);
}

DEVICE void clear_row(float *y, int width, int wide)
{
    const float none[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    const int units = wide ? width / 4 : 0;
    for (int i = threadIdx.x; i < units; i += blockDim.x)
        store_unit(y + 4 * i, none);
    for (int i = 4 * units + threadIdx.x; i < width; i += blockDim.x)
        y[i] = 0.0f;
}

template <typename T>
DEVICE void embed(gf_arg y, const int32_t *ids, gf_arg table, int64_t rows, int width, float scale,
                  int wide)
{
    const int64_t row = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    if (row >= rows)
        return;
    const int32_t id = ids[row];
    if (id < 0)
        clear_row(place<float *>(y, row, 0), width, wide);
    else
        scale_row(place<float *>(y, row, 0), place<T *>(table, id, 0), width, scale, wide);
}

extern "C" __global__ void __launch_bounds__(256)
    embed_fwd_f32(gf_arg y, const int32_t *ids, gf_arg table, int64_t rows, int width, float scale,
                  int wide)
{
    embed<float>(y, ids, table, rows, width, scale, wide);
}

extern "C" __global__ void __launch_bounds__(256)
    embed_fwd_bf16(gf_arg y, const int32_t *ids, gf_arg table, int64_t rows, int width, float scale,
                   int wide)
{
    embed<bf16>(y, ids, table, rows, width, scale, wide);
}
