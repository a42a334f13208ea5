/* test_eval.c - multiple choice and base against tuned, with the numbers of transformers and PEFT
 * (eval.py). */
#include "support/program.h"
#include "support/small_model.h"

#include "base/file.h"
#include "base/json.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char *dir, *model;
    cJSON *want;
} bed;

static void bed_open(bed *b)
{
    gf_err err = {0};
    *b = (bed){.dir = scratch_make()};
    b->model = small_model(b->dir);
    cr_assert_eq(gf_json_read(&b->want, GRAFT_TESTS "/golden/eval.json", &err), GF_OK, "%s",
                 err.text);
}

static void bed_close(bed *b)
{
    cJSON_Delete(b->want);
    scratch_remove(b->dir);
    free(b->model);
}

static cJSON *eval(const bed *b, const char *words)
{
    char *text;
    gf_err err = {0};
    cJSON *root = NULL;
    const int code =
        run_stdout(&text, GRAFT_BIN " eval --model %s %s --json --threads 1", b->model, words);
    cr_assert_eq(code, 0, "%s", text);
    cr_assert_eq(gf_json_parse(&root, text, strlen(text), "eval", 1, &err), GF_OK, "%s", text);
    free(text);
    return root;
}

static double number(const cJSON *of, const char *key)
{
    const cJSON *item = cJSON_GetObjectItem(of, key);
    cr_assert(cJSON_IsNumber(item), "%s", key);
    return item->valuedouble;
}

static void same_shares(const cJSON *got, const cJSON *want)
{
    static const char *const names[] = {"acc", "acc_norm", "acc_norm_token"};
    for (int i = 0; i < 3; i++)
        cr_assert_float_eq(number(got, names[i]), number(want, names[i]), 1e-12, "%s", names[i]);
}

/* Line i's list of losses; sums of a few tokens' f32 logits. */
static void same_losses(const char *path, const char *key, const cJSON *want)
{
    gf_err err = {0};
    char *text, *at;
    size_t size;
    cr_assert_eq(gf_file_read(path, &text, &size, &err), GF_OK, "%s", err.text);
    at = text;
    const cJSON *row, *x;
    cJSON_ArrayForEach(row, cJSON_GetObjectItem(want, "nll"))
    {
        cJSON *line = NULL;
        char *end = strchr(at, '\n');
        cr_assert_eq(gf_json_parse(&line, at, (size_t)(end - at), path, 1, &err), GF_OK);
        const cJSON *y = cJSON_GetObjectItem(line, key)->child;
        cJSON_ArrayForEach(x, row)
        {
            cr_assert_float_eq(y->valuedouble, x->valuedouble, 2e-4, "%s %g, not %g", key,
                               y->valuedouble, x->valuedouble);
            y = y->next;
        }
        cr_assert_null(y);
        cJSON_Delete(line);
        at = end + 1;
    }
    cr_assert_eq(*at, 0);
    free(text);
}

Test(eval, choices)
{
    bed b;
    bed_open(&b);
    for (int plain = 0; plain < 2; plain++) {
        char *each = gf_format(NULL, "%s/each%d.jsonl", b.dir, plain);
        char *words =
            gf_format(NULL,
                      "--choices %s/golden/eval.jsonl --adapter %s --compare %s "
                      "--per-example %s",
                      GRAFT_TESTS, SMALL_ADAPTER, plain ? "--data-format text" : "", each);
        cJSON *got = eval(&b, words);
        const cJSON *base = cJSON_GetObjectItem(b.want, plain ? "base_text" : "base");
        const cJSON *tuned = cJSON_GetObjectItem(b.want, plain ? "tuned_text" : "tuned");
        same_shares(got, tuned);
        same_shares(cJSON_GetObjectItem(got, "base"), base);
        same_losses(each, "nll", tuned);
        same_losses(each, "base_nll", base);
        const cJSON *acc = cJSON_GetObjectItem(cJSON_GetObjectItem(got, "compare"), "acc");
        cr_assert_float_eq(number(acc, "difference"), number(tuned, "acc") - number(base, "acc"),
                           1e-12);
        cr_assert_eq(number(acc, "resamples"), 10000);
        cJSON_Delete(got);
        free(words);
        free(each);
    }
    bed_close(&b);
}

/* Base and tuned in one command are what they are one by one. */
Test(eval, compare)
{
    bed b;
    bed_open(&b);
    char *data = small_tokens(b.dir, 9, 37, 60);
    char *one = gf_format(NULL, "--data %s", data);
    char *two = gf_format(NULL, "--data %s --adapter %s", data, SMALL_ADAPTER);
    char *all = gf_format(NULL, "%s --compare", two);
    cJSON *base = eval(&b, one), *tuned = eval(&b, two), *both = eval(&b, all);
    const cJSON *of = cJSON_GetObjectItem(both, "base");
    const cJSON *loss = cJSON_GetObjectItem(cJSON_GetObjectItem(both, "compare"), "loss");
    cr_assert_eq(number(both, "loss"), number(tuned, "loss"));
    cr_assert_eq(number(of, "loss"), number(base, "loss"));
    cr_assert_eq(number(of, "accuracy"), number(base, "accuracy"));
    /* sums of examples are rounded to 2^-32 each */
    cr_assert_float_eq(number(loss, "difference"), number(both, "loss") - number(of, "loss"), 1e-8);
    const cJSON *low = cJSON_GetObjectItem(loss, "interval")->child;
    cr_assert(low->valuedouble < number(loss, "difference") &&
              low->next->valuedouble > number(loss, "difference"));
    cJSON_Delete(base);
    cJSON_Delete(tuned);
    cJSON_Delete(both);
    free(one);
    free(two);
    free(all);
    free(data);
    bed_close(&b);
}

Test(eval, refusals)
{
    static const char *const bad[][2] = {
        {"", "--data or --choices"},
        {"--choices q.jsonl --data d.jsonl", "exclude each other"},
        {"--choices /nonexistent/q.jsonl", "/nonexistent/q.jsonl"},
        {"--choices q.jsonl --compare", "--compare needs --adapter"},
        {"--choices q.jsonl --train-on all", "--train-on"},
    };
    bed b;
    bed_open(&b);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *text;
        const int code = run(&text, GRAFT_BIN " eval --model %s %s", b.model, bad[i][0]);
        cr_expect_eq(code, 2, "%s: %s", bad[i][0], text);
        cr_expect(strstr(text, bad[i][1]), "%s: %s", bad[i][0], text);
        free(text);
    }
    bed_close(&b);
}
