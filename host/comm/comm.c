/* comm.c - the front of the ranks: one of them, or a plane between several. Contract: comm.h. */
#include "comm/comm.h"

#include "comm/nccl.h"
#include "comm/plane.h"

gf_status gf_comm_open(gf_comm *c, const gf_comm_options *opt, gf_err *err)
{
    gf_place p;
    *c = (gf_comm){.size = 1, .local_size = 1, .device_ranks = 1};
    TRY(gf_place_find(&p, opt, err));
    gf_status st = GF_OK;
    if (p.kind == GF_PLANE_MPI)
        st = gf_mpi_open(c, &p, err);
    else if (p.kind == GF_PLANE_TCP)
        st = gf_tcp_open(c, &p, err);
    if (st != GF_OK)
        *c = (gf_comm){.size = 1, .local_size = 1, .device_ranks = 1};
    return st;
}

void gf_comm_close(gf_comm *c, gf_status st)
{
    /* An interruption is asked for and agreed on in the sums of a step. */
    const bool known = st == GF_OK || st == GF_EINTERRUPT || c->agreed;
    if (c->plane)
        c->plane->leave(c, known ? GF_OK : st); /* before what may take time */
    gf_nccl_close(c->nccl, c->loss, known);
    if (c->plane)
        c->plane->close(c);
    *c = (gf_comm){.size = 1, .local_size = 1, .device_ranks = 1};
}

static gf_status check_loss(const gf_comm *c, gf_err *err)
{
    char text[GF_LOSS_TEXT];
    if (c->loss && gf_loss_get(c->loss, 0, text))
        return gf_fail(err, GF_EPEER, "%s", text);
    return GF_OK;
}

gf_status gf_comm_check(gf_comm *c, gf_err *err)
{
    TRY(check_loss(c, err));
    return c->nccl ? gf_nccl_check(c->nccl, c->loss, err) : GF_OK;
}

void gf_comm_on_lost(gf_comm *c, void (*lost)(void *ctx, const char *text), void *ctx)
{
    if (c->loss)
        gf_loss_on_lost(c->loss, lost, ctx);
}

gf_status gf_comm_sum(gf_comm *c, int64_t *x, size_t count, gf_err *err)
{
    if (!c->plane)
        return GF_OK;
    TRY(check_loss(c, err));
    return c->plane->sum(c, x, count, err);
}

gf_status gf_comm_broadcast(gf_comm *c, void *x, size_t bytes, gf_err *err)
{
    if (!c->plane)
        return GF_OK;
    TRY(check_loss(c, err));
    return c->plane->broadcast(c, x, bytes, err);
}

gf_status gf_comm_agree(gf_comm *c, gf_status mine, gf_err *err)
{
    int worst = (int)mine, rank = c->rank;
    if (!c->plane)
        return mine;
    TRY(check_loss(c, err));
    TRY(c->plane->largest(c, (int)mine, &worst, &rank, err));
    if (worst == GF_OK)
        return GF_OK;
    c->agreed = true;
    return gf_fail(err, (gf_status)worst, "rank %d stopped (%s); its own message says more", rank,
                   gf_status_text((gf_status)worst));
}
