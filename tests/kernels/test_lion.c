/* test_lion.c - Lion's formula against torch (golden/lion.py), and the same bits everywhere. */
#include "support/op_case.h"

Test(lion, torch)
{
    static const double grad[3][4] = {
        {0.5, -0.25, 0, 1e-3}, {-4, 0.25, 0, -1e-3}, {2, 2.5, 0, 9e-3}};
    static const double value[3][4] = {{0.989, -0.4895, 0.24975, 1.988},
                                       {0.998011, -0.4990105, 0.24950025, 1.996012},
                                       {0.987012989, -0.5085114895, 0.24925074975, 1.984015988}};
    static const double moment[3][4] = {{0.005, -0.0025, 0, 1e-5},
                                        {-0.03505, 2.5e-5, 0, -1e-7},
                                        {-0.0146995, 0.02502475, 0, 8.9901e-5}};
    const gf_lion_args a = {0.01, 0.9, 0.99, 0.1};
    gf_backend be;
    EACH_ISA(be, 1)
    {
        float p[4] = {1, -0.5, 0.25, 2}, m[4] = {0};
        for (int t = 0; t < 3; t++) {
            int64_t g[4];
            for (int i = 0; i < 4; i++)
                g[i] = llrint(grad[t][i] * 0x1p40);
            OP_OK(be,
                  gf_lion(&be, gf_view(p, GF_F32, "p", 4, 0, 0), gf_view(m, GF_F32, "m", 4, 0, 0),
                          gf_view(g, GF_I64, "g", 4, 0, 0), 0x1p-40, &a));
            for (int i = 0; i < 4; i++) { /* roundings of each step, of sizes up to 2 and 0.05 */
                cr_assert_float_eq((double)p[i], value[t][i], (t + 1) * 4 * U32);
                cr_assert_float_eq((double)m[i], moment[t][i], (t + 1) * U32 / 8);
            }
        }
    }
}

Test(lion, same_bits_everywhere)
{
    enum { N = 20011 };
    static float value[N], m[N], first[2][N];
    static int64_t g[N];
    bool have = false;
    gf_backend be;
    EACH_ISA(be, 3)
    {
        uint64_t state = 5;
        memset(m, 0, sizeof m);
        for (int i = 0; i < N; i++)
            value[i] = (float)op_random(&state);
        for (int t = 0; t < 4; t++) {
            const gf_lion_args a = {1e-3, 0.9, 0.99, t % 2 ? 0.0 : 0.01};
            for (int i = 0; i < N; i++)
                g[i] = i % 7 == 0 ? 0 : (int64_t)(op_random(&state) * 0x1p38);
            OP_OK(be, gf_lion(&be, gf_view(value, GF_F32, "value", N, 0, 0),
                              gf_view(m, GF_F32, "m", N, 0, 0), gf_view(g, GF_I64, "g", N, 0, 0),
                              0x1p-40 / 37.0, &a));
        }
        if (!have) {
            memcpy(first[0], value, sizeof value);
            memcpy(first[1], m, sizeof m);
        }
        have = true;
        cr_assert_eq(memcmp(first[0], value, sizeof value) | memcmp(first[1], m, sizeof m), 0, "%s",
                     be.ops->name);
    }
}
