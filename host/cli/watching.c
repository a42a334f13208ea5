/* watching.c - contract: watching.h. */
#include "cli/watching.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli/facts.h"
#include "cli/machine.h"

static void look(void *ctx, gf_device_state *device)
{
    const gf_watching *w = ctx;
    gf_gauge_read(w->gauge, device);
}

/* Of what the machine can do, how much a step did. */
static double share(const gf_watching *w, const gf_step *s)
{
    return w->limit > 0 ? (double)s->flops / s->seconds / w->limit : 0;
}

static gf_status on_step(void *ctx, const gf_step *s, gf_err *err)
{
    gf_watching *w = ctx;
    const uint64_t memory = w->s->backend.cuda ? s->device.memory_used : gf_machine_resident();
    const gf_progress_point at = {.step = s->step,
                                  .epoch = s->epoch,
                                  .loss = s->loss,
                                  .learning_rate = s->learning_rate,
                                  .tokens_per_second = (double)s->tokens / s->seconds,
                                  .share = share(w, s),
                                  .memory = memory,
                                  .device = s->device};
    gf_progress_step(&w->progress, &at);
    return gf_monitor_step(w->monitor, s, memory, err);
}

static gf_status on_eval(void *ctx, int64_t step, double loss, double accuracy, gf_err *err)
{
    gf_watching *w = ctx;
    gf_progress_eval(&w->progress, loss);
    gf_progress_note(&w->progress, "step %lld: eval loss %.4f, accuracy %.3f", (long long)step,
                     loss, accuracy);
    return gf_monitor_eval(w->monitor, step, loss, accuracy, err);
}

static gf_status on_samples(void *ctx, int64_t step, const gf_answer *answer, gf_err *err)
{
    const gf_watching *w = ctx;
    return gf_monitor_samples(w->monitor, step, answer, err);
}

static gf_status on_saved(void *ctx, int64_t step, gf_err *err)
{
    const gf_watching *w = ctx;
    return gf_monitor_saved(w->monitor, step, err);
}

static void on_phase(void *ctx, gf_phase now)
{
    static const char *const words[] = {[GF_PHASE_STEPS] = "step",
                                        [GF_PHASE_EVALUATION] = "evaluate",
                                        [GF_PHASE_SAVING] = "save",
                                        [GF_PHASE_SAMPLES] = "sample"};
    gf_watching *w = ctx;
    gf_progress_doing(&w->progress, words[now]);
}

static void on_note(void *ctx, const char *text)
{
    gf_watching *w = ctx;
    gf_progress_note(&w->progress, "%s", text);
}

void gf_watching_open(gf_watching *w, gf_session *s, const gf_plan *plan)
{
    gf_err why = {0};
    *w = (gf_watching){.s = s, .plan = plan};
    w->limit = gf_plan_limit(&s->backend, gf_session_precision(s));
    if (s->backend.cuda && gf_gauge_open(&w->gauge, &s->backend, &why) != GF_OK)
        fprintf(stderr, "graft: note: the GPU's load and power are not reported: %s\n", why.text);
}

gf_watch gf_watching_calls(gf_watching *w)
{
    return (gf_watch){.look = look,
                      .on_step = on_step,
                      .on_eval = on_eval,
                      .on_samples = on_samples,
                      .on_saved = on_saved,
                      .on_phase = on_phase,
                      .on_note = on_note,
                      .ctx = w};
}

/* What the report is to say of the run now. */
static gf_status gather(gf_watching *w, const gf_buf *record, gf_err *err)
{
    gf_buf all = {0};
    gf_status st = gf_buf_add(&all, w->data.data, w->data.len, err);
    if (st == GF_OK)
        st = gf_buf_str(&all, ",\"run\":", err);
    if (st == GF_OK)
        st = gf_buf_add(&all, record->data, record->len, err);
    if (st != GF_OK) {
        gf_buf_free(&all);
        return st;
    }
    gf_buf_free(&w->facts);
    w->facts = all;
    return GF_OK;
}

gf_status gf_watching_start(gf_watching *w, const gf_trainer *t, const gf_record *r, gf_err *err)
{
    static const gf_dataset none = {0};
    const gf_options *o = w->s->o;
    gf_monitor_options opt = {.dir = o->output_dir,
                              .metrics_file = o->metrics_file,
                              .version = GRAFT_VERSION,
                              .model = o->model,
                              .plan = w->plan,
                              .arena = &w->s->arena,
                              .prompts = t->prompts,
                              .limit = w->limit,
                              .step = t->step,
                              .total = t->opt.schedule.total};
    gf_buf record = {0};
    gf_status st = GF_OK;
    TRYG(gf_facts_targets(o, &opt.tensorboard, &opt.html, err));
    TRYG(gf_facts_hparams(o, &w->options, &w->param, &w->params, err));
    TRYG(gf_facts_data(t->data, t->eval_data ? t->eval_data : &none, o->max_length, &w->data, err));
    TRYG(gf_buf_str(&w->data, ",", err));
    TRYG(gf_facts_options(o, &w->data, err));
    TRYG(gf_record_json(w->s, r, &record, err));
    TRYG(gather(w, &record, err));
    opt.param = w->param;
    opt.params = w->params;
    opt.facts = w->facts.data;
    TRYG(gf_monitor_open(&w->monitor, &opt, err));
    gf_progress_start(&w->progress, stderr, t->step, t->opt.schedule.total, o->logging_steps,
                      w->plan->total + w->plan->threads + gf_session_reserve(w->s));
out:
    gf_buf_free(&record);
    return st;
}

void gf_watching_rest(gf_watching *w)
{
    gf_progress_end(&w->progress);
}

gf_status gf_watching_end(gf_watching *w, const char *state, const gf_buf *record, gf_err *err)
{
    gf_monitor *m = w->monitor;
    if (!m)
        return GF_OK;
    gf_status st = record ? gather(w, record, err) : GF_OK;
    w->monitor = NULL;
    if (st == GF_OK)
        st = gf_monitor_end(m, state, w->facts.data, err);
    gf_monitor_close(m);
    return st;
}

void gf_watching_close(gf_watching *w)
{
    gf_progress_end(&w->progress);
    gf_watching_end(w, "failed", NULL, NULL); /* what ended the run is told; this comes on top */
    gf_gauge_close(w->gauge);
    w->gauge = NULL;
    cJSON_Delete(w->options);
    w->options = NULL;
    free(w->param);
    w->param = NULL;
    gf_buf_free(&w->data);
    gf_buf_free(&w->facts);
}
