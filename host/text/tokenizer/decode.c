/* decode.c - ids back into text, through the decoder chain. Contract: tokenizer.h; behaviour:
 * FORMATS 3.8. */
#include "text/tokenizer/parts.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

/* Strings end to end; string i is text[end[i - 1] .. end[i]). */
typedef struct {
    gf_buf text;
    size_t *end;
    size_t n, cap;
} strings;

static gf_status close_string(strings *s, gf_err *err)
{
    if (s->n == s->cap) {
        const size_t cap = s->cap ? 2 * s->cap : 64;
        size_t *end = gf_realloc(s->end, cap, sizeof *end, err);
        if (!end)
            return GF_ENOMEM;
        s->end = end;
        s->cap = cap;
    }
    s->end[s->n++] = s->text.len;
    return GF_OK;
}

static const char *string_at(const strings *s, size_t i, size_t *n)
{
    const size_t begin = i ? s->end[i - 1] : 0;
    *n = s->end[i] - begin;
    return s->text.data ? s->text.data + begin : "";
}

static void free_strings(strings *s)
{
    gf_buf_free(&s->text);
    free(s->end);
}

/* Invalid parts become U+FFFD, one per maximal well-formed beginning of a character. */
static gf_status add_lossy(gf_buf *out, const char *s, size_t n, gf_err *err)
{
    while (n) {
        const size_t good = gf_utf8_valid(s, n);
        TRY(gf_buf_add(out, s, good, err));
        s += good;
        n -= good;
        if (n) {
            const size_t bad = gf_utf8_bad(s, n);
            TRY(gf_buf_str(out, REPLACEMENT, err));
            s += bad;
            n -= bad;
        }
    }
    return GF_OK;
}

static gf_status bytes(const strings *in, strings *out, gf_err *err)
{
    gf_buf raw = {0};
    gf_status st = GF_OK;
    for (size_t i = 0; i < in->n; i++) {
        size_t n;
        const char *s = string_at(in, i, &n);
        const size_t start = raw.len;
        for (size_t j = 0; j < n;) {
            uint32_t cp;
            j += gf_utf8_next(s + j, &cp);
            const int b = gf_cp_to_byte(cp);
            if (b < 0) { /* not in the alphabet: the whole token stands for itself */
                raw.len = start;
                TRYG(gf_buf_add(&raw, s, n, err));
                break;
            }
            const char c = (char)b;
            TRYG(gf_buf_add(&raw, &c, 1, err));
        }
    }
    if (raw.len)
        TRYG(add_lossy(&out->text, raw.data, raw.len, err));
    st = close_string(out, err);
out:
    gf_buf_free(&raw);
    return st;
}

static gf_status replace(gf_tokenizer *t, gf_decoder *d, const strings *in, strings *out,
                         gf_err *err)
{
    for (size_t i = 0; i < in->n; i++) {
        size_t n, done = 0;
        const char *s = string_at(in, i, &n);
        t->matches.n = 0;
        TRY(gf_pattern_all(&d->pattern, s, n, &t->matches, err));
        for (size_t j = 0; j < t->matches.n; j++) {
            TRY(gf_buf_add(&out->text, s + done, t->matches.v[j].begin - done, err));
            TRY(gf_buf_str(&out->text, d->text, err));
            done = t->matches.v[j].end;
        }
        TRY(gf_buf_add(&out->text, s + done, n - done, err));
        TRY(close_string(out, err));
    }
    return GF_OK;
}

/* The byte that a token <0xHH> stands for; -1: another token. */
static int fallback_byte(const char *s, size_t n)
{
    if (n != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>' || !isxdigit((unsigned char)s[3]) ||
        !isxdigit((unsigned char)s[4]))
        return -1;
    const char hex[3] = {s[3], s[4], 0};
    return (int)strtol(hex, NULL, 16);
}

/* Collected bytes are text if they are valid as a whole, else one U+FFFD for each. */
static gf_status flush_bytes(gf_buf *held, strings *out, gf_err *err)
{
    if (!held->len)
        return GF_OK;
    if (gf_utf8_valid(held->data, held->len) == held->len) {
        TRY(gf_buf_add(&out->text, held->data, held->len, err));
    } else {
        for (size_t i = 0; i < held->len; i++)
            TRY(gf_buf_str(&out->text, REPLACEMENT, err));
    }
    held->len = 0;
    return close_string(out, err);
}

static gf_status fallback(const strings *in, strings *out, gf_err *err)
{
    gf_buf held = {0};
    gf_status st = GF_OK;
    for (size_t i = 0; i < in->n; i++) {
        size_t n;
        const char *s = string_at(in, i, &n);
        const int b = fallback_byte(s, n);
        if (b >= 0) {
            const char c = (char)b;
            TRYG(gf_buf_add(&held, &c, 1, err));
            continue;
        }
        TRYG(flush_bytes(&held, out, err));
        TRYG(gf_buf_add(&out->text, s, n, err));
        TRYG(close_string(out, err));
    }
    st = flush_bytes(&held, out, err);
out:
    gf_buf_free(&held);
    return st;
}

static gf_status fuse(const strings *in, strings *out, gf_err *err)
{
    if (in->text.len)
        TRY(gf_buf_add(&out->text, in->text.data, in->text.len, err));
    return close_string(out, err);
}

static gf_status strip(const gf_decoder *d, const strings *in, strings *out, gf_err *err)
{
    const size_t size = strlen(d->text);
    for (size_t i = 0; i < in->n; i++) {
        size_t n;
        const char *s = string_at(in, i, &n);
        for (int64_t k = 0; k < d->start && n >= size && memcmp(s, d->text, size) == 0; k++) {
            s += size;
            n -= size;
        }
        for (int64_t k = 0; k < d->stop && n >= size && memcmp(s + n - size, d->text, size) == 0;
             k++)
            n -= size;
        TRY(gf_buf_add(&out->text, s, n, err));
        TRY(close_string(out, err));
    }
    return GF_OK;
}

static gf_status metaspace(const gf_decoder *d, const strings *in, strings *out, gf_err *err)
{
    const size_t size = strlen(d->text);
    for (size_t i = 0; i < in->n; i++) {
        size_t n;
        const char *s = string_at(in, i, &n);
        const char *space = i == 0 && d->prepend != GF_PREPEND_NEVER ? "" : " ";
        for (size_t j = 0; j < n;) {
            if (n - j >= size && memcmp(s + j, d->text, size) == 0) {
                TRY(gf_buf_str(&out->text, space, err));
                j += size;
            } else {
                TRY(gf_buf_add(&out->text, s + j++, 1, err));
            }
        }
        TRY(close_string(out, err));
    }
    return GF_OK;
}

static gf_status run(gf_tokenizer *t, gf_decoder *d, const strings *in, strings *out, gf_err *err)
{
    switch (d->kind) {
    case GF_DEC_BYTES:
        return bytes(in, out, err);
    case GF_DEC_REPLACE:
        return replace(t, d, in, out, err);
    case GF_DEC_FALLBACK:
        return fallback(in, out, err);
    case GF_DEC_FUSE:
        return fuse(in, out, err);
    case GF_DEC_STRIP:
        return strip(d, in, out, err);
    case GF_DEC_METASPACE:
        return metaspace(d, in, out, err);
    }
    return GF_OK;
}

static gf_status token_texts(const gf_tokenizer *t, const int32_t *ids, int64_t count,
                             bool skip_special, strings *s, gf_err *err)
{
    for (int64_t i = 0; i < count; i++) {
        size_t n;
        const char *text = gf_vocab_text(&t->vocab, ids[i], &n);
        if (!text)
            return gf_fail(err, GF_EINPUT, "%s: token %d (number %lld) does not exist", t->where,
                           ids[i], (long long)i);
        if (skip_special && gf_vocab_at(&t->vocab, ids[i])->special)
            continue;
        if (!t->has_dec && s->n) /* without a decoder tokens are told apart by spaces */
            TRY(gf_buf_str(&s->text, " ", err));
        TRY(gf_buf_add(&s->text, text, n, err));
        TRY(close_string(s, err));
    }
    return GF_OK;
}

gf_status gf_tokenizer_decode(gf_tokenizer *t, const int32_t *ids, int64_t n, bool skip_special,
                              gf_buf *out, gf_err *err)
{
    strings a = {0}, b = {0};
    gf_status st;
    TRYG(token_texts(t, ids, n, skip_special, &a, err));
    for (int i = 0; i < t->decs; i++) {
        b.text.len = b.n = 0;
        TRYG(run(t, &t->dec[i], &a, &b, err));
        const strings swap = a;
        a = b;
        b = swap;
    }
    st = gf_buf_add(out, a.text.data ? a.text.data : "", a.text.len, err);
out:
    free_strings(&a);
    free_strings(&b);
    return st;
}
