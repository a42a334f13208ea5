/* traffic.c - every kernel at shapes as models have them, for traffic.py, which counts what their
 * accesses cost on the test device. Widths are multiples of 8, rows are aligned as arenas align
 * them; results are looked at elsewhere. */
#include "support/device_case.h"

enum { N = 64, SPANS = 3 };

static gf_backend be;
static void *blocks[512];
static int block_count;

/* A tensor of zeros with `gap` unused elements behind each row. */
static gf_tensor make(gf_dtype type, int64_t d0, int64_t d1, int64_t d2, int64_t gap)
{
    gf_err err = {0};
    gf_tensor t = gf_view(NULL, type, "t", d0, d1, d2);
    if (d1)
        t.stride = gf_width(t) + gap;
    cr_assert_lt(block_count, (int)(sizeof blocks / sizeof *blocks));
    void **block = &blocks[block_count++];
    const size_t bytes = (size_t)(gf_row_bytes(type, t.stride) * d0) + 256;
    cr_assert_eq(gf_backend_alloc(&be, block, bytes, &err), GF_OK, "%s", err.text);
    t.data = *block;
    return t;
}

static gf_tensor vector(gf_dtype type, int64_t n)
{
    return make(type, n, 0, 0, 0);
}

static void begin(void)
{
    device_open(&be);
}

static void end(void)
{
    DEVICE_OK(&be, gf_wait(&be));
    while (block_count)
        gf_backend_free(&be, blocks[--block_count]);
    gf_backend_close(&be);
}

/* ---- rows of the model's width ------------------------------------------------------------------
 */
static void norms(gf_dtype run, int64_t width, int64_t gap)
{
    const gf_tensor x = make(GF_F32, N, width, 0, 0), y = make(run, N, width, 0, gap);
    const gf_tensor dx = make(GF_F32, N, width, 0, 0), half = make(GF_BF16, N, width, 0, gap);
    const gf_tensor w = vector(GF_F32, width), r = vector(GF_F32, N);
    const gf_tensor rounded = run == GF_BF16 ? half : gf_none, act = run == GF_BF16 ? half : dx;
    DEVICE_OK(&be, gf_rmsnorm_fwd(&be, y, r, x, gf_none, w, 1e-5f, 0.0f));
    DEVICE_OK(&be, gf_rmsnorm_fwd(&be, y, r, y, gf_none, w, 1e-5f, 1.0f));
    DEVICE_OK(&be, gf_rmsnorm_fwd(&be, x, r, y, gf_none, w, 1e-5f, 0.0f));
    DEVICE_OK(&be, gf_rmsnorm_fwd(&be, dx, r, y, dx, w, 1e-5f, 0.0f));
    DEVICE_OK(&be, gf_rmsnorm_bwd(&be, act, gf_none, gf_none, dx, gf_none, y, w, r, 0.0f));
    DEVICE_OK(&be, gf_rmsnorm_bwd(&be, dx, rounded, gf_none, y, dx, x, w, r, 0.0f));
    DEVICE_OK(&be, gf_rmsnorm_bwd(&be, y, gf_none, gf_none, y, gf_none, y, w, r, 1.0f));
    DEVICE_OK(&be, gf_rmsnorm_bwd(&be, dx, gf_none, gf_none, dx, gf_none, y, w, r, 1.0f));
}

static void noise(int64_t width)
{
    const gf_span span[] = {{0, 40, 0, 40, 1}, {40, 24, 40, 24, 2}};
    device_row row = device_bind(&be, (gf_spans){.tokens = N, .count = 2, .span = span}, N, 0);
    const gf_tensor x = make(GF_F32, N, width, 0, 0);
    DEVICE_OK(&be, gf_embed_noise(&be, x, &row.row, (gf_noise){5.0f, 42, 0}));
    DEVICE_OK(&be, gf_wait(&be));
    device_unbind(&be, &row);
}

static void rows(gf_dtype run, int64_t width)
{
    const gf_tensor x = make(GF_F32, N, width, 0, 0), y = make(run, N, width, 0, 16);
    const gf_tensor table = make(run, 16, width, 0, 0), ids = vector(GF_I32, N);
    int32_t index[N];
    for (int i = 0; i < N; i++)
        index[i] = i;
    DEVICE_OK(&be, gf_upload(&be, ids, index));
    DEVICE_OK(&be, gf_gather_rows(&be, y, x, ids));
    DEVICE_OK(&be, gf_gather_rows(&be, x, y, ids));
    DEVICE_OK(&be, gf_gather_rows(&be, y, y, ids));
    DEVICE_OK(&be, gf_scatter_rows(&be, x, y, ids));
    DEVICE_OK(&be, gf_add_rows(&be, x, y));
    DEVICE_OK(&be, gf_add_rows(&be, x, x));
    for (int i = 0; i < N; i++)
        index[i] = i % 16;
    DEVICE_OK(&be, gf_upload(&be, ids, index));
    DEVICE_OK(&be, gf_embed_fwd(&be, x, ids, table, 1.0f));
    DEVICE_OK(&be, gf_zero(&be, y));
}

Test(traffic, rows_of_the_models_width)
{
    begin();
    for (int bf16 = 0; bf16 < 2; bf16++) {
        const gf_dtype run = bf16 ? GF_BF16 : GF_F32;
        norms(run, 576, 64);
        norms(run, 4096, 16);
        noise(576);
        rows(run, 576);
        rows(run, 4096);
    }
    end();
}

static void glu(gf_dtype run, gf_dtype out, int64_t f)
{
    const gf_tensor both = make(run, N, 2 * f, 0, 0), h = make(out, N, f, 0, 16);
    const gf_tensor gate = gf_cols(both, 0, f), up = gf_cols(both, f, f);
    DEVICE_OK(&be, gf_glu_fwd(&be, h, gate, up, GF_SILU));
    DEVICE_OK(&be, gf_glu_fwd(&be, h, gate, up, GF_GELU_TANH));
    DEVICE_OK(&be, gf_glu_bwd(&be, gate, up, h, h, gate, up, GF_SILU));
    DEVICE_OK(&be, gf_glu_bwd(&be, gate, up, h, h, gate, up, GF_GELU_TANH));
}

static void heads(gf_dtype run, int64_t width)
{
    const gf_tensor x = make(run, N, 9, width, 6 * width); /* q, beside k and v */
    const gf_tensor cos = make(GF_F32, N, width / 2, 0, 0), sin = make(GF_F32, N, width / 2, 0, 0);
    const gf_tensor r = make(GF_F32, N, 9, 0, 0), w = vector(GF_F32, width);
    DEVICE_OK(&be, gf_rope(&be, x, cos, sin, 1));
    DEVICE_OK(&be, gf_rope(&be, x, cos, sin, -1));
    DEVICE_OK(&be, gf_rmsnorm_fwd(&be, x, r, x, gf_none, w, 1e-5f, 0.0f));
    DEVICE_OK(&be, gf_rmsnorm_bwd(&be, x, gf_none, gf_none, x, gf_none, x, w, r, 0.0f));
}

Test(traffic, elements_and_heads)
{
    begin();
    for (int bf16 = 0; bf16 < 2; bf16++) {
        const gf_dtype run = bf16 ? GF_BF16 : GF_F32;
        glu(run, run, 1536);
        glu(run, run, 14336 / 4);
        heads(run, 64);
        heads(run, 128);
    }
    glu(GF_BF16, GF_F32, 1536); /* of several types */
    end();
}

Test(traffic, losses_and_updates)
{
    begin();
    const int64_t vocabulary = 49152, m = 4, n = 100000;
    const gf_tensor logits = make(GF_F32, m, vocabulary, 0, 0), label = vector(GF_I32, m);
    const gf_tensor half = make(GF_BF16, m, vocabulary, 0, 16);
    const gf_tensor nll = vector(GF_F32, m), best = vector(GF_I32, m);
    const gf_tensor value = vector(GF_F32, n), a = vector(GF_F32, n), b = vector(GF_F32, n);
    const gf_tensor g = vector(GF_I64, n), sums = vector(GF_I64, GF_SUMS);
    const gf_adamw_args args = {1e-3, 0.9, 0.99, 1e-8, 0.0, 1};
    const gf_tensor many = vector(GF_F32, 1024), labels = vector(GF_I32, 1024);
    double square;
    DEVICE_OK(&be, gf_xent(&be, nll, best, half, logits, label, 0.0f));
    DEVICE_OK(&be, gf_xent(&be, nll, best, logits, logits, label, 30.0f));
    DEVICE_OK(&be, gf_count_losses(&be, sums, many, labels, labels));
    DEVICE_OK(&be, gf_sum_squares(&be, &square, g, 1.0));
    DEVICE_OK(&be, gf_adamw(&be, value, a, b, g, 1.0, &args));
    const gf_tensor m_code = vector(GF_U8, n), v_code = vector(GF_U8, n);
    const gf_tensor m_max = vector(GF_F32, (n + 255) / 256),
                    v_max = vector(GF_F32, (n + 255) / 256);
    const gf_lion_args lion = {1e-3, 0.9, 0.99, 0.0};
    DEVICE_OK(&be, gf_adamw8(&be, value, m_code, v_code, m_max, v_max, g, 1.0, &args));
    DEVICE_OK(&be, gf_lion(&be, value, a, g, 1.0, &lion));
    end();
}

/* ---- attention
 * ------------------------------------------------------------------------------------ */
static void attention(gf_dtype run, int64_t width)
{
    const gf_span span[SPANS] = {
        {0, 256, 0, 256, 0}, {256, 100, 256, 100, 1}, {356, 156, 356, 156, 2}};
    const int64_t n = 512, h = 4, g = 2;
    device_row row = device_bind(&be, (gf_spans){.tokens = n, .count = SPANS, .span = span}, n, 0);
    const gf_tensor all = make(run, n, (h + 2 * g) * width, 0, 0); /* q, k, v side by side */
    const gf_tensor q = gf_view(all.data, run, "q", n, h, width);
    gf_tensor x[3] = {
        q, gf_view((char *)all.data + gf_row_bytes(run, h * width), run, "k", n, g, width),
        gf_view((char *)all.data + gf_row_bytes(run, (h + g) * width), run, "v", n, g, width)};
    for (int i = 0; i < 3; i++)
        x[i].stride = all.stride;
    const gf_tensor o = make(run, n, h, width, 16), d_o = make(run, n, h, width, 16);
    const gf_tensor lse = make(GF_F32, n, h, 0, 4), delta = make(GF_F32, n, h, 0, 4);
    const gf_tensor dq = make(run, n, h, width, 0), dk = make(run, n, g, width, 0);
    const gf_tensor dv = make(run, n, g, width, 0);
    DEVICE_OK(&be, gf_attention_fwd(&be, o, lse, x[0], x[1], x[2], &row.row, 0.1f, 0, 0.0f));
    DEVICE_OK(&be, gf_attention_bwd(&be, dq, dk, dv, delta, d_o, o, lse, x[0], x[1], x[2], &row.row,
                                    0.1f, 0, 0.0f, gf_none, gf_none));
    DEVICE_OK(&be, gf_wait(&be));
    device_unbind(&be, &row);
}

/* One new token of each of two sequences against what was kept of the earlier ones. */
static void decode(gf_dtype run, int64_t width)
{
    const gf_span span[2] = {{0, 1, 0, 300, 0}, {1, 1, 300, 212, 1}};
    const int64_t h = 8, g = 2;
    device_row row = device_bind(&be, (gf_spans){.tokens = 2, .count = 2, .span = span}, 2, 0);
    const gf_tensor q = make(run, 2, h, width, 0), o = make(run, 2, h, width, 0);
    const gf_tensor k = make(run, 512, g, width, 0), v = make(run, 512, g, width, 0);
    const gf_tensor lse = make(GF_F32, 2, h, 0, 0);
    DEVICE_OK(&be, gf_attention_fwd(&be, o, lse, q, k, v, &row.row, 0.1f, 0, 0.0f));
    DEVICE_OK(&be, gf_wait(&be));
    device_unbind(&be, &row);
}

Test(traffic, attention)
{
    static const int64_t widths[] = {32, 64, 80, 96, 128, 256};
    begin();
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        attention(GF_BF16, widths[i]);
        decode(GF_BF16, widths[i]);
    }
    attention(GF_F32, 64);
    attention(GF_F32, 128);
    attention(GF_F32, 256);
    decode(GF_F32, 128);
    end();
}

/* ---- adapters
 * ---------------------------------------------------------------------------------------- */
/* A group of one or two layers of n outputs over k inputs, rank r each, as the model lays it out.
 */
static void adapters(gf_dtype run, gf_dtype dx_type, int count, int64_t r, float p)
{
    const int64_t n = 512, k = 768, tokens = 320, rank = r * count, tail = (rank + 15) / 16 * 16;
    const gf_span span[2] = {{0, 200, 0, 200, 0}, {200, 120, 200, 120, 1}};
    device_row row =
        device_bind(&be, (gf_spans){.tokens = tokens, .count = 2, .span = span}, tokens, 0);
    const int64_t pitch = (k + tail + 63) / 64 * 64;
    const gf_tensor w = make(run, n * count + tail, k + tail, 0, pitch - k - tail);
    gf_group group = {.count = count, .align = 8, .tail = tail};
    for (int i = 0; i < count; i++)
        group.lin[i] = (gf_linear){.w = gf_cols(gf_rows(w, n * i, n), 0, k),
                                   .a = make(GF_F32, r, k, 0, 0),
                                   .b = make(GF_F32, n, r, 0, 0),
                                   .da = make(GF_I64, r, k, 0, 0),
                                   .db = make(GF_I64, n, r, 0, 0),
                                   .scale = 2.0f,
                                   .module = (uint32_t)i};
    gf_tensor x = make(run, tokens, k + tail, 0, pitch - k - tail);
    gf_tensor dy = make(run, tokens, n * count + tail, 0, (64 - tail % 64) % 64);
    const gf_tensor y = make(run, tokens, n * count, 0, 0), s = make(run, tokens, rank, 0, 0);
    const gf_tensor dx = make(dx_type, tokens, k, 0, tail);
    const gf_tensor p_scratch = gf_cols(dy, n * count, rank);
    x.dim[1] = k;
    dy.dim[1] = n * count;
    gf_fixed fixed = {.shift = 40, .sums = vector(GF_I64, GF_SUMS)};
    const gf_dropout drop = {p, 7, 0};
    DEVICE_OK(&be, gf_group_tails(&be, &group));
    DEVICE_OK(&be, gf_group_linear_fwd(&be, y, s, x, gf_none, &group, &row.row, drop));
    DEVICE_OK(&be,
              gf_group_linear_bwd(&be, dx, p_scratch, dy, x, s, &group, &row.row, drop, &fixed));
    DEVICE_OK(
        &be, /* without dx, dB has a pass over dy of its own */
        gf_group_linear_bwd(&be, gf_none, p_scratch, dy, x, s, &group, &row.row, drop, &fixed));
    group.norm = make(GF_F32, 2, n * count, 0, 0);
    gf_linear *dora = &group.lin[count - 1]; /* of two layers one has none */
    dora->magnitude = vector(GF_F32, n);
    dora->dmagnitude = vector(GF_I64, n);
    const gf_tensor z = make(run, tokens, n * count, 0, 0),
                    dz = make(run, tokens, n * count, 0, 64);
    DEVICE_OK(&be, gf_dora_norms(&be, &group));
    DEVICE_OK(&be, gf_dora_fwd(&be, y, z, gf_none, &group));
    DEVICE_OK(&be, gf_dora_fwd(&be, make(GF_F32, tokens, n * count, 0, 0), z, gf_none, &group));
    DEVICE_OK(&be, gf_dora_bwd(&be, dz, dy, z, &group, &row.row, &fixed));
    DEVICE_OK(&be, gf_wait(&be));
    device_unbind(&be, &row);
}

Test(traffic, adapters)
{
    static const int64_t ranks[] = {8, 16, 32, 64, 128};
    begin();
    for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++) {
        adapters(GF_BF16, GF_BF16, 1, ranks[i], 0.0f);
        if (ranks[i] <= 64)
            adapters(GF_F32, GF_F32, 1, ranks[i], 0.0f);
    }
    adapters(GF_BF16, GF_F32, 2, 16, 0.0f);
    adapters(GF_BF16, GF_F32, 2, 16, 0.1f);
    adapters(GF_BF16, GF_BF16, 1, 16, 0.1f);
    adapters(GF_F32, GF_F32, 1, 16, 0.1f);
    end();
}
