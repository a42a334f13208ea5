/* test_ops.c - the front door: dry runs, the tally, and what it says about linear layers. */
#include "support/op_case.h"

static gf_tensor none_of(gf_dtype t, int64_t a, int64_t b)
{
    return gf_view(NULL, t, "t", a, b, 0);
}

static gf_group group(int64_t k)
{
    gf_group g = {.count = 2};
    for (int i = 0; i < 2; i++) {
        g.lin[i].w = none_of(GF_Q8_0, 32 + 32 * i, k);
        g.lin[i].a = none_of(GF_F32, 4, k);
        g.lin[i].b = none_of(GF_F32, 32 + 32 * i, 4);
        g.lin[i].da = none_of(GF_I64, 4, k);
        g.lin[i].db = none_of(GF_I64, 32 + 32 * i, 4);
    }
    return g;
}

Test(front_door, linear)
{
    gf_group g = group(64);
    cr_assert(gf_group_n(&g) == 96 && gf_group_rank(&g) == 8);
    gf_backend be = {.dry = true};
    const gf_span span = {0, 5, 0, 5, 0};
    const gf_spans row = {.tokens = 5, .count = 1, .span = &span};
    const gf_dropout drop = {0};
    gf_fixed fixed = {.shift = 40, .sums = gf_view(NULL, GF_I64, "sums", GF_SUMS, 0, 0)};
    const gf_tensor x = none_of(GF_BF16, 5, 64), y = none_of(GF_BF16, 5, 96),
                    s = none_of(GF_BF16, 5, 8);
    OP_OK(be, gf_group_linear_fwd(&be, y, s, x, gf_none, &g, &row, drop));
    const int64_t base = 2 * 5 * 64 * 96, adapter = 2 * 5 * (8 * 64 + 4 * 96);
    cr_assert_eq(be.tally.flops, base + adapter);
    OP_OK(be, gf_group_linear_bwd(&be, x, s, y, x, s, &g, &row, drop, &fixed));
    cr_assert_eq(be.tally.flops, 2 * base + 3 * adapter);
    OP_OK(be, gf_group_linear_bwd(&be, gf_none, s, y, x, s, &g, &row, drop, &fixed));
    cr_assert_eq(be.tally.flops, 2 * base + 5 * adapter);
    cr_assert_eq(be.tally.calls, 3);

    OP_REFUSED(be, gf_group_linear_fwd(&be, x, s, x, gf_none, &g, &row, drop),
               "group_linear_fwd: y is bf16 [5,64], want f32|bf16 [5,96]");
    OP_REFUSED(be, gf_group_linear_fwd(&be, y, none_of(GF_F32, 5, 8), x, gf_none, &g, &row, drop),
               "group_linear_fwd: s is f32 [5,8], want bf16 [5,8]");
    OP_REFUSED(be, gf_group_linear_bwd(&be, x, s, y, x, s, &g, NULL, drop, &fixed),
               "group_linear_bwd: row is missing");
    OP_REFUSED(be, gf_group_linear_bwd(&be, x, s, y, x, s, &g, &row, drop, NULL),
               "group_linear_bwd: no scale of the fixed point");
    const gf_dropout all = {.p = 1.0f};
    OP_REFUSED(be, gf_group_linear_fwd(&be, y, s, x, gf_none, &g, &row, all),
               "group_linear_fwd: dropout is 1, want 0 <= p < 1");
    g.lin[1].b = gf_none;
    OP_REFUSED(be, gf_group_linear_fwd(&be, y, s, x, gf_none, &g, &row, drop),
               "group_linear_fwd: layer 1 has one of A and B only");
    g = group(64);
    g.lin[0].w = none_of(GF_F32, 32, 60);
    OP_REFUSED(
        be, gf_group_linear_fwd(&be, y, s, x, gf_none, &g, &row, drop),
        "group_linear_fwd: w is f32 [32,60], want "
        "f32|f16|bf16|q8_0|q4_0|q4_1|q5_0|q5_1|iq4_nl|q2_k|q3_k|q4_k|q5_k|q6_k|iq4_xs [*,64]");
    g = group(48);
    OP_REFUSED(be, gf_group_linear_fwd(&be, y, s, none_of(GF_BF16, 5, 48), gf_none, &g, &row, drop),
               "group_linear_fwd: w is q8_0 with rows of 48 elements, stride 48; want multiples "
               "of 32");
    g.count = 4;
    OP_REFUSED(be, gf_group_linear_fwd(&be, y, s, x, gf_none, &g, &row, drop),
               "group_linear_fwd: the group has 4 layers, want 1 to 3");
}

Test(front_door, other_refusals)
{
    gf_backend be = {.dry = true};
    const gf_tensor v = gf_view(NULL, GF_F32, "v", 8, 0, 0),
                    g = gf_view(NULL, GF_I64, "g", 8, 0, 0);
    gf_adamw_args args = {.step = 0};
    OP_REFUSED(be, gf_adamw(&be, v, v, v, g, 1, &args), "adamw: step is 0, want 1 or more");
    OP_REFUSED(be, gf_adamw(&be, v, v, g, g, 1, &args), "adamw: v is i64 [8], want f32 [8]");
    const gf_tensor c = gf_view(NULL, GF_U8, "c", 8, 0, 0), w = gf_view(NULL, GF_F32, "w", 1, 0, 0);
    OP_REFUSED(be, gf_adamw8(&be, v, c, v, w, w, g, 1, &args), "adamw8: v is f32 [8], want u8 [8]");
    OP_REFUSED(be, gf_adamw8(&be, v, c, c, w, v, g, 1, &args),
               "adamw8: v_max is f32 [8], want f32 [1]");
    OP_REFUSED(be, gf_adamw8(&be, v, c, c, w, w, g, 1, &args), "adamw8: step is 0, want 1 or more");
    OP_REFUSED(be, gf_lion(&be, v, c, g, 1, NULL), "lion: m is u8 [8], want f32 [8]");
    OP_REFUSED(be, gf_lion(&be, v, v, g, 1, NULL), "lion: its arguments are missing");
    OP_REFUSED(be, gf_sum_squares(&be, NULL, g, 1), "sum_squares: sum is missing");
    gf_tensor apart = v;
    apart.stride = 2;
    OP_REFUSED(be, gf_adamw(&be, apart, v, v, g, 1, &args), "adamw: value has stride 2, want 1");
    const gf_tensor gate = none_of(GF_F32, 3, 8);
    OP_REFUSED(be, gf_glu_fwd(&be, gate, gate, none_of(GF_F32, 3, 9), GF_SILU),
               "glu_fwd: up is f32 [3,9], want f32|bf16 [3,8]");
    OP_REFUSED(be, gf_glu_fwd(&be, gate, gate, gate, (gf_act)9),
               "glu_fwd: activation 9 is not known");
}

/* The first text wins, as everywhere. */
Test(front_door, first_error_stays)
{
    gf_backend be = {.dry = true};
    cr_assert_eq(gf_zero(&be, gf_none), GF_ESHAPE);
    cr_assert_eq(gf_sum_squares(&be, NULL, gf_none, 1), GF_ESHAPE);
    cr_assert_str_eq(be.err.text, "zero: x is missing");
}

typedef struct {
    gf_tally at[GF_AT_COUNT], all;
} costs;

static void add_cost(void *ctx, gf_at at, const gf_tally *cost)
{
    costs *c = ctx;
    c->at[at].flops += cost->flops;
    c->at[at].calls += cost->calls;
    c->all.flops += cost->flops;
    c->all.bytes += cost->bytes;
    c->all.calls += cost->calls;
}

/* The meter hears of every op, dry or not, and the parts are the whole. */
Test(front_door, meter)
{
    gf_group g = group(64);
    costs heard = {0};
    gf_backend be = {.dry = true, .meter = {add_cost, &heard}};
    const gf_span span = {0, 5, 0, 5, 0};
    const gf_spans row = {.tokens = 5, .count = 1, .span = &span};
    const gf_dropout drop = {0};
    gf_fixed fixed = {.shift = 40, .sums = gf_view(NULL, GF_I64, "sums", GF_SUMS, 0, 0)};
    const gf_tensor x = none_of(GF_BF16, 5, 64), y = none_of(GF_BF16, 5, 96),
                    s = none_of(GF_BF16, 5, 8);
    OP_OK(be, gf_group_linear_fwd(&be, y, s, x, gf_none, &g, &row, drop));
    OP_OK(be, gf_group_linear_bwd(&be, x, s, y, x, s, &g, &row, drop, &fixed));
    OP_OK(be, gf_glu_fwd(&be, x, x, x, GF_SILU));
    const int64_t base = 2 * 5 * 64 * 96, adapter = 2 * 5 * (8 * 64 + 4 * 96);
    cr_assert_eq(heard.at[GF_AT_group_linear_fwd].flops, base);
    cr_assert_eq(heard.at[GF_AT_lora_fwd].flops, adapter);
    cr_assert_eq(heard.at[GF_AT_group_linear_bwd].flops, base);
    cr_assert_eq(heard.at[GF_AT_lora_bwd].flops, 2 * adapter);
    cr_assert_eq(heard.at[GF_AT_glu_fwd].calls, 1);
    cr_assert_eq(heard.all.flops, be.tally.flops);
    cr_assert_eq(heard.all.bytes, be.tally.bytes);
    cr_assert_eq(heard.all.calls, be.tally.calls);
}
