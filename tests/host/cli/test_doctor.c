/* test_doctor.c - what is found is told, what is missing comes with the way to get it. */
#include "cli/doctor.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "support/program.h"

static const gf_finding *find(const gf_findings *f, const char *name)
{
    for (int i = 0; i < f->count; i++)
        if (!strcmp(f->item[i].name, name))
            return &f->item[i];
    return NULL;
}

Test(doctor, this_machine)
{
    static const char *const always[] = {
        "processor", "instruction sets", "disk",   "gpu", "mpi", "cjson",
        "pcre2",     "utf8proc",         "openssl"};
    gf_findings f;
    gf_doctor_look(&f, ".");
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        cr_expect_not_null(find(&f, always[i]), "%s", always[i]);
    int lacking = 0;
    for (int i = 0; i < f.count; i++) {
        cr_expect_eq(f.item[i].how == NULL, f.item[i].state == GF_FOUND, "%s", f.item[i].name);
        cr_expect(f.item[i].text[0], "%s", f.item[i].name);
        lacking += f.item[i].state == GF_LACKING;
    }
    cr_expect_eq(f.lacking, lacking);
    if (!getenv("PTXVM_DEVICES"))
        return;
    cr_expect_eq(find(&f, "gpu")->state, GF_FOUND, "%s", find(&f, "gpu")->text);
    cr_expect_eq(find(&f, "cublaslt")->state, GF_FOUND);
    cr_expect_str_eq(find(&f, "nvml")->text, "13.590.44.01");
}

Test(doctor, no_such_folder)
{
    gf_findings f;
    gf_doctor_look(&f, "/no/such/folder");
    cr_expect_eq(find(&f, "disk")->state, GF_LACKING);
    cr_expect(strstr(find(&f, "disk")->text, "/no/such/folder"));
    cr_expect_geq(f.lacking, 1);
}

Test(doctor, text_and_json)
{
    gf_findings f = {.count = 3, .lacking = 1};
    f.item[0] = (gf_finding){"processor", GF_FOUND, "A \"fast\" one", NULL};
    f.item[1] = (gf_finding){"nccl", GF_OPTIONAL, "not found", "apt install libnccl2"};
    f.item[2] = (gf_finding){"cublaslt", GF_LACKING, "not found", "apt install it"};
    gf_buf text = {0}, json = {0};
    cJSON *root = NULL;
    cr_assert_eq(gf_doctor_text(&f, &text, NULL), GF_OK);
    cr_expect_str_eq(text.data, "ok        processor         A \"fast\" one\n"
                                "optional  nccl              not found\n"
                                "                         -> apt install libnccl2\n"
                                "missing   cublaslt          not found\n"
                                "                         -> apt install it\n");
    cr_assert_eq(gf_doctor_json(&f, &json, NULL), GF_OK);
    cr_assert_eq(gf_json_parse(&root, json.data, json.len, "json", 1, NULL), GF_OK);
    cr_expect(cJSON_IsFalse(cJSON_GetObjectItem(root, "ok")));
    const cJSON *second = cJSON_GetArrayItem(cJSON_GetObjectItem(root, "findings"), 1);
    cr_expect_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(second, "state")), "optional");
    cJSON_Delete(root);
    gf_buf_free(&text);
    gf_buf_free(&json);
}

/* 0 if nothing is missing, else 1; a folder that nobody may write into is missing something. */
Test(doctor, exit_codes)
{
    char *text;
    cJSON *root = NULL;
    const int code = run_stdout(&text, GRAFT_BIN " doctor --json");
    cr_expect_eq(gf_json_parse(&root, text, strlen(text), "json", 1, NULL), GF_OK);
    cr_expect_eq(code, cJSON_IsTrue(cJSON_GetObjectItem(root, "ok")) ? 0 : 1);
    cJSON_Delete(root);
    free(text);
    cr_expect_eq(run(&text, "cd /proc && " GRAFT_BIN " doctor"), 1);
    cr_expect(strstr(text, "missing   disk"), "%s", text);
    cr_expect(strstr(text, " missing here"), "%s", text);
    free(text);
}
