/* rope.c - rotary embedding, half-rotation pairing, in place. Contract: graft/ops.h. Source: Su et
 * al. 2021; FORMATS 2.5. */
#include "rows.h"
#include "vec.h"

typedef struct {
    gf_tensor x, cos, sin;
    int direction;
} rope_args;

static void rope_part(void *ctx, int thread, int threads)
{
    const rope_args *a = ctx;
    const gf_dtype t = a->x.dtype;
    const int64_t half = a->cos.dim[1];
    const v16 turn = v_set1((float)a->direction);
    int64_t begin, end;
    gf_pool_split(a->x.dim[0], 1, thread, threads, &begin, &end);
    for (int64_t row = begin; row < end; row++) {
        const float *cos = gf_row_at(a->cos, row), *sin = gf_row_at(a->sin, row);
        for (int64_t h = 0; h < a->x.dim[1]; h++) {
            char *x = (char *)gf_row_at(a->x, row) + gf_row_bytes(t, h * a->x.dim[2]);
            char *y = x + gf_row_bytes(t, half);
            for (int64_t i = 0; i < half; i += V_LANES) {
                const int64_t n = half - i;
                const v16 c = v_get(cos, GF_F32, i, n);
                const v16 s = v_mul(turn, v_get(sin, GF_F32, i, n));
                const v16 lo = v_get(x, t, i, n), hi = v_get(y, t, i, n);
                v_put(x, t, i, n, v_sub(v_mul(lo, c), v_mul(hi, s)));
                v_put(y, t, i, n, v_add(v_mul(hi, c), v_mul(lo, s)));
            }
        }
    }
}

gf_status GF_CPU(rope)(gf_backend *be, gf_tensor x, gf_tensor cos, gf_tensor sin, int direction)
{
    rope_args a = {x, cos, sin, direction};
    rows_run(be, gf_count(x), rope_part, &a);
    return GF_OK;
}
