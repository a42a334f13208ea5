/* test_choices.c - which tokens of a choice are predicted, in a chat and plain; what is no
 * question. */
#include "text/choices.h"

#include "support/program.h"
#include "support/small_model.h"

#include "base/file.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char *dir, *model;
    gf_tokenizer *tokenizer;
    gf_template *chat;
    gf_data_options opt;
} bed;

static void bed_open(bed *b)
{
    gf_err err = {0};
    *b = (bed){.dir = scratch_make()};
    b->model = small_model(b->dir);
    cr_assert_eq(gf_tokenizer_open(&b->tokenizer, b->model, &err), GF_OK, "%s", err.text);
    const char *text = gf_tokenizer_template(b->tokenizer);
    cr_assert_eq(gf_template_parse(&b->chat, text, strlen(text), "template", &err), GF_OK);
    b->opt = (gf_data_options){
        .tokenizer = b->tokenizer, .chat = b->chat, .vocab = 97, .max_length = 200};
}

static void bed_close(bed *b)
{
    gf_template_free(b->chat);
    gf_tokenizer_free(b->tokenizer);
    scratch_remove(b->dir);
    free(b->model);
}

static gf_status load(bed *b, const char *text, gf_choices *c, gf_err *err)
{
    char *path = small_file(b->dir, "q.jsonl", text);
    *c = (gf_choices){0};
    *err = (gf_err){0};
    const gf_status st = gf_choices_load(c, path, &b->opt, err);
    free(path);
    return st;
}

/* The text that an example predicts, and all of it. */
static void expect(const bed *b, const gf_choices *c, int64_t i, const char *whole, const char *own)
{
    const gf_example e = gf_dataset_at(&c->data, i);
    gf_buf text[2] = {{0}, {0}};
    for (int64_t t = 0; t < e.length; t++) {
        gf_tokenizer_decode(b->tokenizer, &e.ids[t], 1, false, &text[0], NULL);
        if (e.labels[t] != -100)
            gf_tokenizer_decode(b->tokenizer, &e.ids[t], 1, false, &text[1], NULL);
    }
    cr_assert_str_eq(text[0].data, whole);
    cr_assert_str_eq(text[1].data, own);
    gf_buf_free(&text[0]);
    gf_buf_free(&text[1]);
}

Test(choices, chat_and_plain)
{
    static const char file[] =
        "{\"question\":\"sky?\",\"choices\":[\"red\",\"blue\"],\"answer\":1}\n"
        "\n"
        "{\"question\":\"one \",\"choices\":[\"a\",\"b\",\"C\"],"
        "\"answer\":\"C\",\"id\":7}\n"
        "{\"question\":\"two\",\"choices\":[\"x\",\"y\"],\"answer\":\"b\"}";
    bed b;
    gf_choices c;
    gf_err err;
    bed_open(&b);
    cr_assert_eq(load(&b, file, &c, &err), GF_OK, "%s", err.text);
    cr_assert(c.count == 3 && c.data.count == 7);
    cr_assert(c.question[0].answer == 1 && c.question[1].answer == 2 && c.question[2].answer == 1);
    cr_assert(c.question[1].first == 2 && c.question[1].count == 3 && c.question[1].line == 3);
    cr_assert(c.bytes[0] == 3 && c.bytes[1] == 4 && c.bytes[6] == 1);
    expect(&b, &c, 1, "<|im_start|>user\nsky?<|im_end|>\n<|im_start|>assistant\nblue", "blue");
    gf_choices_free(&c);

    b.opt.format = GF_DATA_TEXT;
    cr_assert_eq(load(&b, file, &c, &err), GF_OK, "%s", err.text);
    expect(&b, &c, 0, "sky? red", " red");
    expect(&b, &c, 2, "one a", "a");
    gf_choices_free(&c);
    bed_close(&b);
}

#define Q "{\"question\":\"q\",\"choices\":"

Test(choices, refusals)
{
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "there is no question"},
        {"\n \n", "there is no question"},
        {"{", "q.jsonl:1:"},
        {Q "[\"a\",\"b\"],\"answer\":0}\n[1]", "q.jsonl:2: want an object, got an array"},
        {"3", "want an object"},
        {"{\"choices\":[\"a\",\"b\"],\"answer\":0}", "question: want a text"},
        {"{\"question\":\"\",\"choices\":[\"a\",\"b\"],\"answer\":0}", "question: want a text"},
        {"{\"question\":3,\"choices\":[\"a\",\"b\"],\"answer\":0}", "question"},
        {"{\"question\":\"q\",\"answer\":0}", "choices is missing"},
        {Q "[\"a\",\"b\"]}", "answer is missing"},
        {Q "\"ab\",\"answer\":0}", "want an array of texts, got a string"},
        {Q "{\"text\":[\"a\"]},\"answer\":0}", "want an array of texts"},
        {Q "[],\"answer\":0}", "want two at least"},
        {Q "[\"a\"],\"answer\":0}", "want two at least"},
        {Q "[\"a\",2],\"answer\":0}", "choices[1]: want a text, got a number"},
        {Q "[\"a\",\"\"],\"answer\":0}", "choices[1]: want a text, got an empty one"},
        {Q "[\"a\",null],\"answer\":0}", "choices[1]"},
        {Q "[\"a\",\"b\",\"a\"],\"answer\":0}", "choices[2]: the same text"},
        {Q "[\"a\",\"b\"],\"answer\":2}", "none of the 2 choices"},
        {Q "[\"a\",\"b\"],\"answer\":-1}", "none of the 2 choices"},
        {Q "[\"a\",\"b\"],\"answer\":0.5}", "none of the 2 choices"},
        {Q "[\"a\",\"b\"],\"answer\":1e999}", "none of the 2 choices"},
        {Q "[\"a\",\"b\"],\"answer\":\"C\"}", "none of the 2 choices"},
        {Q "[\"a\",\"b\"],\"answer\":\"\"}", "none of the 2 choices"},
        {Q "[\"a\",\"b\"],\"answer\":\"[\"}", "none of the 2 choices"},
        {Q "[\"a\",\"b\"],\"answer\":null}", "got null"},
        {Q "[\"a\",\"b\"],\"answer\":[0]}", "got an array"},
        {Q "[\"a\",\"b\"],\"answer\":0,\"answer\":1}", "answer"},
        {Q "[\"a\",\"\xff\"],\"answer\":0}", "q.jsonl:1:"},
        {Q "[\"0\",\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"a\",\"b\",\"c\",\"d\","
           "\"e\",\"f\",\"g\",\"h\",\"i\",\"j\",\"k\",\"l\",\"m\",\"n\",\"o\",\"p\",\"q\"],"
           "\"answer\":0}",
         "more than 26"},
        {Q "[\"a\",\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
           "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
           "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"],"
           "\"answer\":0}",
         "over --max-length 200"},
    };
    bed b;
    gf_choices c;
    gf_err err;
    bed_open(&b);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(load(&b, bad[i].text, &c, &err), GF_EINPUT, "%s: %s", bad[i].text, err.text);
        cr_expect(strstr(err.text, bad[i].says) && !strchr(err.text, '\n'), "%s: %s", bad[i].text,
                  err.text);
        gf_choices_free(&c);
    }
    b.opt.chat = NULL;
    cr_expect_eq(load(&b, Q "[\"a\",\"b\"],\"answer\":0}", &c, &err), GF_EARG);
    cr_expect(strstr(err.text, "--chat-template"), "%s", err.text);
    gf_choices_free(&c);
    bed_close(&b);
}
