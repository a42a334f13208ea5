/* launch_update.c - twins of the optimizers. Contract: graft/ops.h. Factors: the CPU twins'. */
#include <math.h>

#include "launch_args.h"

#define THREADS 256
#define PAIRS 2048   /* elements of a block of threads: four pairs each */
#define BLOCKS8 2048 /* thread blocks of adamw8 at most: each makes the maps, warps take turns */

static unsigned divide_up(int64_t a, int64_t b)
{
    return (unsigned)((a + b - 1) / b);
}

gf_status gf_cuda_adamw(gf_backend *be, gf_tensor value, gf_tensor m, gf_tensor v, gf_tensor g,
                        double scale, const gf_adamw_args *args)
{
    const double t = (double)args->step;
    const bool wide = gf_arg_aligned(value, 2) && gf_arg_aligned(m, 2) && gf_arg_aligned(v, 2) &&
                      gf_arg_aligned(g, 2);
    int64_t n = value.dim[0];
    gf_adamw_factors factors = {
        .scale = scale,
        .keep = (float)(1.0 - args->lr * args->weight_decay),
        .w1 = (float)(1.0 - args->beta1),
        .beta2 = (float)args->beta2,
        .w2 = (float)(1.0 - args->beta2),
        .step = (float)(args->lr / (1.0 - pow(args->beta1, t))),
        .root = (float)sqrt(1.0 - pow(args->beta2, t)),
        .eps = (float)args->eps,
        .wide = wide,
    };
    return GF_LAUNCH(be, "adamw", "adamw", ((gf_dim){divide_up(n, PAIRS), 1, 1}),
                     ((gf_dim){THREADS, 1, 1}), 0, &value.data, &m.data, &v.data, &g.data, &n,
                     &factors);
}

gf_status gf_cuda_adamw8(gf_backend *be, gf_tensor value, gf_tensor m, gf_tensor v, gf_tensor m_max,
                         gf_tensor v_max, gf_tensor g, double scale, const gf_adamw_args *args)
{
    const double t = (double)args->step, root = sqrt(1.0 - pow(args->beta2, t));
    const unsigned blocks = divide_up(value.dim[0], GF_BLOCK8 * (THREADS / 32));
    int64_t n = value.dim[0];
    gf_adamw8_factors factors = {
        .scale = scale,
        .keep = (float)(1.0 - args->lr * args->weight_decay),
        .beta1 = (float)args->beta1,
        .w1 = (float)(1.0 - args->beta1),
        .beta2 = (float)args->beta2,
        .w2 = (float)(1.0 - args->beta2),
        .step = (float)(args->lr * root / (1.0 - pow(args->beta1, t))),
        .eps = (float)(args->eps * root),
        .wide = gf_arg_aligned(value, 2) && gf_arg_aligned(m, 2) && gf_arg_aligned(v, 2) &&
                gf_arg_aligned(g, 2),
    };
    return GF_LAUNCH(be, "adamw8", "adamw8", ((gf_dim){blocks < BLOCKS8 ? blocks : BLOCKS8, 1, 1}),
                     ((gf_dim){THREADS, 1, 1}), 0, &value.data, &m.data, &v.data, &m_max.data,
                     &v_max.data, &g.data, &n, &factors);
}

gf_status gf_cuda_lion(gf_backend *be, gf_tensor value, gf_tensor m, gf_tensor g, double scale,
                       const gf_lion_args *args)
{
    int64_t n = value.dim[0];
    gf_lion_factors factors = {
        .scale = scale,
        .keep = (float)(1.0 - args->lr * args->weight_decay),
        .beta1 = (float)args->beta1,
        .w1 = (float)(1.0 - args->beta1),
        .beta2 = (float)args->beta2,
        .w2 = (float)(1.0 - args->beta2),
        .lr = (float)args->lr,
        .wide = gf_arg_aligned(value, 2) && gf_arg_aligned(m, 2) && gf_arg_aligned(g, 2),
    };
    return GF_LAUNCH(be, "lion", "lion", ((gf_dim){divide_up(n, PAIRS), 1, 1}),
                     ((gf_dim){THREADS, 1, 1}), 0, &value.data, &m.data, &g.data, &n, &factors);
}
