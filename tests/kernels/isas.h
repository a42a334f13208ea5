/* isas.h - runs a test on every instruction set that this CPU has. */
#ifndef GRAFT_TESTS_ISAS_H
#define GRAFT_TESTS_ISAS_H

#include <string.h>

#include "gemm.h"

typedef void isa_gemm(gf_pool *pool, const gf_gemm *g);

typedef struct {
    const gf_ops *ops;
    isa_gemm *gemm;
    bool pairs; /* multiplies bf16 itself */
} isa_twins;

static const isa_twins isa_list[] = {
    {&gf_plain_ops, gf_plain_gemm, false},
#if defined(__x86_64__)
    {&gf_avx2_ops, gf_avx2_gemm, false},
    {&gf_avx512_ops, gf_avx512_gemm, false},
    {&gf_avx512bf16_ops, gf_avx512bf16_gemm, true},
#endif
};
enum { ISAS = sizeof isa_list / sizeof isa_list[0] };

/* Opens a backend on exactly that table ("avx512" means without bf16 here). False: the CPU lacks
 * it. */
static inline bool isa_open(gf_backend *be, const isa_twins *i, int threads)
{
    gf_err err = {0};
    if (gf_backend_open_cpu(be, threads, i->ops->name, &err) != GF_OK)
        return false;
    be->ops = i->ops;
    return true;
}

/* A small generator for test data (xorshift64*), so that a failure repeats. */
static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545F4914F6CDD1Du;
}
static inline int random_int(uint64_t *state, int low, int high) /* both included */
{
    return low + (int)(next_random(state) >> 33) % (high - low + 1);
}
static inline float random_real(uint64_t *state) /* [-1, 1) */
{
    return (float)(int32_t)(next_random(state) >> 32) * 0x1p-31f;
}

#endif
