/* tcp_gather.c - rank 0's side of the rendezvous: waits until both connections of every other rank
 * are there, tells each where it stands, or tells all why the run cannot begin. Connections that
 * are not from a rank (a port scanner, a browser) are closed and forgotten. */
#include "comm/tcp.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum {
    PENDING = 64,     /* connections that have not said who they are; the oldest goes first */
    HELLO_MS = 5000,  /* for a connection to say it */
    LINGER_MS = 3000, /* for ranks that come after the run was refused */
    TELL_MS = 1000,   /* an answer fits into any socket's buffer */
};

typedef struct {
    int fd;
    size_t got;
    int64_t until;
    gf_tcp_hello hello;
} caller;

typedef struct {
    const gf_place *p;
    gf_tcp_link *l;
    int listener;
    uint64_t session;
    caller pending[PENDING];
    int pendings;
    struct pollfd *polls; /* [1 + PENDING + 2 * size] */
    bool *told;           /* [size] ranks that know of the refusal */
    gf_err why;           /* code != GF_OK: refused */
} gathering;

static void answer(int fd, const gf_tcp_answer *a)
{
    const gf_tcp_wait wait = {.until = gf_tcp_now() + TELL_MS, .event = -1};
    gf_tcp_send(fd, a, sizeof *a, &wait); /* if it fails that rank is gone, which is seen later */
}

static void refuse(const gathering *g, int fd)
{
    gf_tcp_answer a = {
        .magic = GF_TCP_MAGIC, .kind = GF_TCP_REFUSED, .status = (int32_t)g->why.code};
    snprintf(a.text, sizeof a.text, "%.511s", g->why.text);
    answer(fd, &a);
}

static void forget(gf_tcp_peer *peer)
{
    gf_tcp_close(&peer->data);
    gf_tcp_close(&peer->watch);
}

/* ---- a hello --------------------------------------------------------------------------------- */

static void check_hello(gathering *g, const gf_tcp_hello *h)
{
    const gf_place *p = g->p;
    if (strncmp(h->version, GRAFT_VERSION, sizeof h->version) != 0)
        gf_fail(&g->why, GF_EINPUT,
                "rank %d on %.63s is graft %.24s, rank 0 on %s is %s: install the same version "
                "everywhere",
                h->rank, h->name, h->version, p->name, GRAFT_VERSION);
    else if (h->size != p->size)
        gf_fail(
            &g->why, GF_EARG,
            "rank %d on %.63s was started as one of %d ranks, rank 0 as one of %d: give all the "
            "same --world-size",
            h->rank, h->name, h->size, p->size);
    else if (h->rank < 0 || h->rank >= p->size)
        gf_fail(&g->why, GF_EARG, "a process on %.63s was started as rank %d of %d", h->name,
                h->rank, p->size);
    else if (h->rank == 0)
        gf_fail(&g->why, GF_EARG, "rank 0 was started twice, on %s and on %.63s", p->name, h->name);
    else if (h->kind == GF_TCP_DATA && g->l->peer[h->rank].data >= 0)
        gf_fail(&g->why, GF_EARG, "rank %d was started twice, on %s and on %.63s", h->rank,
                g->l->peer[h->rank].name, h->name);
}

/* A rank said who it is; the connection becomes the peer's, or is closed. */
static void take_hello(gathering *g, caller *c)
{
    gf_tcp_hello *h = &c->hello;
    h->name[sizeof h->name - 1] = 0;
    if (g->why.code == GF_OK)
        check_hello(g, h);
    if (g->why.code != GF_OK) {
        refuse(g, c->fd);
        if (h->rank >= 0 && h->rank < g->p->size)
            g->told[h->rank] = true;
        gf_tcp_close(&c->fd);
        return;
    }
    gf_tcp_peer *peer = &g->l->peer[h->rank];
    if (h->kind == GF_TCP_DATA) {
        const gf_tcp_answer a = {
            .magic = GF_TCP_MAGIC, .kind = GF_TCP_WELCOME, .session = g->session};
        peer->local_rank = h->local_rank;
        peer->machine = h->machine;
        peer->view = h->view;
        memcpy(peer->name, h->name, sizeof peer->name);
        peer->data = c->fd;
        answer(peer->data, &a);
    } else if (h->kind == GF_TCP_WATCH && h->session == g->session && peer->data >= 0 &&
               peer->watch < 0) {
        peer->watch = c->fd;
    } else {
        gf_tcp_close(&c->fd);
    }
    c->fd = -1;
}

/* Reads what is there; false: nothing more is to come from this connection. */
static bool read_caller(gathering *g, caller *c)
{
    const uint64_t magic = GF_TCP_MAGIC;
    char *const bytes = (char *)&c->hello;
    const ssize_t n = recv(c->fd, bytes + c->got, sizeof c->hello - c->got, 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return true;
    if (n > 0)
        c->got += (size_t)n;
    if (n <= 0 || memcmp(bytes, &magic, c->got < sizeof magic ? c->got : sizeof magic) != 0) {
        gf_tcp_close(&c->fd);
        return false;
    }
    if (c->got < sizeof c->hello)
        return true;
    take_hello(g, c);
    return false;
}

/* ---- connections ----------------------------------------------------------------------------- */

static void drop(gathering *g, int i)
{
    gf_tcp_close(&g->pending[i].fd);
    memmove(&g->pending[i], &g->pending[i + 1], (size_t)(g->pendings - i - 1) * sizeof *g->pending);
    g->pendings--;
}

static void accept_all(gathering *g)
{
    for (int fd; (fd = gf_tcp_accept(g->listener)) >= 0;) {
        if (g->pendings == PENDING)
            drop(g, 0);
        g->pending[g->pendings++] = (caller){.fd = fd, .until = gf_tcp_now() + HELLO_MS};
    }
}

/* A rank that has joined has nothing to say until all are there: it ended, or tries again. */
static void check_joined(gathering *g)
{
    const gf_tcp_wait now = {.until = 0, .event = -1};
    char byte;
    for (int r = 1; r < g->p->size; r++) {
        gf_tcp_peer *peer = &g->l->peer[r];
        if (peer->data >= 0 && gf_tcp_recv(peer->data, &byte, 1, &now) != GF_TCP_LATE)
            forget(peer);
    }
}

static int fill_polls(gathering *g)
{
    int n = 0;
    g->polls[n++] = (struct pollfd){.fd = g->listener, .events = POLLIN};
    for (int i = 0; i < g->pendings; i++)
        g->polls[n++] = (struct pollfd){.fd = g->pending[i].fd, .events = POLLIN};
    for (int r = 1; r < g->p->size; r++)
        if (g->l->peer[r].data >= 0)
            g->polls[n++] = (struct pollfd){.fd = g->l->peer[r].data, .events = POLLIN};
    return n;
}

/* Waits for something to happen, for a second at most, and takes it in. */
static void attend(gathering *g, int64_t until)
{
    enum { LONGEST = 1000 }; /* connections that say nothing are looked after that often */
    const int64_t left = until - gf_tcp_now();
    const int n = fill_polls(g);
    if (left > 0)
        poll(g->polls, (nfds_t)n, left < LONGEST ? (int)left : LONGEST);
    accept_all(g);
    for (int i = 0; i < g->pendings;) {
        const bool more = read_caller(g, &g->pending[i]) && g->pending[i].until > gf_tcp_now();
        if (more)
            i++;
        else
            drop(g, i);
    }
    check_joined(g);
}

static bool all_there(const gathering *g)
{
    for (int r = 1; r < g->p->size; r++)
        if (g->l->peer[r].data < 0 || g->l->peer[r].watch < 0)
            return false;
    return true;
}

/* ---- the outcome ----------------------------------------------------------------------------- */

static void name_missing(gathering *g)
{
    enum { NAMED = 8 };
    char names[160] = "";
    int missing = 0;
    for (int r = 1; r < g->p->size; r++) {
        const size_t used = strlen(names);
        if (g->l->peer[r].data >= 0 && g->l->peer[r].watch >= 0)
            continue;
        if (missing++ < NAMED)
            snprintf(names + used, sizeof names - used, "%s%d", used ? ", " : "", r);
    }
    gf_fail(&g->why, GF_EPEER,
            "rank%s %s%s of %d did not come to %s:%d within %g s: start all ranks together, with "
            "the same --rendezvous, and see what that rank said",
            missing == 1 ? "" : "s", names, missing > NAMED ? ", ..." : "", g->p->size, g->p->host,
            g->p->port, g->p->timeout_ms / 1e3);
}

static bool all_told(const gathering *g)
{
    for (int r = 1; r < g->p->size; r++)
        if (!g->told[r])
            return false;
    return true;
}

/* Every rank gets the same answer, those too that come a little later. */
static void refuse_all(gathering *g)
{
    const int64_t until = gf_tcp_now() + LINGER_MS;
    for (int r = 1; r < g->p->size; r++) {
        gf_tcp_peer *peer = &g->l->peer[r];
        if (peer->data < 0)
            continue;
        refuse(g, peer->data);
        g->told[r] = true;
        forget(peer);
    }
    while (!all_told(g) && gf_tcp_now() < until)
        attend(g, until);
}

/* LOCAL_RANK is believed; otherwise the ranks of a machine are counted in their order. If they do
 * not all see the same devices, those that do are counted among themselves. */
static void place_rank(const gathering *g, int rank, gf_tcp_answer *a)
{
    const gf_tcp_peer *own = &g->l->peer[rank];
    for (int r = 0; r < g->p->size; r++) {
        const gf_tcp_peer *peer = &g->l->peer[r];
        if (peer->machine != own->machine)
            continue;
        a->local_size++;
        a->local_rank += r < rank;
        if (peer->view != own->view)
            continue;
        a->device_ranks++;
        a->device_rank += r < rank;
    }
    if (own->local_rank < 0)
        return;
    a->local_rank = own->local_rank;
    if (a->device_ranks == a->local_size)
        a->device_rank = own->local_rank;
}

static void start_all(gathering *g, gf_tcp_answer *own)
{
    for (int r = 0; r < g->p->size; r++) {
        gf_tcp_answer a = {.magic = GF_TCP_MAGIC, .kind = GF_TCP_START, .session = g->session};
        place_rank(g, r, &a);
        if (r == 0)
            *own = a;
        else
            answer(g->l->peer[r].data, &a);
    }
}

static gf_status gather(gathering *g, gf_tcp_answer *own, gf_err *err)
{
    const int64_t until = gf_tcp_now() + g->p->timeout_ms;
    while (g->why.code == GF_OK && !all_there(g) && gf_tcp_now() < until)
        attend(g, until);
    if (g->why.code == GF_OK && !all_there(g))
        name_missing(g);
    if (g->why.code == GF_OK) {
        start_all(g, own);
        return GF_OK;
    }
    refuse_all(g);
    return gf_fail(err, g->why.code, "%s", g->why.text);
}

/* Rank 0 holds two connections of every rank, and has files of its own to open. */
static gf_status check_descriptors(const gf_place *p, gf_err *err)
{
    struct rlimit most;
    const uint64_t need = 2u * (uint64_t)p->size + PENDING + 256;
    if (getrlimit(RLIMIT_NOFILE, &most) != 0 || most.rlim_cur >= need)
        return GF_OK;
    return gf_fail(err, GF_EARG,
                   "rank 0 of %d needs %llu open files, and may have %llu: raise `ulimit -n`",
                   p->size, (unsigned long long)need, (unsigned long long)most.rlim_cur);
}

gf_status gf_tcp_gather(gf_tcp_link *l, const gf_place *p, gf_tcp_answer *own, gf_err *err)
{
    gathering *g = gf_alloc(1, sizeof *g, err);
    gf_status st = GF_ENOMEM;
    if (!g)
        return st;
    *g = (gathering){.p = p, .l = l, .listener = -1};
    g->polls = gf_alloc((size_t)(1 + PENDING + p->size), sizeof *g->polls, err);
    g->told = gf_alloc((size_t)p->size, sizeof *g->told, err);
    if (!g->polls || !g->told)
        goto out;
    l->peer[0].local_rank = p->local_rank;
    l->peer[0].machine = p->machine;
    l->peer[0].view = p->view;
    if (getrandom(&g->session, sizeof g->session, 0) != sizeof g->session)
        g->session = (uint64_t)gf_tcp_now();
    TRYG(check_descriptors(p, err));
    TRYG(gf_tcp_listen(&g->listener, p, err));
    TRYG(gather(g, own, err));
out:
    while (g->pendings)
        drop(g, 0);
    gf_tcp_close(&g->listener);
    free(g->polls);
    free(g->told);
    free(g);
    return st;
}
