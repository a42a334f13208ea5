/* lora.cuh - tiles of the adapters' products: where their 16-byte chunks lie in shared memory, what
 * a warp takes from them, and one step of a product, in bf16 on the tensor cores or in f32.
 *
 * A warp's step multiplies 16 rows by 16 columns. It takes 32 bytes of K from each: 16 values of
 * bf16, 8 of f32. A lane holds the same elements of the result in both types, those of
 * mma.m16n8k16: with g = lane / 4 and c = lane % 4, tile t of columns (8 each):
 *   d[t][0], d[t][1]: row g, columns 8t + 2c and the next;   d[t][2], d[t][3]: row g + 8.
 * f32 sums go on in ascending K by fused multiply-adds. */
#ifndef GRAFT_KERNELS_LORA_CUH
#define GRAFT_KERNELS_LORA_CUH

#include "cuda/lora.h"
#include "device.cuh"

#define CHUNK 16 /* bytes of a copy */

/* Elements of a chunk, and of a step along K. */
template <typename T> struct per {
    static constexpr int chunk = CHUNK / (int)sizeof(T), step = 2 * chunk;
};

/* Byte offset of a chunk in a tile with `Chunks` to a row, so placed that 8 rows' chunks of one
 * column lie in 8 different groups of banks; longer rows are only read along, 4 rows' do. What
 * moves a chunk depends on its row modulo GF_LORA_THREADS / Chunks: see `share`. */
template <int Chunks> DEVICE int place(int row, int chunk)
{
    if (Chunks >= 8)
        return (row * Chunks + (chunk ^ (row & (Chunks > 16 ? 3 : 7)))) * CHUNK;
    const int at = row * Chunks + chunk; /* several rows share a line of 8 */
    return ((at & ~7) | ((at ^ (at >> 3)) & 7)) * CHUNK;
}

/* ---- what a step takes -------------------------------------------------------------------- */

template <typename T> struct row_step; /* 16 rows of the left factor */
template <> struct row_step<bf16> {
    uint32_t v[4];
};
template <> struct row_step<float> {
    float v[2][8]; /* rows g and g + 8 */
};
template <typename T> struct column_step; /* 16 columns of the right one */
template <> struct column_step<bf16> {
    uint32_t v[2][2]; /* [tile] */
};
template <> struct column_step<float> {
    float v[4][8]; /* columns 2c, 2c + 1 of both tiles */
};

/* K runs along the rows of the tile: chunks 2 * step and the next of rows `row` and up. */
template <int Chunks>
DEVICE void take_along(row_step<bf16> &a, const char *tile, int row, int step, int lane)
{
    ldmatrix_x4(a.v, shared_address(tile + place<Chunks>(row + lane % 16, step * 2 + lane / 16)));
}
template <int Chunks>
DEVICE void take_along(row_step<float> &a, const char *tile, int row, int step, int lane)
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int at = place<Chunks>(row + lane / 4 + i / 2 * 8, step * 2 + i % 2);
        const float4 x = *(const float4 *)(tile + at);
        float *v = &a.v[i / 2][i % 2 * 4];
        v[0] = x.x, v[1] = x.y, v[2] = x.z, v[3] = x.w;
    }
}
template <int Chunks>
DEVICE void take_along(column_step<bf16> &b, const char *tile, int row, int step, int lane)
{
    uint32_t v[4];
    ldmatrix_x4(v, shared_address(tile + place<Chunks>(row + lane % 8 + lane / 16 * 8,
                                                       step * 2 + lane / 8 % 2)));
    b.v[0][0] = v[0], b.v[0][1] = v[1], b.v[1][0] = v[2], b.v[1][1] = v[3];
}
template <int Chunks>
DEVICE void take_along(column_step<float> &b, const char *tile, int row, int step, int lane)
{
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const int column = i / 4 * 8 + lane % 4 * 2 + i / 2 % 2;
        const float4 x = *(const float4 *)(tile + place<Chunks>(row + column, step * 2 + i % 2));
        float *v = &b.v[i / 2][i % 2 * 4];
        v[0] = x.x, v[1] = x.y, v[2] = x.z, v[3] = x.w;
    }
}

/* K runs down the tile: its rows step * (16 or 8) and up; columns `column` (a multiple of 8) and
 * up.
 */
template <int Chunks>
DEVICE void take_down(row_step<bf16> &a, const char *tile, int column, int step, int lane)
{
    ldmatrix_x4_trans(a.v, shared_address(tile + place<Chunks>(step * 16 + lane % 8 + lane / 16 * 8,
                                                               column / 8 + lane / 8 % 2)));
}
template <int Chunks>
DEVICE void take_down(row_step<float> &a, const char *tile, int column, int step, int lane)
{
#pragma unroll
    for (int i = 0; i < 16; i++) {
        const int at = column + lane / 4 + i / 8 * 8;
        a.v[i / 8][i % 8] =
            *(const float *)(tile + place<Chunks>(step * 8 + i % 8, at / 4) + at % 4 * 4);
    }
}
template <int Chunks>
DEVICE void take_down(column_step<bf16> &b, const char *tile, int column, int step, int lane)
{
    uint32_t v[4];
    ldmatrix_x4_trans(
        v, shared_address(tile + place<Chunks>(step * 16 + lane % 16, column / 8 + lane / 16)));
    b.v[0][0] = v[0], b.v[0][1] = v[1], b.v[1][0] = v[2], b.v[1][1] = v[3];
}
template <int Chunks>
DEVICE void take_down(column_step<float> &b, const char *tile, int column, int step, int lane)
{
#pragma unroll
    for (int i = 0; i < 16; i++) {
        const int at = column + i / 8 * 8 + lane % 4 * 2;
        const float2 x =
            *(const float2 *)(tile + place<Chunks>(step * 8 + i % 8, at / 4) + at % 4 * 4);
        b.v[i / 8 * 2][i % 8] = x.x, b.v[i / 8 * 2 + 1][i % 8] = x.y;
    }
}

/* ---- products ----------------------------------------------------------------------------- */

/* d += the step's tile t of columns. */
DEVICE void multiply(float (&d)[4], const row_step<bf16> &a, const column_step<bf16> &b, int t)
{
    mma_bf16_16816(d, a.v, b.v[t]);
}
DEVICE void multiply(float (&d)[4], const row_step<float> &a, const column_step<float> &b, int t)
{
#pragma unroll
    for (int e = 0; e < 4; e++)
#pragma unroll
        for (int k = 0; k < 8; k++)
            d[e] = fmaf(a.v[e / 2][k], b.v[t * 2 + e % 2][k], d[e]);
}

/* ---- copies ------------------------------------------------------------------------------- */

/* Bytes of a chunk that begins `left` elements before the end: 0 to 16. */
template <typename T> DEVICE int bytes_of(int left)
{
    return min(max(left * (int)sizeof(T), 0), CHUNK);
}

/* Starts a copy; what is beyond `bytes` becomes zero. `base` is an address of the tensor, for
 * chunks of which nothing is there. */
template <typename T> DEVICE void copy_chunk(char *to, const T *base, int64_t at, int bytes)
{
    cp_async16(shared_address(to), base + (bytes > 0 ? at : 0), bytes);
}

/* What a thread copies of a tile with `Chunks` to a row: chunk threadIdx.x, and every
 * GF_LORA_THREADS-th behind it. They stand in one column, rows_apart rows from each other, and in
 * memory APART bytes, whatever the swizzle. */
#define APART (GF_LORA_THREADS * CHUNK)
template <int Chunks> struct share {
    static constexpr int rows_apart = GF_LORA_THREADS / Chunks;
    static DEVICE int row()
    {
        return threadIdx.x / Chunks;
    }
    static DEVICE int column() /* chunks */
    {
        return threadIdx.x % Chunks;
    }
    static DEVICE int offset()
    {
        return place<Chunks>(row(), column());
    }
};

/* Bits 0 to Count - 1: which of a thread's chunks have a row below `rows`. */
template <int Chunks, int Count> DEVICE uint32_t rows_below(int rows)
{
    uint32_t there = 0;
#pragma unroll
    for (int i = 0; i < Count; i++)
        there |= (uint32_t)(share<Chunks>::row() + i * share<Chunks>::rows_apart < rows) << i;
    return there;
}

/* Starts `Count` copies to a thread's places, `step` bytes of global memory from each other. Bits
 * of `there`: a chunk of which `bytes` are read; the others, and what is beyond, become zero.
 * `base`: an address of the tensor. */
template <int Count>
DEVICE void copy_chunks(uint32_t to, const char *from, int64_t step, uint32_t there, int bytes,
                        const void *base)
{
    constexpr uint32_t all = (1u << Count) - 1;
    if (there == all && bytes == CHUNK) {
#pragma unroll
        for (int i = 0; i < Count; i++)
            cp_async16(to + i * APART, from + i * step, CHUNK);
        return;
    }
#pragma unroll
    for (int i = 0; i < Count; i++) {
        const bool one = (there >> i & 1u) && bytes > 0;
        cp_async16(to + i * APART, one ? from + i * step : (const char *)base, one ? bytes : 0);
    }
}

/* ---- what is known only now --------------------------------------------------------------- */

/* A parameter's array, indexed: without an address, which would cost a copy in local memory. */
template <typename E> DEVICE E pick(const E (&list)[3], int i)
{
    return i == 0 ? list[0] : i == 1 ? list[1] : list[2];
}

/* ---- dropout ------------------------------------------------------------------------------ */

/* What a lane draws for: a token, in a module. */
struct draw {
    uint64_t example;
    int32_t position;
    uint32_t module, epoch;
};

DEVICE uint32_t keep8(const gf_lora_dropout &drop, const draw &d, int channel)
{
    return dropout_keep8(drop.seed, d.epoch, d.example, d.position, d.module, (uint32_t)channel / 8,
                         drop.least);
}

template <typename E> DEVICE const E *list_of(const gf_row_header *row, uint32_t at)
{
    return (const E *)((const char *)row + at);
}

/* Halves of a pair that are kept; bit 0 is the lower one's. */
DEVICE uint32_t halves(uint32_t bits)
{
    return (bits & 1u) * 0xFFFFu | (bits >> 1 & 1u) * 0xFFFF0000u;
}
/* Kept values times 1/(1-p), rounded as x is; the others zero, whatever they were. */
DEVICE uint32_t drop_pair(uint32_t pair, uint32_t bits, float inverse)
{
    return pack_bf16(low_of(pair) * inverse, high_of(pair) * inverse) & halves(bits);
}

#endif
