/* pretokenize.c - pre-tokenizers: the text between added tokens into words. Contract:
 * tokenizer/parts.h; behaviour: FORMATS 3.5. Each step works on each piece of the step before in
 * isolation: the end of a piece is the end of the text for look-ahead. */
#include "text/tokenizer/parts.h"

#include <string.h>

const char gf_gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|"
                               "\\s+(?!\\S)|\\s+";

const char gf_metaspace[] = "\xE2\x96\x81";

uint32_t gf_byte_to_cp(unsigned char b)
{
    if ((b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE)
        return b;
    if (b <= 0x20)
        return 0x100u + b; /* the first 33 of those without a printable form of their own */
    if (b <= 0xA0)
        return 0x121u + (b - 0x7Fu);
    return 0x143u; /* 0xAD, the last */
}

int gf_cp_to_byte(uint32_t cp)
{
    if (cp < 0x100)
        return gf_byte_to_cp((unsigned char)cp) == cp ? (int)cp : -1;
    if (cp <= 0x120)
        return (int)(cp - 0x100);
    if (cp <= 0x142)
        return (int)(cp - 0x121 + 0x7F);
    return cp == 0x143 ? 0xAD : -1;
}

/* Matches (t->matches, of the piece at `base`) and the gaps between them, in order. */
typedef struct {
    const gf_tokenizer *t;
    size_t base, end, at, next;
} walk;

static bool step(walk *w, gf_span *piece, bool *match)
{
    if (w->next < w->t->matches.n) {
        const gf_span m = w->t->matches.v[w->next];
        if (w->at < w->base + m.begin) {
            *piece = (gf_span){w->at, w->base + m.begin};
            *match = false;
        } else {
            *piece = (gf_span){w->base + m.begin, w->base + m.end};
            *match = true;
            w->next++;
        }
        w->at = piece->end;
        return true;
    }
    if (w->at == w->end)
        return false;
    *piece = (gf_span){w->at, w->end};
    *match = false;
    w->at = w->end;
    return true;
}

static gf_status add_piece(gf_tokenizer *t, gf_span piece, gf_err *err)
{
    return piece.begin < piece.end ? gf_spans_add(&t->more, piece.begin, piece.end, err) : GF_OK;
}

/* Cuts one piece at t->matches and appends what comes of it to t->more. */
static gf_status cut(gf_tokenizer *t, gf_span piece, gf_split_behaviour behaviour, bool invert,
                     gf_err *err)
{
    walk w = {.t = t, .base = piece.begin, .end = piece.end, .at = piece.begin};
    gf_span now, held = {piece.begin, piece.begin}; /* what waits for its neighbour */
    bool match, held_match = false;
    while (step(&w, &now, &match)) {
        match ^= invert;
        if (now.begin == now.end)
            continue;
        bool join = false;
        switch (behaviour) {
        case GF_SPLIT_REMOVED:
            if (match)
                now.begin = now.end;
            break;
        case GF_SPLIT_ISOLATED:
            break;
        case GF_SPLIT_WITH_PREVIOUS:
            join = match && !held_match;
            break;
        case GF_SPLIT_WITH_NEXT:
            join = !match && held_match;
            break;
        case GF_SPLIT_CONTIGUOUS:
            join = match == held_match;
            break;
        }
        if (join && held.begin < held.end) {
            held.end = now.end;
        } else {
            TRY(add_piece(t, held, err));
            held = now;
        }
        held_match = match;
    }
    return add_piece(t, held, err);
}

static gf_status class_matches(gf_tokenizer *t, gf_span piece, bool (*in_class)(uint32_t),
                               gf_err *err)
{
    const char *s = t->words.s + piece.begin;
    for (size_t i = 0, len; i < piece.end - piece.begin; i += len) {
        uint32_t cp;
        len = gf_utf8_next(s + i, &cp);
        if (in_class(cp))
            TRY(gf_spans_add(&t->matches, i, i + len, err));
    }
    return GF_OK;
}

/* \w+ and [^\w\s]+ */
static gf_status word_matches(gf_tokenizer *t, gf_span piece, gf_err *err)
{
    const char *s = t->words.s + piece.begin;
    size_t begin = 0;
    int kind = 0; /* of the run that began there: 0 space, 1 word, 2 other */
    for (size_t i = 0, len; i <= piece.end - piece.begin; i += len) {
        int now = 0;
        len = 1;
        if (i < piece.end - piece.begin) {
            uint32_t cp;
            len = gf_utf8_next(s + i, &cp);
            now = gf_is_word(cp) ? 1 : gf_is_space(cp) ? 0 : 2;
        }
        if (now == kind)
            continue;
        if (kind)
            TRY(gf_spans_add(&t->matches, begin, i, err));
        begin = i;
        kind = now;
    }
    return GF_OK;
}

/* Cuts every piece; the result replaces t->spans. */
static gf_status cut_all(gf_tokenizer *t, gf_pre *pre, gf_split_behaviour behaviour, gf_err *err)
{
    t->more.n = 0;
    for (size_t i = 0; i < t->spans.n; i++) {
        const gf_span piece = t->spans.v[i];
        t->matches.n = 0;
        if (pre->kind == GF_PRE_CLASS)
            TRY(class_matches(t, piece, pre->in_class, err));
        else if (pre->kind == GF_PRE_WORDS)
            TRY(word_matches(t, piece, err));
        else
            TRY(gf_pattern_all(&pre->pattern, t->words.s + piece.begin, piece.end - piece.begin,
                               &t->matches, err));
        TRY(cut(t, piece, behaviour, pre->invert, err));
    }
    const gf_spans old = t->spans;
    t->spans = t->more;
    t->more = old;
    return GF_OK;
}

static void swap_words(gf_tokenizer *t)
{
    const gf_track words = t->words;
    t->words = t->b;
    t->b = words;
}

static gf_status prefix_spaces(gf_tokenizer *t, gf_err *err)
{
    t->b.n = 0;
    for (size_t i = 0; i < t->spans.n; i++) {
        gf_span *piece = &t->spans.v[i];
        const size_t begin = t->b.n;
        if (t->words.s[piece->begin] != ' ')
            TRY(gf_track_add(&t->b, " ", 1, t->words.at[piece->begin], err));
        TRY(gf_track_copy(&t->b, &t->words, piece->begin, piece->end, err));
        *piece = (gf_span){begin, t->b.n};
    }
    swap_words(t);
    return GF_OK;
}

static gf_status map_bytes(gf_tokenizer *t, gf_err *err)
{
    t->b.n = 0;
    for (size_t i = 0; i < t->spans.n; i++) {
        gf_span *piece = &t->spans.v[i];
        const size_t begin = t->b.n;
        TRY(gf_track_room(&t->b, 2 * (piece->end - piece->begin), err));
        for (size_t j = piece->begin; j < piece->end; j++) {
            const size_t len = gf_utf8_put((unsigned char *)t->b.s + t->b.n,
                                           gf_byte_to_cp((unsigned char)t->words.s[j]));
            t->b.at[t->b.n] = t->b.at[t->b.n + len - 1] = t->words.at[j];
            t->b.n += len;
        }
        *piece = (gf_span){begin, t->b.n};
    }
    swap_words(t);
    return GF_OK;
}

static gf_status byte_level(gf_tokenizer *t, gf_pre *pre, gf_err *err)
{
    if (pre->add_prefix_space)
        TRY(prefix_spaces(t, err));
    if (pre->use_regex)
        TRY(cut_all(t, pre, GF_SPLIT_ISOLATED, err));
    return map_bytes(t, err);
}

static gf_status metaspace(gf_tokenizer *t, gf_pre *pre, gf_err *err)
{
    const size_t size = strlen(pre->replacement);
    t->b.n = 0;
    for (size_t i = 0; i < t->spans.n; i++) {
        gf_span *piece = &t->spans.v[i];
        const size_t begin = t->b.n;
        const char *s = t->words.s + piece->begin;
        const size_t n = piece->end - piece->begin;
        const bool marked = s[0] == ' ' || (n >= size && memcmp(s, pre->replacement, size) == 0);
        const uint32_t first = t->words.at[piece->begin];
        if (!marked &&
            (pre->prepend == GF_PREPEND_ALWAYS || (pre->prepend == GF_PREPEND_FIRST && first == 0)))
            TRY(gf_track_add(&t->b, pre->replacement, size, first, err));
        for (size_t j = 0, end; j < n; j = end) {
            const char *space = memchr(s + j, ' ', n - j);
            end = space ? (size_t)(space - s) : n;
            TRY(gf_track_copy(&t->b, &t->words, piece->begin + j, piece->begin + end, err));
            if (space)
                TRY(gf_track_add(&t->b, pre->replacement, size, t->words.at[piece->begin + end++],
                                 err));
        }
        *piece = (gf_span){begin, t->b.n};
    }
    swap_words(t);
    return pre->split ? cut_all(t, pre, GF_SPLIT_WITH_NEXT, err) : GF_OK;
}

gf_status gf_pretokenize(gf_tokenizer *t, size_t begin, size_t end, gf_err *err)
{
    t->words.n = t->spans.n = 0;
    TRY(gf_track_copy(&t->words, &t->a, begin, end, err));
    if (begin < end || !t->has_pre) /* with a pre-tokenizer there are no empty pieces */
        TRY(gf_spans_add(&t->spans, 0, end - begin, err));
    for (int i = 0; i < t->pres; i++) {
        gf_pre *pre = &t->pre[i];
        switch (pre->kind) {
        case GF_PRE_BYTES:
            TRY(byte_level(t, pre, err));
            break;
        case GF_PRE_METASPACE:
            TRY(metaspace(t, pre, err));
            break;
        case GF_PRE_PATTERN:
        case GF_PRE_CLASS:
        case GF_PRE_WORDS:
            TRY(cut_all(t, pre, pre->behaviour, err));
            break;
        }
    }
    return GF_OK;
}
