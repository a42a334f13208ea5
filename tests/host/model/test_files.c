#include <math.h>

#include "made_model.h"

static const char llama[] = "{\"model_type\":\"llama\",\"dtype\":\"bfloat16\"," TINY_SIZES "}";
static const char tied[] = "{\"model_type\":\"qwen2\",\"tie_word_embeddings\":true," TINY_SIZES "}";
static const char q_weight[] = "model.layers.1.self_attn.q_proj.weight";

static char *made_model(const char *config, made_options o)
{
    char *dir = made_folder();
    made_text(dir, "config.json", config);
    made_weights(dir, o);
    return dir;
}

static void bad(const char *config, made_options o, const char *part)
{
    gf_err err = {0};
    gf_files f;
    char *dir = made_model(config, o);
    cr_expect_eq(gf_files_open(&f, dir, &err), GF_EINPUT);
    cr_expect(strstr(err.text, part), "%s, wanted: %s", err.text, part);
    made_free(dir);
}

Test(files, folder)
{
    char *dir = made_model(llama, (made_options){.dtype = GF_BF16});
    gf_files f;
    OK(gf_files_open(&f, dir, err));
    cr_expect_eq(f.config.dtype, GF_BF16);
    const gf_entry *e = gf_files_find(&f, q_weight);
    cr_assert(e);
    cr_expect(e->dim[0] == 32 && e->dim[1] == 32);
    cr_expect_null(gf_files_find(&f, "model.layers.2.self_attn.q_proj.weight"));
    cr_expect_eq(gf_files_heads(&f, GF_Q), 0);
    uint16_t all[32 * 32], some[3 * 32];
    OK(gf_files_rows(&f, e, 0, 0, 32, all, err));
    OK(gf_files_rows(&f, e, 0, 5, 3, some, err));
    cr_expect_arr_eq(some, all + 5 * 32, sizeof some);
    gf_files_close(&f);
    made_free(dir);
}

Test(files, base_class_names)
{
    char *dir = made_model(tied, (made_options){.dtype = GF_F16, .bare = true});
    gf_files f;
    OK(gf_files_open(&f, dir, err));
    cr_expect_eq(f.config.dtype, GF_F16, "no dtype in the config: the embedding's");
    cr_expect(gf_files_find(&f, "model.norm.weight") && gf_files_find(&f, q_weight));
    gf_files_close(&f);
    made_free(dir);
}

Test(files, what_may_be_ignored)
{
    static const char *const names[] = {"model.layers.0.self_attn.rotary_emb.inv_freq",
                                        "lm_head.weight"};
    for (int i = 0; i < 2; i++) {
        char *dir = made_model(tied, (made_options){.dtype = GF_F32, .add = names[i]});
        gf_files f;
        OK(gf_files_open(&f, dir, err));
        gf_files_close(&f);
        made_free(dir);
    }
}

Test(files, refusals)
{
    const gf_dtype t = GF_BF16;
    bad(llama, (made_options){.dtype = t, .drop = q_weight}, "q_proj.weight is missing");
    bad(llama, (made_options){.dtype = t, .drop = "lm_head.weight"}, "lm_head.weight is missing");
    bad(llama, (made_options){.dtype = t, .widen = q_weight},
        "shape [33, 32], the config wants [32, 32]");
    bad(llama, (made_options){.dtype = t, .add = "model.layers.0.self_attn.q_proj.bias"},
        "unexpected tensor model.layers.0.self_attn.q_proj.bias");
    bad(llama, (made_options){.dtype = t, .integer = q_weight}, "has the dtype U8");
    gf_files f;
    gf_err err = {0};
    cr_expect_eq(gf_files_open(&f, "/nowhere/at/all", &err), GF_EINPUT);
    cr_expect(strstr(err.text, "no such file"));
    err = (gf_err){0};
    cr_expect_eq(gf_files_open(&f, GRAFT_TESTS "/host/model/test_files.c", &err), GF_EINPUT);
    cr_expect(strstr(err.text, "neither"), "%s", err.text);
}

Test(files, names)
{
    static const struct {
        const char *hf, *gguf;
    } cases[] = {{"model.embed_tokens.weight", "token_embd.weight"},
                 {"model.norm.weight", "output_norm.weight"},
                 {"lm_head.weight", "output.weight"},
                 {"model.layers.12.self_attn.o_proj.bias", "blk.12.attn_output.bias"},
                 {"model.layers.0.self_attn.k_norm.weight", "blk.0.attn_k_norm.weight"},
                 {"model.layers.3.post_attention_layernorm.weight", "blk.3.ffn_norm.weight"},
                 {"model.layers.3.mlp.down_proj.weight", "blk.3.ffn_down.weight"},
                 {"model.layers.x.mlp.down_proj.weight", NULL},
                 {"model.layers.1.mlp.down_proj", NULL},
                 {"model.layers.1", NULL},
                 {"", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[64];
        const gf_config c = {.norms = GF_NORMS_PRE, .qk_norm = GF_QK_HEAD, .output_bias = true};
        const bool has = gf_names_to_gguf(out, &c, cases[i].hf);
        cr_expect_eq(has, cases[i].gguf != NULL, "%s", cases[i].hf);
        if (has && cases[i].gguf)
            cr_expect_str_eq(out, cases[i].gguf);
    }
    char buf[64];
    cr_expect_str_eq(gf_module_name(buf, 7, GF_GATE), "model.layers.7.mlp.gate_proj");
}

/* ---- GGUF ----------------------------------------------------------------------------- */

typedef struct {
    FILE *file;
    uint64_t offset;
} gguf_writer;

static void put_u32(gguf_writer *w, uint32_t x)
{
    fwrite(&x, sizeof x, 1, w->file);
}

static void put_u64(gguf_writer *w, uint64_t x)
{
    fwrite(&x, sizeof x, 1, w->file);
}

static void put_string(gguf_writer *w, const char *s)
{
    put_u64(w, strlen(s));
    fwrite(s, 1, strlen(s), w->file);
}

static void put_key(gguf_writer *w, const char *arch, const char *name, uint32_t type)
{
    char key[128];
    snprintf(key, sizeof key, "%s%s%s", arch, *arch ? "." : "", name);
    put_string(w, key);
    put_u32(w, type);
}

/* A GGUF of the made weights: q and k rows of a llama interleaved as the format wants, by the rule
 * of FORMATS 6.5 written out for itself: new row 2j = old j, new row 2j + 1 = old j + K/2. */
static void made_gguf(const char *path, const gf_files *f, const char *arch, int32_t window,
                      const char *scaling, const float *divisor)
{
    const gf_config *c = &f->config;
    const int64_t count = gf_names_count(c);
    gguf_writer w = {fopen(path, "wb"), 0};
    cr_assert(w.file);
    fwrite("GGUF", 1, 4, w.file);
    put_u32(&w, 3);
    put_u64(&w, (uint64_t)count + (divisor ? 1 : 0));
    const struct {
        const char *name;
        int64_t value;
    } ints[] = {{"block_count", c->L},
                {"context_length", c->max_position},
                {"embedding_length", c->D},
                {"feed_forward_length", c->F},
                {"attention.head_count", c->H},
                {"attention.head_count_kv", c->G},
                {"attention.sliding_window", window}};
    const int used = window > 0 ? 7 : 6;
    put_u64(&w, (uint64_t)used + 3 + (scaling ? 2 : 0));
    if (scaling) {
        const float four = 4;
        put_key(&w, arch, "rope.scaling.type", GF_KV_STRING);
        put_string(&w, scaling);
        put_key(&w, arch, "rope.scaling.factor", GF_KV_F32);
        fwrite(&four, sizeof four, 1, w.file);
    }
    put_key(&w, "", "general.architecture", GF_KV_STRING);
    put_string(&w, arch);
    put_key(&w, "", "tokenizer.ggml.eos_token_id", GF_KV_U32);
    put_u32(&w, 2);
    put_key(&w, arch, "attention.layer_norm_rms_epsilon", GF_KV_F32);
    fwrite(&c->eps, sizeof c->eps, 1, w.file);
    for (int i = 0; i < used; i++) {
        put_key(&w, arch, ints[i].name, GF_KV_U32);
        put_u32(&w, (uint32_t)ints[i].value);
    }
    for (int64_t i = 0; i < count; i++) {
        gf_name n;
        gf_names_get(&n, c, i);
        put_string(&w, n.gguf);
        put_u32(&w, (uint32_t)n.rank);
        for (int d = n.rank - 1; d >= 0; d--)
            put_u64(&w, (uint64_t)n.dim[d]);
        put_u32(&w, 0); /* F32 */
        put_u64(&w, w.offset);
        w.offset += (uint64_t)(n.dim[0] * n.dim[1]) * 4 + 31;
        w.offset &= ~UINT64_C(31);
    }
    if (divisor) {
        put_string(&w, "rope_freqs.weight");
        put_u32(&w, 1);
        put_u64(&w, (uint64_t)c->K / 2);
        put_u32(&w, 0); /* F32 */
        put_u64(&w, w.offset);
    }
    for (int64_t i = 0; i < count; i++) {
        gf_name n;
        gf_names_get(&n, c, i);
        const gf_entry *e = gf_files_find(f, n.name);
        float *data = calloc((size_t)(n.dim[0] * n.dim[1]), sizeof *data);
        OK(gf_files_rows(f, e, 0, 0, n.dim[0], data, err));
        while (ftell(w.file) % 32 != 0)
            fputc(0, w.file);
        for (int64_t at = 0; at < n.dim[0] * n.dim[1]; at++)
            data[at] += n.gguf_add;
        const bool rule = strcmp(arch, "llama") == 0 || strcmp(arch, "granite") == 0 ||
                          strcmp(arch, "smollm3") == 0;
        const bool mixed = rule && (n.linear == GF_Q || n.linear == GF_K);
        for (int64_t r = 0; r < n.dim[0]; r++) {
            int64_t from = r;
            if (mixed)
                from = r / c->K * c->K + r % c->K / 2 + (r % 2) * (c->K / 2);
            fwrite(data + from * n.dim[1], sizeof *data, (size_t)n.dim[1], w.file);
        }
        free(data);
    }
    while (ftell(w.file) % 32 != 0)
        fputc(0, w.file);
    if (divisor)
        fwrite(divisor, sizeof *divisor, (size_t)c->K / 2, w.file);
    while (ftell(w.file) % 32 != 0)
        fputc(0, w.file);
    fclose(w.file);
}

/* The folder and the GGUF made of it must give the same rows, whatever slices are asked for. */
static void expect_same_weights(const gf_files *a, const gf_files *b)
{
    for (int64_t i = 0; i < gf_names_count(&a->config); i++) {
        gf_name n;
        gf_names_get(&n, &a->config, i);
        const size_t size = (size_t)(n.dim[0] * n.dim[1]);
        float *x = calloc(size, sizeof *x), *y = calloc(size, sizeof *y);
        OK(gf_files_rows(a, gf_files_find(a, n.name), 0, 0, n.dim[0], x, err));
        const int64_t heads = n.linear >= 0 ? gf_files_heads(b, (gf_linear_id)n.linear) : 0;
        for (int64_t at = 0, step = 1; at < n.dim[0]; at += step, step = step * 2 + 1) {
            const int64_t rows = at + step > n.dim[0] ? n.dim[0] - at : step;
            OK(gf_files_rows(b, gf_files_find(b, n.name), heads, at, rows, y + at * n.dim[1], err));
        }
        for (size_t e = 0; e < size && n.gguf_add != 0; e++) /* w + 1 was rounded */
            cr_expect_leq(fabsf(x[e] - y[e]), 0x1p-24F, "%s", n.name);
        if (n.gguf_add == 0)
            cr_expect_arr_eq(x, y, size * sizeof *x, "%s", n.name);
        free(x);
        free(y);
    }
}

Test(files, gguf_of_a_folder)
{
    static const struct {
        const char *config, *arch, *family;
        int32_t window;
    } cases[] = {
        {"{\"model_type\":\"llama\",\"attention_bias\":true," TINY_SIZES "}", "llama", "llama", 0},
        {"{\"model_type\":\"mistral\",\"sliding_window\":16," TINY_SIZES "}", "llama", "mistral",
         16},
        {tied, "qwen2", "qwen2", 0},
        {"{\"model_type\":\"qwen3\",\"head_dim\":8," TINY_SIZES "}", "qwen3", "qwen3", 0},
        {"{\"model_type\":\"gemma\",\"head_dim\":8," TINY_SIZES "}", "gemma", "gemma", 0},
        {"{\"model_type\":\"gemma2\",\"head_dim\":8," TINY_SIZES "}", "gemma2", "gemma2", 0},
        {"{\"model_type\":\"gemma3_text\",\"head_dim\":8," TINY_SIZES "}", "gemma3", "gemma3_text",
         0},
        {"{\"model_type\":\"phi3\"," TINY_SIZES "}", "phi3", "phi3", 0},
        {"{\"model_type\":\"smollm3\",\"attention_bias\":true," TINY_SIZES "}", "smollm3",
         "smollm3", 0},
        {"{\"model_type\":\"granite\",\"mlp_bias\":true," TINY_SIZES "}", "granite", "granite", 0},
        {"{\"model_type\":\"olmo2\"," TINY_SIZES "}", "olmo2", "olmo2", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *dir = made_model(cases[i].config, (made_options){.dtype = GF_F32});
        char *path = made_path(dir, "made.gguf");
        gf_files f, g;
        OK(gf_files_open(&f, dir, err));
        made_gguf(path, &f, cases[i].arch, cases[i].window, NULL, NULL);
        OK(gf_files_open(&g, path, err));
        cr_expect_str_eq(g.config.family, cases[i].family);
        cr_expect_eq(g.config.tied, f.config.tied);
        cr_expect_eq(g.config.attention_bias, f.config.attention_bias);
        cr_expect_eq(g.config.output_bias, f.config.output_bias);
        cr_expect_eq(g.config.window[1], cases[i].window);
        cr_expect_eq(g.config.dtype, GF_F32);
        cr_expect(g.config.eos_count == 1 && g.config.eos[0] == 2 && g.config.bos == -1);
        expect_same_weights(&f, &g);
        gf_files_close(&f);
        gf_files_close(&g);
        free(path);
        made_free(dir);
    }
}

Test(files, gguf_rope)
{
    static const float divisor[4] = {1, 1, 3, 8}, broken[4] = {1, 1, 0, 8};
    char *dir = made_model(llama, (made_options){.dtype = GF_F32});
    char *path = made_path(dir, "made.gguf");
    gf_files f, g;
    OK(gf_files_open(&f, dir, err));
    made_gguf(path, &f, "llama", 0, "yarn", NULL);
    OK(gf_files_open(&g, path, err));
    cr_expect(g.config.rope[0].type == GF_ROPE_YARN && g.config.rope[0].factor == 4 &&
              g.config.rope[0].original_max == 64 && g.config.rope[0].beta_fast == 32);
    gf_files_close(&g);
    made_gguf(path, &f, "llama", 0, "linear", NULL);
    OK(gf_files_open(&g, path, err));
    cr_expect(g.config.rope[0].type == GF_ROPE_LINEAR && g.config.rope[0].factor == 4);
    gf_files_close(&g);
    made_gguf(path, &f, "llama", 0, NULL, divisor);
    OK(gf_files_open(&g, path, err));
    cr_assert(g.config.rope[0].divisor);
    cr_expect_arr_eq(g.config.rope[0].divisor, divisor, sizeof divisor);
    gf_files_close(&g);
    static const struct {
        const char *scaling;
        const float *divisor;
        gf_status want;
    } bad_ones[] = {{NULL, broken, GF_EINPUT},
                    {"linear", divisor, GF_EMISSING},
                    {"longrope", NULL, GF_EMISSING}};
    for (size_t i = 0; i < sizeof bad_ones / sizeof bad_ones[0]; i++) {
        gf_err err = {0};
        made_gguf(path, &f, "llama", 0, bad_ones[i].scaling, bad_ones[i].divisor);
        cr_expect_eq(gf_files_open(&g, path, &err), bad_ones[i].want, "%zu: %s", i, err.text);
    }
    gf_files_close(&f);
    free(path);
    made_free(dir);
}

Test(files, gguf_refusals)
{
    char *dir = made_model(llama, (made_options){.dtype = GF_F32});
    char *path = made_path(dir, "made.gguf");
    gf_files f, g;
    OK(gf_files_open(&f, dir, err));
    gf_err err = {0};
    made_gguf(path, &f, "phi2", 0, NULL, NULL);
    cr_expect_eq(gf_files_open(&g, path, &err), GF_EMISSING);
    cr_expect(strstr(err.text, "no architecture phi2"), "%s", err.text);
    err = (gf_err){0};
    made_gguf(path, &f, "qwen2", 0, NULL, NULL); /* which has biases */
    cr_expect_eq(gf_files_open(&g, path, &err), GF_EINPUT);
    cr_expect(strstr(err.text, "blk.0.attn_q.bias is missing"), "%s", err.text);
    err = (gf_err){0};
    made_gguf(path, &f, "qwen2", 16, NULL, NULL);
    cr_expect_eq(gf_files_open(&g, path, &err), GF_EMISSING);
    cr_expect(strstr(err.text, "sliding window"), "%s", err.text);
    err = (gf_err){0};
    made_gguf(path, &f, "olmo2", 16, NULL, NULL); /* an OLMo 3 */
    cr_expect_eq(gf_files_open(&g, path, &err), GF_EMISSING);
    cr_expect(strstr(err.text, "olmo2 model"), "%s", err.text);
    gf_files_close(&f);
    free(path);
    made_free(dir);
}

/* ---- reference cases ------------------------------------------------------------------ */

Test(files, golden)
{
    static const char *const cases[] = {
        "llama-gqa",  "llama3-rope-tied", "mistral-window", "qwen2-bias",          "qwen3-qknorm",
        "gemma-mqa",  "gemma2-softcap",   "gemma3-qknorm",  "granite-multipliers", "olmo2-postnorm",
        "phi3-fused", "phi3-longrope",    "smollm3-nope"};
    if (!gf_dir_exists(GRAFT_SHARED "/golden"))
        cr_skip_test("no reference results in " GRAFT_SHARED);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char dir[512];
        gf_files f;
        gf_err err = {0};
        snprintf(dir, sizeof dir, GRAFT_SHARED "/golden/%s/model", cases[i]);
        cr_assert_eq(gf_files_open(&f, dir, &err), GF_OK, "%s", err.text);
        gf_files_close(&f);
    }
}
