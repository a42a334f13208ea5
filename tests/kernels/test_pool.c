/* test_pool.c - every thread runs once a call, sleeping or not; partitions cover and are even. */
#include <criterion/criterion.h>
#include <stdatomic.h>
#include <time.h>

#include "pool.h"

typedef struct {
    gf_pool *pool;
    int64_t sum[8];
    atomic_int calls;
} job;

static void add_up(void *ctx, int thread, int threads)
{
    job *j = ctx;
    cr_assert(thread >= 0 && thread < threads);
    int64_t begin, end, *scratch = gf_pool_scratch(j->pool, thread);
    gf_pool_split(1000, 7, thread, threads, &begin, &end);
    scratch[0] = 0;
    for (int64_t i = begin; i < end; i++)
        scratch[0] += i;
    j->sum[thread] = scratch[0];
    atomic_fetch_add(&j->calls, 1);
}

Test(pool, every_thread_runs_once_a_call)
{
    for (int threads = 1; threads <= 5; threads++) {
        gf_err err = {0};
        job j = {0};
        cr_assert_eq(gf_pool_open(&j.pool, threads, &err), GF_OK);
        cr_assert_eq(gf_pool_threads(j.pool), threads);
        cr_assert(gf_pool_bytes(j.pool) >= (size_t)threads * GF_POOL_SCRATCH);
        for (int run = 0; run < 300; run++) {
            if (run % 100 == 50) { /* long enough for all to fall asleep */
                const struct timespec nap = {0, 2000000};
                nanosleep(&nap, NULL);
            }
            atomic_store(&j.calls, 0);
            gf_pool_run(j.pool, add_up, &j);
            cr_assert_eq(atomic_load(&j.calls), threads);
            int64_t sum = 0;
            for (int t = 0; t < threads; t++)
                sum += j.sum[t];
            cr_assert_eq(sum, 499500);
        }
        gf_pool_close(j.pool);
    }
}

Test(pool, scratch_is_page_aligned_and_disjoint)
{
    gf_pool *pool;
    gf_err err = {0};
    cr_assert_eq(gf_pool_open(&pool, 3, &err), GF_OK);
    for (int t = 0; t < 3; t++)
        cr_assert_eq((uintptr_t)gf_pool_scratch(pool, t) % 4096, 0);
    cr_assert_eq((char *)gf_pool_scratch(pool, 1) - (char *)gf_pool_scratch(pool, 0),
                 (ptrdiff_t)GF_POOL_SCRATCH);
    gf_pool_close(pool);
    gf_pool_close(NULL);
}

Test(pool, splits_cover_evenly)
{
    for (int64_t n = 0; n < 200; n += 3)
        for (int64_t grain = 1; grain < 40; grain += 6)
            for (int threads = 1; threads < 9; threads++) {
                int64_t at = 0, least = INT64_MAX, most = 0;
                for (int t = 0; t < threads; t++) {
                    int64_t begin, end;
                    gf_pool_split(n, grain, t, threads, &begin, &end);
                    cr_assert_eq(begin, at);
                    cr_assert(end >= begin && (end == n || end % grain == 0));
                    const int64_t units = (end - begin + grain - 1) / grain;
                    least = units < least ? units : least;
                    most = units > most ? units : most;
                    at = end;
                }
                cr_assert_eq(at, n);
                cr_assert(most - least <= 1);
            }
}

Test(pool, refuses_nonsense)
{
    gf_pool *pool = NULL;
    gf_err err = {0};
    cr_assert_eq(gf_pool_open(&pool, -1, &err), GF_EARG);
    cr_assert_null(pool);
    cr_assert(err.text[0]);
}
