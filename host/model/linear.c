/* linear.c - a group's layers and their adapters, forward and backward. Contract: linear.h. */
#include "model/linear.h"

gf_status gf_layer_linear_fwd(gf_model *m, gf_tensor y, gf_tensor x, gf_tensor residual,
                              const gf_group *g, const gf_kept *kept)
{
    const gf_spans *row = &m->row.spans;
    if (!gf_is(g->norm))
        return gf_group_linear_fwd(m->be, y, kept->s, x, residual, g, row, m->opt.dropout);
    gf_group bare = *g; /* DoRA scales what the weights make, not the bias */
    for (int i = 0; i < g->count; i++)
        bare.lin[i].bias = gf_none;
    TRY(gf_group_linear_fwd(m->be, kept->z, kept->s, x, gf_none, &bare, row, m->opt.dropout));
    return gf_dora_fwd(m->be, y, kept->z, residual, g);
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
    if (gf_is(g->norm)) {
        const int64_t n = gf_group_n(g);
        const gf_tensor dz =
            gf_model_scratch(m, "dz", m->opt.precision, m->row.n, m->row.room, n, n + g->tail);
        TRY(gf_dora_bwd(m->be, dz, dy, kept->z, g, &m->row.spans, &m->fixed));
        dy = dz;
    }
    *p = inner_of(m, g, dy);
    return gf_group_linear_bwd(m->be, dx, *p, dy, x, kept->s, g, &m->row.spans, m->opt.dropout,
                               &m->fixed);
}

gf_status gf_layer_linear_da(gf_model *m, gf_tensor p, gf_tensor x, const gf_group *g)
{
    return gf_group_linear_da(m->be, p, x, g, &m->row.spans, m->opt.dropout, &m->fixed);
}
