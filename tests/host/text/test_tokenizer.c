/* test_tokenizer.c - own small tokenizers of every kind against the tokenizers library's results
 * (golden/tokenizers), and what the vectors don't reach. */
#include "host/text/tokenizer_vectors.h"
#include "support/scratch.h"
#include "text/tokenizer/parts.h"

#include <stdio.h>

static gf_tokenizer *open_golden(const char *kind)
{
    char dir[512];
    gf_tokenizer *t = NULL;
    gf_err err = {0};
    snprintf(dir, sizeof dir, "%s/golden/tokenizers/%s", GRAFT_TESTS, kind);
    cr_assert_eq(gf_tokenizer_open(&t, dir, &err), GF_OK, "%s", err.text);
    return t;
}

Test(tokenizer, golden_vectors)
{
    static const char *const kinds[] = {
        "added-tokens", "gemma",     "gpt2-prefix",     "gpt4o",        "llama2",
        "llama3",       "qwen2",     "smollm",          "splits",       "metaspace-always",
        "tekken",       "unk-words", "metaspace-first", "roberta-words"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char path[600];
        gf_tokenizer *t = open_golden(kinds[i]);
        snprintf(path, sizeof path, "%s/golden/tokenizers/%s/vectors.jsonl", GRAFT_TESTS, kinds[i]);
        check_vectors(t, path);
        gf_tokenizer_free(t);
    }
}

/* ---- GGUF -------------------------------------------------------------------------- */

static gf_tokenizer *open_gguf(const char *name)
{
    char path[512];
    gf_gguf g;
    gf_tokenizer *t = NULL;
    gf_err err = {0};
    snprintf(path, sizeof path, "%s/golden/tokenizers/%s.gguf", GRAFT_TESTS, name);
    cr_assert_eq(gf_gguf_open(&g, path, &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_tokenizer_open_gguf(&t, &g, &err), GF_OK, "%s", err.text);
    gf_gguf_close(&g); /* nothing of it is kept */
    return t;
}

static const char *const gguf_kinds[][2] = {
    {"smollm", "smollm"}, {"qwen2", "qwen2"}, {"llama2", "llama2-scores"}};

Test(tokenizer, gguf_vectors)
{
    for (size_t i = 0; i < 3; i++) {
        char path[600];
        gf_tokenizer *t = open_gguf(gguf_kinds[i][0]);
        snprintf(path, sizeof path, "%s/golden/tokenizers/%s/vectors.jsonl", GRAFT_TESTS,
                 gguf_kinds[i][1]);
        check_vectors(t, path);
        gf_tokenizer_free(t);
    }
}

/* ---- into a GGUF --------------------------------------------------------------------- */

static gf_status put_gguf(const char *kind, int64_t vocabulary, gf_gguf_keys *k, const char **note,
                          gf_err *err)
{
    gf_tokenizer *t = open_golden(kind);
    const int32_t ends[] = {gf_tokenizer_eos(t), 7, 5};
    const gf_tokenizer_gguf model = {.vocabulary =
                                         vocabulary ? vocabulary : gf_tokenizer_size(t) + 5,
                                     .end = ends, /* 5: some unused rows */
                                     .ends = 3};
    const gf_status st = gf_tokenizer_put_gguf(t, &model, k, note, err);
    gf_tokenizer_free(t);
    return st;
}

/* What the tokenizers library makes of the folder, the GGUF made of it gives too. */
Test(tokenizer, put_into_a_gguf_gives_the_same)
{
    static const char *const kinds[][2] = {
        {"gemma", "llama"}, {"gpt4o", "gpt2"},  {"llama2", "llama"}, {"llama3", "gpt2"},
        {"qwen2", "gpt2"},  {"smollm", "gpt2"}, {"tekken", "gpt2"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        gf_gguf_keys k = {0};
        gf_gguf_writer *w = NULL;
        gf_gguf g;
        gf_tokenizer *t = NULL;
        const char *note = NULL;
        char path[600], *model = NULL;
        gf_err err = {0};
        cr_assert_eq(put_gguf(kinds[i][0], 0, &k, &note, &err), GF_OK, "%s: %s", kinds[i][0],
                     err.text);
        const char *file = scratch_path("tokenizer.gguf");
        cr_assert_eq(gf_gguf_writer_open(&w, file, &k, NULL, 0, &err), GF_OK, "%s", err.text);
        cr_assert_eq(gf_gguf_writer_commit(w, &err), GF_OK);
        cr_assert_eq(gf_gguf_open(&g, file, &err), GF_OK, "%s", err.text);
        cr_assert_eq(gf_gguf_string(&model, &g, "tokenizer.ggml.model", &err), GF_OK);
        cr_expect_str_eq(model, kinds[i][1]);
        cr_assert_eq(gf_tokenizer_open_gguf(&t, &g, &err), GF_OK, "%s: %s", kinds[i][0], err.text);
        snprintf(path, sizeof path, "%s/golden/tokenizers/%s/vectors.jsonl", GRAFT_TESTS,
                 kinds[i][0]);
        if (strcmp(kinds[i][0], "gemma") != 0)
            check_vectors(t, path);
        else /* of an empty text the pieces differ, which no result shows */
            check_lines(t, path, false);
        gf_tokenizer_free(t);
        gf_gguf_close(&g);
        gf_gguf_keys_free(&k);
        free(model);
    }
}

Test(tokenizer, put_into_a_gguf_refuses)
{
    static const char *const kinds[] = {"gpt2-prefix", "splits", "unk-words", "roberta-words"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        gf_gguf_keys k = {0};
        const char *note = NULL;
        gf_err err = {0};
        cr_expect_eq(put_gguf(kinds[i], 0, &k, &note, &err), GF_EMISSING, "%s", kinds[i]);
        cr_expect(strstr(err.text, kinds[i]), "%s", err.text);
        gf_gguf_keys_free(&k);
    }
    gf_gguf_keys k = {0};
    const char *note = NULL;
    gf_err err = {0};
    cr_expect_eq(put_gguf("smollm", 7, &k, &note, &err), GF_EINPUT);
    cr_expect(strstr(err.text, "an embedding of 7"), "%s", err.text);
    gf_gguf_keys_free(&k);
    cr_expect_eq(put_gguf("metaspace-first", 0, &k, &note, &err), GF_OK);
    cr_expect(note && strstr(note, "a space before every text"));
    gf_gguf_keys_free(&k);
}

static char *temp_dir(void)
{
    char *dir = strdup("/tmp/graft-tokenizer-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    return dir;
}

static void remove_dir(char *dir)
{
    gf_err err = {0};
    cr_expect_eq(gf_dir_remove(dir, &err), GF_OK, "%s", err.text);
    free(dir);
}

Test(tokenizer, saved_gguf_gives_the_same)
{
    for (size_t i = 0; i < 3; i++) {
        char path[600], *dir = temp_dir();
        gf_err err = {0};
        gf_tokenizer *t = open_gguf(gguf_kinds[i][0]), *again = NULL;
        cr_assert_eq(gf_tokenizer_save(t, dir, NULL, &err), GF_OK, "%s", err.text);
        cr_assert_eq(gf_tokenizer_open(&again, dir, &err), GF_OK, "%s", err.text);
        snprintf(path, sizeof path, "%s/golden/tokenizers/%s/vectors.jsonl", GRAFT_TESTS,
                 gguf_kinds[i][1]);
        check_vectors(again, path);
        cr_expect_eq(gf_tokenizer_bos(again), gf_tokenizer_bos(t));
        cr_expect_eq(gf_tokenizer_eos(again), gf_tokenizer_eos(t));
        cr_expect_eq(gf_tokenizer_unk(again), gf_tokenizer_unk(t));
        cr_expect_eq(gf_tokenizer_adds_bos(again), gf_tokenizer_adds_bos(t));
        cr_expect_eq(!gf_tokenizer_template(again), !gf_tokenizer_template(t));
        gf_tokenizer_free(t);
        gf_tokenizer_free(again);
        remove_dir(dir);
    }
}

/* ---- files beside tokenizer.json --------------------------------------------------- */

static void put(const char *dir, const char *name, const char *text)
{
    char path[600];
    gf_err err = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    cr_assert_eq(gf_file_write(path, text, strlen(text), &err), GF_OK, "%s", err.text);
}

static void put_golden(const char *dir, const char *kind)
{
    char path[600], *text;
    size_t size;
    gf_err err = {0};
    snprintf(path, sizeof path, "%s/golden/tokenizers/%s/tokenizer.json", GRAFT_TESTS, kind);
    cr_assert_eq(gf_file_read(path, &text, &size, &err), GF_OK, "%s", err.text);
    put(dir, "tokenizer.json", text);
    free(text);
}

Test(tokenizer, roles_and_template)
{
    char *dir = temp_dir();
    gf_err err = {0};
    gf_tokenizer *t = NULL;
    put_golden(dir, "llama2");
    put(dir, "special_tokens_map.json", "{\"eos_token\": \"<s>\", \"unk_token\": \"<unk>\"}");
    put(dir, "tokenizer_config.json",
        "{\"bos_token\": {\"content\": \"<s>\", \"lstrip\": false}, \"eos_token\": \"</s>\", "
        "\"pad_token\": null, \"tokenizer_class\": \"LlamaTokenizer\", \"add_bos_token\": false, "
        "\"add_eos_token\": true, \"chat_template\": [{\"name\": \"other\", \"template\": \"x\"}, "
        "{\"name\": \"default\", \"template\": \"y\"}]}");
    cr_assert_eq(gf_tokenizer_open(&t, dir, &err), GF_OK, "%s", err.text);
    cr_expect_eq(gf_tokenizer_bos(t), 1);
    cr_expect_eq(gf_tokenizer_eos(t), 2, "tokenizer_config.json has priority");
    cr_expect_eq(gf_tokenizer_pad(t), -1);
    cr_expect_eq(gf_tokenizer_unk(t), 0);
    cr_expect_not(gf_tokenizer_adds_bos(t));
    cr_expect(gf_tokenizer_adds_eos(t), "rebuilt for this class");
    cr_expect_str_eq(gf_tokenizer_template(t), "y");
    cr_expect_str_eq(gf_tokenizer_token(t, 2), "</s>");
    cr_expect_eq(gf_tokenizer_id(t, "</s>"), 2);
    cr_expect_eq(gf_tokenizer_id(t, "no such token"), -1);
    cr_expect_null(gf_tokenizer_token(t, gf_tokenizer_size(t)));
    cr_expect_null(gf_tokenizer_token(t, -1));
    gf_tokenizer_free(t);
    put(dir, "chat_template.jinja", "z");
    cr_assert_eq(gf_tokenizer_open(&t, dir, &err), GF_OK, "%s", err.text);
    cr_expect_str_eq(gf_tokenizer_template(t), "z", "the file wins");

    char *to = temp_dir();
    gf_tokenizer *copy = NULL;
    cr_assert_eq(gf_tokenizer_save(t, to, "new", &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_tokenizer_open(&copy, to, &err), GF_OK, "%s", err.text);
    cr_expect_str_eq(gf_tokenizer_template(copy), "new");
    cr_expect_eq(gf_tokenizer_eos(copy), 2);
    gf_tokenizer_free(copy);
    gf_tokenizer_free(t);
    remove_dir(to);
    remove_dir(dir);
}

/* ---- where tokens start ------------------------------------------------------------ */

static void expect_starts(gf_tokenizer *t, const char *text, int n, const int64_t *want)
{
    gf_tokens out = {0};
    cr_assert_eq(gf_tokenizer_encode(t, text, strlen(text), true, &out, NULL), GF_OK);
    cr_assert_eq(out.count, n, "%s: %lld tokens", text, (long long)out.count);
    for (int i = 0; i < n; i++)
        cr_expect_eq(out.start[i], want[i], "%s: token %d starts at %lld", text, i,
                     (long long)out.start[i]);
    gf_tokens_free(&out);
}

Test(tokenizer, starts)
{
    gf_tokenizer *t = open_golden("llama3");
    /* <s>, the three bytes of a character that no merge knows, </s> */
    expect_starts(t, "\xE0\xA4\x95", 5, (const int64_t[]){0, 0, 1, 2, 3});
    expect_starts(t, "1<s>2", 5, (const int64_t[]){0, 0, 1, 4, 5});
    gf_tokenizer_free(t);
    t = open_golden("llama2"); /* a prepended space starts where its text does */
    expect_starts(t, "1<s>2", 6, (const int64_t[]){0, 0, 0, 1, 4, 4});
    expect_starts(t, "\xE0\xA4\x95", 5, (const int64_t[]){0, 0, 0, 1, 2});
    gf_tokenizer_free(t);
    t = open_golden("added-tokens"); /* NFC: the e and its accent are one; spaces are swallowed */
    expect_starts(t,
                  "1e\xCC\x81"
                  "2",
                  4, (const int64_t[]){0, 0, 1, 4});
    expect_starts(t, "1  <L>2", 4, (const int64_t[]){0, 0, 1, 6});
    gf_tokenizer_free(t);
}

Test(tokenizer, bad_calls)
{
    gf_tokenizer *t = open_golden("llama3");
    gf_tokens out = {0};
    gf_buf text = {0};
    gf_err err = {0};
    cr_expect_eq(gf_tokenizer_encode(t, "ab\xC3(", 4, false, &out, &err), GF_EINPUT);
    cr_expect(strstr(err.text, "byte 2"), "%s", err.text);
    err.code = GF_OK;
    cr_expect_eq(gf_tokenizer_decode(t, (const int32_t[]){5, 1 << 20}, 2, false, &text, &err),
                 GF_EINPUT);
    cr_expect(strstr(err.text, "1048576"), "%s", err.text);
    const int32_t special[] = {gf_tokenizer_id(t, "<s>"), gf_tokenizer_id(t, "a")};
    cr_expect(gf_tokenizer_is_special(t, special[0]));
    cr_assert_eq(gf_tokenizer_decode(t, special, 2, true, &text, &err), GF_OK);
    cr_expect_str_eq(text.data, "a");
    gf_buf_free(&text);
    gf_tokens_free(&out);
    gf_tokenizer_free(t);
}

/* ---- files that are refused -------------------------------------------------------- */

Test(tokenizer, refusals)
{
#define BPE(rest)                                                                                  \
    "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2}, " rest "}"
#define PRE(what) BPE("\"merges\": []}, \"pre_tokenizer\": " what)
#define SPLIT(re)                                                                                  \
    PRE("{\"type\": \"Split\", \"behavior\": \"Isolated\", \"pattern\": {\"Regex\": \"" re "\"}}")
    static const struct {
        const char *json, *message;
        gf_status status;
    } cases[] = {
        {"[]", "want a JSON object", GF_EINPUT},
        {"{}", "model is missing", GF_EINPUT},
        {"{\"model\": {\"type\": \"Unigram\"}}", "Unigram", GF_EMISSING},
        {"{\"model\": {\"type\": \"WordPiece\", \"vocab\": {}}}", "WordPiece", GF_EMISSING},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": [], \"merges\": []}}", "vocab", GF_EINPUT},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": -1}, \"merges\": []}}", "want an id",
         GF_EINPUT},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 1e9}, \"merges\": []}}", "want an id",
         GF_EINPUT},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 0}, \"merges\": []}}",
         "both token 0", GF_EINPUT},
        {BPE("\"merges\": [\"a b c\"]}"), "merges[0]", GF_EINPUT},
        {BPE("\"merges\": [[\"a\"]]}"), "merges[0]", GF_EINPUT},
        {BPE("\"merges\": [[\"a\", \"c\"]]}"), "right half is not a token", GF_EINPUT},
        {BPE("\"merges\": [[\"b\", \"a\"]]}"), "whole is not a token", GF_EINPUT},
        {BPE("\"merges\": [], \"dropout\": 0.1}"), "dropout", GF_EMISSING},
        {BPE("\"merges\": [], \"unk_token\": \"u\"}"), "unk_token", GF_EINPUT},
        {BPE("\"merges\": [], \"end_of_word_suffix\": \"</w>\"}"), "end_of_word", GF_EMISSING},
        {BPE("\"merges\": []}, \"added_tokens\": [{\"content\": \"x\"}]"), "without id", GF_EINPUT},
        {BPE("\"merges\": []}, \"added_tokens\": [{\"id\": 7, \"content\": \"a\"}]"), "but 0",
         GF_EINPUT},
        {BPE("\"merges\": []}, \"normalizer\": {\"type\": \"Precompiled\"}"), "Precompiled",
         GF_EMISSING},
        {BPE("\"merges\": []}, \"decoder\": {\"type\": \"WordPiece\"}"), "WordPiece", GF_EMISSING},
        {BPE("\"merges\": []}, \"post_processor\": {\"type\": \"TemplateProcessing\", "
             "\"single\": []}"),
         "once", GF_EINPUT},
        {PRE("{\"type\": \"UnicodeScripts\"}"), "UnicodeScripts", GF_EMISSING},
        {PRE("{\"type\": \"Split\", \"behavior\": \"Sideways\", \"pattern\": {\"String\": \"x\"}}"),
         "Isolated", GF_EINPUT},
        {SPLIT("("), "pattern", GF_EINPUT},
        {SPLIT("[a[b]]"), "class inside a class", GF_EMISSING},
        {SPLIT("[a&&b]"), "intersection", GF_EMISSING},
        {SPLIT("a{1,3}+"), "counted repeat", GF_EMISSING},
        {SPLIT("(*UTF)"), "(*", GF_EMISSING},
        {SPLIT("\\\\h"), "\\h", GF_EMISSING},
        {SPLIT("\\\\"), "backslash", GF_EMISSING},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gf_tokenizer *t = NULL;
        gf_err err = {0};
        const size_t n = strlen(cases[i].json);
        cr_expect_eq(gf_tokenizer_parse(&t, cases[i].json, n, "T", &err), cases[i].status, "%s: %s",
                     cases[i].json, err.text);
        cr_expect(strstr(err.text, cases[i].message), "%s: %s", cases[i].json, err.text);
        cr_expect(!strchr(err.text, '\n'));
        gf_tokenizer_free(t);
    }
}

Test(tokenizer, folders_without)
{
    char *dir = temp_dir();
    gf_tokenizer *t = NULL;
    gf_err err = {0};
    cr_expect_eq(gf_tokenizer_open(&t, dir, &err), GF_EINPUT);
    cr_expect(strstr(err.text, "tokenizer.json"), "%s", err.text);
    put(dir, "tokenizer.model", "x");
    err.code = GF_OK;
    cr_expect_eq(gf_tokenizer_open(&t, dir, &err), GF_EMISSING);
    put_golden(dir, "llama2");
    put(dir, "tokenizer_config.json", "{\"eos_token\": \"<eos>\"}");
    err.code = GF_OK;
    cr_expect_eq(gf_tokenizer_open(&t, dir, &err), GF_EINPUT);
    cr_expect(strstr(err.text, "<eos>"), "%s", err.text);
    remove_dir(dir);
}

/* Merging is O(n log n): a megabyte without a word boundary takes a moment, not hours. */
Test(tokenizer, one_long_word)
{
    enum { SIZE = 1 << 20 };
    gf_tokenizer *t = open_golden("llama2");
    char *text = malloc(SIZE);
    gf_tokens out = {0};
    gf_err err = {0};
    cr_assert_not_null(text);
    memset(text, 'a', SIZE);
    cr_assert_eq(gf_tokenizer_encode(t, text, SIZE, false, &out, &err), GF_OK, "%s", err.text);
    cr_expect_gt(out.count, SIZE / 64);
    gf_tokens_free(&out);
    free(text);
    gf_tokenizer_free(t);
}
