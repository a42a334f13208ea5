/* test_comm.c - one rank: nothing is initialised, sums are what was there. Two ranks: ranks.sh. */
#include "comm/comm.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static void leave_launcher(void)
{
    unsetenv("RANK");
    unsetenv("WORLD_SIZE");
    unsetenv("OMPI_COMM_WORLD_SIZE");
    unsetenv("PMI_SIZE");
    unsetenv("PMI_RANK");
    unsetenv("PMIX_RANK");
}

Test(comm, one_rank_needs_no_mpi_and_changes_nothing, .init = leave_launcher)
{
    gf_comm c;
    gf_err err = {0};
    int64_t x[2] = {-5, INT64_MAX};
    cr_assert(gf_comm_open(&c, NULL, &err) == GF_OK);
    cr_expect(c.rank == 0 && c.size == 1 && !c.plane);
    cr_expect(gf_comm_sum(&c, x, 2, &err) == GF_OK);
    cr_expect(gf_comm_broadcast(&c, x, sizeof x, &err) == GF_OK);
    cr_expect(x[0] == -5 && x[1] == INT64_MAX);
    cr_expect(gf_comm_agree(&c, GF_OK, &err) == GF_OK);
    cr_expect(gf_comm_agree(&c, GF_EFIT, &err) == GF_EFIT);
    gf_comm_close(&c, GF_OK);
}

#ifndef GRAFT_MPI
Test(comm, a_launcher_without_mpi_is_told_so)
{
    gf_comm c;
    gf_err err = {0};
    setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
    cr_expect(gf_comm_open(&c, NULL, &err) == GF_EMISSING && err.text[0]);
}
#endif
