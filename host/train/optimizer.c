/* optimizer.c - see optimizer.h. */
#include "train/optimizer.h"

static gf_tensor part(const gf_model *m, gf_moment which, int64_t first, int64_t count)
{
    return gf_rows(m->moment[which], first, count);
}

gf_status gf_optimizer_update(const gf_optimizer *o, gf_model *m, double lr, double scale,
                              int64_t step)
{
    const gf_optim optim = m->opt.optim;
    gf_stretch s = {0};
    while (gf_stretch_next(&s, m->adapter, optim, o->rate)) {
        const gf_tensor value = gf_rows(m->value, s.first, s.count);
        const gf_tensor g = gf_rows(m->grad, s.first, s.count);
        const gf_adamw_args adamw = {.lr = lr * o->rate[s.kind],
                                     .beta1 = o->beta1,
                                     .beta2 = o->beta2,
                                     .eps = o->eps,
                                     .weight_decay = o->weight_decay,
                                     .step = step};
        const gf_lion_args lion = {
            .lr = adamw.lr, .beta1 = o->beta1, .beta2 = o->beta2, .weight_decay = o->weight_decay};
        if (optim == GF_OPTIM_LION)
            TRY(gf_lion(m->be, value, part(m, GF_MOMENT_M, s.at, s.count), g, scale, &lion));
        else if (s.coded)
            TRY(gf_adamw8(m->be, value, part(m, GF_MOMENT_M_CODE, s.at, s.count),
                          part(m, GF_MOMENT_V_CODE, s.at, s.count),
                          part(m, GF_MOMENT_M_MAX, s.block, s.blocks),
                          part(m, GF_MOMENT_V_MAX, s.block, s.blocks), g, scale, &adamw));
        else
            TRY(gf_adamw(m->be, value, part(m, GF_MOMENT_M, s.at, s.count),
                         part(m, GF_MOMENT_V, s.at, s.count), g, scale, &adamw));
    }
    return GF_OK;
}
