/* roofline.c - what the machine can do at best: multiply-adds on registers alone, and copying. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "device.h"
#include "gpus.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    CHAINS = 16,         /* independent sums: 2 units, 4 cycles deep, and some to spare */
    BURST = 60000,       /* rounds of all chains: a quarter of a millisecond */
    COPY_BYTES = 1 << 26 /* per thread, beyond any cache of a core */
};

static volatile float sink; /* so that the sums are used */

/* ---- bursts: each returns its operations ---------------------------------------------- */

#if defined(__x86_64__)
__attribute__((target("avx512f"), noinline)) static double burst_avx512(void)
{
    __m512 a[CHAINS], sum = _mm512_setzero_ps();
    const __m512 b = _mm512_set1_ps(1.0000001f), c = _mm512_set1_ps(1e-9f);
    for (int j = 0; j < CHAINS; j++)
        a[j] = _mm512_set1_ps((float)j);
    for (int i = 0; i < BURST; i++)
        for (int j = 0; j < CHAINS; j++)
            a[j] = _mm512_fmadd_ps(a[j], b, c);
    for (int j = 0; j < CHAINS; j++)
        sum = _mm512_add_ps(sum, a[j]);
    sink = _mm512_cvtss_f32(sum);
    return 2.0 * 16 * CHAINS * BURST;
}

__attribute__((target("avx512f,avx512bf16"), noinline)) static double burst_pairs(void)
{
    __m512 a[CHAINS], sum = _mm512_setzero_ps();
    const __m512bh b = (__m512bh)_mm512_set1_epi32(0x3F803F80);
    const __m512bh c = (__m512bh)_mm512_set1_epi32(0x00810081);
    for (int j = 0; j < CHAINS; j++)
        a[j] = _mm512_set1_ps((float)j);
    for (int i = 0; i < BURST; i++)
        for (int j = 0; j < CHAINS; j++)
            a[j] = _mm512_dpbf16_ps(a[j], b, c);
    for (int j = 0; j < CHAINS; j++)
        sum = _mm512_add_ps(sum, a[j]);
    sink = _mm512_cvtss_f32(sum);
    return 2.0 * 32 * CHAINS * BURST;
}

__attribute__((target("avx2,fma"), noinline)) static double burst_avx2(void)
{
    enum { FEW = 12 }; /* of 16 registers */
    __m256 a[FEW], sum = _mm256_setzero_ps();
    const __m256 b = _mm256_set1_ps(1.0000001f), c = _mm256_set1_ps(1e-9f);
    for (int j = 0; j < FEW; j++)
        a[j] = _mm256_set1_ps((float)j);
    for (int i = 0; i < BURST; i++)
        for (int j = 0; j < FEW; j++)
            a[j] = _mm256_fmadd_ps(a[j], b, c);
    for (int j = 0; j < FEW; j++)
        sum = _mm256_add_ps(sum, a[j]);
    sink = _mm256_cvtss_f32(sum);
    return 2.0 * 8 * FEW * BURST;
}
#endif

/* Plain C has no fused operation: a product and a sum, each rounded. */
__attribute__((noinline)) static double burst_plain(void)
{
    enum { FEW = 12 };
    typedef float vec __attribute__((vector_size(16)));
    vec a[FEW], sum = {0};
    const vec b = {1.0000001f, 1.0000001f, 1.0000001f, 1.0000001f};
    const vec c = {1e-9f, 1e-9f, 1e-9f, 1e-9f};
    for (int j = 0; j < FEW; j++)
        a[j] = (vec){(float)j, 0, 0, 0};
    for (int i = 0; i < BURST; i++)
        for (int j = 0; j < FEW; j++)
            a[j] = a[j] * b + c;
    for (int j = 0; j < FEW; j++)
        sum += a[j];
    sink = sum[0];
    return 2.0 * 4 * FEW * BURST;
}

typedef double burst(void);

static burst *burst_of(const char *isa, bool bf16)
{
#if defined(__x86_64__)
    if (bf16)
        return strcmp(isa, "avx512bf16") == 0 ? burst_pairs : NULL;
    if (strncmp(isa, "avx512", 6) == 0)
        return burst_avx512;
    if (strcmp(isa, "avx2") == 0)
        return burst_avx2;
#endif
    (void)isa;
    return bf16 ? NULL : burst_plain;
}

typedef struct {
    burst *run;
    double operations;
} peak_job;

static void run_burst(void *ctx, int thread, int threads)
{
    peak_job *j = ctx;
    const double operations = j->run();
    if (thread == 0)
        j->operations = operations * threads;
}

double bench_peak(gf_backend *be, bool bf16)
{
    peak_job j = {.run = burst_of(be->ops->name, bf16)};
    if (!j.run)
        return 0;
    const double start = bench_now();
    gf_pool_run(be->pool, run_burst, &j);
    return j.operations / (bench_now() - start);
}

/* ---- copying -------------------------------------------------------------------------- */

typedef struct {
    char *from, *to;
} copy_job;

static void run_copy(void *ctx, int thread, int threads)
{
    const copy_job *j = ctx;
    (void)threads;
    memcpy(j->to + (size_t)thread * COPY_BYTES, j->from + (size_t)thread * COPY_BYTES, COPY_BYTES);
}

/* Bytes read and written a second by memcpy, all threads together. */
static double copy_rate(gf_backend *be, double seconds)
{
    const size_t bytes = (size_t)gf_backend_threads(be) * COPY_BYTES;
    copy_job j = {malloc(bytes), malloc(bytes)};
    double best = 0;
    if (j.from && j.to) {
        memset(j.from, 1, bytes);
        gf_pool_run(be->pool, run_copy, &j); /* touches the pages */
        for (const double end = bench_now() + seconds; bench_now() < end;) {
            const double start = bench_now();
            gf_pool_run(be->pool, run_copy, &j);
            const double rate = 2.0 * (double)bytes / (bench_now() - start);
            best = rate > best ? rate : best;
        }
    }
    free(j.from);
    free(j.to);
    return best;
}

/* A GPU: what a copy and a large product reach. */
static int device_roofline(const bench_options *o)
{
    bench_device d;
    bench_clocks clocks;
    if (!bench_device_open(&d, o))
        return 2;
    bench_clocks_start(&d, &clocks);
    const gf_status st = bench_device_ceiling(&d, o, o->shape && strcmp(o->shape, "tiny") == 0);
    if (st == GF_OK) {
        const bench_gpu *g = bench_find_gpu(gf_backend_device(&d.be)->name);
        bench_value v[16] = {
            {"copy_gb_s", NULL, d.ceiling.copy * 1e-9, 1},
            {"gemm_tf", NULL, d.ceiling.gemm * 1e-12, 2},
            {"of_sheet_%", NULL, g ? 100 * d.ceiling.gemm / g->peak : 0, 1},
            {"of_copy_%", NULL, g ? 100 * d.ceiling.copy / g->copy : 0, 1},
        };
        const int n = 4 + bench_clocks_stop(&d, &clocks, v + 4);
        bench_print(o, "roofline", v, n);
    } else {
        fprintf(stderr, "bench: %s\n", d.be.err.text);
    }
    bench_device_close(&d);
    return gf_exit_code(st);
}

int bench_roofline(const bench_options *o)
{
    if (o->device != BENCH_CPU)
        return device_roofline(o);
    static const char *const isas[] = {"plain", "avx2", "avx512", "avx512bf16"};
    int counts[2];
    const int n = bench_threads(o, counts);
    for (int c = 0; c < n; c++) {
        for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
            gf_backend be;
            bench_options one = *o;
            one.isa = isas[i];
            if (!bench_open(&be, &one, counts[c]))
                continue; /* said on stderr: this CPU lacks it */
            double f32 = 0, bf16 = 0;
            for (const double end = bench_now() + o->seconds; bench_now() < end;) {
                const double a = bench_peak(&be, false), b = bench_peak(&be, true);
                f32 = a > f32 ? a : f32;
                bf16 = b > bf16 ? b : bf16;
            }
            const bench_value v[] = {{"isa", isas[i], 0, 0},
                                     {"threads", NULL, counts[c], 0},
                                     {"f32_gflops", NULL, f32 / 1e9, 1},
                                     {"bf16_gflops", NULL, bf16 / 1e9, 1}};
            bench_print(o, "peak", v, 4);
            gf_backend_close(&be);
        }
    }
    for (int c = 0; c < n; c++) {
        gf_backend be;
        if (!bench_open(&be, o, counts[c]))
            return 1;
        const bench_value v[] = {{"threads", NULL, counts[c], 0},
                                 {"copy_gb_s", NULL, copy_rate(&be, 4 * o->seconds) / 1e9, 1}};
        bench_print(o, "copy", v, 2);
        gf_backend_close(&be);
    }
    return 0;
}
