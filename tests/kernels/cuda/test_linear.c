/* test_linear.c - groups of linear layers on CUDA against the CPU's twin: on integers to the bit,
 * on reals within the bounds that their roundings allow. */
#include "linear_case.h"

#include "cuda/cuda.h"

/* k and n off every multiple, layers without adapters, ranks across tiles, spans of all kinds. */
static const linear_case cases[] = {
    {{64}, {16}, 128, GF_F32, GF_F32, GF_F32, .residual = true, .len = {20, 7}, .s_gap = 0},
    {{64}, {16}, 128, GF_BF16, GF_F32, GF_F32, .residual = true, .len = {20, 7}, .filler = 5},
    {{72, 24, 40},
     {3, 0, 1},
     72,
     GF_BF16,
     GF_BF16,
     GF_F32,
     .bias = true,
     .len = {1, 33, 30},
     .filler = 3,
     .s_gap = 4},
    {{72, 24, 40},
     {1, 3, 8},
     72,
     GF_F32,
     GF_F32,
     GF_F32,
     .bias = true,
     .len = {1, 33, 30},
     .s_gap = 1},
    {{11, 11}, {16, 16}, 40, GF_BF16, GF_BF16, GF_BF16, .len = {65, 2}, .filler = 61, .s_gap = 16},
    {{40}, {64}, 11, GF_BF16, GF_F32, GF_BF16, .len = {9}, .residual = true},
    {{40}, {64}, 11, GF_F32, GF_F32, GF_F32, .len = {9}, .bias = true},
    {{64, 16, 16}, {64, 8, 64}, 200, GF_BF16, GF_BF16, GF_F32, .len = {70}, .bias = true},
    {{64, 16, 16}, {24, 0, 50}, 72, GF_F32, GF_F32, GF_F32, .len = {70}, .s_gap = 2},
    {{136}, {0}, 72, GF_BF16, GF_F32, GF_F32, .len = {17}, .residual = true},
    {{48, 32, 32},
     {16, 5, 16},
     200,
     GF_BF16,
     GF_BF16,
     GF_F32,
     .p = 0.5f,
     .len = {40, 30},
     .filler = 10},
    {{48, 32}, {3, 13}, 72, GF_BF16, GF_BF16, GF_BF16, .p = 0.5f, .len = {40, 30}, .s_gap = 8},
    {{48, 32}, {64, 3}, 75, GF_F32, GF_F32, GF_F32, .p = 0.5f, .len = {40, 30}, .filler = 2},
    {{48, 16, 16}, {16, 4, 16}, 72, GF_BF16, GF_BF16, GF_F32, .len = {20}, .separate = true},
    {{48},
     {7},
     72,
     GF_F32,
     GF_F32,
     GF_F32,
     .len = {20},
     .residual = true,
     .separate = true,
     .bias = true},
    {{48}, {7}, 72, GF_BF16, GF_F32, GF_F32, .p = 0.5f, .len = {20}, .separate = true},
};
enum { CASES = sizeof cases / sizeof *cases };

static void open_cpu(gf_backend *be)
{
    gf_err err = {0};
    cr_assert_eq(gf_backend_open_cpu(be, 1, "auto", &err), GF_OK, "%s", err.text);
}

/* ---- to the bit --------------------------------------------------------------------------- */

static void same(int n, const char *what, gf_tensor got, int64_t got0, gf_tensor want,
                 int64_t want0, int64_t columns)
{
    for (int64_t t = 0; t < want.dim[0]; t++)
        for (int64_t j = 0; j < columns; j++) {
            const double a = op_get(got, t, got0 + j), b = op_get(want, t, want0 + j);
            cr_assert(a == b, "case %d: %s[%d,%d] is %g, want %g", n, what, (int)t, (int)j, a, b);
        }
}

static void zeros(int n, const char *what, gf_tensor t, int64_t first, int64_t end, int64_t rows)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = first; j < end; j++)
            cr_assert(op_get(t, i, j) == 0, "case %d: %s[%d,%d] is %g, want 0", n, what, (int)i,
                      (int)j, op_get(t, i, j));
}

static void same_fixed(int n, const char *what, gf_tensor got, gf_tensor want)
{
    for (int64_t i = 0; i < want.dim[0]; i++)
        for (int64_t j = 0; j < gf_width(want); j++)
            cr_assert_eq(linear_i64(got, i, j), linear_i64(want, i, j),
                         "case %d: %s[%d,%d] is %lld, want %lld", n, what, (int)i, (int)j,
                         (long long)linear_i64(got, i, j), (long long)linear_i64(want, i, j));
}

static double rounded(const linear_device *d, double v)
{
    return d->c->type == GF_BF16 ? (double)gf_bf16_to_f32(gf_f32_to_bf16((float)v)) : v;
}

/* The working copies, with zeros around them. */
static void check_tails(int n, const linear_device *d, const linear_host *h)
{
    const gf_tensor w = d->w.host.t;
    int64_t rank = 0;
    for (int i = 0; i < d->g.count; i++) {
        const int64_t r = d->c->r[i], row = gf_group_column(&d->g, i);
        for (int64_t j = 0; j < r; j++) {
            for (int64_t c = 0; c < d->k; c++) {
                const double want = c < d->c->k ? rounded(d, op_get(h->a[i].t, j, c)) : 0;
                cr_assert(op_get(w, d->n + rank + j, c) == want, "case %d: a[%d,%d]", n, (int)j,
                          (int)c);
            }
            for (int64_t t = 0; t < d->n; t++) {
                const bool own = t >= row && t < row + d->c->n[i];
                const double want = own ? rounded(d, op_get(h->b[i].t, t - row, j)) : 0;
                cr_assert(op_get(w, t, d->k + rank + j) == want, "case %d: b[%d,%d]", n, (int)t,
                          (int)j);
            }
        }
        rank += r;
    }
    for (int64_t j = rank; j < d->tail; j++) {
        zeros(n, "a", gf_rows(w, d->n + j, 1), 0, d->k, 1);
        zeros(n, "b", w, d->k + j, d->k + j + 1, d->n);
    }
}

static void check_forward(int n, const linear_device *d, const linear_host *h)
{
    const int64_t rank = gf_group_rank(&h->g);
    for (int i = 0; i < d->g.count; i++) {
        const int64_t at = gf_group_column(&d->g, i), end = at + d->c->n[i];
        same(n, "y", d->y.host.t, at, h->y.t, gf_group_column(&h->g, i), d->c->n[i]);
        zeros(n, "y", d->y.host.t, end, linear_up(end, ALIGN), h->row.tokens);
    }
    same(n, "s", d->s.host.t, 0, h->s.t, 0, rank);
    same(n, "x's tail", d->x.host.t, d->k, h->s.t, 0, rank);
    zeros(n, "x's tail", d->x.host.t, d->k + rank, d->k + d->tail, d->rows);
}

static void check_backward(int n, const linear_device *d, const linear_host *h)
{
    const int64_t rank = gf_group_rank(&h->g);
    same(n, "p", d->dy.host.t, d->n, h->p.t, 0, rank);
    zeros(n, "dy's tail", d->dy.host.t, d->n + rank, d->n + d->tail, d->rows);
    same(n, "dx", d->dx.host.t, 0, h->dx.t, 0, d->c->k);
    for (int i = 0; i < d->g.count; i++)
        if (d->c->r[i]) {
            same_fixed(n, "da", d->da[i].host.t, h->da[i].t);
            same_fixed(n, "db", d->db[i].host.t, h->db[i].t);
        }
    same_fixed(n, "sums", d->sums.host.t, h->sums.t);
}

static void run_exact(gf_backend *be, gf_backend *cpu, int n, const linear_case *c, int shift)
{
    linear_host h;
    linear_device d;
    linear_host_make(&h, c, INTEGERS, shift);
    linear_device_make(be, &d, &h);
    linear_host_forward(cpu, &h);
    linear_device_forward(be, &d);
    linear_host_backward(cpu, &h);
    linear_device_backward(be, &d);
    linear_device_get(be, &d);
    check_tails(n, &d, &h);
    check_forward(n, &d, &h);
    check_backward(n, &d, &h);
    linear_device_free(be, &d);
    linear_host_free(&h);
}

Test(linear, integers_to_the_bit)
{
    gf_backend be, cpu;
    device_open(&be);
    open_cpu(&cpu);
    for (int i = 0; i < CASES; i++)
        run_exact(&be, &cpu, i, &cases[i], i % 2 ? 24 : 40);
    gf_backend_close(&cpu);
    device_close(&be);
}

/* Gradients chunk by chunk: spans of a chunk, of one more, of one less, of one token. */
Test(linear, chunks_to_the_bit)
{
    static const linear_case c[] = {
        {{24}, {3}, 16, GF_BF16, GF_F32, GF_F32, .len = {511, 1, 512, 513}, .filler = 63},
        {{16}, {5}, 24, GF_F32, GF_F32, GF_F32, .len = {513, 2, 1025}, .filler = 4},
    };
    gf_backend be, cpu;
    device_open(&be);
    open_cpu(&cpu);
    for (int i = 0; i < 2; i++)
        run_exact(&be, &cpu, i, &c[i], 40);
    gf_backend_close(&cpu);
    device_close(&be);
}

/* dy in one pass: many slices of columns, half tiles, slices of both widths, layers without an
 * adapter between, ranks across tiles, chunks of every kind; and what has no room in dx for P's
 * sums or too many ranks, where dB has a pass of its own. */
Test(linear, slices_to_the_bit)
{
    static const linear_case c[] = {
        {{776, 264, 256},
         {16, 0, 16},
         320,
         GF_BF16,
         GF_BF16,
         GF_BF16,
         .len = {511, 1, 66},
         .filler = 5},
        {{1032}, {32}, 136, GF_BF16, GF_BF16, GF_F32, .len = {513, 7}, .filler = 3},
        {{300, 520}, {24, 8}, 256, GF_BF16, GF_BF16, GF_BF16, .len = {64, 65}, .p = 0.5f},
        {{264, 136, 40}, {3, 16, 5}, 264, GF_BF16, GF_BF16, GF_BF16, .len = {70, 1}, .s_gap = 8},
        {{8192, 40}, {8, 8}, 560, GF_BF16, GF_BF16, GF_BF16, .len = {33}, .filler = 40},
        {{1032}, {16}, 40, GF_BF16, GF_BF16, GF_BF16, .len = {40}},
        {{136}, {40}, 264, GF_BF16, GF_BF16, GF_BF16, .len = {40}},
    };
    gf_backend be, cpu;
    device_open(&be);
    open_cpu(&cpu);
    for (int i = 0; i < (int)(sizeof c / sizeof *c); i++)
        run_exact(&be, &cpu, 100 + i, &c[i], 40);
    gf_backend_close(&cpu);
    device_close(&be);
}

/* Infinity times A's zeros past all ranks would be NaN. */
Test(linear, tails_end_in_zeros)
{
    gf_backend be;
    linear_host h;
    linear_device d;
    device_open(&be);
    linear_host_make(&h, &cases[2], INTEGERS, 40);
    op_set(h.x.t, 3, 5, INFINITY);
    linear_device_make(&be, &d, &h);
    linear_device_forward(&be, &d);
    linear_device_get(&be, &d);
    zeros(2, "x's tail", d.x.host.t, d.k + gf_group_rank(&d.g), d.k + d.tail, d.rows);
    linear_device_free(&be, &d);
    linear_host_free(&h);
    device_close(&be);
}

/* ---- within bounds -------------------------------------------------------------------------- */

/* Both sides round: 2 * (terms) * U32 of the sum of absolute values, S's own and P's own error
 * among the terms; in bf16 S (or P) is rounded on both sides, and so is what is written as bf16. */
static void near(int n, const char *what, gf_tensor got, int64_t got0, gf_tensor want,
                 int64_t want0, gf_tensor size, int64_t columns, double terms, bool through_bf16)
{
    for (int64_t t = 0; t < want.dim[0]; t++)
        for (int64_t j = 0; j < columns; j++) {
            const double a = op_get(got, t, got0 + j), b = op_get(want, t, want0 + j);
            const double sum = op_get(size, t, want0 + j);
            double tol = 2 * terms * U32 * sum + (through_bf16 ? 2 * U16 * sum : 0);
            tol += want.dtype == GF_BF16 ? 2 * U16 * fabs(b) : 0;
            cr_assert(fabs(a - b) <= tol, "case %d: %s[%d,%d] is %g, want %g +- %g", n, what,
                      (int)t, (int)j, a, b, tol);
        }
}

static void near_fixed(int n, const char *what, gf_tensor got, gf_tensor want, gf_tensor size,
                       double terms, bool bf16)
{
    for (int64_t i = 0; i < want.dim[0]; i++)
        for (int64_t j = 0; j < gf_width(want); j++) {
            const double a = (double)linear_i64(got, i, j), b = (double)linear_i64(want, i, j);
            const double sum = (double)linear_i64(size, i, j);
            const double tol = 2 * terms * U32 * sum + (bf16 ? 2 * U16 * sum : 0) + EXAMPLES;
            cr_assert(fabs(a - b) <= tol, "case %d: %s[%d,%d] is %g, want %g +- %g", n, what,
                      (int)i, (int)j, a, b, tol);
        }
}

static void run_near(gf_backend *be, gf_backend *cpu, int n, const linear_case *c)
{
    linear_host h, size;
    linear_device d;
    linear_host_make(&h, c, REALS, 40);
    linear_host_make(&size, c, SIZES, 40);
    linear_device_make(be, &d, &h);
    linear_host_forward(cpu, &h), linear_host_backward(cpu, &h);
    linear_host_forward(cpu, &size), linear_host_backward(cpu, &size);
    linear_device_forward(be, &d), linear_device_backward(be, &d);
    linear_device_get(be, &d);
    check_tails(n, &d, &h);
    const int64_t rank = gf_group_rank(&h.g), width = gf_group_n(&h.g);
    const double k = (double)c->k + 4, r = (double)rank, all = (double)width + 4;
    const bool bf16 = c->type == GF_BF16;
    near(n, "s", d.s.host.t, 0, h.s.t, 0, size.s.t, rank, k, false);
    near(n, "p", d.dy.host.t, d.n, h.p.t, 0, size.p.t, rank, all, false);
    for (int i = 0; i < d.g.count; i++) {
        near(n, "y", d.y.host.t, gf_group_column(&d.g, i), h.y.t, gf_group_column(&h.g, i),
             size.y.t, c->n[i], 2 * k + r, bf16);
        if (!c->r[i])
            continue;
        near_fixed(n, "da", d.da[i].host.t, h.da[i].t, size.da[i].t, all + 514, bf16);
        near_fixed(n, "db", d.db[i].host.t, h.db[i].t, size.db[i].t, k + 514, bf16);
    }
    /* under dropout dx is rounded after each of its two parts */
    near(n, "dx", d.dx.host.t, 0, h.dx.t, 0, size.dx.t, c->k, 2 * all + r,
         bf16 || c->dx == GF_BF16);
    linear_device_free(be, &d);
    linear_host_free(&h);
    linear_host_free(&size);
}

Test(linear, reals_within_bounds)
{
    static const linear_case more[] = {
        {{48, 32}, {16, 8}, 136, GF_F32, GF_F32, GF_F32, .p = 0.1f, .len = {40, 30}},
        {{48, 32}, {16, 8}, 136, GF_BF16, GF_BF16, GF_BF16, .p = 0.3f, .len = {40, 30}},
    };
    gf_backend be, cpu;
    device_open(&be);
    open_cpu(&cpu);
    for (int i = 0; i < CASES; i += 3)
        run_near(&be, &cpu, i, &cases[i]);
    for (int i = 0; i < 2; i++)
        run_near(&be, &cpu, CASES + i, &more[i]);
    gf_backend_close(&cpu);
    device_close(&be);
}

/* ---- what is launched -------------------------------------------------------------------------
 */

static int64_t launches(gf_backend *be, bool backward, const linear_device *d, gf_dropout drop)
{
    gf_fixed fixed = d->fixed;
    const int64_t before = be->tally.launches;
    if (backward)
        DEVICE_OK(be, gf_group_linear_bwd(be, d->dx.device.t, d->p, d->dy.device.t, d->x.device.t,
                                          d->s.device.t, &d->g, &d->row.row, drop, &fixed));
    else
        DEVICE_OK(be, gf_group_linear_fwd(be, d->y.device.t, d->s.device.t, d->x.device.t, gf_none,
                                          &d->g, &d->row.row, drop));
    return be->tally.launches - before;
}

Test(linear, launches)
{
    gf_backend be;
    linear_host h;
    linear_device d;
    device_open(&be);
    linear_host_make(&h, &cases[2], INTEGERS, 40);
    linear_device_make(&be, &d, &h);
    const gf_dropout none = {0}, some = {.p = 0.5f};
    cr_assert_eq(launches(&be, false, &d, none), 2);
    cr_assert_eq(launches(&be, true, &d, none), 4);
    cr_assert_eq(launches(&be, true, &d, some), 5);
    be.dry = true; /* the same, and nothing runs */
    cr_assert_eq(launches(&be, false, &d, none), 2);
    cr_assert_eq(launches(&be, true, &d, none), 4);
    be.dry = false;
    be.separate_lora = true;
    cr_assert_eq(launches(&be, false, &d, none), 3);
    cr_assert_eq(launches(&be, true, &d, none), 5);
    be.separate_lora = false;
    for (int i = 0; i < 3; i++) /* P alone: nobody wants gradients */
        d.g.lin[i].da = d.g.lin[i].db = gf_none;
    cr_assert_eq(launches(&be, true, &d, none), 2);
    linear_device_free(&be, &d);
    linear_host_free(&h);
    device_close(&be);
}

Test(linear, refusals)
{
    gf_backend be;
    linear_host h;
    linear_device d;
    device_open(&be);
    linear_host_make(&h, &cases[2], INTEGERS, 40);
    linear_device_make(&be, &d, &h);
    const gf_tensor x = d.x.device.t, y = d.y.device.t;
    const gf_dropout none = {0};
    op_tensor residual = op_make(GF_F32, "residual", d.rows, d.n, 0, 0);
    device_tensor r = device_put(&be, &residual);
    OP_REFUSED(be, gf_group_linear_fwd(&be, y, d.s.device.t, x, r.t, &d.g, &d.row.row, none),
               "group_linear_fwd: y is bf16; with a residual want f32");
    gf_tensor odd = x;
    odd.data = (char *)odd.data + 2;
    OP_REFUSED(be, gf_group_linear_fwd(&be, y, d.s.device.t, odd, gf_none, &d.g, &d.row.row, none),
               "group_linear_fwd: rows of x do not begin at multiples of 16 bytes");
    gf_group apart = d.g;
    apart.lin[1].bias.data = (char *)apart.lin[1].bias.data + 2;
    OP_REFUSED(be, gf_group_linear_fwd(&be, y, d.s.device.t, x, gf_none, &apart, &d.row.row, none),
               "group_linear_fwd: the biases are not one vector (layer 1)");
    const gf_spans loose = h.row;
    OP_REFUSED(be,
               gf_group_linear_bwd(&be, d.dx.device.t, d.p, d.dy.device.t, x, d.s.device.t, &d.g,
                                   &loose, none, &d.fixed),
               "group_linear_bwd: row is not bound to the device");
    be.err = (gf_err){0};
    device_free(&be, &r);
    op_free(&residual);
    linear_device_free(&be, &d);
    linear_host_free(&h);
    device_close(&be);
}
