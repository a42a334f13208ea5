/* Small templates against what Jinja2 makes of them (tests/golden/make_templates.py),
 * and bounds. */
#include "base/file.h"
#include "text/template.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static gf_status run(const char *source, size_t n, const gf_template_vars *vars, gf_buf *out,
                     gf_err *err)
{
    gf_template *t = NULL;
    TRY(gf_template_parse(&t, source, n, "golden", err));
    const gf_status st = gf_template_render(t, vars, out, err);
    gf_template_free(t);
    return st;
}

static void check_case(const cJSON *c, const gf_template_vars *vars)
{
    const char *source = cJSON_GetObjectItemCaseSensitive(c, "template")->valuestring;
    const cJSON *text = cJSON_GetObjectItemCaseSensitive(c, "text");
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(c, "error");
    gf_err err = {0};
    gf_buf out = {0};
    const gf_status st = run(source, strlen(source), vars, &out, &err);
    if (text != NULL) {
        cr_expect_eq(st, GF_OK, "%s\n  %s", source, err.text);
        cr_expect_str_eq(out.data == NULL ? "" : out.data, text->valuestring, "%s", source);
    } else {
        cr_expect_eq(st, GF_EINPUT, "%s gives no error but %s\n  %s", source,
                     out.data == NULL ? "" : out.data, error->valuestring);
        cr_expect_eq(strncmp(err.text, "golden:", 7), 0, "%s: %s", source, err.text);
    }
    gf_buf_free(&out);
}

Test(template, golden)
{
    gf_err err = {0};
    char *text = NULL;
    size_t size;
    cJSON *all = NULL;
    setenv("SOURCE_DATE_EPOCH", "1768435200", 1); /* the script's date */
    cr_assert_eq(gf_file_read(GRAFT_TESTS "/golden/templates.json", &text, &size, &err), GF_OK,
                 "%s", err.text);
    cr_assert_eq(gf_json_parse(&all, text, size, "templates.json", 1, &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_template_numbers(all, text, size, &err), GF_OK, "%s", err.text);
    const cJSON *vars = cJSON_GetObjectItemCaseSensitive(all, "vars");
    const gf_template_vars v = {.messages = cJSON_GetObjectItemCaseSensitive(vars, "messages"),
                                .extra = vars};
    const cJSON *c;
    int count = 0;
    cJSON_ArrayForEach(c, cJSON_GetObjectItemCaseSensitive(all, "cases"))
    {
        check_case(c, &v);
        count++;
    }
    cr_expect_gt(count, 700);
    cJSON_Delete(all);
    free(text);
}

static void expect_error(const char *source, const char *what)
{
    gf_err err = {0};
    gf_buf out = {0};
    const gf_template_vars vars = {0};
    cr_expect_eq(run(source, strlen(source), &vars, &out, &err), GF_EINPUT, "%s", source);
    cr_expect(strstr(err.text, what) != NULL, "%.60s: %s", source, err.text);
    gf_buf_free(&out);
}

Test(template, errors_name_place)
{
    expect_error("a\n\n{{ raise_exception('no\tsystem role') }}", "golden:3: no\tsystem role");
    expect_error("{{ x.y }}", "golden:1: 'x' is undefined");
    expect_error("\n{{ messages[0].role }}", "golden:2: list object has no element 0");
    expect_error("{{ 1 + 'a' }}", "unsupported operand type(s) for +: 'int' and 'str'");
    expect_error("{% if x %}\n{% for a in b %}", "golden:2: the block that begins in line 2");
    expect_error("{{ 9223372036854775807 + 1 }}", "64 bits");
    expect_error("{{ 9223372036854775808 }}", "64 bits");
    expect_error("{{ (-9223372036854775807 - 1) // -1 }}", "64 bits");
    expect_error("{{ 2 ** 64 }}", "64 bits");
    expect_error("{{ 'a' | shout }}", "no filter named 'shout'");
    expect_error("{% include 'x' %}", "not supported");
    expect_error("\xff", "UTF-8");
}

Test(template, bounds)
{
    expect_error(
        "{% set r = range(100000) %}{% for i in r %}{% for j in r %}{% endfor %}{% endfor %}",
        "10 million steps");
    expect_error("{{ 'aaaaaaaaaa' * 10000000 }}", "64 MiB");
    expect_error("{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(40) %}"
                 "{% set ns.s = ns.s + ns.s %}{% endfor %}",
                 "64 MiB");
    expect_error("{% for i in range(100000) %}{{ 'x' * 10000 }}{% endfor %}", "64 MiB");
    expect_error("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "200 deep");
    expect_error("{% set ns = namespace(l=[]) %}{% for i in range(100000) %}"
                 "{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}",
                 "too deeply");
    expect_error("{% set l = [] %}{% set _ = l.append(l) %}{{ l|tojson }}", "too deeply");
    expect_error("{% set l = [] %}{% set _ = l.append(l) %}{% set k = [] %}"
                 "{% set _ = k.append(k) %}{{ l == k }}",
                 "too deeply");
}

/* n times `open`, then `middle`, then n times `close`. */
static void expect_nested(const char *open, const char *middle, const char *close, int n)
{
    gf_buf b = {0};
    gf_err err = {0};
    for (int i = 0; i < n; i++)
        gf_buf_str(&b, open, &err);
    gf_buf_str(&b, middle, &err);
    for (int i = 0; i < n; i++)
        gf_buf_str(&b, close, &err);
    gf_buf out = {0};
    const gf_template_vars vars = {0};
    cr_expect_eq(run(b.data, b.len, &vars, &out, &err), GF_EINPUT, "%s x %d", open, n);
    gf_buf_free(&b);
    gf_buf_free(&out);
}

Test(template, nesting)
{
    const int n = 50000;
    expect_nested("{% if 1 %}", "", "{% endif %}", n);
    expect_nested("{{ ", "((((((", "", n);
    gf_err err = {0};
    gf_buf b = {0};
    static const char *const chains[] = {"not ", "-", "[", "(", "{1:", "a if b else ", "x.y + "};
    for (size_t k = 0; k < sizeof chains / sizeof chains[0]; k++) {
        b.len = 0;
        gf_buf_str(&b, "{{ ", &err);
        for (int i = 0; i < n; i++)
            gf_buf_str(&b, chains[k], &err);
        gf_buf_str(&b, "1 }}", &err);
        gf_buf out = {0};
        const gf_template_vars vars = {0};
        gf_err e = {0};
        cr_expect_eq(run(b.data, b.len, &vars, &out, &e), GF_EINPUT, "%s", chains[k]);
        gf_buf_free(&out);
    }
    gf_buf_free(&b);
}

/* What the sandbox of the reference refuses but templates in use do: a list that grows. */
Test(template, lists_grow)
{
    gf_err err = {0};
    gf_buf out = {0};
    const gf_template_vars vars = {0};
    const char *s = "{% set l = [1] %}{% set _ = l.append(2) %}{% set _ = l.insert(0, 0) %}"
                    "{{ l }}{{ l.pop() }}{{ l.pop(0) }}{{ l }}{% set d = {'a': 1} %}"
                    "{{ d.pop('a') }}{{ d }}";
    cr_assert_eq(run(s, strlen(s), &vars, &out, &err), GF_OK, "%s", err.text);
    cr_expect_str_eq(out.data, "[0, 1, 2]20[1]1{}");
    gf_buf_free(&out);
}

Test(template, first_messages)
{
    gf_err err = {0};
    cJSON *m = NULL;
    const char *json = "[{\"role\":\"a\"},{\"role\":\"b\"}]", *s = "{% for m in messages %}"
                                                                   "{{ m.role }}{% endfor %}.";
    cr_assert_eq(gf_json_parse(&m, json, strlen(json), "m", 1, &err), GF_OK);
    static const char *const want[] = {".", "ab.", "a.", "ab."};
    for (int64_t n = -1; n <= 2; n++) {
        gf_buf out = {0};
        const gf_template_vars vars = {.messages = m, .first_messages = n};
        cr_assert_eq(run(s, strlen(s), &vars, &out, &err), GF_OK, "%s", err.text);
        cr_expect_str_eq(out.data, want[n + 1]);
        gf_buf_free(&out);
    }
    cJSON_Delete(m);
}
