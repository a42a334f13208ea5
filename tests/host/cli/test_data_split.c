/* test_data_split.c - `graft data --split`: every record once, equal ones on one side, by the seed.
 */
#include "support/program.h"
#include "support/small_model.h"

#include "base/json.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *dir, *model;

static void start(void)
{
    dir = scratch_make();
    model = small_model(dir);
    char *path = gf_format(NULL, "%s/d.json", dir);
    FILE *f = fopen(path, "w");
    cr_assert(f);
    for (int i = 0; i < 40; i++) /* an array over several lines; ten texts, four of each */
        fprintf(f, "%s{\"input_ids\":\n [1,%d, 5]}", i ? ",\n" : "[", 3 + i % 10);
    fputs("]\n", f);
    fclose(f);
    free(path);
}

static void stop(void)
{
    free(model);
    scratch_remove(dir);
}

TestSuite(data_split, .init = start, .fini = stop);

static int split(const char *more, const char *out, char **text)
{
    return run(text,
               GRAFT_BIN " data --model %s --data %s/d.json --split 0.3 --output-dir %s/%s %s",
               model, dir, dir, out, more);
}

Test(data_split, equal_records_stay_together)
{
    char *text;
    cr_assert_eq(split("", "a", &text), 0, "%s", text);
    cr_expect(strstr(text, "/a/train.jsonl: 28 records"), "%s", text);
    cr_expect(strstr(text, "/a/eval.jsonl: 12 records"), "%s", text);
    free(text);
    cr_expect_eq(run(&text,
                     "sort -u %s/a/train.jsonl | wc -l; sort -u %s/a/eval.jsonl | wc -l; "
                     "sort -u %s/a/train.jsonl %s/a/eval.jsonl | wc -l",
                     dir, dir, dir, dir),
                 0);
    cr_expect_str_eq(text, "7\n3\n10\n");
    free(text);
    /* what was written is a data set, and the same again */
    cr_expect_eq(run(&text,
                     GRAFT_BIN " data --model %s --data %s/a/train.jsonl --eval-data "
                               "%s/a/eval.jsonl",
                     model, dir, dir),
                 0, "%s", text);
    cr_expect(strstr(text, "also in the data         0\n"), "%s", text);
    free(text);
    cr_assert_eq(split("--json", "b", &text), 0);
    cr_expect(strstr(text, "\"split\":{\"train\":28,\"eval\":12}"), "%s", text);
    free(text);
    cr_assert_eq(split("--seed 7", "c", NULL), 0);
    cr_expect_eq(run(NULL, "cmp -s %s/a/eval.jsonl %s/b/eval.jsonl", dir, dir), 0);
    cr_expect_neq(run(NULL, "cmp -s %s/a/eval.jsonl %s/c/eval.jsonl", dir, dir), 0);
}

Test(data_split, refusals_leave_nothing)
{
    char *text;
    cr_assert_eq(split("", "a", NULL), 0);
    cr_expect_eq(split("", "a", &text), 2);
    cr_expect(strstr(text, "is there already"), "%s", text);
    free(text);
    cr_expect_eq(run(&text,
                     GRAFT_BIN " data --model %s --data %s/d.json --split 0.01 --output-dir %s/n",
                     model, dir, dir),
                 2);
    cr_expect(strstr(text, "none to hold out"), "%s", text);
    cr_expect_neq(run(NULL, "test -e %s/n", dir), 0);
    free(text);
    cr_expect_eq(run(&text, GRAFT_BIN " data --model %s --data %s/d.json --split 0.1", model, dir),
                 2);
    cr_expect(strstr(text, "--output-dir"), "%s", text);
    free(text);
    cr_expect_eq(split("--eval-split 0.1", "n", &text), 2);
    cr_expect(strstr(text, "--eval-split"), "%s", text);
    free(text);
}
