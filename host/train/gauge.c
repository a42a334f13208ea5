/* gauge.c - contract: gauge.h. */
#include "train/gauge.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

struct gf_gauge {
    const gf_backend *be;
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    gf_device_state last;
    bool end;
};

static void *watch(void *arg)
{
    gf_gauge *g = arg;
    pthread_mutex_lock(&g->lock);
    while (!g->end) {
        struct timespec until;
        gf_device_state now;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 1;
        pthread_cond_timedwait(&g->wake, &g->lock, &until);
        if (g->end)
            break;
        pthread_mutex_unlock(&g->lock);
        const gf_status st = gf_device_look(g->be, &now, NULL);
        pthread_mutex_lock(&g->lock);
        g->last = st == GF_OK ? now : (gf_device_state){0}; /* not known is not what was */
    }
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

gf_status gf_gauge_open(gf_gauge **out, const gf_backend *be, gf_err *err)
{
    sigset_t all, before;
    gf_device_state first;
    *out = NULL;
    TRY(gf_device_look(be, &first, err));
    gf_gauge *g = gf_alloc(1, sizeof *g, err);
    if (!g)
        return GF_ENOMEM;
    g->be = be;
    g->last = first;
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->wake, NULL);
    sigfillset(&all); /* signals are the run's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(&g->thread, NULL, watch, g);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        free(g);
        return gf_fail(err, GF_ENOMEM, "a thread could not be started");
    }
    *out = g;
    return GF_OK;
}

void gf_gauge_read(gf_gauge *g, gf_device_state *out)
{
    if (!g)
        return;
    pthread_mutex_lock(&g->lock);
    *out = g->last;
    pthread_mutex_unlock(&g->lock);
}

void gf_gauge_close(gf_gauge *g)
{
    if (!g)
        return;
    pthread_mutex_lock(&g->lock);
    g->end = true;
    pthread_cond_signal(&g->wake);
    pthread_mutex_unlock(&g->lock);
    pthread_join(g->thread, NULL);
    pthread_cond_destroy(&g->wake);
    pthread_mutex_destroy(&g->lock);
    free(g);
}
