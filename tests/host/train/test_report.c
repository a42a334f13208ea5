/* test_report.c - JSON that no page mistakes for its own; a page that is whole. */
#include "train/report.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "support/scratch.h"

Test(report, escape)
{
    static const char json[] = "{\"a\":\"</script>&<!--\u2028\u2029\u20ac\xC3\xA9\"}";
    gf_buf out = {0};
    cJSON *a = NULL, *b = NULL;
    cr_assert_eq(gf_report_escape(&out, json, sizeof json - 1, NULL), GF_OK);
    cr_expect_eq(strcspn(out.data, "<>&"), out.len);
    cr_expect_null(strstr(out.data, "\u2028"));
    cr_expect_not_null(strstr(out.data, "\u20ac\xC3\xA9"));
    cr_assert_eq(gf_json_parse(&a, json, sizeof json - 1, "before", 1, NULL), GF_OK);
    cr_assert_eq(gf_json_parse(&b, out.data, out.len, "after", 1, NULL), GF_OK);
    cr_expect(cJSON_Compare(a, b, true));
    cJSON_Delete(a);
    cJSON_Delete(b);
    gf_buf_free(&out);
}

Test(report, a_page)
{
    static const char lines[] = "{\"step\":0,\"index\":0,\"prompt\":\"<i>\",\"answer\":\"\"}\n"
                                "{\"step\":1,\"index\":0,\"prompt\":\"<i>\",\"answer\":\"x\"}\n";
    const char *samples = scratch_write("samples.jsonl", lines, sizeof lines - 1);
    const char *path = scratch_path("report.html");
    const gf_plan plan = {.row_tokens = 64, .part = {1, 2, 3, 4}};
    const gf_arena arena = {0};
    const gf_curves curves = {0};
    const gf_report r = {.state = "done",
                         .step = 1,
                         .total = 1,
                         .facts = "\"given\":[]",
                         .plan = &plan,
                         .arena = &arena,
                         .curves = &curves,
                         .samples = samples};
    gf_err err = {0};
    char *page;
    size_t size;
    cJSON *data = NULL;
    cr_assert_eq(gf_report_write(&r, path, &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_file_read(path, &page, &size, &err), GF_OK);
    cr_expect_eq(strncmp(page, "<!doctype html>", 15), 0);
    cr_expect_null(strstr(page, "@DATA@"));
    cr_expect_null(strstr(page, "<i>"));
    cr_expect_null(strstr(page, "http://www.w3.org/1999"));      /* nothing is fetched ... */
    for (const char *at = page; (at = strstr(at, "http")); at++) /* ... but SVG's own name */
        cr_expect(!strncmp(at, "http-equiv", 10) || !strncmp(at, "http://www.w3.org/2000/svg", 26));
    const char *begin = strstr(page, "id=\"data\">") + 10, *end = strstr(begin, "</script>");
    cr_assert_eq(gf_json_parse(&data, begin, (size_t)(end - begin), "data", 1, &err), GF_OK, "%s",
                 err.text);
    cr_expect_eq(cJSON_GetArraySize(cJSON_GetObjectItem(data, "samples")), 2);
    cr_expect_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(data, "state")), "done");
    cJSON_Delete(data);
    free(page);
}

Test(report, what_is_not_json_is_refused)
{
    static const char line[] = "{\"step\":0\n";
    const gf_plan plan = {0};
    const gf_arena arena = {0};
    const gf_curves curves = {0};
    const gf_report r = {.state = "done",
                         .facts = "\"a\":1",
                         .plan = &plan,
                         .arena = &arena,
                         .curves = &curves,
                         .samples = scratch_write("bad.jsonl", line, sizeof line - 1)};
    gf_err err = {0};
    cr_expect_eq(gf_report_write(&r, scratch_path("bad.html"), &err), GF_EINPUT);
    cr_expect(strstr(err.text, "bad.jsonl"), "%s", err.text);
    cr_expect(!gf_file_exists(scratch_path("bad.html")));
}
