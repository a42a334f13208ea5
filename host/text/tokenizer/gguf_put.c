/* gguf_put.c - a tokenizer as GGUF metadata, for llama.cpp. Contract: tokenizer.h; keys:
 * FORMATS 6.3, as convert_hf_to_gguf writes them. */
#include "text/tokenizer/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- tokens -------------------------------------------------------------------------- */

/* "<0xHH>": a byte. */
static bool is_byte(const char *s, size_t n)
{
    return n == 6 && memcmp(s, "<0x", 3) == 0 && s[5] == '>';
}

static gf_status put_types(gf_gguf_keys *k, const gf_tokenizer *t, int32_t count, gf_err *err)
{
    int32_t *type = gf_alloc((size_t)count, sizeof *type, err);
    if (!type)
        return GF_ENOMEM;
    for (int32_t id = 0; id < count; id++) {
        size_t n = 0;
        const char *text = gf_vocab_text(&t->vocab, id, &n);
        type[id] = !text                                      ? GF_TOKEN_UNUSED
                   : t->bpe.byte_fallback && is_byte(text, n) ? GF_TOKEN_BYTE
                                                              : GF_TOKEN_NORMAL;
    }
    for (int32_t i = 0; i < t->added_count; i++) {
        const int32_t id = t->added[i].id;
        type[id] = gf_tokenizer_is_special(t, id) ? GF_TOKEN_CONTROL : GF_TOKEN_USER;
    }
    if (t->bpe.byte_fallback && t->bpe.unk >= 0)
        type[t->bpe.unk] = GF_TOKEN_UNKNOWN;
    const gf_status st =
        gf_gguf_put_array(k, "tokenizer.ggml.token_type", GF_KV_I32, type, (uint64_t)count, err);
    free(type);
    return st;
}

static gf_status put_tokens(gf_gguf_keys *k, const gf_tokenizer *t, int32_t count, gf_err *err)
{
    char unused[32]; /* "[PAD" and a number */
    TRY(gf_gguf_put_strings(k, "tokenizer.ggml.tokens", (uint64_t)count, err));
    for (int32_t id = 0; id < count; id++) {
        size_t n = 0;
        const char *text = gf_vocab_text(&t->vocab, id, &n);
        if (!text) {
            n = (size_t)snprintf(unused, sizeof unused, "[PAD%d]", id);
            text = unused;
        }
        TRY(gf_gguf_add_string(k, text, n, err));
    }
    return put_types(k, t, count, err);
}

/* ---- merges -------------------------------------------------------------------------- */

static gf_status put_merges(gf_gguf_keys *k, const gf_vocab *v, const gf_merge *merge, size_t count,
                            gf_err *err)
{
    gf_buf b = {0};
    gf_status st;
    TRYG(gf_gguf_put_strings(k, "tokenizer.ggml.merges", count, err));
    for (size_t i = 0; i < count; i++) {
        const gf_token *left = gf_vocab_own(v, (int32_t)(merge[i].key >> 32));
        const gf_token *right = gf_vocab_own(v, (int32_t)(uint32_t)merge[i].key);
        b.len = 0;
        TRYG(gf_buf_add(&b, v->bytes.data + left->offset, left->size, err));
        TRYG(gf_buf_str(&b, " ", err));
        TRYG(gf_buf_add(&b, v->bytes.data + right->offset, right->size, err));
        TRYG(gf_gguf_add_string(k, b.data, b.len, err));
    }
out:
    gf_buf_free(&b);
    return st;
}

/* llama.cpp merges SentencePiece tokens by the score of what they make, graft and Hugging Face by
 * the rank of the pair. The merges of one token stand together, in the order of the scores that
 * they were made from (FORMATS 3.9), so that the rank of a token's first merge orders tokens as its
 * score would. Tokens that no merge makes come last. */
static gf_status put_scores(gf_gguf_keys *k, const gf_merge *merge, size_t merges, int32_t count,
                            gf_err *err)
{
    float *score = gf_alloc((size_t)count, sizeof *score, err);
    if (!score)
        return GF_ENOMEM;
    for (int32_t id = 0; id < count; id++)
        score[id] = -(float)merges - 1;
    for (size_t i = merges; i-- > 0;) /* the first merge of a token is the last to be written */
        if (merge[i].id < count)
            score[merge[i].id] = -(float)i;
    const gf_status st =
        gf_gguf_put_array(k, "tokenizer.ggml.scores", GF_KV_F32, score, (uint64_t)count, err);
    free(score);
    return st;
}

/* ---- pipelines ----------------------------------------------------------------------- */

static bool replaces_spaces(const gf_normalizer *n)
{
    return n->kind == GF_NORM_REPLACE && n->pattern.literal &&
           strcmp(n->pattern.source, " ") == 0 && strcmp(n->text, gf_metaspace) == 0;
}

/* Of the SentencePiece pipelines of FORMATS 3.9: spaces become U+2581, with or without one in
 * front, and the text is one word. *prefix: with. */
static bool is_sentencepiece(const gf_tokenizer *t, bool *prefix)
{
    *prefix = false;
    if (!t->bpe.byte_fallback || t->bpe.ignore_merges || t->pres > 1)
        return false;
    const gf_pre *pre = t->pres ? &t->pre[0] : NULL;
    if (pre && pre->kind == GF_PRE_METASPACE && t->norms == 0) {
        *prefix = pre->prepend != GF_PREPEND_NEVER;
        return !pre->split && strcmp(pre->replacement, gf_metaspace) == 0;
    }
    if (pre && !(pre->kind == GF_PRE_PATTERN && pre->pattern.literal &&
                 strcmp(pre->pattern.source, " ") == 0)) /* a no-op: there are no spaces by then */
        return false;
    *prefix = t->norms == 2 && t->norm[0].kind == GF_NORM_PREPEND &&
              strcmp(t->norm[0].text, gf_metaspace) == 0;
    return (t->norms == 1 || *prefix) && replaces_spaces(&t->norm[t->norms - 1]);
}

/* What GGUF cannot say, and llama.cpp therefore does otherwise; as in its own conversions. */
static const char *note_of(const gf_tokenizer *t)
{
    const gf_pre *pre = t->pres ? &t->pre[0] : NULL;
    if (pre && pre->kind == GF_PRE_METASPACE && pre->prepend != GF_PREPEND_NEVER)
        return "llama.cpp will put a space before every text and behind every special token, the "
               "model's tokenizer only before a text that has none";
    for (int32_t i = 0; i < t->added_count; i++) {
        const gf_added *a = &t->added[i];
        if (a->single_word || a->lstrip || a->rstrip)
            return "llama.cpp will not swallow the white space around added tokens, or ask for "
                   "word boundaries there, as the model's tokenizer does";
    }
    return NULL;
}

static gf_status put_pipeline(gf_gguf_keys *k, gf_tokenizer *t, int32_t count, gf_err *err)
{
    bool prefix = false;
    gf_status st = GF_OK;
    gf_merge *merge = NULL;
    size_t merges = 0;
    const char *pre = NULL;
    TRY(gf_gguf_pre_of(&pre, t, err));
    const bool sentencepiece = !pre && is_sentencepiece(t, &prefix);
    if (!pre && !sentencepiece)
        return gf_fail(
            err, GF_EMISSING,
            "%s: graft knows no name (tokenizer.ggml.pre) by which llama.cpp would split "
            "words as this tokenizer does; write a folder with --output-dir instead",
            t->where);
    TRY(gf_gguf_put_string(k, "tokenizer.ggml.model", pre ? "gpt2" : "llama", pre ? 4 : 5, err));
    pre = pre ? pre : "default"; /* as the converter writes it for SentencePiece */
    TRY(gf_gguf_put_string(k, "tokenizer.ggml.pre", pre, strlen(pre), err));
    TRY(put_tokens(k, t, count, err));
    TRY(gf_vocab_ranked(&merge, &merges, &t->vocab, err));
    if (sentencepiece) {
        TRYG(put_scores(k, merge, merges, count, err));
        TRYG(gf_gguf_put_bool(k, "tokenizer.ggml.add_space_prefix", prefix, err));
    }
    TRYG(put_merges(k, &t->vocab, merge, merges, err));
out:
    free(merge);
    return st;
}

/* ---- all of it ----------------------------------------------------------------------- */

static gf_status put_role(gf_gguf_keys *k, const char *key, int32_t id, gf_err *err)
{
    return id < 0 ? GF_OK : gf_gguf_put_u32(k, key, (uint32_t)id, err);
}

/* What a reader puts around a text is one bos or eos, or nothing: the role that the one token at
 * this end has, or gets. */
static gf_status check_affix(int32_t *role, const gf_tokenizer *t, const int32_t *ids, int count,
                             gf_err *err)
{
    if (count == 1 && *role < 0)
        *role = ids[0];
    if (count == 0 || (count == 1 && ids[0] == *role))
        return GF_OK;
    return gf_fail(err, GF_EMISSING,
                   "%s: post_processor: it adds other tokens than bos_token and eos_token, which a "
                   "GGUF cannot say; write a folder with --output-dir instead",
                   t->where);
}

static gf_status put_ends(gf_gguf_keys *k, const gf_tokenizer_gguf *model, int32_t eos, gf_err *err)
{
    static const char *const keys[] = {"tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    if (eos < 0 && model->ends > 0)
        eos = model->end[0];
    TRY(put_role(k, "tokenizer.ggml.eos_token_id", eos, err));
    for (int i = 0, put = 0; i < model->ends && put < 2; i++)
        if (model->end[i] != eos && model->end[i] < model->vocabulary)
            TRY(put_role(k, keys[put++], model->end[i], err));
    return GF_OK;
}

gf_status gf_tokenizer_put_gguf(gf_tokenizer *t, const gf_tokenizer_gguf *model, gf_gguf_keys *k,
                                const char **note, gf_err *err)
{
    *note = note_of(t);
    if (model->vocabulary < t->vocab.size || model->vocabulary > GF_TOKEN_MAX)
        return gf_fail(err, GF_EINPUT,
                       "%s: %d tokens, but the model has an embedding of %lld: they do not belong "
                       "together",
                       t->where, t->vocab.size, (long long)model->vocabulary);
    int32_t bos = t->bos, eos = t->eos;
    TRY(check_affix(&bos, t, t->prefix, t->prefixes, err));
    TRY(check_affix(&eos, t, t->suffix, t->suffixes, err));
    TRY(put_pipeline(k, t, (int32_t)model->vocabulary, err));
    TRY(put_role(k, "tokenizer.ggml.bos_token_id", bos, err));
    TRY(put_ends(k, model, eos, err));
    TRY(put_role(k, "tokenizer.ggml.unknown_token_id", t->unk, err));
    TRY(put_role(k, "tokenizer.ggml.padding_token_id", t->pad, err));
    TRY(gf_gguf_put_bool(k, "tokenizer.ggml.add_bos_token", t->prefixes > 0, err));
    TRY(gf_gguf_put_bool(k, "tokenizer.ggml.add_eos_token", t->suffixes > 0, err));
    const char *text = model->chat_template ? model->chat_template : t->chat_template;
    if (text)
        TRY(gf_gguf_put_string(k, "tokenizer.chat_template", text, strlen(text), err));
    return GF_OK;
}
