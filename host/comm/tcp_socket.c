/* tcp_socket.c - sockets that do not block, with deadlines. Contract: tcp.h. */
#include "comm/tcp.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    BACKLOG = 1024,
    BUSY_MS = 5000,    /* a port of a run that just ended becomes free within that */
    CONNECT_MS = 5000, /* an address that does not answer: try the next, or again */
};

int64_t gf_tcp_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void gf_tcp_sleep(int ms)
{
    const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

void gf_tcp_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int remaining(int64_t until)
{
    const int64_t ms = until == INT64_MAX ? -1 : until - gf_tcp_now();
    if (until == INT64_MAX)
        return -1;
    return ms < 0 ? 0 : ms > 1000000 ? 1000000 : (int)ms;
}

static gf_tcp_end wait_for(int fd, short events, const gf_tcp_wait *w)
{
    struct pollfd p[2] = {{.fd = fd, .events = events}, {.fd = w->event, .events = POLLIN}};
    for (;;) {
        const int ms = remaining(w->until);
        const int n = poll(p, 2, ms); /* a negative descriptor is left out */
        if (n < 0 && errno != EINTR)
            return GF_TCP_GONE;
        if (n > 0 && p[0].revents)
            return GF_TCP_DONE;
        if (n > 0)
            return GF_TCP_EVENT;
        if (n == 0 && remaining(w->until) == 0)
            return GF_TCP_LATE;
    }
}

gf_tcp_end gf_tcp_send(int fd, const void *bytes, size_t n, const gf_tcp_wait *w)
{
    const char *at = bytes;
    while (n) {
        const ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
        if (sent > 0) {
            at += sent;
            n -= (size_t)sent;
        } else if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            const gf_tcp_end end = wait_for(fd, POLLOUT, w);
            if (end != GF_TCP_DONE)
                return end;
        } else if (sent == 0 || errno != EINTR) {
            return GF_TCP_GONE;
        }
    }
    return GF_TCP_DONE;
}

gf_tcp_end gf_tcp_recv(int fd, void *bytes, size_t n, const gf_tcp_wait *w)
{
    char *at = bytes;
    while (n) {
        const ssize_t got = recv(fd, at, n, 0);
        if (got > 0) {
            at += got;
            n -= (size_t)got;
        } else if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            const gf_tcp_end end = wait_for(fd, POLLIN, w);
            if (end != GF_TCP_DONE)
                return end;
        } else if (got == 0 || errno != EINTR) {
            return GF_TCP_GONE;
        }
    }
    return GF_TCP_DONE;
}

/* ---- addresses ------------------------------------------------------------------------------- */

static int make_socket(const struct addrinfo *a)
{
    return socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
}

static void set(int fd, int level, int option, int value)
{
    setsockopt(fd, level, option, &value, sizeof value);
}

/* What is named as this machine alone is open to this machine alone. A name may mean 127.0.1.1 here
 * and another address elsewhere, so that for any other all addresses listen. */
static bool is_loopback(const char *host)
{
    return !strcmp(host, "localhost") || !strncmp(host, "127.", 4) || !strcmp(host, "::1");
}

static int find_addresses(struct addrinfo **list, const gf_place *p, bool passive)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0)};
    char port[16];
    snprintf(port, sizeof port, "%d", p->port);
    return getaddrinfo(passive && !is_loopback(p->host) ? NULL : p->host, port, &hints, list);
}

/* One listener: IPv6's wildcard takes IPv4 too. 0, or errno. */
static int listen_on(int *fd, const struct addrinfo *a)
{
    *fd = make_socket(a);
    if (*fd < 0)
        return errno;
    set(*fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (a->ai_family == AF_INET6)
        set(*fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (bind(*fd, a->ai_addr, a->ai_addrlen) == 0 && listen(*fd, BACKLOG) == 0)
        return 0;
    const int code = errno;
    gf_tcp_close(fd);
    return code;
}

/* Of the wildcards IPv6's first, which takes both; of this machine alone IPv4's first, since some
 * have no ::1. Whoever connects tries every address that the name has. */
static int listen_any(int *fd, const struct addrinfo *list, bool named)
{
    int code = EADDRNOTAVAIL;
    for (int round = 0; round < 2; round++)
        for (const struct addrinfo *a = list; a; a = a->ai_next) {
            const bool first = a->ai_family == (named ? AF_INET : AF_INET6);
            if (first != (round == 0))
                continue;
            code = listen_on(fd, a);
            if (code == 0 || code == EADDRINUSE)
                return code;
        }
    return code;
}

gf_status gf_tcp_listen(int *fd, const gf_place *p, gf_err *err)
{
    const int64_t until = gf_tcp_now() + BUSY_MS;
    struct addrinfo *list = NULL;
    const int found = find_addresses(&list, p, true);
    if (found)
        return gf_fail(err, GF_EDEVICE, "rank 0 cannot listen on %s: %s", p->host,
                       gai_strerror(found));
    int code = listen_any(fd, list, is_loopback(p->host));
    while (code == EADDRINUSE && gf_tcp_now() < until) {
        gf_tcp_sleep(100);
        code = listen_any(fd, list, is_loopback(p->host));
    }
    freeaddrinfo(list);
    if (code == 0)
        return GF_OK;
    return gf_fail(err, GF_EDEVICE, "rank 0 cannot listen on port %d: %s%s", p->port,
                   strerror(code),
                   code == EADDRINUSE ? "; name a free one with --rendezvous HOST:PORT" : "");
}

int gf_tcp_accept(int listener)
{
    const int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        set(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* headers are small, and waited for */
    return fd;
}

/* A port of the range that the system gives to those who connect may be given to the very socket
 * that tries to reach it: it is then connected to itself. */
static bool is_self(int fd)
{
    struct sockaddr_storage own = {0}, other = {0};
    socklen_t n = sizeof own, m = sizeof other;
    return getsockname(fd, (struct sockaddr *)&own, &n) == 0 &&
           getpeername(fd, (struct sockaddr *)&other, &m) == 0 && n == m &&
           !memcmp(&own, &other, n);
}

/* 0, or errno. */
static int connect_to(int *fd, const struct addrinfo *a, int64_t until)
{
    const int64_t own = gf_tcp_now() + CONNECT_MS;
    const gf_tcp_wait wait = {.until = own < until ? own : until, .event = -1};
    int code = 0;
    socklen_t n = sizeof code;
    *fd = make_socket(a);
    if (*fd < 0)
        return errno;
    if (connect(*fd, a->ai_addr, a->ai_addrlen) != 0) {
        code = errno;
        if (code == EINPROGRESS && wait_for(*fd, POLLOUT, &wait) != GF_TCP_DONE)
            code = ETIMEDOUT;
        else if (code == EINPROGRESS && getsockopt(*fd, SOL_SOCKET, SO_ERROR, &code, &n) != 0)
            code = errno;
    }
    if (code == 0 && is_self(*fd))
        code = ECONNREFUSED;
    if (code)
        gf_tcp_close(fd);
    else
        set(*fd, IPPROTO_TCP, TCP_NODELAY, 1);
    return code;
}

gf_tcp_end gf_tcp_connect(int *fd, const gf_place *p, int64_t until, char why[128])
{
    struct addrinfo *list = NULL;
    int code = find_addresses(&list, p, false);
    if (code) {
        snprintf(why, 128, "%s", gai_strerror(code));
        return GF_TCP_GONE;
    }
    code = ETIMEDOUT;
    for (const struct addrinfo *a = list; a && code && gf_tcp_now() < until; a = a->ai_next)
        code = connect_to(fd, a, until);
    freeaddrinfo(list);
    if (code)
        snprintf(why, 128, "%s", strerror(code));
    return code ? GF_TCP_GONE : GF_TCP_DONE;
}

void gf_tcp_keep_alive(int fd)
{
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 1);  /* s of silence before the first question */
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1); /* s between questions */
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, 5);   /* questions without an answer */
}
