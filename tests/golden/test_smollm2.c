/* test_smollm2.c - the reference run of a real model (shared/smollm2/README) through the program,
 * from its GGUF file: 12 losses and gradient norms, the losses of 16 examples before and after. */
#include "support/golden.h"
#include "support/program.h"

#include "base/json.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

/* The README's tolerances. */
#define LOSS_MAX 1e-4
#define NORM_REL 1e-3
#define NLL_REL 1e-4

#define SMOLLM2 GRAFT_SHARED "/smollm2"

static cJSON *expected(void)
{
    cJSON *root = NULL;
    gf_err err = {0};
    cr_assert_eq(gf_json_read(&root, SMOLLM2 "/expected.json", &err), GF_OK, "%s", err.text);
    return root;
}

static void need_both(void)
{
#ifdef __SANITIZE_ADDRESS__
    cr_skip_test("minutes under a sanitizer; the tiny models take the same paths there");
#endif
    if (!gf_dir_exists(SMOLLM2))
        cr_skip_test("no reference results at " SMOLLM2);
    if (!smollm2_path())
        cr_skip_test("no SmolLM2 GGUF file (GRAFT_SMOLLM2)");
}

Test(smollm2, twelve_steps)
{
    need_both();
    char *scratch = scratch_make(), *text;
    cr_assert_eq(run(&text,
                     GRAFT_BIN
                     " train --model %s --data %s/chat.jsonl --init-adapter %s/adapter-init "
                     "--batch-size 4 --max-steps 12 --no-shuffle --learning-rate 1e-3 "
                     "--lr-scheduler-type linear --warmup-steps 2 --precision fp32 "
                     "--output-dir %s/out",
                     smollm2_path(), SMOLLM2, SMOLLM2, scratch),
                 0, "%s", text);
    free(text);
    cJSON *root = expected();
    char *metrics = gf_format(NULL, "%s/out/metrics.jsonl", scratch);
    for (int i = 0; i < 12; i++) {
        const double loss = cJSON_GetArrayItem(cJSON_GetObjectItem(root, "losses"), i)->valuedouble;
        const double norm =
            cJSON_GetArrayItem(cJSON_GetObjectItem(root, "grad_norms"), i)->valuedouble;
        cr_assert_float_eq(jsonl_number(metrics, "loss", i), loss, LOSS_MAX, "step %d", i + 1);
        cr_assert_float_eq(jsonl_number(metrics, "grad_norm", i), norm, NORM_REL * norm, "step %d",
                           i + 1);
    }
    free(metrics);
    cJSON_Delete(root);
    scratch_remove(scratch);
}

static void check_nll(const cJSON *want, const char *adapter)
{
    char *scratch = scratch_make(), *text;
    cr_assert_eq(run(&text,
                     GRAFT_BIN " eval --model %s --data %s/chat.jsonl %s --precision fp32 "
                               "--per-example %s/nll.jsonl",
                     smollm2_path(), SMOLLM2, adapter, scratch),
                 0, "%s", text);
    free(text);
    char *path = gf_format(NULL, "%s/nll.jsonl", scratch);
    const cJSON *item;
    int i = 0;
    cJSON_ArrayForEach(item, want)
    {
        const double nll = cJSON_GetObjectItem(item, "nll_sum")->valuedouble;
        cr_assert_float_eq(jsonl_number(path, "nll", i), nll, NLL_REL * nll, "example %d", i);
        cr_assert_eq(jsonl_number(path, "trained_tokens", i),
                     cJSON_GetObjectItem(item, "tokens")->valuedouble, "example %d", i);
        i++;
    }
    cr_assert_eq(i, 16);
    free(path);
    scratch_remove(scratch);
}

Test(smollm2, losses_before_and_after)
{
    need_both();
    cJSON *root = expected();
    check_nll(cJSON_GetObjectItem(root, "base_nll"), "");
    check_nll(cJSON_GetObjectItem(root, "trained_nll"), "--adapter " SMOLLM2 "/adapter-trained");
    cJSON_Delete(root);
}
