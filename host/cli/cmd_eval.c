/* cmd_eval.c - graft eval: a model on data or on multiple-choice questions, or base and tuned model
 * side by side. What is said of them: eval.h. */
#include "cli/commands.h"

#include "cli/eval.h"
#include "cli/inputs.h"
#include "cli/ranks.h"
#include "train/plan.h"

#include <stdlib.h>

typedef struct {
    const gf_options *o;
    gf_comm comm;
    gf_choices choices; /* --choices; else only its data, of --data */
    gf_scores tuned, base;
} eval;

/* Opens the model with rows that hold the longest example and fit the memory. */
static gf_status open_model(gf_session *s, const gf_dataset *data, gf_err *err)
{
    const gf_dataset none = {0};
    int64_t tokens, trained;
    gf_dataset_tokens(data, &tokens, &trained);
    gf_plan plan;
    TRY(gf_session_files(s, err));
    TRY(gf_session_adapter(s, err));
    TRY(gf_session_backend(s, err));
    gf_model_options opt = {.use = GF_USE_EVAL, .precision = gf_session_precision(s)};
    TRY(gf_plan_choose(&plan, &s->files, s->has_adapter ? &s->adapter : NULL, &s->backend, &opt,
                       s->o->row_tokens, gf_inputs_longest(data, &none, NULL), tokens,
                       gf_session_limit(s), err));
    return gf_session_model(s, GF_USE_EVAL, opt.row_tokens, 0, err);
}

/* Once; a second model sees the same examples. */
static gf_status open_data(eval *e, gf_session *s, gf_err *err)
{
    const gf_options *o = e->o;
    gf_dataset *data = &e->choices.data;
    gf_data_options opt;
    if (data->count)
        return GF_OK;
    TRY(gf_session_data_options(s, &opt, err));
    if (o->choices)
        return gf_choices_load(&e->choices, o->choices, &opt, err);
    TRY(gf_dataset_load(data, o->data.item, o->data.count, &opt, err));
    if (data->count == 0)
        return gf_fail(err, GF_EINPUT, "%s: no example is left to evaluate", o->data.item[0]);
    return GF_OK;
}

/* One model from opening to closing: two need not fit beside each other. */
static gf_status score(eval *e, gf_scores *out, const gf_options *o, gf_err *err)
{
    const gf_dataset *data = &e->choices.data;
    const bool each = o->per_example || o->compare || o->choices;
    gf_session s;
    gf_session_start(&s, o);
    s.comm = &e->comm;
    gf_status st = open_data(e, &s, err);
    if (st == GF_OK)
        st = open_model(&s, data, err);
    if (st == GF_OK && each && !(out->nll = gf_alloc((size_t)data->count, sizeof *out->nll, err)))
        st = GF_ENOMEM;
    TRYG(gf_comm_agree(&e->comm, st, err)); /* or the others would wait in the sums */
    TRYG(gf_evaluate(&out->sum, out->nll, &s.model, data, &e->comm, err));
out:
    gf_session_close(&s);
    return st;
}

static gf_status check(const gf_options *o, gf_err *err)
{
    if (o->compare && !o->adapter)
        return gf_fail(err, GF_EARG, "--compare needs --adapter: the base is compared with it");
    if (o->choices && o->given.train_on)
        return gf_fail(err, GF_EARG, "--train-on is of --data, not of --choices");
    if (o->choices && o->given.alpaca_prompt)
        return gf_fail(err, GF_EARG, "--alpaca-prompt is of --data, not of --choices");
    if (o->choices && o->data_format != GF_DATA_AUTO && o->data_format != GF_DATA_TEXT)
        return gf_fail(err, GF_EARG,
                       "--choices are asked through the chat template, or plainly with "
                       "--data-format text");
    return GF_OK;
}

static gf_status report(const eval *e, gf_err *err)
{
    const gf_options *o = e->o;
    const gf_scores *base = o->compare ? &e->base : NULL;
    if (o->choices)
        return gf_eval_report_choices(o, &e->choices, &e->tuned, base, err);
    gf_inputs_say_overlength(o->data.item[0], &e->choices.data);
    return gf_eval_report(o, &e->choices.data, &e->tuned, base, err);
}

gf_status gf_cmd_eval(const gf_options *o, gf_err *err)
{
    eval e = {.o = o};
    gf_options base = *o; /* borrows all that o has */
    gf_status st = GF_OK;
    base.adapter = NULL;
    TRYG(check(o, err));
    TRYG(gf_ranks_open(&e.comm, o, err));
    TRYG(score(&e, &e.tuned, o, err));
    if (o->compare)
        TRYG(score(&e, &e.base, &base, err));
    if (e.comm.rank == 0)
        TRYG(report(&e, err));
out:
    gf_print_error(st, err);
    gf_comm_close(&e.comm, st);
    free(e.tuned.nll);
    free(e.base.nll);
    gf_choices_free(&e.choices);
    return st;
}
