/* glu.c - gated linear unit. Contract: graft/ops.h. Source: Shazeer 2020. */
#include "rows.h"
#include "vec.h"

typedef struct {
    gf_tensor h, gate, up;
    gf_tensor dgate, dup, dh; /* backward */
    gf_act act;
} glu_args;

#define GELU_C 0.7978845608028654f /* sqrt(2 / pi) */
#define GELU_A 0.044715f           /* of the tanh form (Hendrycks and Gimpel 2016) */

/* act(x); *slope = act'(x) if asked for. */
static inline v16 activate(v16 x, gf_act act, v16 *slope)
{
    const v16 one = v_set1(1.0f), half = v_set1(0.5f);
    if (act == GF_SILU) {
        const v16 s = v_sigmoid(x);
        if (slope)
            *slope = v_mul(s, v_fma(x, v_sub(one, s), one));
        return v_mul(x, s);
    }
    const v16 xx = v_mul(x, x);
    const v16 u = v_mul(v_set1(GELU_C), v_fma(v_mul(v_set1(GELU_A), xx), x, x));
    const v16 t = v_tanh(u), cdf = v_fma(half, t, half);
    if (slope) {
        const v16 du = v_mul(v_set1(GELU_C), v_fma(v_set1(3.0f * GELU_A), xx, one));
        const v16 dt = v_mul(v_fma(v_sub(v_zero(), t), t, one), du);
        *slope = v_fma(v_mul(half, x), dt, cdf);
    }
    return v_mul(x, cdf);
}

static void glu_part(void *ctx, int thread, int threads)
{
    const glu_args *a = ctx;
    const int64_t width = a->gate.dim[1];
    int64_t begin, end;
    gf_pool_split(a->gate.dim[0], 1, thread, threads, &begin, &end);
    for (int64_t row = begin; row < end; row++) {
        const void *gate = gf_row_at(a->gate, row), *up = gf_row_at(a->up, row);
        void *h = gf_row_at(a->h, row);
        for (int64_t i = 0; i < width; i += V_LANES) {
            const int64_t n = width - i;
            const v16 y = activate(v_get(gate, a->gate.dtype, i, n), a->act, NULL);
            v_put(h, a->h.dtype, i, n, v_mul(y, v_get(up, a->up.dtype, i, n)));
        }
    }
}

static void glu_back_part(void *ctx, int thread, int threads)
{
    const glu_args *a = ctx;
    const int64_t width = a->gate.dim[1];
    int64_t begin, end;
    gf_pool_split(a->gate.dim[0], 1, thread, threads, &begin, &end);
    for (int64_t row = begin; row < end; row++) {
        const void *gate = gf_row_at(a->gate, row), *up = gf_row_at(a->up, row);
        const void *dh = gf_row_at(a->dh, row);
        void *dgate = gf_row_at(a->dgate, row), *dup = gf_row_at(a->dup, row);
        void *h = gf_is(a->h) ? gf_row_at(a->h, row) : NULL;
        for (int64_t i = 0; i < width; i += V_LANES) {
            const int64_t n = width - i;
            v16 slope;
            const v16 y = activate(v_get(gate, a->gate.dtype, i, n), a->act, &slope);
            const v16 u = v_get(up, a->up.dtype, i, n), d = v_get(dh, a->dh.dtype, i, n);
            if (h)
                v_put(h, a->h.dtype, i, n, v_mul(y, u));
            v_put(dgate, a->dgate.dtype, i, n, v_mul(v_mul(d, u), slope));
            v_put(dup, a->dup.dtype, i, n, v_mul(d, y));
        }
    }
}

gf_status GF_CPU(glu_fwd)(gf_backend *be, gf_tensor h, gf_tensor gate, gf_tensor up, gf_act act)
{
    glu_args a = {.h = h, .gate = gate, .up = up, .act = act};
    rows_run(be, gf_count(h), glu_part, &a);
    return GF_OK;
}

gf_status GF_CPU(glu_bwd)(gf_backend *be, gf_tensor dgate, gf_tensor dup, gf_tensor h, gf_tensor dh,
                          gf_tensor gate, gf_tensor up, gf_act act)
{
    glu_args a = {.h = h, .gate = gate, .up = up, .dgate = dgate, .dup = dup, .dh = dh, .act = act};
    rows_run(be, gf_count(gate), glu_back_part, &a);
    return GF_OK;
}
