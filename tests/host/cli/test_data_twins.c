/* test_data_twins.c - examples that two data sets share, in ids, labels or text. */
#include "cli/data_twins.h"

#include <criterion/criterion.h>

static gf_dataset made(const int32_t first[], const uint64_t text[], int count)
{
    gf_dataset d = {0};
    cr_assert_eq(gf_dataset_add_file(&d, "d.jsonl", NULL), GF_OK);
    for (int i = 0; i < count; i++) {
        int32_t ids[3] = {first[i], 5, 6}, labels[3] = {-100, -100, first[i] % 2 ? 6 : 5};
        const gf_example e = {
            .ids = ids, .labels = labels, .length = 3, .trained = 1, .text = text[i]};
        cr_assert_eq(gf_dataset_add(&d, &e, NULL), GF_OK);
    }
    return d;
}

Test(data_twins, within_and_between)
{
    gf_dataset a = made((int32_t[]){1, 2, 1, 3, 1}, (uint64_t[]){10, 20, 10, 10, 30}, 5);
    gf_dataset b = made((int32_t[]){9, 3, 2}, (uint64_t[]){1, 2, 30}, 3);
    gf_twins t;
    cr_assert_eq(gf_twins_find(&t, &a, &a, GF_TWIN_LABELS, NULL), GF_OK);
    cr_expect(t.count == 2 && t.first == 2 && t.other == 0);
    cr_assert_eq(gf_twins_find(&t, &a, &a, GF_TWIN_TEXT, NULL), GF_OK);
    cr_expect(t.count == 2 && t.first == 2 && t.other == 0);
    cr_assert_eq(gf_twins_find(&t, &b, &a, GF_TWIN_IDS, NULL), GF_OK);
    cr_expect(t.count == 2 && t.first == 1 && t.other == 3);
    cr_assert_eq(gf_twins_find(&t, &b, &a, GF_TWIN_TEXT, NULL), GF_OK);
    cr_expect(t.count == 1 && t.first == 2 && t.other == 4);
    gf_dataset none = {0};
    cr_assert_eq(gf_twins_find(&t, &none, &a, GF_TWIN_IDS, NULL), GF_OK);
    cr_expect(t.count == 0 && t.first == -1);
    gf_dataset_free(&a);
    gf_dataset_free(&b);
}
