/* test_linear_grad.c - the adapters' gradients on CUDA: what is counted, what is not finite or does
 * not fit, and the same bits wherever an example stands. */
#include "linear_case.h"

static void open_cpu(gf_backend *be)
{
    gf_err err = {0};
    cr_assert_eq(gf_backend_open_cpu(be, 1, "auto", &err), GF_OK, "%s", err.text);
}

static bool same_fixed(gf_tensor a, gf_tensor b)
{
    for (int64_t i = 0; i < a.dim[0]; i++)
        for (int64_t j = 0; j < gf_width(a); j++)
            if (linear_i64(a, i, j) != linear_i64(b, i, j))
                return false;
    return true;
}

/* ---- what is not finite, what does not fit -----------------------------------------------------
 */

enum { INF_IN_S, NAN_IN_ONE_DY, HUGE_DY, INF_IN_X, ALL_FINE, ACCIDENTS };

/* Two layers whose ranks share a tile: an accident in one leaves the other's gradients whole. */
static void happen(linear_host *h, int accident)
{
    const gf_tensor x = h->x.t, dy = h->dy.t, s = h->s.t;
    const int64_t late = h->row.tokens - 1; /* in the last chunk */
    switch (accident) {
    case INF_IN_S:
        op_set(s, 3, 0, -INFINITY);
        op_set(s, late, 4, NAN);
        break;
    case NAN_IN_ONE_DY:
        op_set(dy, late, 2, NAN);
        break;
    case HUGE_DY: /* 2^100: beyond fixed point at 2^40 and at 2^24, and beyond the greatest peak */
        op_set(dy, 0, 1, 0x1p100);
        op_set(dy, late, 25, -0x1p100);
        break;
    case INF_IN_X:
        op_set(x, 5, 7, INFINITY);
        break;
    default:
        break;
    }
}

static void compare_accident(gf_backend *be, gf_backend *cpu, const linear_case *c, int accident,
                             int shift)
{
    linear_host h;
    linear_device d;
    linear_host_make(&h, c, INTEGERS, shift);
    linear_fill(h.s.t, INTEGERS, 9, 3);
    happen(&h, accident);
    linear_device_make(be, &d, &h);
    for (int i = 0; i < 2; i++) { /* twice: nothing is left behind that is counted again */
        linear_host_backward(cpu, &h);
        linear_device_backward(be, &d);
    }
    linear_device_get(be, &d);
    for (int64_t t = 0; t < d.rows; t++)
        for (int64_t j = gf_group_rank(&d.g); j < d.tail; j++)
            cr_assert(op_get(d.dy.host.t, t, d.n + j) == 0, "accident %d: P's padding", accident);
    for (int i = 0; i < 2; i++) {
        cr_assert(same_fixed(d.da[i].host.t, h.da[i].t), "accident %d: da of %d", accident, i);
        cr_assert(same_fixed(d.db[i].host.t, h.db[i].t), "accident %d: db of %d", accident, i);
    }
    for (int i = 0; i < GF_SUMS; i++)
        cr_assert_eq(linear_i64(d.sums.host.t, i, 0), linear_i64(h.sums.t, i, 0),
                     "accident %d, shift %d: sum %d is %lld, want %lld", accident, shift, i,
                     (long long)linear_i64(d.sums.host.t, i, 0),
                     (long long)linear_i64(h.sums.t, i, 0));
    const bool finite = accident == ALL_FINE || accident == HUGE_DY;
    cr_assert_eq(linear_i64(h.sums.t, GF_SUM_NONFINITE, 0) == 0, finite);
    linear_device_free(be, &d);
    linear_host_free(&h);
}

Test(linear_grad, accidents_as_the_cpu_counts_them)
{
    static const linear_case c[] = {
        {{24, 40}, {3, 4}, 40, GF_F32, GF_F32, GF_F32, .len = {514, 3}, .filler = 3},
        {{24, 40}, {3, 4}, 40, GF_BF16, GF_F32, GF_F32, .len = {514, 3}, .filler = 3},
        /* S's rows are aligned: P and dB in one pass */
        {{24, 40}, {3, 4}, 40, GF_BF16, GF_F32, GF_F32, .len = {514, 3}, .filler = 3, .s_gap = 1},
    };
    gf_backend be, cpu;
    device_open(&be);
    open_cpu(&cpu);
    for (int i = 0; i < 3; i++)
        for (int a = 0; a < ACCIDENTS; a++)
            compare_accident(&be, &cpu, &c[i], a, a % 2 ? 24 : 40);
    gf_backend_close(&cpu);
    device_close(&be);
}

/* By hand: the three chunks' greatest values, rounded up, and what was held at the limit. */
Test(linear_grad, magnitudes)
{
    static const linear_case c = {
        {8}, {2}, 8, GF_F32, GF_F32, GF_F32, .len = {600, 3}, .filler = 5, .s_gap = 2};
    gf_backend be;
    linear_host h;
    linear_device d;
    device_open(&be);
    linear_host_make(&h, &c, INTEGERS, 40);
    for (int64_t t = 0; t < 603; t++)
        for (int64_t j = 0; j < 8; j++) {
            op_set(h.x.t, t, j, t == 0 && j == 1 ? 2.5 : 0);
            op_set(h.dy.t, t, j, t == 601 && j == 7 ? 1e30 : t == 0 && j == 0 ? 1 : 0);
            if (j < 2)
                op_set(h.s.t, t, j, t == 0 ? 2.5 - 5 * (double)j : 0);
        }
    op_set(h.s.t, 601, 0, INFINITY); /* chunk 3 of dB: inf * 0 is NaN, inf * 1e30 is inf */
    op_set(h.s.t, 601, 1, 1.0);      /* and 1e30, held at 2^62 */
    op_set(h.b[0].t, 0, 0, 3), op_set(h.b[0].t, 0, 1, 4);
    h.g.lin[0].scale = 1;
    linear_device_make(&be, &d, &h);
    linear_device_backward(&be, &d);
    linear_device_get(&be, &d);
    /* P(0) = (3, 4): dA's greatest is 4 * 2.5; dB's is 1 * 2.5, rounded up */
    const gf_tensor sums = d.sums.host.t;
    cr_assert_eq(linear_i64(sums, GF_SUM_MAGNITUDE, 0), 10 + 3 + (INT64_C(1) << 40));
    cr_assert_eq(linear_i64(sums, GF_SUM_NONFINITE, 0), 1);
    cr_assert_eq(linear_i64(d.da[0].host.t, 1, 1), INT64_C(10) << 40);
    cr_assert_eq(linear_i64(d.db[0].host.t, 0, 1), -(INT64_C(5) << 39));
    cr_assert_eq(linear_i64(d.db[0].host.t, 7, 1), INT64_C(1) << 62);
    cr_assert_eq(linear_i64(d.db[0].host.t, 7, 0), 0);
    linear_device_free(&be, &d);
    linear_host_free(&h);
    device_close(&be);
}

/* ---- who wants what
 * -------------------------------------------------------------------------------- */

/* Gradients of one layer only, and no dx. */
Test(linear_grad, only_what_is_wanted)
{
    static const linear_case c = {{24, 40, 16}, {3, 5, 16},     40,       GF_BF16, GF_F32,
                                  GF_F32,       .len = {30, 3}, .p = 0.5f};
    gf_backend be, cpu;
    linear_host h;
    linear_device d;
    device_open(&be);
    open_cpu(&cpu);
    linear_host_make(&h, &c, INTEGERS, 40);
    linear_fill(h.s.t, INTEGERS, 9, 3);
    linear_device_make(&be, &d, &h);
    for (int i = 0; i < 3; i += 2) {
        h.g.lin[i].da = h.g.lin[i].db = gf_none;
        d.g.lin[i].da = d.g.lin[i].db = gf_none;
    }
    linear_host_backward(&cpu, &h);
    const int64_t before = be.tally.launches;
    DEVICE_OK(&be, gf_group_linear_bwd(&be, gf_none, d.p, d.dy.device.t, d.x.device.t, d.s.device.t,
                                       &d.g, &d.row.row, d.drop, &d.fixed));
    cr_assert_eq(be.tally.launches - before, 2);
    linear_device_get(&be, &d);
    for (int i = 0; i < 3; i++) {
        cr_assert(same_fixed(d.da[i].host.t, h.da[i].t), "da of %d", i);
        cr_assert(same_fixed(d.db[i].host.t, h.db[i].t), "db of %d", i);
    }
    cr_assert(same_fixed(d.sums.host.t, h.sums.t));
    linear_device_free(&be, &d);
    linear_host_free(&h);
    gf_backend_close(&cpu);
    device_close(&be);
}

/* dA after all else, as where x is made again late: the same gradients, and the same counts. */
Test(linear_grad, da_apart)
{
    static const linear_case c[] = {
        {{24, 40}, {3, 16}, 40, GF_BF16, GF_F32, GF_F32, .len = {514, 3}, .filler = 3},
        {{24, 40}, {3, 16}, 40, GF_F32, GF_F32, GF_F32, .len = {30, 3}, .p = 0.5f},
    };
    gf_backend be, cpu;
    device_open(&be);
    open_cpu(&cpu);
    for (int n = 0; n < 2; n++) {
        linear_host h;
        linear_device d;
        linear_host_make(&h, &c[n], INTEGERS, 40);
        linear_fill(h.s.t, INTEGERS, 9, 3);
        linear_device_make(&be, &d, &h);
        for (int i = 0; i < 2; i++) {
            linear_host_backward(&cpu, &h);
            DEVICE_OK(&be, gf_group_linear_bwd(&be, d.dx.device.t, d.p, d.dy.device.t, gf_none,
                                               d.s.device.t, &d.g, &d.row.row, d.drop, &d.fixed));
            DEVICE_OK(&be, gf_group_linear_da(&be, d.p, d.x.device.t, &d.g, &d.row.row, d.drop,
                                              &d.fixed));
        }
        linear_device_get(&be, &d);
        for (int i = 0; i < 2; i++) {
            cr_assert(same_fixed(d.da[i].host.t, h.da[i].t), "case %d: da of %d", n, i);
            cr_assert(same_fixed(d.db[i].host.t, h.db[i].t), "case %d: db of %d", n, i);
        }
        cr_assert(same_fixed(d.sums.host.t, h.sums.t), "case %d: sums", n);
        linear_device_free(&be, &d);
        linear_host_free(&h);
    }
    gf_backend_close(&cpu);
    device_close(&be);
}

/* ---- the same bits (law 3) ---------------------------------------------------------------------
 */

static gf_tensor some(const linear_image *i, gf_span span)
{
    return gf_is(i->device.t) ? gf_rows(i->device.t, span.start, span.len) : gf_none;
}

/* One example alone: a row of its own, without filler; gradients go on from what is there. */
static void run_alone(gf_backend *be, linear_device *d, gf_span in_row)
{
    const gf_span span = {0, in_row.len, 0, in_row.len, in_row.example};
    device_row row = device_bind(be, (gf_spans){.tokens = span.len, .count = 1, .span = &span},
                                 span.len, d->drop.epoch);
    const gf_tensor x = some(&d->x, in_row), s = some(&d->s, in_row), dy = some(&d->dy, in_row);
    DEVICE_OK(be, gf_group_linear_fwd(be, some(&d->y, in_row), s, x,
                                      d->c->residual ? some(&d->residual, in_row) : gf_none, &d->g,
                                      &row.row, d->drop));
    DEVICE_OK(be,
              gf_group_linear_bwd(be, some(&d->dx, in_row), gf_rows(d->p, in_row.start, in_row.len),
                                  dy, x, s, &d->g, &row.row, d->drop, &d->fixed));
    DEVICE_OK(be, gf_wait(be));
    device_unbind(be, &row);
}

static void compare_places(gf_backend *be, int n, const linear_case *c)
{
    linear_host h;
    linear_device all, alone;
    linear_host_make(&h, c, REALS, 40);
    linear_device_make(be, &all, &h);
    linear_device_make(be, &alone, &h);
    linear_device_forward(be, &all);
    linear_device_backward(be, &all);
    for (int e = h.row.count - 1; e >= 0; e--)
        run_alone(be, &alone, h.row.span[e]);
    linear_device_get(be, &all);
    linear_device_get(be, &alone);
    for (int64_t t = 0; t < h.row.tokens; t++) {
        cr_assert(op_same_row(all.y.host.t, t, alone.y.host.t, t), "case %d: y of %d", n, (int)t);
        cr_assert(op_same_row(all.s.host.t, t, alone.s.host.t, t), "case %d: s of %d", n, (int)t);
        cr_assert(op_same_row(all.dx.host.t, t, alone.dx.host.t, t), "case %d: dx of %d", n,
                  (int)t);
        cr_assert(op_same_row(all.dy.host.t, t, alone.dy.host.t, t), "case %d: p of %d", n, (int)t);
    }
    for (int i = 0; i < all.g.count; i++)
        if (c->r[i]) {
            cr_assert(same_fixed(all.da[i].host.t, alone.da[i].host.t), "case %d: da", n);
            cr_assert(same_fixed(all.db[i].host.t, alone.db[i].host.t), "case %d: db", n);
        }
    cr_assert(same_fixed(all.sums.host.t, alone.sums.host.t), "case %d: sums", n);
    linear_device_free(be, &all);
    linear_device_free(be, &alone);
    linear_host_free(&h);
}

Test(linear_grad, places_do_not_show)
{
    static const linear_case c[] = {
        {{48, 16}, {16, 5}, 72, GF_BF16, GF_BF16, GF_F32, .len = {37, 513, 2}, .filler = 24},
        {{48, 16}, {16, 5}, 72, GF_BF16, GF_BF16, GF_BF16, .p = 0.1f, .len = {37, 1, 70}},
        {{40}, {64}, 72, GF_F32, GF_F32, GF_F32, .residual = true, .len = {7, 70}, .filler = 3},
        {{40}, {3}, 72, GF_F32, GF_F32, GF_F32, .p = 0.3f, .len = {7, 35, 1}, .filler = 3},
        {{776, 264}, {16, 16}, 320, GF_BF16, GF_BF16, GF_BF16, .len = {37, 513, 2}, .filler = 24},
    };
    gf_backend be;
    device_open(&be);
    for (int i = 0; i < 5; i++)
        compare_places(&be, i, &c[i]);
    device_close(&be);
}

/* dB is the same to the bit in a pass with P and in one of its own, which it has without dx. */
Test(linear_grad, one_pass_or_two)
{
    static const linear_case c = {{1032, 72}, {24, 8},          264,        GF_BF16, GF_BF16,
                                  GF_F32,     .len = {513, 65}, .filler = 6};
    gf_backend be;
    linear_host h;
    linear_device one, two;
    device_open(&be);
    linear_host_make(&h, &c, REALS, 40);
    linear_fill(h.s.t, REALS, 9, 3);
    linear_device_make(&be, &one, &h);
    linear_device_make(&be, &two, &h);
    linear_device_backward(&be, &one);
    DEVICE_OK(&be, gf_group_linear_bwd(&be, gf_none, two.p, two.dy.device.t, gf_none,
                                       two.s.device.t, &two.g, &two.row.row, two.drop, &two.fixed));
    linear_device_get(&be, &one);
    linear_device_get(&be, &two);
    for (int i = 0; i < 2; i++)
        cr_assert(same_fixed(one.db[i].host.t, two.db[i].host.t), "db of %d", i);
    linear_device_free(&be, &one);
    linear_device_free(&be, &two);
    linear_host_free(&h);
    device_close(&be);
}

/* ---- replays ----------------------------------------------------------------------------------
 */

static void rebind(gf_backend *be, linear_device *d, const gf_span span[2])
{
    d->row.row.span = span;
    d->row.row.count = 2;
    d->row.row.tokens = span[0].len + span[1].len;
    DEVICE_OK(be, gf_row_bind(be, &d->row.row, d->rows, 9));
}

/* A captured pass is replayed for another row of the same shape: what the kernels do differently
 * they read from the row's lists. */
Test(linear_grad, a_replay_sees_the_new_row)
{
    static const linear_case c = {{48, 16},  {16, 5},         72,         GF_BF16, GF_BF16, GF_F32,
                                  .p = 0.5f, .len = {33, 30}, .filler = 1};
    static const gf_span other[2] = {{0, 40, 0, 40, 7}, {40, 20, 40, 20, 8}};
    enum { KEY = 5 };
    gf_backend be;
    linear_host h;
    linear_device direct, replayed;
    bool done = true;
    device_open(&be);
    linear_host_make(&h, &c, REALS, 40);
    linear_device_make(&be, &direct, &h);
    linear_device_make(&be, &replayed, &h);
    rebind(&be, &direct, other);
    linear_device_forward(&be, &direct);
    linear_device_backward(&be, &direct);
    DEVICE_OK(&be, gf_capture(&be, KEY));
    linear_device_forward(&be, &replayed);
    linear_device_backward(&be, &replayed);
    DEVICE_OK(&be, gf_capture_end(&be, false));
    for (int i = 0; i < 2; i++) {
        linear_put_zeros(&be, &replayed.da[i]);
        linear_put_zeros(&be, &replayed.db[i]);
    }
    linear_put_zeros(&be, &replayed.sums);
    rebind(&be, &replayed, other);
    DEVICE_OK(&be, gf_replay(&be, KEY, &done));
    cr_assert(done);
    linear_device_get(&be, &direct);
    linear_device_get(&be, &replayed);
    cr_assert(op_same(replayed.y.host.t, direct.y.host.t));
    cr_assert(op_same(replayed.dx.host.t, direct.dx.host.t));
    for (int i = 0; i < 2; i++) {
        cr_assert(same_fixed(replayed.da[i].host.t, direct.da[i].host.t));
        cr_assert(same_fixed(replayed.db[i].host.t, direct.db[i].host.t));
    }
    cr_assert(same_fixed(replayed.sums.host.t, direct.sums.host.t));
    linear_device_free(&be, &direct);
    linear_device_free(&be, &replayed);
    linear_host_free(&h);
    device_close(&be);
}
