/* test_rows.c - gathering, scattering and clearing rows against the CPU twins: what is moved is
 * moved bit by bit, what is converted is rounded once, so all is equal. */
#include "support/twin_case.h"

typedef struct {
    gf_dtype y, x;
    int64_t m, n, width, y_gap, x_gap;
} rows_case;

static const rows_case cases[] = {
    {GF_F32, GF_F32, 6, 9, 64, 0, 4},     {GF_BF16, GF_BF16, 6, 9, 64, 8, 0},
    {GF_F32, GF_BF16, 5, 7, 72, 0, 0},    {GF_BF16, GF_F32, 5, 7, 72, 0, 0},
    {GF_F32, GF_F32, 4, 4, 33, 0, 1},     {GF_BF16, GF_BF16, 4, 4, 17, 3, 2},
    {GF_F32, GF_BF16, 3, 3, 1, 0, 0},     {GF_BF16, GF_F32, 3, 5, 35, 1, 0},
    {GF_F32, GF_F32, 2, 2, 4103, 1, 1},   {GF_BF16, GF_BF16, 2, 2, 8200, 0, 0},
    {GF_BF16, GF_F32, 2, 2, 4100, 4, 0},  {GF_F32, GF_BF16, 2, 2, 4102, 2, 2},
    {GF_BF16, GF_F32, 3, 5, 36, 0, 0},    {GF_F32, GF_BF16, 1, 1, 132, 0, 0},
    {GF_BF16, GF_BF16, 3, 5, 130, 6, 14},
};
#define CASES ((int)(sizeof cases / sizeof *cases))

/* Rising indices below n, with -1 in between and, from `real` on, at the end. */
static twin *make_index(twin_pair *p, int64_t m, int64_t n, bool rising)
{
    twin *index = twin_make(p, GF_I32, "index", m, 0, 0, 0);
    for (int64_t i = 0; i < m; i++) {
        const int64_t at = rising ? i * n / m : (i * 7 + 3) % n;
        op_set(index->cpu.t, i, 0, i % 4 == 1 ? -1.0 : (double)at);
    }
    return index;
}

static void fill(const twin *t, uint64_t seed)
{
    const int64_t last = gf_width(t->cpu.t) - 1;
    op_fill(t->cpu.t, seed, 3.0);
    op_set(t->cpu.t, 0, last, NAN);
    op_set(t->cpu.t, 0, 0, -INFINITY);
    op_set(t->cpu.t, 0, last / 2, -0.0);
}

Test(cuda_rows, gather)
{
    twin_pair p;
    twin_open(&p);
    for (int i = 0; i < CASES; i++) {
        const rows_case c = cases[i];
        twin *y = twin_make(&p, c.y, "y", c.m, c.width, 0, c.y_gap);
        twin *x = twin_make(&p, c.x, "x", c.n, c.width, 0, c.x_gap);
        twin *index = make_index(&p, c.m, c.n, false);
        fill(x, (uint64_t)i);
        TWIN_RUN(p, gf_gather_rows(BE, T(y), T(x), T(index)));
        twin_equal("gather", y);
        if (c.x == c.y)
            cr_assert(op_same(y->got.t, y->cpu.t), "case %d: bits", i);
        twin_clear(&p);
    }
    twin_close(&p);
}

Test(cuda_rows, scatter)
{
    twin_pair p;
    twin_open(&p);
    for (int i = 0; i < CASES; i++) {
        const rows_case c = cases[i];
        const int64_t n = c.m + c.n; /* rows that nothing is scattered to */
        twin *y = twin_make(&p, GF_F32, "y", n, c.width, 0, c.y_gap);
        twin *x = twin_make(&p, c.x, "x", c.m, c.width, 0, c.x_gap);
        twin *index = make_index(&p, c.m, n, true);
        fill(x, (uint64_t)i);
        TWIN_RUN(p, gf_scatter_rows(BE, T(y), T(x), T(index)));
        twin_equal("scatter", y);
        twin_clear(&p);
    }
    twin_close(&p);
}

Test(cuda_rows, add)
{
    twin_pair p;
    twin_open(&p);
    for (int i = 0; i < CASES; i++) {
        const rows_case c = cases[i];
        twin *y = twin_make(&p, GF_F32, "y", c.n, c.width, 0, c.y_gap);
        twin *x = twin_make(&p, c.x, "x", c.n, c.width, 0, c.x_gap);
        fill(y, (uint64_t)i + 50); /* other values than x */
        fill(x, (uint64_t)i);
        TWIN_RUN(p, gf_add_rows(BE, T(y), T(x)));
        twin_equal("add", y);
        twin_clear(&p);
    }
    twin_close(&p);
}

/* Rows with and without gaps, of every alignment; columns of a wider tensor. */
Test(cuda_rows, zero)
{
    static const struct {
        gf_dtype type;
        int64_t n, width, gap;
    } z[] = {{GF_F32, 3, 64, 0},  {GF_F32, 3, 64, 4}, {GF_BF16, 4, 7, 1}, {GF_F32, 2, 4099, 5},
             {GF_BF16, 5, 40, 8}, {GF_I64, 4, 3, 1},  {GF_BF16, 1, 1, 3}, {GF_I64, 40, 0, 0}};
    twin_pair p;
    twin_open(&p);
    for (size_t i = 0; i < sizeof z / sizeof *z; i++) {
        twin *x = twin_make(&p, z[i].type, "x", z[i].n, z[i].width, 0, z[i].gap);
        TWIN_RUN(p, gf_zero(BE, T(x)));
        cr_assert(op_same(x->got.t, x->cpu.t), "case %zu", i);
        twin_clear(&p);
    }
    twin *x = twin_make(&p, GF_BF16, "x", 3, 50, 0, 0);
    op_fill(x->cpu.t, 1, 1.0);
    TWIN_RUN(p, gf_zero(BE, gf_cols(T(x), 3, 21)));
    cr_assert(op_same(x->got.t, x->cpu.t));
    const int64_t before = p.be.tally.launches;
    DEVICE_OK(&p.be, gf_zero(&p.be, gf_rows(x->on.t, 0, 0)));
    cr_assert_eq(p.be.tally.launches, before);
    twin_close(&p);
}
