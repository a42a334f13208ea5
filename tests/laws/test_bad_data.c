/* test_bad_data.c - data and templates that cannot be trained on: one clear line with file and
 * line, exit code 2, nothing written. */
#include "support/refusal.h"

#include <criterion/criterion.h>

#define LINE(text) "printf '%s\\n' '" text "' >> tokens.jsonl"
#define TEXT(text) "printf '" text "' >> text.jsonl"
#define CHAT(text) "printf '%s\\n' '" text "' >> chat.jsonl"

Test(bad_data, data)
{
    static const refusal table[] = {
        {TRAIN, {"tokens.jsonl:3:", "97"}, .shell = LINE("{\"input_ids\":[1,97]}")},
        {TRAIN, {"tokens.jsonl:3:", "-1"}, .shell = LINE("{\"input_ids\":[1,-1]}")},
        {TRAIN, {"jsonl:3:"}, .shell = LINE("{\"input_ids\":[1,2.5]}")},
        {TRAIN, {"jsonl:3:"}, .shell = LINE("{\"input_ids\":[1,1e300]}")},
        {TRAIN, {"jsonl:3:"}, .shell = LINE("{\"input_ids\":[1,\"2\"]}")},
        {TRAIN, {"jsonl:3:", "labels"}, .shell = LINE("{\"input_ids\":[1,2],\"labels\":[1]}")},
        {TRAIN, {"jsonl:3:", "label"}, .shell = LINE("{\"input_ids\":[1,2],\"labels\":[1,97]}")},
        {TRAIN,
         {"jsonl:3:", "trained"},
         .shell = LINE("{\"input_ids\":[1,2],\"labels\":[1,-100]}")},
        {TRAIN, {"jsonl:3:", "trained"}, .shell = LINE("{\"input_ids\":[1]}")},
        {TRAIN, {"jsonl:3:"}, .shell = LINE("{\"input_ids\":[]}")},
        {TRAIN, {"jsonl:3:18:"}, .shell = LINE("{\"input_ids\":[1,2}")},
        {TRAIN, {"jsonl:3:"}, .shell = LINE("[1,2]")},
        {TRAIN, {"jsonl:3:"}, .shell = LINE("{\"tokens\":[1,2]}")},
        {TRAIN "--max-length 20", {"jsonl:1:", "24", "20", "--overlength"}},
        {TRAIN "--max-length 20 --overlength drop", {"no example"}},
        {EVAL "--max-length 20 --overlength drop", {"no example"}},
        {TRAIN, {"tokens.jsonl", "is empty"}, .shell = ": > tokens.jsonl"},
        {TRAIN, {"tokens.jsonl", "is empty"}, .shell = "printf '\\n\\n' > tokens.jsonl"},
        {EVAL, {"tokens.jsonl", "is empty"}, .shell = ": > tokens.jsonl"},
        {"data --model model --data tokens.jsonl", {"is empty"}, .shell = ": > tokens.jsonl"},
        {TRAIN "--eval-data void.jsonl", {"void.jsonl", "is empty"}, .shell = ": > void.jsonl"},
        {EVAL, {"jsonl:3:", "97"}, .shell = LINE("{\"input_ids\":[1,97]}")},
        {EVAL, {"jsonl:3:", "trained"}, .shell = LINE("{\"input_ids\":[1]}")},
        {TRAIN, {"jsonl:3:", "format"}, .shell = LINE("{\"text\":\"hello\"}")},
        {TRAIN_GGUF, {"text.jsonl:3:11:", "UTF-8"}, .shell = TEXT("{\"text\":\"a\\377\"}")},
        {TRAIN_GGUF, {"jsonl:3:", "UTF-8"}, .shell = TEXT("{\"text\":\"\\355\\240\\200\"}")},
        {TRAIN_GGUF, {"jsonl:3:", "surrogate"}, .shell = TEXT("{\"text\":\"\\\\ud800\"}")},
        {TRAIN_GGUF, {"jsonl:3:"}, .shell = TEXT("{\"text\":\"a\\\\u0000b\"}")},
        {TRAIN_GGUF, {"jsonl:3:13:", "twice"}, .shell = TEXT("{\"text\":\"a\",\"text\":\"b\"}")},
        {TRAIN_GGUF, {"jsonl:3:", "text"}, .shell = TEXT("{\"text\":7}")},
        {TRAIN_GGUF, {"jsonl:3:"}, .shell = TEXT("{\"text\":\"\"}")},
        {TRAIN_CHAT, {"jsonl:2:", "role"}, .shell = CHAT("{\"messages\":[{\"content\":\"x\"}]}")},
        {TRAIN_CHAT, {"jsonl:2:"}, .shell = CHAT("{\"messages\":[]}")},
        {TRAIN_CHAT, {"jsonl:2:"}, .shell = CHAT("{\"messages\":\"hello\"}")},
        {TRAIN_CHAT,
         {"jsonl:2:", "trained"},
         .shell = CHAT("{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}")},
        {TRAIN_CHAT "--chat-template bad.jinja",
         {"bad.jinja:2:"},
         .shell = "printf 'x\\n{%% for %%}' > bad.jinja"},
        {TRAIN_CHAT "--chat-template bad.jinja",
         {"refuses this"},
         .shell = "printf '{{ raise_exception(\"refuses this\") }}' > bad.jinja"},
        {"tokenize --model tiny.gguf --messages m.json",
         {"m.json:1:3:"},
         .shell = "echo '[{]' > m.json"},
    };
    CHECK(table);
}
