/* attention_case.h - rows of attention for the tests of CUDA twins: tensors with gaps and guards on
 * both sides, spans that may have keys of earlier tokens, filler behind them. */
#ifndef GRAFT_TESTS_ATTENTION_CASE_H
#define GRAFT_TESTS_ATTENTION_CASE_H

#include "support/attention_oracle.h"
#include "support/device_case.h"

typedef struct {
    gf_dtype type;
    int64_t heads, groups, width, window;
    float cap;
    int count;
    int64_t len[4], earlier[4]; /* of each span; keys of tokens before its queries */
    int64_t filler;             /* rows behind the spans */
} attention_case;

enum { Q, K, V, O, LSE, D_O, DQ, DK, DV, DELTA, TENSORS };

typedef struct {
    op_tensor x[TENSORS];
    device_tensor on[TENSORS];
    gf_span span[4];
    device_row bound;
} attention_set;

static inline float case_scale(const attention_case *c)
{
    return 1.0f / sqrtf((float)c->width);
}

static inline int64_t case_tokens(const attention_case *c)
{
    int64_t n = 0;
    for (int i = 0; i < c->count; i++)
        n += c->len[i];
    return n;
}

/* Makes all tensors, those of the backward pass too, and uploads q, k, v and d_o. */
static inline void case_make(gf_backend *be, const attention_case *c, attention_set *s)
{
    static const char *const name[] = {"q", "k", "v", "o", "lse", "d_o", "dq", "dk", "dv", "delta"};
    int64_t n = 0, keys = 0;
    for (int i = 0; i < c->count; i++) {
        const int64_t kv_len = c->len[i] + c->earlier[i];
        s->span[i] = (gf_span){n, c->len[i], keys, kv_len, (uint64_t)i};
        n += c->len[i];
        keys += kv_len;
    }
    const int64_t rows = n + c->filler, key_rows = keys + c->filler;
    for (int i = 0; i < TENSORS; i++) {
        const bool kv = i == K || i == V || i == DK || i == DV;
        if (i == LSE || i == DELTA)
            s->x[i] = op_make(GF_F32, name[i], rows, c->heads, 0, i);
        else
            s->x[i] = op_make(c->type, name[i], kv ? key_rows : rows, kv ? c->groups : c->heads,
                              c->width, 8 * (i % 3));
        if (i < O || i == D_O)
            op_fill(s->x[i].t, (uint64_t)(i + 1), i == Q ? 3.0 : 1.0);
        s->on[i] = device_put(be, &s->x[i]);
    }
    s->bound =
        device_bind(be, (gf_spans){.tokens = n, .count = c->count, .span = s->span}, rows, 0);
}

static inline void case_forward(gf_backend *be, const attention_case *c, attention_set *s)
{
    const device_tensor *x = s->on;
    DEVICE_OK(be, gf_attention_fwd(be, x[O].t, x[LSE].t, x[Q].t, x[K].t, x[V].t, &s->bound.row,
                                   case_scale(c), c->window, c->cap));
    device_get(be, &s->on[O], &s->x[O]);
    device_get(be, &s->on[LSE], &s->x[LSE]);
}

static inline void case_backward(gf_backend *be, const attention_case *c, attention_set *s)
{
    const device_tensor *x = s->on;
    DEVICE_OK(be, gf_attention_bwd(be, x[DQ].t, x[DK].t, x[DV].t, x[DELTA].t, x[D_O].t, x[O].t,
                                   x[LSE].t, x[Q].t, x[K].t, x[V].t, &s->bound.row, case_scale(c),
                                   c->window, c->cap, gf_none, gf_none));
    for (int i = DQ; i <= DELTA; i++)
        device_get(be, &s->on[i], &s->x[i]);
}

/* Uploads tensor i again, after the test has changed it. */
static inline void case_put(gf_backend *be, attention_set *s, int i)
{
    DEVICE_OK(be, gf_upload(be, device_whole(&s->on[i]), s->x[i].memory));
}

static inline void case_free(gf_backend *be, attention_set *s)
{
    device_unbind(be, &s->bound);
    for (int i = 0; i < TENSORS; i++) {
        device_free(be, &s->on[i]);
        op_free(&s->x[i]);
    }
}

/* Rows behind the spans are zeros, in tensors `first` to `last`. */
static inline void case_filler_is_zero(const attention_case *c, const attention_set *s, int first,
                                       int last)
{
    const int64_t n = case_tokens(c);
    for (int i = first; i <= last; i++) {
        const gf_tensor t = s->x[i].t;
        for (int64_t r = n; r < n + c->filler; r++)
            for (int64_t j = 0; j < gf_width(t); j++)
                cr_assert_eq(op_get(t, r, j), 0.0, "%s[%d,%d] of filler: %g", t.name, (int)r,
                             (int)j, op_get(t, r, j));
    }
}

/* What the kernels for bf16 add to oracle_roundings: tanh by an exponential and a reciprocal is off
 * by 2^-21 at most (ptx.cuh), which the cap multiplies; exponents by 2 ulp instead of 1. */
static inline double case_approximations(const attention_case *c)
{
    return c->type == GF_BF16 ? 8.0 * (double)c->cap + 8.0 : 0.0;
}

#endif
