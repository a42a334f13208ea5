/* comm_device.c - ranks and devices: which is whose, and sums in their memory. Contract: comm.h. */
#include "comm/comm.h"

#include "comm/nccl.h"

gf_status gf_comm_device(const gf_comm *c, int devices_here, int *device, gf_err *err)
{
    if (c->device_rank < devices_here && c->device_ranks <= devices_here) {
        *device = c->device_rank;
        return GF_OK;
    }
    return gf_fail(err, GF_EARG,
                   "rank %d of %d: %d ranks share the %d device%s of this machine, and each needs "
                   "one of its own: start at most %d here, or give --device cpu",
                   c->rank, c->size, c->device_ranks, devices_here, devices_here == 1 ? "" : "s",
                   devices_here);
}

/* Rank 0's id and library version; ranks of different versions cannot talk to each other. */
static gf_status share_id(gf_comm *c, gf_nccl *n, gf_nccl_id *id, gf_err *err)
{
    struct {
        gf_nccl_id id;
        int version;
    } first = {.version = gf_nccl_version(n)};
    gf_status st = c->rank == 0 ? gf_nccl_new_id(n, &first.id, err) : GF_OK;
    TRY(gf_comm_agree(c, st, err));
    TRY(gf_comm_broadcast(c, &first, sizeof first, err));
    if (first.version != gf_nccl_version(n))
        st = gf_fail(err, GF_EMISSING,
                     "rank %d has NCCL %d, rank 0 has %d: install the same version on all machines",
                     c->rank, gf_nccl_version(n), first.version);
    *id = first.id;
    return gf_comm_agree(c, st, err);
}

gf_status gf_comm_device_open(gf_comm *c, gf_err *err)
{
    gf_nccl *n = NULL;
    gf_nccl_id id;
    if (!c->plane || c->nccl)
        return GF_OK;
    gf_status st = gf_nccl_load(&n, err);
    TRYG(gf_comm_agree(c, st, err));
    TRYG(share_id(c, n, &id, err));
    st = gf_nccl_join(n, &id, c->rank, c->size, c->loss, err);
    st = gf_comm_agree(c, st, err);
out:
    if (st == GF_OK)
        c->nccl = n;
    else
        gf_nccl_close(n, c->loss, false);
    return st;
}

gf_status gf_comm_sum_device(gf_comm *c, void *x, size_t count, void *stream, gf_err *err)
{
    if (!c->plane || count == 0)
        return GF_OK;
    if (!c->nccl)
        return gf_fail(err, GF_EDEVICE, "a sum of device memory before gf_comm_device_open");
    return gf_nccl_sum(c->nccl, c->loss, x, count, stream, err);
}
