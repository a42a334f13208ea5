/* row.c - a row's lists: made on the host from its spans, uploaded in one piece each. Contract:
 * row.h, graft/ops.h. */
#include "device.h"

#include <stdlib.h>
#include <string.h>

#define PART 256         /* alignment of a list */
#define BUCKET 64        /* rows: the smallest step between two lengths */
#define BUCKETS 32       /* steps up to a row's capacity: at most 1/32 of it is filler */
#define LAYERS_OF_PEAK 6 /* dA and dB of up to three layers of a group */

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

/* ---- layout of gf_spans.work ------------------------------------------------------------ */

/* Bytes of lists for one token of capacity: as many spans, tiles and chunks as tokens, when each
 * example is one token long. With a capacity that is a multiple of 64 every list is one of PART. */
#define TOKEN_BYTES                                                                                \
    (sizeof(gf_row_span) + 2 * sizeof(gf_row_tile) + sizeof(gf_row_chunk) + sizeof(gf_row_token) + \
     LAYERS_OF_PEAK * sizeof(uint32_t))

static size_t capacity_bytes(int64_t capacity)
{
    return PART + (size_t)capacity * TOKEN_BYTES;
}

static int64_t bytes_capacity(int64_t bytes)
{
    return bytes < PART ? 0 : (bytes - PART) / (int64_t)TOKEN_BYTES / BUCKET * BUCKET;
}

size_t gf_cuda_row_work_bytes(const gf_backend *be, int64_t tokens)
{
    return capacity_bytes(gf_cuda_row_bucket(be, tokens, tokens));
}

int64_t gf_cuda_row_bucket(const gf_backend *be, int64_t tokens, int64_t capacity)
{
    (void)be;
    const int64_t most = round_up(capacity > tokens ? capacity : tokens, BUCKET);
    const int64_t step = round_up((most + BUCKETS - 1) / BUCKETS, BUCKET);
    const int64_t n = tokens > 0 ? round_up(tokens, step) : BUCKET;
    return n < most ? n : most;
}

static void lay_out(gf_row_header *h, int64_t capacity)
{
    uint32_t at = PART;
    const uint32_t n = (uint32_t)capacity;
    h->peak_at = at;
    at += n * (uint32_t)(LAYERS_OF_PEAK * sizeof(uint32_t));
    h->span_at = at;
    at += n * (uint32_t)sizeof(gf_row_span);
    h->query_at = at;
    at += n * (uint32_t)sizeof(gf_row_tile);
    h->key_at = at;
    at += n * (uint32_t)sizeof(gf_row_tile);
    h->chunk_at = at;
    at += n * (uint32_t)sizeof(gf_row_chunk);
    h->token_at = at;
    h->chunk_room = (int32_t)capacity;
}

/* ---- counting --------------------------------------------------------------------------- */

typedef struct {
    int64_t tiles, chunks;
} counts;

static counts count(const gf_spans *row, int64_t n)
{
    counts c = {.tiles = (n - row->tokens + GF_TILE - 1) / GF_TILE};
    for (int i = 0; i < row->count; i++) {
        c.tiles += (row->span[i].len + GF_TILE - 1) / GF_TILE;
        c.chunks += (row->span[i].len + GF_CHUNK - 1) / GF_CHUNK;
    }
    return c;
}

/* Up to the next of two steps an octave, so that rows of one length share a graph though examples
 * were cut out of it otherwise. The blocks that have nothing to do, a third at most, end at once.
 */
static unsigned step_up(int64_t n)
{
    int64_t step = 1;
    while (step * 4 <= n)
        step *= 2;
    return (unsigned)round_up(n, step);
}

gf_row_grid gf_cuda_row_grid(const gf_backend *be, const gf_spans *row, int64_t n)
{
    (void)be;
    const counts c = count(row, n);
    return (gf_row_grid){step_up(c.tiles), step_up(c.chunks)};
}

uint64_t gf_cuda_row_shape(const gf_backend *be, const gf_spans *row, int64_t n)
{
    const gf_row_grid grid = gf_cuda_row_grid(be, row, n);
    const uint64_t part[] = {(uint64_t)n, grid.tiles, grid.chunks};
    uint64_t h = 14695981039346656037u; /* FNV-1a over 64-bit words */
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        h = (h ^ part[i]) * 1099511628211u;
        h ^= h >> 29; /* the multiplication carries upwards only */
    }
    return h;
}

/* ---- making the lists ------------------------------------------------------------------- */

typedef struct {
    gf_row_tile tile;
    int64_t work; /* of the tile, in tokens of the other side */
} weighed;

/* Most work first, so that the last blocks of a grid are short ones; equals by position. */
static int heavier(const void *a, const void *b)
{
    const weighed *x = a, *y = b;
    if (x->work != y->work)
        return x->work > y->work ? -1 : 1;
    return (x->tile.first > y->tile.first) - (x->tile.first < y->tile.first);
}

static int64_t add_tiles(weighed *out, int32_t span, int64_t first, int64_t len)
{
    int64_t tiles = 0;
    for (int64_t at = 0; at < len; at += GF_TILE, tiles++)
        out[tiles].tile = (gf_row_tile){
            .span = span,
            .first = (int32_t)(first + at),
            .count = (int32_t)(len - at < GF_TILE ? len - at : GF_TILE),
            .at = (int32_t)at,
        };
    return tiles;
}

/* queries: a tile's work is the keys up to its last token; else the queries from its first on. */
static void make_tiles(gf_row_tile *out, weighed *all, const gf_spans *row, int64_t n, bool queries)
{
    int64_t tiles = 0;
    for (int i = 0; i < row->count; i++) {
        const gf_span s = row->span[i];
        const int64_t end = tiles + add_tiles(all + tiles, i, s.start, s.len);
        for (; tiles < end; tiles++) {
            const gf_row_tile t = all[tiles].tile;
            all[tiles].work = queries ? s.kv_len - s.len + t.at + t.count : s.len - t.at;
        }
    }
    const int64_t end = tiles + add_tiles(all + tiles, -1, row->tokens, n - row->tokens);
    for (; tiles < end; tiles++)
        all[tiles].work = 0;
    qsort(all, (size_t)tiles, sizeof *all, heavier);
    for (int64_t i = 0; i < tiles; i++)
        out[i] = all[i].tile;
}

static void make_spans_and_chunks(char *work, const gf_row_header *h, const gf_spans *row)
{
    gf_row_span *span = (gf_row_span *)(void *)(work + h->span_at);
    gf_row_chunk *chunk = (gf_row_chunk *)(void *)(work + h->chunk_at);
    for (int i = 0; i < row->count; i++) {
        const gf_span s = row->span[i];
        span[i] =
            (gf_row_span){(int32_t)s.start, (int32_t)s.len, (int32_t)s.kv_start, (int32_t)s.kv_len};
        for (int64_t at = 0; at < s.len; at += GF_CHUNK)
            *chunk++ =
                (gf_row_chunk){.first = (int32_t)(s.start + at),
                               .count = (int32_t)(s.len - at < GF_CHUNK ? s.len - at : GF_CHUNK)};
    }
}

static void make_tokens(gf_row_token *token, const gf_spans *row, int64_t n)
{
    int32_t chunk = 0;
    for (int i = 0; i < row->count; i++) {
        const gf_span s = row->span[i];
        for (int64_t at = 0; at < s.len; at++)
            *token++ = (gf_row_token){.example = s.example,
                                      .position = (int32_t)(s.kv_len - s.len + at),
                                      .chunk = chunk + (int32_t)(at / GF_CHUNK)};
        chunk += (int32_t)((s.len + GF_CHUNK - 1) / GF_CHUNK);
    }
    for (int64_t t = row->tokens; t < n; t++)
        *token++ = (gf_row_token){.position = -1, .chunk = -1};
}

gf_row_header gf_cuda_row_header(const gf_backend *be, const gf_spans *row, int64_t n,
                                 uint32_t epoch)
{
    (void)be;
    const counts c = count(row, n);
    gf_row_header h = {.tokens = (int32_t)row->tokens,
                       .rows = (int32_t)n,
                       .tiles = (int32_t)c.tiles,
                       .chunks = (int32_t)c.chunks,
                       .epoch = epoch,
                       .spans = row->count};
    lay_out(&h, bytes_capacity(gf_count(row->work)));
    return h;
}

static gf_status check(gf_backend *be, const gf_spans *row, int64_t n)
{
    const int64_t capacity = bytes_capacity(gf_count(row->work));
    int64_t at = 0;
    if (row->work.dtype != GF_U8 || !row->work.data)
        return gf_fail(&be->err, GF_ESHAPE, "row_bind: work is no memory for a row's lists");
    if (n < row->tokens || n > capacity || row->count > capacity)
        return gf_fail(&be->err, GF_ESHAPE,
                       "row_bind: %lld rows for %lld tokens in %d spans, work has room for %lld",
                       (long long)n, (long long)row->tokens, row->count, (long long)capacity);
    for (int i = 0; i < row->count; i++) {
        const gf_span s = row->span[i];
        if (s.start != at || s.len < 0 || s.kv_len < s.len || s.kv_len > INT32_MAX ||
            s.kv_start < 0 || s.kv_start > INT32_MAX)
            return gf_fail(&be->err, GF_ESHAPE, "row_bind: span %d does not follow the one before",
                           i);
        at += s.len;
    }
    if (at != row->tokens)
        return gf_fail(&be->err, GF_ESHAPE, "row_bind: spans end at token %lld of %lld",
                       (long long)at, (long long)row->tokens);
    return GF_OK;
}

/* Host memory for the lists and the tiles on their way into order; grows to the largest row. */
static gf_status want_lists(gf_backend *be, size_t bytes)
{
    gf_cuda *c = be->cuda;
    if (c->lists_bytes >= bytes)
        return GF_OK;
    free(c->lists);
    c->lists_bytes = 0;
    c->lists = gf_alloc(bytes, 1, &be->err);
    if (!c->lists)
        return GF_ENOMEM;
    c->lists_bytes = bytes;
    return GF_OK;
}

gf_status gf_cuda_row_bind(gf_backend *be, gf_spans *row, int64_t n, uint32_t epoch)
{
    gf_cuda *c = be->cuda;
    if (be->dry)
        return GF_OK;
    TRY(gf_cuda_ready_outside(be, "a row's lists"));
    TRY(check(be, row, n));
    const gf_row_header h = gf_cuda_row_header(be, row, n, epoch);
    const size_t aside = (size_t)round_up(gf_count(row->work), PART);
    TRY(want_lists(be, aside + (size_t)h.tiles * sizeof(weighed)));
    char *work = c->lists, *to = row->work.data;
    weighed *all = (weighed *)(void *)(work + aside);
    memcpy(work, &h, sizeof h);
    make_spans_and_chunks(work, &h, row);
    make_tiles((gf_row_tile *)(void *)(work + h.query_at), all, row, n, true);
    make_tiles((gf_row_tile *)(void *)(work + h.key_at), all, row, n, false);
    make_tokens((gf_row_token *)(void *)(work + h.token_at), row, n);
    const struct {
        size_t at, bytes;
    } part[] = {{0, sizeof h},
                {h.span_at, (size_t)h.spans * sizeof(gf_row_span)},
                {h.query_at, (size_t)h.tiles * sizeof(gf_row_tile)},
                {h.key_at, (size_t)h.tiles * sizeof(gf_row_tile)},
                {h.chunk_at, (size_t)h.chunks * sizeof(gf_row_chunk)},
                {h.token_at, (size_t)h.rows * sizeof(gf_row_token)}};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        TRY(gf_cuda_put(be, to + part[i].at, work + part[i].at, part[i].bytes));
    return GF_OK;
}
