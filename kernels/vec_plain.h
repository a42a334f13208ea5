/* vec_plain.h - v16 in four vectors of four, as gcc and clang spell them on every
 * machine. Included by vec.h. Multiply and add are two roundings here: the
 * library's fmaf is a slow call where the machine has none. */
#ifndef GRAFT_VEC_PLAIN_H
#define GRAFT_VEC_PLAIN_H

typedef float v4f __attribute__((vector_size(16)));
typedef int32_t v4i __attribute__((vector_size(16)));
typedef uint32_t v4u __attribute__((vector_size(16)));
typedef struct {
    v4f q[4];
} v16;

/* Attention's register tile: small, there may be only 16 registers of 4 lanes. */
#define V_PAIRS 0 /* no products of bf16 pairs: vec_avx512.h */
#define V_TILE_ROWS 2
#define V_TILE_COLS 1

/* A v16 whose quarters i are `expr`. */
#define V_EACH(expr)                                                                               \
    do {                                                                                           \
        v16 r_;                                                                                    \
        for (int i = 0; i < 4; i++)                                                                \
            r_.q[i] = (expr);                                                                      \
        return r_;                                                                                 \
    } while (0)

static inline v4f v_pick(v4i mask, v4f yes, v4f no)
{
    return (v4f)(((v4i)yes & mask) | ((v4i)no & ~mask));
}
static inline v16 v_set1(float x)
{
    const v4f all = {x, x, x, x};
    V_EACH(all);
}
static inline v16 v_load(const float *p)
{
    v16 x;
    memcpy(&x, p, sizeof x);
    return x;
}
static inline v16 v_load_n(const float *p, int n)
{
    v16 x = {0};
    memcpy(&x, p, (size_t)n * sizeof *p);
    return x;
}
static inline void v_store(float *p, v16 x)
{
    memcpy(p, &x, sizeof x);
}
static inline void v_store_n(float *p, v16 x, int n)
{
    memcpy(p, &x, (size_t)n * sizeof *p);
}
static inline v16 v_load_bf16_n(const uint16_t *p, int n)
{
    uint32_t wide[16] = {0};
    v16 x;
    for (int i = 0; i < n; i++)
        wide[i] = (uint32_t)p[i] << 16;
    memcpy(&x, wide, sizeof x);
    return x;
}
static inline v16 v_load_bf16(const uint16_t *p)
{
    return v_load_bf16_n(p, 16);
}
static inline void v_store_bf16_n(uint16_t *p, v16 x, int n)
{
    float lane[16];
    v_store(lane, x);
    for (int i = 0; i < n; i++)
        p[i] = gf_f32_to_bf16(lane[i]);
}
static inline void v_store_bf16(uint16_t *p, v16 x)
{
    v_store_bf16_n(p, x, 16);
}
static inline v16 v_add(v16 a, v16 b)
{
    V_EACH(a.q[i] + b.q[i]);
}
static inline v16 v_sub(v16 a, v16 b)
{
    V_EACH(a.q[i] - b.q[i]);
}
static inline v16 v_mul(v16 a, v16 b)
{
    V_EACH(a.q[i] * b.q[i]);
}
static inline v16 v_div(v16 a, v16 b)
{
    V_EACH(a.q[i] / b.q[i]);
}
/* a * b + c */
static inline v16 v_fma(v16 a, v16 b, v16 c)
{
    V_EACH(a.q[i] * b.q[i] + c.q[i]);
}
/* a > b ? a : b; a NaN in either gives b. */
static inline v16 v_max(v16 a, v16 b)
{
    V_EACH(v_pick(a.q[i] > b.q[i], a.q[i], b.q[i]));
}
static inline v16 v_min(v16 a, v16 b)
{
    V_EACH(v_pick(a.q[i] < b.q[i], a.q[i], b.q[i]));
}
static inline v16 v_abs(v16 x)
{
    V_EACH((v4f)((v4i)x.q[i] & 0x7FFFFFFF));
}
static inline v16 v_copysign(v16 x, v16 sign)
{
    V_EACH(v_pick((v4i)x.q[i] * 0 + 0x7FFFFFFF, x.q[i], sign.q[i]));
}
static inline v16 v_select_lt(v16 a, v16 b, v16 yes, v16 no)
{
    V_EACH(v_pick(a.q[i] < b.q[i], yes.q[i], no.q[i]));
}
/* Lanes lo <= i < hi of x, fill elsewhere; any lo and hi. */
static inline v16 v_keep(v16 x, int64_t lo, int64_t hi, v16 fill)
{
    const int32_t l = lo < 0 ? 0 : lo > 16 ? 16 : (int32_t)lo;
    const int32_t h = hi < 0 ? 0 : hi > 16 ? 16 : (int32_t)hi;
    const v4i lane = {0, 1, 2, 3};
    V_EACH(v_pick((lane + 4 * i >= l) & (lane + 4 * i < h), x.q[i], fill.q[i]));
}
/* Nearest whole number, ties to even, for |x| < 2^22: 1.5 * 2^23 leaves no room for a fraction. */
static inline v16 v_round(v16 x)
{
    V_EACH((x.q[i] + 12582912.0f) - 12582912.0f);
}
/* x * 2^n for whole n in [-216, 188] and x in [0.5, 2): in two steps, so that neither factor leaves
 * the normal range; only the second rounds. n comes from the bits of n + 1.5 * 2^23; a NaN gives
 * some factor, and stays NaN. */
static inline v4f v_scale2_quarter(v4f x, v4f n)
{
    const v4i k = (v4i)((v4u)(n + 12582912.0f) - 0x4B400000u), k1 = k >> 1;
    const v4u f1 = ((v4u)k1 + 127u) << 23, f2 = ((v4u)k - (v4u)k1 + 127u) << 23;
    return x * (v4f)f1 * (v4f)f2;
}
static inline v16 v_scale2(v16 x, v16 n)
{
    V_EACH(v_scale2_quarter(x.q[i], n.q[i]));
}
/* Folds 16 lanes as (i, i+8), (i, i+4), (i, i+2), (i, i+1). */
static inline float v_sum(v16 x)
{
    const v4f s = (x.q[0] + x.q[2]) + (x.q[1] + x.q[3]);
    return (s[0] + s[2]) + (s[1] + s[3]);
}
static inline float v_hmax(v16 x)
{
    float lane[16], m;
    v_store(lane, x);
    m = lane[0];
    for (int i = 1; i < 16; i++)
        m = lane[i] > m ? lane[i] : m;
    return m;
}
/* dst[c * ld + r] = lane c of r-th row, 16 x 16. */
static inline void v_transpose16(float *dst, int64_t ld, v16 r[16])
{
    for (int c = 0; c < 16; c++)
        for (int i = 0; i < 16; i++)
            dst[c * ld + i] = r[i].q[c / 4][c % 4];
}

#undef V_EACH
#endif
