/* Data files to examples, with a tokenizer of single bytes: what is trained can be read off. */
#include "dataset_bed.h"

Test(dataset, chat_turns)
{
    expect_trained(
        chatml, ".jsonl",
        "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":"
        "\"Hi\"},"
        "{\"role\":\"assistant\",\"content\":\"Yes\"},{\"role\":\"user\",\"content\":\"Yes\"},"
        "{\"role\":\"assistant\",\"content\":\"naïve\"}]}\n\n"
        "[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\","
        "\"weight\":0},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"q\"}]},"
        "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"b\"},"
        "{\"type\":\"text\",\"text\":\"c\"}],\"weight\":1}]\r\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":"
        "\"\"}]}",
        GF_TRAIN_DEFAULT,
        WANT("[Yes<|im_end|>][naïve<|im_end|>]", "[bc<|im_end|>]", "[<|im_end|>]"));
}

Test(dataset, chat_all)
{
    expect_trained(chatml, ".json", "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}",
                   GF_TRAIN_ALL, WANT("[<|im_start|>user\nq<|im_end|>\n]"));
}

/* Earlier reasoning is dropped: what is left of that turn is trained, and only that. */
Test(dataset, dropped_reasoning)
{
    expect_trained("{% for m in messages %}<|im_start|>{{ m.role }}:{% if m.role == 'assistant' "
                   "and not loop.last %}{{ m.content.split('</think>')[-1] }}{% else %}"
                   "{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
                   "{% if add_generation_prompt %}<|im_start|>assistant:{% endif %}",
                   ".json",
                   "[{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},"
                   "{\"role\":\"assistant\",\"content\":\"<think>t</think>one\"},"
                   "{\"role\":\"user\",\"content\":\"r\"},"
                   "{\"role\":\"assistant\",\"content\":\"<think>u</think>two\"}]}]",
                   GF_TRAIN_DEFAULT, WANT("[one<|im_end|>][<think>u</think>two<|im_end|>]"));
}

/* The prompt's <think> is not in the whole: the longest common prefix counts. */
Test(dataset, prompt_not_a_prefix)
{
    expect_trained(
        "{% for m in messages %}{{ '<|user|>' if m.role == 'user' else "
        "'<|assistant|>' }}{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>[think]{% endif %}",
        ".json",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},"
        "{\"role\":\"assistant\",\"content\":\"one\"},{\"role\":\"user\",\"content\":\"r\"},"
        "{\"role\":\"assistant\",\"content\":\"two\"}]}",
        GF_TRAIN_DEFAULT, WANT("[one][two]"));
}

/* A text that ends every conversation, but not every turn. */
Test(dataset, end_of_conversation)
{
    expect_trained(
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% else %}</s>{% endif %}",
        ".json",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},"
        "{\"role\":\"assistant\",\"content\":\"one\"},{\"role\":\"user\",\"content\":\"r\"},"
        "{\"role\":\"assistant\",\"content\":\"two\"}]}",
        GF_TRAIN_DEFAULT, WANT("[one<|end|>][two<|end|>\n</s>]"));
}

Test(dataset, texts)
{
    expect_trained(NULL, ".jsonl",
                   "{\"text\":\"ab\"}\n{\"text\":\"c</s>\"}\n{\"text\":\"say ### Human:\"}",
                   GF_TRAIN_DEFAULT, WANT("[<s>ab</s>]", "[<s>c</s>]", "[<s>say ### Human:</s>]"));
}

Test(dataset, guanaco)
{
    expect_trained(NULL, ".jsonl",
                   "{\"text\":\"### Human: hi### Assistant: yo### Human: a### Assistant: b\"}\n"
                   "{\"text\":\"<s>[INST] q [/INST] a </s><s>[INST] r [/INST] b </s>\"}\n"
                   "{\"text\":\"[INST] q [/INST] a\"}",
                   GF_TRAIN_DEFAULT, WANT("[ yo][ b</s>]", "[ a </s>][ b </s>]", "[ a</s>]"));
}

Test(dataset, guanaco_bos)
{
    gf_err err = {0};
    gf_dataset d = {0};
    const gf_data_options opt = {.tokenizer = tokenizer(), .vocab = 263};
    cr_assert_eq(load(&d, ".json", "{\"text\":\"<s>[INST] q [/INST] a\"}", &opt, &err), GF_OK, "%s",
                 err.text);
    cr_expect_eq(gf_dataset_at(&d, 0).ids[0], 256);
    cr_expect_eq(gf_dataset_at(&d, 0).ids[1], '[');
    gf_dataset_free(&d);
    close_tokenizer();
}

Test(dataset, tokens_and_lines)
{
    gf_err err = {0};
    gf_dataset d = {0};
    const gf_data_options opt = {.vocab = 10};
    cr_assert_eq(load(&d, ".json",
                      "[{\"input_ids\":[1,2,3]},\n\n {\"input_ids\":[4,5],\n\"labels\":[-100,9]},"
                      "{\"input_ids\":[1,2,3],\"labels\":[1,-100,3]}\n]\n",
                      &opt, &err),
                 GF_OK, "%s", err.text);
    cr_assert_eq(d.count, 3);
    cr_expect_eq(d.entry[0].line, 1);
    cr_expect_eq(d.entry[1].line, 3);
    cr_expect_eq(d.entry[2].line, 4);
    cr_expect_eq(d.entry[0].trained, 2);
    cr_expect_eq(gf_dataset_at(&d, 0).labels[0], 1);
    cr_expect_eq(gf_dataset_at(&d, 1).labels[1], 9);
    cr_expect_eq(d.entry[2].trained, 1);
    gf_dataset_free(&d);
}

Test(dataset, over_length)
{
    static const char text[] = "{\"input_ids\":[1,2]}\n{\"input_ids\":[1,2,3,4]}";
    static const gf_overlength how[] = {GF_OVERLENGTH_TRUNCATE, GF_OVERLENGTH_DROP};
    for (int i = 0; i < 2; i++) {
        gf_err err = {0};
        gf_dataset d = {0};
        const gf_data_options opt = {.vocab = 10, .max_length = 3, .overlength = how[i]};
        cr_assert_eq(load(&d, ".jsonl", text, &opt, &err), GF_OK, "%s", err.text);
        cr_expect_eq(d.count, 2 - i);
        cr_expect_eq(d.truncated, 1 - i);
        cr_expect_eq(d.dropped, i);
        if (i == 0) {
            cr_expect_eq(d.entry[1].length, 3);
            cr_expect_eq(d.entry[1].trained, 2);
        }
        gf_dataset_free(&d);
    }
}

Test(dataset, errors_in_files)
{
    expect_error(NULL, ".txt", "x", GF_EINPUT, "want a file named .json or .jsonl");
    expect_error(NULL, ".jsonl", " \n\n", GF_EINPUT, "empty");
    expect_error(NULL, ".json", "[]", GF_EINPUT, "no record");
    expect_error(NULL, ".json", "[{\"text\":\"a\"},\n", GF_EINPUT, "not closed");
    expect_error(NULL, ".json", "[{\"text\":\"a\"}\n", GF_EINPUT, ":1: the array is not closed");
    expect_error(NULL, ".json", "[{\"text\":\"a\"},\n]", GF_EINPUT, ":2:");
    expect_error(NULL, ".json", "[{\"text\":\"a\"}\n}", GF_EINPUT, ":2:");
    expect_error(NULL, ".json", "[{\"text\":\"a\"}]\n\nx", GF_EINPUT, ":3: text follows");
    expect_error(NULL, ".jsonl", "{\"text\":\"a\"}\n{\"text\":}", GF_EINPUT, ":2:");
    expect_error(NULL, ".jsonl", "{\"text\":\"a\"}\n{\"input_ids\":[1,2]}", GF_EINPUT,
                 ":2: this record has the tokens format");
    expect_error(NULL, ".jsonl", "{\"text\":\"a\"}\n{\"text\":\"### Human: a\"}", GF_EINPUT,
                 ":2: this record has the guanaco format");
    close_tokenizer();
}

Test(dataset, errors_in_records)
{
    expect_error(NULL, ".jsonl", "{\"foo\":1}", GF_EINPUT, "no known format");
    expect_error(NULL, ".jsonl", "7", GF_EINPUT, "want an object");
    expect_error(NULL, ".jsonl", "{\"text\":7}", GF_EINPUT, "must be a string");
    expect_error(NULL, ".jsonl", "{\"input_ids\":[1,263]}", GF_EINPUT, "outside the vocabulary");
    expect_error(NULL, ".jsonl", "{\"input_ids\":[1,-1]}", GF_EINPUT, "outside the vocabulary");
    expect_error(NULL, ".jsonl", "{\"input_ids\":[1,2.5]}", GF_EINPUT, "not an integer");
    expect_error(NULL, ".jsonl", "{\"input_ids\":[1,2],\"labels\":[1]}", GF_EINPUT, "1 labels");
    expect_error(NULL, ".jsonl", "{\"input_ids\":[1,2],\"labels\":[1,-1]}", GF_EINPUT, "labels[1]");
    expect_error(NULL, ".jsonl", "{\"input_ids\":[1,2],\"labels\":[1,-100]}", GF_EINPUT,
                 ":1: the example has no trained token");
    expect_error(NULL, ".jsonl", "{\"input_ids\":[]}", GF_EINPUT, "empty");
    expect_error(NULL, ".jsonl", "{\"input_ids\":[1,2],\"attention_mask\":[1,0]}", GF_EINPUT,
                 "padding");
    expect_error(NULL, ".jsonl",
                 "{\"text\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
                 GF_EINPUT, "has 67 tokens, over --max-length 60");
    close_tokenizer();
}

Test(dataset, errors_in_conversations)
{
    expect_error(NULL, ".jsonl", "{\"messages\":[" USER "]}", GF_EMISSING, "no chat template");
    expect_error(chatml, ".jsonl", "{\"messages\":[]}", GF_EINPUT, "at least one");
    expect_error(chatml, ".jsonl", "{\"messages\":{}}", GF_EINPUT, "at least one");
    expect_error(chatml, ".jsonl", "{\"messages\":[" USER "]}", GF_EINPUT,
                 ":1: the example has no trained token");
    expect_error(chatml, ".jsonl", "{\"messages\":[" USER ",7]}", GF_EINPUT, "turn 2");
    expect_error(chatml, ".jsonl", "{\"messages\":[{\"content\":\"a\"}]}", GF_EINPUT, "\"role\"");
    expect_error(chatml, ".jsonl", "{\"messages\":[" USER ",{\"role\":\"assistant\"}]}", GF_EINPUT,
                 "turn 2: no \"content\"");
    expect_error(chatml, ".jsonl",
                 "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}]}",
                 GF_EINPUT, "turn 1: a part");
    expect_error(chatml, ".jsonl",
                 "{\"messages\":[" USER
                 ",{\"role\":\"assistant\",\"content\":\"a\",\"weight\":2}]}",
                 GF_EINPUT, "\"weight\"");
    expect_error("{{ raise_exception('never') }}", ".jsonl", "{\"messages\":[" USER "]}", GF_EINPUT,
                 ":1: template:1: never");
    expect_error("{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}"
                 "{% endfor %}",
                 ".jsonl",
                 "\n{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"gone\"}]}",
                 GF_EINPUT, ":2: turn 2 (assistant): its content is not in");
    expect_error("{{ messages[0].role }}{% for m in messages %}{{ m.content }}{% endfor %}",
                 ".jsonl", "{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\"}]}", GF_EINPUT,
                 ":1: turn 1: the conversation before it does not render");
    close_tokenizer();
}
