/* test_answer.c - text that is printed as tokens come is the text of all tokens. */
#include "cli/answer.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static const char text[] = "Grüße, 世界! 👩‍🚀 \n  def f(x):\n\treturn x  # naïve ";

static char *streamed(gf_tokenizer *t, const gf_tokens *ids, gf_buf *all)
{
    char *out = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&out, &size);
    gf_stream stream = {.tokenizer = t, .to = to};
    gf_err err = {0};
    for (int64_t i = 0; i < ids->count; i++) {
        cr_assert(gf_stream_add(&stream, ids->id[i]), "%s", stream.err.text);
        fflush(to);
        cr_assert_eq(gf_utf8_valid(out, size), size, "half a character was printed");
        cr_assert(!strstr(out, "\xEF\xBF\xBD"), "half a character was printed");
    }
    cr_assert(gf_stream_add(&stream, gf_tokenizer_size(t) + 7), "an id without text is no text");
    cr_assert_eq(gf_stream_finish(&stream, all, &err), GF_OK, "%s", err.text);
    fclose(to);
    gf_stream_free(&stream);
    return out;
}

Test(stream, prints_what_all_tokens_decode_to)
{
    static const char *const names[] = {"smollm", "llama2", "gemma", "metaspace-first", "llama3"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *dir = gf_format(NULL, GRAFT_TESTS "/golden/tokenizers/%s", names[i]);
        gf_tokenizer *t = NULL;
        gf_tokens ids = {0};
        gf_buf whole = {0}, all = {0};
        gf_err err = {0};
        cr_assert_eq(gf_tokenizer_open(&t, dir, &err), GF_OK, "%s", err.text);
        cr_assert_eq(gf_tokenizer_encode(t, text, sizeof text - 1, true, &ids, &err), GF_OK);
        cr_assert_eq(gf_tokenizer_decode(t, ids.id, ids.count, true, &whole, &err), GF_OK);
        char *out = streamed(t, &ids, &all);
        cr_expect_str_eq(all.data, whole.data);
        cr_expect_str_eq(out, whole.data, "%s: \"%s\"", names[i], out);
        free(out);
        free(dir);
        gf_buf_free(&whole);
        gf_buf_free(&all);
        gf_tokens_free(&ids);
        gf_tokenizer_free(t);
    }
}
