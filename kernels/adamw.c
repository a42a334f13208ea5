/* adamw.c - one AdamW update of a flat region, torch's formula. Contract: graft/ops.h. Source:
 * Loshchilov and Hutter 2019; the order of roundings is torch's (FORMATS 12.1): factors in double,
 * rounded to f32 once, all else f32 without fma. So the bits are the same on every CPU. */
#include <math.h>

#include "rows.h"

typedef struct {
    float *value, *m, *v;
    const int64_t *g;
    int64_t n;
    double scale;
    float keep, w1, beta2, w2, step, root, eps;
} adamw_part_args;

static void adamw_part(void *ctx, int thread, int threads)
{
    const adamw_part_args *a = ctx;
    int64_t begin, end;
    gf_pool_split(a->n, 64, thread, threads, &begin, &end); /* 64: whole cache lines a thread */
    float *restrict value = a->value, *restrict m = a->m, *restrict v = a->v;
    const int64_t *restrict g = a->g;
    const double scale = a->scale;
    const float keep = a->keep, w1 = a->w1, beta2 = a->beta2, w2 = a->w2, step = a->step;
    const float root = a->root, eps = a->eps;
    for (int64_t i = begin; i < end; i++) {
        const float gr = (float)(scale * (double)g[i]);
        const float mi = m[i] + (gr - m[i]) * w1;
        const float vi = v[i] * beta2 + w2 * gr * gr;
        m[i] = mi;
        v[i] = vi;
        value[i] = value[i] * keep - step * mi / (sqrtf(vi) / root + eps);
    }
}

gf_status GF_CPU(adamw)(gf_backend *be, gf_tensor value, gf_tensor m, gf_tensor v, gf_tensor g,
                        double scale, const gf_adamw_args *args)
{
    const double t = (double)args->step;
    adamw_part_args a = {
        .value = value.data,
        .m = m.data,
        .v = v.data,
        .g = g.data,
        .n = value.dim[0],
        .scale = scale,
        .keep = (float)(1.0 - args->lr * args->weight_decay),
        .w1 = (float)(1.0 - args->beta1),
        .beta2 = (float)args->beta2,
        .w2 = (float)(1.0 - args->beta2),
        .step = (float)(args->lr / (1.0 - pow(args->beta1, t))),
        .root = (float)sqrt(1.0 - pow(args->beta2, t)),
        .eps = (float)args->eps,
    };
    rows_run(be, a.n, adamw_part, &a);
    return GF_OK;
}
