/* test_loss.c - what is known about a lost rank, between the thread that watches and the one that
 * works. */
#include "comm/loss.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static bool readable(const gf_loss *l)
{
    struct pollfd p = {.fd = gf_loss_event(l), .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

Test(loss, the_first_counts_and_stays)
{
    gf_err err = {0};
    char text[GF_LOSS_TEXT];
    gf_loss *l = gf_loss_new(&err);
    cr_assert(l, "%s", err.text);
    cr_expect(!readable(l) && !gf_loss_get(l, 10, text));
    gf_loss_set(l, "rank 3 is gone");
    gf_loss_set(l, "rank 4 is gone");
    for (int i = 0; i < 2; i++) {
        cr_expect(readable(l) && gf_loss_get(l, i * 1000, text));
        cr_expect_str_eq(text, "rank 3 is gone");
    }
    gf_loss_free(l);
    gf_loss_free(NULL);
}

static atomic_int calls;

static void count_slowly(void *ctx)
{
    usleep(50000);
    atomic_fetch_add(&calls, *(int *)ctx);
}

/* It runs once, in another thread; taking it back waits for it. */
Test(loss, a_cancellation_runs_beside_the_work)
{
    gf_err err = {0};
    int one = 1, ten = 10;
    gf_loss *l = gf_loss_new(&err);
    cr_assert(l);
    gf_loss_on_cancel(l, count_slowly, &one);
    cr_expect_eq(atomic_load(&calls), 0);
    gf_loss_set(l, "x");
    gf_loss_set(l, "y");
    for (int i = 0; i < 500 && !atomic_load(&calls); i++)
        usleep(10000);
    gf_loss_on_cancel(l, NULL, NULL);
    cr_expect_eq(atomic_load(&calls), 1);
    gf_loss_on_cancel(l, count_slowly, &ten); /* set after the loss: at once */
    gf_loss_free(l);
    cr_expect(atomic_load(&calls) == 11 || atomic_load(&calls) == 1,
              "taken back before it began, or after it ended: %d", atomic_load(&calls));
}

static void keep(void *ctx, const char *text)
{
    strcpy(ctx, text);
}

Test(loss, whom_to_tell_is_told_only_of_a_loss)
{
    gf_err err = {0};
    char told[GF_LOSS_TEXT] = "";
    gf_loss *l = gf_loss_new(&err);
    cr_assert(l);
    gf_loss_on_lost(l, keep, told);
    gf_loss_tell(l);
    cr_expect_str_eq(told, "");
    gf_loss_set(l, "rank 1 is gone");
    gf_loss_tell(l);
    cr_expect_str_eq(told, "rank 1 is gone");
    gf_loss_on_lost(l, NULL, NULL);
    gf_loss_tell(l);
    gf_loss_free(l);
}

static void *look_at_signals(void *ctx)
{
    pthread_sigmask(SIG_SETMASK, NULL, ctx);
    return NULL;
}

Test(loss, its_threads_take_no_signals)
{
    pthread_t t;
    sigset_t there, here;
    cr_assert_eq(gf_loss_thread(&t, look_at_signals, &there), 0);
    pthread_join(t, NULL);
    pthread_sigmask(SIG_SETMASK, NULL, &here);
    cr_expect(sigismember(&there, SIGUSR1) && !sigismember(&here, SIGUSR1));
}
