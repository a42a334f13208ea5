/* comm_mpi.c - the ranks that an MPI launcher started. MPI alone sums for CPU ranks, and carries
 * NCCL's id for others; its launcher ends the run if a rank dies. */
#include "comm/plane.h"

#ifdef GRAFT_MPI

#include <mpi.h>
#include <stdlib.h>

/* Elements of one call: far below int's end, and few enough that what MPI buffers for it (one copy)
 * is 32 MiB. */
enum { CHUNK = 1 << 22 };

static gf_status check(const gf_comm *c, int code, const char *what, gf_err *err)
{
    char text[MPI_MAX_ERROR_STRING];
    int n = 0;
    if (code == MPI_SUCCESS)
        return GF_OK;
    if (MPI_Error_string(code, text, &n) != MPI_SUCCESS)
        n = 0;
    return gf_fail(err, GF_EPEER, "rank %d of %d: %s failed, another rank is gone: %.*s", c->rank,
                   c->size, what, n, text);
}

static gf_status sum(gf_comm *c, int64_t *x, size_t count, gf_err *err)
{
    for (size_t at = 0; at < count; at += CHUNK) {
        const int n = (int)(count - at < CHUNK ? count - at : CHUNK);
        TRY(check(c, MPI_Allreduce(MPI_IN_PLACE, x + at, n, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD),
                  "the sum over ranks", err));
    }
    return GF_OK;
}

static gf_status broadcast(gf_comm *c, char *x, size_t bytes, gf_err *err)
{
    for (size_t at = 0; at < bytes; at += CHUNK) {
        const int n = (int)(bytes - at < CHUNK ? bytes - at : CHUNK);
        TRY(check(c, MPI_Bcast(x + at, n, MPI_BYTE, 0, MPI_COMM_WORLD), "a broadcast", err));
    }
    return GF_OK;
}

static gf_status largest(gf_comm *c, int mine, int *value, int *rank, gf_err *err)
{
    struct {
        int value, rank;
    } in = {mine, c->rank}, out = in;
    TRY(check(c, MPI_Allreduce(&in, &out, 1, MPI_2INT, MPI_MAXLOC, MPI_COMM_WORLD),
              "agreeing on a status", err));
    *value = out.value;
    *rank = out.rank;
    return GF_OK;
}

/* Without MPI_Abort the others would wait for this rank, and it for them in MPI_Finalize. */
static void leave(gf_comm *c, gf_status st)
{
    (void)c;
    if (st != GF_OK)
        MPI_Abort(MPI_COMM_WORLD, gf_exit_code(st));
}

static void finalize(gf_comm *c)
{
    (void)c;
    MPI_Finalize();
}

/* Which of this machine's ranks this is, and which of those that see the same devices. */
static gf_status find_local(gf_comm *c, const gf_place *p, gf_err *err)
{
    MPI_Comm node;
    TRY(check(
        c, MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, c->rank, MPI_INFO_NULL, &node),
        "finding the ranks of this machine", err));
    TRY(check(c, MPI_Comm_rank(node, &c->local_rank), "MPI_Comm_rank", err));
    TRY(check(c, MPI_Comm_size(node, &c->local_size), "MPI_Comm_size", err));
    uint64_t *views = gf_alloc((size_t)c->local_size, sizeof *views, err);
    if (!views)
        return GF_ENOMEM;
    const gf_status st =
        check(c, MPI_Allgather(&p->view, 1, MPI_UINT64_T, views, 1, MPI_UINT64_T, node),
              "finding the ranks of this machine", err);
    c->device_rank = c->device_ranks = 0;
    for (int r = 0; st == GF_OK && r < c->local_size; r++) {
        c->device_rank += r < c->local_rank && views[r] == p->view;
        c->device_ranks += views[r] == p->view;
    }
    free(views);
    MPI_Comm_free(&node);
    return st;
}

gf_status gf_mpi_open(gf_comm *c, const gf_place *p, gf_err *err)
{
    static const gf_plane plane = {
        .sum = sum, .broadcast = broadcast, .largest = largest, .leave = leave, .close = finalize};
    int given;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &given) != MPI_SUCCESS)
        return gf_fail(err, GF_EDEVICE, "MPI did not start, although a launcher is there");
    c->plane = &plane;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    TRY(check(c, MPI_Comm_rank(MPI_COMM_WORLD, &c->rank), "MPI_Comm_rank", err));
    TRY(check(c, MPI_Comm_size(MPI_COMM_WORLD, &c->size), "MPI_Comm_size", err));
    return find_local(c, p, err);
}

#else

gf_status gf_mpi_open(gf_comm *c, const gf_place *p, gf_err *err)
{
    (void)c, (void)p;
    return gf_fail(
        err, GF_EMISSING,
        "this build has no MPI, but a launcher started it as one of several ranks: build "
        "with an MPI library, start it without mpirun, or give each rank --rank, "
        "--world-size and --rendezvous");
}

#endif
