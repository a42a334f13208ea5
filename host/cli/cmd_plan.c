/* cmd_plan.c - graft plan: memory to the byte, work, time. Without --data only headers are read. */
#include "cli/commands.h"

#include "cli/inputs.h"
#include "cli/prompts.h"
#include "base/number.h"
#include "train/plan.h"

#include <stdio.h>

/* Share of the product's rate that a whole step reaches: attention and what lies between products
 * take the rest. Measured with `bench step` on SmolLM2-135M. */
#define STEP_SHARE 0.7

typedef struct {
    const char *what; /* "a full row", "the run" */
    double flops;
    int64_t tokens, steps;
} work;

/* `refusal`: what train would say if the row does not fit, else NULL. */
static void print_memory(const gf_session *s, const gf_plan *p, const char *refusal)
{
    printf("model       %s, %lld layers, width %lld, vocabulary %lld\n", s->files.config.family,
           (long long)s->files.config.L, (long long)s->files.config.D,
           (long long)s->files.config.V);
    printf("adapter     %s parameters in %d modules\n", gf_number_count(s->adapter.size).text,
           s->adapter.count);
    printf("row         %lld tokens\n\nmemory\n", (long long)p->row_tokens);
    for (int i = 0; i < GF_PARTS; i++)
        printf("  %-12s %s\n", gf_part_name((gf_part)i), gf_number_bytes(p->part[i]).text);
    printf("  %-12s %s\n", "one block", gf_number_bytes(p->total).text);
    printf("  %-12s %s\n", s->backend.cuda ? "libraries" : "threads",
           gf_number_bytes(p->threads).text);
    printf("  %-12s %s (%s)\n", "reserve", gf_number_bytes(gf_session_reserve(s)).text,
           s->backend.cuda ? "driver, kernels, graphs" : "program, libraries, tokenizer, data");
    printf("  %-12s %s\n", "in all",
           gf_number_bytes(p->total + p->threads + gf_session_reserve(s)).text);
    const uint64_t limit = gf_session_limit(s);
    if (limit)
        printf("  %-12s %s besides the reserve: %s%s\n", "available",
               gf_number_bytes_short(limit).text, refusal ? "it does not fit: " : "it fits",
               refusal ? refusal : "");
}

static void print_work(const work *w, double rate)
{
    printf("\nwork of %s\n", w->what);
    if (w->steps)
        printf("  %-12s %lld\n", "steps", (long long)w->steps);
    printf("  %-12s %s\n", "tokens", gf_number_count(w->tokens).text);
    printf("  %-12s %.4g GFLOP, %.4g a token\n", "operations", w->flops * 1e-9,
           w->flops * 1e-9 / (double)w->tokens);
    if (rate <= 0)
        return;
    const double seconds = w->flops / (rate * STEP_SHARE);
    printf("  %-12s about %s, %.0f tokens/s (products at %.0f GFLOP/s, now, on this machine)\n",
           "time", gf_number_duration(seconds).text, (double)w->tokens / seconds, rate * 1e-9);
}

/* The rows that train would take. One that does not fit is an answer, too: `refusal` then holds
 * train's. */
static gf_status choose(gf_session *s, gf_plan *p, gf_model_options *opt, int64_t asked,
                        int64_t longest, int64_t most, gf_err *refusal, gf_err *err)
{
    const gf_status st = gf_plan_choose(p, &s->files, &s->adapter, &s->backend, opt, asked, longest,
                                        most, gf_session_limit(s), refusal);
    return st == GF_OK || st == GF_EFIT ? GF_OK : gf_fail(err, st, "%s", refusal->text);
}

/* With data: the run itself. */
static gf_status plan_run(gf_session *s, gf_plan *p, work *w, gf_model_options *opt,
                          gf_err *refusal, gf_err *err)
{
    const gf_options *o = s->o;
    gf_dataset data = {0}, eval = {0};
    gf_prompts prompts = {0};
    gf_stops stops;
    gf_loader ld = {0};
    gf_status st = GF_OK;
    gf_train_options t;
    TRYG(gf_inputs_data(s, &data, &eval, err));
    if (o->sample_prompts)
        TRYG(gf_prompts_read(&prompts, &stops, s, data.trained_turns > 0, err));
    TRYG(gf_inputs_training(&t, o, gf_dataset_epoch(&data), err));
    TRYG(gf_loader_open(&ld, &data, t.batch, t.seed, t.shuffle, 0, 1, err));
    const int64_t per_epoch = ld.steps_per_epoch;
    const int64_t most =
        gf_loader_most_tokens(&ld, t.schedule.total < per_epoch ? t.schedule.total : per_epoch);
    TRYG(choose(s, p, opt, o->row_tokens, gf_inputs_longest(&data, &eval, &prompts), most, refusal,
                err));
    double flops;
    int64_t tokens, trained;
    TRYG(gf_plan_epoch(&flops, &s->files, &s->adapter, &s->backend, opt, &ld, err));
    gf_dataset_tokens(&data, &tokens, &trained);
    const double epochs = (double)t.schedule.total / (double)per_epoch;
    *w = (work){.what = "the run",
                .flops = flops * epochs,
                .tokens = (int64_t)((double)tokens * epochs),
                .steps = t.schedule.total};
out:
    gf_loader_close(&ld);
    gf_prompts_free(&prompts);
    gf_dataset_free(&eval);
    gf_dataset_free(&data);
    return st;
}

gf_status gf_cmd_plan(const gf_options *o, gf_err *err)
{
    gf_session s;
    gf_plan p;
    work w = {0};
    gf_err refusal = {0};
    gf_status st = GF_OK;
    gf_session_start(&s, o);
    s.plan = true;
    TRYG(gf_inputs_adapter(&s, err));
    TRYG(gf_session_backend(&s, err));
    gf_model_options opt = gf_inputs_model(&s);
    if (o->data.count) {
        TRYG(plan_run(&s, &p, &w, &opt, &refusal, err));
    } else {
        const int64_t tokens = o->row_tokens ? o->row_tokens : o->max_length;
        TRYG(choose(&s, &p, &opt, tokens, tokens, tokens, &refusal, err));
        w = (work){.what = "a full row", .flops = (double)p.row.flops, .tokens = p.row_tokens};
    }
    print_memory(&s, &p, refusal.text[0] ? refusal.text : NULL);
    print_work(&w, gf_plan_rate(&s.backend, opt.precision));
out:
    gf_session_close(&s);
    return st;
}
