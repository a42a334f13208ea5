/* test_gemm.c - the matrix product: exact on integers, within a rounding bound on reals, the same
 * bits for every number of rows and threads, nothing written outside C. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "isas.h"

static const gf_dtype b_types[] = {GF_F32,  GF_F16,  GF_BF16, GF_Q8_0,  GF_Q4_0,
                                   GF_Q4_1, GF_Q5_0, GF_Q5_1, GF_IQ4_NL};
static const gf_dtype super_types[] = {GF_Q2_K, GF_Q3_K, GF_Q4_K, GF_Q5_K, GF_Q6_K, GF_IQ4_XS};
enum { SUPER_TYPES = sizeof super_types / sizeof super_types[0] };
enum { B_TYPES = sizeof b_types / sizeof b_types[0] };

static void put(gf_dtype t, void *data, int64_t i, float x)
{
    if (t == GF_F32)
        ((float *)data)[i] = x;
    else
        ((uint16_t *)data)[i] = t == GF_BF16 ? gf_f32_to_bf16(x) : gf_f32_to_f16(x);
}

/* rows x width of storage type t with small integers, or reals if `real`. */
static void *make_matrix(gf_dtype t, int64_t rows, int64_t width, bool real, uint64_t *seed)
{
    const int64_t bytes = gf_row_bytes(t, width) * rows;
    unsigned char *data = calloc(1, (size_t)bytes + 1);
    if (!gf_dtype_quantised(t)) {
        for (int64_t i = 0; i < rows * width; i++)
            put(t, data, i, real ? random_real(seed) : (float)random_int(seed, -3, 3));
        return data;
    }
    for (int64_t i = 0; i < bytes; i++)
        data[i] = (unsigned char)random_int(seed, 0, 255);
    /* where a block has its scale, its minimum follows if it has one */
    const int64_t at_d = t == GF_Q2_K ? 80 : t == GF_Q3_K ? 108 : t == GF_Q6_K ? 208 : 0;
    const bool has_min =
        t == GF_Q4_1 || t == GF_Q5_1 || t == GF_Q2_K || t == GF_Q4_K || t == GF_Q5_K;
    for (int64_t at = 0; at < bytes; at += gf_dtype_size(t)) {
        const float d = real ? random_real(seed) * 0.1f : 1.0f, m = real ? -d * 7 : -3.0f;
        const uint16_t hd = gf_f32_to_f16(d), hm = gf_f32_to_f16(m);
        memcpy(data + at + at_d, &hd, 2);
        if (has_min)
            memcpy(data + at + at_d + 2, &hm, 2);
    }
    return data;
}

/* Values as the product sees them: f32, or rounded to bf16. */
static double *make_values(gf_dtype t, const void *data, int64_t rows, int64_t width, bool bf16)
{
    float *f = calloc((size_t)(rows * width) + 1, sizeof *f);
    double *v = calloc((size_t)(rows * width) + 1, sizeof *v);
    gf_to_f32(f, t, data, rows * width);
    for (int64_t i = 0; i < rows * width; i++)
        v[i] = bf16 ? gf_bf16_to_f32(gf_f32_to_bf16(f[i])) : f[i];
    free(f);
    return v;
}

typedef struct {
    int64_t m, n, k;
    gf_dtype a, b, c;
    bool nn, bias, residual, real;
    float scale;
} sample;

enum { GUARD = 5 }; /* columns of C beyond n that must stay as they are */

/* Runs one sample on every instruction set, with two threads, against a sum in double. */
static void check(sample q)
{
    uint64_t seed = 88172645463325252u;
    void *a = make_matrix(q.a, q.m, q.k, q.real, &seed);
    void *b = make_matrix(q.b, q.nn ? q.k : q.n, q.nn ? q.n : q.k, q.real, &seed);
    float *bias = make_matrix(GF_F32, 1, q.n, q.real, &seed);
    float *residual = make_matrix(GF_F32, q.m, q.n, q.real, &seed);
    double *av = make_values(q.a, a, q.m, q.k, false);
    double *bv = make_values(q.b, b, q.nn ? q.k : q.n, q.nn ? q.n : q.k, q.a == GF_BF16);
    const int64_t ldc = q.n + GUARD, bytes = q.c == GF_F32 ? 4 : 2;
    double *want = calloc((size_t)(q.m * q.n), sizeof *want);
    double *size = calloc((size_t)(q.m * q.n), sizeof *size);
    for (int64_t i = 0; i < q.m; i++)
        for (int64_t j = 0; j < q.n; j++) {
            double sum = (q.bias ? bias[j] : 0.0) + (q.residual ? residual[i * q.n + j] : 0.0);
            double abs = fabs(sum);
            for (int64_t l = 0; l < q.k; l++) {
                const double x = av[i * q.k + l] * bv[q.nn ? l * q.n + j : j * q.k + l];
                sum += x;
                abs += fabs(x);
            }
            want[i * q.n + j] = sum * q.scale;
            size[i * q.n + j] = abs * q.scale;
        }
    for (int i = 0; i < ISAS; i++) {
        gf_backend be;
        if (!isa_open(&be, &isa_list[i], 2))
            continue;
        unsigned char *c = malloc((size_t)(q.m * ldc * bytes));
        memset(c, 0x5A, (size_t)(q.m * ldc * bytes));
        gf_gemm g = {.m = q.m, .parts = 1, .groups = 1, .c = c, .c_dtype = q.c, .ldc = ldc};
        g.part[0] = (gf_gemm_part){.a = {a, q.a, q.k}, .k = q.k};
        g.group[0] = (gf_gemm_group){.n = q.n, .scale = q.scale, .segments = 1};
        g.group[0].segment[0] = (gf_gemm_segment){.nn = q.nn, .b = {b, q.b, q.nn ? q.n : q.k}};
        g.group[0].bias = q.bias ? bias : NULL;
        g.residual = q.residual ? residual : NULL;
        g.ldr = q.n;
        isa_list[i].gemm(be.pool, &g);
        for (int64_t r = 0; r < q.m; r++) {
            for (int64_t j = 0; j < q.n; j++) {
                float got;
                gf_to_f32(&got, q.c, c + (r * ldc + j) * bytes, 1);
                const double w = want[r * q.n + j];
                /* k products and sums of unit roundoff 2^-24 (plain rounds both, pairs flush
                 * subnormals), one more for a bf16 result. Integers: exact. */
                double bound = 0;
                if (q.real)
                    bound = (double)(2 * q.k + 4) * 0x1p-24 * size[r * q.n + j] + 1e-30 +
                            (q.c == GF_BF16 ? fabs(w) * 0x1p-8 : 0);
                const double exact =
                    q.c == GF_BF16 && !q.real ? gf_bf16_to_f32(gf_f32_to_bf16((float)w)) : w;
                cr_assert(fabs(got - exact) <= bound,
                          "%s a %s b %s c %s %s m %d n %d k %d: [%d,%d] is %.9g, want %.9g",
                          isa_list[i].ops->name, gf_dtype_name(q.a), gf_dtype_name(q.b),
                          gf_dtype_name(q.c), q.nn ? "nn" : "nt", (int)q.m, (int)q.n, (int)q.k,
                          (int)r, (int)j, (double)got, exact);
            }
            for (int64_t j = q.n * bytes; j < ldc * bytes; j++)
                cr_assert_eq(c[r * ldc * bytes + j], 0x5A, "guard of row %d", (int)r);
        }
        free(c);
        gf_backend_close(&be);
    }
    free(a), free(b), free(bias), free(residual), free(av), free(bv), free(want), free(size);
}

Test(gemm, integers_are_exact)
{
    for (int t = 0; t < B_TYPES; t++)
        for (int nn = 0; nn < 2; nn++)
            for (int bf16 = 0; bf16 < 2; bf16++) {
                const gf_dtype a = bf16 ? GF_BF16 : GF_F32;
                check((sample){29, 96, 160, a, b_types[t], a, nn, true, false, false, 1});
                check((sample){13, 160, 96, a, b_types[t], GF_F32, nn, false, true, false, 2});
                if (!gf_dtype_quantised(b_types[t]))
                    check((sample){7, 45, 51, a, b_types[t], a, nn, true, true, false, 0.5f});
            }
}

/* Blocks of 256 that strips and blocks of k cut. */
Test(gemm, super_blocks)
{
    for (int t = 0; t < SUPER_TYPES; t++)
        for (int nn = 0; nn < 2; nn++)
            for (int bf16 = 0; bf16 < 2; bf16++) {
                const gf_dtype a = bf16 ? GF_BF16 : GF_F32, b = super_types[t];
                const int64_t n = nn ? 512 : 96, k = nn ? 224 : 768;
                check((sample){13, n, k, a, b, a, nn, true, false, false, 1});
                check((sample){3, n, k, a, b, GF_F32, nn, false, true, true, 0.3f});
                check((sample){2, nn ? 256 : 37, nn ? 45 : 256, a, b, a, nn, false, true, true, 1});
            }
}

Test(gemm, many_blocks_of_k_are_exact)
{
    for (int nn = 0; nn < 2; nn++)
        for (int bf16 = 0; bf16 < 2; bf16++)
            for (int half = 0; half < 2; half++) {
                const gf_dtype a = bf16 ? GF_BF16 : GF_F32, c = half ? GF_BF16 : GF_F32;
                check((sample){27, 70, 2700, a, GF_F32, c, nn, true, true, false, 1});
                check((sample){5, 64, 2720, a, GF_Q4_1, c, nn, false, false, false, 1});
            }
    /* more columns than one thread parks the sums of */
    check((sample){14, 1200, 1403, GF_BF16, GF_BF16, GF_BF16, true, true, false, false, 1});
}

Test(gemm, reals_within_the_rounding_bound)
{
    for (int t = 0; t < B_TYPES; t++)
        for (int nn = 0; nn < 2; nn++)
            for (int bf16 = 0; bf16 < 2; bf16++) {
                const gf_dtype a = bf16 ? GF_BF16 : GF_F32;
                check((sample){17, 96, 736, a, b_types[t], a, nn, true, true, true, 0.3f});
            }
}

Test(gemm, edges)
{
    check((sample){1, 1, 1, GF_F32, GF_F32, GF_F32, false, false, false, false, 1});
    check((sample){1, 1, 1, GF_BF16, GF_F32, GF_BF16, true, false, false, false, 1});
    check((sample){1, 259, 33, GF_BF16, GF_BF16, GF_F32, false, true, false, false, 1});
    check((sample){3, 31, 1, GF_F32, GF_F16, GF_F32, false, true, false, false, 1});
}

/* Rows [from, from + m) of a product of 600 rows, alone. */
static void run_rows(const isa_twins *i, gf_backend *be, const sample *q, const void *a,
                     const void *b, int64_t from, int64_t m, void *c)
{
    const int64_t bytes = q->a == GF_F32 ? 4 : 2;
    gf_gemm g = {.m = m, .parts = 1, .groups = 1, .c = c, .c_dtype = q->c, .ldc = q->n};
    g.part[0] = (gf_gemm_part){.a = {(const char *)a + from * q->k * bytes, q->a, q->k}, .k = q->k};
    g.group[0] = (gf_gemm_group){.n = q->n, .scale = 1, .segments = 1};
    g.group[0].segment[0] = (gf_gemm_segment){.nn = q->nn, .b = {b, q->b, q->nn ? q->n : q->k}};
    i->gemm(be->pool, &g);
}

static void check_rows(sample q, int64_t step)
{
    uint64_t seed = 1234567;
    void *a = make_matrix(q.a, q.m, q.k, true, &seed);
    void *b = make_matrix(q.b, q.nn ? q.k : q.n, q.nn ? q.n : q.k, true, &seed);
    const int64_t row_bytes = q.n * (q.c == GF_F32 ? 4 : 2);
    char *all = malloc((size_t)(q.m * row_bytes)), *some = malloc((size_t)(q.m * row_bytes));
    for (int i = 0; i < ISAS; i++)
        for (int threads = 1; threads <= 3; threads++) {
            gf_backend be;
            if (!isa_open(&be, &isa_list[i], threads))
                break;
            if (threads == 1)
                run_rows(&isa_list[i], &be, &q, a, b, 0, q.m, all);
            for (int64_t m = threads; m <= q.m; m += step * (threads > 1 ? 7 : 1)) {
                const int64_t from = m % 3 == 0 ? (q.m - m) / 2 : 0;
                run_rows(&isa_list[i], &be, &q, a, b, from, m, some);
                cr_assert_arr_eq(some, all + from * row_bytes, (size_t)(m * row_bytes),
                                 "%s: rows %d+%d with %d threads", isa_list[i].ops->name, (int)from,
                                 (int)m, threads);
            }
            gf_backend_close(&be);
        }
    free(a), free(b), free(all), free(some);
}

Test(gemm, a_row_has_the_same_bits_for_every_m_and_thread)
{
    check_rows((sample){600, 70, 100, GF_F32, GF_F32, GF_F32, false, 0, 0, 0, 1}, 1);
    check_rows((sample){600, 70, 99, GF_BF16, GF_BF16, GF_BF16, false, 0, 0, 0, 1}, 1);
    check_rows((sample){600, 64, 96, GF_BF16, GF_Q4_0, GF_F32, true, 0, 0, 0, 1}, 1);
    check_rows((sample){40, 300, 1203, GF_BF16, GF_F32, GF_BF16, false, 0, 0, 0, 1}, 1);
    check_rows((sample){40, 300, 1203, GF_F32, GF_BF16, GF_F32, true, 0, 0, 0, 1}, 1);
    check_rows((sample){40, 288, 96, GF_BF16, GF_Q4_1, GF_F32, false, 0, 0, 0, 1}, 1);
    check_rows((sample){600, 33, 1411, GF_F32, GF_BF16, GF_F32, true, 0, 0, 0, 1}, 53);
    check_rows((sample){600, 33, 1411, GF_BF16, GF_F32, GF_BF16, false, 0, 0, 0, 1}, 53);
}

/* A product too large for the caches is written past them: its rows are those of small ones. */
Test(gemm, a_large_product_has_the_bits_of_its_rows)
{
    enum { M = 300, N = 49152 + 32, K = 32 };
    uint64_t seed = 77;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        const gf_dtype t = bf16 ? GF_BF16 : GF_F32;
        const sample q = {M, N, K, t, t, t, false, 0, 0, 0, 1};
        const int64_t row_bytes = gf_row_bytes(t, N);
        void *a = make_matrix(t, M, K, true, &seed), *b = make_matrix(t, N, K, true, &seed);
        char *all = aligned_alloc(64, (size_t)(row_bytes * M + 63) / 64 * 64);
        char *one = malloc((size_t)row_bytes);
        for (int i = 0; i < ISAS; i++) {
            gf_backend be;
            if (!isa_open(&be, &isa_list[i], 2))
                continue;
            run_rows(&isa_list[i], &be, &q, a, b, 0, M, all);
            for (int64_t r = 0; r < M; r += 37) {
                run_rows(&isa_list[i], &be, &q, a, b, r, 1, one);
                cr_assert_arr_eq(one, all + r * row_bytes, (size_t)row_bytes, "%s: row %d",
                                 isa_list[i].ops->name, (int)r);
            }
            gf_backend_close(&be);
        }
        free(a), free(b), free(all), free(one);
    }
}
