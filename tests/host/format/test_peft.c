/* test_peft.c - PEFT's own configs read and written back to the byte, its matching rules, and what
 * graft refuses. */
#include "format/peft.h"
#include "base/file.h"
#include "support/scratch.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* A config with `keys` beside what every one needs. */
static gf_status read_text(gf_peft_config *c, const char *keys, gf_err *err)
{
    char text[2048];
    const int n =
        snprintf(text, sizeof text,
                 "{\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\",\"v_proj\"]%s%s}",
                 *keys ? "," : "", keys);
    return gf_peft_read_config(c, scratch_write("adapter_config.json", text, (size_t)n), err);
}

static void must_read(gf_peft_config *c, const char *keys)
{
    gf_err err = {0};
    cr_assert_eq(read_text(c, keys, &err), GF_OK, "%s: %s", keys, err.text);
}

static bool match(const gf_peft_config *c, const char *module)
{
    bool yes = false;
    gf_err err = {0};
    cr_assert_eq(gf_peft_matches(&yes, c, module, &err), GF_OK, "%s", err.text);
    return yes;
}

Test(peft, defaults)
{
    gf_peft_config c;
    must_read(&c, "");
    cr_expect_eq(c.r, 8);
    cr_expect_eq(c.lora_alpha, 8.0);
    cr_expect_eq(c.lora_dropout, 0.0);
    cr_expect(!c.use_rslora);
    cr_expect_eq(c.targets, 2);
    cr_expect_str_eq(c.target[1], "v_proj");
    cr_expect_null(c.base_model);
    gf_peft_config_free(&c);
}

Test(peft, lists_match_whole_components)
{
    gf_peft_config c;
    must_read(&c, "\"exclude_modules\":[\"layers.1.self_attn.v_proj\"]");
    cr_expect(match(&c, "model.layers.0.self_attn.q_proj"));
    cr_expect(match(&c, "q_proj"));
    cr_expect(!match(&c, "model.layers.0.self_attn.xq_proj"));
    cr_expect(!match(&c, "model.layers.0.self_attn.q_proj.x"));
    cr_expect(!match(&c, "model.layers.0.self_attn.k_proj"));
    cr_expect(match(&c, "model.layers.0.self_attn.v_proj"));
    cr_expect(!match(&c, "model.layers.1.self_attn.v_proj"));
    cr_expect(match(&c, "model.layers.11.self_attn.v_proj"));
    gf_peft_config_free(&c);
}

Test(peft, layers)
{
    gf_peft_config c;
    must_read(&c, "\"layers_to_transform\":[0,12]");
    cr_expect(match(&c, "model.layers.0.self_attn.q_proj"));
    cr_expect(match(&c, "model.layers.12.self_attn.q_proj"));
    cr_expect(!match(&c, "model.layers.1.self_attn.q_proj"));
    cr_expect(!match(&c, "model.layers.1.experts.0.q_proj"), "the first number counts");
    cr_expect(!match(&c, "model.q_proj"));
    cr_expect(!match(&c, "layers.0.q_proj"), "PEFT wants a name before it");
    cr_expect(!match(&c, "model.layers.99999999999999999999.q_proj"));
    cr_expect(match(&c, "q_proj"), "a whole path is not asked for its layer");
    gf_peft_config_free(&c);
    must_read(&c, "\"layers_to_transform\":1,\"layers_pattern\":\"layers\"");
    cr_expect(match(&c, "model.layers.1.self_attn.q_proj"));
    cr_expect(!match(&c, "model.layers.0.self_attn.q_proj"));
    gf_peft_config_free(&c);
}

Test(peft, regex_matches_the_whole_path)
{
    gf_peft_config c = {.target_regex = (char *)(uintptr_t) "model\\.layers\\.(0|1)\\..*(q|v)_proj",
                        .exclude_regex = (char *)(uintptr_t) ".*\\.1\\..*q_proj"};
    cr_expect(match(&c, "model.layers.0.self_attn.q_proj"));
    cr_expect(!match(&c, "model.layers.0.self_attn.q_proj2"));
    cr_expect(!match(&c, "x.model.layers.0.self_attn.q_proj"));
    cr_expect(!match(&c, "model.layers.1.self_attn.q_proj"));
    cr_expect(match(&c, "model.layers.1.self_attn.v_proj"));
    c = (gf_peft_config){.target_regex = (char *)(uintptr_t) "a|ab"};
    cr_expect(match(&c, "ab"), "the match is extended to the end, as re.fullmatch does");
    c = (gf_peft_config){.target_regex = (char *)(uintptr_t) "all-linear"};
    cr_expect(match(&c, "model.layers.0.mlp.down_proj"));
    cr_expect(!match(&c, "lm_head"));
    cr_expect(!match(&c, "model.lm_head"));
}

Test(peft, bad_regexes)
{
    static const char *const bad[] = {
        "(", "[a", "*a", "a{2,1}", "(?<n>a)(?<n>b)", "(a+)+(a+)+(a+)+$", "(((a*)*)*)*[bd]"};
    const char *text = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac";
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const gf_peft_config c = {.target_regex = (char *)(uintptr_t)bad[i]};
        bool yes = true;
        gf_err err = {0};
        cr_expect_eq(gf_peft_matches(&yes, &c, text, &err), GF_EINPUT, "%s", bad[i]);
        cr_expect(!yes);
        cr_expect(strstr(err.text, bad[i]), "%s", err.text);
    }
}

Test(peft, ranks)
{
    gf_peft_config c;
    int64_t r;
    double scale;
    must_read(&c,
              "\"r\":4,\"lora_alpha\":6,\"rank_pattern\":{\"layers.0.self_attn.q_proj\":16,"
              "\"q_proj\":2,\"^v_proj\":3,\"(v|k)_proj\":5},\"alpha_pattern\":{\"k_proj\":2.5}");
    static const struct {
        const char *module;
        int64_t r;
        double scale;
    } want[] = {
        {"model.layers.0.self_attn.q_proj", 16, 6.0 / 16},
        {"model.layers.1.self_attn.q_proj", 2, 3},
        {"model.layers.1.self_attn.xq_proj", 4, 1.5},
        {"model.layers.0.self_attn.v_proj", 5, 6.0 / 5}, /* ^v_proj never matches inside a path */
        {"v_proj", 3, 2},
        {"model.layers.0.self_attn.k_proj", 5, 0.5},
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        cr_assert_eq(gf_peft_rank(&r, &scale, &c, want[i].module, NULL), GF_OK);
        cr_expect_eq(r, want[i].r, "%s", want[i].module);
        cr_expect_eq(scale, want[i].scale, "%s", want[i].module);
    }
    c.use_rslora = true;
    gf_peft_rank(&r, &scale, &c, "o_proj", NULL);
    cr_expect_eq(scale, 3.0);
    gf_peft_config_free(&c);
}

/* Every key that stands for another kind of adapter: off in what PEFT writes by default, refused by
 * name with anything else. */
Test(peft, other_kinds_of_adapters_are_named)
{
    static const char *const off[] = {"alora_invocation_tokens",
                                      "arrow_config",
                                      "corda_config",
                                      "ensure_weight_tying",
                                      "fan_in_fan_out",
                                      "kasa_config",
                                      "layer_replication",
                                      "loftq_config",
                                      "lora_bias",
                                      "lora_ga_config",
                                      "megatron_config",
                                      "monteclora_config",
                                      "target_parameters",
                                      "trainable_token_indices",
                                      "use_bdlora",
                                      "use_qalora",
                                      "velora_config"};
    static const char *const on[] = {"true", "[1]", "{\"a\":1}", "\"a\"", "3"};
    static const char *const none[] = {"null", "false", "[]", "{}", "\"\""};
    for (size_t i = 0; i < sizeof off / sizeof *off; i++)
        for (int k = 0; k < 5; k++) {
            gf_peft_config c;
            gf_err err = {0};
            char *text = gf_format(NULL, "\"%s\":%s", off[i], on[k]);
            cr_expect_eq(read_text(&c, text, &err), GF_EMISSING, "%s: %s", text, err.text);
            cr_expect(strstr(err.text, off[i]), "%s: %s", text, err.text);
            free(text);
            text = gf_format(NULL, "\"%s\":%s", off[i], none[k]);
            cr_expect_eq(read_text(&c, text, &err), GF_OK, "%s: %s", text, err.text);
            gf_peft_config_free(&c);
            free(text);
        }
}

Test(peft, refuses)
{
    static const struct {
        const char *keys;
        gf_status status;
        const char *says;
    } bad[] = {
        {"\"use_dora\":1", GF_EINPUT, "use_dora"},
        {"\"bias\":\"all\"", GF_EMISSING, "bias: \"all\""},
        {"\"modules_to_save\":\"lm_head\"", GF_EINPUT, "modules_to_save: want a list"},
        {"\"modules_to_save\":[1]", GF_EINPUT, "modules_to_save"},
        {"\"fan_in_fan_out\":true", GF_EMISSING, "fan_in_fan_out"},
        {"\"lora_bias\":true", GF_EMISSING, "lora_bias"},
        {"\"init_lora_weights\":\"pissa\"", GF_EMISSING, "pissa"},
        {"\"layers_pattern\":\"h\"", GF_EMISSING, "layers_pattern"},
        {"\"layers_pattern\":[\"h\"]", GF_EMISSING, "layers_pattern"},
        {"\"some_new_thing\":1", GF_EMISSING, "some_new_thing: 1"},
        {"\"loftq_config\":{\"bits\":4}", GF_EMISSING, "loftq_config"},
        {"\"r\":0", GF_EINPUT, "r: "},
        {"\"r\":2.5", GF_EINPUT, "r: "},
        {"\"r\":\"8\"", GF_EINPUT, "r: "},
        {"\"lora_alpha\":\"8\"", GF_EINPUT, "lora_alpha"},
        {"\"lora_alpha\":1e999", GF_EINPUT, "lora_alpha"},
        {"\"lora_dropout\":1", GF_EINPUT, "lora_dropout"},
        {"\"lora_dropout\":-0.1", GF_EINPUT, "lora_dropout"},
        {"\"use_rslora\":1", GF_EINPUT, "use_rslora"},
        {"\"exclude_modules\":[1]", GF_EINPUT, "exclude_modules"},
        {"\"exclude_modules\":{}", GF_EINPUT, "exclude_modules"},
        {"\"layers_to_transform\":[-1]", GF_EINPUT, "layers_to_transform"},
        {"\"layers_to_transform\":[1.5]", GF_EINPUT, "layers_to_transform"},
        {"\"layers_to_transform\":\"1\"", GF_EINPUT, "layers_to_transform"},
        {"\"rank_pattern\":[]", GF_EINPUT, "rank_pattern"},
        {"\"rank_pattern\":{\"a\":null}", GF_EINPUT, "a: "},
        {"\"rank_pattern\":{\"a\":0}", GF_EINPUT, "a: "},
        {"\"alpha_pattern\":{\"a\":\"1\"}", GF_EINPUT, "a: "},
        {"\"base_model_name_or_path\":1", GF_EINPUT, "base_model_name_or_path"},
        {"\"r\":1,\"r\":2", GF_EINPUT, "twice"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        gf_peft_config c;
        gf_err err = {0};
        cr_expect_eq(read_text(&c, bad[i].keys, &err), bad[i].status, "%s", bad[i].keys);
        cr_expect(strstr(err.text, bad[i].says), "%s: %s", bad[i].keys, err.text);
        cr_expect(strstr(err.text, "adapter_config.json"), "%s", err.text);
    }
    static const char *const whole[] = {
        "[]",
        "{}",
        "{\"peft_type\":\"lora\",\"target_modules\":[\"a\"]}",
        "{\"peft_type\":\"IA3\",\"target_modules\":[\"a\"]}",
        "{\"peft_type\":\"LORA\"}",
        "{\"peft_type\":\"LORA\",\"target_modules\":[]}",
        "{\"peft_type\":\"LORA\",\"target_modules\":null}",
        "{\"peft_type\":\"LORA\",\"target_modules\":\"a.*\",\"layers_to_transform\":[1]}",
    };
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        gf_peft_config c;
        gf_err err = {0};
        const char *path = scratch_write("x.json", whole[i], strlen(whole[i]));
        cr_expect_neq(gf_peft_read_config(&c, path, &err), GF_OK, "%s", whole[i]);
        cr_expect_neq(err.text[0], 0);
    }
}

Test(peft, ignores_what_says_nothing)
{
    gf_peft_config c;
    must_read(&c, "\"new_a\":null,\"new_b\":false,\"new_c\":[],\"new_d\":{},\"new_e\":\"\","
                  "\"use_dora\":false,\"revision\":\"main\",\"init_lora_weights\":\"gaussian\"");
    gf_peft_config_free(&c);
}

static void expect_round_trip(const char *path)
{
    gf_peft_config c;
    gf_err err = {0};
    char *want, *got;
    size_t want_size, got_size;
    cr_assert_eq(gf_peft_read_config(&c, path, &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_peft_write_config(&c, scratch_path("out.json"), &err), GF_OK, "%s", err.text);
    gf_peft_config_free(&c);
    cr_assert_eq(gf_file_read(path, &want, &want_size, &err), GF_OK);
    cr_assert_eq(gf_file_read(scratch_path("out.json"), &got, &got_size, &err), GF_OK);
    cr_expect_str_eq(got, want);
    free(want);
    free(got);
}

/* Written by PEFT 0.21.2 (tests/golden/peft_config.py), with every key that graft honours set. */
Test(peft, writes_what_peft_does)
{
    expect_round_trip(GRAFT_TESTS "/golden/adapter_config.json");
}

Test(peft, reference_adapters)
{
    static const char *const names[] = {"llama-gqa", "llama3-rope-tied", "qwen2-bias",
                                        "phi3-fused"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[512];
        snprintf(path, sizeof path, GRAFT_SHARED "/golden/%s/adapter-init/adapter_config.json",
                 names[i]);
        if (!gf_file_exists(path))
            cr_skip_test("no " GRAFT_SHARED "/golden");
        expect_round_trip(path);
    }
}

Test(peft, cut_off_anywhere)
{
    char *bytes;
    size_t size;
    gf_peft_config c;
    cr_assert_eq(gf_file_read(GRAFT_TESTS "/golden/adapter_config.json", &bytes, &size, NULL),
                 GF_OK);
    for (size_t n = 0; n < size; n++) {
        gf_err err = {0};
        cr_expect_eq(gf_peft_read_config(&c, scratch_write("cut", bytes, n), &err), GF_EINPUT);
    }
    free(bytes);
}

Test(peft, write_refuses_what_peft_would_not_load)
{
    int64_t layer = 1;
    gf_err err = {0};
    const gf_peft_config c = {
        .r = 1, .target_regex = (char *)(uintptr_t) "all-linear", .layer = &layer, .layers = 1};
    cr_expect_eq(gf_peft_write_config(&c, scratch_path("x"), &err), GF_EARG);
}
