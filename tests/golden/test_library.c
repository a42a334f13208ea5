/* test_library.c - logits and every gradient of the reference cases, through the library. */
#include "support/golden.h"

#include "base/file.h"
#include "model/model.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* golden/README: what an fp32 path meets; summing in another order is inside. */
#define LOGITS_MAX 1e-5
#define GRADIENT_REL 1e-5

enum { EXAMPLES = 2 };

typedef struct {
    char *dir;
    gf_files files;
    gf_adapter adapter;
    gf_backend be;
    gf_arena arena;
    gf_model model;
    gf_source expected;
    int32_t *ids, *labels;
    int64_t length;
} fixture;

static char *in(const fixture *f, const char *name)
{
    return gf_format(NULL, "%s/%s", f->dir, name);
}

static void open_case(fixture *f, char *dir, const char *base, const char *adapter, gf_use use)
{
    gf_err err = {0};
    *f = (fixture){.dir = dir};
    char *model = in(f, base), *expected = in(f, "expected.safetensors");
    cr_assert_eq(gf_files_open(&f->files, model, &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_safetensors_open(&f->expected, expected, &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_backend_open_cpu(&f->be, 2, "auto", &err), GF_OK, "%s", err.text);
    char *ad = adapter ? in(f, adapter) : NULL;
    if (ad)
        cr_assert_eq(gf_adapter_open(&f->adapter, ad, &f->files.config, &err), GF_OK, "%s",
                     err.text);
    const gf_model_options opt = {.use = use, .precision = GF_F32, .row_tokens = 96};
    cr_assert_eq(gf_model_open(&f->model, &f->files, ad ? &f->adapter : NULL, &f->be, &f->arena,
                               &opt, 0, false, &err),
                 GF_OK, "%s", err.text);
    if (ad)
        cr_assert_eq(gf_adapter_read(&f->adapter, f->model.value.data, ad, &err), GF_OK, "%s",
                     err.text);
    cr_assert_eq(gf_model_tails(&f->model), GF_OK, "%s", f->be.err.text); /* DoRA's norms */
    int64_t n;
    f->ids = golden_tensor(&f->expected, "input_ids", &n);
    f->labels = golden_tensor(&f->expected, "labels", &n);
    f->length = n / EXAMPLES;
    free(model);
    free(expected);
    free(ad);
}

static void close_case(fixture *f)
{
    gf_model_close(&f->model);
    gf_arena_free(&f->arena);
    gf_backend_close(&f->be);
    gf_adapter_free(&f->adapter);
    gf_files_close(&f->files);
    gf_source_close(&f->expected);
    free(f->ids);
    free(f->labels);
    free(f->dir);
}

static void run_row(fixture *f, bool train)
{
    gf_row_start(&f->model);
    for (int e = 0; e < EXAMPLES; e++)
        gf_row_add(&f->model, f->ids + e * f->length, f->labels + e * f->length, f->length,
                   (uint64_t)e);
    cr_assert_eq(gf_model_run(&f->model, train), GF_OK, "%s", f->be.err.text);
}

/* Logits of every token: the final norm and the head over all of the residual stream. */
static float *all_logits(fixture *f)
{
    gf_model *m = &f->model;
    const int64_t N = EXAMPLES * f->length, D = m->cfg->D, V = m->cfg->V;
    float *normed = malloc((size_t)(N * D) * sizeof *normed), *rstd = malloc((size_t)N * 4);
    float *logits = malloc((size_t)(N * V) * sizeof *logits);
    const gf_tensor n = gf_view(normed, GF_F32, "norm", N, D, 0);
    const gf_spans row = {.tokens = N};
    const gf_dropout none = {0};
    cr_assert_eq(gf_rmsnorm_fwd(&f->be, n, gf_view(rstd, GF_F32, "rstd", N, 0, 0),
                                gf_rows(m->x, 0, N), gf_none, m->norm, m->cfg->stream_eps,
                                m->cfg->norm_offset),
                 GF_OK);
    const int64_t rank = gf_group_rank(&m->head);
    float *inner = malloc((size_t)(N * rank + 1) * sizeof *inner);
    const gf_tensor s = rank ? gf_view(inner, GF_F32, "S", N, rank, 0) : gf_none;
    cr_assert_eq(gf_group_linear_fwd(&f->be, gf_view(logits, GF_F32, "logits", N, V, 0), s, n,
                                     gf_none, &m->head, &row, none),
                 GF_OK);
    const float cap = m->cfg->logits_cap;
    for (int64_t i = 0; i < N * V && cap > 0; i++)
        logits[i] = cap * tanhf(logits[i] / cap);
    free(inner);
    free(normed);
    free(rstd);
    return logits;
}

static void check_logits(char *dir, const char *base, const char *adapter, const char *name)
{
    fixture f;
    open_case(&f, dir, base, adapter, GF_USE_EVAL);
    run_row(&f, false);
    int64_t n;
    float *want = golden_tensor(&f.expected, name, &n), *got = all_logits(&f);
    const double most = golden_max(got, want, n);
    cr_log_info("%s %s: max difference %.2e", f.dir, name, most);
    cr_assert_lt(most, LOGITS_MAX, "%s: %s differs by %.3e", f.dir, name, most);
    free(want);
    free(got);
    close_case(&f);
}

static void check_gradients(char *dir)
{
    fixture f;
    open_case(&f, dir, "model", "adapter-init", GF_USE_TRAIN);
    run_row(&f, true);
    cr_assert_eq(((const int64_t *)f.model.sums.data)[GF_SUM_NONFINITE], 0);
    const int64_t *grad = f.model.grad.data;
    for (int i = 0; i < f.adapter.params; i++) {
        const int64_t *g = grad + f.adapter.param[i].at;
        char name[160];
        snprintf(name, sizeof name, "grad.%s", f.adapter.param[i].name);
        int64_t n;
        if (f.adapter.param[i].kind == GF_PARAM_MAGNITUDE) /* a parameter's name has it */
            strcat(name, ".weight");
        float *want = golden_tensor(&f.expected, name, &n);
        float *got = malloc((size_t)n * sizeof *got);
        for (int64_t e = 0; e < n; e++)
            got[e] = (float)(ldexp((double)g[e], -40) / (double)f.model.row.predicted);
        const double d = golden_distance(got, want, n);
        cr_assert_lt(d, GRADIENT_REL, "%s: %s is off by %.3e", f.dir, name, d);
        free(want);
        free(got);
    }
    close_case(&f);
}

Test(library, logits)
{
    char *dir = golden_case(0);
    if (!dir)
        cr_skip_test("no reference cases");
    for (int i = 0; dir; dir = golden_case(++i)) {
        check_logits(gf_strdup(dir, NULL), "model", NULL, "base_logits");
        check_logits(gf_strdup(dir, NULL), "model", "adapter-init", "lora_logits");
        check_logits(dir, "model", "adapter-trained", "trained_logits");
    }
}

/* The same weights as llama.cpp's converter stores them. */
Test(library, gguf)
{
    int files = 0;
    char *dir = golden_case(0);
    for (int i = 0; dir; dir = golden_case(++i)) {
        char *path = gf_format(NULL, "%s/model.gguf", dir);
        files += gf_file_exists(path);
        if (gf_file_exists(path))
            check_logits(gf_strdup(dir, NULL), "model.gguf", NULL, "base_logits");
        free(path);
        free(dir);
    }
    cr_assert_eq(files, 7, "one of each family that make_cases.py makes one for");
}

Test(library, gradients)
{
    char *dir = golden_case(0);
    if (!dir)
        cr_skip_test("no reference cases");
    for (int i = 0; dir; dir = golden_case(++i))
        check_gradients(dir);
}
