/* tcp.h - inside host/comm: ranks over TCP, without MPI. A star: each rank has two connections to
 * rank 0. On `data` the ranks meet and move what they sum, in the thread that works; on `watch`
 * each side's watching thread tells and learns who left. A dead process closes both. */
#ifndef GRAFT_HOST_COMM_TCP_H
#define GRAFT_HOST_COMM_TCP_H

#include "comm/plane.h"

#include <stdatomic.h>

/* ---- sockets (tcp_socket.c) ------------------------------------------------------------------ */

/* How long to wait: until a time of gf_tcp_now, and until a descriptor becomes readable. */
typedef struct {
    int64_t until; /* ms; INT64_MAX: for ever */
    int event;     /* -1: none */
} gf_tcp_wait;

typedef enum {
    GF_TCP_DONE,
    GF_TCP_GONE, /* the other side closed, or the connection broke */
    GF_TCP_LATE,
    GF_TCP_EVENT
} gf_tcp_end;

int64_t gf_tcp_now(void); /* ms of a clock that only runs forward */
void gf_tcp_sleep(int ms);
void gf_tcp_close(int *fd); /* and makes it -1 */

/* All of n bytes; descriptors do not block. */
gf_tcp_end gf_tcp_send(int fd, const void *bytes, size_t n, const gf_tcp_wait *w);
gf_tcp_end gf_tcp_recv(int fd, void *bytes, size_t n, const gf_tcp_wait *w);

/* Rank 0's listener. A port that is in use for more than some seconds: GF_EDEVICE. */
gf_status gf_tcp_listen(int *fd, const gf_place *p, gf_err *err);
int gf_tcp_accept(int listener); /* -1: nobody, now */
/* One attempt; why it failed is a new text in `why`. */
gf_tcp_end gf_tcp_connect(int *fd, const gf_place *p, int64_t until, char why[128]);
/* The kernel asks an idle connection's other side every second, and gives it up after 6. */
void gf_tcp_keep_alive(int fd);

/* ---- rendezvous (tcp_gather.c, tcp_join.c) --------------------------------------------------- */

/* A rank's first bytes on a connection. This layout stays as it is, so that versions that cannot
 * work together can tell each other so. Numbers are the machine's: of another byte order the magic
 * number is wrong. */
#define GF_TCP_MAGIC 0x3176727466617267u /* graftrv1 */
enum { GF_TCP_DATA = 1, GF_TCP_WATCH = 2 };
typedef struct {
    uint64_t magic;
    char version[24];
    uint32_t kind;
    int32_t rank, size, local_rank;
    uint64_t session; /* of GF_TCP_WATCH: what the answer on the data connection said */
    uint64_t machine, view;
    char name[64];
} gf_tcp_hello;

/* What rank 0 says: WELCOME at once, START when all are there, REFUSED instead of either. */
enum { GF_TCP_WELCOME = 1, GF_TCP_START = 2, GF_TCP_REFUSED = 3 };
typedef struct {
    uint64_t magic;
    uint32_t kind;
    int32_t status; /* of REFUSED, with its text */
    uint64_t session;
    int32_t local_rank, local_size, device_rank, device_ranks; /* of START */
    char text[512];
} gf_tcp_answer;

typedef struct {
    int data, watch; /* -1: not there */
    int local_rank;
    uint64_t machine, view;
    char name[64];
    atomic_bool left; /* it said so */
} gf_tcp_peer;

typedef struct {
    int rank, size;
    gf_tcp_peer *peer; /* [size]; rank 0 has all but itself, others have rank 0 alone */
    uint64_t meetings; /* collectives so far: ranks must agree on it */
    int64_t *chunk;    /* rank 0: what another rank sends */
    gf_loss *loss;

    pthread_t watcher;
    bool watching;
    struct pollfd *polls; /* the watcher's */
    int wake;             /* event: this rank leaves, with the status in `leaving` */
    atomic_int leaving;
} gf_tcp_link;

gf_status gf_tcp_gather(gf_tcp_link *l, const gf_place *p, gf_tcp_answer *own, gf_err *err);
gf_status gf_tcp_join(gf_tcp_link *l, const gf_place *p, gf_tcp_answer *own, gf_err *err);

/* ---- the watch (tcp_watch.c) ----------------------------------------------------------------- */

gf_status gf_tcp_watch(gf_tcp_link *l, gf_err *err);
void gf_tcp_unwatch(gf_tcp_link *l, gf_status st); /* tells the others, ends the thread */

#endif
