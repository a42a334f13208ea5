/* progress.c - bar or plain lines. Contract: progress.h. */
#include "cli/progress.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/number.h"

enum { LINE = 256, BAR = 24 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void gf_progress_start(gf_progress *p, FILE *out, int64_t first, int64_t total, int64_t every)
{
    *p = (gf_progress){.out = out,
                       .terminal = isatty(fileno(out)) == 1,
                       .first = first,
                       .total = total,
                       .every = every > 0 ? every : 1,
                       .started = now()};
}

void gf_progress_text(const gf_progress *p, const gf_progress_point *at, double elapsed, int bar,
                      char *text, size_t size)
{
    char cells[BAR + 4] = "";
    bar = bar < BAR ? bar : BAR;
    if (bar > 0 && p->total > 0) {
        const int full = (int)((double)bar * (double)at->step / (double)p->total);
        cells[0] = '[';
        for (int i = 0; i < bar; i++)
            cells[1 + i] = i < full ? '#' : '.';
        memcpy(cells + 1 + bar, "] ", 3);
    }
    const int64_t done = at->step - p->first;
    const double left = done > 0 ? elapsed / (double)done * (double)(p->total - at->step) : -1;
    snprintf(text, size,
             "%sstep %" PRId64 "/%" PRId64 "  epoch %.2f  loss %.4f  lr %.3g  %.0f tokens/s"
             "  %s left",
             cells, at->step, p->total, at->epoch, at->loss, at->learning_rate,
             at->tokens_per_second, gf_number_duration(left).text);
}

static int columns(FILE *out)
{
    struct winsize w;
    return ioctl(fileno(out), TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 80;
}

static void wipe(gf_progress *p)
{
    if (p->drawn)
        fputs("\r\033[K", p->out); /* ECMA-48: erase to the end of the line */
    p->drawn = false;
}

void gf_progress_step(gf_progress *p, const gf_progress_point *at)
{
    char text[LINE];
    const double elapsed = now() - p->started;
    const bool due = at->step % p->every == 0 || at->step == p->total;
    if (p->terminal) {
        const int width = columns(p->out);
        gf_progress_text(p, at, elapsed,
                         width >= 110  ? BAR
                         : width >= 95 ? 10
                                       : 0,
                         text, sizeof text);
        wipe(p);
        fprintf(p->out, "%.*s", width - 1, text); /* a full line would wrap on some terminals */
        p->drawn = true;
    } else if (due) {
        gf_progress_text(p, at, elapsed, 0, text, sizeof text);
        fprintf(p->out, "%s\n", text);
    }
    fflush(p->out);
}

void gf_progress_note(gf_progress *p, const char *fmt, ...)
{
    va_list args;
    wipe(p);
    va_start(args, fmt);
    vfprintf(p->out, fmt, args);
    va_end(args);
    fputc('\n', p->out);
    fflush(p->out);
}

void gf_progress_end(gf_progress *p)
{
    if (p->drawn)
        fputc('\n', p->out);
    p->drawn = false;
    fflush(p->out);
}
