/* cmd_data.c - `graft data`: reads a data set as training would and says what is in it. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/data_report.h"
#include "cli/data_show.h"
#include "cli/data_split.h"
#include "cli/inputs.h"
#include "cli/session.h"
#include "cli/terminal.h"
#include "train/split.h"

/* ---- the command ------------------------------------------------------------------- */

/* Examples over --max-length do not end the reading here: where training would refuse, the report
 * counts them. */
static gf_status load(gf_session *s, const gf_strings *files, gf_dataset *d, gf_data_view *view,
                      gf_err *err)
{
    gf_data_options opt;
    if (!files->count)
        return GF_OK;
    TRY(gf_session_data_options(s, &opt, err));
    if (opt.overlength == GF_OVERLENGTH_ERROR)
        opt.max_length = INT64_MAX;
    if (view) {
        view->tokenizer = s->tokenizer;
        opt.looks = s->o->show;
        opt.look = gf_data_show;
        opt.look_ctx = view;
    }
    return gf_dataset_load(d, files->item, files->count, &opt, err);
}

/* The report of one set; null if there is none. One that lost all its examples has a report. */
static gf_status report(const gf_options *o, const gf_dataset *d, const gf_dataset *train,
                        const char *name, const char *key, gf_buf *out, gf_err *err)
{
    gf_data_report r;
    if (o->json)
        TRY(gf_buf_printf(out, err, "%s\"%s\":", out->len ? "," : "{", key));
    if (!d->count && !d->dropped)
        return o->json ? gf_buf_str(out, "null", err) : GF_OK;
    TRY(gf_data_report_make(&r, d, train, o->max_length, err));
    return o->json ? gf_data_report_json(&r, out, err)
                   : gf_data_report_text(&r, o, name, gf_terminal_columns(stdout), out, err);
}

static gf_status check_options(const gf_options *o, gf_err *err)
{
    if (o->eval_data.count && o->eval_split > 0)
        return gf_fail(err, GF_EARG, "--eval-data and --eval-split exclude each other");
    if (!o->given.split)
        return o->output_dir ? gf_fail(err, GF_EARG, "--output-dir of data is for --split") : GF_OK;
    if (!o->output_dir || o->split <= 0)
        return gf_fail(err, GF_EARG, "--split wants a share above 0, and an --output-dir");
    if (o->eval_split > 0 || o->eval_data.count || o->data_weights || o->given.overlength)
        return gf_fail(err, GF_EARG,
                       "--split writes every record of --data to one of two files: leave "
                       "--eval-split, --eval-data, --data-weights and --overlength out");
    return GF_OK;
}

static gf_status reports(const gf_options *o, const gf_dataset *data, const gf_dataset *eval,
                         gf_buf *out, gf_err *err)
{
    TRY(report(o, data, NULL, "data", "data", out, err));
    return report(o, eval, data, o->eval_split > 0 ? "held out for evaluation" : "evaluation data",
                  "eval_data", out, err);
}

gf_status gf_cmd_data(const gf_options *o, gf_err *err)
{
    gf_session s;
    double *weight = NULL;
    gf_dataset data = {0}, eval = {0};
    gf_data_view view = {.color = o->color == GF_COLOR_ALWAYS ||
                                  (o->color == GF_COLOR_AUTO && gf_terminal_colors(stdout))};
    gf_buf out = {0};
    gf_status st = GF_OK;
    TRY(check_options(o, err));
    gf_session_start(&s, o);
    TRYG(gf_inputs_weights(&weight, o, err));
    TRYG(load(&s, &o->data, &data, o->json ? NULL : &view, err));
    TRYG(load(&s, &o->eval_data, &eval, NULL, err));
    if (o->eval_split > 0)
        TRYG(gf_split(&data, &eval, o->eval_split, (uint64_t)o->seed, err));
    if (weight)
        TRYG(gf_dataset_weigh(&data, weight, data.source_count, err));
    TRYG(reports(o, &data, &eval, &out, err));
    if (o->given.split)
        TRYG(gf_data_split(&data, o, &out, err));
    if (o->json)
        TRYG(gf_buf_str(&out, "}\n", err));
    fwrite(view.out.data ? view.out.data : "", 1, view.out.len, stdout);
    fwrite(out.data ? out.data : "", 1, out.len, stdout);
out:
    free(weight);
    gf_dataset_free(&eval);
    gf_dataset_free(&data);
    gf_buf_free(&view.out);
    gf_buf_free(&out);
    gf_session_close(&s);
    return st;
}
