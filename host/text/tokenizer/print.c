/* print.c - a loaded tokenizer as tokenizer.json. Contract: tokenizer/parts.h; format:
 * FORMATS 3.1 to 3.8. */
#include "text/tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>

static gf_status quoted(gf_buf *b, const char *before, const char *text, const char *after,
                        gf_err *err)
{
    TRY(gf_buf_str(b, before, err));
    TRY(gf_json_quote(b, text, strlen(text), err));
    return gf_buf_str(b, after, err);
}

static gf_status pattern(gf_buf *b, const gf_pattern *p, gf_err *err)
{
    return quoted(b, p->literal ? "\"pattern\": {\"String\": " : "\"pattern\": {\"Regex\": ",
                  p->source, "}", err);
}

static const char *truth(bool x)
{
    return x ? "true" : "false";
}

static const char *scheme(gf_prepend p)
{
    return p == GF_PREPEND_ALWAYS ? "always" : p == GF_PREPEND_FIRST ? "first" : "never";
}

static gf_status norm(gf_buf *b, const gf_normalizer *n, gf_err *err)
{
    static const char *const plain[] = {[GF_NORM_NFC] = "NFC",
                                        [GF_NORM_NFD] = "NFD",
                                        [GF_NORM_NFKC] = "NFKC",
                                        [GF_NORM_NFKD] = "NFKD",
                                        [GF_NORM_LOWER] = "Lowercase"};
    switch (n->kind) {
    case GF_NORM_PREPEND:
        return quoted(b, "{\"type\": \"Prepend\", \"prepend\": ", n->text, "}", err);
    case GF_NORM_REPLACE:
        TRY(gf_buf_str(b, "{\"type\": \"Replace\", ", err));
        TRY(pattern(b, &n->pattern, err));
        return quoted(b, ", \"content\": ", n->text, "}", err);
    case GF_NORM_STRIP:
        return gf_buf_printf(b, err,
                             "{\"type\": \"Strip\", \"strip_left\": %s, \"strip_right\": %s}",
                             truth(n->left), truth(n->right));
    default:
        return gf_buf_printf(b, err, "{\"type\": \"%s\"}", plain[n->kind]);
    }
}

static gf_status pre(gf_buf *b, const gf_pre *p, gf_err *err)
{
    static const char *const behaviours[] = {"Isolated", "Removed", "MergedWithPrevious",
                                             "MergedWithNext", "Contiguous"}; /* as in the enum */
    switch (p->kind) {
    case GF_PRE_BYTES:
        return gf_buf_printf(b, err,
                             "{\"type\": \"ByteLevel\", \"add_prefix_space\": %s, "
                             "\"trim_offsets\": true, \"use_regex\": %s}",
                             truth(p->add_prefix_space), truth(p->use_regex));
    case GF_PRE_PATTERN:
        TRY(gf_buf_str(b, "{\"type\": \"Split\", ", err));
        TRY(pattern(b, &p->pattern, err));
        return gf_buf_printf(b, err, ", \"behavior\": \"%s\", \"invert\": %s}",
                             behaviours[p->behaviour], truth(p->invert));
    case GF_PRE_METASPACE:
        TRY(quoted(b, "{\"type\": \"Metaspace\", \"replacement\": ", p->replacement, "", err));
        return gf_buf_printf(b, err, ", \"prepend_scheme\": \"%s\", \"split\": %s}",
                             scheme(p->prepend), truth(p->split));
    case GF_PRE_WORDS:
        return gf_buf_str(b, "{\"type\": \"Whitespace\"}", err);
    case GF_PRE_CLASS:
        break;
    }
    if (p->in_class == gf_is_number)
        return gf_buf_printf(b, err, "{\"type\": \"Digits\", \"individual_digits\": %s}",
                             truth(p->behaviour == GF_SPLIT_ISOLATED));
    if (p->in_class == gf_is_punctuation)
        return gf_buf_printf(b, err, "{\"type\": \"Punctuation\", \"behavior\": \"%s\"}",
                             behaviours[p->behaviour]);
    return gf_buf_str(b, "{\"type\": \"WhitespaceSplit\"}", err);
}

static gf_status dec(gf_buf *b, const gf_decoder *d, gf_err *err)
{
    switch (d->kind) {
    case GF_DEC_BYTES:
        return gf_buf_str(b,
                          "{\"type\": \"ByteLevel\", \"add_prefix_space\": true, "
                          "\"trim_offsets\": true, \"use_regex\": true}",
                          err);
    case GF_DEC_REPLACE:
        TRY(gf_buf_str(b, "{\"type\": \"Replace\", ", err));
        TRY(pattern(b, &d->pattern, err));
        return quoted(b, ", \"content\": ", d->text, "}", err);
    case GF_DEC_FALLBACK:
        return gf_buf_str(b, "{\"type\": \"ByteFallback\"}", err);
    case GF_DEC_FUSE:
        return gf_buf_str(b, "{\"type\": \"Fuse\"}", err);
    case GF_DEC_STRIP:
        TRY(quoted(b, "{\"type\": \"Strip\", \"content\": ", d->text, "", err));
        return gf_buf_printf(b, err, ", \"start\": %lld, \"stop\": %lld}", (long long)d->start,
                             (long long)d->stop);
    case GF_DEC_METASPACE:
        TRY(quoted(b, "{\"type\": \"Metaspace\", \"replacement\": ", d->text, "", err));
        return gf_buf_printf(b, err, ", \"prepend_scheme\": \"%s\", \"split\": true}",
                             scheme(d->prepend));
    }
    return GF_OK;
}

/* "key": null, or one component, or a Sequence of several under `list`. */
static gf_status open_list(gf_buf *b, const char *key, const char *list, int count, bool present,
                           gf_err *err)
{
    if (!present && !count)
        return gf_buf_printf(b, err, ",\n  \"%s\": null", key);
    if (count == 1)
        return gf_buf_printf(b, err, ",\n  \"%s\": ", key);
    return gf_buf_printf(b, err, ",\n  \"%s\": {\"type\": \"Sequence\", \"%s\": [", key, list);
}

static gf_status close_list(gf_buf *b, int count, bool present, gf_err *err)
{
    return (present || count) && count != 1 ? gf_buf_str(b, "]}", err) : GF_OK;
}

/* ---- post-processor ---------------------------------------------------------------- */

/* {"SpecialToken": ...} for each prefix or suffix, with commas around the text. */
static gf_status affixes(gf_buf *b, const gf_tokenizer *t, bool front, gf_err *err)
{
    const int count = front ? t->prefixes : t->suffixes;
    for (int i = 0; i < count; i++) {
        const int32_t id = front ? t->prefix[i] : t->suffix[i];
        const char *text = gf_tokenizer_token(t, id);
        if (!text)
            return gf_fail(err, GF_EINPUT, "%s: post_processor: id %d has no token", t->where, id);
        TRY(gf_buf_str(b, front ? "" : ", ", err));
        TRY(quoted(b, "{\"SpecialToken\": {\"id\": ", text, ", \"type_id\": 0}}", err));
        TRY(gf_buf_str(b, front ? ", " : "", err));
    }
    return GF_OK;
}

static gf_status text_with_affixes(gf_buf *b, const gf_tokenizer *t, const char *name, int type,
                                   gf_err *err)
{
    TRY(affixes(b, t, true, err));
    TRY(gf_buf_printf(b, err, "{\"Sequence\": {\"id\": \"%s\", \"type_id\": %d}}", name, type));
    return affixes(b, t, false, err);
}

/* Each token once. */
static gf_status affix_ids(gf_buf *b, const gf_tokenizer *t, gf_err *err)
{
    const int count = t->prefixes + t->suffixes;
    for (int i = 0; i < count; i++) {
        const int32_t id = i < t->prefixes ? t->prefix[i] : t->suffix[i - t->prefixes];
        bool seen = false;
        for (int j = 0; j < i; j++)
            seen |= id == (j < t->prefixes ? t->prefix[j] : t->suffix[j - t->prefixes]);
        if (seen)
            continue;
        const char *text = gf_tokenizer_token(t, id);
        TRY(quoted(b, i ? ", " : "", text, ": {\"id\": ", err));
        TRY(quoted(b, "", text, "", err));
        TRY(gf_buf_printf(b, err, ", \"ids\": [%d], \"tokens\": [", id));
        TRY(quoted(b, "", text, "]}", err));
    }
    return GF_OK;
}

static gf_status print_post(gf_buf *b, const gf_tokenizer *t, gf_err *err)
{
    if (!t->prefixes && !t->suffixes)
        return gf_buf_str(b, ",\n  \"post_processor\": null", err);
    TRY(gf_buf_str(b, ",\n  \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [",
                   err));
    TRY(text_with_affixes(b, t, "A", 0, err));
    TRY(gf_buf_str(b, "], \"pair\": [", err));
    TRY(text_with_affixes(b, t, "A", 0, err));
    TRY(gf_buf_str(b, ", ", err));
    TRY(text_with_affixes(b, t, "B", 1, err));
    TRY(gf_buf_str(b, "], \"special_tokens\": {", err));
    TRY(affix_ids(b, t, err));
    return gf_buf_str(b, "}}", err);
}

/* ---- model ------------------------------------------------------------------------- */

static int by_added_id(const void *a, const void *b)
{
    const gf_added *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static gf_status print_added(gf_buf *b, const gf_tokenizer *t, gf_err *err)
{
    const size_t count = (size_t)t->added_count;
    gf_added *order = gf_alloc(count, sizeof *order, err);
    if (!order)
        return GF_ENOMEM;
    if (count)
        memcpy(order, t->added, count * sizeof *order);
    qsort(order, count, sizeof *order, by_added_id);
    gf_status st;
    TRYG(gf_buf_str(b, ",\n  \"added_tokens\": [", err));
    for (size_t i = 0; i < count; i++) {
        const gf_added *a = &order[i];
        TRYG(gf_buf_printf(b, err, "%s\n    {\"id\": %d", i ? "," : "", a->id));
        TRYG(quoted(b, ", \"content\": ", gf_tokenizer_token(t, a->id), "", err));
        TRYG(gf_buf_printf(b, err,
                           ", \"single_word\": %s, \"lstrip\": %s, \"rstrip\": %s, "
                           "\"normalized\": %s, \"special\": %s}",
                           truth(a->single_word), truth(a->lstrip), truth(a->rstrip),
                           truth(a->normalized), truth(gf_tokenizer_is_special(t, a->id))));
    }
    st = gf_buf_str(b, count ? "\n  ]" : "]", err);
out:
    free(order);
    return st;
}

static int by_id(const void *a, const void *b)
{
    const gf_token *x = *(const gf_token *const *)a, *y = *(const gf_token *const *)b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static gf_status print_vocab(gf_buf *b, const gf_vocab *v, gf_err *err)
{
    const gf_token **order = gf_alloc((size_t)v->tokens, sizeof *order, err);
    if (!order)
        return GF_ENOMEM;
    size_t n = 0;
    for (int32_t i = 0; i < v->tokens; i++)
        if (!v->token[i].added)
            order[n++] = &v->token[i];
    qsort(order, n, sizeof *order, by_id);
    gf_status st = GF_OK;
    TRYG(gf_buf_str(b, "\"vocab\": {", err));
    for (size_t i = 0; i < n; i++) {
        TRYG(gf_buf_str(b, i ? ",\n      " : "\n      ", err));
        TRYG(gf_json_quote(b, v->bytes.data + order[i]->offset, order[i]->size, err));
        TRYG(gf_buf_printf(b, err, ": %d", order[i]->id));
    }
    st = gf_buf_str(b, "\n    }", err);
out:
    free(order);
    return st;
}

static gf_status print_merges(gf_buf *b, const gf_vocab *v, gf_err *err)
{
    gf_merge *order;
    size_t n;
    gf_status st = GF_OK;
    TRY(gf_vocab_ranked(&order, &n, v, err));
    TRYG(gf_buf_str(b, "\"merges\": [", err));
    for (size_t i = 0; i < n; i++) {
        const gf_token *left = gf_vocab_own(v, (int32_t)(order[i].key >> 32));
        const gf_token *right = gf_vocab_own(v, (int32_t)(uint32_t)order[i].key);
        TRYG(gf_buf_str(b, i ? ",\n      [" : "\n      [", err));
        TRYG(gf_json_quote(b, v->bytes.data + left->offset, left->size, err));
        TRYG(gf_buf_str(b, ", ", err));
        TRYG(gf_json_quote(b, v->bytes.data + right->offset, right->size, err));
        TRYG(gf_buf_str(b, "]", err));
    }
    st = gf_buf_str(b, n ? "\n    ]" : "]", err);
out:
    free(order);
    return st;
}

static gf_status print_model(gf_buf *b, const gf_tokenizer *t, gf_err *err)
{
    TRY(gf_buf_str(b,
                   ",\n  \"model\": {\n    \"type\": \"BPE\", \"dropout\": null, "
                   "\"unk_token\": ",
                   err));
    const char *unk = gf_tokenizer_token(t, t->bpe.unk);
    TRY(unk ? quoted(b, "", unk, "", err) : gf_buf_str(b, "null", err));
    TRY(gf_buf_printf(b, err,
                      ", \"continuing_subword_prefix\": null, \"end_of_word_suffix\": null,\n    "
                      "\"fuse_unk\": %s, \"byte_fallback\": %s, \"ignore_merges\": %s,\n    ",
                      truth(t->bpe.fuse_unk), truth(t->bpe.byte_fallback),
                      truth(t->bpe.ignore_merges)));
    TRY(print_vocab(b, &t->vocab, err));
    TRY(gf_buf_str(b, ",\n    ", err));
    TRY(print_merges(b, &t->vocab, err));
    return gf_buf_str(b, "\n  }\n}\n", err);
}

gf_status gf_tokenizer_print(const gf_tokenizer *t, gf_buf *b, gf_err *err)
{
    TRY(gf_buf_str(b, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null",
                   err));
    TRY(print_added(b, t, err));
    TRY(open_list(b, "normalizer", "normalizers", t->norms, false, err));
    for (int i = 0; i < t->norms; i++) {
        TRY(gf_buf_str(b, i ? ", " : "", err));
        TRY(norm(b, &t->norm[i], err));
    }
    TRY(close_list(b, t->norms, false, err));
    TRY(open_list(b, "pre_tokenizer", "pretokenizers", t->pres, t->has_pre, err));
    for (int i = 0; i < t->pres; i++) {
        TRY(gf_buf_str(b, i ? ", " : "", err));
        TRY(pre(b, &t->pre[i], err));
    }
    TRY(close_list(b, t->pres, t->has_pre, err));
    TRY(print_post(b, t, err));
    TRY(open_list(b, "decoder", "decoders", t->decs, t->has_dec, err));
    for (int i = 0; i < t->decs; i++) {
        TRY(gf_buf_str(b, i ? ", " : "", err));
        TRY(dec(b, &t->dec[i], err));
    }
    TRY(close_list(b, t->decs, t->has_dec, err));
    return print_model(b, t, err);
}
