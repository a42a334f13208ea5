/* test_blas.c - products against a double sum, every mode that the model uses; their bits do not
 * depend on m. */
#include "support/device_case.h"

#include "cuda/cuda.h"

typedef struct {
    gf_dtype type, out;
    int64_t m, n, k;
    bool transposed, bias;
    int added; /* 0: no c; 1: c; 2: c is d */
    int64_t gap;
} product_case;

static const product_case cases[] = {
    {GF_F32, GF_F32, 5, 24, 40, true, false, 0, 0},
    {GF_F32, GF_F32, 64, 16, 8, false, true, 1, 4},
    {GF_BF16, GF_BF16, 33, 40, 64, true, true, 0, 8},
    {GF_BF16, GF_BF16, 7, 64, 48, false, false, 0, 16},
    {GF_BF16, GF_F32, 20, 32, 80, true, false, 1, 8},
    {GF_BF16, GF_F32, 20, 32, 80, true, true, 2, 8},
    {GF_BF16, GF_F32, 1, 8, 8, false, false, 2, 0},
    {GF_F32, GF_F32, 3, 100, 1, true, false, 0, 0},
};
#define CASES ((int)(sizeof cases / sizeof *cases))

typedef struct {
    op_tensor a, b, c, d, bias;
    device_tensor on_a, on_b, on_c, on_d, on_bias;
} operands;

static operands make(gf_backend *be, product_case c)
{
    operands o;
    o.a = op_make(c.type, "a", c.m, c.k, 0, c.gap);
    o.b = op_make(c.type, "b", c.transposed ? c.n : c.k, c.transposed ? c.k : c.n, 0, c.gap);
    o.c = op_make(c.out, "c", c.m, c.n, 0, 2 * c.gap);
    o.d = op_make(c.out, "d", c.m, c.n, 0, c.gap);
    o.bias = op_make(c.out, "bias", c.n, 0, 0, 0);
    op_fill(o.a.t, 1, 1.0);
    op_fill(o.b.t, 2, 1.0);
    op_fill(o.c.t, 3, 1.0);
    op_fill(o.d.t, 4, 1.0);
    op_fill(o.bias.t, 5, 1.0);
    o.on_a = device_put(be, &o.a);
    o.on_b = device_put(be, &o.b);
    o.on_c = device_put(be, &o.c);
    o.on_d = device_put(be, &o.d);
    o.on_bias = device_put(be, &o.bias);
    return o;
}

static void drop(gf_backend *be, operands *o)
{
    op_tensor *host[] = {&o->a, &o->b, &o->c, &o->d, &o->bias};
    device_tensor *on[] = {&o->on_a, &o->on_b, &o->on_c, &o->on_d, &o->on_bias};
    for (int i = 0; i < 5; i++) {
        op_free(host[i]);
        device_free(be, on[i]);
    }
}

static gf_product product(const operands *o, product_case c)
{
    gf_product p = {.d = o->on_d.t, .a = o->on_a.t, .b = o->on_b.t, .transposed = c.transposed};
    if (c.bias)
        p.bias = o->on_bias.t;
    if (c.added)
        p.c = c.added == 1 ? o->on_c.t : o->on_d.t;
    return p;
}

/* An f32 sum of k products and two terms is off by at most k + 2 roundings of each; then one of
 * the output type. */
static void expect(const operands *o, product_case c, const op_tensor *was)
{
    for (int64_t i = 0; i < c.m; i++)
        for (int64_t j = 0; j < c.n; j++) {
            double sum = 0.0, size = 0.0;
            for (int64_t l = 0; l < c.k; l++) {
                const double x = op_get(o->a.t, i, l) *
                                 (c.transposed ? op_get(o->b.t, j, l) : op_get(o->b.t, l, j));
                sum += x;
                size += fabs(x);
            }
            const double more[] = {c.bias ? op_get(o->bias.t, j, 0) : 0.0,
                                   c.added ? op_get(c.added == 1 ? o->c.t : was->t, i, j) : 0.0};
            for (int l = 0; l < 2; l++) {
                sum += more[l];
                size += fabs(more[l]);
            }
            op_near("product", o->d.t, i, j, sum, size, (double)c.k + 2);
        }
}

Test(blas, against_double)
{
    gf_backend be;
    device_open(&be);
    for (int i = 0; i < CASES; i++) {
        const product_case c = cases[i];
        operands o = make(&be, c);
        op_tensor was = op_copy(o.d.t, 0);
        const gf_product p = product(&o, c);
        const gf_tally before = be.tally;
        DEVICE_OK(&be, gf_cuda_product(&be, &p));
        cr_assert_eq(be.tally.launches - before.launches, 1);
        cr_assert_eq(be.tally.products - before.products, 2 * c.m * c.n * c.k);
        device_get(&be, &o.on_d, &o.d);
        expect(&o, c, &was);
        op_free(&was);
        drop(&be, &o);
    }
    device_close(&be);
}

/* Rows of a product are the same bits alone, in another place, and in a longer row. */
Test(blas, bits_do_not_depend_on_m)
{
    gf_backend be;
    device_open(&be);
    const product_case c = {GF_BF16, GF_BF16, 150, 72, 200, true, true, 0, 8};
    operands o = make(&be, c);
    op_tensor part = op_make(c.out, "part", c.m, c.n, 0, 0);
    gf_product p = product(&o, c);
    DEVICE_OK(&be, gf_cuda_product(&be, &p));
    device_get(&be, &o.on_d, &o.d);
    static const int64_t parts[][2] = {{0, 1}, {149, 1}, {3, 64}, {22, 128}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const int64_t first = parts[i][0], rows = parts[i][1];
        device_tensor on_part = device_put(&be, &part);
        p.d = gf_rows(on_part.t, 0, rows);
        p.a = gf_rows(o.on_a.t, first, rows);
        DEVICE_OK(&be, gf_cuda_product(&be, &p));
        device_get(&be, &on_part, &part);
        for (int64_t r = 0; r < rows; r++)
            cr_assert(op_same_row(part.t, r, o.d.t, first + r));
        device_free(&be, &on_part);
    }
    op_free(&part);
    drop(&be, &o);
    device_close(&be);
}

/* [x|S] [W|B]^T + c: tails are columns of the same buffers; what lies beside them is not read. */
Test(blas, columns_of_a_wider_buffer)
{
    gf_backend be;
    device_open(&be);
    const product_case c = {GF_BF16, GF_F32, 16, 32, 64, true, false, 0, 64};
    operands o = make(&be, c);
    gf_product p = product(&o, c);
    p.a = gf_cols(p.a, 0, 32);
    p.b = gf_cols(p.b, 0, 32);
    DEVICE_OK(&be, gf_cuda_product(&be, &p));
    device_get(&be, &o.on_d, &o.d);
    product_case half = c;
    half.k = 32;
    expect(&o, half, NULL);
    drop(&be, &o);
    device_close(&be);
}

Test(blas, captured)
{
    gf_backend be;
    device_open(&be);
    const product_case c = cases[2];
    operands o = make(&be, c);
    const gf_product p = product(&o, c);
    bool done = true;
    for (int i = 0; i < 3; i++) {
        op_fill(o.d.t, (uint64_t)i, 1.0);
        DEVICE_OK(&be, gf_upload(&be, device_whole(&o.on_d), o.d.memory));
        DEVICE_OK(&be, gf_replay(&be, 1, &done));
        cr_assert_eq(done, i > 0);
        if (!done) {
            DEVICE_OK(&be, gf_capture(&be, 1));
            DEVICE_OK(&be, gf_cuda_product(&be, &p));
            DEVICE_OK(&be, gf_capture_end(&be, false));
        }
        device_get(&be, &o.on_d, &o.d);
        expect(&o, c, NULL);
    }
    cr_assert_eq(be.tally.products, 3 * 2 * c.m * c.n * c.k);
    drop(&be, &o);
    device_close(&be);
}

Test(blas, choices_are_noted_once)
{
    gf_backend be;
    device_open(&be);
    operands o = make(&be, cases[0]);
    const gf_product p = product(&o, cases[0]);
    DEVICE_OK(&be, gf_cuda_product(&be, &p));
    char *once = strdup(gf_backend_note(&be));
    cr_assert(strncmp(once, "cublasLt ", 9) == 0, "%s", once);
    cr_assert(strstr(once, "; f32 24x40 transposed to f32: algorithm "), "%s", once);
    DEVICE_OK(&be, gf_cuda_product(&be, &p));
    cr_assert_str_eq(once, gf_backend_note(&be));
    free(once);
    drop(&be, &o);
    device_close(&be);
}

/* ---- without a device -------------------------------------------------------------------- */

Test(blas, dry_and_refusals)
{
    gf_backend be;
    gf_err err = {0};
    cr_assert_eq(gf_backend_open_cuda(&be, GF_DEVICE_DRY, &err), GF_OK, "%s", err.text);
    const gf_tensor d = gf_view(NULL, GF_BF16, "d", 6, 8, 0),
                    a = gf_view(NULL, GF_BF16, "a", 6, 4, 0),
                    b = gf_view(NULL, GF_BF16, "b", 8, 4, 0);
    gf_product p = {.d = d, .a = a, .b = b, .transposed = true};
    DEVICE_OK(&be, gf_cuda_product(&be, &p));
    cr_assert_eq(be.tally.launches, 1);
    cr_assert_eq(be.tally.products, 2 * 6 * 8 * 4);
    p.d = gf_rows(d, 0, 0);
    p.a = gf_rows(a, 0, 0);
    DEVICE_OK(&be, gf_cuda_product(&be, &p)); /* nothing to do */
    cr_assert_eq(be.tally.launches, 1);
    const struct {
        gf_product p;
        const char *text;
    } bad[] = {
        {{.d = d, .a = a, .b = b}, "product: the shapes of d, a and b do not fit"},
        {{.d = d, .a = gf_cols(a, 0, 0), .b = gf_cols(b, 0, 0), .transposed = true},
         "product: k is 0"},
        {{.d = d, .a = a, .b = gf_view(NULL, GF_F32, "b", 8, 4, 0), .transposed = true},
         "product: a and b are f32 or bf16, d is f32 or like them"},
        {{.d = d, .a = a, .b = b, .c = gf_view(NULL, GF_F32, "c", 6, 8, 0), .transposed = true},
         "product: c is not like d"},
        {{.d = d,
          .a = a,
          .b = b,
          .bias = gf_view(NULL, GF_F32, "bias", 8, 0, 0),
          .transposed = true},
         "product: bias is not one value of d's type a column"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        OP_REFUSED(be, gf_cuda_product(&be, &bad[i].p), bad[i].text);
    gf_backend_close(&be);
}
