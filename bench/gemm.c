/* gemm.c - the products of a step of SmolLM2-135M, packing included, as a share of the peak that
 * was measured between them. oneDNN's sgemm on the same matrices where it is installed. */
#include "gemm.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

typedef void gemm_fn(gf_pool *pool, const gf_gemm *g);

static gemm_fn *gemm_of(const gf_ops *ops)
{
#if defined(__x86_64__)
    if (ops == &gf_avx512bf16_ops)
        return gf_avx512bf16_gemm;
    if (ops == &gf_avx512_ops)
        return gf_avx512_gemm;
    if (ops == &gf_avx2_ops)
        return gf_avx2_gemm;
#endif
    (void)ops;
    return gf_plain_gemm;
}

/* y = x W^T is [n,k] as stored; dx = dy W reads the same memory as [k,n]. */
typedef struct {
    const char *name;
    int64_t n, k;
    bool nn;
} shape;

static const shape shapes[] = {
    {"qkv", 960, 576, false},     {"o", 576, 576, false},         {"gate_up", 3072, 576, false},
    {"down", 576, 1536, false},   {"head", 49152, 576, false},    {"d_qkv", 576, 960, true},
    {"d_o", 576, 576, true},      {"d_gate_up", 576, 3072, true}, {"d_down", 1536, 576, true},
    {"d_head", 576, 49152, true},
};
static const gf_dtype types[] = {GF_F32, GF_BF16, GF_Q4_1};

/* ---- oneDNN --------------------------------------------------------------------------- */

/* dnnl_sgemm of the C API: row-major, 0 on success. Only f32: its bf16 needs primitives. */
typedef int sgemm_fn(char transa, char transb, int64_t m, int64_t n, int64_t k, float alpha,
                     const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
                     int64_t ldc);

/* NULL where the library or its threads cannot be had. */
static sgemm_fn *find_sgemm(int threads)
{
    static void *lib;
    static const char *const names[] = {"libdnnl.so.3", "libdnnl.so.2", "libdnnl.so"};
    for (int i = 0; i < 3 && !lib; i++)
        lib = dlopen(names[i], RTLD_NOW | RTLD_GLOBAL);
    if (!lib)
        return NULL;
    void (*set_threads)(int) = NULL;
    sgemm_fn *sgemm = NULL;
    *(void **)&set_threads = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
    *(void **)&sgemm = dlsym(lib, "dnnl_sgemm");
    if (!set_threads)
        return NULL;
    set_threads(threads);
    return sgemm;
}

/* ---- one product ---------------------------------------------------------------------- */

typedef struct {
    const shape *s;
    gf_dtype a_type, w_type;
    int64_t m;
    void *a, *w, *c;
    gf_gemm g;
} product;

static void fill(gf_dtype t, void *data, int64_t n)
{
    uint32_t state = 1;
    if (gf_dtype_quantised(t)) {
        unsigned char *p = data;
        const int64_t size = gf_dtype_size(t), bytes = gf_row_bytes(t, n);
        const uint16_t d = gf_f32_to_f16(0.0625f);
        for (int64_t i = 0; i < bytes; i++, state = state * 1664525u + 1013904223u)
            p[i] = (unsigned char)(state >> 24);
        for (int64_t i = 0; i < bytes; i += size) {
            memcpy(p + i, &d, 2);
            memcpy(p + i + 2, &d, 2);
        }
        return;
    }
    for (int64_t i = 0; i < n; i++, state = state * 1664525u + 1013904223u) {
        const float x = (float)(int32_t)state * 0x1p-31f;
        if (t == GF_F32)
            ((float *)data)[i] = x;
        else
            ((uint16_t *)data)[i] = gf_f32_to_bf16(x);
    }
}

/* Zeroed, on huge pages if the system gives any: as graft's arena is. */
static void *allocate(int64_t bytes)
{
    const size_t page = (size_t)2 << 20, size = ((size_t)bytes + page - 1) / page * page;
    void *p = aligned_alloc(page, size);
    if (p) {
        (void)madvise(p, size, MADV_HUGEPAGE);
        memset(p, 0, size);
    }
    return p;
}

static bool make(product *p, const shape *s, gf_dtype a_type, gf_dtype w_type, int64_t m)
{
    *p = (product){.s = s, .a_type = a_type, .w_type = w_type, .m = m};
    p->a = allocate(m * s->k * 4);
    p->w = allocate(s->n * s->k * 4);
    p->c = allocate(m * s->n * 4);
    if (!p->a || !p->w || !p->c)
        return false;
    fill(a_type, p->a, m * s->k);
    fill(w_type, p->w, s->n * s->k);
    p->g = (gf_gemm){.m = m, .parts = 1, .groups = 1, .c = p->c, .c_dtype = a_type, .ldc = s->n};
    p->g.part[0] = (gf_gemm_part){.a = {p->a, a_type, s->k}, .k = s->k};
    p->g.group[0] = (gf_gemm_group){.n = s->n, .scale = 1, .segments = 1};
    p->g.group[0].segment[0] =
        (gf_gemm_segment){.nn = s->nn, .b = {p->w, w_type, s->nn ? s->n : s->k}};
    return true;
}

static void drop(product *p)
{
    free(p->a);
    free(p->w);
    free(p->c);
}

static float value(gf_dtype t, const void *data, int64_t row, int64_t width, int64_t i)
{
    float block[32]; /* the longest block */
    const int64_t size = gf_dtype_block(t), at = row * width + i;
    gf_to_f32(block, t, (const char *)data + gf_row_bytes(t, at / size * size), size);
    return block[at % size];
}

/* Some elements against double: a wrong result is not timed. */
static bool right(const product *p)
{
    const shape *s = p->s;
    for (int64_t i = 0; i < 16; i++) {
        const int64_t r = (p->m - 1) * i / 15, c = (s->n - 1) * (15 - i) / 15;
        double sum = 0, size = 0;
        for (int64_t l = 0; l < s->k; l++) {
            float w =
                s->nn ? value(p->w_type, p->w, l, s->n, c) : value(p->w_type, p->w, c, s->k, l);
            if (p->a_type == GF_BF16)
                w = gf_bf16_to_f32(gf_f32_to_bf16(w));
            const double x = (double)value(p->a_type, p->a, r, s->k, l) * (double)w;
            sum += x;
            size += fabs(x);
        }
        const double bound =
            2 * (double)s->k * 0x1p-24 * size + (p->a_type == GF_BF16 ? 0x1p-8 * fabs(sum) : 0);
        if (!(fabs((double)value(p->a_type, p->c, r, s->n, c) - sum) <= bound))
            return false;
    }
    return true;
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

/* Times one product, and oneDNN's if it takes these types; prints the result. */
static bool time_product(const bench_options *o, gf_backend *be, product *p, sgemm_fn *sgemm)
{
    gemm_fn *gemm = gemm_of(be->ops);
    const shape *s = p->s;
    const bool bf16 = p->a_type == GF_BF16, native = bf16 && bench_peak(be, true) > 0;
    const bool peer = sgemm && p->a_type == GF_F32 && p->w_type == GF_F32;
    gemm(be->pool, &p->g);
    if (!right(p)) {
        fprintf(stderr, "bench: %s is wrong, not timed\n", s->name);
        return false;
    }
    double best = 1e9, theirs = 1e9, peak = 0;
    int runs = 0;
    for (const double end = bench_now() + o->seconds; runs < 3 || bench_now() < end; runs++) {
        double start = bench_now();
        gemm(be->pool, &p->g);
        best = least(best, bench_now() - start);
        const double now = bench_peak(be, native);
        peak = now > peak ? now : peak;
        if (!peer)
            continue;
        start = bench_now();
        (void)sgemm('N', s->nn ? 'N' : 'T', p->m, s->n, s->k, 1, p->a, s->k, p->w,
                    s->nn ? s->n : s->k, 0, p->c, s->n);
        theirs = least(theirs, bench_now() - start);
    }
    const double work = 2.0 * (double)p->m * (double)s->n * (double)s->k;
    const bench_value v[] = {{"precision", bf16 ? "bf16" : "f32", 0, 0},
                             {"weights", gf_dtype_name(p->w_type), 0, 0},
                             {"shape", s->name, 0, 0},
                             {"isa", be->ops->name, 0, 0},
                             {"threads", NULL, gf_backend_threads(be), 0},
                             {"tokens", NULL, (double)p->m, 0},
                             {"ms", NULL, best * 1e3, 3},
                             {"gflops", NULL, work / best / 1e9, 1},
                             {"peak", NULL, peak / 1e9, 1},
                             {"share_pct", NULL, 100 * work / best / peak, 1},
                             {"dnnl_pct", NULL, peer ? 100 * work / theirs / peak : 0, 1}};
    bench_print(o, "gemm", v, sizeof v / sizeof *v);
    return true;
}

int bench_gemm(const bench_options *o)
{
    int counts[2], code = 0;
    const int n = bench_threads(o, counts);
    for (int c = 0; c < n; c++) {
        gf_backend be;
        if (!bench_open(&be, o, counts[c]))
            return 2;
        sgemm_fn *sgemm = find_sgemm(counts[c]);
        for (int precision = 0; precision < 2; precision++)
            for (size_t t = 0; t < sizeof types / sizeof *types; t++)
                for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
                    product p;
                    if (!make(&p, &shapes[i], precision ? GF_BF16 : GF_F32, types[t], o->tokens) ||
                        !time_product(o, &be, &p, sgemm))
                        code = 1;
                    drop(&p);
                }
        gf_backend_close(&be);
    }
    return code;
}
