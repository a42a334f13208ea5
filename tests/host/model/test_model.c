/* test_model.c - the network as a whole: its gradient is the derivative of its loss, an example's
 * bits are its own, generation through the cache is the same computation, the plan is what
 * is used. */
#include "support/golden.h"

#include "model/model.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    gf_files files;
    gf_backend be;
    gf_adapter adapter;
    gf_arena arena;
    gf_model model;
} bed;

enum { LENGTH = 21, SHORT = 9 };
static int32_t ids[LENGTH], others[SHORT];

static void open_bed(bed *b, char *dir, gf_use use, gf_dtype precision, int threads, float dropout)
{
    gf_err err = {0};
    *b = (bed){0};
    char *model = gf_format(NULL, "%s/model", dir), *ad = gf_format(NULL, "%s/adapter-init", dir);
    cr_assert_eq(gf_files_open(&b->files, model, &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_backend_open_cpu(&b->be, threads, "auto", &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_adapter_open(&b->adapter, ad, &b->files.config, &err), GF_OK, "%s", err.text);
    const gf_model_options opt = {.use = use,
                                  .precision = precision,
                                  .row_tokens = 2 * LENGTH + SHORT,
                                  .cache_tokens = 2 * LENGTH + SHORT,
                                  .dropout = {.p = dropout, .seed = 11}};
    cr_assert_eq(
        gf_model_open(&b->model, &b->files, &b->adapter, &b->be, &b->arena, &opt, 0, false, &err),
        GF_OK, "%s", err.text);
    cr_assert_eq(gf_adapter_read(&b->adapter, b->model.value.data, ad, &err), GF_OK, "%s",
                 err.text);
    cr_assert_eq(gf_model_tails(&b->model), GF_OK, "%s", b->be.err.text); /* DoRA's norms */
    const int known = b->files.config.V > 93 ? 90 : 58; /* of a vocabulary of 61 */
    for (int i = 0; i < LENGTH; i++)
        ids[i] = 3 + (i * 29 + 5) % known;
    for (int i = 0; i < SHORT; i++)
        others[i] = 3 + (i * 17 + 1) % known;
    free(model);
    free(ad);
}

static void close_bed(bed *b)
{
    gf_model_close(&b->model);
    gf_arena_free(&b->arena);
    gf_adapter_free(&b->adapter);
    gf_backend_close(&b->be);
    gf_files_close(&b->files);
}

static double loss_of_row(bed *b, bool train)
{
    const float *nll = b->model.nll.data;
    double sum = 0;
    cr_assert_eq(gf_model_run(&b->model, train), GF_OK, "%s", b->be.err.text);
    for (int64_t i = 0; i < b->model.row.predicted; i++)
        sum += (double)nll[i];
    return sum;
}

static double loss_and_gradient(bed *b)
{
    cr_assert_eq(gf_zero(&b->be, b->model.reduced), GF_OK);
    b->model.fixed.shift = 40;
    gf_row_start(&b->model);
    gf_row_add(&b->model, ids, ids, LENGTH, 0);
    gf_row_add(&b->model, others, others, SHORT, 1);
    return loss_of_row(b, true);
}

/* All of A and B: DoRA's magnitudes act through what gf_model_tails makes, with norms that count as
 * constants. */
static int64_t directions(const bed *b)
{
    return b->adapter.start[GF_PARAM_MAGNITUDE];
}

/* Moves the adapter by h along a direction of fixed signs. */
static void move(bed *b, const float *from, double h)
{
    float *value = b->model.value.data;
    for (int64_t i = 0; i < directions(b); i++)
        value[i] = (float)((double)from[i] + ((i * 2654435761u) >> 13 & 1 ? h : -h));
}

/* Central differences along a direction against the gradient's product with it. The loss is an f32
 * sum of about 28 terms of 5: rounding 1e-5 over 2h = 1e-3 is 1e-2; the third derivative adds 2e4
 * h^2 = 5e-3 here. */
static void check_derivative(char *dir, float dropout)
{
    bed b;
    open_bed(&b, dir, GF_USE_TRAIN, GF_F32, 2, dropout);
    const double h = 5e-4;
    const size_t bytes = (size_t)b.adapter.size * sizeof(float);
    float *from = malloc(bytes);
    memcpy(from, b.model.value.data, bytes);
    loss_and_gradient(&b);
    const int64_t *g = b.model.grad.data;
    double want = 0;
    for (int64_t i = 0; i < directions(&b); i++)
        want += ldexp((double)g[i], -40) * ((i * 2654435761u) >> 13 & 1 ? 1 : -1);
    move(&b, from, h);
    const double up = loss_of_row(&b, false);
    move(&b, from, -h);
    const double down = loss_of_row(&b, false);
    const double got = (up - down) / (2 * h);
    cr_assert_float_eq(got, want, 2e-2 * fabs(want) + 3e-2, "%s, dropout %.1f: %.5f, gradient %.5f",
                       dir, (double)dropout, got, want);
    free(from);
    close_bed(&b);
}

Test(model, the_gradient_is_the_derivative)
{
    char *dir = golden_case(0);
    if (!dir)
        cr_skip_test("no reference cases");
    for (int i = 0; dir; dir = golden_case(++i)) {
        check_derivative(dir, 0);
        check_derivative(dir, 0.3f);
        free(dir);
    }
}

/* Losses and gradients of two examples in one row are those of each alone, to the bit. */
static void check_rows(char *dir, gf_dtype precision)
{
    bed b, c;
    open_bed(&b, dir, GF_USE_TRAIN, precision, 1, 0.2f);
    open_bed(&c, dir, GF_USE_TRAIN, precision, 2, 0.2f);
    loss_and_gradient(&b);
    cr_assert_eq(gf_zero(&c.be, c.model.reduced), GF_OK);
    c.model.fixed.shift = 40;
    gf_row_start(&c.model);
    gf_row_add(&c.model, others, others, SHORT, 1);
    loss_of_row(&c, true);
    const float *all = b.model.nll.data, *one = c.model.nll.data;
    cr_assert_eq(memcmp(all + LENGTH - 1, one, (SHORT - 1) * sizeof *one), 0, "%s: losses", dir);
    gf_row_start(&c.model);
    gf_row_add(&c.model, ids, ids, LENGTH, 0);
    loss_of_row(&c, true);
    cr_assert_eq(memcmp(all, one, (LENGTH - 1) * sizeof *one), 0, "%s: losses", dir);
    cr_assert_eq(
        memcmp(b.model.grad.data, c.model.grad.data, (size_t)b.adapter.size * sizeof(int64_t)), 0,
        "%s: gradients", dir);
    cr_assert_eq(memcmp(b.model.sums.data, c.model.sums.data, GF_SUMS * sizeof(int64_t)), 0,
                 "%s: sums", dir);
    close_bed(&b);
    close_bed(&c);
}

Test(model, an_examples_bits_are_its_own)
{
    char *dir = golden_case(0);
    if (!dir)
        cr_skip_test("no reference cases");
    for (int i = 0; dir; dir = golden_case(++i)) {
        check_rows(dir, GF_F32);
        check_rows(dir, GF_BF16);
        free(dir);
    }
}

/* Token by token, in pieces, and all at once: the same logits, to the bit. (RoPE that depends on
 * the length is told that of the whole text each time; tests/host/infer has texts that grow.) */
static void check_cache(char *dir)
{
    bed b;
    open_bed(&b, dir, GF_USE_GENERATE, GF_F32, 2, 0);
    const size_t bytes = (size_t)b.files.config.V * sizeof(float);
    float *whole = malloc(bytes);
    cr_assert_eq(gf_model_feed(&b.model, ids, LENGTH, LENGTH), GF_OK, "%s", b.be.err.text);
    memcpy(whole, b.model.logits.data, bytes);
    const int pieces[] = {1, 4, LENGTH - 1};
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
        b.model.cache.used = 0;
        for (int at = 0; at < LENGTH; at += pieces[p]) {
            const int n = LENGTH - at < pieces[p] ? LENGTH - at : pieces[p];
            cr_assert_eq(gf_model_feed(&b.model, ids + at, n, LENGTH), GF_OK, "%s", b.be.err.text);
        }
        cr_assert_eq(memcmp(whole, b.model.logits.data, bytes), 0, "%s: pieces of %d", dir,
                     pieces[p]);
    }
    free(whole);
    close_bed(&b);
}

Test(model, the_cache_changes_nothing)
{
    char *dir = golden_case(0);
    if (!dir)
        cr_skip_test("no reference cases");
    for (int i = 0; dir; dir = golden_case(++i)) {
        check_cache(dir);
        free(dir);
    }
}

Test(model, the_arena_is_used_as_planned)
{
    char *dir = golden_case(0);
    if (!dir)
        cr_skip_test("no reference cases");
    for (int use = GF_USE_TRAIN; use <= GF_USE_EVAL; use++) {
        bed b;
        open_bed(&b, dir, (gf_use)use, GF_BF16, 1, 0);
        gf_row_start(&b.model);
        gf_row_add(&b.model, others, others, SHORT, 0);
        loss_of_row(&b, use == GF_USE_TRAIN);
        for (int p = 0; p < GF_PARTS; p++)
            cr_assert_eq(b.arena.part[p].peak, b.arena.part[p].size, "%s",
                         gf_part_name((gf_part)p));
        close_bed(&b);
    }
    free(dir);
}

Test(model, what_does_not_fit_is_refused)
{
    char *dir = golden_case(0);
    if (!dir)
        cr_skip_test("no reference cases");
    gf_err err = {0};
    gf_files files;
    gf_backend be;
    gf_arena arena = {0};
    gf_model m;
    char *model = gf_format(NULL, "%s/model", dir);
    cr_assert_eq(gf_files_open(&files, model, &err), GF_OK);
    cr_assert_eq(gf_backend_open_cpu(&be, 1, "auto", &err), GF_OK);
    const gf_model_options opt = {.use = GF_USE_EVAL, .precision = GF_F32, .row_tokens = 64};
    cr_assert_eq(gf_model_open(&m, &files, NULL, &be, &arena, &opt, 1000, false, &err), GF_EFIT);
    cr_assert(strstr(err.text, "needs"), "%s", err.text);
    cr_assert_null(arena.base);
    gf_backend_close(&be);
    gf_files_close(&files);
    free(model);
    free(dir);
}
