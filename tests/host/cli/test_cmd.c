/* test_cmd.c - the commands that ask a model or look at data, as a user runs them: results on
 * stdout, what is wrong in one line with exit code 2. */
#include "support/program.h"
#include "support/small_model.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static char *dir, *model;

static void start(void)
{
    dir = scratch_make();
    model = small_model(dir);
}

static void stop(void)
{
    free(model);
    scratch_remove(dir);
}

TestSuite(cmd, .init = start, .fini = stop);

/* The command must be refused with `part` in its message, and print no result. */
static void refused(const char *command, const char *part)
{
    char *text;
    const int code = run(&text, GRAFT_BIN " %s", command);
    cr_expect_eq(code, 2, "graft %s: exit code %d, %s", command, code, text);
    cr_expect(strstr(text, part), "graft %s: no \"%s\" in %s", command, part, text);
    cr_expect(strchr(text, '\n') == text + strlen(text) - 1, "not one line: %s", text);
    free(text);
}

static cJSON *json_of(const char *command)
{
    char *text;
    cJSON *root = NULL;
    gf_err err = {0};
    const int code = run_stdout(&text, GRAFT_BIN " %s", command);
    cr_assert_eq(code, 0, "graft %s: exit code %d", command, code);
    cr_assert_eq(gf_json_parse(&root, text, strlen(text), "stdout", 1, &err), GF_OK, "%s in %s",
                 err.text, text);
    free(text);
    return root;
}

static int length_of(const cJSON *root, const char *key)
{
    return cJSON_GetArraySize(cJSON_GetObjectItem(root, key));
}

static int number_of(const cJSON *root, const char *key)
{
    const cJSON *item = cJSON_GetObjectItem(root, key);
    cr_assert(cJSON_IsNumber(item), "%s", key);
    return item->valueint;
}

Test(cmd, tokenize)
{
    char *chat = small_file(dir, "chat.jsonl",
                            "[{\"role\":\"user\",\"content\":\"hi\"}]\n\n"
                            "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"
                            "{\"role\":\"assistant\",\"content\":\"bc\"}]}\n");
    char *line = gf_format(NULL, "tokenize --model %s --text 'a b' --json", model), *text;
    cJSON *root = json_of(line);
    cr_expect_eq(length_of(root, "ids"), 3);
    cr_expect_eq(length_of(root, "labels"), 3);
    cr_expect_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(root, "text")), "a b");
    cJSON_Delete(root);
    cr_assert_eq(run_stdout(&text, GRAFT_BIN " tokenize --model %s --messages %s", model, chat), 0);
    cr_expect_eq(strncmp(text, "1 89 87 73 86 4 76 77 2 4\n", 26), 0, "%s", text);
    free(text);
    cr_assert_eq(
        run_stdout(&text, GRAFT_BIN " tokenize --model %s --messages %s --render", model, chat), 0);
    cr_expect_str_eq(text, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>user\na<|im_end|>\n"
                           "<|im_start|>assistant\nbc<|im_end|>\n");
    free(text);
    free(line);
    free(chat);
}

Test(cmd, data)
{
    static const char turn[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"
                               "{\"role\":\"assistant\",\"content\":\"bc\"}]}\n";
    char *lines = gf_format(NULL, "%s%s%s", turn, turn, turn);
    char *file = small_file(dir, "d.jsonl", lines), *text;
    char *line = gf_format(NULL, "data --model %s --data %s --json --max-length 20", model, file);
    cJSON *root = json_of(line);
    const cJSON *data = cJSON_GetObjectItem(root, "data");
    cr_expect_eq(number_of(data, "examples"), 3);
    cr_expect_eq(number_of(data, "tokens"), 3 * 24);
    cr_expect_eq(number_of(data, "trained_tokens"), 3 * 3, "bc and <|im_end|>");
    cr_expect_eq(number_of(data, "duplicates"), 2);
    cr_expect_eq(number_of(data, "over_length"), 3);
    cr_expect(cJSON_IsNull(cJSON_GetObjectItem(root, "eval_data")));
    cJSON_Delete(root);
    cr_assert_eq(run_stdout(&text, GRAFT_BIN " data --model %s --data %s --show 1", model, file),
                 0);
    cr_expect(strstr(text, "\n<|im_start|>assistant\n[[bc<|im_end|>]]\n"), "%s", text);
    cr_expect(strstr(text, "duplicates               2"), "%s", text);
    free(text);
    free(line);
    free(file);
    free(lines);
}

Test(cmd, generate_and_chat)
{
    char *chat = small_file(dir, "chat.json", "[{\"role\":\"user\",\"content\":\"hi\"}]"), *a, *b;
    char *line = gf_format(NULL,
                           "generate --model %s --adapter %s --messages %s --json "
                           "--max-new-tokens 5 --temperature 1 --seed 7",
                           model, SMALL_ADAPTER, chat);
    cJSON *root = json_of(line), *again = json_of(line);
    const int count = length_of(root, "ids");
    cr_expect(count > 21 && count <= 26, "%d ids", count); /* a prompt of 21 */
    cr_expect(cJSON_Compare(root, again, true), "the same seed gave another answer");
    cr_assert_eq(run_stdout(&a, GRAFT_BIN " generate --model %s --messages %s --max-new-tokens 8",
                            model, chat),
                 0);
    cr_assert_eq(
        run_stdout(&b, "echo hi | " GRAFT_BIN " chat --model %s --max-new-tokens 8", model), 0);
    cr_expect_str_eq(a, b);
    free(a);
    free(b);
    cr_assert_eq(run_stdout(&a,
                            "printf 'x\\ny\\n/quit\\nz\\n' | " GRAFT_BIN
                            " chat --model %s --max-new-tokens 25",
                            model),
                 0, "64 positions hold two turns or less");
    cJSON_Delete(root);
    cJSON_Delete(again);
    free(a);
    free(line);
    free(chat);
}

Test(cmd, info)
{
    char *text;
    cr_assert_eq(
        run_stdout(&text, GRAFT_BIN " info %s --adapter %s --device", model, SMALL_ADAPTER), 0);
    cr_expect(strstr(text, "model ") && strstr(text, "adapter ") && strstr(text, "this machine"),
              "%s", text);
    free(text);
}

Test(cmd, what_is_wrong_is_said)
{
    char *bad = small_file(dir, "bad.jsonl", "\n{\"x\":\n");
    char *foreign = small_file(dir, "foreign.json", "[{\"role\":\"user\",\"content\":3}]");
    const struct {
        const char *command, *file, *part;
    } wrong[] = {
        {"tokenize --messages", bad, "bad.jsonl:2"},
        {"tokenize --messages", "/no/such.json", "/no/such.json"},
        {"tokenize --render --text", "x", "--messages"},
        {"generate --messages", foreign, ""},
        {"generate --prompt", "''", "no token"},
        {"generate --max-new-tokens 5 --memory-limit 1K --prompt", "x", "has"},
        {"generate --prompt x --adapter", "/no/such", "/no/such"},
        {"generate --prompt x --chat-template x --device", "cuda", "cuda"},
        {"data --data", "/no/such.jsonl", "/no/such.jsonl"},
        {"data --data", bad, "bad.jsonl:"},
        {"info --adapter", "/no/such", "/no/such"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *space = strchr(wrong[i].command, ' ');
        char *line = gf_format(NULL, "%.*s --model %s%s %s", (int)(space - wrong[i].command),
                               wrong[i].command, model, space, wrong[i].file);
        refused(line, wrong[i].part);
        free(line);
    }
    refused("generate --model " SMALL_CASE "/model --prompt x", "tokenizer");
    refused("info /no/such", "/no/such");
    refused("info /", "is no model");
    free(bad);
    free(foreign);
}
