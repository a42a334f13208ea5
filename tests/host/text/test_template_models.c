/* The templates that models ship, against the reference implementation's renderings. */
#include "base/file.h"
#include "text/template.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_case(const char *name, const gf_template *t, const cJSON *c)
{
    gf_err err = {0};
    gf_buf out = {0};
    const gf_template_vars vars = {
        .messages = cJSON_GetObjectItemCaseSensitive(c, "messages"),
        .bos_token = "<s>",
        .eos_token = "</s>",
        .add_generation_prompt =
            cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(c, "add_generation_prompt")),
    };
    const cJSON *text = cJSON_GetObjectItemCaseSensitive(c, "text");
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(c, "error");
    const char *which = cJSON_GetObjectItemCaseSensitive(c, "case")->valuestring;
    const gf_status st = gf_template_render(t, &vars, &out, &err);
    if (text != NULL) {
        cr_expect_eq(st, GF_OK, "%s %s: %s", name, which, err.text);
        cr_expect_str_eq(out.data == NULL ? "" : out.data, text->valuestring, "%s %s", name, which);
    } else {
        cr_expect_eq(st, GF_EINPUT, "%s %s", name, which);
        cr_expect(strstr(err.text, error->valuestring) != NULL, "%s %s: %s", name, which, err.text);
    }
    gf_buf_free(&out);
}

static void check_template(const char *name)
{
    char path[512];
    gf_err err = {0};
    char *text = NULL;
    size_t size;
    gf_template *t = NULL;
    cJSON *cases = NULL;
    snprintf(path, sizeof path, GRAFT_SHARED "/templates/%s.jinja", name);
    cr_assert_eq(gf_file_read(path, &text, &size, &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_template_parse(&t, text, size, name, &err), GF_OK, "%s", err.text);
    snprintf(path, sizeof path, GRAFT_SHARED "/templates/%s.json", name);
    cr_assert_eq(gf_json_read(&cases, path, &err), GF_OK, "%s", err.text);
    const cJSON *c;
    cJSON_ArrayForEach(c, cases)
    {
        check_case(name, t, c);
    }
    cJSON_Delete(cases);
    gf_template_free(t);
    free(text);
}

Test(template_models, renderings)
{
    DIR *d = opendir(GRAFT_SHARED "/templates");
    if (d == NULL)
        cr_skip_test("no %s/templates here", GRAFT_SHARED);
    setenv("SOURCE_DATE_EPOCH", "1768435200", 1); /* 2026-01-15, the references' date */
    int seen = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        const char *end = strstr(e->d_name, ".jinja");
        if (end == NULL)
            continue;
        char name[256];
        snprintf(name, sizeof name, "%.*s", (int)(end - e->d_name), e->d_name);
        check_template(name);
        seen++;
    }
    closedir(d);
    cr_expect_geq(seen, 15);
}
