/* rmsnorm.c - RMSNorm over rows, or over every head of a row. Contract: graft/ops.h. Source: Zhang
 * and Sennrich 2019, eq. 4. */
#include "rows.h"
#include "vec.h"

typedef struct {
    gf_tensor y, rstd, x, w; /* forward: y out; backward: y is dx */
    gf_tensor dy, into, rounded, again, residual;
    float eps, offset;
    int64_t heads, width;
} norm_args;

/* Head h of row t. */
static void *head_at(gf_tensor x, int64_t t, int64_t h, int64_t width)
{
    return (char *)gf_row_at(x, t) + gf_row_bytes(x.dtype, h * width);
}

/* Chains of additions beside each other, in which a row is summed: each waits for its own only. */
#define SUMS 4

/* sum of x^2 over a row. */
static float squares(const void *x, gf_dtype t, int64_t n)
{
    v16 sum[SUMS] = {v_zero(), v_zero(), v_zero(), v_zero()};
    for (int64_t i = 0; i < n; i += SUMS * V_LANES)
        for (int64_t j = 0; j < SUMS && i + j * V_LANES < n; j++) {
            const v16 xi = v_get(x, t, i + j * V_LANES, n - i - j * V_LANES);
            sum[j] = v_fma(xi, xi, sum[j]);
        }
    return v_sum(v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3])));
}

static void norm_one(const norm_args *a, int64_t t, int64_t h)
{
    const int64_t n = a->width;
    const void *x = head_at(a->x, t, h, n);
    void *y = head_at(a->y, t, h, n);
    const void *residual = gf_is(a->residual) ? head_at(a->residual, t, h, n) : NULL;
    const float r = 1.0f / sqrtf(squares(x, a->x.dtype, n) / (float)n + a->eps);
    ((float *)gf_row_at(a->rstd, t))[h] = r;
    const v16 vr = v_set1(r), offset = v_set1(a->offset);
    for (int64_t i = 0; i < n; i += V_LANES) {
        const v16 w = v_add(v_get(a->w.data, GF_F32, i, n - i), offset);
        const v16 xi = v_get(x, a->x.dtype, i, n - i);
        const v16 normed = v_mul(v_mul(xi, vr), w);
        v_put(y, a->y.dtype, i, n - i,
              residual ? v_add(v_get(residual, GF_F32, i, n - i), normed) : normed);
    }
}

static void norm_back_one(const norm_args *a, int64_t t, int64_t h)
{
    const int64_t n = a->width;
    const void *x = head_at(a->x, t, h, n), *dy = head_at(a->dy, t, h, n);
    const void *into = gf_is(a->into) ? head_at(a->into, t, h, n) : NULL;
    void *dx = head_at(a->y, t, h, n);
    void *rounded = gf_is(a->rounded) ? head_at(a->rounded, t, h, n) : NULL;
    void *again = gf_is(a->again) ? head_at(a->again, t, h, n) : NULL;
    const v16 r = v_set1(((const float *)gf_row_at(a->rstd, t))[h]), offset = v_set1(a->offset);
    v16 sum = v_zero();
    for (int64_t i = 0; i < n; i += V_LANES) {
        const v16 w = v_add(v_get(a->w.data, GF_F32, i, n - i), offset);
        const v16 g = v_mul(v_get(dy, a->dy.dtype, i, n - i), w);
        const v16 hat = v_mul(v_get(x, a->x.dtype, i, n - i), r);
        sum = v_fma(g, hat, sum);
    }
    const v16 mean = v_set1(v_sum(sum) / (float)n);
    for (int64_t i = 0; i < n; i += V_LANES) {
        const v16 w = v_add(v_get(a->w.data, GF_F32, i, n - i), offset);
        const v16 g = v_mul(v_get(dy, a->dy.dtype, i, n - i), w);
        const v16 hat = v_mul(v_get(x, a->x.dtype, i, n - i), r);
        const v16 d = v_mul(r, v_sub(g, v_mul(hat, mean)));
        const v16 sum_in = into ? v_add(v_get(into, GF_F32, i, n - i), d) : d;
        v_put(dx, a->y.dtype, i, n - i, sum_in);
        if (rounded)
            v_put(rounded, GF_BF16, i, n - i, sum_in);
        if (again) /* behind the loads of dy, which it may lie on */
            v_put(again, a->again.dtype, i, n - i, v_mul(hat, w));
    }
}

static void norm_part(void *ctx, int thread, int threads)
{
    const norm_args *a = ctx;
    int64_t begin, end;
    gf_pool_split(a->x.dim[0], 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        for (int64_t h = 0; h < a->heads; h++) {
            if (gf_is(a->dy))
                norm_back_one(a, t, h);
            else
                norm_one(a, t, h);
        }
}

gf_status GF_CPU(rmsnorm_fwd)(gf_backend *be, gf_tensor y, gf_tensor rstd, gf_tensor x,
                              gf_tensor residual, gf_tensor w, float eps, float offset)
{
    norm_args a = {.y = y, .rstd = rstd, .x = x, .w = w, .eps = eps, .offset = offset};
    a.residual = residual;
    a.heads = x.rank == 3 ? x.dim[1] : 1;
    a.width = x.dim[x.rank - 1];
    rows_run(be, gf_count(x), norm_part, &a);
    return GF_OK;
}

gf_status GF_CPU(rmsnorm_bwd)(gf_backend *be, gf_tensor dx, gf_tensor rounded, gf_tensor y,
                              gf_tensor dy, gf_tensor into, gf_tensor x, gf_tensor w,
                              gf_tensor rstd, float offset)
{
    norm_args a = {.y = dx, .rstd = rstd, .x = x, .w = w, .dy = dy, .into = into, .offset = offset};
    a.rounded = rounded;
    a.again = y;
    a.heads = x.rank == 3 ? x.dim[1] : 1;
    a.width = x.dim[x.rank - 1];
    rows_run(be, gf_count(x), norm_part, &a);
    return GF_OK;
}
