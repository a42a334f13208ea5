/* test_standin_cublaslt.c - the stand-in for libcublasLt: every combination against a sum in double
 * precision, and what it refuses. */
#include "standin_test.h"

#include <cublasLt.h>
#include <math.h>

#define LT(call) cr_assert_eq((call), CUBLAS_STATUS_SUCCESS, "%s", #call)
#define LT_REFUSED(status, call) cr_assert_eq((call), status, "%s", #call)

/* ---- elements, written from the formats' definitions
 * ------------------------------------------------ */
typedef struct {
    cudaDataType_t type;
    int bytes, exponent, mantissa;
} format;
static const format F32 = {CUDA_R_32F, 4, 8, 23}, BF16 = {CUDA_R_16BF, 2, 8, 7},
                    F16 = {CUDA_R_16F, 2, 5, 10}, E4M3 = {CUDA_R_8F_E4M3, 1, 4, 3},
                    E5M2 = {CUDA_R_8F_E5M2, 1, 5, 2};

static double decode(format f, unsigned bits)
{
    int bias = (1 << (f.exponent - 1)) - 1, top = (1 << f.exponent) - 1;
    int e = (int)(bits >> f.mantissa) & top;
    unsigned m = bits & ((1u << f.mantissa) - 1);
    double sign = bits >> (f.exponent + f.mantissa) & 1 ? -1 : 1;
    bool e4m3 = f.bytes == 1 && f.exponent == 4; /* no infinities, one NaN */
    if (e4m3 ? e == top && m == 7 : e == top && m)
        return NAN;
    if (!e4m3 && e == top)
        return sign * INFINITY;
    return sign *
           (e ? ldexp(1 + ldexp(m, -f.mantissa), e - bias) : ldexp(m, 1 - bias - f.mantissa));
}

/* The bits of a value that the format holds exactly. */
static unsigned encode(format f, double x)
{
    int e, bias = (1 << (f.exponent - 1)) - 1;
    unsigned sign = signbit(x) ? 1u << (f.exponent + f.mantissa) : 0;
    double m = frexp(fabs(x), &e) * 2; /* [1, 2) */
    if (x == 0)
        return sign;
    return sign | (unsigned)(e - 1 + bias) << f.mantissa | (unsigned)ldexp(m - 1, f.mantissa);
}

static double get(format f, const void *data, size_t i)
{
    unsigned bits = 0;
    memcpy(&bits, (const char *)data + i * (size_t)f.bytes, (size_t)f.bytes);
    return decode(f, bits);
}

static void set(format f, void *data, size_t i, double x)
{
    unsigned bits = encode(f, x);
    memcpy((char *)data + i * (size_t)f.bytes, &bits, (size_t)f.bytes);
}

/* ---- a product
 * ------------------------------------------------------------------------------------------ */
typedef struct {
    format a, b, out;
    bool across_a, across_b, bias, in_place;
    float alpha, beta;
    size_t m, n, k, pad; /* pad: elements behind each column, in every matrix */
} product;

typedef struct {
    format f;
    size_t rows, columns, ld, bytes;
    char *host;
    double *values; /* the same, for the reference */
    CUdeviceptr device;
    cublasLtMatrixLayout_t layout;
} matrix;

static cublasLtHandle_t lt;

static void open_blas(void)
{
    open_device();
    LT(cublasLtCreate(&lt));
}

/* Quarters from -2 to 2: every format holds them. */
static double some_value(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return ((int)(*state >> 20) % 17 - 8) / 4.0;
}

static matrix new_matrix(format f, size_t rows, size_t columns, size_t pad, unsigned seed)
{
    matrix x = {.f = f, .rows = rows, .columns = columns, .ld = rows + pad};
    x.bytes = x.ld * columns * (size_t)f.bytes;
    x.host = malloc(x.bytes);
    x.values = malloc(x.ld * columns * sizeof *x.values);
    for (size_t i = 0; i < x.ld * columns; i++)
        set(f, x.host, i, x.values[i] = some_value(&seed));
    x.device = device_memory(x.bytes);
    CU(cuMemcpyHtoD(x.device, x.host, x.bytes));
    LT(cublasLtMatrixLayoutCreate(&x.layout, f.type, rows, columns, (int64_t)x.ld));
    return x;
}

static void free_matrix(matrix *x)
{
    LT(cublasLtMatrixLayoutDestroy(x->layout));
    CU(cuMemFree(x->device));
    free(x->host);
    free(x->values);
}

static cublasLtMatmulDesc_t describe(const product *p, CUdeviceptr bias)
{
    cublasLtMatmulDesc_t d;
    int32_t a = p->across_a ? CUBLAS_OP_T : CUBLAS_OP_N,
            b = p->across_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    uint32_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    int32_t type = (int32_t)p->out.type;
    LT(cublasLtMatmulDescCreate(&d, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    LT(cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_TRANSA, &a, sizeof a));
    LT(cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_TRANSB, &b, sizeof b));
    if (!p->bias)
        return d;
    LT(cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                      sizeof epilogue));
    LT(cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias));
    LT(cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type, sizeof type));
    return d;
}

/* alignment 0: each operand's elements lie where they may. */
static cublasLtMatmulPreference_t prefer(const product *shape, uint32_t alignment,
                                         uint64_t workspace, uint32_t reductions)
{
    cublasLtMatmulPreference_t p;
    uint32_t a = (uint32_t)shape->a.bytes, b = (uint32_t)shape->b.bytes;
    uint32_t out = (uint32_t)shape->out.bytes, each[] = {a, b, out, out};
    LT(cublasLtMatmulPreferenceCreate(&p));
    LT(cublasLtMatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                            sizeof workspace));
    LT(cublasLtMatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                            &reductions, sizeof reductions));
    for (int i = 0; i < 4; i++) {
        each[i] = alignment ? alignment : shape->a.bytes == 1 ? 16 : each[i];
        LT(cublasLtMatmulPreferenceSetAttribute(
            p,
            (cublasLtMatmulPreferenceAttributes_t)(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES + i),
            &each[i], sizeof each[i]));
    }
    return p;
}

/* The operands of a product, all of them uploaded. */
typedef struct {
    matrix a, b, c, d, bias;
    cublasLtMatmulDesc_t description;
    cublasLtMatmulHeuristicResult_t best;
    CUdeviceptr workspace;
} operands;
#define WORKSPACE ((size_t)1 << 20)

static operands prepare(const product *p, uint32_t alignment, uint32_t reductions)
{
    operands o;
    int count;
    o.a = new_matrix(p->a, p->across_a ? p->k : p->m, p->across_a ? p->m : p->k, p->pad, 1);
    o.b = new_matrix(p->b, p->across_b ? p->n : p->k, p->across_b ? p->k : p->n, p->pad, 2);
    o.c = new_matrix(p->out, p->m, p->n, p->pad, 3);
    o.d = new_matrix(p->out, p->m, p->n, p->pad, p->in_place ? 3 : 4);
    o.bias = new_matrix(p->out, p->m, 1, 0, 5);
    o.workspace = device_memory(WORKSPACE);
    o.description = describe(p, o.bias.device);
    cublasLtMatmulPreference_t preference = prefer(p, alignment, WORKSPACE, reductions);
    LT(cublasLtMatmulAlgoGetHeuristic(lt, o.description, o.a.layout, o.b.layout, o.c.layout,
                                      o.d.layout, preference, 1, &o.best, &count));
    cr_assert_eq(count, 1);
    LT(cublasLtMatmulPreferenceDestroy(preference));
    return o;
}

static cublasStatus_t enqueue(const product *p, const operands *o, CUstream s)
{
    return cublasLtMatmul(
        lt, o->description, &p->alpha, (void *)o->a.device, o->a.layout, (void *)o->b.device,
        o->b.layout, &p->beta, (void *)(p->in_place ? o->d.device : o->c.device), o->c.layout,
        (void *)o->d.device, o->d.layout, &o->best.algo, (void *)o->workspace, WORKSPACE, s);
}

static void release(operands *o)
{
    free_matrix(&o->a);
    free_matrix(&o->b);
    free_matrix(&o->c);
    free_matrix(&o->d);
    free_matrix(&o->bias);
    CU(cuMemFree(o->workspace));
    LT(cublasLtMatmulDescDestroy(o->description));
}

/* One output and the sum of its terms' sizes, in double precision. */
static double reference(const product *p, const operands *o, size_t i, size_t j, double *sizes)
{
    double sum = 0;
    *sizes = 0;
    for (size_t t = 0; t < p->k; t++) {
        double a = o->a.values[p->across_a ? t + i * o->a.ld : i + t * o->a.ld];
        double b = o->b.values[p->across_b ? j + t * o->b.ld : t + j * o->b.ld];
        sum += a * b;
        *sizes += fabs(a * b);
    }
    sum *= (double)p->alpha;
    if (p->beta != 0)
        sum += (double)p->beta * o->c.values[i + j * o->c.ld];
    if (p->bias)
        sum += o->bias.values[i];
    *sizes = *sizes * fabs((double)p->alpha) + 4;
    return sum;
}

static void check_product(const product *p)
{
    operands o = prepare(p, 0, CUBLASLT_REDUCTION_SCHEME_NONE);
    char *got = malloc(o.d.bytes);
    LT(enqueue(p, &o, NULL));
    CU(cuCtxSynchronize());
    CU(cuMemcpyDtoH(got, o.d.device, o.d.bytes));
    for (size_t j = 0; j < p->n; j++)
        for (size_t i = 0; i < o.d.ld; i++) {
            size_t at = i + j * o.d.ld;
            double sizes, found = get(p->out, got, at);
            if (i >= p->m) { /* between the columns nothing changes */
                cr_assert_eq(found, o.d.values[at]);
                continue;
            }
            double want = reference(p, &o, i, j, &sizes);
            /* k + 3 roundings to f32, one to D's format */
            double bound =
                ldexp((double)(p->k + 3) * sizes, -24) + ldexp(fabs(want), -p->out.mantissa - 1);
            cr_assert(fabs(found - want) <= bound, "(%zu, %zu): %g instead of %g", i, j, found,
                      want);
        }
    free(got);
    release(&o);
}

static void check_layouts(product p)
{
    for (int bits = 0; bits < 16; bits++) {
        p.across_a = bits & 1;
        p.across_b = bits & 2;
        p.bias = bits & 4;
        p.in_place = bits & 8;
        if (p.a.bytes == 1 && (!p.across_a || p.across_b))
            continue;
        p.beta = p.in_place ? 1.0f : bits & 1 ? 0.5f : 0.0f;
        check_product(&p);
    }
}

Test(standin_cublaslt, every_combination_is_right)
{
    open_blas();
    const format combinations[][3] = {{F32, F32, F32},   {BF16, BF16, BF16}, {BF16, BF16, F32},
                                      {F16, F16, F16},   {F16, F16, F32},    {E4M3, E4M3, BF16},
                                      {E4M3, E5M2, F32}, {E5M2, E4M3, F16}};
    const size_t sizes[][4] = {{1, 1, 1, 0}, {7, 5, 3, 0}, {33, 13, 131, 3}, {200, 50, 65, 8}};
    const size_t round[][4] = {{16, 16, 16, 0}, {48, 32, 400, 16}};
    for (size_t t = 0; t < sizeof combinations / sizeof *combinations; t++) {
        bool small = combinations[t][0].bytes == 1;
        for (size_t i = 0; i < (small ? 2 : 4); i++) {
            const size_t *s = small ? round[i] : sizes[i];
            check_layouts((product){.a = combinations[t][0],
                                    .b = combinations[t][1],
                                    .out = combinations[t][2],
                                    .alpha = i == 1 ? 1.0f : -0.75f,
                                    .m = s[0],
                                    .n = s[1],
                                    .k = s[2],
                                    .pad = s[3]});
        }
    }
}

Test(standin_cublaslt, blocks_fit_together)
{
    open_blas();
    check_product(&(product){.a = BF16,
                             .b = BF16,
                             .out = BF16,
                             .across_a = true,
                             .alpha = 1,
                             .m = 401,
                             .n = 493,
                             .k = 501,
                             .pad = 7});
}

Test(standin_cublaslt, all_codes_of_eight_bits)
{
    open_blas();
    const format formats[] = {E4M3, E5M2};
    for (int t = 0; t < 2; t++) {
        product p = {.a = formats[t],
                     .b = E4M3,
                     .out = F32,
                     .across_a = true,
                     .alpha = 1,
                     .m = 256,
                     .n = 16,
                     .k = 16};
        operands o = prepare(&p, 16, CUBLASLT_REDUCTION_SCHEME_NONE);
        float got[256 * 16];
        memset(o.a.host, 0, o.a.bytes);
        memset(o.b.host, 0, o.b.bytes);
        for (size_t i = 0; i < 256; i++)
            o.a.host[i * o.a.ld] = (char)i;
        set(E4M3, o.b.host, 0, 1);
        CU(cuMemcpyHtoD(o.a.device, o.a.host, o.a.bytes));
        CU(cuMemcpyHtoD(o.b.device, o.b.host, o.b.bytes));
        LT(enqueue(&p, &o, NULL));
        CU(cuMemcpyDtoH(got, o.d.device, o.d.bytes));
        for (unsigned i = 0; i < 256; i++) {
            double want = decode(formats[t], i);
            cr_assert(isnan(want) ? isnan(got[i]) : (double)got[i] == want, "code %u: %g", i, want);
        }
        release(&o);
    }
}

/* 256 + 1 and 256 + 3 lie halfway between bf16 numbers: to the even one. */
Test(standin_cublaslt, outputs_are_rounded_to_even)
{
    open_blas();
    product p = {.a = BF16, .b = BF16, .out = BF16, .alpha = 1, .m = 2, .n = 1, .k = 2};
    operands o = prepare(&p, 0, CUBLASLT_REDUCTION_SCHEME_NONE);
    const double a[] = {256, 256, 1, 3};
    for (size_t i = 0; i < 4; i++)
        set(BF16, o.a.host, i, a[i]);
    set(BF16, o.b.host, 0, 1);
    set(BF16, o.b.host, 1, 1);
    char got[4];
    CU(cuMemcpyHtoD(o.a.device, o.a.host, o.a.bytes));
    CU(cuMemcpyHtoD(o.b.device, o.b.host, o.b.bytes));
    LT(enqueue(&p, &o, NULL));
    CU(cuMemcpyDtoH(got, o.d.device, 4));
    cr_assert_eq(get(BF16, got, 0), 256.0);
    cr_assert_eq(get(BF16, got, 1), 260.0);
}

/* ---- what the bits depend on
 * -------------------------------------------------------------------------- */
static void first_columns(size_t m, size_t n, uint32_t reductions, float *to)
{
    product p = {.a = F32,
                 .b = F32,
                 .out = F32,
                 .across_a = true,
                 .alpha = 1.0f / 3,
                 .m = m,
                 .n = n,
                 .k = 1000};
    operands o = prepare(&p, 0, reductions);
    float scale = 1.0f;
    for (size_t i = 0; i < o.a.bytes / 4; i++) { /* values whose sums are inexact */
        scale = scale > 100 ? 0.001f : scale * 1.37f;
        ((float *)o.a.host)[i] *= scale;
    }
    CU(cuMemcpyHtoD(o.a.device, o.a.host, o.a.bytes));
    LT(enqueue(&p, &o, NULL));
    char *all = malloc(o.d.bytes);
    CU(cuMemcpyDtoH(all, o.d.device, o.d.bytes));
    for (size_t j = 0; j < 3; j++)
        memcpy(to + 5 * j, all + 4 * j * m, 5 * sizeof(float));
    free(all);
    release(&o);
}

Test(standin_cublaslt, an_output_does_not_depend_on_the_size_of_d)
{
    open_blas();
    float small[15], large[15];
    first_columns(5, 3, CUBLASLT_REDUCTION_SCHEME_NONE, small);
    first_columns(300, 700, CUBLASLT_REDUCTION_SCHEME_NONE, large);
    cr_assert_arr_eq(small, large, sizeof small);
    /* unless the program lets k be cut */
    first_columns(5, 3, CUBLASLT_REDUCTION_SCHEME_MASK, small);
    first_columns(300, 700, CUBLASLT_REDUCTION_SCHEME_MASK, large);
    cr_assert_arr_neq(small, large, sizeof small);
}

Test(standin_cublaslt, products_are_captured)
{
    open_blas();
    CUstream s = new_stream();
    CUgraph g;
    CUgraphExec x;
    product p = {.a = F32,
                 .b = F32,
                 .out = F32,
                 .in_place = true,
                 .alpha = 1,
                 .beta = 1,
                 .m = 8,
                 .n = 8,
                 .k = 8};
    operands o = prepare(&p, 0, CUBLASLT_REDUCTION_SCHEME_NONE);
    float before[64], after[64];
    CU(cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    LT(enqueue(&p, &o, s));
    CU(cuStreamEndCapture(s, &g));
    CU(cuGraphInstantiate(&x, g, 0));
    CU(cuMemcpyDtoH(before, o.d.device, sizeof before));
    cr_assert_arr_eq(before, o.d.host, sizeof before);
    for (int i = 0; i < 2; i++)
        CU(cuGraphLaunch(x, s));
    CU(cuStreamSynchronize(s));
    CU(cuMemcpyDtoH(after, o.d.device, sizeof after));
    for (size_t i = 0; i < 64; i++) { /* d + 2 a b; quarters: exact */
        double sizes, once = reference(&p, &o, i % 8, i / 8, &sizes);
        cr_assert_eq((double)after[i], 2 * once - (double)before[i]);
    }
}

/* ---- what is refused
 * ------------------------------------------------------------------------------------- */
Test(standin_cublaslt, unknown_attributes_are_refused)
{
    open_blas();
    product p = {.a = BF16, .b = BF16, .out = BF16, .alpha = 1, .m = 64, .n = 64, .k = 64};
    operands o = prepare(&p, 16, CUBLASLT_REDUCTION_SCHEME_NONE);
    cublasLtMatmulDesc_t d;
    cublasLtMatmulPreference_t preference;
    int32_t one = 1, conjugate = CUBLAS_OP_C;
    uint32_t gelu = CUBLASLT_EPILOGUE_GELU;
    const cublasStatus_t no = CUBLAS_STATUS_NOT_SUPPORTED;
    LT_REFUSED(no, cublasLtMatmulDescCreate(&d, CUBLAS_COMPUTE_32F_FAST_TF32, CUDA_R_32F));
    LT_REFUSED(no, cublasLtMatmulDescCreate(&d, CUBLAS_COMPUTE_16F, CUDA_R_16F));
    d = o.description;
    LT_REFUSED(no, cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &one, 1));
    LT_REFUSED(no, cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_TRANSC, &one, 4));
    LT_REFUSED(no, cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_TRANSA, &conjugate, 4));
    LT_REFUSED(no, cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_EPILOGUE, &gelu, 4));
    LT_REFUSED(CUBLAS_STATUS_INVALID_VALUE,
               cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_TRANSA, &one, 2));
    LT_REFUSED(no, cublasLtMatrixLayoutSetAttribute(o.a.layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT,
                                                    &one, 4));
    LT(cublasLtMatmulPreferenceCreate(&preference));
    LT_REFUSED(no, cublasLtMatmulPreferenceSetAttribute(preference,
                                                        CUBLASLT_MATMUL_PREF_SEARCH_MODE, &one, 4));
    LT(cublasLtMatmulDescDestroy(o.description));
    o.description = NULL;
    LT_REFUSED(CUBLAS_STATUS_INVALID_VALUE, enqueue(&p, &o, NULL));
}

Test(standin_cublaslt, shapes_and_types_have_to_fit)
{
    open_blas();
    product p = {.a = BF16, .b = BF16, .out = BF16, .alpha = 1, .m = 64, .n = 64, .k = 64};
    operands o = prepare(&p, 16, CUBLASLT_REDUCTION_SCHEME_NONE);
    cublasLtMatrixLayout_t odd;
    matrix f32 = new_matrix(F32, 64, 64, 0, 1), other = new_matrix(BF16, 64, 32, 0, 1), a = o.a;
    LT_REFUSED(CUBLAS_STATUS_INVALID_VALUE,
               cublasLtMatrixLayoutCreate(&odd, CUDA_R_32F, 10, 10, 9));
    o.a = f32;
    LT_REFUSED(CUBLAS_STATUS_NOT_SUPPORTED, enqueue(&p, &o, NULL));
    o.a = other;
    LT_REFUSED(CUBLAS_STATUS_INVALID_VALUE, enqueue(&p, &o, NULL));
    o.a = a;
    o.c = f32;
    LT_REFUSED(CUBLAS_STATUS_NOT_SUPPORTED, enqueue(&p, &o, NULL));
}

Test(standin_cublaslt, alignment_is_what_was_promised)
{
    open_blas();
    product p = {.a = BF16, .b = BF16, .out = BF16, .alpha = 1, .m = 64, .n = 64, .k = 56};
    operands o = prepare(&p, 16, CUBLASLT_REDUCTION_SCHEME_NONE);
    o.b.device += 8;
    LT_REFUSED(CUBLAS_STATUS_INVALID_VALUE, enqueue(&p, &o, NULL));
    cublasLtMatmulPreference_t preference;
    int count;
    LT(cublasLtMatmulPreferenceCreate(&preference));
    matrix odd = new_matrix(BF16, 64, 64, 4, 1); /* 136 bytes a column: 16 do not divide them */
    LT_REFUSED(CUBLAS_STATUS_NOT_SUPPORTED,
               cublasLtMatmulAlgoGetHeuristic(lt, o.description, o.a.layout, o.b.layout, odd.layout,
                                              odd.layout, preference, 1, &o.best, &count));
    cr_assert_eq(count, 0);
    /* without a word about alignment the library takes 256 bytes for granted */
    LT(cublasLtMatmulAlgoGetHeuristic(lt, o.description, o.a.layout, o.b.layout, o.c.layout,
                                      o.d.layout, preference, 1, &o.best, &count));
    LT_REFUSED(CUBLAS_STATUS_INVALID_VALUE, enqueue(&p, &o, NULL));
}

Test(standin_cublaslt, operands_do_not_overlap)
{
    open_blas();
    product p = {.a = F32,
                 .b = F32,
                 .out = F32,
                 .alpha = 1,
                 .beta = 1,
                 .m = 32,
                 .n = 32,
                 .k = 32,
                 .pad = 32};
    operands o = prepare(&p, 16, CUBLASLT_REDUCTION_SCHEME_NONE);
    CUdeviceptr d = o.d.device, c = o.c.device;
    o.d.device = o.a.device;
    LT_REFUSED(CUBLAS_STATUS_INVALID_VALUE, enqueue(&p, &o, NULL));
    o.d.device = o.b.device + 16;
    LT_REFUSED(CUBLAS_STATUS_INVALID_VALUE, enqueue(&p, &o, NULL));
    o.d.device = c + 64; /* C may be D, and nothing in between */
    LT_REFUSED(CUBLAS_STATUS_INVALID_VALUE, enqueue(&p, &o, NULL));
    o.d.device = d;
    o.workspace = d;
    LT_REFUSED(CUBLAS_STATUS_INVALID_VALUE, enqueue(&p, &o, NULL));
    o.workspace = 0;
    LT_REFUSED(CUBLAS_STATUS_INVALID_VALUE, enqueue(&p, &o, NULL));
}

/* Columns of one buffer side by side are no overlap: D right of A in the rows of both. */
Test(standin_cublaslt, operands_may_share_a_pitch)
{
    open_blas();
    product p = {.a = F32, .b = F32, .out = F32, .alpha = 1, .m = 32, .n = 32, .k = 32, .pad = 32};
    operands o = prepare(&p, 16, CUBLASLT_REDUCTION_SCHEME_NONE);
    CUdeviceptr d = o.d.device;
    o.d.device = o.a.device + 128;
    CUdeviceptr last = o.a.device + 31 * 64 * 4 + 128; /* its last column ends with the buffer */
    cr_assert_eq(last + 128, o.a.device + o.a.bytes);
    LT(enqueue(&p, &o, NULL));
    CU(cuCtxSynchronize());
    o.d.device = d;
}

Test(standin_cublaslt, an_algorithm_fits_what_it_was_chosen_for)
{
    open_blas();
    product p = {.a = F32, .b = F32, .out = F32, .alpha = 1, .m = 32, .n = 32, .k = 32};
    operands o = prepare(&p, 16, CUBLASLT_REDUCTION_SCHEME_NONE);
    int32_t across = CUBLAS_OP_T;
    uint32_t slices;
    size_t bytes;
    LT(cublasLtMatmulAlgoConfigGetAttribute(&o.best.algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &slices,
                                            sizeof slices, &bytes));
    cr_assert_eq(slices, 1);
    cublasLtMatmulHeuristicResult_t checked;
    LT(cublasLtMatmulAlgoCheck(lt, o.description, o.a.layout, o.b.layout, o.c.layout, o.d.layout,
                               &o.best.algo, &checked));
    cr_assert_eq(checked.workspaceSize, o.best.workspaceSize);
    LT(cublasLtMatmulDescSetAttribute(o.description, CUBLASLT_MATMUL_DESC_TRANSB, &across, 4));
    LT_REFUSED(CUBLAS_STATUS_INVALID_VALUE, enqueue(&p, &o, NULL));
    LT_REFUSED(CUBLAS_STATUS_INVALID_VALUE,
               cublasLtMatmulAlgoCheck(lt, o.description, o.a.layout, o.b.layout, o.c.layout,
                                       o.d.layout, &o.best.algo, &checked));
    memset(&o.best.algo, 0, sizeof o.best.algo);
    LT_REFUSED(CUBLAS_STATUS_INVALID_VALUE, enqueue(&p, &o, NULL));
}

Test(standin_cublaslt, c_is_not_read_without_beta)
{
    open_blas();
    product p = {.a = F32, .b = F32, .out = F32, .alpha = 1, .m = 8, .n = 8, .k = 8};
    operands o = prepare(&p, 16, CUBLASLT_REDUCTION_SCHEME_NONE);
    o.c.device = device_memory(o.c.bytes); /* never written */
    LT(enqueue(&p, &o, NULL));
    CU(cuCtxSynchronize());
    p.beta = 1;
    LT(enqueue(&p, &o, NULL));
    cr_assert_neq(cuCtxSynchronize(), CUDA_SUCCESS);
}

Test(standin_cublaslt, operands_lie_in_live_memory)
{
    open_blas();
    product p = {.a = F32, .b = F32, .out = F32, .alpha = 1, .m = 8, .n = 8, .k = 8};
    operands o = prepare(&p, 16, CUBLASLT_REDUCTION_SCHEME_NONE);
    LT(enqueue(&p, &o, NULL));
    CU(cuMemFree(o.a.device)); /* waits: the first product is fine */
    LT(enqueue(&p, &o, NULL));
    cr_assert_neq(cuCtxSynchronize(), CUDA_SUCCESS);
}
