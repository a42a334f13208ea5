/* lion.c - one Lion update of a flat region. Contract: graft/ops.h. Source: Chen et al. 2023,
 * algorithm 2. Factors are double, rounded to f32 once, all else is f32 without fma, so that the
 * bits are the same on every CPU. */
#include "rows.h"

typedef struct {
    float *value, *m;
    const int64_t *g;
    int64_t n;
    double scale;
    float keep, beta1, w1, beta2, w2, lr;
} lion_part_args;

static void lion_part(void *ctx, int thread, int threads)
{
    const lion_part_args *a = ctx;
    int64_t begin, end;
    gf_pool_split(a->n, 64, thread, threads, &begin, &end); /* 64: whole cache lines a thread */
    float *restrict value = a->value, *restrict m = a->m;
    const int64_t *restrict g = a->g;
    const double scale = a->scale;
    const float keep = a->keep, beta1 = a->beta1, w1 = a->w1, beta2 = a->beta2, w2 = a->w2;
    const float lr = a->lr;
    for (int64_t i = begin; i < end; i++) {
        const float gr = (float)(scale * (double)g[i]), mi = m[i];
        const float way = mi * beta1 + w1 * gr;
        const float by = way > 0.0f ? lr : way < 0.0f ? -lr : 0.0f;
        value[i] = value[i] * keep - by;
        m[i] = mi * beta2 + w2 * gr;
    }
}

gf_status GF_CPU(lion)(gf_backend *be, gf_tensor value, gf_tensor m, gf_tensor g, double scale,
                       const gf_lion_args *args)
{
    lion_part_args a = {
        .value = value.data,
        .m = m.data,
        .g = g.data,
        .n = value.dim[0],
        .scale = scale,
        .keep = (float)(1.0 - args->lr * args->weight_decay),
        .beta1 = (float)args->beta1,
        .w1 = (float)(1.0 - args->beta1),
        .beta2 = (float)args->beta2,
        .w2 = (float)(1.0 - args->beta2),
        .lr = (float)args->lr,
    };
    rows_run(be, a.n, lion_part, &a);
    return GF_OK;
}
