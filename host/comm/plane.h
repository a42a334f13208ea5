/* plane.h - inside host/comm: what a control plane is, and where a process stands in it. */
#ifndef GRAFT_HOST_COMM_PLANE_H
#define GRAFT_HOST_COMM_PLANE_H

#include "comm/comm.h"
#include "comm/loss.h"

typedef enum { GF_PLANE_ONE, GF_PLANE_MPI, GF_PLANE_TCP } gf_plane_kind;

/* What a process knows about itself before it has met the others. Of MPI ranks only the last
 * three. */
typedef struct {
    gf_plane_kind kind;
    int rank, size;
    int local_rank; /* -1: not given */
    char host[256]; /* where rank 0 listens */
    int port;
    int timeout_ms;

    char name[64];    /* of this machine, for messages */
    uint64_t machine; /* equal for processes of one machine */
    uint64_t view;    /* equal for processes that see the same devices, if on one machine */
} gf_place;

/* From the options and the environment, see comm.h. */
gf_status gf_place_find(gf_place *p, const gf_comm_options *opt, gf_err *err);

/* The calls of comm.h for more than one rank. */
typedef struct gf_plane {
    gf_status (*sum)(gf_comm *c, int64_t *x, size_t count, gf_err *err);
    gf_status (*broadcast)(gf_comm *c, char *x, size_t bytes, gf_err *err);
    /* The largest value of all ranks, and the lowest rank that has it. */
    gf_status (*largest)(gf_comm *c, int mine, int *value, int *rank, gf_err *err);
    /* Says that this rank leaves. GF_OK: all do, or know why; otherwise it ends the run. */
    void (*leave)(gf_comm *c, gf_status st);
    void (*close)(gf_comm *c);
} gf_plane;

/* Fill *c but for nccl; on failure there is nothing to close. */
gf_status gf_mpi_open(gf_comm *c, const gf_place *p, gf_err *err);
gf_status gf_tcp_open(gf_comm *c, const gf_place *p, gf_err *err);

#endif
