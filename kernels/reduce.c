/* reduce.c - the sum of squares of a gradient. Contract: graft/ops.h. */
#include "rows.h"

/* Elements of a block: the unit of the fixed order. Within it eight lanes, then their sum; blocks
 * one after the other. No instruction set changes these bits: double, no fma. */
#define BLOCK 65536
#define LANES 8

/* Sums of a run of blocks, held in thread 0's scratch: 2^19 of them, 2^35 elements a run. */
#define BLOCKS_AT_ONCE ((int64_t)(GF_POOL_SCRATCH / sizeof(double)))

typedef struct {
    const int64_t *g;
    int64_t n, blocks;
    double scale;
    double *sum; /* [blocks] */
} square_args;

static double block_sum(const int64_t *g, int64_t n, double scale)
{
    double acc[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            const double x = scale * (double)g[i + j];
            acc[j] += x * x;
        }
    for (int j = 0; i + j < n; j++) {
        const double x = scale * (double)g[i + j];
        acc[j] += x * x;
    }
    double sum = 0.0;
    for (int j = 0; j < LANES; j++)
        sum += acc[j];
    return sum;
}

static void square_part(void *ctx, int thread, int threads)
{
    const square_args *a = ctx;
    int64_t begin, end;
    gf_pool_split(a->blocks, 1, thread, threads, &begin, &end);
    for (int64_t b = begin; b < end; b++) {
        const int64_t left = a->n - b * BLOCK;
        a->sum[b] = block_sum(a->g + b * BLOCK, left < BLOCK ? left : BLOCK, a->scale);
    }
}

gf_status GF_CPU(sum_squares)(gf_backend *be, double *sum, gf_tensor g, double scale)
{
    double total = 0.0;
    const int64_t n = g.dim[0];
    for (int64_t at = 0; at < n; at += BLOCKS_AT_ONCE * BLOCK) {
        square_args a = {.g = (const int64_t *)g.data + at, .scale = scale};
        a.n = n - at < BLOCKS_AT_ONCE * BLOCK ? n - at : BLOCKS_AT_ONCE * BLOCK;
        a.blocks = (a.n + BLOCK - 1) / BLOCK;
        a.sum = gf_pool_scratch(be->pool, 0);
        rows_run(be, a.n, square_part, &a);
        for (int64_t b = 0; b < a.blocks; b++)
            total += a.sum[b];
    }
    *sum = total;
    return GF_OK;
}
