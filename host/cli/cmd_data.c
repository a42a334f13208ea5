/* cmd_data.c - `graft data`: reads a data set as training would and says what is in it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/data_report.h"
#include "cli/inputs.h"
#include "cli/session.h"
#include "train/split.h"

/* ---- examples with the trained tokens marked ------------------------------------------ */

typedef struct {
    const char *open, *close;
} marks;

/* What ids[first, end) add to the text of the ids before them: some decoders treat the first token
 * of a text in another way, so that a piece is never decoded alone. */
static gf_status piece(gf_tokenizer *t, const int32_t *ids, int64_t first, int64_t end, gf_buf *out,
                       gf_err *err)
{
    enum {
        CONTEXT = 8
    }; /* tokens that settle how a piece begins; a character has at most 4 bytes */
    const int64_t from = first > CONTEXT ? first - CONTEXT : 0;
    gf_buf before = {0}, now = {0};
    gf_status st = GF_OK;
    TRYG(gf_tokenizer_decode(t, ids + from, first - from, false, &before, err));
    TRYG(gf_tokenizer_decode(t, ids + from, end - from, false, &now, err));
    if (now.len > before.len)
        TRYG(gf_buf_add(out, now.data + before.len, now.len - before.len, err));
out:
    gf_buf_free(&before);
    gf_buf_free(&now);
    return st;
}

static gf_status numbers(const int32_t *ids, int64_t first, int64_t end, gf_buf *out, gf_err *err)
{
    for (int64_t i = first; i < end; i++)
        TRY(gf_buf_printf(out, err, i > first ? " %d" : "%d", ids[i]));
    return GF_OK;
}

/* Label 0 is never counted, so its token is shown as not trained. */
static bool is_trained(const gf_example *e, int64_t t)
{
    return t > 0 && e->labels[t] != -100;
}

static gf_status show_example(const gf_example *e, int64_t number, gf_tokenizer *t, marks m,
                              gf_err *err)
{
    gf_buf out = {0};
    gf_status st = GF_OK;
    TRYG(gf_buf_printf(&out, err, "--- example %lld, %s:%lld, %lld tokens, %lld trained\n",
                       (long long)number, e->file, (long long)e->line, (long long)e->length,
                       (long long)e->trained));
    for (int64_t i = 0, end; i < e->length; i = end) {
        const bool trained = is_trained(e, i);
        for (end = i + 1; end < e->length && is_trained(e, end) == trained; end++)
            ;
        if (i && !t)
            TRYG(gf_buf_str(&out, " ", err));
        TRYG(gf_buf_str(&out, trained ? m.open : "", err));
        TRYG(t ? piece(t, e->ids, i, end, &out, err) : numbers(e->ids, i, end, &out, err));
        TRYG(gf_buf_str(&out, trained ? m.close : "", err));
    }
    fwrite(out.data, 1, out.len, stdout);
    putchar('\n');
out:
    gf_buf_free(&out);
    return st;
}

static gf_status show(const gf_dataset *d, const gf_session *s, gf_err *err)
{
    static const marks brackets = {"[[", "]]"}, green = {"\x1b[32m", "\x1b[0m"};
    const marks m = isatty(STDOUT_FILENO) && !getenv("NO_COLOR") ? green : brackets;
    for (int64_t i = 0; i < d->count && i < s->o->show; i++) {
        const gf_example e = gf_dataset_at(d, i);
        TRY(show_example(&e, i, s->tokenizer, m, err));
    }
    return GF_OK;
}

/* ---- the command ------------------------------------------------------------------- */

/* Examples over --max-length do not end the reading here: where training would refuse, the report
 * counts them. */
static gf_status load(gf_session *s, const gf_strings *files, gf_dataset *d, gf_err *err)
{
    gf_data_options opt;
    if (!files->count)
        return GF_OK;
    TRY(gf_session_data_options(s, &opt, err));
    if (opt.overlength == GF_OVERLENGTH_ERROR)
        opt.max_length = INT64_MAX;
    return gf_dataset_load(d, files->item, files->count, &opt, err);
}

/* The report of one set; null if there is none. One that lost all its examples has a report. */
static gf_status report(const gf_options *o, const gf_dataset *d, const char *name, const char *key,
                        gf_buf *out, gf_err *err)
{
    gf_data_report r;
    if (o->json)
        TRY(gf_buf_printf(out, err, "%s\"%s\":", out->len ? "," : "{", key));
    if (!d->count && !d->dropped)
        return o->json ? gf_buf_str(out, "null", err) : GF_OK;
    TRY(gf_data_report_make(&r, d, o->max_length, err));
    return o->json ? gf_data_report_json(&r, out, err) : gf_data_report_text(&r, o, name, out, err);
}

gf_status gf_cmd_data(const gf_options *o, gf_err *err)
{
    gf_session s;
    double *weight = NULL;
    gf_dataset data = {0}, eval = {0};
    gf_buf out = {0};
    gf_status st = GF_OK;
    gf_session_start(&s, o);
    TRYG(gf_inputs_weights(&weight, o, err));
    TRYG(load(&s, &o->data, &data, err));
    if (weight)
        TRYG(gf_dataset_weigh(&data, weight, data.source_count, err));
    TRYG(load(&s, &o->eval_data, &eval, err));
    if (o->eval_split > 0)
        TRYG(gf_split(&data, &eval, o->eval_split, (uint64_t)o->seed, err));
    TRYG(report(o, &data, "data", "data", &out, err));
    TRYG(report(o, &eval, o->eval_split > 0 ? "held out for evaluation" : "evaluation data",
                "eval_data", &out, err));
    if (o->json)
        TRYG(gf_buf_str(&out, "}\n", err));
    else
        TRYG(show(&data, &s, err));
    fwrite(out.data ? out.data : "", 1, out.len, stdout);
out:
    free(weight);
    gf_dataset_free(&data);
    gf_dataset_free(&eval);
    gf_buf_free(&out);
    gf_session_close(&s);
    return st;
}
