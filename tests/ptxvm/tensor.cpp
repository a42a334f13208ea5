// mma.sync and ldmatrix/stmatrix. The fragments are those of the PTX ISA: with group g = lane / 4
// and t = lane % 4, registers hold the elements that the functions below say. Sums are formed in
// f32, one product after the other.
#include "access.h"
#include "lanes.h"
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace ptxvm
{

// c[16][8] += a[16][k] * b[k][8]
#if defined(__AVX2__) && defined(__FMA__)
// Eight rows at a time: as many sums as fit into registers, and enough that no two instructions in
// a row wait for each other. Compilers do not get there from the loops below.
template <int K>
static void multiply(const float (&a)[16][K], const float (&b)[K][8], float (&c)[16][8])
{
    for (int first = 0; first < 16; first += 8) {
        __m256 sum[8];
#pragma GCC unroll 8
        for (int row = 0; row < 8; row++)
            sum[row] = _mm256_loadu_ps(c[first + row]);
        for (int k = 0; k < K; k++) {
            const __m256 row_of_b = _mm256_loadu_ps(b[k]);
#pragma GCC unroll 8
            for (int row = 0; row < 8; row++)
                sum[row] =
                    _mm256_fmadd_ps(_mm256_broadcast_ss(&a[first + row][k]), row_of_b, sum[row]);
        }
#pragma GCC unroll 8
        for (int row = 0; row < 8; row++)
            _mm256_storeu_ps(c[first + row], sum[row]);
    }
}
#else
template <int K>
static void multiply(const float (&a)[16][K], const float (&b)[K][8], float (&c)[16][8])
{
    for (int row = 0; row < 16; row++)
        for (int k = 0; k < K; k++)
            for (int n = 0; n < 8; n++)
                c[row][n] = std::fma(a[row][k], b[k][n], c[row][n]);
}
#endif

// c, d: register i holds row g + 8 * (i / 2), column 2t + i % 2.
static void read_c(Warp &w, const int *in, float (&c)[16][8])
{
    for (int i = 0; i < 4; i++) {
        const float *r = w.lanes_of<float>(in[i]);
        for (int lane = 0; lane < 32; lane++)
            c[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2] = r[lane];
    }
}
static void write_d(Warp &w, const int *out, const float (&d)[16][8])
{
    for (int i = 0; i < 4; i++) {
        float *r = w.lanes_of<float>(out[i]);
        for (int lane = 0; lane < 32; lane++)
            r[lane] = d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
    }
}

// 16-bit elements, k = 16 (8): a register holds two neighbours in k. a: register i, half h is row
// g + 8 * (i % 2), column 2t + h + 8 * (i / 2). b: row 2t + h + 8i, column g. So the halves of four
// lanes, one behind the other in memory, are eight neighbours in k.
template <int K, float (*value)(u16)> static void mma_half(Warp &w, const Instruction &i, u32)
{
    float a[16][K], b[K][8], c[16][8];
    for (int n = 0; n < K / 4; n++) {
        const u16 *halves = w.lanes_of<u16>(i.in[n]);
        for (int g = 0; g < 8; g++)
            for (int k = 0; k < 8; k++)
                a[g + n % 2 * 8][k + n / 2 * 8] = value(halves[8 * g + k]);
    }
    for (int n = 0; n < K / 8; n++) {
        const u16 *halves = w.lanes_of<u16>(i.in[K / 4 + n]);
        for (int g = 0; g < 8; g++)
            for (int k = 0; k < 8; k++)
                b[k + n * 8][g] = value(halves[8 * g + k]);
    }
    read_c(w, i.in + K / 4 + K / 8, c);
    multiply<K>(a, b, c);
    write_d(w, i.out, c);
    w.block->launch.counters.mma++;
}

// tf32, k = 8 (4). a: register i is row g + 8 * (i % 2), column t + 4 * (i / 2). b: row t + 4i,
// column g.
template <int K> static void mma_tf32(Warp &w, const Instruction &i, u32)
{
    float a[16][K], b[K][8], c[16][8];
    for (int n = 0; n < K / 2; n++) {
        const u32 *r = w.lanes_of<u32>(i.in[n]);
        for (int lane = 0; lane < 32; lane++)
            a[lane / 4 + n % 2 * 8][lane % 4 + n / 2 * 4] = tf32_operand(r[lane]);
    }
    for (int n = 0; n < K / 4; n++) {
        const u32 *r = w.lanes_of<u32>(i.in[K / 2 + n]);
        for (int lane = 0; lane < 32; lane++)
            b[lane % 4 + n * 4][lane / 4] = tf32_operand(r[lane]);
    }
    read_c(w, i.in + K / 2 + K / 4, c);
    multiply<K>(a, b, c);
    write_d(w, i.out, c);
    w.block->launch.counters.mma++;
}

Body mma_body(const std::string &shape, const std::string &types)
{
    if (shape == "m16n8k16" && types == "f32.bf16.bf16.f32")
        return mma_half<16, bf16_to_float>;
    if (shape == "m16n8k16" && types == "f32.f16.f16.f32")
        return mma_half<16, half_to_float>;
    if (shape == "m16n8k8" && types == "f32.bf16.bf16.f32")
        return mma_half<8, bf16_to_float>;
    if (shape == "m16n8k8" && types == "f32.f16.f16.f32")
        return mma_half<8, half_to_float>;
    if (shape == "m16n8k8" && types == "f32.tf32.tf32.f32")
        return mma_tf32<8>;
    if (shape == "m16n8k4" && types == "f32.tf32.tf32.f32")
        return mma_tf32<4>;
    return nullptr;
}

// The rows of matrix n: their addresses are those of lanes 8n .. 8n + 7. Moves the lanes' addresses
// to places 0 .. 7, as one wavefront serves one matrix.
static void rows_of(Warp &w, const Instruction &i, const u64 *address, int n, Access access,
                    char **row)
{
    u64 first[32] = {};
    char *pointer[32];
    memcpy(first, address + 8 * n, 8 * sizeof *first);
    w.block->count_traffic(first, 0xff, 16, Space::shared);
    w.block->reach(w, address, 0xffu << 8 * n, 16, i.space, access, pointer);
    memcpy(row, pointer + 8 * n, 8 * sizeof *row);
}

// in: address. out: count registers. option: transposed. Without: register n holds elements 2t and
// 2t + 1 of row g of matrix n; with: of column g.
void load_matrices(Warp &w, const Instruction &i, u32)
{
    u64 address[32];
    u32 result[4][32];
    w.addresses(i.in[0], i.address_width, i.immediate, address);
    for (int n = 0; n < i.count; n++) {
        u16 matrix[8][8];
        char *row[8];
        rows_of(w, i, address, n, Access::read, row);
        for (int r = 0; r < 8; r++) {
            if (row[r])
                memcpy(matrix[r], row[r], 16);
            else
                memset(matrix[r], 0xff, 16);
        }
        for (int lane = 0; lane < 32; lane++) {
            const int g = lane / 4, t = lane % 4;
            result[n][lane] = i.option ? matrix[2 * t][g] | (u32)matrix[2 * t + 1][g] << 16
                                       : matrix[g][2 * t] | (u32)matrix[g][2 * t + 1] << 16;
        }
    }
    for (int n = 0; n < i.count; n++)
        memcpy(w.lanes_of<u32>(i.out[n]), result[n], sizeof result[n]);
}

void store_matrices(Warp &w, const Instruction &i, u32)
{
    u64 address[32];
    w.addresses(i.in[0], i.address_width, i.immediate, address);
    for (int n = 0; n < i.count; n++) {
        const u32 *values = w.lanes_of<u32>(i.in[1 + n]);
        u16 matrix[8][8];
        char *row[8];
        for (int lane = 0; lane < 32; lane++)
            for (int h = 0; h < 2; h++) {
                const u16 value = (u16)(values[lane] >> 16 * h);
                const int g = lane / 4, t = lane % 4 * 2 + h;
                (i.option ? matrix[t][g] : matrix[g][t]) = value;
            }
        rows_of(w, i, address, n, Access::write, row);
        for (int r = 0; r < 8; r++)
            if (row[r])
                memcpy(row[r], matrix[r], 16);
    }
}

} // namespace ptxvm
