/* test_nccl.c - sums of device memory over ranks, on as many devices: the machine's GPUs, or the
 * test device's (PTXVM_DEVICES=4). Without a device there is only what needs none. */
#include "comm/comm.h"
#include "comm/nccl.h"
#include "support/processes.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LIMIT = 60000, PROMISED = 10000 };

/* What nccl.c declares by itself, against the library's header where there is one. */
#if __has_include(<nccl.h>) && __has_include(<cuda_runtime.h>)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wconversion"
#include <nccl.h>
#pragma GCC diagnostic pop
_Static_assert(ncclSuccess == 0 && ncclRemoteError == 6 && ncclInProgress == 7, "ncclResult_t");
_Static_assert(ncclInt64 == 4 && ncclSum == 0, "types and operations");
_Static_assert(sizeof(ncclUniqueId) == sizeof(gf_nccl_id), "ncclUniqueId");
_Static_assert(offsetof(ncclConfig_t, magic) == 8 && offsetof(ncclConfig_t, version) == 12 &&
                   offsetof(ncclConfig_t, blocking) == 16,
               "ncclConfig_t");
#endif

/* ---- a device -------------------------------------------------------------------------------- */

/* The driver's entry points by name: CUdevice is an int, what is opaque a pointer. */
typedef struct {
    int (*init)(unsigned);
    int (*count)(int *);
    int (*get)(int *, int);
    int (*retain)(void **, int);
    int (*set_current)(void *);
    int (*alloc)(uintptr_t *, size_t);
    int (*to_device)(uintptr_t, const void *, size_t);
    int (*to_host)(void *, uintptr_t, size_t);
    int (*stream_new)(void **, unsigned);
    int (*stream_wait)(void *);
} driver;

static bool open_driver(driver *d)
{
    static const char *const names[] = {
        "cuInit",          "cuDeviceGetCount",   "cuDeviceGet",     "cuDevicePrimaryCtxRetain",
        "cuCtxSetCurrent", "cuMemAlloc_v2",      "cuMemcpyHtoD_v2", "cuMemcpyDtoH_v2",
        "cuStreamCreate",  "cuStreamSynchronize"};
    void *library = dlopen("libcuda.so.1", RTLD_NOW), *found[10];
    _Static_assert(sizeof found == sizeof *d, "one pointer a name");
    if (!library)
        return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!(found[i] = dlsym(library, names[i])))
            return false;
    memcpy(d, found, sizeof *d);
    return d->init(0) == 0;
}

static void count_devices(int i, process *own, void *ctx)
{
    driver d;
    (void)i, (void)ctx;
    if (!open_driver(&d) || d.count(&own->status) != 0)
        own->status = 0;
}

/* In a process of its own: CUDA does not survive a fork. */
static int devices_here(void)
{
    process p[MOST_PROCESSES];
    processes_run(1, count_devices, NULL, LIMIT, p);
    return p[0].code == 0 ? p[0].status : 0;
}

static void need_devices(int n)
{
    const char *must = getenv("GRAFT_REQUIRE_GPU");
    const int here = devices_here();
    if (here >= n)
        return;
    cr_assert(!must || strcmp(must, "1") != 0 || here > 0, "GRAFT_REQUIRE_GPU=1, but no device");
    cr_skip_test("%d devices are needed, %d are here", n, here);
}

typedef struct {
    int size, port;
    void (*work)(gf_comm *c, const driver *d, process *own, gf_err *err);
} team;

/* The device of this rank, current in this thread. */
static bool take_device(const gf_comm *c, const driver *d)
{
    int here = 0, device, handle;
    void *context;
    return !d->count(&here) && gf_comm_device(c, here, &device, NULL) == GF_OK &&
           !d->get(&handle, device) && !d->retain(&context, handle) && !d->set_current(context);
}

static gf_status join(gf_comm *c, const driver *d, const team *t, int rank, gf_err *err)
{
    char place[64];
    snprintf(place, sizeof place, "localhost:%d", t->port);
    const gf_comm_options opt = {
        .rank = rank, .size = t->size, .rendezvous = place, .timeout_ms = 20000};
    TRY(gf_comm_open(c, &opt, err));
    if (!take_device(c, d))
        return gf_fail(err, GF_EDEVICE, "no device for rank %d", rank);
    return gf_comm_device_open(c, err);
}

static void be_rank(int i, process *own, void *ctx)
{
    const team *t = ctx;
    gf_comm c;
    driver d;
    gf_err err = {0};
    if (!open_driver(&d))
        return;
    own->status = (int)join(&c, &d, t, i, &err);
    if (own->status == GF_OK)
        t->work(&c, &d, own, &err);
    gf_comm_close(&c, own->status < 0 ? GF_EDEVICE : (gf_status)own->status);
    snprintf(own->text, sizeof own->text, "%s", err.text);
}

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            gf_fail(err, GF_ESHAPE, "rank %d: line %d: %s", c->rank, __LINE__, #what);             \
            own->status = -1;                                                                      \
            return;                                                                                \
        }                                                                                          \
    } while (0)

static void expect(const process *p, int n, int status, const char *text)
{
    for (int i = 0; i < n; i++) {
        cr_expect(!p[i].late && p[i].code == 0, "process %d ended with %d", i, p[i].code);
        cr_expect_eq(p[i].status, status, "process %d: status %d: %s", i, p[i].status, p[i].text);
        cr_expect(strstr(p[i].text, text), "process %d: \"%s\" is not in: %s", i, text, p[i].text);
    }
}

/* ---- sums ------------------------------------------------------------------------------------ */

/* Several in a row on one stream, larger than one piece of the stand-in; numbers that f64 would
 * round, and sums that wrap. */
static void sums(gf_comm *c, const driver *d, process *own, gf_err *err)
{
    enum { COUNT = (1 << 18) + 5, TIMES = 3 };
    const int64_t n = c->size;
    int64_t *x = malloc(COUNT * sizeof *x);
    uintptr_t at;
    void *stream;
    CHECK(x && d->alloc(&at, COUNT * sizeof *x) == 0 && d->stream_new(&stream, 1) == 0);
    for (int64_t i = 0; i < COUNT; i++)
        x[i] = i * (c->rank + 1) + (1LL << 60);
    CHECK(d->to_device(at, x, COUNT * sizeof *x) == 0);
    for (int k = 0; k < TIMES; k++)
        CHECK(gf_comm_sum_device(c, (void *)at, COUNT, stream, err) == GF_OK);
    CHECK(gf_comm_sum_device(c, NULL, 0, stream, err) == GF_OK);
    CHECK(d->stream_wait(stream) == 0 && gf_comm_check(c, err) == GF_OK);
    CHECK(d->to_host(x, at, COUNT * sizeof *x) == 0);
    for (int64_t i = 0; i < COUNT; i++) {
        uint64_t want = (uint64_t)(i * (n * (n + 1) / 2)) + ((uint64_t)n << 60);
        want *= (uint64_t)(n * n); /* the second and third sum */
        CHECK(x[i] == (int64_t)want);
    }
    CHECK(gf_comm_agree(c, GF_OK, err) == GF_OK);
    free(x);
}

Test(nccl, two_and_four_devices_sum, .timeout = 180)
{
    process p[MOST_PROCESSES];
    need_devices(2);
    const int here = devices_here();
    for (int n = 2; n <= 4 && n <= here; n += 2) {
        team t = {.size = n, .port = free_port(), .work = sums};
        processes_run(n, be_rank, &t, LIMIT, p);
        expect(p, n, GF_OK, "");
    }
}

/* ---- a rank that dies ------------------------------------------------------------------------ */

/* The last rank is killed while the others wait for the device, which waits for it. */
static void die_in_a_sum(gf_comm *c, const driver *d, process *own, gf_err *err)
{
    enum { COUNT = 1000 };
    uintptr_t at;
    void *stream;
    int64_t zeros[COUNT] = {0};
    CHECK(d->alloc(&at, sizeof zeros) == 0 && d->stream_new(&stream, 1) == 0);
    CHECK(d->to_device(at, zeros, sizeof zeros) == 0);
    CHECK(gf_comm_sum_device(c, (void *)at, COUNT, stream, err) == GF_OK);
    CHECK(d->stream_wait(stream) == 0 && gf_comm_agree(c, GF_OK, err) == GF_OK);
    if (c->rank == c->size - 1) {
        sleep_ms(500);
        raise(SIGKILL);
    }
    const int64_t start = clock_ms();
    CHECK(gf_comm_sum_device(c, (void *)at, COUNT, stream, err) == GF_OK);
    d->stream_wait(stream); /* an abort lets it go; what is in the memory means nothing */
    own->status = (int)gf_comm_check(c, err);
    own->ms = clock_ms() - start;
    if (own->status == GF_EPEER &&
        gf_comm_sum_device(c, (void *)at, COUNT, stream, NULL) != GF_EPEER)
        own->status = -1; /* and no later sum is begun */
}

Test(nccl, a_killed_rank_frees_those_that_wait_for_the_device, .timeout = 180)
{
    process p[MOST_PROCESSES];
    need_devices(2);
    const int n = devices_here() >= 3 ? 3 : 2;
    team t = {.size = n, .port = free_port(), .work = die_in_a_sum};
    processes_run(n, be_rank, &t, LIMIT, p);
    char text[32];
    snprintf(text, sizeof text, "rank %d of %d, on ", n - 1, n);
    expect(p, n - 1, GF_EPEER, text);
    cr_expect_eq(p[n - 1].code, -SIGKILL);
    for (int i = 0; i < n - 1; i++)
        cr_expect(p[i].ms < PROMISED, "%lld ms", (long long)p[i].ms);
}

/* The last rank is killed after it got the id and before it joined: the others wait inside NCCL. */
static void die_before_joining(int i, process *own, void *ctx)
{
    const team *t = ctx;
    gf_comm c;
    driver d;
    gf_err err = {0};
    gf_nccl *n = NULL;
    gf_nccl_id id;
    char place[64];
    snprintf(place, sizeof place, "localhost:%d", t->port);
    const gf_comm_options opt = {
        .rank = i, .size = t->size, .rendezvous = place, .timeout_ms = 20000};
    if (!open_driver(&d) || gf_comm_open(&c, &opt, &err) != GF_OK || !take_device(&c, &d) ||
        gf_nccl_load(&n, &err) != GF_OK || (i == 0 && gf_nccl_new_id(n, &id, &err) != GF_OK) ||
        gf_comm_broadcast(&c, &id, sizeof id, &err) != GF_OK)
        return;
    if (i == t->size - 1)
        raise(SIGKILL);
    const int64_t start = clock_ms();
    own->status = (int)gf_nccl_join(n, &id, i, t->size, c.loss, &err);
    own->ms = clock_ms() - start;
    gf_nccl_close(n, c.loss, false);
    gf_comm_close(&c, (gf_status)own->status);
    snprintf(own->text, sizeof own->text, "%s", err.text);
}

Test(nccl, a_rank_killed_before_it_joins_frees_the_others, .timeout = 180)
{
    process p[MOST_PROCESSES];
    need_devices(2);
    const int n = devices_here() >= 3 ? 3 : 2;
    team t = {.size = n, .port = free_port()};
    processes_run(n, die_before_joining, &t, LIMIT, p);
    char text[32];
    snprintf(text, sizeof text, "rank %d of %d, on ", n - 1, n);
    expect(p, n - 1, GF_EPEER, text);
    for (int i = 0; i < n - 1; i++)
        cr_expect(p[i].ms < PROMISED, "%lld ms", (long long)p[i].ms);
}

/* ---- without it ------------------------------------------------------------------------------ */

Test(nccl, a_sum_before_it_is_open_is_refused)
{
    static const char plane;
    gf_err err = {0};
    int64_t x = 1;
    gf_comm c = {.size = 2, .plane = (const void *)&plane};
    cr_expect_eq(gf_comm_sum_device(&c, &x, 1, NULL, &err), GF_EDEVICE);
    cr_expect(strstr(err.text, "gf_comm_device_open"));
}

/* Where it is, its version is known; where it is not, how to get it. */
Test(nccl, the_library_is_found_or_asked_for)
{
    gf_nccl *n;
    gf_err err = {0};
    const gf_status st = gf_nccl_load(&n, &err);
    if (st == GF_OK) {
        cr_expect(gf_nccl_version(n) >= 21400);
        gf_nccl_close(n, NULL, true);
    } else {
        cr_expect_eq(st, GF_EMISSING, "%s", err.text);
        cr_expect(strstr(err.text, "libnccl2") || strstr(err.text, "2.14"), "%s", err.text);
    }
}
