/* xent.c - cross-entropy and its gradient, row by row. Contract: graft/ops.h. */
#include "rows.h"
#include "vec.h"

/* Exponentials of one block are summed in f32, blocks in double: 64 additions a lane leave an error
 * of some 1e-7 of the sum, whatever V. */
#define XENT_BLOCK 1024

typedef struct {
    gf_tensor nll, best, dlogits, logits, label;
    float cap;
} xent_args;

/* z of 16 logits; lanes beyond the row hold -inf, which no maximum and no sum notices. */
static inline v16 z_at(const float *row, int64_t i, int64_t n, float cap)
{
    v16 z = v_get(row, GF_F32, i, n);
    if (cap > 0.0f)
        z = v_mul(v_set1(cap), v_tanh(v_div(z, v_set1(cap))));
    return n >= V_LANES ? z : v_keep(z, 0, n, v_set1(-INFINITY));
}

/* max_v z, and where it stands first: which block it is in, then which lane. A row without any
 * number (all NaN or -inf) gives -inf and column 0. */
static float largest(const float *row, int64_t n, float cap, int32_t *best)
{
    float m = -INFINITY;
    int64_t block = -1;
    for (int64_t b = 0; b < n; b += XENT_BLOCK) {
        const int64_t end = n - b < XENT_BLOCK ? n : b + XENT_BLOCK;
        v16 top = v_set1(-INFINITY);
        for (int64_t i = b; i < end; i += V_LANES)
            top = v_max(z_at(row, i, n - i, cap), top);
        const float most = v_hmax(top);
        if (most > m) {
            m = most;
            block = b;
        }
    }
    *best = 0;
    for (int64_t i = block; block >= 0 && i < n; i += V_LANES) {
        float lane[V_LANES];
        v_store(lane, z_at(row, i, n - i, cap));
        for (int j = 0; j < V_LANES; j++)
            if (lane[j] == m) {
                *best = (int32_t)(i + j);
                return m;
            }
    }
    return m;
}

static double sum_of_exps(const float *row, int64_t n, float cap, float m)
{
    const v16 vm = v_set1(m);
    double sum = 0.0;
    for (int64_t b = 0; b < n; b += XENT_BLOCK) {
        const int64_t end = n - b < XENT_BLOCK ? n : b + XENT_BLOCK;
        v16 acc = v_zero();
        for (int64_t i = b; i < end; i += V_LANES)
            acc = v_add(acc, v_exp(v_sub(z_at(row, i, n - i, cap), vm)));
        sum += (double)v_sum(acc);
    }
    return sum;
}

static void filler_row(const xent_args *a, int64_t row)
{
    ((float *)a->nll.data)[row] = 0.0f;
    ((int32_t *)a->best.data)[row] = -1;
    if (gf_is(a->dlogits))
        memset(gf_row_at(a->dlogits, row), 0,
               (size_t)gf_row_bytes(a->dlogits.dtype, a->dlogits.dim[1]));
}

static void xent_row(const xent_args *a, int64_t row)
{
    const float *logits = gf_row_at(a->logits, row);
    const int64_t n = a->logits.dim[1];
    const int32_t label = ((const int32_t *)a->label.data)[row];
    if (label < 0) {
        filler_row(a, row);
        return;
    }
    const float m = largest(logits, n, a->cap, (int32_t *)a->best.data + row);
    const double sum = sum_of_exps(logits, n, a->cap, m);
    float lane[V_LANES];
    const int64_t at = label - label % V_LANES; /* the label's z by the same operations as all */
    v_store(lane, z_at(logits, at, n - at, a->cap));
    const double z = (double)lane[label - at];
    ((float *)a->nll.data)[row] = (float)(log(sum) + ((double)m - z));
    if (!gf_is(a->dlogits))
        return;
    void *out = gf_row_at(a->dlogits, row);
    const v16 vm = v_set1(m), scale = v_set1((float)(1.0 / sum)), one = v_set1(1.0f);
    for (int64_t i = 0; i < n; i += V_LANES) {
        const v16 zi = z_at(logits, i, n - i, a->cap);
        v16 d = v_mul(v_exp(v_sub(zi, vm)), scale);
        if (i == at)
            d = v_keep(v_sub(d, one), label - at, label - at + 1, d);
        if (a->cap > 0.0f) {
            const v16 t = v_div(zi, v_set1(a->cap));
            d = v_mul(d, v_fma(v_sub(v_zero(), t), t, one));
        }
        v_put(out, a->dlogits.dtype, i, n - i, d);
    }
}

static void xent_part(void *ctx, int thread, int threads)
{
    const xent_args *a = ctx;
    int64_t begin, end;
    gf_pool_split(a->logits.dim[0], 1, thread, threads, &begin, &end);
    for (int64_t row = begin; row < end; row++)
        xent_row(a, row);
}

gf_status GF_CPU(xent)(gf_backend *be, gf_tensor nll, gf_tensor best, gf_tensor dlogits,
                       gf_tensor logits, gf_tensor label, float cap)
{
    xent_args a = {nll, best, dlogits, logits, label, cap};
    rows_run(be, gf_count(logits), xent_part, &a);
    return GF_OK;
}

gf_status GF_CPU(count_losses)(gf_backend *be, gf_tensor sums, gf_tensor nll, gf_tensor best,
                               gf_tensor label)
{
    int64_t *sum = sums.data;
    (void)be;
    for (int64_t i = 0; i < nll.dim[0]; i++) {
        const float loss = ((const float *)nll.data)[i];
        const int32_t want = ((const int32_t *)label.data)[i];
        if (want < 0)
            continue;
        if (!(fabsf(loss) < 0x1p16f)) {
            sum[GF_SUM_NONFINITE]++;
            continue;
        }
        sum[GF_SUM_LOSS] += llrint((double)loss * GF_LOSS_SCALE);
        sum[GF_SUM_CORRECT] += ((const int32_t *)best.data)[i] == want;
    }
    return GF_OK;
}
