/* test_embed.c - the embedding against its CPU twin: one multiplication an element, so the same
 * bits; filler, rows that are not aligned, rows wider than a block. */
#include "support/twin_case.h"

typedef struct {
    gf_dtype table;
    int64_t n, v, width, gap;
    float scale;
} embed_case;

static const embed_case cases[] = {
    {GF_F32, 5, 9, 64, 0, 1.0f},    {GF_BF16, 5, 9, 64, 8, 8.0f},  {GF_F32, 3, 4, 33, 0, 3.3f},
    {GF_BF16, 4, 3, 1, 1, 0.7f},    {GF_F32, 2, 2, 4100, 4, 0.1f}, {GF_BF16, 2, 5, 4100, 0, 1.0f},
    {GF_BF16, 3, 4, 130, 3, 11.3f}, {GF_BF16, 9, 4, 66, 2, 2.1f},
};
#define CASES ((int)(sizeof cases / sizeof *cases))

/* Ids of a row: the table's rows in turn, every third one a filler. */
static twin *make_ids(twin_pair *p, int64_t n, int64_t v)
{
    twin *ids = twin_make(p, GF_I32, "ids", n, 0, 0, 0);
    for (int64_t i = 0; i < n; i++)
        op_set(ids->cpu.t, i, 0, i % 3 == 1 ? -1.0 : (double)((i * 5 + 1) % v));
    return ids;
}

Test(cuda_embed, twin)
{
    twin_pair p;
    twin_open(&p);
    for (int i = 0; i < CASES; i++) {
        const embed_case c = cases[i];
        twin *ids = make_ids(&p, c.n, c.v);
        twin *table = twin_make(&p, c.table, "table", c.v, c.width, 0, c.gap);
        twin *y = twin_make(&p, GF_F32, "y", c.n, c.width, 0, c.gap);
        op_fill(table->cpu.t, (uint64_t)i, 2.0);
        op_set(table->cpu.t, 1, c.width - 1, NAN);
        op_set(table->cpu.t, 0, 0, INFINITY);
        TWIN_RUN(p, gf_embed_fwd(BE, T(y), T(ids), T(table), c.scale));
        twin_equal("embed", y);
        twin_clear(&p);
    }
    twin_close(&p);
}

/* Columns of wider tensors, from one on that is not aligned: the others stay. */
Test(cuda_embed, columns)
{
    twin_pair p;
    twin_open(&p);
    twin *ids = make_ids(&p, 6, 5), *table = twin_make(&p, GF_BF16, "table", 5, 48, 0, 0);
    twin *y = twin_make(&p, GF_F32, "y", 6, 64, 0, 0);
    op_fill(table->cpu.t, 3, 1.0);
    op_fill(y->cpu.t, 4, 1.0);
    TWIN_RUN(p, gf_embed_fwd(BE, gf_cols(T(y), 7, 40), T(ids), gf_cols(T(table), 5, 40), 3.0f));
    twin_equal("embed", y);
    twin_close(&p);
}

/* No rows: nothing is launched. A type that no device holds is refused. */
Test(cuda_embed, edges)
{
    twin_pair p;
    twin_open(&p);
    twin *ids = make_ids(&p, 2, 2), *table = twin_make(&p, GF_BF16, "table", 2, 32, 0, 0);
    twin *y = twin_make(&p, GF_F32, "y", 2, 32, 0, 0);
    const gf_tensor to = y->on.t, on = ids->on.t;
    const int64_t before = p.be.tally.launches;
    DEVICE_OK(&p.be, gf_embed_fwd(&p.be, gf_rows(to, 0, 0), gf_rows(on, 0, 0), table->on.t, 1.0f));
    cr_assert_eq(p.be.tally.launches, before);
    gf_tensor other = table->on.t;
    other.dtype = GF_Q8_0;
    OP_REFUSED(p.be, gf_embed_fwd(&p.be, to, on, other, 1.0f),
               "embed_fwd: table is q8_0, on a device want f32 or bf16");
    memset(&p.be.err, 0, sizeof p.be.err);
    twin_close(&p);
}
