/* test_one_description.c - law 6: one template, one tokenizer, one model description for training,
 * evaluation, generation and what is written. */
#include "support/golden.h"
#include "support/program.h"
#include "support/tiny_gguf.h"

#include "base/json.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Base and adapter apart against one f32 matrix: roundings of another order. */
#define LOSS_MAX 1e-4

enum { CHATS = 4 };
static const char *const chats[CHATS] = {
    "{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"},"
    "{\"role\":\"assistant\",\"content\":\"in the well\"}]}",
    "{\"messages\":[{\"role\":\"system\",\"content\":\"tell\"},"
    "{\"role\":\"user\",\"content\":\"who?\"},{\"role\":\"assistant\",\"content\":\"the hen\"},"
    "{\"role\":\"user\",\"content\":\"all?\"},{\"role\":\"assistant\",\"content\":\"then 42\"}]}",
    "{\"messages\":[{\"role\":\"user\",\"content\":\"h\xC3\xA9\\n\\n in\"},"
    "{\"role\":\"assistant\",\"content\":\" \\u4e16\\u754c <|im_end|> x\"}]}",
    "{\"messages\":[{\"role\":\"user\",\"content\":\"\"},"
    "{\"role\":\"assistant\",\"content\":\"a\"}]}"};

/* A trained adapter `out` of base.gguf in the folder `dir`, and chat.jsonl. */
static char *trained(void)
{
    char *dir = scratch_make(), *text;
    char *path = gf_format(NULL, "%s/base.gguf", dir);
    tiny_gguf_write(path, NULL);
    free(path);
    path = gf_format(NULL, "%s/chat.jsonl", dir);
    FILE *f = fopen(path, "w");
    for (int i = 0; i < CHATS; i++)
        fprintf(f, "%s\n", chats[i]);
    fclose(f);
    free(path);
    cr_assert_eq(run(&text,
                     "cd %s && " GRAFT_BIN " train --model base.gguf --data chat.jsonl "
                     "--output-dir out --max-steps 6 --learning-rate 0.01",
                     dir),
                 0, "%s", text);
    free(text);
    return dir;
}

static cJSON *json(const char *dir, const char *command)
{
    char *text;
    cJSON *root = NULL;
    gf_err err = {0};
    cr_assert_eq(run_stdout(&text, "cd %s && " GRAFT_BIN " %s --json", dir, command), 0, "%s",
                 command);
    cr_assert_eq(gf_json_parse(&root, text, strlen(text), command, 1, &err), GF_OK, "%s", err.text);
    free(text);
    return root;
}

static double number(const cJSON *o, const char *key)
{
    const cJSON *item = cJSON_GetObjectItem(o, key);
    cr_assert(cJSON_IsNumber(item), "no number %s", key);
    return item->valuedouble;
}

Test(one_description, all_count_the_same_tokens)
{
    char *dir = trained(), *text;
    cJSON *data = json(dir, "data --model base.gguf --data chat.jsonl");
    cJSON *eval = json(dir, "eval --model base.gguf --data chat.jsonl --per-example each.jsonl");
    char *metrics = gf_format(NULL, "%s/out/metrics.jsonl", dir);
    char *each = gf_format(NULL, "%s/each.jsonl", dir);
    const cJSON *report = cJSON_GetObjectItem(data, "data");
    const double tokens = number(report, "tokens"), counted = number(report, "trained_tokens");
    cr_assert_eq(tokens, number(eval, "tokens"));
    cr_assert_eq(counted, number(eval, "trained_tokens"));
    cr_assert_eq(tokens, jsonl_number(metrics, "tokens", 0));
    cr_assert_eq(counted, jsonl_number(metrics, "trained_tokens", 0));

    cr_assert_eq(run_stdout(&text,
                            "cd %s && " GRAFT_BIN
                            " tokenize --model base.gguf --messages chat.jsonl --json",
                            dir),
                 0);
    double seen = 0;
    int n = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), n++) {
        cJSON *root = cJSON_Parse(line);
        const cJSON *labels = cJSON_GetObjectItem(root, "labels"), *label;
        int at = 0, marked = 0;
        cJSON_ArrayForEach(label, labels) marked += at++ > 0 && label->valuedouble >= 0;
        cr_assert_eq(at, cJSON_GetArraySize(cJSON_GetObjectItem(root, "ids")));
        cr_assert_eq(marked, jsonl_number(each, "trained_tokens", n), "chat %d", n + 1);
        seen += at;
        cJSON_Delete(root);
    }
    cr_assert_eq(n, CHATS);
    cr_assert_eq(seen, tokens);
    free(text);
    free(each);
    free(metrics);
    cJSON_Delete(eval);
    cJSON_Delete(data);
    scratch_remove(dir);
}

/* Text that asks for every byte, merges and control tokens. */
static void same_ids(const char *dir, const char *a, const char *b, const char *what)
{
    char *x = gf_format(NULL, "tokenize --model %s %s", a, what);
    char *y = gf_format(NULL, "tokenize --model %s %s", b, what);
    cJSON *p = json(dir, x), *q = json(dir, y);
    cr_assert_gt(cJSON_GetArraySize(cJSON_GetObjectItem(p, "ids")), 0);
    cr_assert(cJSON_Compare(p, q, 1), "%s and %s: other ids of %s", a, b, what);
    cJSON_Delete(p);
    cJSON_Delete(q);
    free(x);
    free(y);
}

/* The tokenizer that a run leaves beside its adapter and in a merged model. */
Test(one_description, written_tokenizers)
{
    char *dir = trained(), *text;
    cr_assert_eq(run(&text,
                     "cd %s && " GRAFT_BIN " merge --model base.gguf --adapter out --output-dir "
                     "merged --dtype f32 && cp -r merged beside && rm beside/token* && "
                     "cp out/token* beside && cmp out/tokenizer.json merged/tokenizer.json && "
                     "head -n 2 chat.jsonl | tail -n 1 > two.json",
                     dir),
                 0, "%s", text);
    free(text);
    static const char *const other[] = {"merged", "beside"};
    for (int i = 0; i < 2; i++) {
        same_ids(dir, "base.gguf", other[i], "--text '<|im_start|>the hen  42<|im_end|> x'");
        same_ids(dir, "base.gguf", other[i], "--text \"$(printf ' \\t\\n \\303\\251 \\001')\"");
        same_ids(dir, "base.gguf", other[i], "--messages two.json");
    }
    scratch_remove(dir);
}

Test(one_description, merged_is_base_and_adapter)
{
    char *dir = trained(), *text;
    cr_assert_eq(run(&text,
                     "cd %s && " GRAFT_BIN " merge --model base.gguf --adapter out --output-dir "
                     "merged --dtype f32 && printf '[{\"role\":\"user\",\"content\":\"hello\"}]' "
                     "> ask.json",
                     dir),
                 0, "%s", text);
    free(text);
    cJSON *a = json(dir, "eval --model base.gguf --adapter out --data chat.jsonl");
    cJSON *b = json(dir, "eval --model merged --data chat.jsonl");
    cr_assert_float_eq(number(a, "loss"), number(b, "loss"), LOSS_MAX);
    cJSON_Delete(a);
    cJSON_Delete(b);
    a = json(dir, "generate --model base.gguf --adapter out --messages ask.json "
                  "--max-new-tokens 24");
    b = json(dir, "generate --model merged --messages ask.json --max-new-tokens 24");
    cr_assert(cJSON_Compare(a, b, 1));
    cJSON_Delete(a);
    cJSON_Delete(b);
    scratch_remove(dir);
}

/* The same of every family's reference case, on token data. */
Test(one_description, merged_families)
{
    char *text, *golden = golden_case(0);
    if (!golden)
        cr_skip_test("no reference cases");
    for (int i = 0; i < golden_count && golden; golden = golden_case(++i)) {
        char *dir = scratch_make();
        cr_assert_eq(
            run(&text,
                "cd %s && ln -s %s/model %s/adapter-trained %s/tokens.jsonl . && " GRAFT_BIN
                " merge --model model --adapter adapter-trained --output-dir merged "
                "--dtype f32",
                dir, golden, golden, golden),
            0, "%s", text);
        free(text);
        cJSON *a = json(dir, "eval --model model --adapter adapter-trained --data tokens.jsonl");
        cJSON *b = json(dir, "eval --model merged --data tokens.jsonl");
        cJSON *c = json(dir, "eval --model model --data tokens.jsonl");
        cr_assert_float_eq(number(a, "loss"), number(b, "loss"), LOSS_MAX, "%s", golden);
        cr_assert(fabs(number(c, "loss") - number(b, "loss")) > 5 * LOSS_MAX, "%s", golden);
        cJSON_Delete(a);
        cJSON_Delete(b);
        cJSON_Delete(c);
        scratch_remove(dir);
        free(golden);
    }
    free(golden);
}
