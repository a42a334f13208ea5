/* gguf.c - a tokenizer from GGUF metadata. Contract: tokenizer.h; keys: FORMATS 6.3;
 * pre-tokenizers by name: FORMATS 3.5 and 3.9. */
#include "text/tokenizer/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define BEFORE "[^\\r\\n\\p{L}\\p{N}]?"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define OTHER " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
#define OTHER_SLASH " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|"

static const char llama3[] = CONTRACTIONS "|" BEFORE "\\p{L}+|\\p{N}{1,3}|" OTHER SPACES;
static const char qwen2[] = CONTRACTIONS "|" BEFORE "\\p{L}+|\\p{N}|" OTHER SPACES;
static const char tekken[] =
    BEFORE UPPER "*" LOWER "+|" BEFORE UPPER "+" LOWER "*|\\p{N}|" OTHER_SLASH SPACES;
static const char gpt4o[] = BEFORE UPPER "*" LOWER "+" CONTRACTIONS "?|" BEFORE UPPER "+" LOWER
                                         "*" CONTRACTIONS "?|\\p{N}{1,3}|" OTHER_SLASH SPACES;

/* What tokenizer.ggml.pre stands for. No pattern: the GPT-2 one, in ByteLevel. */
static const struct kind {
    const char *name;
    const char *pattern;
    bool digits; /* single digits first */
    bool nfc;    /* as the models' own tokenizers do */
    bool ignore_merges, add_bos;
} kinds[] = {
    {"gpt-2", NULL, false, false, false, false},
    {"default", NULL, false, false, false, false},
    {"phi-2", NULL, false, false, false, false},
    {"olmo", NULL, false, false, false, false},
    {"mpt", NULL, false, false, false, false},
    {"smollm", NULL, true, false, false, false},
    {"starcoder", NULL, true, false, false, false},
    {"refact", NULL, true, false, false, false},
    {"llama-bpe", llama3, false, false, true, true},
    {"llama3", llama3, false, false, true, true},
    {"llama-v3", llama3, false, false, true, true},
    {"falcon3", llama3, false, false, true, true},
    {"lfm2", llama3, false, false, true, true},
    {"dbrx", llama3, false, false, false, false},
    {"smaug-bpe", llama3, false, false, false, false},
    {"qwen2", qwen2, false, true, false, false},
    {"deepseek-r1-qwen", qwen2, false, true, false, false},
    {"stablelm2", qwen2, false, true, false, false},
    {"tekken", tekken, false, false, true, true},
    {"gpt-4o", gpt4o, false, false, false, false},
};

static const gf_kv *strings_of(const gf_gguf *g, const char *key)
{
    const gf_kv *kv = gf_gguf_find(g, key);
    return kv && kv->type == GF_KV_ARRAY && kv->item == GF_KV_STRING ? kv : NULL;
}

/* An array of 4-byte numbers, as many as there are tokens; *data stays NULL if it is missing. */
static gf_status numbers_of(const unsigned char **data, const gf_gguf *g, const char *key,
                            gf_kv_type item, uint64_t count, gf_err *err)
{
    const gf_kv *kv = gf_gguf_find(g, key);
    *data = NULL;
    if (!kv)
        return GF_OK;
    const bool ok = kv->type == GF_KV_ARRAY &&
                    (kv->item == item || (item == GF_KV_I32 && kv->item == GF_KV_U32));
    if (!ok || kv->count != count)
        return gf_fail(err, GF_EINPUT, "%s: %s: want %llu numbers of type %d, one for each token",
                       g->path, key, (unsigned long long)count, (int)item);
    *data = kv->data;
    return GF_OK;
}

/* ---- vocabulary -------------------------------------------------------------------- */

static gf_status load_tokens(gf_tokenizer *t, const gf_kv *kv, gf_err *err)
{
    const unsigned char *cursor = NULL;
    const char *s;
    size_t n;
    char name[32];
    TRY(gf_vocab_reserve(&t->vocab, kv->count, 0, err));
    for (int64_t id = 0; gf_gguf_next_string(kv, &cursor, &s, &n); id++) {
        const size_t good = gf_utf8_valid(s, n);
        if (good != n)
            return gf_fail(err, GF_EINPUT, "%s: token %lld is not UTF-8 at byte %zu", t->where,
                           (long long)id, good);
        if (!n) { /* some files have holes; no text may be given to two tokens */
            n = (size_t)snprintf(name, sizeof name, "[EMPTY_%lld]", (long long)id);
            s = name;
        }
        TRY(gf_vocab_add(&t->vocab, s, n, id, false, t->where, err));
    }
    return GF_OK;
}

static gf_status load_merges(gf_tokenizer *t, const gf_kv *kv, gf_err *err)
{
    const unsigned char *cursor = NULL;
    const char *s;
    size_t n;
    TRY(gf_vocab_reserve(&t->vocab, 0, kv->count, err));
    for (int32_t rank = 0; gf_gguf_next_string(kv, &cursor, &s, &n); rank++) {
        const char *space = n > 1 ? memchr(s + 1, ' ', n - 1) : NULL;
        if (!space)
            return gf_fail(err, GF_EINPUT, "%s: tokenizer.ggml.merges[%d]: want two parts",
                           t->where, rank);
        const size_t left = (size_t)(space - s);
        TRY(gf_vocab_merge(&t->vocab, s, left, space + 1, n - left - 1, rank, t->where, err));
    }
    return GF_OK;
}

static gf_status load_scores(gf_tokenizer *t, const gf_gguf *g, gf_err *err)
{
    const unsigned char *data;
    const size_t count = (size_t)t->vocab.size;
    TRY(numbers_of(&data, g, "tokenizer.ggml.scores", GF_KV_F32, count, err));
    if (!data)
        return gf_fail(err, GF_EINPUT, "%s: neither tokenizer.ggml.scores nor merges are there",
                       t->where);
    float *score = gf_alloc(count, sizeof *score, err);
    if (!score)
        return GF_ENOMEM;
    memcpy(score, data, count * sizeof *score); /* the file's bytes are not aligned */
    const gf_status st = gf_vocab_merge_scores(&t->vocab, score, t->where, err);
    free(score);
    return st;
}

/* Phi-3's markers swallow the white space behind them; GGUF has no key for that, its readers know
 * it by the model's name. */
static gf_status strips_right(bool *strips, const gf_gguf *g, gf_err *err)
{
    char *name;
    *strips = false;
    TRY(gf_gguf_string(&name, g, "general.name", err));
    *strips = name && (strcasestr(name, "phi-3") || strcasestr(name, "phi3"));
    free(name);
    return GF_OK;
}

/* Control, user-defined and unknown tokens are found in texts, not normalized. */
static gf_status load_types(gf_tokenizer *t, const gf_gguf *g, gf_err *err)
{
    const unsigned char *data;
    bool rstrip;
    TRY(numbers_of(&data, g, "tokenizer.ggml.token_type", GF_KV_I32, (uint64_t)t->vocab.size, err));
    TRY(strips_right(&rstrip, g, err));
    for (int32_t id = 0; data && id < t->vocab.size; id++) {
        int32_t type;
        memcpy(&type, data + 4 * (size_t)id, 4);
        if (type != GF_TOKEN_UNKNOWN && type != GF_TOKEN_CONTROL && type != GF_TOKEN_USER)
            continue;
        const char *text = gf_vocab_text(&t->vocab, id, NULL);
        gf_added a = {.id = id};
        a.rstrip = rstrip && strcmp(text, "<unk>") != 0 && strcmp(text, "<s>") != 0 &&
                   strcmp(text, "<|endoftext|>") != 0;
        TRY(gf_tokenizer_add_added(t, a, type != GF_TOKEN_USER, err));
    }
    return GF_OK;
}

static gf_status load_role(gf_tokenizer *t, const gf_gguf *g, const char *key, int32_t *role,
                           gf_err *err)
{
    int64_t id;
    TRY(gf_gguf_int(&id, g, key, -1, 0, UINT32_MAX, err));
    if (id == UINT32_MAX) /* how some files say none */
        id = -1;
    if (id >= t->vocab.size)
        return gf_fail(err, GF_EINPUT, "%s: %s is %lld, but there are %d tokens", t->where, key,
                       (long long)id, t->vocab.size);
    *role = (int32_t)id;
    return GF_OK;
}

static gf_status load_affixes(gf_tokenizer *t, const gf_gguf *g, bool bos, gf_err *err)
{
    bool eos;
    TRY(gf_gguf_bool(&bos, g, "tokenizer.ggml.add_bos_token", bos, err));
    TRY(gf_gguf_bool(&eos, g, "tokenizer.ggml.add_eos_token", false, err));
    if ((bos && t->bos < 0) || (eos && t->eos < 0))
        return gf_fail(err, GF_EINPUT, "%s: tokenizer.ggml: %s is to be added, but has no id",
                       t->where, bos && t->bos < 0 ? "bos_token" : "eos_token");
    if (bos)
        TRY(gf_tokenizer_add_affix(t, true, t->bos, err));
    return eos ? gf_tokenizer_add_affix(t, false, t->eos, err) : GF_OK;
}

/* ---- pipelines --------------------------------------------------------------------- */

static gf_status find_kind(const struct kind **kind, const gf_gguf *g, gf_err *err)
{
    char *pre;
    TRY(gf_gguf_string(&pre, g, "tokenizer.ggml.pre", err));
    *kind = NULL;
    for (size_t i = 0; pre && i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(pre, kinds[i].name) == 0)
            *kind = &kinds[i];
    gf_status st = GF_OK;
    if (!pre)
        st = gf_fail(err, GF_EMISSING,
                     "%s: tokenizer.ggml.pre is missing, so that words can't be told; convert the "
                     "model again with a current converter",
                     g->path);
    else if (!*kind)
        st = gf_fail(err, GF_EMISSING, "%s: tokenizer.ggml.pre \"%.60s\" is not supported", g->path,
                     pre);
    free(pre);
    return st;
}

static gf_status load_byte_level(gf_tokenizer *t, const gf_gguf *g, gf_err *err)
{
    const struct kind *kind;
    TRY(find_kind(&kind, g, err));
    const gf_kv *merges = strings_of(g, "tokenizer.ggml.merges");
    if (!merges)
        return gf_fail(err, GF_EINPUT, "%s: tokenizer.ggml.merges is missing or no list of strings",
                       t->where);
    TRY(load_merges(t, merges, err));
    t->bpe.ignore_merges = kind->ignore_merges;
    if (kind->nfc && !gf_tokenizer_add_norm(t, GF_NORM_NFC, err))
        return GF_ENOMEM;
    if (kind->pattern) {
        gf_pre *split = gf_tokenizer_add_pre(t, GF_PRE_PATTERN, err);
        if (!split)
            return GF_ENOMEM;
        TRY(gf_pattern_regex(&split->pattern, kind->pattern, t->where, err));
    }
    if (kind->digits) {
        gf_pre *digits = gf_tokenizer_add_pre(t, GF_PRE_CLASS, err);
        if (!digits)
            return GF_ENOMEM;
        digits->in_class = gf_is_number;
    }
    gf_pre *bytes = gf_tokenizer_add_pre(t, GF_PRE_BYTES, err);
    if (!bytes)
        return GF_ENOMEM;
    bytes->use_regex = !kind->pattern;
    if (bytes->use_regex)
        TRY(gf_pattern_regex(&bytes->pattern, gf_gpt2_pattern, t->where, err));
    if (!gf_tokenizer_add_dec(t, GF_DEC_BYTES, err))
        return GF_ENOMEM;
    return load_affixes(t, g, kind->add_bos, err);
}

static bool is_split(const gf_pre *p, const char *pattern)
{
    return p->kind == GF_PRE_PATTERN && !p->pattern.literal && !p->invert &&
           p->behaviour == GF_SPLIT_ISOLATED && strcmp(p->pattern.source, pattern) == 0;
}

/* Is the pipeline the one that load_byte_level makes of this kind? */
static bool is_kind(const gf_tokenizer *t, const struct kind *kind)
{
    const gf_pre *p = t->pre, *end = p + t->pres;
    if (t->norms != (kind->nfc ? 1 : 0) || (kind->nfc && t->norm[0].kind != GF_NORM_NFC))
        return false;
    if (kind->pattern && (p == end || !is_split(p++, kind->pattern)))
        return false;
    if (kind->digits && (p == end || p->kind != GF_PRE_CLASS || p->in_class != gf_is_number ||
                         p++->behaviour != GF_SPLIT_ISOLATED))
        return false;
    return p + 1 == end && p->kind == GF_PRE_BYTES && !p->add_prefix_space &&
           p->use_regex == !kind->pattern;
}

/* Do merges alone make every token of its own text? Then it is all the same whether words that are
 * tokens skip them. */
static gf_status merges_make_all(bool *all, gf_tokenizer *t, gf_err *err)
{
    *all = !t->bpe.ignore_merges; /* with it, nothing can be learned here */
    for (int32_t i = 0; *all && i < t->vocab.tokens; i++) {
        const gf_token *token = &t->vocab.token[i];
        if (token->added)
            continue;
        TRY(gf_bpe_word(&t->bpe, &t->vocab, t->vocab.bytes.data + token->offset, token->size, err));
        *all = t->bpe.count == 1 && t->bpe.symbol[0].id == token->id;
    }
    return GF_OK;
}

gf_status gf_gguf_pre_of(const char **name, gf_tokenizer *t, gf_err *err)
{
    const struct kind *close = NULL;
    bool same = false;
    *name = NULL;
    for (size_t i = 0; !t->bpe.byte_fallback && i < sizeof kinds / sizeof *kinds; i++) {
        if (!is_kind(t, &kinds[i]))
            continue;
        if (kinds[i].ignore_merges == t->bpe.ignore_merges) {
            *name = kinds[i].name;
            return GF_OK;
        }
        close = close ? close : &kinds[i];
    }
    if (close)
        TRY(merges_make_all(&same, t, err));
    *name = same ? close->name : NULL;
    return GF_OK;
}

static gf_status own_text(char **to, const char *text, gf_err *err)
{
    *to = gf_strdup(text, err);
    return *to ? GF_OK : GF_ENOMEM;
}

static gf_status add_sentencepiece_decoder(gf_tokenizer *t, bool prefix, gf_err *err)
{
    gf_decoder *dec = gf_tokenizer_add_dec(t, GF_DEC_REPLACE, err);
    if (!dec)
        return GF_ENOMEM;
    TRY(gf_pattern_literal(&dec->pattern, gf_metaspace, err));
    TRY(own_text(&dec->text, " ", err));
    if (!gf_tokenizer_add_dec(t, GF_DEC_FALLBACK, err) ||
        !gf_tokenizer_add_dec(t, GF_DEC_FUSE, err))
        return GF_ENOMEM;
    if (!prefix)
        return GF_OK;
    dec = gf_tokenizer_add_dec(t, GF_DEC_STRIP, err);
    if (!dec)
        return GF_ENOMEM;
    dec->start = 1;
    return own_text(&dec->text, " ", err);
}

static gf_status load_sentencepiece(gf_tokenizer *t, const gf_gguf *g, gf_err *err)
{
    bool prefix;
    const gf_kv *merges = strings_of(g, "tokenizer.ggml.merges");
    if (merges)
        TRY(load_merges(t, merges, err));
    else
        TRY(load_scores(t, g, err));
    t->bpe.byte_fallback = t->bpe.fuse_unk = true;
    t->bpe.unk = t->unk;
    TRY(gf_gguf_bool(&prefix, g, "tokenizer.ggml.add_space_prefix", true, err));
    if (prefix) {
        gf_normalizer *norm = gf_tokenizer_add_norm(t, GF_NORM_PREPEND, err);
        if (!norm)
            return GF_ENOMEM;
        TRY(own_text(&norm->text, gf_metaspace, err));
    }
    gf_normalizer *norm = gf_tokenizer_add_norm(t, GF_NORM_REPLACE, err);
    if (!norm)
        return GF_ENOMEM;
    TRY(gf_pattern_literal(&norm->pattern, " ", err));
    TRY(own_text(&norm->text, gf_metaspace, err));
    TRY(add_sentencepiece_decoder(t, prefix, err));
    return load_affixes(t, g, true, err);
}

static gf_status load(gf_tokenizer *t, const gf_gguf *g, const char *model, gf_err *err)
{
    const gf_kv *tokens = strings_of(g, "tokenizer.ggml.tokens");
    if (!tokens || !tokens->count)
        return gf_fail(err, GF_EINPUT, "%s: tokenizer.ggml.tokens is missing or no list of strings",
                       t->where);
    TRY(load_tokens(t, tokens, err));
    TRY(load_types(t, g, err));
    TRY(load_role(t, g, "tokenizer.ggml.bos_token_id", &t->bos, err));
    TRY(load_role(t, g, "tokenizer.ggml.eos_token_id", &t->eos, err));
    TRY(load_role(t, g, "tokenizer.ggml.padding_token_id", &t->pad, err));
    TRY(load_role(t, g, "tokenizer.ggml.unknown_token_id", &t->unk, err));
    if (strcmp(model, "gpt2") == 0)
        TRY(load_byte_level(t, g, err));
    else
        TRY(load_sentencepiece(t, g, err));
    TRY(gf_gguf_string(&t->chat_template, g, "tokenizer.chat_template", err));
    return gf_tokenizer_prepare(t, err);
}

gf_status gf_tokenizer_open_gguf(gf_tokenizer **out, const gf_gguf *g, gf_err *err)
{
    gf_status st;
    gf_tokenizer *t = NULL;
    char *model = NULL;
    TRYG(gf_gguf_string(&model, g, "tokenizer.ggml.model", err));
    if (!model) {
        st = gf_fail(err, GF_EINPUT, "%s: tokenizer.ggml.model is missing: no tokenizer", g->path);
        goto out;
    }
    if (strcmp(model, "gpt2") != 0 && strcmp(model, "llama") != 0) {
        st = gf_fail(err, GF_EMISSING,
                     "%s: tokenizer.ggml.model \"%.60s\" is not supported, only gpt2 and llama are",
                     g->path, model);
        goto out;
    }
    TRYG(gf_tokenizer_new(&t, g->path, err));
    TRYG(load(t, g, model, err));
    *out = t;
    t = NULL;
out:
    gf_tokenizer_free(t);
    free(model);
    return st;
}
