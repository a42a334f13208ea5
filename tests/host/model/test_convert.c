/* test_convert.c - keys, types and extra tensors of a GGUF made from a config, read back by the
 * reader of GGUF bases; what a GGUF cannot say. */
#include <math.h>

#include "made_model.h"
#include "model/convert.h"

/* A file of the config's keys and extra tensors, without weights. */
static gf_status write_keys(const char *path, const gf_files *base, gf_dtype dtype, gf_err *err)
{
    gf_gguf_keys keys = {0};
    gf_convert_extras x = {0};
    gf_gguf_writer *w = NULL;
    gf_gguf_decl decl[GF_CONVERT_EXTRAS] = {{0}};
    gf_status st;
    TRYG(gf_convert_keys(&keys, base, dtype, "a name", 1234567890, NULL, err));
    TRYG(gf_convert_extra_tensors(&x, &base->config, err));
    for (int i = 0; i < x.count; i++)
        decl[i] = (gf_gguf_decl){x.list[i].name, GF_F32, 1, {x.list[i].count}};
    TRYG(gf_gguf_writer_open(&w, path, &keys, decl, x.count, err));
    for (int i = 0; i < x.count; i++)
        TRYG(gf_gguf_writer_data(w, x.list[i].data, (size_t)x.list[i].count * 4, err));
    st = gf_gguf_writer_commit(w, err);
    w = NULL;
out:
    gf_gguf_writer_cancel(w);
    gf_gguf_keys_free(&keys);
    gf_convert_extras_free(&x);
    return st;
}

typedef struct {
    char *dir, *path;
    gf_files base;
    gf_gguf g;
} made_case;

static gf_status start(made_case *m, const char *config, gf_dtype dtype, gf_err *err)
{
    *m = (made_case){.dir = made_folder()};
    m->path = made_path(m->dir, "x.gguf");
    made_text(m->dir, "config.json", config);
    made_weights(m->dir, (made_options){.dtype = GF_BF16});
    TRY(gf_files_open(&m->base, m->dir, err));
    TRY(write_keys(m->path, &m->base, dtype, err));
    return gf_gguf_open(&m->g, m->path, err);
}

static void finish(made_case *m)
{
    gf_gguf_close(&m->g);
    gf_files_close(&m->base);
    made_free(m->dir);
    free(m->path);
}

static void expect_int(const made_case *m, const char *key, int64_t want)
{
    int64_t v = -1;
    OK(gf_gguf_int(&v, &m->g, key, -1, 0, INT64_MAX, err));
    cr_expect_eq(v, want, "%s: %lld", key, (long long)v);
    cr_expect_eq(gf_gguf_find(&m->g, key)->type, GF_KV_U32, "%s", key);
}

static void expect_real(const made_case *m, const char *key, double want)
{
    double v = -1;
    OK(gf_gguf_double(&v, &m->g, key, -1, err));
    cr_expect_float_eq(v, want, 1e-6 * fabs(want), "%s: %g", key, v);
}

static void expect_text(const made_case *m, const char *key, const char *want)
{
    char *v = NULL;
    OK(gf_gguf_string(&v, &m->g, key, err));
    cr_expect(v && strcmp(v, want) == 0, "%s: %s", key, v ? v : "missing");
    free(v);
}

Test(convert, keys_of_llama)
{
    made_case m;
    OK(start(&m,
             "{\"model_type\":\"llama\",\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0," TINY_SIZES
             "}",
             GF_Q8_0, err));
    expect_text(&m, "general.architecture", "llama");
    expect_text(&m, "general.type", "model");
    expect_text(&m, "general.name", "a name");
    expect_text(&m, "general.size_label", "1.2B");
    expect_int(&m, "general.file_type", 7);
    expect_int(&m, "general.quantization_version", 2);
    expect_int(&m, "llama.block_count", 2);
    expect_int(&m, "llama.context_length", 64);
    expect_int(&m, "llama.embedding_length", 32);
    expect_int(&m, "llama.feed_forward_length", 48);
    expect_int(&m, "llama.attention.head_count", 4);
    expect_int(&m, "llama.attention.head_count_kv", 2);
    expect_int(&m, "llama.attention.key_length", 8);
    expect_int(&m, "llama.attention.value_length", 8);
    expect_int(&m, "llama.rope.dimension_count", 8);
    expect_int(&m, "llama.vocab_size", 40);
    expect_real(&m, "llama.rope.freq_base", 10000);
    expect_real(&m, "llama.attention.layer_norm_rms_epsilon", 1e-5);
    cr_expect_null(gf_gguf_find(&m.g, "llama.rope.scaling.type"));
    cr_expect_eq(m.g.source.count, 0);
    finish(&m);
}

Test(convert, rope_scalings)
{
    made_case m;
    OK(start(&m,
             "{\"model_type\":\"llama\",\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":4.0}"
             "," TINY_SIZES "}",
             GF_F32, err));
    expect_text(&m, "llama.rope.scaling.type", "linear");
    expect_real(&m, "llama.rope.scaling.factor", 4);
    finish(&m);
    OK(start(&m,
             "{\"model_type\":\"qwen2\",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0,"
             "\"original_max_position_embeddings\":16}," TINY_SIZES "}",
             GF_F32, err));
    expect_text(&m, "qwen2.rope.scaling.type", "yarn");
    expect_real(&m, "qwen2.rope.scaling.factor", 4);
    expect_int(&m, "qwen2.rope.scaling.original_context_length", 16);
    cr_expect_null(gf_gguf_find(&m.g, "qwen2.rope.scaling.yarn_attn_factor"));
    finish(&m);
    OK(start(&m,
             "{\"model_type\":\"qwen2\",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0,"
             "\"attention_factor\":1.5,\"original_max_position_embeddings\":16}," TINY_SIZES "}",
             GF_F32, err));
    expect_real(&m, "qwen2.rope.scaling.yarn_attn_factor", 1.5 / (0.1 * log(4) + 1));
    finish(&m);
}

/* FORMATS 6.3: 1 where nothing is scaled, the factor where all is, between them a ramp. */
Test(convert, llama3_divisors)
{
    made_case m;
    float d[4];
    OK(start(&m,
             "{\"model_type\":\"llama\",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":32.0,"
             "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
             "\"original_max_position_embeddings\":64},\"rope_theta\":500000.0," TINY_SIZES "}",
             GF_F32, err));
    const gf_entry *e = gf_source_find(&m.g.source, "rope_freqs.weight");
    cr_assert(e && e->dtype == GF_F32 && e->dim[0] == 4);
    OK(gf_source_read(&m.g.source, e, 0, d, sizeof d, err));
    cr_expect_eq(d[0], 1);
    cr_expect_float_eq(d[3], 32, 1e-4);
    finish(&m);
}

Test(convert, window_and_what_cannot_be_said)
{
    static const struct {
        const char *config, *text;
    } bad[] = {
        {"{\"model_type\":\"llama\",\"rope_scaling\":{\"rope_type\":\"dynamic\",\"factor\":2.0},",
         "dynamic RoPE scaling: a GGUF of the architecture llama"},
        {"{\"model_type\":\"qwen2\",\"use_sliding_window\":true,\"sliding_window\":8,"
         "\"max_window_layers\":1,",
         "sliding windows in other layers"},
        {"{\"model_type\":\"qwen3\",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":2.0,"
         "\"truncate\":false},",
         "truncate false"},
        {"{\"model_type\":\"gemma\",\"head_dim\":8,\"tie_word_embeddings\":false,",
         "an output head of its own"},
        {"{\"model_type\":\"llama\",\"hidden_act\":\"gelu_new\",", "another activation"},
    };
    made_case m;
    /* Gemma 2 without windows: readers would take the usual ones for granted. */
    OK(start(&m,
             "{\"model_type\":\"gemma2\",\"head_dim\":8,\"query_pre_attn_scalar\":8,"
             "\"layer_types\":[\"full_attention\",\"full_attention\"]," TINY_SIZES "}",
             GF_F32, err));
    const gf_kv *list = gf_gguf_find(&m.g, "gemma2.attention.sliding_window_pattern");
    cr_assert(list && list->count == 2 && !list->data[0] && !list->data[1]);
    finish(&m);
    OK(start(&m, "{\"model_type\":\"mistral\",\"sliding_window\":8," TINY_SIZES "}", GF_F32, err));
    expect_int(&m, "llama.attention.sliding_window", 8);
    finish(&m);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char config[1024];
        gf_err err = {0};
        snprintf(config, sizeof config, "%s" TINY_SIZES "}", bad[i].config);
        cr_expect_eq(start(&m, config, GF_F32, &err), GF_EMISSING, "%s", err.text);
        cr_expect(strstr(err.text, bad[i].text), "%s", err.text);
        finish(&m);
    }
}

Test(convert, types)
{
    const gf_config tied = {.tied = true}, own = {0};
    gf_name embed = {.gguf = "token_embd.weight", .rank = 2, .dim = {40, 512}};
    gf_name head = {.gguf = "output.weight", .rank = 2, .dim = {40, 512}};
    gf_name norm = {.gguf = "output_norm.weight", .rank = 1, .dim = {512, 1}};
    gf_name narrow = {.gguf = "blk.0.ffn_down.weight", .rank = 2, .dim = {512, 96}};
    gf_name odd = {.gguf = "blk.0.ffn_down.weight", .rank = 2, .dim = {512, 50}};
    cr_expect_eq(gf_convert_dtype(GF_Q4_K, &tied, &embed), GF_Q8_0);
    cr_expect_eq(gf_convert_dtype(GF_Q4_K, &own, &embed), GF_Q4_K);
    cr_expect_eq(gf_convert_dtype(GF_Q4_0, &own, &head), GF_Q8_0);
    cr_expect_eq(gf_convert_dtype(GF_F16, &own, &head), GF_F16);
    cr_expect_eq(gf_convert_dtype(GF_F16, &own, &norm), GF_F32);
    cr_expect_eq(gf_convert_dtype(GF_Q4_K, &own, &narrow), GF_Q8_0);
    cr_expect_eq(gf_convert_dtype(GF_Q4_0, &own, &narrow), GF_Q4_0);
    cr_expect_eq(gf_convert_dtype(GF_Q4_K, &own, &odd), GF_F16);
    cr_expect_eq(gf_convert_dtype(GF_BF16, &own, &odd), GF_BF16);
    cr_expect(gf_convert_falls_back(GF_Q4_K, &narrow));
    cr_expect_not(gf_convert_falls_back(GF_Q4_K, &norm));
    cr_expect_not(gf_convert_falls_back(GF_Q4_0, &narrow));
}
