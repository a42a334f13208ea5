/* bpe.c - one word into tokens: lowest rank first, leftmost among equals, with a heap, so that a
 * whole text may be one word. Contract: tokenizer/parts.h; algorithm: FORMATS 3.3. */
#include "text/tokenizer/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct gf_candidate {
    uint64_t order; /* rank << 32 | index of the left symbol */
    int32_t id;     /* what the pair becomes: tells a stale entry */
};

/* Words seen before and their tokens. When one of the two stores is full, it starts anew. */
enum {
    CACHE_SLOTS = 1 << 15, /* of words: covers most running text */
    CACHE_WORDS = CACHE_SLOTS / 2,
    CACHE_BYTES = 1 << 19,   /* 32 bytes a word */
    CACHE_SYMBOLS = 1 << 17, /* 8 a word */
    CACHE_WORD_MAX = 64,     /* longer words rarely come twice */
};
struct gf_word_cache {
    struct {
        uint64_t hash;
        uint32_t text, size, symbol, count; /* size 0: free */
    } slot[CACHE_SLOTS];
    char bytes[CACHE_BYTES];
    gf_symbol symbol[CACHE_SYMBOLS];
    uint32_t words, bytes_used, symbols_used;
};

gf_status gf_bpe_prepare(gf_bpe *b, const gf_vocab *v, gf_err *err)
{
    memset(b->narrow, 0xFF, sizeof b->narrow);
    for (uint32_t cp = 0; cp < 0x800; cp++) {
        char c[4];
        b->narrow[cp] = gf_vocab_find(v, c, gf_utf8_put((unsigned char *)c, cp));
    }
    for (unsigned i = 0; i < 256; i++) {
        char name[8];
        const int n = snprintf(name, sizeof name, "<0x%02X>", i);
        b->byte[i] = gf_vocab_find(v, name, (size_t)n);
    }
    b->cache = gf_alloc(1, sizeof *b->cache, err);
    return b->cache ? GF_OK : GF_ENOMEM;
}

static gf_status symbol_room(gf_bpe *b, size_t n, gf_err *err)
{
    if (n <= b->cap)
        return GF_OK;
    if (n > INT32_MAX)
        return gf_fail(err, GF_EINPUT, "a word of %zu bytes is too long", n);
    const size_t cap = n < 256 ? 256 : n + n / 2;
    gf_symbol *symbol = gf_realloc(b->symbol, cap, sizeof *symbol, err);
    if (!symbol)
        return GF_ENOMEM;
    b->symbol = symbol;
    int32_t *next = gf_realloc(b->next, cap, sizeof *next, err);
    if (!next)
        return GF_ENOMEM;
    b->next = next;
    int32_t *prev = gf_realloc(b->prev, cap, sizeof *prev, err);
    if (!prev)
        return GF_ENOMEM;
    b->prev = prev;
    b->cap = cap;
    return GF_OK;
}

/* One symbol per character. A word of n bytes gives at most n. */
static void first_symbols(gf_bpe *b, const gf_vocab *v, const char *s, size_t n)
{
    bool after_unk = false;
    b->count = 0;
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp;
        len = gf_utf8_next(s + i, &cp);
        const int32_t id = cp < 0x800 ? b->narrow[cp] : gf_vocab_find(v, s + i, len);
        if (id >= 0) {
            b->symbol[b->count++] = (gf_symbol){id, (uint32_t)i};
            after_unk = false;
            continue;
        }
        bool bytes = b->byte_fallback;
        for (size_t j = 0; bytes && j < len; j++)
            bytes = b->byte[(unsigned char)s[i + j]] >= 0;
        if (bytes) {
            for (size_t j = 0; j < len; j++)
                b->symbol[b->count++] =
                    (gf_symbol){b->byte[(unsigned char)s[i + j]], (uint32_t)(i + j)};
            after_unk = false;
        } else if (b->unk >= 0 && !(after_unk && b->fuse_unk)) {
            b->symbol[b->count++] = (gf_symbol){b->unk, (uint32_t)i};
            after_unk = true;
        }
    }
}

static gf_status heap_push(gf_bpe *b, struct gf_candidate c, gf_err *err)
{
    if (b->heap_count == b->heap_cap) {
        const size_t cap = b->heap_cap ? 2 * b->heap_cap : 256;
        struct gf_candidate *heap = gf_realloc(b->heap, cap, sizeof *heap, err);
        if (!heap)
            return GF_ENOMEM;
        b->heap = heap;
        b->heap_cap = cap;
    }
    size_t i = b->heap_count++;
    for (; i > 0 && b->heap[(i - 1) / 2].order > c.order; i = (i - 1) / 2)
        b->heap[i] = b->heap[(i - 1) / 2];
    b->heap[i] = c;
    return GF_OK;
}

static struct gf_candidate heap_pop(gf_bpe *b)
{
    const struct gf_candidate top = b->heap[0];
    const struct gf_candidate last = b->heap[--b->heap_count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < b->heap_count; i = child) {
        if (child + 1 < b->heap_count && b->heap[child + 1].order < b->heap[child].order)
            child++;
        if (b->heap[child].order >= last.order)
            break;
        b->heap[i] = b->heap[child];
    }
    b->heap[i] = last;
    return top;
}

static gf_status offer(gf_bpe *b, const gf_vocab *v, int32_t left, int32_t right, gf_err *err)
{
    const gf_merge *m = gf_vocab_pair(v, b->symbol[left].id, b->symbol[right].id);
    if (!m)
        return GF_OK;
    const struct gf_candidate c = {(uint64_t)(uint32_t)m->rank << 32 | (uint32_t)left, m->id};
    return heap_push(b, c, err);
}

static gf_status merge_all(gf_bpe *b, const gf_vocab *v, gf_err *err)
{
    const int32_t n = (int32_t)b->count;
    b->heap_count = 0;
    for (int32_t i = 0; i < n; i++) {
        b->prev[i] = i - 1;
        b->next[i] = i + 1 < n ? i + 1 : -1;
        if (i + 1 < n)
            TRY(offer(b, v, i, i + 1, err));
    }
    while (b->heap_count) {
        const struct gf_candidate c = heap_pop(b);
        const int32_t left = (int32_t)(uint32_t)c.order;
        if (b->symbol[left].id < 0) /* merged into its left neighbour since */
            continue;
        const int32_t right = b->next[left];
        if (right < 0)
            continue;
        const gf_merge *m = gf_vocab_pair(v, b->symbol[left].id, b->symbol[right].id);
        if (!m || m->id != c.id)
            continue;
        b->symbol[left].id = m->id;
        b->symbol[right].id = -1;
        b->next[left] = b->next[right];
        if (b->next[left] >= 0) {
            b->prev[b->next[left]] = left;
            TRY(offer(b, v, left, b->next[left], err));
        }
        if (b->prev[left] >= 0)
            TRY(offer(b, v, b->prev[left], left, err));
    }
    size_t kept = 0;
    for (int32_t i = 0; i < n; i++)
        if (b->symbol[i].id >= 0)
            b->symbol[kept++] = b->symbol[i];
    b->count = kept;
    return GF_OK;
}

static bool cache_get(gf_bpe *b, const char *s, size_t n, uint64_t hash, size_t *slot)
{
    gf_word_cache *c = b->cache;
    size_t i = (size_t)hash & (CACHE_SLOTS - 1);
    for (; c->slot[i].size; i = (i + 1) & (CACHE_SLOTS - 1)) {
        if (c->slot[i].hash != hash || c->slot[i].size != n ||
            memcmp(c->bytes + c->slot[i].text, s, n) != 0)
            continue;
        memcpy(b->symbol, c->symbol + c->slot[i].symbol, c->slot[i].count * sizeof *b->symbol);
        b->count = c->slot[i].count;
        return true;
    }
    *slot = i;
    return false;
}

static void cache_put(gf_bpe *b, const char *s, size_t n, uint64_t hash, size_t slot)
{
    gf_word_cache *c = b->cache;
    if (c->words == CACHE_WORDS || c->bytes_used + n > CACHE_BYTES ||
        c->symbols_used + b->count > CACHE_SYMBOLS) {
        memset(c->slot, 0, sizeof c->slot);
        c->words = c->bytes_used = c->symbols_used = 0;
        slot = (size_t)hash & (CACHE_SLOTS - 1);
    }
    c->slot[slot].hash = hash;
    c->slot[slot].text = c->bytes_used;
    c->slot[slot].size = (uint32_t)n;
    c->slot[slot].symbol = c->symbols_used;
    c->slot[slot].count = (uint32_t)b->count;
    memcpy(c->bytes + c->bytes_used, s, n);
    memcpy(c->symbol + c->symbols_used, b->symbol, b->count * sizeof *b->symbol);
    c->words++;
    c->bytes_used += (uint32_t)n;
    c->symbols_used += (uint32_t)b->count;
}

gf_status gf_bpe_word(gf_bpe *b, const gf_vocab *v, const char *s, size_t n, gf_err *err)
{
    b->count = 0;
    if (!n)
        return GF_OK;
    TRY(symbol_room(b, n, err));
    const bool cached = n <= CACHE_WORD_MAX;
    const uint64_t hash = cached ? gf_text_hash(s, n) : 0;
    size_t slot = 0;
    if (cached && cache_get(b, s, n, hash, &slot))
        return GF_OK;
    const int32_t whole = b->ignore_merges ? gf_vocab_find(v, s, n) : -1;
    if (whole >= 0) {
        b->symbol[0] = (gf_symbol){whole, 0};
        b->count = 1;
    } else {
        first_symbols(b, v, s, n);
        TRY(merge_all(b, v, err));
    }
    if (cached)
        cache_put(b, s, n, hash, slot);
    return GF_OK;
}

void gf_bpe_free(gf_bpe *b)
{
    free(b->symbol);
    free(b->next);
    free(b->prev);
    free(b->heap);
    free(b->cache);
}
