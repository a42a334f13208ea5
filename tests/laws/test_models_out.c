/* test_models_out.c - merge and convert as a program: what they refuse leaves nothing behind, a
 * full disk too; what they write says how it compares. */
#include "base/json.h"
#include "support/program.h"
#include "support/refusal.h"
#include "support/small_model.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define CONVERT_GGUF "convert --model tiny.gguf --output out.gguf "
#define A0 "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
#define NORM "model.norm.weight"

Test(models_out, options)
{
    static const refusal table[] = {
        {"merge --model model --adapter adapter", {"--output-dir or --output"}},
        {"convert --model model", {"--output-dir or --output"}},
        {CONVERT_GGUF "--output-dir out", {"exclude each other"}},
        {"convert --model tiny.gguf --output out", {"ends in .gguf", "--output-dir"}},
        {CONVERT_GGUF, {"out.gguf", "is a folder"}, .shell = "mkdir out.gguf"},
        {CONVERT_GGUF, {"out.gguf", "is there already"}, .shell = "touch out.gguf"},
        {"convert --model tiny.gguf --output-dir out",
         {"out", "empty"},
         .shell = "mkdir out out/x"},
        {"convert --model tiny.gguf --output-dir out --dtype q8_0", {"q8_0", "--output FILE.gguf"}},
        {CONVERT_GGUF "--dtype q9_0", {"--dtype", "q9_0"}},
        {"convert --model tiny.gguf --output-dir out --max-shard-size 0", {"--max-shard-size"}},
        {CONVERT_GGUF "--adapter adapter", {"--adapter"}},
        {MERGE "--adapter-weights 1,2", {"more numbers than --adapter"}},
        {MERGE "--adapter-weights half", {"--adapter-weights half", "want 1 number"}},
        {MERGE "--adapter-weights 1,", {"--adapter-weights"}},
        {MERGE "--adapter-weights nan", {"--adapter-weights nan"}},
        {MERGE "--adapter adapter --adapter-weights 1", {"want 2 numbers"}},
        {MERGE "--adapter-weights 0.5 --verify", {"--verify", "weight 1"}},
        {MERGE "--adapter adapter --verify", {"--verify", "one --adapter"}},
        {MERGE "--adapter nowhere", {"nowhere/adapter_config.json"}},
    };
    CHECK(table);
}

Test(models_out, files)
{
    static const refusal table[] = {
        {"merge --model model --adapter adapter --output out.gguf", {"model has no tokenizer"}},
        {"merge --model model --adapter adapter --output out.gguf",
         {"tokenizer.json"},
         .shell = "echo '{}' > model/tokenizer.json"},
        {"merge --model tiny.gguf --adapter adapter --output out.gguf", {"adapter_model", "shape"}},
        {MERGE, {"q_proj.lora_A", "shape"}, .tensor = A0, .how = SPOIL_SHAPE, .value = "[16,8]"},
        {MERGE, {NORM, "Q7"}, .tensor = NORM, .how = SPOIL_DTYPE, .value = "Q7"},
        {MERGE, {"model.safetensors"}, .shell = "truncate -s -100 model/model.safetensors"},
        {MERGE, {"adapter_config.json"}, .shell = "echo '{}' > adapter/adapter_config.json"},
        {CONVERT_GGUF, {"tiny.gguf", "complete"}, .shell = "truncate -s -5000 tiny.gguf"},
        {CONVERT_GGUF, {"tiny.gguf"}, .shell = "truncate -s 100 tiny.gguf"},
        {CONVERT_GGUF, {"blk.1.ffn_down.weight"}, .gguf = {.without = "blk.1.ffn_down.weight"}},
        {CONVERT_GGUF, {"strange.weight"}, .gguf = {.extra = "strange.weight"}},
        {CONVERT_GGUF,
         {"blk.0.attn_k.weight", "shape"},
         .gguf = {.reshaped = "blk.0.attn_k.weight"}},
        {CONVERT_GGUF, {"mamba"}, .gguf = {.architecture = "mamba"}},
        {CONVERT_GGUF, {"GGUF version 7"}, .gguf = {.version = 7}},
        {CONVERT_GGUF, {"tokenizer.ggml.merges"}, .gguf = {.without_key = "tokenizer.ggml.merges"}},
        {CONVERT_GGUF, {"llama.block_count"}, .gguf = {.without_key = "llama.block_count"}},
    };
    CHECK(table);
}

/* What is in the folder besides tiny.gguf. */
static int others(const char *dir)
{
    char *text = NULL;
    run(&text, "ls -A %s | grep -vc '^tiny.gguf$'", dir);
    const int count = atoi(text);
    free(text);
    return count;
}

/* A limit on the size of files stands for a full disk. */
Test(models_out, full_disk)
{
    static const char *const commands[] = {CONVERT_GGUF,
                                           "convert --model tiny.gguf --output-dir out"};
    const tiny_gguf good = {0};
    for (int i = 0; i < 2; i++) {
        char *dir = scratch_make(), *text = NULL;
        char *path = gf_format(NULL, "%s/tiny.gguf", dir);
        tiny_gguf_write(path, &good);
        cr_expect_eq(run(&text, "cd %s && ulimit -f 60 && " GRAFT_BIN " %s", dir, commands[i]), 1,
                     "%s", text);
        cr_expect(strstr(text, "graft: out") && strstr(text, "File too large"), "%s", text);
        cr_expect_eq(others(dir), 0);
        free(text);
        cr_expect_eq(run(&text,
                         "cd %s && " GRAFT_BIN " convert --model tiny.gguf --output "
                         "nowhere/out.gguf",
                         dir),
                     1, "%s", text);
        cr_expect_eq(others(dir), 0);
        free(text);
        free(path);
        scratch_remove(dir);
    }
}

static double number(const cJSON *json, const char *key)
{
    const cJSON *item = cJSON_GetObjectItem(json, key);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

static cJSON *report(const char *dir, const char *command)
{
    char *text = NULL;
    cJSON *json = NULL;
    gf_err err = {0};
    cr_assert_eq(
        run_stdout(&text, "cd %s && " GRAFT_BIN " %s --json --verify 2>stderr", dir, command), 0,
        "%s", command);
    cr_assert_eq(gf_json_parse(&json, text, strlen(text), "stdout", 1, &err), GF_OK, "%s: %s",
                 err.text, text);
    free(text);
    return json;
}

/* Into every type and back to a folder: --verify agrees with what each rounding allows. */
Test(models_out, every_type_verified)
{
    static const char *const types[] = {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_k"};
    char *dir = scratch_make(), *path = gf_format(NULL, "%s/tiny.gguf", dir);
    const tiny_gguf good = {0};
    double last = 0;
    tiny_gguf_write(path, &good);
    for (int i = 0; i < 6; i++) {
        char command[256];
        snprintf(command, sizeof command, "convert --model tiny.gguf --output %s.gguf --dtype %s",
                 types[i], types[i]);
        cJSON *json = report(dir, command);
        const cJSON *verify = cJSON_GetObjectItem(json, "verify");
        const double error = number(verify, "error");
        cr_expect(error <= number(verify, "bound"), "%s: %g", types[i], error);
        cr_expect(i == 0 || i == 2 || i > 3 || error > last, "%s: %g after %g", types[i], error,
                  last);
        cr_expect(i > 0 || error < 1e-6, "nothing is rounded in f32");
        cr_expect_gt(number(json, "peak_anonymous_bytes"), 0);
        last = error;
        cJSON_Delete(json);
        snprintf(command, sizeof command, "convert --model %s.gguf --output-dir %s", types[i],
                 types[i]);
        json = report(dir, command);
        cr_expect_lt(number(cJSON_GetObjectItem(json, "verify"), "error"), 0.01, "%s", types[i]);
        cJSON_Delete(json);
    }
    cr_expect_eq(run(NULL, "cd %s && test -f q4_k/tokenizer.json", dir), 0);
    free(path);
    scratch_remove(dir);
}

/* A folder with a tokenizer, merged into a folder and into a GGUF: the losses are the same. */
Test(models_out, folder_and_gguf_say_the_same)
{
    char *dir = scratch_make(), *model = small_model(dir);
    char command[1024], *a = NULL, *b = NULL;
    snprintf(command, sizeof command,
             "merge --model small --adapter " SMALL_ADAPTER " --output-dir folder --dtype f32 "
             "--max-shard-size 20K");
    cJSON *json = report(dir, command);
    const cJSON *module, *modules = cJSON_GetObjectItem(json, "modules");
    cr_expect_gt(cJSON_GetArraySize(modules), 0);
    cJSON_ArrayForEach(module, modules)
    {
        cr_expect_float_eq(number(module, "kept"), 1, 1e-3);
        cr_expect_gt(number(module, "delta_rms"), 0);
    }
    cJSON_Delete(json);
    snprintf(command, sizeof command,
             "merge --model small --adapter " SMALL_ADAPTER " --output merged.gguf --dtype f32");
    cJSON_Delete(report(dir, command));
    char *data = small_tokens(dir, 6, 3, 20);
    cr_expect_eq(run(NULL, "cd %s && test -f folder/model.safetensors.index.json", dir), 0);
    cr_expect_eq(
        run_stdout(&a, "cd %s && " GRAFT_BIN " eval --model folder --data %s --json", dir, data),
        0);
    cr_expect_eq(run_stdout(&b, "cd %s && " GRAFT_BIN " eval --model merged.gguf --data %s --json",
                            dir, data),
                 0);
    cr_expect_str_eq(a, b);
    free(a);
    free(b);
    free(data);
    free(model);
    scratch_remove(dir);
}
