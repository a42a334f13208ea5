/* eval_choices.c - which choice a model takes, and how often that is right. Contract: eval.h. */
#include "cli/eval.h"

#include "base/file.h"
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* How a choice's log-likelihood is made comparable: names as the field's harnesses have them. */
enum { RAW, BY_BYTE, BY_TOKEN, WAYS };
static const char *const names[WAYS] = {"acc", "acc_norm", "acc_norm_token"};

/* The likeliest choice of a question, the first of equals. */
static int choose(const gf_choices *c, const gf_question *q, const double *nll, int way)
{
    int best = 0;
    double least = (double)INFINITY;
    for (int k = 0; k < q->count; k++) {
        const int64_t i = q->first + k;
        const double length = way == RAW       ? 1
                              : way == BY_BYTE ? (double)c->bytes[i]
                                               : (double)c->data.entry[i].trained;
        const double x = nll[i] / length;
        best = x < least ? k : best;
        least = x < least ? x : least;
    }
    return best;
}

static double share_right(const gf_choices *c, const double *nll, int way)
{
    int64_t right = 0;
    for (int64_t i = 0; i < c->count; i++)
        right += choose(c, &c->question[i], nll, way) == c->question[i].answer;
    return (double)right / (double)c->count;
}

/* Of the share of right answers: tuned less base, question by question. */
static gf_status compare(gf_paired *p, const gf_choices *c, const gf_scores *tuned,
                         const gf_scores *base, int way, gf_err *err)
{
    double *d = gf_alloc((size_t)c->count * 2, sizeof *d, err), *w = d + c->count;
    if (!d)
        return GF_ENOMEM;
    for (int64_t i = 0; i < c->count; i++) {
        const gf_question *q = &c->question[i];
        d[i] = (choose(c, q, tuned->nll, way) == q->answer) -
               (choose(c, q, base->nll, way) == q->answer);
        w[i] = 1;
    }
    const gf_status st = gf_paired_compare(p, d, w, c->count, 42, err); /* any seed would do */
    free(d);
    return st;
}

static gf_status put_shares(gf_buf *b, const gf_choices *c, const gf_scores *s, gf_err *err)
{
    for (int way = 0; way < WAYS; way++) {
        TRY(gf_buf_printf(b, err, "%s\"%s\":", way ? "," : "", names[way]));
        TRY(gf_json_number(b, share_right(c, s->nll, way), err));
    }
    return GF_OK;
}

static gf_status print_json(const gf_choices *c, const gf_scores *tuned, const gf_scores *base,
                            const gf_paired p[WAYS], gf_err *err)
{
    gf_buf b = {0};
    gf_status st = GF_OK;
    TRYG(gf_buf_str(&b, "{", err));
    TRYG(put_shares(&b, c, tuned, err));
    TRYG(gf_buf_printf(&b, err, ",\"questions\":%lld,\"choices\":%lld,\"tokens\":%lld",
                       (long long)c->count, (long long)c->data.count,
                       (long long)tuned->sum.tokens));
    if (base) {
        TRYG(gf_buf_str(&b, ",\"base\":{", err));
        TRYG(put_shares(&b, c, base, err));
        TRYG(gf_buf_str(&b, "},\"compare\":{", err));
        for (int way = 0; way < WAYS; way++) {
            TRYG(gf_buf_printf(&b, err, "%s\"%s\":", way ? "," : "", names[way]));
            TRYG(gf_eval_paired(&b, &p[way], err));
        }
        TRYG(gf_buf_str(&b, "}", err));
    }
    TRYG(gf_buf_str(&b, "}", err));
    puts(b.data);
out:
    gf_buf_free(&b);
    return st;
}

static void print_text(const gf_choices *c, const gf_scores *tuned, const gf_scores *base,
                       const gf_paired p[WAYS])
{
    static const char *const by[WAYS] = {"likelihood", "by byte", "by token"};
    if (base)
        printf("%-15s %-10s %8s %8s  difference, 95 %% paired by question\n", "", "", "base",
               "tuned");
    for (int way = 0; way < WAYS; way++) {
        const double share = share_right(c, tuned->nll, way);
        printf("%-15s %-10s ", names[way], by[way]);
        if (base)
            printf("%8.4f %8.4f  %+.4f, %+.4f to %+.4f\n", share_right(c, base->nll, way), share,
                   p[way].difference, p[way].low, p[way].high);
        else
            printf("%8.4f\n", share);
    }
    printf("%lld questions, %lld choices\n", (long long)c->count, (long long)c->data.count);
}

static gf_status put_list(gf_buf *b, const char *key, const double *nll, const gf_question *q,
                          gf_err *err)
{
    TRY(gf_buf_printf(b, err, ",\"%s\":[", key));
    for (int k = 0; k < q->count; k++) {
        TRY(gf_buf_str(b, k ? "," : "", err));
        TRY(gf_json_number(b, nll[q->first + k], err));
    }
    return gf_buf_str(b, "]", err);
}

static gf_status put_question(gf_buf *b, const gf_choices *c, int64_t i, const gf_scores *tuned,
                              const gf_scores *base, gf_err *err)
{
    const gf_question *q = &c->question[i];
    TRY(gf_buf_printf(b, err, "{\"index\":%lld,\"line\":%lld,\"answer\":%d", (long long)i,
                      (long long)q->line, q->answer));
    for (int way = 0; way < WAYS; way++)
        TRY(gf_buf_printf(b, err, ",\"picked%s\":%d", names[way] + 3, /* 3: past "acc" */
                          choose(c, q, tuned->nll, way)));
    TRY(put_list(b, "nll", tuned->nll, q, err));
    if (base)
        TRY(put_list(b, "base_nll", base->nll, q, err));
    TRY(gf_buf_str(b, ",\"bytes\":[", err));
    for (int k = 0; k < q->count; k++)
        TRY(gf_buf_printf(b, err, "%s%lld", k ? "," : "", (long long)c->bytes[q->first + k]));
    TRY(gf_buf_str(b, "],\"tokens\":[", err));
    for (int k = 0; k < q->count; k++)
        TRY(gf_buf_printf(b, err, "%s%lld", k ? "," : "",
                          (long long)c->data.entry[q->first + k].trained));
    return gf_buf_str(b, "]}\n", err);
}

static gf_status write_per_example(const gf_choices *c, const gf_scores *tuned,
                                   const gf_scores *base, const char *path, gf_err *err)
{
    gf_buf text = {0};
    gf_status st = GF_OK;
    for (int64_t i = 0; i < c->count; i++)
        TRYG(put_question(&text, c, i, tuned, base, err));
    TRYG(gf_file_write(path, text.data ? text.data : "", text.len, err));
out:
    gf_buf_free(&text);
    return st;
}

gf_status gf_eval_report_choices(const gf_options *o, const gf_choices *c, const gf_scores *tuned,
                                 const gf_scores *base, gf_err *err)
{
    gf_paired p[WAYS] = {0};
    for (int way = 0; base && way < WAYS; way++)
        TRY(compare(&p[way], c, tuned, base, way, err));
    if (o->json)
        TRY(print_json(c, tuned, base, p, err));
    else
        print_text(c, tuned, base, p);
    return o->per_example ? write_per_example(c, tuned, base, o->per_example, err) : GF_OK;
}
