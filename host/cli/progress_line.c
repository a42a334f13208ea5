/* progress_line.c - a run's state as one line. Contract: progress.h. */
#include "cli/progress.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/number.h"

enum {
    PART = 96,     /* bytes of one value with its name */
    LEAST_BAR = 8, /* cells: below, a bar says nothing */
    MOST_BAR = 40  /* above, it says nothing more */
};

/* What a line may show, in the order in which it stands there. */
typedef enum {
    STEP,
    BAR,
    PERCENT,
    LOSS,
    LAST,
    EVAL,
    RATE,
    SPEED,
    SHARE,
    MEMORY,
    GPU,
    EPOCH,
    LEFT,
    PARTS
} part;

/* Who comes first when there is not room for all. */
static const part wanted[] = {STEP, LOSS,    LEFT,   BAR, SPEED, EVAL, SHARE,
                              LAST, PERCENT, MEMORY, GPU, RATE,  EPOCH};

/* Seconds to the end: this start's mean over what is done, less what has passed of the next step.
 */
static double seconds_left(const gf_progress *p, double now)
{
    const int64_t done = p->at.step - p->first, more = p->total - p->at.step;
    if (done <= 0)
        return -1;
    const double each = (p->stepped - p->started) / (double)done;
    const double left = each * (double)more - (now - p->stepped);
    return left > 0 ? left : 0;
}

void gf_progress_plain(const gf_progress *p, double now, char *text, size_t size)
{
    const gf_progress_point *at = &p->at;
    snprintf(text, size,
             "step %" PRId64 "/%" PRId64 "  epoch %.2f  loss %.4f  lr %.3g  %.0f tokens/s  %s left",
             at->step, p->total, at->epoch, at->loss, at->learning_rate, at->tokens_per_second,
             gf_number_duration(seconds_left(p, now)).text);
}

/* "1.2/3.4 GiB" where both have one unit. */
static void memory_text(char *text, uint64_t used, uint64_t planned)
{
    const gf_number a = gf_number_bytes_short(used), b = gf_number_bytes_short(planned);
    const char *unit = strchr(a.text, ' ');
    const bool same = unit && strchr(b.text, ' ') && !strcmp(unit, strchr(b.text, ' '));
    if (planned == 0)
        snprintf(text, PART, "mem %s", a.text);
    else
        snprintf(text, PART, "mem %.*s/%s", same ? (int)(unit - a.text) : (int)strlen(a.text),
                 a.text, b.text);
}

static void gpu_text(char *text, const gf_device_state *d)
{
    int n = snprintf(text, PART, "GPU %u%%", d->busy);
    if (d->watts)
        n += snprintf(text + n, (size_t)(PART - n), " %u W", d->watts);
    if (d->celsius)
        snprintf(text + n, (size_t)(PART - n), " %u C", d->celsius);
}

/* The step is written as wide as the last one will be, so that the line stands still. */
static int digits(int64_t n)
{
    return snprintf(NULL, 0, "%" PRId64, n);
}

/* The text of a value; "" if there is none (yet). */
static void part_text(const gf_progress *p, double now, part which, char *text)
{
    const gf_progress_point *at = &p->at;
    const bool stepped = at->step > p->first;
    *text = '\0';
    if (which == STEP)
        snprintf(text, PART, "%s %*" PRId64 "/%" PRId64, p->doing, digits(p->total), at->step,
                 p->total);
    else if (which == EVAL && !isnan(p->eval))
        snprintf(text, PART, "eval %.4f", p->eval);
    if (!stepped)
        return;
    switch (which) {
    case PERCENT:
        snprintf(text, PART, "%.0f%%", floor(100.0 * (double)at->step / (double)p->total));
        break;
    case LOSS:
        snprintf(text, PART, "loss %.4f", p->smooth_sum / p->smooth_weight);
        break;
    case LAST:
        snprintf(text, PART, "last %.4f", at->loss);
        break;
    case RATE:
        snprintf(text, PART, "lr %.3g", at->learning_rate);
        break;
    case SPEED:
        snprintf(text, PART, "%.0f tok/s", at->tokens_per_second);
        break;
    case SHARE:
        if (at->share > 0)
            snprintf(text, PART, "%.0f%% of limit", 100 * at->share);
        break;
    case MEMORY:
        if (at->memory)
            memory_text(text, at->memory, p->planned);
        break;
    case GPU:
        if (at->device.memory)
            gpu_text(text, &at->device);
        break;
    case EPOCH:
        snprintf(text, PART, "epoch %.2f", at->epoch);
        break;
    case LEFT:
        if (at->step < p->total)
            snprintf(text, PART, "%s left", gf_number_duration(seconds_left(p, now)).text);
        else
            snprintf(text, PART, "took %s", gf_number_duration(now - p->started).text);
        break;
    default:
        break;
    }
}

/* A bar of `cells` cells between two edges; in UTF-8 it grows by eighths of a cell. */
static void bar_text(const gf_progress *p, int cells, char *text, size_t size)
{
    static const char *const eighths[] = {" ",      "\u258f", "\u258e", "\u258d",
                                          "\u258c", "\u258b", "\u258a", "\u2589"};
    const int64_t grown =
        p->total > 0 ? (int64_t)(8.0 * cells * (double)p->at.step / (double)p->total) : 0;
    size_t n = (size_t)snprintf(text, size, "%s", p->utf8 ? "\u2595" : "[");
    for (int i = 0; i < cells; i++) {
        const int64_t here = grown - 8 * i;
        const char *cell = p->utf8 ? (here >= 8 ? "\u2588" : eighths[here > 0 ? here : 0])
                                   : (here >= 8 ? "#" : ".");
        n += (size_t)snprintf(text + n, size - n, "%s", cell);
    }
    snprintf(text + n, size - n, "%s", p->utf8 ? "\u258f" : "]");
}

int gf_progress_line(const gf_progress *p, double now, int columns, char *text, size_t size)
{
    char value[PARTS][PART] = {{0}}, bar[4 * (MOST_BAR + 2) + 1] = "";
    bool shown[PARTS] = {false};
    int width = 0, cells = 0;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const part which = wanted[i];
        part_text(p, now, which, value[which]);
        const int own = which == BAR ? LEAST_BAR + 2 : (int)strlen(value[which]);
        const int more = own + (width ? 2 : 0); /* two blanks between values */
        if (own == 0)
            continue;
        if (width + more > columns)
            break; /* what is asked for less does not take the place: it would come and go */
        shown[which] = true;
        width += more;
    }
    if (shown[BAR]) {
        cells = LEAST_BAR + columns - width;
        cells = cells < MOST_BAR ? cells : MOST_BAR;
        width += cells - LEAST_BAR;
        bar_text(p, cells, bar, sizeof bar);
    }
    size_t n = 0;
    *text = '\0';
    for (int i = 0; i < PARTS; i++)
        if (shown[i] && n < size)
            n += (size_t)snprintf(text + n, size - n, "%s%s", n ? "  " : "",
                                  i == BAR ? bar : value[i]);
    return width;
}
