/* adamw8.c - one AdamW update with moments of 8 bits. Contract: graft/ops.h. Source: Dettmers et
 * al. 2022; bitsandbytes' order of operations (FORMATS 8.4). Factors are double, rounded to f32
 * once, all else is f32 without fma, so that the bits are the same on every CPU. */
#include <math.h>

#include "map8.h"
#include "rows.h"

typedef struct {
    float m[256], v[256];               /* what codes stand for */
    float m_middle[256], v_middle[256]; /* between a code's value and the next one's */
} maps;

typedef struct {
    float *value, *m_max, *v_max;
    uint8_t *m, *v;
    const int64_t *g;
    int64_t n;
    double scale;
    float keep, beta1, w1, beta2, w2, step, eps;
    maps maps;
} adamw8_part_args;

static void make_maps(maps *p)
{
    for (int i = 0; i < 256; i++) {
        p->m[i] = gf_map8_signed(i);
        p->v[i] = gf_map8_unsigned(i);
    }
    for (int i = 0; i < 255; i++) {
        p->m_middle[i] = (p->m[i] + p->m[i + 1]) / 2.0f;
        p->v_middle[i] = (p->v[i] + p->v[i + 1]) / 2.0f;
    }
}

static float update(const adamw8_part_args *a, float *value, float *m, float *v, int64_t g)
{
    const float gr = (float)(a->scale * (double)g);
    *v = *v * a->beta2 + a->w2 * gr * gr;
    *m = *m * a->beta1 + a->w1 * gr;
    *value = (*value - a->step * (*m / (sqrtf(*v) + a->eps))) * a->keep;
    return fabsf(*m);
}

/* A block: moments out of their codes, the update, and back by the new largest. */
static void update_block(const adamw8_part_args *a, int64_t block)
{
    const int64_t first = block * GF_BLOCK8;
    const int count = (int)(a->n - first < GF_BLOCK8 ? a->n - first : GF_BLOCK8);
    uint8_t *m_code = a->m + first, *v_code = a->v + first;
    float m[GF_BLOCK8], v[GF_BLOCK8], m_max = 0.0f, v_max = 0.0f;
    for (int i = 0; i < count; i++) {
        m[i] = a->maps.m[m_code[i]] * a->m_max[block];
        v[i] = a->maps.v[v_code[i]] * a->v_max[block];
        const float size = update(a, &a->value[first + i], &m[i], &v[i], a->g[first + i]);
        m_max = size > m_max ? size : m_max;
        v_max = v[i] > v_max ? v[i] : v_max;
    }
    for (int i = 0; i < count; i++) {
        const float share = m_max > 0.0f ? m[i] / m_max : 0.0f;
        const int code = gf_map8_nearest(a->maps.m_middle, share);
        m_code[i] = (uint8_t)(m[i] < 0.0f && code == 127 ? 126 : code); /* its sign stays */
        v_code[i] = (uint8_t)gf_map8_nearest(a->maps.v_middle, v_max > 0.0f ? v[i] / v_max : 0.0f);
    }
    a->m_max[block] = m_max;
    a->v_max[block] = v_max;
}

static void adamw8_part(void *ctx, int thread, int threads)
{
    const adamw8_part_args *a = ctx;
    int64_t begin, end;
    gf_pool_split((a->n + GF_BLOCK8 - 1) / GF_BLOCK8, 1, thread, threads, &begin, &end);
    for (int64_t block = begin; block < end; block++)
        update_block(a, block);
}

gf_status GF_CPU(adamw8)(gf_backend *be, gf_tensor value, gf_tensor m, gf_tensor v, gf_tensor m_max,
                         gf_tensor v_max, gf_tensor g, double scale, const gf_adamw_args *args)
{
    const double t = (double)args->step, root = sqrt(1.0 - pow(args->beta2, t));
    adamw8_part_args a = {
        .value = value.data,
        .m = m.data,
        .v = v.data,
        .m_max = m_max.data,
        .v_max = v_max.data,
        .g = g.data,
        .n = value.dim[0],
        .scale = scale,
        .keep = (float)(1.0 - args->lr * args->weight_decay),
        .beta1 = (float)args->beta1,
        .w1 = (float)(1.0 - args->beta1),
        .beta2 = (float)args->beta2,
        .w2 = (float)(1.0 - args->beta2),
        .step = (float)(args->lr * root / (1.0 - pow(args->beta1, t))),
        .eps = (float)(args->eps * root),
    };
    make_maps(&a.maps);
    rows_run(be, a.n, adamw8_part, &a);
    return GF_OK;
}
