/* paired.c - see paired.h. */
#include "train/paired.h"

#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

#define RESAMPLES 10000
#define DRAWS 50000000 /* about a second */
#define NORMAL_95 1.959963984540054

static double ratio_error(const double *d, const double *w, int64_t n, double ratio, double weight)
{
    double squares = 0;
    for (int64_t i = 0; i < n; i++)
        squares += (d[i] - ratio * w[i]) * (d[i] - ratio * w[i]);
    return sqrt(squares * (double)n / (double)(n - 1)) / weight;
}

static double resample(const double *d, const double *w, int64_t n, uint64_t seed, int64_t number)
{
    double sum = 0, weight = 0;
    for (int64_t k = 0; k < n; k++) {
        const uint64_t word = gf_rng_u32(seed, GF_RNG_RESAMPLE, (uint64_t)number, (uint64_t)k);
        const uint64_t i = word * (uint64_t)n >> 32;
        sum += d[i];
        weight += w[i];
    }
    return sum / weight;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Between its neighbours in proportion, as numpy.percentile. */
static double quantile(const double *sorted, int64_t count, double q)
{
    const double at = q * (double)(count - 1);
    const int64_t below = (int64_t)at;
    const double next = below + 1 < count ? sorted[below + 1] : sorted[below];
    return sorted[below] + (at - (double)below) * (next - sorted[below]);
}

gf_status gf_paired_compare(gf_paired *p, const double *d, const double *w, int64_t n,
                            uint64_t seed, gf_err *err)
{
    double sum = 0, weight = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += d[i];
        weight += w[i];
    }
    *p = (gf_paired){sum / weight, NAN, NAN, NAN, NAN, NAN, 0};
    if (n < 2)
        return GF_OK;
    p->error = ratio_error(d, w, n, p->difference, weight);
    p->low = p->difference - NORMAL_95 * p->error;
    p->high = p->difference + NORMAL_95 * p->error;
    p->resamples = DRAWS / n < RESAMPLES ? DRAWS / n + 1 : RESAMPLES;
    double *one = gf_alloc((size_t)p->resamples, sizeof *one, err);
    if (!one)
        return GF_ENOMEM;
    for (int64_t r = 0; r < p->resamples; r++)
        one[r] = resample(d, w, n, seed, r);
    qsort(one, (size_t)p->resamples, sizeof *one, by_size);
    p->boot_low = quantile(one, p->resamples, 0.025);
    p->boot_high = quantile(one, p->resamples, 0.975);
    free(one);
    return GF_OK;
}
