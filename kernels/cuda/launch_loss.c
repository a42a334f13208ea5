/* launch_loss.c - twins of what a step does behind the model: losses, the gradient's norm.
 * Contract: graft/ops.h. */
#include "launch_args.h"

#define WARP 32

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static gf_status launch_rows(gf_backend *be, const char *name, int64_t rows, unsigned threads,
                             void **params)
{
    return gf_cuda_launch(be, "xent", name, (gf_dim){(unsigned)rows, 1, 1}, (gf_dim){threads, 1, 1},
                          0, params);
}

/* A block for each row, sixteen columns a thread and round; how many threads depends on V alone. */
gf_status gf_cuda_xent(gf_backend *be, gf_tensor nll, gf_tensor best, gf_tensor dlogits,
                       gf_tensor logits, gf_tensor label, float cap)
{
    int width = (int)logits.dim[1];
    int wide = gf_arg_aligned(logits, 4) && gf_arg_aligned(dlogits, 4);
    float inverse = cap > 0.0f ? 1.0f / cap : 0.0f;
    gf_arg d = gf_arg_of(dlogits), z = gf_arg_of(logits);
    const int64_t warps = divide_up(width, 16 * WARP);
    void *params[] = {&nll.data, &best.data, &d, &z, &label.data, &width, &cap, &inverse, &wide};
    return launch_rows(be, gf_is(dlogits) && dlogits.dtype == GF_BF16 ? "xent_bf16" : "xent_f32",
                       logits.dim[0], (unsigned)(warps < 16 ? warps : 16) * WARP, params);
}

gf_status gf_cuda_count_losses(gf_backend *be, gf_tensor sums, gf_tensor nll, gf_tensor best,
                               gf_tensor label)
{
    int64_t n = nll.dim[0], *sum = sums.data;
    int64_t *loss = sum, *correct = sum, *nonfinite = sum;
    if (sum) { /* none in a dry run */
        loss += GF_SUM_LOSS;
        correct += GF_SUM_CORRECT;
        nonfinite += GF_SUM_NONFINITE;
    }
    const int64_t blocks = divide_up(n, 256);
    void *params[] = {&loss, &correct, &nonfinite, &nll.data, &best.data, &label.data, &n};
    return gf_cuda_launch(be, "xent", "count_losses",
                          (gf_dim){(unsigned)(blocks < 64 ? blocks : 64), 1, 1},
                          (gf_dim){256, 1, 1}, 0, params);
}

gf_status gf_cuda_sum_squares(gf_backend *be, double *sum, gf_tensor g, double scale)
{
    int64_t n = g.dim[0], blocks = divide_up(n, GF_SQUARES);
    const int64_t room = (int64_t)(GF_CUDA_SCRATCH / sizeof(double)) - 1;
    int wide = gf_arg_aligned(g, 2);
    if (blocks > room)
        return gf_fail(&be->err, GF_ESHAPE, "sum_squares: g has %lld elements, want at most %lld",
                       (long long)n, (long long)(room * GF_SQUARES));
    if (n == 0) {
        *sum = 0.0;
        return GF_OK;
    }
    int parts = (int)blocks;
    double *total = gf_cuda_scratch(be), *part = total ? total + 1 : NULL;
    TRY(GF_LAUNCH(be, "reduce", "squares", ((gf_dim){(unsigned)blocks, 1, 1}),
                  ((gf_dim){256, 1, 1}), 0, &part, &g.data, &n, &scale, &wide));
    TRY(GF_LAUNCH(be, "reduce", "add_up", ((gf_dim){1, 1, 1}), ((gf_dim){1024, 1, 1}), 0, &total,
                  &part, &parts));
    return be->dry ? GF_OK : gf_cuda_fetch(be, sum, total, sizeof *sum);
}
