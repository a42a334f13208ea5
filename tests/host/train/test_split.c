/* test_split.c - a share held out: disjoint, complete, in order, the same for the same seed. */
#include "train/split.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static gf_dataset made_data(int64_t n)
{
    gf_dataset d = {.count = n, .entry = calloc((size_t)n, sizeof *d.entry)};
    for (int64_t i = 0; i < n; i++)
        d.entry[i].line = (int32_t)i;
    return d;
}

Test(split, parts_are_disjoint_and_ordered)
{
    gf_dataset a = made_data(100), held = {0};
    gf_data_file source = {.examples = 100, .dropped = 3};
    a.source = &source;
    a.source_count = 1;
    cr_assert_eq(gf_split(&a, &held, 0.25, 9, NULL), GF_OK);
    cr_assert(source.examples == 75 && source.dropped == 3);
    cr_assert(held.source[0].examples == 25 && held.source[0].dropped == 0);
    cr_assert_eq(a.count, 75);
    cr_assert_eq(held.count, 25);
    int seen[100] = {0};
    for (int64_t i = 0; i < 75; i++) {
        seen[a.entry[i].line]++;
        cr_assert(i == 0 || a.entry[i - 1].line < a.entry[i].line);
    }
    for (int64_t i = 0; i < 25; i++) {
        seen[held.entry[i].line]++;
        cr_assert(i == 0 || held.entry[i - 1].line < held.entry[i].line);
    }
    for (int i = 0; i < 100; i++)
        cr_assert_eq(seen[i], 1);
    free(a.entry);
    gf_dataset_free(&held);
}

Test(split, the_seed_decides)
{
    int64_t first[3];
    for (int run = 0; run < 3; run++) {
        gf_dataset a = made_data(50), held = {0};
        cr_assert_eq(gf_split(&a, &held, 0.2, run == 2 ? 8 : 7, NULL), GF_OK);
        first[run] = 0;
        for (int64_t i = 0; i < held.count; i++)
            first[run] = first[run] * 51 + held.entry[i].line;
        free(a.entry);
        gf_dataset_free(&held);
    }
    cr_assert_eq(first[0], first[1]);
    cr_assert_neq(first[0], first[2]);
}

Test(split, nothing_left_is_an_error)
{
    gf_dataset a = made_data(2), held = {0};
    gf_err err = {0};
    cr_assert_eq(gf_split(&a, &held, 0.9, 1, &err), GF_EARG);
    free(a.entry);
    gf_dataset_free(&held);
}
