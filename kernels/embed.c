/* embed.c - token ids to rows of the embedding. Contract: graft/ops.h. */
#include "rows.h"
#include "vec.h"

typedef struct {
    gf_tensor y, ids, table;
    float scale;
} embed_args;

static void embed_part(void *ctx, int thread, int threads)
{
    const embed_args *a = ctx;
    const int64_t width = a->y.dim[1];
    int64_t begin, end;
    gf_pool_split(a->y.dim[0], 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        float *y = gf_row_at(a->y, t);
        const int32_t id = ((const int32_t *)a->ids.data)[t];
        if (id < 0) {
            memset(y, 0, (size_t)width * sizeof *y);
            continue;
        }
        GF_CPU(to_f32)(y, a->table.dtype, gf_row_at(a->table, id), 0, width);
        if (a->scale == 1.0f)
            continue;
        for (int64_t i = 0; i < width; i += V_LANES)
            v_put(y, GF_F32, i, width - i, v_mul(v_set1(a->scale), v_get(y, GF_F32, i, width - i)));
    }
}

gf_status GF_CPU(embed_fwd)(gf_backend *be, gf_tensor y, gf_tensor ids, gf_tensor table,
                            float scale)
{
    embed_args a = {y, ids, table, scale};
    rows_run(be, gf_count(y), embed_part, &a);
    return GF_OK;
}
