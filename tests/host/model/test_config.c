#include <math.h>

#include "made_model.h"

/* ---- reading a config from text ------------------------------------------------------- */

static gf_status read_config(gf_config *c, const char *config, const char *generation, gf_err *err)
{
    char *dir = made_folder();
    made_text(dir, "config.json", config);
    if (generation)
        made_text(dir, "generation_config.json", generation);
    const gf_status st = gf_config_read(c, dir, err);
    made_free(dir);
    return st;
}

static gf_config good(const char *config)
{
    gf_config c;
    OK(read_config(&c, config, NULL, err));
    return c;
}

static void bad(const char *config, gf_status want, const char *part)
{
    gf_config c;
    gf_err err = {0};
    const gf_status st = read_config(&c, config, NULL, &err);
    cr_expect_eq(st, want, "%s\n-> %d %s", config, (int)st, err.text);
    cr_expect(strstr(err.text, part), "%s\n-> %s, wanted: %s", config, err.text, part);
    if (st == GF_OK)
        gf_config_free(&c);
}

Test(config, class_defaults)
{
    static const struct {
        const char *text;
        int64_t V, D, F, L, H, G, K, max, window;
    } cases[] = {
        {"{\"model_type\":\"llama\"}", 32000, 4096, 11008, 32, 32, 32, 128, 2048, 0},
        {"{\"model_type\":\"mistral\"}", 32000, 4096, 14336, 32, 32, 8, 128, 131072, 4096},
        {"{\"model_type\":\"qwen2\"}", 151936, 4096, 22016, 32, 32, 32, 128, 32768, 0},
        {"{\"model_type\":\"qwen3\",\"hidden_size\":1024}", 151936, 1024, 22016, 32, 32, 32, 128,
         32768, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gf_config c = good(cases[i].text);
        cr_expect(c.V == cases[i].V && c.D == cases[i].D && c.F == cases[i].F &&
                      c.L == cases[i].L && c.H == cases[i].H && c.G == cases[i].G &&
                      c.K == cases[i].K && c.max_position == cases[i].max &&
                      c.window[0] == cases[i].window,
                  "%s", cases[i].text);
        cr_expect_eq(c.eps, 1e-6F);
        cr_expect_eq(c.rope[0].theta, 1e4);
        cr_expect(!c.tied);
        cr_expect_eq(c.dtype, GF_DTYPES);
        cr_expect_eq(c.attention_bias, i == 2);
        cr_expect_eq(c.output_bias, false);
        cr_expect_eq(c.qk_norm, i == 3);
        cr_expect_eq(c.bos, i < 2 ? 1 : -1);
        cr_expect_eq(c.eos_count, i < 2 ? 1 : 0);
        gf_config_free(&c);
    }
}

Test(config, class_defaults_of_more_families)
{
    static const struct {
        const char *name;
        int64_t V, D, F, L, H, G, K, max, window0, window1;
        double eps, theta;
        bool tied;
        int bos, eos, pad;
    } cases[] = {
        {"gemma", 256000, 3072, 24576, 28, 16, 16, 256, 8192, 0, 0, 1e-6, 1e4, true, 2, 1, 0},
        {"gemma2", 256000, 2304, 9216, 26, 8, 4, 256, 8192, 4096, 0, 1e-6, 1e4, true, 2, 1, 0},
        {"gemma3_text", 262208, 2304, 9216, 26, 8, 4, 256, 131072, 4096, 4096, 1e-6, 1e6, true, 2,
         1, 0},
        {"phi3", 32064, 3072, 8192, 32, 32, 32, 96, 4096, 0, 0, 1e-5, 1e4, false, 1, 32000, 32000},
        {"smollm3", 128256, 2048, 11008, 36, 16, 4, 128, 32768, 0, 0, 1e-6, 2e6, true, 128000,
         128001, 128004},
        {"granite", 32000, 4096, 11008, 32, 32, 32, 128, 2048, 0, 0, 1e-6, 1e4, false, 1, 2, -1},
        {"olmo2", 50304, 4096, 11008, 32, 32, 32, 128, 2048, 0, 0, 1e-5, 1e4, false, -1, 50279, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[64];
        snprintf(text, sizeof text, "{\"model_type\":\"%s\"}", cases[i].name);
        gf_config c = good(text);
        cr_expect(c.V == cases[i].V && c.D == cases[i].D && c.F == cases[i].F &&
                      c.L == cases[i].L && c.H == cases[i].H && c.G == cases[i].G &&
                      c.K == cases[i].K && c.max_position == cases[i].max &&
                      c.window[0] == cases[i].window0 && c.window[1] == cases[i].window1,
                  "%s", text);
        cr_expect(c.eps == (float)cases[i].eps && c.rope[0].theta == cases[i].theta &&
                      c.tied == cases[i].tied,
                  "%s", text);
        cr_expect(c.bos == cases[i].bos && c.eos[0] == cases[i].eos && c.pad == cases[i].pad, "%s",
                  text);
        gf_config_free(&c);
    }
}

Test(config, gemma)
{
    gf_config c = good("{\"model_type\":\"gemma\",\"hidden_act\":\"gelu\"}");
    cr_expect(c.act == GF_GELU_TANH && c.norm_offset == 1 && c.embed_rounded);
    cr_expect_eq(c.embed_scale, sqrtf(3072));
    gf_config_free(&c);
    c = good("{\"model_type\":\"gemma2\",\"query_pre_attn_scalar\":144}");
    cr_expect(c.attention_cap == 50 && c.logits_cap == 30 && c.norms == GF_NORMS_SANDWICH);
    cr_expect_float_eq(c.attention_scale, 1.0F / 12, 1e-9F);
    gf_config_free(&c);
    c = good("{\"model_type\":\"gemma2\",\"attn_logit_softcapping\":null,"
             "\"final_logit_softcapping\":null}");
    cr_expect(c.attention_cap == 0 && c.logits_cap == 0);
    gf_config_free(&c);
    bad("{\"model_type\":\"gemma2\",\"final_logit_softcapping\":-1}", GF_EINPUT,
        "final_logit_softcapping");
    bad("{\"model_type\":\"gemma2\",\"query_pre_attn_scalar\":0}", GF_EINPUT,
        "query_pre_attn_scalar");
    bad("{\"model_type\":\"gemma2\",\"sliding_window\":null}", GF_EINPUT, "no sliding_window");
    bad("{\"model_type\":\"gemma2\",\"hidden_activation\":\"relu\"}", GF_EMISSING, "relu");
    bad("{\"model_type\":\"gemma3_text\",\"use_bidirectional_attention\":true}", GF_EMISSING,
        "use_bidirectional_attention");
    bad("{\"architectures\":[\"Gemma3ForConditionalGeneration\"]}", GF_EMISSING, "image tower");
    bad("{\"model_type\":\"gemma3\",\"text_config\":{}}", GF_EMISSING, "image tower");
}

/* Two RoPEs, in the old spelling and the new one; scaling is that of the full layers. */
Test(config, gemma3_ropes)
{
    static const char *const same[] = {
        "{\"model_type\":\"gemma3_text\",\"rope_theta\":5e5,\"rope_local_base_freq\":777.0,"
        "\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":8.0},\"sliding_window_pattern\":3}",
        "{\"model_type\":\"gemma3_text\",\"_sliding_window_pattern\":3,\"rope_parameters\":{"
        "\"full_attention\":{\"rope_theta\":500000.0,\"rope_type\":\"linear\",\"factor\":8.0},"
        "\"sliding_attention\":{\"rope_theta\":777.0,\"rope_type\":\"default\"}}}"};
    for (int i = 0; i < 2; i++) {
        gf_config c = good(same[i]);
        cr_expect(c.ropes == 2 && c.rope[0].theta == 5e5 && c.rope[0].type == GF_ROPE_LINEAR);
        cr_expect(c.rope[1].theta == 777 && c.rope[1].type == GF_ROPE_DEFAULT);
        cr_expect(c.rope_of[1] == 1 && c.rope_of[2] == 0 && c.window[2] == 0 && c.window[3] > 0);
        gf_config_free(&c);
    }
    gf_config c = good("{\"model_type\":\"gemma3_text\",\"sliding_window_pattern\":1,"
                       "\"sliding_window\":null}");
    cr_expect(c.ropes == 1 && c.rope_of[0] == 0);
    gf_config_free(&c);
}

#define PHI "{\"model_type\":\"phi3\",\"hidden_size\":32,\"num_attention_heads\":2,"
Test(config, phi3_longrope)
{
    static const char *const types[] = {"longrope", "su", "yarn"};
    for (int i = 0; i < 3; i++) {
        char text[512];
        snprintf(text, sizeof text,
                 PHI "\"max_position_embeddings\":64,\"original_max_position_embeddings\":16,"
                     "\"partial_rotary_factor\":0.25,\"rope_scaling\":{\"type\":\"%s\","
                     "\"short_factor\":[1,1.5],\"long_factor\":[2,4]}}",
                 types[i]);
        gf_config c = good(text);
        cr_expect(c.fused && c.rope[0].type == GF_ROPE_LONGROPE && c.rope[0].rotary == 4);
        cr_expect(c.rope[0].factor == 4 && c.rope[0].original_max == 16 &&
                  c.rope[0].long_factor[1] == 4 && c.rope[0].short_factor[1] == 1.5F);
        gf_config_free(&c);
    }
    gf_config c = good(PHI "\"sliding_window\":5}");
    cr_expect(c.window[0] == 5 && c.window[31] == 5);
    gf_config_free(&c);
    bad(PHI "\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1],\"long_factor\":[2]}}",
        GF_EINPUT, "short_factor, a list of 8 numbers");
    bad(PHI "\"partial_rotary_factor\":0.25,\"rope_scaling\":{\"type\":\"longrope\","
            "\"short_factor\":[1,\"x\"],\"long_factor\":[2,4]}}",
        GF_EINPUT, "short_factor");
    bad(PHI "\"partial_rotary_factor\":0.25,\"rope_scaling\":{\"type\":\"longrope\","
            "\"short_factor\":[1,0],\"long_factor\":[2,4]}}",
        GF_EINPUT, "short_factor");
    bad(PHI "\"partial_rotary_factor\":0}", GF_EINPUT, "partial_rotary_factor");
    bad(PHI "\"partial_rotary_factor\":1.5}", GF_EINPUT, "partial_rotary_factor");
    bad(PHI "\"partial_rotary_factor\":0.2}", GF_EINPUT, "even number"); /* 3 of 16 columns */
}

Test(config, smollm3_layers)
{
    gf_config c = good("{\"model_type\":\"smollm3\",\"use_sliding_window\":true,"
                       "\"sliding_window\":9}");
    cr_expect(c.rope_of[0] == 0 && c.rope_of[3] == -1 && c.rope_of[35] == -1);
    cr_expect(c.window[0] == 0 && c.window[3] == 9);
    gf_config_free(&c);
    c = good("{\"model_type\":\"smollm3\",\"num_hidden_layers\":2,\"no_rope_layers\":[0,1,0]}");
    cr_expect(c.rope_of[0] == -1 && c.rope_of[1] == 0);
    gf_config_free(&c);
    bad("{\"model_type\":\"smollm3\",\"num_hidden_layers\":2,\"no_rope_layers\":[0]}", GF_EINPUT,
        "no_rope_layers");
    bad("{\"model_type\":\"smollm3\",\"num_hidden_layers\":2,\"no_rope_layers\":[0,2]}", GF_EINPUT,
        "no_rope_layers");
    bad("{\"model_type\":\"smollm3\",\"no_rope_layers\":\"x\"}", GF_EINPUT, "no_rope_layers");
    bad("{\"model_type\":\"smollm3\",\"no_rope_layer_interval\":0}", GF_EINPUT,
        "no_rope_layer_interval");
}

/* The residual stream in units of its multiplier. */
Test(config, granite_multipliers)
{
    gf_config c = good("{\"model_type\":\"granite\"}");
    cr_expect(c.attention_scale == 1 && c.embed_scale == 1 && c.stream_eps == 1e-6F);
    gf_config_free(&c);
    c = good("{\"model_type\":\"granite\",\"embedding_multiplier\":12,\"residual_multiplier\":0.5,"
             "\"attention_multiplier\":0.25,\"logits_scaling\":8}");
    cr_expect(c.attention_scale == 0.25F && c.embed_scale == 24 && c.stream_eps == 4e-6F &&
              c.eps == 1e-6F && c.by.logits == 8);
    gf_config_free(&c);
    bad("{\"model_type\":\"granite\",\"residual_multiplier\":0}", GF_EINPUT, "residual_multiplier");
    bad("{\"model_type\":\"granite\",\"logits_scaling\":-1}", GF_EINPUT, "logits_scaling");
    bad("{\"model_type\":\"granite\",\"embedding_multiplier\":\"x\"}", GF_EINPUT,
        "embedding_multiplier");
    bad("{\"model_type\":\"granite\",\"attention_multiplier\":0}", GF_EINPUT,
        "attention_multiplier");
}

Test(config, null_is_not_missing)
{
    gf_config c = good("{\"model_type\":\"mistral\",\"sliding_window\":null}");
    cr_expect_eq(c.window[31], 0);
    gf_config_free(&c);
    c = good("{\"model_type\":\"mistral\",\"num_key_value_heads\":null,\"bos_token_id\":null}");
    cr_expect_eq(c.G, 32);
    cr_expect_eq(c.bos, -1);
    gf_config_free(&c);
    c = good("{\"model_type\":\"qwen3\",\"hidden_size\":1024,\"head_dim\":null}");
    cr_expect_eq(c.K, 32);
    gf_config_free(&c);
}

Test(config, heads_wider_than_the_model)
{
    gf_config c = good("{\"model_type\":\"mistral\",\"hidden_size\":5120,\"head_dim\":128}");
    cr_expect_eq(c.K, 128);
    cr_expect_float_eq(c.attention_scale, 1 / sqrtf(128), 1e-9F);
    gf_config_free(&c);
}

Test(config, qwen_windows)
{
    gf_config c = good("{\"model_type\":\"qwen2\",\"use_sliding_window\":true}");
    cr_expect(c.window[27] == 0 && c.window[28] == 4096);
    gf_config_free(&c);
    c = good("{\"model_type\":\"qwen2\",\"use_sliding_window\":true,\"sliding_window\":16,"
             "\"max_window_layers\":0}");
    cr_expect_eq(c.window[0], 16);
    gf_config_free(&c);
    c = good("{\"model_type\":\"qwen3\",\"use_sliding_window\":true,\"sliding_window\":16,"
             "\"num_hidden_layers\":2,\"layer_types\":[\"sliding_attention\",\"full_attention\"]}");
    cr_expect(c.window[0] == 16 && c.window[1] == 0);
    gf_config_free(&c);
    bad("{\"model_type\":\"qwen2\",\"num_hidden_layers\":1,\"layer_types\":[\"sliding_attention\"]"
        "}",
        GF_EINPUT, "no sliding_window is set");
    bad("{\"model_type\":\"qwen2\",\"num_hidden_layers\":2,\"layer_types\":[\"full_attention\"]}",
        GF_EINPUT, "1 of 2 layers");
    bad("{\"model_type\":\"qwen2\",\"num_hidden_layers\":1,\"layer_types\":[\"linear_attention\"]}",
        GF_EMISSING, "linear_attention");
}

Test(config, rope_old_and_new_spelling)
{
    static const char *const same[] = {
        "{\"model_type\":\"llama\",\"rope_theta\":500000.0,\"rope_scaling\":{\"rope_type\":"
        "\"llama3\","
        "\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
        "\"original_max_position_embeddings\":8192}}",
        "{\"model_type\":\"llama\",\"rope_scaling\":null,\"rope_theta\":1,\"rope_parameters\":{"
        "\"rope_theta\":500000.0,\"rope_type\":\"llama3\",\"type\":\"yarn\",\"factor\":8.0,"
        "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
        "\"original_max_position_embeddings\":8192}}",
    };
    for (int i = 0; i < 2; i++) {
        gf_config c = good(same[i]);
        cr_expect_eq(c.rope[0].type, GF_ROPE_LLAMA3);
        cr_expect(c.rope[0].theta == 5e5 && c.rope[0].factor == 8 &&
                  c.rope[0].original_max == 8192);
        gf_config_free(&c);
    }
    gf_config c = good("{\"model_type\":\"qwen2\",\"max_position_embeddings\":131072,"
                       "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":null,\"beta_fast\":null,"
                       "\"original_max_position_embeddings\":32768}}");
    cr_expect(c.rope[0].type == GF_ROPE_YARN && c.rope[0].factor == 4 &&
              c.rope[0].beta_fast == 32 && c.rope[0].beta_slow == 1 && c.rope[0].truncate);
    gf_config_free(&c);
}

Test(config, dtypes_and_end_tokens)
{
    gf_config c = good("{\"model_type\":\"llama\",\"torch_dtype\":\"float16\"}");
    cr_expect_eq(c.dtype, GF_F16);
    gf_config_free(&c);
    c = good("{\"model_type\":\"llama\",\"torch_dtype\":\"float16\",\"dtype\":\"bfloat16\"}");
    cr_expect_eq(c.dtype, GF_BF16);
    gf_config_free(&c);
    OK(read_config(&c,
                   "{\"model_type\":\"llama\",\"vocab_size\":128256,\"eos_token_id\":[5,6],"
                   "\"pad_token_id\":-1}",
                   "{\"eos_token_id\":[128001,128008,128009],\"bos_token_id\":null}", err));
    cr_expect(c.eos_count == 3 && c.eos[2] == 128009 && c.bos == 1 && c.pad == -1);
    gf_config_free(&c);
    OK(read_config(&c, "{\"model_type\":\"llama\",\"eos_token_id\":[5,6]}", "{}", err));
    cr_expect(c.eos_count == 2 && c.eos[1] == 6);
    gf_config_free(&c);
}

Test(config, refusals)
{
    bad("{}", GF_EINPUT, "neither architectures nor model_type");
    bad("[]", GF_EINPUT, "want an object");
    bad("{\"model_type\":\"bert\"}", GF_EMISSING, "bert; it has the families llama, mistral");
    bad("{\"architectures\":[\"GPT2LMHeadModel\"]}", GF_EMISSING, "GPT2LMHeadModel");
    bad("{\"architectures\":[],\"model_type\":\"llama\"}", GF_EINPUT, "architectures");
    bad("{\"model_type\":\"llama\",\"hidden_act\":\"gelu\"}", GF_EMISSING, "hidden_act gelu");
    bad("{\"model_type\":\"llama\",\"quantization_config\":{}}", GF_EMISSING,
        "quantization_config");
    bad("{\"model_type\":\"llama\",\"hidden_size\":0}", GF_EINPUT, "hidden_size");
    bad("{\"model_type\":\"llama\",\"hidden_size\":-4}", GF_EINPUT, "hidden_size");
    bad("{\"model_type\":\"llama\",\"hidden_size\":4.5}", GF_EINPUT, "hidden_size");
    bad("{\"model_type\":\"llama\",\"hidden_size\":\"big\"}", GF_EINPUT, "hidden_size");
    bad("{\"model_type\":\"llama\",\"hidden_size\":1e300}", GF_EINPUT, "hidden_size");
    bad("{\"model_type\":\"llama\",\"hidden_size\":100}", GF_EINPUT, "not a multiple");
    bad("{\"model_type\":\"llama\",\"num_hidden_layers\":100000000}", GF_EINPUT,
        "num_hidden_layers");
    bad("{\"model_type\":\"llama\",\"num_key_value_heads\":5}", GF_EINPUT, "not a multiple of 5");
    bad("{\"model_type\":\"llama\",\"head_dim\":15}", GF_EINPUT, "odd");
    bad("{\"model_type\":\"llama\",\"head_dim\":16777216}", GF_EINPUT, "more than graft takes");
    bad("{\"model_type\":\"llama\",\"partial_rotary_factor\":0.5}", GF_EMISSING, "partial_rotary");
    bad("{\"model_type\":\"llama\",\"rope_theta\":0}", GF_EINPUT, "rope_theta");
    bad("{\"model_type\":\"llama\",\"rope_scaling\":{\"type\":\"su\",\"factor\":2}}", GF_EMISSING,
        "RoPE type su");
    bad("{\"model_type\":\"llama\",\"rope_scaling\":{\"type\":\"linear\"}}", GF_EINPUT,
        "needs factor");
    bad("{\"model_type\":\"llama\",\"rope_scaling\":{\"type\":\"linear\",\"factor\":0}}", GF_EINPUT,
        "factor");
    bad("{\"model_type\":\"llama\",\"rope_scaling\":\"linear\"}", GF_EINPUT, "rope_scaling");
    bad("{\"model_type\":\"llama\",\"rope_parameters\":{\"full_attention\":{}}}", GF_EMISSING,
        "by layer type");
    bad("{\"model_type\":\"llama\",\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8,"
        "\"low_freq_factor\":4,\"high_freq_factor\":1}}",
        GF_EINPUT, "high_freq_factor");
    bad("{\"model_type\":\"llama\",\"eos_token_id\":[1,2,3,4,5,6,7,8,9]}", GF_EMISSING,
        "at most 8");
    bad("{\"model_type\":\"llama\",\"eos_token_id\":32000}", GF_EINPUT, "32000 is no id");
    bad("{\"model_type\":\"llama\",\"eos_token_id\":[1,32000]}", GF_EINPUT, "32000 is no id");
    bad("{\"model_type\":\"llama\",\"eos_token_id\":[1,-2]}", GF_EINPUT, "eos_token_id");
    bad("{\"model_type\":\"llama\",\"eos_token_id\":\"x\"}", GF_EINPUT, "eos_token_id");
    bad("{\"model_type\":\"llama\",\"dtype\":\"float8\"}", GF_EMISSING, "float8");
    bad("{\"model_type\":\"llama\",\"rms_norm_eps\":-1}", GF_EINPUT, "rms_norm_eps");
    bad("{\"model_type\":\"llama\",", GF_EINPUT, "config.json");
}

Test(config, unknown_keys_are_ignored)
{
    gf_config c = good("{\"model_type\":\"llama\",\"use_cache\":[1,{}],\"auto_map\":{\"a\":1},"
                       "\"quantization_config\":null,\"sliding_window\":7}");
    cr_expect_eq(c.window[0], 0);
    gf_config_free(&c);
}

/* ---- writing -------------------------------------------------------------------------- */

static gf_config write_and_read(const gf_config *c)
{
    gf_config again;
    char *dir = made_folder();
    OK(gf_config_write(c, dir, GF_F16, err));
    OK(gf_config_read(&again, dir, err));
    made_free(dir);
    return again;
}

static void expect_same(const gf_config *a, const gf_config *b)
{
    cr_expect_str_eq(a->family, b->family);
    cr_expect(a->V == b->V && a->D == b->D && a->F == b->F && a->L == b->L && a->H == b->H &&
              a->G == b->G && a->K == b->K && a->max_position == b->max_position);
    cr_expect(a->eps == b->eps && a->tied == b->tied && a->attention_bias == b->attention_bias &&
              a->output_bias == b->output_bias && a->mlp_bias == b->mlp_bias);
    cr_expect(a->bos == b->bos && a->pad == b->pad && a->eos_count == b->eos_count);
    cr_expect_arr_eq(a->eos, b->eos, sizeof a->eos[0] * (size_t)a->eos_count);
    cr_expect_arr_eq(a->window, b->window, sizeof a->window[0] * (size_t)a->L);
    cr_expect(a->act == b->act && a->attention_cap == b->attention_cap &&
              a->logits_cap == b->logits_cap && a->attention_scale == b->attention_scale &&
              a->embed_scale == b->embed_scale && a->stream_eps == b->stream_eps &&
              a->ropes == b->ropes && a->rope[0].rotary == b->rope[0].rotary &&
              a->rope[1].theta == b->rope[1].theta);
    cr_expect_arr_eq(a->rope_of, b->rope_of, sizeof a->rope_of[0] * (size_t)a->L);
    if (a->rope[0].type == GF_ROPE_LONGROPE) {
        const size_t size = (size_t)a->rope[0].rotary / 2 * sizeof(float);
        cr_expect_arr_eq(a->rope[0].long_factor, b->rope[0].long_factor, size);
        cr_expect_arr_eq(a->rope[0].short_factor, b->rope[0].short_factor, size);
        cr_expect_eq(a->rope[0].original_max, b->rope[0].original_max);
    }
    cr_expect(a->rope[0].type == b->rope[0].type && a->rope[0].theta == b->rope[0].theta &&
              a->rope[0].factor == b->rope[0].factor);
}

Test(config, written_config_reads_back)
{
    static const char *const configs[] = {
        "{\"model_type\":\"llama\",\"attention_bias\":true,\"mlp_bias\":true," TINY_SIZES "}",
        "{\"model_type\":\"llama\",\"tie_word_embeddings\":true,\"eos_token_id\":[3,4]," TINY_SIZES
        ",\"rope_theta\":130000,\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}}",
        "{\"model_type\":\"mistral\",\"sliding_window\":16," TINY_SIZES "}",
        "{\"model_type\":\"mistral\",\"sliding_window\":null," TINY_SIZES "}",
        "{\"model_type\":\"qwen2\"," TINY_SIZES "}",
        "{\"model_type\":\"qwen2\",\"use_sliding_window\":true,\"max_window_layers\":1," TINY_SIZES
        ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"attention_factor\":1.5}}",
        "{\"model_type\":\"qwen3\",\"head_dim\":16," TINY_SIZES "}",
        "{\"model_type\":\"gemma\",\"head_dim\":16," TINY_SIZES "}",
        "{\"model_type\":\"gemma2\",\"head_dim\":16,\"query_pre_attn_scalar\":24,"
        "\"attn_logit_softcapping\":null,\"sliding_window\":7," TINY_SIZES "}",
        "{\"model_type\":\"gemma3_text\",\"layer_types\":[\"full_attention\",\"sliding_attention\"]"
        ","
        "\"rope_local_base_freq\":777," TINY_SIZES "}",
        "{\"model_type\":\"phi3\",\"eos_token_id\":2,\"partial_rotary_factor\":0.75," TINY_SIZES
        "}",
        "{\"model_type\":\"phi3\",\"eos_token_id\":2,\"original_max_position_embeddings\":16,"
        "\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,2,3,4],\"long_factor\":[1.25,"
        "2,3,40]}"
        "," TINY_SIZES "}",
        "{\"model_type\":\"smollm3\",\"eos_token_id\":2,\"no_rope_layers\":[0,1],\"mlp_bias\":"
        "true," TINY_SIZES "}",
        "{\"model_type\":\"granite\",\"embedding_multiplier\":12,\"residual_multiplier\":0.22,"
        "\"attention_multiplier\":0.0625,\"logits_scaling\":8," TINY_SIZES "}",
        "{\"model_type\":\"olmo2\",\"eos_token_id\":2,\"attention_bias\":true," TINY_SIZES "}",
    };
    for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++) {
        gf_config c = good(configs[i]);
        gf_config again = write_and_read(&c);
        expect_same(&c, &again);
        cr_expect_eq(again.dtype, GF_F16);
        gf_config_free(&c);
        gf_config_free(&again);
    }
}

/* A GGUF says llama3 by divisors of the frequencies: the written config must say it
 * by parameters. */
Test(config, llama3_from_divisors)
{
    static const struct {
        int64_t K;
        double theta, factor, high, original;
    } cases[] = {{64, 5e5, 32, 4, 8192},
                 {128, 5e5, 8, 4, 8192},
                 {16, 5e5, 8, 4, 64},
                 {128, 1e6, 16, 8, 4096},
                 {16, 1e4, 1, 4, 8192}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gf_config c = good("{\"model_type\":\"llama\"," TINY_SIZES "}");
        const gf_rope_spec plain = {.theta = cases[i].theta, .rotary = cases[i].K};
        gf_rope_spec scaled = plain;
        scaled.type = GF_ROPE_LLAMA3;
        scaled.factor = cases[i].factor;
        scaled.low_freq_factor = 1;
        scaled.high_freq_factor = cases[i].high;
        scaled.original_max = (int64_t)cases[i].original;
        float a[64], b[64], d[64];
        gf_rope_frequencies(a, &plain, 0);
        gf_rope_frequencies(b, &scaled, 0);
        c.rope[0] = plain;
        c.K = cases[i].K;
        c.rope[0].divisor = calloc((size_t)c.K / 2, sizeof(float));
        for (int64_t j = 0; j < c.K / 2; j++)
            c.rope[0].divisor[j] = a[j] / b[j];
        gf_config again = write_and_read(&c);
        cr_expect_eq(again.rope[0].type, cases[i].factor > 1 ? GF_ROPE_LLAMA3 : GF_ROPE_DEFAULT);
        gf_rope_frequencies(d, &again.rope[0], 0);
        for (int64_t j = 0; j < c.K / 2; j++)
            cr_expect(fabsf(d[j] - b[j]) <= 1e-5F * b[j], "case %zu, %lld: %g for %g", i,
                      (long long)j, (double)d[j], (double)b[j]);
        c.rope[0].divisor[1] = 1.7F; /* no llama3 divides a high frequency and not the lower ones */
        gf_err err = {0};
        char *dir = made_folder();
        cr_expect_eq(gf_config_write(&c, dir, GF_F16, &err), GF_EMISSING);
        cr_expect(strstr(err.text, "rope_freqs.weight"));
        made_free(dir);
        gf_config_free(&c);
        gf_config_free(&again);
    }
}

/* ---- reference cases ------------------------------------------------------------------ */

Test(config, golden)
{
    static const struct {
        const char *name, *family;
        int64_t K, window;
        bool tied, bias, norm;
        gf_rope_type rope;
    } cases[] = {
        {"llama-gqa", "llama", 16, 0, false, false, false, GF_ROPE_DEFAULT},
        {"llama3-rope-tied", "llama", 16, 0, true, false, false, GF_ROPE_LLAMA3},
        {"mistral-window", "mistral", 16, 16, false, false, false, GF_ROPE_DEFAULT},
        {"qwen2-bias", "qwen2", 16, 0, true, true, false, GF_ROPE_DEFAULT},
        {"qwen3-qknorm", "qwen3", 32, 0, false, false, true, GF_ROPE_DEFAULT},
    };
    if (!gf_dir_exists(GRAFT_SHARED "/golden"))
        cr_skip_test("no reference results in " GRAFT_SHARED);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char dir[512];
        gf_config c;
        snprintf(dir, sizeof dir, GRAFT_SHARED "/golden/%s/model", cases[i].name);
        OK(gf_config_read(&c, dir, err));
        cr_expect_str_eq(c.family, cases[i].family);
        cr_expect(c.V == 259 && c.D == 64 && c.F == 112 && c.L == 3 && c.H == 4 && c.G == 2);
        cr_expect(c.K == cases[i].K && c.window[2] == cases[i].window && c.tied == cases[i].tied &&
                      c.attention_bias == cases[i].bias && !c.output_bias &&
                      c.qk_norm == cases[i].norm && c.rope[0].type == cases[i].rope,
                  "%s", cases[i].name);
        cr_expect(c.dtype == GF_BF16 && c.bos == 1 && c.eos_count == 1 && c.eos[0] == 2 &&
                  c.pad == 0);
        gf_config_free(&c);
    }
}
