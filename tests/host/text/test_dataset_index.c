/* test_dataset_index.c - shares of weighted sources; texts that count as the same. */
#include "text/dataset.h"

#include <criterion/criterion.h>
#include <string.h>

Test(dataset_index, shares)
{
    cr_expect_eq(gf_dataset_share(1, 7), 7);
    cr_expect_eq(gf_dataset_share(2, 7), 14);
    cr_expect_eq(gf_dataset_share(0.5, 7), 4);
    cr_expect_eq(gf_dataset_share(2.5, 10), 25);
    cr_expect_eq(gf_dataset_share(0.001, 7), 1); /* a file is never left out without a word */
    cr_expect_eq(gf_dataset_share(3, 0), 0);
}

Test(dataset_index, an_epoch_of_two_sources)
{
    gf_dataset d = {0};
    gf_err err = {0};
    int32_t ids[10] = {1};
    int64_t tokens, trained;
    for (int f = 0; f < 2; f++) {
        cr_assert_eq(gf_dataset_add_file(&d, f ? "b.jsonl" : "a.jsonl", &err), GF_OK);
        for (int i = 0; i < 4; i++) {
            const gf_example e = {
                .ids = ids, .labels = ids, .length = 10, .trained = 9, .line = i + 1};
            cr_assert_eq(gf_dataset_add(&d, &e, &err), GF_OK);
        }
    }
    cr_expect_eq(gf_dataset_epoch(&d), 8);
    cr_expect_eq(gf_dataset_weigh(&d, (double[]){1, 2, 3}, 3, &err), GF_EARG);
    cr_assert_eq(gf_dataset_weigh(&d, (double[]){0.5, 3}, 2, &err), GF_OK);
    cr_expect_eq(gf_dataset_epoch(&d), 2 + 12);
    gf_dataset_tokens(&d, &tokens, &trained);
    cr_expect(tokens == 140 && trained == 14 * 9);
    cr_expect_str_eq(gf_dataset_at(&d, 5).file, "b.jsonl");
    cr_expect_eq(gf_dataset_at(&d, 5).line, 2);
    cr_expect_eq(gf_dataset_longest(&d), 10);
    gf_dataset_free(&d);
}

static uint64_t hash(const char *s)
{
    return gf_loose_hash(s, strlen(s));
}

Test(dataset_index, case_and_white_space_do_not_count)
{
    cr_expect_eq(hash("Hello,  World\n"), hash(" hello,\tworld"));
    cr_expect_eq(hash("ÄRGER"), hash("ärger"));
    cr_expect_neq(hash("helloworld"), hash("hello world"));
    cr_expect_neq(hash("1.5"), hash("15"));
    cr_expect_eq(hash("a\xff"), hash("A\xff"));
    cr_expect_eq(hash(""), hash(" \n"));
}
