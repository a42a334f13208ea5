/* test_models.c - models that share a device, at once or one after the other: a captured pass
 * belongs to one of them. Odd widths, biases; what a model is refused for. */
#include "support/device_case.h"

#include "model/model.h"

#include "host/model/made_model.h"
#include "support/small_model.h"

#define OTHER_CASE GRAFT_TESTS "/golden/cases/qwen2-bias"
enum { LENGTH = 12 };

typedef struct {
    gf_files files;
    gf_arena arena;
    gf_model model;
} net;

static void open_net(net *n, gf_backend *be, const char *dir)
{
    gf_err err = {0};
    const gf_model_options opt = {
        .use = GF_USE_EVAL, .precision = GF_BF16, .row_tokens = 2 * LENGTH};
    *n = (net){0};
    cr_assert_eq(gf_files_open(&n->files, dir, &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_model_open(&n->model, &n->files, NULL, be, &n->arena, &opt, 0, false, &err),
                 GF_OK, "%s", err.text);
}

static void close_net(net *n)
{
    gf_model_close(&n->model);
    gf_arena_free(&n->arena);
    gf_files_close(&n->files);
}

/* Of LENGTH - 1 predicted tokens; the row's shape is the same for every model. */
static void losses(net *n, float nll[LENGTH])
{
    int32_t ids[LENGTH];
    for (int i = 0; i < LENGTH; i++)
        ids[i] = 3 + (i * 29 + 5) % 90;
    gf_row_start(&n->model);
    gf_row_add(&n->model, ids, ids, LENGTH, 0);
    DEVICE_OK(n->model.be, gf_model_run(&n->model, false));
    DEVICE_OK(n->model.be, gf_model_losses(&n->model));
    cr_assert_eq(n->model.row.predicted, LENGTH - 1);
    memcpy(nll, n->model.host.nll, (LENGTH - 1) * sizeof *nll);
}

static void expect_losses(net *n, const float want[LENGTH])
{
    float got[LENGTH];
    losses(n, got);
    cr_assert(memcmp(got, want, (LENGTH - 1) * sizeof *got) == 0);
}

Test(models, captured_passes_are_their_own)
{
    gf_backend be;
    net one, other;
    float first[LENGTH], second[LENGTH];
    device_open(&be);
    open_net(&one, &be, SMALL_CASE "/model");
    losses(&one, first);
    close_net(&one);
    open_net(&other, &be, OTHER_CASE "/model"); /* perhaps at the same place */
    losses(&other, second);
    cr_assert(memcmp(first, second, sizeof *first) != 0);
    open_net(&one, &be, SMALL_CASE "/model"); /* and beside it */
    expect_losses(&one, first);
    expect_losses(&other, second);
    const int64_t replayed = be.tally.replayed;
    expect_losses(&one, first);
    cr_assert_eq(be.tally.replayed, replayed + 1);
    close_net(&other);
    expect_losses(&one, first);
    close_net(&one);
    device_close(&be);
}

/* Bits of whatever lay there before: NaN in either type. */
static void poison_scratch(net *n)
{
    const size_t bytes = n->arena.part[GF_PART_SCRATCH].size;
    const size_t mark = gf_mark(&n->arena, GF_PART_SCRATCH);
    const gf_tensor all =
        gf_take(&n->arena, GF_PART_SCRATCH, "poison", GF_U8, (int64_t)bytes, 0, 0);
    void *ones = malloc(bytes);
    cr_assert(bytes && ones);
    memset(ones, 0xFF, bytes);
    DEVICE_OK(n->model.be, gf_upload(n->model.be, all, ones));
    DEVICE_OK(n->model.be, gf_wait(n->model.be));
    gf_release(&n->arena, GF_PART_SCRATCH, mark);
    free(ones);
}

/* An odd F, whose padding no kernel but a product reads; biases on what is added to the residual
 * stream, which is f32 whatever the run's precision is. */
Test(models, an_odd_width_and_every_bias)
{
    gf_backend be, cpu;
    net device, host;
    gf_err err = {0};
    float want[LENGTH], got[LENGTH];
    char *dir = made_folder();
    made_text(dir, "config.json",
              "{\"model_type\": \"llama\", \"hidden_size\": 32, \"intermediate_size\": 45, "
              "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, "
              "\"vocab_size\": 97, \"max_position_embeddings\": 64, \"attention_bias\": true, "
              "\"mlp_bias\": true}");
    made_weights(dir, (made_options){.dtype = GF_BF16});
    device_open(&be);
    cr_assert_eq(gf_backend_open_cpu(&cpu, 1, "auto", &err), GF_OK, "%s", err.text);
    open_net(&device, &be, dir);
    open_net(&host, &cpu, dir);
    losses(&host, want);
    poison_scratch(&device);
    losses(&device, got);
    for (int i = 0; i < LENGTH - 1; i++) /* some forty roundings of 2^-8 in logits below 1 */
        cr_assert_float_eq(got[i], want[i], 0.03, "%d: %g, want %g", i, (double)got[i],
                           (double)want[i]);
    close_net(&device);
    close_net(&host);
    device_close(&be);
    gf_backend_close(&cpu);
    made_free(dir);
}

Test(models, a_width_that_is_refused)
{
    gf_backend be;
    gf_files files;
    gf_model m;
    gf_arena arena = {0};
    gf_err err = {0};
    const gf_model_options opt = {.use = GF_USE_EVAL, .precision = GF_BF16, .row_tokens = 16};
    cr_assert_eq(gf_backend_open_cuda(&be, GF_DEVICE_DRY, &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_files_open(&files, SMALL_CASE "/model", &err), GF_OK, "%s", err.text);
    files.config.D = 36;
    cr_assert_eq(gf_model_open(&m, &files, NULL, &be, &arena, &opt, 0, true, &err), GF_EMISSING);
    cr_assert(strstr(err.text, "hidden_size") && strstr(err.text, "--device cpu"), "%s", err.text);
    files.config.D = 32;
    files.config.K = 264;
    err = (gf_err){0};
    cr_assert_eq(gf_model_open(&m, &files, NULL, &be, &arena, &opt, 0, true, &err), GF_EMISSING);
    cr_assert(strstr(err.text, "head_dim") && strstr(err.text, "up to 256"), "%s", err.text);
    gf_files_close(&files);
    gf_backend_close(&be);
}
