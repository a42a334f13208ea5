/* launch_linear.c - linear layers with adapters on CUDA: which kernels and products make them, and
 * what each is told. Contract: graft/ops.h; kernels: lora.cu, lora_grad.cu, lora_back.cu,
 * lora_dropout.cu, lora_tails.cu; K-extension: PERFORMANCE 2.2.
 *
 * Forward: S behind x, then [x|S] [W|B]^T. Backward: P behind dy, then [dy|P] [W;A], then the
 * gradients of all layers in one launch; where launch_linear_back.c can, dB is made with P, in one
 * pass over dy. Under dropout dx is dy W and an update by a kernel. */
#include "launch_linear.h"

#include <stdio.h>

static const gf_dim threads = {GF_LORA_THREADS, 1, 1};

static unsigned blocks(int64_t n, int64_t each)
{
    return (unsigned)((n + each - 1) / each);
}

static bool adapted(const gf_linear *lin)
{
    return gf_is(lin->a);
}

/* An element's address; NULL in dry runs. */
static void *at(gf_tensor t, int64_t row, int64_t column)
{
    return t.data ? (char *)t.data + gf_row_bytes(t.dtype, row * t.stride + column) : NULL;
}

/* Columns [first, first + count) of the rows of t, which may lie behind its own. */
static gf_tensor part_of(gf_tensor t, int64_t rows, int64_t first, int64_t count)
{
    t.data = at(t, 0, first);
    t.rank = 2;
    t.dim[0] = rows;
    t.dim[1] = count;
    t.dim[2] = 1;
    return t;
}

/* The group's buffer: all W, and what stands to the right and below. */
static gf_tensor w_of(const gf_group *g, int64_t rows, int64_t columns)
{
    return part_of(g->lin[0].w, rows, 0, columns);
}
static gf_tensor a_of(const gf_group *g)
{
    gf_tensor w = g->lin[0].w;
    w.data = at(w, gf_group_n(g), 0);
    return part_of(w, g->tail, 0, gf_group_k(g));
}
static gf_tensor b_of(const gf_group *g)
{
    return part_of(g->lin[0].w, gf_group_n(g), gf_group_k(g), g->tail);
}

/* ---- what is refused ---------------------------------------------------------------------- */

/* Rows begin at multiples of 16 bytes, what a copy to shared memory takes. */
static bool aligned(gf_tensor t)
{
    return (uintptr_t)t.data % 16 == 0 && gf_row_bytes(t.dtype, t.stride) % 16 == 0;
}

static gf_status want_aligned(gf_backend *be, const char *op, const char *name, gf_tensor t)
{
    if (aligned(t))
        return GF_OK;
    return gf_fail(&be->err, GF_ESHAPE, "%s: rows of %s do not begin at multiples of 16 bytes", op,
                   name);
}

/* What the kernels rely on beyond the front door's checks. t: x or dy. */
static gf_status check_group(gf_backend *be, const char *op, const char *name, gf_tensor t,
                             const gf_group *g)
{
    const gf_tensor w = g->lin[0].w;
    if (w.dtype != t.dtype)
        return gf_fail(&be->err, GF_ESHAPE, "%s: weights are %s, %s is %s; a device wants one type",
                       op, gf_dtype_name(w.dtype), name, gf_dtype_name(t.dtype));
    if (gf_group_rank(g) == 0)
        return GF_OK;
    if (g->tail == 0)
        return gf_fail(&be->err, GF_ESHAPE, "%s: adapters on a device want a tail", op);
    if (g->tail % 16 != 0 || g->align % GF_LORA_RANK_STEP != 0)
        return gf_fail(&be->err, GF_ESHAPE, "%s: tail %lld, align %lld; want multiples of 16 and 8",
                       op, (long long)g->tail, (long long)g->align);
    TRY(want_aligned(be, op, name, t));
    return want_aligned(be, op, "the weights", w);
}

static gf_status want_row(gf_backend *be, const char *op, const gf_spans *row)
{
    if (be->dry || (row && row->work.data))
        return GF_OK;
    return gf_fail(&be->err, GF_ESHAPE, "%s: the row is not bound", op);
}

static void *work_of(const gf_spans *row)
{
    return row ? row->work.data : NULL;
}

/* The layers' biases are one vector, padded as y is. */
static gf_status bias_of(gf_backend *be, const gf_group *g, gf_tensor y, gf_tensor *out)
{
    const gf_tensor first = g->lin[0].bias;
    *out = gf_none;
    for (int i = 0; i < g->count; i++) {
        const gf_tensor bias = g->lin[i].bias;
        const void *where = gf_is(first) ? at(first, 0, gf_group_column(g, i)) : NULL;
        if (gf_is(bias) != gf_is(first) || (gf_is(bias) && bias.data != where))
            return gf_fail(&be->err, GF_ESHAPE,
                           "group_linear_fwd: the biases are not one vector (layer %d)", i);
    }
    if (!gf_is(first))
        return GF_OK;
    if (first.dtype != y.dtype)
        return gf_fail(&be->err, GF_ESHAPE, "group_linear_fwd: bias is %s, y is %s; want one type",
                       gf_dtype_name(first.dtype), gf_dtype_name(y.dtype));
    *out = first;
    out->dim[0] = gf_group_n(g);
    return GF_OK;
}

/* ---- S and P ------------------------------------------------------------------------------- */

static gf_lora_dropout dropout_of(gf_dropout drop)
{
    const float limit = drop.p * 65536.0f; /* a draw is kept from here on: gf_dropout_keep */
    gf_lora_dropout d = {.seed = drop.seed, .least = (uint32_t)limit};
    if ((float)d.least < limit)
        d.least++;
    d.inverse = 1.0f / (1.0f - drop.p);
    return d;
}

/* The number of ranks a kernel is made for. */
static int64_t class_of(gf_dtype dtype, int64_t ranks, int64_t most)
{
    if (dtype == GF_F32)
        return ranks <= 16 ? 16 : 64;
    int64_t n = 16;
    while (n < ranks && n < most)
        n *= 2;
    return n;
}

/* Ranks and scales of the adapted layers, and where each layer's columns of y are. */
static void describe_layers(gf_lora_product *p, const gf_group *g)
{
    int32_t rank = 0;
    for (int i = 0; i < g->count; i++) {
        const gf_linear *lin = &g->lin[i];
        if (!adapted(lin))
            continue;
        const int32_t first = rank;
        rank += (int32_t)lin->a.dim[0];
        p->end[p->parts] = rank;
        p->scale[p->parts] = lin->scale;
        p->part[p->parts++] = (gf_lora_part){.first = first,
                                             .last = rank,
                                             .at = (int32_t)gf_group_column(g, i),
                                             .k = (int32_t)lin->w.dim[0],
                                             .module = lin->module};
    }
    p->rank = rank;
    p->room = (int32_t)g->tail;
}

/* tail: behind x or dy; copy: s or p, which may be that place. */
static void describe_product(gf_lora_product *p, gf_tensor wide, gf_tensor small, gf_tensor tail,
                             gf_tensor copy)
{
    p->wide = wide.data;
    p->wide_stride = wide.stride;
    p->small = small.data;
    p->small_stride = small.stride;
    p->tail = tail.data;
    p->tail_stride = tail.stride;
    p->rows = (int32_t)wide.dim[0];
    if (copy.data != tail.data) {
        p->copy = copy.data;
        p->copy_stride = copy.stride;
    }
}

static gf_status inner_product(gf_backend *be, const char *which, gf_lora_product *p,
                               gf_tensor wide, gf_tensor small, gf_tensor tail, gf_tensor copy)
{
    char name[32];
    const int64_t ranks = class_of(wide.dtype, tail.dim[1], GF_LORA_MOST);
    const gf_dim grid = {blocks(wide.dim[0], GF_LORA_ROWS(ranks)), blocks(tail.dim[1], ranks), 1};
    (void)snprintf(name, sizeof name, "lora_%s_%s_%d", which, gf_dtype_name(wide.dtype),
                   (int)ranks);
    describe_product(p, wide, small, tail, copy);
    return GF_LAUNCH(be, "lora", name, grid, threads, GF_LORA_SHARED((size_t)ranks), p);
}

static gf_status make_s(gf_backend *be, gf_tensor s, gf_tensor x, const gf_group *g,
                        const gf_spans *row, gf_dropout drop)
{
    gf_lora_product p = {.drop = dropout_of(drop), .work = work_of(row)};
    describe_layers(&p, g);
    for (int i = 0; i < p.parts; i++) { /* all layers read the same columns */
        p.part[i].at = 0;
        p.part[i].k = (int32_t)x.dim[1];
    }
    if (drop.p > 0) {
        TRY(want_row(be, "group_linear_fwd", row));
    } else { /* and the same values */
        p.part[0].last = p.rank;
        p.parts = 1;
    }
    const gf_tensor tail = part_of(x, x.dim[0], gf_group_k(g), g->tail);
    return inner_product(be, "s", &p, x, a_of(g), tail, s);
}

/* `clear`: the gradients follow. */
static gf_status make_p(gf_backend *be, gf_tensor p, gf_tensor dy, const gf_group *g,
                        const gf_spans *row, bool clear)
{
    gf_lora_product job = {.work = work_of(row), .clear = clear};
    describe_layers(&job, g);
    const gf_tensor tail = part_of(dy, dy.dim[0], gf_group_n(g), g->tail);
    return inner_product(be, "p", &job, dy, b_of(g), tail, p);
}

/* ---- forward ------------------------------------------------------------------------------- */

gf_status gf_cuda_group_linear_fwd(gf_backend *be, gf_tensor y, gf_tensor s, gf_tensor x,
                                   gf_tensor residual, const gf_group *g, const gf_spans *row,
                                   gf_dropout drop)
{
    const int64_t n = gf_group_n(g), k = gf_group_k(g), rows = x.dim[0];
    const int64_t tail = gf_group_rank(g) > 0 ? g->tail : 0;
    gf_product p = {.d = y, .c = residual, .transposed = true};
    if (gf_is(residual) && y.dtype != GF_F32)
        return gf_fail(&be->err, GF_ESHAPE, "group_linear_fwd: y is %s; with a residual want f32",
                       gf_dtype_name(y.dtype));
    TRY(check_group(be, "group_linear_fwd", "x", x, g));
    TRY(bias_of(be, g, y, &p.bias));
    if (tail)
        TRY(make_s(be, s, x, g, row, drop));
    const int64_t together = be->separate_lora ? k : k + tail;
    p.a = part_of(x, rows, 0, together);
    p.b = w_of(g, n, together);
    TRY(gf_cuda_product(be, &p));
    if (!tail || !be->separate_lora)
        return GF_OK;
    p = (gf_product){.d = y, .c = y, .transposed = true};
    p.a = part_of(x, rows, k, tail);
    p.b = b_of(g);
    return gf_cuda_product(be, &p);
}

/* ---- backward ------------------------------------------------------------------------------- */

/* dx += mask / (1 - p) * (P A) of every layer. */
static gf_status update_dx(gf_backend *be, gf_tensor dx, gf_tensor dy, const gf_group *g,
                           const gf_spans *row, gf_dropout drop)
{
    char name[32];
    gf_lora_product layers = {0};
    describe_layers(&layers, g);
    const gf_tensor p = part_of(dy, dy.dim[0], gf_group_n(g), g->tail), a = a_of(g);
    gf_lora_update u = {.dx = dx.data,
                        .p = p.data,
                        .a = a.data,
                        .dx_stride = dx.stride,
                        .p_stride = p.stride,
                        .a_stride = a.stride,
                        .work = work_of(row),
                        .rows = (int32_t)dx.dim[0],
                        .k = (int32_t)dx.dim[1],
                        .parts = layers.parts,
                        .drop = dropout_of(drop)};
    for (int i = 0; i < layers.parts; i++)
        u.part[i] = layers.part[i];
    TRY(want_row(be, "group_linear_bwd", row));
    (void)snprintf(name, sizeof name, "lora_dropout_%s_%s", gf_dtype_name(dy.dtype),
                   gf_dtype_name(dx.dtype));
    const gf_dim grid = {blocks(dx.dim[1], GF_LORA_PATCH), blocks(dx.dim[0], GF_LORA_PATCH), 1};
    return GF_LAUNCH(be, "lora_dropout", name, grid, threads, GF_LORA_UPDATE_SHARED, &u);
}

static gf_status to_input(gf_backend *be, gf_tensor dx, gf_tensor dy, const gf_group *g,
                          const gf_spans *row, gf_dropout drop)
{
    const int64_t n = gf_group_n(g), rows = dy.dim[0];
    const int64_t tail = gf_group_rank(g) > 0 ? g->tail : 0;
    const int64_t together = be->separate_lora || drop.p > 0 ? n : n + tail;
    gf_product p = {.d = dx, .a = part_of(dy, rows, 0, together)};
    p.b = w_of(g, together, dx.dim[1]);
    TRY(gf_cuda_product(be, &p));
    if (!tail || together > n)
        return GF_OK;
    if (drop.p > 0)
        return update_dx(be, dx, dy, g, row, drop);
    p = (gf_product){.d = dx, .c = dx, .a = part_of(dy, rows, n, tail)};
    p.b = part_of(a_of(g), tail, 0, dx.dim[1]);
    return gf_cuda_product(be, &p);
}

static int add_job(gf_lora_gradients *grads, int jobs, gf_lora_job job)
{
    job.tiles = (int32_t)blocks(job.width, GF_LORA_COLUMNS);
    grads->job[jobs] = job;
    return jobs + 1;
}

/* Every gradient that somebody wants, dA if there is x and dB if there is dy: dA of all layers at
 * once, as they share x, unless each one's mask is its own; dB one by one. Returns their number. */
static int make_jobs(gf_lora_gradients *grads, const gf_group *g, gf_dropout drop, bool with_a,
                     bool with_b)
{
    gf_lora_product layers = {0};
    describe_layers(&layers, g);
    const int32_t k = (int32_t)g->lin[0].w.dim[1];
    int jobs = 0, part = 0;
    bool any = false;
    for (int i = 0; i < 3; i++)
        grads->layer[i] = (gf_lora_sums){.first = layers.rank, .last = layers.rank};
    for (int i = 0; i < g->count; i++) {
        const gf_linear *lin = &g->lin[i];
        if (!adapted(lin))
            continue;
        const gf_lora_part of = layers.part[part];
        gf_lora_sums *sums = &grads->layer[part++];
        sums->first = of.first;
        sums->last = of.last;
        if (!gf_is(lin->da))
            continue;
        any = true;
        sums->a = lin->da.data;
        sums->b = lin->db.data;
        sums->a_stride = lin->da.stride;
        sums->b_stride = lin->db.stride;
        const gf_lora_job da = {
            .first = of.first, .last = of.last, .width = k, .module = of.module};
        if (with_a && drop.p > 0)
            jobs = add_job(grads, jobs, da);
        const gf_lora_job db = {
            .first = of.first, .last = of.last, .at = of.at, .width = of.k, .across = 1};
        if (with_b)
            jobs = add_job(grads, jobs, db);
    }
    if (with_a && any && drop.p == 0)
        jobs = add_job(grads, jobs, (gf_lora_job){.last = layers.rank, .width = k});
    return jobs;
}

static bool wants_gradients(const gf_group *g)
{
    for (int i = 0; i < g->count; i++)
        if (gf_is(g->lin[i].da))
            return true;
    return false;
}

static gf_lora_gradients describe_gradients(gf_tensor p, gf_tensor dy, gf_tensor x, gf_tensor s,
                                            const gf_spans *row, gf_dropout drop,
                                            const gf_fixed *fixed)
{
    return (gf_lora_gradients){.x = x.data,
                               .dy = dy.data,
                               .p = p.data,
                               .s = s.data,
                               .x_stride = x.stride,
                               .dy_stride = dy.stride,
                               .p_stride = p.stride,
                               .s_stride = s.stride,
                               .work = work_of(row),
                               .magnitude = at(fixed->sums, 0, GF_SUM_MAGNITUDE),
                               .nonfinite = at(fixed->sums, 0, GF_SUM_NONFINITE),
                               .scale = (float)((int64_t)1 << fixed->shift),
                               .s_loose = !aligned(s),
                               .drop = dropout_of(drop)};
}

/* dA of all layers if there is x, dB if there is dy, in one launch; P has been made. */
static gf_status gradients(gf_backend *be, gf_tensor p, gf_tensor dy, gf_tensor x, gf_tensor s,
                           const gf_group *g, const gf_spans *row, gf_dropout drop,
                           const gf_fixed *fixed)
{
    char name[32];
    int64_t tiles = 0, ranks = 0;
    gf_lora_gradients grads = describe_gradients(p, dy, x, s, row, drop, fixed);
    TRY(want_aligned(be, "group_linear_bwd", "x", x));
    const int jobs = make_jobs(&grads, g, drop, gf_is(x), gf_is(dy));
    for (int i = 0; i < jobs; i++) {
        const gf_lora_job *job = &grads.job[i];
        const int64_t span = job->last - job->first / GF_LORA_RANK_STEP * GF_LORA_RANK_STEP;
        tiles += job->tiles;
        ranks = span > ranks ? span : ranks;
    }
    const int64_t each = class_of(p.dtype, ranks, GF_LORA_GRAD_MOST);
    const gf_dim grid = {(unsigned)tiles, gf_cuda_row_grid(be, row, p.dim[0]).chunks,
                         blocks(ranks, each)};
    (void)snprintf(name, sizeof name, "lora_grad_%s_%d", gf_dtype_name(p.dtype), (int)each);
    return GF_LAUNCH(be, "lora_grad", name, grid, threads, GF_LORA_GRAD_SHARED((size_t)each),
                     &grads);
}

/* P, and dB of all layers, in one pass over dy. */
static gf_status make_p_and_db(gf_backend *be, gf_tensor dx, gf_tensor p, gf_tensor dy, gf_tensor s,
                               const gf_group *g, const gf_spans *row, const gf_fixed *fixed,
                               gf_linear_cut cut)
{
    const gf_dropout none = {0};
    const gf_tensor tail = part_of(dy, dy.dim[0], gf_group_n(g), g->tail);
    gf_lora_product product = {.work = work_of(row)};
    gf_lora_back back = {.grads = describe_gradients(tail, dy, gf_none, s, row, none, fixed)};
    describe_layers(&product, g);
    describe_product(&product, dy, b_of(g), tail, p);
    (void)make_jobs(&back.grads, g, none, false, true);
    return gf_cuda_linear_back(be, &back, &product, dx, cut,
                               gf_cuda_row_grid(be, row, dy.dim[0]).chunks);
}

gf_status gf_cuda_group_linear_bwd(gf_backend *be, gf_tensor dx, gf_tensor p, gf_tensor dy,
                                   gf_tensor x, gf_tensor s, const gf_group *g, const gf_spans *row,
                                   gf_dropout drop, gf_fixed *fixed)
{
    const bool wanted = wants_gradients(g);
    TRY(check_group(be, "group_linear_bwd", "dy", dy, g));
    if (wanted)
        TRY(want_row(be, "group_linear_bwd", row));
    const gf_linear_cut cut = gf_cuda_linear_cut(dx, dy, s, g);
    if (cut.each)
        TRY(make_p_and_db(be, dx, p, dy, s, g, row, fixed, cut));
    else if (gf_group_rank(g) > 0 && (wanted || gf_is(dx)))
        TRY(make_p(be, p, dy, g, row, wanted));
    if (gf_is(dx))
        TRY(to_input(be, dx, dy, g, row, drop));
    if (!wanted || (cut.each && !gf_is(x)))
        return GF_OK;
    const gf_tensor tail = part_of(dy, dy.dim[0], gf_group_n(g), g->tail);
    return gradients(be, tail, cut.each ? gf_none : dy, x, s, g, row, drop, fixed);
}

gf_status gf_cuda_group_linear_da(gf_backend *be, gf_tensor p, gf_tensor x, const gf_group *g,
                                  const gf_spans *row, gf_dropout drop, gf_fixed *fixed)
{
    TRY(check_group(be, "group_linear_da", "x", x, g));
    TRY(want_row(be, "group_linear_da", row));
    TRY(want_aligned(be, "group_linear_da", "p", p));
    return gradients(be, p, gf_none, x, gf_none, g, row, drop, fixed);
}

/* ---- tails ----------------------------------------------------------------------------------- */

#define TAIL_EACH 8 /* elements of a thread, so that several of its loads are under way */

gf_status gf_cuda_group_tails(gf_backend *be, const gf_group *g)
{
    const gf_tensor w = g->lin[0].w;
    gf_lora_copy copy = {.w = w.data,
                         .stride = w.stride,
                         .n = (int32_t)gf_group_n(g),
                         .k = (int32_t)gf_group_k(g),
                         .width = (int32_t)w.dim[1],
                         .room = (int32_t)g->tail};
    gf_lora_product layers = {0};
    int count = 0;
    if (g->tail == 0)
        return GF_OK;
    if (w.dtype != GF_F32 && w.dtype != GF_BF16)
        return gf_fail(&be->err, GF_ESHAPE, "group_tails: weights are %s, want f32 or bf16",
                       gf_dtype_name(w.dtype));
    describe_layers(&layers, g);
    for (int i = 0; i < g->count; i++) {
        const gf_linear *lin = &g->lin[i];
        if (!adapted(lin))
            continue;
        const gf_lora_part part = layers.part[count];
        copy.layer[count++] = (gf_lora_master){.a = lin->a.data,
                                               .b = lin->b.data,
                                               .a_stride = lin->a.stride,
                                               .b_stride = lin->b.stride,
                                               .first = part.first,
                                               .last = part.last,
                                               .at = part.at,
                                               .n = part.k};
    }
    const int64_t elements = g->tail * (gf_group_n(g) + gf_group_k(g));
    const gf_dim grid = {blocks(elements, GF_LORA_THREADS * TAIL_EACH), 1, 1};
    return GF_LAUNCH(be, "lora_tails", w.dtype == GF_F32 ? "lora_tails_f32" : "lora_tails_bf16",
                     grid, threads, 0, &copy);
}
