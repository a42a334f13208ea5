/* added.c - finding added tokens in text. Contract: tokenizer/parts.h; rules: FORMATS 3.2. */
#include "text/tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>

void gf_trie_start(gf_trie *t)
{
    memset(t->root, 0xFF, sizeof t->root);
}

static gf_status new_node(gf_trie *t, unsigned char byte, int32_t *index, gf_err *err)
{
    if (t->n == t->cap) {
        const size_t cap = t->cap ? 2 * t->cap : 256;
        gf_trie_node *node = gf_realloc(t->node, cap, sizeof *node, err);
        if (!node)
            return GF_ENOMEM;
        t->node = node;
        t->cap = cap;
    }
    if (t->n >= INT32_MAX)
        return gf_fail(err, GF_EINPUT, "the added tokens are too long");
    t->node[t->n] = (gf_trie_node){.child = -1, .sibling = -1, .added = -1, .byte = byte};
    *index = (int32_t)t->n++;
    return GF_OK;
}

static int32_t child_of(const gf_trie *t, int32_t at, unsigned char byte)
{
    int32_t i = t->node[at].child;
    while (i >= 0 && t->node[i].byte != byte)
        i = t->node[i].sibling;
    return i;
}

gf_status gf_trie_add(gf_trie *t, const char *s, size_t n, int32_t added, gf_err *err)
{
    if (!n)
        return GF_OK;
    int32_t at = t->root[(unsigned char)s[0]];
    if (at < 0) {
        TRY(new_node(t, (unsigned char)s[0], &at, err));
        t->root[(unsigned char)s[0]] = at;
    }
    for (size_t i = 1; i < n; i++) {
        const unsigned char byte = (unsigned char)s[i];
        int32_t child = child_of(t, at, byte);
        if (child < 0) {
            TRY(new_node(t, byte, &child, err));
            t->node[child].sibling = t->node[at].child;
            t->node[at].child = child;
        }
        at = child;
    }
    if (t->node[at].added < 0) /* the first of two with one pattern counts */
        t->node[at].added = added;
    return GF_OK;
}

/* The longest token that begins at s[i]: its index, and its end in *end; -1: none. */
static int32_t longest(const gf_trie *t, const char *s, size_t n, size_t i, size_t *end)
{
    int32_t found = -1;
    for (int32_t at = t->root[(unsigned char)s[i]]; at >= 0;) {
        i++;
        if (t->node[at].added >= 0) {
            found = t->node[at].added;
            *end = i;
        }
        if (i == n)
            break;
        at = child_of(t, at, (unsigned char)s[i]);
    }
    return found;
}

static gf_status add_part(gf_parts *p, int32_t added, size_t begin, size_t end, gf_err *err)
{
    if (p->n == p->cap) {
        const size_t cap = p->cap ? 2 * p->cap : 64;
        gf_part *v = gf_realloc(p->v, cap, sizeof *v, err);
        if (!v)
            return GF_ENOMEM;
        p->v = v;
        p->cap = cap;
    }
    p->v[p->n++] = (gf_part){added, begin, end};
    return GF_OK;
}

static bool stands_alone(const char *s, size_t n, size_t begin, size_t end)
{
    uint32_t cp;
    if (begin > 0) {
        gf_utf8_next(s + gf_utf8_back(s, begin), &cp);
        if (gf_is_word(cp))
            return false;
    }
    if (end < n) {
        gf_utf8_next(s + end, &cp);
        if (gf_is_word(cp))
            return false;
    }
    return true;
}

static size_t spaces_before(const char *s, size_t begin, size_t limit)
{
    while (begin > limit) {
        uint32_t cp;
        const size_t at = gf_utf8_back(s, begin);
        gf_utf8_next(s + at, &cp);
        if (!gf_is_space(cp))
            break;
        begin = at;
    }
    return begin > limit ? begin : limit;
}

static size_t spaces_after(const char *s, size_t n, size_t end)
{
    while (end < n) {
        uint32_t cp;
        const size_t len = gf_utf8_next(s + end, &cp);
        if (!gf_is_space(cp))
            break;
        end += len;
    }
    return end;
}

gf_status gf_trie_split(const gf_trie *t, const gf_added *added, const char *s, size_t n,
                        gf_parts *parts, gf_err *err)
{
    size_t done = 0; /* end of what has been handed out */
    for (size_t i = 0; t->n && i < n;) {
        size_t stop = 0;
        const int32_t found = t->root[(unsigned char)s[i]] < 0 ? -1 : longest(t, s, n, i, &stop);
        if (found < 0) {
            i++;
            continue;
        }
        size_t begin = i, end = stop;
        i = stop; /* a refused match is skipped whole; no shorter one is tried */
        if (added[found].single_word && !stands_alone(s, n, begin, end))
            continue;
        if (added[found].lstrip)
            begin = spaces_before(s, begin, done);
        if (added[found].rstrip)
            end = spaces_after(s, n, end);
        if (done < begin)
            TRY(add_part(parts, -1, done, begin, err));
        TRY(add_part(parts, found, begin, end, err));
        done = end;
    }
    if (done < n)
        TRY(add_part(parts, -1, done, n, err));
    return GF_OK;
}
