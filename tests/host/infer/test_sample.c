/* test_sample.c - one draw: greedy, top-k, top-p, temperature, ties, and the shares that
 * come out. */
#include "infer/generate.h"

#include <criterion/criterion.h>
#include <math.h>

enum { V = 8, DRAWS = 40000, LARGE = 5000 };

static const float logits[V] = {0.5F, 2.0F, -1.0F, 2.0F, 0.0F, 1.0F, -30.0F, 1.5F};

/* Falling: 1 and 3 (equal), 7, 5, 0, 4, 2, 6. */
static void shares(const gf_sampling *s, double out[V])
{
    gf_candidate scratch[V];
    for (int i = 0; i < V; i++)
        out[i] = 0;
    for (uint64_t i = 0; i < DRAWS; i++)
        out[gf_sample(logits, V, s, i, scratch)]++;
    for (int i = 0; i < V; i++)
        out[i] /= DRAWS;
}

static void expected(double temperature, const bool kept[V], double out[V])
{
    double sum = 0;
    for (int i = 0; i < V; i++)
        sum += out[i] = kept[i] ? exp(((double)logits[i] - 2.0) / temperature) : 0;
    for (int i = 0; i < V; i++)
        out[i] /= sum;
}

static void compare(const gf_sampling *s, const bool kept[V])
{
    double got[V], want[V];
    shares(s, got);
    expected(s->temperature, kept, want);
    for (int i = 0; i < V; i++) {
        /* five standard deviations of a binomial share */
        const double tolerance = 5 * sqrt(want[i] * (1 - want[i]) / DRAWS);
        cr_assert(fabs(got[i] - want[i]) <= tolerance, "token %d: share %g, want %g", i, got[i],
                  want[i]);
        cr_assert(kept[i] || got[i] == 0, "token %d was drawn", i);
    }
}

Test(sample, greedy_takes_the_first_of_equals)
{
    const gf_sampling s = {.temperature = 0, .top_k = 3, .top_p = 0.1, .seed = 1};
    cr_assert_eq(gf_sample(logits, V, &s, 0, NULL), 1);
}

Test(sample, shares_are_those_of_softmax)
{
    static const bool all[V] = {1, 1, 1, 1, 1, 1, 1, 1};
    compare(&(gf_sampling){.temperature = 1, .top_p = 1, .seed = 7}, all);
    compare(&(gf_sampling){.temperature = 0.4, .top_p = 1, .seed = 8}, all);
    compare(&(gf_sampling){.temperature = 9, .top_k = 100, .top_p = 1, .seed = 9}, all);
}

Test(sample, top_k_keeps_the_likeliest_lower_ids_first)
{
    static const bool one[V] = {[1] = 1}, three[V] = {[1] = 1, [3] = 1, [7] = 1};
    compare(&(gf_sampling){.temperature = 1, .top_k = 1, .top_p = 1, .seed = 7}, one);
    compare(&(gf_sampling){.temperature = 2, .top_k = 3, .top_p = 1, .seed = 7}, three);
}

Test(sample, top_p_keeps_the_smallest_set_that_reaches_it)
{
    static const bool first[V] = {[1] = 1}, two[V] = {[1] = 1, [3] = 1};
    static const bool four[V] = {[1] = 1, [3] = 1, [7] = 1, [5] = 1};
    double p[V];
    expected(1, (const bool[V]){1, 1, 1, 1, 1, 1, 1, 1}, p);
    compare(&(gf_sampling){.temperature = 1, .top_p = 1e-9, .seed = 7}, first);
    compare(&(gf_sampling){.temperature = 1, .top_p = p[1] * 0.999, .seed = 7}, first);
    compare(&(gf_sampling){.temperature = 1, .top_p = p[1] * 1.001, .seed = 7}, two);
    compare(&(gf_sampling){.temperature = 1, .top_p = p[1] + p[3] + p[7] + 0.9 * p[5], .seed = 7},
            four);
    /* of the top_k's mass, not of all: 1 and 3 are equal, so half is reached by the first */
    compare(&(gf_sampling){.temperature = 1, .top_k = 2, .top_p = 0.499, .seed = 7}, first);
}

Test(sample, a_draw_depends_on_seed_and_index_only)
{
    static float many[LARGE];
    static gf_candidate scratch[LARGE];
    for (int i = 0; i < LARGE; i++)
        many[i] = (float)((i * 7919) % 101) * 0.01F;
    const gf_sampling a = {.temperature = 1, .top_p = 0.9, .seed = 3};
    const gf_sampling b = {.temperature = 1, .top_p = 0.9, .seed = 4};
    int other_seed = 0, other_index = 0;
    for (uint64_t i = 0; i < 50; i++) {
        const int32_t id = gf_sample(many, LARGE, &a, i, scratch);
        cr_assert(id >= 0 && id < LARGE);
        cr_assert_eq(id, gf_sample(many, LARGE, &a, i, scratch));
        other_seed += id != gf_sample(many, LARGE, &b, i, scratch);
        other_index += id != gf_sample(many, LARGE, &a, i + 1, scratch);
    }
    cr_assert(other_seed > 40 && other_index > 40, "%d %d", other_seed, other_index);
}

Test(sample, the_coldest_draw_is_greedy)
{
    static const bool first[V] = {[1] = 1, [3] = 1}; /* equal at any temperature */
    compare(&(gf_sampling){.temperature = 1e-6, .top_p = 1, .seed = 2}, first);
}
