/* tcp_join.c - the side of the rendezvous of every rank but 0: comes to rank 0, perhaps before it
 * is there, says who it is and waits for the start. */
#include "comm/tcp.h"

#include <stdio.h>
#include <string.h>

enum {
    PAUSE_MS = 100,    /* between attempts at first; twice that each time, up to */
    PAUSE_MOST = 1000, /* this, so that thousands of ranks do not keep rank 0 from starting */
    EXTRA_MS = 10000, /* rank 0 began to wait later than this one, and says itself who is missing */
    TRIES = 5,        /* for the second connection, right after the first */
};

static gf_tcp_end send_hello(int fd, const gf_place *p, uint32_t kind, uint64_t session,
                             int64_t until)
{
    const gf_tcp_wait wait = {.until = until, .event = -1};
    gf_tcp_hello h = {.magic = GF_TCP_MAGIC,
                      .kind = kind,
                      .rank = p->rank,
                      .size = p->size,
                      .local_rank = p->local_rank,
                      .session = session,
                      .machine = p->machine,
                      .view = p->view};
    snprintf(h.version, sizeof h.version, "%s", GRAFT_VERSION);
    memcpy(h.name, p->name, sizeof h.name);
    return gf_tcp_send(fd, &h, sizeof h, &wait);
}

/* An answer of rank 0: of the kind wanted, or its refusal. *end says whether one came at all. */
static gf_status take_answer(int fd, const gf_place *p, uint32_t want, gf_tcp_answer *a,
                             int64_t until, gf_tcp_end *end, gf_err *err)
{
    const gf_tcp_wait wait = {.until = until, .event = -1};
    *end = gf_tcp_recv(fd, a, sizeof a->magic, &wait);
    if (*end != GF_TCP_DONE)
        return GF_OK;
    if (a->magic != GF_TCP_MAGIC)
        return gf_fail(err, GF_EARG,
                       "rank %d: what answers at %s:%d is not graft: is --rendezvous (or "
                       "MASTER_PORT) another program's port?",
                       p->rank, p->host, p->port);
    *end = gf_tcp_recv(fd, (char *)a + sizeof a->magic, sizeof *a - sizeof a->magic, &wait);
    if (*end != GF_TCP_DONE)
        return GF_OK;
    a->text[sizeof a->text - 1] = 0;
    if (a->kind == GF_TCP_REFUSED && a->status > GF_OK && a->status <= GF_EINTERRUPT)
        return gf_fail(err, (gf_status)a->status, "%s", a->text);
    if (a->kind != want)
        return gf_fail(err, GF_EPEER,
                       "rank %d: rank 0 at %s:%d gives an answer that makes no sense", p->rank,
                       p->host, p->port);
    return GF_OK;
}

/* One attempt at the data connection. GF_OK with l->peer[0].data < 0: rank 0 is not there yet, as
 * `why` says. */
static gf_status come(gf_tcp_link *l, const gf_place *p, gf_tcp_answer *a, int64_t until,
                      char why[128], gf_err *err)
{
    int *fd = &l->peer[0].data;
    gf_tcp_end end = gf_tcp_connect(fd, p, until, why);
    gf_status st = GF_OK;
    if (end != GF_TCP_DONE)
        return GF_OK;
    end = send_hello(*fd, p, GF_TCP_DATA, 0, until);
    if (end == GF_TCP_DONE)
        st = take_answer(*fd, p, GF_TCP_WELCOME, a, until, &end, err);
    if (st == GF_OK && end != GF_TCP_DONE) {
        snprintf(why, 128, "it gives no answer");
        gf_tcp_close(fd);
    }
    return st;
}

/* The second connection. Without it rank 0 ended, or refused the run: that answer is there. */
static void come_again(gf_tcp_link *l, const gf_place *p, uint64_t session, int64_t until)
{
    char why[128];
    int *fd = &l->peer[0].watch;
    for (int i = 0; i < TRIES; i++) {
        if (gf_tcp_connect(fd, p, until, why) == GF_TCP_DONE &&
            send_hello(*fd, p, GF_TCP_WATCH, session, until) == GF_TCP_DONE)
            return;
        gf_tcp_close(fd);
        gf_tcp_sleep(PAUSE_MS);
    }
}

static gf_status lost_rank_0(const gf_place *p, gf_err *err)
{
    return gf_fail(err, GF_EPEER,
                   "rank %d: rank 0 at %s:%d ended before all ranks were there; see what it said",
                   p->rank, p->host, p->port);
}

gf_status gf_tcp_join(gf_tcp_link *l, const gf_place *p, gf_tcp_answer *own, gf_err *err)
{
    int64_t until = gf_tcp_now() + p->timeout_ms;
    gf_tcp_peer *peer = &l->peer[0];
    gf_tcp_end end;
    char why[128] = "it does not answer";
    int pause = PAUSE_MS;
    for (;;) {
        TRY(come(l, p, own, until, why, err));
        if (peer->data >= 0)
            break;
        if (gf_tcp_now() + pause >= until)
            return gf_fail(err, GF_EPEER,
                           "rank %d: rank 0 was not to be found at %s:%d within %g s (%s): start "
                           "rank 0 there, or correct --rendezvous",
                           p->rank, p->host, p->port, p->timeout_ms / 1e3, why);
        gf_tcp_sleep(pause);
        pause = 2 * pause < PAUSE_MOST ? 2 * pause : PAUSE_MOST;
    }
    until = gf_tcp_now() + p->timeout_ms + EXTRA_MS;
    snprintf(peer->name, sizeof peer->name, "%.63s", p->host);
    come_again(l, p, own->session, until);
    TRY(take_answer(peer->data, p, GF_TCP_START, own, until, &end, err));
    return end == GF_TCP_DONE && peer->watch >= 0 ? GF_OK : lost_rank_0(p, err);
}
