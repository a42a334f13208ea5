/* test_schedule.c - every schedule of transformers, with its numbers: golden/schedules.json is
 * written by its own schedulers (golden/schedules.py). */
#include "train/schedule.h"

#include "base/json.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* In the order of gf_lr_type. */
static const char *const names[GF_LR_TYPES] = {
    "linear",
    "cosine",
    "constant",
    "constant_with_warmup",
    "cosine_with_restarts",
    "cosine_with_min_lr",
    "cosine_warmup_with_min_lr",
    "polynomial",
    "inverse_sqrt",
    "warmup_stable_decay",
    "reduce_lr_on_plateau",
    "greedy",
};

static gf_lr_type type_of(const char *name)
{
    for (int i = 0; i < GF_LR_TYPES; i++)
        if (!strcmp(names[i], name))
            return (gf_lr_type)i;
    cr_assert_fail("%s", name);
    return GF_LR_TYPES;
}

static gf_schedule open_case(const cJSON *c, double peak)
{
    gf_err err = {0};
    int64_t total = 0, warmup = 0;
    gf_json_int(&total, c, "total", 100, 1, 1000, "case", &err);
    gf_json_int(&warmup, c, "warmup", 0, 0, 1000, "case", &err);
    gf_schedule s = {.type = type_of(cJSON_GetObjectItem(c, "type")->valuestring),
                     .peak = peak,
                     .total = total,
                     .warmup = warmup};
    char *kwargs = cJSON_PrintUnformatted(cJSON_GetObjectItem(c, "kwargs"));
    cr_assert_eq(gf_schedule_open(&s, kwargs, &err), GF_OK, "%s", err.text);
    free(kwargs);
    return s;
}

/* Two roundings apart at most: cos and pow are another library's. */
static void near(double got, double want, const gf_schedule *s, int64_t step)
{
    cr_assert_float_eq(got, want, 4 * 0x1p-52 * s->peak, "%s step %lld: %.17g, not %.17g",
                       names[s->type], (long long)step, got, want);
}

Test(schedule, transformers_numbers)
{
    cJSON *root = NULL;
    gf_err err = {0};
    cr_assert_eq(gf_json_read(&root, GRAFT_TESTS "/golden/schedules.json", &err), GF_OK, "%s",
                 err.text);
    const double peak = cJSON_GetObjectItem(root, "peak")->valuedouble;
    bool seen[GF_LR_TYPES] = {0};
    const cJSON *c, *item;
    cJSON_ArrayForEach(c, cJSON_GetObjectItem(root, "cases"))
    {
        const gf_schedule s = open_case(c, peak);
        const cJSON *losses = cJSON_GetObjectItem(c, "losses");
        double loss[200];
        int64_t step = 0;
        seen[s.type] = true;
        cJSON_ArrayForEach(item, losses) loss[step++] = item->valuedouble;
        step = 0;
        cJSON_ArrayForEach(item, cJSON_GetObjectItem(c, "rates"))
        {
            step++;
            near(losses ? gf_lr_adapted(&s, loss, step) : gf_lr_at(&s, step), item->valuedouble, &s,
                 step);
        }
        cr_assert_gt(step, 0);
        cr_assert_eq(gf_lr_adapts(&s), losses != NULL);
    }
    for (int i = 0; i < GF_LR_TYPES; i++)
        cr_assert(seen[i], "%s", names[i]);
    cJSON_Delete(root);
}

/* The Trainer itself, run once (FORMATS 12.3). */
Test(schedule, the_trainers_run)
{
    gf_schedule s = {.type = GF_LR_COSINE, .peak = .01, .total = 6, .warmup = 2};
    const double want[] = {0, .005, .01, .008535534, .005, .001464466};
    cr_assert_eq(gf_schedule_open(&s, NULL, NULL), GF_OK);
    for (int64_t step = 1; step <= 6; step++)
        cr_assert_float_eq(gf_lr_at(&s, step), want[step - 1], 1e-9);
}
