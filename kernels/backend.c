/* backend.c - which instruction set a CPU backend runs. Contract: graft/ops.h. */
#include <string.h>

#include "cpu.h"
#ifdef GRAFT_CUDA
#include "cuda/cuda.h"
#endif

typedef struct {
    const gf_ops *ops;
    bool here; /* this CPU has it */
} choice;

/* AVX2 alone is asked for where F16C is used too: no CPU has the one without the other. */
static bool cpu_has_avx2(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

static bool cpu_has_avx512(void)
{
#if defined(__x86_64__)
    return cpu_has_avx2() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq");
#else
    return false;
#endif
}

static bool cpu_has_bf16(void)
{
#if defined(__x86_64__)
    return cpu_has_avx512() && __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

/* Best first; the build's list ends with plain, which every CPU has. */
static int list_choices(choice list[4])
{
    int n = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
#endif
#ifdef GF_HAVE_avx512bf16
    list[n++] = (choice){&gf_avx512bf16_ops, cpu_has_bf16()};
#endif
#ifdef GF_HAVE_avx512
    list[n++] = (choice){&gf_avx512_ops, cpu_has_avx512()};
#endif
#ifdef GF_HAVE_avx2
    list[n++] = (choice){&gf_avx2_ops, cpu_has_avx2()};
#endif
    list[n++] = (choice){&gf_plain_ops, true};
    (void)cpu_has_bf16;
    return n;
}

/* "avx512" names a family: with bf16 instructions where the CPU has them. */
static bool matches(const char *isa, const gf_ops *ops)
{
    return strcmp(isa, "auto") == 0 || strcmp(isa, ops->name) == 0 ||
           (strcmp(isa, "avx512") == 0 && strcmp(ops->name, "avx512bf16") == 0);
}

gf_status gf_backend_open_cpu(gf_backend *be, int threads, const char *isa, gf_err *err)
{
    choice list[4];
    const int n = list_choices(list);
    const gf_ops *ops = NULL;
    bool known = false;
    for (int i = 0; i < n && !ops; i++)
        if (matches(isa, list[i].ops)) {
            known = true;
            if (list[i].here)
                ops = list[i].ops;
        }
    if (!known &&
        (strcmp(isa, "avx512bf16") == 0 || strcmp(isa, "avx512") == 0 || strcmp(isa, "avx2") == 0))
        return gf_fail(err, GF_EMISSING, "--isa %s: this build has plain C only", isa);
    if (!known)
        return gf_fail(err, GF_EARG, "--isa %s: choose auto, avx512bf16, avx512, avx2 or plain",
                       isa);
    if (!ops)
        return gf_fail(err, GF_EMISSING, "--isa %s: this CPU does not have it; choose auto", isa);
    *be = (gf_backend){.ops = ops};
    return gf_pool_open(&be->pool, threads, err);
}

gf_status gf_backend_said(const gf_backend *be, gf_status st, gf_err *err)
{
    return st == GF_OK ? GF_OK : gf_fail(err, st, "%s", be->err.text);
}

void gf_backend_close(gf_backend *be)
{
    if (!be)
        return;
#ifdef GRAFT_CUDA
    if (be->cuda)
        gf_cuda_close(be);
#endif
    if (be->pool)
        gf_pool_close(be->pool);
    be->pool = NULL;
}

int gf_backend_threads(const gf_backend *be)
{
    return be->pool ? gf_pool_threads(be->pool) : 1;
}

size_t gf_backend_scratch(const gf_backend *be)
{
#ifdef GRAFT_CUDA
    if (be->cuda)
        return gf_cuda_own_bytes(be);
#endif
    return be->pool ? gf_pool_bytes(be->pool) : 0;
}
