/* test_bad_prompts.c - --sample-prompts, --report-to and --metrics-file that cannot be meant: one
 * line that names file and line, exit code 2, nothing written. */
#include "support/refusal.h"

#include <criterion/criterion.h>

#define CHAT TRAIN_CHAT "--sample-prompts "
#define TEXT TRAIN_GGUF "--sample-prompts "
#define PUT(name, text) "printf '" text "' > " name

Test(bad_prompts, files)
{
    static const refusal table[] = {
        {TEXT "none.txt", {"none.txt"}},
        {TEXT ".", {"."}},
        {TEXT "p.txt", {"p.txt", "no prompt"}, .shell = ": > p.txt"},
        {TEXT "p.txt", {"p.txt", "no prompt"}, .shell = PUT("p.txt", "\\n \\t\\n\\r\\n")},
        {TEXT "p.txt", {"p.txt:2", "UTF-8"}, .shell = PUT("p.txt", "a\\nb\\377\\n")},
        {TEXT "p.txt", {"p.txt:2", "NUL"}, .shell = PUT("p.txt", "a\\nb\\000c\\n")},
        {TEXT "p.txt", {"1000"}, .shell = "yes hello | head -1001 > p.txt"},
        {TEXT "p.json", {"p.json"}, .shell = ": > p.json"},
        {TEXT "p.json", {"p.json:1:"}, .shell = PUT("p.json", "{")},
        {TEXT "p.json", {"p.json", "no prompt"}, .shell = PUT("p.json", "[]")},
        {TEXT "p.json", {"p.json", "a number"}, .shell = PUT("p.json", "7")},
        {TEXT "p.json", {"p.json", "a string"}, .shell = PUT("p.json", "[\"hello\"]")},
        {TEXT "p.json",
         {"p.json", "messages", "prompt"},
         .shell = PUT("p.json", "{\"text\":\"a\"}")},
        {TEXT "p.json", {"p.json", "prompt"}, .shell = PUT("p.json", "{\"prompt\":7}")},
        {TEXT "p.json",
         {"p.json", "completion"},
         .shell = PUT("p.json", "{\"prompt\":\"a\",\"completion\":[]}")},
        {TEXT "p.json",
         {"p.json", "without a message"},
         .shell = PUT("p.json", "{\"messages\":[]}")},
        {TEXT "p.jsonl", {"p.jsonl:2:"}, .shell = PUT("p.jsonl", "{\"prompt\":\"a\"}\\n{]\\n")},
        {TEXT "p.jsonl",
         {"p.jsonl:3", "null"},
         .shell =
             PUT("p.jsonl", "[[]]\\n") " && " PUT("p.jsonl", "{\"prompt\":\"a\"}\\n\\nnull\\n")},
        {TEXT "p.jsonl", {"p.jsonl:1"}, .shell = PUT("p.jsonl", "[[]]\\n")},
        {TEXT "p.jsonl", {"p.jsonl:1"}, .shell = PUT("p.jsonl", "[7]\\n")},
        {CHAT "p.jsonl",
         {"p.jsonl:1:"},
         .shell = PUT("p.jsonl", "{\"prompt\":\"a\",\"prompt\":1}")},
        {TRAIN "--sample-prompts p.txt", {"tokenizer"}, .shell = PUT("p.txt", "hello\\n")},
        {TEXT "p.txt --row-tokens 20", {"--row-tokens", "20"}, .shell = PUT("p.txt", "hello\\n")},
        {TEXT "p.txt --sample-tokens 0", {"--sample-tokens"}, .shell = PUT("p.txt", "hello\\n")},
    };
    CHECK(table);
}

Test(bad_prompts, targets)
{
    static const refusal table[] = {
        {TRAIN "--report-to wandb", {"--report-to", "wandb", "tensorboard"}},
        {TRAIN "--report-to tensorboard,", {"--report-to"}},
        {TRAIN "--report-to none,html", {"--report-to", "none,html"}},
        {TRAIN "--report-to ''", {"--report-to"}},
        {TRAIN "--metrics-file run.txt", {"--metrics-file", "run.txt", ".prom"}},
        {TRAIN "--metrics-file .prom", {"--metrics-file", ".prom"}},
        {TRAIN "--metrics-file none/run.prom", {"--metrics-file", "none/run.prom", "folder"}},
    };
    CHECK(table);
}
