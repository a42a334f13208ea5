/* test_generate.c - generation over a small model: pieces, cache and reuse change nothing. */
#include "infer/generate.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MODEL GRAFT_TESTS "/golden/cases/llama-gqa/model"

enum { PROMPT = 11, NEW = 20, ROOM = 64 };

typedef struct {
    gf_files files;
    gf_backend be;
    gf_arena arena;
    gf_model m;
} net;

static void open_net(net *n, int64_t row_tokens)
{
    gf_err err = {0};
    const gf_model_options opt = {.use = GF_USE_GENERATE,
                                  .precision = GF_F32,
                                  .row_tokens = row_tokens,
                                  .cache_tokens = ROOM};
    memset(n, 0, sizeof *n);
    cr_assert_eq(gf_files_open(&n->files, MODEL, &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_backend_open_cpu(&n->be, 2, "auto", &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_model_open(&n->m, &n->files, NULL, &n->be, &n->arena, &opt, 0, false, &err),
                 GF_OK, "%s", err.text);
}

static void close_net(net *n)
{
    gf_model_close(&n->m);
    gf_arena_free(&n->arena);
    gf_backend_close(&n->be);
    gf_files_close(&n->files);
}

static void start(const net *n, int32_t ids[ROOM])
{
    for (int i = 0; i < PROMPT; i++)
        ids[i] = (int32_t)((i * 37 + 5) % n->files.config.V);
}

static int64_t generate(net *n, int32_t *ids, int64_t count, const gf_generate_options *opt)
{
    gf_err err = {0};
    cr_assert_eq(gf_generate(&n->m, ids, &count, opt, &err), GF_OK, "%s", err.text);
    return count;
}

static void expect_same(const int32_t *a, const int32_t *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        cr_assert_eq(a[i], b[i], "token %d: %d and %d", (int)i, a[i], b[i]);
}

static const gf_sampling warm = {.temperature = 1.3, .top_k = 40, .top_p = 0.95, .seed = 11};

Test(generate, the_cache_changes_nothing)
{
    net n;
    int32_t once[ROOM], anew[ROOM];
    open_net(&n, 32);
    for (int sampled = 0; sampled < 2; sampled++) {
        const gf_sampling s = sampled ? warm : (gf_sampling){0};
        const gf_generate_options all = {.sampling = s, .max_new_tokens = NEW};
        const gf_generate_options one = {.sampling = s, .max_new_tokens = 1};
        start(&n, once);
        start(&n, anew);
        cr_assert_eq(generate(&n, once, PROMPT, &all), PROMPT + NEW);
        for (int64_t count = PROMPT; count < PROMPT + NEW; count++) /* the whole text each time */
            generate(&n, anew, count, &one);
        expect_same(once, anew, PROMPT + NEW);
    }
    close_net(&n);
}

Test(generate, pieces_change_nothing)
{
    net whole, pieces;
    int32_t a[ROOM], b[ROOM];
    const gf_generate_options opt = {.sampling = warm, .max_new_tokens = NEW};
    open_net(&whole, 32);
    open_net(&pieces, 3);
    start(&whole, a);
    start(&pieces, b);
    generate(&whole, a, PROMPT, &opt);
    generate(&pieces, b, PROMPT, &opt);
    expect_same(a, b, PROMPT + NEW);
    close_net(&whole);
    close_net(&pieces);
}

Test(generate, what_was_seen_is_not_fed_again)
{
    net n;
    int32_t ids[ROOM], other[ROOM], seen[ROOM];
    open_net(&n, 32);
    const gf_generate_options keep = {.max_new_tokens = 8, .seen = seen};
    const gf_generate_options fresh = {.max_new_tokens = 8};
    start(&n, ids);
    const int64_t first = generate(&n, ids, PROMPT, &keep);
    cr_assert_eq(n.m.cache.used, first - 1, "the last token was not fed");
    expect_same(seen, ids, first - 1);

    memcpy(other, ids, sizeof ids); /* a text that goes on ... */
    n.be.tally = (gf_tally){0};
    const int64_t second = generate(&n, other, first, &keep);
    const int64_t reused = n.be.tally.flops;
    memcpy(ids, other, sizeof ids);
    n.be.tally = (gf_tally){0};
    generate(&n, ids, first, &fresh);
    cr_assert(reused < n.be.tally.flops, "%lld flops, anew %lld", (long long)reused,
              (long long)n.be.tally.flops);
    expect_same(ids, other, second);

    n.m.cache.used = 0; /* ... and one that leaves the seen one in its middle */
    start(&n, other);
    generate(&n, other, PROMPT, &keep);
    start(&n, ids);
    start(&n, other);
    ids[PROMPT / 2] = other[PROMPT / 2] = 1;
    generate(&n, other, PROMPT, &keep);
    generate(&n, ids, PROMPT, &fresh);
    expect_same(ids, other, PROMPT + 8);
    close_net(&n);
}

static void start_long(const net *n, int32_t ids[ROOM])
{
    for (int i = 0; i < 2 * PROMPT; i++)
        ids[i] = (int32_t)((i * 37 + 5) % n->files.config.V);
}

/* Dynamic RoPE turned the cache's keys for a text beyond max_position; the next one is short. */
Test(generate, keys_of_a_longer_text_are_not_reused)
{
    net n;
    int32_t ids[ROOM], seen[ROOM];
    float want[128];
    const gf_generate_options keep = {.max_new_tokens = 1, .seen = seen};
    const gf_generate_options fresh = {.max_new_tokens = 1};
    open_net(&n, 32);
    gf_rope_spec *rope = &n.files.config.rope[0];
    rope->type = GF_ROPE_DYNAMIC;
    rope->factor = 2;
    rope->max_position = PROMPT + 2;
    const size_t bytes = (size_t)n.files.config.V * sizeof *want;
    cr_assert(bytes <= sizeof want);
    start_long(&n, ids);
    generate(&n, ids, PROMPT, &fresh);
    memcpy(want, n.m.host.logits, bytes);
    start_long(&n, ids);
    generate(&n, ids, 2 * PROMPT, &keep);
    start_long(&n, ids);
    generate(&n, ids, PROMPT, &keep);
    cr_assert(memcmp(want, n.m.host.logits, bytes) == 0);
    close_net(&n);
}

/* Longrope turns all keys anew when a text grows past original_max: the answer is what it would be
 * if the text had been given whole. */
Test(generate, a_text_that_outgrows_longrope)
{
    net n;
    int32_t ids[ROOM], whole[ROOM];
    float want[128];
    open_net(&n, 32);
    gf_rope_spec *rope = &n.files.config.rope[0];
    const int64_t half = rope->rotary / 2;
    rope->type = GF_ROPE_LONGROPE;
    rope->factor = 1;
    rope->original_max = PROMPT + 5;
    rope->short_factor = calloc((size_t)half, sizeof(float));
    rope->long_factor = calloc((size_t)half, sizeof(float));
    for (int64_t i = 0; i < half; i++) {
        rope->short_factor[i] = 1;
        rope->long_factor[i] = (float)(2 + i);
    }
    const size_t bytes = (size_t)n.files.config.V * sizeof *want;
    start(&n, ids);
    const int64_t count = generate(&n, ids, PROMPT, &(gf_generate_options){.max_new_tokens = NEW});
    memcpy(want, n.m.host.logits, bytes);
    memcpy(whole, ids, sizeof ids);
    generate(&n, whole, count - 1, &(gf_generate_options){.max_new_tokens = 1});
    cr_assert(memcmp(want, n.m.host.logits, bytes) == 0);
    cr_assert_eq(whole[count - 1], ids[count - 1]);
    close_net(&n);
}

static bool three(void *ctx, int32_t id)
{
    int32_t *got = ctx;
    got[++got[0]] = id;
    return got[0] < 3;
}

Test(generate, stops)
{
    net n;
    int32_t ids[ROOM], again[ROOM], got[ROOM] = {0};
    open_net(&n, 32);
    start(&n, ids);
    start(&n, again);
    generate(&n, ids, PROMPT, &(gf_generate_options){.sampling = warm, .max_new_tokens = NEW});
    int at = PROMPT + 2; /* the first place of the id that ends the answer */
    for (int i = PROMPT; i < at; i++)
        at = ids[i] == ids[at] ? i : at;
    const int32_t stop[] = {-1, ids[at]};
    const gf_generate_options ends = {
        .sampling = warm, .max_new_tokens = NEW, .stop = stop, .stops = 2};
    cr_assert_eq(generate(&n, again, PROMPT, &ends), at + 1, "the end token is part of it");
    expect_same(ids, again, at + 1);

    start(&n, again);
    const gf_generate_options told = {
        .sampling = warm, .max_new_tokens = NEW, .emit = three, .ctx = got};
    cr_assert_eq(generate(&n, again, PROMPT, &told), PROMPT + 3);
    expect_same(ids + PROMPT, got + 1, 3);
    close_net(&n);
}

Test(generate, refuses_what_does_not_fit)
{
    net n;
    int32_t ids[ROOM + 1] = {0};
    gf_err err = {0};
    open_net(&n, 32);
    const gf_generate_options opt = {.max_new_tokens = NEW};
    int64_t count = 0;
    cr_assert_eq(gf_generate(&n.m, ids, &count, &opt, &err), GF_EARG);
    count = ROOM - NEW + 1;
    cr_assert_eq(gf_generate(&n.m, ids, &count, &opt, NULL), GF_EARG);
    count = ROOM - NEW;
    ids[2] = (int32_t)n.files.config.V;
    cr_assert_eq(gf_generate(&n.m, ids, &count, &opt, NULL), GF_EARG);
    ids[2] = -1;
    cr_assert_eq(gf_generate(&n.m, ids, &count, &opt, NULL), GF_EARG);
    ids[2] = 0;
    cr_assert_eq(gf_generate(&n.m, ids, &count, &opt, NULL), GF_OK);
    cr_assert_eq(count, ROOM);
    ((float *)n.m.norm.data)[0] = NAN;
    count = PROMPT;
    err = (gf_err){0};
    cr_assert_eq(gf_generate(&n.m, ids, &count, &opt, &err), GF_ENUMERIC);
    cr_assert(strstr(err.text, "not finite"), "%s", err.text);
    close_net(&n);
}
