/* noise.c - NEFTune's noise on the embedding's output. Contract: graft/ops.h. Source: Jain et al.
 * 2023. All f32 without fma, so that the bits are the same on every backend. */
#include <math.h>

#include "noise.h"
#include "rows.h"

typedef struct {
    gf_tensor x;
    const gf_spans *row;
    gf_noise noise;
} noise_args;

static void add_noise(float *x, int64_t width, float size, const gf_noise *n, uint64_t example,
                      int64_t position)
{
    const uint32_t key[2] = {(uint32_t)n->seed,
                             (uint32_t)(n->seed >> 32) ^ (n->epoch * 0x9E3779B9u)};
    for (int64_t c = 0; c < width; c += 4) {
        const uint32_t counter[4] = {(uint32_t)example,
                                     (uint32_t)(example >> 32) ^ (GF_NOISE_MODULE << 8),
                                     (uint32_t)position, (uint32_t)(c / 4)};
        uint32_t word[4];
        gf_philox(word, counter, key);
        for (int64_t i = 0; i < 4 && c + i < width; i++)
            x[c + i] += size * gf_noise_of(word[i]);
    }
}

static void noise_part(void *ctx, int thread, int threads)
{
    const noise_args *a = ctx;
    const int64_t width = a->x.dim[1];
    int64_t begin, end;
    gf_pool_split(a->row->tokens, 1, thread, threads, &begin, &end);
    for (int i = 0; i < a->row->count; i++) {
        const gf_span s = a->row->span[i];
        const float size = a->noise.alpha / sqrtf((float)s.len * (float)width);
        for (int64_t t = s.start > begin ? s.start : begin; t < s.start + s.len && t < end; t++)
            add_noise(gf_row_at(a->x, t), width, size, &a->noise, s.example, t - s.start);
    }
}

gf_status GF_CPU(embed_noise)(gf_backend *be, gf_tensor x, const gf_spans *row, gf_noise noise)
{
    noise_args a = {x, row, noise};
    rows_run(be, gf_count(x), noise_part, &a);
    return GF_OK;
}
