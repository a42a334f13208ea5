/* test_row.c - a row's lists cover its tokens as row.h says, in the order it says; buckets and
 * shapes. */
#include "support/device_case.h"

#include "cuda/cuda.h"

#define MOST 64

typedef struct {
    gf_span span[MOST];
    int count;
    int64_t tokens;
} spans;

static void add(spans *s, int64_t len, uint64_t example)
{
    s->span[s->count++] = (gf_span){
        .start = s->tokens, .len = len, .kv_start = s->tokens, .kv_len = len, .example = example};
    s->tokens += len;
}

static gf_spans view(const spans *s)
{
    return (gf_spans){.tokens = s->tokens, .count = s->count, .span = s->span};
}

/* What is on the device, on the host. */
static char *fetch(gf_backend *be, const device_row *d)
{
    char *work = malloc((size_t)gf_count(d->row.work));
    DEVICE_OK(be, gf_download(be, work, d->row.work));
    DEVICE_OK(be, gf_wait(be));
    return work;
}

static int64_t weight(const gf_row_tile *t, const spans *s, bool queries)
{
    if (t->span < 0)
        return 0;
    const gf_span x = s->span[t->span];
    return queries ? x.kv_len - x.len + t->at + t->count : x.len - t->at;
}

/* Each token in exactly one tile, tiles in descending order of work, equals by position. */
static void check_tiles(const char *work, uint32_t at, int32_t tiles, const spans *s, int64_t n,
                        bool queries)
{
    const gf_row_tile *t = (const gf_row_tile *)(const void *)(work + at);
    unsigned char *seen = calloc((size_t)n, 1);
    for (int32_t i = 0; i < tiles; i++) {
        const bool filler = t[i].span < 0;
        const int64_t start = filler ? s->tokens : s->span[t[i].span].start;
        const int64_t len = filler ? n - s->tokens : s->span[t[i].span].len;
        cr_assert_eq(t[i].first, start + t[i].at);
        cr_assert_eq(t[i].at % GF_TILE, 0);
        cr_assert_eq(t[i].count, len - t[i].at < GF_TILE ? len - t[i].at : GF_TILE);
        for (int32_t j = 0; j < t[i].count; j++)
            cr_assert_eq(seen[t[i].first + j]++, 0);
        if (i > 0) {
            const int64_t before = weight(&t[i - 1], s, queries), now = weight(&t[i], s, queries);
            cr_assert(before > now || (before == now && t[i - 1].first < t[i].first));
        }
    }
    for (int64_t i = 0; i < n; i++)
        cr_assert_eq(seen[i], 1, "token %lld", (long long)i);
    free(seen);
}

static void check_row(gf_backend *be, const spans *s, int64_t n, uint32_t epoch)
{
    device_row d = device_bind(be, view(s), n, epoch);
    char *work = fetch(be, &d);
    gf_row_header h;
    memcpy(&h, work, sizeof h);
    cr_assert_eq(h.tokens, s->tokens);
    cr_assert_eq(h.rows, n);
    cr_assert_eq(h.epoch, epoch);
    cr_assert_eq(h.spans, s->count);
    const uint32_t at[] = {h.span_at, h.query_at, h.key_at, h.chunk_at, h.token_at, h.peak_at};
    for (int i = 0; i < 6; i++)
        cr_assert_eq(at[i] % 256, 0);
    const gf_row_header told = gf_cuda_row_header(be, &d.row, n, epoch);
    cr_assert(memcmp(&told, &h, sizeof h) == 0);
    check_tiles(work, h.query_at, h.tiles, s, n, true);
    check_tiles(work, h.key_at, h.tiles, s, n, false);
    const gf_row_span *span = (const gf_row_span *)(const void *)(work + h.span_at);
    const gf_row_chunk *chunk = (const gf_row_chunk *)(const void *)(work + h.chunk_at);
    const gf_row_token *token = (const gf_row_token *)(const void *)(work + h.token_at);
    int32_t chunks = 0;
    int64_t t = 0;
    for (int i = 0; i < s->count; i++) {
        const gf_span x = s->span[i];
        cr_assert(span[i].start == x.start && span[i].len == x.len &&
                  span[i].kv_start == x.kv_start && span[i].kv_len == x.kv_len);
        for (int64_t j = 0; j < x.len; j++, t++) {
            cr_assert_eq(token[t].example, x.example);
            cr_assert_eq(token[t].position, x.kv_len - x.len + j);
            const gf_row_chunk c = chunk[token[t].chunk];
            cr_assert_eq(token[t].chunk, chunks + j / GF_CHUNK);
            cr_assert_eq(c.first, x.start + j / GF_CHUNK * GF_CHUNK);
            cr_assert_eq(c.count,
                         x.len - j / GF_CHUNK * GF_CHUNK < GF_CHUNK ? x.len % GF_CHUNK : GF_CHUNK);
        }
        chunks += (int32_t)((x.len + GF_CHUNK - 1) / GF_CHUNK);
    }
    cr_assert_eq(h.chunks, chunks);
    cr_assert_leq(h.chunks, h.chunk_room);
    for (; t < n; t++)
        cr_assert(token[t].position == -1 && token[t].chunk == -1);
    free(work);
    device_unbind(be, &d);
}

Test(row, lists)
{
    gf_backend be;
    device_open(&be);
    spans s = {0};
    check_row(&be, &s, 64, 0); /* filler only */
    add(&s, 1, 7);
    check_row(&be, &s, 1, 1);
    check_row(&be, &s, 64, 2);
    add(&s, 128, (uint64_t)1 << 40);
    add(&s, 129, 3);
    add(&s, 512, 4);
    add(&s, 513, 5);
    check_row(&be, &s, s.tokens, 3);
    check_row(&be, &s, 1344, 3);
    check_row(&be, &s, 1700, 3); /* several tiles of filler */
    device_close(&be);
}

Test(row, short_examples_fill_all_room)
{
    gf_backend be;
    device_open(&be);
    spans s = {0};
    for (int i = 0; i < MOST; i++)
        add(&s, 1, (uint64_t)i);
    check_row(&be, &s, MOST, 9);
    device_close(&be);
}

/* While generating: queries are the last tokens of what keys there are. */
Test(row, cached_keys)
{
    gf_backend be;
    device_open(&be);
    spans s = {.span = {{.start = 0, .len = 1, .kv_start = 0, .kv_len = 300, .example = 1},
                        {.start = 1, .len = 2, .kv_start = 300, .kv_len = 700, .example = 2}},
               .count = 2,
               .tokens = 3};
    check_row(&be, &s, 3, 0);
    device_close(&be);
}

Test(row, refusals)
{
    gf_backend be;
    device_open(&be);
    spans s = {0};
    add(&s, 40, 1);
    add(&s, 24, 2);
    device_row d = device_bind(&be, view(&s), 64, 0);
    cr_assert_eq(gf_row_bind(&be, &d.row, 65, 0), GF_ESHAPE);
    cr_assert(strstr(be.err.text, "room for 64"), "%s", be.err.text);
    be.err = (gf_err){0};
    s.span[1].start = 39;
    cr_assert_eq(gf_row_bind(&be, &d.row, 64, 0), GF_ESHAPE);
    cr_assert(strstr(be.err.text, "span 1"), "%s", be.err.text);
    be.err = (gf_err){0};
    d.row.count = 1;
    cr_assert_eq(gf_row_bind(&be, &d.row, 64, 0), GF_ESHAPE);
    cr_assert(strstr(be.err.text, "token 40 of 64"), "%s", be.err.text);
    be.err = (gf_err){0};
    d.row.work = gf_none;
    cr_assert_eq(gf_row_bind(&be, &d.row, 64, 0), GF_ESHAPE);
    be.err = (gf_err){0};
    device_unbind(&be, &d);
    device_close(&be);
}

/* ---- numbers that need no device ----------------------------------------------------------- */

static void open_dry(gf_backend *be)
{
    gf_err err = {0};
    cr_assert_eq(gf_backend_open_cuda(be, GF_DEVICE_DRY, &err), GF_OK, "%s", err.text);
}

Test(row, buckets)
{
    gf_backend be;
    open_dry(&be);
    for (int64_t capacity = 1; capacity < 20000; capacity = capacity * 7 / 5 + 1) {
        const int64_t most = gf_row_bucket(&be, capacity, capacity);
        int64_t before = 0, steps = 0;
        cr_assert(most >= capacity && most < capacity + 64 && most % 64 == 0);
        cr_assert_eq(gf_row_bucket(&be, most, most), most);
        for (int64_t n = 1; n <= capacity; n++) {
            const int64_t bucket = gf_row_bucket(&be, n, capacity);
            cr_assert(bucket >= n && bucket <= most && bucket % 64 == 0 && bucket >= before);
            cr_assert(bucket - n < 64 || (bucket - n) * 32 < most + 32 * 64);
            steps += bucket != before;
            before = bucket;
        }
        cr_assert_leq(steps, 33);
        cr_assert_geq(gf_row_work_bytes(&be, most), gf_row_work_bytes(&be, capacity));
    }
    gf_backend_close(&be);
}

Test(row, shapes_group_rows_that_are_nearly_alike)
{
    gf_backend be;
    open_dry(&be);
    spans a = {0}, b = {0}, c = {0};
    for (int i = 0; i < 20; i++) {
        add(&a, 130, 1);
        add(&b, i == 3 ? 129 : 130, 2);
        add(&c, 65, 2);
        if (i % 2)
            add(&c, 65, 2);
    }
    const gf_spans ra = view(&a), rb = view(&b), rc = view(&c);
    const uint64_t key = gf_row_shape(&be, &ra, 2624);
    cr_assert_eq(key, gf_row_shape(&be, &rb, 2624));
    cr_assert_neq(key, gf_row_shape(&be, &rc, 2624));
    cr_assert_neq(key, gf_row_shape(&be, &ra, 2688));
    const gf_row_grid grid = gf_cuda_row_grid(&be, &ra, 2624);
    cr_assert_eq(grid.tiles, 48); /* 41, to the next multiple of 16 */
    cr_assert_eq(grid.chunks, 24);
    gf_backend_close(&be);
}

Test(row, grids_cover)
{
    gf_backend be;
    open_dry(&be);
    for (int64_t len = 1; len < 40000; len = len * 9 / 8 + 1) {
        spans s = {0};
        add(&s, len, 1);
        const gf_spans row = view(&s);
        const gf_row_grid grid = gf_cuda_row_grid(&be, &row, len);
        const int64_t tiles = (len + GF_TILE - 1) / GF_TILE;
        cr_assert(grid.tiles >= tiles && (grid.tiles - tiles) * 2 <= tiles);
        cr_assert_geq(grid.chunks, (len + GF_CHUNK - 1) / GF_CHUNK);
    }
    gf_backend_close(&be);
}
