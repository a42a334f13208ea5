/* test_tcp.c - ranks over TCP in several processes on the loopback: what they compute, what they
 * say when they do not find each other, and what they say when one of them dies. */
#include "comm/comm.h"
#include "comm/tcp.h"
#include "support/processes.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Of everything here, far more than it takes. The watch promises 10 s. */
enum { LIMIT = 20000, PROMISED = 10000 };

/* A launcher of the machine that runs the tests is none of theirs. */
static void forget_launchers(void)
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

TestSuite(tcp, .init = forget_launchers, .timeout = 120);

/* What the processes of a test know. */
typedef struct {
    int size, port;
    int rank_of[MOST_PROCESSES]; /* the rank that process i is; -1: none */
    int size_of[MOST_PROCESSES]; /* 0: `size` */
    int timeout_ms;
    void (*work)(gf_comm *c, process *own, gf_err *err); /* once they are together */
} team;

static team team_of(int size, void (*work)(gf_comm *c, process *own, gf_err *err))
{
    team t = {.size = size, .port = free_port(), .timeout_ms = 10000, .work = work};
    for (int i = 0; i < MOST_PROCESSES; i++)
        t.rank_of[i] = i;
    return t;
}

static gf_status join(gf_comm *c, const team *t, int i, gf_err *err)
{
    char place[64];
    snprintf(place, sizeof place, "localhost:%d", t->port);
    const gf_comm_options opt = {.rank = t->rank_of[i],
                                 .size = t->size_of[i] ? t->size_of[i] : t->size,
                                 .rendezvous = place,
                                 .timeout_ms = t->timeout_ms};
    return gf_comm_open(c, &opt, err);
}

static void be_rank(int i, process *own, void *ctx)
{
    const team *t = ctx;
    const int64_t start = clock_ms();
    gf_comm c;
    gf_err err = {0};
    own->status = (int)join(&c, t, i, &err);
    if (own->status == GF_OK && t->work) {
        t->work(&c, own, &err);
        gf_comm_close(&c, (gf_status)own->status);
    } else if (own->status == GF_OK) {
        gf_comm_close(&c, GF_OK);
    }
    if (err.text[0])
        snprintf(own->text, sizeof own->text, "%s", err.text);
    if (!own->ms)
        own->ms = clock_ms() - start;
}

/* A check inside a rank. */
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
        cr_expect(!p[i].late, "process %d did not end", i);
        cr_expect_eq(p[i].status, status, "process %d: status %d: %s", i, p[i].status, p[i].text);
        cr_expect(strstr(p[i].text, text), "process %d: \"%s\" is not in: %s", i, text, p[i].text);
    }
}

/* ---- together -------------------------------------------------------------------------------- */

/* More than one chunk, a number that f64 would round, a sum that wraps, nothing at all. */
static void sums(gf_comm *c, process *own, gf_err *err)
{
    enum { COUNT = 3 * (1 << 18) + 7 }; /* one and a half chunks of the plane */
    const int64_t n = c->size;
    int64_t *x = malloc(COUNT * sizeof *x), wrap = INT64_MAX;
    CHECK(x);
    for (int64_t i = 0; i < COUNT; i++)
        x[i] = i * (c->rank + 1) + (1LL << 60);
    CHECK(gf_comm_sum(c, x, COUNT, err) == GF_OK);
    for (int64_t i = 0; i < COUNT; i++)
        CHECK(x[i] == i * (n * (n + 1) / 2) + (int64_t)((uint64_t)n << 60));
    CHECK(gf_comm_sum(c, &wrap, 1, err) == GF_OK);
    CHECK(wrap == (int64_t)((uint64_t)INT64_MAX * (uint64_t)n));
    CHECK(gf_comm_sum(c, NULL, 0, err) == GF_OK);
    free(x);
}

static void broadcasts(gf_comm *c, process *own, gf_err *err)
{
    enum { BYTES = 9 * (1 << 20) + 5 }; /* more than a socket holds */
    char *x = calloc(BYTES, 1), one = c->rank ? 0 : 'a';
    CHECK(x);
    if (c->rank == 0)
        memset(x, 'r', BYTES);
    CHECK(gf_comm_broadcast(c, x, BYTES, err) == GF_OK);
    CHECK(x[0] == 'r' && !memcmp(x, x + 1, BYTES - 1));
    CHECK(gf_comm_broadcast(c, &one, 1, err) == GF_OK && one == 'a');
    free(x);
}

static void everything(gf_comm *c, process *own, gf_err *err)
{
    CHECK(c->local_rank == c->rank && c->local_size == c->size);
    CHECK(c->device_rank == c->rank && c->device_ranks == c->size);
    sums(c, own, err);
    if (own->status == GF_OK)
        broadcasts(c, own, err);
    CHECK(own->status == GF_OK);
    CHECK(gf_comm_agree(c, GF_OK, err) == GF_OK && !err->text[0]);
    CHECK(gf_comm_check(c, err) == GF_OK);
    const gf_status mine = c->rank == 1 ? GF_EINPUT : c->rank ? GF_EARG : GF_OK;
    if (mine != GF_OK)
        gf_fail(err, mine, "rank 1's own text, or a text of rank %d", c->rank);
    CHECK(gf_comm_agree(c, mine, err) == GF_EINPUT);
    CHECK(strstr(err->text, "rank 1"));
}

Test(tcp, two_to_four_ranks_compute_together)
{
    process p[MOST_PROCESSES];
    for (int n = 2; n <= 4; n++) {
        team t = team_of(n, everything);
        processes_run(n, be_rank, &t, LIMIT, p);
        expect(p, n, GF_OK, "rank 1");
    }
}

static void be_late(int i, process *own, void *ctx)
{
    sleep_ms(((const team *)ctx)->rank_of[i] == 0 ? 600 : 0);
    be_rank(i, own, ctx);
}

Test(tcp, rank_0_may_come_last)
{
    process p[MOST_PROCESSES];
    team t = team_of(3, everything);
    processes_run(3, be_late, &t, LIMIT, p);
    expect(p, 3, GF_OK, "rank 1");
}

/* Who is done may leave while another still works. */
static void leave_early(gf_comm *c, process *own, gf_err *err)
{
    CHECK(gf_comm_agree(c, GF_OK, err) == GF_OK);
    if (c->rank == 1)
        return;
    sleep_ms(300);
    CHECK(gf_comm_check(c, err) == GF_OK);
}

Test(tcp, leaving_is_no_loss)
{
    process p[MOST_PROCESSES];
    team t = team_of(3, leave_early);
    processes_run(3, be_rank, &t, LIMIT, p);
    expect(p, 3, GF_OK, "");
}

static void differ(gf_comm *c, process *own, gf_err *err)
{
    int64_t x[3] = {0};
    if (c->rank == 1)
        own->status = (int)gf_comm_broadcast(c, x, 8, err);
    else
        own->status = (int)gf_comm_sum(c, x, c->rank == 0 ? 3 : 2, err);
}

Test(tcp, ranks_that_call_different_things_are_told_so)
{
    process p[MOST_PROCESSES];
    team t = team_of(2, differ);
    processes_run(2, be_rank, &t, LIMIT, p);
    expect(p, 2, GF_EPEER, "rank 1 is at another point");
    t = team_of(3, differ);
    processes_run(3, be_rank, &t, LIMIT, p);
    expect(p, 3, GF_EPEER, "is at another point");
}

/* ---- devices --------------------------------------------------------------------------------- */

/* Ranks 0 and 1 see one device each, as some schedulers arrange it; 2 and 3 see both of two. */
static void see_devices(int i, process *own, void *ctx)
{
    static const char *const visible[] = {"0", "1", "2,3", "2,3"};
    setenv("CUDA_VISIBLE_DEVICES", visible[i], 1);
    be_rank(i, own, ctx);
}

static void pick_device(gf_comm *c, process *own, gf_err *err)
{
    const int devices = c->rank < 2 ? 1 : 2;
    int device = -1;
    CHECK(c->local_rank == c->rank && c->local_size == 4);
    CHECK(gf_comm_device(c, devices, &device, err) == GF_OK);
    CHECK(device == (c->rank == 3 ? 1 : 0));
    CHECK(c->rank < 2 || gf_comm_device(c, 1, &device, err) == GF_EARG);
}

Test(tcp, a_rank_takes_a_device_of_those_it_sees)
{
    process p[MOST_PROCESSES];
    team t = team_of(4, pick_device);
    processes_run(4, see_devices, &t, LIMIT, p);
    expect(p, 2, GF_OK, "");
    expect(p + 2, 2, GF_OK, "2 ranks share the 1 device of this machine");
}

/* LOCAL_RANK is believed, whatever the order of the ranks. */
static void be_torchrun(int i, process *own, void *ctx)
{
    const team *t = ctx;
    char text[32];
    snprintf(text, sizeof text, "%d", i);
    setenv("RANK", text, 1);
    snprintf(text, sizeof text, "%d", t->size);
    setenv("WORLD_SIZE", text, 1);
    snprintf(text, sizeof text, "%d", t->size - 1 - i);
    setenv("LOCAL_RANK", text, 1);
    snprintf(text, sizeof text, "%d", t->port);
    setenv("MASTER_PORT", text, 1);
    setenv("MASTER_ADDR", "127.0.0.1", 1);
    gf_comm c;
    gf_err err = {0};
    int device = -1;
    const gf_comm_options opt = {.rank = -1, .timeout_ms = t->timeout_ms};
    own->status = (int)gf_comm_open(&c, &opt, &err);
    if (own->status == GF_OK) {
        own->status = (int)gf_comm_device(&c, t->size, &device, &err);
        if (c.rank != i || c.local_rank != t->size - 1 - i || device != c.local_rank)
            own->status = -1;
        gf_comm_close(&c, GF_OK);
    }
    snprintf(own->text, sizeof own->text, "%s", err.text);
}

Test(tcp, torchruns_variables_are_enough)
{
    process p[MOST_PROCESSES];
    team t = team_of(3, NULL);
    processes_run(3, be_torchrun, &t, LIMIT, p);
    expect(p, 3, GF_OK, "");
}

/* With --rdzv-backend static torchrun's agent has a server of its own on MASTER_PORT. */
Test(tcp, where_torchruns_agent_listens_the_next_port_is_used)
{
    process p[MOST_PROCESSES];
    team t = team_of(2, NULL);
    const int agent = listen_on_port(t.port);
    setenv("TORCHELASTIC_USE_AGENT_STORE", "True", 1);
    processes_run(2, be_torchrun, &t, LIMIT, p);
    expect(p, 2, GF_OK, "");
    close(agent);
}

/* ---- not together ---------------------------------------------------------------------------- */

Test(tcp, a_rank_that_does_not_come_is_named)
{
    process p[MOST_PROCESSES];
    team t = team_of(4, NULL);
    t.timeout_ms = 800;
    t.rank_of[1] = 3;
    processes_run(2, be_rank, &t, LIMIT, p);
    expect(p, 2, GF_EPEER, "ranks 1, 2 of 4 did not come to localhost:");
    expect(p, 2, GF_EPEER, "within 0.8 s");
}

Test(tcp, without_rank_0_the_others_say_so)
{
    process p[MOST_PROCESSES];
    team t = team_of(3, NULL);
    t.timeout_ms = 600;
    t.rank_of[0] = 2;
    processes_run(2, be_rank, &t, LIMIT, p);
    expect(p, 2, GF_EPEER, "rank 0 was not to be found at localhost:");
}

Test(tcp, a_rank_twice_is_told_to_all)
{
    process p[MOST_PROCESSES];
    team t = team_of(3, NULL);
    t.rank_of[2] = 1;
    processes_run(3, be_rank, &t, LIMIT, p);
    expect(p, 3, GF_EARG, "rank 1 was started twice");
}

Test(tcp, another_number_of_ranks_is_told_to_all)
{
    process p[MOST_PROCESSES];
    team t = team_of(3, NULL);
    t.size_of[2] = 4;
    processes_run(3, be_rank, &t, LIMIT, p);
    expect(p, 3, GF_EARG, "--world-size");
    expect(p, 3, GF_EARG, "rank 2 on ");
}

/* What a rank sends first, made by hand. */
static int say_hello(int port, const gf_tcp_hello *h)
{
    int fd;
    for (int i = 0; (fd = connect_to_port(port)) < 0 && i < 500; i++)
        sleep_ms(10);
    if (fd >= 0 && write(fd, h, sizeof *h) != (ssize_t)sizeof *h)
        perror("hello");
    return fd;
}

static void be_another_version(int i, process *own, void *ctx)
{
    const team *t = ctx;
    const gf_tcp_hello h = {
        .magic = GF_TCP_MAGIC, .version = "9.9", .kind = GF_TCP_DATA, .rank = 1, .size = t->size};
    gf_tcp_answer a = {0};
    if (i == 0) {
        be_rank(i, own, ctx);
        return;
    }
    const int fd = say_hello(t->port, &h);
    if (recv(fd, &a, sizeof a, MSG_WAITALL) == (ssize_t)sizeof a && a.kind == GF_TCP_REFUSED)
        own->status = a.status;
    snprintf(own->text, sizeof own->text, "%s", a.text);
}

Test(tcp, another_version_is_told_to_both)
{
    process p[MOST_PROCESSES];
    team t = team_of(2, NULL);
    processes_run(2, be_another_version, &t, LIMIT, p);
    expect(p, 2, GF_EINPUT, "is graft 9.9, rank 0 on ");
}

/* A port scanner, a browser, connections that stay silent (more than are remembered), a half and a
 * senseless hello, a rank that comes and goes. */
static void annoy(const team *t)
{
    static const char browser[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    gf_tcp_hello h = {.magic = GF_TCP_MAGIC, .kind = 77, .rank = 1, .size = t->size};
    snprintf(h.version, sizeof h.version, "%s", GRAFT_VERSION);
    int fd = say_hello(t->port, &h);
    close(fd);
    h.kind = GF_TCP_WATCH;
    close(say_hello(t->port, &h));
    h.kind = GF_TCP_DATA;
    fd = say_hello(t->port, &h); /* rank 1 itself is welcome once this one is gone */
    gf_tcp_answer a;
    if (recv(fd, &a, sizeof a, MSG_WAITALL) != (ssize_t)sizeof a || a.kind != GF_TCP_WELCOME)
        abort();
    close(fd);
    for (int i = 0; i < 100; i++) {
        fd = connect_to_port(t->port);
        if (i % 3 == 0 && write(fd, browser, sizeof browser) < 0)
            perror("browser");
        if (i % 3 == 1 && write(fd, &h, 1 + (size_t)i) < 0)
            perror("half a hello");
    } /* left open: ended with the process */
}

static void be_rank_or_stranger(int i, process *own, void *ctx)
{
    if (i == 3) {
        annoy(ctx);
        sleep_ms(1000);
        return;
    }
    sleep_ms(i ? 500 : 0);
    be_rank(i, own, ctx);
}

Test(tcp, strangers_do_not_disturb)
{
    process p[MOST_PROCESSES];
    team t = team_of(3, everything);
    processes_run(4, be_rank_or_stranger, &t, LIMIT, p);
    expect(p, 3, GF_OK, "rank 1");
    cr_expect_eq(p[3].code, 0);
}

static void be_ssh(int i, process *own, void *ctx)
{
    team *t = ctx;
    if (i == 1) {
        be_rank(i, own, ctx);
        return;
    }
    const int listener = listen_on_port(t->port), fd = accept(listener, NULL, NULL);
    if (write(fd, "SSH-2.0-OpenSSH_9.2\r\n", 21) < 0)
        perror("ssh");
    sleep_ms(200);
}

Test(tcp, another_program_at_the_port_is_recognised)
{
    process p[MOST_PROCESSES];
    team t = team_of(2, NULL);
    processes_run(2, be_ssh, &t, LIMIT, p);
    expect(p + 1, 1, GF_EARG, "is not graft");
}

Test(tcp, a_port_in_use_is_named)
{
    process p[MOST_PROCESSES];
    team t = team_of(2, NULL);
    const int other = listen_on_port(t.port);
    processes_run(1, be_rank, &t, LIMIT, p);
    expect(p, 1, GF_EDEVICE, "cannot listen on port");
    close(other);
}

/* ---- a rank that dies ------------------------------------------------------------------------ */

/* The last rank (rank 0 of a size of 2) is killed in a sum of many chunks, of which it has done a
 * part: the sum that it is in is larger than what sockets hold. */
static void die_in_a_sum(gf_comm *c, process *own, gf_err *err)
{
    enum { COUNT = 1 << 22 };
    const int victim = c->size == 2 ? 0 : c->size - 1;
    int64_t *x = calloc(COUNT, sizeof *x);
    CHECK(x && gf_comm_agree(c, GF_OK, err) == GF_OK);
    if (c->rank == victim) {
        sleep_ms(300);
        raise(SIGKILL);
    }
    const int64_t start = clock_ms();
    own->status = (int)gf_comm_sum(c, x, COUNT, err);
    own->ms = clock_ms() - start;
    if (own->status == GF_EPEER && gf_comm_agree(c, GF_OK, NULL) != GF_EPEER)
        own->status = -1; /* later calls fail too */
}

Test(tcp, a_killed_rank_ends_a_sum_and_is_named)
{
    process p[MOST_PROCESSES];
    team t = team_of(3, die_in_a_sum);
    processes_run(3, be_rank, &t, LIMIT, p);
    expect(p, 2, GF_EPEER, "rank 2 of 3, on ");
    cr_expect_eq(p[2].code, -SIGKILL);
    cr_expect(p[0].ms < PROMISED && p[1].ms < PROMISED);
    t = team_of(2, die_in_a_sum);
    processes_run(2, be_rank, &t, LIMIT, p);
    expect(p + 1, 1, GF_EPEER, "rank 0 of 2, on ");
    cr_expect_eq(p[0].code, -SIGKILL);
    cr_expect(p[1].ms < PROMISED);
}

/* A rank that fails by itself, between calls: the others learn why at once. */
static void fail_alone(gf_comm *c, process *own, gf_err *err)
{
    int64_t x = 1;
    if (c->rank == 1)
        own->status = (int)gf_fail(err, GF_EDEVICE, "the device of rank 1 burns");
    else
        own->status = (int)gf_comm_sum(c, &x, 1, err);
}

Test(tcp, a_rank_that_fails_alone_tells_the_others)
{
    process p[MOST_PROCESSES];
    team t = team_of(3, fail_alone);
    processes_run(3, be_rank, &t, LIMIT, p);
    expect(p, 1, GF_EPEER, "rank 1 of 3 stopped (a device call failed)");
    expect(p + 1, 1, GF_EDEVICE, "burns");
    expect(p + 2, 1, GF_EPEER, "rank 1 of 3 stopped (a device call failed)");
}

static void end_here(void *ctx, const char *text)
{
    process *own = ctx;
    own->status = 7;
    snprintf(own->text, sizeof own->text, "%s", text);
    _exit(7);
}

/* A rank that computes and makes no call is ended from outside. */
static void compute_for_ever(gf_comm *c, process *own, gf_err *err)
{
    gf_comm_on_lost(c, end_here, own);
    CHECK(gf_comm_agree(c, GF_OK, err) == GF_OK);
    if (c->rank == 1)
        raise(SIGKILL);
    for (;;)
        sleep_ms(1000);
}

Test(tcp, a_rank_that_does_not_notice_is_ended)
{
    process p[MOST_PROCESSES];
    team t = team_of(3, compute_for_ever);
    const int64_t start = clock_ms();
    processes_run(3, be_rank, &t, LIMIT, p);
    cr_expect(clock_ms() - start < PROMISED);
    expect(p, 1, 7, "rank 1 of 3, on ");
    expect(p + 2, 1, 7, "rank 1 of 3, on ");
    cr_expect_eq(p[0].code, 7);
    cr_expect_eq(p[2].code, 7);
}
