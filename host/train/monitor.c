/* monitor.c - contract: monitor.h. */
#include "train/monitor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/json.h"
#include "train/exposition.h"
#include "train/metrics.h"

/* Seconds between two writes of the Prometheus file: collectors look every 15 s or so, and each
 * write waits for the disk. And between two refreshes of the report, whatever happens. */
#define EXPOSITION_PERIOD 1.0
#define REPORT_PERIOD 5.0

struct gf_monitor {
    gf_monitor_options opt;
    gf_events *events; /* or NULL */
    FILE *samples;     /* or NULL */
    char *samples_path, *report_path;
    gf_curves curves;
    gf_exposition now; /* what Prometheus reads */
    double started, exposed, reported;
    int64_t step;
};

static double clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- opening ------------------------------------------------------------------------------ */

/* Markdown cannot be broken by what stands between backquotes, but by a bar, a backquote or a
 * newline. */
static gf_status add_cell(gf_buf *b, const char *text, gf_err *err)
{
    TRY(gf_buf_str(b, "`", err));
    for (; *text; text++) {
        const char c[2] = {strchr("|`\r\n", *text) ? ' ' : *text};
        TRY(gf_buf_str(b, c, err));
    }
    return gf_buf_str(b, "`", err);
}

static gf_status options_table(const gf_monitor_options *o, gf_buf *b, gf_err *err)
{
    TRY(gf_buf_str(b, "| option | value |\n| --- | --- |\n", err));
    for (int i = 0; i < o->params; i++) {
        const gf_hparam *p = &o->param[i];
        TRY(gf_buf_printf(b, err, "| %s | ", p->name));
        if (p->kind == GF_HPARAM_TEXT)
            TRY(add_cell(b, p->text, err));
        else if (p->kind == GF_HPARAM_BOOL)
            TRY(gf_buf_str(b, p->number != 0 ? "yes" : "no", err));
        else
            TRY(gf_json_number(b, p->number, err));
        TRY(gf_buf_str(b, " |\n", err));
    }
    return GF_OK;
}

/* DIR/runs/NAME, NAME being the folder's own: so that several runs can be told apart. */
static char *events_folder(const char *dir, gf_err *err)
{
    char *whole = realpath(dir, NULL);
    const char *name = whole ? gf_path_name(whole) : "run";
    char *path = gf_format(err, "%s/runs/%s", dir, *name ? name : "run");
    free(whole);
    return path;
}

static gf_status open_events(gf_monitor *m, gf_err *err)
{
    static const char *const metrics[] = {"train/loss", "eval/loss", "eval/accuracy"};
    const gf_monitor_options *o = &m->opt;
    gf_buf table = {0};
    gf_status st = GF_OK;
    char *folder = NULL, *runs = gf_path_join(o->dir, "runs", err);
    if (!runs || !(folder = events_folder(o->dir, err)))
        st = GF_ENOMEM;
    if (st == GF_OK && o->step == 0)
        st = gf_dir_remove(runs, err); /* of a start that left no checkpoint, like its metrics */
    if (st == GF_OK && o->tensorboard)
        st = gf_events_open(&m->events, folder, o->step, err);
    if (st == GF_OK && m->events)
        st = gf_events_hparams(m->events, o->param, o->params, metrics, 3, err);
    if (st == GF_OK && m->events)
        st = options_table(o, &table, err);
    if (st == GF_OK && m->events)
        st = gf_events_text(m->events, "options/text_summary", o->step, table.data, err);
    gf_buf_free(&table);
    free(folder);
    free(runs);
    return st;
}

static gf_status open_all(gf_monitor *m, gf_err *err)
{
    const gf_monitor_options *o = &m->opt;
    m->samples_path = gf_path_join(o->dir, "samples.jsonl", err);
    m->report_path = gf_path_join(o->dir, "report.html", err);
    char *metrics = gf_path_join(o->dir, "metrics.jsonl", err);
    gf_status st = m->samples_path && m->report_path && metrics ? GF_OK : GF_ENOMEM;
    if (st == GF_OK)
        st = gf_curves_read(&m->curves, metrics, err);
    free(metrics);
    TRY(st);
    /* Also without prompts: what an earlier start wrote of later steps must go. */
    if (o->prompts || gf_file_exists(m->samples_path))
        TRY(gf_metrics_open(&m->samples, m->samples_path, o->step, err));
    TRY(open_events(m, err));
    m->now = (gf_exposition){.run = o->dir,
                             .version = o->version,
                             .model = o->model,
                             .step = o->step,
                             .total = o->total,
                             .limit = o->limit,
                             .planned = o->plan->total + o->plan->threads,
                             .running = true};
    if (o->metrics_file)
        TRY(gf_exposition_write(&m->now, o->metrics_file, err));
    return GF_OK;
}

gf_status gf_monitor_open(gf_monitor **out, const gf_monitor_options *opt, gf_err *err)
{
    gf_monitor *m = gf_alloc(1, sizeof *m, err);
    *out = NULL;
    if (!m)
        return GF_ENOMEM;
    m->opt = *opt;
    m->step = opt->step;
    m->started = clock_now();
    const gf_status st = open_all(m, err);
    if (st == GF_OK)
        *out = m;
    else
        gf_monitor_close(m);
    return st;
}

void gf_monitor_close(gf_monitor *m)
{
    if (!m)
        return;
    gf_events_close(m->events, NULL);
    if (m->samples)
        fclose(m->samples);
    gf_curves_free(&m->curves);
    free(m->samples_path);
    free(m->report_path);
    free(m);
}

/* ---- the report ---------------------------------------------------------------------------- */

static gf_status write_report(gf_monitor *m, const char *state, gf_err *err)
{
    const gf_monitor_options *o = &m->opt;
    if (!o->html)
        return GF_OK;
    m->reported = clock_now();
    const gf_report r = {.state = state,
                         .step = m->step,
                         .total = o->total,
                         .seconds = m->reported - m->started,
                         .facts = o->facts,
                         .plan = o->plan,
                         .arena = o->arena,
                         .curves = &m->curves,
                         .samples = m->samples_path};
    return gf_report_write(&r, m->report_path, err);
}

/* Unless it is fresh: tiny models evaluate and save many times a second. */
static gf_status refresh_report(gf_monitor *m, gf_err *err)
{
    if (m->reported > 0 && clock_now() - m->reported < REPORT_PERIOD)
        return GF_OK;
    return write_report(m, "running", err);
}

static gf_status expose(gf_monitor *m, bool at_once, gf_err *err)
{
    const double now = clock_now();
    if (!m->opt.metrics_file || (!at_once && now - m->exposed < EXPOSITION_PERIOD))
        return GF_OK;
    m->exposed = now;
    return gf_exposition_write(&m->now, m->opt.metrics_file, err);
}

/* ---- what happens ---------------------------------------------------------------------------- */

static gf_status step_events(gf_monitor *m, const gf_step *s, double share, gf_err *err)
{
    const gf_device_state *d = &s->device;
    const struct {
        const char *tag;
        double value;
        bool known;
    } scalar[] = {
        {"train/loss", s->loss, true},
        {"train/grad_norm", s->grad_norm, true},
        {"train/learning_rate", s->learning_rate, true},
        {"train/epoch", s->epoch, true},
        {"train/tokens_per_second", (double)s->tokens / s->seconds, true},
        {"train/machine_share", share, share > 0},
        {"gpu/utilization", d->busy, d->memory > 0},
        {"gpu/power_watts", d->watts, d->memory > 0},
        {"gpu/temperature_celsius", d->celsius, d->memory > 0},
        {"gpu/memory_gib", (double)d->memory_used / (double)(1 << 30), d->memory > 0},
    };
    for (size_t i = 0; m->events && i < sizeof scalar / sizeof *scalar; i++)
        if (scalar[i].known)
            TRY(gf_events_scalar(m->events, scalar[i].tag, s->step, scalar[i].value, err));
    return GF_OK;
}

gf_status gf_monitor_step(gf_monitor *m, const gf_step *s, uint64_t memory, gf_err *err)
{
    const double share = m->opt.limit > 0 ? (double)s->flops / s->seconds / m->opt.limit : 0;
    const double value[GF_CURVES] = {[GF_CURVE_loss] = s->loss,
                                     [GF_CURVE_grad_norm] = s->grad_norm,
                                     [GF_CURVE_learning_rate] = s->learning_rate,
                                     [GF_CURVE_tokens_per_second] = (double)s->tokens / s->seconds};
    m->step = s->step;
    TRY(gf_curves_step(&m->curves, s->step, value, err));
    TRY(step_events(m, s, share, err));
    const double done = (double)(s->step - m->opt.step), passed = clock_now() - m->started;
    gf_exposition *e = &m->now;
    e->step = s->step;
    e->epoch = s->epoch;
    e->loss = s->loss;
    e->grad_norm = s->grad_norm;
    e->learning_rate = s->learning_rate;
    e->tokens_per_second = value[GF_CURVE_tokens_per_second];
    e->share = share;
    e->tokens += s->tokens;
    e->trained += s->trained;
    e->memory = memory;
    e->seconds_left = passed / done * (double)(m->opt.total - s->step);
    e->device = s->device;
    e->stepped = true;
    return expose(m, false, err);
}

gf_status gf_monitor_eval(gf_monitor *m, int64_t step, double loss, double accuracy, gf_err *err)
{
    TRY(gf_curves_eval(&m->curves, step, loss, accuracy, err));
    if (m->events) {
        TRY(gf_events_scalar(m->events, "eval/loss", step, loss, err));
        TRY(gf_events_scalar(m->events, "eval/accuracy", step, accuracy, err));
    }
    m->now.eval_loss = loss;
    m->now.eval_accuracy = accuracy;
    m->now.evaluated = true;
    TRY(expose(m, false, err));
    return refresh_report(m, err);
}

static gf_status sample_line(gf_buf *b, int64_t step, int number, const gf_prompt *p,
                             const gf_answer *a, gf_err *err)
{
    TRY(gf_buf_printf(b, err, "{\"step\":%lld,\"index\":%d,\"prompt\":", (long long)step, number));
    TRY(gf_json_quote(b, p->text, strlen(p->text), err));
    if (p->wanted) {
        TRY(gf_buf_str(b, ",\"wanted\":", err));
        TRY(gf_json_quote(b, p->wanted, strlen(p->wanted), err));
    }
    TRY(gf_buf_str(b, ",\"answer\":", err));
    TRY(gf_json_quote(b, a->text, strlen(a->text), err));
    return gf_buf_printf(b, err, ",\"tokens\":%lld,\"ended\":%s}\n", (long long)a->tokens,
                         a->ended ? "true" : "false");
}

/* A text as Markdown shows it letter by letter: an indented block. */
static gf_status quote_block(gf_buf *b, const char *title, const char *text, gf_err *err)
{
    TRY(gf_buf_printf(b, err, "**%s**\n\n    ", title));
    for (; *text; text++) {
        const char c[2] = {*text};
        TRY(gf_buf_str(b, c, err));
        if (*text == '\n')
            TRY(gf_buf_str(b, "    ", err));
    }
    return gf_buf_str(b, "\n\n", err);
}

static gf_status sample_event(gf_monitor *m, int64_t step, int i, const gf_answer *a, gf_err *err)
{
    gf_buf text = {0};
    char tag[64];
    snprintf(tag, sizeof tag, "samples/%d/text_summary", i + 1);
    gf_status st = quote_block(&text, "prompt", m->opt.prompts->item[i].text, err);
    if (st == GF_OK)
        st = quote_block(&text, a->ended ? "answer" : "answer (cut)", a->text, err);
    if (st == GF_OK)
        st = gf_events_text(m->events, tag, step, text.data, err);
    gf_buf_free(&text);
    return st;
}

gf_status gf_monitor_samples(gf_monitor *m, int64_t step, const gf_answer *answer, gf_err *err)
{
    const gf_prompts *p = m->opt.prompts;
    gf_buf lines = {0};
    gf_status st = GF_OK;
    for (int i = 0; st == GF_OK && i < p->count; i++) {
        st = sample_line(&lines, step, i, &p->item[i], &answer[i], err);
        if (st == GF_OK && m->events)
            st = sample_event(m, step, i, &answer[i], err);
    }
    if (st == GF_OK &&
        (fwrite(lines.data, 1, lines.len, m->samples) != lines.len || fflush(m->samples)))
        st = gf_fail(err, GF_EIO, "%s: %s", m->samples_path, strerror(errno));
    gf_buf_free(&lines);
    return st == GF_OK ? refresh_report(m, err) : st;
}

gf_status gf_monitor_saved(gf_monitor *m, int64_t step, gf_err *err)
{
    m->step = step;
    return refresh_report(m, err);
}

gf_status gf_monitor_end(gf_monitor *m, const char *state, const char *facts, gf_err *err)
{
    gf_status st = GF_OK;
    if (facts)
        m->opt.facts = facts;
    m->now.running = false;
    m->now.seconds_left = 0;
    if (m->events)
        st = gf_events_hparams_end(m->events, strcmp(state, "failed") != 0, err);
    const gf_status closed = gf_events_close(m->events, err);
    m->events = NULL;
    TRY(st);
    TRY(closed);
    TRY(expose(m, true, err));
    return write_report(m, state, err);
}
