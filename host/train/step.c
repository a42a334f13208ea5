/* step.c - one optimizer step, the same on every rank (DESIGN 2.1). */
#include "train/trainer.h"

#include <math.h>
#include <string.h>
#include <time.h>

/* Past this sum of chunks' magnitudes a fixed point of 2^40 could overflow 63 bits. */
#define MAGNITUDE_LIMIT (1LL << 22)

/* What the hosts of the ranks add up; gradients, losses and counters are added where they are. */
enum { TOKENS, TRAINED, STOP, COUNTS };

/* A step's sums over all ranks. */
typedef struct {
    int64_t count[COUNTS];
    int64_t sum[GF_SUMS];
    double scale;   /* of the integer gradients */
    double squares; /* of the gradient of the mean loss */
} sums;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The number of the example that a row of the op's output belongs to, -1 if none: a token, in the
 * head a predicted one. */
static int64_t example_at(const gf_trainer *t, int64_t at)
{
    const gf_model *m = t->model;
    const gf_spans *row = &m->row.spans;
    if (m->at_layer == m->cfg->L) {
        at += m->at_first;
        at = at < m->row.predicted ? m->row.host.index[at] : row->tokens;
    }
    for (int i = 0; i < row->count; i++)
        if (at < row->span[i].start + row->span[i].len)
            return (int64_t)row->span[i].example;
    return -1;
}

/* Something was not finite: the rank's rows once more, every op looked at, to say where. */
static gf_status name_nonfinite(gf_trainer *t, int64_t step, gf_err *err)
{
    gf_model *m = t->model;
    gf_status st = GF_OK;
    m->be->check = true;
    for (int64_t r = 0; st == GF_OK && r < t->loader.rows; r++) {
        gf_fill_row(m, &t->loader, r);
        st = gf_model_run(m, true);
    }
    m->be->check = false;
    if (st != GF_ENUMERIC)
        return gf_fail(err, GF_ENUMERIC, "step %lld: a loss or a gradient is not finite",
                       (long long)step);
    const int64_t bad = example_at(t, m->be->bad_row);
    const gf_example e = bad < 0 ? (gf_example){.file = "?"} : gf_dataset_at(t->data, bad);
    char layer[32] = "the embedding";
    if (m->at_layer == m->cfg->L)
        strcpy(layer, "the head");
    else if (m->at_layer >= 0)
        snprintf(layer, sizeof layer, "layer %lld", (long long)m->at_layer);
    return gf_fail(err, GF_ENUMERIC, "step %lld: %s, %s, example %s:%lld; nothing of it is kept",
                   (long long)step, layer, m->be->err.text, e.file, (long long)e.line);
}

/* All rows of this rank, enqueued one after the other. */
static gf_status run_rows(gf_trainer *t, int64_t count[COUNTS], gf_err *err)
{
    gf_model *m = t->model;
    memset(count, 0, COUNTS * sizeof *count);
    gf_status st = gf_zero(m->be, m->reduced);
    for (int64_t r = 0; st == GF_OK && r < t->loader.rows; r++) {
        gf_fill_row(m, &t->loader, r);
        st = gf_model_run(m, true);
        count[TOKENS] += m->row.spans.tokens;
        count[TRAINED] += m->row.predicted;
    }
    if (st == GF_OK)
        st = gf_model_freeze(m);
    count[STOP] = gf_stop_requested;
    return gf_backend_said(m->be, st, err);
}

/* Adds up over the ranks what lies in the backend's memory. */
static gf_status sum_ranks(gf_trainer *t, gf_tensor x, gf_err *err)
{
    gf_backend *be = t->model->be;
    const size_t count = (size_t)gf_count(x);
    if (be->cuda)
        return gf_comm_sum_device(t->comm, x.data, count, gf_backend_stream(be), err);
    return gf_comm_sum(t->comm, x.data, count, err);
}

/* Adds up the ranks' gradients and sums; then the only wait of a step. */
static gf_status reduce(gf_trainer *t, sums *s, gf_err *err)
{
    gf_model *m = t->model;
    TRY(gf_comm_sum(t->comm, s->count, COUNTS, err));
    TRY(sum_ranks(t, m->reduced, err));
    s->scale = ldexp(1.0, -m->fixed.shift) / (double)s->count[TRAINED];
    gf_status st = gf_sum_squares(m->be, &s->squares, m->grad, s->scale);
    if (st == GF_OK)
        st = gf_download(m->be, s->sum, m->sums);
    if (st == GF_OK)
        st = gf_wait(m->be);
    TRY(gf_comm_check(t->comm, err));
    return gf_backend_said(m->be, st, err);
}

/* Rows and reduction; again at a coarser scale if the gradients are too large for the fine one. */
static gf_status gradients(gf_trainer *t, sums *s, gf_err *err)
{
    gf_model *m = t->model;
    m->fixed.shift = 40;
    for (;;) {
        gf_status st = run_rows(t, s->count, err);
        TRY(gf_comm_agree(t->comm, st, err));
        TRY(reduce(t, s, err)); /* a rank that fails here alone is told to the others by its end */
        if (s->sum[GF_SUM_NONFINITE]) {
            st = name_nonfinite(t, t->step + 1, err);
            return gf_comm_agree(t->comm, st, err);
        }
        if (s->sum[GF_SUM_MAGNITUDE] <= MAGNITUDE_LIMIT || m->fixed.shift == 24)
            break;
        m->fixed.shift = 24;
    }
    if (s->sum[GF_SUM_MAGNITUDE] >> 16 <= MAGNITUDE_LIMIT)
        return GF_OK;
    const gf_status st = gf_fail(err, GF_ENUMERIC, "step %lld: the gradients are too large: %lld",
                                 (long long)(t->step + 1), (long long)s->sum[GF_SUM_MAGNITUDE]);
    return gf_comm_agree(t->comm, st, err); /* on every rank alike */
}

/* Norm, clip, optimizer: from integer sums, so identical on every rank. */
static gf_status update(gf_trainer *t, const sums *s, gf_step *out, gf_err *err)
{
    gf_model *m = t->model;
    const gf_train_options *o = &t->opt;
    double scale = s->scale;
    out->grad_norm = sqrt(s->squares);
    if (o->max_grad_norm > 0) {
        const double coef = o->max_grad_norm / (out->grad_norm + 1e-6); /* torch's epsilon */
        scale *= coef < 1 ? coef : 1;
    }
    const gf_schedule *schedule = &o->schedule;
    const double rate = gf_lr_adapts(schedule) ? t->rate : gf_lr_at(schedule, t->step + 1);
    out->learning_rate = rate;
    gf_status st = gf_optimizer_update(&o->optimizer, m, rate, scale, t->step + 1);
    if (st == GF_OK)
        st = gf_model_tails(m);
    return gf_backend_said(m->be, st, err);
}

gf_status gf_train_step(gf_trainer *t, gf_step *out, bool *stop, gf_err *err)
{
    const double start = now();
    const gf_tally before = t->model->be->tally;
    sums s;
    t->model->opt.dropout.epoch = (uint32_t)(t->step / t->loader.steps_per_epoch);
    gf_loader_step(&t->loader, t->step, t->model->row.capacity);
    TRY(gradients(t, &s, err));
    *out = (gf_step){.step = t->step + 1,
                     .total = t->opt.schedule.total,
                     .epoch = (double)(t->step + 1) / (double)t->loader.steps_per_epoch,
                     .loss = (double)s.sum[GF_SUM_LOSS] / GF_LOSS_SCALE / (double)s.count[TRAINED],
                     .tokens = s.count[TOKENS],
                     .trained = s.count[TRAINED],
                     .shift = t->model->fixed.shift};
    TRY(update(t, &s, out, err));
    t->step++;
    out->seconds = now() - start;
    out->flops = t->model->be->tally.flops - before.flops;
    out->captured = t->model->be->tally.captured - before.captured;
    out->replayed = t->model->be->tally.replayed - before.replayed;
    *stop = s.count[STOP] > 0;
    return GF_OK;
}
