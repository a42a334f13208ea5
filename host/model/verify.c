#include "model/verify.h"

#include <math.h>

#include "base/rng.h"

typedef struct {
    double mean, top, log_sum; /* log_sum: of exp(x), less top */
    int64_t best;
} logits;

static logits look(const float *x, int64_t n)
{
    logits l = {.top = (double)x[0]};
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        l.mean += (double)x[i] / (double)n;
        if ((double)x[i] > l.top) {
            l.top = (double)x[i];
            l.best = i;
        }
    }
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)x[i] - l.top);
    l.log_sum = log(sum);
    return l;
}

void gf_verify_add(gf_verify *v, const float *want, const float *got, int64_t V)
{
    const logits a = look(want, V), b = look(got, V);
    for (int64_t i = 0; i < V; i++) {
        const double x = (double)want[i], y = (double)got[i], off = fabs(x - y);
        const double p = x - a.top - a.log_sum, q = y - b.top - b.log_sum;
        const double spread = x - a.mean, diff = y - b.mean - spread;
        v->max = off > v->max || isnan(off) ? off : v->max;
        v->mean += off;
        v->kl += exp(p) * (p - q);
        v->diff2 += diff * diff;
        v->spread2 += spread * spread;
    }
    v->values += V;
    v->tokens++;
    v->agree += a.best == b.best;
}

double gf_verify_mean(const gf_verify *v)
{
    return v->mean / (double)v->values;
}

double gf_verify_kl(const gf_verify *v)
{
    return v->kl / (double)v->tokens;
}

double gf_verify_error(const gf_verify *v)
{
    return v->diff2 > 0 ? sqrt(v->diff2 / v->spread2) : v->diff2; /* NaN stays */
}

double gf_verify_bound(double weight_error, int64_t layers)
{
    const double branches = 2 * (double)layers + 1;
    const double bound = GF_VERIFY_FLOOR + GF_VERIFY_MARGIN * weight_error * sqrt(branches);
    return bound < 1 ? bound : 1;
}

void gf_verify_ids(int32_t *ids, int64_t count, int64_t V)
{
    enum { SEED = 0x67726166 }; /* any; "graf" */
    for (int64_t i = 0; i < count; i++)
        ids[i] = (int32_t)((double)gf_rng_float(SEED, GF_RNG_SAMPLE, 0, (uint64_t)i) * (double)V);
}
