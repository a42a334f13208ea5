/* comm.h - the ranks of a run: one, or as many as were started together. Integer sums only, so that
 * the bits do not depend on the number of ranks (law 3).
 *
 * How a process learns who it is; the first that is there counts:
 *   1. gf_comm_options (--rank, --world-size, --rendezvous): TCP. What is not given comes from 3.
 *   2. an MPI launcher's variables (OMPI_COMM_WORLD_SIZE, PMI_SIZE, PMI_RANK, PMIX_RANK): MPI,
 *      unless torchrun (TORCHELASTIC_RUN_ID) stands between that launcher and this process.
 *   3. RANK and WORLD_SIZE, with MASTER_ADDR and MASTER_PORT, perhaps LOCAL_RANK, as torchrun sets
 *      them: TCP. Where torchrun's agent listens on MASTER_PORT itself
 *      (TORCHELASTIC_USE_AGENT_STORE=True) the ranks meet on the next port.
 *   4. none of them: one rank.
 *
 * MPI_Init only in case 2, since it costs 0.3 s; of a build without MPI that is GF_EMISSING.
 *
 * Calls are made by one thread, by all ranks in the same order. */
#ifndef GRAFT_HOST_COMM_COMM_H
#define GRAFT_HOST_COMM_COMM_H

#include "graft/base.h"

/* How long the ranks of a TCP run wait for each other at the start: long enough for a scheduler
 * that starts them one by one. */
#define GF_RENDEZVOUS_MS 120000
/* A lost rank is known after 6 s at most (at once, if only its process died); what the others do
 * then has these 3 s to end by itself: 10 s together. */
#define GF_COMM_GRACE_MS 3000

typedef struct {
    int rank;               /* -1: not given */
    int size;               /* 0: not given */
    const char *rendezvous; /* HOST:PORT, where rank 0 listens; [v6]:PORT; NULL: not given */
    int timeout_ms;         /* to come together; 0: GF_RENDEZVOUS_MS */
} gf_comm_options;

struct gf_plane;
struct gf_loss;
struct gf_nccl;

typedef struct {
    int rank, size;
    int local_rank, local_size; /* among the ranks of this machine */
    /* Among those of them that see the same devices (CUDA_VISIBLE_DEVICES). */
    int device_rank, device_ranks;

    const struct gf_plane *plane; /* NULL: one rank */
    void *link;                   /* the plane's own */
    struct gf_loss *loss;         /* NULL: nobody watches the other ranks (one rank, MPI) */
    struct gf_nccl *nccl;         /* NULL: no device communicator */
    bool agreed;                  /* all ranks know of the failure that ends the run */
} gf_comm;

/* Joins the ranks; opt may be NULL. GF_EARG: what is given is incomplete or contradicts itself, or
 * (on every rank) what another rank gave: another number of ranks, a rank twice. GF_EINPUT, on
 * every rank: another version of graft. GF_EPEER, on every rank: ranks that did not come in time,
 * named. */
gf_status gf_comm_open(gf_comm *c, const gf_comm_options *opt, gf_err *err);

/* Leaves. st: how the work ended. A failure that the others cannot know of (gf_comm_agree did not
 * say it) is told: their next call, or the one that they wait in, is GF_EPEER (MPI: MPI_Abort). */
void gf_comm_close(gf_comm *c, gf_status st);

/* x[i] = sum over ranks, in place, any count (also over 2^31). GF_EPEER if a rank is gone, named;
 * then the run has to end: every later call fails too. */
gf_status gf_comm_sum(gf_comm *c, int64_t *x, size_t count, gf_err *err);
/* Rank 0's bytes to all. */
gf_status gf_comm_broadcast(gf_comm *c, void *x, size_t bytes, gf_err *err);
/* All agree on the worst status: every rank gets the largest code, so that no rank waits for one
 * that left; `err` of a rank that was well names the rank that was not. */
gf_status gf_comm_agree(gf_comm *c, gf_status mine, gf_err *err);

/* ---- a rank that dies ------------------------------------------------------------------------
 *
 * TCP: a thread watches. It knows of a killed process at once, of a machine that is out of reach
 * after 6 s. A call that waits returns GF_EPEER, a device sum is aborted; a process that has not
 * come to gf_comm_close within GF_COMM_GRACE_MS (it computes, or a library hangs) is told through
 * this function, in the watching thread: it says `text`, one line that names the rank, and ends the
 * process. MPI: its launcher ends the processes that are left, and says which rank died. */
void gf_comm_on_lost(gf_comm *c, void (*lost)(void *ctx, const char *text), void *ctx);

/* GF_EPEER if a rank is known to be gone, or the device sums failed: asked after waiting for the
 * device, before what gf_comm_sum_device made is believed. Never waits. */
gf_status gf_comm_check(gf_comm *c, gf_err *err);

/* ---- devices -------------------------------------------------------------------------------- */

/* Which of the devices that this process sees is this rank's. GF_EARG: the machine runs more ranks
 * than it has devices. */
gf_status gf_comm_device(const gf_comm *c, int devices_here, int *device, gf_err *err);

/* Opens NCCL between all ranks, its id sent by rank 0: by all ranks together, the primary context
 * of this rank's device being current. One rank: nothing happens. GF_EMISSING: no libnccl, or too
 * old a one; GF_EDEVICE: it failed; the same code on every rank. */
gf_status gf_comm_device_open(gf_comm *c, gf_err *err);

/* x[i] = sum over ranks of int64 in device memory, in place, enqueued on the stream (a CUstream).
 * Integer addition is associative: whatever algorithm, protocol or switch NCCL sums with
 * (NCCL_ALGO, NCCL_PROTO, NVLS, which round differently for floats), the bits are the same. */
gf_status gf_comm_sum_device(gf_comm *c, void *x, size_t count, void *stream, gf_err *err);

#endif
