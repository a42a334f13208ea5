/* test_attention_bwd.c - attention's backward pass on a device: against double and against the CPU
 * twin; gradients that must be zero to the bit; filler; an example's bits wherever it stands; what
 * a NaN reaches; launches. */
#include "support/attention_case.h"

static const attention_case cases[] = {
    {GF_BF16, 3, 1, 64, 0, 0.0f, 3, {129, 1, 2}, {0}, 7},
    {GF_BF16, 8, 1, 32, 0, 0.0f, 2, {127, 20}, {0}, 0},
    {GF_BF16, 2, 2, 16, 5, 0.0f, 2, {33, 64}, {0}, 1},
    {GF_BF16, 3, 1, 80, 70, 4.0f, 1, {150}, {0}, 0},
    {GF_BF16, 2, 1, 96, 1, 0.0f, 2, {40, 3}, {0}, 0},
    {GF_BF16, 2, 1, 128, 0, 2.0f, 2, {140, 30}, {0}, 130},
    {GF_BF16, 1, 1, 128, 40, 0.0f, 1, {260}, {0}, 0},
    {GF_BF16, 2, 1, 256, 64, 0.0f, 1, {129}, {0}, 1},
    {GF_BF16, 9, 3, 8, 0, 3.0f, 1, {31}, {0}, 0},
    {GF_F32, 3, 1, 64, 0, 0.0f, 3, {70, 1, 100}, {0}, 3},
    {GF_F32, 2, 1, 80, 70, 4.0f, 1, {130}, {0}, 0},
    {GF_F32, 2, 2, 16, 5, 0.0f, 2, {33, 64}, {0}, 0},
    {GF_F32, 2, 1, 256, 64, 0.0f, 1, {70}, {0}, 20},
    {GF_F32, 9, 1, 8, 0, 0.0f, 1, {17}, {0}, 0},
};
#define CASES ((int)(sizeof cases / sizeof *cases))

typedef struct {
    double *sum, *size; /* value and sum of absolute terms, [n, heads * width] */
} total;

static total make_total(int64_t n)
{
    const total t = {calloc((size_t)n, sizeof(double)), calloc((size_t)n, sizeof(double))};
    cr_assert(t.sum && t.size);
    return t;
}

static void add(total *t, int64_t at, double x, double size)
{
    t->sum[at] += x;
    t->size[at] += size;
}

static double product(gf_tensor a, int64_t i, int64_t h, gf_tensor b, int64_t j, int64_t g,
                      double *size)
{
    const int64_t width = a.dim[2];
    double sum = 0.0;
    *size = 0.0;
    for (int64_t d = 0; d < width; d++) {
        const double x = op_get(a, i, h * width + d) * op_get(b, j, g * width + d);
        sum += x;
        *size += fabs(x);
    }
    return sum;
}

/* Adds the gradients of one query to t of dq, dk, dv; returns its count of roundings. o is the
 * stored one, as for the op: its rounding is part of the definition. */
static double back_query(const attention_case *c, const attention_set *s, gf_span span, int64_t i,
                         int64_t h, total t[3])
{
    static oracle_query w;
    const op_tensor *x = s->x;
    const int64_t width = c->width, g = h / (c->heads / c->groups), row = span.start + i;
    const oracle a = {x[Q].t, x[K].t, x[V].t, case_scale(c), c->cap, c->window};
    oracle_scores(&a, span, i, h, &w);
    double delta_size;
    const double delta = product(x[D_O].t, row, h, x[O].t, row, h, &delta_size);
    for (int64_t u = w.lo; u <= w.pos; u++) {
        const int64_t key = span.start + u;
        const double p = exp(w.s[u] - w.top) / w.sum;
        double dp_size;
        const double dp = product(x[D_O].t, row, h, x[V].t, key, g, &dp_size);
        const double ds = p * (dp - delta) * w.slope[u] * (double)a.scale;
        const double ds_size = p * (dp_size + delta_size) * (double)a.scale;
        for (int64_t d = 0; d < width; d++) {
            const int64_t qi = (row * c->heads + h) * width + d;
            const int64_t ki = (key * c->groups + g) * width + d;
            const double q = op_get(x[Q].t, row, h * width + d);
            const double k = op_get(x[K].t, key, g * width + d);
            const double o = op_get(x[D_O].t, row, h * width + d);
            add(&t[0], qi, ds * k, ds_size * fabs(k));
            add(&t[1], ki, ds * q, ds_size * fabs(q));
            add(&t[2], ki, p * o, p * fabs(o));
        }
    }
    return oracle_roundings(&a, &w);
}

/* The CPU twin on what the device's forward pass made; out: dq, dk, dv. */
static void backward_on_cpu(const attention_case *c, const attention_set *s, op_tensor out[3])
{
    gf_backend cpu;
    gf_err err = {0};
    cr_assert_eq(gf_backend_open_cpu(&cpu, 1, "auto", &err), GF_OK, "%s", err.text);
    const int64_t n = case_tokens(c);
    gf_spans row = s->bound.row;
    row.work = gf_none;
    gf_tensor t[TENSORS];
    for (int i = 0; i < TENSORS; i++) {
        if (i >= DQ && i <= DV)
            out[i - DQ] = op_copy(s->x[i].t, 0);
        t[i] = gf_rows(i >= DQ && i <= DV ? out[i - DQ].t : s->x[i].t, 0, n);
    }
    op_tensor delta = op_copy(t[DELTA], 0);
    OP_OK(cpu,
          gf_attention_bwd(&cpu, t[DQ], t[DK], t[DV], delta.t, t[D_O], t[O], t[LSE], t[Q], t[K],
                           t[V], &row, case_scale(c), c->window, c->cap, gf_none, gf_none));
    op_free(&delta);
    gf_backend_close(&cpu);
}

static void check(const gf_backend *be, const attention_case *c, const attention_set *s)
{
    const int64_t n = case_tokens(c);
    total t[3] = {make_total(n * c->heads * c->width), make_total(n * c->groups * c->width),
                  make_total(n * c->groups * c->width)};
    double roundings = 0.0;
    for (int e = 0; e < c->count; e++)
        for (int64_t i = 0; i < c->len[e]; i++)
            for (int64_t h = 0; h < c->heads; h++)
                roundings = fmax(roundings, back_query(c, s, s->span[e], i, h, t));
    /* a key's sum runs over the queries of all heads that share it */
    roundings += 2.0 * (double)c->width + (double)(n * c->heads / c->groups);
    roundings += oracle_words(be, c->type) + case_approximations(c);
    const double own = c->type == GF_BF16 ? U16 / U32 : 0.0; /* the twin's rounding of its output */
    op_tensor cpu[3];
    backward_on_cpu(c, s, cpu);
    for (int k = 0; k < 3; k++) {
        const gf_tensor got = s->x[DQ + k].t;
        for (int64_t r = 0; r < n; r++)
            for (int64_t i = 0; i < gf_width(got); i++) {
                const int64_t at = r * gf_width(got) + i;
                op_near("bwd", got, r, i, t[k].sum[at], t[k].size[at], roundings);
                op_near("twin", got, r, i, op_get(cpu[k].t, r, i), t[k].size[at],
                        2.0 * roundings + own);
            }
        free(t[k].sum);
        free(t[k].size);
        op_free(&cpu[k]);
    }
}

Test(cuda_attention_bwd, formula)
{
    gf_backend be;
    device_open(&be);
    for (int k = 0; k < CASES; k++) {
        attention_set s;
        case_make(&be, &cases[k], &s);
        case_forward(&be, &cases[k], &s);
        const int64_t before = be.tally.launches;
        case_backward(&be, &cases[k], &s);
        cr_assert_eq(be.tally.launches, before + 3);
        check(&be, &cases[k], &s);
        case_filler_is_zero(&cases[k], &s, DQ, DELTA);
        case_free(&be, &s);
    }
    device_close(&be);
}

/* A query that sees one key gives it all its weight whatever the score is: dq and dk are zero, to
 * the bit, not an error of rounding. */
Test(cuda_attention_bwd, one_key)
{
    static const attention_case some[] = {
        {GF_BF16, 4, 1, 40, 1, 0.0f, 1, {70}, {0}, 0},
        {GF_BF16, 2, 2, 64, 0, 0.0f, 2, {1, 1}, {0}, 0},
        {GF_BF16, 3, 1, 256, 1, 2.0f, 1, {20}, {0}, 0},
        {GF_BF16, 2, 1, 128, 1, 0.0f, 1, {130}, {0}, 0},
        {GF_F32, 6, 2, 136, 1, 0.0f, 2, {50, 3}, {0}, 0},
        {GF_F32, 3, 3, 64, 0, 4.0f, 3, {1, 1, 1}, {0}, 0},
    };
    gf_backend be;
    device_open(&be);
    for (int k = 0; k < 6; k++) {
        attention_set s;
        case_make(&be, &some[k], &s);
        case_forward(&be, &some[k], &s);
        case_backward(&be, &some[k], &s);
        for (int i = DQ; i <= DK; i++)
            for (int64_t r = 0; r < case_tokens(&some[k]); r++)
                for (int64_t j = 0; j < gf_width(s.x[i].t); j++)
                    cr_assert_eq(op_get(s.x[i].t, r, j), 0.0, "case %d %s[%d,%d]: %g", k,
                                 s.x[i].t.name, (int)r, (int)j, op_get(s.x[i].t, r, j));
        case_free(&be, &s);
    }
    device_close(&be);
}

/* Copies span e of a case's inputs behind those of another row. */
static void copy_span(const attention_set *from, int e, attention_set *to, int64_t at)
{
    static const int inputs[] = {Q, K, V, D_O};
    const gf_span span = from->span[e];
    for (int i = 0; i < 4; i++) {
        const gf_tensor a = from->x[inputs[i]].t, b = to->x[inputs[i]].t;
        for (int64_t r = 0; r < span.len; r++)
            memcpy(op_row(b, at + r), op_row(a, span.start + r),
                   (size_t)gf_row_bytes(a.dtype, gf_width(a)));
    }
}

/* An example's gradients have the same bits alone, behind another one, and with filler. */
Test(cuda_attention_bwd, an_examples_bits)
{
    static const attention_case some[] = {
        {GF_BF16, 2, 1, 64, 0, 0.0f, 2, {140, 30}, {0}, 5},
        {GF_BF16, 2, 1, 128, 33, 2.0f, 2, {3, 150}, {0}, 0},
        {GF_BF16, 2, 2, 256, 0, 0.0f, 1, {70}, {0}, 0},
        {GF_F32, 2, 1, 40, 20, 0.0f, 2, {50, 20}, {0}, 0},
    };
    gf_backend be;
    device_open(&be);
    for (int k = 0; k < 4; k++) {
        const attention_case *c = &some[k];
        attention_set s;
        case_make(&be, c, &s);
        case_forward(&be, c, &s);
        case_backward(&be, c, &s);
        for (int e = 0; e < c->count; e++) {
            attention_case other = *c;
            other.count = 2;
            other.len[0] = 17 * e; /* a span without a token is none */
            other.len[1] = c->len[e];
            other.filler = 3;
            if (e == 0) {
                other.count = 1;
                other.len[0] = c->len[e];
            }
            const int64_t at = 17 * e;
            attention_set part;
            case_make(&be, &other, &part);
            copy_span(&s, e, &part, at);
            for (int i = Q; i <= V; i++)
                case_put(&be, &part, i);
            case_put(&be, &part, D_O);
            case_forward(&be, &other, &part);
            case_backward(&be, &other, &part);
            for (int i = O; i < TENSORS; i++)
                for (int64_t r = 0; r < c->len[e]; r++)
                    cr_assert(op_same_row(part.x[i].t, at + r, s.x[i].t, s.span[e].start + r),
                              "case %d span %d: %s row %d", k, e, s.x[i].t.name, (int)r);
            case_free(&be, &part);
        }
        case_free(&be, &s);
    }
    device_close(&be);
}

/* With cosines and sines: the bits of the gradients without, turned back by the op of its own;
 * whether the kernels do it themselves or not (f32; columns that are no multiple of 4). */
Test(cuda_attention_bwd, turned)
{
    static const struct {
        attention_case c;
        int64_t pairs, gap;
        int launches;
    } some[] = {
        {{GF_BF16, 6, 2, 64, 0, 0.0f, 2, {130, 20}, {0}, 5}, 32, 0, 3},
        {{GF_BF16, 2, 1, 80, 0, 0.0f, 1, {40}, {0}, 0}, 20, 4, 3},
        {{GF_BF16, 1, 1, 128, 0, 0.0f, 1, {70}, {0}, 0}, 64, 0, 3},
        {{GF_BF16, 2, 1, 256, 0, 0.0f, 1, {70}, {0}, 1}, 128, 0, 3},
        {{GF_BF16, 2, 1, 32, 0, 0.0f, 1, {17}, {0}, 0}, 6, 0, 5},
        {{GF_BF16, 2, 1, 32, 0, 0.0f, 1, {17}, {0}, 0}, 8, 1, 5},
        {{GF_F32, 2, 1, 64, 0, 0.0f, 1, {33}, {0}, 2}, 32, 0, 5},
    };
    gf_backend be;
    device_open(&be);
    for (int k = 0; k < (int)(sizeof some / sizeof *some); k++) {
        const attention_case *c = &some[k].c;
        const int64_t n = case_tokens(c) + c->filler;
        attention_set s;
        case_make(&be, c, &s);
        case_forward(&be, c, &s);
        case_backward(&be, c, &s);
        op_tensor cos = op_make(GF_F32, "cos", n, some[k].pairs, 0, some[k].gap);
        op_tensor sin = op_make(GF_F32, "sin", n, some[k].pairs, 0, 0);
        op_fill(cos.t, 21, 1.0);
        op_fill(sin.t, 22, 1.0);
        for (int64_t r = case_tokens(c); r < n; r++) /* as rows have them */
            for (int64_t j = 0; j < some[k].pairs; j++) {
                op_set(cos.t, r, j, 0.0);
                op_set(sin.t, r, j, 0.0);
            }
        device_tensor on_cos = device_put(&be, &cos), on_sin = device_put(&be, &sin);
        op_tensor dq = op_copy(s.x[DQ].t, 8), dk = op_copy(s.x[DK].t, 16);
        device_tensor on_dq = device_put(&be, &dq), on_dk = device_put(&be, &dk);
        DEVICE_OK(&be, gf_rope(&be, s.on[DQ].t, on_cos.t, on_sin.t, -1));
        DEVICE_OK(&be, gf_rope(&be, s.on[DK].t, on_cos.t, on_sin.t, -1));
        const int64_t before = be.tally.launches;
        const device_tensor *x = s.on;
        DEVICE_OK(&be, gf_attention_bwd(&be, on_dq.t, on_dk.t, x[DV].t, x[DELTA].t, x[D_O].t,
                                        x[O].t, x[LSE].t, x[Q].t, x[K].t, x[V].t, &s.bound.row,
                                        case_scale(c), c->window, c->cap, on_cos.t, on_sin.t));
        cr_assert_eq(be.tally.launches, before + some[k].launches, "case %d", k);
        device_get(&be, &on_dq, &dq);
        device_get(&be, &on_dk, &dk);
        device_get(&be, &s.on[DQ], &s.x[DQ]);
        device_get(&be, &s.on[DK], &s.x[DK]);
        cr_assert(op_same(dq.t, s.x[DQ].t), "case %d: dq", k);
        cr_assert(op_same(dk.t, s.x[DK].t), "case %d: dk", k);
        device_free(&be, &on_dq);
        device_free(&be, &on_dk);
        device_free(&be, &on_cos);
        device_free(&be, &on_sin);
        op_free(&cos);
        op_free(&sin);
        op_free(&dq);
        op_free(&dk);
        case_free(&be, &s);
    }
    device_close(&be);
}

/* A value that is not finite in one head of one span reaches neither the other head's gradients nor
 * another span's. */
Test(cuda_attention_bwd, not_finite)
{
    static const gf_dtype types[] = {GF_BF16, GF_F32};
    static const int inputs[] = {Q, K, V, D_O};
    gf_backend be;
    device_open(&be);
    for (int k = 0; k < 2; k++) {
        const attention_case c = {types[k], 2, 2, 32, 0, 0.0f, 3, {20, 140, 20}, {0}, 3};
        attention_set s;
        case_make(&be, &c, &s);
        case_forward(&be, &c, &s);
        case_backward(&be, &c, &s);
        op_tensor was[3] = {op_copy(s.x[DQ].t, 0), op_copy(s.x[DK].t, 0), op_copy(s.x[DV].t, 0)};
        for (int i = 0; i < 4; i++) {
            const double old = op_get(s.x[inputs[i]].t, 90, 32 + 5);
            op_set(s.x[inputs[i]].t, 90, 32 + 5, i % 2 ? INFINITY : NAN);
            case_put(&be, &s, inputs[i]);
            case_forward(&be, &c, &s);
            case_backward(&be, &c, &s);
            bool found = false;
            for (int t = 0; t < 3; t++)
                for (int64_t r = 0; r < 180; r++)
                    for (int64_t j = 0; j < 64; j++) {
                        const double x = op_get(s.x[DQ + t].t, r, j);
                        found = found || !isfinite(x);
                        if (r < 20 || r >= 160 || j < 32)
                            cr_assert_eq(x, op_get(was[t].t, r, j), "input %d: %s[%d,%d]", i,
                                         was[t].t.name, (int)r, (int)j);
                    }
            cr_assert(found, "input %d: nothing of it shows", i);
            op_set(s.x[inputs[i]].t, 90, 32 + 5, old);
            case_put(&be, &s, inputs[i]);
        }
        for (int t = 0; t < 3; t++)
            op_free(&was[t]);
        case_free(&be, &s);
    }
    device_close(&be);
}

/* A plan counts the launches and refuses what the device would. */
Test(cuda_attention_bwd, plan)
{
    gf_backend be;
    gf_err err = {0};
    cr_assert_eq(gf_backend_open_cuda(&be, GF_DEVICE_DRY, &err), GF_OK, "%s", err.text);
    be.dry = true;
    const gf_span span = {0, 6, 0, 6, 0};
    const gf_spans row = {.tokens = 6, .count = 1, .span = &span};
    const gf_tensor q = gf_view(NULL, GF_F32, "q", 8, 6, 16),
                    k = gf_view(NULL, GF_F32, "k", 8, 3, 16);
    const gf_tensor lse = gf_view(NULL, GF_F32, "lse", 8, 6, 0);
    OP_OK(be,
          gf_attention_bwd(&be, q, k, k, lse, q, q, lse, q, k, k, &row, 1, 0, 0, gf_none, gf_none));
    cr_assert_eq(be.tally.launches, 3);
    gf_tensor odd = gf_view(NULL, GF_BF16, "d_o", 8, 6, 16);
    OP_REFUSED(
        be,
        gf_attention_bwd(&be, q, k, k, lse, odd, q, lse, q, k, k, &row, 1, 0, 0, gf_none, gf_none),
        "attention_bwd: d_o is bf16 and q f32, on a device they are one");
    odd = k;
    odd.stride += 2;
    odd.name = "dv";
    OP_REFUSED(
        be,
        gf_attention_bwd(&be, q, k, odd, lse, q, q, lse, q, k, k, &row, 1, 0, 0, gf_none, gf_none),
        "attention_bwd: rows of dv do not start at multiples of 16 bytes");
    gf_backend_close(&be);
}
