/* evaluate.c - see evaluate.h. */
#include "train/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Examples looked at together: enough to fill rows well, whatever their lengths. */
#define EVAL_BATCH 64

void gf_fill_row(gf_model *m, const gf_loader *ld, int64_t row)
{
    gf_row_start(m);
    for (int64_t i = ld->row[row]; i < ld->row[row + 1]; i++) {
        const gf_example e = gf_dataset_at(ld->data, ld->pick[i]);
        gf_row_add(m, e.ids, e.labels, e.length, (uint64_t)ld->pick[i]);
    }
}

/* NaN, Inf, and what only stands on the way there: a sum of 2^31 at GF_LOSS_SCALE overflows, and no
 * model that can still be trained is off by so many nats. */
static bool is_countable(float nll)
{
    return fabsf(nll) < 0x1p16f;
}

gf_status gf_add_losses(const gf_model *m, int64_t *loss, int64_t *correct, gf_err *err)
{
    const float *nll = m->host.nll;
    const int32_t *best = m->host.best, *label = m->row.host.label;
    for (int64_t i = 0; i < m->row.predicted; i++) {
        if (!is_countable(nll[i]))
            return gf_fail(err, GF_ENUMERIC, "the loss of a token is not finite");
        *loss += llrint((double)nll[i] * GF_LOSS_SCALE);
        *correct += best[i] == label[i];
    }
    return GF_OK;
}

/* Each example's own sum: the row's predictions stand in the examples' order. */
static void share_losses(const gf_model *m, const gf_loader *ld, int64_t row, int64_t *nll)
{
    const float *loss = m->host.nll;
    int64_t at = 0;
    for (int64_t i = ld->row[row]; i < ld->row[row + 1]; i++) {
        const int64_t example = ld->pick[i];
        for (int64_t t = 0; t < ld->data->entry[example].trained; t++)
            nll[example] += llrint((double)loss[at++] * GF_LOSS_SCALE);
    }
}

/* A loss that is not finite, with the example that it is in. */
static gf_status count_losses(gf_eval *sum, gf_model *m, const gf_loader *ld, int64_t row,
                              gf_err *err)
{
    const float *nll = m->host.nll;
    int64_t at = 0;
    if (gf_add_losses(m, &sum->loss, &sum->correct, NULL) == GF_OK)
        return GF_OK;
    for (int64_t i = ld->row[row]; i < ld->row[row + 1]; i++) {
        const gf_example e = gf_dataset_at(ld->data, ld->pick[i]);
        for (int64_t t = 0; t < e.trained; t++)
            if (!is_countable(nll[at++]))
                return gf_fail(err, GF_ENUMERIC,
                               "the loss of a token is not finite, example %s:%lld", e.file,
                               (long long)e.line);
    }
    return gf_fail(err, GF_ENUMERIC, "the loss of a token is not finite");
}

static gf_status evaluate_rows(gf_eval *sum, int64_t *nll, gf_model *m, gf_loader *ld, gf_err *err)
{
    for (int64_t part = 0; part < ld->steps_per_epoch; part++) {
        gf_loader_part(ld, part, m->row.capacity);
        for (int64_t r = 0; r < ld->rows; r++) {
            gf_fill_row(m, ld, r);
            gf_status st = gf_model_run(m, false);
            if (st == GF_OK)
                st = gf_model_losses(m);
            TRY(gf_backend_said(m->be, st, err));
            TRY(count_losses(sum, m, ld, r, err));
            if (nll)
                share_losses(m, ld, r, nll);
            sum->tokens += m->row.spans.tokens;
            sum->trained += m->row.predicted;
            sum->examples += m->row.spans.count;
        }
    }
    return GF_OK;
}

gf_status gf_evaluate(gf_eval *out, double *nll, gf_model *m, const gf_dataset *data, gf_comm *comm,
                      gf_err *err)
{
    gf_loader ld = {0};
    gf_eval sum = {0};
    int64_t *fixed = NULL;
    const float p = m->opt.dropout.p;
    gf_status st = GF_OK;
    m->opt.dropout.p = 0;
    if (nll && !(fixed = gf_alloc((size_t)data->count, sizeof *fixed, err)))
        st = GF_ENOMEM;
    if (st == GF_OK)
        st = gf_loader_open(&ld, data, EVAL_BATCH, 0, false, comm->rank, comm->size, err);
    if (st == GF_OK)
        st = evaluate_rows(&sum, fixed, m, &ld, err);
    TRYG(gf_comm_agree(comm, st, err));
    int64_t all[] = {sum.loss, sum.correct, sum.tokens, sum.trained, sum.examples};
    TRYG(gf_comm_sum(comm, all, sizeof all / sizeof *all, err));
    *out = (gf_eval){
        .loss = all[0], .correct = all[1], .tokens = all[2], .trained = all[3], .examples = all[4]};
    if (nll) {
        TRYG(gf_comm_sum(comm, fixed, (size_t)data->count, err));
        for (int64_t i = 0; i < data->count; i++)
            nll[i] = (double)fixed[i] / GF_LOSS_SCALE;
    }
out:
    m->opt.dropout.p = p;
    gf_loader_close(&ld);
    free(fixed);
    return st;
}
