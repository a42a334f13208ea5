/* loss.c - see loss.h. */
#include "comm/loss.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct gf_loss {
    pthread_mutex_t lock;
    int event;
    bool lost, cancelling; /* cancelling: `canceller` was started and not joined */
    char text[GF_LOSS_TEXT];
    void (*cancel)(void *ctx);
    void *cancel_ctx;
    pthread_t canceller;
    void (*tell)(void *ctx, const char *text);
    void *tell_ctx;
};

int gf_loss_thread(pthread_t *t, void *(*run)(void *), void *ctx)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    const int code = pthread_create(t, NULL, run, ctx);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return code;
}

gf_loss *gf_loss_new(gf_err *err)
{
    gf_loss *l = gf_alloc(1, sizeof *l, err);
    if (!l)
        return NULL;
    l->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->event < 0) {
        gf_fail(err, GF_EDEVICE, "no descriptor for the watch over the ranks: %s", strerror(errno));
        free(l);
        return NULL;
    }
    pthread_mutex_init(&l->lock, NULL);
    return l;
}

void gf_loss_free(gf_loss *l)
{
    if (!l)
        return;
    gf_loss_on_cancel(l, NULL, NULL);
    close(l->event);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

int gf_loss_event(const gf_loss *l)
{
    return l->event;
}

static void *run_cancel(void *ctx)
{
    gf_loss *l = ctx;
    pthread_mutex_lock(&l->lock);
    void (*const cancel)(void *) = l->cancel; /* NULL: taken back meanwhile */
    void *const cancel_ctx = l->cancel_ctx;
    pthread_mutex_unlock(&l->lock);
    if (cancel)
        cancel(cancel_ctx);
    return NULL;
}

/* With the lock held. Without a thread the run still ends: gf_loss_tell. */
static void start_cancel(gf_loss *l)
{
    if (l->cancel && !l->cancelling)
        l->cancelling = gf_loss_thread(&l->canceller, run_cancel, l) == 0;
}

void gf_loss_set(gf_loss *l, const char *text)
{
    const uint64_t one = 1;
    pthread_mutex_lock(&l->lock);
    if (!l->lost) {
        l->lost = true;
        snprintf(l->text, sizeof l->text, "%s", text);
        while (write(l->event, &one, sizeof one) < 0 && errno == EINTR) {
        }
        start_cancel(l);
    }
    pthread_mutex_unlock(&l->lock);
}

bool gf_loss_get(gf_loss *l, int ms, char text[GF_LOSS_TEXT])
{
    struct pollfd p = {.fd = l->event, .events = POLLIN};
    if (ms > 0)
        poll(&p, 1, ms); /* a signal ends the wait early: the caller asks again */
    pthread_mutex_lock(&l->lock);
    const bool lost = l->lost;
    memcpy(text, l->text, GF_LOSS_TEXT);
    pthread_mutex_unlock(&l->lock);
    return lost;
}

void gf_loss_on_cancel(gf_loss *l, void (*cancel)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&l->lock);
    const bool cancelling = l->cancelling;
    l->cancelling = false;
    l->cancel = NULL;
    pthread_mutex_unlock(&l->lock);
    if (cancelling)
        pthread_join(l->canceller, NULL);
    pthread_mutex_lock(&l->lock);
    l->cancel = cancel;
    l->cancel_ctx = ctx;
    if (l->lost)
        start_cancel(l);
    pthread_mutex_unlock(&l->lock);
}

void gf_loss_on_lost(gf_loss *l, void (*lost)(void *ctx, const char *text), void *ctx)
{
    pthread_mutex_lock(&l->lock);
    l->tell = lost;
    l->tell_ctx = ctx;
    pthread_mutex_unlock(&l->lock);
}

void gf_loss_tell(gf_loss *l)
{
    pthread_mutex_lock(&l->lock);
    void (*const tell)(void *, const char *) = l->lost ? l->tell : NULL;
    void *const ctx = l->tell_ctx;
    pthread_mutex_unlock(&l->lock);
    if (tell)
        tell(ctx, l->text); /* which stays what it was at the first loss */
}
