/* test_adamw8.c - 8-bit AdamW: bitsandbytes' maps to the bit, its updates but for roundings, a
 * double-precision oracle, the same bits on every instruction set. */
#include "support/op_case.h"

#include "base/json.h"
#include "map8.h"

#define N 300
#define BLOCKS 2

typedef struct {
    float value[N], m_max[BLOCKS], v_max[BLOCKS];
    uint8_t m[N], v[N];
} state8;

static gf_status update(gf_backend *be, state8 *s, int64_t *g, double scale, const gf_adamw_args *a)
{
    return gf_adamw8(be, gf_view(s->value, GF_F32, "value", N, 0, 0),
                     gf_view(s->m, GF_U8, "m", N, 0, 0), gf_view(s->v, GF_U8, "v", N, 0, 0),
                     gf_view(s->m_max, GF_F32, "m_max", BLOCKS, 0, 0),
                     gf_view(s->v_max, GF_F32, "v_max", BLOCKS, 0, 0),
                     gf_view(g, GF_I64, "g", N, 0, 0), scale, a);
}

/* golden/adamw8.py's numbers. */
static int64_t draw(uint32_t step, uint32_t i)
{
    uint32_t x = step * 7919 + i * 104729 + 12345;
    for (int k = 0; k < 3; k++)
        x = 1664525u * x + 1013904223u;
    return (int64_t)(x >> 12) - (1 << 19);
}

static cJSON *golden(void)
{
    gf_err err = {0};
    cJSON *root = NULL;
    cr_assert_eq(gf_json_read(&root, GRAFT_TESTS "/golden/adamw8.json", &err), GF_OK, "%s",
                 err.text);
    return root;
}

static void numbers(double *out, const cJSON *of, const char *key, int count)
{
    const cJSON *item;
    int n = 0;
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(of, key)) out[n++] = item->valuedouble;
    cr_assert_eq(n, count, "%s", key);
}

Test(adamw8, the_maps_are_bitsandbytes)
{
    cJSON *root = golden();
    double both[2][256];
    numbers(both[0], root, "signed", 256);
    numbers(both[1], root, "unsigned", 256);
    for (int i = 0; i < 256; i++) {
        cr_assert_eq(gf_map8_signed(i), (float)both[0][i], "signed %d: %.9g, not %.9g", i,
                     (double)gf_map8_signed(i), both[0][i]);
        cr_assert_eq(gf_map8_unsigned(i), (float)both[1][i], "unsigned %d: %.9g, not %.9g", i,
                     (double)gf_map8_unsigned(i), both[1][i]);
    }
    cJSON_Delete(root);
}

/* A moment that lies on the middle of two codes may go either way with a rounding, and what follows
 * from it then differs by a code's width. */
static void near_bitsandbytes(const state8 *s, const cJSON *want, double lr)
{
    double value[N], m[N], v[N];
    int other_m = 0, other_v = 0;
    numbers(value, want, "value", N);
    numbers(m, want, "m", N);
    numbers(v, want, "v", N);
    const int step = cJSON_GetObjectItem(want, "step")->valueint;
    for (int i = 0; i < N; i++) {
        const double mine = (double)(gf_map8_signed(s->m[i]) * s->m_max[i / GF_BLOCK8]);
        const double square = (double)(gf_map8_unsigned(s->v[i]) * s->v_max[i / GF_BLOCK8]);
        other_m += fabs(mine - m[i]) > 1e-6 * (double)s->m_max[i / GF_BLOCK8];
        other_v += fabs(square - v[i]) > 1e-6 * (double)s->v_max[i / GF_BLOCK8];
        cr_assert_float_eq((double)s->value[i], value[i], step * lr * 0.02 + 1e-6, "step %d: %d",
                           step, i);
    }
    cr_assert(other_m <= N / 50 && other_v <= N / 50, "step %d: %d and %d codes differ", step,
              other_m, other_v);
}

Test(adamw8, bitsandbytes)
{
    cJSON *root = golden();
    const double lr = cJSON_GetObjectItem(root, "lr")->valuedouble;
    gf_backend be;
    EACH_ISA(be, 1)
    {
        state8 s = {0};
        int64_t g[N];
        for (uint32_t i = 0; i < N; i++)
            s.value[i] = (float)((double)draw(0, i) * 0x1p-20);
        const cJSON *want = cJSON_GetObjectItem(root, "after")->child;
        for (int64_t step = 1; want; step++) {
            const gf_adamw_args a = {lr, 0.9, 0.999, 1e-8, 0.0, step};
            for (uint32_t i = 0; i < N; i++)
                g[i] = draw((uint32_t)step, i) * ((int64_t)1 << (20 - i % 14));
            OP_OK(be, update(&be, &s, g, 0x1p-40, &a));
            if (step == cJSON_GetObjectItem(want, "step")->valueint) {
                near_bitsandbytes(&s, want, lr);
                want = want->next;
            }
        }
    }
    cJSON_Delete(root);
}

/* Is no other code nearer to x by more than f32's roundings of x? */
static void nearest(float (*map)(int), uint8_t code, double x, double most, bool kept_negative)
{
    double best = INFINITY;
    for (int i = 0; i < 256; i++) {
        const double d = fabs((double)map(i) * most - x);
        best = d < best ? d : best;
    }
    if (!kept_negative)
        cr_assert_leq(fabs((double)map(code) * most - x), best + 4 * 0x1p-23 * most, "%g as %d", x,
                      code);
}

static float of_m(int i)
{
    return gf_map8_signed(i);
}
static float of_v(int i)
{
    return gf_map8_unsigned(i);
}

/* One update from any state, in double; with decay, behind the step. */
Test(adamw8, oracle)
{
    gf_backend be;
    EACH_ISA(be, 1)
    {
        uint64_t state = 3;
        state8 s, old;
        int64_t g[N];
        const gf_adamw_args a = {2e-3, 0.9, 0.99, 1e-6, 0.1, 7};
        for (int i = 0; i < N; i++) {
            s.value[i] = (float)op_random(&state);
            s.m[i] = (uint8_t)(i * 37);
            s.v[i] = (uint8_t)(i * 91);
            g[i] = (int64_t)(op_random(&state) * 0x1p36);
        }
        s.m_max[0] = 0.02f, s.m_max[1] = 3.0f, s.v_max[0] = 0.001f, s.v_max[1] = 5.0f;
        old = s;
        OP_OK(be, update(&be, &s, g, 0x1p-40, &a));
        double m[N], v[N], m_max[BLOCKS] = {0}, v_max[BLOCKS] = {0};
        for (int i = 0; i < N; i++) {
            const int b = i / GF_BLOCK8;
            const double gr = (double)g[i] * 0x1p-40;
            m[i] = 0.9 * (double)of_m(old.m[i]) * (double)old.m_max[b] + 0.1 * gr;
            v[i] = 0.99 * (double)of_v(old.v[i]) * (double)old.v_max[b] + 0.01 * gr * gr;
            const double by = m[i] / (1 - pow(0.9, 7)) / (sqrt(v[i] / (1 - pow(0.99, 7))) + 1e-6);
            const double want = ((double)old.value[i] - 2e-3 * by) * (1 - 2e-3 * 0.1);
            /* the value's own roundings, and those of by, whose m may cancel */
            cr_assert_float_eq((double)s.value[i], want, 4 * U32 + 2e-3 * 1e-5 * (1 + fabs(by)));
            m_max[b] = fmax(m_max[b], fabs(m[i]));
            v_max[b] = fmax(v_max[b], v[i]);
        }
        for (int b = 0; b < BLOCKS; b++) {
            cr_assert_float_eq((double)s.m_max[b], m_max[b], 4 * U32 * m_max[b]);
            cr_assert_float_eq((double)s.v_max[b], v_max[b], 4 * U32 * v_max[b]);
        }
        for (int i = 0; i < N; i++) {
            const int b = i / GF_BLOCK8;
            nearest(of_m, s.m[i], m[i], m_max[b], m[i] < 0 && s.m[i] == 126);
            nearest(of_v, s.v[i], v[i], v_max[b], false);
            cr_assert(m[i] >= 0 || s.m[i] < 127, "a negative moment became %d", s.m[i]);
        }
    }
}

Test(adamw8, same_bits_everywhere)
{
    enum { MANY = 40 * GF_BLOCK8 + 17, GROUPS = 41 };
    static float value[MANY], m_max[GROUPS], v_max[GROUPS], first[MANY];
    static uint8_t m[MANY], v[MANY], codes[2][MANY];
    static int64_t g[MANY];
    bool have = false;
    gf_backend be;
    EACH_ISA(be, 3)
    {
        uint64_t state = 9;
        memset(m, 0, sizeof m), memset(v, 0, sizeof v);
        memset(m_max, 0, sizeof m_max), memset(v_max, 0, sizeof v_max);
        for (int i = 0; i < MANY; i++)
            value[i] = (float)op_random(&state);
        for (int64_t t = 1; t <= 4; t++) {
            const gf_adamw_args a = {1e-3, 0.9, 0.999, 1e-8, 0.01, t};
            for (int i = 0; i < MANY; i++) /* a block of zeros among them */
                g[i] = i / GF_BLOCK8 == 3 ? 0 : (int64_t)(op_random(&state) * 0x1p38);
            OP_OK(be,
                  gf_adamw8(&be, gf_view(value, GF_F32, "value", MANY, 0, 0),
                            gf_view(m, GF_U8, "m", MANY, 0, 0), gf_view(v, GF_U8, "v", MANY, 0, 0),
                            gf_view(m_max, GF_F32, "m_max", GROUPS, 0, 0),
                            gf_view(v_max, GF_F32, "v_max", GROUPS, 0, 0),
                            gf_view(g, GF_I64, "g", MANY, 0, 0), 0x1p-40, &a));
        }
        cr_assert(m_max[3] == 0 && v_max[3] == 0 && m[3 * GF_BLOCK8] == 127);
        if (!have) {
            memcpy(first, value, sizeof first);
            memcpy(codes[0], m, sizeof m), memcpy(codes[1], v, sizeof v);
        }
        have = true;
        cr_assert_eq(memcmp(first, value, sizeof first) | memcmp(codes[0], m, sizeof m) |
                         memcmp(codes[1], v, sizeof v),
                     0, "%s", be.ops->name);
    }
}
