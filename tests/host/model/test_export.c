/* test_export.c - adapters as GGUF, ggla and PyTorch files: names, scale, order of rows, values.
 * That llama.cpp and PEFT compute with them what they should: tests/golden/export_check.py. */
#include "model/export.h"
#include "model/export_parts.h"
#include "support/small_model.h"
#include "support/scratch.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OK(expr)                                                                                   \
    do {                                                                                           \
        gf_err err_ = {0}, *err = &err_;                                                           \
        cr_assert_eq((expr), GF_OK, "%s", err_.text);                                              \
    } while (0)

typedef struct {
    gf_config base;
    gf_adapter ad;
    gf_adapter_file file;
    gf_export x;
} opened;

/* A reference case and its adapter. */
static void open_case(opened *o, const char *name)
{
    char model[512], adapter[512];
    snprintf(model, sizeof model, GRAFT_TESTS "/golden/cases/%s/model", name);
    snprintf(adapter, sizeof adapter, GRAFT_TESTS "/golden/cases/%s/adapter-trained", name);
    *o = (opened){0};
    if (access(model, R_OK) != 0)
        cr_skip_test("no reference cases");
    OK(gf_config_read(&o->base, model, err));
    OK(gf_adapter_open(&o->ad, adapter, &o->base, err));
    OK(gf_adapter_file_open(&o->file, &o->ad, adapter, err));
    o->x = (gf_export){.base = &o->base, .name = "test", .adapter = &o->ad, .file = &o->file};
}

static void close_case(opened *o)
{
    gf_adapter_file_close(&o->file);
    gf_adapter_free(&o->ad);
    gf_config_free(&o->base);
}

static float *values(const gf_source *s, const gf_entry *e)
{
    void *raw = malloc((size_t)e->bytes);
    float *out = malloc((size_t)(e->dim[0] * e->dim[1]) * sizeof *out);
    cr_assert(raw && out);
    OK(gf_source_read(s, e, 0, raw, (size_t)e->bytes, err));
    gf_to_f32(out, e->dtype, raw, e->dim[0] * e->dim[1]);
    free(raw);
    return out;
}

/* Where HF's row of a head of width K stands in a GGUF of a Llama. */
static int64_t gguf_row(int64_t row, int64_t width)
{
    const int64_t head = row / width * width, j = row % width;
    return head + (j < width / 2 ? 2 * j : 2 * (j - width / 2) + 1);
}

/* Every matrix of the file against the adapter's, B times `factor[i]`. */
static void check_gguf(const opened *o, const char *path, const double *factor, bool permuted)
{
    gf_gguf g;
    OK(gf_gguf_open(&g, path, err));
    cr_assert_eq(g.source.count, 2 * o->ad.count);
    for (int i = 0; i < o->ad.count; i++) {
        const gf_lora *lo = &o->ad.lora[i];
        char weight[64], name[80];
        OK(gf_export_weight_name(weight, &o->x, i, err));
        snprintf(name, sizeof name, "%s.lora_a", weight);
        const gf_entry *a = gf_source_find(&g.source, name);
        snprintf(name, sizeof name, "%s.lora_b", weight);
        const gf_entry *b = gf_source_find(&g.source, name);
        const int outer = gf_export_is_embedding(&o->x, i); /* its A is transposed */
        cr_assert(a && b && a->dim[outer] == lo->r && a->dim[!outer] == lo->k &&
                      b->dim[0] == lo->n && b->dim[1] == lo->r,
                  "%s", name);
        float *got[2] = {values(&g.source, a), values(&g.source, b)};
        float *want[2] = {values(&o->file.source, o->file.entry[lo->a]),
                          values(&o->file.source, o->file.entry[lo->b])};
        if (outer)
            OK(gf_export_transpose(&want[0], lo->r, lo->k, err));
        cr_expect(memcmp(got[0], want[0], (size_t)(lo->r * lo->k) * 4) == 0, "%s", a->name);
        const bool moved = permuted && (lo->id == GF_Q || lo->id == GF_K);
        for (int64_t row = 0; row < lo->n; row++)
            for (int64_t c = 0; c < lo->r; c++) {
                const int64_t to = moved ? gguf_row(row, o->base.K) : row;
                const float w = (float)((double)want[1][row * lo->r + c] * factor[i]);
                cr_assert_eq(got[1][to * lo->r + c], w, "%s %lld", b->name, (long long)row);
            }
        for (int m = 0; m < 2; m++) {
            free(got[m]);
            free(want[m]);
        }
    }
    gf_gguf_close(&g);
}

static void expect_text(const gf_gguf *g, const char *key, const char *want)
{
    char *text = NULL;
    OK(gf_gguf_string(&text, g, key, err));
    cr_expect_str_eq(text, want, "%s", key);
    free(text);
}

static void expect_keys(const char *path, const char *arch, double alpha)
{
    gf_gguf g;
    double got = 0;
    OK(gf_gguf_open(&g, path, err));
    expect_text(&g, "general.architecture", arch);
    expect_text(&g, "general.type", "adapter");
    expect_text(&g, "adapter.type", "lora");
    OK(gf_gguf_double(&got, &g, "adapter.lora.alpha", 0, err));
    cr_expect_eq(got, alpha, "%g", got);
    gf_gguf_close(&g);
}

Test(export, a_gguf_adapter_has_names_scale_and_order_of_the_base)
{
    static const struct {
        const char *name, *arch;
        bool permuted;
    } cases[] = {{"llama-gqa", "llama", true},
                 {"mistral-window", "llama", true},
                 {"qwen2-bias", "qwen2", false},
                 {"qwen3-qknorm", "qwen3", false},
                 {"llama-outer", "llama", false}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        opened o;
        gf_export_note note;
        const char *path = scratch_path("a.gguf");
        open_case(&o, cases[c].name);
        double *ones = malloc((size_t)o.ad.count * sizeof *ones);
        for (int i = 0; i < o.ad.count; i++)
            ones[i] = 1;
        const double alpha = o.ad.lora[0].scale * (double)o.ad.lora[0].r;
        OK(gf_export_gguf(&o.x, path, GF_F32, &note, err));
        cr_expect_eq(note.folded, 0);
        cr_expect_eq(note.modules, o.ad.count);
        cr_expect_eq(note.permuted > 0, cases[c].permuted);
        expect_keys(path, cases[c].arch, (float)alpha);
        check_gguf(&o, path, ones, cases[c].permuted);
        free(ones);
        close_case(&o);
    }
}

Test(export, scales_that_differ_are_multiplied_into_b)
{
    opened o;
    gf_export_note note;
    const char *path = scratch_path("a.gguf");
    open_case(&o, "llama-gqa");
    double *factor = malloc((size_t)o.ad.count * sizeof *factor);
    for (int i = 0; i < o.ad.count; i++) { /* most have alpha / r with alpha = 12 */
        factor[i] = i % 5 == 2 ? 0.25 : 1;
        o.ad.lora[i].scale = 12 * factor[i] / (double)o.ad.lora[i].r;
    }
    OK(gf_export_gguf(&o.x, path, GF_F32, &note, err));
    expect_keys(path, "llama", 12);
    check_gguf(&o, path, factor, true);
    cr_expect_eq(note.folded, (o.ad.count + 2) / 5);
    for (int i = 0; i < o.ad.count; i++) { /* which llama.cpp would take for a scale of 1 */
        o.ad.lora[i].scale = 0;
        factor[i] = 0;
    }
    OK(gf_export_gguf(&o.x, path, GF_F32, &note, err));
    expect_keys(path, "llama", 1);
    check_gguf(&o, path, factor, true);
    free(factor);
    close_case(&o);
}

Test(export, one_tensor_is_not_adapted_as_the_embedding_alone)
{
    opened o;
    gf_export_note note;
    gf_err why = {0};
    const char *path = scratch_path("a.gguf");
    open_case(&o, "llama-outer");
    o.base.tied = true;
    cr_expect_eq(gf_export_gguf(&o.x, path, GF_F32, &note, &why), GF_EMISSING);
    cr_expect(strstr(why.text, "one of the two alone") && access(path, F_OK) != 0, "%s", why.text);
    close_case(&o);
}

Test(export, ggla_takes_whole_numbers_only)
{
    opened o;
    gf_export_scale s;
    open_case(&o, "llama-gqa");
    const int64_t r = o.ad.config.r;
    for (int i = 0; i < o.ad.count; i++)
        o.ad.lora[i].scale = 9 / (double)r;
    OK(gf_export_scale_find(&s, &o.ad, r, err));
    cr_expect_eq(s.alpha, 9);
    cr_expect_eq(s.factor[0], 1);
    gf_export_scale_free(&s);
    for (int i = 0; i < o.ad.count; i++)
        o.ad.lora[i].scale = 4.5 / sqrt((double)r);
    OK(gf_export_scale_find(&s, &o.ad, 3, err)); /* 3 * 2.25 is none */
    cr_expect_eq(s.alpha, 3);
    cr_expect_float_eq(s.factor[0], 4.5 / sqrt((double)r), 1e-12);
    gf_export_scale_free(&s);
    o.ad.lora[1].scale = 1e39;
    gf_err failed = {0};
    cr_expect_eq(gf_export_scale_find(&s, &o.ad, 0, &failed), GF_EINPUT);
    close_case(&o);
}

/* Fields as the reader of 2023 took them. */
Test(export, ggla_holds_a_transposed_and_b_in_the_order_of_the_base)
{
    opened o;
    gf_export_note note;
    char *data = NULL;
    size_t size = 0;
    const char *path = scratch_path("a.bin");
    open_case(&o, "llama-gqa");
    OK(gf_export_ggla(&o.x, path, &note, err));
    OK(gf_file_read(path, &data, &size, err));
    int32_t head[4];
    memcpy(head, data, sizeof head);
    cr_expect(memcmp(data, "algg", 4) == 0 && head[1] == 1);
    cr_expect_eq(head[2], o.ad.config.r);
    cr_expect_eq((double)head[3], note.alpha);
    size_t at = 16;
    for (int i = 0; i < 2 * o.ad.count; i++) {
        const gf_lora *lo = &o.ad.lora[i / 2];
        char weight[64], name[80];
        int32_t field[5];
        memcpy(field, data + at, sizeof field);
        OK(gf_export_weight_name(weight, &o.x, i / 2, err));
        snprintf(name, sizeof name, "%s.lora%c", weight, "AB"[i % 2]);
        cr_assert(field[0] == 2 && field[1] == (int)strlen(name) && field[2] == 0);
        cr_assert(field[3] == lo->r && field[4] == (i % 2 ? lo->n : lo->k), "%s", name);
        cr_assert(memcmp(data + at + 20, name, strlen(name)) == 0);
        at = (at + 20 + strlen(name) + 31) / 32 * 32;
        float *want = values(&o.file.source, o.file.entry[i % 2 ? lo->b : lo->a]);
        for (int64_t row = 0; row < field[4]; row++)
            for (int64_t c = 0; c < lo->r; c++) {
                const bool moved = i % 2 && (lo->id == GF_Q || lo->id == GF_K);
                const int64_t to = moved ? gguf_row(row, o.base.K) : row;
                float got;
                memcpy(&got, data + at + 4 * (size_t)(to * lo->r + c), 4);
                cr_assert_eq(got, i % 2 ? want[row * lo->r + c] : want[c * lo->k + row], "%s",
                             name);
            }
        free(want);
        at += 4 * (size_t)field[3] * (size_t)field[4];
    }
    cr_expect_eq(at, size);
    free(data);
    close_case(&o);
}

Test(export, types_and_what_they_cannot_hold)
{
    static const struct {
        gf_dtype dtype;
        int other; /* in f16 instead: r is 4, and rows of 4 are no blocks */
    } types[] = {{GF_F16, 0}, {GF_BF16, 0}, {GF_Q8_0, 1}};
    opened o;
    gf_export_note note;
    gf_gguf g;
    const char *path = scratch_path("a.gguf");
    open_case(&o, "llama-gqa");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        OK(gf_export_gguf(&o.x, path, types[i].dtype, &note, err));
        OK(gf_gguf_open(&g, path, err));
        cr_expect_eq(note.other > 0, types[i].other > 0);
        for (int t = 0; t < g.source.count; t++) {
            const gf_entry *e = &g.source.entry[t];
            cr_expect_eq(e->dtype,
                         e->dim[1] % gf_dtype_block(types[i].dtype) ? GF_F16 : types[i].dtype);
        }
        gf_gguf_close(&g);
    }
    for (int i = 0; i < o.ad.count; i++)
        o.ad.lora[i].scale = i ? 1 : 1e9; /* B of the first is multiplied by that */
    gf_err failed = {0};
    cr_expect_eq(gf_export_gguf(&o.x, scratch_path("b.gguf"), GF_F16, &note, &failed), GF_EARG);
    cr_expect(strstr(failed.text, "--dtype f32"), "%s", failed.text);
    cr_expect(access(scratch_path("b.gguf"), F_OK) != 0);
    close_case(&o);
}

Test(export, the_bin_holds_every_byte_of_the_adapter)
{
    opened o;
    char *data = NULL;
    size_t size = 0;
    const char *path = scratch_path("adapter_model.bin");
    open_case(&o, "llama-gqa");
    OK(gf_export_bin(SMALL_ADAPTER, path, err));
    OK(gf_file_read(path, &data, &size, err));
    for (int i = 0; i < o.file.source.count; i++) {
        const gf_entry *e = &o.file.source.entry[i];
        char *want = malloc((size_t)e->bytes);
        OK(gf_source_read(&o.file.source, e, 0, want, (size_t)e->bytes, err));
        cr_expect(memmem(data, size, want, (size_t)e->bytes), "%s", e->name);
        cr_expect(memmem(data, size, e->name, strlen(e->name)), "%s", e->name);
        free(want);
    }
    free(data);
    close_case(&o);
}
