/* ops_linear.c - the front door of the linear layers with their adapters (see ops.c). Contract:
 * graft/ops.h. */
#include "check.h"

#ifdef GRAFT_CUDA
#include "cuda/cuda.h"
#endif

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

/* The adapters' own products, which are part of a group's op. */
static void tally_adapters(gf_backend *be, gf_at at, int64_t flops, int64_t bytes)
{
    const gf_tally cost = {.flops = flops, .bytes = bytes};
    be->tally.flops += flops;
    be->tally.bytes += bytes;
    if (be->meter.tell)
        be->meter.tell(be->meter.ctx, at, &cost);
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

/* Bytes of a group's tensors: base weights, A, B, and what their gradients take to add to. */
typedef struct {
    int64_t base, a, b, da, db, dw;
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
        sum.dw += 2 * bytes_of(l->dw);
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

static gf_status want_fixed(gf_backend *be, const char *op, const gf_fixed *fixed)
{
    if (!fixed || fixed->shift < 1 || fixed->shift > 52)
        return gf_fail(&be->err, GF_ESHAPE, "%s: no scale of the fixed point", op);
    WANT(fixed->sums, FIXED, 1, DIMS1(GF_SUMS));
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
    return *any ? want_fixed(be, op, fixed) : GF_OK;
}

/* What dB reads: dy once more, or where a device takes it along with P what that writes and reads
 * in between. */
static int64_t bytes_for_db(const gf_backend *be, gf_tensor dx, gf_tensor dy, gf_tensor s,
                            const gf_group *g)
{
    int64_t partials = 0;
#ifdef GRAFT_CUDA
    if (be->cuda)
        partials = gf_cuda_linear_partials(dx, dy, s, g);
#else
    (void)be, (void)dx, (void)g;
#endif
    return (partials ? 2 * partials : bytes_of(dy)) + bytes_of(s);
}

/* The gradient of a whole weight, which only a group of one has. */
static gf_status want_whole(gf_backend *be, const char *op, const gf_group *g, gf_tensor dy,
                            gf_tensor x, const gf_spans *row, const gf_fixed *fixed)
{
    const gf_linear *l = &g->lin[0];
    for (int i = 0; i < g->count; i++)
        if (gf_is(g->lin[i].dw) && (be->cuda || g->count > 1))
            return gf_fail(&be->err, GF_EMISSING, "%s: dW on a device, or of one layer of several",
                           op);
    if (!gf_is(l->dw))
        return GF_OK;
    WANT(l->dw, FIXED, 2, DIMS2(l->w.dim[0], l->w.dim[1]));
    WANT(x, 1u << dy.dtype, 2, DIMS2(dy.dim[0], l->w.dim[1]));
    TRY(want_spans(be, op, row, dy.dim[0], -1));
    return want_fixed(be, op, fixed);
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
    TRY(want_whole(be, op, g, dy, x, row, fixed));
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
        bytes += bytes_for_db(be, dx, dy, s, g) + size.db;
    }
    if (gradients && gf_is(x)) {
        flops += adapters - b_flops(g, n);
        bytes += bytes_of(x) + tail + size.da;
    }
    if (rank > 0)
        tally_adapters(be, GF_AT_lora_bwd, flops, bytes);
    if (size.dw)
        tally_adapters(be, GF_AT_lora_bwd, base_flops(g, n), bytes_of(dy) + bytes_of(x) + size.dw);
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

/* ---- DoRA --------------------------------------------------------------------------------- */

/* g->norm is there, and every magnitude is its layer's. */
static gf_status want_norms(gf_backend *be, const char *op, const gf_group *g)
{
    TRY(group_shapes(be, op, g, g ? g->lin[0].w.dim[1] : 0));
    WANT(g->norm, F32, 2, DIMS2(2, gf_group_n(g)));
    for (int i = 0; i < g->count; i++) {
        const gf_linear *l = &g->lin[i];
        if (gf_is(l->magnitude))
            WANT(l->magnitude, F32, 1, DIMS1(l->w.dim[0]));
        if (gf_is(l->dmagnitude))
            WANT(l->dmagnitude, FIXED, 1, DIMS1(l->w.dim[0]));
    }
    return GF_OK;
}

gf_status gf_dora_norms(gf_backend *be, const gf_group *g)
{
    static const char op[] = "dora_norms";
    if (g && !gf_is(g->norm))
        return GF_OK;
    TRY(want_norms(be, op, g));
    int64_t flops = 0, bytes = bytes_of(g->norm);
    for (int i = 0; i < g->count; i++) {
        const gf_linear *l = &g->lin[i];
        if (!gf_is(l->magnitude))
            continue;
        const int64_t r = gf_is(l->a) ? l->a.dim[0] : 0;
        flops += 2 * gf_count(l->w) * (r + 1);
        bytes += bytes_of(l->w) + bytes_of(l->a) + bytes_of(l->b) + bytes_of(l->magnitude);
    }
    tally(be, flops, bytes);
    RUN(dora_norms, g);
    FINITE(g->norm);
    return GF_OK;
}

gf_status gf_dora_fwd(gf_backend *be, gf_tensor y, gf_tensor z, gf_tensor residual,
                      const gf_group *g)
{
    static const char op[] = "dora_fwd";
    TRY(want_norms(be, op, g));
    WANT(z, ACT, 2, DIMS2(ANY_DIM, gf_group_n(g)));
    WANT(y, ACT, 2, DIMS2(z.dim[0], z.dim[1]));
    if (gf_is(residual))
        WANT(residual, F32, 2, DIMS2(z.dim[0], z.dim[1]));
    tally(be, 2 * gf_count(z), bytes_of(y) + bytes_of(z) + bytes_of(residual));
    RUN(dora_fwd, y, z, residual, g);
    FINITE(y);
    return GF_OK;
}

gf_status gf_dora_bwd(gf_backend *be, gf_tensor dz, gf_tensor dy, gf_tensor z, const gf_group *g,
                      const gf_spans *row, gf_fixed *fixed)
{
    static const char op[] = "dora_bwd";
    TRY(want_norms(be, op, g));
    WANT(dy, ACT, 2, DIMS2(ANY_DIM, gf_group_n(g)));
    WANT(dz, 1u << dy.dtype, 2, DIMS2(dy.dim[0], dy.dim[1]));
    WANT(z, 1u << dy.dtype, 2, DIMS2(dy.dim[0], dy.dim[1]));
    bool any = false;
    for (int i = 0; i < g->count; i++)
        any |= gf_is(g->lin[i].dmagnitude);
    if (any) {
        TRY(want_fixed(be, op, fixed));
        TRY(want_spans(be, op, row, dy.dim[0], -1));
    }
    tally(be, 3 * gf_count(dy), bytes_of(dz) + 2 * bytes_of(dy) + bytes_of(z));
    RUN(dora_bwd, dz, dy, z, g, row, fixed);
    FINITE(dz);
    return GF_OK;
}

/* ---- LoRA on the embedding ------------------------------------------------------------- */

/* a [r,V], b [D,r], and their gradients where they are wanted. */
static gf_status want_embed(gf_backend *be, const char *op, const gf_linear *l, gf_tensor x,
                            gf_tensor s, gf_tensor ids)
{
    WANT(x, F32, 2, DIMS2(ANY_DIM, ANY_DIM));
    WANT(l->a, F32, 2, DIMS2(ANY_DIM, ANY_DIM));
    WANT(l->b, F32, 2, DIMS2(x.dim[1], l->a.dim[0]));
    WANT(s, F32, 2, DIMS2(x.dim[0], l->a.dim[0]));
    WANT(ids, INT, 1, DIMS1(x.dim[0]));
    return GF_OK;
}

gf_status gf_embed_lora_fwd(gf_backend *be, gf_tensor x, gf_tensor s, gf_tensor ids,
                            const gf_linear *l)
{
    static const char op[] = "embed_lora_fwd";
    TRY(want_embed(be, op, l, x, s, ids));
    tally(be, 2 * gf_count(s) * x.dim[1], 2 * (bytes_of(x) + bytes_of(s)) + bytes_of(l->b));
    RUN(embed_lora_fwd, x, s, ids, l);
    FINITE(x);
    return GF_OK;
}

gf_status gf_embed_lora_bwd(gf_backend *be, gf_tensor p, gf_tensor dx, gf_tensor s, gf_tensor ids,
                            const gf_linear *l, const gf_spans *row, gf_fixed *fixed)
{
    static const char op[] = "embed_lora_bwd";
    TRY(want_embed(be, op, l, dx, s, ids));
    WANT(p, F32, 2, DIMS2(s.dim[0], s.dim[1]));
    WANT(l->da, FIXED, 2, DIMS2(l->a.dim[0], l->a.dim[1]));
    WANT(l->db, FIXED, 2, DIMS2(l->b.dim[0], l->b.dim[1]));
    TRY(want_fixed(be, op, fixed));
    TRY(want_spans(be, op, row, dx.dim[0], -1));
    tally(be, 4 * gf_count(s) * dx.dim[1], 2 * (bytes_of(dx) + bytes_of(s)) + 2 * bytes_of(l->db));
    RUN(embed_lora_bwd, p, dx, s, ids, l, row, fixed);
    FINITE(p);
    return GF_OK;
}

gf_status gf_embed_bwd(gf_backend *be, gf_tensor dtable, gf_tensor dx, gf_tensor ids, float scale,
                       gf_fixed *fixed)
{
    static const char op[] = "embed_bwd";
    WANT(dx, F32, 2, DIMS2(ANY_DIM, ANY_DIM));
    WANT(dtable, FIXED, 2, DIMS2(ANY_DIM, dx.dim[1]));
    WANT(ids, INT, 1, DIMS1(dx.dim[0]));
    TRY(want_fixed(be, op, fixed));
    tally(be, 2 * gf_count(dx), bytes_of(dx) + 2 * gf_count(dx) * (int64_t)sizeof(int64_t));
    RUN(embed_bwd, dtable, dx, ids, scale, fixed);
    return GF_OK;
}
