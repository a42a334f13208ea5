/* track.c - text whose bytes remember their place in the original. Contract: tokenizer/parts.h. */
#include "text/tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>

gf_status gf_track_room(gf_track *t, size_t more, gf_err *err)
{
    if (t->cap - t->n >= more)
        return GF_OK;
    uint64_t want;
    if (!gf_add(t->n, more, &want) || want > UINT32_MAX)
        return gf_fail(err, GF_EINPUT, "normalized text is longer than 4 GiB; split it");
    size_t cap = t->cap ? t->cap : 256;
    while (cap < want)
        cap *= 2;
    char *s = gf_realloc(t->s, cap, 1, err);
    if (!s)
        return GF_ENOMEM;
    t->s = s;
    uint32_t *at = gf_realloc(t->at, cap, sizeof *at, err);
    if (!at)
        return GF_ENOMEM;
    t->at = at;
    t->cap = cap;
    return GF_OK;
}

gf_status gf_track_add(gf_track *t, const char *s, size_t n, uint32_t at, gf_err *err)
{
    TRY(gf_track_room(t, n, err));
    for (size_t i = 0; i < n; i++) {
        t->s[t->n + i] = s[i];
        t->at[t->n + i] = at;
    }
    t->n += n;
    return GF_OK;
}

gf_status gf_track_copy(gf_track *t, const gf_track *from, size_t begin, size_t end, gf_err *err)
{
    if (begin == end)
        return GF_OK;
    TRY(gf_track_room(t, end - begin, err));
    memcpy(t->s + t->n, from->s + begin, end - begin);
    memcpy(t->at + t->n, from->at + begin, (end - begin) * sizeof *t->at);
    t->n += end - begin;
    return GF_OK;
}

gf_status gf_track_text(gf_track *t, const char *s, size_t n, uint32_t at, gf_err *err)
{
    if (!n)
        return GF_OK;
    TRY(gf_track_room(t, n, err));
    memcpy(t->s + t->n, s, n);
    for (size_t i = 0; i < n; i++)
        t->at[t->n + i] = at + (uint32_t)i;
    t->n += n;
    return GF_OK;
}

void gf_track_free(gf_track *t)
{
    free(t->s);
    free(t->at);
    *t = (gf_track){0};
}

gf_status gf_spans_add(gf_spans *s, size_t begin, size_t end, gf_err *err)
{
    if (s->n == s->cap) {
        const size_t cap = s->cap ? 2 * s->cap : 64;
        gf_span *v = gf_realloc(s->v, cap, sizeof *v, err);
        if (!v)
            return GF_ENOMEM;
        s->v = v;
        s->cap = cap;
    }
    s->v[s->n++] = (gf_span){begin, end};
    return GF_OK;
}
