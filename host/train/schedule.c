/* schedule.c - see schedule.h. */
#include "train/schedule.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    gf_lr_type type;
} names[] = {{"linear", GF_LR_LINEAR},
             {"cosine", GF_LR_COSINE},
             {"constant", GF_LR_CONSTANT},
             {"constant_with_warmup", GF_LR_CONSTANT_WARMUP}};

gf_status gf_lr_parse(gf_lr_type *out, const char *name, gf_err *err)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i].name, name)) {
            *out = names[i].type;
            return GF_OK;
        }
    return gf_fail(err, GF_EARG,
                   "--lr-scheduler-type %s: this version has linear, cosine, constant and "
                   "constant_with_warmup",
                   name);
}

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
