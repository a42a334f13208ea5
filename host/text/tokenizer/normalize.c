/* normalize.c - normalizers that keep track of where each byte came from. Contract:
 * tokenizer/parts.h; behaviour: FORMATS 3.6. Each reads t->a and leaves its result there. */
#include "text/tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static void swap_tracks(gf_tokenizer *t)
{
    const gf_track a = t->a;
    t->a = t->b;
    t->b = a;
}

static gf_status prepend(gf_tokenizer *t, const char *text, gf_err *err)
{
    if (!t->a.n)
        return GF_OK;
    t->b.n = 0;
    TRY(gf_track_add(&t->b, text, strlen(text), t->a.at[0], err));
    TRY(gf_track_copy(&t->b, &t->a, 0, t->a.n, err));
    swap_tracks(t);
    return GF_OK;
}

static gf_status replace(gf_tokenizer *t, gf_normalizer *norm, gf_err *err)
{
    t->matches.n = 0;
    TRY(gf_pattern_all(&norm->pattern, t->a.s, t->a.n, &t->matches, err));
    if (!t->matches.n)
        return GF_OK;
    const size_t size = strlen(norm->text);
    size_t done = 0;
    t->b.n = 0;
    for (size_t i = 0; i < t->matches.n; i++) {
        const gf_span m = t->matches.v[i];
        TRY(gf_track_copy(&t->b, &t->a, done, m.begin, err));
        const uint32_t at = m.begin < t->a.n ? t->a.at[m.begin] : t->a.n ? t->a.at[t->a.n - 1] : 0;
        TRY(gf_track_add(&t->b, norm->text, size, at, err));
        done = m.end;
    }
    TRY(gf_track_copy(&t->b, &t->a, done, t->a.n, err));
    swap_tracks(t);
    return GF_OK;
}

static gf_status lower(gf_tokenizer *t, gf_err *err)
{
    t->b.n = 0;
    for (size_t i = 0, len; i < t->a.n; i += len) {
        uint32_t cp;
        len = gf_utf8_next(t->a.s + i, &cp);
        const uint32_t to = gf_to_lower(cp);
        if (cp == 0x130) { /* the only one that becomes two: i and a dot above */
            TRY(gf_track_add(&t->b, "i\xCC\x87", 3, t->a.at[i], err));
        } else if (to == cp) {
            TRY(gf_track_copy(&t->b, &t->a, i, i + len, err));
        } else {
            char c[4];
            TRY(gf_track_add(&t->b, c, gf_utf8_put((unsigned char *)c, to), t->a.at[i], err));
        }
    }
    swap_tracks(t);
    return GF_OK;
}

static gf_status strip(gf_tokenizer *t, bool left, bool right, gf_err *err)
{
    size_t begin = 0, end = t->a.n;
    uint32_t cp;
    while (left && begin < end) {
        const size_t len = gf_utf8_next(t->a.s + begin, &cp);
        if (!gf_is_space(cp))
            break;
        begin += len;
    }
    while (right && end > begin) {
        const size_t at = gf_utf8_back(t->a.s, end);
        gf_utf8_next(t->a.s + at, &cp);
        if (!gf_is_space(cp))
            break;
        end = at;
    }
    if (begin == 0 && end == t->a.n)
        return GF_OK;
    t->b.n = 0;
    TRY(gf_track_copy(&t->b, &t->a, begin, end, err));
    swap_tracks(t);
    return GF_OK;
}

/* Can nothing before this character change it or be changed by it? */
static bool is_boundary(const char *s, utf8proc_option_t options)
{
    uint32_t cp;
    gf_utf8_next(s, &cp);
    if (cp < 0x300) /* the first combining mark */
        return true;
    utf8proc_int32_t parts[32]; /* the longest decomposition, U+FDFA's, has 18 */
    int last_class = 0;
    const int split = (int)options & ~(int)UTF8PROC_COMPOSE;
    const utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)cp, parts, 32,
                                                       (utf8proc_option_t)split, &last_class);
    const utf8proc_int32_t first = n > 0 && n <= 32 ? parts[0] : (utf8proc_int32_t)cp;
    return utf8proc_get_property(first)->combining_class == 0 && !gf_is_composing((uint32_t)first);
}

/* Unicode normal forms, cluster by cluster: a cluster that changes stands where it began. */
static gf_status normal_form(gf_tokenizer *t, utf8proc_option_t options, gf_err *err)
{
    const gf_track *a = &t->a;
    t->b.n = 0;
    for (size_t i = 0, end; i < a->n; i = end) {
        end = i + 1;
        if ((unsigned char)a->s[i] < 0x80 && (end == a->n || (unsigned char)a->s[end] < 0x80)) {
            while (end + 1 < a->n && (unsigned char)a->s[end + 1] < 0x80)
                end++;
            TRY(gf_track_copy(&t->b, a, i, end, err)); /* ASCII that nothing combines with */
            continue;
        }
        uint32_t cp;
        end = i + gf_utf8_next(a->s + i, &cp);
        while (end < a->n && !is_boundary(a->s + end, options))
            end += gf_utf8_next(a->s + end, &cp);
        utf8proc_uint8_t *to = NULL;
        const utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)a->s + i,
                                                (utf8proc_ssize_t)(end - i), &to, options);
        if (n < 0)
            return gf_fail(err, n == UTF8PROC_ERROR_NOMEM ? GF_ENOMEM : GF_EINPUT,
                           "byte %u of the text cannot be normalized: %s", a->at[i],
                           utf8proc_errmsg(n));
        gf_status st;
        if ((size_t)n == end - i && memcmp(to, a->s + i, end - i) == 0)
            st = gf_track_copy(&t->b, a, i, end, err);
        else
            st = gf_track_add(&t->b, (const char *)to, (size_t)n, a->at[i], err);
        free(to);
        TRY(st);
    }
    swap_tracks(t);
    return GF_OK;
}

gf_status gf_normalize(gf_tokenizer *t, gf_err *err)
{
    const utf8proc_option_t stable = UTF8PROC_STABLE;
    for (int i = 0; i < t->norms; i++) {
        gf_normalizer *norm = &t->norm[i];
        switch (norm->kind) {
        case GF_NORM_PREPEND:
            TRY(prepend(t, norm->text, err));
            break;
        case GF_NORM_REPLACE:
            TRY(replace(t, norm, err));
            break;
        case GF_NORM_NFC:
            TRY(normal_form(t, stable | UTF8PROC_COMPOSE, err));
            break;
        case GF_NORM_NFD:
            TRY(normal_form(t, stable | UTF8PROC_DECOMPOSE, err));
            break;
        case GF_NORM_NFKC:
            TRY(normal_form(t, stable | UTF8PROC_COMPOSE | UTF8PROC_COMPAT, err));
            break;
        case GF_NORM_NFKD:
            TRY(normal_form(t, stable | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, err));
            break;
        case GF_NORM_LOWER:
            TRY(lower(t, err));
            break;
        case GF_NORM_STRIP:
            TRY(strip(t, norm->left, norm->right, err));
            break;
        }
    }
    return GF_OK;
}
