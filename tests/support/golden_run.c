/* golden_run.c - the reference cases through the program. Contract: golden_run.h. */
#include "support/golden_run.h"

#include "support/golden.h"
#include "support/program.h"

#include "base/json.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The options of a case's recipe, from its expected.json. */
char *golden_recipe(const char *dir)
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
        "--lr-scheduler-type cosine --warmup-steps 2 --max-grad-norm 1",
        dir, dir, dir, cJSON_GetObjectItem(adamw, "lr")->valuedouble,
        cJSON_GetObjectItem(adamw, "weight_decay")->valuedouble);
    cJSON_Delete(root);
    free(path);
    return options;
}

void golden_train(const char *options, const char *more, const char *out)
{
    char *text;
    const int code = run(&text, GRAFT_BIN " train %s %s --output-dir %s", options, more, out);
    cr_assert_eq(code, 0, "%s", text);
    free(text);
}

void golden_check_metrics(const char *dir, const char *out, golden_bounds b)
{
    char *path = gf_format(NULL, "%s/expected.json", dir);
    char *metrics = gf_format(NULL, "%s/metrics.jsonl", out);
    cJSON *root = NULL;
    cr_assert_eq(gf_json_read(&root, path, NULL), GF_OK);
    const cJSON *losses = cJSON_GetObjectItem(root, "losses");
    const cJSON *norms = cJSON_GetObjectItem(root, "grad_norms");
    const cJSON *lrs = cJSON_GetObjectItem(root, "lrs");
    for (int i = 0; i < GOLDEN_STEPS; i++) {
        const double loss = cJSON_GetArrayItem(losses, i)->valuedouble;
        const double norm = cJSON_GetArrayItem(norms, i)->valuedouble;
        cr_assert_float_eq(jsonl_number(metrics, "loss", i), loss, b.loss, "%s step %d: loss", dir,
                           i + 1);
        cr_assert_float_eq(jsonl_number(metrics, "grad_norm", i), norm, b.norm * norm,
                           "%s step %d: norm", dir, i + 1);
        cr_assert_float_eq(jsonl_number(metrics, "learning_rate", i),
                           cJSON_GetArrayItem(lrs, i)->valuedouble, 1e-12);
    }
    cJSON_Delete(root);
    free(path);
    free(metrics);
}

void golden_open_tensors(gf_source *s, const char *dir, const char *name)
{
    gf_err err = {0};
    char *path = gf_format(NULL, "%s/%s", dir, name);
    cr_assert_eq(gf_safetensors_open(s, path, &err), GF_OK, "%s", err.text);
    free(path);
}

/* || trained - reference || / || reference - init ||, tensor by tensor. */
void golden_check_adapter(const char *dir, const char *out, golden_bounds b)
{
    gf_source got, want, init;
    golden_open_tensors(&got, out, "adapter_model.safetensors");
    golden_open_tensors(&want, dir, "adapter-trained/adapter_model.safetensors");
    golden_open_tensors(&init, dir, "adapter-init/adapter_model.safetensors");
    int copies = 0; /* of the base's embedding and head, which PEFT saves beside their adapters */
    for (int i = 0; i < want.count; i++) {
        int64_t n;
        const char *name = want.entry[i].name;
        if (strstr(name, ".base_layer.")) {
            copies++;
            continue;
        }
        float *g = golden_tensor(&got, name, &n), *w = golden_tensor(&want, name, &n);
        float *o = golden_tensor(&init, name, &n);
        double off = 0, moved = 0;
        for (int64_t e = 0; e < n; e++) {
            off += ((double)g[e] - (double)w[e]) * ((double)g[e] - (double)w[e]);
            moved += ((double)w[e] - (double)o[e]) * ((double)w[e] - (double)o[e]);
        }
        cr_assert_leq(sqrt(off / moved), b.adapter, "%s: %s", dir, name);
        free(g);
        free(w);
        free(o);
    }
    cr_assert_eq(got.count, want.count - copies);
    gf_source_close(&got);
    gf_source_close(&want);
    gf_source_close(&init);
}
