/* test_session.c - what the commands share: what is opened, what is missing, and who is told. */
#include "cli/session.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "support/program.h"
#include "support/small_model.h"

Test(session, opens_everything_once)
{
    char *dir = scratch_make(), *model = small_model(dir), *text = NULL;
    gf_options o = {.model = model, .adapter = SMALL_ADAPTER, .threads = 1, .max_length = 77};
    gf_session s;
    gf_data_options data;
    gf_err err = {0};
    gf_session_start(&s, &o);
    cr_assert_eq(gf_session_data_options(&s, &data, &err), GF_OK, "%s", err.text);
    cr_expect(data.tokenizer && data.chat && data.vocab == 97 && data.max_length == 77);
    const gf_tokenizer *t = s.tokenizer;
    cr_assert_eq(gf_session_template(&s, true, &err), GF_OK);
    cr_expect(s.tokenizer == t, "the tokenizer was opened twice");
    cr_assert_eq(gf_session_template_text(&s, &text, &err), GF_OK);
    cr_expect(text && strstr(text, "im_start"));
    cr_assert_eq(gf_session_model(&s, GF_USE_EVAL, 16, 0, &err), GF_OK, "%s", err.text);
    cr_assert(s.has_model && s.has_adapter && s.has_backend && s.model.adapter == &s.adapter);
    const float *value = s.model.value.data;
    bool any = false;
    for (int64_t i = 0; i < s.adapter.size; i++)
        any |= value[i] != 0;
    cr_expect(any, "the adapter's values were not read");
    gf_session_close(&s);
    gf_session_close(&s); /* a closed one may be closed */
    free(text);
    free(model);
    scratch_remove(dir);
}

Test(session, a_model_without_tokenizer)
{
    gf_options o = {.model = SMALL_CASE "/model"};
    gf_session s;
    gf_data_options data;
    gf_err err = {0};
    gf_session_start(&s, &o);
    cr_assert_eq(gf_session_data_options(&s, &data, &err), GF_OK, "%s", err.text);
    cr_expect(!data.tokenizer && !data.chat && data.vocab == 97, "token data can still be used");
    cr_expect_eq(gf_session_tokenizer(&s, true, &err), GF_EINPUT);
    cr_expect(strstr(err.text, "tokenizer.json"), "%s", err.text);
    gf_session_close(&s);
}

Test(session, templates)
{
    char *dir = scratch_make(), *model = small_model(dir);
    char *good = small_file(dir, "good.jinja", "{{ messages[0]['content'] }}!");
    char *bad = small_file(dir, "bad.jinja", "one\n{% for x in %}");
    char *chat =
        small_file(dir, "chat.json", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}");
    gf_options o = {.model = model, .chat_template = good};
    gf_session s;
    gf_err err = {0};
    cJSON *root;
    const cJSON *messages, *tools;
    gf_buf text = {0};
    gf_tokens ids = {0};
    gf_session_start(&s, &o);
    cr_assert_eq(gf_session_conversation(&root, &messages, &tools, chat, &err), GF_OK);
    cr_assert_eq(gf_session_render(&s, messages, tools, true, &text, &ids, &err), GF_OK, "%s",
                 err.text);
    cr_expect_str_eq(text.data, "a!");
    cr_expect(ids.count == 2 && ids.id[0] == 5 + 'a' - '!' && ids.id[1] == 5);
    gf_session_close(&s);

    o.chat_template = bad;
    gf_session_start(&s, &o);
    cr_expect_eq(gf_session_template(&s, false, &err), GF_EINPUT);
    cr_expect(strstr(err.text, "bad.jinja:2"), "%s", err.text);
    gf_session_close(&s);
    cJSON_Delete(root);
    gf_buf_free(&text);
    gf_tokens_free(&ids);
    free(good);
    free(bad);
    free(chat);
    free(model);
    scratch_remove(dir);
}

Test(session, conversations_of_the_wrong_kind)
{
    static const char *const wrong[] = {"",
                                        "[]",
                                        "{}",
                                        "3",
                                        "{\"messages\":3}",
                                        "[\"hi\"]",
                                        "{\"messages\":[]}",
                                        "{\"messages\":[1]}",
                                        "[{}"};
    char *dir = scratch_make();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *path = small_file(dir, "c.json", wrong[i]);
        cJSON *root;
        const cJSON *messages, *tools;
        gf_err err = {0};
        cr_expect_eq(gf_session_conversation(&root, &messages, &tools, path, &err), GF_EINPUT, "%s",
                     wrong[i]);
        cr_expect(strstr(err.text, path), "%s", err.text);
        cJSON_Delete(root);
        free(path);
    }
    scratch_remove(dir);
}

Test(session, memory_and_precision)
{
    gf_options o = {.memory_limit = 12345};
    const gf_session with = {.o = &o};
    cr_expect_eq(gf_session_limit(&with), 12345);
    o.memory_limit = 0;
    cr_expect(gf_session_limit(&with) > 1 << 20, "what is free");
    cr_expect_eq(gf_session_precision(&with), GF_F32, "a CPU's default");
    o.precision = GF_PRECISION_BF16;
    cr_expect_eq(gf_session_precision(&with), GF_BF16);

    gf_options small = {.model = SMALL_CASE "/model", .memory_limit = 4096, .threads = 1};
    gf_session s;
    gf_err err = {0};
    gf_session_start(&s, &small);
    cr_expect_eq(gf_session_model(&s, GF_USE_EVAL, 16, 0, &err), GF_EFIT);
    gf_session_close(&s);
}
