/* schedule.c - see schedule.h. Operations stand in the order of the original, so that not only the
 * first digits agree. */
#include "train/schedule.h"

#include <math.h>

static double at_least_1(double x)
{
    return x > 1 ? x : 1;
}

static double not_negative(double x)
{
    return x > 0 ? x : 0;
}

static double half_wave(double cycles, double progress)
{
    return 0.5 * (1.0 + cos(M_PI * cycles * 2.0 * progress));
}

static double with_floor(double factor, double floor)
{
    return factor * (1 - floor) + floor;
}

static double warmup_factor(const gf_schedule *s, double done)
{
    const double warmup = (double)s->warmup, progress = done / at_least_1(warmup);
    double factor = progress;
    if (s->type == GF_LR_COSINE_WARMUP_MIN) {
        if (s->warmup_lr_rate < 0)
            return (done + 1.0) / at_least_1(warmup);
        return s->warmup_lr_rate + (1.0 - s->warmup_lr_rate) * done / at_least_1(warmup - 1);
    }
    if (s->type != GF_LR_STABLE)
        return factor;
    if (s->warmup_type == GF_SHAPE_COSINE)
        factor = 0.5 * (1.0 - cos(M_PI * progress));
    else if (s->warmup_type == GF_SHAPE_SQRT)
        factor = 1.0 - sqrt(1.0 - progress);
    return not_negative(with_floor(factor, s->min_lr_ratio));
}

static double stable_factor(const gf_schedule *s, double after)
{
    const double decay = (double)s->num_decay_steps, at = after - (double)s->num_stable_steps;
    if (at < 0)
        return 1;
    if (at >= decay)
        return s->min_lr_ratio;
    const double progress = at / at_least_1(decay);
    double factor = 1.0 - progress;
    if (s->decay_type == GF_SHAPE_COSINE)
        factor = half_wave(s->num_cycles, progress);
    else if (s->decay_type == GF_SHAPE_SQRT)
        factor = 1.0 - sqrt(progress);
    return not_negative(with_floor(factor, s->min_lr_ratio));
}

/* Of the peak, `after` steps behind the warm-up. */
static double factor_at(const gf_schedule *s, double done, double after)
{
    const double left = at_least_1((double)(s->total - s->warmup)), progress = after / left;
    double timescale;
    switch (s->type) {
    case GF_LR_LINEAR:
        return not_negative(((double)s->total - done) / left);
    case GF_LR_COSINE:
        return not_negative(half_wave(s->num_cycles, progress));
    case GF_LR_COSINE_RESTARTS:
        if (progress >= 1)
            return 0;
        return not_negative(0.5 * (1.0 + cos(M_PI * fmod(s->num_cycles * progress, 1.0))));
    case GF_LR_COSINE_MIN:
        return not_negative(with_floor(half_wave(s->num_cycles, progress), s->min_lr_rate));
    case GF_LR_COSINE_WARMUP_MIN:
        return not_negative(
            with_floor(half_wave(s->num_cycles, (after + 1.0) / left), s->min_lr_rate));
    case GF_LR_POLYNOMIAL:
        if (done > (double)s->total)
            return s->lr_end / s->peak;
        return ((s->peak - s->lr_end) * pow(1 - progress, s->power) + s->lr_end) / s->peak;
    case GF_LR_INVERSE_SQRT:
        timescale = (double)s->timescale;
        return 1.0 / sqrt((done + (timescale - (double)s->warmup)) / timescale);
    case GF_LR_STABLE:
        return stable_factor(s, after);
    default:
        return 1;
    }
}

bool gf_lr_adapts(const gf_schedule *s)
{
    return s->type == GF_LR_PLATEAU || s->type == GF_LR_GREEDY;
}

double gf_lr_at(const gf_schedule *s, int64_t step)
{
    const double done = (double)(step - 1), after = done - (double)s->warmup;
    if (s->type == GF_LR_CONSTANT || gf_lr_adapts(s))
        return s->peak;
    return s->peak * (after < 0 ? warmup_factor(s, done) : factor_at(s, done, after));
}

/* ---- schedules that follow the evaluation's loss --------------------------------------------- */

typedef struct {
    double lr, best, sum;
    int64_t bad, good, cooldown, warmup, reset;
    int64_t first; /* loss that the running mean begins with */
} course;

static bool is_better(const gf_schedule *s, double loss, double best)
{
    return loss < (s->threshold_abs ? best - s->threshold : best * (1.0 - s->threshold));
}

static void reduce_rate(const gf_schedule *s, course *c)
{
    const double lower = c->lr * s->factor > s->min_lr ? c->lr * s->factor : s->min_lr;
    if (c->lr - lower > s->eps)
        c->lr = lower;
}

static void plateau(const gf_schedule *s, course *c, double loss)
{
    c->bad++;
    if (is_better(s, loss, c->best)) {
        c->best = loss;
        c->bad = 0;
    }
    if (c->cooldown > 0) {
        c->cooldown--;
        c->bad = 0;
    }
    if (c->bad > s->patience) {
        reduce_rate(s, c);
        c->cooldown = s->cooldown;
        c->bad = 0;
    }
}

static course course_start(const gf_schedule *s, int64_t first)
{
    return (course){
        .lr = s->peak, .best = (double)INFINITY, .reset = s->reset_start, .first = first};
}

/* A plateau that lasted: lower, and after reset_start times at the bottom from the beginning. */
static void greedy_down(const gf_schedule *s, course *c, int64_t at)
{
    reduce_rate(s, c);
    if (c->lr <= s->min_lr && --c->reset <= 0)
        *c = course_start(s, at + 1);
    c->cooldown = s->cooldown;
    c->bad = 0;
}

static void greedy_up(const gf_schedule *s, course *c)
{
    const double higher = c->lr / s->factor < s->max_lr ? c->lr / s->factor : s->max_lr;
    if (higher - c->lr > s->eps)
        c->lr = higher;
    c->reset = s->reset_start;
    c->warmup = s->warmup_evals;
    c->good = 0;
}

static void greedy(const gf_schedule *s, course *c, const double *loss, int64_t at)
{
    double now = loss[at];
    if (s->smooth) {
        c->sum += now;
        if (at - c->first >= s->window_size)
            c->sum -= loss[c->first++];
        now = c->sum / (double)(at + 1 - c->first);
    }
    if (c->cooldown > 0 || c->warmup > 0) {
        --*(c->cooldown > 0 ? &c->cooldown : &c->warmup);
        c->bad = c->good = 0;
        return;
    }
    if (is_better(s, now, c->best)) {
        c->best = now;
        c->bad = 0;
        c->good++;
    } else {
        c->bad++;
        c->good = 0;
    }
    if (c->good > s->patience)
        greedy_up(s, c);
    else if (c->bad > s->patience)
        greedy_down(s, c, at);
}

double gf_lr_adapted(const gf_schedule *s, const double *loss, int64_t count)
{
    course c = course_start(s, 0);
    for (int64_t i = 0; i < count; i++) {
        if (s->type == GF_LR_GREEDY)
            greedy(s, &c, loss, i);
        else
            plateau(s, &c, loss[i]);
    }
    return c.lr;
}
