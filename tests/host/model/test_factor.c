/* test_factor.c - the factors of a weight against ones that are known by construction, whatever the
 * number of threads; a split adapter starts as none at all. */
#include "support/golden.h"

#include "model/factor.h"

#include "base/rng.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 70, K = 45, ALL = 45 };

/* Rows of a rotation of `n` coordinates: products of plane rotations, so orthonormal to rounding.
 */
static void rotation(double *q, int n, uint64_t seed)
{
    for (int i = 0; i < n * n; i++)
        q[i] = i / n == i % n;
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++) {
            const double angle = 6.3 * gf_rng_double(seed, GF_RNG_INIT, 1, (uint64_t)(i * n + j));
            const double c = cos(angle), s = sin(angle);
            for (int e = 0; e < n; e++) {
                const double x = q[i * n + e], y = q[j * n + e];
                q[i * n + e] = c * x - s * y;
                q[j * n + e] = s * x + c * y;
            }
        }
}

/* w = sum_i sigma(i) u_i v_i^T. */
static void compose(double *w, const double *u, const double *v, double (*sigma)(int), int rank)
{
    memset(w, 0, N * K * sizeof *w);
    for (int i = 0; i < rank; i++)
        for (int a = 0; a < N; a++)
            for (int b = 0; b < K; b++)
                w[a * K + b] += sigma(i) * u[i * N + a] * v[i * K + b];
}

static double falling(int i)
{
    return pow(0.9, i);
}
static double in_steps(int i) /* equal ones: their vectors are free, what they span is not */
{
    return i < 4 ? 3 : i < 10 ? 2 : i < 20 ? 0.5 : 0;
}

/* The largest difference between sum_i left_i right_i^T and `want`. */
static double off(const float *left, const float *right, int64_t r, const double *want)
{
    double most = 0;
    for (int a = 0; a < N; a++)
        for (int b = 0; b < K; b++) {
            double x = 0;
            for (int64_t i = 0; i < r; i++)
                x += (double)left[i * N + a] * (double)right[i * K + b];
            most = fmax(most, fabs(x - want[a * K + b]));
        }
    return most;
}

static void check_spectrum(double (*spectrum)(int), int64_t r)
{
    static double u[N * N], v[K * K], w[N * K], want[N * K];
    static float wf[N * K], left[2][ALL * N], right[2][ALL * K], sigma[ALL];
    rotation(u, N, 1);
    rotation(v, K, 2);
    compose(w, u, v, spectrum, ALL);
    compose(want, u, v, spectrum, (int)r);
    for (int i = 0; i < N * K; i++)
        wf[i] = (float)w[i];
    for (int threads = 1; threads <= 2; threads++) {
        gf_backend be;
        gf_err err = {0};
        cr_assert_eq(gf_backend_open_cpu(&be, threads, "auto", &err), GF_OK, "%s", err.text);
        float *l = left[threads - 1], *x = right[threads - 1];
        cr_assert_eq(gf_factor_svd(l, x, sigma, wf, N, K, r, &be, &err), GF_OK, "%s", err.text);
        gf_backend_close(&be);
        for (int i = 0; i < r; i++)
            cr_assert_float_eq((double)sigma[i], spectrum(i), 1e-4 * spectrum(0), "sigma %d", i);
        /* what a sum of squares that stands to 1e-9 leaves of an angle */
        cr_assert_lt(off(l, x, r, want), 2e-4 * spectrum(0), "rank %lld", (long long)r);
    }
    cr_assert_eq(memcmp(left[0], left[1], (size_t)(r * N) * sizeof(float)), 0);
    cr_assert_eq(memcmp(right[0], right[1], (size_t)(r * K) * sizeof(float)), 0);
}

Test(factor, singular_vectors)
{
    check_spectrum(falling, 5);
    check_spectrum(falling, 1);
    check_spectrum(falling, ALL);
    check_spectrum(in_steps, 4);
    check_spectrum(in_steps, 10);
}

/* Q's columns are orthonormal and span w's first ones: Q R is w there, and its projection besides.
 */
Test(factor, qr)
{
    enum { R = 6 };
    static float w[N * K], left[R * N], right[R * K];
    gf_backend be;
    cr_assert_eq(gf_backend_open_cpu(&be, 2, "auto", NULL), GF_OK);
    for (int i = 0; i < N * K; i++)
        w[i] = gf_rng_float(3, GF_RNG_INIT, 0, (uint64_t)i) - 0.5f;
    cr_assert_eq(gf_factor_qr(left, right, w, N, K, R, &be, NULL), GF_OK);
    for (int i = 0; i < R; i++)
        for (int j = 0; j <= i; j++) {
            double x = 0;
            for (int a = 0; a < N; a++)
                x += (double)left[i * N + a] * (double)left[j * N + a];
            cr_assert_float_eq(x, i == j, 1e-6);
        }
    for (int a = 0; a < N; a++)
        for (int b = 0; b < R; b++) {
            double x = 0;
            for (int i = 0; i < R; i++)
                x += (double)left[i * N + a] * (double)right[i * K + b];
            cr_assert_float_eq(x, (double)w[a * K + b], 2e-6);
        }
    for (int i = 1; i < R; i++) /* R is a triangle */
        for (int j = 0; j < i; j++)
            cr_assert_float_eq((double)right[i * K + j], 0, 2e-6);
    gf_backend_close(&be);
}
