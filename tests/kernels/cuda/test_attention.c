/* test_attention.c - attention's forward pass on a device: against double and against the CPU twin,
 * for rows of training, of prompts and of generation; what filler gets; the bits of a query
 * wherever it stands; what a NaN reaches; what is refused. */
#include "support/attention_case.h"

static const attention_case cases[] = {
    {GF_BF16, 9, 3, 64, 0, 0.0f, 3, {129, 1, 2}, {0}, 7},
    {GF_BF16, 8, 1, 32, 0, 0.0f, 2, {127, 128}, {0}, 0},
    {GF_BF16, 2, 2, 16, 5, 0.0f, 2, {33, 64}, {0}, 1},
    {GF_BF16, 3, 1, 80, 70, 4.0f, 1, {200}, {0}, 0},
    {GF_BF16, 2, 1, 96, 1, 0.0f, 2, {40, 3}, {0}, 0},
    {GF_BF16, 2, 1, 128, 0, 2.0f, 2, {150, 30}, {0}, 130},
    {GF_BF16, 2, 2, 128, 100, 0.0f, 1, {260}, {0}, 0},
    {GF_BF16, 2, 1, 256, 64, 0.0f, 1, {129}, {0}, 1},
    {GF_BF16, 1, 1, 8, 0, 0.0f, 1, {31}, {0}, 0},
    {GF_BF16, 2, 1, 40, 0, 0.0f, 2, {20, 9}, {150, 0}, 0}, /* a prompt's later piece */
    {GF_F32, 9, 3, 64, 0, 0.0f, 3, {70, 1, 130}, {0}, 3},
    {GF_F32, 3, 1, 80, 70, 4.0f, 1, {150}, {0}, 0},
    {GF_F32, 2, 2, 16, 5, 0.0f, 2, {33, 64}, {0}, 0},
    {GF_F32, 2, 1, 256, 64, 0.0f, 1, {90}, {0}, 20},
    {GF_F32, 4, 2, 8, 1, 0.0f, 2, {17, 16}, {0}, 0},
    {GF_F32, 2, 1, 136, 0, 0.0f, 2, {20, 9}, {70, 0}, 0},
    /* generation */
    {GF_BF16, 8, 1, 64, 0, 0.0f, 3, {1, 3, 8}, {200, 5, 0}, 3},
    {GF_BF16, 6, 1, 80, 50, 3.0f, 2, {1, 2}, {300, 0}, 0},
    {GF_BF16, 2, 2, 256, 0, 0.0f, 2, {1, 1}, {77, 1}, 0},
    {GF_BF16, 2, 2, 16, 0, 0.0f, 1, {2}, {400}, 0},
    {GF_F32, 3, 1, 80, 50, 3.0f, 2, {2, 1}, {100, 0}, 0},
    {GF_F32, 4, 2, 256, 0, 0.0f, 1, {1}, {63}, 9},
    {GF_F32, 5, 1, 24, 0, 0.0f, 1, {1}, {190}, 0},
};
#define CASES ((int)(sizeof cases / sizeof *cases))

/* The same on a CPU. */
static void forward_on_cpu(const attention_case *c, const attention_set *s, gf_tensor o,
                           gf_tensor lse)
{
    gf_backend cpu;
    gf_err err = {0};
    cr_assert_eq(gf_backend_open_cpu(&cpu, 1, "auto", &err), GF_OK, "%s", err.text);
    const int64_t n = case_tokens(c);
    gf_spans row = s->bound.row;
    row.work = gf_none;
    OP_OK(cpu,
          gf_attention_fwd(&cpu, gf_rows(o, 0, n), gf_rows(lse, 0, n), gf_rows(s->x[Q].t, 0, n),
                           s->x[K].t, s->x[V].t, &row, case_scale(c), c->window, c->cap));
    gf_backend_close(&cpu);
}

/* One head of one query. Both twins are within the bound of what is right, so of each other within
 * two of it. */
static void check_query(const gf_backend *be, const attention_case *c, const attention_set *s,
                        gf_tensor cpu_o, gf_tensor cpu_lse, gf_span span, int64_t i, int64_t h)
{
    static oracle_query w;
    const oracle a = {s->x[Q].t, s->x[K].t, s->x[V].t, case_scale(c), c->cap, c->window};
    const int64_t at = span.start + i;
    oracle_scores(&a, span, i, h, &w);
    const double roundings = oracle_roundings(&a, &w) + case_approximations(c);
    const double words = roundings + oracle_words(be, c->type);
    op_near("fwd", s->x[LSE].t, at, h, w.top + log(w.sum), 1.0, roundings);
    op_near("twin", s->x[LSE].t, at, h, op_get(cpu_lse, at, h), 1.0, 2.0 * roundings);
    for (int64_t d = 0; d < c->width; d++) {
        double size;
        const double o = oracle_out(&a, span, i, h, d, &w, &size);
        op_near("fwd", s->x[O].t, at, h * c->width + d, o, size, words);
        const double twin = op_get(cpu_o, at, h * c->width + d);
        const double own = c->type == GF_BF16 ? U16 / U32 : 0.0; /* the twin's own rounding to o */
        op_near("twin", s->x[O].t, at, h * c->width + d, twin, size, 2.0 * words + own);
    }
}

Test(cuda_attention, formula)
{
    gf_backend be;
    device_open(&be);
    for (int k = 0; k < CASES; k++) {
        const attention_case *c = &cases[k];
        attention_set s;
        case_make(&be, c, &s);
        case_forward(&be, c, &s);
        op_tensor o = op_copy(s.x[O].t, 0), lse = op_copy(s.x[LSE].t, 0);
        forward_on_cpu(c, &s, o.t, lse.t);
        for (int e = 0; e < c->count; e++)
            for (int64_t i = 0; i < c->len[e]; i += i + 4 < c->len[e] ? 3 : 1)
                for (int64_t h = 0; h < c->heads; h++)
                    check_query(&be, c, &s, o.t, lse.t, s.span[e], i, h);
        case_filler_is_zero(c, &s, O, LSE);
        op_free(&o);
        op_free(&lse);
        case_free(&be, &s);
    }
    device_close(&be);
}

/* Runs part of a case's queries as a row of one span of their own, behind `shift` others, and wants
 * the bits that the whole row gave them. */
static void same_bits(gf_backend *be, const attention_case *c, const attention_set *s, int e,
                      int64_t first, int64_t len, int64_t shift)
{
    const gf_span whole = s->span[e];
    const int64_t before = whole.kv_len - whole.len;
    const gf_span part[2] = {{0, shift, 0, shift, 0},
                             {shift, len, whole.kv_start, before + first + len, 1}};
    const int64_t n = shift + len;
    gf_spans spans = {.tokens = n, .count = 2, .span = part};
    op_tensor q = op_make(c->type, "q", n, c->heads, c->width, 0);
    op_tensor o = op_make(c->type, "o", n, c->heads, c->width, 8);
    op_tensor lse = op_make(GF_F32, "lse", n, c->heads, 0, 0);
    op_fill(q.t, 77, 1.0);
    for (int64_t i = 0; i < len; i++)
        memcpy(op_row(q.t, shift + i), op_row(s->x[Q].t, whole.start + first + i),
               (size_t)gf_row_bytes(c->type, gf_width(q.t)));
    device_tensor on_q = device_put(be, &q), on_o = device_put(be, &o);
    device_tensor on_lse = device_put(be, &lse);
    device_row row = device_bind(be, spans, n, 0);
    DEVICE_OK(be, gf_attention_fwd(be, on_o.t, on_lse.t, on_q.t, s->on[K].t, s->on[V].t, &row.row,
                                   case_scale(c), c->window, c->cap));
    device_get(be, &on_o, &o);
    device_get(be, &on_lse, &lse);
    for (int64_t i = 0; i < len; i++) {
        const int64_t at = whole.start + first + i;
        cr_assert(op_same_row(o.t, shift + i, s->x[O].t, at) &&
                      op_same_row(lse.t, shift + i, s->x[LSE].t, at),
                  "span %d: query %d of %d + %d behind %d", e, (int)i, (int)first, (int)len,
                  (int)shift);
    }
    device_unbind(be, &row);
    device_free(be, &on_q);
    device_free(be, &on_o);
    device_free(be, &on_lse);
    op_free(&q);
    op_free(&o);
    op_free(&lse);
}

/* A query's bits depend on what its span holds up to it: not on what comes later, on the spans
 * around, on where it stands, on which of the span's queries are asked for together. */
Test(cuda_attention, a_querys_bits)
{
    static const attention_case some[] = {
        {GF_BF16, 2, 1, 64, 0, 0.0f, 2, {140, 30}, {0}, 5},
        {GF_BF16, 2, 1, 128, 33, 2.0f, 1, {150}, {0}, 0},
        {GF_BF16, 1, 1, 256, 0, 0.0f, 1, {80}, {0}, 0},
        {GF_F32, 2, 1, 40, 20, 0.0f, 1, {70}, {0}, 0},
    };
    gf_backend be;
    device_open(&be);
    for (int k = 0; k < 4; k++) {
        attention_set s;
        case_make(&be, &some[k], &s);
        case_forward(&be, &some[k], &s);
        const int64_t len = some[k].len[0];
        same_bits(&be, &some[k], &s, 0, 0, len - 11, 12);
        same_bits(&be, &some[k], &s, 0, 37, 21, 9);
        same_bits(&be, &some[k], &s, 0, len - 9, 9, 11);
        if (some[k].count > 1)
            same_bits(&be, &some[k], &s, 1, 0, some[k].len[1], 13);
        case_free(&be, &s);
    }
    device_close(&be);
}

/* The same for generation: alone and beside others, earlier and later queries of a span. */
Test(cuda_attention, a_new_querys_bits)
{
    static const attention_case some[] = {
        {GF_BF16, 5, 1, 64, 0, 0.0f, 2, {1, 4}, {150, 90}, 2},
        {GF_F32, 2, 2, 80, 40, 2.0f, 1, {5}, {120}, 0},
    };
    gf_backend be;
    device_open(&be);
    for (int k = 0; k < 2; k++) {
        attention_set s;
        case_make(&be, &some[k], &s);
        case_forward(&be, &some[k], &s);
        for (int e = 0; e < some[k].count; e++) {
            same_bits(&be, &some[k], &s, e, 0, some[k].len[e], 1);
            for (int64_t i = 0; i < some[k].len[e]; i++)
                same_bits(&be, &some[k], &s, e, i, 1, 2);
        }
        case_free(&be, &s);
    }
    device_close(&be);
}

/* q, k and v as columns of one tensor, as the model has them: the bits of tensors of their own. */
Test(cuda_attention, columns)
{
    const attention_case c = {GF_BF16, 3, 1, 48, 0, 0.0f, 1, {50}, {0}, 0};
    gf_backend be;
    device_open(&be);
    attention_set s;
    case_make(&be, &c, &s);
    case_forward(&be, &c, &s);
    op_tensor all = op_make(GF_BF16, "qkv", 50, 5 * 48, 0, 16), o = op_copy(s.x[O].t, 8);
    for (int64_t r = 0; r < 50; r++)
        for (int64_t j = 0; j < 5 * 48; j++)
            op_set(all.t, r, j,
                   j < 3 * 48   ? op_get(s.x[Q].t, r, j)
                   : j < 4 * 48 ? op_get(s.x[K].t, r, j - 3 * 48)
                                : op_get(s.x[V].t, r, j - 4 * 48));
    op_fill(o.t, 9, 1.0);
    device_tensor on = device_put(&be, &all), on_o = device_put(&be, &o);
    DEVICE_OK(&be, gf_attention_fwd(&be, on_o.t, s.on[LSE].t, gf_heads(gf_cols(on.t, 0, 144), 3),
                                    gf_heads(gf_cols(on.t, 144, 48), 1),
                                    gf_heads(gf_cols(on.t, 192, 48), 1), &s.bound.row,
                                    case_scale(&c), 0, 0.0f));
    device_get(&be, &on_o, &o);
    cr_assert(op_same(o.t, s.x[O].t));
    device_free(&be, &on);
    device_free(&be, &on_o);
    op_free(&all);
    op_free(&o);
    case_free(&be, &s);
    device_close(&be);
}

/* Whether o's row of a head is all NaN, or has the bits that it had. */
static bool is_nan(gf_tensor o, int64_t r, int64_t h, int64_t width)
{
    for (int64_t d = 0; d < width; d++)
        if (!isnan(op_get(o, r, h * width + d)))
            return false;
    return true;
}
static bool is_same(gf_tensor o, gf_tensor was, int64_t r, int64_t h, int64_t width)
{
    for (int64_t d = 0; d < width; d++)
        if (op_get(o, r, h * width + d) != op_get(was, r, h * width + d))
            return false;
    return true;
}

/* A query that is not finite spoils its own row. A key spoils the rows that see it, a value also
 * those above it whose block of keys (64 at most) it shares; never another head's or span's. */
Test(cuda_attention, not_finite)
{
    static const gf_dtype types[] = {GF_BF16, GF_F32};
    gf_backend be;
    device_open(&be);
    for (int k = 0; k < 2; k++) {
        const attention_case c = {types[k], 2, 2, 32, 0, 0.0f, 3, {20, 150, 20}, {0}, 3};
        attention_set s;
        case_make(&be, &c, &s);
        case_forward(&be, &c, &s);
        op_tensor was = op_copy(s.x[O].t, 0);
        for (int i = Q; i <= V; i++) {
            const int64_t bad = 20 + 100, above = i == V ? 20 + 64 : bad;
            const double old = op_get(s.x[i].t, bad, 32 + 5);
            op_set(s.x[i].t, bad, 32 + 5, i == K ? INFINITY : NAN);
            if (i == K) /* an infinite score either way: of q's sign it is none */
                op_set(s.x[i].t, bad, 32 + 6, NAN);
            case_put(&be, &s, i);
            case_forward(&be, &c, &s);
            for (int64_t r = 0; r < 190; r++) {
                const bool reached = i == Q ? r == bad : r >= bad && r < 170;
                cr_assert(is_same(s.x[O].t, was.t, r, 0, 32), "row %d of the other head", (int)r);
                if (reached && i != V)
                    cr_assert(is_nan(s.x[O].t, r, 1, 32), "tensor %d: row %d", i, (int)r);
                else if (reached)
                    cr_assert(isnan(op_get(s.x[O].t, r, 32 + 5)), "v: row %d", (int)r);
                else if (r < above || r >= 170 || i == Q)
                    cr_assert(is_same(s.x[O].t, was.t, r, 1, 32), "tensor %d: row %d", i, (int)r);
            }
            op_set(s.x[i].t, bad, 32 + 5, old);
            op_set(s.x[i].t, bad, 32 + 6, old);
            case_put(&be, &s, i);
            if (i != V) { /* column 6 is another value now */
                case_forward(&be, &c, &s);
                op_free(&was);
                was = op_copy(s.x[O].t, 0);
            }
        }
        op_free(&was);
        case_free(&be, &s);
    }
    device_close(&be);
}

/* Large scores: the softmax is a choice of the largest, nothing overflows. */
Test(cuda_attention, large_scores)
{
    static const gf_dtype types[] = {GF_BF16, GF_F32};
    gf_backend be;
    device_open(&be);
    for (int k = 0; k < 2; k++) {
        const attention_case c = {types[k], 1, 1, 16, 0, 0.0f, 2, {40, 12}, {0}, 0};
        attention_set s;
        case_make(&be, &c, &s);
        op_fill(s.x[Q].t, 5, 1e5);
        op_fill(s.x[K].t, 6, 1e5);
        case_put(&be, &s, Q);
        case_put(&be, &s, K);
        case_forward(&be, &c, &s);
        for (int e = 0; e < c.count; e++)
            for (int64_t i = 0; i < c.len[e]; i++) {
                static oracle_query w;
                const oracle a = {s.x[Q].t, s.x[K].t, s.x[V].t, case_scale(&c), 0.0f, 0};
                oracle_scores(&a, s.span[e], i, 0, &w);
                int64_t best = 0;
                for (int64_t u = 0; u <= i; u++)
                    best = w.s[u] == w.top ? u : best;
                const int64_t at = s.span[e].start + i;
                for (int64_t d = 0; d < 16; d++)
                    op_near("choice", s.x[O].t, at, d, op_get(s.x[V].t, s.span[e].start + best, d),
                            1.0, 4.0);
                op_near("choice", s.x[LSE].t, at, 0, w.top, fabs(w.top), 64.0);
            }
        case_free(&be, &s);
    }
    device_close(&be);
}

/* One launch each, also in a plan, which refuses what the device would. */
Test(cuda_attention, plan)
{
    gf_backend be;
    gf_err err = {0};
    cr_assert_eq(gf_backend_open_cuda(&be, GF_DEVICE_DRY, &err), GF_OK, "%s", err.text);
    be.dry = true;
    const gf_span span = {0, 6, 0, 6, 0};
    const gf_spans row = {.tokens = 6, .count = 1, .span = &span};
    gf_tensor q = gf_view(NULL, GF_BF16, "q", 8, 6, 16), k = gf_view(NULL, GF_BF16, "k", 8, 3, 16);
    const gf_tensor lse = gf_view(NULL, GF_F32, "lse", 8, 6, 0);
    OP_OK(be, gf_attention_fwd(&be, q, lse, q, k, k, &row, 1, 0, 0));
    cr_assert_eq(be.tally.launches, 1);
    OP_REFUSED(be, gf_attention_fwd(&be, q, lse, q, k, k, &row, 0, 0, 0),
               "attention_fwd: scale is 0, want more than 0");
    gf_tensor odd = k;
    odd.stride += 4;
    OP_REFUSED(be, gf_attention_fwd(&be, q, lse, q, odd, k, &row, 1, 0, 0),
               "attention_fwd: rows of k do not start at multiples of 16 bytes");
    odd = gf_view(NULL, GF_F32, "v", 8, 3, 16);
    OP_REFUSED(be, gf_attention_fwd(&be, q, lse, q, k, odd, &row, 1, 0, 0),
               "attention_fwd: v is f32 and q bf16, on a device they are one");
    q = gf_view(NULL, GF_BF16, "q", 8, 6, 264);
    k = gf_view(NULL, GF_BF16, "k", 8, 3, 264);
    memset(&be.err, 0, sizeof be.err);
    cr_assert_eq(gf_attention_fwd(&be, q, lse, q, k, k, &row, 1, 0, 0), GF_EMISSING);
    cr_assert_str_eq(be.err.text, "attention_fwd: heads are 264 wide, on a device at most 256: "
                                  "use --device cpu");
    gf_backend_close(&be);
}
