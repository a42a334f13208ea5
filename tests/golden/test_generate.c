/* test_generate.c - a real model through the program: its tokens, labels and greedy continuation
 * are those of the reference (shared smollm2/README); plain text, JSON and chat say the same. */
#include "support/program.h"

#include "base/file.h"
#include "base/json.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define REFERENCE GRAFT_SHARED "/smollm2"
#define QUESTION "Transform the following sentence using a synonym: The car sped quickly."

static const char *model(void)
{
    const char *path = smollm2_path();
    if (!path)
        cr_skip_test("no SmolLM2 model: set GRAFT_SMOLLM2 (tools/model.sh gets it)");
    if (!gf_dir_exists(REFERENCE))
        cr_skip_test("no reference results at " REFERENCE);
    return path;
}

/* stdout of the program as JSON; what it says on stderr if it fails. */
static cJSON *json_of(const char *command)
{
    char *text;
    cJSON *root = NULL;
    gf_err err = {0};
    if (run_stdout(&text, "%s", command) != 0) {
        free(text);
        run(&text, "%s", command);
        cr_assert_fail("%s: %s", command, text);
    }
    cr_assert_eq(gf_json_parse(&root, text, strlen(text), "stdout", 1, &err), GF_OK, "%s: %s",
                 err.text, text);
    free(text);
    return root;
}

static void expect_numbers(const cJSON *got, const cJSON *want, const char *what)
{
    int i = 0;
    const cJSON *a = got ? got->child : NULL, *b = want->child;
    for (; a && b; a = a->next, b = b->next, i++)
        cr_assert_eq(a->valueint, b->valueint, "%s: number %d is %d, want %d", what, i, a->valueint,
                     b->valueint);
    cr_assert(!a && !b, "%s: %s numbers than %d", what, a ? "more" : "fewer", i);
}

/* DIR/messages.json with the first question. */
static char *write_question(const char *dir)
{
    static const char text[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"" QUESTION "\"}]}";
    char *path = gf_format(NULL, "%s/messages.json", dir);
    cr_assert_eq(gf_file_write(path, text, sizeof text - 1, NULL), GF_OK);
    return path;
}

/* The command line of a greedy answer to the question. */
static char *answer_of(const char *path, const char *more)
{
    return gf_format(NULL,
                     GRAFT_BIN " generate --model %s --adapter " REFERENCE
                               "/adapter-trained --messages %s --max-new-tokens 24 %s",
                     model(), path, more);
}

Test(smollm2, greedy_ids)
{
    model();
    char *dir = scratch_make(), *messages = write_question(dir);
    char *command = answer_of(messages, "--json");
    cJSON *got = json_of(command), *want = NULL;
    cr_assert_eq(gf_json_read(&want, REFERENCE "/expected.json", NULL), GF_OK);
    expect_numbers(cJSON_GetObjectItem(got, "ids"), cJSON_GetObjectItem(want, "greedy_ids"),
                   "greedy ids");
    cJSON_Delete(got);
    cJSON_Delete(want);
    free(command);
    free(messages);
    scratch_remove(dir);
}

/* The same text in JSON, as it streams, and as the first answer of a chat; threads do not show. */
Test(smollm2, every_way_to_ask_gets_the_same_answer)
{
    model();
    char *dir = scratch_make(), *messages = write_question(dir), *plain, *chat, *twice;
    char *json = answer_of(messages, "--json"), *stream = answer_of(messages, "--threads 1");
    cJSON *got = json_of(json);
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(got, "text"));
    cr_assert(text && *text);
    char *line = gf_format(NULL, "%s\n", text);
    cr_assert_eq(run_stdout(&plain, "%s", stream), 0);
    cr_assert_str_eq(plain, line);
    cr_assert_eq(run_stdout(&chat,
                            "printf '%%s\\n' '%s' /reset '' '%s' | " GRAFT_BIN
                            " chat --model %s --adapter " REFERENCE
                            "/adapter-trained --max-new-tokens 24",
                            QUESTION, QUESTION, model()),
                 0);
    twice = gf_format(NULL, "%s%s", line, line);
    cr_assert_str_eq(chat, twice);
    cJSON_Delete(got);
    free(twice);
    free(chat);
    free(plain);
    free(line);
    free(json);
    free(stream);
    free(messages);
    scratch_remove(dir);
}

/* A second turn goes on from the first one's cache, and says what a fresh run over the whole
 * conversation says. */
Test(smollm2, a_second_turn)
{
    model();
    char *dir = scratch_make(), *path = gf_format(NULL, "%s/two.json", dir), *chat, *fresh;
    cr_assert_eq(run_stdout(&chat,
                            "printf '%%s\\n' 'Name a colour.' 'Name another one.' | " GRAFT_BIN
                            " chat --model %s --max-new-tokens 16",
                            model()),
                 0);
    char *second = strchr(chat, '\n');
    cr_assert_not_null(second);
    *second++ = '\0';
    cJSON *list = cJSON_CreateArray();
    const char *const turns[][2] = {
        {"user", "Name a colour."}, {"assistant", chat}, {"user", "Name another one."}};
    for (int i = 0; i < 3; i++) {
        cJSON *turn = cJSON_CreateObject();
        cJSON_AddStringToObject(turn, "role", turns[i][0]);
        cJSON_AddStringToObject(turn, "content", turns[i][1]);
        cJSON_AddItemToArray(list, turn);
    }
    char *text = cJSON_PrintUnformatted(list);
    cr_assert_eq(gf_file_write(path, text, strlen(text), NULL), GF_OK);
    cr_assert_eq(run_stdout(&fresh,
                            GRAFT_BIN " generate --model %s --messages %s --max-new-tokens 16",
                            model(), path),
                 0);
    cr_assert_str_eq(fresh, second);
    cJSON_free(text);
    cJSON_Delete(list);
    free(chat);
    free(fresh);
    free(path);
    scratch_remove(dir);
}

static int64_t number(const cJSON *root, const char *key)
{
    const cJSON *item = cJSON_GetObjectItem(cJSON_GetObjectItem(root, "data"), key);
    cr_assert(cJSON_IsNumber(item), "%s", key);
    return (int64_t)item->valuedouble;
}

/* ids and labels of every conversation, and what `data` counts of them. */
Test(smollm2, tokens_and_labels)
{
    char *got = NULL, *want = NULL, *a, *b, *save_a, *save_b;
    size_t size;
    int64_t tokens = 0, examples = 0;
    cr_assert_eq(run_stdout(&got,
                            GRAFT_BIN " tokenize --model %s --messages " REFERENCE
                                      "/chat.jsonl --json",
                            model()),
                 0);
    cr_assert_eq(gf_file_read(REFERENCE "/tokens.jsonl", &want, &size, NULL), GF_OK);
    a = strtok_r(got, "\n", &save_a);
    b = strtok_r(want, "\n", &save_b);
    for (; a && b; a = strtok_r(NULL, "\n", &save_a), b = strtok_r(NULL, "\n", &save_b)) {
        cJSON *x = cJSON_Parse(a), *y = cJSON_Parse(b);
        const cJSON *ids = cJSON_GetObjectItem(y, "input_ids");
        expect_numbers(cJSON_GetObjectItem(x, "ids"), ids ? ids : cJSON_GetObjectItem(y, "ids"),
                       "ids");
        expect_numbers(cJSON_GetObjectItem(x, "labels"), cJSON_GetObjectItem(y, "labels"),
                       "labels");
        tokens += cJSON_GetArraySize(cJSON_GetObjectItem(x, "ids"));
        examples++;
        cJSON_Delete(x);
        cJSON_Delete(y);
    }
    cr_assert(!a && !b, "after %d conversations", (int)examples);
    free(got);
    free(want);

    char *command = gf_format(
        NULL, GRAFT_BIN " data --model %s --data " REFERENCE "/chat.jsonl --json", model());
    cJSON *report = json_of(command);
    cr_assert_eq(number(report, "examples"), examples);
    cr_assert_eq(number(report, "tokens"), tokens);
    cr_assert_eq(number(report, "over_length"), 0);
    cr_assert_eq(number(report, "turns_without_end_token"), 0);
    cJSON_Delete(report);
    free(command);
}
