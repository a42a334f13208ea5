/* vec_plain.h - v16 in portable C. Included by vec.h. Multiply and add are two roundings here: the
 * library's fmaf is a slow call where the machine has none. */
#ifndef GRAFT_VEC_PLAIN_H
#define GRAFT_VEC_PLAIN_H

typedef struct {
    float f[16];
} v16;

/* Attention's register tile: small, there may be only 16 registers of 4 lanes. */
#define V_TILE_ROWS 2
#define V_TILE_COLS 1

#define V_EACH(expr)                                                                               \
    do {                                                                                           \
        v16 r_;                                                                                    \
        for (int i = 0; i < 16; i++)                                                               \
            r_.f[i] = (expr);                                                                      \
        return r_;                                                                                 \
    } while (0)

static inline uint32_t v_bits(float x)
{
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}
static inline float v_float(uint32_t b)
{
    float x;
    memcpy(&x, &b, sizeof x);
    return x;
}
static inline v16 v_set1(float x)
{
    V_EACH(x);
}
static inline v16 v_load(const float *p)
{
    V_EACH(p[i]);
}
static inline v16 v_load_n(const float *p, int n)
{
    V_EACH(i < n ? p[i] : 0.0f);
}
static inline void v_store(float *p, v16 x)
{
    memcpy(p, x.f, sizeof x.f);
}
static inline void v_store_n(float *p, v16 x, int n)
{
    memcpy(p, x.f, (size_t)n * sizeof *p);
}
static inline v16 v_load_bf16(const uint16_t *p)
{
    V_EACH(v_float((uint32_t)p[i] << 16));
}
static inline v16 v_load_bf16_n(const uint16_t *p, int n)
{
    V_EACH(i < n ? v_float((uint32_t)p[i] << 16) : 0.0f);
}
static inline void v_store_bf16_n(uint16_t *p, v16 x, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = gf_f32_to_bf16(x.f[i]);
}
static inline void v_store_bf16(uint16_t *p, v16 x)
{
    v_store_bf16_n(p, x, 16);
}
static inline v16 v_add(v16 a, v16 b)
{
    V_EACH(a.f[i] + b.f[i]);
}
static inline v16 v_sub(v16 a, v16 b)
{
    V_EACH(a.f[i] - b.f[i]);
}
static inline v16 v_mul(v16 a, v16 b)
{
    V_EACH(a.f[i] * b.f[i]);
}
static inline v16 v_div(v16 a, v16 b)
{
    V_EACH(a.f[i] / b.f[i]);
}
/* a * b + c */
static inline v16 v_fma(v16 a, v16 b, v16 c)
{
    V_EACH(a.f[i] * b.f[i] + c.f[i]);
}
/* a > b ? a : b; a NaN in either gives b. */
static inline v16 v_max(v16 a, v16 b)
{
    V_EACH(a.f[i] > b.f[i] ? a.f[i] : b.f[i]);
}
static inline v16 v_min(v16 a, v16 b)
{
    V_EACH(a.f[i] < b.f[i] ? a.f[i] : b.f[i]);
}
static inline v16 v_abs(v16 x)
{
    V_EACH(fabsf(x.f[i]));
}
static inline v16 v_copysign(v16 x, v16 sign)
{
    V_EACH(copysignf(x.f[i], sign.f[i]));
}
static inline v16 v_select_lt(v16 a, v16 b, v16 yes, v16 no)
{
    V_EACH(a.f[i] < b.f[i] ? yes.f[i] : no.f[i]);
}
/* Lanes lo <= i < hi of x, fill elsewhere; any lo and hi. */
static inline v16 v_keep(v16 x, int64_t lo, int64_t hi, v16 fill)
{
    V_EACH(i >= lo && i < hi ? x.f[i] : fill.f[i]);
}
/* Nearest whole number, ties to even, for |x| < 2^22: 1.5 * 2^23 leaves no room for a fraction. */
static inline v16 v_round(v16 x)
{
    V_EACH((x.f[i] + 12582912.0f) - 12582912.0f);
}
/* x * 2^n for whole n in [-216, 188] and x in [0.5, 2): in two steps, so that neither factor leaves
 * the normal range; only the second rounds. n comes from the bits of n + 1.5 * 2^23, not by a cast,
 * which a NaN may not take. */
static inline float v_scale2_one(float x, float n)
{
    const int32_t k = (int32_t)(v_bits(n + 12582912.0f) - 0x4B400000u), k1 = k >> 1;
    const float f1 = v_float((uint32_t)(k1 + 127) << 23);
    const float f2 = v_float((uint32_t)(k - k1 + 127) << 23);
    return x * f1 * f2;
}
static inline v16 v_scale2(v16 x, v16 n)
{
    V_EACH(v_scale2_one(x.f[i], n.f[i]));
}
/* Folds 16 lanes as (i, i+8), (i, i+4), (i, i+2), (i, i+1). */
static inline float v_sum(v16 x)
{
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            x.f[i] += x.f[i + half];
    return x.f[0];
}
static inline float v_hmax(v16 x)
{
    float m = x.f[0];
    for (int i = 1; i < 16; i++)
        m = x.f[i] > m ? x.f[i] : m;
    return m;
}
/* dst[c * ld + r] = lane c of r-th row, 16 x 16. */
static inline void v_transpose16(float *dst, int64_t ld, v16 r[16])
{
    for (int c = 0; c < 16; c++)
        for (int i = 0; i < 16; i++)
            dst[c * ld + i] = r[i].f[c];
}

#undef V_EACH
#endif
