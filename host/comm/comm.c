/* comm.c - one rank, or MPI's. Contract: comm.h. */
#include "comm/comm.h"

#include <stdlib.h>

static bool has_launcher(void)
{
    static const char *const signs[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK",
                                        "PMIX_RANK"};
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++)
        if (getenv(signs[i]))
            return true;
    return false;
}

#ifdef GRAFT_MPI

#include <mpi.h>

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

static gf_status join(gf_comm *c, gf_err *err)
{
    int given;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &given) != MPI_SUCCESS)
        return gf_fail(err, GF_EDEVICE, "MPI did not start, although a launcher is there");
    c->mpi = true;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    TRY(check(c, MPI_Comm_rank(MPI_COMM_WORLD, &c->rank), "MPI_Comm_rank", err));
    return check(c, MPI_Comm_size(MPI_COMM_WORLD, &c->size), "MPI_Comm_size", err);
}

static void leave(void)
{
    MPI_Finalize();
}

static gf_status sum(const gf_comm *c, int64_t *x, size_t count, gf_err *err)
{
    for (size_t at = 0; at < count; at += CHUNK) {
        const int n = (int)(count - at < CHUNK ? count - at : CHUNK);
        TRY(check(c, MPI_Allreduce(MPI_IN_PLACE, x + at, n, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD),
                  "the sum over ranks", err));
    }
    return GF_OK;
}

static gf_status broadcast(const gf_comm *c, char *x, size_t bytes, gf_err *err)
{
    for (size_t at = 0; at < bytes; at += CHUNK) {
        const int n = (int)(bytes - at < CHUNK ? bytes - at : CHUNK);
        TRY(check(c, MPI_Bcast(x + at, n, MPI_BYTE, 0, MPI_COMM_WORLD), "a broadcast", err));
    }
    return GF_OK;
}

/* The largest value of all ranks, and the lowest rank that has it. */
static gf_status largest(const gf_comm *c, int mine, int *value, int *rank, gf_err *err)
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

#else /* one rank: the functions below are never reached, since c->mpi stays false */

static gf_status join(gf_comm *c, gf_err *err)
{
    (void)c;
    return gf_fail(
        err, GF_EMISSING,
        "this build has no MPI, but a launcher started it as one of several ranks: build "
        "with an MPI library, or start it without mpirun");
}
static void leave(void)
{
}
static gf_status sum(const gf_comm *c, int64_t *x, size_t count, gf_err *err)
{
    (void)c, (void)x, (void)count, (void)err;
    return GF_OK;
}
static gf_status broadcast(const gf_comm *c, char *x, size_t bytes, gf_err *err)
{
    (void)c, (void)x, (void)bytes, (void)err;
    return GF_OK;
}
static gf_status largest(const gf_comm *c, int mine, int *value, int *rank, gf_err *err)
{
    (void)err;
    *value = mine;
    *rank = c->rank;
    return GF_OK;
}

#endif

gf_status gf_comm_open(gf_comm *c, gf_err *err)
{
    *c = (gf_comm){.rank = 0, .size = 1};
    return has_launcher() ? join(c, err) : GF_OK;
}

void gf_comm_close(gf_comm *c)
{
    if (c->mpi)
        leave();
    *c = (gf_comm){.rank = 0, .size = 1};
}

gf_status gf_comm_sum(gf_comm *c, int64_t *x, size_t count, gf_err *err)
{
    return c->mpi ? sum(c, x, count, err) : GF_OK;
}

gf_status gf_comm_broadcast(gf_comm *c, void *x, size_t bytes, gf_err *err)
{
    return c->mpi ? broadcast(c, x, bytes, err) : GF_OK;
}

gf_status gf_comm_agree(gf_comm *c, gf_status mine, gf_err *err)
{
    int worst = (int)mine, rank = c->rank;
    if (!c->mpi)
        return mine;
    TRY(largest(c, (int)mine, &worst, &rank, err));
    if (worst == GF_OK)
        return GF_OK;
    return gf_fail(err, (gf_status)worst, "rank %d stopped (%s); its own message says more", rank,
                   gf_status_text((gf_status)worst));
}
