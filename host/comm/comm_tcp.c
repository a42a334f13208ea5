/* comm_tcp.c - sums, broadcasts and agreements over TCP, through rank 0. Every call begins with a
 * meeting: each rank says what it came for, rank 0 answers all. Only then does anything large move,
 * in chunks, rank by rank in their order: whoever sends has a reader. */
#include "comm/tcp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <sys/eventfd.h>

enum {
    CHUNK = 1 << 19, /* int64 that move at once: 4 MiB, far more than a round trip costs */
    BLAME_MS = 3000, /* for the watch to find out who is gone */
    BLAME_STEP = 50,
};

enum { AGREE = 1, SUM = 2, BROADCAST = 3 };
static const char *const names[] = {"?", "to agree", "to sum", "to broadcast"};

#define MEETING_MAGIC 0x676d6666u

/* To rank 0: what this rank came for. From rank 0: the worst status and whose it is; `kind` 0: rank
 * `rank` came for something else. */
typedef struct {
    uint32_t magic, kind;
    uint64_t number, bytes;
    int32_t status, rank;
} meeting;

static gf_tcp_link *link_of(const gf_comm *c)
{
    return c->link;
}

/* The connection to a rank does not work: the watch knows best who is to blame. */
static gf_status blame(gf_tcp_link *l, int rank, gf_err *err)
{
    char text[GF_LOSS_TEXT];
    for (int ms = 0; ms < BLAME_MS; ms += BLAME_STEP) {
        if (gf_loss_get(l->loss, BLAME_STEP, text))
            return gf_fail(err, GF_EPEER, "%s", text);
        if (atomic_load(&l->peer[rank].left))
            return gf_fail(err, GF_EPEER, "rank %d of %d left before the others were done", rank,
                           l->size);
    }
    return gf_fail(err, GF_EPEER, "rank %d: the connection to rank %d broke", l->rank, rank);
}

static gf_status send_to(gf_tcp_link *l, int rank, const void *bytes, size_t n, gf_err *err)
{
    const gf_tcp_wait w = {.until = INT64_MAX, .event = gf_loss_event(l->loss)};
    const gf_tcp_end end = gf_tcp_send(l->peer[rank].data, bytes, n, &w);
    return end == GF_TCP_DONE ? GF_OK : blame(l, rank, err);
}

static gf_status recv_from(gf_tcp_link *l, int rank, void *bytes, size_t n, gf_err *err)
{
    const gf_tcp_wait w = {.until = INT64_MAX, .event = gf_loss_event(l->loss)};
    const gf_tcp_end end = gf_tcp_recv(l->peer[rank].data, bytes, n, &w);
    return end == GF_TCP_DONE ? GF_OK : blame(l, rank, err);
}

/* ---- meetings -------------------------------------------------------------------------------- */

static bool is_same(const meeting *a, const meeting *b)
{
    return a->magic == b->magic && a->kind == b->kind && a->number == b->number &&
           a->bytes == b->bytes;
}

static gf_status differ(gf_comm *c, const meeting *own, int rank, gf_err *err)
{
    const gf_tcp_link *l = c->link;
    c->agreed = true; /* rank 0's answer says it to all */
    return gf_fail(
        err, GF_EPEER,
        "rank %d is at another point of the run than rank 0 (this is rank %d, which came "
        "%s %llu bytes as its call %llu): all ranks need the same options and data",
        rank, l->rank, names[own->kind], (unsigned long long)own->bytes,
        (unsigned long long)own->number);
}

/* Rank 0: hears all, answers all. */
static gf_status hold_meeting(gf_comm *c, meeting *own, gf_err *err)
{
    gf_tcp_link *l = link_of(c);
    meeting all = *own;
    int other = 0;
    for (int r = 1; r < l->size; r++) {
        meeting m;
        TRY(recv_from(l, r, &m, sizeof m, err));
        if (!is_same(&m, own) && !other)
            other = r;
        if (m.status > all.status) {
            all.status = m.status;
            all.rank = r;
        }
    }
    if (other) {
        all.kind = 0;
        all.rank = other;
    }
    for (int r = 1; r < l->size; r++)
        TRY(send_to(l, r, &all, sizeof all, err));
    if (other)
        return differ(c, own, other, err);
    *own = all;
    return GF_OK;
}

/* All ranks are here for the same thing. status and rank become the worst ones. */
static gf_status meet(gf_comm *c, uint32_t kind, size_t bytes, int *status, int *rank, gf_err *err)
{
    gf_tcp_link *l = link_of(c);
    meeting own = {.magic = MEETING_MAGIC,
                   .kind = kind,
                   .number = ++l->meetings,
                   .bytes = bytes,
                   .status = *status,
                   .rank = l->rank};
    if (l->rank == 0) {
        TRY(hold_meeting(c, &own, err));
    } else {
        meeting answer;
        TRY(send_to(l, 0, &own, sizeof own, err));
        TRY(recv_from(l, 0, &answer, sizeof answer, err));
        if (answer.magic == MEETING_MAGIC && answer.kind == 0)
            return differ(c, &own, answer.rank, err);
        if (!is_same(&answer, &own))
            return differ(c, &own, l->rank, err);
        own = answer;
    }
    *status = own.status;
    *rank = own.rank;
    return GF_OK;
}

/* ---- the plane ------------------------------------------------------------------------------- */

/* Wraps as the hardware does; graft's sums stay far from that. */
static void add(int64_t *x, const int64_t *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (int64_t)((uint64_t)x[i] + (uint64_t)y[i]);
}

static gf_status sum_chunk(gf_tcp_link *l, int64_t *x, size_t n, gf_err *err)
{
    const size_t bytes = n * sizeof *x;
    if (l->rank) {
        TRY(send_to(l, 0, x, bytes, err));
        return recv_from(l, 0, x, bytes, err);
    }
    for (int r = 1; r < l->size; r++) {
        TRY(recv_from(l, r, l->chunk, bytes, err));
        add(x, l->chunk, n);
    }
    for (int r = 1; r < l->size; r++)
        TRY(send_to(l, r, x, bytes, err));
    return GF_OK;
}

static gf_status sum(gf_comm *c, int64_t *x, size_t count, gf_err *err)
{
    int status = GF_OK, rank;
    TRY(meet(c, SUM, count * sizeof *x, &status, &rank, err));
    for (size_t at = 0; at < count; at += CHUNK)
        TRY(sum_chunk(link_of(c), x + at, count - at < CHUNK ? count - at : CHUNK, err));
    return GF_OK;
}

static gf_status broadcast(gf_comm *c, char *x, size_t bytes, gf_err *err)
{
    gf_tcp_link *l = link_of(c);
    int status = GF_OK, rank;
    TRY(meet(c, BROADCAST, bytes, &status, &rank, err));
    if (l->rank)
        return recv_from(l, 0, x, bytes, err);
    for (int r = 1; r < l->size; r++)
        TRY(send_to(l, r, x, bytes, err));
    return GF_OK;
}

static gf_status largest(gf_comm *c, int mine, int *value, int *rank, gf_err *err)
{
    *value = mine;
    return meet(c, AGREE, 0, value, rank, err);
}

static void leave(gf_comm *c, gf_status st)
{
    gf_tcp_unwatch(link_of(c), st);
}

static void free_link(gf_tcp_link *l)
{
    for (int r = 0; l->peer && r < (l->rank ? 1 : l->size); r++) {
        gf_tcp_close(&l->peer[r].data);
        gf_tcp_close(&l->peer[r].watch);
    }
    gf_tcp_close(&l->wake);
    gf_loss_free(l->loss);
    free(l->peer);
    free(l->polls);
    free(l->chunk);
    free(l);
}

static void close_link(gf_comm *c)
{
    free_link(link_of(c));
}

static gf_status open_link(gf_tcp_link *l, const gf_place *p, gf_tcp_answer *own, gf_err *err)
{
    const int peers = p->rank ? 1 : p->size;
    l->peer = gf_alloc((size_t)peers, sizeof *l->peer, err);
    l->loss = gf_loss_new(err);
    if (p->rank == 0)
        l->chunk = gf_alloc(CHUNK, sizeof *l->chunk, err);
    if (!l->peer || !l->loss || (p->rank == 0 && !l->chunk))
        return err && err->code != GF_OK ? err->code : GF_ENOMEM;
    for (int r = 0; r < peers; r++)
        l->peer[r].data = l->peer[r].watch = -1;
    l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake < 0)
        return gf_fail(err, GF_EDEVICE, "no descriptor for the watch over the ranks: %s",
                       strerror(errno));
    TRY(p->rank ? gf_tcp_join(l, p, own, err) : gf_tcp_gather(l, p, own, err));
    return gf_tcp_watch(l, err);
}

gf_status gf_tcp_open(gf_comm *c, const gf_place *p, gf_err *err)
{
    static const gf_plane plane = {.sum = sum,
                                   .broadcast = broadcast,
                                   .largest = largest,
                                   .leave = leave,
                                   .close = close_link};
    gf_tcp_answer own;
    gf_tcp_link *l = gf_alloc(1, sizeof *l, err);
    if (!l)
        return GF_ENOMEM;
    *l = (gf_tcp_link){.rank = p->rank, .size = p->size, .wake = -1};
    const gf_status st = open_link(l, p, &own, err);
    if (st != GF_OK) {
        free_link(l);
        return st;
    }
    *c = (gf_comm){.rank = p->rank,
                   .size = p->size,
                   .local_rank = own.local_rank,
                   .local_size = own.local_size,
                   .device_rank = own.device_rank,
                   .device_ranks = own.device_ranks,
                   .plane = &plane,
                   .link = l,
                   .loss = l->loss};
    return GF_OK;
}
