/* test_config_quant.c - quantization_config: what is read and what is refused by name. */
#include "model/config.h"

#include <criterion/criterion.h>
#include <string.h>

Test(config_quant, methods)
{
    static const struct {
        const char *json, *says; /* NULL: taken */
    } table[] = {
        {"{\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":true,\"load_in_8bit\":false,"
         "\"bnb_4bit_quant_type\":\"nf4\",\"bnb_4bit_use_double_quant\":true}",
         NULL},
        {"{\"load_in_4bit\":true}", NULL},
        {"{\"quant_method\":\"bitsandbytes\",\"load_in_8bit\":true}", NULL},
        {"{\"quant_method\":\"fp8\",\"weight_block_size\":[128,128]}", "quant_method fp8"},
        {"{\"quant_method\":\"gptq\",\"bits\":4}", "quant_method gptq"},
        {"{\"quant_method\":\"awq\"}", "original weights or a GGUF"},
        {"{\"quant_method\":\"mxfp4\"}", "quant_method mxfp4"},
        {"{}", "quant_method ?"},
        {"{\"quant_method\":7}", "want a string"},
        {"{\"quant_method\":\"bitsandbytes\"}", "either load_in_4bit or load_in_8bit"},
        {"{\"load_in_4bit\":true,\"load_in_8bit\":true}", "either"},
        {"{\"load_in_4bit\":1}", "load_in_4bit"},
        {"{\"load_in_4bit\":true,\"bnb_4bit_quant_type\":\"int4\"}", "bnb_4bit_quant_type int4"},
        {"[]", "want an object"},
        {"true", "want an object"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        cJSON *json = NULL;
        gf_err err = {0};
        cr_assert_eq(gf_json_parse(&json, table[i].json, strlen(table[i].json), "c", 1, &err),
                     GF_OK);
        const gf_status st = gf_config_quantization(json, "config.json", &err);
        cr_expect_eq(st == GF_OK, table[i].says == NULL, "%s: %s", table[i].json, err.text);
        cr_expect(!table[i].says || strstr(err.text, table[i].says), "%s: %s", table[i].json,
                  err.text);
        cJSON_Delete(json);
    }
}
