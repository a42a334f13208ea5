/* test_adapter.c - which modules an adapter gets, how it starts, and what its files must hold. */
#include "support/golden.h"
#include "support/program.h"

#include "model/adapter.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool open_files(gf_files *f)
{
    char *dir = golden_case(0);
    if (!dir)
        return false;
    char *model = gf_format(NULL, "%s/model", dir);
    cr_assert_eq(gf_files_open(f, model, NULL), GF_OK);
    free(model);
    free(dir);
    return true;
}

static gf_peft_config regex(const char *target)
{
    return (gf_peft_config){.r = 4, .lora_alpha = 8, .target_regex = gf_strdup(target, NULL)};
}

Test(adapter, all_linear_is_every_layer)
{
    gf_files f;
    gf_adapter ad;
    gf_err err = {0};
    if (!open_files(&f))
        cr_skip_test("no reference cases");
    gf_peft_config c = regex("all-linear");
    cr_assert_eq(gf_adapter_resolve(&ad, &c, &f.config, &err), GF_OK, "%s", err.text);
    cr_assert_eq(ad.count, f.config.L * (GF_DOWN + 1));
    cr_assert_eq(ad.config.targets, GF_DOWN + 1);
    for (int i = 0; i < ad.count; i++)
        cr_assert_float_eq(ad.lora[i].scale, 2.0, 0);
    gf_adapter_free(&ad);
    gf_files_close(&f);
}

static void save(gf_peft_config *c, const char *name)
{
    c->save = gf_realloc(c->save, (size_t)c->saves + 1, sizeof *c->save, NULL);
    c->save[c->saves++] = gf_strdup(name, NULL);
}

/* Copies of the embedding and the head come last, start as the base has them, and carry no LoRA. */
Test(adapter, modules_to_save)
{
    gf_files f;
    gf_adapter ad;
    gf_err err = {0};
    if (!open_files(&f))
        cr_skip_test("no reference cases");
    gf_peft_config c = regex(".*(v_proj|lm_head)");
    save(&c, "lm_head"), save(&c, "model.embed_tokens");
    cr_assert_eq(gf_adapter_resolve(&ad, &c, &f.config, &err), GF_OK, "%s", err.text);
    cr_assert_eq(ad.count, f.config.L);
    cr_assert_null(gf_adapter_find(&ad, -1, GF_HEAD));
    cr_assert_eq(ad.full_embed, ad.params - 2);
    cr_assert_eq(ad.full_head, ad.params - 1);
    const gf_param *p = &ad.param[ad.full_embed];
    cr_assert_str_eq(p->name, "base_model.model.model.embed_tokens.weight");
    cr_assert_str_eq(p[1].name, "base_model.model.lm_head.weight");
    cr_assert_eq(p->at, ad.start[GF_PARAM_FULL]);
    cr_assert_eq(p[1].at + f.config.V * f.config.D, ad.size);
    float *value = calloc((size_t)ad.size, sizeof *value);
    cr_assert_eq(gf_adapter_copy_base(&ad, value, &f, &err), GF_OK, "%s", err.text);
    const gf_entry *e = gf_files_find(&f, "lm_head.weight");
    float *want = malloc((size_t)(f.config.V * f.config.D) * sizeof *want);
    void *raw = malloc(e->bytes);
    cr_assert_eq(gf_source_read(gf_files_source(&f), e, 0, raw, e->bytes, &err), GF_OK);
    gf_to_f32(want, e->dtype, raw, f.config.V * f.config.D);
    cr_assert_eq(memcmp(want, value + p[1].at, (size_t)(f.config.V * f.config.D) * 4), 0);
    free(raw), free(want), free(value);
    gf_adapter_free(&ad);

    c = regex("all-linear");
    save(&c, "norm");
    cr_assert_eq(gf_adapter_resolve(&ad, &c, &f.config, &err), GF_EMISSING);
    cr_assert(strstr(err.text, "\"norm\""), "%s", err.text);
    gf_peft_config_free(&c);
    err = (gf_err){0};
    c = regex("all-linear");
    save(&c, "lm_head");
    f.config.tied = true;
    cr_assert_eq(gf_adapter_resolve(&ad, &c, &f.config, &err), GF_EMISSING);
    cr_assert(strstr(err.text, "target_modules"), "%s", err.text);
    gf_peft_config_free(&c);
    gf_files_close(&f);
}

/* Every tensor once, without gaps, ordered by kind; a module knows its own. */
Test(adapter, the_flat_space_is_ordered_by_kind)
{
    gf_files f;
    gf_adapter ad;
    if (!open_files(&f))
        cr_skip_test("no reference cases");
    gf_peft_config c = regex("all-linear");
    cr_assert_eq(gf_adapter_resolve(&ad, &c, &f.config, NULL), GF_OK);
    int64_t size = 0;
    for (int i = 0; i < ad.params; i++) {
        const gf_param *p = &ad.param[i];
        const gf_lora *lo = &ad.lora[p->lora];
        cr_assert_eq(p->at, size);
        cr_assert(i == 0 || p->kind >= ad.param[i - 1].kind);
        cr_assert(ad.start[p->kind] <= p->at && p->at < ad.start[p->kind + 1]);
        cr_assert_eq(i, p->kind == GF_PARAM_A ? lo->a : lo->b);
        cr_assert_eq(p->rows * p->cols, lo->r * (p->kind == GF_PARAM_A ? lo->k : lo->n));
        size += p->rows * p->cols;
    }
    cr_assert_eq(ad.size, size);
    cr_assert_eq(ad.params, 2 * ad.count);
    cr_assert_str_eq(ad.param[ad.params - 1].name,
                     "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight");
    gf_adapter_free(&ad);
    gf_files_close(&f);
}

Test(adapter, a_target_that_matches_nothing_lists_what_exists)
{
    gf_files f;
    gf_adapter ad;
    if (!open_files(&f))
        cr_skip_test("no reference cases");
    gf_err err = {0};
    gf_peft_config c = regex("transformer\\.h\\..*");
    cr_assert_eq(gf_adapter_resolve(&ad, &c, &f.config, &err), GF_EARG);
    cr_assert(strstr(err.text, "q_proj") && strstr(err.text, "down_proj"), "%s", err.text);
    err = (gf_err){0};
    c = (gf_peft_config){
        .r = 4, .lora_alpha = 8, .targets = 2, .target = calloc(2, sizeof(char *))};
    c.target[0] = gf_strdup("q_proj", NULL);
    c.target[1] = gf_strdup("query", NULL);
    cr_assert_eq(gf_adapter_resolve(&ad, &c, &f.config, &err), GF_EARG);
    cr_assert(strstr(err.text, "\"query\""), "%s", err.text);
    /* in a file it may stand: the tensors decide */
    err = (gf_err){0};
    c = (gf_peft_config){
        .r = 4, .lora_alpha = 8, .targets = 2, .target = calloc(2, sizeof(char *))};
    c.target[0] = gf_strdup("q_proj", NULL);
    c.target[1] = gf_strdup("query", NULL);
    cr_assert_eq(gf_adapter_adopt(&ad, &c, &f.config, &err), GF_OK, "%s", err.text);
    cr_assert_eq(ad.count, (int)f.config.L);
    gf_adapter_free(&ad);
    gf_files_close(&f);
}

Test(adapter, starts_as_peft_does)
{
    gf_files f;
    gf_adapter ad;
    if (!open_files(&f))
        cr_skip_test("no reference cases");
    gf_peft_config c = regex("all-linear");
    cr_assert_eq(gf_adapter_resolve(&ad, &c, &f.config, NULL), GF_OK);
    float *x = malloc((size_t)ad.size * sizeof *x), *y = malloc((size_t)ad.size * sizeof *y);
    gf_adapter_init(&ad, x, GF_INIT_DEFAULT, 1);
    gf_adapter_init(&ad, y, GF_INIT_DEFAULT, 2);
    for (int i = 0; i < ad.count; i++) {
        const gf_lora *lo = &ad.lora[i];
        const double bound = 1 / sqrt((double)lo->k), n = (double)(lo->r * lo->k);
        double sum = 0, square = 0;
        int64_t equal = 0;
        const float *a = x + ad.param[lo->a].at, *b = x + ad.param[lo->b].at;
        const float *other = y + ad.param[lo->a].at;
        for (int64_t e = 0; e < lo->r * lo->k; e++) {
            cr_assert_leq(fabs(a[e]), bound);
            sum += a[e];
            square += (double)a[e] * a[e];
            equal += a[e] == other[e];
        }
        /* Mean 0 and variance bound^2/3 within five standard errors. */
        cr_assert_lt(fabs(sum / n), 5 * bound / sqrt(3 * n));
        cr_assert_float_eq(square / n, bound * bound / 3, 5 * bound * bound * sqrt(4.0 / 45 / n));
        cr_assert_lt(equal, 3, "another seed gives the same numbers");
        for (int64_t e = 0; e < lo->n * lo->r; e++)
            cr_assert_eq(b[e], 0);
    }
    free(x);
    free(y);
    gf_adapter_free(&ad);
    gf_files_close(&f);
}

/* A saved adapter comes back; one tensor more, or one less, is an error that names it. */
Test(adapter, files_hold_exactly_the_adapter)
{
    gf_files f;
    gf_adapter ad, less;
    gf_err err = {0};
    if (!open_files(&f))
        cr_skip_test("no reference cases");
    char *dir = scratch_make();
    gf_peft_config c = regex("all-linear"), q = regex(".*q_proj");
    cr_assert_eq(gf_adapter_resolve(&ad, &c, &f.config, NULL), GF_OK);
    cr_assert_eq(gf_adapter_resolve(&less, &q, &f.config, NULL), GF_OK);
    float *x = malloc((size_t)ad.size * sizeof *x), *y = malloc((size_t)ad.size * sizeof *y);
    gf_adapter_init(&ad, x, GF_INIT_GAUSSIAN, 1);
    cr_assert_eq(gf_adapter_write(&ad, x, dir, &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_adapter_read(&ad, y, dir, &err), GF_OK, "%s", err.text);
    cr_assert_eq(memcmp(x, y, (size_t)ad.size * sizeof *x), 0);
    cr_assert_eq(gf_adapter_read(&less, y, dir, &err), GF_EINPUT);
    cr_assert(strstr(err.text, "belongs to no module"), "%s", err.text);
    cr_assert_eq(gf_adapter_write(&less, x, dir, NULL), GF_OK);
    err = (gf_err){0};
    cr_assert_eq(gf_adapter_read(&ad, y, dir, &err), GF_EINPUT);
    cr_assert(strstr(err.text, "is missing"), "%s", err.text);
    free(x);
    free(y);
    gf_adapter_free(&ad);
    gf_adapter_free(&less);
    gf_files_close(&f);
    scratch_remove(dir);
}
