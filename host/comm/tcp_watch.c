/* tcp_watch.c - the thread that notices when a rank is gone. Rank 0's sees every rank's connection
 * and tells the others; theirs see rank 0's. Contract: tcp.h, comm.h. */
#include "comm/tcp.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TELL_MS = 500 }; /* a note fits into any socket's buffer */

#define NOTE_MAGIC 0x676e6f74u
/* LEFT: this rank is done. STOPPED: `rank` failed, with this status. LOST: `rank` is gone. */
enum { LEFT = 1, STOPPED = 2, LOST = 3 };
typedef struct {
    uint32_t magic, kind;
    int32_t rank, status;
    char name[64]; /* the machine of LOST */
} note;

static int peers(const gf_tcp_link *l)
{
    return l->rank ? 1 : l->size;
}

/* To every rank that this one is connected to and that is still there, but for one. */
static void tell(gf_tcp_link *l, const note *n, int except)
{
    const gf_tcp_wait wait = {.until = gf_tcp_now() + TELL_MS, .event = -1};
    for (int r = 0; r < peers(l); r++)
        if (r != except && l->peer[r].watch >= 0)
            gf_tcp_send(l->peer[r].watch, n, sizeof *n, &wait);
}

/* The first loss: the others learn of it before this process's own thread does, which may end. */
static void lose(gf_tcp_link *l, const note *n)
{
    char text[GF_LOSS_TEXT];
    const bool known = n->kind == STOPPED && n->status > GF_OK && n->status <= GF_EINTERRUPT;
    if (n->kind == LOST)
        snprintf(text, sizeof text,
                 "rank %d of %d, on %.63s, is gone: it was killed, crashed, or its machine cannot "
                 "be reached; start the run again (train: with --resume)",
                 n->rank, l->size, n->name);
    else
        snprintf(text, sizeof text, "rank %d of %d stopped (%s); its own message says more",
                 n->rank, l->size, known ? gf_status_text((gf_status)n->status) : "it failed");
    if (l->rank == 0)
        tell(l, n, n->rank);
    gf_loss_set(l->loss, text);
}

/* Something came from a rank, or its connection ended. True: somebody is lost. */
static bool hear(gf_tcp_link *l, int r)
{
    const gf_tcp_wait wait = {.until = gf_tcp_now() + TELL_MS, .event = -1};
    gf_tcp_peer *peer = &l->peer[r];
    note n;
    const gf_tcp_end end = gf_tcp_recv(peer->watch, &n, sizeof n, &wait);
    const bool sound = end == GF_TCP_DONE && n.magic == NOTE_MAGIC;
    if (sound && n.kind == LEFT) {
        atomic_store(&peer->left, true);
        return false;
    }
    if (!sound || (n.kind != STOPPED && n.kind != LOST)) {
        n = (note){.magic = NOTE_MAGIC, .kind = LOST, .rank = r};
        memcpy(n.name, peer->name, sizeof n.name);
    }
    n.name[sizeof n.name - 1] = 0;
    lose(l, &n);
    return true;
}

/* Waits until this rank leaves (false) or another is lost (true). */
static bool watch(gf_tcp_link *l)
{
    struct pollfd *const polls = l->polls;
    for (;;) {
        int n = 0;
        polls[n++] = (struct pollfd){.fd = l->wake, .events = POLLIN};
        for (int r = 0; r < peers(l); r++) {
            const bool here = l->peer[r].watch >= 0 && !atomic_load(&l->peer[r].left);
            polls[n++] = (struct pollfd){.fd = here ? l->peer[r].watch : -1, .events = POLLIN};
        }
        if (poll(polls, (nfds_t)n, -1) < 0)
            continue; /* EINTR */
        for (int r = 0; r < peers(l); r++)
            if (polls[1 + r].revents && hear(l, r))
                return true;
        if (polls[0].revents)
            return false;
    }
}

static void *run_watch(void *ctx)
{
    gf_tcp_link *l = ctx;
    struct pollfd wake = {.fd = l->wake, .events = POLLIN};
    const bool lost = watch(l);
    if (lost) {
        const int64_t until = gf_tcp_now() + GF_COMM_GRACE_MS;
        for (int64_t now; (now = gf_tcp_now()) < until;)
            if (poll(&wake, 1, (int)(until - now)) > 0)
                return NULL;
        gf_loss_tell(l->loss);
    }
    while (poll(&wake, 1, -1) <= 0) {
    }
    if (!lost) {
        const gf_status st = (gf_status)atomic_load(&l->leaving);
        const note n = {.magic = NOTE_MAGIC,
                        .kind = st == GF_OK ? LEFT : STOPPED,
                        .rank = l->rank,
                        .status = (int32_t)st};
        tell(l, &n, -1);
    }
    return NULL;
}

gf_status gf_tcp_watch(gf_tcp_link *l, gf_err *err)
{
    for (int r = 0; r < peers(l); r++)
        if (l->peer[r].watch >= 0)
            gf_tcp_keep_alive(l->peer[r].watch);
    l->polls = gf_alloc((size_t)peers(l) + 1, sizeof *l->polls, err);
    if (!l->polls)
        return GF_ENOMEM;
    const int code = gf_loss_thread(&l->watcher, run_watch, l);
    if (code)
        return gf_fail(err, GF_EDEVICE, "no thread for the watch over the ranks: %s",
                       strerror(code));
    l->watching = true;
    return GF_OK;
}

void gf_tcp_unwatch(gf_tcp_link *l, gf_status st)
{
    const uint64_t one = 1;
    if (!l->watching)
        return;
    atomic_store(&l->leaving, (int)st);
    while (write(l->wake, &one, sizeof one) < 0 && errno == EINTR) {
    }
    pthread_join(l->watcher, NULL);
    l->watching = false;
}
