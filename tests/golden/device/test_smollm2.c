/* test_smollm2.c - the first two steps of a real model's reference run (shared/smollm2/README) on a
 * CUDA device, from its GGUF file. Minutes on the test device: part of the long tests. */
#include "support/golden.h"
#include "support/program.h"

#include "base/json.h"
#include "graft/ops.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#define SMOLLM2 GRAFT_SHARED "/smollm2"

enum { STEPS = 2, LAYERS = 30 };

static void need_all(void)
{
    gf_cuda_machine m;
    gf_cuda_look(&m);
    if (m.devices == 0) {
        cr_assert_null(getenv("GRAFT_REQUIRE_GPU"), "GRAFT_REQUIRE_GPU is set, but: %s", m.why);
        cr_skip_test("no CUDA device");
    }
    if (!gf_dir_exists(SMOLLM2))
        cr_skip_test("no reference results at " SMOLLM2);
    if (!smollm2_path())
        cr_skip_test("no SmolLM2 GGUF file (GRAFT_SMOLLM2)");
}

/* The recipe's first steps: its learning rate is 0 in step 1, so the schedule's end does not show.
 */
static void check(const char *precision, double loss_max, double norm_rel)
{
    char *scratch = scratch_make(), *text;
    cr_assert_eq(run(&text,
                     GRAFT_BIN
                     " train --device cuda --precision %s --model %s --data %s/chat.jsonl "
                     "--init-adapter %s/adapter-init --batch-size 4 --max-steps 2 --no-shuffle "
                     "--learning-rate 1e-3 --lr-scheduler-type linear --warmup-steps 2 "
                     "--output-dir %s/out",
                     precision, smollm2_path(), SMOLLM2, SMOLLM2, scratch),
                 0, "%s", text);
    free(text);
    cJSON *root = NULL;
    cr_assert_eq(gf_json_read(&root, SMOLLM2 "/expected.json", NULL), GF_OK);
    char *metrics = gf_format(NULL, "%s/out/metrics.jsonl", scratch);
    for (int i = 0; i < STEPS; i++) {
        const double loss = cJSON_GetArrayItem(cJSON_GetObjectItem(root, "losses"), i)->valuedouble;
        const double norm =
            cJSON_GetArrayItem(cJSON_GetObjectItem(root, "grad_norms"), i)->valuedouble;
        cr_assert_float_eq(jsonl_number(metrics, "loss", i), loss, loss_max, "%s step %d",
                           precision, i + 1);
        cr_assert_float_eq(jsonl_number(metrics, "grad_norm", i), norm, norm_rel * norm,
                           "%s step %d", precision, i + 1);
    }
    free(metrics);
    cJSON_Delete(root);
    scratch_remove(scratch);
}

/* The README's tolerances. */
Test(device_smollm2, fp32)
{
    need_all();
    check("fp32", 1e-4, 1e-3);
}

/* 16 roundings a layer and 3 more (test_cases.c), of relative error 2^-8 and random sign; what is
 * measured is a mean over 400 tokens and more, which hides nothing of the weights' own rounding. */
Test(device_smollm2, bf16)
{
    need_all();
    const double roundings = 16.0 * LAYERS + 3.0;
    check("bf16", sqrt(roundings) * 0x1p-8, sqrt(2.0 * roundings) * 0x1p-8);
}
