/* test_rope.c - rotary embedding against its CPU twin: the same products and sums, each rounded, so
 * the same bits; forth and back, part of a head, columns that no alignment fits. */
#include "support/twin_case.h"

typedef struct {
    gf_dtype type;
    int64_t n, heads, width, pairs, gap, table_gap;
} rope_case;

static const rope_case cases[] = {
    {GF_F32, 3, 4, 64, 32, 0, 0}, {GF_BF16, 3, 9, 128, 64, 8, 0},   {GF_BF16, 2, 3, 64, 16, 0, 4},
    {GF_F32, 2, 5, 80, 40, 4, 0}, {GF_F32, 3, 2, 10, 5, 0, 0},      {GF_BF16, 2, 3, 17, 7, 1, 1},
    {GF_BF16, 1, 1, 2, 1, 0, 0},  {GF_F32, 2, 2, 2064, 1032, 0, 0}, {GF_BF16, 2, 40, 16, 8, 0, 0},
    {GF_F32, 2, 3, 24, 0, 0, 0},  {GF_BF16, 2, 2, 66, 32, 2, 0},
};
#define CASES ((int)(sizeof cases / sizeof *cases))

static void fill_angles(const twin *c, const twin *s)
{
    for (int64_t i = 0; i < c->cpu.t.dim[0]; i++)
        for (int64_t j = 0; j < c->cpu.t.dim[1]; j++) {
            const double angle = (double)i * 3.7 / (1.0 + (double)j);
            op_set(c->cpu.t, i, j, cos(angle));
            op_set(s->cpu.t, i, j, sin(angle));
        }
}

Test(cuda_rope, twin)
{
    twin_pair p;
    twin_open(&p);
    for (int i = 0; i < CASES; i++) {
        const rope_case k = cases[i];
        twin *x = twin_make(&p, k.type, "x", k.n, k.heads, k.width, k.gap);
        twin *c = twin_make(&p, GF_F32, "cos", k.n, k.pairs, 0, k.table_gap);
        twin *s = twin_make(&p, GF_F32, "sin", k.n, k.pairs, 0, k.table_gap);
        /* an op wants rank 2 also where nothing turns */
        c->cpu.t.rank = s->cpu.t.rank = c->on.t.rank = s->on.t.rank = 2;
        c->cpu.t.dim[1] = s->cpu.t.dim[1] = c->on.t.dim[1] = s->on.t.dim[1] = k.pairs;
        op_fill(x->cpu.t, (uint64_t)i, 2.0);
        fill_angles(c, s);
        if (k.pairs > 0) {
            op_set(x->cpu.t, 0, 0, NAN);
            op_set(x->cpu.t, k.n - 1, gf_width(x->cpu.t) - 1, INFINITY);
        }
        for (int direction = 1; direction >= -1; direction -= 2) {
            TWIN_RUN(p, gf_rope(BE, T(x), T(c), T(s), direction));
            twin_equal("rope", x);
        }
        twin_clear(&p);
    }
    twin_close(&p);
}

/* A filler token, whose cos and sin are 0, becomes 0; heads in the middle of a wider row, from a
 * column on that is not aligned; a token alone has the bits that it had among others. */
Test(cuda_rope, rows)
{
    twin_pair p;
    twin_open(&p);
    twin *x = twin_make(&p, GF_BF16, "x", 4, 200, 0, 0);
    twin *c = twin_make(&p, GF_F32, "cos", 4, 16, 0, 0),
         *s = twin_make(&p, GF_F32, "sin", 4, 16, 0, 0);
    op_fill(x->cpu.t, 1, 1.0);
    fill_angles(c, s);
    for (int64_t j = 0; j < 16; j++) {
        op_set(c->cpu.t, 3, j, 0.0);
        op_set(s->cpu.t, 3, j, 0.0);
    }
    op_tensor first = op_copy(x->cpu.t, 0);
    TWIN_RUN(p, gf_rope(BE, gf_heads(gf_cols(T(x), 3, 160), 5), T(c), T(s), 1));
    cr_assert(op_same(x->got.t, x->cpu.t));
    cr_assert_eq(op_get(x->got.t, 3, 3), 0.0);
    gf_backend *be = &p.be;
    twin *one = twin_make(&p, GF_BF16, "one", 1, 5, 32, 0);
    DEVICE_OK(be, gf_upload(be, one->on.t, (uint16_t *)op_row(first.t, 2) + 3));
    DEVICE_OK(be, gf_rope(be, one->on.t, gf_rows(c->on.t, 2, 1), gf_rows(s->on.t, 2, 1), 1));
    twin_get(&p);
    cr_assert_eq(memcmp(one->got.t.data, (uint16_t *)op_row(x->got.t, 2) + 3, 320), 0);
    const int64_t before = be->tally.launches;
    DEVICE_OK(be, gf_rope(be, gf_rows(one->on.t, 0, 0), gf_rows(c->on.t, 0, 0),
                          gf_rows(s->on.t, 0, 0), 1));
    cr_assert_eq(be->tally.launches, before);
    op_free(&first);
    twin_close(&p);
}
