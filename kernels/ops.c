/* ops.c - the front door: checks shapes and dtypes, tallies FLOPs and bytes, then calls the
 * backend's twin. Plan mode and the search for what is not finite live here, once. Contract:
 * graft/ops.h. */
#include "check.h"

gf_status gf_embed_fwd(gf_backend *be, gf_tensor y, gf_tensor ids, gf_tensor table, float scale)
{
    static const char op[] = "embed_fwd";
    WANT(y, F32, 2, DIMS2(ANY_DIM, ANY_DIM));
    WANT(ids, INT, 1, DIMS1(y.dim[0]));
    WANT(table, WEIGHT, 2, DIMS2(ANY_DIM, y.dim[1]));
    tally(be, gf_count(y), bytes_of(y) + bytes_of(ids) + gf_row_bytes(table.dtype, gf_count(y)));
    RUN(embed_fwd, y, ids, table, scale);
    FINITE(y);
    return GF_OK;
}

gf_status gf_embed_noise(gf_backend *be, gf_tensor x, const gf_spans *row, gf_noise noise)
{
    static const char op[] = "embed_noise";
    WANT(x, F32, 2, DIMS2(ANY_DIM, ANY_DIM));
    TRY(want_spans(be, op, row, x.dim[0], -1));
    tally(be, 2 * gf_count(x), 2 * bytes_of(x));
    RUN(embed_noise, x, row, noise);
    FINITE(x);
    return GF_OK;
}

/* What both directions of rmsnorm say about x-like tensors: [N,D], or [N,H,K] per head. */
static gf_status norm_shapes(gf_backend *be, const char *op, gf_tensor x, gf_tensor w,
                             gf_tensor rstd)
{
    if (x.rank == 3) {
        WANT(x, ACT, 3, ANY_DIM, ANY_DIM, ANY_DIM);
        WANT(rstd, F32, 2, DIMS2(x.dim[0], x.dim[1]));
        WANT(w, F32, 1, DIMS1(x.dim[2]));
    } else {
        WANT(x, ACT, 2, DIMS2(ANY_DIM, ANY_DIM));
        WANT(rstd, F32, 1, DIMS1(x.dim[0]));
        WANT(w, F32, 1, DIMS1(x.dim[1]));
    }
    return GF_OK;
}

gf_status gf_rmsnorm_fwd(gf_backend *be, gf_tensor y, gf_tensor rstd, gf_tensor x,
                         gf_tensor residual, gf_tensor w, float eps, float offset)
{
    static const char op[] = "rmsnorm_fwd";
    TRY(norm_shapes(be, op, x, w, rstd));
    WANT(y, ACT, x.rank, x.dim[0], x.dim[1], x.dim[2]);
    if (gf_is(residual))
        WANT(residual, F32, x.rank, x.dim[0], x.dim[1], x.dim[2]);
    tally(be, (gf_is(residual) ? 5 : 4) * gf_count(x),
          bytes_of(y) + bytes_of(rstd) + bytes_of(x) + bytes_of(residual) + bytes_of(w));
    RUN(rmsnorm_fwd, y, rstd, x, residual, w, eps, offset);
    FINITE(y);
    FINITE(rstd);
    return GF_OK;
}

gf_status gf_rmsnorm_bwd(gf_backend *be, gf_tensor dx, gf_tensor rounded, gf_tensor y, gf_tensor dy,
                         gf_tensor into, gf_tensor x, gf_tensor w, gf_tensor rstd, float offset)
{
    static const char op[] = "rmsnorm_bwd";
    TRY(norm_shapes(be, op, x, w, rstd));
    WANT(dx, ACT, x.rank, x.dim[0], x.dim[1], x.dim[2]);
    WANT(dy, ACT, x.rank, x.dim[0], x.dim[1], x.dim[2]);
    if (gf_is(rounded))
        WANT(rounded, 1u << GF_BF16, x.rank, x.dim[0], x.dim[1], x.dim[2]);
    if (gf_is(y))
        WANT(y, 1u << dy.dtype, x.rank, x.dim[0], x.dim[1], x.dim[2]);
    if (gf_is(into))
        WANT(into, F32, x.rank, x.dim[0], x.dim[1], x.dim[2]);
    tally(be, 9 * gf_count(x),
          bytes_of(dx) + bytes_of(rounded) + bytes_of(y) + bytes_of(dy) + bytes_of(into) +
              bytes_of(x) + bytes_of(w) + bytes_of(rstd));
    RUN(rmsnorm_bwd, dx, rounded, y, dy, into, x, w, rstd, offset);
    FINITE(dx);
    return GF_OK;
}

/* Both tables, or neither. */
static gf_status rotation(gf_backend *be, const char *op, gf_tensor cos, gf_tensor sin, int64_t n,
                          int64_t width)
{
    if (!gf_is(cos) && !gf_is(sin))
        return GF_OK;
    WANT(cos, F32, 2, DIMS2(n, ANY_DIM));
    WANT(sin, F32, 2, DIMS2(n, cos.dim[1]));
    if (2 * cos.dim[1] > width)
        return gf_fail(&be->err, GF_ESHAPE, "%s: %lld columns to rotate, heads are %lld wide", op,
                       (long long)(2 * cos.dim[1]), (long long)width);
    return GF_OK;
}

gf_status gf_rope(gf_backend *be, gf_tensor x, gf_tensor cos, gf_tensor sin, int direction)
{
    static const char op[] = "rope";
    WANT(x, ACT, 3, ANY_DIM, ANY_DIM, ANY_DIM);
    WANT(cos, F32, 2, DIMS2(ANY_DIM, ANY_DIM));
    TRY(rotation(be, op, cos, sin, x.dim[0], x.dim[2]));
    if (direction != 1 && direction != -1)
        return gf_fail(&be->err, GF_ESHAPE, "%s: direction is %d, want +1 or -1", op, direction);
    const int64_t turned = 2 * cos.dim[1] * x.dim[0] * x.dim[1];
    tally(be, 3 * turned, 2 * gf_row_bytes(x.dtype, turned) + bytes_of(cos) + bytes_of(sin));
    RUN(rope, x, cos, sin, direction);
    FINITE(x);
    return GF_OK;
}

/* (query, key) pairs that are looked at: sum over queries of the keys that each one sees. */
static int64_t visible_pairs(const gf_spans *row, int64_t window)
{
    int64_t sum = 0;
    for (int i = 0; i < row->count; i++) {
        const int64_t first = row->span[i].kv_len - row->span[i].len + 1,
                      last = row->span[i].kv_len;
        const int64_t w = window > 0 && window < last ? window : last;
        /* queries up to here see pos + 1 keys */
        const int64_t ramp_end = first > w ? first - 1 : w;
        if (first <= ramp_end)
            sum += (first + ramp_end) * (ramp_end - first + 1) / 2;
        sum += w * (last - ramp_end);
    }
    return sum;
}

static gf_status attention_shapes(gf_backend *be, const char *op, gf_tensor q, gf_tensor k,
                                  gf_tensor v, gf_tensor lse, const gf_spans *row)
{
    WANT(q, ACT, 3, ANY_DIM, ANY_DIM, ANY_DIM);
    const int64_t heads = q.dim[1], width = q.dim[2];
    WANT(k, ACT, 3, ANY_DIM, ANY_DIM, width);
    WANT(v, ACT, 3, k.dim[0], k.dim[1], width);
    WANT(lse, F32, 2, DIMS2(q.dim[0], heads));
    if (k.dim[1] < 1 || heads % k.dim[1] != 0)
        return gf_fail(&be->err, GF_ESHAPE, "%s: %lld query heads do not share %lld k/v heads", op,
                       (long long)heads, (long long)k.dim[1]);
    /* 8: half a vector; 512 keeps a tile of every operand in a thread's scratch */
    if (width % 8 != 0 || width < 8 || width > 512)
        return gf_fail(&be->err, GF_ESHAPE,
                       "%s: heads are %lld wide, want a multiple of 8 up to 512", op,
                       (long long)width);
    return want_spans(be, op, row, q.dim[0], k.dim[0]);
}

gf_status gf_attention_fwd(gf_backend *be, gf_tensor o, gf_tensor lse, gf_tensor q, gf_tensor k,
                           gf_tensor v, const gf_spans *row, float scale, int64_t window, float cap)
{
    static const char op[] = "attention_fwd";
    TRY(attention_shapes(be, op, q, k, v, lse, row));
    WANT(o, 1u << q.dtype, 3, q.dim[0], q.dim[1], q.dim[2]);
    tally(be, 4 * q.dim[1] * q.dim[2] * visible_pairs(row, window),
          bytes_of(o) + bytes_of(lse) + bytes_of(q) + bytes_of(k) + bytes_of(v));
    RUN(attention_fwd, o, lse, q, k, v, row, scale, window, cap);
    FINITE(o);
    FINITE(lse);
    return GF_OK;
}

gf_status gf_attention_bwd(gf_backend *be, gf_tensor dq, gf_tensor dk, gf_tensor dv,
                           gf_tensor delta, gf_tensor d_o, gf_tensor o, gf_tensor lse, gf_tensor q,
                           gf_tensor k, gf_tensor v, const gf_spans *row, float scale,
                           int64_t window, float cap, gf_tensor cos, gf_tensor sin)
{
    static const char op[] = "attention_bwd";
    TRY(attention_shapes(be, op, q, k, v, lse, row));
    const int64_t n = q.dim[0], heads = q.dim[1], width = q.dim[2];
    WANT(k, ACT, 3, n, k.dim[1], width);
    WANT(dq, 1u << q.dtype, 3, n, heads, width);
    WANT(dk, 1u << q.dtype, 3, n, k.dim[1], width);
    WANT(dv, 1u << q.dtype, 3, n, k.dim[1], width);
    WANT(delta, F32, 2, DIMS2(n, heads));
    WANT(d_o, ACT, 3, n, heads, width);
    WANT(o, ACT, 3, n, heads, width);
    TRY(rotation(be, op, cos, sin, n, width));
    for (int i = 0; i < row->count; i++)
        if (row->span[i].kv_start != row->span[i].start || row->span[i].kv_len != row->span[i].len)
            return gf_fail(&be->err, GF_ESHAPE, "%s: span %d has keys beyond its own tokens", op,
                           i);
    const int64_t turned = gf_is(cos) ? 2 * cos.dim[1] * n * (heads + k.dim[1]) : 0;
    tally(be, 10 * heads * width * visible_pairs(row, window) + 3 * turned,
          bytes_of(cos) + bytes_of(sin) + bytes_of(dq) + bytes_of(dk) + bytes_of(dv) +
              2 * bytes_of(delta) + bytes_of(d_o) + bytes_of(o) + bytes_of(lse) + bytes_of(q) +
              bytes_of(k) + bytes_of(v));
    RUN(attention_bwd, dq, dk, dv, delta, d_o, o, lse, q, k, v, row, scale, window, cap, cos, sin);
    FINITE(delta);
    FINITE(dv);
    FINITE(dk);
    FINITE(dq);
    return GF_OK;
}

static gf_status want_act(gf_backend *be, const char *op, gf_act act)
{
    if (act == GF_SILU || act == GF_GELU_TANH)
        return GF_OK;
    return gf_fail(&be->err, GF_ESHAPE, "%s: activation %d is not known", op, (int)act);
}

gf_status gf_glu_fwd(gf_backend *be, gf_tensor h, gf_tensor gate, gf_tensor up, gf_act act)
{
    static const char op[] = "glu_fwd";
    WANT(gate, ACT, 2, DIMS2(ANY_DIM, ANY_DIM));
    WANT(up, ACT, 2, DIMS2(gate.dim[0], gate.dim[1]));
    WANT(h, ACT, 2, DIMS2(gate.dim[0], gate.dim[1]));
    TRY(want_act(be, op, act));
    tally(be, 4 * gf_count(h), bytes_of(h) + bytes_of(gate) + bytes_of(up));
    RUN(glu_fwd, h, gate, up, act);
    FINITE(h);
    return GF_OK;
}

gf_status gf_glu_bwd(gf_backend *be, gf_tensor dgate, gf_tensor dup, gf_tensor h, gf_tensor dh,
                     gf_tensor gate, gf_tensor up, gf_act act)
{
    static const char op[] = "glu_bwd";
    WANT(gate, ACT, 2, DIMS2(ANY_DIM, ANY_DIM));
    const int64_t n = gate.dim[0], f = gate.dim[1];
    WANT(up, ACT, 2, DIMS2(n, f));
    WANT(dh, ACT, 2, DIMS2(n, f));
    WANT(dgate, ACT, 2, DIMS2(n, f));
    WANT(dup, ACT, 2, DIMS2(n, f));
    if (gf_is(h))
        WANT(h, ACT, 2, DIMS2(n, f));
    TRY(want_act(be, op, act));
    tally(be, 8 * n * f,
          bytes_of(dgate) + bytes_of(dup) + bytes_of(h) + bytes_of(dh) + bytes_of(gate) +
              bytes_of(up));
    RUN(glu_bwd, dgate, dup, h, dh, gate, up, act);
    FINITE(h);
    FINITE(dgate);
    FINITE(dup);
    return GF_OK;
}

/* Indices are the caller's; what it got wrong must not write elsewhere. */
static gf_status want_index(gf_backend *be, const char *op, const char *arg, gf_tensor index,
                            int64_t limit)
{
    for (int64_t i = 0; !be->dry && !be->cuda && i < index.dim[0]; i++) {
        const int32_t at = ((const int32_t *)index.data)[i];
        if (at < -1 || at >= limit)
            return gf_fail(&be->err, GF_ESHAPE, "%s: %s[%lld] is %d, want -1 to %lld", op, arg,
                           (long long)i, (int)at, (long long)limit - 1);
    }
    return GF_OK;
}

gf_status gf_gather_rows(gf_backend *be, gf_tensor y, gf_tensor x, gf_tensor index)
{
    static const char op[] = "gather_rows";
    WANT(x, ACT, 2, DIMS2(ANY_DIM, ANY_DIM));
    WANT(y, ACT, 2, DIMS2(ANY_DIM, x.dim[1]));
    WANT(index, INT, 1, DIMS1(y.dim[0]));
    TRY(want_index(be, op, "index", index, x.dim[0]));
    tally(be, 0, bytes_of(y) + gf_row_bytes(x.dtype, gf_count(y)) + bytes_of(index));
    RUN(gather_rows, y, x, index);
    FINITE(y);
    return GF_OK;
}

gf_status gf_scatter_rows(gf_backend *be, gf_tensor y, gf_tensor x, gf_tensor index)
{
    static const char op[] = "scatter_rows";
    WANT(y, F32, 2, DIMS2(ANY_DIM, ANY_DIM));
    WANT(x, ACT, 2, DIMS2(ANY_DIM, y.dim[1]));
    WANT(index, INT, 1, DIMS1(x.dim[0]));
    TRY(want_index(be, op, "index", index, y.dim[0]));
    tally(be, 0, bytes_of(y) + 2 * bytes_of(x) + bytes_of(index));
    RUN(scatter_rows, y, x, index);
    FINITE(y);
    return GF_OK;
}

gf_status gf_add_rows(gf_backend *be, gf_tensor y, gf_tensor x)
{
    static const char op[] = "add_rows";
    WANT(y, F32, 2, DIMS2(ANY_DIM, ANY_DIM));
    WANT(x, ACT, 2, DIMS2(y.dim[0], y.dim[1]));
    tally(be, gf_count(y), 2 * bytes_of(y) + bytes_of(x));
    RUN(add_rows, y, x);
    FINITE(y);
    return GF_OK;
}

gf_status gf_xent(gf_backend *be, gf_tensor nll, gf_tensor best, gf_tensor dlogits,
                  gf_tensor logits, gf_tensor label, float cap)
{
    static const char op[] = "xent";
    WANT(logits, F32, 2, DIMS2(ANY_DIM, ANY_DIM));
    const int64_t m = logits.dim[0], v = logits.dim[1];
    WANT(nll, F32, 1, DIMS1(m));
    WANT(best, INT, 1, DIMS1(m));
    WANT(label, INT, 1, DIMS1(m));
    if (gf_is(dlogits))
        WANT(dlogits, ACT, 2, DIMS2(m, v));
    if (dlogits.data && dlogits.data == logits.data &&
        (dlogits.dtype != GF_F32 || dlogits.stride != logits.stride))
        return gf_fail(&be->err, GF_ESHAPE,
                       "%s: dlogits lies on logits with another dtype or stride", op);
    if (v < 1)
        return gf_fail(&be->err, GF_ESHAPE, "%s: logits has no columns", op);
    TRY(want_index(be, op, "label", label, v));
    tally(be, (gf_is(dlogits) ? 6 : 4) * m * v,
          bytes_of(logits) + bytes_of(dlogits) + bytes_of(nll) + bytes_of(best) + bytes_of(label));
    RUN(xent, nll, best, dlogits, logits, label, cap);
    FINITE(nll);
    FINITE(dlogits);
    return GF_OK;
}

gf_status gf_count_losses(gf_backend *be, gf_tensor sums, gf_tensor nll, gf_tensor best,
                          gf_tensor label)
{
    static const char op[] = "count_losses";
    WANT(sums, FIXED, 1, DIMS1(GF_SUMS));
    WANT(nll, F32, 1, DIMS1(ANY_DIM));
    WANT(best, INT, 1, DIMS1(nll.dim[0]));
    WANT(label, INT, 1, DIMS1(nll.dim[0]));
    tally(be, 2 * nll.dim[0], bytes_of(nll) + bytes_of(best) + bytes_of(label));
    RUN(count_losses, sums, nll, best, label);
    return GF_OK;
}

gf_status gf_sum_squares(gf_backend *be, double *sum, gf_tensor g, double scale)
{
    static const char op[] = "sum_squares";
    WANT(g, FIXED, 1, DIMS1(ANY_DIM));
    if (!sum)
        return gf_fail(&be->err, GF_ESHAPE, "%s: sum is missing", op);
    tally(be, 3 * gf_count(g), bytes_of(g));
    RUN(sum_squares, sum, g, scale);
    if (!be->cuda && *sum - *sum != 0.0) /* Inf - Inf and NaN - NaN are NaN */
        return gf_fail(&be->err, GF_ENUMERIC, "%s: the sum is not finite", op);
    return GF_OK;
}

gf_status gf_adamw(gf_backend *be, gf_tensor value, gf_tensor m, gf_tensor v, gf_tensor g,
                   double scale, const gf_adamw_args *args)
{
    static const char op[] = "adamw";
    WANT(value, F32, 1, DIMS1(ANY_DIM));
    WANT(m, F32, 1, DIMS1(value.dim[0]));
    WANT(v, F32, 1, DIMS1(value.dim[0]));
    WANT(g, FIXED, 1, DIMS1(value.dim[0]));
    if (!args || args->step < 1)
        return gf_fail(&be->err, GF_ESHAPE, "%s: step is %lld, want 1 or more", op,
                       args ? (long long)args->step : 0LL);
    tally(be, 15 * gf_count(value),
          2 * (bytes_of(value) + bytes_of(m) + bytes_of(v)) + bytes_of(g));
    RUN(adamw, value, m, v, g, scale, args);
    FINITE(m);
    FINITE(v);
    FINITE(value);
    return GF_OK;
}

gf_status gf_adamw8(gf_backend *be, gf_tensor value, gf_tensor m, gf_tensor v, gf_tensor m_max,
                    gf_tensor v_max, gf_tensor g, double scale, const gf_adamw_args *args)
{
    static const char op[] = "adamw8";
    WANT(value, F32, 1, DIMS1(ANY_DIM));
    const int64_t n = value.dim[0], blocks = (n + GF_BLOCK8 - 1) / GF_BLOCK8;
    WANT(m, CODE, 1, DIMS1(n));
    WANT(v, CODE, 1, DIMS1(n));
    WANT(m_max, F32, 1, DIMS1(blocks));
    WANT(v_max, F32, 1, DIMS1(blocks));
    WANT(g, FIXED, 1, DIMS1(n));
    if (!args || args->step < 1)
        return gf_fail(&be->err, GF_ESHAPE, "%s: step is %lld, want 1 or more", op,
                       args ? (long long)args->step : 0LL);
    tally(be, 17 * n,
          2 * (bytes_of(value) + bytes_of(m) + bytes_of(v) + bytes_of(m_max) + bytes_of(v_max)) +
              bytes_of(g));
    RUN(adamw8, value, m, v, m_max, v_max, g, scale, args);
    FINITE(m_max);
    FINITE(v_max);
    FINITE(value);
    return GF_OK;
}

gf_status gf_lion(gf_backend *be, gf_tensor value, gf_tensor m, gf_tensor g, double scale,
                  const gf_lion_args *args)
{
    static const char op[] = "lion";
    WANT(value, F32, 1, DIMS1(ANY_DIM));
    WANT(m, F32, 1, DIMS1(value.dim[0]));
    WANT(g, FIXED, 1, DIMS1(value.dim[0]));
    if (!args)
        return gf_fail(&be->err, GF_ESHAPE, "%s: its arguments are missing", op);
    tally(be, 9 * gf_count(value), 2 * (bytes_of(value) + bytes_of(m)) + bytes_of(g));
    RUN(lion, value, m, g, scale, args);
    FINITE(m);
    FINITE(value);
    return GF_OK;
}

gf_status gf_zero(gf_backend *be, gf_tensor x)
{
    static const char op[] = "zero";
    if (!gf_is(x))
        return gf_fail(&be->err, GF_ESHAPE, "%s: x is missing", op);
    WANT(x, ANY_TYPE, x.rank, x.dim[0], x.dim[1], x.dim[2]);
    tally(be, 0, bytes_of(x));
    RUN(zero, x);
    return GF_OK;
}
