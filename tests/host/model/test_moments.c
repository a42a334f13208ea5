/* test_moments.c - which tensors are kept in 8 bits, and how many calls an update takes. */
#include "model/moments.h"

#include <criterion/criterion.h>

/* A, A, B, B; the second A is not made of whole blocks, the second B too small for 8 bits. */
static gf_param params[] = {
    {.kind = GF_PARAM_A, .rows = 16, .cols = 512},
    {.kind = GF_PARAM_A, .rows = 9, .cols = 500, .at = 8192},
    {.kind = GF_PARAM_B, .rows = 512, .cols = 16, .at = 12692},
    {.kind = GF_PARAM_B, .rows = 100, .cols = 16, .at = 20884},
    {.kind = GF_PARAM_MAGNITUDE, .rows = 4096, .cols = 1, .at = 22484},
};
static const gf_adapter adapter = {.param = params, .params = 5, .size = 26580};

static void expect(gf_optim optim, double rate_of_b, const gf_stretch *want, int count)
{
    double rate[GF_PARAM_KINDS];
    for (int i = 0; i < GF_PARAM_KINDS; i++)
        rate[i] = i == GF_PARAM_B ? rate_of_b : 1;
    gf_stretch s = {0};
    for (int i = 0; i < count; i++) {
        cr_assert(gf_stretch_next(&s, &adapter, optim, rate), "%d", i);
        cr_assert(s.first == want[i].first && s.count == want[i].count && s.at == want[i].at &&
                      s.coded == want[i].coded && s.block == want[i].block &&
                      s.blocks == want[i].blocks && s.kind == want[i].kind,
                  "stretch %d: %lld+%lld at %lld, block %lld", i, (long long)s.first,
                  (long long)s.count, (long long)s.at, (long long)s.block);
    }
    cr_assert_not(gf_stretch_next(&s, &adapter, optim, rate));
}

Test(moments, stretches)
{
    const gf_stretch all[] = {{.count = 26580}};
    expect(GF_OPTIM_ADAMW, 1, all, 1);
    const gf_stretch kinds[] = {
        {.count = 12692},
        {.first = 12692, .count = 9792, .at = 12692, .kind = GF_PARAM_B},
        {.first = 22484, .count = 4096, .at = 22484, .kind = GF_PARAM_MAGNITUDE}};
    expect(GF_OPTIM_LION, 16, kinds, 3);
    const gf_stretch coded[] = {{.count = 12692, .coded = true, .blocks = 50},
                                {.first = 12692,
                                 .count = 8192,
                                 .at = 12692,
                                 .coded = true,
                                 .block = 50,
                                 .blocks = 32,
                                 .kind = GF_PARAM_B},
                                {.first = 20884, .count = 1600, .kind = GF_PARAM_B},
                                {.first = 22484,
                                 .count = 4096,
                                 .at = 20884,
                                 .coded = true,
                                 .block = 82,
                                 .blocks = 16,
                                 .kind = GF_PARAM_MAGNITUDE}};
    expect(GF_OPTIM_ADAMW8, 1, coded, 4);
}

Test(moments, sizes)
{
    int64_t size[GF_MOMENTS];
    gf_moments_size(size, &adapter, GF_OPTIM_ADAMW);
    cr_assert(size[GF_MOMENT_M] == 26580 && size[GF_MOMENT_V] == 26580 && !size[GF_MOMENT_M_CODE]);
    gf_moments_size(size, &adapter, GF_OPTIM_LION);
    cr_assert(size[GF_MOMENT_M] == 26580 && !size[GF_MOMENT_V]);
    gf_moments_size(size, &adapter, GF_OPTIM_ADAMW8);
    cr_assert(size[GF_MOMENT_M] == 1600 && size[GF_MOMENT_V] == 1600);
    cr_assert(size[GF_MOMENT_M_CODE] == 24980 && size[GF_MOMENT_V_CODE] == 24980);
    cr_assert(size[GF_MOMENT_M_MAX] == 98 && size[GF_MOMENT_V_MAX] == 98);
}
