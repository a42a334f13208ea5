/* linear.c - a group's layers and their adapters, forward and backward. Contract: linear.h. */
#include "model/linear.h"

gf_status gf_layer_linear_fwd(gf_model *m, gf_tensor y, gf_tensor x, gf_tensor residual,
                              const gf_group *g, const gf_kept *kept)
{
    return gf_group_linear_fwd(m->be, y, kept->s, x, residual, g, &m->row.spans, m->opt.dropout);
}

/* Where P goes: dy's tail on a device, scratch on a CPU. */
static gf_tensor inner_of(gf_model *m, const gf_group *g, gf_tensor dy)
{
    const int64_t rank = gf_group_rank(g);
    if (rank == 0)
        return gf_none;
    if (g->tail)
        return gf_behind(dy, gf_group_n(g), rank);
    return gf_model_scratch(m, "P", m->opt.precision, m->row.n, m->row.room, rank, rank);
}

gf_status gf_layer_linear_bwd(gf_model *m, gf_tensor dx, gf_tensor *p, gf_tensor dy, gf_tensor x,
                              const gf_group *g, const gf_kept *kept)
{
    *p = inner_of(m, g, dy);
    return gf_group_linear_bwd(m->be, dx, *p, dy, x, kept->s, g, &m->row.spans, m->opt.dropout,
                               &m->fixed);
}

gf_status gf_layer_linear_da(gf_model *m, gf_tensor p, gf_tensor x, const gf_group *g)
{
    return gf_group_linear_da(m->be, p, x, g, &m->row.spans, m->opt.dropout, &m->fixed);
}
