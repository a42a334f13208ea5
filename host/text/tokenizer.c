/* tokenizer.c - encoding, and questions about a loaded tokenizer. Contract: tokenizer.h; order of
 * the steps: FORMATS 3.2. */
#include "text/tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>

gf_status gf_tokenizer_new(gf_tokenizer **out, const char *where, gf_err *err)
{
    gf_tokenizer *t = gf_alloc(1, sizeof *t, err);
    if (!t)
        return GF_ENOMEM;
    t->bos = t->eos = t->pad = t->unk = t->bpe.unk = -1;
    gf_trie_start(&t->raw);
    gf_trie_start(&t->normalized);
    t->where = gf_strdup(where, err);
    if (!t->where) {
        gf_tokenizer_free(t);
        return GF_ENOMEM;
    }
    *out = t;
    return GF_OK;
}

void gf_tokenizer_free(gf_tokenizer *t)
{
    if (!t)
        return;
    for (int i = 0; i < t->norms; i++) {
        gf_pattern_free(&t->norm[i].pattern);
        free(t->norm[i].text);
    }
    for (int i = 0; i < t->pres; i++) {
        gf_pattern_free(&t->pre[i].pattern);
        free(t->pre[i].replacement);
    }
    for (int i = 0; i < t->decs; i++) {
        gf_pattern_free(&t->dec[i].pattern);
        free(t->dec[i].text);
    }
    gf_vocab_free(&t->vocab);
    gf_bpe_free(&t->bpe);
    free(t->raw.node);
    free(t->normalized.node);
    gf_track_free(&t->a);
    gf_track_free(&t->b);
    gf_track_free(&t->words);
    void *const rest[] = {t->where,  t->dir,       t->norm,    t->pre,           t->dec,
                          t->prefix, t->suffix,    t->added,   t->chat_template, t->spans.v,
                          t->more.v, t->matches.v, t->parts.v, t->inner.v};
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++)
        free(rest[i]);
    free(t);
}

/* Room for one more element of a list whose length is its capacity: lists are short. */
static void *one_more(void **list, int *count, size_t size, gf_err *err)
{
    char *p = gf_realloc(*list, (size_t)*count + 1, size, err);
    if (!p)
        return NULL;
    *list = p;
    p += (size_t)*count * size;
    memset(p, 0, size);
    ++*count;
    return p;
}

gf_normalizer *gf_tokenizer_add_norm(gf_tokenizer *t, gf_norm_kind kind, gf_err *err)
{
    void *list = t->norm;
    gf_normalizer *n = one_more(&list, &t->norms, sizeof *n, err);
    t->norm = list;
    if (n)
        n->kind = kind;
    return n;
}

gf_pre *gf_tokenizer_add_pre(gf_tokenizer *t, gf_pre_kind kind, gf_err *err)
{
    void *list = t->pre;
    gf_pre *p = one_more(&list, &t->pres, sizeof *p, err);
    t->pre = list;
    t->has_pre = true;
    if (p)
        p->kind = kind;
    return p;
}

gf_decoder *gf_tokenizer_add_dec(gf_tokenizer *t, gf_dec_kind kind, gf_err *err)
{
    void *list = t->dec;
    gf_decoder *d = one_more(&list, &t->decs, sizeof *d, err);
    t->dec = list;
    t->has_dec = true;
    if (d)
        d->kind = kind;
    return d;
}

gf_status gf_tokenizer_add_affix(gf_tokenizer *t, bool front, int32_t id, gf_err *err)
{
    if (id < 0 || id >= t->vocab.size)
        return gf_fail(err, GF_EINPUT, "%s: post_processor: id %d is outside the vocabulary",
                       t->where, id);
    void *list = front ? t->prefix : t->suffix;
    int32_t *at = one_more(&list, front ? &t->prefixes : &t->suffixes, sizeof *at, err);
    if (front)
        t->prefix = list;
    else
        t->suffix = list;
    if (!at)
        return GF_ENOMEM;
    *at = id;
    return GF_OK;
}

gf_status gf_tokenizer_add_added(gf_tokenizer *t, gf_added a, bool special, gf_err *err)
{
    if ((t->added_count & (t->added_count - 1)) == 0) { /* full at each power of two */
        const size_t cap = t->added_count ? 2 * (size_t)t->added_count : 1;
        gf_added *list = gf_realloc(t->added, cap, sizeof *list, err);
        if (!list)
            return GF_ENOMEM;
        t->added = list;
    }
    t->added[t->added_count++] = a;
    gf_vocab_at(&t->vocab, a.id)->special |= special;
    return GF_OK;
}

gf_status gf_tokenizer_prepare(gf_tokenizer *t, gf_err *err)
{
    TRY(gf_bpe_prepare(&t->bpe, &t->vocab, err));
    for (int32_t i = 0; i < t->added_count; i++) {
        size_t n;
        const char *s = gf_vocab_text(&t->vocab, t->added[i].id, &n);
        if (!t->added[i].normalized) {
            TRY(gf_trie_add(&t->raw, s, n, i, err));
            continue;
        }
        t->a.n = 0;
        TRY(gf_track_text(&t->a, s, n, 0, err));
        TRY(gf_normalize(t, err));
        TRY(gf_trie_add(&t->normalized, t->a.s, t->a.n, i, err));
    }
    return GF_OK;
}

/* ---- encoding ---------------------------------------------------------------------- */

static gf_status add_token(gf_tokens *out, int32_t id, int64_t start, gf_err *err)
{
    if (out->count == out->cap) {
        const int64_t cap = out->cap ? 2 * out->cap : 256;
        int32_t *ids = gf_realloc(out->id, (size_t)cap, sizeof *ids, err);
        if (!ids)
            return GF_ENOMEM;
        out->id = ids;
        int64_t *starts = gf_realloc(out->start, (size_t)cap, sizeof *starts, err);
        if (!starts)
            return GF_ENOMEM;
        out->start = starts;
        out->cap = cap;
    }
    out->id[out->count] = id;
    out->start[out->count++] = start;
    return GF_OK;
}

static gf_status encode_words(gf_tokenizer *t, size_t begin, size_t end, gf_tokens *out,
                              gf_err *err)
{
    TRY(gf_pretokenize(t, begin, end, err));
    for (size_t i = 0; i < t->spans.n; i++) {
        const gf_span word = t->spans.v[i];
        TRY(gf_bpe_word(&t->bpe, &t->vocab, t->words.s + word.begin, word.end - word.begin, err));
        for (size_t j = 0; j < t->bpe.count; j++)
            TRY(add_token(out, t->bpe.symbol[j].id,
                          t->words.at[word.begin + t->bpe.symbol[j].begin], err));
    }
    return GF_OK;
}

/* Text without raw added tokens: normalize, find the normalized ones, encode what is between. */
static gf_status encode_part(gf_tokenizer *t, const char *s, size_t n, uint32_t at, gf_tokens *out,
                             gf_err *err)
{
    t->a.n = 0;
    TRY(gf_track_text(&t->a, s, n, at, err));
    TRY(gf_normalize(t, err));
    if (!t->normalized.n)
        return encode_words(t, 0, t->a.n, out, err);
    t->inner.n = 0;
    TRY(gf_trie_split(&t->normalized, t->added, t->a.s, t->a.n, &t->inner, err));
    for (size_t i = 0; i < t->inner.n; i++) {
        const gf_part p = t->inner.v[i];
        if (p.added < 0)
            TRY(encode_words(t, p.begin, p.end, out, err));
        else
            TRY(add_token(out, t->added[p.added].id, t->a.at[p.begin], err));
    }
    return GF_OK;
}

static gf_status check_text(const char *text, size_t size, gf_err *err)
{
    if (size > GF_TEXT_MAX)
        return gf_fail(err, GF_EINPUT, "a text of %zu bytes is longer than 1 GiB; split it", size);
    const size_t good = gf_utf8_valid(text, size);
    if (good != size)
        return gf_fail(err, GF_EINPUT, "the text is not UTF-8 at byte %zu (0x%02X)", good,
                       (unsigned)(unsigned char)text[good]);
    return GF_OK;
}

gf_status gf_tokenizer_encode(gf_tokenizer *t, const char *text, size_t size, bool add_special,
                              gf_tokens *out, gf_err *err)
{
    TRY(check_text(text, size, err));
    for (int i = 0; add_special && i < t->prefixes; i++)
        TRY(add_token(out, t->prefix[i], 0, err));
    t->parts.n = 0;
    TRY(gf_trie_split(&t->raw, t->added, text, size, &t->parts, err));
    for (size_t i = 0; i < t->parts.n; i++) {
        const gf_part p = t->parts.v[i];
        if (p.added < 0)
            TRY(encode_part(t, text + p.begin, p.end - p.begin, (uint32_t)p.begin, out, err));
        else
            TRY(add_token(out, t->added[p.added].id, (int64_t)p.begin, err));
    }
    for (int i = 0; add_special && i < t->suffixes; i++)
        TRY(add_token(out, t->suffix[i], (int64_t)size, err));
    return GF_OK;
}

gf_status gf_tokenizer_pieces(gf_tokenizer *t, const char *text, size_t size,
                              gf_status (*emit)(void *ctx, const char *piece, size_t n), void *ctx,
                              gf_err *err)
{
    TRY(check_text(text, size, err));
    t->a.n = 0;
    TRY(gf_track_text(&t->a, text, size, 0, err));
    TRY(gf_normalize(t, err));
    TRY(gf_pretokenize(t, 0, t->a.n, err));
    for (size_t i = 0; i < t->spans.n; i++) {
        const gf_span p = t->spans.v[i];
        TRY(emit(ctx, p.begin < p.end ? t->words.s + p.begin : "", p.end - p.begin));
    }
    return GF_OK;
}

void gf_tokens_free(gf_tokens *t)
{
    free(t->id);
    free(t->start);
    *t = (gf_tokens){0};
}

/* ---- questions --------------------------------------------------------------------- */

int32_t gf_tokenizer_size(const gf_tokenizer *t)
{
    return t->vocab.size;
}

int32_t gf_tokenizer_id(const gf_tokenizer *t, const char *token)
{
    return gf_vocab_find_any(&t->vocab, token, strlen(token));
}

const char *gf_tokenizer_token(const gf_tokenizer *t, int32_t id)
{
    return gf_vocab_text(&t->vocab, id, NULL);
}

bool gf_tokenizer_is_special(const gf_tokenizer *t, int32_t id)
{
    const gf_token *token = gf_vocab_at(&t->vocab, id);
    return token && token->special;
}

int32_t gf_tokenizer_bos(const gf_tokenizer *t)
{
    return t->bos;
}

int32_t gf_tokenizer_eos(const gf_tokenizer *t)
{
    return t->eos;
}

int32_t gf_tokenizer_pad(const gf_tokenizer *t)
{
    return t->pad;
}

int32_t gf_tokenizer_unk(const gf_tokenizer *t)
{
    return t->unk;
}

bool gf_tokenizer_adds_bos(const gf_tokenizer *t)
{
    return t->bos >= 0 && t->prefixes > 0 && t->prefix[0] == t->bos;
}

bool gf_tokenizer_adds_eos(const gf_tokenizer *t)
{
    return t->eos >= 0 && t->suffixes > 0 && t->suffix[t->suffixes - 1] == t->eos;
}

const char *gf_tokenizer_template(const gf_tokenizer *t)
{
    return t->chat_template;
}
