/* ranks.c - started by ranks.sh under mpirun: sums, broadcasts and agreements of several ranks.
 * With an argument rank 1 goes wrong while the other waits for it: "fails" leaves with a status
 * that nobody knows of, "exits" and "dies" do not leave at all. */
#include "comm/comm.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            printf("rank %d: line %d: %s: %s\n", c->rank, __LINE__, #what, err.text);              \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

/* More elements than one chunk of the sum, and a number that f64 would round. */
static int check_sums(gf_comm *c)
{
    enum { COUNT = (1 << 22) + 3 };
    gf_err err = {0};
    int64_t *x = malloc(COUNT * sizeof *x);
    CHECK(x);
    for (int64_t i = 0; i < COUNT; i++)
        x[i] = i * (c->rank + 1) + (1LL << 60);
    x[COUNT - 1] = c->rank ? -7 : 3;
    CHECK(gf_comm_sum(c, x, COUNT, &err) == GF_OK);
    for (int64_t i = 0; i < COUNT - 1; i++)
        CHECK(x[i] == 3 * i + (1LL << 61));
    CHECK(x[COUNT - 1] == -4);
    CHECK(gf_comm_sum(c, NULL, 0, &err) == GF_OK);
    free(x);
    return 0;
}

static int check_broadcast(gf_comm *c)
{
    enum { BYTES = (1 << 22) + 5 };
    gf_err err = {0};
    char *x = calloc(BYTES, 1);
    CHECK(x);
    if (c->rank == 0)
        memset(x, 'r', BYTES);
    CHECK(gf_comm_broadcast(c, x, BYTES, &err) == GF_OK);
    CHECK(x[0] == 'r' && !memcmp(x, x + 1, BYTES - 1));
    free(x);
    return 0;
}

static int check_agreement(gf_comm *c)
{
    gf_err err = {0};
    CHECK(gf_comm_agree(c, GF_OK, &err) == GF_OK && !err.text[0]);
    if (c->rank == 1)
        gf_fail(&err, GF_EINPUT, "own text");
    CHECK(gf_comm_agree(c, c->rank == 1 ? GF_EINPUT : GF_OK, &err) == GF_EINPUT);
    CHECK(c->rank == 1 ? !strcmp(err.text, "own text") : !strncmp(err.text, "rank 1 ", 7));
    return 0;
}

static int go_wrong(gf_comm *c, const char *how)
{
    gf_err err = {0};
    int64_t x = 1;
    CHECK(gf_comm_agree(c, GF_OK, &err) == GF_OK);
    if (c->rank == 1 && !strcmp(how, "exits"))
        _exit(1);
    if (c->rank == 1 && !strcmp(how, "dies"))
        raise(SIGKILL);
    if (c->rank == 1) { /* as host/cli does: the error first, then the end */
        fprintf(stderr, "rank 1 fails\n");
        gf_comm_close(c, GF_EDEVICE);
    }
    gf_comm_sum(c, &x, 1, &err);
    printf("rank %d came back: %s\n", c->rank, err.text);
    gf_comm_close(c, GF_OK);
    return 0;
}

int main(int argc, char *argv[])
{
    gf_comm self, *c = &self;
    gf_err err = {0};
    CHECK(gf_comm_open(c, NULL, &err) == GF_OK);
    CHECK(c->plane && c->size == 2);
    CHECK(c->local_rank == c->rank && c->local_size == 2);
    CHECK(c->device_rank == c->rank && c->device_ranks == 2);
    if (argc > 1)
        return go_wrong(c, argv[1]);
    if (check_sums(c) || check_broadcast(c) || check_agreement(c))
        return 1; /* without MPI_Finalize, so that mpirun ends the others too */
    printf("rank %d is well\n", c->rank);
    gf_comm_close(c, GF_OK);
    return 0;
}
