/* schedule.c - see schedule.h. */
#include "train/schedule.h"

#include <math.h>

double gf_lr_at(const gf_schedule *s, int64_t step)
{
    const double done = (double)(step - 1), warmup = (double)s->warmup, total = (double)s->total;
    const double after = total - warmup > 1 ? total - warmup : 1;
    if (s->type == GF_LR_CONSTANT)
        return s->peak;
    if (done < warmup)
        return s->peak * (done / (warmup > 1 ? warmup : 1));
    double factor = 1;
    if (s->type == GF_LR_LINEAR)
        factor = (total - done) / after;
    else if (s->type == GF_LR_COSINE)
        factor = 0.5 * (1.0 + cos(M_PI * ((done - warmup) / after)));
    return s->peak * (factor > 0 ? factor : 0);
}
