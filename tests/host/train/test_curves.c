/* test_curves.c - a long course in few points: means and extremes of what was put in. */
#include "train/curves.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "support/scratch.h"

static double at(const cJSON *root, const char *key, int i)
{
    const cJSON *item = cJSON_GetArrayItem(cJSON_GetObjectItem(root, key), i);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

static cJSON *json_of(const gf_curves *c)
{
    gf_buf b = {0};
    gf_err err = {0};
    cJSON *root = NULL;
    cr_assert_eq(gf_curves_json(c, &b, &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_json_parse(&root, b.data, b.len, "curves", 1, &err), GF_OK, "%s", err.text);
    gf_buf_free(&b);
    return root;
}

Test(curves, empty)
{
    gf_curves c = {0};
    cJSON *root = json_of(&c);
    cr_expect_eq(cJSON_GetArraySize(cJSON_GetObjectItem(root, "step")), 0);
    cJSON_Delete(root);
    gf_curves_free(&c);
}

Test(curves, points_are_joined_in_pairs)
{
    enum { N = 3 * GF_CURVES_POINTS + 5 }; /* width 4 at the end, the last point not full */
    gf_curves c = {0};
    double sum = 0, all = 0;
    for (int s = 1; s <= N; s++) {
        const double value[GF_CURVES] = {s % 7, s, 1e-4, s == 9 ? INFINITY : 2};
        sum += value[0];
        cr_assert_eq(gf_curves_step(&c, s, value, NULL), GF_OK);
    }
    cr_assert_eq(gf_curves_eval(&c, 0, 2.5, 0.25, NULL), GF_OK);
    cJSON *root = json_of(&c);
    const int n = cJSON_GetArraySize(cJSON_GetObjectItem(root, "step"));
    cr_expect_eq(n, (N + 3) / 4);
    cr_expect_eq(cJSON_GetObjectItem(root, "width")->valueint, 4);
    for (int i = 0; i < n; i++) {
        const int last = i == n - 1 ? N : 4 * i + 4, count = last - 4 * i;
        cr_assert_eq(at(root, "step", i), last);
        cr_assert_eq(at(root, "grad_norm_least", i), 4 * i + 1);
        cr_assert_eq(at(root, "grad_norm_most", i), last);
        all += at(root, "loss", i) * count;
    }
    cr_expect(fabs(all - sum) < 1e-5 * sum * n, "%g, want %g", all, sum); /* six digits each */
    cr_expect(isnan(at(root, "tokens_per_second", 2)));                   /* not finite: null */
    cr_expect_eq(at(cJSON_GetObjectItem(root, "eval"), "accuracy", 0), 0.25);
    cJSON_Delete(root);
    gf_curves_free(&c);
}

Test(curves, read_from_metrics)
{
    static const char lines[] =
        "{\"step\":0,\"eval_loss\":3,\"eval_accuracy\":0.5}\n"
        "{\"step\":1,\"epoch\":0.5,\"loss\":2.5,\"grad_norm\":1,\"learning_rate\":0.001,"
        "\"tokens\":10,\"trained_tokens\":9,\"tokens_per_second\":100}\n"
        "{\"step\":2,\"loss\":2.25,\"grad_norm\":1,\"learning_rate\":0.001}\n";
    const char *path = scratch_write("metrics.jsonl", lines, sizeof lines - 1);
    gf_curves c = {0};
    gf_err err = {0};
    cr_assert_eq(gf_curves_read(&c, path, &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_curves_read(&c, scratch_path("none"), &err), GF_OK);
    cJSON *root = json_of(&c);
    cr_expect_eq(at(root, "loss", 1), 2.25);
    cr_expect_eq(at(root, "tokens_per_second", 0), 100);
    cr_expect(isnan(at(root, "tokens_per_second", 1)));
    cr_expect_eq(at(cJSON_GetObjectItem(root, "eval"), "loss", 0), 3);
    cJSON_Delete(root);
    gf_curves_free(&c);
}
