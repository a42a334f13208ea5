/* test_plan.c - law 4: every part of the arena is used to the byte that was planned, a run that
 * does not fit is refused before step 1 with what would, and what graft does not plan stays in its
 * reserve. */
#include "support/golden.h"
#include "support/program.h"

#include "base/json.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const char *const options[] = {
    "--precision fp32", "--precision bf16", "--lora-r 4 --target-modules q_proj,v_proj",
    "--row-tokens 64 --threads 1", "--layers-to-transform 1 --target-modules down_proj,o_proj"};

static void check_run(const char *dir, const char *more, const char *out)
{
    char *text;
    cr_assert_eq(run(&text,
                     GRAFT_BIN " train --model %s/model --data %s/tokens.jsonl --output-dir %s "
                               "--batch-size 2 --max-steps 2 %s",
                     dir, dir, out, more),
                 0, "%s", text);
    free(text);
    char *path = gf_format(NULL, "%s/run.json", out);
    cJSON *root = NULL;
    gf_err err = {0};
    cr_assert_eq(gf_json_read(&root, path, &err), GF_OK, "%s", err.text);
    const cJSON *plan = cJSON_GetObjectItem(root, "plan"), *part;
    int parts = 0;
    cJSON_ArrayForEach(part, plan)
    {
        if (!cJSON_IsObject(part))
            continue;
        const double planned = cJSON_GetObjectItem(part, "planned")->valuedouble;
        const double used = cJSON_GetObjectItem(part, "used")->valuedouble;
        cr_assert_gt(planned, 0);
        cr_assert_eq(planned, used, "%s, %s: planned %.0f, used %.0f", more, part->string, planned,
                     used);
        parts++;
    }
    cr_assert_eq(parts, 4);
    cJSON_Delete(root);
    free(path);
}

Test(plan, planned_is_used)
{
    char *dir = golden_case(0);
    if (!dir)
        cr_skip_test("no reference cases");
    char *scratch = scratch_make();
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        char *out = gf_format(NULL, "%s/%zu", scratch, i);
        check_run(dir, options[i], out);
        free(out);
    }
    scratch_remove(scratch);
    free(dir);
}

Test(plan, what_does_not_fit_is_refused)
{
    char *dir = golden_case(0), *text;
    if (!dir)
        cr_skip_test("no reference cases");
    char *scratch = scratch_make();
    const int code = run(&text,
                         GRAFT_BIN " train --model %s/model --data %s/tokens.jsonl --output-dir "
                                   "%s/out --threads 1 --row-tokens 2048 --memory-limit 8M",
                         dir, dir, scratch);
    cr_assert_eq(code, 2, "%s", text);
    cr_assert(strstr(text, "would fit"), "%s", text);
    free(text);
    cr_assert_eq(run(NULL, "test -e %s/out", scratch), 1, "a refused run left a folder");
    scratch_remove(scratch);
    free(dir);
}

/* What graft does not allocate itself is one stated reserve: plan and resident peak agree within 5
 * %. */
Test(plan, the_reserve_holds)
{
#ifdef __SANITIZE_ADDRESS__
    cr_skip_test("a sanitizer's own memory is not planned");
#endif
    if (!smollm2_path())
        cr_skip_test("no SmolLM2 GGUF file (GRAFT_SMOLLM2)");
    char *scratch = scratch_make(), *text;
    char *args = gf_format(NULL,
                           "--model %s --data %s/../tools/demo/graft-faq.jsonl --max-steps 1 "
                           "--precision bf16",
                           smollm2_path(), GRAFT_TESTS);
    cr_assert_eq(run_stdout(&text, GRAFT_BIN " plan %s", args), 0);
    const char *all = strstr(text, "in all");
    cr_assert(all && strchr(all, '('), "%s", text);
    const double planned = strtod(strchr(all, '(') + 1, NULL);
    free(text);
    cr_assert_eq(run(&text, GRAFT_BIN " train %s --output-dir %s/out", args, scratch), 0, "%s",
                 text);
    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    const double used = 1024.0 * (double)usage.ru_maxrss;
    cr_assert_float_eq(used, planned, 0.05 * planned, "planned %.0f bytes, resident %.0f", planned,
                       used);
    free(text);
    free(args);
    scratch_remove(scratch);
}
