/* ops.c - the front door: checks shapes and dtypes, tallies FLOPs and bytes, then calls the
 * backend's twin. Plan mode and the search for what is not finite live here, once. Contract:
 * graft/ops.h. */
#include <string.h>

#include "check.h"

int64_t gf_group_n(const gf_group *g)
{
    return gf_group_column(g, g->count);
}

static int64_t round_up(int64_t n, int64_t to)
{
    return to > 1 ? (n + to - 1) / to * to : n;
}

int64_t gf_group_column(const gf_group *g, int i)
{
    int64_t n = 0;
    for (int j = 0; j < i; j++)
        n += round_up(g->lin[j].w.dim[0], g->align);
    return n;
}

int64_t gf_group_k(const gf_group *g)
{
    return round_up(g->lin[0].w.dim[1], g->align);
}

int64_t gf_group_rank(const gf_group *g)
{
    int64_t r = 0;
    for (int i = 0; i < g->count; i++)
        if (gf_is(g->lin[i].a))
            r += g->lin[i].a.dim[0];
    return r;
}

/* Adds what the op at hand costs; its launches are counted from here. */
static void tally(gf_backend *be, int64_t flops, int64_t bytes)
{
    be->tally.flops += flops;
    be->tally.bytes += bytes;
    be->tally.calls++;
    be->cost = (gf_tally){.flops = flops,
                          .bytes = bytes,
                          .calls = 1,
                          .launches = -be->tally.launches,
                          .products = -be->tally.products};
}

static void tell(gf_backend *be, gf_at at)
{
    if (!be->meter.tell)
        return;
    be->cost.launches += be->tally.launches;
    be->cost.products += be->tally.products;
    be->meter.tell(be->meter.ctx, at, &be->cost);
}

/* The adapters' own products, which are part of a group's op. */
static void tally_adapters(gf_backend *be, gf_at at, int64_t flops, int64_t bytes)
{
    const gf_tally cost = {.flops = flops, .bytes = bytes};
    be->tally.flops += flops;
    be->tally.bytes += bytes;
    if (be->meter.tell)
        be->meter.tell(be->meter.ctx, at, &cost);
}

/* Runs the twin unless this is a dry run (where a device's twin counts its launches), then looks at
 * the outputs if asked to. */
#define RUN(name, ...)                                                                             \
    do {                                                                                           \
        if (!be->dry || be->cuda)                                                                  \
            TRY(be->ops->name(be, __VA_ARGS__));                                                   \
        tell(be, GF_AT_##name);                                                                    \
        if (be->dry || !be->check)                                                                 \
            return GF_OK;                                                                          \
    } while (0)
#define FINITE(t) TRY(finite(be, op, #t, t))

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

gf_status gf_rmsnorm_fwd(gf_backend *be, gf_tensor y, gf_tensor rstd, gf_tensor x, gf_tensor w,
                         float eps, float offset)
{
    static const char op[] = "rmsnorm_fwd";
    TRY(norm_shapes(be, op, x, w, rstd));
    WANT(y, ACT, x.rank, x.dim[0], x.dim[1], x.dim[2]);
    tally(be, 4 * gf_count(x), bytes_of(y) + bytes_of(rstd) + bytes_of(x) + bytes_of(w));
    RUN(rmsnorm_fwd, y, rstd, x, w, eps, offset);
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

/* On a device the layers' weights are rows of one buffer, with tails if there are adapters. */
static gf_status group_buffer(gf_backend *be, const char *op, const gf_group *g)
{
    const gf_tensor first = g->lin[0].w;
    const int64_t rank = gf_group_rank(g);
    if (rank > g->tail)
        return gf_fail(&be->err, GF_ESHAPE, "%s: ranks of %lld in a tail of %lld", op,
                       (long long)rank, (long long)g->tail);
    if (g->count > 1 && first.stride < gf_group_k(g) + g->tail)
        return gf_fail(&be->err, GF_ESHAPE, "%s: the weights' stride is %lld, want %lld", op,
                       (long long)first.stride, (long long)(gf_group_k(g) + g->tail));
    for (int i = 1; i < g->count; i++) {
        const gf_tensor w = g->lin[i].w;
        const int64_t at = gf_row_bytes(first.dtype, first.stride) * gf_group_column(g, i);
        if (w.dtype != first.dtype || w.stride != first.stride ||
            (!be->dry && (const char *)w.data != (const char *)first.data + at))
            return gf_fail(&be->err, GF_ESHAPE, "%s: layer %d is not stacked on layer 0", op, i);
    }
    return GF_OK;
}

/* The layers of a group read x [*,k]; the sums of their n and r come out of gf_group_*. */
static gf_status group_shapes(gf_backend *be, const char *op, const gf_group *g, int64_t k)
{
    if (!g || g->count < 1 || g->count > 3)
        return gf_fail(&be->err, GF_ESHAPE, "%s: the group has %d layers, want 1 to 3", op,
                       g ? g->count : 0);
    for (int i = 0; i < g->count; i++) {
        const gf_linear *l = &g->lin[i];
        WANT(l->w, WEIGHT, 2, DIMS2(ANY_DIM, k));
        if (gf_is(l->bias))
            WANT(l->bias, be->cuda ? ACT : F32, 1, DIMS1(l->w.dim[0]));
        if (gf_is(l->a) != gf_is(l->b))
            return gf_fail(&be->err, GF_ESHAPE, "%s: layer %d has one of A and B only", op, i);
        if (!gf_is(l->a))
            continue;
        WANT(l->a, F32, 2, DIMS2(ANY_DIM, k));
        WANT(l->b, F32, 2, DIMS2(l->w.dim[0], l->a.dim[0]));
    }
    return be->cuda ? group_buffer(be, op, g) : GF_OK;
}

/* x or dy has room for the tail behind its `width` columns. */
static gf_status want_tail(gf_backend *be, const char *op, const char *arg, gf_tensor t,
                           const gf_group *g, int64_t width)
{
    if (g->tail == 0 || t.stride >= width + g->tail)
        return GF_OK;
    return gf_fail(&be->err, GF_ESHAPE, "%s: %s has stride %lld, its tail ends at column %lld", op,
                   arg, (long long)t.stride, (long long)(width + g->tail));
}

/* Bytes of a group's tensors: base weights, A, B, and what dA and dB take to add to. */
typedef struct {
    int64_t base, a, b, da, db;
} group_bytes;

static group_bytes bytes_of_group(const gf_group *g)
{
    group_bytes sum = {0};
    for (int i = 0; i < g->count; i++) {
        const gf_linear *l = &g->lin[i];
        sum.base += bytes_of(l->w) + bytes_of(l->bias);
        sum.a += bytes_of(l->a);
        sum.b += bytes_of(l->b);
        sum.da += 2 * bytes_of(l->da);
        sum.db += 2 * bytes_of(l->db);
    }
    return sum;
}

/* FLOPs of one product with every base weight (or every adapter) of the group, for n tokens. */
static int64_t base_flops(const gf_group *g, int64_t n)
{
    int64_t sum = 0;
    for (int i = 0; i < g->count; i++)
        sum += 2 * n * gf_count(g->lin[i].w);
    return sum;
}

static int64_t adapter_flops(const gf_group *g, int64_t n)
{
    int64_t sum = 0;
    for (int i = 0; i < g->count; i++)
        if (gf_is(g->lin[i].a))
            sum += 2 * n * (gf_count(g->lin[i].a) + gf_count(g->lin[i].b));
    return sum;
}

static int64_t b_flops(const gf_group *g, int64_t n)
{
    int64_t sum = 0;
    for (int i = 0; i < g->count; i++)
        if (gf_is(g->lin[i].a))
            sum += 2 * n * gf_count(g->lin[i].b);
    return sum;
}

static gf_status want_dropout(gf_backend *be, const char *op, gf_dropout drop)
{
    if (drop.p >= 0.0f && drop.p < 1.0f)
        return GF_OK;
    return gf_fail(&be->err, GF_ESHAPE, "%s: dropout is %g, want 0 <= p < 1", op, (double)drop.p);
}

gf_status gf_group_linear_fwd(gf_backend *be, gf_tensor y, gf_tensor s, gf_tensor x,
                              gf_tensor residual, const gf_group *g, const gf_spans *row,
                              gf_dropout drop)
{
    static const char op[] = "group_linear_fwd";
    WANT(x, ACT, 2, DIMS2(ANY_DIM, ANY_DIM));
    TRY(group_shapes(be, op, g, x.dim[1]));
    const int64_t n = x.dim[0], width = gf_group_n(g), rank = gf_group_rank(g);
    WANT(y, ACT, 2, DIMS2(n, width));
    if (rank > 0)
        WANT(s, 1u << x.dtype, 2, DIMS2(n, rank));
    if (gf_is(residual))
        WANT(residual, F32, 2, DIMS2(n, width));
    TRY(want_tail(be, op, "x", x, g, gf_group_k(g)));
    TRY(want_dropout(be, op, drop));
    if (rank > 0 && drop.p > 0.0f)
        TRY(want_spans(be, op, row, n, -1));
    const group_bytes size = bytes_of_group(g);
    const int64_t tail = rank > 0 ? bytes_of(s) : 0;
    tally(be, base_flops(g, n),
          bytes_of(y) + tail + bytes_of(x) + bytes_of(residual) + size.base + size.b);
    if (rank > 0)
        tally_adapters(be, GF_AT_lora_fwd, adapter_flops(g, n), bytes_of(x) + size.a + tail);
    RUN(group_linear_fwd, y, s, x, residual, g, row, drop);
    if (rank > 0)
        FINITE(s);
    FINITE(y);
    return GF_OK;
}

/* Which gradients a group wants: all of a layer or none. */
static gf_status want_gradients(gf_backend *be, const char *op, const gf_group *g,
                                const gf_fixed *fixed, bool *any)
{
    *any = false;
    for (int i = 0; i < g->count; i++) {
        const gf_linear *l = &g->lin[i];
        if (gf_is(l->da) != gf_is(l->db) || (gf_is(l->da) && !gf_is(l->a)))
            return gf_fail(&be->err, GF_ESHAPE, "%s: layer %d has one of dA and dB only", op, i);
        if (!gf_is(l->da))
            continue;
        WANT(l->da, FIXED, 2, DIMS2(l->a.dim[0], l->a.dim[1]));
        WANT(l->db, FIXED, 2, DIMS2(l->b.dim[0], l->b.dim[1]));
        *any = true;
    }
    if (!*any)
        return GF_OK;
    if (!fixed || fixed->shift < 1 || fixed->shift > 52)
        return gf_fail(&be->err, GF_ESHAPE, "%s: no scale of the fixed point", op);
    WANT(fixed->sums, FIXED, 1, DIMS1(GF_SUMS));
    return GF_OK;
}

gf_status gf_group_linear_bwd(gf_backend *be, gf_tensor dx, gf_tensor p, gf_tensor dy, gf_tensor x,
                              gf_tensor s, const gf_group *g, const gf_spans *row, gf_dropout drop,
                              gf_fixed *fixed)
{
    static const char op[] = "group_linear_bwd";
    WANT(dy, ACT, 2, DIMS2(ANY_DIM, ANY_DIM));
    if (!g || g->count < 1 || g->count > 3)
        return group_shapes(be, op, g, 0);
    const int64_t n = dy.dim[0], k = g->lin[0].w.dim[1];
    TRY(group_shapes(be, op, g, k));
    const int64_t rank = gf_group_rank(g);
    WANT(dy, ACT, 2, DIMS2(n, gf_group_n(g)));
    if (gf_is(dx))
        WANT(dx, F32 | 1u << dy.dtype, 2, DIMS2(n, k));
    TRY(want_tail(be, op, "dy", dy, g, gf_group_n(g)));
    bool gradients;
    TRY(want_gradients(be, op, g, fixed, &gradients));
    if (rank > 0)
        WANT(p, 1u << dy.dtype, 2, DIMS2(n, rank));
    if (gradients) {
        if (gf_is(x))
            WANT(x, 1u << dy.dtype, 2, DIMS2(n, k));
        WANT(s, 1u << dy.dtype, 2, DIMS2(n, rank));
    }
    TRY(want_dropout(be, op, drop));
    if (rank > 0 && (gradients || drop.p > 0.0f))
        TRY(want_spans(be, op, row, n, -1));
    const group_bytes size = bytes_of_group(g);
    const int64_t adapters = adapter_flops(g, n), tail = rank > 0 ? bytes_of(p) : 0;
    tally(be, gf_is(dx) ? base_flops(g, n) : 0,
          gf_is(dx) ? bytes_of(dx) + bytes_of(dy) + tail + size.base + size.a : 0);
    int64_t flops = adapters, bytes = bytes_of(dy) + size.b + tail;
    if (gradients) {
        flops += b_flops(g, n);
        bytes += bytes_of(dy) + bytes_of(s) + size.db;
    }
    if (gradients && gf_is(x)) {
        flops += adapters - b_flops(g, n);
        bytes += bytes_of(x) + tail + size.da;
    }
    if (rank > 0)
        tally_adapters(be, GF_AT_lora_bwd, flops, bytes);
    RUN(group_linear_bwd, dx, p, dy, x, s, g, row, drop, fixed);
    if (rank > 0)
        FINITE(p);
    FINITE(dx);
    return GF_OK;
}

gf_status gf_group_linear_da(gf_backend *be, gf_tensor p, gf_tensor x, const gf_group *g,
                             const gf_spans *row, gf_dropout drop, gf_fixed *fixed)
{
    static const char op[] = "group_linear_da";
    WANT(x, ACT, 2, DIMS2(ANY_DIM, ANY_DIM));
    TRY(group_shapes(be, op, g, x.dim[1]));
    bool any;
    TRY(want_gradients(be, op, g, fixed, &any));
    if (!any)
        return GF_OK;
    WANT(p, 1u << x.dtype, 2, DIMS2(x.dim[0], gf_group_rank(g)));
    TRY(want_dropout(be, op, drop));
    TRY(want_spans(be, op, row, x.dim[0], -1));
    tally(be, 0, 0);
    tally_adapters(be, GF_AT_lora_bwd, adapter_flops(g, x.dim[0]) - b_flops(g, x.dim[0]),
                   bytes_of(x) + bytes_of(p) + bytes_of_group(g).da);
    RUN(group_linear_da, p, x, g, row, drop, fixed);
    return GF_OK;
}

gf_status gf_rope(gf_backend *be, gf_tensor x, gf_tensor cos, gf_tensor sin, int direction)
{
    static const char op[] = "rope";
    WANT(x, ACT, 3, ANY_DIM, ANY_DIM, ANY_DIM);
    WANT(cos, F32, 2, DIMS2(x.dim[0], ANY_DIM));
    WANT(sin, F32, 2, DIMS2(x.dim[0], cos.dim[1]));
    if (2 * cos.dim[1] > x.dim[2])
        return gf_fail(&be->err, GF_ESHAPE, "%s: %lld columns to rotate, heads are %lld wide", op,
                       (long long)(2 * cos.dim[1]), (long long)x.dim[2]);
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
                           int64_t window, float cap)
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
    for (int i = 0; i < row->count; i++)
        if (row->span[i].kv_start != row->span[i].start || row->span[i].kv_len != row->span[i].len)
            return gf_fail(&be->err, GF_ESHAPE, "%s: span %d has keys beyond its own tokens", op,
                           i);
    tally(be, 10 * heads * width * visible_pairs(row, window),
          bytes_of(dq) + bytes_of(dk) + bytes_of(dv) + 2 * bytes_of(delta) + bytes_of(d_o) +
              bytes_of(o) + bytes_of(lse) + bytes_of(q) + bytes_of(k) + bytes_of(v));
    RUN(attention_bwd, dq, dk, dv, delta, d_o, o, lse, q, k, v, row, scale, window, cap);
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

gf_status gf_group_tails(gf_backend *be, const gf_group *g)
{
    static const char op[] = "group_tails";
    if (g && g->tail == 0)
        return GF_OK;
    TRY(group_shapes(be, op, g, g ? g->lin[0].w.dim[1] : 0));
    int64_t bytes = 0;
    for (int i = 0; i < g->count; i++) {
        bytes += bytes_of(g->lin[i].a) + bytes_of(g->lin[i].b);
        bytes += gf_row_bytes(g->lin[i].w.dtype, gf_count(g->lin[i].a) + gf_count(g->lin[i].b));
    }
    tally(be, 0, bytes);
    RUN(group_tails, g);
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
