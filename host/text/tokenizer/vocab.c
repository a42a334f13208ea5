/* vocab.c - token texts and merges, hashed. Contract: tokenizer/parts.h. */
#include "text/tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>

enum { QUOTED_MAX = 60 }; /* bytes of a token shown in a message */

static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= 0x9E3779B97F4A7C15u; /* 2^64 / golden ratio: spreads neighbours */
    return h ^ h >> 29;
}

uint64_t gf_text_hash(const char *s, size_t n)
{
    uint64_t h = mix(n + 1), part;
    for (; n >= 8; s += 8, n -= 8) {
        memcpy(&part, s, 8);
        h = mix(h ^ part);
    }
    part = 0;
    if (n)
        memcpy(&part, s, n);
    return mix(h ^ part);
}

static size_t power_of_two(size_t n)
{
    size_t p = 64;
    while (p < n)
        p *= 2;
    return p;
}

/* Slot of the text, or the free slot where it would go. */
static size_t find_slot(const gf_vocab *v, const char *s, size_t n)
{
    size_t i = (size_t)gf_text_hash(s, n) & (v->slots - 1);
    for (; v->slot[i] >= 0; i = (i + 1) & (v->slots - 1)) {
        const gf_token *t = &v->token[v->slot[i]];
        if (t->size == n && memcmp(v->bytes.data + t->offset, s, n) == 0)
            break;
    }
    return i;
}

static gf_status grow_slots(gf_vocab *v, size_t tokens, gf_err *err)
{
    const size_t slots = power_of_two(2 * tokens); /* at most half full */
    if (slots <= v->slots)
        return GF_OK;
    int32_t *slot = gf_realloc(NULL, slots, sizeof *slot, err);
    if (!slot)
        return GF_ENOMEM;
    memset(slot, 0xFF, slots * sizeof *slot);
    free(v->slot);
    v->slot = slot;
    v->slots = slots;
    for (int32_t i = 0; i < v->tokens; i++)
        v->slot[find_slot(v, v->bytes.data + v->token[i].offset, v->token[i].size)] = i;
    return GF_OK;
}

static gf_status grow_tokens(gf_vocab *v, size_t tokens, gf_err *err)
{
    if (tokens <= (size_t)v->token_cap)
        return GF_OK;
    const size_t cap = power_of_two(tokens);
    gf_token *token = gf_realloc(v->token, cap, sizeof *token, err);
    if (!token)
        return GF_ENOMEM;
    v->token = token;
    v->token_cap = (int32_t)cap;
    return GF_OK;
}

static gf_status grow_ids(gf_vocab *v, size_t size, gf_err *err)
{
    if (size <= (size_t)v->cap)
        return GF_OK;
    const size_t cap = power_of_two(size);
    int32_t *of_id = gf_realloc(v->of_id, cap, sizeof *of_id, err);
    if (!of_id)
        return GF_ENOMEM;
    memset(of_id + v->cap, 0xFF, (cap - (size_t)v->cap) * sizeof *of_id);
    v->of_id = of_id;
    v->cap = (int32_t)cap;
    return GF_OK;
}

static uint64_t pair_key(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

/* Slot of the pair, or the free slot where it would go. */
static gf_merge *merge_slot(const gf_vocab *v, uint64_t key)
{
    size_t i = (size_t)mix(key) & (v->merge_slots - 1);
    while (v->merge[i].key != UINT64_MAX && v->merge[i].key != key)
        i = (i + 1) & (v->merge_slots - 1);
    return &v->merge[i];
}

static gf_status grow_merges(gf_vocab *v, size_t merges, gf_err *err)
{
    const size_t slots = power_of_two(2 * merges);
    if (slots <= v->merge_slots)
        return GF_OK;
    gf_merge *merge = gf_realloc(NULL, slots, sizeof *merge, err);
    if (!merge)
        return GF_ENOMEM;
    memset(merge, 0xFF, slots * sizeof *merge);
    gf_merge *old = v->merge;
    const size_t old_slots = v->merge_slots;
    v->merge = merge;
    v->merge_slots = slots;
    for (size_t i = 0; i < old_slots; i++)
        if (old[i].key != UINT64_MAX)
            *merge_slot(v, old[i].key) = old[i];
    free(old);
    return GF_OK;
}

gf_status gf_vocab_reserve(gf_vocab *v, size_t tokens, size_t merges, gf_err *err)
{
    if (tokens > GF_TOKEN_MAX || merges > 4 * (size_t)GF_TOKEN_MAX)
        return gf_fail(err, GF_EINPUT, "a vocabulary of %zu tokens and %zu merges is too large",
                       tokens, merges);
    TRY(grow_slots(v, tokens, err));
    TRY(grow_tokens(v, tokens, err));
    return merges ? grow_merges(v, merges, err) : GF_OK;
}

static int shown(size_t n)
{
    return n < QUOTED_MAX ? (int)n : QUOTED_MAX;
}

gf_status gf_vocab_add(gf_vocab *v, const char *s, size_t n, int64_t id, bool added,
                       const char *where, gf_err *err)
{
    if (id < 0 || id >= GF_TOKEN_MAX)
        return gf_fail(err, GF_EINPUT, "%s: token \"%.*s\": id %lld is not within 0 .. %d", where,
                       shown(n), s, (long long)id, GF_TOKEN_MAX - 1);
    if (v->bytes.len + n + 1 > UINT32_MAX || v->tokens >= GF_TOKEN_MAX)
        return gf_fail(err, GF_EINPUT, "%s: the vocabulary is too large", where);
    TRY(grow_slots(v, (size_t)v->tokens + 1, err));
    TRY(grow_tokens(v, (size_t)v->tokens + 1, err));
    TRY(grow_ids(v, (size_t)id + 1, err));
    const gf_token *other = gf_vocab_at(v, (int32_t)id);
    if (other && (!added || other->added))
        return gf_fail(err, GF_EINPUT, "%s: \"%.*s\" and \"%.*s\" are both token %lld", where,
                       shown(other->size), v->bytes.data + other->offset, shown(n), s,
                       (long long)id);
    const size_t slot = find_slot(v, s, n);
    if (v->slot[slot] >= 0)
        return gf_fail(err, GF_EINPUT, "%s: tokens %d and %lld are both \"%.*s\"", where,
                       v->token[v->slot[slot]].id, (long long)id, shown(n), s);
    v->token[v->tokens] = (gf_token){
        .offset = (uint32_t)v->bytes.len, .size = (uint32_t)n, .id = (int32_t)id, .added = added};
    TRY(gf_buf_add(&v->bytes, s, n, err));
    TRY(gf_buf_add(&v->bytes, "", 1, err)); /* NUL: texts are handed out as C strings */
    v->slot[slot] = v->of_id[id] = v->tokens++;
    if (id >= v->size)
        v->size = (int32_t)id + 1;
    return GF_OK;
}

static const gf_token *find(const gf_vocab *v, const char *s, size_t n)
{
    const int32_t i = v->slots ? v->slot[find_slot(v, s, n)] : -1;
    return i < 0 ? NULL : &v->token[i];
}

int32_t gf_vocab_find_any(const gf_vocab *v, const char *s, size_t n)
{
    const gf_token *t = find(v, s, n);
    return t ? t->id : -1;
}

int32_t gf_vocab_find(const gf_vocab *v, const char *s, size_t n)
{
    const gf_token *t = find(v, s, n);
    return t && !t->added ? t->id : -1;
}

gf_status gf_vocab_merge(gf_vocab *v, const char *left, size_t nl, const char *right, size_t nr,
                         int32_t rank, const char *where, gf_err *err)
{
    char small[256], *whole = small;
    if (nl + nr > sizeof small) {
        whole = gf_alloc(nl + nr, 1, err);
        if (!whole)
            return GF_ENOMEM;
    }
    memcpy(whole, left, nl);
    memcpy(whole + nl, right, nr);
    const int32_t a = gf_vocab_find(v, left, nl), b = gf_vocab_find(v, right, nr);
    const int32_t id = gf_vocab_find(v, whole, nl + nr);
    if (whole != small)
        free(whole);
    if (a < 0 || b < 0 || id < 0)
        return gf_fail(err, GF_EINPUT, "%s: merge %d, \"%.*s\" + \"%.*s\": %s is not a token",
                       where, rank, shown(nl), left, shown(nr), right,
                       a < 0   ? "the left half"
                       : b < 0 ? "the right half"
                               : "the whole");
    TRY(grow_merges(v, v->merges + 1, err));
    gf_merge *m = merge_slot(v, pair_key(a, b));
    v->merges += m->key == UINT64_MAX;
    *m = (gf_merge){.key = pair_key(a, b), .rank = rank, .id = id};
    return GF_OK;
}

const gf_merge *gf_vocab_pair(const gf_vocab *v, int32_t left, int32_t right)
{
    if (!v->merge_slots)
        return NULL;
    const gf_merge *m = merge_slot(v, pair_key(left, right));
    return m->key == UINT64_MAX ? NULL : m;
}

gf_token *gf_vocab_at(const gf_vocab *v, int32_t id)
{
    return id >= 0 && id < v->size && v->of_id[id] >= 0 ? &v->token[v->of_id[id]] : NULL;
}

const char *gf_vocab_text(const gf_vocab *v, int32_t id, size_t *n)
{
    const gf_token *t = gf_vocab_at(v, id);
    if (t && n)
        *n = t->size;
    return t ? v->bytes.data + t->offset : NULL;
}

const gf_token *gf_vocab_own(const gf_vocab *v, int32_t id)
{
    const gf_token *t = gf_vocab_at(v, id);
    for (int32_t i = 0; t && t->added && i < v->tokens; i++)
        if (v->token[i].id == id && !v->token[i].added)
            return &v->token[i];
    return t;
}

static int by_rank(const void *a, const void *b)
{
    const gf_merge *x = a, *y = b;
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

gf_status gf_vocab_ranked(gf_merge **out, size_t *count, const gf_vocab *v, gf_err *err)
{
    gf_merge *order = gf_alloc(v->merges, sizeof *order, err);
    if (!order)
        return GF_ENOMEM;
    size_t n = 0;
    for (size_t i = 0; i < v->merge_slots; i++)
        if (v->merge[i].key != UINT64_MAX)
            order[n++] = v->merge[i];
    qsort(order, n, sizeof *order, by_rank);
    *out = order;
    *count = n;
    return GF_OK;
}

void gf_vocab_free(gf_vocab *v)
{
    gf_buf_free(&v->bytes);
    free(v->token);
    free(v->of_id);
    free(v->slot);
    free(v->merge);
    *v = (gf_vocab){0};
}
