/* nccl.c - see nccl.h. */
#include "comm/nccl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Of nccl.h: ncclResult_t, ncclDataType_t, ncclRedOp_t. */
enum { SUCCESS = 0, REMOTE_ERROR = 6, IN_PROGRESS = 7 };
enum { TYPE_INT64 = 4, OP_SUM = 0 };
enum { OLDEST = 21400 };  /* the first with communicators that do not block */
enum { BLAME_MS = 2000 }; /* NCCL sees a dead rank's connections as soon as the watch does */

/* ncclConfig_t as it was in 2.14; `size` and `version` tell later libraries so. */
typedef struct {
    size_t size;
    unsigned magic, version;
    int blocking;
} config;

struct gf_nccl {
    /* Held while NCCL is called: an abort of another thread frees the communicator. */
    pthread_mutex_t lock;
    void *comm; /* NULL: not joined, or aborted */
    int version;
    int (*get_version)(int *version);
    int (*get_id)(gf_nccl_id *id);
    int (*init)(void **comm, int ranks, gf_nccl_id id, int rank, config *c);
    int (*all_reduce)(const void *in, void *out, size_t count, int type, int op, void *comm,
                      void *stream);
    int (*async_error)(void *comm, int *result);
    int (*destroy)(void *comm);
    int (*cancel)(void *comm);
    const char *(*error_text)(int result);
    const char *(*last_error)(void *comm);
};

static gf_status find_functions(gf_nccl *n, void *library, gf_err *err)
{
    const struct {
        const char *name;
        void *to;
    } functions[] = {{"ncclGetVersion", &n->get_version},
                     {"ncclGetUniqueId", &n->get_id},
                     {"ncclCommInitRankConfig", &n->init},
                     {"ncclAllReduce", &n->all_reduce},
                     {"ncclCommGetAsyncError", &n->async_error},
                     {"ncclCommDestroy", &n->destroy},
                     {"ncclCommAbort", &n->cancel},
                     {"ncclGetErrorString", &n->error_text},
                     {"ncclGetLastError", &n->last_error}};
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *const f = dlsym(library, functions[i].name);
        memcpy(functions[i].to, &f, sizeof f); /* C has no cast from an object to a function */
        if (!f)
            return gf_fail(err, GF_EMISSING,
                           "libnccl.so.2 has no %s: install NCCL 2.14 or later (package libnccl2)",
                           functions[i].name);
    }
    return GF_OK;
}

gf_status gf_nccl_load(gf_nccl **out, gf_err *err)
{
    gf_status st = GF_OK;
    gf_nccl *n = gf_alloc(1, sizeof *n, err);
    *out = NULL;
    if (!n)
        return GF_ENOMEM;
    pthread_mutex_init(&n->lock, NULL);
    /* Never closed: it has threads of its own. */
    void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        st = gf_fail(err, GF_EMISSING,
                     "several ranks with GPUs need NCCL, which was not found (%s): install the "
                     "package libnccl2, or set LD_LIBRARY_PATH to where it is",
                     dlerror());
    if (st == GF_OK)
        st = find_functions(n, library, err);
    if (st == GF_OK && (n->get_version(&n->version) != SUCCESS || n->version < OLDEST))
        st = gf_fail(err, GF_EMISSING,
                     "libnccl.so.2 is of version %d, which is too old: install NCCL 2.14 (%d) or "
                     "later",
                     n->version, OLDEST);
    if (st == GF_OK)
        *out = n;
    else
        gf_nccl_close(n, NULL, true);
    return st;
}

int gf_nccl_version(const gf_nccl *n)
{
    return n->version;
}

/* A dead rank is what most failures come from: the watch's text names it. With the lock held. */
static gf_status fail(gf_nccl *n, gf_loss *loss, int result, const char *what, gf_err *err)
{
    char text[GF_LOSS_TEXT];
    const char *last = n->last_error(n->comm);
    if (loss && gf_loss_get(loss, result == REMOTE_ERROR ? BLAME_MS : 0, text))
        return gf_fail(err, GF_EPEER, "%s", text);
    return gf_fail(err, result == REMOTE_ERROR ? GF_EPEER : GF_EDEVICE,
                   "NCCL: %s failed: %s%s%s (NCCL_DEBUG=INFO says more)", what,
                   n->error_text(result), last && *last ? ": " : "", last ? last : "");
}

static gf_status aborted(gf_loss *loss, gf_err *err)
{
    char text[GF_LOSS_TEXT];
    if (loss && gf_loss_get(loss, 0, text))
        return gf_fail(err, GF_EPEER, "%s", text);
    return gf_fail(err, GF_EDEVICE, "NCCL's communicator was aborted");
}

gf_status gf_nccl_new_id(gf_nccl *n, gf_nccl_id *id, gf_err *err)
{
    const int result = n->get_id(id);
    return result == SUCCESS ? GF_OK : fail(n, NULL, result, "ncclGetUniqueId", err);
}

/* Waits until a call is no longer under way; a loss ends the wait, since the abort that comes with
 * it takes the communicator away. */
static gf_status finish(gf_nccl *n, gf_loss *loss, int result, const char *what, gf_err *err)
{
    const struct timespec pause = {.tv_nsec = 50000}; /* far below what a sum takes */
    for (;;) {
        gf_status st = GF_OK;
        pthread_mutex_lock(&n->lock);
        if (!n->comm)
            st = aborted(loss, err);
        else if (result == IN_PROGRESS && n->async_error(n->comm, &result) != SUCCESS)
            st = gf_fail(err, GF_EDEVICE, "NCCL: ncclCommGetAsyncError failed");
        else if (result != SUCCESS && result != IN_PROGRESS)
            st = fail(n, loss, result, what, err);
        pthread_mutex_unlock(&n->lock);
        if (st != GF_OK || result == SUCCESS)
            return st;
        if (result == IN_PROGRESS)
            nanosleep(&pause, NULL);
    }
}

static void cancel_comm(void *ctx)
{
    gf_nccl *n = ctx;
    pthread_mutex_lock(&n->lock);
    if (n->comm)
        n->cancel(n->comm);
    n->comm = NULL;
    pthread_mutex_unlock(&n->lock);
}

gf_status gf_nccl_join(gf_nccl *n, const gf_nccl_id *id, int rank, int size, gf_loss *loss,
                       gf_err *err)
{
    config c = {.size = sizeof c, .magic = 0xcafebeefu, .version = OLDEST, .blocking = 0};
    pthread_mutex_lock(&n->lock);
    const int result = n->init(&n->comm, size, *id, rank, &c);
    const bool there = n->comm;
    gf_status st = there ? GF_OK : fail(n, loss, result, "ncclCommInitRankConfig", err);
    pthread_mutex_unlock(&n->lock);
    if (there && loss)
        gf_loss_on_cancel(loss, cancel_comm, n);
    return st == GF_OK ? finish(n, loss, result, "joining the ranks", err) : st;
}

gf_status gf_nccl_sum(gf_nccl *n, gf_loss *loss, void *x, size_t count, void *stream, gf_err *err)
{
    pthread_mutex_lock(&n->lock);
    const int result =
        n->comm ? n->all_reduce(x, x, count, TYPE_INT64, OP_SUM, n->comm, stream) : IN_PROGRESS;
    pthread_mutex_unlock(&n->lock);
    return finish(n, loss, result, "the sum over ranks", err);
}

gf_status gf_nccl_check(gf_nccl *n, gf_loss *loss, gf_err *err)
{
    gf_status st = GF_OK;
    int result = SUCCESS;
    pthread_mutex_lock(&n->lock);
    if (!n->comm)
        st = aborted(loss, err);
    else if (n->async_error(n->comm, &result) != SUCCESS ||
             (result != SUCCESS && result != IN_PROGRESS))
        st = fail(n, loss, result, "the sum over ranks", err);
    pthread_mutex_unlock(&n->lock);
    return st;
}

void gf_nccl_close(gf_nccl *n, gf_loss *loss, bool orderly)
{
    if (!n)
        return;
    if (loss)
        gf_loss_on_cancel(loss, NULL, NULL);
    if (n->comm && orderly)
        n->destroy(n->comm);
    else if (n->comm)
        n->cancel(n->comm);
    pthread_mutex_destroy(&n->lock);
    free(n);
}
