/* test_bad_records.c - records that no example can be made of, twenty of each format and more: one
 * line that names file and line, exit code 2. */
#include "support/program.h"
#include "support/small_model.h"

#include "graft/base.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *dir, *model;

static void start(void)
{
    dir = scratch_make();
    model = small_model(dir);
}

static void stop(void)
{
    free(model);
    scratch_remove(dir);
}

TestSuite(bad_records, .init = start, .fini = stop);

/* Each record stands on line 2, after a good one of the format. */
static void check(const char *format, const char *good, const char *const *bad, int count)
{
    int wrong = 0;
    cr_assert_geq(count, 20);
    for (int i = 0; i < count; i++) {
        char *text, *lines = gf_format(NULL, "%s\n%s\n", good, bad[i]);
        char *path = small_file(dir, "d.jsonl", lines);
        const int code = run(&text, GRAFT_BIN " data --model %s --data %s --data-format %s", model,
                             path, format);
        const bool ok = code == 2 && strstr(text, "d.jsonl:2:") &&
                        strchr(text, '\n') == text + strlen(text) - 1;
        if (!ok || getenv("GRAFT_SHOW_REFUSALS"))
            fprintf(stderr, "%s%s: %s\n  exit code %d: %s",
                    ok ? "" : "NOT REFUSED AS IT SHOULD: ", format, bad[i], code, text);
        wrong += !ok;
        free(text);
        free(lines);
        free(path);
    }
    cr_assert_eq(wrong, 0, "%d of %d", wrong, count);
}

#define CHECK(format, good, ...)                                                                   \
    do {                                                                                           \
        static const char *const bad_[] = {__VA_ARGS__};                                           \
        check(format, good, bad_, (int)(sizeof bad_ / sizeof bad_[0]));                            \
    } while (0)

/* What is wrong in JSON itself is so in every format. */
#define NOT_JSON                                                                                   \
    "{", "{\"a\":1} x", "{\"a\":1,\"a\":2}", "{'a':1}", "{\"a\":01}", "{\"a\":\"\\ud800\"}",       \
        "{\"a\":\"\\u0000\"}", "{\"a\":nul}", "{\"a\":\"b}"

#define U "{\"role\":\"user\",\"content\":\"q\"}"
#define A "{\"role\":\"assistant\",\"content\":\"a\"}"
#define M(x) "{\"messages\":[" x "]}"

Test(bad_records, messages)
{
    CHECK("messages", M(U "," A), NOT_JSON, "{}", "7", "{\"messages\":7}", M(""), M("7"), M(U),
          M("{\"content\":\"q\"}," A), M("{\"role\":7,\"content\":\"q\"}," A),
          M("{\"role\":\"user\"}," A), M("{\"role\":\"user\",\"content\":7}," A),
          M("{\"role\":\"user\",\"content\":[7]}," A),
          M("{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}," A),
          M(U ",{\"role\":\"assistant\",\"content\":\"a\",\"weight\":0.5}"),
          M(U ",{\"role\":\"assistant\",\"content\":\"a\",\"weight\":0}"),
          M(U ",{\"role\":\"assistant\",\"content\":\"a\",\"weight\":1,\"loss\":false}"),
          M(U ",{\"role\":\"assistant\",\"content\":null}"),
          M(U ",{\"role\":\"assistant\",\"content\":\"a\",\"tool_calls\":{}}"),
          M(U ",{\"role\":\"assistant\",\"content\":\"a\",\"tool_calls\":[7]}"),
          M(U ",{\"role\":\"assistant\",\"content\":\"a\",\"tool_calls\":[{\"function\":{\"name\":"
              "\"f\",\"arguments\":{}}}]}"),
          "{\"messages\":[" U "," A "],\"tools\":{}}",
          "{\"messages\":[" U "," A "],\"tools\":\"[\"}",
          "{\"messages\":[" U "," A "],\"tools\":[{\"name\":\"f\"}]}",
          "{\"messages\":[" U "," A "],\"tools\":[7]}",
          "{\"messages\":[" U "," A "],\"chat_template_kwargs\":7}");
}

#define H "{\"from\":\"human\",\"value\":\"q\"}"
#define G "{\"from\":\"gpt\",\"value\":\"a\"}"
#define S(x) "{\"conversations\":[" x "]}"
#define F(value) S(H ",{\"from\":\"function_call\",\"value\":" value "}")

Test(bad_records, sharegpt)
{
    CHECK("sharegpt", S(H "," G), NOT_JSON, "{}", "7", "[]", "{\"conversations\":7}", S(""), S("7"),
          S(H), S("{\"value\":\"q\"}," G), S("{\"from\":\"human\"}," G),
          S("{\"from\":7,\"value\":\"q\"}," G), S("{\"from\":\"alien\",\"value\":\"q\"}," G),
          S("{\"from\":\"human\",\"value\":7}," G), S("{\"from\":\"human\",\"value\":null}," G),
          S(H ",{\"from\":\"gpt\",\"value\":\"a\",\"weight\":2}"),
          "{\"system\":7,\"conversations\":[" H "," G "]}",
          "{\"tools\":\"{\",\"conversations\":[" H "," G "]}",
          "{\"tools\":[{\"name\":\"f\"}],\"conversations\":[" H "," G "]}", F("\"call f\""),
          F("\"{}\""), F("\"[]\""), F("7"), F("null"), F("\"{\\\"name\\\":\\\"f\\\"}\""));
}

#define P(i, o) "{\"instruction\":" i ",\"output\":" o "}"

Test(bad_records, alpaca)
{
    CHECK("alpaca", P("\"i\"", "\"o\""), NOT_JSON, "{}", "7", "[]", "{\"instruction\":\"i\"}",
          "{\"output\":\"o\"}", P("7", "\"o\""), P("null", "\"o\""), P("\"i\"", "7"),
          P("\"i\"", "null"), P("\"i\"", "[\"o\"]"), P("\"\"", "\"o\""),
          "{\"instruction\":\"i\",\"input\":7,\"output\":\"o\"}",
          "{\"instruction\":\"i\",\"system\":7,\"output\":\"o\"}",
          "{\"instruction\":\"i\",\"history\":7,\"output\":\"o\"}",
          "{\"instruction\":\"i\",\"history\":[7],\"output\":\"o\"}",
          "{\"instruction\":\"i\",\"history\":[[\"a\"]],\"output\":\"o\"}",
          "{\"instruction\":\"i\",\"history\":[[\"a\",7]],\"output\":\"o\"}",
          "{\"instruction\":\"i\",\"history\":[{\"a\":\"b\",\"c\":\"d\"}],\"output\":\"o\"}");
}

#define C(p, c) "{\"prompt\":" p ",\"completion\":" c "}"

Test(bad_records, prompt_completion)
{
    CHECK("prompt-completion", C("\"p\"", "\"c\""), NOT_JSON, "{}", "7", "[]", "{\"prompt\":\"p\"}",
          "{\"completion\":\"c\"}", C("7", "\"c\""), C("\"p\"", "7"), C("null", "\"c\""),
          C("\"p\"", "null"), C("[" U "]", "\"c\""), C("\"p\"", "[" A "]"), C("[]", "[" A "]"),
          C("[" U "]", "[]"), C("[" U "]", "[" U "]"), C("[7]", "[" A "]"), C("[" U "]", "[7]"),
          C("[" U "]", "[{\"role\":\"assistant\"}]"), C("{\"role\":\"user\"}", "[" A "]"));
}

#define T(x) "{\"text\":" x "}"

Test(bad_records, text)
{
    CHECK("text", T("\"a b\""), NOT_JSON, "{}", "7", "[]", "\"a\"", T("7"), T("null"), T("true"),
          T("[]"), T("[\"a\"]"), T("{}"), "{\"Text\":\"a\"}", T("\"a\\x\""), T("\"\\ud83d\""),
          "{\"text\" \"a\"}");
}

Test(bad_records, guanaco)
{
    CHECK("guanaco", T("\"### Human: q### Assistant: a\""), NOT_JSON, "{}", "7", "[]", "\"a\"",
          T("7"), T("null"), T("true"), T("[]"), T("[\"### Human: q\"]"), T("{}"),
          "{\"Text\":\"a\"}", T("\"### Human:\\x\""), T("\"\\udc00\""), "{\"text\" \"a\"}");
}

#define I(x) "{\"input_ids\":" x "}"
#define L(x) "{\"input_ids\":[1,2],\"labels\":" x "}"

Test(bad_records, tokens)
{
    CHECK("tokens", I("[1,2]"), NOT_JSON, "{}", "7", I("7"), I("\"1\""), I("[]"), I("[1]"),
          I("[1,97]"), I("[1,-1]"), I("[1,2.5]"), I("[1,1e30]"), I("[1,\"2\"]"), I("[1,null]"),
          L("7"), L("[1]"), L("[1,97]"), L("[1,-1]"), L("[1,\"2\"]"), L("[1,-100]"), L("[1,2,3]"),
          "{\"input_ids\":[1,2],\"attention_mask\":[1,0]}",
          "{\"input_ids\":[1,2],\"completion_mask\":[0,1]}");
}
