/* test_attention.c - the forward pass against double; the bits of a query, wherever it stands. */
#include "support/attention_oracle.h"

typedef struct {
    gf_dtype type;
    int64_t heads, groups, width, window;
    float cap;
    int count;
    int64_t len[4];
} attention_case;

static const attention_case cases[] = {
    {GF_F32, 9, 3, 64, 0, 0.0f, 3, {70, 1, 130}}, {GF_BF16, 4, 2, 32, 0, 0.0f, 2, {65, 17}},
    {GF_F32, 2, 1, 16, 5, 0.0f, 2, {33, 64}},     {GF_F32, 3, 3, 80, 70, 4.0f, 1, {200}},
    {GF_BF16, 4, 1, 128, 0, 2.0f, 1, {72}},       {GF_F32, 2, 2, 256, 64, 0.0f, 1, {129}},
    {GF_F32, 6, 2, 40, 1, 0.0f, 4, {3, 2, 1, 9}}, {GF_F32, 2, 1, 96, 128, 0.0f, 1, {260}},
    {GF_F32, 1, 1, 8, 0, 0.0f, 1, {31}},          {GF_BF16, 12, 1, 24, 0, 0.0f, 1, {100}},
};
#define CASES ((int)(sizeof cases / sizeof *cases))

typedef struct {
    op_tensor q, k, v, o, lse;
    gf_span span[4];
    gf_spans row;
} attention_set;

static void make(const attention_case *c, attention_set *s)
{
    int64_t n = 0;
    for (int i = 0; i < c->count; i++) {
        s->span[i] = (gf_span){n, c->len[i], n, c->len[i], (uint64_t)i};
        n += c->len[i];
    }
    s->row = (gf_spans){.tokens = n, .count = c->count, .span = s->span};
    s->q = op_make(c->type, "q", n, c->heads, c->width, 3);
    s->k = op_make(c->type, "k", n, c->groups, c->width, 1);
    s->v = op_make(c->type, "v", n, c->groups, c->width, 2);
    s->o = op_make(c->type, "o", n, c->heads, c->width, 5);
    s->lse = op_make(GF_F32, "lse", n, c->heads, 0, 1);
    op_fill(s->q.t, 1, 3.0);
    op_fill(s->k.t, 2, 1.0);
    op_fill(s->v.t, 3, 1.0);
}

static void release(attention_set *s)
{
    op_tensor *all[] = {&s->q, &s->k, &s->v, &s->o, &s->lse};
    for (int i = 0; i < 5; i++) {
        cr_assert(op_guard_whole(all[i]), "%s: written beyond its elements", all[i]->t.name);
        op_free(all[i]);
    }
}

static float scale_of(const attention_case *c)
{
    return 1.0f / sqrtf((float)c->width);
}

static void check(const gf_backend *be, const attention_case *c, const attention_set *s)
{
    static oracle_query w;
    const oracle a = {s->q.t, s->k.t, s->v.t, scale_of(c), c->cap, c->window};
    for (int e = 0; e < c->count; e++)
        for (int64_t i = 0; i < c->len[e]; i++)
            for (int64_t h = 0; h < c->heads; h++) {
                const gf_span span = s->span[e];
                oracle_scores(&a, span, i, h, &w);
                const double roundings = oracle_roundings(&a, &w);
                op_near("lse", s->lse.t, span.start + i, h, w.top + log(w.sum), 1.0, roundings);
                for (int64_t d = 0; d < c->width; d += 5) {
                    double size;
                    const double o = oracle_out(&a, span, i, h, d, &w, &size);
                    op_near("o", s->o.t, span.start + i, h * c->width + d, o, size,
                            roundings + oracle_words(be, c->type));
                }
            }
}

Test(attention, formula)
{
    gf_backend be;
    EACH_ISA(be, 2)
    {
        for (int i = 0; i < CASES; i++) {
            attention_set s;
            make(&cases[i], &s);
            OP_OK(be, gf_attention_fwd(&be, s.o.t, s.lse.t, s.q.t, s.k.t, s.v.t, &s.row,
                                       scale_of(&cases[i]), cases[i].window, cases[i].cap));
            check(&be, &cases[i], &s);
            release(&s);
        }
    }
}

/* One query at a time against a cache, and a few at a time, each example alone, on another number
 * of threads: the bits of the whole row. */
Test(attention, a_querys_bits)
{
    gf_backend be;
    EACH_ISA(be, 3)
    {
        gf_backend one;
        gf_err err = {0};
        cr_assert_eq(gf_backend_open_cpu(&one, 1, be.ops->name, &err), GF_OK);
        for (int k = 0; k < CASES; k++) {
            const attention_case *c = &cases[k];
            attention_set s;
            make(c, &s);
            OP_OK(be, gf_attention_fwd(&be, s.o.t, s.lse.t, s.q.t, s.k.t, s.v.t, &s.row,
                                       scale_of(c), c->window, c->cap));
            for (int e = 0; e < c->count; e++) {
                const gf_span whole = s.span[e];
                for (int64_t i = 0, n; i < whole.len; i += n) {
                    n = i % 4 == 0 && i + 3 <= whole.len ? 3 : 1;
                    const gf_span part = {0, n, whole.start, i + n, 0};
                    const gf_spans row = {.tokens = n, .count = 1, .span = &part};
                    op_tensor q = op_copy(gf_rows(s.q.t, whole.start + i, n), 0);
                    op_tensor o = op_make(c->type, "o", n, c->heads, c->width, 0);
                    op_tensor lse = op_make(GF_F32, "lse", n, c->heads, 0, 0);
                    OP_OK(one, gf_attention_fwd(&one, o.t, lse.t, q.t, s.k.t, s.v.t, &row,
                                                scale_of(c), c->window, c->cap));
                    for (int64_t j = 0; j < n; j++)
                        cr_assert(op_same_row(o.t, j, s.o.t, whole.start + i + j) &&
                                      op_same_row(lse.t, j, s.lse.t, whole.start + i + j),
                                  "%s case %d span %d query %lld", be.ops->name, k, e,
                                  (long long)(i + j));
                    op_free(&q);
                    op_free(&o);
                    op_free(&lse);
                }
            }
            release(&s);
        }
        gf_backend_close(&one);
    }
}

/* Large scores: the softmax is a choice, nothing overflows. A NaN is found; that it stands in the
 * rows that share its block says nothing about theirs, the op before has named its own. */
Test(attention, extremes)
{
    gf_backend be;
    EACH_ISA(be, 1)
    {
        const attention_case c = {GF_F32, 2, 1, 16, 0, 0.0f, 1, {90}};
        attention_set s;
        make(&c, &s);
        op_fill(s.q.t, 5, 1e4);
        op_fill(s.k.t, 6, 1e4);
        be.check = true;
        OP_OK(be, gf_attention_fwd(&be, s.o.t, s.lse.t, s.q.t, s.k.t, s.v.t, &s.row, 1.0f, 0, 0));
        op_set(s.v.t, 89, 3, NAN);
        op_set(s.k.t, 89, 0, INFINITY);
        cr_assert_eq(gf_attention_fwd(&be, s.o.t, s.lse.t, s.q.t, s.k.t, s.v.t, &s.row, 1, 0, 0),
                     GF_ENUMERIC);
        cr_assert(strncmp(be.err.text, "attention_fwd: o (o): row ", 26) == 0, "%s", be.err.text);
        release(&s);
    }
}

Test(attention, refusals)
{
    gf_backend be = {.dry = true};
    const gf_tensor q = gf_view(NULL, GF_F32, "q", 4, 6, 16),
                    k = gf_view(NULL, GF_F32, "k", 4, 4, 16);
    const gf_tensor lse = gf_view(NULL, GF_F32, "lse", 4, 6, 0);
    const gf_span span[2] = {{0, 3, 0, 3, 0}, {3, 1, 1, 4, 1}};
    gf_spans row = {.tokens = 4, .count = 2, .span = span};
    OP_REFUSED(be, gf_attention_fwd(&be, q, lse, q, k, k, &row, 1, 0, 0),
               "attention_fwd: 6 query heads do not share 4 k/v heads");
    const gf_tensor k3 = gf_view(NULL, GF_F32, "k", 4, 3, 16);
    OP_REFUSED(be, gf_attention_fwd(&be, q, lse, q, k3, k3, &row, 1, 0, 0),
               "attention_fwd: span 1 of 1 tokens reads k/v 1+4 of 4");
    row.count = 1;
    OP_REFUSED(be, gf_attention_fwd(&be, q, lse, q, k3, k3, &row, 1, 0, 0),
               "attention_fwd: spans end at token 3 of 4");
    const gf_tensor q9 = gf_view(NULL, GF_F32, "q", 4, 6, 9),
                    k9 = gf_view(NULL, GF_F32, "k", 4, 3, 9);
    OP_REFUSED(be, gf_attention_fwd(&be, q9, lse, q9, k9, k9, &row, 1, 0, 0),
               "attention_fwd: heads are 9 wide, want a multiple of 8 up to 512");
}

/* The tally counts the pairs that are looked at, also in a window and with a cache. */
Test(attention, tally)
{
    for (int k = 0; k < 40; k++) {
        const int64_t len = 1 + k % 7, kv = len + k % 5, window = k % 6;
        gf_backend be = {.dry = true};
        const gf_span span = {0, len, 0, kv, 0};
        const gf_spans row = {.tokens = len, .count = 1, .span = &span};
        const gf_tensor q = gf_view(NULL, GF_F32, "q", len, 2, 8),
                        x = gf_view(NULL, GF_F32, "k", kv, 1, 8);
        const gf_tensor lse = gf_view(NULL, GF_F32, "lse", len, 2, 0);
        cr_assert_eq(gf_attention_fwd(&be, q, lse, q, x, x, &row, 1, window, 0), GF_OK);
        int64_t pairs = 0;
        for (int64_t i = 0; i < len; i++) {
            const int64_t sees = kv - len + i + 1;
            pairs += window > 0 && window < sees ? window : sees;
        }
        cr_assert_eq(be.tally.flops, 4 * 2 * 8 * pairs);
    }
}
