/* RoPE tables (FORMATS 2.5). Every f32 step is the reference's: which roundings happen decides the
 * last bits of cos and sin at high positions. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "model/config.h"

static const double pi = 3.14159265358979323846;

/* theta^(2i/D): exponent and result are f32, the power itself is as good as double gives it. */
static float power(double theta, int64_t i, int64_t d)
{
    const float exponent = (float)(2 * i) / (float)d;
    return (float)pow((double)(float)theta, (double)exponent);
}

static void plain_frequencies(float *inv, double theta, int64_t d)
{
    for (int64_t i = 0; i < d / 2; i++)
        inv[i] = 1.0F / power(theta, i, d);
}

/* NTK: nothing changes up to max_position; beyond it theta grows with the length. */
static double dynamic_theta(const gf_rope_spec *r, int64_t length)
{
    if (length <= r->max_position)
        return r->theta;
    const float stretched = (float)r->factor * (float)length / (float)r->max_position;
    const float base = stretched - (float)(r->factor - 1);
    const double exponent = (double)r->rotary / (double)(r->rotary - 2);
    return (double)((float)r->theta * (float)pow((double)base, exponent));
}

static void llama3_frequencies(float *inv, const gf_rope_spec *r)
{
    const float two_pi = (float)(2 * pi);
    const float original = (float)r->original_max;
    const float low = (float)((double)r->original_max / r->low_freq_factor);
    const float high = (float)((double)r->original_max / r->high_freq_factor);
    const float span = (float)(r->high_freq_factor - r->low_freq_factor);
    const float factor = (float)r->factor;
    for (int64_t i = 0; i < r->rotary / 2; i++) {
        const float wavelength = 1.0F / inv[i] * two_pi;
        if (wavelength > low) {
            inv[i] = inv[i] / factor;
        } else if (wavelength >= high) {
            const float turns = 1.0F / wavelength * original;
            const float s = (turns - (float)r->low_freq_factor) / span;
            inv[i] = (1.0F - s) * inv[i] / factor + s * inv[i];
        }
    }
}

/* Column of a head whose frequency makes `turns` rotations within the original context. */
static double yarn_column(const gf_rope_spec *r, double turns)
{
    const double d = (double)r->rotary;
    return d * log((double)r->original_max / (turns * 2 * pi)) / (2 * log(r->theta));
}

static void yarn_frequencies(float *inv, const gf_rope_spec *r)
{
    double low = yarn_column(r, r->beta_fast);
    double high = yarn_column(r, r->beta_slow);
    if (r->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, (double)(r->rotary - 1));
    if (low == high)
        high += 0.001; /* the reference's guard against a ramp of no width */
    const float start = (float)low;
    const float width = (float)(high - low);
    for (int64_t i = 0; i < r->rotary / 2; i++) {
        const float at = ((float)i - start) / width;
        const float keep = 1.0F - fminf(fmaxf(at, 0.0F), 1.0F);
        const float p = power(r->theta, i, r->rotary);
        const float stretched = 1.0F / ((float)r->factor * p);
        inv[i] = stretched * (1.0F - keep) + 1.0F / p * keep;
    }
}

/* Phi-3: every frequency has a divisor of its own, another one in long examples. */
static void longrope_frequencies(float *inv, const gf_rope_spec *r, int64_t length)
{
    const float *divisor = length > r->original_max ? r->long_factor : r->short_factor;
    for (int64_t i = 0; i < r->rotary / 2; i++)
        inv[i] = 1.0F / (divisor[i] * power(r->theta, i, r->rotary));
}

static double longrope_attention(const gf_rope_spec *r)
{
    if (r->attention_factor > 0)
        return r->attention_factor;
    return r->factor <= 1 ? 1 : sqrt(1 + log(r->factor) / log((double)r->original_max));
}

bool gf_rope_by_length(const gf_rope_spec *r)
{
    return r->type == GF_ROPE_DYNAMIC || r->type == GF_ROPE_LONGROPE;
}

bool gf_rope_turns_anew(const gf_rope_spec *r, int64_t before, int64_t after)
{
    return r->type == GF_ROPE_LONGROPE && before > 0 &&
           (before > r->original_max) != (after > r->original_max);
}

static double yarn_growth(double factor, double mscale)
{
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1; /* 0.1: the paper's fit */
}

static double yarn_attention(const gf_rope_spec *r)
{
    if (r->attention_factor > 0)
        return r->attention_factor;
    if (r->mscale != 0 && r->mscale_all_dim != 0)
        return yarn_growth(r->factor, r->mscale) / yarn_growth(r->factor, r->mscale_all_dim);
    return yarn_growth(r->factor, 1);
}

double gf_rope_frequencies(float *inv_freq, const gf_rope_spec *r, int64_t length)
{
    const int64_t half = r->rotary / 2;
    switch (r->type) {
    case GF_ROPE_YARN:
        yarn_frequencies(inv_freq, r);
        return yarn_attention(r);
    case GF_ROPE_DYNAMIC:
        plain_frequencies(inv_freq, dynamic_theta(r, length), r->rotary);
        return 1;
    case GF_ROPE_LONGROPE:
        longrope_frequencies(inv_freq, r, length);
        return longrope_attention(r);
    case GF_ROPE_DEFAULT:
    case GF_ROPE_LINEAR:
    case GF_ROPE_LLAMA3:
        break;
    }
    plain_frequencies(inv_freq, r->theta, r->rotary);
    if (r->type == GF_ROPE_LLAMA3)
        llama3_frequencies(inv_freq, r);
    for (int64_t i = 0; i < half; i++) {
        if (r->type == GF_ROPE_LINEAR)
            inv_freq[i] /= (float)r->factor;
        if (r->divisor)
            inv_freq[i] /= r->divisor[i];
    }
    return 1;
}

void gf_rope_table(float *cosine, float *sine, const gf_rope_spec *r, int64_t first, int64_t count,
                   int64_t length)
{
    const int64_t half = r->rotary / 2;
    if (half == 0 || count == 0)
        return;
    /* The first row of the output holds the frequencies until its own turn, which is last: no
     * allocation, so no failure. */
    float *inv = sine;
    const float scale = (float)gf_rope_frequencies(inv, r, length);
    for (int64_t t = count - 1; t >= 0; t--) {
        const float position = (float)(first + t);
        for (int64_t i = 0; i < half; i++) {
            const double angle = (double)(position * inv[i]);
            cosine[t * half + i] = (float)cos(angle) * scale;
            sine[t * half + i] = (float)sin(angle) * scale;
        }
    }
}
