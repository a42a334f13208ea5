/* attention_oracle.h - causal attention in double, one query at a time, as graft/ops.h
 * states it. */
#ifndef GRAFT_TESTS_ATTENTION_ORACLE_H
#define GRAFT_TESTS_ATTENTION_ORACLE_H

#include "support/op_case.h"

#define ORACLE_KEYS 1024 /* most keys of a span */

typedef struct {
    gf_tensor q, k, v;
    float scale, cap;
    int64_t window;
} oracle;

/* What one query sees: keys lo..pos of its span, score s, slope of the cap, and reach: the largest
 * sum of absolute products behind a score, which bounds a score's rounding error. */
typedef struct {
    int64_t lo, pos;
    double s[ORACLE_KEYS], slope[ORACLE_KEYS];
    double top, sum, reach;
} oracle_query;

static inline void oracle_scores(const oracle *a, gf_span span, int64_t i, int64_t h,
                                 oracle_query *w)
{
    const int64_t width = a->q.dim[2], g = h / (a->q.dim[1] / a->k.dim[1]);
    w->pos = span.kv_len - span.len + i;
    w->lo = a->window > 0 && w->pos + 1 > a->window ? w->pos + 1 - a->window : 0;
    w->top = -INFINITY;
    w->sum = w->reach = 0.0;
    for (int64_t u = w->lo; u <= w->pos; u++) {
        double dot = 0.0, size = 0.0;
        for (int64_t c = 0; c < width; c++) {
            const double x = op_get(a->q, span.start + i, h * width + c) *
                             op_get(a->k, span.kv_start + u, g * width + c);
            dot += x;
            size += fabs(x);
        }
        double s = dot * (double)a->scale;
        w->slope[u] = 1.0;
        if (a->cap > 0.0f) {
            s = (double)a->cap * tanh(s / (double)a->cap);
            w->slope[u] = 1.0 - pow(s / (double)a->cap, 2);
        }
        w->s[u] = s;
        w->top = fmax(w->top, s);
        w->reach = fmax(w->reach, size * (double)a->scale);
    }
    for (int64_t u = w->lo; u <= w->pos; u++)
        w->sum += exp(w->s[u] - w->top);
}

/* Roundings between the inputs and one weighted sum: a score is a chain of `width` products and an
 * exponent, the sum a chain over the keys; some more for exp, the cap and the normalisation. */
static inline double oracle_roundings(const oracle *a, const oracle_query *w)
{
    return 2.0 * (double)a->q.dim[2] * w->reach + (double)(w->pos - w->lo + 1) + 24.0 +
           4.0 * (double)a->cap + 2.0 * fabs(w->top);
}

/* Roundings of U32 that one rounding to bf16 amounts to, where P and dS are rounded: on a device,
 * and on a CPU that multiplies pairs of bf16 itself. */
static inline double oracle_words(const gf_backend *be, gf_dtype type)
{
    const bool pairs =
        strcmp(be->ops->name, "avx512bf16") == 0 || strcmp(be->ops->name, "cuda") == 0;
    return type == GF_BF16 && pairs ? U16 / U32 : 0.0;
}

static inline double oracle_out(const oracle *a, gf_span span, int64_t i, int64_t h, int64_t c,
                                const oracle_query *w, double *size)
{
    const int64_t width = a->q.dim[2], g = h / (a->q.dim[1] / a->k.dim[1]);
    (void)i;
    double o = 0.0;
    *size = 0.0;
    for (int64_t u = w->lo; u <= w->pos; u++) {
        const double x =
            exp(w->s[u] - w->top) / w->sum * op_get(a->v, span.kv_start + u, g * width + c);
        o += x;
        *size += fabs(x);
    }
    return o;
}

#endif
