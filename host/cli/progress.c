/* progress.c - bar or plain lines. Contract: progress.h. */
#include "cli/progress.h"

#include "cli/terminal.h"

#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST_COLUMNS = 240, NARROWEST = 8 }; /* a line that is longer is not read */

/* Weight of a step in the smoothed loss, over that of the step before it. */
#define FADING 0.9

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- the terminal ---------------------------------------------------------------------- */

/* Does the user's locale write UTF-8? Asked without making it the program's own. */
static bool locale_is_utf8(void)
{
    const locale_t own = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
    if (own == (locale_t)0)
        return false;
    const bool utf8 = strcmp(nl_langinfo_l(CODESET, own), "UTF-8") == 0;
    freelocale(own);
    return utf8;
}

static bool is_terminal(FILE *out)
{
    const char *term = getenv("TERM");
    return isatty(fileno(out)) == 1 && !(term && !strcmp(term, "dumb"));
}

/* Takes the line away. A terminal that became narrower has laid it out over several rows. */
static void wipe(gf_progress *p)
{
    const int wide = gf_terminal_columns(p->out), rows = p->drawn > 0 ? (p->drawn - 1) / wide : 0;
    if (p->drawn == 0)
        return;
    if (rows > 0)
        fprintf(p->out, "\033[%dA", rows); /* ECMA-48: up */
    fputs("\r\033[J", p->out);             /* and erase to the end of the screen */
    p->drawn = 0;
}

static void draw(gf_progress *p)
{
    char text[4 * MOST_COLUMNS + 1];
    int wide = gf_terminal_columns(p->out) - 1; /* a full line would wrap on some terminals */
    wide = wide > MOST_COLUMNS ? MOST_COLUMNS : wide;
    wipe(p);
    if (wide >= NARROWEST) {
        p->drawn = gf_progress_line(p, now(), wide, text, sizeof text);
        fputs(text, p->out);
    }
    fflush(p->out);
}

/* ---- the painter ------------------------------------------------------------------------ */

/* Posted when the width has changed and when the painter shall end: a signal handler may do that.
 */
static sem_t wake;

static void on_resize(int number)
{
    (void)number;
    sem_post(&wake);
}

static void *paint(void *arg)
{
    gf_progress *p = arg;
    for (bool on = true; on;) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 1; /* the time left counts seconds */
        sem_timedwait(&wake, &until);
        pthread_mutex_lock(&p->lock);
        on = p->painting;
        if (on)
            draw(p);
        pthread_mutex_unlock(&p->lock);
    }
    return NULL;
}

/* Without a painter the line is drawn at each step only. Signals are the run's: the painter's
 * thread takes none. */
static void start_painter(gf_progress *p)
{
    sigset_t all, before;
    const struct sigaction act = {.sa_handler = on_resize, .sa_flags = SA_RESTART};
    pthread_mutex_init(&p->lock, NULL);
    if (sem_init(&wake, 0, 0))
        return;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    p->painting = true;
    p->painting = pthread_create(&p->painter, NULL, paint, p) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (p->painting)
        sigaction(SIGWINCH, &act, NULL);
}

static void lock(gf_progress *p)
{
    if (p->terminal)
        pthread_mutex_lock(&p->lock);
}

static void unlock(gf_progress *p)
{
    if (p->terminal)
        pthread_mutex_unlock(&p->lock);
}

/* ---- what a run tells -------------------------------------------------------------------- */

void gf_progress_start(gf_progress *p, FILE *out, int64_t first, int64_t total, int64_t every,
                       uint64_t planned)
{
    const double start = now();
    *p = (gf_progress){.out = out,
                       .terminal = is_terminal(out),
                       .first = first,
                       .total = total,
                       .every = every > 0 ? every : 1,
                       .planned = planned,
                       .started = start,
                       .stepped = start,
                       .at = {.step = first},
                       .eval = NAN,
                       .doing = "step"};
    if (!p->terminal)
        return;
    p->utf8 = locale_is_utf8();
    start_painter(p);
}

void gf_progress_step(gf_progress *p, const gf_progress_point *at)
{
    char text[256]; /* of a pipe's line: seven numbers */
    lock(p);
    p->at = *at;
    p->stepped = now();
    p->smooth_sum = FADING * p->smooth_sum + at->loss;
    p->smooth_weight = FADING * p->smooth_weight + 1;
    if (p->terminal) {
        draw(p);
    } else if (at->step % p->every == 0 || at->step == p->total) {
        gf_progress_plain(p, p->stepped, text, sizeof text);
        fprintf(p->out, "%s\n", text);
        fflush(p->out);
    }
    unlock(p);
}

void gf_progress_doing(gf_progress *p, const char *word)
{
    lock(p);
    p->doing = word;
    if (p->terminal)
        draw(p);
    unlock(p);
}

void gf_progress_eval(gf_progress *p, double loss)
{
    lock(p);
    p->eval = loss;
    unlock(p);
}

void gf_progress_note(gf_progress *p, const char *fmt, ...)
{
    va_list args;
    lock(p);
    wipe(p);
    va_start(args, fmt);
    vfprintf(p->out, fmt, args);
    va_end(args);
    fputc('\n', p->out);
    fflush(p->out);
    unlock(p);
}

void gf_progress_end(gf_progress *p)
{
    if (p->painting) {
        const struct sigaction ignore = {.sa_handler = SIG_DFL};
        lock(p);
        p->painting = false;
        unlock(p);
        sem_post(&wake);
        pthread_join(p->painter, NULL);
        sigaction(SIGWINCH, &ignore, NULL);
    }
    if (p->terminal && p->at.step > p->first)
        draw(p);
    if (p->drawn)
        fputc('\n', p->out);
    p->drawn = 0;
    p->terminal = false; /* what may still be noted is a plain line */
    if (p->out)
        fflush(p->out);
}
