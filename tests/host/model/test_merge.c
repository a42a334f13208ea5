#include <math.h>

#include "made_model.h"
#include "model/delta.h"
#include "model/merge.h"

static const char llama[] =
    "{\"model_type\":\"llama\",\"torch_dtype\": \"bfloat16\"," TINY_SIZES "}";
static const char adapter[] = "{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":8,\"target_modules\":"
                              "[\"q_proj\",\"down_proj\"]}";

/* ---- made cases ----------------------------------------------------------------------- */

typedef struct {
    const char *drop, *add; /* leave out, or add, a tensor of this name */
    const char *widen;      /* one row too many */
    bool old_names;         /* .lora_A.default.weight */
    bool base_copy;         /* lm_head.base_layer.weight beside it */
    gf_dtype dtype;
    float scale; /* of A's values; 0: 1 */
} adapter_options;

static void made_adapter(const char *dir, const gf_config *c, adapter_options o)
{
    static const gf_linear_id ids[] = {GF_Q, GF_DOWN};
    char names[16][128];
    gf_st_decl decl[16];
    int n = 0;
    made_text(dir, "adapter_config.json", adapter);
    for (int64_t l = 0; l < c->L; l++) {
        for (int i = 0; i < 4; i++) {
            int64_t rows = 0, cols = 0;
            char module[64];
            gf_module_shape(c, ids[i / 2], &rows, &cols);
            snprintf(names[n], sizeof names[n], "base_model.model.%s.lora_%c%s.weight",
                     gf_module_name(module, l, ids[i / 2]), i % 2 == 0 ? 'A' : 'B',
                     o.old_names ? ".default" : "");
            if (o.drop && strcmp(o.drop, names[n]) == 0)
                continue;
            decl[n] = (gf_st_decl){names[n], o.dtype, 2, {rows, 4}};
            if (i % 2 == 0) {
                decl[n].dim[0] = 4;
                decl[n].dim[1] = cols;
            }
            decl[n].dim[0] += o.widen && strcmp(o.widen, names[n]) == 0;
            n++;
        }
    }
    if (o.add)
        decl[n++] = (gf_st_decl){o.add, o.dtype, 1, {3}};
    if (o.base_copy)
        decl[n++] = (gf_st_decl){"base_model.model.lm_head.base_layer.weight", GF_F16, 1, {3}};
    char *path = made_path(dir, "adapter_model.safetensors");
    gf_st_writer *w = NULL;
    OK(gf_st_writer_open(&w, path, decl, n, err));
    for (int at = gf_st_writer_next(w); at >= 0; at = gf_st_writer_next(w)) {
        const int64_t count = decl[at].dim[0] * (decl[at].rank > 1 ? decl[at].dim[1] : 1);
        for (int64_t i = 0; i < count; i++) {
            float x = made_value((uint64_t)(i + 7919 * (at + 1))) * (o.scale > 0 ? o.scale : 1);
            unsigned char raw[4] = {0};
            if (decl[at].dtype != GF_U8)
                gf_from_f32(decl[at].dtype, raw, &x, 1);
            OK(gf_st_writer_data(w, raw, (size_t)gf_dtype_size(decl[at].dtype), err));
        }
    }
    OK(gf_st_writer_commit(w, err));
    free(path);
}

typedef struct {
    char *dir, *model, *adapter, *output;
    gf_files base;
} made_case;

static made_case start(const char *config, made_options mo, adapter_options ao)
{
    made_case m = {.dir = made_folder()};
    m.model = made_path(m.dir, "model");
    m.adapter = made_path(m.dir, "adapter");
    m.output = made_path(m.dir, "output");
    OK(gf_dir_make(m.model, err));
    OK(gf_dir_make(m.adapter, err));
    made_text(m.model, "config.json", config);
    made_weights(m.model, mo);
    OK(gf_files_open(&m.base, m.model, err));
    made_adapter(m.adapter, &m.base.config, ao);
    return m;
}

static void finish(made_case *m)
{
    gf_files_close(&m->base);
    made_free(m->dir);
    free(m->model);
    free(m->adapter);
    free(m->output);
}

static gf_status run_with(const made_case *m, gf_merge_options opt, gf_merge_result *r, gf_err *err)
{
    const gf_merge_adapter one = {m->adapter, 1};
    opt.adapter = opt.adapter ? opt.adapter : &one;
    opt.adapters = opt.adapters ? opt.adapters : 1;
    opt.output = m->output;
    opt.name = "made";
    return gf_merge(r, &m->base, &opt, err);
}

static gf_status run(const made_case *m, gf_dtype dtype, int64_t max_shard, gf_err *err)
{
    gf_merge_result r;
    const gf_status st =
        run_with(m, (gf_merge_options){.dtype = dtype, .max_shard = max_shard}, &r, err);
    gf_quality_free(&r.quality);
    return st;
}

static float *read_f32(const gf_source *s, const gf_entry *e, int64_t *count)
{
    *count = 1;
    for (int i = 0; i < e->rank; i++)
        *count *= e->dim[i];
    void *raw = calloc((size_t)*count, 4);
    float *out = calloc((size_t)*count, sizeof *out);
    OK(gf_source_read(s, e, 0, raw, e->bytes, err));
    gf_to_f32(out, e->dtype, raw, *count);
    free(raw);
    return out;
}

/* All rows in Hugging Face's order. */
static float *read_rows(const gf_files *f, const gf_entry *e, const gf_name *n)
{
    const int64_t heads = n->linear >= 0 ? gf_files_heads(f, (gf_linear_id)n->linear) : 0;
    const int64_t count = n->dim[0] * n->dim[1];
    void *raw = calloc((size_t)count, 4);
    float *out = calloc((size_t)count, sizeof *out);
    OK(gf_files_rows(f, e, heads, 0, n->dim[0], raw, err));
    gf_to_f32(out, e->dtype, raw, count);
    free(raw);
    return out;
}

static float *matrix(const gf_source *s, const char *module, char letter, const char *middle)
{
    char name[160];
    int64_t count = 0;
    snprintf(name, sizeof name, "base_model.model.%s.lora_%c%s.weight", module, letter, middle);
    const gf_entry *e = gf_source_find(s, name);
    cr_assert(e, "%s", name);
    return read_f32(s, e, &count);
}

/* Adds to `want` [rows,k] what the definition says: a chain of fmaf over r, one product, one sum.
 */
static void add_delta(float *want, const gf_source *lora, const gf_name *n, const char *middle,
                      float scale)
{
    char module[64];
    if (n->rank != 2 || (n->linear != GF_Q && n->linear != GF_DOWN))
        return;
    gf_module_name(module, n->layer, (gf_linear_id)n->linear);
    float *a = matrix(lora, module, 'A', middle), *b = matrix(lora, module, 'B', middle);
    for (int64_t j = 0; j < n->dim[0] * n->dim[1]; j++) {
        float sum = 0;
        for (int64_t r = 0; r < 4; r++)
            sum = fmaf(b[j / n->dim[1] * 4 + r], a[r * n->dim[1] + j % n->dim[1]], sum);
        want[j] += sum * scale;
    }
    free(a);
    free(b);
}

/* Every written tensor: the definition, and one rounding to the type that the file has. */
static void expect_file(const made_case *m, gf_dtype matrices, gf_dtype vectors, const char *middle,
                        float scale)
{
    gf_files merged;
    gf_source lora = {0};
    char *path = made_path(m->adapter, "adapter_model.safetensors");
    OK(gf_files_open(&merged, m->output, err));
    OK(gf_safetensors_open(&lora, path, err));
    for (int64_t i = 0; i < gf_names_count(&m->base.config); i++) {
        gf_name n;
        gf_names_get(&n, &m->base.config, i);
        const gf_entry *got = gf_files_find(&merged, n.name);
        cr_assert(got, "%s", n.name);
        /* 48 columns of down_proj are no whole blocks of 32 */
        const gf_dtype type = n.rank < 2                            ? vectors
                              : n.dim[1] % gf_dtype_block(matrices) ? GF_F16
                                                                    : matrices;
        cr_assert_eq(got->dtype, type, "%s", n.name);
        const int64_t count = n.dim[0] * n.dim[1];
        float *want = read_rows(&m->base, gf_files_find(&m->base, n.name), &n);
        float *out = read_rows(&merged, got, &n);
        void *rounded = calloc((size_t)count, sizeof *want);
        add_delta(want, &lora, &n, middle, scale);
        gf_from_f32(type, rounded, want, count);
        gf_to_f32(want, type, rounded, count);
        for (int64_t j = 0; j < count; j++)
            cr_assert(
                out[j] == want[j] || /* a Gemma's norm was w + 1 in between */
                    (n.gguf_add != 0 && merged.is_gguf && fabsf(out[j] - want[j]) <= 0x1p-24F),
                "%s element %lld: %g for %g", n.name, (long long)j, (double)out[j],
                (double)want[j]);
        free(rounded);
        free(want);
        free(out);
    }
    gf_files_close(&merged);
    gf_source_close(&lora);
    free(path);
}

static void expect_merged(const made_case *m, gf_dtype dtype, const char *middle)
{
    expect_file(m, dtype, dtype, middle, 2);
}

Test(merge, every_dtype)
{
    static const gf_dtype types[] = {GF_F32, GF_F16, GF_BF16};
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 3; j++) {
            made_case m = start(llama, (made_options){.dtype = GF_BF16},
                                (adapter_options){.dtype = types[i], .base_copy = i == 0});
            OK(run(&m, types[j], 0, err));
            expect_merged(&m, types[j], "");
            finish(&m);
        }
    }
}

Test(merge, into_a_gguf)
{
    static const gf_dtype types[] = {GF_F32, GF_F16, GF_BF16, GF_Q8_0};
    static const char *const configs[] = {
        llama,
        "{\"model_type\":\"qwen2\",\"tie_word_embeddings\":true," TINY_SIZES "}",
        "{\"model_type\":\"gemma\",\"head_dim\":8," TINY_SIZES "}",
        "{\"model_type\":\"gemma2\",\"head_dim\":8,\"query_pre_attn_scalar\":8," TINY_SIZES "}",
        "{\"model_type\":\"gemma3_text\",\"head_dim\":8,\"query_pre_attn_scalar\":8," TINY_SIZES
        "}",
        "{\"model_type\":\"smollm3\"," TINY_SIZES "}",
        "{\"model_type\":\"granite\",\"residual_multiplier\":0.5," TINY_SIZES "}",
        "{\"model_type\":\"olmo2\"," TINY_SIZES "}"};
    for (int i = 0; i < 4; i++) {
        for (size_t j = 0; j < sizeof configs / sizeof *configs; j++) {
            gf_merge_result r;
            made_case m = start(configs[j], (made_options){.dtype = GF_BF16},
                                (adapter_options){.dtype = GF_F32});
            free(m.output);
            m.output = made_path(m.dir, "output.gguf");
            OK(run_with(&m, (gf_merge_options){.gguf = true, .dtype = types[i]}, &r, err));
            expect_file(&m, types[i], GF_F32, "", 2);
            cr_expect_eq(r.fallbacks, types[i] == GF_Q8_0 ? 2 : 0, "down_proj of two layers");
            cr_expect_eq(r.quality.count, 4);
            gf_quality_free(&r.quality);
            finish(&m);
        }
    }
}

/* In 4 bits the logits' matrix has 8. */
Test(merge, four_bits)
{
    gf_merge_result r;
    gf_files f;
    made_case m =
        start(llama, (made_options){.dtype = GF_BF16}, (adapter_options){.dtype = GF_F32});
    free(m.output);
    m.output = made_path(m.dir, "output.gguf");
    OK(run_with(&m, (gf_merge_options){.gguf = true, .dtype = GF_Q4_0}, &r, err));
    OK(gf_files_open(&f, m.output, err));
    cr_expect_eq(gf_files_find(&f, "lm_head.weight")->dtype, GF_Q8_0);
    cr_expect_eq(gf_files_find(&f, "model.embed_tokens.weight")->dtype, GF_Q4_0);
    cr_expect_eq(gf_files_find(&f, "model.layers.0.self_attn.q_proj.weight")->dtype, GF_Q4_0);
    cr_expect_eq(gf_files_find(&f, "model.layers.1.mlp.down_proj.weight")->dtype, GF_F16);
    cr_expect_eq(gf_files_find(&f, "model.norm.weight")->dtype, GF_F32);
    gf_files_close(&f);
    gf_quality_free(&r.quality);
    finish(&m);
}

/* The file's bytes and every number of the report. */
Test(merge, any_number_of_threads)
{
    static const int threads[] = {0, 1, 3, 64};
    char *first = NULL;
    size_t size = 0;
    gf_merge_result one;
    made_case m =
        start(llama, (made_options){.dtype = GF_BF16}, (adapter_options){.dtype = GF_F32});
    free(m.output);
    m.output = made_path(m.dir, "output.gguf");
    for (int i = 0; i < 4; i++) {
        gf_merge_result r;
        OK(run_with(&m, (gf_merge_options){.gguf = true, .dtype = GF_Q4_0, .threads = threads[i]},
                    &r, err));
        if (i == 0) {
            one = r;
            OK(gf_file_read(m.output, &first, &size, err));
            continue;
        }
        char *bytes = NULL;
        size_t count = 0;
        OK(gf_file_read(m.output, &bytes, &count, err));
        cr_expect(count == size && memcmp(bytes, first, size) == 0, "%d threads", threads[i]);
        cr_expect(r.weight_error == one.weight_error && r.quality.count == one.quality.count);
        for (int j = 0; j < r.quality.count; j++) {
            const gf_quality_row *a = &r.quality.row[j], *b = &one.quality.row[j];
            cr_expect(a->elements == b->elements && a->delta == b->delta &&
                          a->rounding == b->rounding && a->kept == b->kept,
                      "%s, %d threads", a->name, threads[i]);
        }
        gf_quality_free(&r.quality);
        free(bytes);
    }
    gf_quality_free(&one.quality);
    free(first);
    finish(&m);
}

/* Twice the same with weights that add up to 1.5. */
Test(merge, several_adapters_with_weights)
{
    gf_merge_result r;
    made_case m = start(llama, (made_options){.dtype = GF_F32}, (adapter_options){.dtype = GF_F32});
    const gf_merge_adapter list[] = {{m.adapter, 2}, {m.adapter, -0.5}};
    OK(run_with(&m, (gf_merge_options){.adapter = list, .adapters = 2, .dtype = GF_F32}, &r, err));
    gf_files merged;
    gf_source lora = {0};
    char *path = made_path(m.adapter, "adapter_model.safetensors");
    OK(gf_files_open(&merged, m.output, err));
    OK(gf_safetensors_open(&lora, path, err));
    for (int64_t i = 0; i < gf_names_count(&m.base.config); i++) {
        gf_name n;
        gf_names_get(&n, &m.base.config, i);
        float *want = read_rows(&m.base, gf_files_find(&m.base, n.name), &n);
        float *got = read_rows(&merged, gf_files_find(&merged, n.name), &n);
        add_delta(want, &lora, &n, "", 4);
        add_delta(want, &lora, &n, "", -1);
        cr_expect_arr_eq(got, want, (size_t)(n.dim[0] * n.dim[1]) * sizeof *got, "%s", n.name);
        free(want);
        free(got);
    }
    gf_files_close(&merged);
    gf_source_close(&lora);
    gf_quality_free(&r.quality);
    free(path);
    finish(&m);
}

static bool count_slices(void *ctx, int64_t done, int64_t total)
{
    cr_expect(done <= total);
    return ++*(int *)ctx < 5;
}

static gf_status fail_beside(void *ctx, const char *dir, gf_err *err)
{
    made_text(dir, "mine", "x");
    return gf_fail(err, GF_EIO, "%s", (const char *)ctx);
}

Test(merge, stopped_or_failed_leaves_nothing)
{
    gf_merge_result r;
    gf_err first = {0}, other = {0};
    int slices = 0;
    made_case m = start(llama, (made_options){.dtype = GF_F32}, (adapter_options){.dtype = GF_F32});
    gf_merge_options o = {.dtype = GF_F16, .progress = count_slices, .ctx = &slices};
    cr_expect_eq(run_with(&m, o, &r, &first), GF_EINTERRUPT);
    cr_expect(strstr(first.text, "nothing of it was kept"), "%s", first.text);
    cr_expect(!gf_dir_exists(m.output));
    OK(gf_dir_make(m.output, err)); /* one that was there stays, empty */
    o = (gf_merge_options){.dtype = GF_F16, .beside = fail_beside, .ctx = "no room"};
    cr_expect_eq(run_with(&m, o, &r, &other), GF_EIO);
    cr_expect_str_eq(other.text, "no room");
    bool empty = false;
    OK(gf_dir_is_empty(m.output, &empty, err));
    cr_expect(empty && gf_dir_exists(m.output));
    finish(&m);
}

Test(merge, default_dtype_and_old_names)
{
    made_case m = start(llama, (made_options){.dtype = GF_BF16},
                        (adapter_options){.dtype = GF_F32, .old_names = true});
    OK(run(&m, GF_DTYPES, 0, err));
    expect_merged(&m, GF_BF16, ".default");
    char *a = read_text(m.model, "config.json"), *b = read_text(m.output, "config.json");
    cr_expect_str_eq(a, b);
    free(a);
    free(b);
    finish(&m);
}

Test(merge, shards)
{
    made_case m =
        start(llama, (made_options){.dtype = GF_BF16}, (adapter_options){.dtype = GF_F32});
    OK(run(&m, GF_F32, 10000, err));
    expect_merged(&m, GF_F32, "");
    char *index = read_text(m.output, "model.safetensors.index.json");
    cr_expect(strstr(index, "\"lm_head.weight\": \"model-00011-of-00011"), "%s", index);
    free(index);
    finish(&m);
}

Test(merge, tied_head_is_left_out)
{
    static const char tied[] =
        "{\"model_type\":\"qwen2\",\"tie_word_embeddings\":true," TINY_SIZES "}";
    made_case m = start(tied, (made_options){.dtype = GF_F32, .add = "lm_head.weight"},
                        (adapter_options){.dtype = GF_F32});
    OK(run(&m, GF_BF16, 0, err));
    gf_files merged;
    OK(gf_files_open(&merged, m.output, err));
    cr_expect_null(gf_files_find(&merged, "lm_head.weight"));
    gf_files_close(&merged);
    expect_merged(&m, GF_BF16, "");
    finish(&m);
}

Test(merge, config_keeps_all_but_the_dtype)
{
    static const struct {
        const char *before, *after;
    } cases[] = {
        {"{ \"model_type\":\"llama\", \"torch_dtype\" : \"bfloat16\" , \"x\": {\"dtype\": "
         "\"a\\\"\"}, "
         "\"y\": [1.0, \"dtype\"]," TINY_SIZES "}\n",
         "{ \"model_type\":\"llama\", \"torch_dtype\" : \"float32\" , \"x\": {\"dtype\": "
         "\"a\\\"\"}, "
         "\"y\": [1.0, \"dtype\"]," TINY_SIZES "}\n"},
        {"{\"model_type\":\"llama\"," TINY_SIZES ",\"dtype\":null}",
         "{\"model_type\":\"llama\"," TINY_SIZES ",\"dtype\":\"float32\"}"},
        {"{\"model_type\":\"llama\"," TINY_SIZES "}",
         "{\n  \"torch_dtype\": \"float32\",\"model_type\":\"llama\"," TINY_SIZES "}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        made_case m = start(cases[i].before, (made_options){.dtype = GF_BF16},
                            (adapter_options){.dtype = GF_F32});
        made_text(m.model, "generation_config.json", "{\"eos_token_id\": [1, 2]}");
        OK(run(&m, GF_F32, 0, err));
        char *config = read_text(m.output, "config.json");
        char *generation = read_text(m.output, "generation_config.json");
        cr_expect_str_eq(config, cases[i].after);
        cr_expect_str_eq(generation, "{\"eos_token_id\": [1, 2]}");
        free(config);
        free(generation);
        finish(&m);
    }
}

/* ---- refusals ------------------------------------------------------------------------- */

static void bad(adapter_options o, gf_dtype dtype, gf_status want, const char *part)
{
    made_case m = start(llama, (made_options){.dtype = GF_BF16}, o);
    gf_err err = {0};
    cr_expect_eq(run(&m, dtype, 0, &err), want, "%s", err.text);
    cr_expect(strstr(err.text, part), "%s, wanted: %s", err.text, part);
    cr_expect(!gf_dir_exists(m.output), "nothing is left behind");
    finish(&m);
}

Test(merge, refusals)
{
    static const char a[] = "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight";
    static const char b[] = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";
    const gf_dtype t = GF_F32;
    bad((adapter_options){.dtype = t, .drop = a}, GF_DTYPES, GF_EINPUT,
        "down_proj.lora_A.weight is "
        "missing");
    bad((adapter_options){.dtype = t, .drop = b}, GF_DTYPES, GF_EINPUT,
        "q_proj.lora_B.weight is "
        "missing");
    bad((adapter_options){.dtype = t, .widen = a}, GF_DTYPES, GF_EINPUT, "shape [5, 48]");
    bad((adapter_options){.dtype = t, .widen = b}, GF_DTYPES, GF_EINPUT, "shape [33, 4]");
    bad((adapter_options){.dtype = t, .add = "model.layers.0.self_attn.q_proj.lora_A.weight"},
        GF_DTYPES, GF_EINPUT, "belongs to no module");
    bad((adapter_options){.dtype = t,
                          .add = "base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight"},
        GF_DTYPES, GF_EINPUT, "v_proj.lora_A.weight belongs to no module");
    bad((adapter_options){.dtype = t, .add = "base_model.model.lm_head.lora_A.weight"}, GF_DTYPES,
        GF_EINPUT, "belongs to no module");
    bad((adapter_options){.dtype = GF_U8}, GF_DTYPES, GF_EINPUT, "want F32, F16 or BF16");
    bad((adapter_options){.dtype = t, .scale = 1e7F}, GF_F16, GF_ENUMERIC, "which f16 cannot");
    bad((adapter_options){.dtype = t}, GF_Q8_0, GF_EARG, "f32, f16 or bf16");
}

Test(merge, output_must_be_empty)
{
    made_case m =
        start(llama, (made_options){.dtype = GF_BF16}, (adapter_options){.dtype = GF_F32});
    OK(gf_dir_make(m.output, err));
    made_text(m.output, "precious", "x");
    cr_expect_eq(run(&m, GF_DTYPES, 0, NULL), GF_EARG);
    char *kept = read_text(m.output, "precious");
    cr_expect_str_eq(kept, "x");
    free(kept);
    finish(&m);
}

/* ---- arithmetic ----------------------------------------------------------------------- */

Test(delta, chain_of_fused_sums)
{
    /* rows, columns, rank: edges alone, several blocks of columns, a rank too large to pack */
    static const int64_t sizes[][3] = {{1, 1, 1},     {4, 16, 8},   {5, 17, 3},
                                       {7, 40, 64},   {3, 15, 2},   {9, 33, 128},
                                       {6, 300, 128}, {5, 50, 700}, {4, 32, 1100}};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        const int64_t n = sizes[s][0], k = sizes[s][1], r = sizes[s][2];
        float *w = calloc((size_t)(n * k), sizeof *w), *want = calloc((size_t)(n * k), sizeof *w);
        float *b = calloc((size_t)(n * r), sizeof *b), *a = calloc((size_t)(r * k), sizeof *a);
        for (int64_t i = 0; i < n * r; i++)
            b[i] = made_value((uint64_t)i);
        for (int64_t i = 0; i < r * k; i++)
            a[i] = made_value((uint64_t)(i + 5000));
        for (int64_t i = 0; i < n * k; i++) {
            float sum = 0;
            w[i] = made_value((uint64_t)(i + 90000));
            for (int64_t j = 0; j < r; j++)
                sum = fmaf(b[i / k * r + j], a[j * k + i % k], sum);
            want[i] = w[i] + sum * 1.7F;
        }
        gf_delta_add(w, b, a, n, k, r, 1.7F);
        cr_expect_arr_eq(w, want, (size_t)(n * k) * sizeof *w, "case %zu", s);
        free(w);
        free(want);
        free(a);
        free(b);
    }
}

/* ---- reference cases ------------------------------------------------------------------ */

/* The reference merged onto an f32 base, so that is what is written here. */
static void golden_case(const char *name)
{
    char path[512];
    gf_source want = {0};
    made_case m = {.dir = made_folder()};
    m.output = made_path(m.dir, "output");
    snprintf(path, sizeof path, GRAFT_SHARED "/golden/%s/adapter-trained", name);
    m.adapter = strdup(path);
    snprintf(path, sizeof path, GRAFT_SHARED "/golden/%s/model", name);
    OK(gf_files_open(&m.base, path, err));
    OK(run(&m, GF_F32, 0, err));
    gf_files merged;
    OK(gf_files_open(&merged, m.output, err));
    snprintf(path, sizeof path, GRAFT_SHARED "/golden/%s/expected.safetensors", name);
    OK(gf_safetensors_open(&want, path, err));
    int compared = 0;
    for (int i = 0; i < want.count; i++) {
        const gf_entry *e = &want.entry[i];
        if (strncmp(e->name, "merged.", 7) != 0)
            continue;
        const gf_entry *got = gf_files_find(&merged, e->name + 7);
        cr_assert(got, "%s: %s", name, e->name);
        int64_t count = 0, other = 0;
        float *x = read_f32(&want, e, &count);
        float *y = read_f32(gf_files_source(&merged), got, &other);
        cr_assert_eq(count, other);
        for (int64_t j = 0; j < count; j++) /* 1e-6: golden/README.md */
            cr_assert(fabsf(x[j] - y[j]) <= 1e-6F, "%s: %s: %g for %g", name, e->name, (double)y[j],
                      (double)x[j]);
        compared++;
        free(x);
        free(y);
    }
    cr_expect(compared >= 2, "%s: %d tensors compared", name, compared);
    gf_files_close(&merged);
    gf_source_close(&want);
    finish(&m);
}

Test(merge, golden)
{
    static const char *const names[] = {"llama-gqa", "llama3-rope-tied", "mistral-window",
                                        "qwen2-bias", "qwen3-qknorm"};
    if (!gf_dir_exists(GRAFT_SHARED "/golden"))
        cr_skip_test("no reference results in " GRAFT_SHARED);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        golden_case(names[i]);
}
