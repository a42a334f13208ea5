/* trainer.c - the whole of training, in the order in which data moves. */
#include "train/trainer.h"

#include "base/hash.h"
#include "model/space.h"
#include "train/checkpoint.h"
#include "train/metrics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

volatile sig_atomic_t gf_stop_requested;

int64_t gf_train_total(int64_t examples, int64_t batch, int64_t epochs, int64_t max_steps)
{
    return max_steps > 0 ? max_steps : epochs * ((examples + batch - 1) / batch);
}

static gf_state state_of(const gf_trainer *t, gf_space *s)
{
    return (gf_state){.step = t->step,
                      .identity = t->opt.identity,
                      .history = t->history,
                      .optim = t->model->opt.optim,
                      .space = s};
}

static double adapted_rate(const gf_trainer *t)
{
    const gf_history *h = &t->history;
    const int64_t first = gf_history_first(h);
    return gf_lr_adapted(&t->opt.schedule, h->count ? h->loss + first : NULL, h->count - first);
}

bool gf_train_is_over(const gf_trainer *t)
{
    const gf_train_options *o = &t->opt;
    return t->step >= o->schedule.total ||
           (o->patience > 0 &&
            gf_history_waited(&t->history, o->patience_threshold) >= o->patience);
}

/* ---- the best checkpoint ----------------------------------------------------------------------
 */

/* Are checkpoints wanted of evaluations that are better than all before, whenever they are? */
static bool keeps_best(const gf_trainer *t)
{
    return t->eval_data && (t->opt.load_best || t->opt.patience > 0);
}

static int64_t best_step(const gf_trainer *t)
{
    const int64_t best = gf_history_best(&t->history);
    return best < 0 ? -1 : t->history.step[best];
}

/* Its folder: in the output folder, or beside the checkpoint that the run went on from. */
static gf_status find_best(const gf_trainer *t, char **path, gf_err *err)
{
    const char *const dirs[] = {t->opt.output_dir, t->resumed_from};
    *path = NULL;
    for (int i = 0; i < 2 && dirs[i]; i++) {
        if (!(*path = gf_checkpoint_path(dirs[i], best_step(t), err)))
            return GF_ENOMEM;
        if (gf_dir_exists(*path))
            return GF_OK;
        free(*path);
        *path = NULL;
    }
    return gf_fail(err, GF_EINPUT,
                   "%s: checkpoint-%lld, the best one so far, is gone: --load-best-model-at-end "
                   "cannot be kept",
                   t->opt.output_dir, (long long)best_step(t));
}

static gf_status load_best(gf_trainer *t, gf_err *err)
{
    gf_space space = {0};
    char *path;
    gf_status st = GF_OK;
    if (best_step(t) == t->step)
        return GF_OK;
    TRYG(find_best(t, &path, err));
    TRYG(gf_space_open(&space, t->model, true, err));
    TRYG(gf_adapter_read(t->adapter, space.value, path, err));
    TRYG(gf_space_push(&space, err));
out:
    gf_space_close(&space);
    free(path);
    return st;
}

/* ---- opening ----------------------------------------------------------------------------------
 */

static gf_status load(gf_trainer *t, const char *path, gf_err *err)
{
    gf_space space;
    gf_status st = GF_OK;
    TRYG(gf_space_open(&space, t->model, false, err));
    gf_state s = state_of(t, &space);
    TRYG(gf_checkpoint_load(&s, t->adapter, path, err));
    TRYG(gf_space_push(&space, err));
    t->step = s.step;
    t->resumed_from = gf_path_join(path, "..", err);
    if (!t->resumed_from)
        st = GF_ENOMEM;
out:
    t->history = s.history;
    gf_space_close(&space);
    return st;
}

static gf_status check_best(const gf_trainer *t, gf_err *err)
{
    char *path;
    if (!t->opt.load_best || best_step(t) < 0)
        return GF_OK;
    const gf_status st = find_best(t, &path, err);
    free(path);
    return st;
}

/* What this rank brings: its own part of gf_trainer_open. */
static gf_status open_own(gf_trainer *t, const char *resume, gf_err *err)
{
    TRY(gf_loader_open(&t->loader, t->data, t->opt.batch, t->opt.seed, t->opt.shuffle,
                       t->comm->rank, t->comm->size, err));
    if (resume)
        TRY(load(t, resume, err));
    if (t->comm->rank == 0)
        TRY(check_best(t, err));
    t->rate = adapted_rate(t);
    t->metrics_path = gf_path_join(t->opt.output_dir, "metrics.jsonl", err);
    return t->metrics_path ? GF_OK : GF_ENOMEM;
}

/* Options, data, model, instruction set and checkpoint must be rank 0's. */
static gf_status check_same(const gf_trainer *t, gf_err *err)
{
    struct {
        int64_t step;
        gf_sha256 identity;
    } own = {.step = t->step}, first;
    const gf_status st =
        gf_hash_bytes(&own.identity, t->opt.identity, strlen(t->opt.identity), err);
    first = own;
    TRY(gf_comm_broadcast(t->comm, &first, sizeof first, err));
    TRY(st);
    if (first.step != own.step)
        return gf_fail(err, GF_EINPUT,
                       "rank %d would start after step %lld, rank 0 after step %lld: all ranks "
                       "need the same checkpoints in --output-dir",
                       t->comm->rank, (long long)own.step, (long long)first.step);
    if (strcmp(first.identity.hex, own.identity.hex) != 0)
        return gf_fail(err, GF_EINPUT,
                       "rank %d has other options, data, model or instruction set than rank 0",
                       t->comm->rank);
    return GF_OK;
}

gf_status gf_trainer_open(gf_trainer *t, const char *resume, gf_err *err)
{
    gf_status st = open_own(t, resume, err);
    TRYG(gf_comm_agree(t->comm, st, err));
    st = check_same(t, err);
    TRYG(gf_comm_agree(t->comm, st, err));
    if (t->comm->rank == 0)
        st = gf_metrics_open(&t->metrics, t->metrics_path, t->step, err);
    st = gf_comm_agree(t->comm, st, err);
out:
    if (st != GF_OK)
        gf_trainer_close(t);
    return st;
}

void gf_trainer_close(gf_trainer *t)
{
    gf_loader_close(&t->loader);
    if (t->metrics)
        fclose(t->metrics);
    free(t->metrics_path);
    free(t->resumed_from);
    gf_history_free(&t->history);
    t->resumed_from = NULL;
    t->metrics = NULL;
    t->metrics_path = NULL;
}

/* The metrics of every step that the checkpoint holds must be on disk before it is. */
static gf_status write_checkpoint(gf_trainer *t, gf_err *err)
{
    gf_space space = {0};
    gf_status st = GF_OK;
    if (fsync(fileno(t->metrics)) && errno != EINVAL)
        return gf_fail(err, GF_EIO, "%s: %s", t->metrics_path, strerror(errno));
    TRYG(gf_space_open(&space, t->model, true, err));
    const gf_state s = state_of(t, &space);
    TRYG(gf_checkpoint_save(&s, t->adapter, t->opt.output_dir, err));
    TRYG(gf_checkpoint_prune(t->opt.output_dir, t->opt.save_total_limit, t->step, best_step(t),
                             err));
out:
    gf_space_close(&space);
    return st;
}

static void tell_phase(const gf_trainer *t, gf_phase now)
{
    if (t->watch.on_phase)
        t->watch.on_phase(t->watch.ctx, now);
}

/* Rank 0 writes, all agree. */
static gf_status save(gf_trainer *t, gf_err *err)
{
    gf_status st = GF_OK;
    tell_phase(t, GF_PHASE_SAVING);
    if (t->comm->rank == 0)
        st = write_checkpoint(t, err);
    if (st == GF_OK && t->watch.on_saved)
        st = t->watch.on_saved(t->watch.ctx, t->step, err);
    tell_phase(t, GF_PHASE_STEPS);
    return gf_comm_agree(t->comm, st, err);
}

static gf_status evaluate(gf_trainer *t, gf_err *err)
{
    gf_eval e;
    tell_phase(t, GF_PHASE_EVALUATION);
    TRY(gf_evaluate(&e, NULL, t->model, t->eval_data, t->comm, err));
    tell_phase(t, GF_PHASE_STEPS);
    const double loss = (double)e.loss / GF_LOSS_SCALE / (double)e.trained;
    const double accuracy = (double)e.correct / (double)e.trained;
    gf_status st = gf_history_add(&t->history, t->step, loss, err);
    t->rate = adapted_rate(t);
    if (st == GF_OK && t->comm->rank == 0) {
        st = gf_metrics_eval(t->metrics, &t->history, accuracy, t->metrics_path, err);
        if (st == GF_OK && t->watch.on_eval)
            st = t->watch.on_eval(t->watch.ctx, t->step, loss, accuracy, err);
    }
    return gf_comm_agree(t->comm, st, err);
}

/* Rank 0 answers, and the others wait for it: all would answer alike. */
static gf_status sample(gf_trainer *t, gf_err *err)
{
    gf_answer *answer = NULL;
    gf_status st = GF_OK;
    if (t->comm->rank == 0 && t->prompts) {
        tell_phase(t, GF_PHASE_SAMPLES);
        st = gf_samples_run(&answer, t->model, t->prompts, err);
        if (st == GF_OK && t->watch.on_samples)
            st = t->watch.on_samples(t->watch.ctx, t->step, answer, err);
        gf_answers_free(answer, t->prompts->count);
        tell_phase(t, GF_PHASE_STEPS);
    }
    return gf_comm_agree(t->comm, st, err);
}

/* Every `every` steps; 0: at the ends of epochs; always at the very end. */
static bool due(const gf_trainer *t, int64_t every)
{
    const int64_t period = every ? every : t->loader.steps_per_epoch;
    return t->step % period == 0 || t->step == t->opt.schedule.total;
}

static gf_status one_step(gf_trainer *t, bool *stop, gf_err *err)
{
    gf_step s;
    gf_status st = GF_OK;
    TRY(gf_train_step(t, &s, stop, err));
    if (t->comm->rank == 0) {
        if (t->watch.look)
            t->watch.look(t->watch.ctx, &s.device);
        st = gf_metrics_step(t->metrics, &s, t->metrics_path, err);
        if (st == GF_OK && t->watch.on_step)
            st = t->watch.on_step(t->watch.ctx, &s, err);
        if (s.shift != 40 && t->watch.on_note)
            t->watch.on_note(t->watch.ctx, "large gradients: the step was computed at scale 2^24");
    }
    return gf_comm_agree(t->comm, st, err);
}

static gf_status note(const gf_trainer *t, char *text, gf_err *err)
{
    if (!text)
        return gf_fail(err, GF_ENOMEM, "no memory for a note");
    if (t->watch.on_note)
        t->watch.on_note(t->watch.ctx, text);
    free(text);
    return GF_OK;
}

/* What came of the evaluations; with load_best the values that they call for. Rank 0. */
static gf_status conclude(gf_trainer *t, gf_err *err)
{
    const gf_history *h = &t->history;
    const int64_t best = gf_history_best(h), first = gf_history_first(h);
    if (best < 0)
        return GF_OK;
    if (t->step < t->opt.schedule.total)
        TRY(note(t,
                 gf_format(err, "no better evaluation %lld times: stopped after step %lld of %lld",
                           (long long)t->opt.patience, (long long)t->step,
                           (long long)t->opt.schedule.total),
                 err));
    if (t->opt.load_best)
        TRY(load_best(t, err));
    if (first && h->loss[0] <= h->loss[best])
        TRY(note(
            t,
            gf_format(err, "no evaluation was better than that before training, %.4f", h->loss[0]),
            err));
    if (!t->opt.load_best && h->step[best] == t->step)
        return GF_OK;
    return note(t,
                gf_format(err, "best eval loss %.4f after step %lld: %s", h->loss[best],
                          (long long)h->step[best],
                          t->opt.load_best ? "the adapter is that step's"
                                           : "the adapter is the last step's"),
                err);
}

gf_status gf_train(gf_trainer *t, gf_err *err)
{
    if (t->eval_data && t->step == 0)
        TRY(evaluate(t, err));
    if (t->step == 0)
        TRY(sample(t, err));
    while (!gf_train_is_over(t)) {
        bool stop = false;
        TRY(one_step(t, &stop, err));
        if (t->eval_data && due(t, t->opt.eval_steps))
            TRY(evaluate(t, err));
        if (due(t, t->opt.eval_steps))
            TRY(sample(t, err));
        const bool best = keeps_best(t) && best_step(t) == t->step, over = gf_train_is_over(t);
        if (due(t, t->opt.save_steps) || best || over || stop)
            TRY(save(t, err));
        if (stop && !over)
            return gf_fail(err, GF_EINTERRUPT, "interrupted after step %lld; go on with --resume",
                           (long long)t->step);
    }
    const gf_status st = t->comm->rank == 0 ? conclude(t, err) : GF_OK;
    return gf_comm_agree(t->comm, st, err);
}
