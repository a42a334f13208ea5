/* ShareGPT, Alpaca, prompt and completion, tools: what is rendered and what of it is trained. */
#include "dataset_bed.h"

/* ChatML with tools and calls, as the families print them. */
static const char tools_chat[] =
    "{% if tools %}{{ '<|im_start|>system\\n' }}{% for t in tools %}{{ t | tojson }}{% endfor %}"
    "{{ '<|im_end|>\\n' }}{% endif %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + "
    "m.content }}{% for c in m.tool_calls or [] %}{{ '<call>' + c.function.name + ' ' + "
    "(c.function.arguments | tojson) }}{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/* The first record's text, whole. */
static void expect_rendered(const char *chat, gf_alpaca alpaca, const char *record,
                            const char *want)
{
    gf_err err = {0};
    gf_example e = {0};
    gf_buf text = {0};
    cJSON *j = NULL;
    gf_template *t = chat == NULL ? NULL : template(chat);
    const gf_data_options opt = {
        .tokenizer = tokenizer(), .chat = t, .vocab = 263, .alpaca = alpaca};
    cr_assert_eq(gf_json_parse(&j, record, strlen(record), "record", 1, &err), GF_OK, "%s",
                 err.text);
    cr_assert_eq(gf_dataset_example(&e, &text, j, &opt, NULL, &err), GF_OK, "%s", err.text);
    cr_expect_str_eq(text.data, want);
    free(e.ids);
    free(e.labels);
    gf_buf_free(&text);
    cJSON_Delete(j);
    gf_template_free(t);
}

#define SHAREGPT                                                                                   \
    "{\"system\":\"s\",\"conversations\":[{\"from\":\"human\",\"value\":\"q\"},"                   \
    "{\"from\":\"gpt\",\"value\":\"a\",\"weight\":0},{\"from\":\"user\",\"value\":\"r\"},"         \
    "{\"from\":\"model\",\"value\":\"b\"}]}"

Test(dataset_formats, sharegpt)
{
    expect_trained(chatml, ".jsonl",
                   SHAREGPT "\n{\"conversations\":[{\"from\":\"system\",\"value\":\"s\"},"
                            "{\"from\":\"human\",\"value\":\"q\"},{\"from\":\"gpt\",\"value\":"
                            "\"a\"}]}\n{\"conversations\":[{\"role\":\"user\",\"content\":\"q\"},"
                            "{\"role\":\"assistant\",\"content\":\"x\"}]}",
                   GF_TRAIN_DEFAULT, WANT("[b<|im_end|>]", "[a<|im_end|>]", "[x<|im_end|>]"));
    expect_rendered(chatml, GF_ALPACA_AUTO, SHAREGPT,
                    "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nq<|im_end|>\n"
                    "<|im_start|>assistant\na<|im_end|>\n<|im_start|>user\nr<|im_end|>\n"
                    "<|im_start|>assistant\nb<|im_end|>\n");
    close_tokenizer();
}

Test(dataset_formats, sharegpt_calls)
{
    expect_rendered(
        tools_chat, GF_ALPACA_AUTO,
        "{\"tools\":\"[{\\\"name\\\":\\\"f\\\"}]\",\"conversations\":[{\"from\":\"human\","
        "\"value\":\"q\"},{\"from\":\"function_call\",\"value\":\"{\\\"name\\\":\\\"f\\\","
        "\\\"arguments\\\":{\\\"x\\\":1.0}}\"},{\"from\":\"observation\",\"value\":\"7\"},"
        "{\"from\":\"gpt\",\"value\":\"a\"}]}",
        "<|im_start|>system\n{\"name\": \"f\"}<|im_end|>\n<|im_start|>user\nq<|im_end|>\n"
        "<|im_start|>assistant\n<call>f {\"x\": 1.0}<|im_end|>\n<|im_start|>tool\n7<|im_end|>\n"
        "<|im_start|>assistant\na<|im_end|>\n");
    close_tokenizer();
}

/* Names that other trainers give the same thing. */
Test(dataset_formats, turns_that_are_not_trained)
{
    expect_trained(chatml, ".jsonl",
                   "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"a\",\"loss\":"
                   "false}," USER ",{\"role\":\"assistant\",\"content\":\"b\",\"train\":true},"
                   "" USER ",{\"role\":\"assistant\",\"content\":\"c\",\"weight\":0}]}",
                   GF_TRAIN_DEFAULT, WANT("[b<|im_end|>]"));
    close_tokenizer();
}

#define ALPACA "{\"instruction\":\"i\",\"input\":\"n\",\"output\":\"o\",\"text\":\"all\"}"

Test(dataset_formats, alpaca)
{
    expect_trained(chatml, ".jsonl", ALPACA, GF_TRAIN_DEFAULT, WANT("[o<|im_end|>]"));
    expect_trained(NULL, ".jsonl", ALPACA "\n{\"instruction\":\"i\",\"output\":\"\"}",
                   GF_TRAIN_DEFAULT, WANT("[o</s>]", "[</s>]"));
    expect_trained(chatml, ".jsonl",
                   "{\"instruction\":\"i\",\"output\":\"o\",\"history\":[[\"a\",\"b\"]]}",
                   GF_TRAIN_DEFAULT, WANT("[b<|im_end|>][o<|im_end|>]"));
    expect_trained(chatml, ".jsonl",
                   "{\"instruction\":\"i\",\"output\":\"o\",\"history\":[[\"a\",\"b\"]]}",
                   GF_TRAIN_COMPLETION, WANT("[o<|im_end|>]"));
    close_tokenizer();
}

Test(dataset_formats, alpaca_texts)
{
    expect_rendered(chatml, GF_ALPACA_AUTO, ALPACA,
                    "<|im_start|>user\ni\n\nn<|im_end|>\n<|im_start|>assistant\no<|im_end|>\n");
    expect_rendered(chatml, GF_ALPACA_TEXT,
                    "{\"instruction\":\"i\",\"input\":\"\",\"output\":\"o\"}",
                    "Below is an instruction that describes a task. Write a response that "
                    "appropriately completes the request.\n\n### Instruction:\ni\n\n### "
                    "Response:\no");
    expect_rendered(NULL, GF_ALPACA_AUTO, ALPACA,
                    "Below is an instruction that describes a task, paired with an input that "
                    "provides further context. Write a response that appropriately completes the "
                    "request.\n\n### Instruction:\ni\n\n### Input:\nn\n\n### Response:\no");
    expect_rendered(NULL, GF_ALPACA_AUTO,
                    "{\"instruction\":\"i\",\"output\":\"o\",\"system\":\"Be brief.\"}",
                    "Be brief.\n\n### Instruction:\ni\n\n### Response:\no");
    close_tokenizer();
}

Test(dataset_formats, pairs_of_texts)
{
    static const char data[] =
        "{\"prompt\":\"Q: \",\"completion\":\"yes\"}\n{\"prompt\":\"\",\"completion\":\"a</s>\"}";
    expect_trained(NULL, ".jsonl", data, GF_TRAIN_DEFAULT, WANT("[yes</s>]", "[a</s>]"));
    expect_trained(NULL, ".jsonl", data, GF_TRAIN_COMPLETION, WANT("[yes</s>]", "[a</s>]"));
    close_tokenizer();
}

Test(dataset_formats, pairs_of_messages)
{
    static const char data[] =
        "{\"prompt\":[" USER ",{\"role\":\"assistant\",\"content\":\"a\"}," USER "],"
        "\"completion\":[{\"role\":\"assistant\",\"content\":\"b\"}]}";
    expect_trained(chatml, ".jsonl", data, GF_TRAIN_DEFAULT, WANT("[b<|im_end|>]"));
    expect_trained(chatml, ".jsonl", data, GF_TRAIN_COMPLETION, WANT("[b<|im_end|>]"));
    expect_trained(chatml, ".jsonl", data, GF_TRAIN_ASSISTANT, WANT("[a<|im_end|>][b<|im_end|>]"));
    close_tokenizer();
}

/* Lines in a file named .json, as many are. */
Test(dataset_formats, lines_in_json)
{
    expect_trained(NULL, ".json", "\n{\"text\":\"}\\\"\"}\n{\"text\":\"b\"}\n", GF_TRAIN_ALL,
                   WANT("[<s>}\"</s>]", "[<s>b</s>]"));
    close_tokenizer();
}

/* ---- nothing given is lost without a word ------------------------------------------- */

#define TOOL "{\"type\":\"function\",\"function\":{\"name\":\"weather\"}}"
#define CALL                                                                                       \
    "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"type\":\"function\","             \
    "\"function\":{\"name\":\"weather\",\"arguments\":{\"city\":\"Rome\"}}}]}"
#define ANSWER "{\"role\":\"assistant\",\"content\":\"a\"}"

Test(dataset_formats, tools_that_are_rendered)
{
    expect_trained(tools_chat, ".jsonl",
                   "{\"tools\":[" TOOL "],\"messages\":[" USER "," CALL ",{\"role\":\"tool\","
                   "\"content\":\"12\"}," ANSWER "]}",
                   GF_TRAIN_DEFAULT,
                   WANT("[<call>weather {\"city\": \"Rome\"}<|im_end|>][a<|im_end|>]"));
    close_tokenizer();
}

static void expect_lost(const char *chat, const char *text, const char *what)
{
    expect_error(chat, ".jsonl", text, GF_EINPUT, what);
}

Test(dataset_formats, what_the_template_leaves_out)
{
    static const char no_arguments[] =
        "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}"
        "{{ c.function.name }}{% endfor %}{% endfor %}";
    static const char first_tool[] =
        "{{ tools[0].function.name if tools }}{% for m in messages %}{{ m.content }}{% endfor %}";
    static const char no_tool_role[] =
        "{% for m in messages if m.role != 'tool' %}{{ m.role + m.content }}{% endfor %}";
    expect_lost(chatml, "{\"tools\":[" TOOL "],\"messages\":[" USER "," ANSWER "]}",
                ":1: tools[0] (weather) is not in what the chat template renders");
    expect_lost(first_tool,
                "{\"tools\":[" TOOL ",{\"name\":\"g\"}],\"messages\":[" USER "," ANSWER "]}",
                ":1: tools[1] (g) is not in");
    expect_lost(chatml, "{\"messages\":[" USER "," CALL "]}",
                ":1: turn 2: tool_calls[0] (weather) is not in");
    expect_lost(no_arguments, "{\"messages\":[" USER "," CALL "]}",
                ":1: turn 2: the arguments of tool_calls[0] (weather) is not in");
    expect_lost(no_tool_role,
                "{\"messages\":[" USER ",{\"role\":\"tool\",\"content\":\"12\"}," ANSWER "]}",
                ":1: turn 2 (tool): its content is not in");
    close_tokenizer();
}

/* Trimmed, quoted or shortened contents are no loss. */
Test(dataset_formats, contents_that_are_changed)
{
    expect_trained(
        "{% for m in messages %}{{ m.role }}:{{ (m.content | tojson) if m.role == 'tool' "
        "else m.content.replace('/no_think', '') | trim }}\n{% endfor %}",
        ".jsonl",
        "{\"messages\":[{\"role\":\"system\",\"content\":\" Be brief. /no_think\"},"
        "{\"role\":\"tool\",\"content\":\"a \\\"b\\\"\"}," ANSWER "]}",
        GF_TRAIN_ASSISTANT, WANT("[assistant:a\n]"));
    close_tokenizer();
}
