/* test_comm.c - one rank: nothing is initialised, sums are what was there. How a process learns who
 * it is. Several ranks: ranks.sh (MPI), test_tcp.c, test_nccl.c. */
#include "comm/comm.h"
#include "comm/plane.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static void leave_launcher(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE",
                                        "PMI_SIZE",
                                        "PMI_RANK",
                                        "PMIX_RANK",
                                        "RANK",
                                        "WORLD_SIZE",
                                        "LOCAL_RANK",
                                        "MASTER_ADDR",
                                        "MASTER_PORT",
                                        "TORCHELASTIC_RUN_ID",
                                        "TORCHELASTIC_USE_AGENT_STORE",
                                        "CUDA_VISIBLE_DEVICES"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
}

TestSuite(comm, .init = leave_launcher);

Test(comm, one_rank_needs_no_mpi_and_changes_nothing)
{
    gf_comm c;
    gf_err err = {0};
    int device = -1;
    int64_t x[2] = {-5, INT64_MAX};
    cr_assert(gf_comm_open(&c, NULL, &err) == GF_OK);
    cr_expect(c.rank == 0 && c.size == 1 && !c.plane);
    cr_expect(c.local_rank == 0 && c.local_size == 1);
    cr_expect(gf_comm_sum(&c, x, 2, &err) == GF_OK);
    cr_expect(gf_comm_broadcast(&c, x, sizeof x, &err) == GF_OK);
    cr_expect(gf_comm_device_open(&c, &err) == GF_OK && !c.nccl);
    cr_expect(gf_comm_sum_device(&c, x, 2, NULL, &err) == GF_OK);
    cr_expect(gf_comm_check(&c, &err) == GF_OK);
    cr_expect(x[0] == -5 && x[1] == INT64_MAX);
    cr_expect(gf_comm_agree(&c, GF_OK, &err) == GF_OK);
    cr_expect(gf_comm_agree(&c, GF_EFIT, &err) == GF_EFIT);
    cr_expect(gf_comm_device(&c, 3, &device, &err) == GF_OK && device == 0);
    cr_expect(gf_comm_device(&c, 0, &device, &err) == GF_EARG && strstr(err.text, "the 0 devices"));
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

static gf_place place(const gf_comm_options *opt)
{
    gf_place p;
    gf_err err = {0};
    cr_expect(gf_place_find(&p, opt, &err) == GF_OK, "%s", err.text);
    return p;
}

static void refuse(const gf_comm_options *opt, const char *text)
{
    gf_place p;
    gf_err err = {0};
    cr_expect(gf_place_find(&p, opt, &err) == GF_EARG, "%s", text);
    cr_expect(strstr(err.text, text), "\"%s\" is not in: %s", text, err.text);
}

static void set_torchrun(const char *rank, const char *size)
{
    setenv("RANK", rank, 1);
    setenv("WORLD_SIZE", size, 1);
    setenv("LOCAL_RANK", "1", 1);
    setenv("MASTER_ADDR", "node7", 1);
    setenv("MASTER_PORT", "29500", 1);
}

Test(comm, nothing_given_is_one_rank)
{
    cr_expect_eq(place(NULL).kind, GF_PLANE_ONE);
    setenv("RANK", "3", 1); /* of another program; nobody said how many */
    cr_expect_eq(place(NULL).kind, GF_PLANE_ONE);
    unsetenv("RANK");
    setenv("WORLD_SIZE", "1", 1);
    cr_expect_eq(place(NULL).kind, GF_PLANE_ONE);
    setenv("RANK", "0", 1); /* one rank meets nobody: no address is needed */
    cr_expect_eq(place(NULL).kind, GF_PLANE_ONE);
}

Test(comm, torchruns_variables)
{
    set_torchrun("5", "8");
    gf_place p = place(NULL);
    cr_expect(p.kind == GF_PLANE_TCP && p.rank == 5 && p.size == 8 && p.local_rank == 1);
    cr_expect(!strcmp(p.host, "node7") && p.port == 29500 && p.timeout_ms == GF_RENDEZVOUS_MS);
    setenv("TORCHELASTIC_USE_AGENT_STORE", "False", 1);
    cr_expect_eq(place(NULL).port, 29500);
    setenv("TORCHELASTIC_USE_AGENT_STORE", "True", 1);
    cr_expect_eq(place(NULL).port, 29501);
}

Test(comm, options_override_variables)
{
    set_torchrun("5", "8");
    gf_place p = place(
        &(gf_comm_options){.rank = 2, .size = 4, .rendezvous = "[::1]:1234", .timeout_ms = 7});
    cr_expect(p.kind == GF_PLANE_TCP && p.rank == 2 && p.size == 4 && p.local_rank == -1);
    cr_expect(!strcmp(p.host, "::1") && p.port == 1234 && p.timeout_ms == 7);
    p = place(&(gf_comm_options){.rank = -1, .rendezvous = "other:1"});
    cr_expect(p.rank == 5 && p.size == 8 && p.local_rank == 1 && !strcmp(p.host, "other"));
    p = place(&(gf_comm_options){.rank = 0, .size = 1});
    cr_expect_eq(p.kind, GF_PLANE_ONE);
}

/* mpirun's variables come before torchrun's, unless torchrun was started by it; options first. */
Test(comm, the_nearest_launcher_counts)
{
    set_torchrun("5", "8");
    setenv("PMIX_RANK", "0", 1);
    cr_expect_eq(place(NULL).kind, GF_PLANE_MPI);
    cr_expect_eq(place(&(gf_comm_options){.rank = 1}).kind, GF_PLANE_TCP);
    setenv("TORCHELASTIC_RUN_ID", "none", 1);
    cr_expect_eq(place(NULL).kind, GF_PLANE_TCP);
}

Test(comm, what_is_incomplete_or_wrong_is_named)
{
    setenv("WORLD_SIZE", "4", 1);
    refuse(NULL, "WORLD_SIZE is 4, but RANK is not set");
    setenv("RANK", "four", 1);
    refuse(NULL, "RANK: \"four\" is not a whole number from 0");
    setenv("RANK", "4", 1);
    refuse(NULL, "rank 4 of 4 ranks: ranks count from 0");
    setenv("RANK", "3", 1);
    refuse(NULL, "--rendezvous HOST:PORT");
    setenv("MASTER_ADDR", "node7", 1);
    refuse(NULL, "--rendezvous HOST:PORT");
    setenv("MASTER_PORT", "70000", 1);
    refuse(NULL, "MASTER_PORT: \"70000\"");
    leave_launcher();
    refuse(&(gf_comm_options){.rank = 1}, "the number of ranks is not known");
    refuse(&(gf_comm_options){.rank = -1, .size = 2}, "which rank this is is not known");
    gf_comm_options o = {.rank = 1, .size = 2};
    static const char *const bad[] = {"host", ":1", "host:", "host:0", "host:x", "::1:5", "[]:5"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        o.rendezvous = bad[i];
        refuse(&o, "--rendezvous");
    }
}

/* The names of machines are not told apart by this test; what they see is. */
Test(comm, processes_that_see_other_devices_differ)
{
    const gf_place all = place(NULL);
    setenv("CUDA_VISIBLE_DEVICES", "0,1", 1);
    const gf_place two = place(NULL);
    cr_expect(all.machine == two.machine && all.view != two.view && all.name[0]);
    cr_expect(two.view == place(NULL).view);
}
