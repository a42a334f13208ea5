/* factor.c - singular vectors and QR factors of the base's weights. Contract: factor.h.
 *
 * All products go through the linear layers' op in f32; what is small (r by r, r rows) is done here
 * in double, one after the other. */
#include "model/factor.h"

#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- products ----------------------------------------------------------------------- */

/* out [b,n] = x [b,k] w^T,  or with `back` out [b,k] = x [b,n] w. */
static gf_status product(gf_backend *be, float *out, const float *x, int64_t b, const float *w,
                         int64_t n, int64_t k, bool back)
{
    gf_group g = {.count = 1};
    const gf_spans row = {.tokens = b};
    const gf_dropout none = {0};
    g.lin[0].w = gf_view((float *)(uintptr_t)w, GF_F32, "w", n, k, 0);
    const gf_tensor from = gf_view((float *)(uintptr_t)x, GF_F32, "x", b, back ? n : k, 0);
    const gf_tensor to = gf_view(out, GF_F32, "product", b, back ? k : n, 0);
    return back ? gf_group_linear_bwd(be, to, gf_none, from, gf_none, gf_none, &g, &row, none, NULL)
                : gf_group_linear_fwd(be, to, gf_none, from, gf_none, &g, &row, none);
}

static double dot(const float *a, const float *b, int64_t n)
{
    double lane[8] = {0}; /* so that a compiler may add them side by side */
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++)
            lane[j] += (double)a[i + j] * (double)b[i + j];
    double sum = 0;
    for (int j = 0; j < 8; j++)
        sum += lane[j];
    for (; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* Makes the b rows of x orthonormal (Gram and Schmidt, twice: then rounding is all that is left). A
 * row without anything of its own becomes zero. */
static void orthonormalise(float *x, int64_t b, int64_t n)
{
    for (int64_t i = 0; i < b; i++) {
        float *row = x + i * n;
        const double before = dot(row, row, n);
        for (int pass = 0; pass < 2; pass++)
            for (int64_t j = 0; j < i; j++) {
                const float c = (float)dot(row, x + j * n, n);
                for (int64_t e = 0; e < n; e++)
                    row[e] -= c * x[j * n + e];
            }
        const double left = dot(row, row, n);
        const float factor = left > 1e-12 * before ? (float)(1 / sqrt(left)) : 0; /* f32's noise */
        for (int64_t e = 0; e < n; e++)
            row[e] *= factor;
    }
}

/* ---- a small symmetric matrix --------------------------------------------------------- */

/* One rotation that makes t[p,q] zero; v collects them (Golub and Van Loan, 8.5.2). */
static void rotate(double *t, double *v, int64_t b, int64_t p, int64_t q)
{
    const double theta = (t[q * b + q] - t[p * b + p]) / (2 * t[p * b + q]);
    const double tan = copysign(1, theta) / (fabs(theta) + sqrt(theta * theta + 1));
    const double c = 1 / sqrt(tan * tan + 1), s = tan * c;
    for (int64_t i = 0; i < b; i++) {
        const double x = t[i * b + p], y = t[i * b + q];
        t[i * b + p] = c * x - s * y;
        t[i * b + q] = s * x + c * y;
    }
    for (int64_t i = 0; i < b; i++) {
        const double x = t[p * b + i], y = t[q * b + i];
        t[p * b + i] = c * x - s * y;
        t[q * b + i] = s * x + c * y;
    }
    for (int64_t i = 0; i < b; i++) {
        const double x = v[p * b + i], y = v[q * b + i];
        v[p * b + i] = c * x - s * y;
        v[q * b + i] = s * x + c * y;
    }
}

/* Eigenvectors of t [b,b] as rows of v, eigenvalues on t's diagonal, in no order (Jacobi). */
static void eigen(double *t, double *v, int64_t b)
{
    for (int64_t i = 0; i < b * b; i++)
        v[i] = i / b == i % b;
    for (int sweep = 0; sweep < 30; sweep++) { /* some eight are enough; the end is below */
        double off = 0, on = 0;
        for (int64_t i = 0; i < b * b; i++)
            *(i / b == i % b ? &on : &off) += t[i] * t[i];
        if (off <= 1e-26 * on) /* double's rounding, squared, with room */
            return;
        for (int64_t p = 0; p < b; p++)
            for (int64_t q = p + 1; q < b; q++)
                if (t[p * b + q] != 0)
                    rotate(t, v, b, p, q);
    }
}

/* ---- singular vectors ------------------------------------------------------------------ */

typedef struct {
    int64_t n, k, b;
    float *q, *y, *z, *spare; /* [b,k], [b,n], [b,k]; spare [b, max(n,k)] */
    double *t, *v;            /* [b,b] */
    int64_t *order;           /* [b] by falling eigenvalue */
    gf_backend *be;
} space;

/* x [b,width] = its rows turned by v, those with the largest eigenvalues first. */
static void turn(const space *s, float *x, int64_t width)
{
    memset(s->spare, 0, (size_t)(s->b * width) * sizeof *s->spare);
    for (int64_t i = 0; i < s->b; i++)
        for (int64_t j = 0; j < s->b; j++) {
            const float c = (float)s->v[s->order[i] * s->b + j];
            for (int64_t e = 0; e < width; e++)
                s->spare[i * width + e] += c * x[j * width + e];
        }
    memcpy(x, s->spare, (size_t)(s->b * width) * sizeof *x);
}

/* Rayleigh and Ritz: y and z in the directions of the singular vectors. Returns the sum of the r
 * largest squared singular values. */
static double ritz(space *s, int64_t r)
{
    const int64_t b = s->b;
    for (int64_t i = 0; i < b; i++)
        for (int64_t j = 0; j <= i; j++)
            s->t[i * b + j] = s->t[j * b + i] = dot(s->z + i * s->k, s->z + j * s->k, s->k);
    eigen(s->t, s->v, b);
    for (int64_t i = 0; i < b; i++) {
        int64_t at = i;
        for (; at > 0 && s->t[s->order[at - 1] * (b + 1)] < s->t[i * (b + 1)]; at--)
            s->order[at] = s->order[at - 1];
        s->order[at] = i;
    }
    turn(s, s->y, s->n);
    turn(s, s->z, s->k);
    double sum = 0;
    for (int64_t i = 0; i < r; i++)
        sum += s->t[s->order[i] * (b + 1)];
    return sum;
}

#define LOOK_EVERY 3 /* iterations from one Rayleigh-Ritz to the next */
#define MOST 60      /* iterations: a spectrum without any gap is then known well enough */

static gf_status iterate(space *s, const float *w, int64_t r)
{
    double last = 0;
    for (int64_t i = 0; i < s->b * s->k; i++)
        s->q[i] = gf_rng_float(0, GF_RNG_INIT, 0, (uint64_t)i) - 0.5f;
    for (int i = 1; i <= MOST; i++) {
        TRY(product(s->be, s->y, s->q, s->b, w, s->n, s->k, false));
        orthonormalise(s->y, s->b, s->n);
        TRY(product(s->be, s->z, s->y, s->b, w, s->n, s->k, true));
        if (i % LOOK_EVERY == 0) {
            const double sum = ritz(s, r);
            if (fabs(sum - last) <= 1e-9 * sum)
                break;
            last = sum;
        }
        memcpy(s->q, s->z, (size_t)(s->b * s->k) * sizeof *s->q);
        orthonormalise(s->q, s->b, s->k);
    }
    return GF_OK;
}

gf_status gf_factor_svd(float *left, float *right, float *sigma, const float *w, int64_t n,
                        int64_t k, int64_t r, gf_backend *be, gf_err *err)
{
    const int64_t least = n < k ? n : k, widest = n > k ? n : k;
    space s = {.n = n, .k = k, .be = be};
    s.b = r + (r / 2 > 8 ? r / 2 : 8); /* oversampling: Halko et al. take 5 to 10 */
    s.b = s.b < least ? s.b : least;
    float *all = gf_alloc((size_t)s.b, (size_t)(n + 2 * k + widest) * sizeof *all, err);
    double *small = gf_alloc((size_t)(2 * s.b * s.b), sizeof *small, err);
    s.order = gf_alloc((size_t)s.b, sizeof *s.order, err);
    gf_status st = all && small && s.order ? GF_OK : GF_ENOMEM;
    if (st == GF_OK) {
        s.q = all, s.z = s.q + s.b * k, s.y = s.z + s.b * k, s.spare = s.y + s.b * n;
        s.t = small, s.v = s.t + s.b * s.b;
        st = gf_backend_said(be, iterate(&s, w, r), err);
    }
    if (st == GF_OK) {
        memcpy(left, s.y, (size_t)(r * n) * sizeof *left);
        memcpy(right, s.z, (size_t)(r * k) * sizeof *right);
        for (int64_t i = 0; i < r; i++)
            sigma[i] = (float)sqrt(dot(right + i * k, right + i * k, k));
    }
    free(all);
    free(small);
    free(s.order);
    return st;
}

gf_status gf_factor_qr(float *left, float *right, const float *w, int64_t n, int64_t k, int64_t r,
                       gf_backend *be, gf_err *err)
{
    for (int64_t i = 0; i < r; i++)
        for (int64_t j = 0; j < n; j++)
            left[i * n + j] = w[j * k + i];
    orthonormalise(left, r, n);
    return gf_backend_said(be, product(be, right, left, r, w, n, k, true), err);
}

/* ---- the adapter ------------------------------------------------------------------------ */

/* Both halves of A [2h,k] and B [n,2h] from the factors: PiSSA's share sigma, OLoRA's leave it with
 * A. */
static void fill(const gf_lora *lo, float *a, float *b, const float *left, const float *right,
                 const float *sigma)
{
    const int64_t h = lo->r / 2;
    for (int64_t i = 0; i < h; i++) {
        const float root = sigma ? sqrtf(sigma[i] / (float)lo->scale) : 1;
        const float of_a = sigma ? (sigma[i] > 0 ? root / sigma[i] : 0) : 1;
        for (int64_t c = 0; c < lo->k; c++)
            a[i * lo->k + c] = a[(h + i) * lo->k + c] = right[i * lo->k + c] * of_a;
        for (int64_t j = 0; j < lo->n; j++) {
            b[j * lo->r + i] = left[i * lo->n + j] * root;
            b[j * lo->r + h + i] = -b[j * lo->r + i];
        }
    }
}

static gf_status read_weight(float **w, const gf_lora *lo, const gf_files *files, gf_err *err)
{
    char module[64], name[80];
    snprintf(name, sizeof name, "%s.weight", gf_module_name(module, lo->layer, lo->id));
    const gf_entry *e = gf_files_find(files, name);
    const int64_t count = lo->n * lo->k;
    void *raw = gf_alloc((size_t)gf_row_bytes(e->dtype, count), 1, err);
    *w = gf_alloc((size_t)count, sizeof **w, err);
    gf_status st = raw && *w ? GF_OK : GF_ENOMEM;
    if (st == GF_OK)
        st = gf_files_rows(files, e, gf_files_heads(files, lo->id), 0, lo->n, raw, err);
    if (st == GF_OK)
        gf_to_f32(*w, e->dtype, raw, count);
    free(raw);
    return st;
}

static gf_status start(const gf_adapter *ad, const gf_lora *lo, float *value, gf_init init,
                       const gf_files *files, gf_backend *be, gf_err *err)
{
    const int64_t h = lo->r / 2, least = lo->n < lo->k ? lo->n : lo->k;
    char module[64];
    gf_status st = GF_OK;
    float *w = NULL;
    if (lo->layer < 0)
        return gf_fail(err, GF_EMISSING,
                       "PiSSA and OLoRA are for layers of the blocks; leave %s out of the targets",
                       gf_module_name(module, lo->layer, lo->id));
    if (h > least)
        return gf_fail(err, GF_EARG, "%s has %lld singular values, a rank of %lld takes more",
                       gf_module_name(module, lo->layer, lo->id), (long long)least, (long long)h);
    float *left = gf_alloc((size_t)h, (size_t)(lo->n + lo->k + 1) * sizeof *left, err);
    if (!left)
        return GF_ENOMEM;
    float *right = left + h * lo->n, *sigma = right + h * lo->k;
    TRYG(read_weight(&w, lo, files, err));
    if (init == GF_INIT_PISSA)
        TRYG(gf_factor_svd(left, right, sigma, w, lo->n, lo->k, h, be, err));
    else
        TRYG(gf_factor_qr(left, right, w, lo->n, lo->k, h, be, err));
    fill(lo, value + ad->param[lo->a].at, value + ad->param[lo->b].at, left, right,
         init == GF_INIT_PISSA ? sigma : NULL);
out:
    free(w);
    free(left);
    return st;
}

gf_status gf_factor_init(const gf_adapter *ad, float *value, gf_init init, const gf_files *files,
                         gf_backend *be, gf_err *err)
{
    memset(value, 0, (size_t)ad->size * sizeof *value);
    for (int i = 0; i < ad->count; i++)
        TRY(start(ad, &ad->lora[i], value, init, files, be, err));
    return GF_OK;
}
