/* xent.cu - cross-entropy and its gradient, row by row; what a step counts of it. Contract:
 * graft/ops.h.
 *
 * A block has a row. One pass finds the maximum and, online, the sum of exponentials (Milakov and
 * Gimelshein 2018); a second one, out of cache where the row fits, writes the gradient. Thread i
 * has units i, i + blockDim.x, ... of 4 columns in both, so the gradient may lie on the logits, and
 * a row's bits depend on its width alone. */
#include "device.cuh"

#define AT_ONCE 4 /* units of a thread that are read together */

struct logits_row {
    const float *at;
    int width, wide;    /* wide: units are aligned */
    float cap, inverse; /* 1 / cap; cap 0: none */
};

DEVICE float capped(const logits_row &r, float x)
{
    return r.cap > 0.0f ? __fmul_rn(r.cap, tanhf(__fmul_rn(x, r.inverse))) : x;
}

/* z of this thread's units first, first + blockDim.x, ... of the AT_ONCE * blockDim.x units from
 * `from` on, which is the same for the whole block; -inf where there is no column. */
DEVICE void load_piece(float (&z)[AT_ONCE][4], const logits_row &r, int from)
{
    const int first = from + threadIdx.x;
    const bool full = r.wide && 4 * (from + AT_ONCE * (int)blockDim.x) <= r.width;
#pragma unroll
    for (int k = 0; k < AT_ONCE; k++) {
        const int i = 4 * (first + k * blockDim.x);
        if (full)
            load_unit(z[k], r.at + i);
        else
            load(z[k], r.at + i, r.width - i, r.wide);
    }
    if (r.cap > 0.0f)
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                z[k][j] = capped(r, z[k][j]);
    if (full)
        return;
#pragma unroll
    for (int k = 0; k < AT_ONCE; k++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (4 * (first + k * (int)blockDim.x) + j >= r.width)
                z[k][j] = -INFINITY;
}

/* Roundings are spelled out below (__fadd_rn), so that the loss has the same bits in each of the
 * two kernels: with and without a fused multiply-add it would not.
 *
 * The largest z so far and the column where it stands first, and the sum of exp(z - most). */
struct online {
    float most, sum;
    int best;
};

/* What exponents are relative to: never -inf, so that exp(-inf - that) is 0 and no NaN. */
DEVICE float base_of(float most)
{
    return most == -INFINITY ? 0.0f : most;
}

DEVICE void add_piece(online *o, const float (&z)[AT_ONCE][4], int first)
{
    float most = o->most, sum[AT_ONCE];
#pragma unroll
    for (int k = 0; k < AT_ONCE; k++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (z[k][j] > most) {
                most = z[k][j];
                o->best = 4 * (first + k * blockDim.x) + j;
            }
    const float base = base_of(most);
#pragma unroll
    for (int k = 0; k < AT_ONCE; k++)
        sum[k] = __fadd_rn(__fadd_rn(expf(z[k][0] - base), expf(z[k][1] - base)),
                           __fadd_rn(expf(z[k][2] - base), expf(z[k][3] - base)));
    if (most > o->most)
        o->sum = __fmul_rn(o->sum, expf(o->most - most));
    o->most = most;
    o->sum = __fadd_rn(o->sum, __fadd_rn(__fadd_rn(sum[0], sum[1]), __fadd_rn(sum[2], sum[3])));
}

/* The larger one, among equals that which stands first. */
DEVICE void better(float *most, int *best, float other, int at)
{
    if (other > *most || (other == *most && at < *best)) {
        *most = other;
        *best = at;
    }
}

DEVICE void warp_best(float *most, int *best)
{
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) {
        const float other = __shfl_xor_sync(ALL_LANES, *most, step);
        const int at = __shfl_xor_sync(ALL_LANES, *best, step);
        better(most, best, other, at);
    }
}

struct fold {
    float most[WARP], sum[WARP];
    int best[WARP];
};

/* All threads' parts; every thread gets the row's. A row without any number sums to NaN. */
DEVICE online block_fold(online mine, fold *part)
{
    const unsigned lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    online all = mine;
    warp_best(&all.most, &all.best);
    if (lane == 0) {
        part->most[threadIdx.x / WARP] = all.most;
        part->best[threadIdx.x / WARP] = all.best;
    }
    __syncthreads();
    all.most = lane < warps ? part->most[lane] : -INFINITY;
    all.best = lane < warps ? part->best[lane] : 0x7fffffff;
    warp_best(&all.most, &all.best);
    /* a thread that saw no number has the sum 0, or NaN */
    const float factor = mine.most == -INFINITY ? 1.0f : expf(mine.most - all.most);
    all.sum = block_sum(__fmul_rn(mine.sum, factor), part->sum);
    if (all.most == -INFINITY)
        all.sum = NAN;
    return all;
}

/* The second pass. T: f32 or bf16. */
template <typename T>
DEVICE void write_gradient(T *out, const logits_row &r, const online &all, int label)
{
    const float scale = reciprocal_approx(all.sum), base = base_of(all.most);
    for (int from = 0; 4 * from < r.width; from += AT_ONCE * blockDim.x) {
        const int first = from + threadIdx.x;
        float z[AT_ONCE][4];
        load_piece(z, r, from);
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++) {
            const int i = 4 * (first + k * blockDim.x);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const float t = z[k][j] * r.inverse;
                float d = __fmul_rn(expf(z[k][j] - base), scale);
                if (i + j == label)
                    d -= 1.0f;
                if (r.cap > 0.0f)
                    d = __fmul_rn(d, fmaf(-t, t, 1.0f));
                z[k][j] = d;
            }
            store(out + i, z[k], r.width - i, r.wide);
        }
    }
}

template <typename T> DEVICE void clear(T *out, int width, int wide)
{
    const float none[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int i = 4 * threadIdx.x; i < width; i += 4 * blockDim.x)
        store(out + i, none, width - i, wide);
}

/* d.data NULL: no gradient wanted. */
template <typename T>
DEVICE void xent(float *nll, int32_t *best, gf_arg d, gf_arg logits, const int32_t *label,
                 int width, float cap, float inverse, int wide)
{
    __shared__ fold part;
    const int64_t row = blockIdx.x;
    const logits_row r = {place<float *>(logits, row, 0), width, wide, cap, inverse};
    T *const out = place<T *>(d, row, 0);
    const int want = label[row];
    if (want < 0) { /* filler */
        if (threadIdx.x == 0) {
            nll[row] = 0.0f;
            best[row] = -1;
        }
        if (d.data)
            clear(out, width, wide);
        return;
    }
    online mine = {-INFINITY, 0.0f, 0};
    const float z = capped(r, r.at[want]); /* before anything is overwritten */
    for (int from = 0; 4 * from < width; from += AT_ONCE * blockDim.x) {
        float piece[AT_ONCE][4];
        load_piece(piece, r, from);
        add_piece(&mine, piece, from + threadIdx.x);
    }
    const online all = block_fold(mine, &part);
    if (threadIdx.x == 0) {
        nll[row] = logf(all.sum) + (all.most - z);
        best[row] = all.best;
    }
    if (d.data)
        write_gradient(out, r, all, want);
}

extern "C" __global__ void __launch_bounds__(512)
    xent_f32(float *nll, int32_t *best, gf_arg d, gf_arg logits, const int32_t *label, int width,
             float cap, float inverse, int wide)
{
    xent<float>(nll, best, d, logits, label, width, cap, inverse, wide);
}

extern "C" __global__ void __launch_bounds__(512)
    xent_bf16(float *nll, int32_t *best, gf_arg d, gf_arg logits, const int32_t *label, int width,
              float cap, float inverse, int wide)
{
    xent<bf16>(nll, best, d, logits, label, width, cap, inverse, wide);
}

/* ---- what a step counts -----------------------------------------------------------------------
 */

/* loss, correct and nonfinite: addresses of the sums. 2^16 and 2^32 as in graft/ops.h. */
extern "C" __global__ void __launch_bounds__(256)
    count_losses(int64_t *loss, int64_t *correct, int64_t *nonfinite, const float *nll,
                 const int32_t *best, const int32_t *label, int64_t n)
{
    int64_t sum = 0, right = 0, bad = 0;
    const int64_t step = (int64_t)gridDim.x * blockDim.x;
#pragma unroll 1
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) {
        const float x = nll[i];
        if (label[i] < 0)
            continue;
        if (!(fabsf(x) < 0x1p16f)) {
            bad++;
            continue;
        }
        sum += __float2ll_rn(x * 0x1p32f);
        right += best[i] == label[i];
    }
    sum = warp_sum(sum);
    right = warp_sum(right);
    bad = warp_sum(bad);
    if (threadIdx.x % WARP != 0)
        return;
    if (sum != 0)
        atomic_add_s64(loss, sum);
    if (right != 0)
        atomic_add_s64(correct, right);
    if (bad != 0)
        atomic_add_s64(nonfinite, bad);
}
