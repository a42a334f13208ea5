/* rows.c - gathering, scattering, adding and clearing rows. Contract: graft/ops.h. */
#include "rows.h"
#include "vec.h"

typedef struct {
    gf_tensor y, x, index;
    bool scatter;
} rows_args;

/* from -1: zeros; to -1: nothing. */
static void copy_row(gf_tensor y, int64_t to, gf_tensor x, int64_t from)
{
    const int64_t width = gf_width(y);
    if (to < 0)
        return;
    void *out = gf_row_at(y, to);
    if (from < 0) {
        memset(out, 0, (size_t)gf_row_bytes(y.dtype, width));
        return;
    }
    const void *in = gf_row_at(x, from);
    if (y.dtype == x.dtype) {
        memcpy(out, in, (size_t)gf_row_bytes(y.dtype, width));
        return;
    }
    for (int64_t i = 0; i < width; i += V_LANES)
        v_put(out, y.dtype, i, width - i, v_get(in, x.dtype, i, width - i));
}

static void copy_part(void *ctx, int thread, int threads)
{
    const rows_args *a = ctx;
    int64_t begin, end;
    gf_pool_split(a->index.dim[0], 1, thread, threads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const int64_t at = ((const int32_t *)a->index.data)[i];
        copy_row(a->y, a->scatter ? at : i, a->x, a->scatter ? i : at);
    }
}

static void zero_part(void *ctx, int thread, int threads)
{
    const gf_tensor *x = ctx;
    const size_t bytes = (size_t)gf_row_bytes(x->dtype, gf_width(*x));
    int64_t begin, end;
    gf_pool_split(x->dim[0], 1, thread, threads, &begin, &end);
    if (x->stride == gf_width(*x)) {
        if (end > begin)
            memset(gf_row_at(*x, begin), 0, bytes * (size_t)(end - begin));
        return;
    }
    for (int64_t i = begin; i < end; i++)
        memset(gf_row_at(*x, i), 0, bytes);
}

gf_status GF_CPU(gather_rows)(gf_backend *be, gf_tensor y, gf_tensor x, gf_tensor index)
{
    rows_args a = {y, x, index, false};
    rows_run(be, gf_count(y), copy_part, &a);
    return GF_OK;
}

gf_status GF_CPU(scatter_rows)(gf_backend *be, gf_tensor y, gf_tensor x, gf_tensor index)
{
    rows_args a = {y, x, index, true};
    rows_run(be, gf_count(y), zero_part, &y);
    rows_run(be, gf_count(x), copy_part, &a);
    return GF_OK;
}

static void add_part(void *ctx, int thread, int threads)
{
    const rows_args *a = ctx;
    const int64_t width = gf_width(a->y);
    int64_t begin, end;
    gf_pool_split(a->y.dim[0], 1, thread, threads, &begin, &end);
    for (int64_t row = begin; row < end; row++) {
        float *y = gf_row_at(a->y, row);
        const void *x = gf_row_at(a->x, row);
        for (int64_t i = 0; i < width; i += V_LANES)
            v_put(y, GF_F32, i, width - i,
                  v_add(v_get(y, GF_F32, i, width - i), v_get(x, a->x.dtype, i, width - i)));
    }
}

gf_status GF_CPU(add_rows)(gf_backend *be, gf_tensor y, gf_tensor x)
{
    rows_args a = {.y = y, .x = x};
    rows_run(be, gf_count(y), add_part, &a);
    return GF_OK;
}

gf_status GF_CPU(zero)(gf_backend *be, gf_tensor x)
{
    rows_run(be, gf_count(x), zero_part, &x);
    return GF_OK;
}
