/* test_no_silent_loss.c - law 1: nothing is truncated or dropped without being asked for, counted
 * and shown. Law 2: a step's loss is the sum of its tokens' losses over its trained tokens. */
#include "support/golden.h"
#include "support/program.h"

#include "base/json.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Losses are sums of integers at scale 2^32, so that only the order of a step could differ. */
#define LOSS_MAX 1e-6

enum { EXAMPLES = 7, LONGEST = 60 };
static const int lengths[EXAMPLES] = {60, 3, 41, 2, 17, 58, 9};
static const int trained[EXAMPLES] = {59, 1, 2, 1, 16, 30, 4}; /* the last ones of each */

typedef struct {
    char *dir, *model, *data;
} bed;

/* Label 0 is never counted: half of the examples have one. */
static bool bed_open(bed *b)
{
    char *found = golden_case(0);
    if (!found)
        return false;
    *b = (bed){.dir = scratch_make(), .model = gf_format(NULL, "%s/model", found)};
    b->data = gf_format(NULL, "%s/data.jsonl", b->dir);
    FILE *f = fopen(b->data, "w");
    for (int e = 0; e < EXAMPLES; e++) {
        fputs("{\"input_ids\":[", f);
        for (int t = 0; t < lengths[e]; t++)
            fprintf(f, "%s%d", t ? "," : "", 3 + (7 * e + 11 * t + t * t) % 90);
        fputs("],\"labels\":[", f);
        for (int t = 0; t < lengths[e]; t++) {
            const bool counts = t >= lengths[e] - trained[e] || (t == 0 && e % 2 == 0);
            fprintf(f, "%s%d", t ? "," : "", counts ? 3 + (7 * e + 11 * t + t * t) % 90 : -100);
        }
        fputs("]}\n", f);
    }
    fclose(f);
    free(found);
    return true;
}

static void bed_close(bed *b)
{
    scratch_remove(b->dir);
    free(b->model);
    free(b->data);
}

static cJSON *json_of(char *text)
{
    cJSON *root = NULL;
    gf_err err = {0};
    cr_assert_eq(gf_json_parse(&root, text, strlen(text), "result", 1, &err), GF_OK, "%s: %s",
                 err.text, text);
    free(text);
    return root;
}

static double number(const cJSON *o, const char *key)
{
    const cJSON *item = cJSON_GetObjectItem(o, key);
    cr_assert(cJSON_IsNumber(item), "no number %s", key);
    return item->valuedouble;
}

/* The result of eval, with each example's sum in `each`. */
static cJSON *eval(const bed *b, const char *more, const char *each)
{
    char *text;
    cr_assert_eq(run_stdout(&text,
                            GRAFT_BIN " eval --model %s --data %s --json --per-example %s %s",
                            b->model, b->data, each, more),
                 0);
    return json_of(text);
}

Test(no_silent_loss, eval_is_the_sum_of_its_examples)
{
    bed b;
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    char *each = gf_format(NULL, "%s/each.jsonl", b.dir);
    cJSON *all = eval(&b, "", each);
    double nll = 0;
    int tokens = 0, counted = 0;
    for (int e = 0; e < EXAMPLES; e++) {
        cr_assert_eq(jsonl_number(each, "index", e), e);
        cr_assert_eq(jsonl_number(each, "trained_tokens", e), trained[e], "example %d", e);
        nll += jsonl_number(each, "nll", e);
        counted += trained[e];
        tokens += lengths[e];
    }
    cr_assert_eq(number(all, "tokens"), tokens);
    cr_assert_eq(number(all, "trained_tokens"), counted);
    cr_assert_eq(number(all, "examples"), EXAMPLES);
    cr_assert_float_eq(number(all, "loss"), nll / counted, LOSS_MAX);

    /* Rows change nothing, not even a bit. */
    char *other = gf_format(NULL, "%s/other.jsonl", b.dir);
    cJSON *again = eval(&b, "--row-tokens 61 --threads 1", other);
    cr_assert(same_bytes(each, other), "other rows, other sums");
    cJSON_Delete(again);
    cJSON_Delete(all);
    free(other);
    free(each);
    bed_close(&b);
}

/* The base's sums against the losses of the first steps with the adapter still zero (B is) and a
 * rate of next to nothing: each step's loss is the quotient of its own sums, no mean of means. */
Test(no_silent_loss, step_loss_is_sum_over_trained_tokens)
{
    enum { BATCH = 3, STEPS = 3 };
    bed b;
    char *text;
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    char *each = gf_format(NULL, "%s/each.jsonl", b.dir);
    char *metrics = gf_format(NULL, "%s/out/metrics.jsonl", b.dir);
    cJSON_Delete(eval(&b, "", each));
    cr_assert_eq(run(&text,
                     GRAFT_BIN " train --model %s --data %s --output-dir %s/out --batch-size %d "
                               "--no-shuffle --learning-rate 1e-30 --lora-r 2",
                     b.model, b.data, b.dir, BATCH),
                 0, "%s", text);
    free(text);
    for (int s = 0; s < STEPS; s++) {
        double nll = 0, tokens = 0, counted = 0;
        for (int e = s * BATCH; e < (s + 1) * BATCH && e < EXAMPLES; e++) {
            nll += jsonl_number(each, "nll", e);
            counted += trained[e];
            tokens += lengths[e];
        }
        cr_assert_eq(jsonl_number(metrics, "trained_tokens", s), counted, "step %d", s + 1);
        cr_assert_eq(jsonl_number(metrics, "tokens", s), tokens, "step %d", s + 1);
        cr_assert_float_eq(jsonl_number(metrics, "loss", s), nll / counted, LOSS_MAX, "step %d",
                           s + 1);
    }
    free(metrics);
    free(each);
    bed_close(&b);
}

/* What the data command counts as key under the options. */
static double counted(const bed *b, const char *options, const char *key)
{
    char *text;
    cr_assert_eq(run_stdout(&text, GRAFT_BIN " data --model %s --data %s --json %s", b->model,
                            b->data, options),
                 0);
    cJSON *root = json_of(text);
    const double x = number(cJSON_GetObjectItem(root, "data"), key);
    cJSON_Delete(root);
    return x;
}

Test(no_silent_loss, over_length)
{
    bed b;
    char *text;
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    const char *train = GRAFT_BIN " train --model %s --data %s --output-dir %s/%s --max-length 45 "
                                  "--overlength %s";
    cr_assert_eq(run(&text, train, b.model, b.data, b.dir, "no", "error"), 2);
    cr_assert(strstr(text, "data.jsonl:1:") && strstr(text, "60") && strstr(text, "45"), "%s",
              text);
    free(text);
    cr_assert_eq(run(&text, train, b.model, b.data, b.dir, "cut", "truncate"), 0, "%s", text);
    cr_assert(strstr(text, "0 dropped, 2 truncated"), "%s", text);
    free(text);
    cr_assert_eq(run(&text, train, b.model, b.data, b.dir, "drop", "drop"), 0, "%s", text);
    cr_assert(strstr(text, "2 dropped, 0 truncated"), "%s", text);
    free(text);

    char *path = gf_format(NULL, "%s/cut/metrics.jsonl", b.dir);
    cr_assert_eq(jsonl_number(path, "tokens", 0), 3 + 41 + 2 + 17 + 9 + 2 * 45);
    cr_assert_eq(jsonl_number(path, "trained_tokens", 0), 1 + 2 + 1 + 16 + 4 + 44 + (30 - 13));
    free(path);
    path = gf_format(NULL, "%s/drop/metrics.jsonl", b.dir);
    cr_assert_eq(jsonl_number(path, "tokens", 0), 3 + 41 + 2 + 17 + 9);
    cr_assert_eq(jsonl_number(path, "trained_tokens", 0), 1 + 2 + 1 + 16 + 4);
    free(path);
    cr_assert_eq(run(&text,
                     GRAFT_BIN " eval --model %s --data %s --max-length 45 --overlength drop",
                     b.model, b.data),
                 0);
    cr_assert(strstr(text, "2 dropped, 0 truncated"), "%s", text);
    free(text);

    cr_assert_eq(counted(&b, "--max-length 45", "over_length"), 2);
    cr_assert_eq(counted(&b, "--max-length 45 --overlength drop", "dropped"), 2);
    cr_assert_eq(counted(&b, "--max-length 45 --overlength truncate", "truncated"), 2);
    bed_close(&b);
}

/* Cutting an example off before its first trained token leaves nothing to train: an error. */
Test(no_silent_loss, truncated_to_nothing)
{
    bed b;
    char *text;
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    const int code = run(&text,
                         GRAFT_BIN " train --model %s --data %s --output-dir %s/out "
                                   "--max-length 28 --overlength truncate",
                         b.model, b.data, b.dir);
    cr_assert_eq(code, 2, "%s", text);
    cr_assert(strstr(text, "data.jsonl:3:") && strstr(text, "trained"), "%s", text);
    free(text);
    bed_close(&b);
}
