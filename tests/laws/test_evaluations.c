/* test_evaluations.c - what follows a run's evaluations: the best checkpoint is kept and taken, an
 * early stop ends the run in order, rates adapt; and all of it goes on exactly after a resume. */
#include "support/program.h"
#include "support/small_model.h"

#include "base/file.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char *dir, *model, *data, *eval;
} bed;

/* Random tokens: what is learned of the data soon makes the evaluation worse. */
static void bed_open(bed *b)
{
    *b = (bed){.dir = scratch_make()};
    b->model = small_model(b->dir);
    b->data = small_tokens(b->dir, 6, 37, 60);
    b->eval = gf_path_join(b->dir, "eval.jsonl", NULL);
    rename(b->data, b->eval);
    free(b->data);
    b->data = small_tokens(b->dir, 7, 29, 50);
}

static void bed_close(bed *b)
{
    scratch_remove(b->dir);
    free(b->model);
    free(b->data);
    free(b->eval);
}

static char *train(const bed *b, const char *name, const char *more)
{
    char *text;
    const int code = run(
        &text,
        GRAFT_BIN " train --model %s --data %s --eval-data %s --output-dir %s/%s --batch-size 4 "
                  "--lora-r 8 --learning-rate 2e-2 --threads 1 --eval-steps 2 %s",
        b->model, b->data, b->eval, b->dir, name, more);
    cr_assert_eq(code, 0, "%s: %s", more, text);
    return text;
}

static bool there(const bed *b, const char *name, double step)
{
    return run(NULL, "test -f %s/%s/checkpoint-%d/state.json", b->dir, name, (int)step) == 0;
}

static char *file_of(const bed *b, const char *name, const char *file)
{
    return gf_format(NULL, "%s/%s/%s", b->dir, name, file);
}

static void same(const bed *b, const char *one, const char *other)
{
    static const char *const files[] = {"adapter_model.safetensors"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *x = file_of(b, one, files[i]), *y = file_of(b, other, files[i]);
        cr_assert(same_bytes(x, y), "%s and %s differ in %s", one, other, files[i]);
        free(x);
        free(y);
    }
}

#define STOPS                                                                                      \
    "--num-train-epochs 30 --early-stopping-patience 3 --load-best-model-at-end "                  \
    "--save-steps 3 --save-total-limit 1"

Test(evaluations, the_best_is_kept_and_an_early_stop_resumes)
{
    bed b;
    bed_open(&b);
    char *text = train(&b, "stop", STOPS);
    char *metrics = file_of(&b, "stop", "metrics.jsonl");
    int evals = 0, best = 1;
    double last = 0;
    for (; !isnan(jsonl_number(metrics, "eval_loss", evals)); evals++)
        last = jsonl_number(metrics, "step", evals + 2 * evals); /* two steps between them */
    for (int i = 1; i < evals; i++)
        if (jsonl_number(metrics, "eval_loss", i) < jsonl_number(metrics, "eval_loss", best))
            best = i;
    const double best_step = jsonl_number(metrics, "best_step", evals - 2);
    cr_assert_eq(best_step, 2 * best, "%s", text);
    cr_assert_eq(evals - 1, best + 3, "not three evaluations after the best:\n%s", text);
    cr_assert_eq(last, 2 * (evals - 1));
    cr_assert(last < 60 && there(&b, "stop", best_step) && there(&b, "stop", last), "%s", text);
    cr_assert(strstr(text, "stopped after step") && strstr(text, "the adapter is that step's"));
    free(text);

    /* the adapter is the best checkpoint's */
    char *ours = file_of(&b, "stop", "adapter_model.safetensors");
    text =
        gf_format(NULL, "%s/stop/checkpoint-%d/adapter_model.safetensors", b.dir, (int)best_step);
    cr_assert(same_bytes(ours, text));
    free(text);
    free(ours);

    /* stopped on the way, with evaluations waited for; then on, then once more when all is done */
    run(&text,
        "mkdir %s/part && cp -r %s/stop/checkpoint-%d %s/part/ && " /* the best: no step is past */
        "head -n %d %s > %s/part/metrics.jsonl",
        b.dir, b.dir, (int)best_step, b.dir, (int)(3 * best), metrics, b.dir);
    free(text);
    free(train(&b, "part", STOPS " --resume"));
    same(&b, "stop", "part");
    free(train(&b, "part", STOPS " --resume"));
    same(&b, "stop", "part");
    char *record = file_of(&b, "part", "run.json");
    size_t size;
    cr_assert_eq(gf_file_read(record, &text, &size, NULL), GF_OK);
    char *want = gf_format(NULL, "\"best_step\": %d,", (int)best_step);
    cr_assert(strstr(text, want), "%s", text);
    free(want);
    free(text);
    free(record);

    run(NULL, "rm -r %s/part/checkpoint-%d", b.dir, (int)best_step);
    const int code =
        run(&text,
            GRAFT_BIN " train --model %s --data %s --eval-data %s --output-dir %s/part "
                      "--batch-size 4 --lora-r 8 --learning-rate 2e-2 --eval-steps 2 "
                      "--resume " STOPS,
            b.model, b.data, b.eval, b.dir);
    cr_assert_eq(code, 2, "%s", text);
    cr_assert(strstr(text, "is gone"), "%s", text);
    free(text);
    free(metrics);
    bed_close(&b);
}

#define PLATEAU                                                                                    \
    "--num-train-epochs 6 --lr-scheduler-type reduce_lr_on_plateau --lr-scheduler-kwargs "         \
    "'{\"patience\":0,\"factor\":0.5}' --save-steps 1"

Test(evaluations, a_plateau_lowers_the_rate_and_resumes)
{
    bed b;
    bed_open(&b);
    free(train(&b, "whole", PLATEAU));
    char *metrics = file_of(&b, "whole", "metrics.jsonl");
    double rate = 2e-2, best = INFINITY;
    for (int step = 1; step <= 12; step++) {
        cr_assert_eq(jsonl_number(metrics, "learning_rate", step - 1), rate, "step %d", step);
        if (step % 2)
            continue;
        const double loss = jsonl_number(metrics, "eval_loss", step / 2);
        rate *= loss < best * (1 - 1e-4) ? 1 : 0.5;
        best = loss < best * (1 - 1e-4) ? loss : best;
    }
    cr_assert(rate < 2e-2, "the evaluation never got worse");
    run(NULL, "mkdir %s/half && cp -r %s/whole/checkpoint-11 %s/half/", b.dir, b.dir, b.dir);
    free(train(&b, "half", PLATEAU " --resume"));
    same(&b, "whole", "half");
    free(metrics);
    bed_close(&b);
}
