/* ops.h - the contract between the model and the backends.
 *
 * The model is written once, against this header. A backend is one constant table of functions;
 * every op exists in every backend. The CPU table exists once per instruction set, compiled from
 * the same sources (kernels/name.c).
 *
 * Letters, used in include/, kernels/ and host/model/ and redefined nowhere:
 *   N  tokens in the row     D  model width        F  FFN width      H  query heads
 *   G  key/value heads       K  head width         V  vocabulary     R  adapter rank(s, stacked)
 *   L  layers                n  output width of a linear layer       k  its input width
 *
 * Rules for every op, unless its comment says otherwise:
 *   - outputs first, then inputs, then scalars; tensors may have a row stride;
 *   - outputs are overwritten; what is accumulated is marked +=;
 *   - activations are f32 or bf16 (the run's precision); the residual stream, its gradient, norm
 *     weights, statistics, A and B are f32; arithmetic is f32, a bf16 output is rounded once;
 *   - a token's results depend on its own inputs and on its example's earlier tokens only: never
 *     on N, on where it stands, on threads (law 3). Sums run over k in one fixed order;
 *   - an op allocates nothing and touches only the tensors it is given and the backend's scratch;
 *   - tensors lie in the backend's memory; on a device an op is enqueued and returns: what it wrote
 *     is there for later ops, and for the host after gf_download and gf_wait;
 *   - a row may end in filler tokens (gf_spans.tokens < N, devices only): ids, index and label are
 *     -1 there, cos and sin 0; filler never counts, its gradients are zero;
 *   - the front door (kernels/ops.c) has checked shapes and dtypes before a twin runs;
 *   - errors: GF_ESHAPE from the front door, GF_ENUMERIC from it if be->check asks for that,
 *     GF_EDEVICE from a device; text in be->err. */
#ifndef GRAFT_OPS_H
#define GRAFT_OPS_H

#include "graft/tensor.h"

typedef struct gf_backend gf_backend;

/* ---- what an op works on besides tensors ------------------------------------------- */

/* One example inside a row (training: kv_start == start, kv_len == len). While generating, `start`
 * and `len` are the new tokens in q, and k/v hold kv_len tokens from kv_start on, of which the new
 * ones are the last. */
typedef struct {
    int64_t start, len;
    int64_t kv_start, kv_len;
    uint64_t example; /* its number in the data set: keys dropout, names it in messages */
} gf_span;

typedef struct {
    int64_t tokens; /* the spans cover them in order, without gaps; N is more if there is filler */
    int count;
    const gf_span *span;
    gf_tensor work; /* a device's own lists of the row, made by gf_row_bind; none on a CPU */
} gf_spans;

/* Dropout on the adapters' input: element (example, position, module, channel) is dropped iff its
 * Philox draw says so, see gf_dropout_keep. p == 0: none. */
typedef struct {
    float p;
    uint64_t seed;
    uint32_t epoch;
} gf_dropout;

/* One linear layer y = x W^T + bias + scale (drop(x) A^T) B^T. */
typedef struct {
    gf_tensor w;          /* [n,k] any storage type, row-major */
    gf_tensor dw;         /* [n,k] i64 fixed point, +=; none: w is frozen. On a CPU only */
    gf_tensor bias;       /* [n] f32 (on a device: y's dtype), or none */
    gf_tensor a, b;       /* [r,k], [n,r] f32; none: no adapter */
    gf_tensor da, db;     /* [r,k], [n,r] i64 fixed point, +=; none while only evaluating */
    float scale;          /* alpha / r, or alpha / sqrt(r) */
    uint32_t module;      /* number of the module in the model: keys dropout */
    gf_tensor magnitude;  /* [n] f32: DoRA's m; none: no DoRA */
    gf_tensor dmagnitude; /* [n] i64 fixed point, += */
} gf_linear;

/* Linear layers that read the same x: q/k/v, gate/up, or a single one. Their outputs stand side by
 * side in y [N, sum n], their S tails in s [N, sum r].
 *
 * On a device the weights are rows of one pitched buffer of the run's precision, so that a group is
 * one product (K-extension, PERFORMANCE 2.2). Every layer's n, and k, are rounded up to `align`
 * there, also as columns of y and dy; what pads them is zero. With adapters, `tail` columns to the
 * right hold B (block diagonal over the layers) and `tail` rows below hold A, as group_tails writes
 * them; x and dy have room for `tail` columns behind their own, in which the op leaves S and P. */
typedef struct {
    int count; /* 1 to 3 */
    gf_linear lin[3];
    int64_t align;  /* 0 counts as 1 */
    int64_t tail;   /* 0: no such buffer; else sum of r rounded up to 16 */
    gf_tensor norm; /* [2, sum n] f32 as dora_norms writes it; none: no layer has DoRA */
} gf_group;

int64_t gf_group_n(const gf_group *g);             /* sum of n, each rounded up to align */
int64_t gf_group_column(const gf_group *g, int i); /* where layer i's columns start in y */
int64_t gf_group_k(const gf_group *g);    /* k rounded up to align: where x's tail starts */
int64_t gf_group_rank(const gf_group *g); /* sum of r; 0 without adapters */

typedef enum { GF_SILU, GF_GELU_TANH } gf_act;

/* What a step adds up besides gradients, in one i64 tensor [GF_SUMS] in the backend's memory. */
typedef enum {
    GF_SUM_LOSS,      /* of the predicted tokens, times GF_LOSS_SCALE */
    GF_SUM_CORRECT,   /* predicted tokens whose argmax was the label */
    GF_SUM_MAGNITUDE, /* ceil(max |g|) of every chunk of every weight */
    GF_SUM_NONFINITE, /* chunks that held a value that is not finite; losses that cannot be added */
    GF_SUMS
} gf_sum;

/* Losses are summed as fixed point: associative, so that rows, threads and ranks don't show in the
 * bits (DESIGN 2.1). */
#define GF_LOSS_SCALE 0x1p32

/* Scale of gradients in fixed point: 2^40 keeps 2^-41 of error a chunk and 2^22 of range (DESIGN
 * 2.1). When the counter passes that, the step is computed again at 2^24. */
typedef struct {
    int shift;      /* 40 or 24 */
    gf_tensor sums; /* [GF_SUMS] i64, += magnitude and nonfinite */
} gf_fixed;

/* Tokens of a gradient chunk, counted from its example's start. */
#define GF_CHUNK 512

/* ---- the ops ------------------------------------------------------------------------------------
 * One line declares the op's type and its front door. The twins have the same type: kernels/cpu.h
 * declares one for each instruction set, gf_plain_NAME, gf_avx2_NAME, ...; CUDA's are gf_cuda_NAME
 * (kernels/cuda/cuda.h). */
#define GF_OP(name, ...)                                                                           \
    typedef gf_status gf_##name##_fn(gf_backend *be, __VA_ARGS__);                                 \
    gf_##name##_fn gf_##name

/* The list of ops: those of a forward pass in its order, of a backward pass, of an update. */
/* clang-format off */
#define GF_OPS(X) \
    X(embed_fwd) \
    X(embed_noise) \
    X(embed_lora_fwd) \
    X(rmsnorm_fwd) \
    X(group_linear_fwd) \
    X(dora_fwd) \
    X(rope) \
    X(attention_fwd) \
    X(glu_fwd) \
    X(gather_rows) \
    X(xent) \
    X(count_losses) \
    X(scatter_rows) \
    X(add_rows) \
    X(rmsnorm_bwd) \
    X(dora_bwd) \
    X(group_linear_bwd) \
    X(group_linear_da) \
    X(glu_bwd) \
    X(attention_bwd) \
    X(embed_lora_bwd) \
    X(embed_bwd) \
    X(sum_squares) \
    X(adamw) \
    X(adamw8) \
    X(lion) \
    X(group_tails) \
    X(dora_norms) \
    X(zero)
/* clang-format on */

/* y[t,:] = scale * table[ids[t],:], zero where ids[t] is -1
 *   y [N,D] out f32   ids [N] i32 (checked < V by the caller)   table [V,D] any storage type */
GF_OP(embed_fwd, gf_tensor y, gf_tensor ids, gf_tensor table, float scale);

/* NEFTune: x[t,c] += alpha / sqrt(len D) * u, u uniform in (-1, 1), len the tokens of t's example.
 * u is a draw for (seed, epoch, example, position, channel), see kernels/noise.h. Filler stays.
 *   x [N,D] f32 in/out.  Source: Jain et al. 2023. On a device the epoch is gf_row_bind's. */
typedef struct {
    float alpha; /* 0: none */
    uint64_t seed;
    uint32_t epoch;
} gf_noise;
GF_OP(embed_noise, gf_tensor x, const gf_spans *row, gf_noise noise);
/* LoRA on the embedding: S = scale * A[:,ids]^T,  x += S B^T. On a CPU only.
 *   x [N,D] f32 in/out   s [N,r] f32 out: for the backward pass   ids [N] i32
 *   lin: a [r,V], b [D,r] f32, scale. Source: FORMATS 4.4 */
GF_OP(embed_lora_fwd, gf_tensor x, gf_tensor s, gf_tensor ids, const gf_linear *lin);

/*   dB += dx^T S: chunks and rounding as group_linear_bwd's dB
 *   dA[:,ids[t]] += scale * B^T dx[t]: each token's share is rounded by itself
 *   p [N,r] f32 scratch   dx [N,D] f32   s as the forward had it   ids: -1 adds nothing to dA */
GF_OP(embed_lora_bwd, gf_tensor p, gf_tensor dx, gf_tensor s, gf_tensor ids, const gf_linear *lin,
      const gf_spans *row, gf_fixed *fixed);

/* dtable[ids[t],:] += scale * dx[t,:]: each token's row is rounded by itself. On a CPU only.
 *   dtable [V,D] i64 fixed point   dx [N,D] f32   ids [N] i32, -1: nothing */
GF_OP(embed_bwd, gf_tensor dtable, gf_tensor dx, gf_tensor ids, float scale, gf_fixed *fixed);

/* RMSNorm.  r = 1 / sqrt(mean_d x^2 + eps),   y = x * r * (w + offset) (+ residual)
 *   y [N,D] out f32|bf16, may be x itself      rstd [N] out f32      x [N,D] f32|bf16   w [D] f32
 *   residual [N,D] f32 or none; may be y
 * Per head: y, x [N,H,K], rstd [N,H], w [K].  offset is 1 for Gemma, else 0.
 * Source: Zhang and Sennrich 2019, eq. 4. */
GF_OP(rmsnorm_fwd, gf_tensor y, gf_tensor rstd, gf_tensor x, gf_tensor residual, gf_tensor w,
      float eps, float offset);

/* To the input only, the weight is frozen.
 *   h = x * r,  g = dy * (w + offset),   dx = into + r * (g - h * mean_d(g * h))
 *   dx [N,D] out f32|bf16; may be dy   rounded [N,D] out bf16 or none: dx once more, for products
 *   y [N,D] out dy's dtype or none: the forward's y made again; may be dy, unless dx is
 *   dy [N,D] f32|bf16   into [N,D] f32 or none; may be dx */
GF_OP(rmsnorm_bwd, gf_tensor dx, gf_tensor rounded, gf_tensor y, gf_tensor dy, gf_tensor into,
      gf_tensor x, gf_tensor w, gf_tensor rstd, float offset);

/* y = x W^T + bias + scale (drop(x) A^T) B^T (+ residual), all layers of the group side by side.
 *   y [N,n] out f32|bf16   s [N,R] out x's dtype: scale * drop(x) A^T, kept for the backward pass
 *   (none without adapters)   x [N,k] f32|bf16   residual [N,n] f32 or none; may be y
 * x's dtype is the precision of the products: f32, or bf16 x bf16 with f32 sums. One f32 sum starts
 * from residual + bias and goes on over k, then over R (K-extension), in short chains
 * (kernels/gemm.h); nothing in between is rounded to y's dtype. Source: Hu et al. 2021, eq. 3. */
GF_OP(group_linear_fwd, gf_tensor y, gf_tensor s, gf_tensor x, gf_tensor residual,
      const gf_group *g, const gf_spans *row, gf_dropout drop);

/*   P = scale * dy B,   dx = dy W + drop'(P A),   dA += drop(x)^T P (as [r,k]),   dB += dy^T S,
 *   dW += dy^T x
 *   dx [N,k] out dy's dtype or f32, or none (nobody below needs it)   p [N,R] out, dy's dtype
 *   dy [N,n]   x [N,k], s [N,R] as the forward had them; x none: dA is left to group_linear_da
 * Gradients: an f32 sum over each chunk of GF_CHUNK tokens of each example, rounded to fixed point
 * (round half to even) and added; fixed->shift gives the scale. */
GF_OP(group_linear_bwd, gf_tensor dx, gf_tensor p, gf_tensor dy, gf_tensor x, gf_tensor s,
      const gf_group *g, const gf_spans *row, gf_dropout drop, gf_fixed *fixed);

/* dA alone, where x is made again only after dx: p [N,R] as group_linear_bwd left it, x [N,k]. */
GF_OP(group_linear_da, gf_tensor p, gf_tensor x, const gf_group *g, const gf_spans *row,
      gf_dropout drop, gf_fixed *fixed);

/* DoRA around a group's product: y = z * (m / norm) + bias (+ residual), where z is what
 * group_linear_fwd makes without bias and residual, and norm the length of each row of
 * W + scale B A. Layers without a magnitude, and padding, have the factor 1.
 *   y [N,n] out f32|bf16; may be z   z [N,n] f32|bf16   residual [N,n] f32 or none; may be y
 * g->norm holds what dora_norms wrote. Source: Liu et al. 2024 (DoRA), eq. 5; FORMATS 4.5. */
GF_OP(dora_fwd, gf_tensor y, gf_tensor z, gf_tensor residual, const gf_group *g);

/*   dz = dy * (m / norm),   dm += sum_t dy z / norm: norm counts as a constant (same, 4.3)
 *   dz [N,n] out dy's dtype, not dy   dy [N,n] f32|bf16   z [N,n] dy's dtype
 * dm: chunks and rounding as dA's. */
GF_OP(dora_bwd, gf_tensor dz, gf_tensor dy, gf_tensor z, const gf_group *g, const gf_spans *row,
      gf_fixed *fixed);

/* Rotary embedding of the first 2*C columns of every head, in place; half-rotation pairing:
 *   i < C:  x[i], x[i+C] = x[i] cos_i - x[i+C] sin_i, x[i+C] cos_i + x[i] sin_i
 *   x [N,H,K] f32|bf16     cos, sin [N,C] f32 (any attention factor is in them)
 * direction +1, or -1 for the gradient (the transpose). Source: Su et al. 2021; FORMATS 2.5. */
GF_OP(rope, gf_tensor x, gf_tensor cos, gf_tensor sin, int direction);

/* Causal attention inside each span, grouped heads: query head h reads k/v head h / (H / G).
 *   score(t,u) = scale * q_t k_u, then cap * tanh(score / cap) if cap > 0; u <= t, and
 *   t - window < u if window > 0 (positions inside the span);   o = softmax(score) v
 *   o [N,H,K] out q's dtype   lse [N,H] out f32: log of the softmax's denominator (natural)
 *   q [N,H,K]   k, v [M,G,K] f32|bf16, M >= every kv_start + kv_len
 * K is a multiple of 8 up to 512, on a device 256. Tiles start at each span. On a device and on
 * avx512bf16, where q, k and v are bf16, so are softmax's numerators on their way to the product
 * with v (not on a device where a few new tokens meet a cache), and in the backward pass P and dS:
 * kernels/attention.h, attention.cuh. Source: Dao 2023 (FlashAttention-2), algorithm 1. */
GF_OP(attention_fwd, gf_tensor o, gf_tensor lse, gf_tensor q, gf_tensor k, gf_tensor v,
      const gf_spans *row, float scale, int64_t window, float cap);

/*   dq [N,H,K], dk, dv [N,G,K] out q's dtype   delta [N,H] f32 scratch: rowsum(do * o)
 *   d_o [N,H,K]; o, lse, q, k, v as the forward had them
 *   cos, sin [N,C] f32 or none: dq and dk turned back, as rope does it with direction -1
 * Source: same, algorithm 2. */
GF_OP(attention_bwd, gf_tensor dq, gf_tensor dk, gf_tensor dv, gf_tensor delta, gf_tensor d_o,
      gf_tensor o, gf_tensor lse, gf_tensor q, gf_tensor k, gf_tensor v, const gf_spans *row,
      float scale, int64_t window, float cap, gf_tensor cos, gf_tensor sin);

/* Gated linear unit: h = act(gate) * up.   h, gate, up [N,F] f32|bf16
 * silu(x) = x sigmoid(x); gelu_tanh: FORMATS 2.2. Source: Shazeer 2020. */
GF_OP(glu_fwd, gf_tensor h, gf_tensor gate, gf_tensor up, gf_act act);

/*   dgate = dh * up * act'(gate),  dup = dh * act(gate),  h = act(gate) * up (made again)
 *   dgate, dup out; may be gate and up themselves   h out, or none; may be dh   dh in */
GF_OP(glu_bwd, gf_tensor dgate, gf_tensor dup, gf_tensor h, gf_tensor dh, gf_tensor gate,
      gf_tensor up, gf_act act);

/* y[i,:] = x[index[i],:], zero where index[i] is -1     y [M,D], x [N,D] f32|bf16, also one of each
 * (one rounding, to nearest even); index [M] i32. With index 0, 1, 2, ... it copies and converts.
 */
GF_OP(gather_rows, gf_tensor y, gf_tensor x, gf_tensor index);

/* y = 0, then y[index[i],:] = x[i,:] unless index[i] is -1; the other indices rise.
 *   y [N,D] f32   x [M,D] f32|bf16   index [M] i32 */
GF_OP(scatter_rows, gf_tensor y, gf_tensor x, gf_tensor index);

/* y += x     y [N,D] f32   x [N,D] f32|bf16 */
GF_OP(add_rows, gf_tensor y, gf_tensor x);

/* Cross-entropy with its gradient, row by row, over a chunk of tokens.
 *   z = cap * tanh(logits / cap) if cap > 0, else logits
 *   nll[i] = log sum_v exp(z[i,v]) - z[i,label[i]]        best[i] = argmax_v z[i,v] (first wins)
 *   dlogits = softmax(z) - onehot(label)  (times 1 - (z/cap)^2): the gradient of the SUM of losses
 *   nll [M] out f32   best [M] out i32   dlogits [M,V] out f32|bf16, may be logits itself, or none
 *   logits [M,V] f32   label [M] i32; where it is -1, nll and dlogits are 0, best is -1 */
GF_OP(xent, gf_tensor nll, gf_tensor best, gf_tensor dlogits, gf_tensor logits, gf_tensor label,
      float cap);

/* sums[LOSS] += nll[i] * GF_LOSS_SCALE, rounded half to even, sums[CORRECT] += best[i] == label[i],
 * for every label but -1; a |nll| of 2^16 or more, or NaN, counts in sums[NONFINITE] only (sums of
 * thousands of such would overflow; no model that can still be trained is off by so many nats).
 *   sums [GF_SUMS] i64 +=   nll [M] f32   best, label [M] i32 */
GF_OP(count_losses, gf_tensor sums, gf_tensor nll, gf_tensor best, gf_tensor label);

/* *sum = sum_i (scale * g[i])^2 in double, over fixed blocks in fixed order.   g [n] i64. On a
 * device *sum is there after gf_wait. */
GF_OP(sum_squares, double *sum, gf_tensor g, double scale);

/* AdamW on flat regions (torch's formula, FORMATS 12.1); g is the gradient times 1/scale.
 *   value, m, v [n] f32 in/out   g [n] i64
 *   gr = f32(scale * g);  value *= 1 - lr wd;  m += (gr - m)(1 - b1);  v = b2 v + (1 - b2) gr^2
 *   value -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps) */
typedef struct {
    double lr, beta1, beta2, eps, weight_decay;
    int64_t step; /* t, from 1 */
} gf_adamw_args;
GF_OP(adamw, gf_tensor value, gf_tensor m, gf_tensor v, gf_tensor g, double scale,
      const gf_adamw_args *args);

/* AdamW with moments of 8 bits, as bitsandbytes keeps them (FORMATS 8.4): blocks of GF_BLOCK8
 * elements from the start of the tensors, each with its largest |m| and v; a moment is that times
 * what its code stands for (kernels/map8.h). Zeroed memory is the start.
 *   value [n] f32 in/out   m, v [n] u8 codes in/out   m_max, v_max [ceil(n / GF_BLOCK8)] f32 in/out
 *   g [n] i64
 *   gr = f32(scale * g);  v = b2 v + (1 - b2) gr^2;  m = b1 m + (1 - b1) gr;  c = sqrt(1 - b2^t)
 *   value -= lr c / (1 - b1^t) * m / (sqrt(v) + c eps);  then value *= 1 - lr wd
 * Codes are the nearest ones; a negative m is never coded as zero. */
#define GF_BLOCK8 256
GF_OP(adamw8, gf_tensor value, gf_tensor m, gf_tensor v, gf_tensor m_max, gf_tensor v_max,
      gf_tensor g, double scale, const gf_adamw_args *args);

/* Lion on flat regions; Source: Chen et al. 2023, algorithm 2.   value, m [n] f32 in/out  g [n] i64
 *   gr = f32(scale * g);  value = value (1 - lr wd) - lr sign(b1 m + (1 - b1) gr)
 *   m = b2 m + (1 - b2) gr */
typedef struct {
    double lr, beta1, beta2, weight_decay;
} gf_lion_args;
GF_OP(lion, gf_tensor value, gf_tensor m, gf_tensor g, double scale, const gf_lion_args *args);

/* Copies A and B of every layer to the group's tails, rounded to w's dtype; zeros around them. Does
 * nothing for a group without tails. To be called whenever the values have changed. */
GF_OP(group_tails, const gf_group *g);

/* g->norm[0,:] = length of each row of W + scale B A (W as it is held, A and B f32), and
 * g->norm[1,:] = m / it; both 1 in layers without a magnitude and in padding. A row of length 0 is
 * left at the factor m. Does nothing for a group without norms. After every change of the values.
 */
GF_OP(dora_norms, const gf_group *g);

/* x = 0, any dtype. */
GF_OP(zero, gf_tensor x);

/* ---- a backend --------------------------------------------------------------------- */

typedef struct {
    const char *name; /* "avx512bf16", "avx512", "avx2", "plain", "cuda" */
#define X(op) gf_##op##_fn *op;
    GF_OPS(X)
#undef X
} gf_ops;

/* What the ops so far cost. The plan, the monitor and bench/ all read this one tally. FLOPs are as
 * the formulas have them, whatever is padded; bytes are those of every product and every pass over
 * memory, its operands read and written once. */
typedef struct {
    int64_t flops, bytes, calls;
    int64_t launches; /* kernels and library products of a device */
    int64_t products; /* FLOPs of a device's library products, tails and padding among them */
    int64_t captured, replayed; /* passes whose graph was made; those that replayed one */
} gf_tally;

/* Whose cost it is: an op's, or apart from it that of the adapters' own products. */
typedef enum {
    GF_AT_lora_fwd, /* S; its product with B is group_linear_fwd's, as K-extension has it */
    GF_AT_lora_bwd, /* P, dA, dB */
#define X(op) GF_AT_##op,
    GF_OPS(X)
#undef X
        GF_AT_COUNT
} gf_at;

/* Told what every op cost, also in dry runs: tally's numbers for this call alone. */
typedef struct {
    void (*tell)(void *ctx, gf_at at, const gf_tally *cost); /* NULL: nobody asks */
    void *ctx;
} gf_meter;

struct gf_backend {
    const gf_ops *ops;
    struct gf_pool *pool; /* CPU: the threads and each one's scratch */
    struct gf_cuda *cuda; /* a device and all that is open on it, or NULL */
    bool separate_lora;   /* device: adapters as products of their own, for comparison */
    bool dry;             /* plan mode: check and tally, run nothing */
    bool check;           /* look at every output for NaN and Inf, name the op (GF_ENUMERIC) */
    int64_t bad_row;      /* check: the token whose row was not finite */
    gf_tally tally;
    gf_tally cost; /* of the op at hand, for the meter */
    gf_meter meter;
    gf_err err;
};

/* Opens a CPU backend. threads 0: as many as the process may use. isa: "auto", "avx512bf16",
 * "avx512" (with bf16 instructions where the CPU has them), "avx2", "plain".
 * GF_EARG for an unknown isa, GF_EMISSING for one this CPU lacks. Close with gf_backend_close. */
gf_status gf_backend_open_cpu(gf_backend *be, int threads, const char *isa, gf_err *err);

/* Opens CUDA device number `device`. GF_EMISSING if this build has no CUDA, the machine no driver
 * or no such device, or a library is missing; the text says which and what to do.
 * `device` GF_DEVICE_DRY opens none: such a backend only runs dry, for plans without a GPU. */
#define GF_DEVICE_DRY (-1)
gf_status gf_backend_open_cuda(gf_backend *be, int device, gf_err *err);

/* What CUDA finds on this machine. devices is 0 with the reason in `why`. */
typedef struct {
    char name[128];
    int major, minor, multiprocessors; /* compute capability */
    uint64_t memory, free_;            /* bytes */
    int64_t shared, l2;                /* bytes a block may ask for; of the L2 cache */
} gf_device;
typedef struct {
    int devices;
    int driver;         /* version as it numbers itself; 0: not found */
    int cublaslt, nccl; /* the same; 0 also where there is no device for them */
    char nvml[32];      /* the monitor library's version; "" likewise */
    char why[256];
} gf_cuda_machine;
void gf_cuda_look(gf_cuda_machine *out);
gf_status gf_cuda_device(gf_device *out, int device, gf_err *err);
/* The device of an open backend; GF_DEVICE_DRY: zeros. */
const gf_device *gf_backend_device(const gf_backend *be);
void *gf_backend_stream(const gf_backend *be); /* CUDA's, for host/comm; NULL on a CPU */
/* What a device's libraries chose that bits depend on, for run.json; "" on a CPU. */
const char *gf_backend_note(const gf_backend *be);

/* st, which an op or another call on be gave; of a failure err gets the text. */
gf_status gf_backend_said(const gf_backend *be, gf_status st, gf_err *err);

void gf_backend_close(gf_backend *be);
int gf_backend_threads(const gf_backend *be);
size_t gf_backend_scratch(const gf_backend *be); /* bytes that the backend holds by itself */

/* ---- a backend's memory, and the host's side of it ------------------------------------ */

/* Zeroed memory for one arena. GF_ENOMEM with the size. */
gf_status gf_backend_alloc(gf_backend *be, void **out, size_t bytes, gf_err *err);
void gf_backend_free(gf_backend *be, void *memory);

/* Copies rows that stand without gaps in host memory to t, in stream order; `from` may be used
 * again at once. On a CPU t.data may be `from` itself: then nothing happens. */
gf_status gf_upload(gf_backend *be, gf_tensor t, const void *from);
/* The other way; `to` is filled after gf_wait. */
gf_status gf_download(gf_backend *be, void *to, gf_tensor t);
/* Waits for all that was enqueued. Errors of kernels that ran meanwhile show here (GF_EDEVICE with
 * the kernel's name). */
gf_status gf_wait(gf_backend *be);

/* Bytes that gf_row_bind wants for rows of up to `tokens` tokens; 0 on a CPU. */
size_t gf_row_work_bytes(const gf_backend *be, int64_t tokens);
/* Makes the lists that a device's ops take from a row (tiles of attention, chunks of gradients,
 * each token's example and position for dropout) and uploads them to row->work. n: N of the row's
 * tensors. Everything that changes from row to row stands there, so that a graph can be replayed.
 */
gf_status gf_row_bind(gf_backend *be, gf_spans *row, int64_t n, uint32_t epoch);

/* A captured pass. Rows whose keys are equal launch the same kernels on the same memory: gf_replay
 * runs what was captured under the key and says so in *done; otherwise the caller runs its ops
 * between gf_capture and gf_capture_end, which runs them too. On a CPU *done is false and the other
 * two do nothing. The key: the row's shape (gf_row_shape) and whatever else of the caller's changes
 * launches. */
uint64_t gf_row_shape(const gf_backend *be, const gf_spans *row, int64_t n);
gf_status gf_replay(gf_backend *be, uint64_t key, bool *done);
gf_status gf_capture(gf_backend *be, uint64_t key);
gf_status gf_capture_end(gf_backend *be, bool failed);
/* N that a row of `tokens` is padded to: a bucket, of `capacity` at most; on a CPU: tokens. */
int64_t gf_row_bucket(const gf_backend *be, int64_t tokens, int64_t capacity);

/* True if dropout keeps channel c of token `pos` of `example` for `module`: 16 bits of
 * Philox4x32-10(key = seed, counter = (example, pos, module, c/8) with the epoch) >= p * 65536.
 * Kept values are multiplied by 1/(1-p). The definition both backends implement. */
bool gf_dropout_keep(gf_dropout d, uint64_t example, int64_t pos, uint32_t module, int64_t c);

/* Philox4x32-10 (Salmon et al. 2011): four 32-bit words of a counter under a key. */
void gf_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]);

#endif
