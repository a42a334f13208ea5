/* Conversations with tools by the templates that models ship: rendered as transformers renders them
 * (golden/make_tools.py), and refused where the template leaves out what was given. */
#include "dataset_bed.h"

static char *template_text(const char *name)
{
    char path[512], *text = NULL;
    size_t size;
    gf_err err = {0};
    snprintf(path, sizeof path, GRAFT_SHARED "/templates/%s.jinja", name);
    return gf_file_read(path, &text, &size, &err) == GF_OK ? text : NULL;
}

static const char *string_of(const cJSON *o, const char *key)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));
}

static void check(const cJSON *want, const cJSON *record, const char *chat)
{
    gf_err err = {0};
    gf_example e = {0};
    gf_buf text = {0};
    gf_template *t = template(chat);
    const char *name = string_of(want, "template"), *which = string_of(want, "case");
    const gf_data_options opt = {.tokenizer = tokenizer(), .chat = t, .vocab = 263};
    const gf_status st = gf_dataset_example(&e, &text, record, &opt, NULL, &err);
    if (string_of(want, "text") != NULL) {
        cr_expect_eq(st, GF_OK, "%s %s: %s", name, which, err.text);
        cr_expect_str_eq(text.data == NULL ? "" : text.data, string_of(want, "text"), "%s %s", name,
                         which);
    } else {
        cr_expect_eq(st, GF_EINPUT, "%s %s", name, which);
        const char *said = string_of(want, "error");
        if (said == NULL)
            said = "not in what the chat template renders";
        cr_expect(strstr(err.text, said) != NULL, "%s %s: %s", name, which, err.text);
    }
    free(e.ids);
    free(e.labels);
    gf_buf_free(&text);
    gf_template_free(t);
}

Test(tool_templates, as_transformers_renders_them)
{
    cJSON *root = NULL;
    gf_err err = {0};
    const cJSON *want;
    int seen = 0;
    setenv("SOURCE_DATE_EPOCH", "1768435200", 1); /* the reference's day */
    cr_assert_eq(gf_json_read(&root, GRAFT_TESTS "/golden/tools.json", &err), GF_OK, "%s",
                 err.text);
    cJSON_ArrayForEach(want, cJSON_GetObjectItem(root, "renderings"))
    {
        char *chat = template_text(string_of(want, "template"));
        if (chat == NULL)
            continue;
        check(want,
              cJSON_GetObjectItem(cJSON_GetObjectItem(root, "records"), string_of(want, "case")),
              chat);
        free(chat);
        seen++;
    }
    cJSON_Delete(root);
    close_tokenizer();
    if (seen == 0)
        cr_skip_test("no templates in %s/templates", GRAFT_SHARED);
}
