/* processes.h - one function in several processes at once, and what each of them found. */
#ifndef GRAFT_TESTS_SUPPORT_PROCESSES_H
#define GRAFT_TESTS_SUPPORT_PROCESSES_H

#include <stdbool.h>
#include <stdint.h>

enum { MOST_PROCESSES = 8 };

/* What a process leaves behind, also when it is killed. */
typedef struct {
    int status;      /* for the function to set */
    int64_t ms;      /* the same */
    char text[1024]; /* the same */
    int code;        /* how it ended: exit code, or -signal */
    bool late;       /* it was killed after the limit */
} process;

/* Forks n processes, runs work(i, own, ctx) in each and waits for all, for at most limit_ms. They
 * end without atexit. */
void processes_run(int n, void (*work)(int i, process *own, void *ctx), void *ctx, int limit_ms,
                   process out[MOST_PROCESSES]);

int64_t clock_ms(void);
void sleep_ms(int ms);

/* A TCP port of the loopback that nobody listens on, and a listener on one. */
int free_port(void);
int listen_on_port(int port);
int connect_to_port(int port); /* -1: nobody listens */

#endif
