/* cpu.h - what the CPU twins share. A twin file is compiled once per instruction set, with GF_ISA
 * as the middle of its external names: gf_plain_rope, gf_avx512_rope. Inside a twin file write
 *     gf_status GF_CPU(rope)(gf_backend *be, gf_tensor x, ...)
 * and call other per-ISA functions by the same macro. Files that are compiled once (backend.c,
 * pool.c, tests) have no GF_ISA and see only the tables' names. */
#ifndef GRAFT_KERNELS_CPU_H
#define GRAFT_KERNELS_CPU_H

#include "graft/ops.h"
#include "pool.h"

#define GF_ISA_PASTE_(isa, name) gf_##isa##_##name
#define GF_ISA_PASTE(isa, name) GF_ISA_PASTE_(isa, name)

/* Every instruction set that this build may know, best first: X(isa). A table exists only where
 * the build has it (GF_HAVE_isa). */
#define GF_ISA_LIST(X) X(avx512bf16) X(avx512) X(avx2) X(plain)

#define X(isa) extern const gf_ops gf_##isa##_ops;
GF_ISA_LIST(X)
#undef X

#ifdef GF_ISA
#define GF_CPU(name) GF_ISA_PASTE(GF_ISA, name)
#define X(op) gf_##op##_fn GF_CPU(op);
GF_OPS(X)
#undef X

/* Values [from, from + n) of a row of storage type t as f32: bit-equal to gf_to_f32, with this
 * ISA's vectors. Quantised: both multiples of 32, also inside larger blocks. */
void GF_CPU(to_f32)(float *out, gf_dtype t, const void *row, int64_t from, int64_t n);

/* The same to bf16, rounded half to even (NaN stays NaN). */
void GF_CPU(to_bf16)(uint16_t *out, gf_dtype t, const void *row, int64_t from, int64_t n);

/* f32 -> f32 or bf16, rounded half to even. */
void GF_CPU(from_f32)(gf_dtype t, void *out, const float *in, int64_t n);
#endif

/* Address of row i of t (bytes; a quantised type's stride is in whole blocks). */
static inline void *gf_row_at(gf_tensor t, int64_t i)
{
    return (char *)t.data + gf_row_bytes(t.dtype, t.stride) * i;
}

#endif
