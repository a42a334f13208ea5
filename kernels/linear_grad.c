/* linear_grad.c - dA and dB: outer products over chunks of tokens, added in fixed point.
 * Contract: linear.h. */
#include "linear.h"

#include "fixed.h"

#include <string.h>

enum {
    WIDE = GF_PACK_STRIPS * GF_STRIP, /* columns packed at a time */
    CHUNKS = 512,                     /* of one call of the threads; bounds their statistics */
    SLICE_R = 768,                    /* ranks packed at a time: 1.5 MiB for 512 tokens */
    GRADS = 6,
};
#define TAIL_WORDS ((int64_t)SLICE_R * GF_CHUNK)
#define WIDE_WORDS ((int64_t)WIDE * GF_CHUNK)

typedef struct {
    int64_t first, tokens;
} chunk;

typedef struct {
    const gf_linear_grads *job;
    const chunk *chunk;
    int chunks;
    fixed_scale scale;
    int64_t strip[GRADS + 1]; /* first strip of each gradient, then their number */
} batch;

/* A thread's share of its scratch. */
typedef struct {
    float *tail, *wide, *buf;
    uint32_t *stat; /* [chunks][GRADS] */
} space;

static space space_of(gf_pool *pool, int thread)
{
    space s;
    s.tail = gf_pool_scratch(pool, thread);
    s.wide = s.tail + TAIL_WORDS;
    s.buf = s.wide + WIDE_WORDS;
    s.stat = (uint32_t *)(void *)(s.buf + GF_PACK_BUF);
    return s;
}

/* ---- panels --------------------------------------------------------------------------- */

/* Ranks in panels of equal height, so that r = 16 is 8 + 8 and not 12 + 4. */
static int64_t panel_height(int64_t r)
{
    const int64_t panels = (r + GF_MR - 1) / GF_MR;
    return (r + panels - 1) / panels;
}

/* tail[:, r0 .. r0 + r) of a chunk as panels of A. */
static void pack_tail(float *dst, const gf_linear_grad *g, const chunk *c, int64_t r0, int64_t r)
{
    float row[SLICE_R];
    const int64_t height = panel_height(r);
    const char *src = (const char *)g->tail.data;
    const int64_t step = gf_row_bytes(g->tail.dtype, g->tail.ld);
    for (int64_t t = 0; t < c->tokens; t++) {
        GF_CPU(to_f32)
        (row, g->tail.dtype, src + (c->first + t) * step, r0, r);
        float *d = dst + gf_panel_at(0, t);
        for (int64_t i = 0; i < r; i += height, d += gf_panel_size(c->tokens))
            for (int64_t j = 0; j < height && i + j < r; j++)
                d[j * GF_DEPTH] = row[i + j];
    }
}

/* Columns [n0, n0 + n) of a chunk as panels [token][NR], zero beyond n. */
static void pack_wide(float *dst, const gf_linear_grad *g, const chunk *c, int64_t n0, int64_t n,
                      float *buf)
{
    if (!g->mask) {
        const int64_t k = c->tokens;
        GF_CPU(pack_b)(dst, k, GF_WORD_F32, &g->wide, true, n0, n, c->first, k, buf);
        return;
    }
    float row[WIDE] = {0};
    uint16_t half[WIDE];
    const char *src = (const char *)g->wide.data + gf_row_bytes(g->wide.dtype, n0);
    const int64_t step = gf_row_bytes(g->wide.dtype, g->wide.ld);
    for (int64_t t = 0; t < c->tokens; t++) {
        GF_CPU(to_f32)(row, g->wide.dtype, src + (c->first + t) * step, 0, n);
        GF_CPU(mask_row)(row, g->mask, c->first + t, n0, n);
        if (g->wide.dtype == GF_BF16) { /* as the forward pass rounded it */
            GF_CPU(from_f32)(GF_BF16, half, row, n);
            GF_CPU(to_f32)(row, GF_BF16, half, 0, n);
        }
        for (int64_t j = 0; j < n; j += GF_NR)
            memcpy(dst + j * c->tokens + t * GF_NR, row + j, GF_NR * sizeof *dst);
    }
}

/* ---- tiles ---------------------------------------------------------------------------- */

/* Adds a tile [rows][NR] to out, rows being ranks from r0 on and columns from n0 on. */
static uint32_t add_tile(const batch *b, const gf_linear_grad *g, const float *tile, int64_t r0,
                         int64_t rows, int64_t n0, int64_t n)
{
    int64_t *out = g->out.data;
    uint32_t stat = 0;
    if (!g->across) {
        for (int64_t i = 0; i < rows; i++)
            stat = fixed_merge(stat, fixed_add(b->scale, out + (r0 + i) * g->out.stride + n0,
                                               tile + i * GF_NR, n));
        return stat;
    }
    for (int64_t j = 0; j < n; j++) {
        float column[GF_MR];
        for (int64_t i = 0; i < rows; i++)
            column[i] = tile[i * GF_NR + j];
        stat = fixed_merge(stat,
                           fixed_add(b->scale, out + (n0 + j) * g->out.stride + r0, column, rows));
    }
    return stat;
}

/* The strips [s0, s1) of one gradient over one chunk. */
static uint32_t one_gradient(const batch *b, const gf_linear_grad *g, const chunk *c, int64_t s0,
                             int64_t s1, const space *s)
{
    uint32_t stat = 0;
    const int64_t end = s1 * GF_STRIP < g->width ? s1 * GF_STRIP : g->width;
    for (int64_t r0 = 0; r0 < g->r; r0 += SLICE_R) {
        const int64_t r = g->r - r0 < SLICE_R ? g->r - r0 : SLICE_R, height = panel_height(r);
        pack_tail(s->tail, g, c, r0, r);
        for (int64_t n0 = s0 * GF_STRIP; n0 < end; n0 += WIDE) {
            const int64_t n = end - n0 < WIDE ? end - n0 : WIDE;
            pack_wide(s->wide, g, c, n0, n, s->buf);
            for (int64_t j = 0; j < n; j += GF_NR) {
                const int64_t columns = n - j < GF_NR ? n - j : GF_NR;
                const int nv = columns > GF_VL ? 2 : 1;
                gf_runs runs = {.k = {c->tokens, 0}, .a = s->tail};
                for (int64_t i = 0; i < r; i += height) {
                    float t[GF_MR * GF_NR];
                    const int64_t rows = r - i < height ? r - i : height;
                    gf_tile_fn *const tile = GF_CPU(tile)(GF_WORD_F32, (int)rows, nv);
                    tile(&runs, s->wide + j * c->tokens, t, GF_NR, false);
                    stat = fixed_merge(stat, add_tile(b, g, t, r0 + i, rows, n0 + j, columns));
                    runs.a += gf_panel_size(c->tokens);
                }
            }
        }
    }
    return stat;
}

static void run_thread(void *ctx, int thread, int threads)
{
    const batch *b = ctx;
    const space s = space_of(b->job->pool, thread);
    int64_t begin, end;
    gf_pool_split(b->strip[b->job->count], 1, thread, threads, &begin, &end);
    memset(s.stat, 0, (size_t)b->chunks * GRADS * sizeof *s.stat);
    for (int c = 0; c < b->chunks; c++)
        for (int i = 0; i < b->job->count; i++) {
            const int64_t low = b->strip[i], high = b->strip[i + 1];
            const int64_t s0 = begin > low ? begin : low, s1 = end < high ? end : high;
            if (s0 < s1)
                s.stat[c * GRADS + i] =
                    one_gradient(b, &b->job->of[i], &b->chunk[c], s0 - low, s1 - low, &s);
        }
}

/* ---- batches of chunks ---------------------------------------------------------------- */

/* The greatest |g| of a chunk of a weight, over all threads, goes into the counters. */
static void count(const batch *b)
{
    for (int i = 0; i < b->chunks * GRADS; i++) {
        uint32_t stat = 0;
        for (int t = 0; t < gf_pool_threads(b->job->pool); t++)
            stat = fixed_merge(stat, space_of(b->job->pool, t).stat[i]);
        fixed_count(b->job->fixed, stat);
    }
}

static void run_batch(batch *b)
{
    if (b->chunks == 0)
        return;
    gf_pool_run(b->job->pool, run_thread, b);
    count(b);
    b->chunks = 0;
}

void GF_CPU(linear_grads)(const gf_linear_grads *job)
{
    chunk list[CHUNKS];
    batch b = {.job = job, .chunk = list, .scale = fixed_scale_of(job->fixed)};
    for (int i = 0; i < job->count; i++)
        b.strip[i + 1] = b.strip[i] + (job->of[i].width + GF_STRIP - 1) / GF_STRIP;
    for (int i = 0; i < job->row->count; i++) {
        const gf_span *span = &job->row->span[i];
        for (int64_t t = 0; t < span->len; t += GF_CHUNK) {
            const int64_t left = span->len - t;
            list[b.chunks++] = (chunk){span->start + t, left < GF_CHUNK ? left : GF_CHUNK};
            if (b.chunks == CHUNKS)
                run_batch(&b);
        }
    }
    run_batch(&b);
}
