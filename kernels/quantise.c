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

typedef struct {
    float scale, min;
} fit;

static float clamped(float x, float most) /* a whole number; a NaN becomes 0 */
{
    return x > 0.0f ? rintf(x < most ? x : most) : 0.0f;
}

/* Weighted square error of a line, its codes chosen for this fit. */
static float error_of(const float *x, const float *w, fit f)
{
    const float inv = inverse(f.scale);
    float sum = 0;
    for (int i = 0; i < GF_LINE; i++) {
        const float e = f.scale * clamped((x[i] + f.min) * inv, CODES) - f.min - x[i];
        sum += w[i] * e * e;
    }
    return sum;
}

/* The weighted least squares for the codes that `from` gives; a min below 0 cannot be written. */
static fit least_squares(const float *x, const float *w, fit from)
{
    const float inv = inverse(from.scale);
    float sw = 0, sx = 0, sq = 0, sqq = 0, sxq = 0;
    for (int i = 0; i < GF_LINE; i++) {
        const float q = clamped((x[i] + from.min) * inv, CODES), wq = w[i] * q;
        sw += w[i];
        sx += w[i] * x[i];
        sq += wq;
        sqq += wq * q;
        sxq += wq * x[i];
    }
    const float det = sw * sqq - sq * sq;
    if (!(det > 0.0f))
        return from;
    const fit f = {(sw * sxq - sx * sq) / det, (sq * sxq - sqq * sx) / det};
    return f.min >= 0.0f ? f : (fit){sxq / sqq, 0.0f};
}

/* Large numbers weigh more: they do in a product. */
static void weigh(float *w, const float *x)
{
    float sum = 0;
    for (int i = 0; i < GF_LINE; i++)
        sum += x[i] * x[i];
    const float rms = sqrtf(sum / GF_LINE);
    for (int i = 0; i < GF_LINE; i++)
        w[i] = rms + fabsf(x[i]);
}

/* Starts from steps somewhat larger and smaller than the range of the values asks for; each is
 * improved by least squares, whose fit makes other codes, a few times; the best is taken. */
static fit fit_line(const float *x, const float *w)
{
    enum { TRIES = 21, ROUNDS = 3 };
    const float first = CODES - 4.0f, step = 0.25f; /* codes over the range: 11 to 16 */
    float low = 0, high = x[0];
    for (int i = 0; i < GF_LINE; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    fit best = {0.0f, -low};
    if (!(high > low))
        return best;
    float least = INFINITY;
    for (int t = 0; t < TRIES; t++) {
        fit f = {(high - low) / (first + step * (float)t), -low};
        for (int again = 0; again < ROUNDS; again++) {
            f = least_squares(x, w, f);
            const float e = f.scale > 0.0f ? error_of(x, w, f) : INFINITY;
            if (!(e < least))
                continue;
            least = e;
            best = f;
        }
    }
    return best;
}

/* The 6-bit numbers around what the fit asks for, the best of them. */
static void choose(int *scale, int *min, fit want, float d, float dmin, const float *x,
                   const float *w)
{
    const float s0 = clamped(want.scale * inverse(d), SIXES);
    const float m0 = clamped(want.min * inverse(dmin), SIXES);
    float least = INFINITY;
    *scale = (int)s0;
    *min = (int)m0;
    for (float s = fmaxf(s0 - 1, 0); s <= s0 + 1 && s <= SIXES; s++)
        for (float m = fmaxf(m0 - 1, 0); m <= m0 + 1 && m <= SIXES; m++) {
            const float e = error_of(x, w, (fit){d * s, dmin * m});
            if (e < least) {
                least = e;
                *scale = (int)s;
                *min = (int)m;
            }
        }
}

static void put_q4_k(unsigned char *b, const float *x)
{
    float w[GF_SUPER], scale = 0, min = 0;
    fit f[LINES];
    for (int l = 0; l < LINES; l++) {
        weigh(w + GF_LINE * l, x + GF_LINE * l);
        f[l] = fit_line(x + GF_LINE * l, w + GF_LINE * l);
        scale = fmaxf(scale, f[l].scale);
        min = fmaxf(min, f[l].min);
    }
    memset(b, 0, (size_t)gf_dtype_size(GF_Q4_K));
    put_half(b, gf_f32_to_f16(scale / SIXES));
    put_half(b + 2, gf_f32_to_f16(min / SIXES));
    const float d = half_at(b), dmin = half_at(b + 2);
    for (int l = 0; l < LINES; l++) {
        const float *in = x + GF_LINE * l;
        int s, m;
        choose(&s, &m, f[l], d, dmin, in, w + GF_LINE * l);
        unsigned char *sc = b + 4, *qs = b + 16 + l / 2 * 32;
        if (l < 4) {
            sc[l] |= (unsigned char)s;
            sc[l + 4] |= (unsigned char)m;
        } else {
            sc[l + 4] = (unsigned char)((s & 15) | (m & 15) << 4);
            sc[l - 4] |= (unsigned char)(s >> 4 << 6);
            sc[l] |= (unsigned char)(m >> 4 << 6);
        }
        const float inv = inverse(d * (float)s), low = dmin * (float)m;
        for (int i = 0; i < GF_LINE; i++)
            qs[i] |= (unsigned char)((int)clamped((in[i] + low) * inv, CODES) << l % 2 * 4);
    }
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
