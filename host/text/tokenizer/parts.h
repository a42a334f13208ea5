/* parts.h - what the tokenizer's source files agree on; nothing outside includes it. */
#ifndef GRAFT_HOST_TEXT_TOKENIZER_PARTS_H
#define GRAFT_HOST_TEXT_TOKENIZER_PARTS_H

#include "base/json.h"
#include "text/tokenizer.h"
#include "text/tokenizer/unicode.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum {
    GF_TEXT_MAX = 1 << 30,  /* bytes of one text: offsets are uint32_t and may triple */
    GF_TOKEN_MAX = 1 << 22, /* ids: 16 times the largest vocabulary in use */
};

/* ---- text that remembers where it came from (track.c) ---------------------------------------- */
typedef struct {
    char *s;
    uint32_t *at; /* at[i]: the byte of the original text that byte i stands for */
    size_t n, cap;
} gf_track;

gf_status gf_track_room(gf_track *t, size_t more, gf_err *err);
/* All bytes stand for the original's byte `at`. */
gf_status gf_track_add(gf_track *t, const char *s, size_t n, uint32_t at, gf_err *err);
/* Copies a range of another track, places included. */
gf_status gf_track_copy(gf_track *t, const gf_track *from, size_t begin, size_t end, gf_err *err);
/* Bytes of the original itself: byte i stands for at + i. */
gf_status gf_track_text(gf_track *t, const char *s, size_t n, uint32_t at, gf_err *err);
void gf_track_free(gf_track *t);

typedef struct {
    size_t begin, end;
} gf_span;
typedef struct {
    gf_span *v;
    size_t n, cap;
} gf_spans;
gf_status gf_spans_add(gf_spans *s, size_t begin, size_t end, gf_err *err);

/* ---- patterns (pattern.c, pattern_translate.c) ----------------------------------------------- */
typedef struct {
    char *source; /* as in the file; the text itself if literal */
    size_t size;  /* bytes of source */
    bool literal;
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    gf_buf subject; /* scratch: the text with stand-ins */
} gf_pattern;

/* Oniguruma (Ruby syntax) to PCRE2, with \s and \w written out and one-letter differences changed;
 * GF_EMISSING names what has no equivalent. */
gf_status gf_pattern_translate(gf_buf *out, const char *re, size_t n, const char *where,
                               gf_err *err);
gf_status gf_pattern_regex(gf_pattern *p, const char *re, const char *where, gf_err *err);
gf_status gf_pattern_literal(gf_pattern *p, const char *text, gf_err *err);
/* Appends all matches in s, left to right, not overlapping. */
gf_status gf_pattern_all(gf_pattern *p, const char *s, size_t n, gf_spans *matches, gf_err *err);
void gf_pattern_free(gf_pattern *p);

/* ---- vocabulary (vocab.c) ---------------------------------------------------------- */
typedef struct {
    uint32_t offset, size; /* in gf_vocab.bytes */
    int32_t id;
    bool added;   /* not part of the model's own vocabulary */
    bool special; /* left out by skip_special */
} gf_token;

typedef struct {
    uint64_t key; /* left << 32 | right; UINT64_MAX: free */
    int32_t rank, id;
} gf_merge;

typedef struct {
    gf_buf bytes;
    gf_token *token; /* in the order of the file */
    int32_t tokens, token_cap;
    int32_t *of_id;    /* which token an id stands for, or -1 */
    int32_t size, cap; /* highest id + 1 */
    int32_t *slot;     /* open addressing: index of a token or -1 */
    size_t slots;
    gf_merge *merge;
    size_t merge_slots, merges;
} gf_vocab;

gf_status gf_vocab_reserve(gf_vocab *v, size_t tokens, size_t merges, gf_err *err);
/* A second token with the same text or id is GF_EINPUT; but an added token may have the id of one
 * of the model's own, which then can be encoded and no longer decoded. */
gf_status gf_vocab_add(gf_vocab *v, const char *s, size_t n, int64_t id, bool added,
                       const char *where, gf_err *err);
/* Of the model's own vocabulary only; -1: none. */
int32_t gf_vocab_find(const gf_vocab *v, const char *s, size_t n);
/* Added tokens too. */
int32_t gf_vocab_find_any(const gf_vocab *v, const char *s, size_t n);
/* Both halves and the whole must be tokens. The later of equal pairs counts. */
gf_status gf_vocab_merge(gf_vocab *v, const char *left, size_t nl, const char *right, size_t nr,
                         int32_t rank, const char *where, gf_err *err);
const gf_merge *gf_vocab_pair(const gf_vocab *v, int32_t left, int32_t right);
gf_token *gf_vocab_at(const gf_vocab *v, int32_t id); /* NULL: no such token */
const char *gf_vocab_text(const gf_vocab *v, int32_t id, size_t *n);
/* The model's own token of an id, also where an added one has it too. */
const gf_token *gf_vocab_own(const gf_vocab *v, int32_t id);
/* All merges in the order of their ranks, a new array. */
gf_status gf_vocab_ranked(gf_merge **out, size_t *count, const gf_vocab *v, gf_err *err);
void gf_vocab_free(gf_vocab *v);
uint64_t gf_text_hash(const char *s, size_t n);

/* ---- merging (bpe.c) --------------------------------------------------------------- */
typedef struct {
    int32_t id;
    uint32_t begin; /* byte in the word */
} gf_symbol;

typedef struct gf_word_cache gf_word_cache;

typedef struct {
    int32_t narrow[0x800]; /* tokens of one character of at most two bytes; -1: none */
    int32_t byte[256];     /* <0xHH>; -1: none */
    int32_t unk;           /* -1: characters without a token are dropped */
    bool byte_fallback, fuse_unk, ignore_merges;
    gf_symbol *symbol; /* the result of the last word */
    size_t count, cap;
    int32_t *next, *prev; /* neighbours of each symbol; sized like symbol */
    struct gf_candidate *heap;
    size_t heap_count, heap_cap;
    gf_word_cache *cache;
} gf_bpe;

gf_status gf_bpe_prepare(gf_bpe *b, const gf_vocab *v, gf_err *err);
/* Leaves the word's tokens in b->symbol[0 .. count). */
gf_status gf_bpe_word(gf_bpe *b, const gf_vocab *v, const char *s, size_t n, gf_err *err);
void gf_bpe_free(gf_bpe *b);

/* ---- added tokens (added.c) -------------------------------------------------------- */
typedef struct {
    int32_t id;
    bool single_word, lstrip, rstrip, normalized;
} gf_added;

typedef struct {
    int32_t child, sibling; /* -1: none */
    int32_t added;          /* index of the token that ends here; -1: none */
    unsigned char byte;
} gf_trie_node;

typedef struct {
    gf_trie_node *node;
    size_t n, cap;
    int32_t root[256]; /* node of a first byte; -1: none */
} gf_trie;

typedef struct {
    int32_t added; /* index; -1: text between added tokens */
    size_t begin, end;
} gf_part;
typedef struct {
    gf_part *v;
    size_t n, cap;
} gf_parts;

void gf_trie_start(gf_trie *t);
gf_status gf_trie_add(gf_trie *t, const char *s, size_t n, int32_t added, gf_err *err);
/* Splits s[0 .. n) at added tokens, leftmost and longest first (FORMATS 3.2), appending. */
gf_status gf_trie_split(const gf_trie *t, const gf_added *added, const char *s, size_t n,
                        gf_parts *parts, gf_err *err);

/* ---- pipeline ---------------------------------------------------------------------- */
typedef enum {
    GF_NORM_PREPEND,
    GF_NORM_REPLACE,
    GF_NORM_NFC,
    GF_NORM_NFD,
    GF_NORM_NFKC,
    GF_NORM_NFKD,
    GF_NORM_LOWER,
    GF_NORM_STRIP,
} gf_norm_kind;

typedef struct {
    gf_norm_kind kind;
    gf_pattern pattern; /* Replace */
    char *text;         /* Prepend, Replace */
    bool left, right;   /* Strip */
} gf_normalizer;

typedef enum {
    GF_SPLIT_ISOLATED,
    GF_SPLIT_REMOVED,
    GF_SPLIT_WITH_PREVIOUS,
    GF_SPLIT_WITH_NEXT,
    GF_SPLIT_CONTIGUOUS,
} gf_split_behaviour;

typedef enum {
    GF_PRE_BYTES,     /* ByteLevel */
    GF_PRE_PATTERN,   /* Split */
    GF_PRE_METASPACE, /* Metaspace */
    GF_PRE_CLASS,     /* Digits, WhitespaceSplit, Punctuation: single characters of a class */
    GF_PRE_WORDS,     /* Whitespace: words and runs of what is neither word nor space */
} gf_pre_kind;

typedef enum { GF_PREPEND_ALWAYS, GF_PREPEND_FIRST, GF_PREPEND_NEVER } gf_prepend;

typedef struct {
    gf_pre_kind kind;
    gf_pattern pattern; /* Split; ByteLevel with use_regex */
    gf_split_behaviour behaviour;
    bool invert;
    bool add_prefix_space, use_regex; /* ByteLevel */
    char *replacement;                /* Metaspace: one character */
    gf_prepend prepend;
    bool split;
    bool (*in_class)(uint32_t cp);
} gf_pre;

typedef enum {
    GF_DEC_BYTES,
    GF_DEC_REPLACE,
    GF_DEC_FALLBACK,
    GF_DEC_FUSE,
    GF_DEC_STRIP,
    GF_DEC_METASPACE,
} gf_dec_kind;

typedef struct {
    gf_dec_kind kind;
    gf_pattern pattern; /* Replace */
    char *text;         /* Replace: content; Strip, Metaspace: the character */
    int64_t start, stop;
    gf_prepend prepend;
} gf_decoder;

extern const char gf_gpt2_pattern[];
extern const char gf_metaspace[]; /* U+2581 */
/* Characters of the byte-level alphabet (FORMATS 3.4). */
uint32_t gf_byte_to_cp(unsigned char b);
int gf_cp_to_byte(uint32_t cp); /* -1: not in the alphabet */

struct gf_tokenizer {
    char *where; /* path, for messages */
    char *dir;   /* folder it came from; NULL: a GGUF or memory */
    gf_vocab vocab;
    gf_bpe bpe;
    gf_normalizer *norm;
    gf_pre *pre;
    gf_decoder *dec;
    int norms, pres, decs;
    bool has_pre, has_dec; /* an empty Sequence is not the same as null */
    int32_t *prefix, *suffix;
    int prefixes, suffixes;
    gf_added *added;
    int32_t added_count;
    gf_trie raw, normalized;
    int32_t bos, eos, pad, unk;
    char *chat_template;
    /* scratch */
    gf_track a, b;  /* the text between two added tokens, normalized; work space */
    gf_track words; /* what pre-tokenizers made of a part of it; cut into `spans` */
    gf_spans spans, more, matches;
    gf_parts parts, inner;
};

/* Reads a tokenizer.json from memory; `where` names it in messages. For tests and fuzzing. */
gf_status gf_tokenizer_parse(gf_tokenizer **t, const char *text, size_t size, const char *where,
                             gf_err *err);
gf_status gf_tokenizer_new(gf_tokenizer **t, const char *where, gf_err *err);
/* tokenizer.ggml.token_type */
enum {
    GF_TOKEN_NORMAL = 1,
    GF_TOKEN_UNKNOWN,
    GF_TOKEN_CONTROL,
    GF_TOKEN_USER,
    GF_TOKEN_UNUSED,
    GF_TOKEN_BYTE
};
/* The tokenizer.ggml.pre that stands for the tokenizer's byte-level pipeline; NULL: none does. */
gf_status gf_gguf_pre_of(const char **name, gf_tokenizer *t, gf_err *err);
/* Appends a loaded tokenizer as tokenizer.json. */
gf_status gf_tokenizer_print(const gf_tokenizer *t, gf_buf *b, gf_err *err);
/* After vocabulary, pipeline and added tokens are known. */
gf_status gf_tokenizer_prepare(gf_tokenizer *t, gf_err *err);
/* A new zeroed element at the end of a list. */
gf_normalizer *gf_tokenizer_add_norm(gf_tokenizer *t, gf_norm_kind kind, gf_err *err);
gf_pre *gf_tokenizer_add_pre(gf_tokenizer *t, gf_pre_kind kind, gf_err *err);
gf_decoder *gf_tokenizer_add_dec(gf_tokenizer *t, gf_dec_kind kind, gf_err *err);
gf_status gf_tokenizer_add_affix(gf_tokenizer *t, bool front, int32_t id, gf_err *err);
/* An added token that has its place in the vocabulary already. */
gf_status gf_tokenizer_add_added(gf_tokenizer *t, gf_added a, bool special, gf_err *err);
/* A parsed tokenizer.json, into a new object: vocabulary, merges, added tokens, pipeline. */
gf_status gf_tokenizer_load_json(gf_tokenizer *t, const cJSON *root, gf_err *err);
/* Its normalizer, pre_tokenizer, post_processor and decoder. */
gf_status gf_tokenizer_load_pipeline(gf_tokenizer *t, const cJSON *root, gf_err *err);
gf_status gf_tokenizer_load_decoder(gf_tokenizer *t, const cJSON *json, gf_err *err);
gf_status gf_tokenizer_load_post(gf_tokenizer *t, const cJSON *json, gf_err *err);
/* tokenizer_config.json, special_tokens_map.json and chat_template.jinja of t->dir. */
gf_status gf_tokenizer_load_config(gf_tokenizer *t, gf_err *err);

/* Fields of a pipeline component. `what` names the component in messages. */
gf_status gf_part_type(const char **type, const gf_tokenizer *t, const cJSON *json,
                       const char *what, gf_err *err);
gf_status gf_part_pattern(gf_pattern *p, const gf_tokenizer *t, const cJSON *json, gf_err *err);
gf_status gf_part_text(char **out, const gf_tokenizer *t, const cJSON *json, const char *key,
                       bool one_character, gf_err *err);
gf_status gf_part_prepend(gf_prepend *out, const gf_tokenizer *t, const cJSON *json, gf_err *err);
gf_status gf_part_missing(const gf_tokenizer *t, const char *what, const char *type, gf_err *err);

/* Merges from the scores of SentencePiece pieces, score[id] for ids 0 .. vocab.size - 1. */
gf_status gf_vocab_merge_scores(gf_vocab *v, const float *score, const char *where, gf_err *err);

/* Runs the normalizers over t->a. */
gf_status gf_normalize(gf_tokenizer *t, gf_err *err);
/* Makes t->words and t->spans of t->a[begin, end). */
gf_status gf_pretokenize(gf_tokenizer *t, size_t begin, size_t end, gf_err *err);

#endif
