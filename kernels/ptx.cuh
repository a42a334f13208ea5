/* ptx.cuh - every PTX instruction that CUDA C++ has no name for, one thin wrapper each. Inline
 * assembly stands nowhere else, so that what it can get wrong is read in one place. Source: the PTX
 * ISA; the section is given where the layout of operands matters.
 *
 * Shared memory is named by 32-bit addresses (shared_address). */
#ifndef GRAFT_KERNELS_PTX_CUH
#define GRAFT_KERNELS_PTX_CUH

#include <stdint.h>

#define DEVICE __forceinline__ __device__

DEVICE uint32_t shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* ---- matrix products ------------------------------------------------------------------------- */

/* d [16,8] f32 += a [16,16] bf16 * b [16,8] bf16. Two values a register, the lower column (row of
 * b) in the lower half. With g = lane / 4, c = lane % 4 (PTX ISA, m16n8k16 .bf16):
 *   a[0], a[1]: rows g, g+8, columns 2c, 2c+1;    a[2], a[3]: the same rows, columns 2c+8, 2c+9
 *   b[0], b[1]: column g, rows 2c, 2c+1; 2c+8, 2c+9
 *   d[0], d[1]: row g, columns 2c, 2c+1;          d[2], d[3]: row g+8 */
DEVICE void mma_bf16_16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* Two (four) 8 x 8 matrices of 16-bit values. Lane l gives the address of row l % 8 of matrix
 * l / 8: 16 bytes, 16-byte aligned (x2 looks at lanes 0 to 15). Lane l gets row l / 4, columns
 * 2 (l % 4) and the next of each matrix; _trans: of its transpose. */
DEVICE void ldmatrix_x2(uint32_t (&r)[2], uint32_t shared)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared)
                 : "memory");
}
DEVICE void ldmatrix_x2_trans(uint32_t (&r)[2], uint32_t shared)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared)
                 : "memory");
}
DEVICE void ldmatrix_x4(uint32_t (&r)[4], uint32_t shared)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared)
                 : "memory");
}
DEVICE void ldmatrix_x4_trans(uint32_t (&r)[4], uint32_t shared)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared)
                 : "memory");
}

/* ---- asynchronous copies from global to shared memory ---------------------------------------- */

/* 16 bytes, both ends 16-byte aligned. Only the first `bytes` (0 to 16) are read, zeros fill the
 * rest; with 0 `global` is not read, yet must be an address of the tensor. Past L1. */
DEVICE void cp_async16(uint32_t shared, const void *global, int bytes)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global),
                 "r"(bytes)
                 : "memory");
}
/* 4 bytes of it, for what is not 16-byte aligned; bytes 0 or 4. */
DEVICE void cp_async4(uint32_t shared, const void *global, int bytes)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared), "l"(global),
                 "r"(bytes)
                 : "memory");
}
/* Closes a group of copies: those since the last commit. */
DEVICE void cp_async_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
/* Waits until at most `Left` of this thread's groups are under way. Other threads see what arrived
 * after a barrier only. */
template <int Left> DEVICE void cp_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(Left) : "memory");
}

/* ---- 128-bit accesses with a cache hint ---------------------------------------------------------
 * p is 16-byte aligned. Without a hint: *(const uint4 *)p. */

/* What nothing reads again soon, so that it does not push out what is. */
DEVICE uint4 load16_once(const void *p)
{
    uint4 x;
    asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                 : "l"(p));
    return x;
}
/* The same through the read-only path: nobody may write it while the kernel runs. */
DEVICE uint4 load16_constant(const void *p)
{
    uint4 x;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
        : "l"(p));
    return x;
}
DEVICE void store16_once(void *p, uint4 x)
{
    asm volatile("st.global.cs.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(p), "r"(x.x), "r"(x.y),
                 "r"(x.z), "r"(x.w)
                 : "memory");
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

/* 2^x, 2 ulp; 0 for -inf. */
DEVICE float exp2_approx(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
/* log2(x), 1 ulp or 2^-22 near 1. */
DEVICE float log2_approx(float x)
{
    float y;
    asm("lg2.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
/* tanh(x) with 2^-11 of relative error: good for bf16 only. */
DEVICE float tanh_approx(float x)
{
    float y;
    asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
/* 1 / x, 1 ulp; 1 / inf is 0. */
DEVICE float reciprocal_approx(float x)
{
    float y;
    asm("rcp.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
/* Two values to bf16, to nearest even; NaN stays NaN. `low` goes to the lower half: the lower
 * address. */
DEVICE uint32_t pack_bf16(float low, float high)
{
    uint32_t x;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(x) : "f"(high), "f"(low));
    return x;
}

/* ---- atomics ------------------------------------------------------------------------------------
 * Associative, so that their order does not show in the bits. */

/* Two's complement addition is the same for signed and unsigned. */
DEVICE void atomic_add_s64(int64_t *p, int64_t x)
{
    asm volatile("red.global.add.u64 [%0], %1;" ::"l"(p), "l"(x) : "memory");
}
DEVICE void atomic_max_u32(uint32_t *p, uint32_t x)
{
    asm volatile("red.global.max.u32 [%0], %1;" ::"l"(p), "r"(x) : "memory");
}

#endif
