/* spm_merges.c - ranked merges from SentencePiece scores. Contract: tokenizer/parts.h; rule:
 * FORMATS 3.9, "SentencePiece -> merges". */
#include "text/tokenizer/parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    float score;
    uint32_t left_chars, right_chars;
    uint32_t left_bytes;
    int32_t id, left, right;
} candidate;

typedef struct {
    candidate *v;
    size_t n, cap;
} candidates;

static gf_status add(candidates *list, candidate c, gf_err *err)
{
    if (list->n == list->cap) {
        const size_t cap = list->cap ? 2 * list->cap : 4096;
        candidate *v = gf_realloc(list->v, cap, sizeof *v, err);
        if (!v)
            return GF_ENOMEM;
        list->v = v;
        list->cap = cap;
    }
    list->v[list->n++] = c;
    return GF_OK;
}

/* Score, then the lengths of both halves, descending; then by piece, then by the ids of the halves:
 * the last three are what is left of two stable sorts. */
static int compare(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    if (x->left_chars != y->left_chars)
        return x->left_chars > y->left_chars ? -1 : 1;
    if (x->right_chars != y->right_chars)
        return x->right_chars > y->right_chars ? -1 : 1;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    if (x->left != y->left)
        return x->left < y->left ? -1 : 1;
    return x->right < y->right ? -1 : x->right > y->right;
}

/* Every way to make the piece of two pieces. */
static gf_status splits(candidates *list, const gf_vocab *v, int32_t id, float score, gf_err *err)
{
    size_t n;
    uint32_t chars = 0, cp;
    const char *s = gf_vocab_text(v, id, &n);
    for (size_t i = 0; i < n; i += gf_utf8_next(s + i, &cp))
        chars++;
    uint32_t left_chars = 1;
    for (size_t i = n ? gf_utf8_next(s, &cp) : 0; i < n; i += gf_utf8_next(s + i, &cp)) {
        candidate c = {.score = score,
                       .left_chars = left_chars,
                       .right_chars = chars - left_chars,
                       .left_bytes = (uint32_t)i,
                       .id = id};
        left_chars++;
        c.left = gf_vocab_find(v, s, i);
        c.right = c.left < 0 ? -1 : gf_vocab_find(v, s + i, n - i);
        if (c.right >= 0)
            TRY(add(list, c, err));
    }
    return GF_OK;
}

gf_status gf_vocab_merge_scores(gf_vocab *v, const float *score, const char *where, gf_err *err)
{
    candidates list = {0};
    gf_status st = GF_OK;
    for (int32_t id = 0; id < v->size; id++) {
        if (isnan(score[id])) {
            st = gf_fail(err, GF_EINPUT, "%s: the score of token %d is not a number", where, id);
            goto out;
        }
        if (gf_vocab_at(v, id))
            TRYG(splits(&list, v, id, score[id], err));
    }
    TRYG(gf_vocab_reserve(v, 0, list.n, err));
    if (list.n)
        qsort(list.v, list.n, sizeof *list.v, compare);
    for (size_t i = 0; i < list.n; i++) {
        size_t n;
        const char *s = gf_vocab_text(v, list.v[i].id, &n);
        const size_t left = list.v[i].left_bytes;
        TRYG(gf_vocab_merge(v, s, left, s + left, n - left, (int32_t)i, where, err));
    }
out:
    free(list.v);
    return st;
}
