/* test_metrics.c - lines that read back exactly, and what a resume cuts off. */
#include "support/program.h"
#include "train/metrics.h"

#include "base/file.h"
#include "base/json.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static gf_step step_of(int64_t n)
{
    return (gf_step){.step = n,
                     .epoch = (double)n / 3,
                     .loss = 1.0 / (double)(n + 2),
                     .grad_norm = 0.1 * (double)n,
                     .learning_rate = 2e-4 / 7,
                     .tokens = 100 * n,
                     .trained = 40 * n,
                     .seconds = 0.3,
                     .shift = 40};
}

Test(metrics, numbers_read_back_exactly)
{
    char *dir = scratch_make(), *path = gf_path_join(dir, "metrics.jsonl", NULL);
    FILE *f;
    cr_assert_eq(gf_metrics_open(&f, path, 0, NULL), GF_OK);
    for (int64_t n = 1; n <= 5; n++) {
        const gf_step s = step_of(n);
        cr_assert_eq(gf_metrics_step(f, &s, path, NULL), GF_OK);
    }
    int64_t at[] = {0, 3, 5};
    double loss[] = {0.1, 0.2, 1.0 / 3};
    const gf_history h = {.step = at, .loss = loss, .count = 3};
    cr_assert_eq(gf_metrics_eval(f, &h, 2.0 / 3, path, NULL), GF_OK);
    fclose(f);
    for (int n = 0; n < 5; n++) {
        const gf_step s = step_of(n + 1);
        cr_assert_eq(jsonl_number(path, "loss", n), s.loss);
        cr_assert_eq(jsonl_number(path, "epoch", n), s.epoch);
        cr_assert_eq(jsonl_number(path, "learning_rate", n), s.learning_rate);
        cr_assert_eq(jsonl_number(path, "trained_tokens", n), (double)s.trained);
    }
    cr_assert_eq(jsonl_number(path, "eval_loss", 0), 1.0 / 3);
    cr_assert_eq(jsonl_number(path, "best_eval_loss", 0), 0.2);
    cr_assert_eq(jsonl_number(path, "best_step", 0), 3);
    scratch_remove(dir);
    free(path);
}

Test(metrics, a_resume_cuts_back)
{
    char *dir = scratch_make(), *path = gf_path_join(dir, "metrics.jsonl", NULL), *text;
    size_t size;
    FILE *f;
    gf_metrics_open(&f, path, 0, NULL);
    for (int64_t n = 1; n <= 4; n++) {
        const gf_step s = step_of(n);
        gf_metrics_step(f, &s, path, NULL);
        double loss = 1;
        const gf_history h = {.step = &n, .loss = &loss, .count = 1};
        gf_metrics_eval(f, &h, 1, path, NULL);
    }
    fputs("{\"step\":5,\"lo", f); /* a line that a crash cut */
    fclose(f);
    cr_assert_eq(gf_metrics_open(&f, path, 2, NULL), GF_OK);
    fclose(f);
    cr_assert_eq(gf_file_read(path, &text, &size, NULL), GF_OK);
    int lines = 0;
    for (size_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    cr_assert_eq(lines, 4, "%s", text);
    cr_assert_null(strstr(text, "\"step\":3"));
    cr_assert_eq(text[size - 1], '\n');
    free(text);
    scratch_remove(dir);
    free(path);
}
