// Sample kernels for the test device, each with what can go wrong in it (samples.h). They use what
// the real kernels use: cp.async, ldmatrix, mma, shuffles, named barriers.
#include "samples.h"
#include <cuda_bf16.h>
#include <stdint.h>

typedef __nv_bfloat16 bf16;

// The mutants of a kernel as constants: rmsnorm_none, rmsnorm_no_sync ...
#define VALUE(m) rmsnorm_m_##m,
enum { RMSNORM_MUTANTS(VALUE) };
#undef VALUE
#define VALUE(m) gemm_m_##m,
enum { GEMM_MUTANTS(VALUE) };
#undef VALUE
#define VALUE(m) flash_m_##m,
enum { FLASH_MUTANTS(VALUE) };
#undef VALUE
#define VALUE(m) transpose_m_##m,
enum { TRANSPOSE_MUTANTS(VALUE) };
#undef VALUE
#define VALUE(m) pipeline_m_##m,
enum { PIPELINE_MUTANTS(VALUE) };
#undef VALUE
#define VALUE(m) sum_m_##m,
enum { SUM_MUTANTS(VALUE) };
#undef VALUE

#define DEVICE __device__ __forceinline__

// ---- PTX ----

DEVICE uint32_t shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}
template <bool swapped>
DEVICE void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    const uint32_t a1 = swapped ? a[2] : a[1], a2 = swapped ? a[1] : a[2];
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a1), "r"(a2), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
DEVICE void ldmatrix(uint32_t (&r)[4], const void *p)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(p))
                 : "memory");
}
DEVICE void ldmatrix_trans(uint32_t (&r)[4], const void *p)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(p))
                 : "memory");
}
DEVICE void copy16(void *to, const void *from, int bytes) // the rest becomes zero
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(bytes)
                 : "memory");
}
DEVICE void commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int groups> DEVICE void wait_group()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory");
}
DEVICE void barrier(int id, int threads)
{
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
DEVICE void arrive(int id, int threads)
{
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

DEVICE float warp_sum(float v, unsigned mask = 0xffffffffu, int last = 1)
{
#pragma unroll
    for (int o = 16; o >= last; o /= 2)
        v += __shfl_xor_sync(mask, v, o);
    return v;
}
DEVICE uint32_t pack(float low, float high)
{
    const __nv_bfloat162 v = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t *>(&v);
}

// ---- RMSNorm: a block of up to 1024 threads a row; n a multiple of 8 ----

template <int mutant>
DEVICE void rmsnorm(bf16 *out, const bf16 *x, const float *w, int n, float eps)
{
    __shared__ float part[32];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    const bf16 *row = x + (size_t)blockIdx.x * n + (mutant == rmsnorm_m_misaligned ? 4 : 0);
    const uint4 *rows = reinterpret_cast<const uint4 *>(row);
    const int end = mutant == rmsnorm_m_past_the_end ? n / 8 + 1 : n / 8;
    float sum = 0.f;
    for (int i = threadIdx.x; i < end; i += blockDim.x) {
        const uint4 q = rows[i];
        const uint32_t u[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const float low = __uint_as_float(u[j] << 16);
            const float high = __uint_as_float(u[j] & 0xffff0000u);
            sum += low * low + high * high;
        }
    }
    sum = warp_sum(sum, mutant == rmsnorm_m_half_mask ? 0xffffu : 0xffffffffu,
                   mutant == rmsnorm_m_four_steps ? 2 : 1);
    if (lane == 0)
        part[warp] = sum;
    if (mutant != rmsnorm_m_no_sync)
        __syncthreads();
    float total = 0.f;
    for (int i = 0; i < (mutant == rmsnorm_m_partials_unset ? 32 : warps); i++)
        total += part[i];
    const float r = rsqrtf(total / n + eps);
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        const float v = __bfloat162float(row[i]);
        out[(size_t)blockIdx.x * n + i] = __float2bfloat16_rn(v * r * w[i]);
    }
}

// ---- C[M,N] = A[M,K] * B[N,K]^T; K a multiple of 8, N even; 128 threads, tiles of 64 x 64 x 32 ----

constexpr int tile = 64, deep = 32;

DEVICE int at32(int row, int chunk) // chunks of 8 elements, so placed that 8 rows fill the banks
{
    return row * deep + ((chunk ^ ((row >> 1) & 3)) << 3);
}
template <int mutant> DEVICE int read32(int row, int chunk)
{
    return mutant == gemm_m_swizzle ? row * deep + ((chunk ^ (row & 3)) << 3) : at32(row, chunk);
}

template <int mutant>
DEVICE void gemm_load(bf16 *to, const bf16 *from, int first_row, int rows, int k0, int K, int pitch)
{
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int index = (int)threadIdx.x + i * 128, row = index >> 2, chunk = index & 3;
        const bool there = first_row + row < rows &&
                           (mutant == gemm_m_no_zero_fill || k0 + chunk * 8 < K);
        const int bytes = mutant == gemm_m_small_copy ? 8 : 16;
        const bf16 *source = from + (size_t)(first_row + row) * pitch + k0 + chunk * 8;
        copy16(to + at32(row, chunk), there ? source : from, there ? bytes : 0);
    }
}

template <int mutant>
DEVICE void gemm_step(float (&acc)[2][4][4], const bf16 *a, const bf16 *b, int wm, int wn)
{
    const int lane = threadIdx.x & 31, r = lane & (mutant == gemm_m_ldmatrix_row ? 7 : 15);
#pragma unroll
    for (int k = 0; k < deep / 8; k += 2) {
        uint32_t fa[2][4], fb[2][4];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            ldmatrix(fa[i], a + read32<mutant>(wm + i * 16 + r, k + (lane >> 4)));
            ldmatrix(fb[i], b + read32<mutant>(wn + i * 16 + (lane & 7) + ((lane >> 4) << 3),
                                               k + ((lane >> 3) & 1)));
        }
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const uint32_t mixed[2] = {fb[j >> 1][j & 1], fb[j >> 1][(j & 1) + 2]};
                const uint32_t right[2] = {fb[j >> 1][(j & 1) * 2], fb[j >> 1][(j & 1) * 2 + 1]};
                if (mutant == gemm_m_accumulate_once && k == 0)
                    acc[i][j][0] = acc[i][j][1] = acc[i][j][2] = acc[i][j][3] = 0.f;
                mma<mutant == gemm_m_a_order>(acc[i][j], fa[i],
                                              mutant == gemm_m_b_fragment ? mixed : right);
            }
    }
}

template <int mutant>
DEVICE void gemm(bf16 *C, const bf16 *A, const bf16 *B, int M, int N, int K)
{
    __shared__ __align__(128) bf16 sA[2][tile * deep], sB[2][tile * deep];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int m0 = blockIdx.y * tile, n0 = blockIdx.x * tile;
    const int wm = (warp & 1) * 32, wn = (warp >> 1) * 32, steps = (K + deep - 1) / deep;
    const int lda = mutant == gemm_m_lda ? N : K;
    float acc[2][4][4] = {};
    const auto load = [&](int step) {
        gemm_load<mutant>(sA[step & 1], A, m0, M, step * deep, K, lda);
        gemm_load<mutant>(sB[step & 1], B, n0, N, step * deep, K, K);
    };
    load(0);
    commit();
    for (int step = 0; step < steps; step++) {
        if (step + 1 < steps)
            load(step + 1);
        if (mutant != gemm_m_no_commit)
            commit();
        if (mutant == gemm_m_wait_count)
            wait_group<2>();
        else if (mutant != gemm_m_no_wait)
            wait_group<1>();
        if (mutant != gemm_m_no_sync_landed)
            __syncthreads();
        gemm_step<mutant>(acc, sA[step & 1], sB[step & 1], wm, wn);
        if (mutant != gemm_m_no_sync_reuse)
            __syncthreads();
    }
    wait_group<0>();
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const int r = m0 + wm + i * 16 + (lane >> 2) + h * 8;
                const int c = n0 + wn + j * 8 + (lane & 3) * 2;
                const float(&d)[4] = acc[i][j];
                const uint32_t two = mutant == gemm_m_c_layout ? pack(d[h], d[h + 2])
                                                               : pack(d[2 * h], d[2 * h + 1]);
                if (c < N && (r < M || mutant == gemm_m_tail_store))
                    *reinterpret_cast<uint32_t *>(C + (size_t)r * N + c) = two;
            }
}

// ---- causal attention, forward: heads of 64, T tokens; 128 threads, tiles of 64 x 64 ----

constexpr int width = 64;

DEVICE int at64(int row, int chunk)
{
    return row * width + ((chunk ^ (row & 7)) << 3);
}
DEVICE void flash_load(bf16 *to, const bf16 *from, int first_row, int T)
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int index = (int)threadIdx.x + i * 128, row = index >> 3, chunk = index & 7;
        const bool there = first_row + row < T;
        copy16(to + at64(row, chunk), from + (size_t)(there ? first_row + row : 0) * width + chunk * 8,
               there ? 16 : 0);
    }
    commit();
}

// s = q * k^T of this warp's 16 rows
DEVICE void flash_scores(float (&s)[8][4], const uint32_t (&fq)[4][4], const bf16 *k)
{
    const int lane = threadIdx.x & 31;
#pragma unroll
    for (int c = 0; c < 4; c++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            uint32_t f[4];
            ldmatrix(f, k + at64(j * 16 + (lane & 7) + ((lane >> 4) << 3), 2 * c + ((lane >> 3) & 1)));
            mma<false>(s[2 * j], fq[c], {f[0], f[1]});
            mma<false>(s[2 * j + 1], fq[c], {f[2], f[3]});
        }
}

// Masks, and moves the running maximum, sum and output to the new maximum; s becomes exp2(s - max).
template <int mutant>
DEVICE void flash_softmax(float (&s)[8][4], float (&o)[8][4], float (&top)[2], float (&sum)[2],
                          int row0, int column0, float scale)
{
    const int lane = threadIdx.x & 31;
    float next[2] = {top[0], top[1]};
#pragma unroll
    for (int j = 0; j < 8; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int column = column0 + j * 8 + (lane & 3) * 2 + (e & 1);
            const int row = row0 + (lane >> 2) + (e >> 1) * 8;
            const bool seen = mutant == flash_m_causal && row > 0 ? column < row : column <= row;
            s[j][e] = seen ? s[j][e] * scale : -INFINITY;
            next[e >> 1] = fmaxf(next[e >> 1], s[j][e]);
        }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        next[h] = fmaxf(next[h], __shfl_xor_sync(0xffffffffu, next[h], 1));
        if (mutant != flash_m_half_reduce)
            next[h] = fmaxf(next[h], __shfl_xor_sync(0xffffffffu, next[h], 2));
        const float c = exp2f(top[h] - next[h]);
        top[h] = next[h];
        sum[h] *= c;
#pragma unroll
        for (int j = 0; j < 8; j++)
            if (mutant != flash_m_no_rescale)
                o[j][2 * h] *= c, o[j][2 * h + 1] *= c;
    }
#pragma unroll
    for (int j = 0; j < 8; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            s[j][e] = exp2f(s[j][e] - top[e >> 1]);
            sum[e >> 1] += s[j][e];
        }
}

template <int mutant>
DEVICE void flash_values(float (&o)[8][4], const float (&s)[8][4], const bf16 *v)
{
    const int lane = threadIdx.x & 31;
#pragma unroll
    for (int k = 0; k < 4; k++) {
        const uint32_t p[4] = {pack(s[2 * k][0], s[2 * k][1]), pack(s[2 * k][2], s[2 * k][3]),
                               pack(s[2 * k + 1][0], s[2 * k + 1][1]),
                               pack(s[2 * k + 1][2], s[2 * k + 1][3])};
#pragma unroll
        for (int j = 0; j < 4; j++) {
            uint32_t f[4];
            const bf16 *from = v + at64(k * 16 + (lane & 15), 2 * j + (lane >> 4));
            if (mutant == flash_m_no_trans)
                ldmatrix(f, from);
            else
                ldmatrix_trans(f, from);
            mma<false>(o[2 * j], p, {f[0], f[1]});
            mma<false>(o[2 * j + 1], p, {f[2], f[3]});
        }
    }
}

template <int mutant>
DEVICE void flash(bf16 *O, const bf16 *Q, const bf16 *K, const bf16 *V, int T, float scale)
{
    extern __shared__ __align__(128) bf16 room[]; // Q, K, V tiles
    bf16 *sQ = room, *sK = room + tile * width, *sV = room + 2 * tile * width;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, mine = blockIdx.x;
    const size_t base = (size_t)blockIdx.y * T * width;
    flash_load(sQ, Q + base, mine * tile, T);
    flash_load(sK, K + base, 0, T);
    wait_group<1>();
    __syncthreads();
    uint32_t fq[4][4];
#pragma unroll
    for (int k = 0; k < 4; k++)
        ldmatrix(fq[k], sQ + at64(warp * 16 + (lane & 15), 2 * k + (lane >> 4)));
    float o[8][4] = {}, top[2] = {-INFINITY, -INFINITY}, sum[2] = {0.f, 0.f};
    for (int t = 0; t <= mine; t++) {
        flash_load(sV, V + base, t * tile, T);
        if (mutant == flash_m_wait_count)
            wait_group<2>();
        else
            wait_group<1>(); // K is there
        __syncthreads();
        float s[8][4] = {};
        flash_scores(s, fq, sK);
        if (mutant != flash_m_no_sync_k)
            __syncthreads();
        if (t < mine || mutant == flash_m_exit_early)
            flash_load(sK, K + base, t < mine ? (t + 1) * tile : 0, T);
        else
            commit();
        flash_softmax<mutant>(s, o, top, sum, mine * tile + warp * 16, t * tile, scale);
        wait_group<1>(); // V is there
        __syncthreads();
        flash_values<mutant>(o, s, sV);
        if (mutant != flash_m_no_sync_v)
            __syncthreads();
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 1);
        sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 2);
        const int row = mine * tile + warp * 16 + (lane >> 2) + h * 8;
#pragma unroll
        for (int j = 0; j < 8; j++)
            if (row < T)
                *reinterpret_cast<uint32_t *>(O + base + (size_t)row * width + j * 8 +
                                              (lane & 3) * 2) =
                    pack(o[j][2 * h] / sum[h], o[j][2 * h + 1] / sum[h]);
    }
}

// ---- a matrix of 32 x 32 tiles, transposed tile by tile; a warp a row of tiles ----

template <int mutant> DEVICE void transpose(float *out, const float *in, int n)
{
    __shared__ float room[4][32][33];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int row0 = (blockIdx.x * 4 + warp) * 32;
    if (row0 >= n)
        return;
    for (int column0 = 0; column0 < n; column0 += 32) {
        for (int r = 0; r < 32; r++)
            room[warp][r][lane] = in[(size_t)(row0 + r) * n + column0 + lane];
        if (mutant != transpose_m_no_syncwarp)
            __syncwarp();
        for (int r = 0; r < 32; r++)
            out[(size_t)(column0 + r) * n + row0 + lane] =
                room[warp][lane][mutant == transpose_m_row_too_long ? r + 1 : r];
        if (mutant != transpose_m_no_syncwarp_reuse)
            __syncwarp();
    }
}

// ---- two warps produce, two consume, by way of one buffer and named barriers ----

template <int mutant> DEVICE void pipeline(float *out, const float *in, int rounds)
{
    __shared__ float buffer[64];
    const int t = threadIdx.x & 63;
    const bool producer = threadIdx.x < 64;
    constexpr int full = 1, empty = 2;
    constexpr int threads = mutant == pipeline_m_count ? 96 : mutant == pipeline_m_odd_count ? 100 : 128;
    for (int round = 0; round < rounds; round++) {
        if (producer) {
            if (round > 0 && mutant != pipeline_m_no_empty)
                barrier(empty, 128);
            buffer[t] = in[round * 64 + t] * 2.f;
            arrive(full, threads);
        } else {
            barrier(mutant == pipeline_m_id ? 3 : full, threads);
            const float v = buffer[63 - t];
            if (round + 1 < rounds && mutant != pipeline_m_no_empty)
                arrive(empty, 128);
            out[round * 64 + t] = v + 1.f;
        }
    }
}

// ---- the sum of n numbers ----

template <int mutant> DEVICE void sum(float *out, const float *in, int n)
{
    __shared__ float part[32], all, staged[256];
    const int t = threadIdx.x, first = blockIdx.x * blockDim.x;
    if (mutant == sum_m_exit_before && first + t >= n)
        return;
    if (t == 0)
        all = 0.f;
    if (first + t < n)
        staged[t] = in[first + t];
    __syncthreads();
    float v = first + t < n || mutant == sum_m_tail_unset ? staged[t] : 0.f;
    if (mutant == sum_m_divergent_shuffle) {
        if ((t & 31) < 16)
            v += __shfl_xor_sync(0xffffffffu, v, 16);
        else
            v = 0.f;
        v = warp_sum(v, 0xffffffffu);
    } else {
        v = warp_sum(v);
    }
    if ((t & 31) == 0) {
        part[t >> 5] = v;
        if (mutant == sum_m_shared_not_atomic)
            all += v;
        else
            atomicAdd(&all, v);
    }
    if (mutant == sum_m_missing_member && (t & 31) < 20)
        __syncwarp(0xffff);
    if (mutant != sum_m_divergent_barrier || t < 40)
        __syncthreads();
    if (t == 0) {
        if (mutant == sum_m_not_atomic)
            *out += all;
        else
            atomicAdd(out, all);
    }
}

// ---- a kernel of each ----

#define KERNEL(m)                                                                                  \
    extern "C" __global__ void rmsnorm_##m(bf16 *out, const bf16 *x, const float *w, int n,        \
                                           float eps)                                              \
    {                                                                                              \
        rmsnorm<rmsnorm_m_##m>(out, x, w, n, eps);                                                 \
    }
RMSNORM_MUTANTS(KERNEL)
#undef KERNEL
#define KERNEL(m)                                                                                  \
    extern "C" __global__ void __launch_bounds__(128)                                              \
        gemm_##m(bf16 *C, const bf16 *A, const bf16 *B, int M, int N, int K)                       \
    {                                                                                              \
        gemm<gemm_m_##m>(C, A, B, M, N, K);                                                        \
    }
GEMM_MUTANTS(KERNEL)
#undef KERNEL
#define KERNEL(m)                                                                                  \
    extern "C" __global__ void __launch_bounds__(128)                                              \
        flash_##m(bf16 *O, const bf16 *Q, const bf16 *K, const bf16 *V, int T, float scale)        \
    {                                                                                              \
        flash<flash_m_##m>(O, Q, K, V, T, scale);                                                  \
    }
FLASH_MUTANTS(KERNEL)
#undef KERNEL
#define KERNEL(m)                                                                                  \
    extern "C" __global__ void transpose_##m(float *out, const float *in, int n)                   \
    {                                                                                              \
        transpose<transpose_m_##m>(out, in, n);                                                    \
    }
TRANSPOSE_MUTANTS(KERNEL)
#undef KERNEL
#define KERNEL(m)                                                                                  \
    extern "C" __global__ void pipeline_##m(float *out, const float *in, int rounds)               \
    {                                                                                              \
        pipeline<pipeline_m_##m>(out, in, rounds);                                                 \
    }
PIPELINE_MUTANTS(KERNEL)
#undef KERNEL
#define KERNEL(m)                                                                                  \
    extern "C" __global__ void sum_##m(float *out, const float *in, int n)                         \
    {                                                                                              \
        sum<sum_m_##m>(out, in, n);                                                                \
    }
SUM_MUTANTS(KERNEL)
