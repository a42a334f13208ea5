/* test_embed_lora.c - LoRA on the embedding and the embedding's own gradient against double, on
 * every instruction set: the same bits for any threads, nothing of filler, NaN counted. */
#include "support/op_case.h"

enum { TOKENS = 521, WIDTH = 67, VOCAB = 19, RANK = 5 }; /* more than a chunk; odd widths */
#define SCALE 0.75f

typedef struct {
    gf_linear lin;
    gf_span span[2];
    gf_spans row;
    gf_fixed fixed;
    int64_t sums[GF_SUMS];
    int32_t id[TOKENS];
    gf_tensor ids;
    op_tensor a, b, da, db, dtable, x, start, s, p, dx;
} rig;

static void clear(op_tensor *x)
{
    for (int64_t i = 0; i < x->t.dim[0]; i++)
        memset(op_row(x->t, i), 0, (size_t)gf_row_bytes(x->t.dtype, gf_width(x->t)));
}

/* One token is filler. An id stands where it does whatever the order of the others is. */
static void make_rig(rig *g)
{
    *g = (rig){.span = {{0, 520, 0, 520, 1}, {520, 1, 0, 1, 2}}};
    g->row = (gf_spans){.tokens = TOKENS, .count = 2, .span = g->span};
    g->fixed = (gf_fixed){.shift = 40, .sums = gf_view(g->sums, GF_I64, "sums", GF_SUMS, 0, 0)};
    for (int32_t t = 0; t < TOKENS; t++)
        g->id[t] = t == 7 ? -1 : t * 5 % VOCAB;
    g->ids = gf_view(g->id, GF_I32, "ids", TOKENS, 0, 0);
    g->a = op_make(GF_F32, "a", RANK, VOCAB, 0, 0);
    g->b = op_make(GF_F32, "b", WIDTH, RANK, 0, 0);
    g->da = op_make(GF_I64, "da", RANK, VOCAB, 0, 0);
    g->db = op_make(GF_I64, "db", WIDTH, RANK, 0, 0);
    g->dtable = op_make(GF_I64, "dtable", VOCAB, WIDTH, 0, 0);
    g->x = op_make(GF_F32, "x", TOKENS, WIDTH, 0, 3);
    g->start = op_make(GF_F32, "start", TOKENS, WIDTH, 0, 0);
    g->s = op_make(GF_F32, "s", TOKENS, RANK, 0, 1);
    g->p = op_make(GF_F32, "p", TOKENS, RANK, 0, 2);
    g->dx = op_make(GF_F32, "dx", TOKENS, WIDTH, 0, 5);
    op_fill(g->a.t, 1, 1.0);
    op_fill(g->b.t, 2, 1.0);
    op_fill(g->x.t, 3, 1.0);
    op_fill(g->start.t, 3, 1.0);
    op_fill(g->dx.t, 4, 1.0);
    clear(&g->da), clear(&g->db), clear(&g->dtable);
    g->lin = (gf_linear){.a = g->a.t, .b = g->b.t, .scale = SCALE, .da = g->da.t, .db = g->db.t};
}

static void free_rig(rig *g)
{
    op_tensor *const all[] = {&g->a, &g->b,     &g->da, &g->db, &g->dtable,
                              &g->x, &g->start, &g->s,  &g->p,  &g->dx};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        cr_assert(op_guard_whole(all[i]), "%s: written beside it", all[i]->t.name);
        op_free(all[i]);
    }
}

static void run_all(gf_backend *be, rig *g)
{
    OP_OK(*be, gf_embed_lora_fwd(be, g->x.t, g->s.t, g->ids, &g->lin));
    OP_OK(*be, gf_embed_lora_bwd(be, g->p.t, g->dx.t, g->s.t, g->ids, &g->lin, &g->row, &g->fixed));
    OP_OK(*be, gf_embed_bwd(be, g->dtable.t, g->dx.t, g->ids, SCALE, &g->fixed));
}

/* Two chunks, and each token's share, are rounded to 2^-40; sums of f32 before. */
static void near_fixed(const op_tensor *got, int64_t row, int64_t i, double want, double size,
                       double roundings, double shares)
{
    const double is = ldexp((double)((const int64_t *)op_row(got->t, row))[i], -40);
    cr_assert_leq(fabs(is - want), roundings * U32 * size + shares * 0x1p-41,
                  "%s[%lld,%lld]: %.9g, want %.9g", got->t.name, (long long)row, (long long)i, is,
                  want);
}

static void check_forward(const rig *g)
{
    for (int64_t t = 0; t < TOKENS; t++) {
        const int32_t id = g->id[t];
        for (int64_t q = 0; q < RANK; q++)
            op_near("s", g->s.t, t, q, id < 0 ? 0 : (double)SCALE * op_get(g->a.t, q, id), 1, 1);
        for (int64_t c = 0; c < WIDTH; c++) {
            double want = op_get(g->start.t, t, c), size = fabs(want);
            for (int64_t q = 0; q < RANK && id >= 0; q++) {
                const double term = (double)SCALE * op_get(g->a.t, q, id) * op_get(g->b.t, c, q);
                want += term;
                size += fabs(term);
            }
            op_near("x", g->x.t, t, c, want, size, RANK + 3);
        }
    }
}

static void check_gradients(const rig *g)
{
    double da[RANK][VOCAB] = {{0}}, db[WIDTH][RANK] = {{0}}, table[VOCAB][WIDTH] = {{0}};
    const double share = TOKENS / VOCAB + 1; /* tokens of an id */
    for (int64_t t = 0; t < TOKENS; t++) {
        const int32_t id = g->id[t];
        for (int64_t c = 0; c < WIDTH && id >= 0; c++) {
            const double dx = op_get(g->dx.t, t, c);
            table[id][c] += (double)SCALE * dx;
            for (int64_t q = 0; q < RANK; q++) {
                da[q][id] += (double)SCALE * dx * op_get(g->b.t, c, q);
                db[c][q] += (double)SCALE * dx * op_get(g->a.t, q, id);
            }
        }
    }
    for (int64_t q = 0; q < RANK; q++)
        for (int64_t id = 0; id < VOCAB; id++)
            near_fixed(&g->da, q, id, da[q][id], share * WIDTH, WIDTH, share);
    for (int64_t c = 0; c < WIDTH; c++)
        for (int64_t q = 0; q < RANK; q++)
            near_fixed(&g->db, c, q, db[c][q], TOKENS, GF_CHUNK, 3);
    for (int64_t id = 0; id < VOCAB; id++)
        for (int64_t c = 0; c < WIDTH; c++)
            near_fixed(&g->dtable, id, c, table[id][c], share, 1, share);
    cr_assert_eq(g->sums[GF_SUM_NONFINITE], 0);
    cr_assert_geq(g->sums[GF_SUM_MAGNITUDE], 2 * (TOKENS - 1)); /* 1 or more for each that is */
}

Test(embed_lora, formula)
{
    gf_backend be;
    EACH_ISA(be, 3)
    {
        rig g;
        make_rig(&g);
        run_all(&be, &g);
        check_forward(&g);
        check_gradients(&g);
        free_rig(&g);
    }
}

/* On one instruction set, however many threads. */
Test(embed_lora, threads)
{
    gf_backend be;
    rig one, many;
    make_rig(&one);
    cr_assert_eq(gf_backend_open_cpu(&be, 1, "auto", NULL), GF_OK);
    run_all(&be, &one);
    gf_backend_close(&be);
    make_rig(&many);
    cr_assert_eq(gf_backend_open_cpu(&be, 5, "auto", NULL), GF_OK);
    run_all(&be, &many);
    gf_backend_close(&be);
    const op_tensor *const a[] = {&one.x, &one.s, &one.p, &one.da, &one.db, &one.dtable};
    const op_tensor *const b[] = {&many.x, &many.s, &many.p, &many.da, &many.db, &many.dtable};
    for (size_t i = 0; i < sizeof a / sizeof *a; i++)
        cr_assert_eq(memcmp(a[i]->memory, b[i]->memory, a[i]->bytes), 0, "%s", a[i]->t.name);
    cr_assert_eq(memcmp(one.sums, many.sums, sizeof one.sums), 0);
    free_rig(&one);
    free_rig(&many);
}

/* A NaN counts once for each sum that it is in, and reaches no gradient. In filler it is nobody's.
 */
Test(embed_lora, not_finite)
{
    gf_backend be;
    EACH_ISA(be, 2)
    {
        rig g;
        make_rig(&g);
        run_all(&be, &g);
        int64_t want[VOCAB][WIDTH];
        memcpy(want, g.dtable.t.data, sizeof want);
        free_rig(&g);
        make_rig(&g);
        ((float *)op_row(g.dx.t, 7))[3] = NAN; /* filler */
        OP_OK(be, gf_embed_bwd(&be, g.dtable.t, g.dx.t, g.ids, SCALE, &g.fixed));
        cr_assert_eq(g.sums[GF_SUM_NONFINITE], 0);
        cr_assert_eq(memcmp(want, g.dtable.t.data, sizeof want), 0);
        ((float *)op_row(g.dx.t, 520))[3] = NAN;
        ((float *)op_row(g.dx.t, 9))[0] = INFINITY;
        clear(&g.dtable);
        OP_OK(be, gf_embed_bwd(&be, g.dtable.t, g.dx.t, g.ids, SCALE, &g.fixed));
        cr_assert_eq(g.sums[GF_SUM_NONFINITE], 2);
        OP_OK(be, gf_embed_lora_fwd(&be, g.x.t, g.s.t, g.ids, &g.lin));
        OP_OK(be, gf_embed_lora_bwd(&be, g.p.t, g.dx.t, g.s.t, g.ids, &g.lin, &g.row, &g.fixed));
        cr_assert_geq(g.sums[GF_SUM_NONFINITE], 2 + 2 + 2); /* dA: a token each; dB: chunks */
        free_rig(&g);
    }
}
