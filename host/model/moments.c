/* moments.c - see moments.h. */
#include "model/moments.h"

#include "graft/ops.h"

#include <string.h>

const char *gf_moment_name(gf_moment part)
{
    static const char *const names[GF_MOMENTS] = {"m", "v", "m_code", "v_code", "m_max", "v_max"};
    return names[part];
}

gf_dtype gf_moment_dtype(gf_moment part)
{
    return part == GF_MOMENT_M_CODE || part == GF_MOMENT_V_CODE ? GF_U8 : GF_F32;
}

static bool is_coded(const gf_param *p, gf_optim optim)
{
    return optim == GF_OPTIM_ADAMW8 && p->rows * p->cols >= GF_MIN_8BIT;
}

/* Where the next stretch of either kind starts: behind all earlier tensors of its kind. */
static void place(gf_stretch *s, const gf_adapter *ad, gf_optim optim)
{
    s->at = s->block = 0;
    for (int i = 0; i < s->param; i++) {
        const gf_param *p = &ad->param[i];
        const int64_t n = p->rows * p->cols;
        if (is_coded(p, optim) != s->coded)
            continue;
        s->at += n;
        s->block += s->coded ? (n + GF_BLOCK8 - 1) / GF_BLOCK8 : 0;
    }
}

bool gf_stretch_next(gf_stretch *s, const gf_adapter *ad, gf_optim optim, const double *rate)
{
    if (s->param >= ad->params)
        return false;
    const gf_param *p = &ad->param[s->param];
    s->first = p->at;
    s->count = 0;
    s->kind = p->kind;
    s->coded = is_coded(p, optim);
    place(s, ad, optim);
    do {
        s->count += p->rows * p->cols;
        p = &ad->param[++s->param];
    } while (s->param < ad->params && is_coded(p, optim) == s->coded &&
             rate[p->kind] == rate[s->kind] && (!s->coded || s->count % GF_BLOCK8 == 0));
    s->blocks = s->coded ? (s->count + GF_BLOCK8 - 1) / GF_BLOCK8 : 0;
    return true;
}

void gf_moments_size(int64_t size[GF_MOMENTS], const gf_adapter *ad, gf_optim optim)
{
    const double same[GF_PARAM_KINDS] = {0};
    gf_stretch s = {0};
    memset(size, 0, GF_MOMENTS * sizeof *size);
    while (gf_stretch_next(&s, ad, optim, same)) {
        size[s.coded ? GF_MOMENT_M_CODE : GF_MOMENT_M] += s.count;
        size[GF_MOMENT_M_MAX] += s.blocks;
    }
    size[GF_MOMENT_V_CODE] = size[GF_MOMENT_M_CODE];
    size[GF_MOMENT_V_MAX] = size[GF_MOMENT_M_MAX];
    size[GF_MOMENT_V] = optim == GF_OPTIM_LION ? 0 : size[GF_MOMENT_M];
}
