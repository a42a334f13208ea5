/* gemm.c - the loops around the tiles. Contract: gemm.h.
 *
 *     rows in chunks | columns in chunks | blocks of k | four strips: pack B | rows: pack A | tiles
 *
 * A block of A ([rows][block], 1.5 MiB) is streamed from the outer caches, one panel of it and one
 * panel of B live in the inner ones. While the tiles of a stage are computed, what the next one
 * packs is called into the cache. */
#include "gemm_stage.h"

#include <assert.h>
#include <string.h>

enum {
    PARK_STRIPS = 16,                      /* columns whose parked sums fit into the scratch: 512 */
    PARK_LD = PARK_STRIPS * GF_STRIP + 16, /* not a power of two: rows lie in different sets */
    WIDTH = GF_PACK_STRIPS * GF_STRIP,     /* columns of a stage */
    MASK_BYTES = WIDTH / 8,
    MAX_ROWS = 2040, /* of a chunk, whole panels: bounds the mask bits */
};
#define STREAM_BYTES ((int64_t)24 << 20) /* most of a common L3 */
#define A_WORDS ((int64_t)393216)        /* 1.5 MiB of GF_POOL_SCRATCH */
#define B_WORDS ((int64_t)131072)        /* 0.5 MiB: four strips of 1024 words */
#define PARK_WORDS ((int64_t)393216)     /* 1.5 MiB */

typedef struct {
    const gf_gemm_plan *p;
    float *a, *b, *park, *buf;
    uint8_t *bits;                    /* [rows][MASK_BYTES], of the strips at work */
    int64_t row, rows, strip, strips; /* the chunk at work */
    int64_t panel;                    /* size of a panel of A in this block */
    gf_gemm_stage now;
    bool unpacked;     /* A of this block: done as the first stage meets it */
    gf_ahead ahead[2]; /* A and B */
} work;

/* ---- what comes next ------------------------------------------------------------------ */

/* Adds rows [row, row + rows), elements [from, to) of an operand; returns their lines. */
static int64_t add_source(gf_ahead *list, const gf_operand *o, int64_t row, int64_t rows,
                          int64_t from, int64_t to)
{
    const int64_t unit = gf_dtype_block(o->dtype), step = gf_row_bytes(o->dtype, o->ld);
    const char *first = (const char *)o->data + step * row;
    const char *low = first + gf_row_bytes(o->dtype, from / unit * unit);
    const char *high = first + gf_row_bytes(o->dtype, (to + unit - 1) / unit * unit);
    gf_source s = {.at = low - (uintptr_t)low % GF_CACHE_LINE, .step = step, .rows = rows};
    s.lines = (high - s.at + GF_CACHE_LINE - 1) / GF_CACHE_LINE;
    if (rows > 0)
        list->of[list->count++] = s;
    return rows * s.lines;
}

/* The tiles of this stage are one wide one. */
static bool is_few(const work *w)
{
    return w->rows <= GF_FEW && w->now.n == WIDTH && !w->p->park && w->now.k.masked_segment < 0;
}

/* Notes what will be packed next: the rows of A behind the first panel, and the B of stage *next
 * (if any). */
static void look_ahead(work *w, const gf_gemm_stage *next)
{
    const gf_gemm_plan *p = w->p;
    const gf_gemm_block *now = &w->now.k;
    int64_t begin, end, k0, k, lines[2] = {0, 0};
    w->ahead[0] = w->ahead[1] = (gf_ahead){0};
    if (w->unpacked && w->rows > GF_MR)
        for (int i = 0; i < p->g->parts; i++)
            if (GF_CPU(part_in_block)(p, now, i, &begin, &end, &k0, &k))
                lines[0] += add_source(&w->ahead[0], &p->g->part[i].a, w->row + GF_MR,
                                       w->rows - GF_MR, k0, k0 + k);
    const gf_gemm_group *group = &p->g->group[next->group];
    for (int i = 0; i < group->segments && next->n > 0; i++) {
        const gf_gemm_segment *seg = &group->segment[i];
        if (!GF_CPU(part_in_block)(p, &next->k, seg->part, &begin, &end, &k0, &k))
            continue;
        if (seg->nn)
            lines[1] += add_source(&w->ahead[1], &seg->b, k0, k, next->n0, next->n0 + next->n);
        else
            lines[1] += add_source(&w->ahead[1], &seg->b, next->n0, next->n, k0, k0 + k);
    }
    const int64_t tiles = (w->rows + GF_MR - 1) / GF_MR * ((w->now.n + GF_NR - 1) / GF_NR);
    const int64_t calls = (is_few(w) ? 1 : tiles) * ((now->end - now->begin) / GF_DEPTH + 1);
    for (int i = 0; i < 2; i++)
        w->ahead[i].rate = (int)((lines[i] + calls - 1) / calls);
}

/* ---- packing a block ------------------------------------------------------------------ */

/* The panel of A at row i of the chunk. */
static void pack_panel(const work *w, int64_t i)
{
    const gf_gemm_plan *p = w->p;
    const int64_t rows = w->rows - i < GF_MR ? w->rows - i : GF_MR;
    float *panel = w->a + i / GF_MR * w->panel;
    for (int j = 0; j < w->now.k.parts; j++) {
        const gf_gemm_part *part = &p->g->part[w->now.k.first_part + j];
        int64_t begin, end, k0, k;
        if (GF_CPU(part_in_block)(p, &w->now.k, w->now.k.first_part + j, &begin, &end, &k0, &k))
            GF_CPU(pack_a)(panel, begin, p->word, &part->a, part->mask, w->row + i, rows, k0, k);
    }
}

/* Packs B of columns [n0, n0 + n) of a group; returns its words of k and fills in the runs of A
 * that they belong to. */
static int64_t pack_columns(const work *w, const gf_gemm_group *group, int64_t n0, int64_t n,
                            gf_runs *runs)
{
    const gf_gemm_plan *p = w->p;
    int64_t begin, end, k0, k, height = 0;
    for (int s = 0; s < group->segments; s++)
        if (GF_CPU(part_in_block)(p, &w->now.k, group->segment[s].part, &begin, &end, &k0, &k))
            height += end - begin;
    int64_t at = 0, run_end = -1;
    int run = -1;
    *runs = (gf_runs){.a = w->a};
    for (int s = 0; s < group->segments; s++) {
        const gf_gemm_segment *seg = &group->segment[s];
        if (!GF_CPU(part_in_block)(p, &w->now.k, seg->part, &begin, &end, &k0, &k))
            continue;
        if (begin != run_end) {
            run++;
            assert(run < 2); /* x and one tail, or all parts in a row */
            runs->begin[run] = begin;
        }
        runs->k[run] += end - begin;
        run_end = end;
        GF_CPU(pack_b)(w->b + at * GF_NR, height, p->word, &seg->b, seg->nn, n0, n, k0, k, w->buf);
        at += end - begin;
    }
    return height;
}

/* ---- tiles ---------------------------------------------------------------------------- */

/* Where a tile lies. */
typedef struct {
    const gf_gemm_group *group;
    int64_t row, column; /* in C */
    int64_t n0;          /* column inside the group */
    int rows, columns;
    float *park;         /* its parked sums, if the plan has any */
    const uint8_t *bits; /* of its first row and column */
} place;

static float *c_at(const gf_gemm *g, int64_t row, int64_t column)
{
    return (float *)g->c + row * g->ldc + column;
}

/* t = residual + bias. False: there is neither, t is untouched. */
static bool start_tile(const gf_gemm *g, const place *at, float *t, int64_t ldt)
{
    const float *bias = at->group->bias ? at->group->bias + at->n0 : NULL;
    if (!bias && !g->residual)
        return false;
    const size_t bytes = (size_t)at->columns * sizeof *t;
    for (int i = 0; i < at->rows; i++) {
        const float *r = g->residual ? g->residual + (at->row + i) * g->ldr + at->column : NULL;
        float *d = t + i * ldt;
        if (bias && r)
            for (int j = 0; j < at->columns; j++)
                d[j] = r[j] + bias[j];
        else if (d != (r ? r : bias))
            memcpy(d, r ? r : bias, bytes);
    }
    return true;
}

/* Brings the sums so far into t. False: they are zero. */
static bool resume_tile(const work *w, const place *at, float *t, int64_t ldt, bool local)
{
    if (w->now.k.first)
        return start_tile(w->p->g, at, t, ldt);
    if (local)
        for (int i = 0; i < at->rows; i++)
            memcpy(t + i * ldt, c_at(w->p->g, at->row + i, at->column),
                   (size_t)at->columns * sizeof *t);
    return true;
}

static void leave_tile(const gf_gemm_plan *p, const place *at, float *t, int64_t ldt, bool last)
{
    const gf_gemm *g = p->g;
    const float scale = at->group->scale;
    if (last && scale != 1.0f)
        for (int i = 0; i < at->rows; i++)
            for (int j = 0; j < at->columns; j++)
                t[i * ldt + j] *= scale;
    if (g->c_dtype == GF_F32 ? t == c_at(g, at->row, at->column) : !last)
        return;
    char *c = (char *)g->c + gf_row_bytes(g->c_dtype, at->row * g->ldc + at->column);
    GF_CPU(tile_out)(g->c_dtype, c, g->ldc, t, ldt, at->rows, at->columns, p->stream);
}

/* t += dropout'(u); u is spent. */
static void add_masked(const gf_mask *m, const place *at, float *t, int64_t ldt, float *u)
{
    const float inverse = 1.0f / (1.0f - m->drop.p);
    for (int i = 0; i < at->rows; i++, t += ldt, u += GF_NR) {
        GF_CPU(mask_apply)(u, at->bits + (int64_t)i * MASK_BYTES, inverse, at->columns);
        for (int j = 0; j < at->columns; j++)
            t[j] += u[j];
    }
}

static void one_tile(const work *w, const place *at, const gf_runs *runs, const float *b)
{
    const gf_gemm_plan *p = w->p;
    const gf_gemm *g = p->g;
    float local[GF_MR * GF_NR], product[GF_MR * GF_NR];
    const int nv = at->columns > GF_VL ? 2 : 1;
    float *t = local;
    int64_t ldt = GF_NR;
    if (p->park) {
        t = at->park;
        ldt = PARK_LD;
    } else if (!p->stream && g->c_dtype == GF_F32 && at->columns == nv * GF_VL) {
        t = c_at(g, at->row, at->column);
        ldt = g->ldc;
    }
    const bool load = resume_tile(w, at, t, ldt, t == local);
    gf_tile_fn *const tile = GF_CPU(tile)(p->word, at->rows, nv);
    if (w->now.k.masked_segment >= 0) {
        assert(!w->now.k.first); /* something unmasked comes before */
        tile(runs, b, product, GF_NR, false);
        add_masked(at->group->segment[w->now.k.masked_segment].mask, at, t, ldt, product);
    } else {
        tile(runs, b, t, ldt, load);
    }
    leave_tile(p, at, t, ldt, w->now.k.last);
}

/* ---- the loops ------------------------------------------------------------------------ */

/* Calls the sums of the tile behind `at` into the cache: a tile begins by reading them. */
static void call_sums(const gf_gemm_plan *p, const place *at)
{
    const int64_t size = p->park || p->g->c_dtype == GF_F32 ? 4 : 2;
    const int64_t ld = p->park ? PARK_LD : p->g->ldc;
    const char *t = p->park ? (const char *)at->park
                            : (const char *)p->g->c + (at->row * ld + at->column) * size;
    for (int64_t i = GF_MR; i < 2 * GF_MR; i++)
        for (int64_t j = 0; j < at->columns * size; j += GF_CACHE_LINE)
            __builtin_prefetch(t + i * ld * size + j, 1, 3);
}

/* The tile at row i and column j of a stage. */
static place place_of(const work *w, int64_t i, int64_t j)
{
    const gf_gemm_plan *p = w->p;
    const int group = w->now.group;
    const int64_t n0 = w->now.n0 + j, left = w->now.n - j;
    const int64_t park_column = (p->group_strip[group] - w->strip) * GF_STRIP + n0;
    return (place){
        .group = &p->g->group[group],
        .row = w->row + i,
        .column = p->group_column[group] + n0,
        .n0 = n0,
        .rows = (int)(w->rows - i < GF_MR ? w->rows - i : GF_MR),
        .columns = (int)(left < GF_NR ? left : GF_NR),
        .park = p->park ? w->park + i * PARK_LD + park_column : NULL,
        .bits = w->bits + i * MASK_BYTES + j / 8,
    };
}

/* The tiles of a stage whose B is packed, for all rows of the chunk. */
static void all_tiles(work *w, int64_t height, const gf_runs *packed)
{
    const gf_gemm_plan *p = w->p;
    const int64_t n = w->now.n;
    gf_runs runs = *packed;
    runs.ahead = w->ahead;
    for (int64_t i = 0; i < w->rows; i += GF_MR, runs.a += w->panel) {
        if (w->unpacked)
            pack_panel(w, i);
        for (int64_t j = 0; j < n; j += GF_NR) {
            const place at = place_of(w, i, j);
            if (!p->stream && i + 2 * GF_MR <= w->rows)
                call_sums(p, &at);
            one_tile(w, &at, &runs, w->b + j * height);
        }
    }
}

/* The same for few rows and whole chunks of strips. */
static void few_rows(work *w, int64_t height, const gf_runs *packed)
{
    float t[GF_MR * GF_NR];
    gf_runs runs = *packed;
    runs.ahead = w->ahead;
    runs.b_panel = GF_NR * height;
    bool load = false;
    for (int64_t j = 0; j < WIDTH; j += GF_NR) {
        const place at = place_of(w, 0, j);
        load = resume_tile(w, &at, t + j, WIDTH, true);
    }
    GF_CPU(tile)(w->p->word, (int)w->rows, 8)(&runs, w->b, t, WIDTH, load);
    for (int64_t j = 0; j < WIDTH; j += GF_NR) {
        const place at = place_of(w, 0, j);
        leave_tile(w->p, &at, t + j, WIDTH, w->now.k.last);
    }
}

static void one_stage(work *w)
{
    const gf_gemm_group *group = &w->p->g->group[w->now.group];
    const gf_gemm_block *k = &w->now.k;
    const int64_t n0 = w->now.n0, n = w->now.n;
    gf_runs runs;
    const int64_t height = pack_columns(w, group, n0, n, &runs);
    if (height == 0 && !k->first && !k->last)
        return;
    const gf_mask *mask = k->masked_segment < 0 ? NULL : group->segment[k->masked_segment].mask;
    for (int64_t i = 0; mask && i < w->rows; i++)
        GF_CPU(mask_bits)(w->bits + i * MASK_BYTES, mask, w->row + i, n0, n);
    if (is_few(w) && w->unpacked)
        pack_panel(w, 0);
    if (is_few(w))
        few_rows(w, height, &runs);
    else
        all_tiles(w, height, &runs);
    w->unpacked = false;
}

static void one_chunk(work *w)
{
    gf_gemm_stage next = {0};
    bool fresh = GF_CPU(next_stage)(w->p, w->strip, w->strips, &next);
    while (next.n > 0) {
        w->now = next;
        if (fresh) {
            w->panel = gf_panel_size(w->now.k.end - w->now.k.begin);
            w->unpacked = true;
        }
        fresh = GF_CPU(next_stage)(w->p, w->strip, w->strips, &next);
        look_ahead(w, &next);
        one_stage(w);
    }
}

static void run_thread(void *ctx, int thread, int threads)
{
    (void)threads;
    const gf_gemm_plan *p = ctx;
    if (thread >= p->rows_split * p->strips_split)
        return;
    int64_t m0, m1, s0, s1;
    gf_pool_split(p->g->m, GF_MR, thread / p->strips_split, p->rows_split, &m0, &m1);
    gf_pool_split(p->group_strip[p->g->groups], 1, thread % p->strips_split, p->strips_split, &s0,
                  &s1);
    float *scratch = gf_pool_scratch(p->pool, thread);
    work w = {.p = p, .a = scratch};
    w.b = w.a + A_WORDS;
    w.park = w.b + B_WORDS;
    w.buf = w.park + PARK_WORDS;
    w.bits = (uint8_t *)(w.buf + GF_PACK_BUF);
    /* Chunks of equal size, so that none is a small rest that packs B for nothing. */
    const int64_t chunks = (m1 - m0 + p->chunk_rows - 1) / p->chunk_rows;
    const int64_t step = p->park ? PARK_STRIPS : s1 - s0;
    for (int64_t c = 0; c < chunks; c++) {
        int64_t begin, end;
        gf_pool_split(m1 - m0, GF_MR, (int)c, (int)chunks, &begin, &end);
        w.row = m0 + begin;
        w.rows = end - begin;
        for (int64_t s = s0; s < s1; s += step) {
            w.strip = s;
            w.strips = s1 - s < step ? s1 - s : step;
            one_chunk(&w);
        }
    }
    if (p->stream)
        GF_CPU(tile_fence)();
}

/* ---- the plan ------------------------------------------------------------------------- */

/* Rows x columns of threads with the least work for the busiest one. Costs in cycles a word of k:
 * a tile 12, packing a panel of A 4, a strip of B 16. */
static void choose_grid(gf_gemm_plan *p, int threads)
{
    const int64_t panels = (p->g->m + GF_MR - 1) / GF_MR, strips = p->group_strip[p->g->groups];
    int64_t best = INT64_MAX;
    for (int r = 1; r <= threads; r++) {
        const int s = threads / r;
        const int64_t a = (panels + r - 1) / r, b = (strips + s - 1) / s;
        const int64_t cost = 12 * a * b + 4 * a + 16 * b;
        if (cost < best) {
            best = cost;
            p->rows_split = r;
            p->strips_split = s;
        }
    }
}

static gf_word word_of(const gf_gemm *g)
{
    if (g->part[0].a.dtype == GF_F32)
        return GF_WORD_F32;
    return GF_HAVE_PAIRS ? GF_WORD_PAIR : GF_WORD_ROUND;
}

void GF_CPU(gemm)(gf_pool *pool, const gf_gemm *g)
{
    gf_gemm_plan p = {.g = g, .pool = pool, .word = word_of(g)};
    for (int i = 0; i < g->parts; i++)
        p.words[i] = gf_words(p.word, g->part[i].k);
    for (int i = 0; i < g->groups; i++) {
        p.group_strip[i + 1] = p.group_strip[i] + (g->group[i].n + GF_STRIP - 1) / GF_STRIP;
        p.group_column[i + 1] = p.group_column[i] + g->group[i].n;
    }
    if (g->m == 0 || p.group_strip[g->groups] == 0)
        return;
    int64_t highest = 1, blocks = 0;
    for (gf_gemm_block b = {0}; GF_CPU(next_block)(&p, &b); blocks++)
        if (b.end - b.begin > highest)
            highest = b.end - b.begin;
    p.park = blocks > 1 && g->c_dtype != GF_F32;
    p.stream = blocks == 1 && gf_row_bytes(g->c_dtype, g->ldc) * g->m >= STREAM_BYTES;
    p.chunk_rows = A_WORDS / gf_panel_size(highest) * GF_MR;
    if (p.chunk_rows > MAX_ROWS)
        p.chunk_rows = MAX_ROWS;
    if (p.park && p.chunk_rows > PARK_WORDS / PARK_LD)
        p.chunk_rows = PARK_WORDS / PARK_LD / GF_MR * GF_MR;
    choose_grid(&p, gf_pool_threads(pool));
    gf_pool_run(pool, run_thread, &p);
}
