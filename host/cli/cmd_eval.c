/* cmd_eval.c - graft eval: loss, perplexity and accuracy of a model on data. */
#include "cli/commands.h"

#include "base/file.h"
#include "cli/inputs.h"
#include "base/number.h"
#include "cli/ranks.h"
#include "train/plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static gf_status write_per_example(const gf_dataset *data, const double *nll, const char *path,
                                   gf_err *err)
{
    gf_buf text = {0};
    gf_status st = GF_OK;
    for (int64_t i = 0; i < data->count; i++) {
        TRYG(gf_buf_printf(&text, err, "{\"index\":%lld,\"nll\":", (long long)i));
        TRYG(gf_json_number(&text, nll[i], err));
        TRYG(gf_buf_printf(&text, err, ",\"trained_tokens\":%lld}\n",
                           (long long)data->entry[i].trained));
    }
    TRYG(gf_file_write(path, text.data ? text.data : "", text.len, err));
out:
    gf_buf_free(&text);
    return st;
}

static gf_status print_json(const gf_eval *e, double loss, gf_err *err)
{
    gf_buf b = {0};
    gf_status st = GF_OK;
    TRYG(gf_buf_str(&b, "{\"loss\":", err));
    TRYG(gf_json_number(&b, loss, err));
    TRYG(gf_buf_str(&b, ",\"perplexity\":", err));
    TRYG(gf_json_number(&b, exp(loss), err));
    TRYG(gf_buf_str(&b, ",\"accuracy\":", err));
    TRYG(gf_json_number(&b, (double)e->correct / (double)e->trained, err));
    TRYG(gf_buf_printf(&b, err, ",\"tokens\":%lld,\"trained_tokens\":%lld,\"examples\":%lld}",
                       (long long)e->tokens, (long long)e->trained, (long long)e->examples));
    puts(b.data);
out:
    gf_buf_free(&b);
    return st;
}

static gf_status report(const gf_options *o, const gf_eval *e, gf_err *err)
{
    const double loss = (double)e->loss / GF_LOSS_SCALE / (double)e->trained;
    if (o->json)
        return print_json(e, loss, err);
    printf(
        "loss        %.6f\nperplexity  %.4f\naccuracy    %.4f\ntokens      %s, %s trained, of %lld "
        "examples\n",
        loss, exp(loss), (double)e->correct / (double)e->trained, gf_number_count(e->tokens).text,
        gf_number_count(e->trained).text, (long long)e->examples);
    return GF_OK;
}

/* Opens the model with rows that hold the longest example and fit the memory. */
static gf_status open_model(gf_session *s, const gf_dataset *data, gf_err *err)
{
    const gf_dataset none = {0};
    int64_t tokens, trained;
    gf_dataset_tokens(data, &tokens, &trained);
    gf_plan plan;
    TRY(gf_session_adapter(s, err));
    TRY(gf_session_backend(s, err));
    gf_model_options opt = {.use = GF_USE_EVAL, .precision = gf_session_precision(s)};
    TRY(gf_plan_choose(&plan, &s->files, s->has_adapter ? &s->adapter : NULL, &s->backend, &opt,
                       s->o->row_tokens, gf_inputs_longest(data, &none, NULL), tokens,
                       gf_session_limit(s), err));
    return gf_session_model(s, GF_USE_EVAL, opt.row_tokens, 0, err);
}

static gf_status open_inputs(gf_session *s, gf_dataset *data, gf_err *err)
{
    const gf_strings *files = &s->o->data;
    gf_data_options opt;
    TRY(gf_session_data_options(s, &opt, err));
    TRY(gf_dataset_load(data, files->item, files->count, &opt, err));
    if (data->count == 0)
        return gf_fail(err, GF_EINPUT, "%s: no example is left to evaluate", files->item[0]);
    return open_model(s, data, err);
}

gf_status gf_cmd_eval(const gf_options *o, gf_err *err)
{
    gf_session s;
    gf_comm comm = {0};
    gf_dataset data = {0};
    gf_eval e;
    double *nll = NULL;
    gf_status st = GF_OK;
    gf_session_start(&s, o);
    TRYG(gf_ranks_open(&comm, o, err));
    s.comm = &comm;
    st = open_inputs(&s, &data, err);
    if (st == GF_OK && o->per_example && !(nll = gf_alloc((size_t)data.count, sizeof *nll, err)))
        st = GF_ENOMEM;
    TRYG(gf_comm_agree(&comm, st, err)); /* or the others would wait in the sums */
    TRYG(gf_evaluate(&e, nll, &s.model, &data, &comm, err));
    if (comm.rank == 0) {
        gf_inputs_say_overlength(o->data.item[0], &data);
        TRYG(report(o, &e, err));
        if (nll)
            TRYG(write_per_example(&data, nll, o->per_example, err));
    }
out:
    gf_print_error(st, err);
    gf_comm_close(&comm, st); /* before the device whose memory it sums */
    free(nll);
    gf_dataset_free(&data);
    gf_session_close(&s);
    return st;
}
