/* processes.c - see processes.h. */
#include "support/processes.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int64_t clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void sleep_ms(int ms)
{
    usleep((useconds_t)ms * 1000);
}

static void wait_for_all(const pid_t *child, int n, int64_t until, process *out)
{
    for (int i = 0; i < n; i++) {
        int state = 0;
        while (waitpid(child[i], &state, WNOHANG) == 0) {
            if (clock_ms() > until) {
                out[i].late = true;
                kill(child[i], SIGKILL);
            }
            sleep_ms(2);
        }
        out[i].code = WIFEXITED(state) ? WEXITSTATUS(state) : -WTERMSIG(state);
    }
}

void processes_run(int n, void (*work)(int i, process *own, void *ctx), void *ctx, int limit_ms,
                   process out[MOST_PROCESSES])
{
    const size_t bytes = MOST_PROCESSES * sizeof *out;
    process *shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child[MOST_PROCESSES];
    if (shared == MAP_FAILED || n > MOST_PROCESSES)
        abort();
    for (int i = 0; i < n; i++) {
        child[i] = fork();
        if (child[i] < 0)
            abort();
        if (child[i] == 0) {
            work(i, &shared[i], ctx);
            _exit(0);
        }
    }
    wait_for_all(child, n, clock_ms() + limit_ms, shared);
    memcpy(out, shared, bytes);
    munmap(shared, bytes);
}

static int make_socket(int port, struct sockaddr_in *a)
{
    *a = (struct sockaddr_in){.sin_family = AF_INET,
                              .sin_port = htons((uint16_t)port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        abort();
    return fd;
}

int listen_on_port(int port)
{
    struct sockaddr_in a;
    const int fd = make_socket(port, &a), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 16)) {
        perror("listen");
        abort();
    }
    return fd;
}

int free_port(void)
{
    struct sockaddr_in a;
    socklen_t n = sizeof a;
    const int fd = listen_on_port(0);
    getsockname(fd, (struct sockaddr *)&a, &n);
    close(fd);
    return ntohs(a.sin_port);
}

int connect_to_port(int port)
{
    struct sockaddr_in a;
    const int fd = make_socket(port, &a);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    close(fd);
    return -1;
}
