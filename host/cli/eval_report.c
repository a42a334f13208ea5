/* eval_report.c - losses, for people and as JSON. Contract: eval.h. */
#include "cli/eval.h"

#include "base/file.h"
#include "base/json.h"
#include "base/number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

gf_status gf_eval_field(gf_buf *b, const char *key, double x, gf_err *err)
{
    TRY(gf_buf_printf(b, err, ",\"%s\":", key));
    return gf_json_number(b, x, err);
}

gf_status gf_eval_paired(gf_buf *b, const gf_paired *p, gf_err *err)
{
    const double interval[2][2] = {{p->low, p->high}, {p->boot_low, p->boot_high}};
    TRY(gf_buf_str(b, "{\"difference\":", err));
    TRY(gf_json_number(b, p->difference, err));
    TRY(gf_eval_field(b, "standard_error", p->error, err));
    for (int i = 0; i < 2; i++) {
        TRY(gf_buf_str(b, i ? ",\"bootstrap\":[" : ",\"interval\":[", err));
        TRY(gf_json_number(b, interval[i][0], err));
        TRY(gf_buf_str(b, ",", err));
        TRY(gf_json_number(b, interval[i][1], err));
        TRY(gf_buf_str(b, "]", err));
    }
    return gf_buf_printf(b, err, ",\"resamples\":%lld}", (long long)p->resamples);
}

static double loss_of(const gf_scores *s)
{
    return (double)s->sum.loss / GF_LOSS_SCALE / (double)s->sum.trained;
}

static double accuracy_of(const gf_scores *s)
{
    return (double)s->sum.correct / (double)s->sum.trained;
}

/* Of the mean token loss: tuned less base. */
static gf_status compare(gf_paired *p, const gf_dataset *data, const gf_scores *tuned,
                         const gf_scores *base, gf_err *err)
{
    double *d = gf_alloc((size_t)data->count * 2, sizeof *d, err), *w = d + data->count;
    if (!d)
        return GF_ENOMEM;
    for (int64_t i = 0; i < data->count; i++) {
        d[i] = tuned->nll[i] - base->nll[i];
        w[i] = (double)data->entry[i].trained;
    }
    const gf_status st = gf_paired_compare(p, d, w, data->count, 42, err); /* any seed would do */
    free(d);
    return st;
}

static gf_status put_scores(gf_buf *b, const gf_scores *s, gf_err *err)
{
    TRY(gf_buf_str(b, "\"loss\":", err));
    TRY(gf_json_number(b, loss_of(s), err));
    TRY(gf_eval_field(b, "perplexity", exp(loss_of(s)), err));
    return gf_eval_field(b, "accuracy", accuracy_of(s), err);
}

static gf_status print_json(const gf_scores *tuned, const gf_scores *base, const gf_paired *p,
                            gf_err *err)
{
    const gf_eval *e = &tuned->sum;
    gf_buf b = {0};
    gf_status st = GF_OK;
    TRYG(gf_buf_str(&b, "{", err));
    TRYG(put_scores(&b, tuned, err));
    TRYG(gf_buf_printf(&b, err, ",\"tokens\":%lld,\"trained_tokens\":%lld,\"examples\":%lld",
                       (long long)e->tokens, (long long)e->trained, (long long)e->examples));
    if (base) {
        TRYG(gf_buf_str(&b, ",\"base\":{", err));
        TRYG(put_scores(&b, base, err));
        TRYG(gf_buf_str(&b, "},\"compare\":{\"loss\":", err));
        TRYG(gf_eval_paired(&b, p, err));
        TRYG(gf_buf_str(&b, "}", err));
    }
    TRYG(gf_buf_str(&b, "}", err));
    puts(b.data);
out:
    gf_buf_free(&b);
    return st;
}

static void print_text(const gf_scores *tuned, const gf_scores *base, const gf_paired *p)
{
    const gf_eval *e = &tuned->sum;
    const double loss = loss_of(tuned), accuracy = accuracy_of(tuned);
    if (base) {
        printf("            %12s %12s %12s\n", "base", "tuned", "difference");
        printf("loss        %12.6f %12.6f %+12.6f\n", loss_of(base), loss, p->difference);
        printf("perplexity  %12.4f %12.4f %+12.4f\n", exp(loss_of(base)), exp(loss),
               exp(loss) - exp(loss_of(base)));
        printf("accuracy    %12.4f %12.4f %+12.4f\n", accuracy_of(base), accuracy,
               accuracy - accuracy_of(base));
        if (p->resamples)
            printf("95 %% of the loss's difference, paired by example: %+.6f to %+.6f\n"
                   "     (of %lld resamples: %+.6f to %+.6f)\n",
                   p->low, p->high, (long long)p->resamples, p->boot_low, p->boot_high);
    } else {
        printf("loss        %.6f\nperplexity  %.4f\naccuracy    %.4f\n", loss, exp(loss), accuracy);
    }
    printf("tokens      %s, %s trained, of %lld examples\n", gf_number_count(e->tokens).text,
           gf_number_count(e->trained).text, (long long)e->examples);
}

static gf_status write_per_example(const gf_dataset *data, const gf_scores *tuned,
                                   const gf_scores *base, const char *path, gf_err *err)
{
    gf_buf text = {0};
    gf_status st = GF_OK;
    for (int64_t i = 0; i < data->count; i++) {
        TRYG(gf_buf_printf(&text, err, "{\"index\":%lld", (long long)i));
        TRYG(gf_eval_field(&text, "nll", tuned->nll[i], err));
        if (base)
            TRYG(gf_eval_field(&text, "base_nll", base->nll[i], err));
        TRYG(gf_buf_printf(&text, err, ",\"trained_tokens\":%lld}\n",
                           (long long)data->entry[i].trained));
    }
    TRYG(gf_file_write(path, text.data ? text.data : "", text.len, err));
out:
    gf_buf_free(&text);
    return st;
}

gf_status gf_eval_report(const gf_options *o, const gf_dataset *data, const gf_scores *tuned,
                         const gf_scores *base, gf_err *err)
{
    gf_paired p = {0};
    if (base)
        TRY(compare(&p, data, tuned, base, err));
    if (o->json)
        TRY(print_json(tuned, base, &p, err));
    else
        print_text(tuned, base, &p);
    return o->per_example ? write_per_example(data, tuned, base, o->per_example, err) : GF_OK;
}
