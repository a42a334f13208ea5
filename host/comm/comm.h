/* comm.h - the ranks of a run: one, or as many as mpirun started. Integer sums only, so that the
 * bits do not depend on the number of ranks (law 3). */
#ifndef GRAFT_HOST_COMM_COMM_H
#define GRAFT_HOST_COMM_COMM_H

#include "graft/base.h"

typedef struct {
    int rank, size;
    bool mpi; /* MPI_Init was called */
} gf_comm;

/* Joins the ranks. MPI_Init only if the environment shows a launcher (OMPI_COMM_WORLD_SIZE,
 * PMI_SIZE, PMIX_RANK, ...), since it costs 0.3 s. Under a launcher of a build without MPI:
 * GF_EMISSING. */
gf_status gf_comm_open(gf_comm *c, gf_err *err);
void gf_comm_close(gf_comm *c);

/* x[i] = sum over ranks, in place, any count (also over 2^31). GF_EPEER if a rank failed. */
gf_status gf_comm_sum(gf_comm *c, int64_t *x, size_t count, gf_err *err);
/* Rank 0's bytes to all. */
gf_status gf_comm_broadcast(gf_comm *c, void *x, size_t bytes, gf_err *err);
/* All agree on the worst status: every rank gets the largest code, so that no rank waits for one
 * that left; `err` of a rank that was well names the rank that was not. */
gf_status gf_comm_agree(gf_comm *c, gf_status mine, gf_err *err);

#endif
