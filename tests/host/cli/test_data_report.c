/* test_data_report.c - the numbers of `graft data`, over examples made by hand. */
#include "cli/data_report.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

enum { EXAMPLES = 101 };

static int32_t words[EXAMPLES][128], labels[EXAMPLES][128];
static gf_example examples[EXAMPLES];

/* Lengths 101, 100, ... 1; the first token of each is its own. */
static void fill(void)
{
    for (int i = 0; i < EXAMPLES; i++) {
        for (int t = 0; t < 128; t++) {
            words[i][t] = t ? t : i;
            labels[i][t] = t % 2 ? t : -100;
        }
        examples[i] = (gf_example){.ids = words[i],
                                   .labels = labels[i],
                                   .length = EXAMPLES - i,
                                   .trained = (EXAMPLES - i) / 2,
                                   .line = i + 1};
    }
}

static gf_dataset made(int64_t count)
{
    gf_dataset d = {.no_end_token = 7};
    cr_assert_eq(gf_dataset_add_file(&d, "d.jsonl", NULL), GF_OK);
    for (int i = 0; i < count; i++)
        cr_assert_eq(gf_dataset_add(&d, &examples[i], NULL), GF_OK);
    return d;
}

Test(data_report, lengths_are_nearest_ranks)
{
    fill();
    gf_dataset d = made(EXAMPLES);
    gf_data_report r;
    cr_assert_eq(gf_data_report_make(&r, &d, NULL, 90, NULL), GF_OK);
    cr_expect(r.examples == 101 && r.tokens == 101 * 102 / 2 && r.trained == 2 * 50 * 51 / 2);
    cr_expect(r.min == 1 && r.median == 51 && r.p90 == 91 && r.p99 == 100 && r.max == 101);
    cr_expect(r.over == 11 && r.same.count == 0 && r.same.first == -1 && r.no_end_token == 7);
    cr_expect(r.longest == 0);
    d.count = 1;
    cr_assert_eq(gf_data_report_make(&r, &d, NULL, 90, NULL), GF_OK);
    cr_expect(r.min == 101 && r.median == 101 && r.p90 == 101 && r.p99 == 101 && r.max == 101);
    d.count = 0;
    cr_assert_eq(gf_data_report_make(&r, &d, NULL, 90, NULL), GF_OK);
    cr_expect(r.examples == 0 && r.max == 0 && r.longest == -1);
    gf_dataset_free(&d);
}

Test(data_report, duplicates_are_equal_in_ids_and_labels)
{
    gf_data_report r;
    fill();
    for (int i = 90; i < 101; i++)
        examples[i].length = 10;
    words[95][0] = words[98][0] = words[91][0]; /* three of a kind: two duplicates */
    words[99][0] = words[92][0];
    labels[99][3] = -100; /* other labels */
    words[97][0] = words[93][0];
    gf_dataset d = made(EXAMPLES);
    cr_assert_eq(gf_data_report_make(&r, &d, NULL, 90, NULL), GF_OK);
    cr_expect_eq(r.same.count, 3);
    cr_expect(r.same.first == 95 && r.same.other == 91);
    gf_dataset_free(&d);
}

Test(data_report, json_and_text)
{
    gf_data_report r;
    gf_buf json = {0}, text = {0};
    cJSON *root = NULL;
    gf_err err = {0};
    gf_options o = {.overlength = GF_OVERLENGTH_ERROR};
    fill();
    words[1][0] = words[2][0];
    examples[1].length = examples[2].length;
    gf_dataset d = made(EXAMPLES);
    cr_assert_eq(gf_data_report_make(&r, &d, NULL, 90, NULL), GF_OK);
    cr_assert_eq(gf_data_report_json(&r, &json, &err), GF_OK);
    cr_assert_eq(gf_json_parse(&root, json.data, json.len, "json", 1, &err), GF_OK, "%s", err.text);
    cr_expect_eq(cJSON_GetObjectItem(root, "over_length")->valueint, 11);
    cr_expect_eq(
        cJSON_GetObjectItem(cJSON_GetObjectItem(root, "first_duplicate"), "line")->valueint, 3);
    cr_assert_eq(gf_data_report_text(&r, &o, "data", 80, &text, &err), GF_OK);
    cr_expect(strstr(text.data, "d.jsonl:3 is d.jsonl:2"), "%s", text.data);
    cr_expect(strstr(text.data, "train refuses them"), "%s", text.data);
    cJSON_Delete(root);
    gf_buf_free(&json);
    gf_buf_free(&text);
    gf_dataset_free(&d);
}
