/* pool.c - threads that wait for work by spinning first and sleeping then. Contract: pool.h. */
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE ((size_t)2 << 20) /* scratch starts on a huge page's boundary */
#define SPIN_NS 40000          /* ops of a step follow each other within some 10 us */
#define SPIN_BATCH 32          /* pauses between looks at the clock */
#define MAX_THREADS 1024       /* more is a typing error */

typedef struct {
    gf_pool *pool;
    int index;
    pthread_t id;
} worker;

struct gf_pool {
    int threads; /* the caller included */
    int started; /* workers that run */
    char *scratch;
    worker *worker; /* threads - 1 of them */
    gf_pool_fn *fn;
    void *ctx;
    atomic_uint ticket;  /* counts runs; a change is a call to work */
    atomic_int pending;  /* workers that have not finished this run */
    atomic_int sleepers; /* workers that wait on `work` */
    atomic_bool stop;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Waits for a ticket other than `seen` and returns it. */
static unsigned wait_for_work(gf_pool *p, unsigned seen)
{
    unsigned t = atomic_load(&p->ticket);
    for (const int64_t until = now_ns() + SPIN_NS; t == seen && now_ns() < until;)
        for (int i = 0; i < SPIN_BATCH && t == seen; i++) {
            relax();
            t = atomic_load(&p->ticket);
        }
    if (t != seen)
        return t;
    pthread_mutex_lock(&p->lock);
    /* The runner changes the ticket before it looks at `sleepers`, and both orders are total: one
     * of the two sees the other. */
    atomic_fetch_add(&p->sleepers, 1);
    while ((t = atomic_load(&p->ticket)) == seen)
        pthread_cond_wait(&p->work, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
    return t;
}

static void *worker_main(void *arg)
{
    worker *w = arg;
    gf_pool *p = w->pool;
    /* First touch by its owner, so that the pages lie beside the core that uses them. */
    memset(gf_pool_scratch(p, w->index), 0, GF_POOL_SCRATCH);
    for (unsigned seen = 0;;) {
        seen = wait_for_work(p, seen);
        if (atomic_load(&p->stop))
            return NULL;
        p->fn(p->ctx, w->index, p->threads);
        if (atomic_fetch_sub(&p->pending, 1) == 1) {
            pthread_mutex_lock(&p->lock);
            pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->lock);
        }
    }
}

static void call_workers(gf_pool *p)
{
    atomic_fetch_add(&p->ticket, 1);
    if (atomic_load(&p->sleepers) > 0) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->work);
        pthread_mutex_unlock(&p->lock);
    }
}

void gf_pool_run(gf_pool *p, gf_pool_fn *fn, void *ctx)
{
    if (p->threads == 1) {
        fn(ctx, 0, 1);
        return;
    }
    p->fn = fn;
    p->ctx = ctx;
    atomic_store(&p->pending, p->threads - 1);
    call_workers(p);
    fn(ctx, 0, p->threads);
    for (const int64_t until = now_ns() + SPIN_NS; now_ns() < until;)
        for (int i = 0; i < SPIN_BATCH; i++) {
            if (atomic_load(&p->pending) == 0)
                return;
            relax();
        }
    pthread_mutex_lock(&p->lock);
    while (atomic_load(&p->pending) > 0)
        pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

static int usable_cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    const int n = CPU_COUNT(&set);
    return n < 1 ? 1 : n;
}

gf_status gf_pool_open(gf_pool **out, int threads, gf_err *err)
{
    *out = NULL;
    if (threads < 0 || threads > MAX_THREADS)
        return gf_fail(err, GF_EARG,
                       "--threads %d: give 1 to %d, or 0 for all that the process "
                       "may use",
                       threads, MAX_THREADS);
    if (threads == 0)
        threads = usable_cpus();
    gf_pool *p = gf_alloc(1, sizeof *p, err);
    if (!p)
        return GF_ENOMEM;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->done, NULL);
    p->threads = threads;
    gf_status st = GF_OK;
    const size_t bytes = (size_t)threads * GF_POOL_SCRATCH;
    p->scratch = aligned_alloc(PAGE, bytes);
    if (!p->scratch) {
        st = gf_fail(err, GF_ENOMEM,
                     "no memory for the scratch of %d threads (%zu bytes); use "
                     "fewer --threads",
                     threads, bytes);
        goto out;
    }
    (void)madvise(p->scratch, bytes, MADV_HUGEPAGE);
    memset(p->scratch, 0, GF_POOL_SCRATCH);
    p->worker = gf_alloc((size_t)threads, sizeof *p->worker, err);
    if (!p->worker) {
        st = GF_ENOMEM;
        goto out;
    }
    for (int i = 1; i < threads; i++) {
        worker *w = &p->worker[i - 1];
        *w = (worker){.pool = p, .index = i};
        if (pthread_create(&w->id, NULL, worker_main, w) != 0) {
            st = gf_fail(err, GF_EMISSING,
                         "thread %d of %d could not be started; use fewer "
                         "--threads",
                         i + 1, threads);
            goto out;
        }
        p->started++;
    }
out:
    if (st != GF_OK) {
        gf_pool_close(p);
        p = NULL;
    }
    *out = p;
    return st;
}

void gf_pool_close(gf_pool *p)
{
    if (!p)
        return;
    atomic_store(&p->stop, true);
    call_workers(p);
    for (int i = 0; i < p->started; i++)
        pthread_join(p->worker[i].id, NULL);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    free(p->worker);
    free(p->scratch);
    free(p);
}

int gf_pool_threads(const gf_pool *p)
{
    return p->threads;
}

size_t gf_pool_bytes(const gf_pool *p)
{
    return (size_t)p->threads * (GF_POOL_SCRATCH + sizeof *p->worker) + sizeof *p;
}

void *gf_pool_scratch(gf_pool *p, int thread)
{
    return p->scratch + (size_t)thread * GF_POOL_SCRATCH;
}
