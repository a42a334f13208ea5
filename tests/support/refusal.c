/* refusal.c - see refusal.h. */
#include "support/refusal.h"

#include "support/program.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char model_file[] = "model/model.safetensors";
static const char adapter_file[] = "adapter/adapter_model.safetensors";

static void write_data(void)
{
    static const char text[] =
        "{\"text\":\"in the well the hen tells all\"}\n{\"text\":\"hello\"}\n";
    static const char turns[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"},"
                                "{\"role\":\"assistant\",\"content\":\"in the well\"}]}\n";
    spoil_write("text.jsonl", text, sizeof text - 1);
    spoil_write("chat.jsonl", turns, sizeof turns - 1);
}

static bool prepare(const refusal *r)
{
    if (run(NULL,
            "rm -rf bed && mkdir bed && cp -r '%s/golden/cases/llama-gqa/model' "
            "'%s/golden/cases/llama-gqa/tokens.jsonl' bed && "
            "cp -r '%s/golden/cases/llama-gqa/adapter-trained' bed/adapter",
            GRAFT_TESTS, GRAFT_TESTS, GRAFT_TESTS) != 0 ||
        chdir("bed") != 0)
        return false;
    write_data();
    tiny_gguf_write("tiny.gguf", &r->gguf);
    if (r->tensor)
        spoil_tensor(strstr(r->tensor, "lora_") ? adapter_file : model_file, r->tensor, r->how,
                     r->value);
    return !r->shell || run(NULL, "%s", r->shell) == 0;
}

/* One line that begins as every error does and names what it should. */
static bool line_is_good(const refusal *r, const char *text)
{
    const char *end = strchr(text, '\n');
    bool good = strncmp(text, "graft: ", 7) == 0 && end && end[1] == 0;
    for (size_t i = 0; i < sizeof r->words / sizeof *r->words && r->words[i]; i++)
        good = good && strstr(text, r->words[i]);
    return good;
}

static bool refused(const refusal *r)
{
    char *before, *after, *text;
    run(&before, "find . | sort");
    const int code = run(&text, GRAFT_BIN " %s", r->command);
    run(&after, "find . | sort");
    const bool clean = strcmp(before, after) == 0;
    const bool good = code == 2 && clean && line_is_good(r, text);
    if (getenv("GRAFT_SHOW_REFUSALS") || !good) /* to read all the messages at once */
        fprintf(stderr, "%s%s\n   exit code %d%s\n   %s\n",
                good ? "" : "NOT REFUSED AS IT SHOULD BE: ", r->command, code,
                clean ? "" : ", and files were left or lost", text);
    free(before);
    free(after);
    free(text);
    return good;
}

void refusal_check(const refusal *table, int count)
{
    if (access(GRAFT_TESTS "/golden/cases/llama-gqa/model", R_OK) != 0)
        cr_skip_test("no reference cases");
    char *dir = scratch_make();
    int bad = 0;
    for (int i = 0; i < count; i++) {
        cr_assert(chdir(dir) == 0 && prepare(&table[i]), "case %d could not be prepared", i);
        bad += !refused(&table[i]);
    }
    cr_assert(chdir("/") == 0);
    scratch_remove(dir);
    cr_assert_eq(bad, 0, "%d of %d", bad, count);
}
