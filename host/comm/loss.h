/* loss.h - inside host/comm: what a process knows about ranks that are gone. Set by the thread that
 * watches, read by the thread that works; the first loss counts. */
#ifndef GRAFT_HOST_COMM_LOSS_H
#define GRAFT_HOST_COMM_LOSS_H

#include "graft/base.h"

#include <pthread.h>

enum { GF_LOSS_TEXT = 512 }; /* a sentence with the name of a machine */

typedef struct gf_loss gf_loss;

gf_loss *gf_loss_new(gf_err *err); /* NULL: GF_ENOMEM, GF_EDEVICE */
void gf_loss_free(gf_loss *l);     /* no thread uses it any more; NULL will do */

/* Readable for poll() from the first loss on. */
int gf_loss_event(const gf_loss *l);

/* Tells; starts what gf_loss_on_cancel set, in a thread of its own, since it may hang. */
void gf_loss_set(gf_loss *l, const char *text);
/* Waits for a loss for at most `ms` milliseconds; its text. */
bool gf_loss_get(gf_loss *l, int ms, char text[GF_LOSS_TEXT]);

/* What frees a thread that waits inside a library. If a rank is lost already it runs at once. NULL
 * takes it back, after it has returned. */
void gf_loss_on_cancel(gf_loss *l, void (*cancel)(void *ctx), void *ctx);

/* Whom gf_loss_tell calls with the text of the loss: see gf_comm_on_lost. */
void gf_loss_on_lost(gf_loss *l, void (*lost)(void *ctx, const char *text), void *ctx);
void gf_loss_tell(gf_loss *l);

/* pthread_create of a thread that no signal goes to: handlers run where the work is. */
int gf_loss_thread(pthread_t *t, void *(*run)(void *), void *ctx);

#endif
