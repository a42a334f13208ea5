/* test_standin_nccl.c - the stand-in for libnccl: collectives between processes, and their end. */
#include "standin_test.h"

#include <nccl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#define BIG 300000 /* int64: several pieces */

/* Assertions do not leave a forked process: there a failure is its exit status. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

typedef struct {
    ncclUniqueId id;
    int rank, ranks;
    CUstream stream;
    ncclComm_t comm;
} member;

static void join(member *m, ncclConfig_t *config)
{
    CHECK(cuInit(0) == CUDA_SUCCESS);
    CUcontext context;
    CHECK(cuDevicePrimaryCtxRetain(&context, m->rank) == CUDA_SUCCESS);
    CHECK(cuCtxSetCurrent(context) == CUDA_SUCCESS);
    CHECK(cuStreamCreate(&m->stream, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS);
    ncclResult_t result = ncclCommInitRankConfig(&m->comm, m->ranks, m->id, m->rank, config);
    if (config && !config->blocking) {
        CHECK(result == ncclInProgress);
        while (result == ncclInProgress) {
            CHECK(ncclCommGetAsyncError(m->comm, &result) == ncclSuccess);
            (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        }
    }
    CHECK(result == ncclSuccess);
}

/* Runs f as every rank, each in a process of its own with a device of its own; how many exited
 * with 0. A rank that f ends by a signal counts as none. */
static int run_ranks(int ranks, void (*f)(member *))
{
    member m = {.ranks = ranks};
    pid_t children[16];
    int good = 0;
    (void)setenv("PTXVM_DEVICES", "8", 1);
    cr_assert_eq(ncclGetUniqueId(&m.id), ncclSuccess);
    (void)fflush(NULL);
    for (int r = 0; r < ranks; r++)
        if ((children[r] = fork()) == 0) {
            m.rank = r;
            f(&m);
            _exit(0);
        }
    for (int r = 0; r < ranks; r++) {
        int status;
        cr_assert_eq(waitpid(children[r], &status, 0), children[r]);
        good += WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    return good;
}

static CUdeviceptr upload(const void *from, size_t bytes)
{
    CUdeviceptr p;
    CHECK(cuMemAlloc(&p, bytes) == CUDA_SUCCESS);
    CHECK(cuMemcpyHtoD(p, from, bytes) == CUDA_SUCCESS);
    return p;
}

/* ---- collectives
 * ---------------------------------------------------------------------------------- */
static void sums(member *m)
{
    join(m, NULL);
    int64_t *x = malloc(BIG * sizeof *x);
    float f[3] = {(float)m->rank, -1.5f, 1e30f};
    uint32_t u[2] = {(uint32_t)m->rank, 0xffffffffu - (uint32_t)m->rank};
    for (int64_t i = 0; i < BIG; i++)
        x[i] = (i - 1000) * (m->rank + 1) + ((int64_t)1 << 62);
    CUdeviceptr a = upload(x, BIG * sizeof *x), b = upload(f, sizeof f), c = upload(u, sizeof u);
    CUdeviceptr sum = upload(x, BIG * sizeof *x);
    CHECK(ncclAllReduce((void *)a, (void *)sum, BIG, ncclInt64, ncclSum, m->comm, m->stream) ==
          ncclSuccess);
    CHECK(ncclAllReduce((void *)b, (void *)b, 3, ncclFloat32, ncclSum, m->comm, m->stream) ==
          ncclSuccess);
    CHECK(ncclAllReduce((void *)c, (void *)c, 2, ncclUint32, ncclMax, m->comm, m->stream) ==
          ncclSuccess);
    CHECK(cuStreamSynchronize(m->stream) == CUDA_SUCCESS);
    int64_t ranks = m->ranks, weight = ranks * (ranks + 1) / 2;
    CHECK(cuMemcpyDtoH(x, sum, BIG * sizeof *x) == CUDA_SUCCESS);
    CHECK(cuMemcpyDtoH(f, b, sizeof f) == CUDA_SUCCESS);
    CHECK(cuMemcpyDtoH(u, c, sizeof u) == CUDA_SUCCESS);
    for (int64_t i = 0; i < BIG; i++) /* two and more of 2^62 wrap */
        CHECK((uint64_t)x[i] == (uint64_t)((i - 1000) * weight) + ((uint64_t)ranks << 62));
    CHECK(f[0] == (float)(weight - ranks) && f[1] == -1.5f * (float)ranks);
    CHECK(u[0] == (uint32_t)ranks - 1 && u[1] == 0xffffffffu);
    CHECK(ncclCommDestroy(m->comm) == ncclSuccess);
    free(x);
}

Test(standin_nccl, sums_over_ranks)
{
    for (int ranks = 1; ranks <= 4; ranks++)
        cr_assert_eq(run_ranks(ranks, sums), ranks, "%d ranks", ranks);
}

static void spread(member *m)
{
    join(m, NULL);
    unsigned char mine[5], all[5 * 16];
    for (int i = 0; i < 5; i++)
        mine[i] = (unsigned char)(10 * m->rank + i);
    memset(all, 99, sizeof all);
    CUdeviceptr a = upload(mine, sizeof mine), b = upload(all, sizeof all);
    CHECK(ncclAllGather((void *)a, (void *)b, 5, ncclUint8, m->comm, m->stream) == ncclSuccess);
    CHECK(ncclBroadcast((void *)a, (void *)a, 5, ncclUint8, 1, m->comm, m->stream) == ncclSuccess);
    CHECK(ncclAllGather((void *)a, (void *)a, 0, ncclUint8, m->comm, m->stream) == ncclSuccess);
    CHECK(cuStreamSynchronize(m->stream) == CUDA_SUCCESS);
    CHECK(cuMemcpyDtoH(mine, a, sizeof mine) == CUDA_SUCCESS);
    CHECK(cuMemcpyDtoH(all, b, sizeof all) == CUDA_SUCCESS);
    for (int i = 0; i < 5; i++) {
        CHECK(mine[i] == 10 + i);
        for (int r = 0; r < m->ranks; r++)
            CHECK(all[5 * r + i] == 10 * r + i);
    }
    CHECK(all[5 * m->ranks] == 99);
    CHECK(ncclCommDestroy(m->comm) == ncclSuccess);
}

Test(standin_nccl, gathers_and_broadcasts)
{
    cr_assert_eq(run_ranks(2, spread), 2);
    cr_assert_eq(run_ranks(4, spread), 4);
}

/* The sum is enqueued: it takes what the stream's earlier work wrote, and is replayed in graphs. */
static void captured(member *m)
{
    join(m, NULL);
    int64_t x[4] = {m->rank, 1, 2, 3};
    CUdeviceptr p = upload(x, sizeof x), q = upload(x, sizeof x);
    CUgraph g;
    CUgraphExec exec;
    CHECK(cuStreamBeginCapture(m->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL) == CUDA_SUCCESS);
    CHECK(cuMemcpyDtoDAsync(q, p, sizeof x, m->stream) == CUDA_SUCCESS);
    CHECK(ncclAllReduce((void *)q, (void *)q, 4, ncclInt64, ncclSum, m->comm, m->stream) ==
          ncclSuccess);
    CHECK(cuStreamEndCapture(m->stream, &g) == CUDA_SUCCESS);
    CHECK(cuGraphInstantiate(&exec, g, 0) == CUDA_SUCCESS);
    for (int64_t i = 1; i < 4; i++) {
        x[1] = i;
        CHECK(cuMemcpyHtoDAsync(p, x, sizeof x, m->stream) == CUDA_SUCCESS);
        CHECK(cuGraphLaunch(exec, m->stream) == CUDA_SUCCESS);
        int64_t got[4];
        CHECK(cuMemcpyDtoHAsync(got, q, sizeof got, m->stream) == CUDA_SUCCESS);
        CHECK(cuStreamSynchronize(m->stream) == CUDA_SUCCESS);
        CHECK(got[0] == m->ranks * (m->ranks - 1) / 2 && got[1] == i * m->ranks);
    }
    CHECK(ncclCommDestroy(m->comm) == ncclSuccess);
}

Test(standin_nccl, collectives_are_captured)
{
    cr_assert_eq(run_ranks(3, captured), 3);
}

/* A communicator that does not block: every call is in progress until it was asked about. */
static void polled(member *m)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    join(m, &config);
    int64_t x = m->rank + 1;
    CUdeviceptr p = upload(&x, sizeof x);
    ncclResult_t result;
    for (int i = 0; i < 2; i++) {
        CHECK(ncclAllReduce((void *)p, (void *)p, 1, ncclInt64, ncclSum, m->comm, m->stream) ==
              ncclInProgress);
        CHECK(ncclAllReduce((void *)p, (void *)p, 1, ncclInt64, ncclSum, m->comm, m->stream) ==
              ncclInvalidUsage); /* not asked yet */
        CHECK(ncclCommGetAsyncError(m->comm, &result) == ncclSuccess && result == ncclSuccess);
    }
    CHECK(cuStreamSynchronize(m->stream) == CUDA_SUCCESS);
    CHECK(cuMemcpyDtoH(&x, p, sizeof x) == CUDA_SUCCESS && x == 3 * 2);
    CHECK(ncclCommDestroy(m->comm) == ncclSuccess);
}

Test(standin_nccl, a_communicator_may_not_block)
{
    cr_assert_eq(run_ranks(2, polled), 2);
}

/* ---- misuse
 * ------------------------------------------------------------------------------------------ */
static void different_counts(member *m)
{
    join(m, NULL);
    int64_t x[2] = {0, 0};
    CUdeviceptr p = upload(x, sizeof x);
    CHECK(ncclAllReduce((void *)p, (void *)p, (size_t)(1 + m->rank), ncclInt64, ncclSum, m->comm,
                        m->stream) == ncclSuccess);
    CHECK(cuStreamSynchronize(m->stream) == CUDA_ERROR_LAUNCH_FAILED);
}

static void same_device(member *m)
{
    int rank = m->rank;
    CUcontext context;
    CHECK(cuInit(0) == CUDA_SUCCESS);
    CHECK(cuDevicePrimaryCtxRetain(&context, 3) == CUDA_SUCCESS);
    CHECK(cuCtxSetCurrent(context) == CUDA_SUCCESS);
    CHECK(ncclCommInitRank(&m->comm, m->ranks, m->id, rank) == ncclInvalidUsage);
    CHECK(strstr(ncclGetLastError(m->comm), "same device"));
}

static void bad_arguments(member *m)
{
    join(m, NULL);
    int64_t x = 0;
    CUdeviceptr p = upload(&x, sizeof x);
    ncclResult_t result;
    CHECK(ncclAllReduce((void *)p, (void *)p, 1, ncclInt8, ncclSum, m->comm, m->stream) ==
          ncclInvalidArgument);
    CHECK(ncclAllReduce((void *)p, (void *)p, 1, ncclInt64, ncclAvg, m->comm, m->stream) ==
          ncclInvalidArgument);
    CHECK(ncclBroadcast((void *)p, (void *)p, 1, ncclInt64, 7, m->comm, m->stream) ==
          ncclInvalidArgument);
    CHECK(ncclCommDestroy(m->comm) == ncclSuccess);
    CHECK(ncclCommGetAsyncError(m->comm, &result) == ncclInvalidArgument);
}

Test(standin_nccl, ranks_have_to_agree)
{
    cr_assert_eq(run_ranks(2, different_counts), 2);
}

Test(standin_nccl, ranks_have_devices_of_their_own)
{
    cr_assert_eq(run_ranks(2, same_device), 2);
}

Test(standin_nccl, arguments_are_checked)
{
    cr_assert_eq(run_ranks(2, bad_arguments), 2);
}

/* ---- ranks that die
 * ------------------------------------------------------------------------------------ */
static atomic_bool aborting;

static void *watch(void *comm)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    aborting = true;
    CHECK(ncclCommAbort(comm) == ncclSuccess);
    return NULL;
}

/* Rank 1 dies before the second sum. The others wait until another thread aborts: their streams
 * come free, and what was to be summed holds nothing of use. */
static void lose_a_rank(member *m)
{
    join(m, NULL);
    int64_t x = 5;
    CUdeviceptr p = upload(&x, sizeof x);
    CHECK(ncclAllReduce((void *)p, (void *)p, 1, ncclInt64, ncclSum, m->comm, m->stream) ==
          ncclSuccess);
    CHECK(cuStreamSynchronize(m->stream) == CUDA_SUCCESS);
    if (m->rank == 1)
        (void)raise(SIGKILL);
    CHECK(ncclAllReduce((void *)p, (void *)p, 1, ncclInt64, ncclSum, m->comm, m->stream) ==
          ncclSuccess);
    for (int i = 0; i < 3; i++)
        CHECK(cuStreamQuery(m->stream) == CUDA_ERROR_NOT_READY);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, watch, m->comm) == 0);
    CHECK(cuStreamSynchronize(m->stream) == CUDA_SUCCESS);
    CHECK(aborting);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(cuMemcpyDtoH(&x, p, sizeof x) == CUDA_SUCCESS && x == -1);
    CHECK(ncclAllReduce((void *)p, (void *)p, 1, ncclInt64, ncclSum, m->comm, m->stream) ==
          ncclInvalidArgument);
}

Test(standin_nccl, a_lost_rank_blocks_the_others_until_an_abort)
{
    cr_assert_eq(run_ranks(3, lose_a_rank), 2);
}

/* A rank that never comes: joining is in progress, and can be given up. */
static void nobody_comes(member *m)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    CUcontext context;
    ncclResult_t result;
    config.blocking = 0;
    if (m->rank == 1)
        return;
    CHECK(cuInit(0) == CUDA_SUCCESS);
    CHECK(cuDevicePrimaryCtxRetain(&context, 0) == CUDA_SUCCESS);
    CHECK(cuCtxSetCurrent(context) == CUDA_SUCCESS);
    CHECK(ncclCommInitRankConfig(&m->comm, 2, m->id, 0, &config) == ncclInProgress);
    for (int i = 0; i < 3; i++)
        CHECK(ncclCommGetAsyncError(m->comm, &result) == ncclSuccess && result == ncclInProgress);
    CHECK(ncclCommAbort(m->comm) == ncclSuccess);
}

Test(standin_nccl, joining_can_be_given_up)
{
    cr_assert_eq(run_ranks(2, nobody_comes), 2);
}
