/* quantise.c - f32 into q8_0, q4_0 and q4_k. Contract: graft/tensor.h (gf_from_f32); layouts:
 * blocks.h. */
#include "quantise.h"
#include "blocks.h"

#include <assert.h>
#include <math.h>

#define HALF_NAN 0x7E00 /* a quiet NaN as f16 */

static void put_half(unsigned char *p, uint16_t h)
{
    memcpy(p, &h, sizeof h);
}

/* No NaN and no Inf: only these make a difference with themselves that is not 0. */
static bool all_finite(const float *x, int n)
{
    float sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i] - x[i];
    return sum == 0.0f;
}

/* 1 / d, or 0 where there is none: the block is then all zeros, as far as f16 can tell. */
static float inverse(float d)
{
    const float id = 1.0f / d;
    return isfinite(id) ? id : 0.0f;
}

/* ---- q8_0, q4_0: the largest number makes the scale -------------------------------- */

static void put_q8_0(unsigned char *b, const float *x)
{
    float most = 0;
    for (int i = 0; i < GF_LINE; i++)
        most = fmaxf(most, fabsf(x[i]));
    const float d = most / 127.0f, id = inverse(d);
    put_half(b, gf_f32_to_f16(d));
    for (int i = 0; i < GF_LINE; i++)
        b[2 + i] = (unsigned char)(int8_t)roundf(x[i] * id); /* at most 127 and its rounding */
}

static unsigned q4_0_code(float x, float id)
{
    const float q = x * id + 8.5f; /* within 0.5 and 16.5 */
    return q >= 16.0f ? 15u : (unsigned)q;
}

static void put_q4_0(unsigned char *b, const float *x)
{
    float most = x[0]; /* the first of the largest, with its sign: it becomes -8 */
    for (int i = 1; i < GF_LINE; i++)
        if (fabsf(x[i]) > fabsf(most))
            most = x[i];
    const float d = most / -8.0f, id = inverse(d);
    put_half(b, gf_f32_to_f16(d));
    for (int i = 0; i < GF_LINE / 2; i++)
        b[2 + i] = (unsigned char)(q4_0_code(x[i], id) | q4_0_code(x[i + 16], id) << 4);
}

/* ---- q4_k: eight lines of x = scale * code - min, scale and min of 6 bits ----------- */

enum { LINES = GF_SUPER / GF_LINE, CODES = 15, SIXES = 63 };

/* A number of each line, so that the eight are fitted side by side, each in the order and with the
 * roundings that it would have alone: any instruction set makes the same bits. */
typedef float lanes __attribute__((vector_size(LINES * sizeof(float))));
typedef int32_t mask __attribute__((vector_size(LINES * sizeof(float))));

typedef struct {
    lanes scale, min;
} fit;

typedef struct {
    lanes x[GF_LINE], w[GF_LINE]; /* values and what their errors weigh */
    lanes sw, sx;                 /* sums of w and of w x */
} lines;

/* Of a line whose codes were chosen for a fit: the weighted square error, and the sums over w of
 * q, q^2 and x q that least squares need. */
typedef struct {
    lanes error, q, qq, xq;
} sums;

#define INLINE static inline __attribute__((always_inline)) /* into each instruction set's code */

INLINE lanes pick(mask m, lanes yes, lanes no)
{
    return (lanes)(((mask)yes & m) | ((mask)no & ~m));
}

INLINE lanes inverses(lanes d) /* inverse() */
{
    const lanes id = 1.0f / d;
    return pick(id - id == 0.0f, id, (lanes){0});
}

INLINE lanes clamped(lanes x, float most) /* a whole number; a NaN becomes 0 */
{
    const float whole = 0x1.8p23f; /* from here on there are no fractions: rint, for small x */
    const lanes positive = pick(x > 0.0f, x, (lanes){0});
    return pick(positive < most, positive, (lanes){0} + most) + whole - whole;
}

INLINE lanes codes(lanes x, const fit *f, lanes inv)
{
    return clamped((x + f->min) * inv, CODES);
}

INLINE sums measured(const lines *in, const fit *f)
{
    const lanes inv = inverses(f->scale);
    sums s = {0};
    for (int i = 0; i < GF_LINE; i++) {
        const lanes x = in->x[i], w = in->w[i], q = codes(x, f, inv), wq = w * q;
        const lanes e = f->scale * q - f->min - x;
        s.error += w * e * e;
        s.q += wq;
        s.qq += wq * q;
        s.xq += wq * x;
    }
    return s;
}

/* The weighted least squares for the codes that f gave; a min below 0 cannot be written. */
INLINE void least_squares(fit *f, const lines *in, const sums *s)
{
    const lanes det = in->sw * s->qq - s->q * s->q;
    const lanes scale = (in->sw * s->xq - in->sx * s->q) / det;
    const lanes min = (s->q * s->xq - s->qq * in->sx) / det;
    const mask good = det > 0.0f, whole = min >= 0.0f;
    f->scale = pick(good, pick(whole, scale, s->xq / s->qq), f->scale);
    f->min = pick(good, pick(whole, min, (lanes){0}), f->min);
}

/* Starts from steps somewhat larger and smaller than the range of the values asks for; each is
 * improved by least squares, whose fit makes other codes, a few times; the best is taken. A line of
 * one number has no range: its scale stays 0. */
INLINE void fit_lines(fit *best, const lines *in)
{
    enum { TRIES = 21, ROUNDS = 3 };
    const float first = CODES - 4.0f, step = 0.25f; /* codes over the range: 11 to 16 */
    lanes low = {0}, high = in->x[0], least = (lanes){0} + INFINITY;
    for (int i = 0; i < GF_LINE; i++) {
        low = pick(in->x[i] < low, in->x[i], low);
        high = pick(in->x[i] > high, in->x[i], high);
    }
    *best = (fit){{0}, -low};
    for (int t = 0; t < TRIES; t++) {
        fit f = {(high - low) / (first + step * (float)t), -low};
        sums s = measured(in, &f);
        for (int again = 0; again < ROUNDS; again++) {
            least_squares(&f, in, &s);
            s = measured(in, &f);
            const mask better = (f.scale > 0.0f) & (s.error < least);
            least = pick(better, s.error, least);
            best->scale = pick(better, f.scale, best->scale);
            best->min = pick(better, f.min, best->min);
        }
    }
}

/* The 6-bit numbers around what the fit asks for, the best of them; q: the codes for these. */
INLINE void choose(fit *best, lanes *q, const fit *want, float d, float dmin, const lines *in)
{
    const lanes s0 = clamped(want->scale * inverse(d), SIXES);
    const lanes m0 = clamped(want->min * inverse(dmin), SIXES);
    lanes least = (lanes){0} + INFINITY;
    *best = (fit){s0, m0};
    for (float i = -1; i <= 1; i++)
        for (float j = -1; j <= 1; j++) {
            const lanes s = s0 + i, m = m0 + j;
            const fit f = {s * d, m * dmin};
            const lanes e = measured(in, &f).error;
            const mask better = (s >= 0.0f) & (s <= SIXES) & (m >= 0.0f) & (m <= SIXES);
            const mask taken = better & (e < least);
            least = pick(taken, e, least);
            best->scale = pick(taken, s, best->scale);
            best->min = pick(taken, m, best->min);
        }
    const fit f = {best->scale * d, best->min * dmin};
    const lanes inv = inverses(f.scale);
    for (int i = 0; i < GF_LINE; i++)
        q[i] = codes(in->x[i], &f, inv);
}

/* Large numbers weigh more: they do in a product. */
static void read_lines(lines *in, const float *x)
{
    in->sw = in->sx = (lanes){0};
    for (int l = 0; l < LINES; l++, x += GF_LINE) {
        float sum = 0;
        for (int i = 0; i < GF_LINE; i++)
            sum += x[i] * x[i];
        const float rms = sqrtf(sum / GF_LINE);
        for (int i = 0; i < GF_LINE; i++) {
            in->x[i][l] = x[i];
            in->w[i][l] = rms + fabsf(x[i]);
        }
    }
    for (int i = 0; i < GF_LINE; i++) {
        in->sw += in->w[i];
        in->sx += in->w[i] * in->x[i];
    }
}

static float largest(const lanes *x) /* and at least 0 */
{
    float most = 0;
    for (int l = 0; l < LINES; l++)
        most = (*x)[l] > most ? (*x)[l] : most;
    return most;
}

INLINE void q4_k_block(unsigned char *b, const float *x)
{
    lines in;
    fit f;
    lanes q[GF_LINE];
    read_lines(&in, x);
    fit_lines(&f, &in);
    memset(b, 0, (size_t)gf_dtype_size(GF_Q4_K));
    put_half(b, gf_f32_to_f16(largest(&f.scale) / SIXES));
    put_half(b + 2, gf_f32_to_f16(largest(&f.min) / SIXES));
    fit six;
    choose(&six, q, &f, half_at(b), half_at(b + 2), &in);
    for (int l = 0; l < LINES; l++) {
        const int s = (int)six.scale[l], m = (int)six.min[l];
        unsigned char *sc = b + 4, *qs = b + 16 + l / 2 * 32;
        if (l < 4) {
            sc[l] |= (unsigned char)s;
            sc[l + 4] |= (unsigned char)m;
        } else {
            sc[l + 4] = (unsigned char)((s & 15) | (m & 15) << 4);
            sc[l - 4] |= (unsigned char)(s >> 4 << 6);
            sc[l] |= (unsigned char)(m >> 4 << 6);
        }
        for (int i = 0; i < GF_LINE; i++)
            qs[i] |= (unsigned char)((int)q[i][l] << l % 2 * 4);
    }
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void put_q4_k_avx2(unsigned char *b, const float *x)
{
    q4_k_block(b, x);
}
#endif

static void put_q4_k(unsigned char *b, const float *x)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        put_q4_k_avx2(b, x);
        return;
    }
#endif
    q4_k_block(b, x);
}

/* ---- any ---------------------------------------------------------------------------- */

/* A block that reads back as NaN throughout, so that nobody takes it for numbers. */
static void put_nan(gf_dtype t, unsigned char *b)
{
    memset(b, 0, (size_t)gf_dtype_size(t));
    put_half(b, HALF_NAN);
}

void gf_quantise(gf_dtype t, void *out, const float *in, int64_t n)
{
    const int64_t block = gf_dtype_block(t), size = gf_dtype_size(t);
    unsigned char *b = out;
    assert(n % block == 0 && (t == GF_Q8_0 || t == GF_Q4_0 || t == GF_Q4_K));
    for (int64_t i = 0; i < n; i += block, in += block, b += size) {
        if (!all_finite(in, (int)block))
            put_nan(t, b);
        else if (t == GF_Q8_0)
            put_q8_0(b, in);
        else if (t == GF_Q4_0)
            put_q4_0(b, in);
        else
            put_q4_k(b, in);
    }
}
