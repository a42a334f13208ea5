/* watching.c - contract: watching.h. */
#include "cli/watching.h"

#include <stdio.h>

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
    (void)err;
    const gf_progress_point at = {.step = s->step,
                                  .epoch = s->epoch,
                                  .loss = s->loss,
                                  .learning_rate = s->learning_rate,
                                  .tokens_per_second = (double)s->tokens / s->seconds,
                                  .share = share(w, s),
                                  .memory = w->s->backend.cuda ? s->device.memory_used
                                                               : gf_machine_resident(),
                                  .device = s->device};
    gf_progress_step(&w->progress, &at);
    return GF_OK;
}

static gf_status on_eval(void *ctx, int64_t step, double loss, double accuracy, gf_err *err)
{
    gf_watching *w = ctx;
    (void)err;
    gf_progress_eval(&w->progress, loss);
    gf_progress_note(&w->progress, "step %lld: eval loss %.4f, accuracy %.3f", (long long)step,
                     loss, accuracy);
    return GF_OK;
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
                      .on_phase = on_phase,
                      .on_note = on_note,
                      .ctx = w};
}

void gf_watching_start(gf_watching *w, const gf_trainer *t)
{
    gf_progress_start(&w->progress, stderr, t->step, t->opt.schedule.total, w->s->o->logging_steps,
                      w->plan->total + w->plan->threads + gf_session_reserve(w->s));
}

void gf_watching_close(gf_watching *w)
{
    gf_progress_end(&w->progress);
    gf_gauge_close(w->gauge);
    w->gauge = NULL;
}
