/* test_program.c - the reference cases through the program: 12 losses and gradient norms, the
 * trained adapter, the merged weights; the same bytes for any threads and rows. */
#include "support/golden.h"
#include "support/program.h"

#include "base/json.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* golden/README. */
#define LOSS_MAX 1e-5
#define NORM_REL 1e-5
#define ADAPTER_REL 1e-3
#define MERGED_MAX 1e-6

enum { STEPS = 12 };

/* The options of a case's recipe, from its expected.json. */
static char *recipe(const char *dir)
{
    char *path = gf_format(NULL, "%s/expected.json", dir);
    cJSON *root = NULL;
    gf_err err = {0};
    cr_assert_eq(gf_json_read(&root, path, &err), GF_OK, "%s", err.text);
    const cJSON *adamw = cJSON_GetObjectItem(root, "adamw");
    char *options = gf_format(
        NULL,
        "--model %s/model --data %s/tokens.jsonl --init-adapter %s/adapter-init --batch-size 2 "
        "--max-steps 12 --no-shuffle --learning-rate %.17g --weight-decay %.17g "
        "--lr-scheduler-type cosine --warmup-steps 2 --max-grad-norm 1 --precision fp32",
        dir, dir, dir, cJSON_GetObjectItem(adamw, "lr")->valuedouble,
        cJSON_GetObjectItem(adamw, "weight_decay")->valuedouble);
    cJSON_Delete(root);
    free(path);
    return options;
}

static void train(const char *options, const char *more, const char *out)
{
    char *text;
    const int code = run(&text, GRAFT_BIN " train %s %s --output-dir %s", options, more, out);
    cr_assert_eq(code, 0, "%s", text);
    free(text);
}

static void check_metrics(const char *dir, const char *out)
{
    char *path = gf_format(NULL, "%s/expected.json", dir);
    char *metrics = gf_format(NULL, "%s/metrics.jsonl", out);
    cJSON *root = NULL;
    cr_assert_eq(gf_json_read(&root, path, NULL), GF_OK);
    const cJSON *losses = cJSON_GetObjectItem(root, "losses");
    const cJSON *norms = cJSON_GetObjectItem(root, "grad_norms");
    const cJSON *lrs = cJSON_GetObjectItem(root, "lrs");
    for (int i = 0; i < STEPS; i++) {
        const double loss = cJSON_GetArrayItem(losses, i)->valuedouble;
        const double norm = cJSON_GetArrayItem(norms, i)->valuedouble;
        cr_assert_float_eq(jsonl_number(metrics, "loss", i), loss, LOSS_MAX, "%s step %d: loss",
                           dir, i + 1);
        cr_assert_float_eq(jsonl_number(metrics, "grad_norm", i), norm, NORM_REL * norm,
                           "%s step %d: norm", dir, i + 1);
        cr_assert_float_eq(jsonl_number(metrics, "learning_rate", i),
                           cJSON_GetArrayItem(lrs, i)->valuedouble, 1e-12);
    }
    cJSON_Delete(root);
    free(path);
    free(metrics);
}

static void open_tensors(gf_source *s, const char *dir, const char *name)
{
    gf_err err = {0};
    char *path = gf_format(NULL, "%s/%s", dir, name);
    cr_assert_eq(gf_safetensors_open(s, path, &err), GF_OK, "%s", err.text);
    free(path);
}

/* || trained - reference || / || reference - init ||, tensor by tensor. */
static void check_adapter(const char *dir, const char *out)
{
    gf_source got, want, init;
    open_tensors(&got, out, "adapter_model.safetensors");
    open_tensors(&want, dir, "adapter-trained/adapter_model.safetensors");
    open_tensors(&init, dir, "adapter-init/adapter_model.safetensors");
    cr_assert_eq(got.count, want.count);
    for (int i = 0; i < want.count; i++) {
        int64_t n;
        const char *name = want.entry[i].name;
        float *g = golden_tensor(&got, name, &n), *w = golden_tensor(&want, name, &n);
        float *o = golden_tensor(&init, name, &n);
        double off = 0, moved = 0;
        for (int64_t e = 0; e < n; e++) {
            off += ((double)g[e] - (double)w[e]) * ((double)g[e] - (double)w[e]);
            moved += ((double)w[e] - (double)o[e]) * ((double)w[e] - (double)o[e]);
        }
        cr_assert_leq(sqrt(off / moved), ADAPTER_REL, "%s: %s", dir, name);
        free(g);
        free(w);
        free(o);
    }
    gf_source_close(&got);
    gf_source_close(&want);
    gf_source_close(&init);
}

static void check_merged(const char *dir, const char *scratch)
{
    gf_source got, want;
    char *text;
    cr_assert_eq(run(&text,
                     GRAFT_BIN " merge --model %s/model --adapter %s/adapter-trained --dtype f32 "
                               "--output-dir %s/merged",
                     dir, dir, scratch),
                 0, "%s", text);
    free(text);
    char *merged = gf_format(NULL, "%s/merged", scratch);
    open_tensors(&got, merged, "model.safetensors");
    open_tensors(&want, dir, "expected.safetensors");
    int checked = 0;
    for (int i = 0; i < want.count; i++) {
        const char *name = want.entry[i].name;
        if (strncmp(name, "merged.", 7))
            continue;
        int64_t n;
        float *w = golden_tensor(&want, name, &n), *g = golden_tensor(&got, name + 7, &n);
        cr_assert_lt(golden_max(g, w, n), MERGED_MAX, "%s: %s", dir, name);
        checked++;
        free(w);
        free(g);
    }
    cr_assert_gt(checked, 0);
    gf_source_close(&got);
    gf_source_close(&want);
    free(merged);
}

static void check_case(const char *dir)
{
    char *scratch = scratch_make(), *options = recipe(dir);
    char *first = gf_format(NULL, "%s/first", scratch);
    train(options, "--threads 2", first);
    check_metrics(dir, first);
    check_adapter(dir, first);
    check_merged(dir, scratch);

    static const char *const others[] = {"--threads 1 --row-tokens 40",
                                         "--threads 2 --row-tokens 64",
                                         "--threads 1 --row-tokens 4096"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char *other = gf_format(NULL, "%s/other%zu", scratch, i);
        char *a = gf_format(NULL, "%s/adapter_model.safetensors", first);
        char *b = gf_format(NULL, "%s/adapter_model.safetensors", other);
        train(options, others[i], other);
        cr_assert(same_bytes(a, b), "%s: other bytes with %s", dir, others[i]);
        free(other);
        free(a);
        free(b);
    }
    free(first);
    free(options);
    scratch_remove(scratch);
}

Test(program, golden_cases)
{
    char *dir = golden_case(0);
    if (!dir)
        cr_skip_test("no reference cases");
    for (int i = 0; dir; dir = golden_case(++i)) {
        check_case(dir);
        free(dir);
    }
}
